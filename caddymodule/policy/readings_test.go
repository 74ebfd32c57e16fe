package policy

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// tooLong is longer than hostile input takes with the race detector on a busy machine. Work that
// grows with the square of the input takes minutes.
const tooLong = 10 * time.Second

// TestReadings: the paths that upstreams may read.
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
	if took := time.Since(start); took > tooLong {
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
	if took := time.Since(start); took > tooLong {
		t.Errorf("a hostile query took %v", took)
	}
}

// TestPlaceholdersOfAReading: the URL placeholders, also those of the original URL, have the values
// of the reading. Values of earlier handlers stay, and the request itself is unchanged.
func TestPlaceholdersOfAReading(t *testing.T) {
	t.Parallel()
	r := arrived("GET", "/v1/a;b/c?x=1")
	start := caddyhttp.GetVar(r.Context(), "start_time")
	caddyhttp.SetVar(r.Context(), "kept", "variable")
	replacer(r).Set("set", "before")
	r.URL.Path = strings.TrimPrefix(r.URL.Path, "/v1") // handle_path does the same
	r.Header.Set("X-A", "header")

	const text = "{http.request.method} {http.request.uri.path} {http.request.uri.query} {http.request.orig_uri.path}" +
		" {http.vars.kept} {set} {http.request.header.X-A} {http.request.remote.host}"
	other := reading(r, "PUT", &url.URL{Path: "/a/c", RawQuery: "y=2"})
	for of, test := range map[string]struct {
		r    *http.Request
		want string
	}{
		"the reading": {other, "PUT /a/c y=2 /v1/a/c variable before header 192.0.2.1"},
		"the request": {r, "GET /a;b/c x=1 /v1/a;b/c variable before header 192.0.2.1"},
	} {
		if got := replacer(test.r).ReplaceAll(text, ""); got != test.want {
			t.Errorf("%s: %q; want %q", of, got, test.want)
		}
		if caddyhttp.GetVar(test.r.Context(), "start_time") != start {
			t.Errorf("%s: has another start time", of)
		}
	}
}
