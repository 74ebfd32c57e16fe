package caddymodule

import (
	"bytes"
	"crypto/subtle"
	"errors"
	"io"
	"net/http"
	"net/textproto"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/refusal"
)

// formType is the media type of bodies that the signature covers (RFC 5849 section 3.4.1.3.1).
const formType = "application/x-www-form-urlencoded"

// signedForm returns the body if the signature covers it, and puts the body back. The method and
// the query are those that the client sent.
//
// A POST without a Content-Type is a form if the OAuth parameters are in its body: Launchpad's own
// client sends such requests. Any other body without a Content-Type is streamed, and is not signed.
func (h *Handler) signedForm(r *http.Request, method, query string, parse parser) (form []byte, isForm bool, problem *refusal.Problem) {
	if !hasBody(r) {
		return nil, false, nil
	}
	contentTypes := r.Header["Content-Type"]
	if len(contentTypes) > 1 {
		return nil, false, refusal.Malformed.About("Content-Type: sent twice.")
	}
	switch {
	case encodedBody(r):
		return nil, false, nil
	case len(contentTypes) == 1 && textproto.TrimString(contentTypes[0]) != "":
		if !equalASCII(mediaType(contentTypes[0]), formType) {
			return nil, false, nil
		}
		form, problem = h.hold(r)
		return form, problem == nil, problem
	case method != http.MethodPost:
		return nil, false, nil
	}
	if params, err := parse(r.Header["Authorization"], query, nil); err != nil || params.Source != oauth1.SourceNone {
		return nil, false, nil // the parameters are elsewhere
	}
	body, whole, problem := h.peek(r)
	if problem != nil || !whole || !oauth1.HasParams(body) {
		return nil, false, problem
	}
	return body, true, nil
}

// hasBody reports whether there may be a body. The data after a WebSocket's CONNECT is not a body.
// The check looks at the length and not at http.NoBody, because Caddy's server wraps the body.
func hasBody(r *http.Request) bool {
	return r.Body != nil && r.ContentLength != 0 && r.Method != http.MethodConnect
}

// turnsOutEmpty reads the beginning of a body without a length to find out whether it is empty, and
// puts it back. HTTP/3 sends no length for a request without a body. It is called only for requests
// that are refused otherwise, because a client may wait for the answer before it sends a body.
func turnsOutEmpty(r *http.Request) bool {
	if r.ContentLength > 0 {
		return false
	}
	var first [1]byte
	n, err := io.ReadFull(r.Body, first[:])
	r.Body = heldBody{io.MultiReader(bytes.NewReader(first[:n]), r.Body), r.Body}
	return n == 0 && err == io.EOF
}

// mediaType returns a Content-Type without its parameters.
func mediaType(contentType string) string {
	mediaType, _, _ := strings.Cut(contentType, ";")
	return textproto.TrimString(mediaType) // trims ASCII blanks only
}

// beginsAsForm reports whether a media type is that of a form, or begins with it: some servers look
// no further.
func beginsAsForm(mediaType string) bool {
	return len(mediaType) >= len(formType) && equalASCII(mediaType[:len(formType)], formType)
}

// encodedBody reports whether the headers say that the body is compressed or otherwise encoded.
func encodedBody(r *http.Request) bool {
	return slices.ContainsFunc(r.Header["Content-Encoding"], func(encoding string) bool {
		return encoding != "" && !equalASCII(encoding, "identity")
	})
}

// checkFraming refuses a signed request if the upstream could read its body or a header differently
// than this server. The signature covers neither Content-Type nor Connection, so without TLS
// anybody on the network path can change them.
func checkFraming(r *http.Request, isForm bool) *refusal.Problem {
	if !isForm && hasBody(r) {
		if problem := checkType(r); problem != nil && !turnsOutEmpty(r) {
			return problem
		}
	}
	for name := range listedHeaders(r) {
		return refusal.Malformed.About("Connection: " + name + " is not of this connection alone.")
	}
	return nil
}

// checkType refuses a body that an upstream might read as a form.
func checkType(r *http.Request) *refusal.Problem {
	values := r.Header["Content-Type"]
	if len(values) != 1 {
		return nil
	}
	name := mediaType(values[0])
	kind, subtype, ok := strings.Cut(name, "/")
	switch {
	case name == "" && textproto.TrimString(values[0]) == "":
		return nil
	case !ok || !httpguts.ValidHeaderFieldName(kind) || !httpguts.ValidHeaderFieldName(subtype):
		return refusal.Malformed.About("Content-Type: is no media type.")
	case encodedBody(r) && equalASCII(name, formType):
		return refusal.Malformed.About("Content-Encoding: a signed form must be sent as it is.")
	case len(name) > len(formType) && beginsAsForm(name):
		return refusal.Malformed.About("Content-Type: some servers would take this for a form.")
	}
	return nil
}

// checkBodyHash verifies oauth_body_hash, and holds the body in memory for that (OAuth Request Body
// Hash, section 3). A body that it covers need not be signed as a form.
func (h *Handler) checkBodyHash(r *http.Request, s *signed, isForm bool) *refusal.Problem {
	if !s.params.HasBodyHash {
		if h.RequireBodyHash && !isForm && hasBody(r) && !turnsOutEmpty(r) {
			return refusal.Absent("oauth_body_hash")
		}
		return nil
	}
	body := s.request.Form
	if !isForm {
		var problem *refusal.Problem
		if body, problem = h.hold(r); problem != nil {
			return problem
		}
	}
	want := oauth1.BodyHash(s.params.SignatureMethod, body)
	if subtle.ConstantTimeCompare([]byte(want), []byte(s.params.BodyHash)) == 0 {
		return refusal.BodyHash
	}
	if isForm && s.params.Source != oauth1.SourceForm {
		s.hashedForm, s.request.Form = s.request.Form, nil
	}
	return nil
}

// dropSecretForm removes the body of a refused request if it is a form with OAuth parameters, or if
// it is too large or too broken to tell. With PLAINTEXT those parameters are the secrets, and error
// routes may send the body to an upstream.
func (h *Handler) dropSecretForm(r *http.Request) {
	if h.KeepAuthorization || !hasBody(r) {
		return
	}
	types := r.Header["Content-Type"]
	mayBeForm := func(contentType string) bool {
		name := mediaType(contentType)
		return name == "" || beginsAsForm(name)
	}
	if len(types) > 0 && !slices.ContainsFunc(types, mayBeForm) {
		return
	}
	body, whole, problem := h.peek(r)
	if problem == nil && whole && !encodedBody(r) && !oauth1.HasParams(body) {
		return
	}
	dropBody(r)
}

// dropBody makes a request one without a body.
func dropBody(r *http.Request) {
	r.Body, r.ContentLength, r.TransferEncoding = http.NoBody, 0, nil
	r.Header.Del("Content-Length")
}

// hold reads the whole body, and puts it back for the next reader.
func (h *Handler) hold(r *http.Request) ([]byte, *refusal.Problem) {
	if !hasBody(r) {
		return nil, nil
	}
	if r.ContentLength > h.MaxFormBody {
		return nil, refusal.FormTooLarge
	}
	body, whole, problem := h.peek(r)
	if problem == nil && !whole {
		problem = refusal.FormTooLarge
	}
	if problem != nil {
		return nil, problem
	}
	return body, nil
}

// peek reads a body up to the longest permitted form. It puts back the bytes that it read, in front
// of the rest. If the body can't be read, nothing is put back: the request is refused, and an error
// route must not announce a length that the body no longer has.
func (h *Handler) peek(r *http.Request) (body []byte, whole bool, problem *refusal.Problem) {
	if r.ContentLength > h.MaxFormBody {
		return nil, false, nil
	}
	oneMore := max(h.MaxFormBody, h.MaxFormBody+1) // the largest number can't be incremented
	body, err := io.ReadAll(io.LimitReader(r.Body, oneMore))
	if err != nil {
		dropBody(r)
		if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
			return nil, false, refusal.FormTooLarge
		}
		return nil, false, refusal.Body.Because(err)
	}
	if int64(len(body)) > h.MaxFormBody {
		r.Body = heldBody{io.MultiReader(bytes.NewReader(body), r.Body), r.Body}
		return nil, false, nil
	}
	r.Body = heldBody{bytes.NewReader(body), r.Body}
	return body, true, nil
}

// heldBody is a body that was read already, in whole or in part.
type heldBody struct {
	io.Reader
	io.Closer
}
