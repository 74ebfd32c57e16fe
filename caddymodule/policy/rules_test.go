package policy

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/refusal"
)

// newTestRules makes rules with the default levels.
func newTestRules(t *testing.T, config Config) (*Rules, error) {
	t.Helper()
	levels, err := NewLevels(nil)
	if err != nil {
		t.Fatal(err)
	}
	config.Levels = levels
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	t.Cleanup(cancel)
	return New(ctx, config)
}

// testRules makes rules from a valid configuration.
func testRules(t *testing.T, config Config) *Rules {
	t.Helper()
	rules, err := newTestRules(t, config)
	if err == nil {
		err = rules.Check(nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	return rules
}

// matching returns the matchers of a policy or a directive, of one kind.
func matching(name, value string) caddyhttp.RawMatcherSets {
	return caddyhttp.RawMatcherSets{{name: []byte(value)}}
}

// arrived returns a request as Caddy's server sets it up.
func arrived(method, target string) *http.Request {
	r := httptest.NewRequest(method, "http://api.test"+target, nil)
	return caddyhttp.PrepareRequest(r, caddy.NewReplacer(), nil, new(caddyhttp.Server))
}

// TestDecisions: a decision names its policy, and the reading that it was made about.
func TestDecisions(t *testing.T) {
	t.Parallel()
	rules := testRules(t, Config{Paths: PathsAsSent, Policies: []*Policy{
		{MatcherSetsRaw: matching("path", `["/open/*"]`), Anonymous: true},
		{MatcherSetsRaw: matching("path", `["/admin/*"]`), Deny: true},
		{MatcherSetsRaw: matching("path", `["/items/*"]`)},
	}})
	deep := "/open/%" + strings.Repeat("25", 100) + "2e" // each decoding gives another path
	reader := Subject{User: "alice", Consumer: "c", Permission: "READ_PUBLIC"}
	for _, test := range []struct {
		name, method, target string
		subject              Subject
		policy               int
		reason, reading      string // "" passes; "" is the request itself
	}{
		{"anonymous", "GET", "/open/x", Subject{}, 1, "", ""},
		{"deny", "GET", "/admin/x", reader, 2, "policy_deny", ""},
		{"the default level", "GET", "/items/x", reader, 3, "", ""},
		{"too low a level", "PUT", "/items/x", reader, 3, "policy_permission", ""},
		{"nobody", "GET", "/items/x", Subject{}, 3, "credentials_required", ""},
		{"a consumer without a user", "GET", "/items/x", Subject{Tokenless: "c"}, 3, "token_absent", ""},
		{"no policy", "GET", "/else", reader, 0, "policy_none", ""},
		{"another reading that is open too", "GET", "/open/a;b", Subject{}, 1, "", ""},
		{"another that is not", "GET", "/open/..;/admin/x", Subject{}, 2, "policy_deny", "/open/../admin/x"},
		{"too many readings", "GET", deep, Subject{}, 0, "readings_too_many", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := arrived(test.method, test.target)
			d := rules.Decide(r, &test.subject)
			if reasonOf(d.Problem) != test.reason || d.Number != test.policy {
				t.Errorf("policy %d: %q; want policy %d: %q", d.Number, reasonOf(d.Problem), test.policy, test.reason)
			}
			if d.Number > 0 != (d.Policy != nil) || d.Policy != nil && d.Policy != rules.policies[d.Number-1] {
				t.Errorf("policy %d is %v", d.Number, d.Policy)
			}
			if d.Reading != r && d.Reading.URL.Path != test.reading || d.Reading == r && test.reading != "" {
				t.Errorf("decided about %s", d.Reading.URL.Path)
			}
		})
	}
}

func reasonOf(p *refusal.Problem) string {
	if p == nil {
		return ""
	}
	return p.Reason
}

// TestCopiedURLs: if request_header copies a part of the URL into a header, and a matcher looks at
// headers, the URL must be plain. Before anything has looked for such copies, they may exist.
func TestCopiedURLs(t *testing.T) {
	t.Parallel()
	set := func(value string) caddyhttp.MiddlewareHandler {
		return &headers.Handler{Request: &headers.HeaderOps{Set: http.Header{"X-A": {value}}}}
	}
	byHeader, byMethod := matching("header", `{"X-A": ["b"]}`), matching("method", `["GET"]`)
	text, path := set("b"), set("{http.request.uri.path}")
	type handlers = []caddyhttp.MiddlewareHandler
	for _, test := range []struct {
		name    string
		seen    caddyhttp.RawMatcherSets
		earlier handlers // nil: nothing has looked for copies
		plain   bool     // whether the path must be plain
		asSent  bool     // whether paths as_sent can be kept
	}{
		{"nothing looked for copies", byHeader, nil, true, true},
		{"nothing is copied", byHeader, handlers{text}, false, true},
		{"the path is", byHeader, handlers{text, path}, true, false},
		{"no matcher looks", byMethod, handlers{path}, false, true},
		{"an answer's header", byHeader, handlers{new(headers.Handler)}, false, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			with := func(paths string) *Rules {
				p := &Policy{MatcherSetsRaw: test.seen, Anonymous: true}
				return testRules(t, Config{Paths: paths, Policies: []*Policy{p}})
			}
			rules, asSent := with(""), with(PathsAsSent)
			if test.earlier != nil {
				if err := rules.SetEarlier(test.earlier); err != nil {
					t.Fatal(err)
				}
				if err := asSent.SetEarlier(test.earlier); (err == nil) != test.asSent {
					t.Errorf("paths as_sent: %v", err)
				}
			}
			if problem := rules.CheckURL(arrived("GET", "/a;b")); (problem != nil) != test.plain {
				t.Errorf("a path that is not plain: %q", reasonOf(problem))
			}
			if problem := asSent.CheckURL(arrived("GET", "/a;b")); problem != nil {
				t.Errorf("paths as_sent: %q", reasonOf(problem))
			}
		})
	}
}

// TestScope: the directive's own matcher is asked with each method that an upstream may read in the
// request. Before that, the URL must be plain.
func TestScope(t *testing.T) {
	t.Parallel()
	all := []*Policy{{Anonymous: true}}
	if in, problem := testRules(t, Config{Policies: all}).InScope(arrived("GET", "/x")); !in || problem != nil {
		t.Errorf("without a matcher: %v, %q", in, reasonOf(problem))
	}
	byMethod := testRules(t, Config{Match: matching("method", `["DELETE"]`), Policies: all})
	for override, want := range map[string]bool{"": false, "PUT": false, "delete": true, "PUT, DELETE": true} {
		r := arrived("POST", "/x")
		if override != "" {
			r.Header.Set("X-HTTP-Method_Override", override)
		}
		if in, problem := byMethod.InScope(r); in != want || problem != nil {
			t.Errorf("method %q: %v, %q", override, in, reasonOf(problem))
		}
	}
	many := arrived("POST", "/x")
	for i := range 40 {
		many.Header.Add("X-HTTP-Method", fmt.Sprintf("M%d", i))
	}
	if in, problem := byMethod.InScope(many); in || reasonOf(problem) != "readings_too_many" {
		t.Errorf("many methods: %v, %q", in, reasonOf(problem))
	}
	byPath := testRules(t, Config{Match: matching("path", `["/v1/*"]`), Policies: all})
	if problem := byPath.CheckArrival(arrived("GET", "/v1/../x")); reasonOf(problem) != "path_not_plain" {
		t.Errorf("a path that is not plain: %q", reasonOf(problem))
	}
	if problem := byMethod.CheckArrival(arrived("GET", "/v1/../x")); problem != nil {
		t.Errorf("a path that no policy looks at: %q", reasonOf(problem))
	}
}
