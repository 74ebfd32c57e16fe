package caddymodule

import (
	"bufio"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
)

// TestTargets: RFC 9112 section 3.2. Only the origin form, and the absolute form of http, are judged.
func TestTargets(t *testing.T) {
	for target, want := range map[string]bool{
		"/": true, "/x?y": true, "//x/y": true, "http://h": true, "https://h:1/x": true, "HTTP://h?a=1": true, "http://[::1]:80/": true,
		"": false, "*": false, "h:80": false, "mail:private/x": false, "mail:%2Fprivate/drop://h/list": false, "http:x": false,
		"http:/x": false, "http:///x": false, "http://?x": false, "http://:80/": false, "http://u@h/": false, "http://h\\x/": false,
		"ftp://h/x": false, "x://h/x": false, "http\u017f://h/": false, "http": false, "//": true,
	} {
		if got := plainTarget(target); got != want {
			t.Errorf("%q: %v", target, got)
		}
	}
}

// FuzzSplitTarget: a target that is let in has one path and query for the signature, for Go's parser, and for the upstream that
// Go writes a request to.
func FuzzSplitTarget(f *testing.F) {
	for _, target := range []string{
		"/a/b?c=d", "http://h?a=1", "http://h", "mail:private/x", "mail:%2Fprivate/drop://h/list", "//h/x", "*", "h:80", "http://u@h/x",
		"http://h/x?y://z/w", "/x?http://h/y", "HTTPS://h/%2F?%", "http:///x", "http://h#x", "/a#b?c",
	} {
		f.Add(target)
	}
	f.Fuzz(func(t *testing.T, target string) {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET " + target + " HTTP/1.1\r\nHost: h\r\n\r\n")))
		if err != nil || r.RequestURI != target {
			t.Skip("is no request")
		}
		plain := plainTarget(target)
		if plain && (r.URL.Opaque != "" || r.URL.User != nil || !strings.HasPrefix(target, "/") && r.URL.Host == "") {
			t.Fatalf("%q is let in: %#v", target, r.URL)
		}
		if !plain {
			return
		}
		path, query := oauth1.SplitTarget(target)
		judged := r.URL.Path
		if judged == "" {
			judged = "/"
		}
		if query != r.URL.RawQuery || !strings.HasPrefix(judged, "/") {
			t.Errorf("%q: query %q, and %q for Go; path %q", target, query, r.URL.RawQuery, judged)
		}
		sent, _, _ := strings.Cut(r.URL.RequestURI(), "?") // as Go writes it to the upstream
		again, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET " + sent + " HTTP/1.1\r\nHost: h\r\n\r\n")))
		if err != nil || again.URL.Path != judged {
			t.Errorf("%q is judged as %q, and sent as %q", target, judged, sent)
		}
		if (sight{path: true}).checkPlainURL(path, "") == nil && sent != path {
			t.Errorf("%q: the plain path %q is sent as %q", target, path, sent)
		}
	})
}

// TestAdmit: what is no plain request is refused before the endpoints and the directive's own matcher.
func TestAdmit(t *testing.T) {
	site := newTestSiteWith(t, "@api path /v1/*", "policy @api {\n anonymous\n}")
	for name, test := range map[string]struct {
		method, target, proto, protocol string
		reason                          string
	}{
		"a path":                               {"GET", "/v1/x", "HTTP/1.1", "", ""},
		"an opaque URL":                        {"GET", "mail:v1/x", "HTTP/1.1", "", "target_invalid"},
		"a tunnel":                             {"CONNECT", "h:80", "HTTP/1.1", "", "target_invalid"},
		"a tunnel by path":                     {"CONNECT", "/v1/x", "HTTP/1.1", "", "method_invalid"},
		"a tunnel over HTTP/2":                 {"CONNECT", "/v1/x", "HTTP/2.0", "", "method_invalid"},
		"a WebSocket over HTTP/1.1":            {"CONNECT", "/v1/x", "HTTP/1.1", "websocket", "method_invalid"},
		"a WebSocket over HTTP/2":              {"CONNECT", "/v1/x", "HTTP/2.0", "websocket", ""},
		"another protocol over HTTP/2":         {"CONNECT", "/v1/x", "HTTP/2.0", "connect-udp", "method_invalid"},
		"a WebSocket over HTTP/3":              {"CONNECT", "/v1/x", "websocket", "", ""},
		"a method in lower case":               {"get", "/v1/x", "HTTP/1.1", "", "method_invalid"},
		"a method with a letter of lower case": {"GEt", "/v1/x", "HTTP/1.1", "", "method_invalid"},
		"at an endpoint":                       {"post", "/+request-token", "HTTP/1.1", "", "method_invalid"},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "http://api.test/v1/x", nil)
			r.Method, r.RequestURI, r.Proto = test.method, test.target, test.proto
			r.ProtoMajor = map[string]int{"HTTP/1.1": 1, "HTTP/2.0": 2, "websocket": 3}[test.proto]
			if test.protocol != "" {
				r.Header[":protocol"] = []string{test.protocol}
			}
			w, upstream := site.serve(r)
			if (upstream == nil) != (test.reason != "") || (test.reason != "") != (w.Code == 400) {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
			if upstream != nil && (upstream.Method != test.method || upstream.placeholders.ReplaceAll("{http.request.method}", "") != test.method) {
				t.Errorf("the upstream gets %s", upstream.Method)
			}
		})
	}
}
