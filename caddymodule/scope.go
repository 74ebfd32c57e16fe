package caddymodule

import (
	"maps"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/refusal"
)

// judgedVar is the variable that holds the oauth1 handler which has judged a request: another one that
// leaves the request out must not take away what the first has found.
const judgedVar = "oauth1.judged"

// receive says whether a request is for this handler to judge, or refuses one that it can't tell of.
func (h *Handler) receive(r *http.Request) (judges bool, problem *refusal.Problem) {
	if problem := h.admit(r); problem != nil {
		return false, problem
	}
	if problem := h.rules.CheckArrival(r); problem != nil {
		return false, problem
	}
	if !h.rules.Scoped() {
		return true, nil
	}
	if h.rules.ScopeSeesHeaders() {
		dropListed(r)
	}
	defer asForwarded(r)()
	return h.rules.InScope(r)
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
