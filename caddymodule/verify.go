package caddymodule

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

const plaintext = "PLAINTEXT"

// signed is a request as its client signed it.
type signed struct {
	params  oauth1.Params
	request oauth1.Request
	now     time.Time // when all of it had come
}

// plaintext reports whether the signature is PLAINTEXT, which covers nothing.
func (s *signed) plaintext() bool { return s.params.SignatureMethod == plaintext }

// read finds the OAuth parameters of a request and what its signature covers. It reads the body where that is a form, and
// puts it back. A request without OAuth parameters is no problem: its Source is oauth1.SourceNone.
func (h *Handler) read(r *http.Request, s *signed) *Problem {
	method, target := originalTarget(r)
	path, query := splitTarget(target)
	isForm, problem := hasForm(r, method)
	if problem != nil {
		return problem
	}
	var form []byte
	if isForm {
		if form, problem = h.hold(r); problem != nil {
			return problem
		}
		if r.Header.Get("Content-Type") == "" && !wellFormed(form) {
			form, isForm = nil, false // whatever it is, it is no form
		}
	}
	params, err := oauth1.Parse(r.Header["Authorization"], query, form)
	if err != nil {
		return malformed(err)
	}
	if params.Source == oauth1.SourceNone {
		return nil
	}
	s.params = params
	o := h.origin(r)
	s.request = oauth1.Request{
		Method: method,
		Scheme: o.scheme,
		Host:   o.host,
		Path:   path,
		Query:  query,
		Form:   form,
	}
	if problem := h.checkShape(s, o); problem != nil {
		return problem
	}
	if problem := h.checkBodyHash(r, s, isForm); problem != nil {
		return problem
	}
	s.now = h.app.now()
	return nil
}

// checkShape refuses a signed request that lacks what every one needs.
func (h *Handler) checkShape(s *signed, o origin) *Problem {
	p := &s.params
	for _, required := range []struct{ name, value string }{
		{"oauth_signature_method", p.SignatureMethod},
		{"oauth_signature", p.Signature},
	} {
		if required.value == "" {
			return absent(required.name)
		}
	}
	if !slices.Contains(h.SignatureMethods, p.SignatureMethod) {
		return problemMethodRejected.about(p.SignatureMethod)
	}
	if s.plaintext() && !o.secure && !h.InsecurePlaintextOverHTTP {
		return problemPlaintext
	}
	return nil
}

// checkBodyHash verifies oauth_body_hash, for which it holds the body in memory (OAuth Request Body Hash, section 3).
func (h *Handler) checkBodyHash(r *http.Request, s *signed, isForm bool) *Problem {
	if !s.params.HasBodyHash {
		if h.RequireBodyHash && !isForm && r.Body != nil && r.Body != http.NoBody {
			return absent("oauth_body_hash")
		}
		return nil
	}
	body := s.request.Form
	if !isForm {
		var problem *Problem
		if body, problem = h.hold(r); problem != nil {
			return problem
		}
	}
	want := oauth1.BodyHash(s.params.SignatureMethod, body)
	if subtle.ConstantTimeCompare([]byte(want), []byte(s.params.BodyHash)) == 0 {
		return problemBodyHash
	}
	return nil
}

// originalTarget is the method and the request target as the client sent them, before any rewrite.
func originalTarget(r *http.Request) (method, target string) {
	if original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok {
		return original.Method, original.RequestURI
	}
	return r.Method, r.RequestURI
}

// splitTarget cuts a request target (RFC 9112 section 3.2) into path and query, both as they were sent.
func splitTarget(target string) (path, query string) {
	path, query, _ = strings.Cut(target, "?")
	if strings.HasPrefix(path, "/") {
		return path, query
	}
	if _, rest, ok := strings.Cut(path, "://"); ok { // the absolute form
		if i := strings.IndexByte(rest, '/'); i >= 0 {
			return rest[i:], query
		}
		return "/", query
	}
	return path, query
}

// hasForm reports whether the body is part of the signature (RFC 5849 section 3.4.1.3.1). A POST that does not say what
// it is is taken for a form, since Launchpad's own client does not say so. The method is the client's.
func hasForm(r *http.Request, method string) (bool, *Problem) {
	if r.Body == nil || r.Body == http.NoBody {
		return false, nil
	}
	for _, encoding := range r.Header["Content-Encoding"] {
		if encoding != "" && !strings.EqualFold(encoding, "identity") {
			return false, nil
		}
	}
	contentTypes := r.Header["Content-Type"]
	switch len(contentTypes) {
	case 0:
		return method == http.MethodPost, nil
	case 1:
		mediaType, _, _ := strings.Cut(contentTypes[0], ";")
		mediaType = strings.TrimSpace(mediaType)
		if mediaType == "" {
			return method == http.MethodPost, nil
		}
		return strings.EqualFold(mediaType, "application/x-www-form-urlencoded"), nil
	default:
		return false, problemMalformed.about("Content-Type: sent twice.")
	}
}

// wellFormed reports whether a body could be a form: every % begins an escape.
func wellFormed(form []byte) bool {
	_, err := oauth1.Decode(string(form))
	return err == nil
}

// hold reads the whole body, and puts it back for whoever comes next.
func (h *Handler) hold(r *http.Request) ([]byte, *Problem) {
	if r.Body == nil || r.Body == http.NoBody {
		return nil, nil
	}
	if r.ContentLength > h.MaxFormBody {
		return nil, problemFormTooLarge
	}
	oneMore := max(h.MaxFormBody, h.MaxFormBody+1) // the largest number has none
	body, err := io.ReadAll(io.LimitReader(r.Body, oneMore))
	if err != nil {
		if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
			return nil, problemFormTooLarge
		}
		return nil, problemBody.because(err)
	}
	if int64(len(body)) > h.MaxFormBody {
		return nil, problemFormTooLarge
	}
	r.Body = heldBody{bytes.NewReader(body), r.Body}
	return body, nil
}

// heldBody is a body that was read already.
type heldBody struct {
	*bytes.Reader
	io.Closer
}

// authenticate judges a request by its signature alone. The checks come in the order of the design: shape, timestamp,
// consumer, token, signature, nonce. An unknown consumer or token costs the work of a known one, so that time does not
// tell them apart.
func (h *Handler) authenticate(r *http.Request) (Identity, *Problem) {
	s := new(signed)
	if problem := h.read(r, s); problem != nil {
		return Identity{}, problem
	}
	if s.params.Source == oauth1.SourceNone {
		return Identity{}, nil
	}
	if s.params.ConsumerKey == "" {
		return Identity{}, absent("oauth_consumer_key")
	}
	timestamp, problem := h.checkFreshness(s, false)
	if problem != nil {
		return Identity{}, problem
	}
	store, err := h.app.open(r.Context())
	if err != nil {
		return Identity{}, problemStore.because(err)
	}
	consumer, token, problem := h.lookUp(r.Context(), store, s)
	if problem != nil && problem.Status == http.StatusServiceUnavailable {
		return Identity{}, problem
	}
	tokenSecret := ""
	if token != nil {
		tokenSecret = token.Secret
	}
	if !h.verified(s, consumer, tokenSecret) && problem == nil {
		problem = problemInvalidSignature
	}
	if problem != nil {
		return Identity{}, problem
	}
	id := identity(consumer, token)
	id.source = s.params.Source
	if id.Anonymous() {
		return id, nil
	}
	if timestamp != 0 {
		if problem := h.useNonce(r.Context(), store, &s.params, timestamp); problem != nil {
			return Identity{}, problem
		}
	}
	if !h.offers(consumer, id.Permission) {
		return Identity{}, problemPermissionWithdrawn.about(id.Permission)
	}
	if token != nil {
		h.app.usage.note(token, s.now)
	}
	return id, nil
}

// lookUp finds who signs. What it can't find it reports, with a nil in its place; a request with an empty token or none
// has a nil token and no problem.
func (h *Handler) lookUp(ctx context.Context, store tokenstore.Store, s *signed) (*tokenstore.Consumer, *tokenstore.AccessToken, *Problem) {
	p := &s.params
	consumer, problem := h.findConsumer(ctx, store, s, problemUnknownConsumer)
	if problem != nil && problem.Status == http.StatusServiceUnavailable {
		return nil, nil, problem // a consumer that could not be looked for is not an unknown one
	}
	if p.Token == "" {
		if anonymous(p, consumer) {
			return new(tokenstore.Consumer), nil, nil
		}
		return consumer, nil, problem
	}
	token, err := h.app.accessToken(ctx, store, p.Token)
	switch {
	case errors.Is(err, tokenstore.ErrNotFound):
		token = nil
	case err != nil:
		return nil, nil, problemStore.because(err)
	}
	switch {
	case problem != nil:
	case token == nil, token.Consumer != consumer.Key:
		problem = problemUnknownToken.about(p.Token)
		token = nil
	case token.Expired(s.now):
		problem = problemExpiredToken.about(p.Token)
	}
	return consumer, token, problem
}

// anonymous reports whether the request is Launchpad's anonymous one: an empty token, and no secret in the signature.
// Whom it names as consumer is of no account then; that a known consumer's secret is left out is a bad signature.
func anonymous(p *oauth1.Params, consumer *tokenstore.Consumer) bool {
	return consumer == nil && p.HasToken && p.SignatureMethod == plaintext
}

// findConsumer finds the consumer that signed, if it may. An unknown one is the given problem, and nil.
func (h *Handler) findConsumer(ctx context.Context, store tokenstore.Store, s *signed, unknown *Problem) (*tokenstore.Consumer, *Problem) {
	key := s.params.ConsumerKey
	consumer, err := h.app.consumer(ctx, store, key)
	switch {
	case errors.Is(err, tokenstore.ErrNotFound):
		if strings.Contains(unknown.Text, "%s") {
			unknown = unknown.about(key)
		}
		return nil, unknown
	case err != nil:
		return nil, problemStore.because(err)
	case consumer.Disabled:
		return consumer, problemDisabledConsumer.about(key)
	case consumer.Expired(s.now):
		return consumer, problemExpiredConsumer.about(key)
	}
	return consumer, nil
}

// verified checks the signature with the secrets of those who sign. Where there is nobody, or the consumer has no key for
// the method, it does the same work with a key that nobody has.
func (h *Handler) verified(s *signed, consumer *tokenstore.Consumer, tokenSecret string) bool {
	method := s.params.SignatureMethod
	isRSA := strings.HasPrefix(method, "RSA-")
	if consumer == nil || isRSA != (consumer.RSAPublicKey != "") ||
		(len(consumer.SignatureMethods) > 0 && !slices.Contains(consumer.SignatureMethods, method)) {
		return h.matches(s, h.decoy.key(method, tokenSecret))
	}
	if isRSA {
		public, err := h.app.rsaKeys.get(consumer.RSAPublicKey)
		if err != nil {
			h.matches(s, h.decoy.key(method, tokenSecret))
			return false
		}
		return h.matches(s, &oauth1.Key{RSA: public})
	}
	key := oauth1.Key{ConsumerSecret: consumer.Secret, TokenSecret: tokenSecret}
	if unknownToken := s.params.Token != "" && tokenSecret == ""; !s.plaintext() && !unknownToken {
		key.HMAC = h.app.hmacKeys.get(cmp.Or(s.params.Token, consumer.Key), method, consumer.Secret, tokenSecret)
	}
	if h.matches(s, &key) {
		return true
	}
	if consumer.PreviousSecret == "" || !s.now.Before(consumer.PreviousSecretExpires) {
		return false
	}
	return h.matches(s, &oauth1.Key{ConsumerSecret: consumer.PreviousSecret, TokenSecret: tokenSecret})
}

func (h *Handler) matches(s *signed, key *oauth1.Key) bool {
	return oauth1.Verify(&s.request, &s.params, key) == nil
}

// checkFreshness judges timestamp and nonce. PLAINTEXT may omit both (RFC 5849 section 3.1), and at the endpoints what
// it sends is ignored. The timestamp is 0 where there is none to check.
func (h *Handler) checkFreshness(s *signed, endpoint bool) (int64, *Problem) {
	p := &s.params
	if s.plaintext() && (endpoint || p.Timestamp == "" || p.Nonce == "") {
		return 0, nil
	}
	timestamp, err := p.Unix()
	if err != nil {
		return 0, malformed(err)
	}
	if err := p.CheckNonce(); err != nil {
		return 0, malformed(err)
	}
	window := int64(time.Duration(h.app.TimestampWindow) / time.Second)
	if now := s.now.Unix(); timestamp < now-window || timestamp > now+window {
		return 0, problemTimestamp
	}
	return timestamp, nil
}

// useNonce refuses a request that was there before.
func (h *Handler) useNonce(ctx context.Context, store tokenstore.Store, p *oauth1.Params, timestamp int64) *Problem {
	err := store.UseNonce(ctx, tokenstore.Nonce{
		Consumer:  p.ConsumerKey,
		Token:     p.Token,
		Timestamp: timestamp,
		Value:     p.Nonce,
		// The second after the window: until then the timestamp passes checkFreshness.
		Expires: time.Unix(timestamp+1, 0).Add(time.Duration(h.app.TimestampWindow)),
	})
	switch {
	case err == nil:
		return nil
	case errors.Is(err, tokenstore.ErrNonceUsed):
		return problemNonceUsed
	case errors.Is(err, tokenstore.ErrNonceForgotten):
		return problemTimestamp.because(err)
	case errors.Is(err, tokenstore.ErrNoncesFull):
		return problemNoncesFull.because(err)
	default:
		return problemStore.because(err)
	}
}

// identity is whom a verified request acts for.
func identity(consumer *tokenstore.Consumer, token *tokenstore.AccessToken) Identity {
	switch {
	case token != nil:
		return Identity{
			User:       token.User,
			Consumer:   consumer.Key,
			Permission: token.Permission,
			Context:    token.Context,
			Token:      token.Key,
		}
	case consumer.TwoLegged != nil:
		return Identity{
			User:       consumer.TwoLegged.User,
			Consumer:   consumer.Key,
			Permission: consumer.TwoLegged.Permission,
		}
	}
	return Identity{}
}

// decoy holds the keys that stand in for those that are not there. Nobody knows them, the RSA key not even its factors.
type decoy struct {
	secret string
	hmac   map[string]*oauth1.HMACKey // by method
	rsa    *rsa.PublicKey
}

// key returns the decoy's key for a method.
func (d *decoy) key(method, tokenSecret string) *oauth1.Key {
	if strings.HasPrefix(method, "RSA-") {
		return &oauth1.Key{RSA: d.rsa}
	}
	return &oauth1.Key{ConsumerSecret: d.secret, TokenSecret: tokenSecret, HMAC: d.hmac[method]}
}

func newDecoy() (*decoy, error) {
	const bits = 2048
	modulus, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), bits))
	if err != nil {
		return nil, fmt.Errorf("making a decoy key: %w", err)
	}
	modulus.SetBit(modulus, bits-1, 1)
	modulus.SetBit(modulus, 0, 1)
	d := &decoy{
		secret: tokenstore.NewSecret(),
		hmac:   make(map[string]*oauth1.HMACKey),
		rsa:    &rsa.PublicKey{N: modulus, E: 65537},
	}
	for _, method := range oauth1.SignatureMethods {
		if key, err := oauth1.NewHMACKey(method, d.secret, ""); err == nil {
			d.hmac[method] = key
		}
	}
	return d, nil
}
