package caddymodule

import (
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/adminapi"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/audit"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/refusal"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// events receives each fact once, from the code that caused it. It updates the metrics, the logs,
// the audit trail, and the placeholders of a refusal. It is never given a secret to tell.
//
// There are two kinds of facts. What becomes of a request is told by refused, forwarded, answered and
// shown, of which metrics, logs and spans hear; the signed request that they get holds what its
// client signed, so they must not keep it, and must not log its signature. What was changed is an
// audit.Event, told by change and tell.
type events struct {
	metrics  *metrics
	failures *storeFailures
	logger   *zap.Logger
}

func newEvents(a *App, logger *zap.Logger) *events {
	return &events{metrics: a.metrics, failures: &a.failures, logger: logger}
}

// refused: a request was refused. s is the request as it was signed, as far as it could be read; nil
// if it was not read. A mistake of the client is not logged as an error. Neither is each failure of
// a store that fails for every request.
func (e *events) refused(r *http.Request, endpoint string, s *signed, p *refusal.Problem) {
	e.metrics.refused(endpoint, p.Reason)
	e.metrics.judged(endpoint, s, p.Reason)
	decided(endpoint, p.Reason, s).trace(r)
	publish(r, endpoint, p)
	consumer, token := claimed(p)
	if extra := accessLogFields(r); extra != nil {
		extra.Add(zap.String("oauth_refusal", p.Reason))
		logClaimed(extra, consumer, token)
	}
	level, more := zap.DebugLevel, zap.Skip()
	if p.Kind == refusal.KindStore {
		if logged, silent := e.failures.note(p.Cause, time.Now()); logged {
			level, more = zap.ErrorLevel, zap.Int("refused_before", silent)
		}
	}
	if c := e.logger.Check(level, "request refused"); c != nil {
		c.Write(
			zap.String("endpoint", endpoint),
			zap.String("reason", p.Reason),
			zap.Int("status", p.Status),
			zap.String("method", r.Method),
			zap.String("host", r.Host),
			zap.String("path", r.URL.Path),
			zap.String("remote", r.RemoteAddr),
			zap.String("claimed_consumer", consumer),
			zap.String("claimed_token", token),
			zap.Error(p.Cause),
			more,
		)
	}
}

// forwarded: an API request goes on to the next handler, with the identity. s is the request as it
// was signed; nil if it was not read.
func (e *events) forwarded(r *http.Request, s *signed, id *Identity) {
	e.metrics.passed(id.Anonymous())
	e.metrics.judged(endpointAPI, s, "")
	result := resultAccepted
	if id.Anonymous() {
		result = resultAnonymous
	}
	decided(endpointAPI, result, s).trace(r)
}

// answered: a consumer got what it asked an endpoint for.
func (e *events) answered(r *http.Request, endpoint string, s *signed) {
	e.metrics.answered(endpoint)
	e.metrics.judged(endpoint, s, "")
	decided(endpoint, resultAccepted, s).trace(r)
	if extra := accessLogFields(r); extra != nil {
		extra.Add(zap.String("oauth_consumer", s.params.ConsumerKey))
		if s.params.Token != "" {
			extra.Add(zap.String("oauth_token", s.params.Token))
		}
	}
}

// shown: a user got a page of an endpoint, or was redirected by it.
func (e *events) shown(r *http.Request, endpoint string) {
	e.metrics.answered(endpoint)
	decided(endpoint, resultAccepted, nil).trace(r)
}

// change makes a change, and tells it. do may complete the event with what is known only after the
// change. If it returns an error, nothing is told, unless do has set the event's outcome.
func (e *events) change(event *audit.Event, do func() error) error {
	err := do()
	if err != nil && event.Outcome == "" || event.Outcome == audit.Repeated {
		return err
	}
	if told := e.tell(event); err == nil {
		err = told
	}
	return err
}

// tell tells what was changed.
func (e *events) tell(event *audit.Event) error {
	e.logger.Info(string(event.Name),
		zap.String("actor", event.Actor),
		zap.String("client", event.Client),
		zap.String("consumer", event.Consumer),
		zap.String("user", event.User),
		zap.String("token", event.Token),
		zap.String("request_token", event.RequestToken),
		zap.String("permission", event.Permission),
		zap.String("context", event.Context),
	)
	return nil
}

// claimed returns the keys that a refused request named, fit for a log. Nothing proves them.
func claimed(p *refusal.Problem) (consumer, token string) {
	return refusal.Printable(p.Consumer), refusal.Printable(p.Token)
}

func logClaimed(extra *caddyhttp.ExtraLogFields, consumer, token string) {
	if consumer != "" {
		extra.Add(zap.String("oauth_claimed_consumer", consumer))
	}
	if token != "" {
		extra.Add(zap.String("oauth_claimed_token", token))
	}
}

// accessLogFields returns the fields that are added to the request's line in the access log; nil if
// there is no access log.
func accessLogFields(r *http.Request) *caddyhttp.ExtraLogFields {
	extra, _ := r.Context().Value(caddyhttp.ExtraLogFieldsCtxKey).(*caddyhttp.ExtraLogFields)
	return extra
}

// event returns an event that a request at the site causes.
func (h *Handler) event(r *http.Request, name audit.Name) *audit.Event {
	e := &audit.Event{Name: name, Site: h.origin(r).host, Client: r.RemoteAddr}
	if ip, ok := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string); ok {
		e.Client = ip
	}
	if id, ok := caddyhttp.GetVar(r.Context(), "trace_id").(string); ok { // set by Caddy's tracing
		e.Trace = id
	}
	return e
}

// eventOfConsumer returns an event that a signed request to an endpoint causes.
func (h *Handler) eventOfConsumer(r *http.Request, name audit.Name, c *tokenstore.Consumer) *audit.Event {
	e := h.event(r, name)
	e.Consumer, e.Actor, e.ActorSource = c.Key, c.Key, audit.ActorConsumer
	return e
}

// eventOfUser returns an event that the logged-in user of a page causes.
func (h *Handler) eventOfUser(r *http.Request, name audit.Name, user string) *audit.Event {
	e := h.event(r, name)
	e.User, e.Actor, e.ActorSource = user, user, audit.ActorUser
	return e
}

// event returns an event that a call of the admin API causes.
func (c *adminCall) event(name audit.Name) *audit.Event {
	e := &audit.Event{Name: name, Client: c.RemoteAddr}
	if c.TLS != nil && len(c.TLS.PeerCertificates) > 0 {
		e.Actor, e.ActorSource = c.TLS.PeerCertificates[0].Subject.String(), audit.ActorTLS
	} else if name := c.Header.Get(adminapi.ActorHeader); name != "" {
		e.Actor, e.ActorSource = refusal.Printable(name), audit.ActorClaimed
	}
	return e
}
