package caddymodule

import (
	"errors"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/refusal"
)

// Policy says who may make the requests that its matcher selects.
type Policy struct {
	// Which requests the policy is about, by the URI that the upstream will see. Default: all.
	MatcherSetsRaw caddyhttp.RawMatcherSets `json:"match,omitempty" caddy:"namespace=http.matchers"`

	// Let requests through without a signature; one that is there must still be good. Default: false. It asks for
	// nothing, so nothing else may stand beside it. A browser's CORS preflight (OPTIONS, with Origin and
	// Access-Control-Request-Method, and without Authorization) is never signed: OAuth parameters in its
	// query belong to the request that is to follow; they are not looked at, and removed.
	Anonymous bool `json:"anonymous,omitempty"`

	// Refuse every request. Default: false. Nothing else may stand beside it.
	Deny bool `json:"deny,omitempty"`

	// The keys of the consumers that may pass; `*` stands for any text without a slash, `?` for one character. Default: all.
	Consumers []string `json:"consumers,omitempty"`

	// The users who may pass. Default: all.
	Users []string `json:"users,omitempty"`

	// The permission level that each method needs. A method that no rule names is refused. Default: READ_PUBLIC for
	// GET, HEAD and OPTIONS, WRITE_PUBLIC for the others.
	Permissions []PermissionRule `json:"permissions,omitempty"`

	// The context that this request is about: text and placeholders. A token that was granted for one context
	// passes only where this is the same; a token without a context passes everywhere. Default: the context is for the
	// upstream to judge, by its header.
	Context string `json:"context,omitempty"`

	matchers     caddyhttp.MatcherSets
	selects      caddyhttp.RawMatcherSets // MatcherSetsRaw, which Caddy takes away when it loads them
	levels       *levels
	usesDefaults bool // no permission was given: a site that offers no level for writing can't be written to
}

// PermissionRule is the level that some methods need.
type PermissionRule struct {
	// The methods, in upper case. Default: every method that no other rule of the policy names.
	Methods []string `json:"methods,omitempty"`
	// The level.
	Permission string `json:"permission"`
}

// defaultPermissionRules stand where a policy has none.
var defaultPermissionRules = []PermissionRule{
	{Methods: []string{http.MethodGet, http.MethodHead, http.MethodOptions}, Permission: "READ_PUBLIC"},
	{Permission: "WRITE_PUBLIC"},
}

// unconditional reports whether the policy decides every request that comes to it.
func (p *Policy) unconditional() bool {
	return len(p.selects) == 0
}

func (p *Policy) provision(ctx caddy.Context, l *levels) error {
	p.levels, p.selects = l, p.MatcherSetsRaw
	if len(p.Permissions) == 0 && !p.Anonymous && !p.Deny {
		p.Permissions, p.usesDefaults = defaultPermissionRules, true
	}
	if len(p.MatcherSetsRaw) == 0 {
		return nil
	}
	loaded, err := ctx.LoadModule(p, "MatcherSetsRaw")
	if err != nil {
		return fmt.Errorf("loading matchers: %w", err)
	}
	return p.matchers.FromInterface(loaded)
}

// validatePolicies refuses policies that contradict themselves, or that no request can reach.
func validatePolicies(policies []*Policy, offered []string) error {
	for i, p := range policies {
		err := p.checkDefaults(p.levels)
		if err == nil {
			err = p.validate(p.levels, offered)
		}
		if err != nil {
			return fmt.Errorf("policy %d: %w", i+1, err)
		}
		if by := coveredBy(policies[:i], p.selects); by > 0 {
			return fmt.Errorf("policy %d: can never be reached, since policy %d decides all that come to it; the first match wins", i+1, by)
		}
	}
	return nil
}

// checkDefaults refuses a policy that names no permission where the default ones mean nothing.
func (p *Policy) checkDefaults(declared *levels) error {
	if p.Anonymous || p.Deny || (len(p.Permissions) > 0 && !p.usesDefaults) {
		return nil
	}
	for _, rule := range defaultPermissionRules {
		if declared.check(rule.Permission) != nil {
			return fmt.Errorf("needs a permission, since the default %s is not declared", rule.Permission)
		}
	}
	return nil
}

// validate checks a policy by itself; offered is nil where the site's levels are not known yet.
func (p *Policy) validate(declared *levels, offered []string) error {
	demanding := len(p.Consumers) > 0 || len(p.Users) > 0 || len(p.Permissions) > 0 || p.Context != ""
	if p.Anonymous && (p.Deny || demanding) {
		return errors.New("anonymous lets everybody through: nothing else may stand beside it")
	}
	if p.Deny && demanding {
		return errors.New("deny refuses everybody: nothing else may stand beside it")
	}
	for _, pattern := range p.Consumers {
		if _, err := path.Match(pattern, ""); err != nil {
			return fmt.Errorf("consumers %q: is no pattern", pattern)
		}
	}
	return p.validatePermissions(declared, offered)
}

func (p *Policy) validatePermissions(declared *levels, offered []string) error {
	var methods []string
	all := false
	for _, rule := range p.Permissions {
		if err := declared.check(rule.Permission); err != nil {
			return err
		}
		if offered != nil && !p.usesDefaults && !slices.ContainsFunc(offered, func(level string) bool { return declared.allows(level, rule.Permission) }) {
			return fmt.Errorf("permission %q: no permission that the site offers allows it", rule.Permission)
		}
		if len(rule.Methods) == 0 {
			if all {
				return fmt.Errorf("permission %q: there is one for every other method already", rule.Permission)
			}
			all = true
		}
		for _, method := range rule.Methods {
			if _, ok := declared.declared(method); ok {
				return fmt.Errorf("permission %q: %q is a permission, where methods are expected", rule.Permission, method)
			}
			if strings.ContainsFunc(method, func(c rune) bool { return !methodLetter(c) }) || method == "" {
				return fmt.Errorf("permission %q: %q is no method", rule.Permission, method)
			}
			if slices.Contains(methods, method) {
				return fmt.Errorf("permission %q: method %s is given twice", rule.Permission, method)
			}
			methods = append(methods, method)
		}
	}
	return nil
}

// methodLetter reports whether a character may be in the name of a method that a rule is about: those that there are have
// letters and dashes, in upper case. (RFC 9110 section 5.6.2 allows more, and not the comma that some try.)
func methodLetter(c rune) bool {
	return 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}

// needed returns the level that a method needs; "" and false if the policy has none for it.
func (p *Policy) needed(method string) (string, bool) {
	rest, found := "", false
	for i := range p.Permissions {
		rule := &p.Permissions[i]
		if slices.Contains(rule.Methods, method) {
			return rule.Permission, true
		}
		if len(rule.Methods) == 0 {
			rest, found = rule.Permission, true
		}
	}
	return rest, found
}

// allow says whether the identity may make the request, however the upstream may read it.
func (h *Handler) allow(r *http.Request, id *Identity) *refusal.Problem {
	defer asForwarded(r)()
	if !h.ambiguous(r) {
		return h.permit(r, id)
	}
	_, problem := h.permitReadings(r, *id) // a copy, so that the ordinary request's identity stays off the heap
	return problem
}

// permitReadings is permit, for all that the request could be taken for. It returns the reading that decided, too.
func (h *Handler) permitReadings(r *http.Request, id Identity) (*http.Request, *refusal.Problem) {
	others, ok := h.otherReadings(r)
	if !ok {
		return r, refusal.Readings
	}
	for other := range others {
		if problem := h.permit(other, &id); problem != nil {
			return other, problem
		}
	}
	return r, h.permit(r, &id) // last, so that what its matchers captured stays
}

// permit finds the policy of a request, and what it says of the identity.
func (h *Handler) permit(r *http.Request, id *Identity) *refusal.Problem {
	_, p, problem := h.policyOf(r)
	switch {
	case problem != nil:
		return problem
	case p == nil:
		return refusal.NoPolicy
	}
	return p.judge(r, id)
}

// policyOf finds the policy that decides about a request, and its number from 1; nil where there is none.
func (h *Handler) policyOf(r *http.Request) (int, *Policy, *refusal.Problem) {
	for i, p := range h.Policies {
		matched, err := p.matchers.AnyMatchWithError(r)
		if err != nil {
			return 0, nil, refusal.Matcher.Because(err)
		}
		if matched {
			return i + 1, p, nil
		}
	}
	return 0, nil, nil
}

// judge says what the policy thinks of a request that it is about.
func (p *Policy) judge(r *http.Request, id *Identity) *refusal.Problem {
	switch {
	case p.Deny:
		return refusal.Denied
	case p.Anonymous:
		return nil
	case id.tokenless != "":
		return refusal.TokenRequired
	case id.Anonymous():
		return refusal.CredentialsRequired
	case len(p.Consumers) > 0 && !slices.ContainsFunc(p.Consumers, func(pattern string) bool {
		matched, _ := path.Match(pattern, id.Consumer) // validate has seen the pattern
		return matched
	}):
		return refusal.ConsumerDenied
	case len(p.Users) > 0 && !slices.Contains(p.Users, id.User):
		return refusal.UserDenied
	}
	level, ok := p.needed(r.Method)
	if !ok {
		return refusal.NoPolicy
	}
	if !p.levels.allows(id.Permission, level) {
		return refusal.PermissionDenied.About(level)
	}
	if p.Context != "" && id.Context != "" && replacer(r).ReplaceAll(p.Context, "") != id.Context {
		return refusal.ContextDenied
	}
	return nil
}
