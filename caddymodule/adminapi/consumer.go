package adminapi

import "time"

// StoredSettings are the settings of a consumer in the store: given when it is added, and changed
// later.
type StoredSettings struct {
	ConsumerSettings
	// Disabled refuses every request of the consumer, and keeps what it has.
	Disabled bool `json:"disabled,omitempty"`
}

// A Consumer is a consumer as the API shows it: without its secrets.
type Consumer struct {
	Key string `json:"key"`
	StoredSettings
	// Declared says that the consumer lives in the configuration: the API can't change it.
	Declared       bool      `json:"declared,omitempty"`
	SelfRegistered bool      `json:"self_registered,omitempty"`
	Created        time.Time `json:"created,omitzero"`
	// PreviousSecretExpires is the end of the secret before the last rotation.
	PreviousSecretExpires time.Time `json:"previous_secret_expires,omitzero"`
	// Observed is what sites with the option observe saw of the consumer; nil if they saw nothing.
	// Only the answer about one consumer has it.
	Observed *Observed `json:"observed,omitempty"`
}

// Observed is what was seen of a consumer since the process started. Whoever knows the key can send
// requests that are refused, so those prove nothing.
type Observed struct {
	Requests int64     `json:"requests"`
	LastSeen time.Time `json:"last_seen"`
	// SignatureMethods, and the Places of the OAuth parameters, are those of all requests, with how
	// many there were of each.
	SignatureMethods map[string]int64 `json:"signature_methods"`
	Places           map[string]int64 `json:"places"`
	// Refusals are the reasons for which requests would have been refused.
	Refusals map[string]int64 `json:"refusals,omitempty"`
}

// A ConsumerWithSecret is the one answer that holds a consumer's secret: to the call that made it.
// An RSA consumer has none.
type ConsumerWithSecret struct {
	Consumer
	Secret *string `json:"secret,omitempty"`
}

// A NewConsumer is the body that adds a consumer. Without a key one is made; without a secret, and
// without an RSA key, one is made too. A secret that is there and empty means that the consumer has
// none, as Launchpad's; a key that is there and empty is an error.
type NewConsumer struct {
	Key    string  `json:"key,omitempty"`
	Secret *string `json:"secret,omitempty"`
	StoredSettings
}

// A Rotation is the body that asks for a new secret. Without a Secret one is made. Overlap is the
// time for which the old one still works, such as 24h or 7d; by default it ends at once.
type Rotation struct {
	Overlap string  `json:"overlap,omitempty"`
	Secret  *string `json:"secret,omitempty"`
}
