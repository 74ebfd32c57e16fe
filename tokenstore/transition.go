package tokenstore

import (
	"crypto/subtle"
	"time"
)

// MaxVerifierFailures is how many wrong verifiers end a request token.
const MaxVerifierFailures = 5

// Retention is how long a store remembers an access token after it expired, so that the consumer is
// told that it expired, and not that it is unknown.
const Retention = 24 * time.Hour

// RequestRetention is how long a store remembers a request token after it expired, also if it was
// refused, so that a consumer that polls is told what happened to it. After that a store removes it
// within minutes, from its disk too.
const RequestRetention = 10 * time.Minute

// WithReview returns the request token as the review leaves it. The same answer again changes
// nothing: it returns t itself, with the verifier of the first, until the token expires.
// ErrExpired, ErrAlreadyReviewed.
func (t *RequestToken) WithReview(r Review, now time.Time) (*RequestToken, error) {
	if t.Review != nil && t.Review.sameAnswer(r) && now.Before(t.Expires) {
		return t, nil
	}
	if t.Review != nil {
		return nil, ErrAlreadyReviewed
	}
	if !now.Before(t.Expires) {
		return nil, ErrExpired
	}
	next := *t
	next.Review = &r
	return &next, nil
}

// sameAnswer reports whether both are the same user's same answer, at any two times: a browser
// sends a form twice when a button is clicked twice.
func (r *Review) sameAnswer(other Review) bool {
	return r.User == other.User && r.Permission == other.Permission && r.Context == other.Context &&
		r.Expires.IsZero() == other.Expires.IsZero() && r.lifetime() == other.lifetime()
}

// lifetime returns how long the access token lives; 0 means for ever.
func (r *Review) lifetime() time.Duration {
	if r.Expires.IsZero() {
		return 0
	}
	return r.Expires.Sub(r.Time)
}

// Exchange returns the access token that the request token turns into. In this order:
// ErrNotReviewed, ErrRefused, ErrExpired, ErrVerifier (where the token has a callback, or its
// review a verifier: OAuth Core 1.0a section 6.3.1).
func (t *RequestToken) Exchange(verifier, accessKey, accessSecret string, now time.Time) (*AccessToken, error) {
	if t.Review == nil {
		return nil, ErrNotReviewed
	}
	if t.Review.Permission == Unauthorized {
		return nil, ErrRefused
	}
	if !now.Before(t.Expires) {
		return nil, ErrExpired
	}
	wantsVerifier := t.Callback != "" || t.Review.Verifier != ""
	if wantsVerifier && subtle.ConstantTimeCompare([]byte(verifier), []byte(t.Review.Verifier)) == 0 {
		return nil, ErrVerifier
	}
	return &AccessToken{
		Key:        accessKey,
		Secret:     accessSecret,
		Consumer:   t.Consumer,
		User:       t.Review.User,
		Permission: t.Review.Permission,
		Context:    t.Review.Context,
		Created:    now,
		Expires:    t.Review.Expires,
	}, nil
}

// WithVerifierFailure returns the request token after a wrong verifier, or nil when that was the
// last one allowed.
func (t *RequestToken) WithVerifierFailure() *RequestToken {
	if t.VerifierFailures+1 >= MaxVerifierFailures {
		return nil
	}
	next := *t
	next.VerifierFailures++
	return &next
}
