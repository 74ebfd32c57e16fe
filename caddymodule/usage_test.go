package caddymodule

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// touched is a store that only records the reported uses.
type touched struct {
	tokenstore.Store
	batches []map[string]time.Time
}

func (s *touched) Touch(_ context.Context, used map[string]time.Time) error {
	s.batches = append(s.batches, used)
	return nil
}

func TestUsageIsWrittenInBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(touched)
		var u usage
		u.start(store, zap.NewNop())
		fresh := &tokenstore.AccessToken{Key: "fresh", LastUsed: time.Now().Add(-usageResolution / 2)}
		for range 1000 {
			u.note(&tokenstore.AccessToken{Key: "a"}, time.Now())
			u.note(&tokenstore.AccessToken{Key: "b"}, time.Now())
			u.note(fresh, time.Now())
		}
		time.Sleep(usageInterval + time.Second)
		synctest.Wait()
		if len(store.batches) != 1 || len(store.batches[0]) != 2 {
			t.Fatalf("batches: %v", store.batches)
		}
		time.Sleep(10 * usageInterval)
		synctest.Wait()
		if len(store.batches) != 1 {
			t.Errorf("wrote without need: %v", store.batches)
		}
		u.note(&tokenstore.AccessToken{Key: "c"}, time.Now())
		u.end()
		if len(store.batches) != 2 {
			t.Error("the end lost noted uses")
		}
	})
}

func TestLastUsedIsStored(t *testing.T) {
	site := newTestSite(t, "consumer demo {\nsecret s3cr3t\n}", "")
	token := site.grant("demo", "alice", "READ_PUBLIC")
	signer := oauth1.Signer{ConsumerKey: "demo", ConsumerSecret: "s3cr3t", Token: token.Key, TokenSecret: token.Secret}
	if w, upstream := site.serve(site.sign(signer, http.MethodGet, "http://api.test/", "")); upstream == nil {
		t.Fatalf("refused: %s", w.Body)
	}
	site.app.usage.end() // Cleanup does the same
	used, err := site.store().LastUsed(t.Context(), token.Key)
	if err != nil {
		t.Fatal(err)
	}
	if used.Unix() != site.clock.Unix() {
		t.Errorf("last used: %v, want %v", used, site.clock)
	}
}
