package caddymodule

import (
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/refusal"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// events receives each fact once, from the code that caused it. It updates the metrics, the logs,
// and the placeholders of a refusal. It is never given a secret or a signature.
type events struct {
	metrics  *metrics
	failures *storeFailures
	logger   *zap.Logger
}

// refused: a request was refused. A mistake of the client is not logged as an error. Neither is
// each failure of a store that fails for every request.
func (e *events) refused(r *http.Request, endpoint string, p *refusal.Problem) {
	e.metrics.refused(endpoint, p.Reason)
	publish(r, endpoint, p)
	if extra, ok := r.Context().Value(caddyhttp.ExtraLogFieldsCtxKey).(*caddyhttp.ExtraLogFields); ok {
		extra.Add(zap.String("oauth_refusal", p.Reason))
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
			zap.Error(p.Cause),
			more,
		)
	}
}

// forwarded: an API request goes on to the next handler, with the identity.
func (e *events) forwarded(id *Identity) { e.metrics.passed(id.Anonymous()) }

// shown: a user got a page of an endpoint, or was redirected by it.
func (e *events) shown(endpoint string) { e.metrics.answered(endpoint) }

// requestTokenIssued: a consumer got a request token.
func (e *events) requestTokenIssued() { e.metrics.answered(endpointRequestToken) }

// exchanged: a consumer got an access token for its request token.
func (e *events) exchanged() { e.metrics.answered(endpointAccessToken) }

// reviewed: a user granted or refused access to a consumer.
func (e *events) reviewed(consumer string, review tokenstore.Review) {
	text, expires := "access granted", zap.Skip()
	if review.Permission == tokenstore.Unauthorized {
		text = "access refused"
	}
	if !review.Expires.IsZero() {
		expires = zap.Time("expires", review.Expires)
	}
	e.logger.Info(text,
		zap.String("consumer", consumer),
		zap.String("user", review.User),
		zap.String("permission", review.Permission),
		zap.String("context", review.Context),
		expires,
	)
}

// revoked: a user revoked a number of access tokens of a consumer.
func (e *events) revoked(consumer, user string, tokens int) {
	e.logger.Info("access revoked",
		zap.String("consumer", consumer),
		zap.String("user", user),
		zap.Int("tokens", tokens),
	)
}

// changed: an operator changed something through the admin API, from the remote address.
func (e *events) changed(what, remote string, fields ...zap.Field) {
	e.logger.Info(what, append(fields, zap.String("remote", remote))...)
}

// observed: a request was judged, and is passed on in any case. The problem is nil if it would have
// been accepted.
func (e *events) observed(r *http.Request, id *Identity, p *refusal.Problem) {
	field, result := zap.String("oauth_consumer", id.Consumer), resultAccepted
	switch {
	case p != nil:
		field, result = zap.String("oauth_observed", p.Reason), p.Reason
	case id.Anonymous():
		field, result = zap.Skip(), resultAnonymous
	}
	e.metrics.requests.WithLabelValues(endpointObserved, result).Inc()
	if extra, ok := r.Context().Value(caddyhttp.ExtraLogFieldsCtxKey).(*caddyhttp.ExtraLogFields); ok && field.Key != "" {
		extra.Add(field)
	}
	if p == nil {
		return
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
			zap.String("consumer", refusal.Printable(p.Consumer)),
			zap.String("token", refusal.Printable(p.Token)),
			zap.String("method", r.Method),
			zap.String("host", r.Host),
			zap.String("path", r.URL.Path),
			zap.String("remote", r.RemoteAddr),
			zap.Error(p.Cause),
			more,
		)
	}
}
