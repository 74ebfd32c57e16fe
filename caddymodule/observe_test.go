package caddymodule

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
)

// TestObservePassesEverythingOn: whatever would become of a request, the next handler gets it as
// the client sent it.
func TestObservePassesEverythingOn(t *testing.T) {
	site := newTestSiteWith(t, "", "observe\npolicy /x* {\n permission READ_PUBLIC\n}")
	token := site.grant("demo", "salgado", "READ_PUBLIC")
	signer := oauth1.Signer{ConsumerKey: "demo", ConsumerSecret: "secret", Token: token.Key, TokenSecret: token.Secret}
	wrong := signer
	wrong.ConsumerSecret = "wrong"
	stranger := signer
	stranger.ConsumerKey = "stranger"
	again := signer
	again.Nonce, again.Timestamp = "once", site.clock.Unix()
	form := func(r *http.Request) *http.Request {
		setBody(r, "a=1&oauth_consumer_key=demo&oauth_signature_method=HMAC-SHA1")
		r.Header.Set("Content-Type", formType)
		return r
	}
	for _, c := range []struct {
		name   string
		r      *http.Request
		result string
	}{
		{"accepted", site.sign(signer, "GET", "http://api.test/x?a=1", ""), "accepted"},
		{"a form", site.sign(signer, "POST", "http://api.test/x", "a=1&b=2"), "accepted"},
		{"a bad signature", site.sign(wrong, "GET", "http://api.test/x", ""), "signature_invalid"},
		{"an unknown consumer", site.sign(stranger, "POST", "http://api.test/x", "a=1"), "consumer_unknown"},
		{"a nonce", site.sign(again, "GET", "http://api.test/x", ""), "accepted"},
		{"the same nonce", site.sign(again, "GET", "http://api.test/x", ""), "nonce_used"},
		{"no credentials", httptest.NewRequest("GET", "http://api.test/x?a=1", nil), "credentials_required"},
		{"no policy", site.sign(signer, "GET", "http://api.test/y", ""), "policy_none"},
		{"parameters in the query", httptest.NewRequest("GET", "http://api.test/x?oauth_consumer_key=demo&a=1", nil), "malformed"},
		{"parameters in a form", form(httptest.NewRequest("POST", "http://api.test/x", nil)), "malformed"},
		{"a path that is read differently", httptest.NewRequest("GET", "http://api.test/x/../y", nil), "path_not_plain"},
		{"a target that is no path", func() *http.Request {
			r := httptest.NewRequest("OPTIONS", "http://api.test/x", nil)
			r.RequestURI = "*"
			return r
		}(), "target_invalid"},
		{"an endpoint", httptest.NewRequest("POST", "http://api.test/+request-token", nil), "endpoint"},
		{"a preflight", func() *http.Request {
			r := httptest.NewRequest("OPTIONS", "http://api.test/x?oauth_token=1", nil)
			r.Header.Set("Origin", "https://a.example")
			r.Header.Set("Access-Control-Request-Method", "GET")
			return r
		}(), "credentials_required"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.r.Header.Set("Upgrade", "h2c")
			c.r.Header.Set("X-Other", "1")
			header, uri, url := c.r.Header.Clone(), c.r.RequestURI, c.r.URL.String()
			var body string
			if c.r.Body != nil {
				text, err := io.ReadAll(c.r.Body)
				if err != nil {
					t.Fatal(err)
				}
				if body = string(text); body != "" {
					setBody(c.r, body)
				}
			}
			// Forged; the API may believe them already.
			c.r.Header.Set("X-OAuth-User", "root")
			c.r.Header["X_oauth_consumer"] = []string{"forged"}
			registry := newCounted(t)
			before := counted(t, registry)["observed "+c.result]
			w, upstream := site.serve(c.r)
			if upstream == nil {
				t.Fatalf("refused: %d %s", w.Code, w.Body)
			}
			got, err := io.ReadAll(upstream.Body)
			if err != nil || string(got) != body {
				t.Errorf("the body is %q, %v; want %q", got, err, body)
			}
			if !maps.EqualFunc(upstream.Header, header, slices.Equal) {
				t.Errorf("the header is %v, want %v", upstream.Header, header)
			}
			if upstream.RequestURI != uri || upstream.URL.String() != url {
				t.Errorf("the URL is %s %s, want %s %s", upstream.RequestURI, upstream.URL, uri, url)
			}
			if orig, _ := upstream.placeholders.GetString("http.request.orig_uri"); orig != uri {
				t.Errorf("the original URI is %s, want %s", orig, uri)
			}
			if user, _ := upstream.placeholders.GetString("http.auth.user.id"); user != "" {
				t.Errorf("the user is %q", user)
			}
			if n := counted(t, registry)["observed "+c.result] - before; n != 1 {
				t.Errorf("%s was counted %v times", c.result, n)
			}
		})
	}
}

// TestObserveKeepsALargeBody: a form that is too large to be judged is passed on whole.
func TestObserveKeepsALargeBody(t *testing.T) {
	site := newTestSiteWith(t, "", "observe\nmax_form_body 1KiB")
	for _, length := range []int64{5000, -1} {
		r := httptest.NewRequest("POST", "http://api.test/x", nil)
		r.Header.Set("Content-Type", formType)
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(strings.Repeat("x", 5000))), length
		_, upstream := site.serve(r)
		if body, err := io.ReadAll(upstream.Body); err != nil || len(body) != 5000 {
			t.Errorf("length %d: %d bytes, %v", length, len(body), err)
		}
	}
}

// TestObservedConsumers: the admin API tells what was seen of a consumer, and no stranger can fill
// the memory.
func TestObservedConsumers(t *testing.T) {
	a := newTestAdmin(t, "consumer watched {\n secret canary-watched\n}")
	// newTestAdmin's site does not observe, so another handler does.
	site := *a.testSite
	handler := *site.handler
	handler.Observe = true
	site.handler = &handler
	signer := oauth1.Signer{ConsumerKey: "watched", ConsumerSecret: "canary-watched", SignatureMethod: "HMAC-SHA256"}
	known := len(observed.seen)
	site.serve(site.sign(signer, "GET", "http://api.test/x", ""))
	signer.SignatureMethod, signer.ConsumerSecret = "HMAC-SHA1", "wrong"
	site.serve(site.sign(signer, "GET", "http://api.test/x", ""))
	site.serve(httptest.NewRequest("GET", "http://api.test/x?oauth_consumer_key=watched&oauth_signature_method=HMAC-SHA1", nil))
	for n := range 300 {
		signer.ConsumerKey = fmt.Sprintf("stranger-%d", n)
		site.serve(site.sign(signer, "GET", "http://api.test/x", ""))
	}
	if grown := len(observed.seen) - known; grown != 1 {
		t.Errorf("the memory has grown by %d consumers", grown)
	}
	out, err := a.commandRunner()("", "consumer", "show", "watched")
	text := squeezed(out)
	for _, want := range []string{
		"Observed: 3 requests, the last at 2", "Signed with: HMAC-SHA1 (2), HMAC-SHA256 (1)",
		"Parameters in: Authorization header (2), query (1)",
		"Would be refused: malformed (1), signature_invalid (1), token_absent (1)",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q", want)
		}
	}
	if err != nil || t.Failed() || strings.Contains(text, "canary") {
		t.Errorf("%v\n%s", err, text)
	}
}

func TestObservationsAreBounded(t *testing.T) {
	t.Parallel()
	var o observations
	for n := range maxObserved + 100 {
		o.note(fmt.Sprint(n), "HMAC-SHA1", "query", "", time.Now())
	}
	if len(o.seen) != maxObserved || o.of("0") == nil || o.of(fmt.Sprint(maxObserved)) != nil {
		t.Errorf("%d consumers are observed", len(o.seen))
	}
}
