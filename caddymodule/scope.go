package caddymodule

import (
	"fmt"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
)

// judgedVar is the variable of a request that an oauth1 handler has judged: another one that leaves
// the request out must not take away what the first has found.
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
func (h *Handler) receive(r *http.Request) (judges bool, problem *Problem) {
	if problem := h.admit(r); problem != nil {
		return false, problem
	}
	if len(h.selects) == 0 {
		return true, nil
	}
	if problem := h.ownPlain.checkPlain(r); problem != nil {
		return false, problem
	}
	defer asForwarded(r)()
	judges, err := h.matchers.AnyMatchWithError(r)
	if err != nil {
		return false, problemMatcher.because(err)
	}
	return judges, nil
}

// leaveOut takes from a request that is not judged what only judged ones may have: an identity, and
// the way around later judgement that an upgrade is.
func (h *Handler) leaveOut(r *http.Request) {
	if caddyhttp.GetVar(r.Context(), judgedVar) != nil {
		return
	}
	h.stripper.strip(r)
	h.limitUpgrades(r)
}
