package badgerstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

func TestNoncesOfOneConsumerAreLimited(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	s := openTest(t, Options{MaxNonces: 10, Clock: func() time.Time { return now }})
	use := func(consumer string, i int, timestamp int64) error {
		return s.UseNonce(t.Context(), tokenstore.Nonce{Consumer: consumer, Value: fmt.Sprint(i), Timestamp: timestamp,
			Expires: time.Unix(timestamp+300, 0)})
	}
	for i := range 10 {
		if err := use("k", i, now.Unix()+int64(i)*30); err != nil {
			t.Fatal(err)
		}
	}
	if err := use("k", 10, now.Unix()); !errors.Is(err, tokenstore.ErrNoncesFull) {
		t.Errorf("got %v, want %v", err, tokenstore.ErrNoncesFull)
	}
	if err := use("k", 0, now.Unix()); !errors.Is(err, tokenstore.ErrNonceUsed) {
		t.Errorf("got %v, want %v", err, tokenstore.ErrNonceUsed)
	}
	if err := use("other", 0, now.Unix()); err != nil {
		t.Errorf("another consumer: %v", err)
	}
	// What expires makes room, and only that.
	if err := s.nonces.lookAfter(now.Add(390*time.Second), nil); err != nil {
		t.Fatal(err)
	}
	if err := use("k", 0, now.Unix()); !errors.Is(err, tokenstore.ErrNonceForgotten) {
		t.Errorf("got %v, want %v", err, tokenstore.ErrNonceForgotten)
	}
	made := 0
	for i := range 10 {
		if err := use("k", 100+i, now.Unix()+300); err == nil {
			made++
		}
	}
	if made == 0 || made == 10 {
		t.Errorf("there was room for %d", made)
	}
}

func TestNonceDigestHasNoAmbiguity(t *testing.T) {
	n := new(nonces)
	seen := make(map[nonceDigest]tokenstore.Nonce)
	for _, nonce := range []tokenstore.Nonce{
		{Consumer: "ab", Token: "c"}, {Consumer: "a", Token: "bc"}, {Consumer: "abc"}, {Token: "abc"}, {Value: "abc"},
		{Consumer: string(binary.AppendUvarint([]byte("a"), 1)) + "b"}, {Consumer: "a", Token: "b"}, {Timestamp: 1}, {Timestamp: -1}, {},
		{Value: strings.Repeat("x", 1000)},
	} {
		l, err := n.digest(&nonce)
		if err != nil {
			t.Fatal(err)
		}
		if old, ok := seen[l.digest]; ok {
			t.Errorf("%+v and %+v are alike", old, nonce)
		}
		seen[l.digest] = nonce
	}
}
