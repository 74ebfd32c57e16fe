package usednonce

import (
	"encoding/hex"
	"testing"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

var someKey = [KeySize]byte{1, 2, 3}

func of(consumer, token, value string, timestamp int64) *tokenstore.Nonce {
	return &tokenstore.Nonce{Consumer: consumer, Token: token, Value: value, Timestamp: timestamp}
}

// The digests are in stores of running servers: a change of the form would accept every nonce again.
func TestDigestsStayTheSame(t *testing.T) {
	n := of("consumer", "token", "nonce", 1_700_000_000)
	keyed := Keyed(someKey, n)
	plain, spread := Plain(n)
	for _, c := range []struct{ name, got, want string }{
		{"keyed", hex.EncodeToString(keyed[:]), "c5528e1f457e52c29273d933"},
		{"plain", hex.EncodeToString(plain[:]), "6553f100fc52789bca533ba2"},
		{"spread", hex.EncodeToString([]byte{spread}), "e2"},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, c.got, c.want)
		}
	}
}

func TestDigestsDiffer(t *testing.T) {
	seen := make(map[Digest]int)
	for i, n := range []*tokenstore.Nonce{
		of("a", "b", "c", 1), of("ab", "", "c", 1), of("a", "", "bc", 1), of("", "ab", "c", 1),
		of("a", "bc", "", 1), of("a", "b", "c", 2), of("a", "b", "d", 1),
	} {
		plain, _ := Plain(n)
		for _, d := range []Digest{Keyed(someKey, n), Keyed([KeySize]byte{}, n), plain} {
			if other, ok := seen[d]; ok {
				t.Errorf("nonces %d and %d have one digest", i, other)
			}
			seen[d] = i
		}
	}
}

func TestSet(t *testing.T) {
	used, plain, late, other := of("a", "t", "1", 10), of("a", "t", "2", 10), of("a", "t", "3", 10), of("a", "t", "4", 10)
	keyed, first, second := Keyed(someKey, used), Keyed(someKey, late), Digest{}
	second, _ = Plain(plain)
	s := NewSet([]*tokenstore.UsedNonces{
		{Key: string(someKey[:]), Digests: string(keyed[:]), Expires: 100},
		{Key: string(someKey[:]), Digests: string(first[:]), Expires: 50},
		{Digests: string(second[:]), Expires: 80},
	}, 50)
	for _, c := range []struct {
		name string
		n    *tokenstore.Nonce
		want bool
	}{
		{"keyed", used, true}, {"plain", plain, true}, {"expired", late, false}, {"not used", other, false},
	} {
		if got := s.Has(c.n); got != c.want {
			t.Errorf("%s: %t", c.name, got)
		}
	}
	if s.Over(99) || !s.Over(100) {
		t.Error("the set must be over when its last nonce expires")
	}
	if s := NewSet(nil, 0); s != nil || s.Has(used) || !s.Over(0) {
		t.Error("a set of nothing has something")
	}
}
