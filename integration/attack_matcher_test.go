package integration

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

const v1Block = "{\n\tinsecure_plaintext_over_http\n\tendpoints off\n}\n"

// Requests that the directive's matcher leaves out are not judged. They must not claim an identity.
func TestAttackWhatTheMatcherLeavesOut(t *testing.T) {
	for name, block := range map[string]string{
		"a path":          "oauth1 /v1/* " + v1Block + "reverse_proxy {{.Upstream}}",
		"a named matcher": "@v1 path /v1/*\noauth1 @v1 " + v1Block + "reverse_proxy {{.Upstream}}",
		"a header":        "@v1 header X-Use oauth\noauth1 @v1 " + v1Block + "reverse_proxy {{.Upstream}}",
		"a method":        "@v1 method PUT\noauth1 @v1 " + v1Block + "reverse_proxy {{.Upstream}}",
		"an expression": "@v1 expression path('/v1/*')\noauth1 @v1 " + v1Block +
			"reverse_proxy {{.Upstream}}",
		"within route":  "route {\n\toauth1 /v1/* " + v1Block + "\treverse_proxy {{.Upstream}}\n}",
		"within handle": "handle {\n\toauth1 /v1/* " + v1Block + "\treverse_proxy {{.Upstream}}\n}",
		"within handle_path": "handle_path /api/* {\n\toauth1 /v1/* " + v1Block +
			"\treverse_proxy {{.Upstream}}\n}\nreverse_proxy 127.0.0.1:1",
		"two of them": "oauth1 /v1/* " + v1Block + "oauth1 /v3/* " + v1Block +
			"reverse_proxy {{.Upstream}}",
		"a snippet": "import own\nreverse_proxy {{.Upstream}}",
	} {
		for _, servers := range []string{"",
			"expected_underscore_headers x_* x-oauth_user x_oauth-user\n" +
				"\texpected_dot_headers x.* x-oauth.user x.oauth-user"} {
			t.Run(fmt.Sprintf("%s, spellings expected: %v", name, servers != ""), func(t *testing.T) {
				up := newUpstream(t)
				s := ownSite(t, block)
				s.Global = "servers {\n\tprotocols h1 h2c\n\t" + servers + "\n}"
				if name == "a snippet" {
					s.More = "(own) {\n\toauth1 /v1/* " + v1Block + "}\n" + s.More
				}
				srv := startServer(t, s, up.URL)
				path := "/v2/x"
				if name == "within handle_path" {
					path = "/api/v2/x"
				}
				attackLeftOut(t, srv, up, path, servers != "")
			})
		}
	}
}

// attackLeftOut sends forged identity headers in every spelling, on every protocol, as headers and
// as trailers.
func attackLeftOut(t *testing.T, srv *server, up *upstream, path string, expected bool) {
	t.Helper()
	check := func(what string, mustCome bool) {
		t.Helper()
		seen := up.take()
		if len(seen) == 0 && mustCome {
			t.Errorf("%s: nothing reached the upstream", what)
		}
		for _, got := range seen {
			if lines := identityLines(got); len(lines) > 0 {
				t.Errorf("%s: the upstream got %q", what, lines[:min(4, len(lines))])
			}
			for _, named := range got.Header["Connection"] {
				if strings.Contains(strings.ToLower(named), "oauth") {
					t.Errorf("%s: the upstream got Connection: %s", what, named)
				}
			}
		}
	}
	var lines, fields []string
	for _, name := range spellings() {
		if !expected {
			lines = append(lines, name+": root", name+": eve")
			fields = append(fields, strings.ToLower(name), "root")
		} else if name == strings.ToLower(name) { // Caddy drops expected headers that are repeated
			lines = append(lines, name+": root")
			fields = append(fields, name, "root")
		}
	}
	srv.raw(t, srv.message("GET", path, []string{"X-OAuth-User: root"}, ""))
	check("X-OAuth-User", true)
	srv.raw(t, srv.message("GET", path, lines, ""))
	check("HTTP/1.1", true)
	srv.raw(t, srv.message("GET", path, append(slices.Clone(lines), `Authorization: OAuth oauth_token="x"`),
		""))
	check("with something like a signature", false)
	if _, err := srv.h2(t, h2Message{fields: srv.h2Fields("GET", path, fields...)}); err != nil {
		t.Error(err)
	}
	check("HTTP/2", true)
	for _, connection := range []string{
		"Connection: close, X-OAuth-User,x-oauth-consumer , X-OAUTH-CONTEXT",
		"Connection: X-OAuth-Permission\r\nConnection: X-OAuth-Token",
	} {
		srv.raw(t, srv.message("GET", path, append([]string{connection}, lines...), ""))
		check(connection, true)
	}
	for _, announce := range []string{"X-OAuth-User, X-Sum",
		"x-oauth-user,X_OAuth_User,X.OAuth.User,X~OAuth!User", "X-Sum"} {
		head := append([]string{"Transfer-Encoding: chunked", "Content-Type: text/plain", "Trailer: " +
			announce}, lines...)
		body := "3\r\na=b\r\n0\r\nX-OAuth-User: root\r\nx_oauth_user: root\r\n" +
			"X.OAuth.User: eve\r\nX~OAuth!User: eve\r\nX-Sum: 1\r\n\r\n"
		srv.raw(t, srv.message("POST", path, head, body))
		check("trailers, "+announce, true)
	}
	srv.h2(t, h2Message{
		fields: srv.h2Fields("POST", path, append([]string{"trailer", "x-oauth-user", "content-type",
			"text/plain"}, fields...)...),
		body:     "hello",
		trailers: []string{"x-oauth-user", "root", "x_oauth_user", "root", "x-oauth-context", "all"},
	})
	check("trailers of HTTP/2", true)
	upgrade := []string{
		"Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk",
		"X-OAuth-User: root",
	}
	got := srv.raw(t, srv.message("GET", path, upgrade, ""))
	if got.Status != http.StatusOK {
		t.Errorf("an upgrade to h2c: %d", got.Status)
	}
	for _, seen := range up.take() {
		if lines := append(identityLines(seen), upgradeLines(seen)...); len(lines) > 0 {
			t.Errorf("an upgrade: the upstream got %q", lines)
		}
	}
}

// RFC 8441: a WebSocket over HTTP/2 begins as a CONNECT at the site and reaches the upstream as a
// GET. Whether or not the matcher leaves it out, it claims no identity.
func TestAttackWebSocketsThatTheMatcherLeavesOut(t *testing.T) {
	t.Setenv("GODEBUG", "http2xconnect=1")
	up := newUpstream(t)
	srv := startServer(t, ownSite(t, "oauth1 /v1/* "+v1Block+"reverse_proxy {{.Upstream}}"), up.URL)
	fields := func(path string) []string {
		return []string{
			":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":authority", "127.0.0.1:" +
				srv.port,
			":path", path, "x-oauth-user", "root", "x_oauth_user", "root", "http2-settings", "AAMAAABk",
		}
	}
	got, err := srv.h2Connect(t, fields("/switch"))
	if err != nil || got.Status != http.StatusOK || got.Body != "hello\n" {
		t.Errorf("left out: %d %q %v, want the line that was sent", got.Status, got.Body, err)
	}
	for _, seen := range up.take() {
		if lines := identityLines(seen); len(lines) > 0 || seen.Method != "GET" ||
			seen.Header.Get("Http2-Settings") != "" {
			t.Errorf("left out: the upstream got %s %q %v", seen.Method, lines, seen.Header)
		}
	}
	got, err = srv.h2Connect(t, fields("/v1/switch"))
	if err != nil || got.Status != http.StatusUnauthorized {
		t.Errorf("judged: %d %q %v, want 401", got.Status, brief(got.Body), err)
	}
	wantUnseen(t, up, "judged")
}

// The identity headers have names of the site's own.
func TestAttackWhatTheMatcherLeavesOutByOtherNames(t *testing.T) {
	up := newUpstream(t)
	srv := startServer(t, ownSite(t, `
oauth1 /v1/* {
	insecure_plaintext_over_http
	identity_headers {
		user X-Who
		consumer X-App
	}
}
oauth1 /v3/* {
	insecure_plaintext_over_http
	identity_headers {
		token X-Ticket
	}
}
reverse_proxy {{.Upstream}}`), up.URL)
	forged := []string{"X-Who: root", "x_who: root", "X-APP: app", "X-OAuth-Context: all", "X-Ticket: t",
		"X-OAuth-User: root", "X-Other: kept"}
	srv.raw(t, srv.message("GET", "/v2/x", forged, ""))
	got := up.last(t)
	for _, name := range []string{"X-Who", "X_who", "X-App", "X-Ticket", "X-Oauth-User", "X-Oauth-Context"} {
		if value := got.Header.Get(name); value != "" {
			t.Errorf("the upstream got %s: %s", name, value)
		}
	}
	if got.Header.Get("X-Other") != "kept" {
		t.Errorf("the upstream got %v", got.Header)
	}
}

// Two directives with matchers of their own share a site. Neither removes the identity that the
// other has verified.
func TestAttackTwoDirectives(t *testing.T) {
	for name, block := range map[string]string{
		"in this order": "oauth1 /v1/* %[1]s\noauth1 /v2/* %[2]s\n",
		"in the other":  "oauth1 /v2/* %[2]s\noauth1 /v1/* %[1]s\n",
		"within route":  "route {\n\toauth1 /v1/* %[1]s\n\toauth1 /v2/* %[2]s\n}\n",
		"named":         "@a path /v1/*\n@b path /v2/*\noauth1 @a %[1]s\noauth1 @b %[2]s\n",
		"by other names": "oauth1 /v1/* %[1]s\noauth1 /v2/* %[2]s\n" +
			"oauth1 /v4/* {\n\tidentity_headers {\n\t\tuser X-Who\n\t}\n}\n",
		"handles of each": "handle /v1/* {\n\toauth1 %[1]s\n%[3]s}\nhandle /v2/* {\n\toauth1 %[2]s\n%[3]s}\n",
	} {
		t.Run(name, func(t *testing.T) {
			up := newUpstream(t)
			first := "{\n\tinsecure_plaintext_over_http\n\tpolicy {\n\t\tpermission READ_PUBLIC\n\t}\n}"
			second := "{\n\tinsecure_plaintext_over_http\n\tpolicy {\n\t\tpermission WRITE_PRIVATE\n\t}\n}"
			proxy := "reverse_proxy {{.Upstream}} {\n\theader_up X-Seen-User {http.auth.user.id}\n}\n"
			handles := strings.Contains(block, "handle")
			if !handles {
				block += "%[3]s"
			}
			block = fmt.Sprintf(block, first, second, proxy)
			srv := startServer(t, ownSite(t, block), up.URL)
			reader := srv.issue(t, demoKey, "salgado", "READ_PUBLIC", nil)
			writer := srv.issue(t, demoKey, "alice", "WRITE_PRIVATE", nil)
			send := func(path string, tok token) reply {
				t.Helper()
				line := "Authorization: " + authorization(plaintext(demoKey, demoSecret, tok))
				return srv.raw(t, srv.message("GET", path, []string{line, "X-OAuth-User: root",
					"X-OAuth-Context: all"}, ""))
			}
			for _, c := range []struct {
				path, user string
				tok        token
			}{{"/v1/x", "salgado", reader}, {"/v1/x", "alice", writer}, {"/v2/x", "alice", writer}} {
				want(t, c.path+", "+c.user, send(c.path, c.tok), http.StatusOK, "")
				seen := up.take()
				if len(seen) != 1 {
					continue
				}
				header := seen[0].Header
				if header.Get("X-Oauth-User") != c.user || header.Get("X-Oauth-Token") != c.tok.Key ||
					header.Get("X-Oauth-Context") != "" ||
					header.Get("X-Oauth-Consumer") != demoKey || header.Get("X-Seen-User") != c.user ||
					header.Get("Authorization") != "" {
					t.Errorf("%s, %s: the upstream got %v", c.path, c.user, header)
				}
			}
			want(t, "the second's own policy", send("/v2/x", reader), http.StatusForbidden, "")
			want(t, "the first, anonymous", srv.raw(t, srv.message("GET", "/v1/x", nil, "")),
				http.StatusUnauthorized, "")
			want(t, "the second, anonymous", srv.raw(t, srv.message("GET", "/v2/x", nil, "")),
				http.StatusUnauthorized, "")
			wantUnseen(t, up, "what was refused")
			if handles {
				return // no directive has a matcher there
			}
			srv.raw(t, srv.message("GET", "/v3/x", []string{"X-OAuth-User: root"}, ""))
			for _, got := range up.take() {
				if lines := identityLines(got); len(lines) > 0 {
					t.Errorf("left out by both: the upstream got %q", lines)
				}
			}
		})
	}
}

// A matcher decides on the path as Caddy reads it. It must not leave out a path that another server
// reads as one that is judged.
func TestAttackAroundTheMatcher(t *testing.T) {
	for name, matcher := range map[string]string{
		"a path":        "/v1/*",
		"a regexp":      "@v1",
		"an expression": "@expression",
	} {
		t.Run(name, func(t *testing.T) {
			up := newLenientUpstream(t)
			srv := startServer(t, ownSite(t,
				"@v1 path_regexp (?i)^/v1/\n@expression expression path('/v1/*')\n"+
					"oauth1 "+matcher+" "+v1Block+
					"reverse_proxy {{.Upstream}}"), up.URL)
			refused := []string{
				"/v2/..;/v1/x", "/v2/../v1/x", "/v2/%2e%2e/v1/x", "/v2/..%2fv1/x", "//v1/x", "/./v1/x",
				"/v1%2fx", "/v2/..%5cv1/x", `/v2/..\v1\x`, `\v1/x`,
				"/;/v1/x", "/v1;a=b/x", "/%2fv1/x", "//h/v1/x", "/v2/%252e%252e/v1/x", "/v2/x%00/../../v1/x",
				"/v2/%c0%ae%c0%ae/v1/x", "/v2//../v1/x",
				"mail:v1/x", "mail:/v1/x", "mail:%2Fv1/x", "mail:x/../v1/x", "http:v1/x", "http:///v1/x",
				"ftp://h/v1/x", "*", "h:80", "v1/x", "http://u@h/v1/x",
				"http://127.0.0.1:" + srv.port + "/v2/../v1/x", "http://h//v1/x",
			}
			for _, target := range refused {
				for _, lines := range [][]string{nil, {"X-OAuth-User: root"}} {
					got, err := srv.tryRaw(t, "127.0.0.1:"+srv.port, srv.message("GET", target, append(lines,
						"Connection: close"), ""))
					if err != nil || got.Status != http.StatusBadRequest {
						t.Errorf("%s: %d %q %v, want 400", target, got.Status, brief(got.Body), err)
					}
					wantUnseen(t, up, target)
				}
				if strings.HasPrefix(target, "/") {
					got, err := srv.h2(t, h2Message{fields: srv.h2Fields("GET", target)})
					if err == nil && got.Status != http.StatusBadRequest {
						t.Errorf("HTTP/2, %s: %d, want 400", target, got.Status)
					}
					wantUnseen(t, up, "HTTP/2, "+target)
				}
			}
			for _, target := range []string{"/v1/x", "/%76%31/x", "/%761/x", "http://h/v1/x"} {
				want(t, target, srv.raw(t, srv.message("GET", target, nil, "")), http.StatusUnauthorized,
					"OAuth credentials required.")
				wantUnseen(t, up, target)
			}
			for _, target := range []string{"/v2/x", "/v2/a%20b", "/v2/%C3%A9/", "/x?a=/../v1/x"} {
				want(t, target, srv.raw(t, srv.message("GET", target, nil, "")), http.StatusOK, "")
				if uri := up.last(t).URI; uri != target {
					t.Errorf("%s: the upstream got %s", target, uri)
				}
			}
			for _, method := range []string{"delete", "Get"} {
				got := srv.raw(t, srv.message(method, "/v2/x", nil, ""))
				want(t, method+", left out", got, http.StatusBadRequest, "")
				wantUnseen(t, up, method)
			}
		})
	}
	t.Run("an empty path", func(t *testing.T) {
		up := newLenientUpstream(t)
		srv := startServer(t, ownSite(t,
			"@root path / /v1/*\noauth1 @root "+v1Block+"reverse_proxy {{.Upstream}}"), up.URL)
		for _, target := range []string{"http://h?a=1", "http://h", "http://127.0.0.1:" + srv.port,
			"HTTP://h?", "/", "/?a=1"} {
			got := srv.raw(t, srv.message("GET", target, []string{"X-OAuth-User: root"}, ""))
			if got.Status != http.StatusUnauthorized && got.Status != http.StatusBadRequest {
				t.Errorf("%s: %d", target, got.Status)
			}
			wantUnseen(t, up, target)
		}
	})
	t.Run("a matcher that ignores the path accepts every path", func(t *testing.T) {
		up := newLenientUpstream(t)
		srv := startServer(t, ownSite(t,
			"@own header X-Use oauth\noauth1 @own "+v1Block+"reverse_proxy {{.Upstream}}"), up.URL)
		for _, target := range []string{"/a//b", "/a/%2e%2e/b", "/a;b", "/a%2fb"} {
			want(t, target, srv.raw(t, srv.message("GET", target, nil, "")), http.StatusOK, "")
			if uri := up.last(t).URI; uri != target {
				t.Errorf("%s: the upstream got %s", target, uri)
			}
		}
	})
	t.Run("paths as_sent accepts every path, too", func(t *testing.T) {
		up := newLenientUpstream(t)
		srv := startServer(t, ownSite(t,
			"oauth1 /v1/* {\n\tpaths as_sent\n\tendpoints off\n}\nreverse_proxy {{.Upstream}}"), up.URL)
		for _, target := range []string{"/a//b", "/a;b", "/a%2fb"} {
			srv.raw(t, srv.message("GET", target, []string{"X-OAuth-User: root"}, ""))
			for _, got := range up.take() {
				if got.URI != target || len(identityLines(got)) > 0 {
					t.Errorf("%s: the upstream got %s %q", target, got.URI, identityLines(got))
				}
			}
		}
	})
}

// The log warns about a directive with a path matcher.
func TestAttackMatcherWarning(t *testing.T) {
	warned := func(srv *server) bool {
		for line := range strings.Lines(srv.log.String()) {
			line = strings.ReplaceAll(line, srv.dir, "")
			if strings.Contains(line, `"level":"warn"`) && strings.Contains(line, "oauth1") &&
				strings.Contains(line, "matcher") {
				return true
			}
		}
		return false
	}
	for name, c := range map[string]struct {
		block string
		want  bool
	}{
		"a path":           {"oauth1 /v1/* " + v1Block, true},
		"a named path":     {"@m path /v1/*\noauth1 @m " + v1Block, true},
		"a regexp":         {"@m path_regexp ^/v1/\noauth1 @m " + v1Block, true},
		"not":              {"@m not path /v2/*\noauth1 @m " + v1Block, true},
		"an expression":    {"@m expression path('/v1/*')\noauth1 @m " + v1Block, true},
		"a placeholder":    {"@m vars {path} /v1\noauth1 @m " + v1Block, true},
		"the second":       {"@m header X-A b\noauth1 @m " + v1Block + "oauth1 /v1/* " + v1Block, true},
		"a header":         {"@m header X-A b\noauth1 @m " + v1Block, false},
		"a method":         {"@m method GET\noauth1 @m " + v1Block, false},
		"no matcher":       {"oauth1 " + v1Block, false},
		"a policy's, only": {"oauth1 {\n\tpolicy /v1/* {\n\t\tanonymous\n\t}\n}\n", false},
	} {
		srv := startServer(t, ownSite(t, c.block+"respond ok"), "")
		if got := warned(srv); got != c.want {
			t.Errorf("%s: warned: %v, want %v", name, got, c.want)
		}
		srv.stop()
	}
}

// The user of the pages may come from a header that a proxy in front sets. The directive that
// deletes the client's own header must run first.
func TestAttackOrder(t *testing.T) {
	up := newUpstream(t)
	for name, c := range map[string]struct {
		before string
		user   string // the logged-in user, whatever the client sends
	}{
		"deleted":             {"request_header -Remote-User", ""},
		"deleted by a prefix": {"request_header -Remote-*", ""},
		"replaced":            {"request_header Remote-User salgado", "salgado"},
		"emptied":             {`request_header Remote-User ""`, ""},
		"deleted, matched":    {"request_header * -Remote-User", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := ownSite(t,
				"oauth1 {\n\tinsecure_plaintext_over_http\n\tuser {http.request.header.Remote-User}\n}\n"+
					"reverse_proxy {{.Upstream}}\n"+c.before) // the order in the file must not matter
			srv := startServer(t, s, up.URL)
			tok := walker{t, srv, demoKey, demoSecret}.requestToken()
			srv.issue(t, demoKey, "mallory", "READ_PUBLIC", nil)
			for _, path := range []string{"/+authorize-token?oauth_token=" + tok.Key, "/+oauth-tokens"} {
				for _, header := range []string{"Remote-User: mallory", "remote-user: mallory",
					"REMOTE-USER: mallory\r\nRemote-User: root"} {
					got := srv.raw(t, srv.message("GET", path, []string{header}, ""))
					if c.user == "" && got.Status != http.StatusUnauthorized {
						t.Errorf("%s with %q: %d, want 401", path, header, got.Status)
					}
					if c.user != "" && (got.Status != http.StatusOK || !strings.Contains(got.Body, c.user) ||
						strings.Contains(got.Body, "mallory")) {
						t.Errorf("%s with %q: %d, want a page for %s", path, header, got.Status, c.user)
					}
				}
			}
		})
	}
	t.Run("headers that request_header sets are no identity", func(t *testing.T) {
		srv := startServer(t, ownSite(t,
			"oauth1 {\n\tpolicy {\n\t\tanonymous\n\t}\n}\nreverse_proxy {{.Upstream}}\n"+
				"request_header X-OAuth-User root"), up.URL)
		up.take()
		want(t, "anonymous", srv.raw(t, srv.message("GET", "/x", nil, "")), http.StatusOK, "")
		if lines := identityLines(up.last(t)); len(lines) > 0 {
			t.Errorf("the upstream got %q", lines)
		}
	})
}
