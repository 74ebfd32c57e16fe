package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/doctor"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/refusal"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// The values of unknown_tokens.
const (
	unknownRefused = "refuse"
	unknownPassed  = "pass"
)

// validateUnknownTokens refuses a value that has no meaning.
func (h *Handler) validateUnknownTokens() error {
	switch h.UnknownTokens {
	case unknownRefused:
		return nil
	case unknownPassed:
		// Open registration knows every consumer, so it would take those of the other provider.
		if h.app.Registration == registrationOpen {
			return errors.New("unknown_tokens pass: needs registration closed")
		}
		return nil
	}
	return fmt.Errorf("unknown_tokens %q: must be %s or %s", h.UnknownTokens, unknownRefused, unknownPassed)
}

// passes reports whether the error routes get a refused request as it came. These are requests that
// concern nothing that is known here. With known consumers, the other provider might accept what
// was revoked or disabled here.
func (h *Handler) passes(p *refusal.Problem) bool {
	return p.Unknown && h.UnknownTokens == unknownPassed
}

// meansOurs reports whether a request with an unknown consumer key may stand for a consumer that is
// known here. The other provider may find another key in the request, or disregard blanks and case,
// as many databases do, and would accept what is disabled here.
func (h *Handler) meansOurs(r *http.Request, s *signed) bool {
	if s == nil {
		return false
	}
	similar, ok := similarKeys(s.params.ConsumerKey)
	if !ok || ambiguous(r, s) {
		return true
	}
	for declared := range h.app.declared {
		if slices.ContainsFunc(similar, func(key string) bool { return strings.EqualFold(declared, key) }) {
			return true
		}
	}
	store, err := h.app.open(r.Context())
	if err != nil {
		return true
	}
	for _, key := range similar {
		if _, err := h.app.consumer(r.Context(), store, key); !errors.Is(err, tokenstore.ErrNotFound) {
			return true // also if the store fails: then nobody knows
		}
	}
	return false
}

// ambiguous reports whether another provider may find other OAuth parameters in a request than
// those of s. With credentials outside the header, it may prefer those in a body that is no signed
// form, such as multipart/form-data.
func ambiguous(r *http.Request, s *signed) bool {
	form := s.request.Form
	if form == nil {
		form = s.hashedForm
	}
	return oauth1.Ambiguous(r.Header["Authorization"], s.request.Query, form) ||
		s.params.Source != oauth1.SourceHeader && form == nil && hasBody(r) && !turnsOutEmpty(r)
}

// visible reports whether a key consists of visible ASCII characters. Databases that disregard accents,
// widths and blanks take other keys for a known one, each in its own way.
func visible(key string) bool {
	return !strings.ContainsFunc(key, func(c rune) bool { return c <= ' ' || c > '~' })
}

// similarKeys returns what a key may stand for: percent-decoded again, with a + as a blank, without the
// blanks and quotes around it, each also in lower and in upper case. It is false if it may stand for
// a key that is not visible, or is encoded more often than anybody does.
func similarKeys(key string) (list []string, ok bool) {
	add := func(one string) {
		if one == "" || len(one) > maxText {
			return
		}
		for _, similar := range []string{one, strings.ToLower(one), strings.ToUpper(one)} {
			if !slices.Contains(list, similar) {
				list = append(list, similar)
			}
		}
	}
	const most = 4
	for range most {
		if !visible(key) {
			return nil, false
		}
		for _, plus := range []string{"+", " ", ""} {
			one := strings.ReplaceAll(key, "+", plus)
			add(strings.TrimSpace(one))
			add(strings.Trim(one, ` "'`))
		}
		decoded := doctor.DecodeEach(key)
		if decoded == key {
			return list, true
		}
		key = decoded
	}
	return nil, false
}

// orUnknown returns what unknown makes of a consumer that nobody knows here, if its requests go to
// another provider: that one has a window of its own for timestamps. Otherwise it returns the
// problem of the timestamp or the nonce.
func (h *Handler) orUnknown(
	ctx context.Context, s *signed, problem *refusal.Problem, unknown func(key string) *refusal.Problem,
) *refusal.Problem {
	if h.UnknownTokens != unknownPassed || anonymous(&s.params) {
		return problem
	}
	store, err := h.app.openMetered(ctx)
	if err != nil {
		return problem
	}
	if _, err := h.app.consumer(ctx, store, s.params.ConsumerKey); errors.Is(err, tokenstore.ErrNotFound) {
		return unknown(s.params.ConsumerKey)
	}
	return problem
}

// pass hands a refused request to the error routes, with its credentials and without a claim to an
// identity. If no route answers, fallback does.
func (h *Handler) pass(
	w http.ResponseWriter, r *http.Request, p *refusal.Problem, fallback func(http.ResponseWriter) error,
) error {
	replacer(r).Set(placeholderPasses, "true")
	h.stripper.strip(r)
	h.limitUpgrades(r)
	return h.answerError(w, r, p, fallback)
}

// belongsElsewhere reports whether a request to the authorize page is for another provider: its
// request token is unknown here, and it is no form of this page.
func (h *Handler) belongsElsewhere(r *http.Request) bool {
	if h.UnknownTokens != unknownPassed {
		return false
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil || query.Has("done") {
		return false
	}
	tokens := query["oauth_token"]
	if r.Method == http.MethodPost {
		body, whole, problem := h.peek(r)
		form, err := url.ParseQuery(string(body))
		if problem != nil || !whole || err != nil || form.Has("csrf") && form.Has("proof") && form.Has("decision") {
			return false
		}
		tokens = append(tokens, form["oauth_token"]...)
	}
	if len(tokens) != 1 || tokens[0] == "" {
		return false
	}
	store, err := h.app.open(r.Context())
	if err != nil {
		return false
	}
	_, err = h.app.requestToken(r.Context(), store, tokens[0])
	return errors.Is(err, tokenstore.ErrNotFound)
}

// passPage hands a request to the authorize page to the error routes. If none answers, the page
// says that the request token is unknown.
func (h *Handler) passPage(w http.ResponseWriter, r *http.Request) error {
	n, language := newNotice(refusal.PageUnknownToken), h.language(r)
	p := n.problem(language)
	h.events.refused(r, endpointAuthorize, nil, p, "")
	return h.pass(w, r, p, func(w http.ResponseWriter) error {
		view, err := n.view(language)
		if err != nil {
			return caddyhttp.Error(http.StatusInternalServerError, err)
		}
		return h.show(w, r, n.Status, "", view, "")
	})
}
