package badgerstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"reflect"
	"strings"
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
		CallbacksIgnoreQuery: true, DefaultCallback: true, Contact: "a@example.com",
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
}

// addField is a record to which a later program added a field.
func addField(record []byte, field byte) []byte {
	return withChecksum(append(bytes.Clone(record[:len(record)-4]), 2, field))
}

// setVersion is a record of another version.
func setVersion(record []byte, version byte) []byte {
	return withChecksum(append([]byte{version}, record[1:len(record)-4]...))
}

// Every kind of record can be given a field or a version of its own.
func TestRecordsOfOtherPrograms(t *testing.T) {
	state := nonceState{floor: none, ceiling: 7, window: 8, boot: "b", clean: true, counts: 9,
		segments: []segmentRecord{{7, 3}, {8, openSegment}}}
	for _, c := range []struct {
		kind   kind
		record []byte
		want   any
		decode func([]byte) (any, error)
	}{
		{kindConsumer, encodeConsumer(someConsumer), someConsumer, func(b []byte) (any, error) { return decodeConsumer(b) }},
		{kindRequestToken, encodeRequestToken(someRequestToken), someRequestToken, func(b []byte) (any, error) { return decodeRequestToken(b) }},
		{kindAccessToken, encodeAccessToken(someAccessToken), someAccessToken, func(b []byte) (any, error) { return decodeAccessToken(b) }},
		{kindNonceState, state.encode(), state, func(b []byte) (any, error) { return decodeNonceState(b) }},
	} {
		t.Run(c.kind.name, func(t *testing.T) {
			if got, err := c.decode(addField(addField(c.record, 0xff), 1)); err != nil || !reflect.DeepEqual(got, c.want) {
				t.Errorf("fields that were added: got %+v, %v; want %+v", got, err, c.want)
			}
			for _, v := range []byte{c.kind.version + 1, 0xff, 0} {
				_, err := c.decode(setVersion(c.record, v))
				if !errors.Is(err, errVersion) || !strings.Contains(err.Error(), fmt.Sprintf("a %s of a version", c.kind.name)) ||
					!strings.Contains(err.Error(), fmt.Sprintf("version %d, and it knows 1 to %d", v, c.kind.version)) {
					t.Errorf("version %d: got %v", v, err)
				}
			}
			if _, err := c.decode(withChecksum(c.record[:1])); !errors.Is(err, errDamaged) {
				t.Errorf("no fields: got %v, want %v", err, errDamaged)
			}
		})
	}
}

// A field that is not there yet is zero, but none of those that every record has.
func TestDecoderAtTheEnd(t *testing.T) {
	e := newEncoder(kindConsumer)
	e.string("there")
	d := newDecoder(kindConsumer, e.finish())
	if got := d.string(); got != "there" {
		t.Errorf("got %q", got)
	}
	d.required()
	if n, s, list, b, at := d.int(), d.string(), d.strings(), d.bool(), d.time(); n != 0 || s != "" || list != nil || b || !at.IsZero() {
		t.Errorf("got %v %q %q %v %v", n, s, list, b, at)
	}
	if err := d.finish(); err != nil {
		t.Error(err)
	}
	d.required()
	if err := d.finish(); !errors.Is(err, errDamaged) {
		t.Errorf("got %v, want %v", err, errDamaged)
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
	f.Add([]byte{1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
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
			if again, err := decodeNonceState(n.encode()); err != nil || !reflect.DeepEqual(again, n) {
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
