package caddymodule

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/audit"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/refusal"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// serveAccessToken answers /+access-token: a consumer exchanges a reviewed request token for an
// access token (RFC 5849 section 2.3).
func (h *Handler) serveAccessToken(w http.ResponseWriter, r *http.Request) error {
	c, problem := h.readConsumerRequest(r)
	var token *tokenstore.AccessToken
	if problem == nil {
		token, problem = h.exchange(r, c)
	}
	if problem != nil {
		return h.refuseSigned(w, r, endpointAccessToken, c.signed, problem.Of(c.named()))
	}
	h.events.answered(r, endpointAccessToken, c.signed)
	if token.Context != "" {
		return h.answerToken(w, token.Key, token.Secret, oauth1.Param{Name: "lp.context", Value: token.Context})
	}
	return h.answerToken(w, token.Key, token.Secret)
}

func (h *Handler) exchange(r *http.Request, c *consumerRequest) (*tokenstore.AccessToken, *refusal.Problem) {
	ctx := r.Context()
	request, problem := h.findRequestToken(ctx, c)
	if problem != nil {
		return nil, problem
	}
	if problem := h.verifyEndpoint(c, request.Secret); problem != nil {
		return nil, problem
	}
	if h.RequireCallback && request.Callback == "" {
		// A site with other options, on the same store, made the token.
		return nil, refusal.NoCallback
	}
	bar := barred(request, h.app.now())
	if bar != nil && !errors.Is(bar, tokenstore.ErrNotReviewed) {
		return nil, storeProblem(bar)
	}
	if problem := h.useEndpointNonce(r, c); problem != nil {
		return nil, problem
	}
	if bar != nil { // no change is begun: a strict audit trail would get two lines for each poll
		return nil, storeProblem(bar)
	}
	return h.exchangeNow(r, c, request)
}

// exchangeNow exchanges the request token, and tells it.
func (h *Handler) exchangeNow(
	r *http.Request, c *consumerRequest, request *tokenstore.RequestToken,
) (token *tokenstore.AccessToken, problem *refusal.Problem) {
	event := h.eventOfConsumer(r, audit.RequestTokenExchanged, c.consumer)
	event.RequestToken = request.Key
	err := h.events.change(event, func() (err error) {
		token, err = c.store.Exchange(r.Context(), request.Key, c.params.Verifier)
		switch {
		case err == nil:
			event.Token, event.User, event.Expires = token.Key, token.User, token.Expires
			event.Permission, event.Context = token.Permission, token.Context
			h.app.diagnoser.exchanged(token.Key, request.Secret)
			return nil
		case errors.Is(err, tokenstore.ErrVerifier):
			event.Name, event.Outcome = audit.RequestTokenVerifierFailed, audit.Refused
			event.Reason = refusal.Verifier.Reason
		}
		problem = storeProblem(err)
		return err
	})
	if problem == nil && err != nil {
		problem = refusal.Unrecorded.Because(err)
	}
	if problem != nil {
		return nil, problem
	}
	return token, nil
}

// barred returns the reason why the request token can't be exchanged, whatever the verifier is, or
// nil. If it never can be, because it was refused or has expired, the nonce need not be stored: a
// replay gets the same answer. With any other refusal the nonce must be stored, because the same
// request could succeed later; so it is with a token that is not reviewed.
func barred(request *tokenstore.RequestToken, now time.Time) error {
	_, err := request.Exchange("", "", "", now)
	if errors.Is(err, tokenstore.ErrRefused) || errors.Is(err, tokenstore.ErrExpired) ||
		errors.Is(err, tokenstore.ErrNotReviewed) {
		return err
	}
	return nil
}

// findRequestToken finds the request token that the request names. It must belong to the consumer.
func (h *Handler) findRequestToken(ctx context.Context, c *consumerRequest) (*tokenstore.RequestToken, *refusal.Problem) {
	if c.params.Token == "" {
		return nil, refusal.NoRequestToken
	}
	request, err := h.app.requestToken(ctx, c.store, c.params.Token)
	switch {
	case errors.Is(err, tokenstore.ErrNotFound):
		return nil, refusal.UnknownRequestToken
	case err != nil:
		return nil, refusal.Store.Because(err)
	case request.Consumer != c.consumer.Key:
		return nil, refusal.UnknownRequestToken
	}
	return request, nil
}
