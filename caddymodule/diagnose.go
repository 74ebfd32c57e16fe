package caddymodule

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/doctor"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/refusal"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// diagnosed is a refused request and what is wrong with it.
type diagnosed struct {
	// known says that the request names a consumer that exists.
	known bool
	// doctorCase holds the keys, for hiding them.
	doctorCase *doctor.Case
	// diagnosis is nil if there is nothing to say beyond the refusal's text.
	diagnosis *doctor.Diagnosis
}

// diagnoseLater explains a refused request to the operator, after its answer. It drops requests
// above the limits, and counts them.
func (h *Handler) diagnoseLater(r *http.Request, endpoint string, s *signed, p *refusal.Problem) {
	d := h.app.diagnoser
	if d.off || !explicable(s, p) || p.Reason == refusal.NotReviewed.Reason {
		return // some clients ask every second whether the user has answered
	}
	if !d.turns.take(h.consumerOfTurn(r.Context(), s, p), time.Now()) {
		undiagnosedTotal.Inc()
		return
	}
	if q := h.refusedRequest(r, endpoint, s, p); q != nil && !d.add(q) {
		undiagnosedTotal.Inc()
	}
}

// turnPatience is how long a refusal may wait for the store to know its consumer.
const turnPatience = 50 * time.Millisecond

// consumerOfTurn is the consumer whose limit counts: all unknown ones are one. Many refusals, such as
// that of a timestamp, come before anybody has looked for the consumer.
func (h *Handler) consumerOfTurn(ctx context.Context, s *signed, p *refusal.Problem) string {
	key := s.params.ConsumerKey
	switch {
	case p.Reason == refusal.UnknownConsumer.Reason:
		return ""
	case explains(p) && p.Parameter == "": // the consumer was found
		return key
	case h.app.diagnoser.turns.taken(time.Now()):
		return "" // none is left, whoever it is
	}
	ctx, cancel := context.WithTimeout(ctx, turnPatience)
	defer cancel()
	store, err := h.app.open(ctx)
	if err == nil {
		_, err = h.app.consumer(ctx, store, key)
	}
	if err != nil {
		return ""
	}
	return key
}

// explainRefused is what the worker does with a refused request.
func (a *App) explainRefused(ctx context.Context, q *refusedRequest) {
	survives(a.logger, func() {
		found, err := a.diagnose(ctx, q)
		if err != nil {
			a.logger.Debug("explaining a refused request", zap.Error(err))
			return
		}
		a.tellDiagnosis(q, &found)
	})
}

// tellDiagnosis counts and logs the mistakes, and keeps the request for the admin API. The line in
// the log is one of its own: that of the refusal is written before anybody knows the mistake.
func (a *App) tellDiagnosis(q *refusedRequest, found *diagnosed) {
	v := q.view(found.doctorCase, found.diagnosis)
	recentRefusals.add(v)
	if found.diagnosis == nil {
		return
	}
	countMistakes(found.diagnosis)
	level := zap.DebugLevel
	if len(found.diagnosis.Mistakes) > 0 {
		level = zap.InfoLevel
	}
	if c := a.logger.Check(level, "request refused: diagnosis"); c != nil {
		hider := found.doctorCase.Keys.Hider()
		c.Write(
			zap.String("endpoint", q.endpoint),
			zap.String("reason", q.problem.Reason),
			zap.String("method", v.Method),
			zap.String("host", refusal.Printable(hider.Text(q.host))),
			zap.String("path", shownURL(hider, q.signed.request.Path)),
			zap.String("client", q.client),
			zap.String("trace", q.trace),
			zap.String("oauth_consumer_claimed", v.Consumer),
			zap.String("oauth_token_claimed", v.Token),
			zap.String("oauth_diagnosis", diagnosisName(found.diagnosis)),
			zap.String("oauth_diagnosis_text", v.Diagnosis),
		)
	}
}

// explains reports whether the doctor may know more about a refusal of a known consumer than its
// text says.
func explains(p *refusal.Problem) bool {
	switch p.Reason {
	case refusal.InvalidSignature.Reason, refusal.NonceUsed.Reason, refusal.UnknownToken.Reason,
		refusal.ExpiredToken.Reason:
		return true
	}
	return p.Parameter == refusal.Timestamp.Parameter
}

// unexplained is the name of a wrong signature that no mistake explains, in logs and metrics.
const unexplained = "unexplained"

// diagnosisName names the mistakes in a log.
func diagnosisName(d *doctor.Diagnosis) string { return cmp.Or(d.Names(), unexplained) }

// diagnose finds out what is wrong with a refused request.
func (a *App) diagnose(ctx context.Context, q *refusedRequest) (diagnosed, error) {
	store, err := a.open(ctx)
	if err != nil {
		return diagnosed{}, err
	}
	p := &q.signed.params
	consumer, err := a.consumer(ctx, store, p.ConsumerKey)
	if errors.Is(err, tokenstore.ErrNotFound) {
		found := diagnosed{doctorCase: q.doctorCase(doctor.Keys{})}
		near, err := a.nearestConsumer(ctx, store, p.ConsumerKey)
		if d := doctor.UnknownKey(doctor.ConsumerKey, near); len(d.Mistakes) > 0 {
			found.diagnosis = &d
		}
		return found, err
	}
	if err != nil {
		return diagnosed{}, err
	}
	tokenSecret, err := a.secretOfToken(ctx, store, p, q.endpoint)
	if err != nil {
		return diagnosed{}, err
	}
	keys := a.keysOf(consumer, tokenSecret, a.diagnoser.past.whatBecame(p.Token).requestSecret, q.now)
	found := diagnosed{known: true, doctorCase: q.doctorCase(keys)}
	d, err := a.mistakesOf(ctx, store, q, found.doctorCase)
	if err == nil && (d.Valid || len(d.Mistakes) > 0 || q.problem.Reason == refusal.InvalidSignature.Reason) {
		found.diagnosis = &d
	}
	return found, err
}

// mistakesOf asks the doctor what the refusal is about. A known consumer made the request.
func (a *App) mistakesOf(
	ctx context.Context, store tokenstore.Store, q *refusedRequest, c *doctor.Case,
) (d doctor.Diagnosis, err error) {
	p := &q.signed.params
	switch {
	case q.problem.Reason == refusal.InvalidSignature.Reason:
		if q.tooLarge {
			return doctor.Diagnosis{Cut: true}, nil
		}
		return doctor.Diagnose(ctx, c), nil
	case q.problem.Parameter == refusal.Timestamp.Parameter && p.Timestamp != "":
		if d = a.clockOf(q); d.Valid { // the store refused it for a reason of its own
			return doctor.Diagnosis{}, nil
		}
	case q.problem.Reason == refusal.NonceUsed.Reason:
		c := &doctor.NonceCase{Now: q.now, Address: q.client, UsedAddress: q.client}
		var same bool
		if c.Used, same = a.diagnoser.nonces.find(p, q.client); !same {
			c.UsedAddress = "another one"
		}
		d = doctor.Nonce(c)
	case q.problem.Reason == refusal.UnknownToken.Reason, q.problem.Reason == refusal.ExpiredToken.Reason:
		var near doctor.Found
		near, err = a.nearestToken(ctx, store, q)
		d = doctor.UnknownKey(doctor.TokenKey, near)
	}
	return d, err
}

// clockOf says what is wrong with the timestamp, also compared with those before.
func (a *App) clockOf(q *refusedRequest) doctor.Diagnosis {
	c := &doctor.TimestampCase{
		Timestamp: q.signed.params.Timestamp,
		Now:       q.now,
		Window:    time.Duration(a.TimestampWindow),
	}
	seconds, err := strconv.ParseInt(c.Timestamp, 10, 64)
	const century = 100 * 365 * 24 * 60 * 60
	if off := seconds - q.now.Unix(); err == nil && -century < off && off < century {
		c.Earlier = a.diagnoser.past.refusedClock(q.signed.params.ConsumerKey, time.Duration(off)*time.Second)
	}
	return doctor.Timestamp(c)
}

// secretOfToken returns the secret of the token that the request names, or "".
func (a *App) secretOfToken(
	ctx context.Context, store tokenstore.Store, p *oauth1.Params, endpoint string,
) (string, error) {
	if p.Token == "" {
		return "", nil
	}
	var secret, owner string
	var err error
	if endpoint == endpointAPI {
		var token *tokenstore.AccessToken
		if token, err = a.accessToken(ctx, store, p.Token); err == nil {
			secret, owner = token.Secret, token.Consumer
		}
	} else {
		var token *tokenstore.RequestToken
		if token, err = a.requestToken(ctx, store, p.Token); err == nil {
			secret, owner = token.Secret, token.Consumer
		}
	}
	if errors.Is(err, tokenstore.ErrNotFound) || owner != p.ConsumerKey {
		return "", nil
	}
	return secret, err
}
