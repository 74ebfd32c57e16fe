package caddymodule

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/policy"
)

func TestIdentityForUpstream(t *testing.T) {
	site := newTestSite(t, demoConsumer, "")
	token := site.grant("demo", "älice", "WRITE_PRIVATE")
	signer := oauth1.Signer{ConsumerKey: "demo", ConsumerSecret: "demo-secret", Token: token.Key, TokenSecret: token.Secret, SignatureMethod: "HMAC-SHA256"}
	r := site.sign(signer, "GET", "http://api.test/x?a=b", "")
	for _, forged := range []string{"X-Oauth-User", "x-oauth-user", "X_OAuth_User", "X.OAUTH.USER", "X-Oauth_User", "X-Oauth-Context"} {
		r.Header[forged] = []string{"root", "root"}
	}
	r.Header.Set("X-Oauth-Userx", "stays")
	w, upstream := site.serve(r)
	if upstream == nil {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	for name, values := range upstream.Header {
		switch policy.FoldHeaderName(name) {
		case "x-oauth-user":
			if name != "X-Oauth-User" || !slices.Equal(values, []string{"älice"}) {
				t.Errorf("%s: %q", name, values)
			}
		case "x-oauth-context", "authorization":
			t.Errorf("%s: %q", name, values)
		}
	}
	for name, value := range map[string]string{
		"X-OAuth-Consumer": "demo", "X-OAuth-Permission": "WRITE_PRIVATE", "X-OAuth-Token": token.Key, "X-Oauth-Userx": "stays",
	} {
		if got := upstream.Header.Get(name); got != value {
			t.Errorf("%s: %q", name, got)
		}
	}
	for name, value := range map[string]string{
		"id": "älice", "consumer": "demo", "permission": "WRITE_PRIVATE", "context": "",
	} {
		if got, known := upstream.placeholders.Get("http.auth.user." + name); got != value || !known {
			t.Errorf("{http.auth.user.%s}: %q, %v", name, got, known)
		}
	}
}

// TestPlaceholdersOfTheLastIdentity: an identity that an earlier handler left in the placeholders,
// in either of the ways that Caddy has, is not the identity of this request. A handler that follows
// may replace the identity.
func TestPlaceholdersOfTheLastIdentity(t *testing.T) {
	site := newTestSite(t, demoConsumer, "policy /open/* {\n anonymous\n}\npolicy {\n permission READ_PUBLIC\n}")
	token := site.grant("demo", "alice", "READ_PUBLIC")
	other := site.grant("demo", "bob", "READ_PUBLIC")
	signer := oauth1.Signer{ConsumerKey: "demo", ConsumerSecret: "demo-secret", Token: token.Key, TokenSecret: token.Secret, SignatureMethod: "HMAC-SHA1"}
	signed := func() *http.Request { return site.sign(signer, "GET", "http://api.test/x", "") }
	open := func() *http.Request { return httptest.NewRequest("GET", "http://api.test/open/x", nil) }
	names := []string{"id", "consumer", "permission", "context"}
	pass := caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })

	for before, leave := range map[string]func(*http.Request, *caddy.Replacer){
		"nobody": func(*http.Request, *caddy.Replacer) {},
		"a handler that sets values": func(_ *http.Request, repl *caddy.Replacer) {
			for _, name := range names {
				repl.Set("http.auth.user."+name, "mallory")
			}
		},
		"a handler that provides values": func(_ *http.Request, repl *caddy.Replacer) {
			repl.Map(func(name string) (any, bool) { return "mallory", strings.HasPrefix(name, "http.auth.user.") })
		},
		"another oauth1": func(r *http.Request, repl *caddy.Replacer) {
			signer := signer
			signer.Token, signer.TokenSecret = other.Key, other.Secret
			earlier := site.sign(signer, "GET", r.URL.String(), "").WithContext(r.Context())
			if err := site.handler.ServeHTTP(httptest.NewRecorder(), earlier, pass); err != nil {
				t.Fatal(err)
			}
			if user, _ := repl.Get("http.auth.user.id"); user != "bob" && r.URL.Path == "/x" {
				t.Fatalf("the earlier user is %q", user)
			}
		},
	} {
		for _, request := range []struct {
			r    *http.Request
			want []string
		}{
			{signed(), []string{"alice", "demo", "READ_PUBLIC", ""}},
			{open(), []string{"", "", "", ""}},
		} {
			site.inRequest(request.r, func(r *http.Request, repl *caddy.Replacer) {
				leave(r, repl)
				judged := false
				err := site.handler.ServeHTTP(httptest.NewRecorder(), r, caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error {
					judged = true
					for i, name := range names {
						if got, known := repl.Get("http.auth.user." + name); got != request.want[i] || !known {
							t.Errorf("after %s, %s: {http.auth.user.%s} is %q, %v", before, r.URL, name, got, known)
						}
						repl.Set("http.auth.user."+name, "later")
						if got, _ := repl.Get("http.auth.user." + name); got != "later" {
							t.Errorf("after %s, %s: {http.auth.user.%s} stays %q", before, r.URL, name, got)
						}
					}
					return nil
				}))
				if err != nil || !judged {
					t.Errorf("after %s, %s: %v", before, r.URL, err)
				}
			})
		}
	}
}

// TestConnectionListed: a proxy behind this one deletes the headers that Connection lists, and
// these could be identity headers (CVE-2024-45410).
func TestConnectionListed(t *testing.T) {
	for _, test := range []struct{ sent, left []string }{
		{[]string{"X-OAuth-User"}, nil},
		{[]string{"close, x-oauth-user , X_OAUTH_CONSUMER"}, []string{"close"}},
		{[]string{"upgrade", "x.oauth.token,keep-alive"}, []string{"upgrade", "keep-alive"}},
		{[]string{"keep-alive, Upgrade"}, []string{"keep-alive, Upgrade"}},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header["Connection"] = test.sent
		newStripper([]string{"X-OAuth-User", "X-OAuth-Consumer", "X-OAuth-Token"}).strip(r)
		if got := r.Header["Connection"]; !slices.Equal(got, test.left) {
			t.Errorf("%q: left %q", test.sent, got)
		}
	}
}

// TestForgedTrailers: the server reads the trailers at the end of the body, after the check of the
// headers.
func TestForgedTrailers(t *testing.T) {
	r := httptest.NewRequest("POST", "/", nil)
	r.Trailer = http.Header{"X-Oauth-User": nil, "X-Checksum": nil}
	r.Header["Trailer"] = []string{"X-OAuth-User, X-Checksum"}
	trailer := r.Trailer
	r.Body = io.NopCloser(readerThatEnds(func() {
		trailer["X-Oauth-User"] = []string{"root"}
		trailer["X_Oauth_User"] = []string{"root"}
		trailer["X-Checksum"] = []string{"1"}
	}))
	newStripper([]string{"X-OAuth-User"}).strip(r)
	if _, err := io.ReadAll(r.Body); err != nil {
		t.Fatal(err)
	}
	if len(r.Trailer) != 1 || r.Trailer.Get("X-Checksum") != "1" {
		t.Errorf("trailers: %v", r.Trailer)
	}
	if got := r.Header.Get("Trailer"); strings.TrimSpace(got) != "X-Checksum" {
		t.Errorf("announced: %q", got)
	}
}

type readerThatEnds func()

func (end readerThatEnds) Read([]byte) (int, error) {
	end()
	return 0, io.EOF
}

func TestCredentialsNeverReachTheUpstream(t *testing.T) {
	for _, test := range []struct{ directive, kept string }{{"", ""}, {"keep_authorization", "OAuth"}} {
		site := newTestSite(t, demoConsumer, "insecure_plaintext_over_http\n"+test.directive)
		token := site.grant("demo", "alice", "WRITE_PRIVATE")
		signer := oauth1.Signer{ConsumerKey: "demo", ConsumerSecret: "demo-secret", Token: token.Key, TokenSecret: token.Secret, SignatureMethod: "HMAC-SHA1"}
		_, upstream := site.serve(site.sign(signer, "GET", "http://api.test/x", ""))
		scheme, _, _ := strings.Cut(upstream.Header.Get("Authorization"), " ")
		if scheme != test.kept {
			t.Errorf("%q: Authorization %q", test.directive, upstream.Header.Get("Authorization"))
		}
		r := plain("/x", "demo", "demo-secret", token.Key, token.Secret, "a", "b c", "z", "1")
		w, upstream := site.serve(r)
		if upstream == nil {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		if got := upstream.URL.RawQuery; (test.kept == "") != (got == "a=b+c&z=1") {
			t.Errorf("%q: query %q", test.directive, got)
		}
		if got, _ := upstream.placeholders.GetString("http.request.orig_uri"); (test.kept == "") != (got == "http://api.test/x?a=b+c&z=1") {
			t.Errorf("%q: {http.request.orig_uri} %q", test.directive, got)
		}
	}
	site := newTestSite(t, "", "policy {\n anonymous\n}")
	r := httptest.NewRequest("GET", "/x", nil)
	r.Header.Set("Authorization", "Bearer abc")
	if _, upstream := site.serve(r); upstream.Header.Get("Authorization") != "Bearer abc" {
		t.Error("an Authorization of another scheme is removed")
	}
}

func TestIdentityHeaderNames(t *testing.T) {
	site := newTestSite(t, demoConsumer, "identity_headers {\n user Remote-User\n}")
	token := site.grant("demo", "alice", "WRITE_PRIVATE")
	signer := oauth1.Signer{ConsumerKey: "demo", ConsumerSecret: "demo-secret", Token: token.Key, TokenSecret: token.Secret, SignatureMethod: "HMAC-SHA1"}
	r := site.sign(signer, "GET", "http://api.test/x", "")
	r.Header.Set("remote_user", "root")
	_, upstream := site.serve(r)
	if got := upstream.Header.Get("Remote-User"); got != "alice" {
		t.Errorf("Remote-User: %q", got)
	}
	if upstream.Header.Get("X-OAuth-User") != "" || upstream.Header.Get("X-OAuth-Consumer") != "demo" {
		t.Errorf("headers: %v", upstream.Header)
	}
}
