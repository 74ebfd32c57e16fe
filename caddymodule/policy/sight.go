package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"
)

// A sight is what matchers or a context see of a request, so far as servers may read that in more
// than one way. A matcher or placeholder that is not known counts as one that sees the whole URL.
type sight struct {
	path, query, host, header bool
	// peer says that the address of the connection is seen, which may be a proxy's.
	peer bool
	// parameters are those of the query whose values matter by name, and cookies the same of
	// cookies.
	parameters, cookies []string
	// single names what sees the URL in Caddy's own reading only: a value that an earlier handler
	// made, or a matcher of another module. Empty where there is no such thing.
	single string
	// exact says that a path must not hold an encoded ? or # either. Elsewhere it may, since such a
	// path is judged in all its readings.
	exact bool
}

func (s sight) or(other sight) sight {
	s.path = s.path || other.path
	s.query = s.query || other.query
	s.host = s.host || other.host
	s.header = s.header || other.header
	s.peer = s.peer || other.peer
	s.parameters = slices.Concat(s.parameters, other.parameters)
	s.cookies = slices.Concat(s.cookies, other.cookies)
	if s.single == "" {
		s.single = other.single
	}
	return s
}

// unknownSight is the sight of something that is not known.
func unknownSight(what string) sight { return sight{path: true, query: true, single: what} }

// policiesSight is what the policies see, up to the first that decides everything: no later one is
// ever asked.
func policiesSight(policies []*Policy) (s sight) {
	for _, p := range policies {
		s = s.or(p.sight())
		if p.unconditional() {
			break
		}
	}
	return s
}

func (p *Policy) sight() sight {
	sets := p.selectors()
	return setsSight(sets).or(textSight(p.Context, headerCaptures(sets)))
}

// headerCaptures returns the names under which header_regexp, and no matcher of a path, captures.
func headerCaptures(sets caddyhttp.RawMatcherSets) (names []string) {
	for _, set := range sets {
		if set["path_regexp"] != nil || set["expression"] != nil || set["vars_regexp"] != nil {
			return nil
		}
		var headers map[string]struct{ Name string }
		if json.Unmarshal(set["header_regexp"], &headers) != nil {
			continue
		}
		for _, header := range headers {
			names = append(names, header.Name)
		}
	}
	return names
}

func setsSight(sets caddyhttp.RawMatcherSets) (s sight) {
	for _, set := range sets {
		s = s.or(setSight(set))
	}
	return s
}

func setSight(set caddy.ModuleMap) (s sight) {
	for name, raw := range set {
		s = s.or(matcherSight(name, raw))
	}
	return s
}

// matcherSight knows Caddy's matchers.
func matcherSight(name string, raw json.RawMessage) sight {
	switch name {
	case "path", "file":
		return sight{path: true}.or(textSight(string(raw), nil))
	case "path_regexp": // patterns hold no placeholders
		return sight{path: true}
	case "query":
		return querySight(raw).or(textSight(string(raw), nil))
	case "url_pattern":
		return sight{path: true, query: true}
	case "method", "protocol", "client_ip", "tls":
		return sight{}
	case "remote_ip":
		return sight{peer: true}
	case "header_regexp":
		return sight{header: true}
	case "header":
		return sight{header: true}.or(textSight(string(raw), nil))
	case "host":
		return sight{host: true}.or(textSight(string(raw), nil))
	case "vars", "vars_regexp":
		return varsSight(name, raw)
	case "expression":
		return expressionSight(raw)
	case "not":
		var sets caddyhttp.RawMatcherSets
		if json.Unmarshal(raw, &sets) == nil {
			return setsSight(sets)
		}
	}
	return unknownSight("matcher " + name)
}

// querySight: all values of a parameter are compared, where an upstream takes one of them.
func querySight(raw json.RawMessage) sight {
	s := sight{query: true}
	var patterns map[string][]string
	if json.Unmarshal(raw, &patterns) != nil {
		return s
	}
	for name, values := range patterns {
		if slices.ContainsFunc(values, func(value string) bool { return value != "*" }) {
			s.parameters = append(s.parameters, name)
		}
	}
	return s
}

// varsSight: a variable is what another handler made of the request; a placeholder in its place
// says what is seen.
func varsSight(name string, raw json.RawMessage) (s sight) {
	var values map[string]json.RawMessage
	if json.Unmarshal(raw, &values) != nil {
		return unknownSight("matcher " + name)
	}
	for key, value := range values {
		if !placeholder.MatchString(key) {
			return unknownSight(fmt.Sprintf("%s %s", name, key))
		}
		s = s.or(textSight(key, nil))
		if name == "vars" {
			s = s.or(textSight(string(value), nil))
		}
	}
	return s
}

var (
	placeholder = regexp.MustCompile(`\{([a-zA-Z_][^{}]*)\}`)
	// celText finds the string literals and comments of an expression, so that calls are looked for
	// in the rest. Literals stand in one quote or three, raw ones have no escapes, and a comment
	// may hold a quote.
	celText = regexp.MustCompile(`//[^\n]*` +
		"|(?:[bB]?[rR]|[rR][bB])(?:'''[\\s\\S]*?'''|\"\"\"[\\s\\S]*?\"\"\"|'[^']*'|\"[^\"]*\")" +
		"|'''(?:\\\\[\\s\\S]|[^\\\\])*?'''|\"\"\"(?:\\\\[\\s\\S]|[^\\\\])*?\"\"\"" +
		"|'(?:[^'\\\\]|\\\\.)*'|\"(?:[^\"\\\\]|\\\\.)*\"")
	celCall    = regexp.MustCompile(`([a-zA-Z_]\w*)\s*\(`)
	celKey     = regexp.MustCompile("['\"]([^'\"]*)['\"]\\s*:")
	celRequest = regexp.MustCompile(`\breq\b`)
)

// celSights are the functions that an expression may call: Caddy's matchers, and those functions of
// CEL that see nothing but their arguments.
var celSights = map[string]sight{
	"path": {path: true}, "path_regexp": {path: true}, "file": {path: true}, "query": {query: true},
	"url_pattern": {path: true, query: true},
	"method":      {}, "protocol": {}, "remote_ip": {peer: true}, "client_ip": {}, "tls": {},
	"host": {host: true}, "header": {header: true}, "header_regexp": {header: true},
	"contains": {}, "startsWith": {}, "endsWith": {}, "matches": {}, "size": {}, "string": {},
	"int": {}, "in": {}, "lowerAscii": {}, "upperAscii": {}, "split": {}, "join": {}, "replace": {},
	"trim": {}, "indexOf": {}, "lastIndexOf": {},
	"substring": {}, "charAt": {}, "reverse": {}, "format": {}, "quote": {},
	"has": {}, "exists": {}, "exists_one": {}, "all": {}, "map": {}, "filter": {}, "type": {},
	"double": {}, "uint": {}, "bool": {}, "duration": {}, "timestamp": {},
}

func expressionSight(raw json.RawMessage) sight {
	var text string
	if json.Unmarshal(raw, &text) != nil {
		var expression struct{ Expr string }
		if json.Unmarshal(raw, &expression) != nil {
			return unknownSight("matcher expression")
		}
		text = expression.Expr
	}
	s := textSight(text, nil)
	code := celText.ReplaceAllString(text, "")
	for _, call := range celCall.FindAllStringSubmatch(code, -1) {
		known, ok := celSights[call[1]]
		if !ok {
			return unknownSight("expression " + call[1] + "()")
		}
		s = s.or(known)
	}
	if s.query {
		for _, key := range celKey.FindAllStringSubmatch(text, -1) {
			s.parameters = append(s.parameters, key[1])
		}
	}
	if celRequest.MatchString(placeholder.ReplaceAllString(code, "")) {
		return unknownSight("expression req") // the whole request
	}
	return s
}

// textSight is what the placeholders of a text see. captures are the names under which a matcher
// that does not look at the URL has captured something.
func textSight(text string, captures []string) (s sight) {
	for _, found := range placeholder.FindAllStringSubmatch(text, -1) {
		s = s.or(placeholderSight(found[1], captures))
	}
	return s
}

func placeholderSight(name string, captures []string) sight {
	under := func(prefixes ...string) bool {
		return slices.ContainsFunc(prefixes, func(prefix string) bool {
			rest, ok := strings.CutPrefix(name, prefix)
			return ok && (rest == "" || strings.HasSuffix(prefix, ".") || strings.IndexByte("._", rest[0]) >= 0)
		})
	}
	switch {
	case under("http.request.uri.path"):
		return sight{path: true}
	case under("http.request.uri.query", "http.request.uri.prefixed_query"):
		s := sight{query: true}
		if parameter, ok := strings.CutPrefix(name, "http.request.uri.query."); ok {
			s.parameters = []string{parameter}
		}
		return s
	case under("http.request.orig_uri.path"):
		return sight{path: true, single: "{" + name + "}"}
	case under("http.request.orig_uri.query", "http.request.orig_uri.prefixed_query"):
		return sight{query: true, single: "{" + name + "}"}
	case under("http.regexp"):
		captured := func(c string) bool { return c != "" && under("http.regexp."+c) }
		if slices.ContainsFunc(captures, captured) {
			return sight{}
		}
		return sight{path: true}
	case under("http.request.header."):
		return sight{header: true}
	case under("http.request.cookie."):
		return sight{cookies: []string{strings.TrimPrefix(name, "http.request.cookie.")}}
	case under("http.request.host", "http.request.hostport", "http.request.port"):
		return sight{host: true}
	case under("http.request.remote"):
		return sight{peer: true}
	case under("http.request.method", "http.request.orig_method", "http.request.body",
		"http.request.proto", "http.request.scheme", "http.request.local",
		"http.request.tls", "http.request.uuid", "http.vars.client_ip", "http.vars.trusted_proxy",
		"http.auth.user", "env.", "file.", "system.", "time."):
		return sight{}
	}
	return unknownSight("{" + name + "}")
}

// plainness is how much of a URL must be plain: for the directive's own matcher, and then for the
// policies, less what the first has seen to.
type plainness struct{ scope, policies sight }

// setPlainness finds out what must be plain. copied is what earlier handlers write of the URL into
// headers, which a matcher or context sees that looks at headers.
func (rules *Rules) setPlainness(copied sight) {
	p := new(plainness)
	if rules.paths != PathsAsSent {
		p.scope, p.policies = rules.scopeSight, rules.policySight
		if p.scope.header {
			p.scope = p.scope.or(copied)
		}
		if p.policies.header {
			p.policies = p.policies.or(copied)
		}
		p.scope.exact = p.scope.path
		p.policies.exact = p.policies.single != "" && !p.scope.exact
		p.policies.path = p.policies.path && !p.scope.path || rules.paths == PathsStrict
		p.policies.query = p.policies.query && !p.scope.query
	}
	rules.plain.Store(p)
}

// SetEarlier says which handlers a request may meet before it is judged by these rules: those of
// request_header may copy the URL into a header. Until it is called, as for a handler at a place
// where nobody looks, one is taken to have copied all of it. It may be called while requests are
// judged.
func (rules *Rules) SetEarlier(handlers []caddyhttp.MiddlewareHandler) error {
	copied := copiedBy(handlers)
	looks := rules.scopeSight.header || rules.policySight.header
	if looks && rules.paths == PathsAsSent && (copied.path || copied.query) {
		return errors.New("paths as_sent: a matcher looks at headers, and request_header copies the URL " +
			"into one, which knows one reading of it only: use paths strict, or name the path")
	}
	rules.setPlainness(copied)
	return nil
}

// copiedBy is what handlers write of the URL into headers.
func copiedBy(handlers []caddyhttp.MiddlewareHandler) (seen sight) {
	for _, h := range handlers {
		handler, ok := h.(*headers.Handler)
		if !ok || handler.Request == nil {
			continue
		}
		text, err := json.Marshal(handler.Request)
		if err != nil {
			return unknownSight("a header")
		}
		seen = seen.or(textSight(string(text), nil))
	}
	if seen.single == "" && (seen.path || seen.query) {
		seen.single = "a header"
	}
	return seen
}

// checkPaths refuses matchers and contexts that can't be judged as the option paths says.
func (rules *Rules) checkPaths() error {
	switch rules.paths {
	case "", PathsStrict:
		return nil
	case PathsAsSent:
	default:
		return fmt.Errorf("paths %q: must be %s or %s", rules.paths, PathsStrict, PathsAsSent)
	}
	if single := rules.scopeSight.single; single != "" {
		return fmt.Errorf("paths as_sent: the directive's matcher depends on %s, "+
			"which knows one reading of a URL only: use paths strict, or name the path", single)
	}
	for i, p := range rules.policies {
		if single := p.sight().single; single != "" {
			return fmt.Errorf("paths as_sent: policy %d depends on %s, "+
				"which knows one reading of a URL only: use paths strict, or name the path", i+1, single)
		}
	}
	return nil
}
