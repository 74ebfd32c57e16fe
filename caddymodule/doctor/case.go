package doctor

import (
	"crypto"
	"fmt"
	"io"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
)

// Case is a request whose signature was refused, and the keys that should have signed it. What the
// caller does not know stays empty; then nothing is tried with it.
type Case struct {
	// Request holds what the server verifies: the public origin, the path with that of base_url
	// before it, the query as it was sent, and the form if the signature covers one.
	Request oauth1.Request
	// Params are the protocol parameters as oauth1.Parse or ParseTokenRequest returned them.
	Params oauth1.Params

	// Host is the Host header as it was sent.
	Host string
	// ForwardedHost and ForwardedProto are the last values of X-Forwarded-Host and -Proto, believed
	// or not.
	ForwardedHost, ForwardedProto string
	// BaseURL is the site's base_url.
	BaseURL string
	// SentPath is the path as it arrived, without that of base_url.
	SentPath string
	// RewrittenTarget is the URI that the upstream sees, such as "/v1/items?a=1", if a rewrite or a
	// stripped prefix changed it.
	RewrittenTarget string

	// Body is a body that the signature does not cover: one that is no form, or a form that
	// oauth_body_hash covers. ContentType is its type.
	Body        []byte
	ContentType string

	Keys   Keys
	Limits Limits
}

// Keys are the keys of the consumer and of the token that a request names.
type Keys struct {
	ConsumerSecret string
	// PreviousSecret is the consumer's secret before its last rotation.
	PreviousSecret string
	TokenSecret    string
	// RequestTokenSecret is the secret of the request token that became the access token.
	RequestTokenSecret string
	// PublicKey is the consumer's public key. If it is set, only the RSA methods verify.
	PublicKey crypto.PublicKey
	// OtherPublicKeys are more keys of the consumer that do not verify, such as earlier ones.
	OtherPublicKeys []crypto.PublicKey
	// Others are secrets that are not tried, and are hidden all the same.
	Others []string
	// Methods are the signature methods that the consumer may use. Default: all of its kind of key.
	Methods []string
}

// Format writes nothing of the keys, so that no log and no panic shows them.
func (Keys) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "(keys)") }

// Limits bound the work of one diagnosis.
type Limits struct {
	// Signatures is how many signatures are tried at most. Default: 6000.
	Signatures int
	// Bytes is how much text is made and hashed at most for them, in bytes. Default: 4 MiB, which
	// take some 10 ms. A larger request is compared with fewer alternatives.
	Bytes int
}

const (
	defaultSignatures = 6000
	defaultBytes      = 4 << 20
)
