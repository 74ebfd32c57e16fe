package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/refusal"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// failingNonces is a store whose UseNonce fails.
type failingNonces struct {
	tokenstore.Store
	err  error
	used tokenstore.Nonce
}

func (s *failingNonces) UseNonce(_ context.Context, n tokenstore.Nonce) error {
	s.used = n
	return s.err
}

// TestErrorsOfAStoreWithReplicas: such a store may need seconds after a failover, and finds a
// revocation together with the nonce.
func TestErrorsOfAStoreWithReplicas(t *testing.T) {
	site := newTestSite(t, demoConsumer, "")
	token := site.grant("demo", "alice", "WRITE_PRIVATE")
	store := &failingNonces{Store: site.app.store}
	site.app.store = store
	t.Cleanup(func() { site.app.store = store.Store })
	signer := oauth1.Signer{ConsumerKey: "demo", ConsumerSecret: "demo-secret", Token: token.Key, TokenSecret: token.Secret, SignatureMethod: "HMAC-SHA256"}
	later := func(after time.Duration) error {
		return fmt.Errorf("nonce: %w", &tokenstore.LaterError{After: after, Err: errors.New("the lease is not there yet")})
	}
	for _, c := range []struct {
		name       string
		err        error
		status     int
		text       string
		retryAfter string
	}{
		{"any error is 503 with five seconds", errors.New("broken"), 503, refusal.Store.Text, "5"},
		{"a store that knows when says when", later(6 * time.Second), 503, refusal.Store.Text, "6"},
		{"parts of a second are rounded up", later(2*time.Second + time.Millisecond), 503, refusal.Store.Text, "3"},
		{"never less than a second", later(0), 503, refusal.Store.Text, "1"},
		{"a token that was revoked meanwhile is unknown", tokenstore.ErrNotFound, 401, "Unknown access token (" + token.Key + ").", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			store.err = c.err
			w, upstream := site.serve(site.sign(signer, "GET", "http://api.test/x", ""))
			if w.Code != c.status || upstream != nil || w.Body.String() != c.text || w.Header().Get("Retry-After") != c.retryAfter {
				t.Errorf("got %d %q, Retry-After %q, upstream %v", w.Code, w.Body, w.Header().Get("Retry-After"), upstream != nil)
			}
			if got := store.used.AccessToken; got == nil || got.Key != token.Key {
				t.Errorf("the nonce came with the token %+v", got)
			}
		})
	}
}

// TestWhoseFaultAFailedCallIs: only a store that should work and does not is an error for operators.
// Clients that go away, and requests that outlive the server, could fill the log otherwise.
func TestWhoseFaultAFailedCallIs(t *testing.T) {
	site := newTestSite(t, demoConsumer, "")
	token := site.grant("demo", "alice", "WRITE_PRIVATE")
	store := &failingNonces{Store: site.app.store}
	site.app.store = store
	t.Cleanup(func() { site.app.store = store.Store })
	signer := oauth1.Signer{ConsumerKey: "demo", ConsumerSecret: "demo-secret", Token: token.Key, TokenSecret: token.Secret, SignatureMethod: "HMAC-SHA256"}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		name   string
		ctx    context.Context
		err    error
		reason string
		errors int
	}{
		{"the store fails", t.Context(), errors.New("broken"), "store_unavailable", 1},
		{"the store fails, and the client has gone", gone, errors.New("broken"), "store_unavailable", 1},
		{"the store gives up by itself", t.Context(), context.Canceled, "store_unavailable", 1},
		{"the client has gone", gone, fmt.Errorf("nonce: %w", context.Canceled), "client_gone", 0},
		{"the store is closed", t.Context(), fmt.Errorf("nonce: %w", tokenstore.ErrClosed), "server_stopping", 0},
		{"the store is closed, and the client has gone", gone, tokenstore.ErrClosed, "server_stopping", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			core, logs := observer.New(zap.DebugLevel)
			site.handler.events.logger = zap.New(core)
			site.handler.events.failures = new(storeFailures) // without those of the other cases
			store.err = c.err
			r := site.sign(signer, "GET", "http://api.test/x", "")
			site.serve(r.WithContext(c.ctx))
			refused := logs.FilterMessage("request refused").All()
			if len(refused) != 1 || refused[0].ContextMap()["reason"] != c.reason {
				t.Fatalf("logged %+v, want the reason %s", refused, c.reason)
			}
			if n := logs.FilterLevelExact(zap.ErrorLevel).Len(); n != c.errors {
				t.Errorf("%d errors in the log, want %d", n, c.errors)
			}
		})
	}
}
