package tokenstore

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// The errors that a Store gives for what a caller can do something about. Whatever else it returns
// means that the store could not do its work: nothing was changed as far as it knows, and the
// request must be refused, never let through.
var (
	// ErrNotFound: there is no such record.
	ErrNotFound = errors.New("not found")
	// ErrExists: a record with that key is there already.
	ErrExists = errors.New("exists already")
	// ErrTooMany: as many request tokens of the consumer wait, or are stored, as may.
	ErrTooMany = errors.New("too many request tokens of the consumer are waiting")
	// ErrTooManyInAll: the store holds as many request tokens as it may, of all consumers or of the
	// self-registered ones.
	ErrTooManyInAll = errors.New("too many request tokens are waiting")
	// ErrTooManyConsumers: MaxSelfRegistered consumers are there that have no access token.
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
	// ErrNoncesFull: the consumer has as many live nonces as the store remembers for one.
	ErrNoncesFull = errors.New("too many live nonces")
	// ErrTokenNoncesFull is an ErrNoncesFull too: the token has as many live nonces as are still
	// free for its consumer, whose other tokens may go on.
	ErrTokenNoncesFull = fmt.Errorf("%w of one token", ErrNoncesFull)
	// ErrEndpointNoncesFull is an ErrNoncesFull too: the consumer's requests to the endpoints have
	// as many live nonces as they may. Its other requests may go on.
	ErrEndpointNoncesFull = fmt.Errorf("%w of requests to the endpoints", ErrNoncesFull)
	// ErrNonceForgotten: the store has forgotten the nonces of that time already (the clock went
	// back, or the timestamp window was widened), so it can't tell whether this one is new.
	ErrNonceForgotten = errors.New("nonces of that time are forgotten")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("store is closed")
)

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
	// many may be stored of one consumer, those included that are remembered after their end: so
	// one whose user refuses them, or whose tokens live for a short time, does not take all
	// RequestTokens.
	RequestTokensOfConsumer int
	// RequestTokens may be stored at once, those included that are remembered after their end.
	RequestTokens int
}

// DefaultLimits are those of a store that was not told others.
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
// survives a power cut is for the store's options to say.) What it wrote is also what every later
// call sees, of any replica on the same store.
//
// Lists are ordered by key, hold at most limit records, and begin after the key `after`; next is
// what to give as `after` for the next page, or empty at the end. A limit below 1 is an error.
type Store interface {
	// Consumer returns the consumer with the key, or ErrNotFound.
	Consumer(ctx context.Context, key string) (*Consumer, error)
	// CreateConsumer adds a consumer. ErrExists; ErrTooManyConsumers for a self-registered one.
	CreateConsumer(ctx context.Context, c *Consumer) error
	// UpdateConsumer changes a consumer: change gets a copy to write to, and what it left is stored
	// unless it returns an error. No other update happens between. The key can't change.
	// ErrNotFound.
	UpdateConsumer(ctx context.Context, key string, change func(*Consumer) error) (*Consumer, error)
	// DeleteConsumer removes a consumer and all its tokens, as Revoke does. A consumer of the same
	// key may be added as soon as it has returned, and has none of them. ErrNotFound.
	DeleteConsumer(ctx context.Context, key string) error
	// Consumers lists.
	Consumers(ctx context.Context, after string, limit int) (page []*Consumer, next string, err error)

	// SetLimits changes how many request tokens there may be, from now on. Fields below 1 mean the
	// default.
	SetLimits(l Limits)
	// RoomForRequestToken returns the error that CreateRequestToken, or with register
	// RegisterConsumer, would give now because there are too many. It changes nothing, and keeps no
	// place.
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
	// Review records the user's answer, once: see RequestToken.WithReview for its errors, and
	// ErrNotFound.
	Review(ctx context.Context, key string, r Review) (*RequestToken, error)
	// Exchange turns a reviewed request token into the access token whose key and secret are given,
	// and forgets the request token: of any number of calls at the same time one succeeds.
	// ErrNotFound; see RequestToken.Exchange for the others. A wrong verifier is counted durably
	// before ErrVerifier is returned, and the last one that is allowed removes the token.
	Exchange(ctx context.Context, key, verifier, accessKey, accessSecret string) (*AccessToken, error)

	// CreateAccessToken adds an access token. ErrExists.
	CreateAccessToken(ctx context.Context, t *AccessToken) error
	// AccessToken returns the access token with the key, expired ones too, or ErrNotFound. Requests
	// wait for it, so its LastUsed is what is at hand: it may be old, or missing.
	AccessToken(ctx context.Context, key string) (*AccessToken, error)
	// LastUsed returns when the access token was last used, as Touch was told, or
	// CreateAccessToken; zero means never yet. ErrNotFound.
	LastUsed(ctx context.Context, key string) (time.Time, error)
	// AccessTokens lists those that match.
	AccessTokens(ctx context.Context, f Filter, after string, limit int) (page []*AccessToken, next string, err error)
	// CountAccessTokens returns how many access tokens match, as Revoke would count them. The time
	// that it takes grows with them.
	CountAccessTokens(ctx context.Context, f Filter) (int, error)
	// RevokeToken removes one access token. ErrNotFound.
	RevokeToken(ctx context.Context, key string) error
	// Revoke removes every access token that matches, and every request token of the matching
	// consumer, or reviewed by the matching user (with both given: what that user reviewed for that
	// consumer). From the moment it returns none of them exists for any call; the store removes
	// them from its disk afterwards, some at a time, and goes on with that when it is opened again.
	// What is created meanwhile, for the same user and consumer and with the same keys too, is not
	// touched. It returns how many access tokens there were, which takes time that grows with them,
	// but holds up nobody else. A filter that is empty is an error.
	Revoke(ctx context.Context, f Filter) (int, error)
	// Touch notes when access tokens were last used, by their keys; keys that are gone are passed
	// over, and so are times before the LastUsed that AccessToken returns. It is the one write that
	// need not be durable.
	Touch(ctx context.Context, used map[string]time.Time) error

	// UseNonce remembers the nonce until it expires. ErrNonceUsed, ErrNoncesFull,
	// ErrTokenNoncesFull, ErrEndpointNoncesFull, ErrNonceForgotten.
	UseNonce(ctx context.Context, n Nonce) error

	// Secret returns 32 random bytes that belong to the store, the same for all its replicas and
	// for ever, made when they were first asked for.
	Secret(ctx context.Context) ([32]byte, error)
	// Check does a small piece of real work, and returns what is wrong with the store.
	Check(ctx context.Context) error
	// Close ends the store. Calls that come later get ErrClosed. Closing twice is not an error.
	Close() error
}
