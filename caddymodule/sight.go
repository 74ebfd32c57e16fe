package caddymodule

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// A sight is what matchers or a context see of a request's URL. Whatever is not known to see nothing
// of it counts as what sees all.
type sight struct {
	path, query bool
	// single names what sees the URL in one reading only, the one that Caddy has of it: a value that
	// an earlier handler made, or a matcher of another module. Empty where there is no such thing.
	single string
}

func (s sight) or(other sight) sight {
	s.path = s.path || other.path
	s.query = s.query || other.query
	if s.single == "" {
		s.single = other.single
	}
	return s
}

// unknownSight is that of something that is not known.
func unknownSight(what string) sight { return sight{path: true, query: true, single: what} }

// policiesSight is what the policies see: those after the first that decides everything decide
// nothing.
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
	return setsSight(p.selects).or(textSight(p.Context, headerCaptures(p.selects)))
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
		return sight{query: true}.or(textSight(string(raw), nil))
	case "url_pattern":
		return sight{path: true, query: true}
	case "method", "protocol", "remote_ip", "client_ip", "tls", "header_regexp":
		return sight{}
	case "host", "header":
		return textSight(string(raw), nil)
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

// varsSight: a variable is the work of another handler, unless a placeholder names what is meant.
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
	// What is left of an expression of the Common Expression Language is looked through for calls.
	celText    = regexp.MustCompile("'(?:[^'\\\\]|\\\\.)*'|\"(?:[^\"\\\\]|\\\\.)*\"|`[^`]*`")
	celCall    = regexp.MustCompile(`([a-zA-Z_]\w*)\s*\(`)
	celRequest = regexp.MustCompile(`\breq\b`)
)

// celSights are the functions that an expression may call: Caddy's matchers, and those of CEL that
// work on what they are given.
var celSights = map[string]sight{
	"path": {path: true}, "path_regexp": {path: true}, "file": {path: true}, "query": {query: true},
	"url_pattern": {path: true, query: true},
	"method":      {}, "protocol": {}, "remote_ip": {}, "client_ip": {}, "tls": {}, "host": {}, "header": {}, "header_regexp": {},
	"contains": {}, "startsWith": {}, "endsWith": {}, "matches": {}, "size": {}, "string": {}, "int": {}, "in": {},
	"lowerAscii": {}, "upperAscii": {}, "split": {}, "join": {}, "replace": {}, "has": {}, "exists": {}, "all": {},
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
	if celRequest.MatchString(placeholder.ReplaceAllString(code, "")) {
		return unknownSight("expression req") // it holds all
	}
	return s
}

// textSight is what the placeholders of a text see. captures are the names under which a matcher that
// does not look at the URL has captured something.
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
			return ok && (rest == "" || strings.IndexByte("._", rest[0]) >= 0 || strings.HasSuffix(prefix, "."))
		})
	}
	switch {
	case under("http.request.uri.path"):
		return sight{path: true}
	case under("http.request.uri.query", "http.request.uri.prefixed_query"):
		return sight{query: true}
	case under("http.request.orig_uri.path"):
		return sight{path: true, single: "{" + name + "}"}
	case under("http.request.orig_uri.query", "http.request.orig_uri.prefixed_query"):
		return sight{query: true, single: "{" + name + "}"}
	case under("http.regexp"):
		if slices.ContainsFunc(captures, func(c string) bool { return c != "" && under("http.regexp."+c) }) {
			return sight{}
		}
		return sight{path: true}
	case under("http.request.header.", "http.request.cookie.", "http.request.host", "http.request.hostport",
		"http.request.port", "http.request.method", "http.request.proto", "http.request.scheme",
		"http.request.remote", "http.request.local", "http.request.tls", "http.request.uuid",
		"http.vars.client_ip", "http.vars.trusted_proxy", "http.auth.user", "env.", "file.", "system.", "time."):
		return sight{}
	}
	return unknownSight("{" + name + "}")
}

// provisionPaths finds out what must be plain: before the matcher, and before the policies. What the
// first has seen to, the second leaves.
func (h *Handler) provisionPaths() {
	h.policySight = policiesSight(h.Policies)
	if h.Paths == pathsAsSent {
		return
	}
	h.ownPlain, h.policyPlain = h.ownSight, h.policySight
	if h.Paths == pathsStrict {
		h.policyPlain.path = true
	}
	h.policyPlain.path = h.policyPlain.path && !h.ownPlain.path
	h.policyPlain.query = h.policyPlain.query && !h.ownPlain.query
}

// checkPaths refuses policies that cannot be judged as the option paths says.
func (h *Handler) checkPaths() error {
	switch h.Paths {
	case "", pathsStrict:
		return nil
	case pathsAsSent:
	default:
		return fmt.Errorf("paths %q: must be %s or %s", h.Paths, pathsStrict, pathsAsSent)
	}
	if single := setsSight(h.selects).single; single != "" {
		return fmt.Errorf("paths as_sent: the directive's matcher depends on %s, which knows one reading of a URL only: use paths strict, or name the path", single)
	}
	for i, p := range h.Policies {
		if single := p.sight().single; single != "" {
			return fmt.Errorf("paths as_sent: policy %d depends on %s, which knows one reading of a URL only: use paths strict, or name the path", i+1, single)
		}
	}
	return nil
}
