package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/audit"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/policy"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/refusal"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// serveRequestToken answers /+request-token: a consumer asks for a request token (RFC 5849 section
// 2.1).
func (h *Handler) serveRequestToken(w http.ResponseWriter, r *http.Request) error {
	c, problem := h.readConsumerRequest(r)
	if problem == refusal.EndpointUnknownConsumer && h.app.Registration == registrationOpen {
		problem = h.registrable(c)
	}
	var token *tokenstore.RequestToken
	if problem == nil {
		token, problem = h.createRequestToken(r, c)
	}
	if problem != nil {
		return h.refuseSigned(w, r, endpointRequestToken, c.signed, problem.Of(c.named()))
	}
	h.events.answered(r, endpointRequestToken, c.signed)
	if token.Callback == "" && wantsOnlyJSON(r) { // Launchpad's own client
		return h.answerJSON(w, h.requestTokenJSON(c.consumer, token))
	}
	if token.Callback == "" {
		return h.answerToken(w, token.Key, token.Secret)
	}
	confirmed := oauth1.Param{Name: "oauth_callback_confirmed", Value: "true"}
	return h.answerToken(w, token.Key, token.Secret, confirmed)
}

// registrable prepares an unknown consumer for registration. It is stored only if its signature is
// valid. Its key must not look like another key: no operator checks it before users see it on a
// page.
func (h *Handler) registrable(c *consumerRequest) *refusal.Problem {
	c.consumer = &tokenstore.Consumer{
		Key:            c.params.ConsumerKey,
		SelfRegistered: true,
		Created:        h.app.now(),
	}
	c.registers = true
	const name = "oauth_consumer_key"
	err := checkKey(name, c.consumer.Key)
	if err == nil && !tokenstore.Legible(c.consumer.Key) {
		err = fmt.Errorf("%s %q: holds a character that can't be seen", name, c.consumer.Key)
	}
	if err != nil {
		return refusal.Rejected(name, err.Error()+".")
	}
	return nil
}

// createRequestToken makes all checks before it stores anything. It stores a nonce only for a
// request that may have a request token, and a new consumer only together with a request token.
func (h *Handler) createRequestToken(r *http.Request, c *consumerRequest) (*tokenstore.RequestToken, *refusal.Problem) {
	if problem := h.verifyEndpoint(c, ""); problem != nil {
		return nil, problem
	}
	callback := callbackOf(c.consumer, &c.params)
	switch {
	case callback == outOfBand:
	case c.params.HasCallback || callback != "":
		if err := checkCallback(c.consumer, callback); err != nil {
			return nil, refusal.Rejected("oauth_callback", "oauth_callback: "+err.Error()+".")
		}
	case h.RequireCallback:
		return nil, refusal.Absent("oauth_callback")
	}
	now := h.app.now()
	token := &tokenstore.RequestToken{
		Key:      tokenstore.NewKey(),
		Secret:   tokenstore.NewSecret(),
		Consumer: c.consumer.Key,
		Callback: callback,
		Created:  now,
		Expires:  now.Add(time.Duration(h.app.RequestTokenLifetime)),
	}
	if err := c.store.RoomForRequestToken(r.Context(), token, c.registers); err != nil {
		return nil, storeProblem(err)
	}
	if problem := h.useEndpointNonce(r, c); problem != nil {
		return nil, problem
	}
	if problem := h.addRequestToken(r, c, token); problem != nil {
		return nil, problem
	}
	return token, nil
}

// addRequestToken stores the token, and tells it.
func (h *Handler) addRequestToken(
	r *http.Request, c *consumerRequest, token *tokenstore.RequestToken,
) *refusal.Problem {
	event := h.eventOfConsumer(r, audit.RequestTokenIssued, c.consumer)
	event.RequestToken, event.Expires = token.Key, token.Expires
	var problem *refusal.Problem
	err := h.events.change(event, func() error {
		if problem = storeRequestToken(r.Context(), c, token); problem != nil {
			return errors.New(problem.Reason)
		}
		return nil
	})
	if err == nil && c.registers {
		err = h.events.tell(h.eventOfConsumer(r, audit.ConsumerSelfRegistered, c.consumer))
	}
	if problem == nil && err != nil {
		problem = refusal.Unrecorded.Because(err)
	}
	return problem
}

// storeRequestToken stores the token, and also the consumer if it registers itself. Another request
// may have registered the consumer in the meantime. If an operator added it in the meantime, it has
// a secret that this request does not know.
func storeRequestToken(ctx context.Context, c *consumerRequest, token *tokenstore.RequestToken) *refusal.Problem {
	if c.registers {
		err := c.store.RegisterConsumer(ctx, c.consumer, token)
		if err == nil {
			return nil
		}
		if !errors.Is(err, tokenstore.ErrExists) {
			return storeProblem(err)
		}
		stored, err := c.store.Consumer(ctx, c.consumer.Key)
		if err != nil {
			return refusal.Store.Because(err)
		}
		if !stored.SelfRegistered {
			return refusal.EndpointSignature
		}
		c.registers = false // the other request has registered it
	}
	if err := c.store.CreateRequestToken(ctx, token); err != nil {
		return storeProblem(err)
	}
	return nil
}

// unauthorizedTitle is Launchpad's title for a refusal.
const unauthorizedTitle = "No Access"

// requestTokenJSON returns Launchpad's answer for a client that shows its own choice of levels.
func (h *Handler) requestTokenJSON(c *tokenstore.Consumer, token *tokenstore.RequestToken) any {
	type level struct {
		Value string `json:"value"`
		Title string `json:"title"`
	}
	answer := struct {
		Token        string  `json:"oauth_token"`
		Secret       string  `json:"oauth_token_secret"`
		Consumer     string  `json:"oauth_token_consumer"`
		AccessLevels []level `json:"access_levels"`
	}{
		Token:        token.Key,
		Secret:       token.Secret,
		Consumer:     token.Consumer,
		AccessLevels: []level{{tokenstore.Unauthorized, unauthorizedTitle}},
	}
	for _, offered := range h.app.levels.Ordered {
		if offered.Name != policy.DesktopIntegration && h.offers(c, offered.Name) {
			answer.AccessLevels = append(answer.AccessLevels, level{offered.Name, offered.Title})
		}
	}
	return answer
}
