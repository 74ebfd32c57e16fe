package caddymodule

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/policy"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/refusal"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// signed is a request as its client signed it.
type signed struct {
	params  oauth1.Params
	request oauth1.Request
	// hashedForm is a form that oauth_body_hash covers. It is therefore not in request.
	hashedForm []byte
	// bareRoot is the path of base_url if the request is for exactly that path, else empty. A proxy
	// that removed the path leaves no trace of whether the client signed a slash after it.
	bareRoot string
	now      time.Time // when the whole request had arrived
	// For the metrics and the span. verified is the consumer, once signature and nonce are good;
	// timestamp is 0 if it was not judged; policy is the number of the one that decided, from 1.
	verified  *tokenstore.Consumer
	timestamp int64
	policy    int
}

// plaintext reports whether the signature is PLAINTEXT, which does not cover the request.
func (s *signed) plaintext() bool { return s.params.SignatureMethod == oauth1.Plaintext }

// parser reads OAuth parameters: oauth1.Parse or oauth1.ParseTokenRequest.
type parser func(authorization []string, query string, form []byte) (oauth1.Params, error)

// read finds the OAuth parameters of a request to an endpoint or to the API, and the parts that its
// signature covers. If the body is a form, it reads the body and puts it back. A request without
// OAuth parameters is no problem: its Source is oauth1.SourceNone.
func (h *Handler) read(r *http.Request, s *signed, endpoint bool) *refusal.Problem {
	method, target := originalTarget(r)
	path, query := oauth1.SplitTarget(target)
	var parse parser = oauth1.Parse
	if endpoint {
		parse = oauth1.ParseTokenRequest
	}
	form, isForm, problem := h.signedForm(r, method, query, parse)
	if problem != nil {
		return problem
	}
	params, err := parse(r.Header["Authorization"], query, form)
	switch {
	case errors.Is(err, oauth1.ErrTooManyParams):
		return refusal.TooManyParameters
	case err != nil:
		return refusal.Parameters(err)
	case params.Source == oauth1.SourceNone:
		return nil
	}
	s.params = params
	o := h.origin(r)
	s.request = oauth1.Request{
		Method: method,
		Scheme: o.scheme,
		Host:   o.host,
		Path:   h.basePath + path,
		Query:  query,
		Form:   form,
	}
	if h.basePath != "" && path == "/" {
		s.bareRoot = h.basePath
	}
	if problem := checkFraming(r, isForm); problem != nil {
		return problem
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

// checkShape refuses a signed request that lacks a required parameter.
func (h *Handler) checkShape(s *signed, o origin) *refusal.Problem {
	p := &s.params
	for _, required := range []struct{ name, value string }{
		{"oauth_signature_method", p.SignatureMethod},
		{"oauth_signature", p.Signature},
	} {
		if required.value == "" {
			return refusal.Absent(required.name)
		}
	}
	if !slices.Contains(h.SignatureMethods, p.SignatureMethod) {
		return refusal.MethodRejected.About(p.SignatureMethod)
	}
	if s.plaintext() && !o.secure && !h.InsecurePlaintextOverHTTP {
		return refusal.Plaintext
	}
	return nil
}

// authenticate judges a request by its signature alone, which it reads into s. If the request is
// signed, the refusal names its keys.
func (h *Handler) authenticate(r *http.Request, s *signed) (Identity, *refusal.Problem) {
	if preflight(r) {
		stripQuery(r) // also with keep_authorization: nobody has verified these parameters
		return Identity{}, nil
	}
	id, problem := h.authenticateSigned(r, s)
	if problem != nil {
		problem = problem.Of(s.params.ConsumerKey, s.params.Token)
	}
	return id, problem
}

// authenticateSigned reads the request into s, and judges it. The order of the checks is: shape,
// timestamp, consumer, token, signature, nonce. The text of a refusal says which keys are unknown,
// so the checks need not take constant time to hide it.
func (h *Handler) authenticateSigned(r *http.Request, s *signed) (Identity, *refusal.Problem) {
	if problem := h.read(r, s, false); problem != nil {
		return Identity{}, problem
	}
	if s.params.Source == oauth1.SourceNone {
		return Identity{}, nil
	}
	if s.params.ConsumerKey == "" {
		return Identity{}, refusal.Absent("oauth_consumer_key")
	}
	timestamp, problem := h.checkFreshness(s, false)
	if problem != nil {
		return Identity{}, h.orUnknown(r.Context(), s, problem, refusal.UnknownConsumer.About)
	}
	store, err := h.app.openMetered(r.Context())
	if err != nil {
		return Identity{}, refusal.Store.Because(err)
	}
	consumer, token, problem := h.lookUp(r.Context(), store, s)
	if problem != nil {
		return Identity{}, problem
	}
	tokenSecret := ""
	if token != nil {
		tokenSecret = token.Secret
	}
	if !h.verified(s, consumer, tokenSecret) {
		return Identity{}, refusal.InvalidSignature
	}
	id := identity(consumer, token)
	id.source = s.params.Source
	if id.Anonymous() {
		id.Tokenless = consumer.Key
		s.verified = consumer
		return id, nil
	}
	if timestamp != 0 {
		if problem := h.useNonce(r.Context(), store, &s.params, token, timestamp, false); problem != nil {
			return Identity{}, problem
		}
		h.app.diagnoser.signedWell(r, s)
	}
	s.verified, s.timestamp = consumer, timestamp
	if !h.offers(consumer, id.Permission) {
		return Identity{}, refusal.PermissionWithdrawn.About(id.Permission)
	}
	if token != nil {
		h.app.usage.note(token, s.now)
	}
	return id, nil
}

// lookUp finds the consumer and the token that sign. The token is nil if the request has no token
// or an empty one.
func (h *Handler) lookUp(ctx context.Context, store tokenstore.Store, s *signed) (*tokenstore.Consumer, *tokenstore.AccessToken, *refusal.Problem) {
	p := &s.params
	found := credentials{app: h.app, store: store, consumerKey: p.ConsumerKey, accessKey: p.Token}
	consumer, err := found.consumer(ctx)
	consumer, problem := mayConsumerSign(consumer, err, s, refusal.UnknownConsumer.About)
	switch {
	case problem != nil && consumer == nil && problem.Kind == refusal.KindClient && anonymous(p):
		return new(tokenstore.Consumer), nil, nil
	case problem != nil:
		return nil, nil, problem
	case p.Token == "":
		return consumer, nil, nil
	}
	token, err := found.accessToken(ctx)
	switch {
	case errors.Is(err, tokenstore.ErrNotFound):
		return nil, nil, refusal.UnknownToken.About(p.Token)
	case err != nil:
		return nil, nil, refusal.Store.Because(err)
	case token.Consumer != consumer.Key:
		return nil, nil, refusal.UnknownToken.About(p.Token)
	case token.Expired(s.now):
		return nil, nil, refusal.ExpiredToken.About(p.Token)
	}
	return consumer, token, nil
}

// anonymous reports whether a request of an unknown consumer is Launchpad's anonymous one: it has
// an empty token, and an empty secret in the signature. A known consumer's signature is invalid
// with an empty secret.
func anonymous(p *oauth1.Params) bool {
	return p.HasToken && p.Token == "" && p.SignatureMethod == oauth1.Plaintext
}

// mayConsumerSign judges what a look-up of the consumer returned. For an unknown consumer it returns
// nil, and the problem that unknown makes of the key. For a consumer that may not sign it returns
// the consumer and a problem.
func mayConsumerSign(
	consumer *tokenstore.Consumer, err error, s *signed, unknown func(key string) *refusal.Problem,
) (*tokenstore.Consumer, *refusal.Problem) {
	key := s.params.ConsumerKey
	switch {
	case errors.Is(err, tokenstore.ErrNotFound):
		return nil, unknown(key)
	case err != nil:
		return nil, refusal.Store.Because(err)
	case consumer.Disabled:
		return consumer, refusal.DisabledConsumer.About(key)
	case consumer.Expired(s.now):
		return consumer, refusal.ExpiredConsumer.About(key)
	}
	return consumer, nil
}

// verified checks the signature with the secrets of the consumer and the token.
func (h *Handler) verified(s *signed, consumer *tokenstore.Consumer, tokenSecret string) bool {
	method := s.params.SignatureMethod
	if len(consumer.SignatureMethods) > 0 && !slices.Contains(consumer.SignatureMethods, method) {
		return false
	}
	if consumer.RSAPublicKey != "" {
		public, err := h.app.pemKeys.get(consumer.RSAPublicKey)
		return err == nil && h.matches(s, &oauth1.Key{Public: public})
	}
	if oauth1.KeyKindOf(method) != oauth1.KeySecrets {
		return false
	}
	key := oauth1.Key{ConsumerSecret: consumer.Secret, TokenSecret: tokenSecret}
	if !s.plaintext() {
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

// matches verifies the signature with one key.
func (h *Handler) matches(s *signed, key *oauth1.Key) bool {
	if matchesForm(s, &s.request, key) {
		return true
	}
	if s.bareRoot == "" {
		return false
	}
	bare := s.request
	bare.Path = s.bareRoot
	return matchesForm(s, &bare, key)
}

// matchesForm verifies a request. A form that oauth_body_hash covers may also be signed as
// parameters.
func matchesForm(s *signed, r *oauth1.Request, key *oauth1.Key) bool {
	if oauth1.Verify(r, &s.params, key) == nil {
		return true
	}
	if s.hashedForm == nil {
		return false
	}
	withForm := *r
	withForm.Form = s.hashedForm
	return oauth1.Verify(&withForm, &s.params, key) == nil
}

// checkFreshness judges timestamp and nonce. PLAINTEXT may omit both (RFC 5849 section 3.1). The
// endpoints ignore them if PLAINTEXT sends them. The timestamp is 0 if it is not checked.
func (h *Handler) checkFreshness(s *signed, endpoint bool) (int64, *refusal.Problem) {
	p := &s.params
	if s.plaintext() && (endpoint || p.Timestamp == "" || p.Nonce == "") {
		return 0, nil
	}
	timestamp, err := p.Unix()
	if err != nil {
		return 0, refusal.Parameters(err)
	}
	if err := p.CheckNonce(); err != nil {
		return 0, refusal.Parameters(err)
	}
	window := int64(time.Duration(h.app.TimestampWindow) / time.Second)
	if lowest, highest := s.now.Unix()-window, s.now.Unix()+window; timestamp < lowest || timestamp > highest {
		return 0, refusal.Timestamp.Outside(lowest, highest)
	}
	return timestamp, nil
}

// useNonce refuses a replayed request.
func (h *Handler) useNonce(ctx context.Context, store tokenstore.Store, p *oauth1.Params, token *tokenstore.AccessToken, timestamp int64, endpoint bool) *refusal.Problem {
	err := store.UseNonce(ctx, tokenstore.Nonce{
		Consumer:    p.ConsumerKey,
		Token:       p.Token,
		Timestamp:   timestamp,
		Value:       p.Nonce,
		Endpoint:    endpoint,
		AccessToken: token,
		// One second after the window: until then the timestamp passes checkFreshness.
		Expires: time.Unix(timestamp+1, 0).Add(time.Duration(h.app.TimestampWindow)),
	})
	switch {
	case err == nil:
		return nil
	case errors.Is(err, tokenstore.ErrNonceUsed):
		return refusal.NonceUsed
	case errors.Is(err, tokenstore.ErrNotFound): // revoked since lookUp
		return refusal.UnknownToken.About(p.Token)
	case errors.Is(err, tokenstore.ErrNonceForgotten):
		return refusal.Timestamp.Because(err)
	case errors.Is(err, tokenstore.ErrTokenNoncesFull): // the next nonce is refused as well
		return refusal.TokenNonces.Because(err)
	case errors.Is(err, tokenstore.ErrEndpointNoncesFull):
		return refusal.EndpointNonces.Because(err)
	case errors.Is(err, tokenstore.ErrNoncesFull):
		return refusal.NoncesFull.Because(err)
	default:
		return refusal.Store.Because(err)
	}
}

// identity returns the identity of a verified request.
func identity(consumer *tokenstore.Consumer, token *tokenstore.AccessToken) Identity {
	switch {
	case token != nil:
		return Identity{
			Subject: policy.Subject{
				User:       token.User,
				Consumer:   consumer.Key,
				Permission: token.Permission,
				Context:    token.Context,
			},
			Token: token.Key,
		}
	case consumer.TwoLegged != nil:
		return Identity{Subject: policy.Subject{
			User:       consumer.TwoLegged.User,
			Consumer:   consumer.Key,
			Permission: consumer.TwoLegged.Permission,
		}}
	}
	return Identity{}
}
