package tokenstore

import (
	"slices"
	"time"
)

// A Consumer is an application that signs requests (RFC 5849 section 1.1: the client).
type Consumer struct {
	// Key names the consumer on the wire (oauth_consumer_key).
	Key string
	// Name is what people read on the authorize page; where it is empty, they read the key.
	Name string
	// Homepage is an http or https URL that the authorize page shows, or empty.
	Homepage string
	// Contact is an e-mail address or an http or https URL, or empty.
	Contact string
	// Secret is the shared secret of HMAC and PLAINTEXT signatures. It may be empty: Launchpad's
	// consumers have none. It has no meaning while RSAPublicKey is set.
	Secret string
	// PreviousSecret is accepted beside Secret until PreviousSecretExpires: the overlap of a
	// rotation.
	PreviousSecret        string
	PreviousSecretExpires time.Time
	// RSAPublicKey is a PEM SubjectPublicKeyInfo or certificate. A consumer that has one is
	// verified with RSA only.
	RSAPublicKey string
	// SignatureMethods limits the signature methods; empty means all that the site accepts.
	SignatureMethods []string
	// Callbacks are the only callbacks that the consumer may name, as exact URLs or with one * at
	// the end. Empty means any that is safe at the request token, and none at the authorize page.
	Callbacks []string
	// CallbacksIgnoreQuery accepts a registered callback with any query.
	CallbacksIgnoreQuery bool
	// DefaultCallback sends the browser to the one registered callback where the consumer names
	// none, or "oob".
	DefaultCallback bool
	// Permissions limits the levels that the consumer may be granted and may use; empty means no
	// limit.
	Permissions []string
	// TwoLegged lets the consumer sign without a token, as a fixed user.
	TwoLegged *TwoLegged
	// Disabled refuses every request of the consumer and keeps what it has.
	Disabled bool
	// SelfRegistered marks a consumer that no person added: it came by an unknown key while
	// registration was open. It is forgotten after a day without an access token, and may have few
	// request tokens waiting.
	SelfRegistered bool
	Created        time.Time
	// Expires ends the consumer; zero means never.
	Expires time.Time
}

// Expired reports whether the consumer has ended at now.
func (c *Consumer) Expired(now time.Time) bool {
	return ended(c.Expires, now)
}

// Clone returns a copy that shares no memory with c that can be written to.
func (c *Consumer) Clone() *Consumer {
	next := *c
	next.SignatureMethods = slices.Clone(c.SignatureMethods)
	next.Callbacks = slices.Clone(c.Callbacks)
	next.Permissions = slices.Clone(c.Permissions)
	if c.TwoLegged != nil {
		two := *c.TwoLegged
		next.TwoLegged = &two
	}
	return &next
}

// TwoLegged is the user that a consumer acts as when it signs without a token. It has a JSON form,
// unlike the rest of the model, because the configuration and the admin API have it as it is.
type TwoLegged struct {
	User       string `json:"user"`
	Permission string `json:"permission"`
}

// A RequestToken is OAuth 1.0a's unauthorized request token (RFC 5849 section 2.1: temporary
// credentials).
type RequestToken struct {
	Key      string
	Secret   string
	Consumer string
	// Callback is where the browser goes after the review: the URL or the "oob" that the consumer
	// sent as oauth_callback, or its default callback; or empty. A token with a callback follows
	// OAuth 1.0a and is exchanged with a verifier only; one without follows Launchpad's polling
	// flow, unless its review has a verifier.
	Callback string
	Created  time.Time
	// Expires is when the token can no longer be reviewed or exchanged. A store remembers it for
	// RequestRetention after, so that its consumer can be told what happened.
	Expires time.Time
	// Review is the user's answer; nil while the token waits.
	Review *Review
	// VerifierFailures counts the wrong verifiers since the review.
	VerifierFailures int
}

// A Review is a user's answer to a request token.
type Review struct {
	User string
	// Permission is the level that was granted, or Unauthorized.
	Permission string
	// Context limits the grant to a part of the API, by a name that only the upstream understands;
	// empty means none.
	Context string
	// Verifier is the oauth_verifier that the browser brought to the consumer, and that the
	// consumer must send at the exchange; empty if there is none.
	Verifier string
	Time     time.Time
	// Expires is when the access token of this review ends; zero means never.
	Expires time.Time
}

// Unauthorized is the permission of a review that refuses.
const Unauthorized = "UNAUTHORIZED"

// An AccessToken is a user's standing grant to a consumer (RFC 5849 section 1.1: token
// credentials).
type AccessToken struct {
	Key        string
	Secret     string
	Consumer   string
	User       string
	Permission string
	Context    string
	Created    time.Time
	// Expires is when the token ends; zero means never. A store remembers it for a while after.
	Expires time.Time
	// LastUsed is when a request last passed with the token, to the minute or so; zero means never
	// yet.
	LastUsed time.Time
}

// Expired reports whether the token has ended at now.
func (t *AccessToken) Expired(now time.Time) bool {
	return ended(t.Expires, now)
}

// ended reports whether a time has come; zero never does.
func ended(expires, now time.Time) bool {
	return !expires.IsZero() && !now.Before(expires)
}

// EndpointShare: requests to the endpoints may have a tenth of a consumer's nonces.
const EndpointShare = 10

// MaxWindow is the widest window of acceptable timestamps: a nonce may expire as much later than
// its timestamp, and lie as far in the future.
const MaxWindow = 10 * 365 * 24 * time.Hour

// A Nonce makes a signed request different from all others (RFC 5849 section 3.3).
type Nonce struct {
	Consumer string
	// Token is empty for a request without one.
	Token string
	// Timestamp is oauth_timestamp, in seconds since 1970.
	Timestamp int64
	Value     string
	// AccessToken is the record that the request was verified with, as AccessToken returned it; nil
	// if there is none, or if it makes no difference. A store with replicas checks together with the
	// nonce that the token is still there.
	AccessToken *AccessToken
	// Endpoint marks a request to an endpoint. A consumer can make any number of those without a
	// grant. So they have a share of the consumer's nonces, one part of EndpointShare, and no more.
	Endpoint bool
	// Expires is when Timestamp stops being acceptable: from then on the nonce need not be
	// remembered.
	Expires time.Time
}
