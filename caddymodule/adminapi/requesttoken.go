package adminapi

import "time"

// The states of a request token.
const (
	StateWaiting  = "waiting"
	StateReviewed = "reviewed"
	StateRefused  = "refused"
	StateExpired  = "expired"
)

// A RequestToken is a request token as the API shows it: without its secret and its verifier.
type RequestToken struct {
	Key      string    `json:"key"`
	Consumer string    `json:"consumer"`
	State    string    `json:"state"`
	Callback string    `json:"callback,omitempty"`
	Created  time.Time `json:"created"`
	Expires  time.Time `json:"expires"`
	// The user's answer.
	User         string    `json:"user,omitempty"`
	Permission   string    `json:"permission,omitempty"`
	Context      string    `json:"context,omitempty"`
	Reviewed     time.Time `json:"reviewed,omitzero"`
	TokenExpires time.Time `json:"token_expires,omitzero"`
}

// A Review is the body with a user's answer. Its permission is a level, or tokenstore.Unauthorized.
// Callback is the one from the link to the platform's page, if the consumer sent none for its
// request token; the consumer must have registered it.
type Review struct {
	Grant
	Callback string `json:"callback,omitempty"`
}

// A ReviewedToken is the answer to a review. A platform whose own page asked the user sends the
// browser to Redirect, or shows Verifier where the callback is "oob".
type ReviewedToken struct {
	RequestToken
	Verifier string `json:"verifier,omitempty"`
	Redirect string `json:"redirect,omitempty"`
}
