package integration

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// anyHost is a site that answers for every Host, because the host of an absolute target overrides
// the header.
func anyHost(oauth1, before string) site {
	return site{
		Global:  "debug\nservers {\n\tprotocols h1 h2c\n}",
		Address: "http://:{{.Port}}",
		Before:  before,
		OAuth1:  oauth1,
	}
}

// strangeTargets are request targets that are neither a path nor the http(s) URL of one (RFC 9112
// section 3.2). Some of them never reach a handler, because Go's server refuses them.
func strangeTargets(port string) []string {
	return []string{
		"mail:private/x", "mail:%2Fprivate/x", "mail:/private/x", "mail://private/x", "mail:?a=1", "mail:",
		"mail:%2Fprivate/drop://h/list", "mail:private%2Fx", "m+a-i.l1:private/x", "MAIL:private/x",
		"http:/private/x", "http:///private/x", "http:private/x", "http:", "http://", "http:?a=1",
		"http://?a=1",
		"https:/private/x", "https:///private/x", "https:private/x", "HTTP:private/x", "Http:///private/x",
		"ftp://127.0.0.1:" + port + "/private/x", "ws://127.0.0.1:" + port + "/private/x",
		"file:///private/x",
		"wss://127.0.0.1:" + port + "/private/x", "httpx://h/private/x", "http+unix://h/private/x",
		"http://user@127.0.0.1:" + port + "/private/x", "http://u:p@127.0.0.1:" + port + "/private/x",
		"http://@127.0.0.1:" + port + "/private/x", "http://127.0.0.1:" + port + "@h/private/x",
		"http://h%2Fprivate", "http://:/private/x", "http://:" + port + "/private/x", "http:\\\\h/private/x",
		"javascript:private/x", "private/x", "%2Fprivate/x", "?a=1", "*", "*?a=1", "*/private/x",
		"127.0.0.1:" + port,
		"h:80", "h:80/private/x", `\private/x`, "#/private/x", ".", "../private/x", "@h/private/x",
		":80/private/x",
		"[::1]/private/x", "[::1]:80", "private:x", "::", "://h/private/x", "1:private/x",
	}
}

// RFC 9112 section 3.2: a target that is not a path parses to a URL with an empty path or another
// one. Policies judge that path, while upstreams may read the rest as the path.
func TestAttackTargets(t *testing.T) {
	for name, policies := range map[string]string{
		"no policies":                       "",
		"policies that look at the path":    "policy /private/* {\n\tdeny\n}\npolicy {\n\tanonymous\n}",
		"policies that look at nothing":     "policy {\n\tanonymous\n}",
		"policies that look at the method":  "policy @get {\n\tanonymous\n}",
		"a context that is the path's part": "policy {\n\tcontext {http.request.uri.path.0}\n}",
	} {
		t.Run(name, func(t *testing.T) {
			up := newLenientUpstream(t)
			srv := startServer(t, anyHost(policies, "@get method GET OPTIONS"), up.URL)
			tok := srv.issue(t, demoKey, "salgado", "WRITE_PRIVATE", nil)
			credentials := authorization(plaintext(demoKey, demoSecret, tok))
			line := "Authorization: " + credentials
			for _, target := range strangeTargets(srv.port) {
				for _, method := range []string{"GET", "POST", "OPTIONS", "PRI"} {
					for _, lines := range [][]string{nil, {line}} {
						what := fmt.Sprintf("%s %s, signed: %v", method, target, lines != nil)
						request := srv.message(method, target, append(lines, "Connection: close"), "")
						got, err := srv.tryRaw(t, "127.0.0.1:"+srv.port, request)
						// Go's server answers OPTIONS * by itself, and knows PRI * as HTTP/2's.
						own := target == "*" && (method == "PRI" || method == "OPTIONS" && got.Body == "")
						if !own && (err != nil || got.Status/100 != 4 && got.Status/100 != 5) {
							t.Errorf("%s: %d %q %v, want 400", what, got.Status, brief(got.Body), err)
						}
						wantUnseen(t, up, what)
					}
				}
				if strings.ContainsAny(target, " ") {
					continue
				}
				for _, fields := range [][]string{nil, {"authorization", credentials}} {
					what := fmt.Sprintf("HTTP/2 %s, signed: %v", target, fields != nil)
					got, err := srv.h2(t, h2Message{fields: srv.h2Fields("GET", target, fields...)})
					if err == nil && got.Status != http.StatusBadRequest {
						t.Errorf("%s: %d %q, want 400 or a reset", what, got.Status, brief(got.Body))
					}
					wantUnseen(t, up, what)
				}
			}
			for _, ok := range []string{"/x", "http://127.0.0.1:" + srv.port + "/x", "HTTP://h/x",
				"https://h.example/x"} {
				got := srv.raw(t, srv.message("GET", ok, []string{line}, ""))
				want(t, ok, got, http.StatusOK, "")
				if uri := up.last(t).URI; uri != "/x" {
					t.Errorf("%s: the upstream got %s", ok, uri)
				}
			}
		})
	}
}

// The handler's own answer to strange targets that Go's server accepts, also at the endpoints: it
// refuses them before it looks at anything else.
func TestAttackTargetsAreRefusedFirst(t *testing.T) {
	up := newLenientUpstream(t)
	srv := startServer(t, anyHost("policy {\n\tanonymous\n}", ""), up.URL)
	tok := srv.issue(t, demoKey, "salgado", "WRITE_PRIVATE", nil)
	w := walker{t, srv, demoKey, demoSecret}
	for _, target := range []string{
		"mail:private/x", "mail:%2Fprivate/x", "mail:%2Fprivate/drop://h/list", "mail:/x", "http:/x",
		"http:///x", "http:x",
		"ftp://h/x", "ws://h/x", "*", "http://user@h/x", "http://@h/x", "mail:?a=1",
		"mail:/+request-token", "ftp://h/+access-token", "http:/+authorize-token", "http:///+oauth-tokens",
		"http://user@h/+request-token", "mail:///+request-token",
	} {
		for what, lines := range map[string][]string{
			"anonymous":        nil,
			"signed":           {"Authorization: " + authorization(plaintext(demoKey, demoSecret, tok))},
			"a bad signature":  {"Authorization: " + authorization(plaintext(demoKey, "wrong", tok))},
			"a malformed one":  {`Authorization: OAuth oauth_token="a", oauth_token="b"`},
			"a consumer's":     {"Authorization: " + authorization(w.params(token{}))},
			"somebody's login": {"X-Test-User: alice"},
		} {
			what = target + ", " + what
			got := srv.wantRefused(t, up, what, http.StatusBadRequest, "target_invalid",
				srv.rawly(t, srv.message("GET", target, lines, "")))
			if got.Status == http.StatusBadRequest && !strings.HasPrefix(got.Body, "The request target ") {
				t.Errorf("%s: %q", what, got.Body)
			}
		}
	}
	for _, target := range []string{"http://h/+request-token", "HTTPS://h/+request-token"} {
		lines := []string{"Authorization: " + authorization(w.params(token{}))}
		want(t, target, srv.raw(t, srv.message("GET", target, lines, "")), http.StatusOK, "")
	}
}

// A signature for one target must not be valid for another: `://` inside a path makes no absolute
// URL of it.
func TestAttackTargetsWithAnothersSignature(t *testing.T) {
	up := newLenientUpstream(t)
	srv := startServer(t, anyHost("", ""), up.URL)
	tok := srv.issue(t, demoKey, "salgado", "WRITE_PRIVATE", nil)
	host := "127.0.0.1:" + srv.port
	for _, target := range []string{
		"mail:%2Fprivate/drop://h/list", "mail:private/drop://h/list", "x://h/list", "private://h/list",
		"mail:/drop://h/list",
		"/private/drop://h/list", "http://" + host + "/drop://h/list", "http:/drop://h/list", "*://h/list",
	} {
		line := hmacLine(t, tok, "GET", host, "/list")
		got := srv.raw(t, srv.message("GET", target, []string{line}, ""))
		if got.Status != http.StatusBadRequest && got.Status != http.StatusUnauthorized {
			t.Errorf("%s: %d %s", target, got.Status, brief(got.Body))
		}
		wantUnseen(t, up, target)
	}
}

// RFC 9112 section 3.2.1 and RFC 3986 section 6.2.3: an empty path is "/", for the policy, the
// signature and the upstream.
func TestAttackEmptyPaths(t *testing.T) {
	for name, matcher := range map[string]string{
		"path":                "path /",
		"path_regexp":         "path_regexp ^/$",
		"not path":            "not path /?*",
		"expression":          `expression {path} == "/"`,
		"expression's path()": "expression path('/')",
	} {
		t.Run(name, func(t *testing.T) {
			up := newUpstream(t)
			policies := "policy @root {\n\tpermission WRITE_PRIVATE\n}\npolicy {\n\tanonymous\n}"
			srv := startServer(t, anyHost(policies, "@root "+matcher), up.URL)
			reader := srv.issue(t, demoKey, "salgado", "READ_PUBLIC", nil)
			writer := srv.issue(t, demoKey, "salgado", "WRITE_PRIVATE", nil)
			own := "127.0.0.1:" + srv.port
			for _, c := range []struct{ target, host, uri string }{
				{"http://" + own, own, "/"},
				{"http://" + own + "?a=1", own, "/?a=1"},
				{"http://" + own + "/?a=1", own, "/?a=1"},
				{"HTTP://" + own + "?a=1&b", own, "/?a=1&b"},
				{"http://other.example?a=1", "other.example", "/?a=1"},
				{"http://other.example:80", "other.example", "/"},
				{"https://" + own + "?a=1", own, "/?a=1"},
				{"/?a=1", own, "/?a=1"},
			} {
				send := func(lines ...string) reply {
					return srv.raw(t, srv.message("GET", c.target, lines,
						""))
				}
				want(t, c.target+", anonymous", send(), http.StatusUnauthorized,
					"OAuth credentials required.")
				low := "Authorization: " + authorization(plaintext(demoKey, demoSecret, reader))
				want(t, c.target+", READ_PUBLIC", send(low), http.StatusForbidden, "")
				_, query, ok := strings.Cut(c.uri, "?")
				if ok {
					query = "?" + query
				}
				empty := hmacLine(t, writer, "GET", c.host, query)
				want(t, c.target+", signed with an empty path", send(empty), http.StatusUnauthorized,
					"Invalid signature.")
				wantUnseen(t, up, c.target)
				want(t, c.target+", signed", send(hmacLine(t, writer, "GET", c.host, c.uri)), http.StatusOK,
					"")
				for _, got := range up.take() {
					if got.URI != c.uri {
						t.Errorf("%s: the upstream got %s, want %s", c.target, got.URI, c.uri)
					}
				}
			}
		})
	}
}

// RFC 9110 section 9.1: methods are case-sensitive. A base string has the method in upper case, and
// Flask, Django, Symfony and Rack convert it, too. A policy compares the method as it was sent.
func TestAttackMethodsInLowerCase(t *testing.T) {
	up := newUpstream(t)
	policies := "policy /open/* {\n\tanonymous\n}\n" +
		"policy {\n\tpermission DELETE PUT WRITE_PRIVATE\n\tpermission GET HEAD READ_PUBLIC\n" +
		"\tpermission WRITE_PUBLIC\n}"
	srv := startServer(t, anyHost(policies, ""), up.URL)
	tok := srv.issue(t, demoKey, "salgado", "WRITE_PUBLIC", nil)
	login := walker{t, srv, demoKey, demoSecret}
	plain := "Authorization: " + authorization(plaintext(demoKey, demoSecret, tok))
	host := "127.0.0.1:" + srv.port
	for _, method := range []string{
		"delete", "Delete", "DELETe", "put", "get", "Get", "gET", "post", "head", "options", "trace",
		"connect", "propfind",
		"PROPFINd", "m-search", "M-sEARCH", "x", "Patch", "zZZ",
		"G'ET", "GET.", "2.0", // with characters that methods don't have, and that servers escape in their own ways
	} {
		for what, c := range map[string]struct {
			target string
			line   string
		}{
			"signed with PLAINTEXT": {"/x", plain},
			"signed with HMAC":      {"/x", hmacLine(t, tok, method, host, "/x")},
			"anonymous":             {"/open/x", "X-Nothing: x"},
			"at an endpoint": {"/+request-token", "Authorization: " +
				authorization(login.params(token{}))},
			"at the exchange":         {"/+access-token", plain},
			"at the authorize page":   {"/+authorize-token", "X-Test-User: alice"},
			"at the page of tokens":   {"/+oauth-tokens", "X-Test-User: alice"},
			"in the absolute form":    {"http://" + host + "/x", plain},
			"with another for a hint": {"/x", plain + "\r\nX-HTTP-Method-Override: GET"},
		} {
			what = method + ", " + what
			srv.wantRefused(t, up, what, http.StatusBadRequest, "method_invalid",
				srv.rawly(t, srv.message(method, c.target, []string{c.line, "Connection: close"}, "")))
		}
		got, err := srv.h2(t, h2Message{fields: srv.h2Fields(method, "/open/x")})
		if err == nil && got.Status != http.StatusBadRequest {
			t.Errorf("HTTP/2, %s: %d %q", method, got.Status, brief(got.Body))
		}
		wantUnseen(t, up, "HTTP/2, "+method)
	}
	for _, method := range []string{"PROPFIND", "M-SEARCH", "VERSION-CONTROL", "BREW", "X_1", "PATCH",
		"TRACE"} {
		got := srv.raw(t, srv.message(method, "/x", []string{hmacLine(t, tok, method, host, "/x")}, ""))
		want(t, method, got, http.StatusOK, "")
		if seen := up.last(t); seen.Method != method {
			t.Errorf("%s: the upstream got %s", method, seen.Method)
		}
	}
}

// RFC 9110 section 9.3.6: a CONNECT asks for a tunnel, and its target is an authority. The site
// opens no tunnel.
func TestAttackConnect(t *testing.T) {
	t.Setenv("GODEBUG",
		"http2xconnect=1") // enables extended CONNECT in Go, for Caddy's reverse_proxy
	up := newLenientUpstream(t)
	srv := startServer(t, anyHost("policy /open/* {\n\tanonymous\n}\npolicy {\n\tpermission READ_PUBLIC\n}",
		""), up.URL)
	tok := srv.issue(t, demoKey, "salgado", "WRITE_PRIVATE", nil)
	credentials := authorization(plaintext(demoKey, demoSecret, tok))
	host := "127.0.0.1:" + srv.port
	for _, target := range []string{
		"h:80", host, "/x", "/open/x", "http://" + host + "/x", "http://" + host + "/open/x", "*", "mail:x",
		"h", "/+request-token",
	} {
		for i, lines := range [][]string{
			nil, {"Authorization: " + credentials}, {hmacLine(t, tok, "CONNECT", host, "/x")}, {hmacLine(t,
				tok, "GET", host, "/x")},
			{"Authorization: " + credentials, "Connection: Upgrade", "Upgrade: websocket"},
		} {
			what := fmt.Sprintf("CONNECT %s, lines %d", target, i)
			got, err := srv.tryRaw(t, host, srv.message("CONNECT", target, append(lines, "Connection: close"),
				""))
			if err != nil || got.Status/100 != 4 && got.Status/100 != 5 {
				t.Errorf("%s: %d %q %v, want 400", what, got.Status, brief(got.Body), err)
			}
			wantUnseen(t, up, what)
		}
	}
	for what, fields := range map[string][]string{
		"RFC 9113 section 8.5": {":method", "CONNECT", ":authority", "h:80"},
		"to the site itself":   {":method", "CONNECT", ":authority", host},
		"with a path":          srv.h2Fields("CONNECT", "/open/x"),
		"connect-udp (RFC 9298)": {
			":method", "CONNECT", ":protocol", "connect-udp", ":scheme", "http", ":authority", host, ":path",
			"/open/x",
		},
		"connect-ip": {
			":method", "CONNECT", ":protocol", "connect-ip", ":scheme", "http", ":authority", host, ":path",
			"/open/x",
		},
		"h2c": {":method", "CONNECT", ":protocol", "h2c", ":scheme", "http", ":authority", host, ":path",
			"/open/x"},
		"a WebSocket and more": {
			":method", "CONNECT", ":protocol", "websocket, h2c", ":scheme", "http", ":authority", host,
			":path", "/open/x",
		},
		"a WebSocket with an invalid target": {
			":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":authority", host, ":path",
			"mail:open/x",
		},
		"a WebSocket with *": {
			":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":authority", host, ":path",
			"*",
		},
		"a WebSocket, in lower case": {
			":method", "connect", ":protocol", "websocket", ":scheme", "http", ":authority", host, ":path",
			"/open/x",
		},
		"another method with a protocol": {
			":method", "POST", ":protocol", "websocket", ":scheme", "http", ":authority", host, ":path",
			"/open/x",
		},
	} {
		for _, more := range [][]string{nil, {"authorization", credentials}} {
			got, err := srv.h2Connect(t, append(fields, more...))
			if err == nil && got.Status/100 != 4 && got.Status/100 != 5 {
				t.Errorf("%s, signed: %v: %d %q", what, more != nil, got.Status, brief(got.Body))
			}
			wantUnseen(t, up, what)
		}
	}
}

// RFC 8441: over HTTP/2 a WebSocket begins with a CONNECT. Caddy forwards it as the GET of RFC
// 6455, so the GET is judged and verified.
func TestAttackWebSocketsOverHTTP2(t *testing.T) {
	t.Setenv("GODEBUG", "http2xconnect=1")
	up := newUpstream(t)
	policies := "policy @post {\n\tanonymous\n}\npolicy /closed/* {\n\tdeny\n}\n" +
		"policy {\n\tpermission GET READ_PUBLIC\n\tpermission WRITE_PRIVATE\n}"
	srv := startServer(t, anyHost(policies, "@post method POST CONNECT"), up.URL)
	tok := srv.issue(t, demoKey, "salgado", "READ_PUBLIC", nil)
	host := "127.0.0.1:" + srv.port
	fields := func(path string, more ...string) []string {
		return append([]string{
			":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":authority", host, ":path",
			path,
			"sec-websocket-version", "13",
		}, more...)
	}
	signed := func(method, path string) string {
		return strings.TrimPrefix(hmacLine(t, tok, method, host, path), "Authorization: ")
	}
	forged := []string{"x-oauth-user", "root", "x-oauth-permission", "WRITE_PRIVATE", "http2-settings",
		"AAMAAABk"}
	for what, authorization := range map[string]string{
		"HMAC":      signed("GET", "/switch?a=b"),
		"PLAINTEXT": authorization(plaintext(demoKey, demoSecret, tok)),
	} {
		got, err := srv.h2Connect(t, fields("/switch?a=b", append(forged, "authorization", authorization)...))
		if err != nil || got.Status != http.StatusOK || got.Body != "hello\n" {
			t.Errorf("%s: %d %q %v, want the line that was sent", what, got.Status, got.Body, err)
		}
		seen := up.take()
		if len(seen) != 1 {
			t.Errorf("%s: %d requests reached the upstream", what, len(seen))
			continue
		}
		if seen[0].Method != "GET" || seen[0].URI != "/switch?a=b" ||
			seen[0].Header.Get("Upgrade") != "websocket" ||
			seen[0].Header.Get("X-Oauth-User") != "salgado" ||
			seen[0].Header.Get("X-Oauth-Permission") != "READ_PUBLIC" ||
			seen[0].Header.Get("Http2-Settings") != "" || seen[0].Header.Get("Authorization") != "" {
			t.Errorf("%s: the upstream got %s %s %v", what, seen[0].Method, seen[0].URI, seen[0].Header)
		}
	}
	for what, c := range map[string]struct {
		path, authorization string
		status              int
	}{
		"signed as a CONNECT":     {"/switch", signed("CONNECT", "/switch"), http.StatusUnauthorized},
		"signed for another path": {"/switch", signed("GET", "/other"), http.StatusUnauthorized},
		"anonymous":               {"/switch", "", http.StatusUnauthorized},
		"where a policy denies it": {"/closed/switch", signed("GET", "/closed/switch"),
			http.StatusForbidden},
		"at an endpoint, anonymous": {"/+access-token", "", http.StatusUnauthorized},
	} {
		var more []string
		if c.authorization != "" {
			more = []string{"authorization", c.authorization}
		}
		got, err := srv.h2Connect(t, fields(c.path, more...))
		endpoint := strings.HasPrefix(c.path, "/+") && (got.Status/100 == 4)
		if err != nil || got.Status != c.status && !endpoint {
			t.Errorf("%s: %d %q %v, want %d", what, got.Status, brief(got.Body), err, c.status)
		}
		wantUnseen(t, up, what)
	}
}
