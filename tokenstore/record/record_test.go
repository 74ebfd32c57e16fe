package record

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
		RSAPublicKey: "r", SignatureMethods: []string{"a", ""},
		Callbacks: []string{"c"}, Permissions: []string{"p", "q"},
		TwoLegged: &tokenstore.TwoLegged{User: "u", Permission: "p"}, Disabled: true, SelfRegistered: true,
		CallbacksIgnoreQuery: true, DefaultCallback: true, Contact: "t",
		Created: someTime, Expires: someTime,
	}
	someRequestToken = &tokenstore.RequestToken{
		Key: "k", Secret: "s", Consumer: "c", Callback: "b", Created: someTime, Expires: someTime,
		Review: &tokenstore.Review{
			User: "u", Permission: "p", Context: "c", Verifier: "v", Time: someTime, Expires: someTime,
		},
		VerifierFailures: 3,
	}
	someAccessToken = &tokenstore.AccessToken{
		Key: "k", Secret: "s", Consumer: "c", User: "u", Permission: "p", Context: "x",
		Created: someTime, Expires: someTime, LastUsed: someTime,
	}
)

var someUsedNonces = &tokenstore.UsedNonces{Key: "k", Digests: "d", Expires: 3}

// A tested kind of record.
type tested struct {
	kind    string
	version byte
	full    any // with every field
	values  []any
	encode  func(any) []byte
	decode  func([]byte) (any, error)
}

func test[T any](k Kind[T], full *T) tested {
	return tested{k.Name, k.Version, full, []any{full, new(T)},
		func(v any) []byte { return k.Encode(v.(*T)) },
		func(b []byte) (any, error) {
			v, err := k.Decode(b)
			if err != nil {
				return nil, err
			}
			return v, nil
		}}
}

var kinds = []tested{
	test(Consumer, someConsumer),
	test(RequestToken, someRequestToken),
	test(AccessToken, someAccessToken),
	test(LastUsed, &someTime),
	test(UsedNonces, someUsedNonces),
}

// allSet fails the test if a field is zero. So it finds a field that was added to the model but not
// to its record.
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
	allSet(t, reflect.ValueOf(*someUsedNonces))

	for _, k := range kinds {
		for _, v := range k.values {
			if got, err := k.decode(k.encode(v)); err != nil || !reflect.DeepEqual(got, v) {
				t.Errorf("got %+v, %v; want %+v", got, err, v)
			}
		}
	}
}

func TestDamagedRecords(t *testing.T) {
	for _, k := range kinds {
		good := k.encode(k.full)
		for i := range good {
			for _, bit := range []byte{1, 0x80} {
				bad := append([]byte(nil), good...)
				bad[i] ^= bit
				if _, err := k.decode(bad); err == nil {
					t.Errorf("%s, byte %d changed: no error", k.kind, i)
				}
			}
			if _, err := k.decode(good[:i]); err == nil {
				t.Errorf("%s, cut at %d: no error", k.kind, i)
			}
		}
	}
}

// addField is a record to which a later program added a field.
func addField(record []byte, field byte) []byte {
	return withChecksum(append(bytes.Clone(record[:len(record)-checksumSize]), 2, field))
}

// setVersion is a record of another version.
func setVersion(record []byte, version byte) []byte {
	return withChecksum(append([]byte{version}, record[1:len(record)-checksumSize]...))
}

func withChecksum(body []byte) []byte {
	return binary.BigEndian.AppendUint32(body, crc32.Checksum(body, castagnoli))
}

// Every kind of record can be given a field or a version of its own.
func TestRecordsOfOtherPrograms(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.kind, func(t *testing.T) {
			record := k.encode(k.full)
			got, err := k.decode(addField(addField(record, 0xff), 1))
			if err != nil || !reflect.DeepEqual(got, k.full) {
				t.Errorf("fields that were added: got %+v, %v; want %+v", got, err, k.full)
			}
			for _, v := range []byte{k.version + 1, 0xff, 0} {
				_, err := k.decode(setVersion(record, v))
				kind := fmt.Sprintf("a %s of a version", k.kind)
				versions := fmt.Sprintf("version %d, and it knows 1 to %d", v, k.version)
				if !errors.Is(err, ErrVersion) || !strings.Contains(err.Error(), kind) ||
					!strings.Contains(err.Error(), versions) {
					t.Errorf("version %d: got %v", v, err)
				}
				if !Unreadable(err) {
					t.Errorf("version %d is readable: %v", v, err)
				}
			}
			if _, err := k.decode(withChecksum(record[:1])); !errors.Is(err, ErrDamaged) || !Unreadable(err) {
				t.Errorf("no fields: got %v, want %v", err, ErrDamaged)
			}
		})
	}
}

// everything has a field of each type. Those after Required were added.
type everything struct {
	first  string
	number int64
	text   string
	list   []string
	flag   bool
	at     time.Time
	there  *string
}

var later = Kind[everything]{"test", 1, func(f *Fields, e *everything) {
	f.Text(&e.first)
	f.Required()
	Int(f, &e.number)
	f.Text(&e.text)
	f.Texts(&e.list)
	f.Bool(&e.flag)
	f.Time(&e.at)
	Optional(f, &e.there, (*Fields).Text)
}}

// A field that is not there yet is zero, but none of those that every record has.
func TestFieldsThatAreMissing(t *testing.T) {
	earlier := Kind[everything]{"test", 1, func(f *Fields, e *everything) { f.Text(&e.first) }}
	got, err := later.Decode(earlier.Encode(&everything{first: "there"}))
	if want := (everything{first: "there"}); err != nil || !reflect.DeepEqual(*got, want) {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	none := Kind[everything]{"test", 1, func(*Fields, *everything) {}}
	if _, err := later.Decode(none.Encode(&everything{})); !errors.Is(err, ErrDamaged) {
		t.Errorf("a required field is missing: got %v, want %v", err, ErrDamaged)
	}
}

// FuzzRecord gives the decoders bytes that pass the checksum. They refuse the bytes or read a
// record; a record that was read is the same after it is written and read again.
func FuzzRecord(f *testing.F) {
	for _, k := range append(kinds, test(later, &everything{list: []string{"", "x"}, there: new(string)})) {
		for _, v := range k.values {
			b := k.encode(v)
			f.Add(b[:len(b)-checksumSize])
		}
	}
	f.Add([]byte{1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, body []byte) {
		b := withChecksum(body)
		for _, k := range append(kinds, test(later, nil)) {
			v, err := k.decode(b)
			if err != nil {
				continue
			}
			if again, err := k.decode(k.encode(v)); err != nil || !reflect.DeepEqual(again, v) {
				t.Errorf("%+v became %+v, %v", v, again, err)
			}
			if _, err := k.decode(body); err == nil && len(body) < 1+checksumSize {
				t.Error("a record without a checksum")
			}
		}
	})
}

func BenchmarkDecodeAccessToken(b *testing.B) {
	r := AccessToken.Encode(&tokenstore.AccessToken{
		Key: tokenstore.NewKey(), Secret: tokenstore.NewSecret(), Consumer: "consumer",
		User: "alice", Permission: "READ_PUBLIC", Created: someTime})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := AccessToken.Decode(r); err != nil {
			b.Fatal(err)
		}
	}
}
