package caddymodule

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/refusal"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// consumerRequest is a request of a consumer to one of its two endpoints, and the results of the
// checks so far.
type consumerRequest struct {
	*signed
	store     tokenstore.Store
	consumer  *tokenstore.Consumer
	registers bool  // the consumer is not stored yet
	timestamp int64 // 0 if it is not checked; it hides the one of signed
}

// named returns the keys that the request names, if they could be read.
func (c *consumerRequest) named() (consumer, token string) {
	return c.params.ConsumerKey, c.params.Token
}

// readConsumerRequest reads a request to an endpoint, and finds its consumer. It returns the
// request with a problem too: open registration may accept an unknown consumer, and the refusal
// names the keys of the request.
func (h *Handler) readConsumerRequest(r *http.Request) (*consumerRequest, *refusal.Problem) {
	s := new(signed)
	c := &consumerRequest{signed: s}
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		return c, refusal.MethodNotAllowed
	}
	problem := h.read(r, s, true)
	if problem != nil && s.params.Source == oauth1.SourceNone {
		return c, problem // no parameters could be read
	}
	if s.params.ConsumerKey == "" {
		return c, refusal.EndpointNoConsumer
	}
	if problem != nil {
		return c, problem
	}
	unknown := func(string) *refusal.Problem { return refusal.EndpointUnknownConsumer }
	if c.timestamp, problem = h.checkFreshness(s, true); problem != nil {
		return c, h.orUnknown(r.Context(), s, problem, unknown)
	}
	var err error
	if c.store, err = h.app.openMetered(r.Context()); err != nil {
		return c, refusal.Store.Because(err)
	}
	consumer, err := h.app.consumer(r.Context(), c.store, s.params.ConsumerKey)
	c.consumer, problem = mayConsumerSign(consumer, err, s, unknown)
	return c, problem
}

// verifyEndpoint checks the signature of a request to an endpoint.
func (h *Handler) verifyEndpoint(c *consumerRequest, tokenSecret string) *refusal.Problem {
	if !h.verified(c.signed, c.consumer, tokenSecret) {
		return refusal.EndpointSignature
	}
	return nil
}

// useEndpointNonce refuses a replayed request to an endpoint.
func (h *Handler) useEndpointNonce(r *http.Request, c *consumerRequest) *refusal.Problem {
	if c.timestamp != 0 {
		if problem := h.useNonce(r.Context(), c.store, &c.params, nil, c.timestamp, true); problem != nil {
			return problem
		}
		h.app.diagnoser.signedWell(r, c.signed)
	}
	c.verified = c.consumer
	return nil
}

// answerToken writes the credentials of a token and more, form-encoded (RFC 5849 section 2.1).
func (h *Handler) answerToken(w http.ResponseWriter, key, secret string, more ...oauth1.Param) error {
	params := []oauth1.Param{{Name: "oauth_token", Value: key}, {Name: "oauth_token_secret", Value: secret}}
	return h.answer(w, http.StatusOK, formType, []byte(oauth1.EncodeForm(append(params, more...))))
}

func (h *Handler) answerJSON(w http.ResponseWriter, value any) error {
	body, err := json.Marshal(value)
	if err != nil {
		return caddyhttp.Error(http.StatusInternalServerError, err)
	}
	return h.answer(w, http.StatusOK, "application/json", body)
}

// storeProblem returns the refusal for an error of the store at an endpoint.
func storeProblem(err error) *refusal.Problem {
	for _, known := range []struct {
		err     error
		problem *refusal.Problem
	}{
		{tokenstore.ErrNotFound, refusal.UnknownRequestToken},
		{tokenstore.ErrNotReviewed, refusal.NotReviewed},
		{tokenstore.ErrRefused, refusal.Refused},
		{tokenstore.ErrExpired, refusal.RequestTokenExpired},
		{tokenstore.ErrVerifier, refusal.Verifier},
		{tokenstore.ErrTooMany, refusal.TooManyWaiting},
		{tokenstore.ErrTooManyInAll, refusal.TooManyInAll},
		{tokenstore.ErrTooManyConsumers, refusal.TooManyConsumers},
	} {
		if errors.Is(err, known.err) {
			return known.problem
		}
	}
	return refusal.Store.Because(err)
}
