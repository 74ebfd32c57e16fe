package caddymodule

import (
	"io"
	"math"
	"testing"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
)

// TestNoLimitForForms: with the largest number in JSON, max_form_body is no limit, and no body is
// lost.
func TestNoLimitForForms(t *testing.T) {
	site := newTestSite(t, demoConsumer, "")
	site.handler.MaxFormBody = math.MaxInt64
	token := site.grant("demo", "alice", "WRITE_PRIVATE")
	signer := oauth1.Signer{ConsumerKey: "demo", ConsumerSecret: "demo-secret", Token: token.Key, TokenSecret: token.Secret}
	w, upstream := site.serve(site.sign(signer, "POST", "http://api.test/x", "a=b"))
	if upstream == nil {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if body, _ := io.ReadAll(upstream.Body); string(body) != "a=b" {
		t.Errorf("body %q", body)
	}
}
