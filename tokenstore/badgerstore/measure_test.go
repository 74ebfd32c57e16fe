package badgerstore

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// TestMeasure: the figures follow what happens in the store.
func TestMeasure(t *testing.T) {
	now := time.Now()
	syncs := 0
	s := openTest(t, Options{Path: t.TempDir(), MaxNonces: 50, Sync: true})
	s.WatchSyncs(func(took time.Duration) { syncs++ })
	if err := s.CreateConsumer(t.Context(), &tokenstore.Consumer{Key: "a"}); err != nil {
		t.Fatal(err)
	}
	for range 3 { // read from disk once
		if _, err := s.Consumer(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
	}
	for i, consumer := range []string{"a", "a", "b"} {
		n := tokenstore.Nonce{Consumer: consumer, Timestamp: now.Unix(), Value: fmt.Sprint(i), Expires: now.Add(time.Hour)}
		if err := s.UseNonce(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	m := s.Measure()
	if *m.Nonces != 3 || *m.NonceConsumerMax != 2 || *m.NonceLimit != 50 {
		t.Errorf("nonces: %d, of one consumer %d, limit %d; want 3, 2, 50", *m.Nonces, *m.NonceConsumerMax, *m.NonceLimit)
	}
	if floor := *m.NonceFloor; floor < 0 || floor > now.Unix() {
		t.Errorf("the floor of a new store is %d", floor)
	}
	if want := (tokenstore.CacheUse{Name: "consumers", Hits: 2, Misses: 1}); m.Caches[0] != want {
		t.Errorf("cache: %+v, want %+v", m.Caches[0], want)
	}
	if *m.Size < 1<<10 || *m.Free < 1<<20 {
		t.Errorf("size %d, free %d bytes", *m.Size, *m.Free)
	}
	if syncs != 3 {
		t.Errorf("%d syncs were told, want 3", syncs)
	}
	if err := s.Failed(); err != nil {
		t.Errorf("a store that works has failed: %v", err)
	}
	broken := errors.New("broken")
	s.tokens.failed.Store(&broken)
	if err := s.Failed(); !errors.Is(err, broken) {
		t.Errorf("a store that failed: %v, want %v", err, broken)
	}
}
