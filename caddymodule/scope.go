package caddymodule

import (
	"fmt"
	"maps"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/refusal"
)

// judgedVar is the variable that holds the oauth1 handler which has judged a request: another one that
// leaves the request out must not take away what the first has found.
const judgedVar = "oauth1.judged"

// provisionScope loads the directive's own matcher.
func (h *Handler) provisionScope(ctx caddy.Context) error {
	h.selects = h.MatcherSetsRaw
	if len(h.selects) == 0 {
		return nil
	}
	loaded, err := ctx.LoadModule(h, "MatcherSetsRaw")
	if err != nil {
		return fmt.Errorf("loading matchers: %w", err)
	}
	if err := h.matchers.FromInterface(loaded); err != nil {
		return err
	}
	h.app.partial.Store(true)
	if h.ownSight = setsSight(h.selects); h.ownSight.path {
		h.logger.Warn("the matcher of oauth1 looks at the path: requests that it leaves out reach the upstream unjudged; "+
			"better let the directive see all requests, and open paths by a policy with: anonymous",
			zap.Any("match", h.selects))
	}
	return nil
}

// receive says whether a request is for this handler to judge, or refuses one that it can't tell of.
func (h *Handler) receive(r *http.Request) (judges bool, problem *refusal.Problem) {
	if problem := h.admit(r); problem != nil {
		return false, problem
	}
	if problem := h.sight.checkValues(r); problem != nil {
		return false, problem
	}
	if len(h.selects) == 0 {
		return true, nil
	}
	if problem := h.plain.Load().own.checkPlain(r); problem != nil {
		return false, problem
	}
	if h.ownSight.header {
		dropListed(r)
	}
	defer asForwarded(r)()
	return h.selected(r)
}

// selected asks the directive's own matcher, with each method that an upstream may take the request's for.
func (h *Handler) selected(r *http.Request) (bool, *refusal.Problem) {
	methods := methodsOf(r)
	if len(methods) > mostReadings {
		return false, refusal.Readings
	}
	for i, method := range methods {
		asked := r
		if i > 0 {
			asked = reading(r, method, r.URL)
		}
		matched, err := h.matchers.AnyMatchWithError(asked)
		if err != nil {
			return false, refusal.Matcher.Because(err)
		}
		if matched {
			return true, nil
		}
	}
	return false, nil
}

// leaveOut takes from a request that is not judged what only judged ones may have: an identity, and
// the way around later judgement that an upgrade is. What another handler gave it stays.
func (h *Handler) leaveOut(r *http.Request) {
	given := make(http.Header)
	if judge, ok := caddyhttp.GetVar(r.Context(), judgedVar).(*Handler); ok {
		for _, name := range judge.IdentityHeaders.all() {
			if values, ok := r.Header[name]; ok {
				given[name] = values
			}
		}
	}
	h.stripper.strip(r)
	h.limitUpgrades(r)
	maps.Copy(r.Header, given)
}
