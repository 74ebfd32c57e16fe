package integration

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// attackSite has a route of each kind: signed, anonymous, denied, broken, and error routes that
// lead to the upstream.
var attackSite = site{
	Global: "servers {\n\tprotocols h1 h2c\n\t{{.Servers}}\n}",
	OAuth1: "policy /open/* {\n\tanonymous\n}\npolicy /denied/* {\n\tdeny\n}\npolicy {\n\tpermission READ_PUBLIC\n}",
	Handler: `
@dead path /dead/* /open/dead/*
reverse_proxy @dead 127.0.0.1:1
reverse_proxy {{.Upstream}}
handle_errors {
	reverse_proxy {{.Upstream}} {
		header_up X-Route errors
	}
}`,
	Vars: map[string]string{"Servers": ""},
}

// spellings returns the identity headers in all forms that some upstreams read as the same name:
// CGI (RFC 3875 section 4.1.18), WSGI, PHP, and lighttpd, which reads each character other than a
// letter or digit as an underscore.
func spellings() []string {
	var all []string
	for _, name := range identityHeaders {
		for _, separators := range []string{"--", "__", "..", "-_", "_-", "-.", "._", "~!", "+*", "'|"} {
			parts := strings.Split(name, "-")
			spelt := parts[0] + separators[:1] + parts[1] + separators[1:] + parts[2]
			all = append(all, spelt, strings.ToLower(spelt), strings.ToUpper(spelt))
		}
	}
	return all
}

// Forged identity headers, in every spelling and twice each, on every kind of route and protocol.
// GHSA-f59h-q822-g45g and GHSA-49wc-4hcv-v58q (underscores and dots; Caddy has options against them
// that a site may turn off), CVE-2024-45410 and CVE-2025-48865 (Connection removes headers), RFC
// 9110 section 6.5 (trailers).
func TestAttackForgedIdentityHeaders(t *testing.T) {
	for _, servers := range []string{
		"",
		"expected_underscore_headers x_* x-oauth_user x_oauth-user\n\texpected_dot_headers x.* x-oauth.user x.oauth-user",
		"expected_underscore_headers x_oauth_user x_oauth_permission x_oauth_context x_oauth_consumer x_oauth_token",
	} {
		s := attackSite
		s.Vars = map[string]string{"Servers": servers}
		t.Run(servers, func(t *testing.T) { attackIdentity(t, s) })
	}
}

func attackIdentity(t *testing.T, s site) {
	up := newUpstream(t)
	srv := startServer(t, s, up.URL)
	tok := srv.issue(t, demoKey, "salgado", "READ_PUBLIC", object{"context": "firefox"})
	credentials := authorization(plaintext(demoKey, demoSecret, tok))
	genuine := []string{"X-Oauth-Consumer: demo", "X-Oauth-Context: firefox", "X-Oauth-Permission: READ_PUBLIC", "X-Oauth-Token: " + tok.Key, "X-Oauth-User: salgado"}

	routes := []struct {
		path   string
		signed bool
		want   []string // the identity that the upstream may see
		errors bool     // the request reaches the upstream through the error routes
	}{
		{"/signed", true, genuine, false},
		{"/open/a", false, nil, false},
		{"/open/a", true, genuine, false},
		{"/nobody", false, nil, true},
		{"/denied/a", true, nil, true},
		{"/denied/a", false, nil, true},
		{"/dead/a", true, genuine, true}, // correct: the request was good, only its upstream failed
		{"/open/dead/a", false, nil, true},
		{"/+access-token", false, nil, true},
		{"/+authorize-token", false, nil, true},
	}
	for _, route := range routes {
		check := func(t *testing.T) {
			t.Helper()
			got := up.last(t)
			if lines := identityLines(got); !slices.Equal(lines, route.want) {
				t.Errorf("the upstream got\n%q, want\n%q", lines, route.want)
			}
			if from := got.Header.Get("X-Route"); (from == "errors") != route.errors {
				t.Errorf("by way of %q", from)
			}
			if secret := "s3cr3t"; strings.Contains(fmt.Sprint(got.Header, got.URI), secret) {
				t.Errorf("the credentials reached the upstream: %s %v", got.URI, got.Header)
			}
		}
		var lines, fields []string
		for _, name := range spellings() {
			if servers(s) == "" {
				lines = append(lines, name+": mark", name+": eve")
				fields = append(fields, strings.ToLower(name), "mark")
			} else if name == strings.ToLower(name) { // Caddy drops expected headers that are repeated
				lines = append(lines, name+": mark")
				fields = append(fields, name, "mark")
			}
		}
		if route.signed {
			lines = append(lines, "Authorization: "+credentials)
			fields = append(fields, "authorization", credentials)
		}
		name := fmt.Sprintf("%s, signed: %v: ", route.path, route.signed)
		t.Run(name+"HTTP/1.1", func(t *testing.T) {
			srv.raw(t, srv.message("GET", route.path, lines, ""))
			check(t)
		})
		t.Run(name+"HTTP/2", func(t *testing.T) {
			if _, err := srv.h2(t, h2Message{fields: srv.h2Fields("GET", route.path, fields...)}); err != nil {
				t.Fatal(err)
			}
			check(t)
		})
		for _, connection := range [][]string{
			{"Connection: close, X-OAuth-User,x-oauth-consumer , X-OAUTH-CONTEXT, X-OAuth-Permission, X-OAuth-Token"},
			{"Connection: X-OAuth-Context", "Connection: close", "Connection:\tx-oauth-user\t,,,X-OAuth-Consumer"},
			{"Connection: X-OAuth-Context, X-OAuth-Context", "Keep-Alive: X-OAuth-User", "Proxy-Connection: X-OAuth-User"},
		} {
			t.Run(name+"named in Connection", func(t *testing.T) {
				srv.raw(t, srv.message("GET", route.path, append(connection, lines...), ""))
				if !route.signed {
					check(t)
					return
				}
				got := up.last(t) // through the error routes: such a signed request is refused
				if lines := identityLines(got); len(lines) > 0 || got.Header.Get("X-Route") != "errors" {
					t.Errorf("the upstream got %q by way of %q", lines, got.Header.Get("X-Route"))
				}
			})
		}
		t.Run(name+"trailers, announced and not", func(t *testing.T) {
			for _, announce := range []string{"X-OAuth-User, X-Sum", "x-oauth-user,X_OAuth_User,X.OAuth.User,X~OAuth!User,X-OAuth-Context,X-OAuth-Permission", "X-Sum"} {
				head := append([]string{"Transfer-Encoding: chunked", "Content-Type: text/plain", "Trailer: " + announce}, lines...)
				if strings.HasPrefix(route.path, "/+") {
					head[1] = "Content-Type: application/x-www-form-urlencoded"
				}
				body := "3\r\na=b\r\n0\r\n" + "X-OAuth-User: mark\r\nx_oauth_user: mark\r\nX.OAuth.User: eve\r\nX~OAuth!User: eve\r\n" +
					"X-OAuth-Permission: ALL\r\nX-OAuth-Context: all\r\nX-Sum: 1\r\n\r\n"
				srv.raw(t, srv.message("GET", route.path, head, body))
				check(t)
			}
		})
		t.Run(name+"trailers of HTTP/2", func(t *testing.T) {
			_, err := srv.h2(t, h2Message{
				fields:   srv.h2Fields("GET", route.path, append([]string{"trailer", "x-oauth-user, x_oauth_user, x.oauth.user", "content-type", "text/plain"}, fields...)...),
				body:     "hello",
				trailers: []string{"x-oauth-user", "mark", "x_oauth_user", "mark", "x.oauth.user", "mark", "x-oauth-context", "all"},
			})
			if err != nil {
				t.Fatal(err)
			}
			check(t)
		})
	}
	t.Run("a websocket", func(t *testing.T) {
		upgrade := []string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="}
		for _, name := range spellings() {
			upgrade = append(upgrade, name+": mark")
		}
		got := srv.raw(t, srv.message("GET", "/switch", append(upgrade, "Authorization: "+credentials), ""))
		want(t, "signed", got, http.StatusSwitchingProtocols, "")
		if lines := identityLines(up.last(t)); !slices.Equal(lines, genuine) {
			t.Errorf("the upstream got %q", lines)
		}
		got = srv.raw(t, srv.message("GET", "/switch", upgrade, ""))
		if got.Status == http.StatusSwitchingProtocols {
			for _, r := range up.take() {
				if r.Header.Get("X-Route") == "" {
					t.Error("a websocket without credentials")
				}
			}
		}
		for _, r := range up.take() {
			if lines := identityLines(r); len(lines) > 0 {
				t.Errorf("the upstream got %q", lines)
			}
		}
	})
	t.Run("credentials in the query reach no upstream, and not that of the error routes", func(t *testing.T) {
		for _, route := range routes {
			query := "?a=b&" + form(plaintext(demoKey, demoSecret, tok)) + "&c=d"
			srv.raw(t, srv.message("GET", route.path+query, []string{"Referer: http://127.0.0.1/"}, ""))
			for _, got := range up.take() {
				if strings.Contains(got.URI, "oauth_") {
					t.Errorf("%s: the upstream got %s", route.path, got.URI)
				}
			}
		}
	})
}

func servers(s site) string { return s.Vars["Servers"] }

// TestAttackUserOfAnEarlierHandler: Basic credentials in the header, OAuth parameters in the query.
// basic_auth stands before oauth1 and finds mallory; the signature is alice's.
func TestAttackUserOfAnEarlierHandler(t *testing.T) {
	up := newUpstream(t)
	srv := startServer(t, site{More: `
http://both.test:{{.Port}} {
	@basic header Authorization Basic*
	@mallory vars {http.auth.user.id} mallory
	route {
		basic_auth @basic {
			# bcrypt, cost 4: "opensesame"
			mallory $2a$04$zDgcJab37ImIcBLhqF2f7eE2.g8cW7syeUNTNvnPrwfMe02toJQ..
		}
		header @mallory X-Before mallory
		oauth1 {
			insecure_plaintext_over_http
			policy /open/* {
				anonymous
			}
			policy {
				permission READ_PUBLIC
			}
		}
		header @mallory X-After mallory
		reverse_proxy {{.Upstream}} {
			header_up X-User "{http.auth.user.id}"
		}
	}
}
`}, up.URL)
	query := "?" + form(plaintext(demoKey, demoSecret, srv.issue(t, demoKey, "alice", "READ_PUBLIC", nil)))
	for _, test := range []struct{ uri, user string }{{"/x" + query, "alice"}, {"/open/x" + query, "alice"}, {"/open/x", ""}} {
		for _, password := range []string{"", "opensesame"} {
			req := srv.at("both.test", "GET", test.uri)
			if password != "" {
				req.SetBasicAuth("mallory", password)
			}
			r := srv.mustDo(t, req)
			if err := r.is(200, ""); err != nil {
				t.Fatal(err)
			}
			got := up.last(t)
			if user := got.Header.Get("X-User"); user != test.user || got.Header.Get("X-OAuth-User") != test.user {
				t.Errorf("%s, password %q: the upstream is told %q and %q, want %q", test.uri, password, user, got.Header.Get("X-OAuth-User"), test.user)
			}
			if before := r.Header.Get("X-Before") != ""; before != (password != "") {
				t.Errorf("%s, password %q: a matcher before oauth1 sees mallory: %v", test.uri, password, before)
			}
			if r.Header.Get("X-After") != "" {
				t.Errorf("%s, password %q: a matcher after oauth1 sees mallory", test.uri, password)
			}
		}
	}
	r := srv.at("both.test", "GET", "/x"+query)
	r.SetBasicAuth("mallory", "wrong")
	if err := srv.mustDo(t, r).is(401, ""); err != nil {
		t.Errorf("with a wrong password, basic_auth: %v", err)
	}
}
