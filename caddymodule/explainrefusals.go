package caddymodule

import (
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/doctor"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/refusal"
)

// ExplainRefusals says whose refusals explain themselves.
type ExplainRefusals struct {
	// Patterns of consumer keys, such as `sandbox-*`. Default: all known consumers.
	Consumers []string `json:"consumers,omitempty"`
}

func (e *ExplainRefusals) validate() error {
	if e == nil {
		return nil
	}
	for _, pattern := range e.Consumers {
		if _, err := path.Match(pattern, ""); err != nil {
			return fmt.Errorf("explain_refusals consumers %q: %w", pattern, err)
		}
	}
	return nil
}

// covers reports whether the refusals of a consumer explain themselves.
func (e *ExplainRefusals) covers(consumer string) bool {
	return len(e.Consumers) == 0 || slices.ContainsFunc(e.Consumers, func(pattern string) bool {
		matched, _ := path.Match(pattern, consumer) // validate has seen the pattern
		return matched
	})
}

// unmarshalExplainRefusals reads the site's option: nothing, or consumers and their patterns.
func (h *Handler) unmarshalExplainRefusals(d *caddyfile.Dispenser) error {
	h.ExplainRefusals = new(ExplainRefusals)
	args := d.RemainingArgs()
	if len(args) == 0 {
		return nil
	}
	if args[0] != "consumers" || len(args) == 1 {
		return d.Err("explain_refusals: wants nothing, or: consumers <pattern...>")
	}
	if h.ExplainRefusals.Consumers = args[1:]; slices.Contains(args, "") {
		return d.Err("explain_refusals: a pattern is empty")
	}
	if err := h.ExplainRefusals.validate(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

// An advice is what a refusal tells its client beyond its text. Everything in it comes from the
// client's own request, as it came: if a secret were hidden in it, the client could guess secrets.
type advice struct {
	// name is that of the mistakes, for the logs; empty if there is nothing to explain.
	name string
	// text says what is wrong. The base strings are the server's and the client's, where known.
	text, baseString, clientBaseString string
	mistakes                           []string
	// tell tells the operator the same. It looks for secrets, so it runs when the answer is on its way:
	// nothing that the client gets, and when, depends on what it finds. It may be nil.
	tell func()
}

// tooManyRefusals is the text for a request above the limits of the option diagnoses.
const tooManyRefusals = "Too many refused requests: this one is not explained. Wait a second, and send it again."

// mostBodyRead is how much is read, in bytes, of a body that the signature does not cover. The
// doctor looks at no more.
const mostBodyRead = 64 << 10

// advise explains a refusal for its client, where the site says so. It returns nil for a refusal
// that stays as it is. It looks into the request before anything is removed from it.
func (h *Handler) advise(r *http.Request, endpoint string, s *signed, p *refusal.Problem) *advice {
	if h.ExplainRefusals == nil || p.Status != http.StatusUnauthorized || s == nil ||
		!explains(p) ||
		s.params.ConsumerKey == "" || !h.ExplainRefusals.covers(s.params.ConsumerKey) {
		return nil
	}
	d := h.app.diagnoser
	q := h.refusedRequest(r, endpoint, s, p)
	if d.off || q == nil {
		return nil
	}
	if !d.turns.take(h.consumerOfTurn(r.Context(), s, p), time.Now()) {
		undiagnosedTotal.Inc()
		return &advice{text: tooManyRefusals}
	}
	h.readBody(r, q)
	told := new(advice)
	survives(h.logger, func() {
		found, err := h.app.diagnose(r.Context(), q)
		if err != nil {
			return
		}
		if found.known {
			told = q.advice(found.diagnosis)
		}
		told.tell = func() { survives(h.logger, func() { h.app.tellDiagnosis(q, &found) }) }
	})
	return told
}

// readBody reads a short body that is neither signed nor held: the client may have signed it.
func (h *Handler) readBody(r *http.Request, q *refusedRequest) {
	if q.body != nil || q.tooLarge || q.signed.request.Form != nil || r.ContentLength <= 0 || r.ContentLength > mostBodyRead {
		return
	}
	if body, whole, problem := h.peek(r); problem == nil && whole {
		q.body = body
	}
}

// advice is what the client is told. It gets its own values back, and no others.
func (q *refusedRequest) advice(d *doctor.Diagnosis) *advice {
	told := new(advice)
	if d != nil {
		told.name, told.text = diagnosisName(d), d.Text()
		told.clientBaseString = d.ClientBaseString
		for _, m := range d.Mistakes {
			told.mistakes = append(told.mistakes, m.Name)
		}
	}
	if q.problem.Reason == refusal.InvalidSignature.Reason && !q.signed.plaintext() && !q.tooLarge {
		told.baseString = q.baseString(d)
	}
	return told
}

// lines is a refusal's text with the advice. It begins with the refusal's own words, which clients
// compare.
func (a *advice) lines(text string) string {
	lines := []string{text}
	if a.text != "" {
		lines = append(lines, "", a.text)
	}
	if a.baseString != "" {
		lines = append(lines, "", "The signature base string, as the server computes it:", a.baseString)
	}
	if a.clientBaseString != "" {
		lines = append(lines, "", "The one that the client signed:", a.clientBaseString)
	}
	if len(lines) == 1 {
		return text
	}
	return strings.Join(lines, "\n") + "\n"
}
