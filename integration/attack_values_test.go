package integration

import (
	"net/http"
	"strings"
	"testing"
)

// In these cases Caddy's matchers and placeholders see less of a request than the upstream does, or
// another value. The sites deny requests by a matcher, and let everything else pass.

const (
	valuesOpen = "insecure_plaintext_over_http\nendpoints off\n"
	valuesDeny = valuesOpen + "policy @denied {\n\tdeny\n}\npolicy {\n\tanonymous\n}\n"
)

// wantRefused checks that a request is answered 4xx, and that the upstream does not see it.
func wantRefused(t *testing.T, up *upstream, what string, r reply) {
	t.Helper()
	what = what[:min(len(what), 40)]
	if r.Status < 400 || r.Status > 499 {
		t.Errorf("%s: %d, want a refusal", what, r.Status)
	}
	for _, got := range up.take() {
		t.Errorf("%s: the upstream got %s %.40s (%s)", what, got.Method, got.URI, got.Host)
	}
}

// Go's url.ParseQuery rejects more than 10,000 parameters, including empty ones. Caddy's matchers
// and placeholders then see no query at all, but upstreams do.
func TestAttackQueriesOfManyParameters(t *testing.T) {
	many := strings.Repeat("&", 10_001)
	for name, block := range map[string]string{
		"strict":        "@denied query admin=1\noauth1 {\n" + valuesDeny + "}\n",
		"as_sent":       "@denied query admin=1\noauth1 {\npaths as_sent\n" + valuesDeny + "}\n",
		"a placeholder": "@denied vars {query.admin} 1\noauth1 {\n" + valuesDeny + "}\n",
		"an expression": "@denied expression query({'admin': '1'})\noauth1 {\n" + valuesDeny + "}\n",
		"no query": "@none query \"\"\noauth1 {\n" + valuesOpen +
			"policy @none {\n\tanonymous\n}\npolicy {\n\tdeny\n}\n}\n",
		"the directive's own matcher": "@judged query admin=*\noauth1 @judged {\n" + valuesOpen + "}\n",
	} {
		t.Run(name, func(t *testing.T) {
			up := newUpstream(t)
			srv := startServer(t, ownSite(t, block+"reverse_proxy {{.Upstream}}"), up.URL)
			for _, target := range []string{"/?admin=1", "/?admin=1" + many} {
				wantRefused(t, up, target, srv.raw(t, srv.message("GET", target, nil, "")))
			}
		})
	}
	t.Run("signed", func(t *testing.T) {
		up := newUpstream(t)
		srv := startServer(t, ownSite(t, "@ops query admin=1\noauth1 {\n"+valuesOpen+
			"policy @ops {\n\tconsumers ops\n}\npolicy {\n\tpermission READ_PUBLIC\n}\n}\n"+
			"reverse_proxy {{.Upstream}}"), up.URL)
		tok := srv.issue(t, demoKey, "salgado", "READ_PUBLIC", nil)
		line := "Authorization: " + authorization(plaintext(demoKey, demoSecret, tok))
		for _, target := range []string{"/?admin=1", "/?admin=1" + many} {
			wantRefused(t, up, target, srv.raw(t, srv.message("GET", target, []string{line}, "")))
		}
	})
}

// Cookies have the same limit: http.Request.Cookie finds none if there are more than 3,000.
func TestAttackManyCookies(t *testing.T) {
	up := newUpstream(t)
	srv := startServer(t, ownSite(t, "@denied vars {cookie.role} admin\noauth1 {\n"+valuesDeny+"}\n"+
		"reverse_proxy {{.Upstream}}"), up.URL)
	for _, more := range []string{"", strings.Repeat("; a=b", 3001)} {
		got := srv.raw(t, srv.message("GET", "/x", []string{"Cookie: role=admin" + more}, ""))
		wantRefused(t, up, "role=admin"+more, got)
	}
}

// RFC 8441: a WebSocket's CONNECT has no Connection and no Upgrade header, and the GET that the
// upstream gets has both. A matcher for these headers, as in Caddy's manual, sees neither.
func TestAttackWebSocketsOverHTTP2ByTheirHeaders(t *testing.T) {
	t.Setenv("GODEBUG", "http2xconnect=1")
	const headers = "@denied {\n\theader Connection *Upgrade*\n\theader Upgrade websocket\n}\n"
	for name, block := range map[string]string{
		"a policy":                    headers + "oauth1 {\n" + valuesDeny + "}\n",
		"the directive's own matcher": headers + "oauth1 @denied {\n" + valuesOpen + "}\n",
		"a protocol that upgrades does not name": "oauth1 {\n" + valuesOpen +
			"upgrades SPDY/3.1\npolicy {\n\tanonymous\n}\n}\n",
	} {
		t.Run(name, func(t *testing.T) {
			up := newUpstream(t)
			srv := startServer(t, ownSite(t, block+"reverse_proxy {{.Upstream}}"), up.URL)
			upgrade := []string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
				"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="}
			got := srv.raw(t, srv.message("GET", "/switch", upgrade, ""))
			if got.Status == http.StatusSwitchingProtocols {
				t.Errorf("HTTP/1.1: %d", got.Status)
			}
			up.take()
			got, err := srv.h2Connect(t, []string{":method", "CONNECT", ":protocol", "websocket", ":scheme", "http",
				":authority", "127.0.0.1:" + srv.port, ":path", "/switch"})
			if err != nil {
				t.Fatal(err)
			}
			wantRefused(t, up, "HTTP/2", got)
		})
	}
}

// If the directive is limited to some methods, a request that an upstream reads as one of them is
// judged, too.
func TestAttackMethodsAroundTheMatcher(t *testing.T) {
	up := newUpstream(t)
	srv := startServer(t, ownSite(t, "@writes not method GET HEAD OPTIONS\noauth1 @writes {\n"+valuesOpen+"}\n"+
		"reverse_proxy {{.Upstream}}"), up.URL)
	want(t, "DELETE", srv.raw(t, srv.message("DELETE", "/x", nil, "")), http.StatusUnauthorized, "")
	for _, name := range []string{"X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"} {
		got := srv.raw(t, srv.message("GET", "/x", []string{name + ": DELETE"}, ""))
		for _, seen := range up.take() {
			if seen.Header.Get(name) != "" {
				t.Errorf("%s: %d, the upstream got %v", name, got.Status, seen.Header)
			}
		}
	}
}

// A request that was judged by one directive has only the identity headers that this directive set,
// and none of another directive's.
func TestAttackTwoDirectivesWithOtherNames(t *testing.T) {
	up := newUpstream(t)
	srv := startServer(t, ownSite(t, `
oauth1 /a/* {
	insecure_plaintext_over_http
	identity_headers {
		user X-Who
	}
	policy {
		anonymous
	}
}
oauth1 /b/* {
	insecure_plaintext_over_http
}
reverse_proxy {{.Upstream}}`), up.URL)
	want(t, "judged", srv.raw(t, srv.message("GET", "/a/x", []string{"X-OAuth-User: root", "X-Who: root"}, "")),
		http.StatusOK, "")
	got := up.last(t)
	if lines := identityLines(got); len(lines) > 0 || got.Header.Get("X-Who") != "" {
		t.Errorf("the upstream got %q, X-Who %q", lines, got.Header.Get("X-Who"))
	}
}

// If an earlier handler builds a value from the URL, a policy that looks at the value looks at the
// URL.
func TestAttackPathsThatAnEarlierHandlerCopies(t *testing.T) {
	for name, block := range map[string]string{
		"into a header":           "request_header X-Area {path}\n@denied header X-Area /admin*\n",
		"into a header, a regexp": "request_header X-Area {path}\n@denied header_regexp X-Area ^/admin\n",
		"into a placeholder":      "request_header X-Area {path}\n@denied vars {header.X-Area} /admin\n",
		"into the query":          "rewrite * /index.php?route={path}\n@denied query route=/admin\n",
	} {
		t.Run(name, func(t *testing.T) {
			up := newUpstream(t)
			srv := startServer(t, ownSite(t, block+"oauth1 {\n"+valuesDeny+"}\nreverse_proxy {{.Upstream}}"), up.URL)
			for _, target := range []string{"/admin", "/x/../admin", "//admin", "/x/%2e%2e/admin", "/;/admin"} {
				wantRefused(t, up, target, srv.raw(t, srv.message("GET", target, nil, "")))
			}
		})
	}
}

// Calls are found in expressions despite comments, raw strings and strings in three quotes.
func TestAttackPathsInOddExpressions(t *testing.T) {
	for name, expression := range map[string]string{
		"a comment":         "// don't\npath_regexp('^/admin')",
		"a raw string":      `{header.x}.contains(r'\') || path_regexp('^/admin')`,
		"three quotes":      `{header.x} == """a"b""" || path_regexp("^/admin")`,
		"three apostrophes": `{header.x} == '''a'b''' || path_regexp('^/admin')`,
	} {
		t.Run(name, func(t *testing.T) {
			up := newUpstream(t)
			srv := startServer(t, ownSite(t, "@denied expression `"+expression+"`\noauth1 {\n"+valuesDeny+"}\n"+
				"reverse_proxy {{.Upstream}}"), up.URL)
			for _, target := range []string{"/admin", "/;/admin", "/x/..;/admin"} {
				wantRefused(t, up, target, srv.raw(t, srv.message("GET", target, nil, "")))
			}
		})
	}
}

// `?` and `#` end a path for servers that decode before they parse. A value that was made of the
// path has only one reading of it.
func TestAttackEncodedQuestionMarks(t *testing.T) {
	for name, block := range map[string]string{
		"a map": "map {path} {area} {\n\t/admin admin\n\tdefault open\n}\n" +
			"@denied vars {area} admin\noauth1 {\n" + valuesDeny + "}\n",
		"the directive's own matcher": "oauth1 /admin {\n" + valuesOpen + "}\n",
	} {
		t.Run(name, func(t *testing.T) {
			up := newUpstream(t)
			srv := startServer(t, ownSite(t, block+"reverse_proxy {{.Upstream}}"), up.URL)
			for _, target := range []string{"/admin", "/admin%3Fx", "/admin%23x"} {
				wantRefused(t, up, target, srv.raw(t, srv.message("GET", target, nil, "")))
			}
		})
	}
}

// RFC 9110 section 7.6.1: the proxy deletes the headers that Connection lists. Policies must not
// see them before that, in unsigned requests either.
func TestAttackConnectionListsUnsigned(t *testing.T) {
	up := newUpstream(t)
	srv := startServer(t, ownSite(t, "@public header X-Tenant public\noauth1 {\n"+valuesOpen+
		"policy @public {\n\tanonymous\n}\npolicy {\n\tdeny\n}\n}\nreverse_proxy {{.Upstream}}"), up.URL)
	want(t, "plain", srv.raw(t, srv.message("GET", "/x", []string{"X-Tenant: public"}, "")), http.StatusOK, "")
	up.take()
	got := srv.raw(t, srv.message("GET", "/x", []string{"X-Tenant: public", "Connection: X-Tenant"}, ""))
	for _, seen := range up.take() {
		if seen.Header.Get("X-Tenant") == "" {
			t.Errorf("%d, the upstream got %v", got.Status, seen.Header)
		}
	}
}

// For many servers, a trailing dot or a second port does not change the host.
func TestAttackHostsInOddForms(t *testing.T) {
	up := newUpstream(t)
	srv := startServer(t, ownSite(t, "@denied host admin.test\noauth1 {\n"+valuesDeny+"}\n"+
		"reverse_proxy {{.Upstream}}"), up.URL)
	for _, host := range []string{"admin.test", "ADMIN.test:80", "admin.test.", "admin.test.:80",
		"admin.test:80:80", "admin%2etest"} {
		got := srv.raw(t, srv.message("GET", "/x", []string{"Host: " + host}, ""))
		wantRefused(t, up, host, got)
	}
}

// A placeholder has all values of a parameter, with commas between them, but only the first of a
// cookie's. Upstreams take one of them: PHP, Rails and Django the last value of a parameter.
func TestAttackParametersSentTwice(t *testing.T) {
	up := newUpstream(t)
	srv := startServer(t, ownSite(t, "oauth1 {\n"+valuesOpen+"policy @denied {\n\tdeny\n}\n"+
		"policy @cookie {\n\tdeny\n}\npolicy {\n\tpermission READ_PUBLIC\n\tcontext {query.project}\n}\n}\n"+
		"@denied vars {query.role} admin\n@cookie vars {cookie.role} admin\nreverse_proxy {{.Upstream}}"), up.URL)
	tok := srv.issue(t, demoKey, "salgado", "READ_PUBLIC", map[string]any{"context": "a"})
	line := "Authorization: " + authorization(plaintext(demoKey, demoSecret, tok))
	want(t, "its own", srv.raw(t, srv.message("GET", "/?project=a", []string{line}, "")), http.StatusOK, "")
	up.take()
	for _, target := range []string{"/?project=b", "/?project=a&project=b", "/?project=a&%70roject=b",
		"/?project=a&role=admin", "/?project=a&role=x&role=admin"} {
		wantRefused(t, up, target, srv.raw(t, srv.message("GET", target, []string{line}, "")))
	}
	for _, cookie := range []string{"Cookie: role=admin", "Cookie: role=x; role=admin"} {
		got := srv.raw(t, srv.message("GET", "/?project=a", []string{line, cookie}, ""))
		wantRefused(t, up, cookie, got)
	}
}
