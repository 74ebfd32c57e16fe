package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/refusal"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// retryAfter returns the seconds after which a client should try again: those that the store knows
// of, or 5.
func retryAfter(p *refusal.Problem) string {
	var later *tokenstore.LaterError
	if !errors.As(p.Cause, &later) {
		return "5"
	}
	return strconv.FormatInt(int64(max(1, math.Ceil(later.After.Seconds()))), 10)
}

// refuse answers a request, whose signature was not read, with a problem, and reports it to the
// operator.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, endpoint string, p *refusal.Problem) error {
	return h.refuseSigned(w, r, endpoint, nil, p)
}

// refuseSigned does what refuse does, for a request that was read as far as s tells.
func (h *Handler) refuseSigned(
	w http.ResponseWriter, r *http.Request, endpoint string, s *signed, p *refusal.Problem,
) error {
	if p.Kind == refusal.KindStore {
		p = faultless(r, p)
	}
	if h.passes(p) && h.meansOurs(r, s) {
		ours := *p
		ours.Unknown, p = false, &ours
	}
	told := new(advice)
	answer := func(w http.ResponseWriter) error { return h.answerRefusal(w, r, endpoint, p, told) }
	if h.passes(p) {
		h.events.refused(r, endpoint, s, p, "")
		return h.pass(w, r, p, answer)
	}
	if explained := h.advise(r, endpoint, s, p); explained != nil {
		told = explained
	} else {
		h.diagnoseLater(r, endpoint, s, p)
	}
	h.events.refused(r, endpoint, s, p, told.name)
	h.disown(r)
	h.describe(w.Header(), r, endpoint, p)
	err := h.answerError(w, r, p, answer)
	if told.tell != nil {
		go told.tell()
	}
	return err
}

// describe sets the headers of the answer that belong to its status.
func (h *Handler) describe(header http.Header, r *http.Request, endpoint string, p *refusal.Problem) {
	switch p.Status {
	case http.StatusUnauthorized:
		header.Set("WWW-Authenticate", h.challenge(r))
	case http.StatusServiceUnavailable:
		header.Set("Retry-After", retryAfter(p))
	case http.StatusMethodNotAllowed:
		header.Set("Allow", allowedMethods(endpoint))
	}
}

// answerRefusal writes the answer of a refusal that no error route has answered.
func (h *Handler) answerRefusal(
	w http.ResponseWriter, r *http.Request, endpoint string, p *refusal.Problem, told *advice,
) error {
	h.describe(w.Header(), r, endpoint, p)
	if !wantsJSON(r) || readByLaunchpadlib(r, p) {
		return h.answer(w, p.Status, "text/plain; charset=utf-8", []byte(told.lines(p.Text)))
	}
	body, err := json.Marshal(refusalBody{
		p.Text, p.Word, told.text, told.mistakes, told.baseString, told.clientBaseString,
	})
	if err != nil {
		return caddyhttp.Error(http.StatusInternalServerError, err)
	}
	return h.answer(w, p.Status, "application/json", body)
}

// refusalBody is a refusal in JSON. The last four are for explain_refusals.
type refusalBody struct {
	Error            string   `json:"error"`
	Problem          string   `json:"oauth_problem"`
	Advice           string   `json:"oauth_problem_advice,omitempty"`
	Mistakes         []string `json:"mistakes,omitempty"`
	BaseString       string   `json:"base_string,omitempty"`
	ClientBaseString string   `json:"client_base_string,omitempty"`
}

// faultless returns a problem for a failed call of the store: another one if the store is not at
// fault. Handlers may outlive the server's connections: net/http does not wait for the streams of
// HTTP/2 that a client has reset.
func faultless(r *http.Request, p *refusal.Problem) *refusal.Problem {
	switch {
	case errors.Is(p.Cause, context.Canceled) && r.Context().Err() != nil:
		return refusal.ClientGone.Because(p.Cause)
	case errors.Is(p.Cause, tokenstore.ErrClosed):
		return refusal.Stopping.Because(p.Cause)
	}
	return p
}

// allowedMethods returns the methods of an endpoint. The pages also accept HEAD.
func allowedMethods(endpoint string) string {
	switch endpoint {
	case endpointAuthorize, endpointTokens:
		return "GET, HEAD, POST"
	}
	return "GET, POST"
}

// answer writes a whole response. Caches must not keep it, and browsers must not guess its type.
func (h *Handler) answer(w http.ResponseWriter, status int, contentType string, body []byte) error {
	header := w.Header()
	header.Set("Content-Type", contentType)
	header.Set("Content-Length", strconv.Itoa(len(body)))
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, err := w.Write(body)
	return err
}

// challenge returns the WWW-Authenticate header of a 401 (RFC 5849 section 3.5.1).
func (h *Handler) challenge(r *http.Request) string {
	realm := h.Realm
	if realm == "" {
		realm = h.origin(r).host
	}
	return `OAuth realm="` + quotedString.Replace(realm) + `"`
}

var quotedString = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// readByLaunchpadlib reports whether Launchpad's own client, lazr.restfulclient, must be able to
// read the text of a refusal. It asks for JSON with every request, but gets new credentials only if
// the body begins with the plain words.
func readByLaunchpadlib(r *http.Request, p *refusal.Problem) bool {
	return (p.Reason == refusal.UnknownToken.Reason || p.Reason == refusal.ExpiredToken.Reason) &&
		strings.Contains(r.UserAgent(), "lazr.restfulclient")
}

// wantsJSON reports whether the client lists JSON as an acceptable type.
func wantsJSON(r *http.Request) bool { return slices.ContainsFunc(acceptable(r), isJSON) }

// wantsOnlyJSON reports whether JSON is the only acceptable type.
func wantsOnlyJSON(r *http.Request) bool {
	types := acceptable(r)
	return len(types) > 0 && !slices.ContainsFunc(types, func(name string) bool { return !isJSON(name) })
}

func isJSON(mediaType string) bool { return equalASCII(mediaType, "application/json") }

// acceptable returns the media ranges of Accept (RFC 9110 section 12.5.1), without their
// parameters.
func acceptable(r *http.Request) []string {
	var types []string
	for _, field := range r.Header["Accept"] {
		for element := range strings.SplitSeq(field, ",") {
			if name := mediaType(element); name != "" {
				types = append(types, name)
			}
		}
	}
	return types
}
