package tokenstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// The errors of a Store that a caller can do something about. Any other error means that the store
// could not do its work: as far as it knows nothing was changed, and the request must be refused.
var (
	// ErrNotFound: there is no such record.
	ErrNotFound = errors.New("not found")
	// ErrExists: a record with that key is there already.
	ErrExists = errors.New("exists already")
	// ErrTooMany: no more request tokens of the consumer may wait, or may be stored.
	ErrTooMany = errors.New("too many request tokens of the consumer are waiting")
	// ErrTooManyInAll: the store may hold no more request tokens, of all consumers or of the
	// self-registered ones.
	ErrTooManyInAll = errors.New("too many request tokens are waiting")
	// ErrTooManyConsumers: there are MaxSelfRegistered consumers without an access token.
	ErrTooManyConsumers = errors.New("too many self-registered consumers are waiting")
	// ErrAlreadyReviewed: the request token has its review.
	ErrAlreadyReviewed = errors.New("reviewed already")
	// ErrNotReviewed: the request token still waits for its review.
	ErrNotReviewed = errors.New("not yet reviewed")
	// ErrRefused: the review was Unauthorized.
	ErrRefused = errors.New("refused by the user")
	// ErrExpired: the request token's time is over.
	ErrExpired = errors.New("expired")
	// ErrVerifier: the verifier is wrong or missing.
	ErrVerifier = errors.New("wrong verifier")
	// ErrNonceUsed: the same consumer, token, timestamp and nonce were there before.
	ErrNonceUsed = errors.New("nonce used already")
	// ErrNoncesFull: the store remembers no more live nonces of the consumer.
	ErrNoncesFull = errors.New("too many live nonces")
	// ErrTokenNoncesFull is an ErrNoncesFull too: the token has used its share of the consumer's
	// live nonces. The consumer's other tokens can still be used.
	ErrTokenNoncesFull = fmt.Errorf("%w of one token", ErrNoncesFull)
	// ErrEndpointNoncesFull is an ErrNoncesFull too: the consumer's requests to the endpoints have
	// used their share of its live nonces. Its other requests still pass.
	ErrEndpointNoncesFull = fmt.Errorf("%w of requests to the endpoints", ErrNoncesFull)
	// ErrNonceForgotten: the store has forgotten the nonces of that time already (the clock went
	// back, or the timestamp window was widened), so it can't tell whether this one is new.
	ErrNonceForgotten = errors.New("nonces of that time are forgotten")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("store is closed")
)

// answers are the errors with which a store that works answers a call.
var answers = []error{
	ErrNotFound, ErrExists, ErrTooMany, ErrTooManyInAll, ErrTooManyConsumers, ErrAlreadyReviewed, ErrNotReviewed,
	ErrRefused, ErrExpired, ErrVerifier, ErrNonceUsed, ErrNoncesFull, ErrNonceForgotten,
}

// IsFailure reports whether an error of a Store says that it could not do its work, and neither
// that it was closed nor that the caller gave up.
func IsFailure(err error) bool {
	if err == nil || errors.Is(err, ErrClosed) || errors.Is(err, context.Canceled) {
		return false
	}
	return !slices.ContainsFunc(answers, func(answer error) bool { return errors.Is(err, answer) })
}

// A LaterError is the error of a store that can't do its work now, and knows when it can.
type LaterError struct {
	// After is how long the caller should wait before it tries again.
	After time.Duration
	Err   error
}

func (e *LaterError) Error() string { return e.Err.Error() }
func (e *LaterError) Unwrap() error { return e.Err }

// Limits of self-registered consumers, so that a flood cannot fill a store.
const (
	// MaxWaiting is how many request tokens such a consumer may have that are not exchanged,
	// refused or expired.
	MaxWaiting = 100
	// MaxSelfRegisteredRequests is how many request tokens a store holds of all such consumers
	// together.
	MaxSelfRegisteredRequests = 20_000
	// MaxSelfRegistered is how many such consumers may be there without an access token.
	MaxSelfRegistered = 100_000
)

// Limits are how many request tokens there may be. A request token counts as one for each
// RequestTokenSize bytes or part of them that it may take.
type Limits struct {
	// RequestTokensOfConsumer may wait at once of one consumer: neither exchanged, refused nor
	// expired. A self-registered consumer has MaxWaiting if that is less. StoredForWaiting times as
	// many of one consumer may be stored, including those that are remembered after their end. So a
	// consumer whose tokens are refused or expire soon does not take all RequestTokens.
	RequestTokensOfConsumer int
	// RequestTokens may be stored at once, including those that are remembered after their end.
	RequestTokens int
}

// DefaultLimits hold until SetLimits is called.
var DefaultLimits = Limits{RequestTokensOfConsumer: 10_000, RequestTokens: 200_000}

// StoredForWaiting is how many request tokens a consumer may have stored for each that may wait.
const StoredForWaiting = 2

// RequestTokenSize is the most that a request token takes on disk, in bytes, which counts as one.
const RequestTokenSize = 700

// A Filter selects access tokens. Empty fields select all; fields together must all match.
type Filter struct {
	User     string
	Consumer string
}

// A Store keeps consumers, tokens and nonces. Its methods may be called from any number of
// goroutines.
//
// When a method that writes returns without an error, what it wrote is durable: it survives the end
// of the process and a power cut. (An accepted nonce survives the end of the process; whether it
// survives a power cut is for the store's options to say.) Every later call sees it. Replicas are
// Stores of several processes that share what is stored. Another replica may show for a while what
// was before; the store's documentation says how long, and storetest holds it to that. Whatever may
// happen only once happens once for all replicas: a nonce is used, a request token is reviewed and
// exchanged, a key is taken.
//
// Lists are ordered by key, hold at most limit records, and begin after the key `after`; next is
// what to give as `after` for the next page, or empty at the end. A limit below 1 is an error.
type Store interface {
	// Consumer returns the consumer with the key, or ErrNotFound.
	Consumer(ctx context.Context, key string) (*Consumer, error)
	// CreateConsumer adds a consumer. ErrExists; ErrTooManyConsumers for a self-registered one.
	CreateConsumer(ctx context.Context, c *Consumer) error
	// UpdateConsumer changes a consumer. It calls change with a copy, which is stored unless change
	// returns an error. No other update happens in between: a store may let it wait, or call change
	// again with a copy of what the other update stored. So change has no effect but on its copy,
	// and does not call the store. The key can't change. ErrNotFound.
	UpdateConsumer(ctx context.Context, key string, change func(*Consumer) error) (*Consumer, error)
	// DeleteConsumer removes a consumer and all its tokens, as Revoke does. A consumer of the same
	// key may be added as soon as it has returned, and has none of them. ErrNotFound.
	DeleteConsumer(ctx context.Context, key string) error
	// Consumers lists the consumers.
	Consumers(ctx context.Context, after string, limit int) (page []*Consumer, next string, err error)

	// SetLimits changes how many request tokens there may be, from now on. Fields below 1 mean the
	// default.
	SetLimits(l Limits)
	// RoomForRequestToken returns the error that CreateRequestToken, or with register
	// RegisterConsumer, would give now because there are too many. It changes nothing and reserves
	// nothing.
	RoomForRequestToken(ctx context.Context, t *RequestToken, register bool) error
	// CreateRequestToken adds a request token. The consumer need not be stored (it may be declared
	// elsewhere). ErrExists, ErrTooMany, ErrTooManyInAll.
	CreateRequestToken(ctx context.Context, t *RequestToken) error
	// RegisterConsumer adds a self-registered consumer and its first request token, both or
	// neither. ErrExists, ErrTooManyConsumers, ErrTooMany, ErrTooManyInAll.
	RegisterConsumer(ctx context.Context, c *Consumer, t *RequestToken) error
	// RequestToken returns the request token with the key, until RequestRetention after it expired,
	// or ErrNotFound.
	RequestToken(ctx context.Context, key string) (*RequestToken, error)
	// Review records the user's answer, once, and returns the request token with it. The same
	// answer of the same user again, also at the same time, changes nothing: it returns the token
	// with the review that is stored, and so with the first verifier. See RequestToken.WithReview
	// for its errors, and ErrNotFound.
	Review(ctx context.Context, key string, r Review) (*RequestToken, error)
	// Exchange turns a reviewed request token into an access token with a new key and secret, and
	// forgets the request token. Of any number of calls at the same time, one succeeds. ErrNotFound;
	// see RequestToken.Exchange for the others. A wrong verifier is counted durably before
	// ErrVerifier is returned. The MaxVerifierFailures-th removes the token.
	//
	// A call that returned another error may have done its work: the next one may then return the
	// same access token. There is never a second one.
	Exchange(ctx context.Context, key, verifier string) (*AccessToken, error)

	// CreateAccessToken adds an access token. ErrExists.
	CreateAccessToken(ctx context.Context, t *AccessToken) error
	// AccessToken returns the access token with the key, expired ones too, or ErrNotFound. It is on
	// the way of every request, so LastUsed is what is in memory: it may be old, or missing.
	AccessToken(ctx context.Context, key string) (*AccessToken, error)
	// LastUsed returns when the access token was last used, by Touch and CreateAccessToken; zero
	// means never yet. ErrNotFound.
	LastUsed(ctx context.Context, key string) (time.Time, error)
	// AccessTokens lists the access tokens that match.
	AccessTokens(ctx context.Context, f Filter, after string, limit int) (page []*AccessToken, next string, err error)
	// CountAccessTokens returns how many access tokens match, as Revoke would count them. The time
	// that it takes grows with them.
	CountAccessTokens(ctx context.Context, f Filter) (int, error)
	// RevokeToken removes one access token. ErrNotFound.
	RevokeToken(ctx context.Context, key string) error
	// Revoke removes every access token that matches, and every request token of the matching
	// consumer, or reviewed by the matching user (with both given: what that user reviewed for that
	// consumer). When it has returned, no call finds any of them. The store removes them from its
	// disk later, a few at a time, and continues when it is opened again. Tokens that are created
	// meanwhile stay, even with the same user, consumer or key. It returns how many access tokens
	// there were. Counting takes time that grows with their number, and delays no other call. An
	// empty filter is an error.
	Revoke(ctx context.Context, f Filter) (int, error)
	// Touch notes when access tokens were last used, by their keys; it ignores keys that are gone,
	// and times before the LastUsed that AccessToken returns. It is the only write that need not be
	// durable.
	Touch(ctx context.Context, used map[string]time.Time) error

	// UseNonce remembers the nonce until it expires. ErrNonceUsed, ErrNoncesFull,
	// ErrTokenNoncesFull, ErrEndpointNoncesFull, ErrNonceForgotten; ErrNotFound if the store found
	// out that Nonce.AccessToken was revoked.
	UseNonce(ctx context.Context, n Nonce) error

	// Secret returns the store's 32 random bytes. The first call makes them; they never change, and
	// all replicas have the same.
	Secret(ctx context.Context) ([32]byte, error)
	// Check does a small piece of real work, and returns what is wrong with the store.
	Check(ctx context.Context) error
	// Close ends the store. Later calls return ErrClosed. Closing twice is not an error.
	Close() error
}
