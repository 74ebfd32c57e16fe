package caddymodule

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// TestUnknownTokensPass: what concerns nothing that is known here reaches the error routes as it
// came. Everything else does so without its credentials, or not at all.
func TestUnknownTokensPass(t *testing.T) {
	site := newTestSite(t, "consumer demo {\n secret secret\n}", "unknown_tokens pass\ninsecure_plaintext_over_http")
	for _, c := range []*tokenstore.Consumer{
		{Key: "off", Secret: "secret", Disabled: true},
		{Key: "over", Secret: "secret", Expires: site.clock.Add(-time.Hour)},
	} {
		if err := site.store().CreateConsumer(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	expired := &tokenstore.AccessToken{Key: "expired", Secret: "s", Consumer: "demo", User: "u",
		Permission: "READ_PUBLIC", Expires: site.clock.Add(-time.Minute)}
	if err := site.store().CreateAccessToken(t.Context(), expired); err != nil {
		t.Fatal(err)
	}
	err := site.store().CreateRequestToken(t.Context(), &tokenstore.RequestToken{Key: "ours", Secret: "s",
		Consumer: "demo", Created: site.clock, Expires: site.clock.Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	signed := func(consumer, secret, token string) *http.Request {
		return site.sign(oauth1.Signer{ConsumerKey: consumer, ConsumerSecret: secret, Token: token, TokenSecret: "t"},
			"POST", "http://api.test/x?a=1", "b=2")
	}
	stale := func(path, consumer string) *http.Request {
		site.clock = site.clock.Add(-time.Hour)
		defer func() { site.clock = site.clock.Add(time.Hour) }()
		return site.sign(oauth1.Signer{ConsumerKey: consumer, ConsumerSecret: "secret"}, "POST", "http://api.test"+path, "")
	}
	page := func(method, query, form, user string) *http.Request {
		r := httptest.NewRequest(method, "http://api.test/+authorize-token?"+query, nil)
		if form != "" {
			setBody(r, form)
			r.Header.Set("Content-Type", formType)
		}
		if user != "" {
			r.Header.Set("Test-User", user)
		}
		return r
	}
	inForm := httptest.NewRequest("POST", "http://api.test/x", nil)
	setBody(inForm, "oauth_consumer_key=nobody&oauth_signature_method=PLAINTEXT&oauth_signature=s%26t&oauth_token=t")
	inForm.Header.Set("Content-Type", formType)
	inHeader := func(target, authorization string) *http.Request {
		r := httptest.NewRequest("GET", "http://api.test"+target, nil)
		r.Header.Set("Authorization", "OAuth "+authorization)
		return r
	}
	const header = `oauth_consumer_key="nobody",oauth_signature_method="PLAINTEXT",oauth_signature="s%26t",oauth_token="t"`
	withBody := func(r *http.Request, contentType, body string) *http.Request {
		r.Method = "POST"
		setBody(r, body)
		r.Header.Set("Content-Type", contentType)
		return r
	}
	const multipart = "--b\r\nContent-Disposition: form-data; name=oauth_consumer_key\r\n\r\noff\r\n--b--\r\n"
	server := serverWithErrors(t, `handle_errors {
		@passes vars {oauth1.refusal.passes} true
		respond @passes "elsewhere" 202
		respond "here" 418
	}`)
	for _, c := range []struct {
		name   string
		r      *http.Request
		passes bool
	}{
		{"an unknown consumer", signed("nobody", "s", "t"), true},
		{"an unknown consumer in the query", plain("/x", "nobody", "s", "t", "s"), true},
		{"an unknown consumer in a form", inForm, true},
		{"an unknown consumer wants a request token", plain("/+request-token", "nobody", "s", "", ""), true},
		{"an unknown consumer wants an access token", plain("/+access-token", "nobody", "s", "t", "s"), true},
		{"an unknown consumer, an old timestamp", stale("/x", "nobody"), true},
		{"an unknown consumer with an old timestamp wants a request token", stale("/+request-token", "nobody"), true},
		{"an unknown request token", page("GET", "oauth_token=theirs", "", ""), true},
		{"an unknown request token, logged in", page("GET", "oauth_token=theirs", "", "salgado"), true},
		{"the form of another page", page("POST", "oauth_token=theirs", "ok=1", ""), true},
		{"the form of another page, with the token", page("POST", "", "oauth_token=theirs&csrf=1", ""), true},

		{"an unknown consumer in the header", inHeader("/x?a=1", header+`,realm="a",x="b"`), true},
		{"an unknown consumer in the header, with another body", withBody(inHeader("/x", header), "application/json", "{}"), true},
		{"an unknown consumer in the query, with a form", withBody(plain("/x", "nobody", "s", "t", "s"), formType, "a=1"), true},

		{"a name in the header that ends in another", inHeader("/x", header+`,xoauth_consumer_key="off"`), false},
		{"a realm that holds a parameter", inHeader("/x", `realm="oauth_consumer_key=off,",`+header), false},
		{"a value that holds a parameter", inHeader("/x", header+`,x="oauth_consumer_key=off"`), false},
		{"a name in capitals", inHeader("/x?OAUTH_CONSUMER_KEY=off", header), false},
		{"a name with a point", plain("/x", "nobody", "s", "t", "s", "oauth.consumer_key", "off"), false},
		{"a name with brackets", plain("/x", "nobody", "s", "t", "s", "oauth_consumer_key[]", "off"), false},
		{"a name with a point wants a request token", plain("/+request-token", "nobody", "s", "", "", "oauth.consumer_key", "off"), false},
		{"a header that others overlook, with another body", func() *http.Request {
			r := withBody(inHeader("/x", header), "multipart/form-data; boundary=b", multipart)
			r.Header.Set("Authorization", "oauth "+header)
			return r
		}(), false},
		{"an unknown consumer in the query, with another body",
			withBody(plain("/x", "nobody", "s", "t", "s"), "multipart/form-data; boundary=b", multipart), false},

		{"a known consumer, an old timestamp", stale("/x", "demo"), false},
		{"a disabled consumer, an old timestamp", stale("/x", "off"), false},
		{"a known consumer with an old timestamp wants a request token", stale("/+request-token", "demo"), false},
		{"a known consumer, an unknown token", signed("demo", "secret", "t"), false}, // it may have been revoked
		{"an expired token", signed("demo", "secret", "expired"), false},
		{"a bad signature", signed("demo", "wrong", "expired"), false},
		{"a disabled consumer", signed("off", "secret", "t"), false},
		{"an expired consumer", signed("over", "secret", "t"), false},
		{"a disabled consumer in capitals", signed("OFF", "secret", "t"), false},
		{"a disabled consumer with a blank", signed("off ", "secret", "t"), false},
		{"a disabled consumer in capitals, with a blank", signed("OFF ", "secret", "t"), false},
		{"a disabled consumer in quotes", signed(`"off"`, "secret", "t"), false},
		{"a disabled consumer, encoded twice", signed("%6Fff", "secret", "t"), false},
		{"a disabled consumer with a line end, encoded twice", signed("off%0A", "secret", "t"), false},
		{"a declared consumer in mixed case", signed("dEmO", "secret", "t"), false},
		{"a disabled consumer with a line end wants a request token", plain("/+request-token", "off\n", "secret", "", ""), false},
		{"a disabled consumer with a plus sign", signed("off+", "secret", "t"), false},
		{"a disabled consumer behind a plus sign", signed("+off", "secret", "t"), false},
		{"a disabled consumer around a plus sign", signed("o+ff", "secret", "t"), false},
		{"a disabled consumer with a plus sign, in quotes", signed(`"off+"`, "secret", "t"), false},
		{"a disabled consumer with a plus sign, in capitals", signed("OFF+", "secret", "t"), false},
		{"a declared consumer with a plus sign, in mixed case", signed("dEmO+", "secret", "t"), false},
		{"a declared consumer in mixed case, encoded twice", signed("dEm%4F", "secret", "t"), false},
		{"a disabled consumer with a blank, encoded twice", signed("off%20", "secret", "t"), false},
		{"a disabled consumer with a plus sign, encoded twice", signed("off%2B", "secret", "t"), false},
		{"a disabled consumer with a plus sign, encoded thrice", signed("off%252b", "secret", "t"), false},
		{"a disabled consumer with a zero byte, encoded twice", signed("off%00", "secret", "t"), false},
		{"a disabled consumer with a zero byte, encoded thrice", signed("off%2500", "secret", "t"), false},
		{"a disabled consumer, encoded thrice", signed("%256Fff", "secret", "t"), false},
		{"a disabled consumer with many blanks, encoded twice", signed("off"+strings.Repeat("%20", 300), "secret", "t"), false},
		{"a disabled consumer in many quotes", signed(strings.Repeat(`"`, 600)+"off", "secret", "t"), false},
		{"a key that is encoded again and again", signed("%25252525256Fff", "secret", "t"), false},
		{"an unknown consumer with a plus sign", signed("no+body", "s", "t"), true},
		{"an unknown consumer, encoded twice", signed("nobod%79", "s", "t"), true},
		{"an unknown consumer with a stray percent sign", signed("100%", "s", "t"), true},
		{"an unknown consumer with a blank", signed("nobody ", "s", "t"), false},
		{"an accent", signed("\u00f3ff", "secret", "t"), false},
		{"full-width letters", signed("\uff4f\uff46\uff46", "secret", "t"), false},
		{"a zero-width character", signed("o\u200bff", "secret", "t"), false},
		{"a zero byte", signed("off\x00", "secret", "t"), false},
		{"a byte that is no UTF-8", signed("off\xa0", "secret", "t"), false},
		{"no credentials", httptest.NewRequest("GET", "http://api.test/x", nil), false},
		{"a known consumer wants an access token for an unknown one", plain("/+access-token", "demo", "secret", "t", "s"), false},
		{"a disabled consumer wants a request token", plain("/+request-token", "off", "secret", "", ""), false},
		{"our request token, not logged in", page("GET", "oauth_token=ours", "", ""), false},
		{"two request tokens", page("GET", "oauth_token=a&oauth_token=b", "", ""), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.r.Header.Set("X-OAuth-User", "root")
			authorization, query, form := c.r.Header.Get("Authorization"), c.r.URL.RawQuery, ""
			if c.r.Body != nil {
				text, err := io.ReadAll(c.r.Body)
				if err != nil {
					t.Fatal(err)
				}
				if form = string(text); form != "" {
					setBody(c.r, form)
				}
			}
			w := httptest.NewRecorder()
			site.inRequest(c.r, func(r *http.Request, _ *caddy.Replacer) {
				r = r.WithContext(context.WithValue(r.Context(), caddyhttp.ServerCtxKey, server))
				if err := site.handler.ServeHTTP(w, r, nil); err != nil {
					t.Fatal(err)
				}
				if r.Header.Get("X-OAuth-User") != "" {
					t.Error("a forged identity passes")
				}
				body, err := io.ReadAll(r.Body)
				if err != nil {
					t.Fatal(err)
				}
				if c.passes {
					if w.Code != 202 || r.Header.Get("Authorization") != authorization || r.URL.RawQuery != query ||
						string(body) != form || w.Header().Get("WWW-Authenticate") != "" {
						t.Errorf("%d %s: %s ?%s %q, %v", w.Code, w.Body, r.Header.Get("Authorization"), r.URL.RawQuery, body, w.Header())
					}
					return
				}
				if w.Code != 418 && w.Code != 400 || r.Header.Get("Authorization") != "" ||
					strings.Contains(r.URL.RawQuery, "oauth_signature") {
					t.Errorf("%d %s: %s ?%s", w.Code, w.Body, r.Header.Get("Authorization"), r.URL.RawQuery)
				}
			})
		})
	}
}

// TestUnknownTokensWithoutRoutes: without a route for them, the refusals are those of every site.
func TestUnknownTokensWithoutRoutes(t *testing.T) {
	site := newTestSite(t, "", "unknown_tokens pass\ninsecure_plaintext_over_http")
	w, upstream := site.serve(plain("/x", "nobody", "s", "t", "s"))
	if upstream != nil || w.Code != 401 || w.Body.String() != "Unknown consumer (nobody)." ||
		!strings.HasPrefix(w.Header().Get("WWW-Authenticate"), "OAuth ") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	w, upstream = site.serve(httptest.NewRequest("GET", "http://api.test/+authorize-token?oauth_token=x", nil))
	if upstream != nil || w.Code != 404 || !strings.Contains(w.Header().Get("Content-Type"), "text/html") ||
		w.Header().Get("X-Frame-Options") != "DENY" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// TestOurFormOfAGoneToken: somebody answers at our page when the token is gone. The answer stays
// here.
func TestOurFormOfAGoneToken(t *testing.T) {
	site := newTestSite(t, "", "unknown_tokens pass")
	form := url.Values{"csrf": {"x"}, "proof": {"x"}, "decision": {"allow"}}.Encode()
	r := httptest.NewRequest("POST", "http://api.test/+authorize-token?oauth_token=gone", nil)
	setBody(r, form)
	r.Header.Set("Content-Type", formType)
	if site.handler.belongsElsewhere(r) {
		t.Error("our own form passes")
	}
	if body, err := io.ReadAll(r.Body); err != nil || string(body) != form {
		t.Errorf("the form is %q, %v", body, err)
	}
}

func TestUnknownTokensNeedsClosedRegistration(t *testing.T) {
	if _, err := provisionTestSite(t, "registration open", "unknown_tokens pass"); err == nil ||
		!strings.Contains(err.Error(), "unknown_tokens pass: needs registration closed") {
		t.Errorf("%v", err)
	}
}
