package oauth1

import (
	"crypto"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Signer signs requests as a client (RFC 5849, section 3.1). Only the consumer key is always
// required.
type Signer struct {
	ConsumerKey    string
	ConsumerSecret string
	Token          string // not sent if ""
	TokenSecret    string
	PrivateKey     crypto.Signer // from ParsePrivateKey; for the RSA methods only

	SignatureMethod string // default: RSA-SHA256 with a private key, else HMAC-SHA256
	Realm           string // not sent if ""
	Callback        string // not sent if ""
	Verifier        string // not sent if ""
	BodyHash        string // see BodyHash; not sent if ""
	Timestamp       int64  // in seconds; default: now
	Nonce           string // default: a random one
}

// Param is a parameter. Its name and value are not encoded.
type Param struct{ Name, Value string }

// Sign returns the value of the Authorization header (section 3.5.1) that signs a request.
//
// The error wraps ErrKeyKind if the method does not fit the signer's kind of key. It wraps a
// *ParamError for an unknown method, and for a request that every server must refuse, such as one
// whose query holds oauth_ parameters. Only oauth_callback and oauth_verifier may be in the query,
// in requests to the endpoints: see ParseTokenRequest.
func (s *Signer) Sign(r *Request) (header string, err error) {
	params, err := s.SignParams(r)
	if err != nil {
		return "", err
	}
	return s.header(params), nil
}

// SignParams is Sign for clients that send the parameters in the query or the form (sections 3.5.2
// and 3.5.3). It returns the parameters, with oauth_signature last. EncodeForm encodes them.
func (s *Signer) SignParams(r *Request) ([]Param, error) {
	if strings.ContainsFunc(s.Realm, func(c rune) bool { return c < ' ' || c == 0x7f }) {
		return nil, errors.New("sign: control character in the realm")
	}
	params := s.params()
	// The base string does not depend on the place of the parameters. Parsing them again checks
	// them as a server does.
	p, err := ParseTokenRequest([]string{s.header(params)}, r.Query, r.Form)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	signature, err := s.signature(r, &p)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	return append(params, Param{"oauth_signature", signature}), nil
}

// EncodeForm encodes parameters for a query or a form body.
func EncodeForm(params []Param) string {
	var dst []byte
	for i, p := range params {
		if i > 0 {
			dst = append(dst, '&')
		}
		dst = AppendEncode(dst, p.Name)
		dst = append(dst, '=')
		dst = AppendEncode(dst, p.Value)
	}
	return string(dst)
}

// params returns the protocol parameters without the signature.
func (s *Signer) params() []Param {
	method, timestamp, nonce := s.SignatureMethod, s.Timestamp, s.Nonce
	if method == "" && s.PrivateKey != nil {
		method = "RSA-SHA256"
	}
	if method == "" {
		method = "HMAC-SHA256"
	}
	if timestamp == 0 {
		timestamp = time.Now().Unix()
	}
	if nonce == "" {
		nonce = rand.Text()
	}
	params := []Param{{"oauth_consumer_key", s.ConsumerKey}}
	if s.Token != "" {
		params = append(params, Param{"oauth_token", s.Token})
	}
	params = append(params,
		Param{"oauth_signature_method", method},
		Param{"oauth_timestamp", strconv.FormatInt(timestamp, 10)},
		Param{"oauth_nonce", nonce},
		Param{"oauth_version", "1.0"},
	)
	for _, p := range []Param{
		{"oauth_callback", s.Callback}, {"oauth_verifier", s.Verifier}, {"oauth_body_hash", s.BodyHash},
	} {
		if p.Value != "" {
			params = append(params, p)
		}
	}
	return params
}

func (s *Signer) header(params []Param) string {
	dst := []byte("OAuth ")
	if s.Realm != "" {
		dst = append(dst, `realm="`...)
		dst = append(dst, strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s.Realm)...)
		dst = append(dst, `", `...)
	}
	for i, p := range params {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = AppendEncode(dst, p.Name)
		dst = append(dst, `="`...)
		dst = AppendEncode(dst, p.Value)
		dst = append(dst, '"')
	}
	return string(dst)
}

func (s *Signer) signature(r *Request, p *Params) (string, error) {
	m, ok := methodNamed(p.SignatureMethod)
	if !ok {
		return "", errMethod()
	}
	var public crypto.PublicKey
	if s.PrivateKey != nil {
		public = s.PrivateKey.Public()
	}
	if m.kind.key() != PublicKeyKind(public) {
		return "", ErrKeyKind
	}
	b := newBuffers()
	defer b.free()
	b.setSecrets(s.ConsumerSecret, s.TokenSecret)
	if m.kind == kindPlaintext {
		return string(b.secrets), nil
	}
	if err := b.setBaseString(r, p); err != nil {
		return "", err
	}
	var sum [maxSum]byte
	if m.kind == kindHMAC {
		return base64.StdEncoding.EncodeToString(b.appendHMACOnce(sum[:0], m.hash)), nil
	}
	signature, err := s.PrivateKey.Sign(rand.Reader, appendSum(sum[:0], m.hash, b.baseString()), m.hash)
	if err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(signature), nil
}
