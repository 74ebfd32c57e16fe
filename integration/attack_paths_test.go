package integration

import (
	"net/http"
	"net/url"
	"path"
	"strings"
	"testing"
)

// A policy sees the path as Caddy's matchers do: decoded once, dots resolved, slashes merged. The
// upstream gets the path as it was sent, and reads it in its own way. These are ways in which
// upstreams read it.
var upstreamReadings = map[string]func(target string) string{
	"as sent (Express, WSGI)":         func(target string) string { return target },
	"decoded (WSGI's PATH_INFO, CGI)": unescapePath,
	"decoded and cleaned (nginx, net/http.ServeMux, Apache)": func(target string) string {
		return path.Clean("/"+unescapePath(target)) + trailing(target)
	},
	"cleaned, then decoded (path.Clean on the sent path)": func(target string) string {
		return unescapePath(path.Clean("/"+target) + trailing(target))
	},
	"dots resolved, slashes kept (WHATWG URL: Node.js)": func(target string) string {
		return resolve(strings.ReplaceAll(strings.ReplaceAll(target, `\`, "/"), "%2e", "."))
	},
	"a reference (new URL(req.url, base))": func(target string) string {
		base, _ := url.Parse("http://upstream/")
		ref, err := base.Parse(strings.ReplaceAll(target, `\`, "/"))
		if err != nil {
			return ""
		}
		return ref.Path
	},
	"without parameters (Tomcat, Jetty, Spring)": func(target string) string {
		segments := strings.Split(target, "/")
		for i := range segments {
			segments[i], _, _ = strings.Cut(segments[i], ";")
		}
		return resolve(unescapePath(strings.Join(segments, "/")))
	},
	"parameters cut after decoding": func(target string) string {
		segments := strings.Split(unescapePath(target), "/")
		for i := range segments {
			segments[i], _, _ = strings.Cut(segments[i], ";")
		}
		return path.Clean("/"+strings.Join(segments, "/")) + trailing(target)
	},
	"decoded twice, with backslashes (IIS)": func(target string) string {
		p := strings.ReplaceAll(unescapePath(unescapePath(target)), `\`, "/")
		return path.Clean("/"+p) + trailing(p)
	},
	"up to the NUL (C)": func(target string) string {
		p, _, _ := strings.Cut(unescapePath(target), "\x00")
		return path.Clean("/" + p)
	},
	"encoded slashes kept (Go's ServeMux patterns, Rails)": func(target string) string {
		return unescapePath(strings.NewReplacer("%2f", "%252f", "%2F", "%252f").Replace(target))
	},
}

func unescapePath(s string) string {
	if u, err := url.PathUnescape(s); err == nil {
		return u
	}
	return s
}

func trailing(s string) string {
	if strings.HasSuffix(s, "/") && strings.Trim(s, "/") != "" {
		return "/"
	}
	return ""
}

// resolve is a simple form of RFC 3986 section 5.2.4.
func resolve(p string) string {
	kept := []string{}
	for _, segment := range strings.Split(strings.TrimPrefix(p, "/"), "/") {
		switch segment {
		case ".":
		case "..":
			kept = kept[:max(0, len(kept)-1)]
		default:
			kept = append(kept, segment)
		}
	}
	return "/" + strings.Join(kept, "/")
}

// hostileTargets are request targets that an upstream could read as one path and a policy as
// another.
func hostileTargets(port string) []string {
	up := []string{
		"..", ".", "%2e%2e", "%2E%2e", ".%2e", "%2e.", "%2e", "..;", "..;x=y", "..%3b", "%2e%2e;", ".;", ";", ";x",
		"..%00", "..%5c", `..\`,
		`\..`, "%5c..", "%5C..%5C", "%252e%252e", "%25252e%25252e", "%252e%252e%252f", "..%2f", "%2f..", "%2f..%2f",
		"..%2F..", "", "/..", "//..",
		"//", "%2f", "%2F%2F", "%5c", "#/..", "%23/..", "?/..", "%3f/..", "%3F", "..%20", "..%0a", "...", ".. ",
		"%c0%ae%c0%ae", "%u002e%u002e", "..%c0%af",
	}
	var all []string
	for _, pair := range [][2]string{{"open", "admin"}, {"admin", "open"}} {
		from, to := pair[0], pair[1]
		for _, dots := range up {
			all = append(all,
				"/"+from+"/"+dots+"/"+to+"/x", "/"+from+dots+"/"+to+"/x", "/"+from+"/"+dots+to+"/x",
				"/"+from+"/y/"+dots+"/"+dots+"/"+to+"/x",
				"/"+from+"//"+dots+"/"+to+"/x", "/"+from+"/"+dots, "/"+dots+"/"+to+"/x", dots+"/"+to+"/x",
				"/"+to+dots+"/x", "/"+to+"/x"+dots)
		}
	}
	for _, to := range []string{"admin", "ADMIN", "Admin", "%61dmin", "%2561dmin", "adm%69n"} {
		all = append(all,
			"/"+to+"/x", "//"+to+"/x", "///"+to+"/x", "/./"+to+"/x", "/"+to+"%2fx", "/"+to+"%2Fx", "/"+to+"//x",
			"/"+to+`\x`, "/"+to+"%5cx", "/"+to+";/x", "/"+to+";a=b/x",
			"/"+to+"%3b/x", "/"+to+"/x%00", "/"+to+"%00/x", "//open/"+to+"/x", "///open/"+to+"/x", `/\open/`+to+"/x",
			"/%2fopen/"+to+"/x", "/%5copen/"+to+"/x", "//open//"+to+"/x",
			// Targets that only one kind of reader misreads: a slash that does not divide, an empty
			// segment that a .. removes, an end at the NUL.
			"/open/a%2Fb/../../"+to+"/x", "/open/a%2fb/%2e%2e/%2E%2E/"+to+"/x", "/open/../"+to+"//../open/x",
			"/y/../"+to+"//../open/x", "/y/%2e%2e/"+to+"/%2F../../open/x",
			"/open/../"+to+"/y%00/../../open/x", "/y/../"+to+"/y%00/../../open/x",
			"/open%2f"+to+"/x", "/open%2F..%2F"+to+"%2Fx", "/;/"+to+"/x", "/;a=b/"+to+"/x", "/%3b/"+to+"/x",
			// RFC 9112 section 3.2.2: the absolute form, with another host or a strange one.
			"http://127.0.0.1:"+port+"/"+to+"/x", "http://open/"+to+"/x", "http://127.0.0.1:"+port+"//open/"+to+"/x",
			"http://127.0.0.1:"+port+"/open/../"+to+"/x",
			"https://127.0.0.1:"+port+"/"+to+"/x", "http://open@127.0.0.1:"+port+"/"+to+"/x", "HTTP://open/"+to+"/x",
			"open:/"+to+"/x", "open:"+to+"/x", "*/"+to+"/x", "*")
	}
	return all
}

// CVE-2021-41773 and CVE-2018-1271 (encoded dots), the `..;` of Tomcat behind a proxy (Orange Tsai,
// Black Hat 2018), CVE-2025-29914 (`//host/path` read as a reference), RFC 3986 sections 3.3, 5.2.4
// and 6.2.2.
func TestAttackPaths(t *testing.T) {
	for _, c := range []struct{ name, policies string }{
		{"an open path in a protected site", "policy /open/* {\n\tanonymous\n}\npolicy {\n\tpermission WRITE_PRIVATE\n}"},
		{"a protected path in an open site", "policy /admin/* {\n\tpermission WRITE_PRIVATE\n}\npolicy {\n\tanonymous\n}"},
		{"both named, nothing else", "policy /open/* {\n\tanonymous\n}\npolicy /admin/* {\n\tpermission WRITE_PRIVATE\n}"},
	} {
		t.Run(c.name, func(t *testing.T) {
			up := newUpstream(t)
			srv := startServer(t, site{OAuth1: "paths as_sent\n" + c.policies}, up.URL)
			tok := srv.issue(t, demoKey, "salgado", "READ_PUBLIC", nil)
			credentials := "Authorization: " + authorization(plaintext(demoKey, demoSecret, tok))
			passed := 0
			for _, target := range hostileTargets(srv.port) {
				for _, lines := range [][]string{nil, {credentials}} {
					srv.tryRaw(t, "127.0.0.1:"+srv.port,
						srv.message("GET", target, append(lines, "Connection: close"), ""))
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
			t.Logf("%d of the requests passed", passed)
			for _, ok := range []string{"/open/a", "/open/a;v=1/b", "/open//a", "/open/a%2Fb", "/open/.well-known/x",
				"/open/a%252Fb", "/open/%C3%A9", "/open/~user/+branch"} {
				got := srv.raw(t, srv.message("GET", ok, nil, ""))
				want(t, "an honest request for "+ok, got, http.StatusOK, "")
			}
		})
	}
}

// A context is taken from the path. A path that leads out of the context must not pass with its
// token.
func TestAttackContexts(t *testing.T) {
	for name, policies := range map[string]string{
		"a segment":                      "policy {\n\tcontext {http.request.uri.path.0}\n}",
		"a matcher's capture":            "policy @project {\n\tcontext {re.project.1}\n}\npolicy {\n\tdeny\n}",
		"a segment of the original path": "policy /open/* {\n\tcontext {http.request.orig_uri.path.0}\n}\npolicy {\n\tdeny\n}",
	} {
		t.Run(name, func(t *testing.T) {
			up := newUpstream(t)
			srv := startServer(t, site{OAuth1: policies, Before: "@project path_regexp project ^/([^/]+)/"}, up.URL)
			credentials := "Authorization: " + authorization(plaintext(demoKey, demoSecret,
				srv.issue(t, demoKey, "salgado", "READ_PUBLIC", object{"context": "open"})))
			want(t, "an honest request", srv.raw(t, srv.message("GET", "/open/x", []string{credentials}, "")),
				http.StatusOK, "")
			for _, target := range hostileTargets(srv.port) {
				srv.tryRaw(t, "127.0.0.1:"+srv.port,
					srv.message("GET", target, []string{credentials, "Connection: close"}, ""))
				for _, got := range up.take() {
					sent, _, _ := strings.Cut(got.URI, "?")
					for how, read := range upstreamReadings {
						if p := strings.ToLower(read(sent)); strings.HasPrefix(p, "/admin/") {
							t.Errorf("%s reached the upstream as %s, which one that reads it %s takes for %s", target,
								got.URI, how, p)
						}
					}
				}
			}
		})
	}
}

// Go's parser, and so Caddy's matcher, finds no parameter at all in a query that it rejects. Others
// do: WHATWG URL section 5.1 and PHP accept any percent sign, and HTML 4.01 appendix B.2.2 allows
// the semicolon as a divider.
func TestAttackQueries(t *testing.T) {
	up := newUpstream(t)
	srv := startServer(t, site{OAuth1: "paths as_sent\npolicy @admin {\n\tpermission WRITE_PRIVATE\n}\npolicy {\n\tanonymous\n}", Before: "@admin query mode=admin"}, up.URL)
	for _, query := range []string{
		"mode=admin", "%6dode=%61dmin", "a=b&mode=admin", "mode=user&mode=admin", "mode=admin&mode=user",
		"mode=admin&a=%zz", "a=%&mode=admin", "mode=admin&%",
		"mode=admin;a=b", "a=b;mode=admin", "mode=user;mode=admin", "a=b;c&mode=admin", "mode=admin&a=b;c",
		"mode=admin;&%",
	} {
		srv.raw(t, srv.message("GET", "/x?"+query, nil, ""))
		for _, got := range up.take() {
			t.Errorf("%s reached the upstream as %s", query, got.URI)
		}
	}
	for _, ok := range []string{"", "mode=user", "a=b;c", "a=100%", "a=b+c&d=%E9"} {
		want(t, "an honest request for "+ok, srv.raw(t, srv.message("GET", "/x?"+ok, nil, "")), http.StatusOK, "")
	}
}

// RFC 9110 section 9.1: methods are case-sensitive, and any token is a method. Rails, Symfony,
// lazr.restful and others read headers that replace the method.
func TestAttackMethods(t *testing.T) {
	up := newUpstream(t)
	srv := startServer(t, site{OAuth1: "policy /open/* {\n\tanonymous\n}\n" +
		"policy {\n\tpermission GET HEAD OPTIONS READ_PUBLIC\n\tpermission POST WRITE_PUBLIC\n\tpermission WRITE_PRIVATE\n}"}, up.URL)
	credentials := map[string]string{}
	for _, level := range []string{"READ_PUBLIC", "WRITE_PUBLIC", "WRITE_PRIVATE"} {
		credentials[level] = "Authorization: " +
			authorization(plaintext(demoKey, demoSecret, srv.issue(t, demoKey, "salgado", level, nil)))
	}
	passes := func(t *testing.T, method, level string, lines ...string) bool {
		t.Helper()
		up.take()
		srv.tryRaw(t, "127.0.0.1:"+srv.port,
			srv.message(method, "/x", append(lines, credentials[level], "Connection: close"), ""))
		return len(up.take()) > 0
	}
	for _, method := range []string{"GET", "HEAD", "OPTIONS"} {
		if !passes(t, method, "READ_PUBLIC") {
			t.Errorf("%s with READ_PUBLIC does not pass", method)
		}
	}
	for _, method := range []string{"get", "Get", "gET", "POST", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT",
		"PROPFIND", "MKCOL", "BREW", "GETX", "GET_", "G'ET"} {
		if passes(t, method, "READ_PUBLIC") {
			t.Errorf("%s passes with READ_PUBLIC", method)
		}
		if method != "POST" && passes(t, method, "WRITE_PUBLIC") {
			t.Errorf("%s passes with WRITE_PUBLIC", method)
		}
	}
	for _, header := range []string{"X-HTTP-Method-Override", "x-http-method-override", "X-HTTP-Method",
		"X-Method-Override"} {
		for _, value := range []string{"DELETE", "delete", "GET, DELETE", "  DELETE ", "DELETE,", "POST"} {
			if passes(t, "GET", "READ_PUBLIC", header+": "+value) {
				t.Errorf("GET with %s: %s passes with READ_PUBLIC", header, value)
			}
			if value != "POST" && passes(t, "POST", "WRITE_PUBLIC", header+": "+value) {
				t.Errorf("POST with %s: %s passes with WRITE_PUBLIC", header, value)
			}
		}
		if !passes(t, "POST", "WRITE_PRIVATE", header+": DELETE") {
			t.Errorf("POST with %s: DELETE does not pass with WRITE_PRIVATE", header)
		}
		if passes(t, "GET", "READ_PUBLIC", header+": GET", header+": DELETE") {
			t.Errorf("%s, twice, passes", header)
		}
	}
}

// GHSA-49wc-4hcv-v58q: CGI, WSGI and PHP read underscores, and some dots, as dashes. Caddy drops
// such headers, unless a site says that it expects them.
func TestAttackMethodsInOddSpelling(t *testing.T) {
	up := newUpstream(t)
	srv := startServer(t, site{Global: "servers {\n\texpected_underscore_headers x_* x-http_method_override\n\texpected_dot_headers x.*\n}"}, up.URL)
	credentials := "Authorization: " + authorization(plaintext(demoKey, demoSecret,
		srv.issue(t, demoKey, "salgado", "READ_PUBLIC", nil)))
	for _, header := range []string{"X_HTTP_METHOD_OVERRIDE", "x_http_method", "X_Method_Override",
		"X-HTTP_Method_Override", "X.HTTP.Method.Override", "x.http.method"} {
		want(t, header, srv.raw(t, srv.message("GET", "/x", []string{credentials, header + ": DELETE"}, "")),
			http.StatusForbidden, "This request needs the permission WRITE_PUBLIC.")
		want(t, header, srv.raw(t, srv.message("GET", "/x", []string{credentials, header + ": GET"}, "")),
			http.StatusOK, "")
	}
}
