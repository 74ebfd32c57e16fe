package caddymodule

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// queryOfTheGET is the query of a preflight request: the OAuth parameters of the GET that follows.
// Its signature is not valid for an OPTIONS request.
const queryOfTheGET = "a=1&oauth_consumer_key=demo&oauth_signature_method=HMAC-SHA1&oauth_timestamp=1" +
	"&oauth_nonce=n&oauth_signature=x&b=2"

// newPreflight makes a preflight request. more holds names and values of headers in turn; an empty
// value deletes the header.
func newPreflight(method, query string, more ...string) *http.Request {
	r := httptest.NewRequest(method, "http://api.test/x?"+query, nil)
	r.Header.Set("Origin", "https://app.test")
	r.Header.Set("Access-Control-Request-Method", "PUT")
	for i := 0; i < len(more); i += 2 {
		switch {
		case more[i+1] == "":
			r.Header.Del(more[i])
		default:
			r.Header.Add(more[i], more[i+1])
		}
	}
	return r
}

const preflightMatcher = `@preflight {
	method OPTIONS
	header Origin *
	header Access-Control-Request-Method *
}`

// TestPreflight: a CORS-preflight request (Fetch) is anonymous, whatever its query holds.
func TestPreflight(t *testing.T) {
	const open = "policy @preflight {\n anonymous\n}\npolicy {\n permission READ_PUBLIC\n}"
	const asked, override = "Access-Control-Request-Method", "X-HTTP-Method-Override"
	signed := func(more ...string) *http.Request { return newPreflight("OPTIONS", queryOfTheGET, more...) }
	unsigned := func(more ...string) *http.Request { return newPreflight("OPTIONS", "", more...) }
	malformed := newPreflight("OPTIONS", "oauth_nonce=1&oauth_nonce=2&oauth_version=3")
	for _, test := range []struct {
		name, directive string
		request         *http.Request
		status          int // 200: the request reaches the upstream
	}{
		{"a policy says anonymous", open, signed(), 200},
		{"without a query", open, unsigned(), 200},
		{"malformed parameters are not looked at", open, malformed, 200},
		{"Origin: null, of a sandboxed frame", open, signed("Origin", "", "Origin", "null"), 200},
		{"keep_authorization keeps nothing of it", open + "\nkeep_authorization", signed(), 200},
		{"no policy says anonymous", "", signed(), 401},
		{"no policy says anonymous, without a query", "", unsigned(), 401},
		{"a policy denies", "policy {\n deny\n}", signed(), 403},

		{"Authorization is looked at", open, unsigned("Authorization", `OAuth oauth_nonce="1"`), 400},
		{"Authorization of another scheme", open, signed("Authorization", "Basic eA=="), 401},
		{"GET is none", open, newPreflight("GET", queryOfTheGET), 401},
		{"without Origin", open, signed("Origin", ""), 401},
		{"Origin twice", open, signed("Origin", "https://b.test"), 401},
		{"without the method that it asks for", open, signed(asked, ""), 401},
		{"two methods that it asks for", open, signed(asked, "GET"), 401},
		{"a form", open, signed("Content-Type", formType), 401},
		{"a method override", open, signed(override, "DELETE"), 401},
		{"a method override, spelled for CGI", open, signed("X_http-Method_OVERRIDE", "DELETE"), 401},
		{"a method override, nothing signed", open, unsigned(override, "DELETE"), 401},
		{"Connection takes Origin away", open, signed("Connection", "Origin"), 401},
	} {
		t.Run(test.name, func(t *testing.T) {
			site := newTestSiteWith(t, preflightMatcher, test.directive)
			test.request.Header.Set("X-OAuth-User", "root")
			test.request.Header.Set("X_oauth.consumer", "root")
			w, upstream := site.serve(test.request)
			if test.status != 200 {
				if upstream != nil || w.Code != test.status {
					t.Fatalf("got %d %q, want %d", w.Code, w.Body, test.status)
				}
				return
			}
			if upstream == nil {
				t.Fatalf("refused with %d %q", w.Code, w.Body)
			}
			if strings.Contains(upstream.URL.RawQuery+upstream.RequestURI, "oauth_") {
				t.Errorf("the upstream gets %s", upstream.RequestURI)
			}
			for name := range upstream.Header {
				if strings.Contains(strings.ToLower(name), "oauth") {
					t.Errorf("the upstream gets %s", name)
				}
			}
			if user, _ := upstream.placeholders.GetString("http.auth.user.id"); user != "" {
				t.Errorf("it acts for %s", user)
			}
		})
	}
}

// TestPreflightKeepsTheRestOfTheQuery: the other parameters stay byte for byte, in order.
func TestPreflightKeepsTheRestOfTheQuery(t *testing.T) {
	site := newTestSiteWith(t, preflightMatcher, "policy @preflight {\n anonymous\n}")
	_, upstream := site.serve(newPreflight("OPTIONS", queryOfTheGET))
	if upstream == nil {
		t.Fatal("refused")
	}
	if upstream.URL.RawQuery != "a=1&b=2" || upstream.RequestURI != "http://api.test/x?a=1&b=2" {
		t.Errorf("the upstream gets %s, parsed %s", upstream.RequestURI, upstream.URL)
	}
}

// TestPreflightUsesNoNonce: only the request that follows uses the nonce.
func TestPreflightUsesNoNonce(t *testing.T) {
	site := newTestSiteWith(t, "", "policy {\n anonymous\n}")
	registry := newCounted(t)
	before := counted(t, registry)
	for range 2 {
		r := newPreflight("OPTIONS", queryOfTheGET)
		if w, upstream := site.serve(r); upstream == nil {
			t.Fatalf("got %d %q", w.Code, w.Body)
		}
	}
	after := counted(t, registry)
	passed := after["api anonymous"] - before["api anonymous"]
	if passed != 2 || after["api accepted"] != before["api accepted"] {
		t.Errorf("counted %v, then %v", before, after)
	}
}

// TestPreflightOfARewrite: only a client's own OPTIONS is a preflight request.
func TestPreflightOfARewrite(t *testing.T) {
	site := newTestSiteWith(t, "", "policy {\n anonymous\n}")
	for _, methods := range [][2]string{{"GET", "OPTIONS"}, {"OPTIONS", "GET"}} {
		site.inRequest(newPreflight(methods[0], queryOfTheGET), func(r *http.Request, _ *caddy.Replacer) {
			r.Method = methods[1]
			w := httptest.NewRecorder()
			next := caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error {
				t.Errorf("%v: passed", methods)
				return nil
			})
			if err := site.handler.ServeHTTP(w, r, next); err != nil || w.Code != 401 {
				t.Errorf("%v: %d %q, %v", methods, w.Code, w.Body, err)
			}
		})
	}
}
