package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

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
