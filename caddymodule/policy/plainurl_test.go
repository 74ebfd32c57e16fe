package policy

import (
	"net/url"
	"slices"
	"strings"
	"testing"
)

func TestPlainPaths(t *testing.T) {
	for _, path := range []string{
		"/", "/a", "/a/", "/a/b.c", "/a.b/..c/.../x..", "/.well-known/x", "/a%20b", "/%C3%A9", "/%7Ex", "/a%2eb", "/~x/@y:z,w=1+2!$&'()*",
		"/what%3F", "/a%23b", "/a[1]", "/100%C2%A0", "/%E2%80%A6",
	} {
		if what := UnplainPath(path); what != "" {
			t.Errorf("%s: %s", path, what)
		}
	}
	for path, want := range map[string]string{
		"":                "no slash",
		"a":               "no slash",
		"/.":              "a dot segment",
		"/./a":            "a dot segment",
		"/a/..":           "a dot segment",
		"/a/../b":         "a dot segment",
		"/a/%2e%2E/b":     "a dot segment",
		"/a/.%2e":         "a dot segment",
		"/a/%2e":          "a dot segment",
		"//":              "an empty segment",
		"/a//b":           "an empty segment",
		`/a\b`:            "a backslash",
		"/a%5cb":          "an encoded backslash",
		"/a%2Fb":          "an encoded slash",
		"/a%2fb":          "an encoded slash",
		"/a%252e":         "an encoded percent",
		"/a;b":            "a semicolon",
		"/a%3bb":          "an encoded semicolon",
		"/a%00":           "an encoded NUL",
		"/a%0a":           "a control character",
		"/a%7F":           "a control character",
		"/a%C2%85":        "a control character",
		"/%c0%ae%c0%ae/b": "no character of UTF-8",
		"/a%c0%afb":       "no character of UTF-8",
		"/%FF":            "no character of UTF-8",
		"/a%":             "begins no escape",
		"/a%4":            "begins no escape",
		"/a%zz":           "begins no escape",
		"/a|b":            "as an escape only",
		"/\u00e9":         "as an escape only",
		"/a\"b":           "as an escape only",
		"/a#b":            "as an escape only",
		"/a?b":            "as an escape only",
		"/a\x00b":         "as an escape only",
	} {
		if what := UnplainPath(path); !strings.Contains(what, want) {
			t.Errorf("%q: %q, want %q", path, what, want)
		}
	}
}

func TestPlainQueries(t *testing.T) {
	for _, query := range []string{"", "a", "a=b&&c=%20%25", "a=b+c", "a.b[c]=d", "=", "%C3%A9=x", "a=%00", "oauth_signature=%2B%3D"} {
		if what := unplainQuery(query); what != "" {
			t.Errorf("%s: %s", query, what)
		}
	}
	for query, want := range map[string]string{
		"a=b;c": "a semicolon", "a=%": "begins no escape", "%zz": "begins no escape", "a#b": "a number sign",
		"a+b=c": "a blank", "%20a=b": "a blank", "a%00=b": "a control", "a%0ab": "a control", "%C2%A0=1": "a blank", "%FF=1": "a blank or",
	} {
		if what := unplainQuery(query); !strings.Contains(what, want) {
			t.Errorf("%s: %q, want %q", query, what, want)
		}
	}
}

// FuzzPlainPath: an accepted path reaches the upstream byte for byte, and no reading of it is
// another path. A reading may only cut the path at an escaped question mark, and that reading is
// judged.
func FuzzPlainPath(f *testing.F) {
	for _, path := range []string{
		"/a/b", "/a/../b", "/open/..;/admin", "/%2e%2e/a", "/a%252fb", "/a%2Fb", `/a\b`, "//a", "/a%00b", "/%c0%ae", "/a%3Fb", "/a|b", "/a[b]", "/\xff",
		"/a/.", "/.a", "/a//", "/%", "/a%3bb", "/%5c..%5c",
	} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		if UnplainPath(path) != "" {
			return
		}
		u, err := url.ParseRequestURI(path)
		if err != nil {
			t.Fatalf("%q is plain, and no path: %v", path, err)
		}
		if u.EscapedPath() != path || u.RawQuery != "" {
			t.Errorf("%q is sent as %q", path, u.EscapedPath())
		}
		if readings := readPath(u); len(readings) > 1 && !strings.ContainsAny(u.Path, "?#") {
			t.Errorf("%q is read as %q", path, readings)
		}
		if i := slices.IndexFunc(strings.Split(u.Path[1:], "/"), func(s string) bool { return s == "." || s == ".." }); i >= 0 {
			t.Errorf("%q has a dot segment", path)
		}
	})
}
