package caddymodule

import (
	"cmp"
	"context"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/refusal"
)

// provisionObserving warns the operator who leaves the option in the configuration.
func (h *Handler) provisionObserving() {
	h.app.partial.Store(true) // the identity of another handler on the way stays
	h.logger.Warn("observe: this site protects nothing; every request reaches the next handler, " +
		"and only what would be refused is counted")
}

// observe judges a request that is passed on in any case. Nothing of the request changes, except
// that it loses headers that would claim an identity: the API may believe them already.
func (h *Handler) observe(r *http.Request) {
	h.stripForged(r)
	h.limitUpgrades(r) // in another protocol the client could send any header
	seen := copyToJudge(r)
	judges, problem := h.receive(seen)
	switch {
	case problem != nil:
	case h.endpointOf(seen) != nil:
		h.events.metrics.requests.WithLabelValues(endpointObserved, resultEndpoint).Inc()
		return
	case !judges:
		return
	}
	var id Identity
	var s signed
	if problem == nil {
		problem = h.judge(seen, &s, &id)
		putBack(r, seen)
	}
	h.events.observed(r, &id, problem)
	if problem != nil && !ofAnotherProvider(problem) {
		h.diagnoseLater(r, endpointAPI, &s, problem)
	}
	h.noteObserved(r.Context(), &s, &id, problem)
}

// ofAnotherProvider reports whether a request names a key that this server does not know, as
// requests do that belong to the provider whose place it will take.
func ofAnotherProvider(p *refusal.Problem) bool {
	return p.Reason == refusal.UnknownConsumer.Reason || p.Reason == refusal.UnknownToken.Reason
}

// copyToJudge returns a copy of the request that judge may change.
func copyToJudge(r *http.Request) *http.Request {
	ctx := r.Context()
	if original, ok := ctx.Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok {
		url := *original.URL
		original.URL = &url
		ctx = context.WithValue(ctx, caddyhttp.OriginalRequestCtxKey, original)
	}
	seen := r.WithContext(ctx)
	url := *r.URL
	seen.URL, seen.Header = &url, r.Header.Clone()
	return seen
}

// putBack gives the request the body that was read to judge its copy, and undoes what judge set for
// the next handlers.
func putBack(r, seen *http.Request) {
	if seen.Body != nil && seen.Body != http.NoBody {
		r.Body = seen.Body
	}
	replacer(r).Delete("http.request.orig_uri")
}

// noteObserved notes what a request shows about its consumer. A key that nobody knows is not noted:
// strangers could fill the memory with them.
func (h *Handler) noteObserved(ctx context.Context, s *signed, id *Identity, problem *refusal.Problem) {
	key := cmp.Or(id.Consumer, id.Tokenless, s.params.ConsumerKey)
	if key == "" {
		return
	}
	store, err := h.app.open(ctx)
	if err != nil {
		return
	}
	consumer, err := h.app.consumer(ctx, store, key)
	if err != nil || consumer.SelfRegistered {
		return
	}
	reason := ""
	if problem != nil {
		reason = problem.Reason
	}
	observed.note(key, s.params.SignatureMethod, s.params.Source.String(), reason, h.app.now())
}
