package keyring

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
)

func secret(b byte) (s [KeySize]byte) {
	for i := range s {
		s[i] = b
	}
	return s
}

func ring(t testing.TB, keys ...Key) *Ring {
	t.Helper()
	r, err := New(keys[0], keys[1:]...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAnEnvelopeOpensOnlyInItsPlace(t *testing.T) {
	t.Parallel()
	k1, k2 := Key{"k1", secret(1)}, Key{"k2", secret(2)}
	r := ring(t, k1)
	value := []byte("the value")
	sealed := r.Seal("token", "a", value)
	if bytes.Contains(sealed, value) {
		t.Fatalf("the envelope shows the value: %q", sealed)
	}
	if id, ok := SealedWith(sealed); id != "k1" || !ok {
		t.Errorf("encrypted with %q, %t", id, ok)
	}
	for _, c := range []struct {
		name       string
		ring       *Ring
		kind, as   string
		want       error
		wantOpened bool
	}{
		{"in its place", r, "token", "a", nil, true},
		{"with its key as an old one", ring(t, k2, k1), "token", "a", nil, true},
		{"as another record", r, "token", "b", ErrDamaged, false},
		{"as another kind", r, "consumer", "a", ErrDamaged, false},
		{"a part of the kind in the name", r, "toke", "na", ErrDamaged, false},
		{"with another key", ring(t, k2), "token", "a", ErrUnknownKey, false},
		{"with another key of the same id", ring(t, Key{"k1", secret(3)}), "token", "a", ErrDamaged, false},
	} {
		got, err := c.ring.Open(c.kind, c.as, sealed)
		if !errors.Is(err, c.want) || c.wantOpened != bytes.Equal(got, value) {
			t.Errorf("%s: got %q, %v; want %v", c.name, got, err, c.want)
		}
	}
	for i := range sealed {
		changed := bytes.Clone(sealed)
		changed[i] ^= 1
		if got, err := r.Open("token", "a", changed); err == nil {
			t.Errorf("with byte %d changed it opens as %q", i, got)
		}
		if got, err := r.Open("token", "a", sealed[:i]); err == nil {
			t.Errorf("cut at %d it opens as %q", i, got)
		}
	}
	if again := r.Seal("token", "a", value); bytes.Equal(again, sealed) {
		t.Error("two envelopes of one value are equal")
	}
}

func TestNamesAreKeyed(t *testing.T) {
	t.Parallel()
	k1, k2 := Key{"k1", secret(1)}, Key{"k2", secret(2)}
	both := ring(t, k2, k1).Names("user", "alice")
	if len(both) != 2 || both[0] == both[1] || len(both[0]) != NameSize {
		t.Fatalf("got %q", both)
	}
	for name, got := range map[string]bool{
		"the same key gives the same hash":   ring(t, k1).Names("user", "alice")[0] == both[1],
		"another name has another hash":      ring(t, k1).Names("user", "alicf")[0] != both[1],
		"another kind has another hash":      ring(t, k1).Names("consumer", "alice")[0] != both[1],
		"the kind's end is not the name's":   ring(t, k1).Names("use", "ralice")[0] != both[1],
		"the primary key's hash comes first": ring(t, k1, k2).Names("user", "alice")[0] == both[1],
	} {
		if !got {
			t.Errorf("not so: %s", name)
		}
	}
}

func TestKeysThatCanNotBeUsed(t *testing.T) {
	t.Parallel()
	good := base64.StdEncoding.EncodeToString([]byte("0123456789abcdef0123456789abcdef"))
	for _, text := range []string{good, strings.TrimRight(good, "="), " " + good + "\n",
		hex.EncodeToString([]byte("0123456789abcdef0123456789abcdef"))} {
		if k, err := ParseKey("k-1_2.a", text); err != nil || string(k.Secret[:]) != "0123456789abcdef0123456789abcdef" {
			t.Errorf("%q: %v", text, err)
		}
	}
	for _, c := range []struct{ id, text, want string }{
		{"k", "", "is empty"},
		{"k", good[:40], "not 32 bytes"},
		{"k", good + good, "not 32 bytes"},
		{"k", hex.EncodeToString([]byte("0123456789abcdef")), "not 32 bytes"},
		{"k", "the-password-of-somebody", "not 32 bytes"},
		{"k", strings.Repeat("0", 64), "zero in all its bytes"},
		{"", good, "an id is"},
		{"k 1", good, "an id is"},
		{"ключ", good, "an id is"},
		{strings.Repeat("k", 33), good, "an id is"},
	} {
		_, err := ParseKey(c.id, c.text)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q %q: got %v, want %q", c.id, c.text, err, c.want)
		} else if len(c.text) > 5 && strings.Contains(err.Error(), c.text[:6]) {
			t.Errorf("the error shows the key: %v", err)
		}
	}
	if _, err := New(Key{"a", secret(1)}, Key{"a", secret(2)}); err == nil {
		t.Error("two keys may have one id")
	}
	if _, err := New(Key{"a", secret(1)}, Key{"b", secret(1)}); err == nil {
		t.Error("one key may have two ids")
	}
}

func FuzzOpen(f *testing.F) {
	r := ring(f, Key{"k1", secret(1)}, Key{"k0", secret(2)})
	f.Add(r.Seal("kind", "name", []byte("value")))
	f.Add([]byte{Format, 1, 'k'})
	f.Add([]byte{Format, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		id, ok := SealedWith(b)
		value, err := r.Open("kind", "name", b)
		if err == nil && (!ok || !bytes.Equal(value, []byte("value"))) {
			t.Errorf("%x opens as %q with key %q", b, value, id)
		}
	})
}

func FuzzParseKey(f *testing.F) {
	f.Add("k1", base64.StdEncoding.EncodeToString(make([]byte, KeySize)))
	f.Add("k 1", "zz")
	f.Fuzz(func(t *testing.T, id, text string) {
		k, err := ParseKey(id, text)
		if err == nil && (k.ID != id || k.Secret == [KeySize]byte{} || checkID(id) != nil) {
			t.Errorf("%q, %q is the key %+v", id, text, k)
		}
	})
}

func BenchmarkOpen(b *testing.B) {
	r := ring(b, Key{"k1", secret(1)})
	sealed := r.Seal("token", "name", make([]byte, 250))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Open("token", "name", sealed); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNames(b *testing.B) {
	r := ring(b, Key{"k1", secret(1)})
	b.ReportAllocs()
	for b.Loop() {
		r.Names("user", "alice")
	}
}
