package caddymodule

import (
	"maps"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/refusal"
)

// judgedVar is the variable with the oauth1 handler that has judged a request. Another handler that
// does not judge the request must keep the identity that the first one found.
const judgedVar = "oauth1.judged"

// receive reports whether this handler judges a request. It refuses a request if that is unclear.
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

// leaveOut removes an identity and forbidden upgrades from a request that is not judged: an upgrade
// would allow later requests without judgement. An identity from another oauth1 handler stays.
func (h *Handler) leaveOut(r *http.Request) {
	h.stripForged(r)
	h.limitUpgrades(r)
}

// stripForged removes an identity that no oauth1 handler has set.
func (h *Handler) stripForged(r *http.Request) {
	given := make(http.Header)
	if judge, ok := caddyhttp.GetVar(r.Context(), judgedVar).(*Handler); ok {
		for _, name := range judge.IdentityHeaders.all() {
			if values, ok := r.Header[name]; ok {
				given[name] = values
			}
		}
	}
	h.stripper.strip(r)
	maps.Copy(r.Header, given)
}
