package policy

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

	// Let requests through without a signature; one that is there must still be good. Default:
	// false. It asks for nothing, so nothing else may stand beside it. A browser's CORS preflight
	// (OPTIONS, with Origin and Access-Control-Request-Method, and without Authorization) is never
	// signed: OAuth parameters in its query belong to the request that is to follow; they are not
	// looked at, and removed.
	Anonymous bool `json:"anonymous,omitempty"`

	// Refuse every request. Default: false. Nothing else may stand beside it.
	Deny bool `json:"deny,omitempty"`

	// The keys of the consumers that may pass; `*` stands for any text without a slash, `?` for one
	// character. Default: all.
	Consumers []string `json:"consumers,omitempty"`

	// The users who may pass. Default: all.
	Users []string `json:"users,omitempty"`

	// The permission level that each method needs. A method that no rule names is refused. Default:
	// READ_PUBLIC for GET, HEAD and OPTIONS, WRITE_PUBLIC for the others.
	Permissions []PermissionRule `json:"permissions,omitempty"`

	// The context that this request is about: text and placeholders. A token that was granted for
	// one context passes only where this is the same; a token without a context passes everywhere.
	// Default: the context is for the upstream to judge, by its header.
	Context string `json:"context,omitempty"`

	matchers     caddyhttp.MatcherSets
	selects      caddyhttp.RawMatcherSets // MatcherSetsRaw, which Caddy empties when it loads them
	levels       *Levels
	usesDefaults bool // no permission was given: without a level for writing, nobody can write
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

// unconditional reports whether the policy decides about every request that no earlier one matched.
func (p *Policy) unconditional() bool {
	return len(p.selectors()) == 0
}

// selectors are the policy's matchers as they stand in the configuration, before the policy was
// provisioned and after.
func (p *Policy) selectors() caddyhttp.RawMatcherSets {
	if p.selects == nil {
		return p.MatcherSetsRaw
	}
	return p.selects
}

func (p *Policy) provision(ctx caddy.Context, l *Levels) error {
	p.levels, p.selects = l, p.MatcherSetsRaw
	if len(p.Permissions) == 0 && !p.Anonymous && !p.Deny {
		p.Permissions, p.usesDefaults = defaultPermissionRules, true
	}
	return loadMatchers(ctx, p, p.selects, &p.matchers)
}

// checkPolicies refuses policies that contradict themselves, and those that no request can reach.
func checkPolicies(policies []*Policy, offered []string) error {
	for i, p := range policies {
		err := p.CheckDefaults(p.levels)
		if err == nil {
			err = p.Check(p.levels, offered)
		}
		if err != nil {
			return fmt.Errorf("policy %d: %w", i+1, err)
		}
		if by := CoveredBy(policies[:i], p); by > 0 {
			return fmt.Errorf("policy %d: can never be reached, because policy %d decides all its requests; "+
				"the first match wins", i+1, by)
		}
	}
	return nil
}

// CheckDefaults refuses a policy without permissions if the default ones are not declared.
func (p *Policy) CheckDefaults(declared *Levels) error {
	if p.Anonymous || p.Deny || (len(p.Permissions) > 0 && !p.usesDefaults) {
		return nil
	}
	if missing := MissingDefault(declared); missing != "" {
		return fmt.Errorf("needs a permission, because the default %s is not declared", missing)
	}
	return nil
}

// MissingDefault returns a level of the default permissions that is not declared; "" if all are.
func MissingDefault(declared *Levels) string {
	for _, rule := range defaultPermissionRules {
		if declared.Check(rule.Permission) != nil {
			return rule.Permission
		}
	}
	return ""
}

// Check refuses a policy that contradicts itself, or names what does not exist. offered is nil
// where the site's levels are not known yet.
func (p *Policy) Check(declared *Levels, offered []string) error {
	demanding := len(p.Consumers) > 0 || len(p.Users) > 0 || len(p.Permissions) > 0 || p.Context != ""
	if p.Anonymous && (p.Deny || demanding) {
		return errors.New("anonymous lets everybody through: nothing else may stand beside it")
	}
	if p.Deny && demanding {
		return errors.New("deny refuses everybody: nothing else may stand beside it")
	}
	for _, pattern := range p.Consumers {
		if _, err := path.Match(pattern, ""); err != nil {
			return fmt.Errorf("consumers %q: is not a pattern", pattern)
		}
	}
	return p.checkPermissions(declared, offered)
}

func (p *Policy) checkPermissions(declared *Levels, offered []string) error {
	var methods []string
	all := false
	for _, rule := range p.Permissions {
		if err := declared.Check(rule.Permission); err != nil {
			return err
		}
		sufficient := func(level string) bool { return declared.Holds(level, rule.Permission) }
		if offered != nil && !p.usesDefaults && !slices.ContainsFunc(offered, sufficient) {
			return fmt.Errorf("permission %q: no permission that the site offers allows it", rule.Permission)
		}
		if len(rule.Methods) == 0 {
			if all {
				return fmt.Errorf("permission %q: another permission already stands for every other method", rule.Permission)
			}
			all = true
		}
		for _, method := range rule.Methods {
			if _, ok := declared.Find(method); ok {
				return fmt.Errorf("permission %q: %q is a permission, where methods are expected",
					rule.Permission, method)
			}
			if !PlainMethod(method) || method == "" {
				return fmt.Errorf("permission %q: %q is not a method", rule.Permission, method)
			}
			if slices.Contains(methods, method) {
				return fmt.Errorf("permission %q: method %s is given twice", rule.Permission, method)
			}
			methods = append(methods, method)
		}
	}
	return nil
}

// needed returns the level that a method needs. Without one, the policy does not allow the method.
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

// check refuses a request that the policy is about, if the subject may not make it.
func (p *Policy) check(r *http.Request, subject *Subject) *refusal.Problem {
	switch {
	case p.Deny:
		return refusal.Denied
	case p.Anonymous:
		return nil
	case subject.Tokenless != "":
		return refusal.TokenRequired
	case subject.Anonymous():
		return refusal.CredentialsRequired
	case len(p.Consumers) > 0 && !p.names(subject.Consumer):
		return refusal.ConsumerDenied
	case len(p.Users) > 0 && !slices.Contains(p.Users, subject.User):
		return refusal.UserDenied
	}
	level, ok := p.needed(r.Method)
	if !ok {
		return refusal.NoPolicy
	}
	if !p.levels.Holds(subject.Permission, level) {
		return refusal.PermissionDenied.About(level)
	}
	limited := p.Context != "" && subject.Context != ""
	if limited && replacer(r).ReplaceAll(p.Context, "") != subject.Context {
		return refusal.ContextDenied
	}
	return nil
}

// names reports whether a pattern of consumers matches a key.
func (p *Policy) names(consumer string) bool {
	return slices.ContainsFunc(p.Consumers, func(pattern string) bool {
		matched, _ := path.Match(pattern, consumer) // Check has seen the pattern
		return matched
	})
}

// Describe says what the policy asks for, in the words of the Caddyfile.
func (p *Policy) Describe() string {
	var words []string
	if p.Anonymous {
		words = append(words, "anonymous")
	}
	if p.Deny {
		words = append(words, "deny")
	}
	if len(p.Consumers) > 0 {
		words = append(words, "consumers "+strings.Join(p.Consumers, " "))
	}
	if len(p.Users) > 0 {
		words = append(words, "users "+strings.Join(p.Users, " "))
	}
	for _, rule := range p.Permissions {
		rule := slices.Concat([]string{"permission"}, rule.Methods, []string{rule.Permission})
		words = append(words, strings.Join(rule, " "))
	}
	if p.Context != "" {
		words = append(words, "context "+p.Context)
	}
	return strings.Join(words, "; ")
}
