package tokenstore

import "time"

// A Consumer is an application that signs requests (RFC 5849 section 1.1: the client).
type Consumer struct {
	// Key names the consumer on the wire (oauth_consumer_key).
	Key string `json:"key"`
	// Name is what people read on the authorize page; where it is empty, they read the key.
	Name string `json:"name,omitempty"`
	// Homepage is an http or https URL that the authorize page shows, or empty.
	Homepage string `json:"homepage,omitempty"`
	// Contact is an e-mail address or an http or https URL, or empty.
	Contact string `json:"contact,omitempty"`
	// Secret is the shared secret of HMAC and PLAINTEXT signatures. It may be empty: Launchpad's consumers have none.
	// It has no meaning while RSAPublicKey is set.
	Secret string `json:"secret,omitempty"`
	// PreviousSecret is accepted beside Secret until PreviousSecretExpires: the overlap of a rotation.
	PreviousSecret        string    `json:"previous_secret,omitempty"`
	PreviousSecretExpires time.Time `json:"previous_secret_expires,omitzero"`
	// RSAPublicKey is a PEM SubjectPublicKeyInfo or certificate. A consumer that has one is verified with RSA only.
	RSAPublicKey string `json:"rsa_public_key,omitempty"`
	// SignatureMethods limits what the consumer may sign with; empty means whatever the site accepts.
	SignatureMethods []string `json:"signature_methods,omitempty"`
	// Callbacks are the only callbacks that the consumer may name, as exact URLs or with one * at the end. Empty means
	// any that is safe at the request token, and none at the authorize page.
	Callbacks []string `json:"callbacks,omitempty"`
	// CallbacksIgnoreQuery accepts a registered callback with any query.
	CallbacksIgnoreQuery bool `json:"callbacks_ignore_query,omitempty"`
	// DefaultCallback sends the browser to the one registered callback where the consumer names none, or "oob".
	DefaultCallback bool `json:"default_callback,omitempty"`
	// Permissions limits the levels that the consumer may be granted and may use; empty means no limit.
	Permissions []string `json:"permissions,omitempty"`
	// TwoLegged lets the consumer sign without a token, as a fixed user.
	TwoLegged *TwoLegged `json:"two_legged,omitempty"`
	// Disabled refuses every request of the consumer and keeps what it has.
	Disabled bool `json:"disabled,omitempty"`
	// SelfRegistered marks a consumer that no person added: it came by an unknown key while registration was open,
	// is forgotten when it holds no access token for a day, and may keep few request tokens waiting.
	SelfRegistered bool      `json:"self_registered,omitempty"`
	Created        time.Time `json:"created,omitzero"`
	// Expires ends the consumer; zero means never.
	Expires time.Time `json:"expires,omitzero"`
}

// Expired reports whether the consumer has ended at now.
func (c *Consumer) Expired(now time.Time) bool {
	return ended(c.Expires, now)
}

// TwoLegged is whom a consumer acts for when it signs without a token.
type TwoLegged struct {
	User       string `json:"user"`
	Permission string `json:"permission"`
}

// A RequestToken is OAuth 1.0a's unauthorized request token (RFC 5849 section 2.1: temporary credentials).
type RequestToken struct {
	Key      string `json:"key"`
	Secret   string `json:"secret"`
	Consumer string `json:"consumer"`
	// Callback is where the browser goes after the review: the URL or the "oob" that the consumer sent as
	// oauth_callback, or its default callback; or empty. A token with a callback follows OAuth 1.0a and is exchanged
	// with a verifier only; one without follows Launchpad's polling flow, unless its review has a verifier.
	Callback string    `json:"callback,omitempty"`
	Created  time.Time `json:"created"`
	// Expires is when the token can no longer be reviewed or exchanged. A store remembers it for RequestRetention after,
	// so that its consumer learns what happened.
	Expires time.Time `json:"expires"`
	// Review is what the user said; nil while the token waits.
	Review *Review `json:"review,omitempty"`
	// VerifierFailures counts the wrong verifiers since the review.
	VerifierFailures int `json:"verifier_failures,omitempty"`
}

// A Review is a user's answer to a request token.
type Review struct {
	User string `json:"user"`
	// Permission is the level that was granted, or Unauthorized.
	Permission string `json:"permission"`
	// Context limits the grant to a part of the API, by a name that only the upstream understands; empty means none.
	Context string `json:"context,omitempty"`
	// Verifier is what the consumer must show at the exchange (oauth_verifier), since the browser brought it there;
	// empty where nothing did.
	Verifier string    `json:"verifier,omitempty"`
	Time     time.Time `json:"time"`
	// Expires is when the access token ends that comes of this review; zero means never.
	Expires time.Time `json:"expires,omitzero"`
}

// Unauthorized is the permission of a review that refuses.
const Unauthorized = "UNAUTHORIZED"

// An AccessToken is a user's standing grant to a consumer (RFC 5849 section 1.1: token credentials).
type AccessToken struct {
	Key        string    `json:"key"`
	Secret     string    `json:"secret"`
	Consumer   string    `json:"consumer"`
	User       string    `json:"user"`
	Permission string    `json:"permission"`
	Context    string    `json:"context,omitempty"`
	Created    time.Time `json:"created"`
	// Expires is when the token ends; zero means never. A store remembers it for a while after.
	Expires time.Time `json:"expires,omitzero"`
	// LastUsed is when a request last passed with the token, to the minute or so; zero means never yet.
	LastUsed time.Time `json:"last_used,omitzero"`
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

// MaxWindow is the widest window of acceptable timestamps: a nonce may expire as much later than its
// timestamp, and lie as far in the future.
const MaxWindow = 10 * 365 * 24 * time.Hour

// A Nonce is what makes a signed request unlike every other (RFC 5849 section 3.3).
type Nonce struct {
	Consumer string
	// Token is empty for a request without one.
	Token string
	// Timestamp is oauth_timestamp, in seconds since 1970.
	Timestamp int64
	Value     string
	// Endpoint marks a request to an endpoint. A consumer can make any number of those without a single
	// grant, so that they have a share of the consumer's nonces for themselves: one part of EndpointShare.
	Endpoint bool
	// Expires is when Timestamp stops being acceptable: from then on the nonce need not be remembered.
	Expires time.Time
}
