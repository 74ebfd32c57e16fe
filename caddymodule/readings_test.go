package caddymodule

import (
	"net/http/httptest"
	"testing"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/policy"
)

// TestJudgedInAllReadings: everything that a policy looks at follows the reading of the path.
func TestJudgedInAllReadings(t *testing.T) {
	reader := policy.Subject{User: "alice", Consumer: "c", Permission: "READ_PUBLIC"}
	inA := policy.Subject{User: "alice", Consumer: "c", Permission: "WRITE_PRIVATE", Context: "a"}
	const (
		contextOfPath = "policy {\n context {http.request.uri.path.1}\n}"
		byMethod      = "policy {\n permission GET READ_PUBLIC\n permission WRITE_PRIVATE\n}"
		byQuery       = "policy @admin {\n permission WRITE_PRIVATE\n}\npolicy {\n anonymous\n}"
		exact         = "policy /admin {\n permission WRITE_PRIVATE\n}\npolicy {\n anonymous\n}"
		byVars        = "policy @vars {\n permission WRITE_PRIVATE\n}\npolicy {\n anonymous\n}"
	)
	for _, test := range []struct {
		name, directive, target, header string
		subject                         policy.Subject
		reason                          string // "" passes
	}{
		{"the context's own path", contextOfPath, "/projects/a/x", "", inA, ""},
		{"a dot that climbs nowhere", contextOfPath, "/projects/a/.well-known", "", inA, ""},
		{"out of the context by dots", contextOfPath, "/projects/a/../b/x", "", inA, "policy_context"},
		{"out of the context by encoded dots", contextOfPath, "/projects/a/%2e%2e/b/x", "", inA, "policy_context"},
		{"out of the context by a parameter", contextOfPath, "/projects/a/..;/b/x", "", inA, "policy_context"},
		{"out of the context by an empty segment", contextOfPath, "//a/b/x", "", inA, "policy_context"},

		{"a method in a header", byMethod, "/x", "X-HTTP-Method-Override", reader, "policy_permission"},
		{"a method in a header with underscores", byMethod, "/x", "X_HTTP_Method_Override", reader, "policy_permission"},
		{"a method in a header with dots", byMethod, "/x", "X.HTTP-Method", reader, "policy_permission"},
		{"another header", byMethod, "/x", "X-HTTP-Methods", reader, ""},

		{"a query that is open", byQuery, "/x?mode=user", "", policy.Subject{}, ""},
		{"a query that is not", byQuery, "/x?mode=admin", "", policy.Subject{}, "credentials_required"},
		{"a query with a bad escape", byQuery, "/x?mode=admin&x=%zz", "", policy.Subject{}, "credentials_required"},
		{"a query with half an escape", byQuery, "/x?mode=admin&x=%4", "", policy.Subject{}, "credentials_required"},
		{"a query divided by a semicolon", byQuery, "/x?a=b;mode=admin", "", policy.Subject{}, "credentials_required"},
		{"a query with a semicolon in another value", byQuery, "/x?a=b;c&mode=admin", "", policy.Subject{}, "credentials_required"},
		{"an odd query that is open", byQuery, "/x?a=b;c&d=%zz", "", policy.Subject{}, ""},

		{"a path up to an encoded question mark (parse_url of what was decoded)", exact, "/admin%3Fx", "", policy.Subject{}, "credentials_required"},
		{"a path up to an encoded hash", exact, "/admin%23x", "", policy.Subject{}, "credentials_required"},

		{"a matcher of placeholders", byVars, "/open/../admin/x", "", policy.Subject{}, "credentials_required"},
		{"a matcher of placeholders, merged slashes", byVars, "/open//..//..//admin/x", "", policy.Subject{}, "credentials_required"},
		{"a matcher of placeholders that is open", byVars, "/open/x/../y", "", policy.Subject{}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			site := newTestSiteWith(t, "@admin query mode=admin\n@vars vars_regexp {http.request.uri.path} ^/admin/", "paths as_sent\n"+test.directive)
			r := httptest.NewRequest("GET", "http://api.test"+test.target, nil)
			if test.header != "" {
				r.Header[test.header] = []string{"DELETE"}
				r.Header.Set(test.header, "DELETE")
			}
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

// TestPoliciesSeeWhatTheUpstreamSees: matchers see neither credentials nor a forged identity.
func TestPoliciesSeeWhatTheUpstreamSees(t *testing.T) {
	site := newTestSiteWith(t, "@forged header X-OAuth-User *\n@credentials query oauth_consumer_key=*",
		"insecure_plaintext_over_http\npolicy @forged {\n anonymous\n}\npolicy @credentials {\n deny\n}\npolicy {\n permission READ_PUBLIC\n}")
	r := httptest.NewRequest("GET", "http://api.test/x", nil)
	r.Header.Set("X-OAuth-User", "admin")
	if w, upstream := site.serve(r); upstream != nil || w.Code != 401 {
		t.Errorf("a forged identity header opened a policy: %d", w.Code)
	}
	token := site.grant("demo", "alice", "READ_PUBLIC")
	if w, upstream := site.serve(plain("/x", "demo", "secret", token.Key, token.Secret)); upstream == nil {
		t.Errorf("a matcher saw credentials that the upstream does not see: %d %s", w.Code, w.Body)
	}
}
