package caddymodule

import (
	"net/http/httptest"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// TestConsumerLimits: a consumer's limits apply to the request token, the exchange, and requests
// with and without a token. (TestAuthorizeOffers and TestAuthorizeRefusals check the levels offered
// to a user.)
func TestConsumerLimits(t *testing.T) {
	site := newTestSite(t, "", "insecure_plaintext_over_http")
	base := tokenstore.Consumer{Secret: "s", TwoLegged: &tokenstore.TwoLegged{User: "bot", Permission: "READ_PUBLIC"}}
	for _, test := range []struct {
		name                              string
		limit                             func(*tokenstore.Consumer)
		requestToken, exchange, use, bare int
	}{
		{"none", func(*tokenstore.Consumer) {}, 200, 200, 200, 200},
		{"signature methods", func(c *tokenstore.Consumer) { c.SignatureMethods = []string{"HMAC-SHA512"} }, 401, 401, 401, 401},
		{"callbacks", func(c *tokenstore.Consumer) { c.Callbacks = []string{"https://b.test/*"} }, 400, 200, 200, 200},
		// A grant with a withdrawn level can be exchanged, but allows nothing.
		{"permissions", func(c *tokenstore.Consumer) { c.Permissions = []string{"WRITE_PUBLIC"} }, 200, 200, 403, 403},
		{"expires", func(c *tokenstore.Consumer) { c.Expires = site.clock.Add(-time.Second) }, 401, 401, 401, 401},
		{"expires now", func(c *tokenstore.Consumer) { c.Expires = site.clock }, 401, 401, 401, 401},
		{"expires soon", func(c *tokenstore.Consumer) { c.Expires = site.clock.Add(time.Second) }, 200, 200, 200, 200},
		{"disabled", func(c *tokenstore.Consumer) { c.Disabled = true }, 401, 401, 401, 401},
		{"not two-legged", func(c *tokenstore.Consumer) { c.TwoLegged = nil }, 200, 200, 200, 401},
	} {
		t.Run(test.name, func(t *testing.T) {
			consumer := base
			consumer.Key = test.name
			test.limit(&consumer)
			if err := site.store().CreateConsumer(t.Context(), &consumer); err != nil {
				t.Fatal(err)
			}
			request := &tokenstore.RequestToken{
				Key: tokenstore.NewKey(), Secret: "rs", Consumer: consumer.Key, Created: site.clock, Expires: site.clock.Add(time.Hour),
			}
			if err := site.store().CreateRequestToken(t.Context(), request); err != nil {
				t.Fatal(err)
			}
			if _, err := site.store().Review(t.Context(), request.Key, tokenstore.Review{User: "alice", Permission: "READ_PUBLIC", Time: site.clock}); err != nil {
				t.Fatal(err)
			}
			token := site.grant(consumer.Key, "alice", "READ_PUBLIC")
			signer := oauth1.Signer{ConsumerKey: consumer.Key, ConsumerSecret: "s", SignatureMethod: "HMAC-SHA256"}
			bare := site.sign(signer, "GET", "http://api.test/x", "")
			signer.Token, signer.TokenSecret = token.Key, token.Secret
			use := site.sign(signer, "GET", "http://api.test/x", "")
			got := func(what string, w *httptest.ResponseRecorder, want int) {
				if w.Code != want {
					t.Errorf("%s: %d %s, want %d", what, w.Code, w.Body, want)
				}
			}
			w, _ := site.serve(plain("/+request-token", consumer.Key, "s", "", "", "oauth_callback", "https://a.test/"))
			got("request token", w, test.requestToken)
			w, _ = site.serve(plain("/+access-token", consumer.Key, "s", request.Key, "rs"))
			got("exchange", w, test.exchange)
			w, _ = site.serve(use)
			got("with a token", w, test.use)
			w, _ = site.serve(bare)
			got("without a token", w, test.bare)
		})
	}
}
