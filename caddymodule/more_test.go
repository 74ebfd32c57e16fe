package caddymodule

import (
	"fmt"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// What a request for a request token says of an access token is no token of anybody's: it decides nothing about whose
// share of the consumer's nonces the request takes.
func TestRequestTokenWithATokenOfItsOwn(t *testing.T) {
	site := newTestSite(t, demoConsumer, "")
	signer := oauth1.Signer{ConsumerKey: "demo", ConsumerSecret: "demo-secret", SignatureMethod: "HMAC-SHA1", Token: "invented"}
	r := site.sign(signer, "POST", "http://api.test/+request-token", "")
	w, _ := site.serve(r)
	t.Log(w.Code, w.Body)
	if w.Code == 200 {
		t.Errorf("a request for a request token with oauth_token=invented is answered %d", w.Code)
	}
}

// An anonymous stranger, with open registration, leaves no nonce for each request that is refused.
func TestRefusedExchangesOfAStranger(t *testing.T) {
	site := newTestSite(t, "registration open", "")
	token := &tokenstore.RequestToken{Key: "r", Secret: "s", Consumer: "stranger", Expires: site.clock.Add(time.Hour)}
	if err := site.store().RegisterConsumer(t.Context(), &tokenstore.Consumer{Key: "stranger", SelfRegistered: true}, token); err != nil {
		t.Fatal(err)
	}
	signer := oauth1.Signer{ConsumerKey: "stranger", Token: "r", TokenSecret: "s", SignatureMethod: "HMAC-SHA1"}
	kept := 0
	for range 2000 {
		r := site.sign(signer, "POST", "http://api.test/+access-token", "")
		again := r.Clone(t.Context())
		w, _ := site.serve(r)
		if w.Code != 401 {
			t.Fatal(w.Code, w.Body)
		}
		if w, _ = site.serve(again); w.Body.String() == "This nonce has been used already." {
			kept++
		}
	}
	if kept > 100 {
		t.Errorf("%s", fmt.Sprint(kept, " nonces of 2000 requests that were refused are kept"))
	}
}
