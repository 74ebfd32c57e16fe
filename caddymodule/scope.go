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

// judges reports whether the request is for this handler to judge.
func (h *Handler) judges(r *http.Request) (bool, error) {
	if len(h.selects) == 0 {
		return true, nil
	}
	defer asForwarded(r)()
	return h.matchers.AnyMatchWithError(r)
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
