package badgerstore

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// TestSnapshotIsOfOneMoment: what one change wrote is in it as a whole, or not at all. A reader that
// takes its time holds up neither a change nor the end of the store.
func TestSnapshotIsOfOneMoment(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s, err := Open(Options{Path: filepath.Join(t.TempDir(), "store")})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	register := func(key string) error {
		return s.RegisterConsumer(ctx, &tokenstore.Consumer{Key: key, SelfRegistered: true, Created: now},
			&tokenstore.RequestToken{Key: "of " + key, Consumer: key, Created: now, Expires: now.Add(time.Hour)})
	}
	for i := range 3 * walkedAtOnce {
		if err := register(fmt.Sprint("before ", i)); err != nil {
			t.Fatal(err)
		}
	}
	consumers, requests := 0, 0
	var last error
	var writing sync.WaitGroup
	for r, err := range s.Snapshot(ctx) {
		last = err
		switch r.(type) {
		case *tokenstore.Consumer:
			consumers++
			if consumers%50 == 0 {
				writing.Go(func() {
					if err := register(fmt.Sprint("meanwhile ", consumers)); err != nil {
						t.Error(err)
					}
				})
				writing.Wait() // while this reader waits
			}
		case *tokenstore.RequestToken:
			requests++
		}
	}
	if last != nil || consumers != 3*walkedAtOnce || requests != consumers {
		t.Errorf("%d consumers and %d request tokens, %v; want %d", consumers, requests, last, 3*walkedAtOnce)
	}

	for _, err := range s.Snapshot(ctx) {
		if last = err; err == nil && !s.closed.Load() {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if !errors.Is(last, tokenstore.ErrClosed) {
		t.Errorf("after the store was closed: %v", last)
	}
}
