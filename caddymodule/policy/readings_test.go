package policy

import (
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestReadings: what upstreams may take a path for.
func TestReadings(t *testing.T) {
	for target, want := range map[string][]string{
		"/a/b":               nil,
		"/.well-known/x":     nil,
		"/a%20b/~c/+d;":      {"/a b/~c/+d"},
		"/open/..;/admin":    {"/admin", "/open/:../admin"},
		"/admin/../open":     {"/open", "/admin/:../open"},
		"/admin//../open":    {"/admin/open", "/admin//:../open"},
		`/open/..\admin`:     {"/open/../admin", "/admin"},
		"/open/%252e%252e/a": {"/open/../a", "/a"},
		"//open/admin":       {"/admin"},
		"/open%2Fadmin":      {"/open%2fadmin"},
		"/open%00/../x":      {"/open"},
	} {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			t.Fatal(err)
		}
		got := readPath(u)
		if got[0] != u.Path {
			t.Errorf("%s: the first reading is %s", target, got[0])
		}
		for _, path := range want {
			if !slices.Contains(got, path) {
				t.Errorf("%s: %q, without %s", target, got, path)
			}
		}
		if want == nil && len(got) != 1 {
			t.Errorf("%s: %q", target, got)
		}
	}
	hostile := &url.URL{Path: "/" + strings.Repeat("%25", 1000) + "2e/..;/../" + strings.Repeat("../;", 1000)}
	start := time.Now()
	if got := readPath(hostile); len(got) > mostReadings+len(pathReaders) {
		t.Errorf("%d readings", len(got))
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestQueryReadings(t *testing.T) {
	for query, want := range map[string][]string{
		"":               {""},
		"a=b&c=%20%2F":   {"a=b&c=%20%2F"},
		"a=%zz&b=%&c=%4": {"a=%zz&b=%&c=%4", "a=%25zz&b=%25&c=%254"},
		"a=b;c=%":        {"a=b;c=%", "a=b&c=%25", "a=b%3Bc=%25"},
	} {
		if got := readQuery(query); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", query, got, want)
		}
	}
	start := time.Now()
	readQuery(strings.Repeat("%;", 1<<19))
	if took := time.Since(start); took > time.Second {
		t.Errorf("a hostile query took %v", took)
	}
}
