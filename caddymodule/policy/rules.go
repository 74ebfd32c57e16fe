package policy

import (
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/refusal"
)

// The values of the option paths.
const (
	PathsStrict = "strict"
	PathsAsSent = "as_sent"
)

// Config is what a site says about the requests that it judges.
type Config struct {
	// Match is the directive's own matcher, which selects the requests that are judged. None: all.
	Match caddyhttp.RawMatcherSets
	// Policies are asked in their order.
	Policies []*Policy
	// Paths is the option of that name; "" is its default.
	Paths string
	// Levels are the permission levels that the policies may name.
	Levels *Levels
}

// Rules are the rules of one site, made ready.
type Rules struct {
	scope    scope
	policies []*Policy
	paths    string
	// What the directive's own matcher and the policies see of a request, and what both together
	// see.
	scopeSight, policySight, sight sight
	plain                          atomic.Pointer[plainness]
}

// scope is the directive's own matcher.
type scope struct {
	MatcherSetsRaw caddyhttp.RawMatcherSets `caddy:"namespace=http.matchers"`
	matchers       caddyhttp.MatcherSets
	selects        caddyhttp.RawMatcherSets // MatcherSetsRaw, which Caddy empties when it loads them
}

// New loads the matchers of a site's rules, for the handler of ctx. Check says whether the rules
// make sense.
func New(ctx caddy.Context, config Config) (*Rules, error) {
	rules := &Rules{
		scope:    scope{MatcherSetsRaw: config.Match, selects: config.Match},
		policies: config.Policies,
		paths:    config.Paths,
	}
	for i, p := range rules.policies {
		if p == nil {
			return nil, fmt.Errorf("policy %d: is null", i+1)
		}
		if err := p.provision(ctx, config.Levels); err != nil {
			return nil, fmt.Errorf("policy %d: %w", i+1, err)
		}
	}
	if err := loadMatchers(ctx, &rules.scope, rules.scope.selects, &rules.scope.matchers); err != nil {
		return nil, err
	}
	rules.scopeSight = setsSight(rules.scope.selects)
	rules.policySight = policiesSight(rules.policies)
	rules.sight = rules.scopeSight.or(rules.policySight)
	rules.setPlainness(unknownSight("a header"))
	return rules, nil
}

// loadMatchers loads the matchers in the field MatcherSetsRaw of holder, whose value raw is.
func loadMatchers(
	ctx caddy.Context, holder any, raw caddyhttp.RawMatcherSets, matchers *caddyhttp.MatcherSets,
) error {
	if len(raw) == 0 {
		return nil
	}
	loaded, err := ctx.LoadModule(holder, "MatcherSetsRaw")
	if err != nil {
		return fmt.Errorf("loading matchers: %w", err)
	}
	return matchers.FromInterface(loaded)
}

// Check refuses rules that contradict themselves, that no request can reach, or that can't be kept
// as the option paths says. offered are the levels that the site offers.
func (rules *Rules) Check(offered []string) error {
	if err := rules.checkPaths(); err != nil {
		return err
	}
	return checkPolicies(rules.policies, offered)
}

// Scoped reports whether the directive has a matcher of its own, so that some requests are not
// judged.
func (rules *Rules) Scoped() bool { return len(rules.scope.selects) > 0 }

// ScopeSeesPath reports whether the directive's own matcher looks at the path.
func (rules *Rules) ScopeSeesPath() bool { return rules.scopeSight.path }

// ScopeSeesHeaders reports whether the directive's own matcher looks at headers.
func (rules *Rules) ScopeSeesHeaders() bool { return rules.scopeSight.header }

// SeePeer reports whether a matcher or context looks at the address of the connection, which is that
// of a proxy if there is one.
func (rules *Rules) SeePeer() bool { return rules.sight.peer }

// LookAtContexts reports whether any policy does. Otherwise a context is the API's to judge.
func (rules *Rules) LookAtContexts() bool {
	return slices.ContainsFunc(rules.policies, func(p *Policy) bool { return p.Context != "" })
}

// CheckArrival refuses a request that servers could take for different ones: of which any matcher
// or context sees a value that others see differently, or whose URL is not plain where the
// directive's own matcher looks at it.
func (rules *Rules) CheckArrival(r *http.Request) *refusal.Problem {
	if problem := rules.sight.checkValues(r); problem != nil {
		return problem
	}
	return rules.plain.Load().scope.checkPlain(r)
}

// InScope asks the directive's own matcher whether a request is to be judged, with each method that
// an upstream may take the request's for.
func (rules *Rules) InScope(r *http.Request) (bool, *refusal.Problem) {
	if !rules.Scoped() {
		return true, nil
	}
	methods := methodsOf(r)
	if len(methods) > mostReadings {
		return false, refusal.Readings
	}
	for i, method := range methods {
		asked := r
		if i > 0 {
			asked = reading(r, method, r.URL)
		}
		matched, err := rules.scope.matchers.AnyMatchWithError(asked)
		if err != nil {
			return false, refusal.Matcher.Because(err)
		}
		if matched {
			return true, nil
		}
	}
	return false, nil
}

// CheckURL refuses a request whose URL is not plain, so far as the policies look at it.
func (rules *Rules) CheckURL(r *http.Request) *refusal.Problem {
	return rules.plain.Load().policies.checkPlain(r)
}

// Decision is what becomes of a request.
type Decision struct {
	// Problem is why the request is refused. Nil: it may be made.
	Problem *refusal.Problem
	// Policy is the one that decided, and Number its place among the policies, from 1. Nil and 0:
	// none did, since none is about the request, or the request has too many readings.
	Policy *Policy
	Number int
	// Reading is what the request was taken for: itself, or the first other reading that is
	// refused.
	Reading *http.Request
}

// Decide says whether the subject may make the request, however an upstream may read it. The
// request must be as the upstream will see it.
func (rules *Rules) Decide(r *http.Request, subject *Subject) Decision {
	if !rules.ambiguous(r) {
		return rules.decideReading(r, subject)
	}
	// A copy of the subject goes to the heap there, and not that of an ordinary request.
	return rules.decideReadings(r, *subject)
}

// decideReadings decides about all that the request could be taken for.
func (rules *Rules) decideReadings(r *http.Request, subject Subject) Decision {
	others, ok := rules.otherReadings(r)
	if !ok {
		return Decision{Problem: refusal.Readings, Reading: r}
	}
	for other := range others {
		if d := rules.decideReading(other, &subject); d.Problem != nil {
			return d
		}
	}
	return rules.decideReading(r, &subject) // last, so that what its matchers captured stays
}

// decideReading decides about the request as Caddy's matchers read it.
func (rules *Rules) decideReading(r *http.Request, subject *Subject) Decision {
	d := Decision{Reading: r}
	d.Number, d.Policy, d.Problem = rules.Find(r)
	switch {
	case d.Problem != nil:
	case d.Policy == nil:
		d.Problem = refusal.NoPolicy
	default:
		d.Problem = d.Policy.check(r, subject)
	}
	return d
}

// Find finds the policy that is about a request, and its number from 1; nil and 0 where none is. It
// looks at no other reading.
func (rules *Rules) Find(r *http.Request) (number int, found *Policy, problem *refusal.Problem) {
	for i, p := range rules.policies {
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

// replacer returns the request's placeholders.
func replacer(r *http.Request) *caddy.Replacer {
	return r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
}
