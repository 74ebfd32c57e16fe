package caddymodule

import (
	"fmt"
	"net/http"
	"net/url"
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
	app      *App
	metrics  *metrics
	failures *storeFailures
	logger   *zap.Logger
}

func newEvents(a *App, logger *zap.Logger) *events {
	return &events{app: a, metrics: a.metrics, failures: &a.failures, logger: logger}
}

// refused: a request was refused. s is the request as it was signed, as far as it could be read; nil
// if it was not read. A mistake of the client is not logged as an error. Neither is each failure of
// a store that fails for every request. diagnosis names the client's mistakes if they are known
// already: only explain_refusals finds them before the answer.
func (e *events) refused(r *http.Request, endpoint string, s *signed, p *refusal.Problem, diagnosis string) {
	e.metrics.refused(endpoint, p.Reason)
	e.metrics.judged(endpoint, s, p.Reason)
	decided(endpoint, p.Reason, s).trace(r)
	publish(r, endpoint, p)
	consumer, token := claimed(p)
	if p.Reason == refusal.ExpiredToken.Reason && endpoint == endpointAPI && e.app.expired.first(p.Token) {
		_ = e.tell(&audit.Event{ // a failure is counted and logged
			Name: audit.AccessTokenExpired, Consumer: p.Consumer, Token: p.Token, Client: clientOf(r),
			Actor: audit.ActorServer, ActorSource: audit.ActorServer,
		})
	}
	if extra := accessLogFields(r); extra != nil {
		extra.Add(zap.String("oauth_refusal", p.Reason))
		logClaimed(extra, consumer, token)
		if diagnosis != "" {
			extra.Add(zap.String("oauth_diagnosis", diagnosis))
		}
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
			zap.String("oauth_diagnosis", diagnosis),
			zap.Error(p.Cause),
			more,
		)
	}
}

// forwarded: an API request goes on to the next handler, with the identity. s is the request as it
// was signed; nil if it was not read.
func (e *events) forwarded(r *http.Request, s *signed, id *Identity) {
	recentPasses.note(r, s, e.app)
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
// change. If do returns an error, nothing is told, unless it has set the event's outcome, or the change
// is made and only the journal of revocations was not told (see unjournaled).
//
// A strict trail is told before the change too, and the change is not made if that fails. What takes
// access away is done all the same: an attacker, or a full disk, must not keep anybody from it. Its
// line is owed, and is written as soon as the trail can be written again.
func (e *events) change(event *audit.Event, do func() error) error {
	trail := e.app.trail.Load()
	if trail == nil {
		return do() // without an open store, where do fails
	}
	strict, needed := trail.Strict(), endsAccess(event.Name)
	if err := trail.Begin(event, needed); err != nil && !needed {
		return fmt.Errorf("the change was not made, because the audit trail can't be written: %w", err)
	}
	err := do()
	failed := err != nil && !unjournaled(err)
	if !failed && event.Outcome == "" {
		e.app.diagnoser.changed(event)
	}
	if !strict && (failed && event.Outcome == "" || event.Outcome == audit.Repeated) {
		return err
	}
	if failed && event.Outcome == "" {
		event.Outcome = audit.Failed
	}
	if told := trail.Tell(event); told != nil && err == nil && !needed {
		err = fmt.Errorf("the change was made, but the audit trail can't be written: %w", told)
	}
	return err
}

// endsAccess reports whether a change takes access away, and gives none.
func endsAccess(name audit.Name) bool {
	switch name {
	case audit.AccessTokenRevoked, audit.GrantsRevoked, audit.ConsumerRemoved, audit.ConsumerDisabled,
		audit.RequestTokenRefused:
		return true
	}
	return false
}

// tell tells what has happened.
func (e *events) tell(event *audit.Event) error {
	if event.Outcome == "" || event.Outcome == audit.Done {
		e.app.diagnoser.changed(event)
	}
	trail := e.app.trail.Load()
	if trail == nil {
		return nil
	}
	return trail.Tell(event)
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

// traceOf returns the id that Caddy's tracing gave the request, if any.
func traceOf(r *http.Request) string {
	id, _ := caddyhttp.GetVar(r.Context(), "trace_id").(string)
	return id
}

// event returns an event that a request at the site causes.
func (h *Handler) event(r *http.Request, name audit.Name) *audit.Event {
	return &audit.Event{Name: name, Site: h.origin(r).host, Client: clientOf(r), Trace: traceOf(r)}
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
		if plain, err := url.QueryUnescape(name); err == nil {
			name = plain
		}
		e.Actor, e.ActorSource = refusal.Printable(name), audit.ActorClaimed
	}
	return e
}

// observed: a request was judged, and is passed on in any case. The problem is nil if it would have
// been accepted.
func (e *events) observed(r *http.Request, id *Identity, p *refusal.Problem) {
	extra, result := accessLogFields(r), resultAccepted
	switch {
	case p != nil:
		result = p.Reason
	case id.Anonymous():
		result = resultAnonymous
	case extra != nil:
		extra.Add(zap.String("oauth_consumer", id.Consumer))
	}
	e.metrics.requests.WithLabelValues(endpointObserved, result).Inc()
	if p == nil {
		return
	}
	consumer, token := claimed(p)
	if extra != nil {
		extra.Add(zap.String("oauth_observed", p.Reason))
		logClaimed(extra, consumer, token)
	}
	level, more := zap.DebugLevel, zap.Skip()
	if p.Kind == refusal.KindStore {
		if logged, silent := e.failures.note(p.Cause, time.Now()); logged {
			level, more = zap.ErrorLevel, zap.Int("refused_before", silent)
		}
	}
	if c := e.logger.Check(level, "request would be refused"); c != nil {
		c.Write(
			zap.String("reason", p.Reason),
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
