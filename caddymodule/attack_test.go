package caddymodule

import (
	"context"
	"net/http"
	"testing"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// TestUnknownKeysAreToldAndCostLittle: the text of a refusal says which key is unknown, so the
// checks do not hide it in time. They compute no signature, make no further look-ups, and use no
// nonce.
func TestUnknownKeysAreToldAndCostLittle(t *testing.T) {
	site := newTestSite(t, "consumer known {\n\tsecret s\n}", "insecure_plaintext_over_http")
	if err := site.store().CreateConsumer(t.Context(), &tokenstore.Consumer{Key: "stored", Secret: "s", Created: site.clock}); err != nil {
		t.Fatal(err)
	}
	token, other := site.grant("stored", "alice", "READ_PUBLIC"), site.grant("known", "alice", "READ_PUBLIC")
	counter := &countingStore{Store: site.store()}
	site.app.store = counter
	for _, c := range []struct {
		consumer, token, reason string
		tokens                  int // the number of tokens looked up
	}{
		{"stored", token.Key, "Invalid signature.", 1},
		{"stored", "unknown", "Unknown access token (unknown).", 1},
		{"stored", other.Key, "Unknown access token (" + other.Key + ").", 1},
		{"unknown", token.Key, "Unknown consumer (unknown).", 0},
		{"unknown", "unknown", "Unknown consumer (unknown).", 0},
	} {
		for _, method := range []string{"HMAC-SHA1", "HMAC-SHA256", "PLAINTEXT"} {
			*counter = countingStore{Store: counter.Store}
			wrong := oauth1.Signer{ConsumerKey: c.consumer, ConsumerSecret: "wrong", Token: c.token, TokenSecret: "wrong", SignatureMethod: method}
			w, upstream := site.serve(site.sign(wrong, "GET", "http://api.test/x", ""))
			if upstream != nil || w.Code != http.StatusUnauthorized || w.Body.String() != c.reason {
				t.Errorf("%v: %d %s", c, w.Code, w.Body)
			}
			if counter.consumers != 1 || counter.tokens != c.tokens || counter.nonces != 0 {
				t.Errorf("%v: looked up %d consumers and %d tokens, and used %d nonces", c, counter.consumers, counter.tokens, counter.nonces)
			}
		}
	}
}

type countingStore struct {
	tokenstore.Store
	consumers, tokens, nonces int
}

func (s *countingStore) Consumer(ctx context.Context, key string) (*tokenstore.Consumer, error) {
	s.consumers++
	return s.Store.Consumer(ctx, key)
}

func (s *countingStore) AccessToken(ctx context.Context, key string) (*tokenstore.AccessToken, error) {
	s.tokens++
	return s.Store.AccessToken(ctx, key)
}

func (s *countingStore) UseNonce(ctx context.Context, n tokenstore.Nonce) error {
	s.nonces++
	return s.Store.UseNonce(ctx, n)
}
