package policy

import (
	"bufio"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
)

// TestTargets: RFC 9112 section 3.2. Only the origin form, and the absolute form of http, are
// judged.
func TestTargets(t *testing.T) {
	for target, want := range map[string]bool{
		"/": true, "/x?y": true, "//x/y": true, "http://h": true, "https://h:1/x": true, "HTTP://h?a=1": true, "http://[::1]:80/": true,
		"": false, "*": false, "h:80": false, "mail:private/x": false, "mail:%2Fprivate/drop://h/list": false, "http:x": false,
		"http:/x": false, "http:///x": false, "http://?x": false, "http://:80/": false, "http://u@h/": false, "http://h\\x/": false,
		"ftp://h/x": false, "x://h/x": false, "http\u017f://h/": false, "http": false, "//": true,
	} {
		if got := PlainTarget(target); got != want {
			t.Errorf("%q: %v", target, got)
		}
	}
}

// FuzzSplitTarget: an accepted target has the same path and query for the signature, for Go's
// parser, and for the upstream.
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
		plain := PlainTarget(target)
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
