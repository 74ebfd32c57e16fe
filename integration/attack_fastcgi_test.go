package integration

import (
	"fmt"
	"net"
	"net/http"
	"net/http/fcgi"
	"strings"
	"testing"
)

// RFC 3875 section 4.1.18: a CGI program can't distinguish `-` from `_`. Caddy gives it the
// client's request target as REQUEST_URI.
func TestAttackFastCGI(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	seen := make(chan string, 1)
	go fcgi.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen <- fmt.Sprint(r.URL, r.Header, fcgi.ProcessEnv(r))
	}))
	srv := startServer(t, site{
		Global:  "servers {\n\texpected_underscore_headers x_*\n\texpected_dot_headers x.*\n}",
		OAuth1:  "policy /open/* {\n\tanonymous\n}\npolicy {\n\tpermission READ_PUBLIC\n}",
		Handler: "reverse_proxy " + l.Addr().String() + " {\n\ttransport fastcgi\n}",
	}, "")
	tok := srv.issue(t, demoKey, "salgado", "READ_PUBLIC", nil)
	credentials := plaintext(demoKey, demoSecret, tok)
	for what, request := range map[string]string{
		"anonymous": srv.message("GET", "/open/a.php?b=c", []string{"X_OAuth_User: mark", "X.OAuth.User: mark", "x_oauth_user: mark", "X~OAuth~User: mark"}, ""),
		"signed":    srv.message("GET", "/a.php?b=c&"+form(credentials), []string{"X_OAuth_User: mark", "X.OAuth-Context: mark"}, ""),
		"by header": srv.message("GET", "/a.php?b=c", []string{"Authorization: " + authorization(credentials), "X_OAuth_User: mark"}, ""),
	} {
		srv.raw(t, request)
		got := <-seen
		if strings.Contains(got, "mark") || strings.Contains(got, demoSecret) || strings.Contains(got, "oauth_") ||
			!strings.Contains(got, "b=c") {
			t.Errorf("%s: the program got %s", what, got)
		}
		if (what == "anonymous") == strings.Contains(got, "salgado") {
			t.Errorf("%s: the program got %s", what, got)
		}
	}
}
