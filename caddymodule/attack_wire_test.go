package caddymodule

import (
	"io"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// TestFreeQueriesDoNotFreeThePath: a * in the query of a registered callback does not match paths.
// New callbacks with such a * are refused.
func TestFreeQueriesDoNotFreeThePath(t *testing.T) {
	for registered, callback := range map[string]string{
		"https://app.test/back?state=*": "https://app.test/backdoor",
		"https://app.test/?next=/*":     "https://app.test/redirect",
		"https://app.test?next=/*":      "https://app.test/redirect",
		"myapp://done/x?a=*":            "myapp://done/xyz",
	} {
		c := &tokenstore.Consumer{Callbacks: []string{registered}, CallbacksIgnoreQuery: true}
		if checkCallbackPattern(registered) != nil {
			continue
		}
		if err := checkCallback(c, callback); err == nil {
			t.Errorf("%q is accepted for %q", callback, registered)
		}
	}
}

// TestLinksHoldNoAnswer: the callback of an unsigned link must not hold the parameters that the
// server appends. Most applications read the first of two oauth_token.
func TestLinksHoldNoAnswer(t *testing.T) {
	for _, callback := range []string{
		"https://app.test/back?oauth_token=x", "https://app.test/back?oauth_verifier=x",
		"https://app.test/back?a=b&%6fauth_token=x", "https://app.test/back?oauth_problem=x",
	} {
		for _, c := range []*tokenstore.Consumer{
			{Callbacks: []string{"https://app.test/*"}},
			{Callbacks: []string{"https://app.test/back"}, CallbacksIgnoreQuery: true},
		} {
			token := &tokenstore.RequestToken{Consumer: c.Key}
			if got, err := pageCallback(c, token, []string{callback}); err == nil && got != "" {
				t.Errorf("a link may name %q", got)
			}
		}
	}
}

// TestVerifierApartFromAFormOfNoType: Launchpad's own client sends no Content-Type, and the
// verifier may be apart from the other parameters.
func TestVerifierApartFromAFormOfNoType(t *testing.T) {
	site := newTestSite(t, demoConsumer, "insecure_plaintext_over_http")
	for _, contentType := range []string{formType, ""} {
		r := httptest.NewRequest("POST", "http://api.test/+request-token?oauth_callback=oob", nil)
		setBody(r, "oauth_consumer_key=demo&oauth_signature_method=PLAINTEXT&oauth_signature=demo-secret%26")
		if contentType != "" {
			r.Header.Set("Content-Type", contentType)
		}
		if w, _ := site.serve(r); w.Code != 200 {
			t.Errorf("Content-Type %q: %d %q", contentType, w.Code, w.Body)
		}
	}
}

// TestBodyOfNoLength: over HTTP/3 a request without a body has no length, and an empty chunked body
// has none either. There is nothing that a body hash could protect.
func TestBodyOfNoLength(t *testing.T) {
	site := newTestSite(t, demoConsumer, "require_body_hash")
	token := site.grant("demo", "alice", "READ_PUBLIC")
	signer := oauth1.Signer{
		ConsumerKey: "demo", ConsumerSecret: "demo-secret", Token: token.Key, TokenSecret: token.Secret,
		SignatureMethod: "HMAC-SHA1",
	}
	r := site.sign(signer, "GET", "http://api.test/x", "")
	r.Body, r.ContentLength = io.NopCloser(strings.NewReader("")), -1
	if w, upstream := site.serve(r); upstream == nil {
		t.Errorf("%d %q", w.Code, w.Body)
	}
}

// TestEndpointsDoNotTakeTheirOwnParameters: an endpoint's query must not use a parameter that its
// page reads, or the page is unreachable.
func TestEndpointsDoNotTakeTheirOwnParameters(t *testing.T) {
	for _, endpoints := range []string{
		"authorize /w?done=1", "authorize /w?lp.context=x", "authorize /w?allow_permission=x",
		"tokens /w?after=x", "tokens /w?revoked=x", "authorize /w?proof=x",
	} {
		site, err := provisionTestSite(t, demoConsumer, "endpoints {\n "+endpoints+"\n}")
		if err == nil && site.handler.Validate() == nil {
			t.Errorf("%q loads", endpoints)
		}
	}
}

// TestPagesHaveNoProblem: the manual says that {oauth1.refusal.problem} is empty for pages, and
// recipes recognise pages by it.
func TestPagesHaveNoProblem(t *testing.T) {
	site := newTestSite(t, demoConsumer, "")
	for _, r := range []string{"GET /+authorize-token", "GET /+oauth-tokens", "PUT /+oauth-tokens"} {
		method, path, _ := strings.Cut(r, " ")
		values, _, _ := site.published(httptest.NewRequest(method, "http://api.test"+path, nil))
		if word := strings.Split(values, "|")[1]; word != "" {
			t.Errorf("%s: the problem is %q", r, word)
		}
	}
}

// TestCallbacksDoNotClimbByParameters: servers in Java read /..;x/ as /../.
func TestCallbacksDoNotClimbByParameters(t *testing.T) {
	c := &tokenstore.Consumer{Callbacks: []string{"https://app.test/oauth/*"}}
	for _, callback := range []string{
		"https://app.test/oauth/..;/evil", "https://app.test/oauth/..;a=b/evil",
		"https://app.test/oauth/%2e.;/evil", "https://app.test/oauth/..%3b/evil", "https://app.test/oauth/%252e%252e/evil",
	} {
		if checkCallback(c, callback) == nil {
			t.Errorf("%q is accepted", callback)
		}
	}
}
