package badgerstore

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"reflect"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

var (
	someTime     = time.Date(2026, 11, 23, 12, 0, 0, 123456789, time.UTC)
	someConsumer = &tokenstore.Consumer{
		Key: "k", Name: "n", Homepage: "h", Secret: "s", PreviousSecret: "p", PreviousSecretExpires: someTime,
		RSAPublicKey: "r", SignatureMethods: []string{"a", ""}, Callbacks: []string{"c"}, Permissions: []string{"p", "q"},
		TwoLegged: &tokenstore.TwoLegged{User: "u", Permission: "p"}, Disabled: true, SelfRegistered: true,
		Created: someTime, Expires: someTime,
	}
	someRequestToken = &tokenstore.RequestToken{
		Key: "k", Secret: "s", Consumer: "c", Callback: "b", Created: someTime, Expires: someTime,
		Review:           &tokenstore.Review{User: "u", Permission: "p", Context: "c", Verifier: "v", Time: someTime, Expires: someTime},
		VerifierFailures: 3,
	}
	someAccessToken = &tokenstore.AccessToken{
		Key: "k", Secret: "s", Consumer: "c", User: "u", Permission: "p", Context: "x", Created: someTime, Expires: someTime,
		LastUsed: someTime,
	}
)

// allSet fails the test where a field is zero: a field that was added to the model and not to its record shows here.
func allSet(t *testing.T, v reflect.Value) {
	t.Helper()
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			t.Errorf("%s.%s is not tested", v.Type(), v.Type().Field(i).Name)
		}
	}
}

func TestRecordsKeepEveryField(t *testing.T) {
	allSet(t, reflect.ValueOf(*someConsumer))
	allSet(t, reflect.ValueOf(*someConsumer.TwoLegged))
	allSet(t, reflect.ValueOf(*someRequestToken))
	allSet(t, reflect.ValueOf(*someRequestToken.Review))
	allSet(t, reflect.ValueOf(*someAccessToken))

	for _, c := range []*tokenstore.Consumer{someConsumer, {}} {
		if got, err := decodeConsumer(encodeConsumer(c)); err != nil || !reflect.DeepEqual(got, c) {
			t.Errorf("got %+v, %v; want %+v", got, err, c)
		}
	}
	for _, r := range []*tokenstore.RequestToken{someRequestToken, {}} {
		if got, err := decodeRequestToken(encodeRequestToken(r)); err != nil || !reflect.DeepEqual(got, r) {
			t.Errorf("got %+v, %v; want %+v", got, err, r)
		}
	}
	for _, a := range []*tokenstore.AccessToken{someAccessToken, {}} {
		if got, err := decodeAccessToken(encodeAccessToken(a)); err != nil || !reflect.DeepEqual(got, a) {
			t.Errorf("got %+v, %v; want %+v", got, err, a)
		}
	}
}

func TestDamagedRecords(t *testing.T) {
	good := encodeAccessToken(someAccessToken)
	for i := range good {
		for _, bit := range []byte{1, 0x80} {
			bad := append([]byte(nil), good...)
			bad[i] ^= bit
			if _, err := decodeAccessToken(bad); err == nil {
				t.Errorf("byte %d changed: no error", i)
			}
		}
		if _, err := decodeAccessToken(good[:i]); err == nil {
			t.Errorf("cut at %d: no error", i)
		}
	}
	newer := withChecksum(append([]byte{recordVersion + 1}, good[1:len(good)-4]...))
	if _, err := decodeAccessToken(newer); !errors.Is(err, errVersion) {
		t.Errorf("a newer version: got %v, want %v", err, errVersion)
	}
	longer := withChecksum(append(append([]byte(nil), good[:len(good)-4]...), 0))
	if _, err := decodeAccessToken(longer); !errors.Is(err, errDamaged) {
		t.Errorf("a byte too many: got %v, want %v", err, errDamaged)
	}
}

func withChecksum(body []byte) []byte {
	return binary.BigEndian.AppendUint32(body, crc32.Checksum(body, castagnoli))
}

// FuzzRecord gives the decoders bytes that pass the checksum: they refuse them or read a record, which is written and
// read again alike.
func FuzzRecord(f *testing.F) {
	for _, b := range [][]byte{
		encodeConsumer(someConsumer), encodeRequestToken(someRequestToken), encodeAccessToken(someAccessToken),
		encodeConsumer(&tokenstore.Consumer{}), encodeRequestToken(&tokenstore.RequestToken{}),
		(&nonceState{floor: none, ceiling: 1_800_000_000, window: 301, boot: "b", clean: true}).encode(),
	} {
		f.Add(b[:len(b)-4])
	}
	f.Add([]byte{recordVersion, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, body []byte) {
		b := withChecksum(body)
		if c, err := decodeConsumer(b); err == nil {
			if again, err := decodeConsumer(encodeConsumer(c)); err != nil || !reflect.DeepEqual(again, c) {
				t.Errorf("%+v became %+v, %v", c, again, err)
			}
		}
		if r, err := decodeRequestToken(b); err == nil {
			if again, err := decodeRequestToken(encodeRequestToken(r)); err != nil || !reflect.DeepEqual(again, r) {
				t.Errorf("%+v became %+v, %v", r, again, err)
			}
		}
		if a, err := decodeAccessToken(b); err == nil {
			if again, err := decodeAccessToken(encodeAccessToken(a)); err != nil || !reflect.DeepEqual(again, a) {
				t.Errorf("%+v became %+v, %v", a, again, err)
			}
		}
		if n, err := decodeNonceState(b); err == nil {
			if again, err := decodeNonceState(n.encode()); err != nil || again != n {
				t.Errorf("%+v became %+v, %v", n, again, err)
			}
		}
		if _, err := decodeAccessToken(body); err == nil && len(body) < 5 {
			t.Error("a record without a checksum")
		}
	})
}

func BenchmarkDecodeAccessToken(b *testing.B) {
	r := encodeAccessToken(&tokenstore.AccessToken{Key: tokenstore.NewKey(), Secret: tokenstore.NewSecret(), Consumer: "consumer",
		User: "alice", Permission: "READ_PUBLIC", Created: someTime})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := decodeAccessToken(r); err != nil {
			b.Fatal(err)
		}
	}
}
