package caddymodule

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/policy"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/refusal"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// TestPolicies: the first policy that matches decides; if none matches, the answer is 403.
func TestPolicies(t *testing.T) {
	const directive = `
		policy /open/* {
			anonymous
		}
		policy /closed/* {
			deny
		}
		policy /admin/* {
			consumers ops-* ci
			users alice bob
			permission GET READ_PRIVATE
		}
		policy /project/* {
			context firefox
			permission READ_PUBLIC
		}
		policy /default/* {
		}
	`
	site := newTestSite(t, "", directive)
	nobody := policy.Subject{}
	who := func(user, consumer, permission string) policy.Subject {
		return policy.Subject{User: user, Consumer: consumer, Permission: permission}
	}
	inContext := func(context string) policy.Subject {
		return policy.Subject{User: "alice", Consumer: "c", Permission: "WRITE_PRIVATE", Context: context}
	}
	for _, test := range []struct {
		name, method, path string
		subject            policy.Subject
		reason             string // "" passes
	}{
		{"anonymous", "POST", "/open/x", nobody, ""},
		{"anonymous lets signed ones through, whatever their level", "DELETE", "/open/x", who("alice", "c", "READ_PUBLIC"), ""},
		{"deny", "GET", "/closed/x", who("alice", "ops-1", "WRITE_PRIVATE"), "policy_deny"},
		{"deny wins over missing credentials", "GET", "/closed/x", nobody, "policy_deny"},
		{"a consumer by glob", "GET", "/admin/x", who("alice", "ops-1", "READ_PRIVATE"), ""},
		{"a consumer by name", "GET", "/admin/x", who("bob", "ci", "WRITE_PRIVATE"), ""},
		{"another consumer", "GET", "/admin/x", who("alice", "xops-1", "WRITE_PRIVATE"), "policy_consumer"},
		{"a consumer in another case", "GET", "/admin/x", who("alice", "CI", "WRITE_PRIVATE"), "policy_consumer"},
		{"another user", "GET", "/admin/x", who("carol", "ci", "WRITE_PRIVATE"), "policy_user"},
		{"too low a level", "GET", "/admin/x", who("alice", "ci", "WRITE_PUBLIC"), "policy_permission"},
		{"a method without a rule", "POST", "/admin/x", who("alice", "ci", "WRITE_PRIVATE"), "policy_none"},
		{"no credentials", "GET", "/admin/x", nobody, "credentials_required"},
		{"the right context", "GET", "/project/x", inContext("firefox"), ""},
		{"another context", "GET", "/project/x", inContext("thunderbird"), "policy_context"},
		{"no context passes everywhere", "GET", "/project/x", inContext(""), ""},
		{"the default reads with READ_PUBLIC", "HEAD", "/default/x", who("alice", "c", "READ_PUBLIC"), ""},
		{"the default writes with WRITE_PUBLIC", "PATCH", "/default/x", who("alice", "c", "WRITE_PUBLIC"), ""},
		{"the default does not write with READ_PRIVATE", "PATCH", "/default/x", who("alice", "c", "READ_PRIVATE"), "policy_permission"},
		{"an unknown method writes", "FROB", "/default/x", who("alice", "c", "READ_PUBLIC"), "policy_permission"},
		{"no policy", "GET", "/elsewhere", who("alice", "ci", "WRITE_PRIVATE"), "policy_none"},
		{"no policy, which no credentials would change", "GET", "/elsewhere", nobody, "policy_none"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := httptest.NewRequest(test.method, "http://api.test"+test.path, nil)
			problem := site.decide(r, test.subject)
			reason := ""
			if problem != nil {
				reason = problem.Reason
			}
			if reason != test.reason {
				t.Errorf("got %q, want %q", reason, test.reason)
			}
		})
	}
}

func TestPolicyContextPlaceholder(t *testing.T) {
	site := newTestSite(t, "", "policy {\n context {http.request.uri.path.0}\n}")
	subject := policy.Subject{User: "alice", Consumer: "c", Permission: "WRITE_PRIVATE", Context: "firefox"}
	if problem := site.decide(httptest.NewRequest("GET", "http://api.test/firefox/bugs", nil), subject); problem != nil {
		t.Errorf("the token's own context: %s", problem.Text)
	}
	if problem := site.decide(httptest.NewRequest("GET", "http://api.test/thunderbird/bugs", nil), subject); problem == nil {
		t.Error("another context passes")
	}
}

// TestUnreachablePolicies: a policy is an error if earlier policies decide all its requests.
func TestUnreachablePolicies(t *testing.T) {
	for _, test := range []struct {
		name, earlier, later string // matchers: paths, or the content of a named matcher
		reachable            bool
	}{
		{"the same path", "/a", "/a", false},
		{"the same path in another case", "/a/*", "/A/*", false},
		{"below", "/a/*", "/a/b/*", false},
		{"one file below", "/a/*", "/a/b", false},
		{"by prefix", "/a*", "/ab/c", false},
		{"a pattern below", "/a/*", "/a/*/b", false},
		{"all paths", "path /*", "path_regexp ^/x", false},
		{"one of several paths", "path /x /a/*", "path /a/b /a/c", false},
		{"the same, named", "method GET", "method GET", false},
		{"fewer methods", "method GET HEAD", "method HEAD", false},
		{"more conditions", "path /a/*", "path /a/b\nmethod GET", false},
		{"the same of an unknown kind", "header X-A b", "header X-A b\npath /c", false},

		{"above", "/a/b/*", "/a/*", true},
		{"beside", "/a/*", "/ab", true},
		{"the folder itself", "/a/*", "/a", true},
		{"one path that is not below", "path /a/*", "path /a/b /c", true},
		{"more methods", "method GET", "method GET HEAD", true},
		{"fewer conditions", "path /a/*\nmethod GET", "path /a/b", true},
		{"other conditions", "path /a/*\nmethod GET", "path /a/b\nmethod POST", true},
		{"a pattern in the middle", "/a/*/c", "/a/b/c", true},
		{"a suffix", "*.html", "/a.html", true},
		{"a placeholder", "/{http.vars.x}/*", "/a/b", true},
		{"a pattern of the path as it was sent", "/a/*", "/a/%2e%2e/b", true},
		{"double slashes, which are merged elsewhere", "/a/*", "/a//b", true},
		{"another header", "header X-A b", "header X-A c", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			matcher := func(text string) string {
				if !strings.ContainsAny(text, " ") {
					text = "path " + text
				}
				return "{\n" + text + "\n}\n"
			}
			matchers := "@earlier " + matcher(test.earlier) + "@later " + matcher(test.later)
			const directive = "policy @earlier {\n anonymous\n}\npolicy /other {\n deny\n}\npolicy @later {\n deny\n}"
			_, err := provisionTestSiteWith(t, "", matchers, directive)
			if (err == nil) != test.reachable {
				t.Errorf("as a Caddyfile: %v", err)
			}
			sets := func(name string) (set caddy.ModuleMap) {
				adapted, err := adapt("http://api.test {\n" + matchers + "oauth1 {\npolicy " + name + " {\n deny\n}\n}\n}")
				var h Handler
				if err != nil || json.Unmarshal(findHandler(adapted), &h) != nil {
					t.Fatal(err)
				}
				return h.Policies[0].MatcherSetsRaw[0]
			}
			check := func(later ...caddy.ModuleMap) error {
				ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
				defer cancel()
				rules, err := policy.New(ctx, policy.Config{Policies: []*policy.Policy{
					{Anonymous: true, MatcherSetsRaw: caddyhttp.RawMatcherSets{sets("@earlier")}},
					{Deny: true, MatcherSetsRaw: later},
				}})
				if err != nil {
					t.Fatal(err)
				}
				return rules.Check(nil)
			}
			if err := check(sets("@later")); (err == nil) != test.reachable {
				t.Errorf("as JSON: %v", err)
			}
			if err := check(sets("@later"), caddy.ModuleMap{"host": json.RawMessage(`["x"]`)}); (err == nil) != (test.earlier != "path /*") {
				t.Errorf("with another set beside it: %v", err)
			}
		})
	}
}

// TestWithdrawnLevels: a level allows nothing after the site or the consumer has lost it.
func TestWithdrawnLevels(t *testing.T) {
	site := newTestSite(t, "", "permissions READ_PUBLIC WRITE_PUBLIC\npolicy {\n permission READ_PUBLIC\n}")
	for key, test := range map[string]struct {
		level   string
		allowed []string
		status  int
	}{
		"a": {"WRITE_PUBLIC", nil, 200},
		"b": {"WRITE_PRIVATE", nil, 403},
		"c": {"NO_SUCH", nil, 403},
		"d": {"WRITE_PUBLIC", []string{"READ_PUBLIC"}, 403},
	} {
		if err := site.store().CreateConsumer(t.Context(), &tokenstore.Consumer{Key: key, Secret: "s", Permissions: test.allowed}); err != nil {
			t.Fatal(err)
		}
		token := site.grant(key, "alice", test.level)
		r := site.sign(oauth1.Signer{ConsumerKey: key, ConsumerSecret: "s", Token: token.Key, TokenSecret: token.Secret}, "GET", "http://api.test/x", "")
		w, upstream := site.serve(r.Clone(t.Context()))
		text := ""
		if test.status == 403 {
			text = "The permission " + test.level + " is not accepted here."
		}
		if w.Code != test.status || w.Body.String() != text || (upstream != nil) != (test.status == 200) {
			t.Errorf("%s of %v: %d %s", test.level, test.allowed, w.Code, w.Body)
		}
		if w, _ := site.serve(r); w.Code != 401 || w.Body.String() != refusal.NonceUsed.Text {
			t.Errorf("%s of %v, again: %d %s; the nonce comes before the level", test.level, test.allowed, w.Code, w.Body)
		}
	}
}

// decide asks the policies, with the request's placeholders set up.
func (s *testSite) decide(r *http.Request, subject policy.Subject) *refusal.Problem {
	s.t.Helper()
	var problem *refusal.Problem
	s.inRequest(r, func(r *http.Request, _ *caddy.Replacer) {
		_, problem = s.handler.decide(r, &Identity{Subject: subject})
	})
	return problem
}
