package caddymodule

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// TestErrorRoutes: handle_errors can replace an answer. Without a replacement, the answer keeps its
// text, which clients read.
func TestErrorRoutes(t *testing.T) {
	site := newTestSite(t, "", "")
	for _, test := range []struct {
		name, routes string
		status       int
		text         string
	}{
		{"no routes", "", 401, "OAuth credentials required."},
		{"replaced", "handle_errors {\n respond \"{err.status_code}: {err.message}\" 418\n}", 418, "401: OAuth credentials required."},
		{"replaced, status as it was", "handle_errors 401 {\n respond \"sign, please\"\n}", 401, "sign, please"},
		{"for another status", "handle_errors 5xx {\n respond \"oh\"\n}", 401, "OAuth credentials required."},
		{"headers only", "handle_errors {\n header X-Seen yes\n}", 401, "OAuth credentials required."},
		{"routes that fail", "handle_errors {\n error 502\n}", 401, "OAuth credentials required."},
		{"status only", "handle_errors {\n respond 404\n}", 404, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := new(caddyhttp.Server)
			if test.routes != "" {
				server = serverWithErrors(t, test.routes)
			}
			r := httptest.NewRequest("GET", "http://api.test/x", nil)
			w := httptest.NewRecorder()
			site.inRequest(r, func(r *http.Request, _ *caddy.Replacer) {
				r = r.WithContext(context.WithValue(r.Context(), caddyhttp.ServerCtxKey, server))
				if err := site.handler.ServeHTTP(w, r, nil); err != nil {
					t.Fatal(err)
				}
			})
			if w.Code != test.status || w.Body.String() != test.text {
				t.Errorf("got %d %q", w.Code, w.Body)
			}
			if !strings.HasPrefix(w.Header().Get("WWW-Authenticate"), "OAuth ") {
				t.Error("no challenge")
			}
		})
	}
}

// TestErrorRoutesGetTheOriginalRequest: error routes get the request before all rewrites, as from
// Caddy's own server, but without the credentials.
func TestErrorRoutesGetTheOriginalRequest(t *testing.T) {
	site := newTestSite(t, "", "insecure_plaintext_over_http")
	server := serverWithErrors(t, "handle_errors {\n @original {\n method GET\n path /x\n }\n respond @original {uri} 418\n}")
	site.inRequest(plain("/x", "nobody", "s", "", "", "a", "b"), func(r *http.Request, _ *caddy.Replacer) {
		r = r.WithContext(context.WithValue(r.Context(), caddyhttp.ServerCtxKey, server))
		r.Method, r.URL.Path, r.RequestURI = "POST", "/rewritten", "/rewritten?"+r.URL.RawQuery
		w := httptest.NewRecorder()
		if err := site.handler.ServeHTTP(w, r, nil); err != nil {
			t.Fatal(err)
		}
		if w.Code != 418 || w.Body.String() != "/x?a=b" {
			t.Errorf("got %d %q", w.Code, w.Body)
		}
		if r.RequestURI != "/x?a=b" {
			t.Errorf("request line: %s", r.RequestURI)
		}
	})
}

// TestErrorRoutesGetNoFormThatAPageRead: a proxy in an error route fails if the request has a
// length but no body any more.
func TestErrorRoutesGetNoFormThatAPageRead(t *testing.T) {
	for _, option := range []string{"", "keep_authorization"} {
		site := newTestSite(t, demoConsumer, option)
		target := "/+authorize-token?oauth_token=" + site.waiting("demo", "").Key
		csrf := csrfToken(t, site.open(target, "alice"))
		if err := site.store().Close(); err != nil {
			t.Fatal(err)
		}
		form := url.Values{"csrf": {csrf}, "decision": {"refuse"}}.Encode()
		r := httptest.NewRequest("POST", "http://api.test"+target, nil)
		setBody(r, form)
		r.Header.Set("Content-Type", formType)
		r.Header.Set("Content-Length", strconv.Itoa(len(form)))
		r.Header.Set("Test-User", "alice")
		server := serverWithErrors(t, "handle_errors {\n respond \"sorry\" 418\n}")
		site.inRequest(r, func(r *http.Request, _ *caddy.Replacer) {
			r = r.WithContext(context.WithValue(r.Context(), caddyhttp.ServerCtxKey, server))
			w := httptest.NewRecorder()
			if err := site.handler.ServeHTTP(w, r, nil); err != nil || w.Code != 418 {
				t.Fatalf("got %d %v", w.Code, err)
			}
			left, err := io.ReadAll(r.Body)
			if err != nil || r.ContentLength != int64(len(left)) || r.Header.Get("Content-Length") != "" {
				t.Errorf("%q: length %d and header %q of the body %q, %v",
					option, r.ContentLength, r.Header["Content-Length"], left, err)
			}
		})
	}
}

// TestErrorRoutesGetNoBodyThatBrokeOff: a body that is too long for the site's request_body, or
// whose sender went away, is read in part.
func TestErrorRoutesGetNoBodyThatBrokeOff(t *testing.T) {
	site := newTestSite(t, demoConsumer, "require_body_hash")
	server := serverWithErrors(t, "handle_errors {\n respond \"sorry\" 418\n}")
	for _, contentType := range []string{"application/json", formType, ""} {
		r := httptest.NewRequest("POST", "http://api.test/x", nil)
		r.Header.Set("Authorization", `OAuth oauth_consumer_key="demo", oauth_signature_method="HMAC-SHA1", `+
			`oauth_signature="x", oauth_timestamp="1", oauth_nonce="1", oauth_body_hash="x"`)
		if contentType != "" {
			r.Header.Set("Content-Type", contentType)
		}
		setBody(r, "0123456789")
		site.inRequest(r, func(r *http.Request, _ *caddy.Replacer) {
			r = r.WithContext(context.WithValue(r.Context(), caddyhttp.ServerCtxKey, server))
			w := httptest.NewRecorder()
			r.Body = http.MaxBytesReader(w, r.Body, 5)
			if err := site.handler.ServeHTTP(w, r, nil); err != nil || w.Code != 418 {
				t.Fatalf("got %d %v", w.Code, err)
			}
			left, err := io.ReadAll(r.Body)
			if err != nil || r.ContentLength != int64(len(left)) {
				t.Errorf("%q: length %d of the body %q, %v", contentType, r.ContentLength, left, err)
			}
		})
	}
}

// serverWithErrors makes a server from the handle_errors of a site.
func serverWithErrors(t *testing.T, routes string) *caddyhttp.Server {
	t.Helper()
	adapted, err := adapt("{\n admin off\n}\nhttp://api.test {\n" + routes + "\n}\n")
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Apps struct {
			HTTP struct {
				Servers map[string]*caddyhttp.Server
			}
		}
	}
	if err := json.Unmarshal(adapted, &config); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	t.Cleanup(cancel)
	server := config.Apps.HTTP.Servers["srv0"]
	if err := server.Errors.Routes.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	return server
}
