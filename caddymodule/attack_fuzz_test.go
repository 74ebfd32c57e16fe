package caddymodule

import (
	"bufio"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// fuzzRequest returns a request as Go's server reads it, or nil if the server answers itself.
func fuzzRequest(method, target string) *http.Request {
	text := method + " " + target + " HTTP/1.1\r\nHost: api.test\r\n\r\n"
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text)))
	if err != nil || r.RequestURI != target || r.Method != method {
		return nil
	}
	r.RemoteAddr = "192.0.2.1:1234"
	return r
}

// FuzzTarget: an accepted target is a path, or the http URL of one. It is forwarded byte for byte,
// and every server reads it as the path that the policies judged.
func FuzzTarget(f *testing.F) {
	for _, target := range []string{
		"/", "/open/x", "/open/%C3%A9?a=b", "/open/what%3F", "/open/a+b/.c/..d/", "/admin/x", "/%61dmin/x",
		"http://api.test/open/x", "HTTP://h?a=1", "http://h",
		"mail:admin/x", "mail:%2Fadmin/x", "mail:%2Fadmin/drop://h/list", "http:/admin/x", "http:///admin/x",
		"http:admin/x", "ftp://h/x", "*", "h:80",
		"http://u@h/x", "/open/..;/admin/x", "/open/%2e%2e/admin/x", "//admin/x", "/open/%2f../admin",
		`/open\..\admin/x`, "/open/%252e%252e/admin/x",
		"/open/%c0%ae%c0%ae/admin/x", "/open;/x", "/open/x%00", "/open/x%0a", "/open/a|b%2fc", "/open/\xff",
		"/open#/../admin/x", "/a/../admin/%2e%2e/../x",
	} {
		f.Add("GET", target)
	}
	f.Add("delete", "/open/x")
	f.Add("PROPFIND", "/open/x")
	f.Add("CONNECT", "h:80")
	site := newTestSiteWith(f, "", "policy /admin/* {\n deny\n}\npolicy {\n anonymous\n}")
	f.Fuzz(func(t *testing.T, method, target string) {
		site.t = t
		r := fuzzRequest(method, target)
		if r == nil {
			return
		}
		_, upstream := site.serve(r)
		if upstream == nil {
			return
		}
		if method != strings.ToUpper(method) || method == http.MethodConnect {
			t.Errorf("the method %q passes", method)
		}
		sent := target
		if !strings.HasPrefix(target, "/") {
			u, err := url.Parse(target)
			if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil ||
				u.Opaque != "" {
				t.Fatalf("%q passes", target)
			}
			_, rest, _ := strings.Cut(target, "://")
			end := strings.IndexAny(rest, "/?")
			if end < 0 {
				end = len(rest)
			}
			if sent = rest[end:]; !strings.HasPrefix(sent, "/") {
				sent = "/" + sent
			}
		}
		if got := upstream.URL.RequestURI(); got != sent && got+"?" != sent {
			t.Errorf("%q is forwarded as %q", target, got)
		}
		path, _, _ := strings.Cut(sent, "?")
		if why := twisted(path); why != "" {
			t.Errorf("%q passes, which holds %s", path, why)
		}
		decoded, err := url.PathUnescape(path)
		if err != nil {
			t.Errorf("%q passes: %v", path, err)
		}
		if p := strings.ToLower(decoded); strings.HasPrefix(p, "/admin/") {
			t.Errorf("%q passes", path)
		}
	})
}

// twisted says why two servers could read a path differently, or returns "". It looks at the path
// as a server of each kind would, and shares no code with the code under test.
func twisted(path string) string {
	lower := strings.ToLower(path)
	for _, part := range []string{"%2f", "%5c", "%3b", "%25", "%00", "%7f", "%c0%", "%c1%", "%e0%80%",
		"%f0%80%80%", "//", `\`, ";", "#"} {
		if strings.Contains(lower, part) {
			return part
		}
	}
	for i := range len(lower) {
		if lower[i] == '%' && i+1 < len(lower) && (lower[i+1] == '0' || lower[i+1] == '1') {
			return "an encoded control character"
		}
		if lower[i] <= ' ' || lower[i] >= 0x7f || strings.IndexByte("\"<>^`{|}", lower[i]) >= 0 {
			return "a raw " + string(lower[i])
		}
	}
	for segment := range strings.SplitSeq(strings.ReplaceAll(lower, "%2e", "."), "/") {
		if segment == "." || segment == ".." {
			return "a dot segment"
		}
	}
	return ""
}

// FuzzPlainQuery: if a policy looks at the query, all parsers of queries find the same values in an
// accepted query.
func FuzzPlainQuery(f *testing.F) {
	for _, query := range []string{
		"", "a=b&c=d", "mode=user", "mode=admin", "%6dode=admin", "a=b;mode=admin", "mode=admin&a=%",
		"mode+=admin", "%20mode=admin", "mode%00=admin", "a=b#&mode=admin",
		"a=b+c&d=%E9", "a[]=1", "mode=user&mode=admin", "a=%zz", "mode%0a=admin", "&&=&", "mode",
		"mode=%61dmin",
	} {
		f.Add(query)
	}
	site := newTestSiteWith(f, "@admin query mode=admin",
		"policy @admin {\n deny\n}\npolicy {\n anonymous\n}")
	f.Fuzz(func(t *testing.T, query string) {
		site.t = t
		r := fuzzRequest("GET", "/x?"+query)
		if r == nil {
			return
		}
		_, upstream := site.serve(r)
		if upstream == nil {
			return
		}
		if upstream.URL.RawQuery != query {
			t.Errorf("%q is forwarded as %q", query, upstream.URL.RawQuery)
		}
		if _, err := url.ParseQuery(query); err != nil {
			t.Errorf("%q passes: %v", query, err)
		}
		if strings.Contains(query, "#") {
			t.Errorf("%q passes", query)
		}
		for _, dividers := range []string{"&", "&;"} {
			for _, part := range strings.FieldsFunc(query,
				func(r rune) bool { return strings.ContainsRune(dividers, r) }) {
				name, value, _ := strings.Cut(part, "=")
				name, value = loose(name), loose(value)
				if strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
					t.Errorf("%q passes, with the name %q", query, name)
				}
				cut, _, _ := strings.Cut(name, "\x00")
				if strings.TrimSpace(cut) == "mode" && value == "admin" {
					t.Errorf("%q passes", query)
				}
			}
		}
	})
}

// loose decodes valid escapes, and keeps everything else, as WHATWG URL and PHP do.
func loose(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '+':
			b.WriteByte(' ')
		case s[i] == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]):
			c, _ := url.PathUnescape(s[i : i+3])
			b.WriteString(c)
			i += 2
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

func isHex(c byte) bool { return strings.IndexByte("0123456789abcdefABCDEF", c) >= 0 }
