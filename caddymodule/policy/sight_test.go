package policy

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/standard"
)

// TestSights: the policies that look at the URL, and those that know only one reading of it.
// TestSeePeer: what looks at the address of the connection.
func TestSeePeer(t *testing.T) {
	t.Parallel()
	for matcher, want := range map[string]bool{
		"remote_ip 10.0.0.0/8":                   true,
		"not remote_ip 10.0.0.0/8":               true,
		"expression remote_ip('10.0.0.0/8')":     true,
		"vars {http.request.remote.host} ::1":    true,
		"expression {remote_host} == '10.0.0.1'": true,
		"client_ip 10.0.0.0/8":                   false,
		"vars {client_ip} 10.0.0.1":              false,
		"path /a":                                false,
	} {
		matchers, context := adapted(t, matcher, "")
		rules, err := newTestRules(t, Config{Policies: []*Policy{{MatcherSetsRaw: matchers, Context: context}}})
		if err != nil {
			t.Fatal(err)
		}
		if got := rules.SeePeer(); got != want {
			t.Errorf("%s: %t", matcher, got)
		}
	}
}

func TestSights(t *testing.T) {
	const (
		none  = ""
		path  = "path"
		query = "query"
		both  = "path query"
	)
	for _, test := range []struct {
		name, matcher, context string
		want                   string
		single                 string // the matcher that keeps paths as_sent from loading
	}{
		{"a method", "method GET", "", none, ""},
		{"headers", "header X-A b\nheader_regexp X-B ^c", "", none, ""},
		{"the connection", "remote_ip 10.0.0.0/8\nclient_ip 10.0.0.0/8\nprotocol https", "", none, ""},
		{"a host", "host api.test", "", none, ""},
		{"a path", "path /a/*", "", path, ""},
		{"a pattern of a path, with braces that are no placeholders", "path_regexp ^/a{2}", "", path, ""},
		{"a file", "file /x", "", path, ""},
		{"a URL's pattern", "url_pattern /a/:b", "", both, ""},
		{"a query", "query a=b", "", query, ""},
		{"not a path", "not path /a", "", path, ""},
		{"not a method", "not method GET", "", none, ""},
		{"not not", "not {\n not path /a\n}", "", path, ""},
		{"a path in a header", "header X-A {path}", "", path, ""},
		{"a header in a path", "path /{header.X-A}", "", path, ""},
		{"a query in a path", "path /{query.a}", "", both, ""},
		{"a placeholder by itself", "vars {path} /a", "", path, ""},
		{"a placeholder's pattern", "vars_regexp {path} ^/a", "", path, ""},
		{"a variable", "vars a b", "", both, "vars a"},
		{"a variable of another", "vars {http.vars.a} b", "", both, "{http.vars.a}"},
		{"a map's", "vars {mapped} b", "", both, "{mapped}"},
		{"the address of the client", "vars {client_ip} 10.0.0.1", "", none, ""},
		{"the whole URI", "vars {uri} /a", "", both, "{http.request.uri}"},
		{"the original URI", "vars {http.request.orig_uri} /a", "", both, "{http.request.orig_uri}"},
		{"the original path", "vars {http.request.orig_uri.path} /a", "", path, "{http.request.orig_uri.path}"},
		{"an expression about a method", "expression method('GET')", "", none, ""},
		{"an expression about a path", "expression path('/a/*')", "", path, ""},
		{"an expression with a path", "expression {path}.startsWith('/a')", "", path, ""},
		{"an expression about a query", "expression query({'a': 'b'})", "", query, ""},
		{"an expression about variables", "expression vars({'a': 'b'})", "", both, "expression vars()"},
		{"an expression with the request", "expression `req == req`", "", both, "expression req"},
		{"an expression with a word in a text", "expression `header({'X-A': 'vars(x) req'})`", "", none, ""},

		{"a context that stands there", "method GET", "a", none, ""},
		{"a context of a path", "method GET", "{path.0}", path, ""},
		{"a context of a query", "method GET", "{query.a}", query, ""},
		{"a context of a header", "method GET", "{header.X-A}", none, ""},
		{"a context of a user", "method GET", "{http.auth.user.id}", none, ""},
		{"a context that a path's pattern captured", "path_regexp a ^/([^/]+)/", "{re.a.1}", path, ""},
		{"a context that a header's pattern captured", "header_regexp a X-A ^(.*)$", "{re.a.1}", none, ""},
		{"a context that somebody captured", "method GET", "{re.a.1}", path, ""},
		{"a context of a map", "method GET", "{mapped}", both, "{mapped}"},
	} {
		t.Run(test.name, func(t *testing.T) {
			matchers, context := adapted(t, test.matcher, test.context)
			rules := func(paths string) *Rules {
				p := &Policy{MatcherSetsRaw: matchers, Context: context}
				rules, err := newTestRules(t, Config{Policies: []*Policy{p}, Paths: paths})
				if err != nil {
					t.Fatal(err)
				}
				return rules
			}
			s := rules("").policySight
			var got []string
			if s.path {
				got = append(got, path)
			}
			if s.query {
				got = append(got, query)
			}
			if got := strings.Join(got, " "); got != test.want || s.single != test.single {
				t.Errorf("sees %q, %q in one reading; want %q, %q", got, s.single, test.want, test.single)
			}
			err := rules(PathsAsSent).Check(nil)
			told := err != nil && strings.Contains(err.Error(), "paths as_sent: policy 1 ") &&
				strings.Contains(err.Error(), test.single)
			if told != (test.single != "") || !told && err != nil {
				t.Errorf("paths as_sent: %v", err)
			}
		})
	}
	t.Run("what no request reaches looks at nothing", func(t *testing.T) {
		policies := []*Policy{{}, {Context: "{http.request.uri}"}}
		if s := policiesSight(policies); s.path || s.query || s.single != "" {
			t.Errorf("%+v", s)
		}
	})
}

// adapted returns the JSON of a named matcher and of a text with placeholders, as the Caddyfile
// adapter writes them.
func adapted(t *testing.T, matcher, text string) (caddyhttp.RawMatcherSets, string) {
	t.Helper()
	matcher = "{\n" + matcher + "\n}"
	if expression, ok := strings.CutPrefix(matcher, "{\nexpression"); ok {
		matcher = "expression" + strings.TrimSuffix(expression, "\n}")
	}
	config, _, err := caddyfile.Adapter{ServerType: httpcaddyfile.ServerType{}}.Adapt(
		[]byte("http://api.test {\n@m "+matcher+"\nrespond @m `"+text+"`\n}\n"),
		map[string]any{"filename": "Caddyfile"})
	if err != nil {
		t.Fatal(err)
	}
	var parsed struct {
		Apps struct {
			HTTP struct {
				Servers map[string]struct {
					Routes []struct {
						Handle []struct {
							Routes []struct {
								Match  caddyhttp.RawMatcherSets
								Handle []struct{ Body string }
							}
						}
					}
				}
			}
		}
	}
	if err := json.Unmarshal(config, &parsed); err != nil {
		t.Fatal(err)
	}
	route := parsed.Apps.HTTP.Servers["srv0"].Routes[0].Handle[0].Routes[0]
	return route.Match, route.Handle[0].Body
}
