package caddymodule

import (
	"errors"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
)

// TestStoreOutOfReachInTheLog: while the store is out of reach, every request is refused, and the
// log says so in a line, not in thousands.
func TestStoreOutOfReachInTheLog(t *testing.T) {
	site := newTestSite(t, demoConsumer, "")
	token := site.grant("demo", "alice", "WRITE_PRIVATE")
	store := &failingNonces{Store: site.app.store, err: errors.New("connection refused")}
	site.app.store = store
	t.Cleanup(func() { site.app.store = store.Store })
	core, logs := observer.New(zap.DebugLevel)
	site.handler.events.logger = zap.New(core)
	signer := oauth1.Signer{ConsumerKey: "demo", ConsumerSecret: "demo-secret", Token: token.Key, TokenSecret: token.Secret, SignatureMethod: "HMAC-SHA256"}
	const requests = 50
	for range requests {
		if w, _ := site.serve(site.sign(signer, "GET", "http://api.test/x", "")); w.Code != 503 {
			t.Fatalf("got %d", w.Code)
		}
	}
	if n := logs.FilterLevelExact(zapcore.ErrorLevel).Len(); n != 1 {
		t.Errorf("%d lines at ERROR, want 1", n)
	}
	if n := logs.Len(); n != requests {
		t.Errorf("%d lines in all, want %d", n, requests)
	}
}

func TestStoreFailures(t *testing.T) {
	var f storeFailures
	start := time.Now()
	refused, oom := errors.New("connection refused"), errors.New("no memory left")
	for _, c := range []struct {
		after  time.Duration
		err    error
		logged bool
		silent int
	}{
		{0, refused, true, 0},
		{time.Millisecond, refused, false, 0},
		{2 * time.Millisecond, oom, false, 0},
		{time.Second, oom, true, 2},
		{2 * time.Second, oom, false, 0},
		{3 * time.Second, refused, true, 1},
		{62 * time.Second, refused, false, 0},
		{63 * time.Second, refused, true, 1},
	} {
		if logged, silent := f.note(c.err, start.Add(c.after)); logged != c.logged || silent != c.silent {
			t.Errorf("%q after %v: got %v %d, want %v %d", c.err, c.after, logged, silent, c.logged, c.silent)
		}
	}
}
