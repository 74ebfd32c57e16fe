package integration

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// twistedPaths are not in their plain form: some upstream reads each of them as another path than
// Caddy's matchers do. Go's server refuses some of them by itself.
func twistedPaths() []string {
	twisted := []string{
		// Dot segments: RFC 3986 section 3.3, CVE-2021-41773; overlong UTF-8: CVE-2000-0884,
		// CVE-2008-2938.
		"/open/.", "/open/..", "/open/./x", "/open/../x", "/.", "/..", "/./open/x", "/../open/x",
		"/open/x/..",
		"/open/%2e%2e/x", "/open/%2E%2E/x", "/open/.%2e/x", "/open/.%2E/x", "/open/%2e./x", "/open/%2e/x",
		"/%2e/open/x",
		"/open/%2e%2e", "/open/%c0%ae%c0%ae/x", "/open/%C0%AE/x", "/open/.%c0%ae/x", "/open/%c0%ae.",
		"/open/%2e%c0%ae/x",
		"/open/%e0%80%ae%e0%80%ae/x", "/open/%f0%80%80%ae/x",
		// Empty segments: some servers merge them, and others keep them.
		"//open/x", "/open//x", "/open///x", "/open/x//", "//", "//open", "/open//",
		// Backslashes: WHATWG URL, IIS.
		`/open\x`, `/\open/x`, `/open/x\`, `/open/..\x`, "/open%5cx", "/open/%5C..%5Cx", "/open/%5c",
		"/open/%c1%9cx",
		// Parameters: Tomcat, Jetty, Spring (Orange Tsai, Black Hat 2018).
		"/open;/x", "/open;a=b/x", "/open/x;", "/;/open/x", "/open/..;/x", "/open/;/x", "/open%3b/x",
		"/open/..%3B/x", "/open/x%3bv=1",
		// NUL and control characters: C strings, and servers that cut lines.
		"/open/x%00", "/open/%00/x", "/open/x%00.html", "/open/%01", "/open/x%0a", "/open/x%0D%0Ay",
		"/open/%09x", "/open/x%1f", "/open/x%7f",
		// Slashes, backslashes and percent signs that appear only after decoding.
		"/open%2fx", "/open%2Fx", "/open/a%2Fb", "/open/%2f..%2fx", "/open/..%2fx", "/open/%c0%afx",
		"/open/%e0%80%afx",
		"/open/%252e%252e/x", "/open/a%25b", "/open/100%25", "/open/%25%32%65/x", "/open/%2525",
		// Characters that Go encodes differently than the client. Go then encodes the whole path
		// anew.
		"/open/a|b", "/open/a\"b", "/open/a<b", "/open/a>b", "/open/a^b", "/open/a`b", "/open/{b}",
		"/open/a#b", "/open/#/../x", "/open#",
		"/open/\xc3\xa9", "/open/\xff", "/open/a%2fb|", "/open/a%2e%2e|", "/open/%41|",
	}
	return twisted
}

// plainPaths are read alike by all servers. They reach the upstream byte for byte.
var plainPaths = []string{
	"/open/a/b/", "/open/", "/open/a", "/open/a%20b", "/open/%C3%A9", "/open/%c3%a9/x", "/open/a.b/..c/...",
	"/open/.c/d..", "/open/.well-known/x",
	"/open/~x/@y:z", "/open/100%C2%A0", "/open/what%3F", "/open/+branch/a+b", "/open/a,b'c(d)!e$f*g=h",
	"/open/a%7Cb%22", "/open/%e2%82%ac",
	"/open/a&b=c", "/open/a-b_c", "/open/%41", "/open/a%2Cb", "/open/%7Ex", "/open/....", "/open/a%20/b",
}

// strictSite is open except for /admin. Its policies look at the path, so it accepts paths in their
// plain form only.
func strictSite(option string) site {
	return anyHost(option+"\npolicy /admin/* {\n\tpermission WRITE_PRIVATE\n}\npolicy {\n\tanonymous\n}", "")
}

// wantNotPlain sends a request in all ways, and checks that it is refused for the reason.
func (srv *server) wantNotPlain(t *testing.T, up *upstream, target, credentials, reason string) {
	t.Helper()
	for what, lines := range map[string][]string{"anonymous": nil, "signed": {"Authorization: " +
		credentials}} {
		what = fmt.Sprintf("%q, %s", target, what)
		_, query, _ := strings.Cut(target, "?")
		malformed := lines != nil && invalidForGo(query) // the signature is refused already
		lines = append(lines, "Connection: close")
		if invalidForGo(target) || malformed {
			got, err := srv.tryRaw(t, "127.0.0.1:"+srv.port, srv.message("GET", target, lines, ""))
			if err != nil || got.Status != http.StatusBadRequest {
				t.Errorf("%s: %d %q %v", what, got.Status, brief(got.Body), err)
			}
			wantUnseen(t, up, what)
			continue
		}
		got := srv.wantRefused(t, up, what, http.StatusBadRequest, reason, srv.rawly(t, srv.message("GET",
			target, lines, "")))
		if got.Status == http.StatusBadRequest && !strings.Contains(got.Body, "paths as_sent") {
			t.Errorf("%s: the answer does not name the option: %q", what, got.Body)
		}
	}
	got, err := srv.h2(t, h2Message{fields: srv.h2Fields("GET", target, "authorization", credentials)})
	if err == nil && got.Status != http.StatusBadRequest {
		t.Errorf("HTTP/2, %q: %d", target, got.Status)
	}
	wantUnseen(t, up, "HTTP/2, "+target)
}

// invalidForGo reports whether Go's server refuses a target before any handler sees it, because of
// a stray percent sign in the path, or a control character.
func invalidForGo(target string) bool {
	path, _, _ := strings.Cut(target, "?")
	for i := range len(path) {
		if path[i] == '%' && (i+2 >= len(path) || !isHexDigit(path[i+1]) || !isHexDigit(path[i+2])) {
			return true
		}
	}
	return strings.ContainsFunc(target, func(r rune) bool { return r < ' ' || r == 0x7f })
}

func isHexDigit(c byte) bool { return strings.IndexByte("0123456789abcdefABCDEF", c) >= 0 }

// A path that two servers could read differently is refused if a policy looks at paths.
func TestAttackPlainPaths(t *testing.T) {
	for name, option := range map[string]string{"by default": "", "paths strict": "paths strict"} {
		t.Run(name, func(t *testing.T) {
			up := newUpstream(t)
			srv := startServer(t, strictSite(option), up.URL)
			tok := srv.issue(t, demoKey, "salgado", "WRITE_PRIVATE", nil)
			credentials := authorization(plaintext(demoKey, demoSecret, tok))
			for _, path := range append(twistedPaths(), "/open/%zz", "/open/%u002e%u002e/x", "/open/%") {
				srv.wantNotPlain(t, up, path, credentials, "path_not_plain")
			}
			for _, path := range []string{"/open/../x", "//open/x", "/open%2fx"} {
				srv.wantNotPlain(t, up, path+"?a=b", credentials, "path_not_plain")
				srv.wantNotPlain(t, up, "http://127.0.0.1:"+srv.port+path, credentials, "path_not_plain")
			}
			wantAsSent(t, srv, up, append(plainPaths, "/", "/open/x?a=b", "/open/x?",
				"/open/x?a=%zz;b&c+d=%00", "/open/x?a|b"))
			line := "Authorization: " + credentials
			want(t, "the open path, signed", srv.raw(t, srv.message("GET", "/open/a%20b", []string{line},
				"")), http.StatusOK, "")
			want(t, "the other, signed", srv.raw(t, srv.message("GET", "/admin/x", []string{line}, "")),
				http.StatusOK, "")
			want(t, "the other, anonymous", srv.raw(t, srv.message("GET", "/admin/x", nil, "")),
				http.StatusUnauthorized, "")
			want(t, "the other, encoded", srv.raw(t, srv.message("GET", "/%61dmi%6e/x", nil, "")),
				http.StatusUnauthorized, "")
			want(t, "the other, in capitals", srv.raw(t, srv.message("GET", "/ADMIN/x", nil, "")),
				http.StatusUnauthorized, "")
			// A reader that decodes first sees a query. It is judged in all readings, as always.
			want(t, "a question mark", srv.raw(t, srv.message("GET", "/admin/x%3F", nil, "")),
				http.StatusUnauthorized, "")
		})
	}
}

// wantAsSent checks that the targets pass, and reach the upstream byte for byte.
func wantAsSent(t *testing.T, srv *server, up *upstream, targets []string) {
	t.Helper()
	for _, target := range targets {
		up.take()
		got, err := srv.tryRaw(t, "127.0.0.1:"+srv.port, srv.message("GET", target,
			[]string{"Connection: close"}, ""))
		seen := up.take()
		if err != nil || got.Status != http.StatusOK || len(seen) != 1 ||
			seen[0].URI != strings.TrimSuffix(target, "?") && seen[0].URI != target {
			t.Errorf("%q: %d %q %v; the upstream got %v, want it as sent", target, got.Status,
				brief(got.Body), err, seen)
		}
	}
}

// The property that strict paths guarantee: a path that passes reaches the upstream byte for byte,
// and no upstream reads it as a path with another policy.
func TestAttackPlainPathsAtRandom(t *testing.T) {
	for name, c := range map[string]struct{ before, prefix string }{
		"as it came":        {"", ""},
		"without a prefix":  {"uri strip_prefix /api", "/api"},
		"a rewritten query": {"rewrite * {path}?from=proxy", ""},
	} {
		t.Run(name, func(t *testing.T) {
			up := newLenientUpstream(t)
			s := strictSite("")
			s.Before = c.before
			srv := startServer(t, s, up.URL)
			random := rand.New(rand.NewPCG(11, 4))
			atoms := []string{
				"open", "admin", "ADMIN", "%61dmin", "x", "/", "/", "/", "..", ".", "%2e", "%2E", ";", "%3b",
				`\`, "%5c", "%2f", "%25", "%252e", "%00", "?", "%3f", "#",
				"%23", " ", "%20", "|", "\xc3\xa9", "%c3%a9", "%c0%ae", "%c0%af", "//", "a=b", "@", ":", "*",
				"%", "%zz", "~", "%0a", "{", "\"", "&", "+", "%ff", "…",
			}
			targets := hostileTargets(srv.port)
			for range 1500 {
				var b strings.Builder
				b.WriteString("/")
				for range 1 + random.IntN(8) {
					b.WriteString(atoms[random.IntN(len(atoms))])
				}
				targets = append(targets, b.String())
			}
			passed := 0
			for _, target := range targets {
				target = strings.ReplaceAll(target, " ", "")
				if !strings.HasPrefix(target, "/") {
					continue
				}
				srv.tryRaw(t, "127.0.0.1:"+srv.port, srv.message("GET", c.prefix+target,
					[]string{"Connection: close"}, ""))
				for _, got := range up.take() {
					passed++
					sent, _, _ := strings.Cut(target, "?")
					path, _, _ := strings.Cut(got.URI, "?")
					if c.before == "" && path != sent { // a site's own rewrites may change the path
						t.Errorf("%q reached the upstream as %q", target, got.URI)
					}
					for how, read := range upstreamReadings {
						if p := strings.ToLower(read(path)); strings.HasPrefix(p, "/admin/") {
							t.Errorf("%q, which one that reads it %s takes for %s, passed", target, how, p)
						}
					}
				}
			}
			if passed < 20 {
				t.Errorf("only %d of %d passed: there is nothing to see here", passed, len(targets))
			}
			t.Logf("%d of %d passed", passed, len(targets))
		})
	}
}

// A site is strict if one of its policies looks at the path, in any of the possible ways.
func TestAttackPlainPathsWhereAPolicyLooks(t *testing.T) {
	open := "policy {\n\tanonymous\n}"
	denied := "policy @m {\n\tdeny\n}\n" + open
	for name, c := range map[string]struct {
		oauth1, before string
		query          bool // the policy looks at the query, too, or may do so
	}{
		"path":        {denied, "@m path /admin/*", false},
		"path_regexp": {denied, "@m path_regexp ^/admin/", false},
		"not path":    {"policy @m {\n\tanonymous\n}", "@m not path /admin/*", false},
		"not path, and a method": {"policy @m {\n\tanonymous\n}",
			"@m {\n\tmethod GET\n\tnot path /admin/*\n}", false},
		"path in an expression":     {denied, "@m expression path('/admin/*')", false},
		"a placeholder's shorthand": {denied, `@m expression {path}.startsWith("/admin/")`, false},
		"a placeholder":             {denied, `@m expression {http.request.uri.path}.startsWith("/admin/")`, false},
		"the whole URI":             {denied, `@m expression {http.request.uri}.startsWith("/admin/")`, true},
		"the original URI":          {denied, `@m expression {http.request.orig_uri}.startsWith("/admin/")`, true},
		"the original path": {denied, `@m expression {http.request.orig_uri.path}.startsWith("/admin/")`,
			false},
		"vars":                      {denied, "@m vars {http.request.uri.path} /admin/x", false},
		"vars_regexp":               {denied, "@m vars_regexp {path} ^/admin/", false},
		"a segment":                 {denied, "@m vars {http.request.uri.path.0} admin", false},
		"the file":                  {denied, "@m vars {http.request.uri.path.file} secret", false},
		"a header that is compared": {denied, "@m header X-Path {path}", false},
		"a variable that was set":   {denied, "vars where {path}\n@m vars where /admin/x", true},
		"map": {denied, "map {path} {where} {\n\t/admin/x admin\n\tdefault open\n}\n@m vars {where} admin",
			true},
		"a context": {
			"policy @get {\n\tanonymous\n}\npolicy {\n\tcontext {http.request.uri.path.0}\n}",
			"@get method GET", false,
		},
		"a later policy": {"policy @get {\n\tanonymous\n}\npolicy /admin/* {\n\tdeny\n}",
			"@get method GET", false},
		"query": {denied, "@m query mode=admin", true},
	} {
		t.Run(name, func(t *testing.T) {
			up := newUpstream(t)
			srv := startServer(t, anyHost(c.oauth1, c.before), up.URL)
			twisted := []string{"/open/..;/admin/x", "/open/%2e%2e/admin/x", "/open//x", "/open/a%2fb",
				"/open/a|b"}
			if name == "query" {
				twisted = []string{"/open/x?mode=user;b", "/open/x?mode=%", "/open/x?mode+=admin"}
			}
			for _, target := range twisted {
				reason := "path_not_plain"
				if name == "query" {
					reason = "query_not_plain"
				}
				srv.wantRefused(t, up, target, http.StatusBadRequest, reason, srv.rawly(t, srv.message("GET",
					target, nil, "")))
			}
			plain := []string{"/open/x", "/open/a%20b", "/open/x?a=b"}
			if !c.query {
				plain = append(plain, "/open/x?a=b;c&d=%&e+f=%00")
			}
			wantAsSent(t, srv, up, plain)
		})
	}
}

// A site whose policies do not look at the URL refuses nothing new by default.
func TestAttackPlainPathsAreNobodysDuty(t *testing.T) {
	for name, c := range map[string]struct{ oauth1, before string }{
		"one for all":           {"policy {\n\tanonymous\n}", ""},
		"methods":               {"policy @m {\n\tanonymous\n}", "@m method GET"},
		"a header":              {"policy @m {\n\tanonymous\n}", "@m header !X-Nothing"},
		"an address":            {"policy @m {\n\tanonymous\n}", "@m remote_ip 127.0.0.1"},
		"a host":                {"policy @m {\n\tanonymous\n}", "@m host 127.0.0.1"},
		"the protocol":          {"policy @m {\n\tanonymous\n}", "@m protocol http"},
		"a method's expression": {"policy @m {\n\tanonymous\n}", `@m expression {method} == "GET"`},
		"as_sent":               {"paths as_sent\npolicy {\n\tanonymous\n}", ""},
	} {
		t.Run(name, func(t *testing.T) {
			up := newUpstream(t)
			srv := startServer(t, anyHost(c.oauth1, c.before), up.URL)
			for _, path := range append(twistedPaths(), "/open/x?a=b;c", "/open/x?%",
				"/open/x?a+b=c&%00=d#e") {
				got, err := srv.tryRaw(t, "127.0.0.1:"+srv.port, srv.message("GET", path,
					[]string{"Connection: close"}, ""))
				if seen := up.take(); err != nil || got.Status != http.StatusOK || len(seen) != 1 {
					t.Errorf("%q: %d %q %v; the upstream got %v", path, got.Status, brief(got.Body), err,
						seen)
				}
			}
		})
	}
	t.Run("except with paths strict", func(t *testing.T) {
		up := newUpstream(t)
		srv := startServer(t, anyHost("paths strict\npolicy {\n\tanonymous\n}", ""), up.URL)
		tok := srv.issue(t, demoKey, "salgado", "WRITE_PRIVATE", nil)
		for _, path := range twistedPaths() {
			srv.wantNotPlain(t, up, path, authorization(plaintext(demoKey, demoSecret, tok)),
				"path_not_plain")
		}
		wantAsSent(t, srv, up, append(plainPaths, "/open/x?a=b;c", "/open/x?%"))
	})
}

// `paths as_sent` judges all readings and forwards the path as it was sent, for APIs whose URLs
// need it.
func TestAttackPathsAsSent(t *testing.T) {
	up := newUpstream(t)
	srv := startServer(t, strictSite("paths as_sent"), up.URL)
	tok := srv.issue(t, demoKey, "salgado", "READ_PUBLIC", nil)
	credentials := "Authorization: " + authorization(plaintext(demoKey, demoSecret, tok))
	passed := 0
	for _, target := range hostileTargets(srv.port) {
		for _, lines := range [][]string{nil, {credentials}} {
			srv.tryRaw(t, "127.0.0.1:"+srv.port, srv.message("GET", target, append(lines,
				"Connection: close"), ""))
		}
		if !strings.HasPrefix(target, "http") && !strings.ContainsAny(target, " \t") {
			srv.h2(t, h2Message{fields: srv.h2Fields("GET", target)})
		}
		for _, got := range up.take() {
			passed++
			sent, _, _ := strings.Cut(got.URI, "?")
			for how, read := range upstreamReadings {
				if p := strings.ToLower(read(sent)); strings.HasPrefix(p, "/admin/") {
					t.Errorf("%s reached the upstream as %s, which one that reads it %s takes for %s", target,
						got.URI, how, p)
				}
			}
		}
	}
	if passed == 0 {
		t.Error("nothing passed at all: there is nothing to see here")
	}
	wantAsSent(t, srv, up, append([]string{
		"/open/a;v=1/b", "/open//a", "/open/a%2Fb", "/open/.well-known/x", "/open/a%252Fb", "/open/%C3%A9",
		"/open/./x", "/open/a%5cb", "/open/100%25",
	}, plainPaths...))
}

// A query that is not plain is refused if a policy looks at the query.
func TestAttackPlainQueries(t *testing.T) {
	private := "policy @m {\n\tpermission WRITE_PRIVATE\n}\npolicy {\n\tanonymous\n}"
	for name, c := range map[string]struct{ oauth1, before string }{
		"query":                     {private, "@m query mode=admin"},
		"query in an expression":    {private, "@m expression query({'mode': 'admin'})"},
		"a parameter's placeholder": {private, `@m expression {http.request.uri.query.mode} == "admin"`},
		"the query's placeholder":   {private, `@m expression {query}.contains("mode=admin")`},
		"vars":                      {private, "@m vars {http.request.uri.query.mode} admin"},
		"not":                       {"policy @m {\n\tanonymous\n}", "@m not query mode=admin"},
		"a context": {
			"policy @get {\n\tanonymous\n}\npolicy {\n\tcontext {http.request.uri.query.project}\n}",
			"@get method GET",
		},
	} {
		t.Run(name, func(t *testing.T) {
			up := newUpstream(t)
			srv := startServer(t, anyHost(c.oauth1, c.before), up.URL)
			tok := srv.issue(t, demoKey, "salgado", "WRITE_PRIVATE", nil)
			credentials := authorization(plaintext(demoKey, demoSecret, tok))
			for _, query := range []string{
				"a=%zz", "a=%", "%", "a=b&c=%4", "a=%&b=c", "100%", "mode=user&x=%g0",
				// WHATWG URL section 5.1, PHP
				"a=b;c=d", "a=b;", ";", ";mode=admin", "mode=user;mode=admin", "a;b&c=d",
				// HTML 4.01 appendix B.2.2
				"+mode=admin", "mode+=admin", "%20mode=admin", "mode%20=user", "a+b=c", "x=y&%20mode=admin",
				"a%20b", // PHP trims names
				"mode%00=admin", "mode%00x=user", "%00=a", "a%0a=b", "%0d%0amode=admin", "a%09=b", "a%1f=b",
				"a%7f=b",
				"a=b#mode=admin", "#", "mode#=admin",
			} {
				srv.wantNotPlain(t, up, "/x?"+query, credentials, "query_not_plain")
			}
			wantAsSent(t, srv, up, []string{
				"/x", "/x?", "/x?mode=user", "/x?a=b&c=d", "/x?a=b+c&d=%E9", "/x?a=b%20c", "/x?a=100%25",
				"/x?a[]=b", "/x?a%5B%5D=b", "/x?a=%3B", "/x?a.b=c",
				"/x?a", "/x?&&", "/x?a=b=c", "/x?%61=b", "/x?a=/../?",
			})
		})
	}
	t.Run("no policy looks at the query", func(t *testing.T) {
		up := newUpstream(t)
		srv := startServer(t, strictSite(""), up.URL)
		wantAsSent(t, srv, up, []string{"/x?a=%zz", "/x?a=b;c", "/x?a+b=c", "/x?%00=a", "/x?a=b%0a"})
	})
	t.Run("as_sent", func(t *testing.T) {
		up := newUpstream(t)
		srv := startServer(t, anyHost("paths as_sent\npolicy @m {\n\tdeny\n}\npolicy {\n\tanonymous\n}",
			"@m query mode=admin"), up.URL)
		wantAsSent(t, srv, up, []string{"/x", "/x?mode=user", "/x?a=b;c", "/x?a=100%", "/x?a=b+c&d=%E9"})
		for _, query := range []string{"mode=admin", "a=b;mode=admin", "mode=admin&a=%", "%6dode=admin"} {
			srv.raw(t, srv.message("GET", "/x?"+query, nil, ""))
			wantUnseen(t, up, query)
		}
	})
}

// If several readings are judged, a matcher that knows only one reading must not decide. Such a
// site does not load.
func TestAttackPathsAsSentThatKnowOneReading(t *testing.T) {
	srv := startServer(t, site{Handler: "respond ok"}, "")
	load := func(oauth1, before string) error {
		t.Helper()
		strict := site{Handler: "respond ok", OAuth1: oauth1, Before: before}
		if err := srv.load(srv.caddyfile(strict)); err != nil {
			t.Errorf("without the option: %v", err)
		}
		strict.OAuth1 = "paths as_sent\n" + oauth1
		return srv.load(srv.caddyfile(strict))
	}
	const policy = "policy @m {\n\tanonymous\n}\n"
	for name, c := range map[string]struct {
		oauth1, before string
		named          []string // the error contains one of them
	}{
		"map": {policy,
			"map {path} {where} {\n\t/admin/x admin\n\tdefault open\n}\n@m vars {where} open",
			[]string{"where", "vars"}},
		"map in an expression": {policy,
			"map {path} {where} {\n\tdefault open\n}\n@m expression {where} == \"open\"", []string{"where"}},
		"map in a context": {"policy {\n\tcontext {where}\n}",
			"map {path} {where} {\n\tdefault open\n}", []string{"where"}},
		"vars": {policy, "vars where {path}\n@m vars where /x", []string{"vars",
			"where"}},
		"vars of a placeholder": {policy, "@m vars {http.vars.where} /x", []string{"vars", "where"}},
		"vars_regexp": {policy, "@m vars_regexp {http.request.uri} ^/x",
			[]string{"vars_regexp", "http.request.uri"}},
		"the URI": {policy, `@m expression {http.request.uri} == "/x"`,
			[]string{"http.request.uri"}},
		"the URI, in short": {policy, `@m expression {uri} == "/x"`, []string{"uri"}},
		"the URI in a header": {policy, "@m header X-Sum {http.request.uri}",
			[]string{"http.request.uri"}},
		"the URI in a context": {"policy {\n\tcontext {http.request.uri}\n}", "",
			[]string{"http.request.uri"}},
		"part of a context": {"policy {\n\tcontext a-{http.request.uri}\n}", "",
			[]string{"http.request.uri"}},
		"the original URI": {"policy {\n\tcontext {http.request.orig_uri}\n}", "",
			[]string{"http.request.orig_uri"}},
		"the original path": {"policy {\n\tcontext {http.request.orig_uri.path}\n}", "",
			[]string{"http.request.orig_uri.path"}},
		"the original segment": {"policy {\n\tcontext {http.request.orig_uri.path.0}\n}", "",
			[]string{"http.request.orig_uri.path.0"}},
		"the original query": {policy, `@m expression {http.request.orig_uri.query} == "x"`,
			[]string{"http.request.orig_uri.query"}},
		"an unknown placeholder": {"policy {\n\tcontext {my.module.value}\n}", "",
			[]string{"my.module.value"}},
		"a not around it": {policy, `@m not expression {http.request.uri} == "/x"`,
			[]string{"http.request.uri"}},
		"in the second policy": {"policy /x {\n\tdeny\n}\n" + policy,
			`@m expression {http.request.uri} == "/x"`, []string{"http.request.uri"}},
		"in the second matcher set": {policy, "@m {\n\tmethod GET\n\tvars {http.request.uri} /x\n}",
			[]string{"vars", "http.request.uri"}},
		"an expression with the path": {policy, `@m expression path('/x') || {http.request.orig_uri} == "/x"`,
			[]string{"http.request.orig_uri"}},
	} {
		err := load(c.oauth1, c.before)
		if err == nil {
			t.Errorf("%s: loads", name)
			continue
		}
		if text := err.Error(); !strings.Contains(text, "paths as_sent") ||
			!slices.ContainsFunc(c.named, func(name string) bool { return strings.Contains(text, name) }) {
			t.Errorf("%s: %v, want it to name the option and %s", name, err, c.named[0])
		}
	}
	for name, c := range map[string]struct{ oauth1, before string }{
		"path":                 {"policy /x {\n\tanonymous\n}", ""},
		"path_regexp":          {policy, "@m path_regexp ^/x"},
		"its capture":          {"policy @m {\n\tcontext {re.m.1}\n}", "@m path_regexp m ^/([^/]+)/"},
		"query and method":     {policy, "@m {\n\tquery a=b\n\tmethod GET\n}"},
		"not":                  {policy, "@m not path /x"},
		"expression":           {policy, `@m expression {path} == "/x" && method('GET')`},
		"a segment":            {"policy {\n\tcontext {http.request.uri.path.0}\n}", ""},
		"the path's shorthand": {"policy {\n\tcontext {path}\n}", ""},
		"a query's parameter":  {"policy {\n\tcontext {http.request.uri.query.project}\n}", ""},
		"no policy":            {"", ""},
		"not the URL":          {policy, "@m header X-A b"},
	} {
		if err := load(c.oauth1, c.before); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
