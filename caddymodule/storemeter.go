package caddymodule

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

var storeSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
	Namespace: "caddy", Subsystem: "oauth1", Name: "store_operation_duration_seconds",
	Help:    "How long calls of the store by requests, pages and probes take, by operation. Of the calls that each request makes, one in 16 is measured.",
	Buckets: []float64{.000005, .00001, .000025, .00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5},
}, []string{"op"})

var storeErrors = prometheus.NewCounterVec(prometheus.CounterOpts{
	Namespace: "caddy", Subsystem: "oauth1", Name: "store_errors_total",
	Help: "Counter of calls that the store could not serve, by operation.",
}, []string{"op"})

// A storeOp is one method of a store. Each one has its metrics from the start, so that a rate of
// errors is 0 and not unknown.
type storeOp struct {
	seconds prometheus.Observer
	errors  prometheus.Counter
}

func newStoreOp(name string) *storeOp {
	return &storeOp{seconds: storeSeconds.WithLabelValues(name), errors: storeErrors.WithLabelValues(name)}
}

var (
	// Every request makes these calls.
	opConsumer    = newStoreOp("consumer")
	opAccessToken = newStoreOp("access_token")
	opCredentials = newStoreOp("credentials")
	opUseNonce    = newStoreOp("use_nonce")

	opRoomForRequestToken = newStoreOp("room_for_request_token")
	opCreateRequestToken  = newStoreOp("create_request_token")
	opRegisterConsumer    = newStoreOp("register_consumer")
	opRequestToken        = newStoreOp("request_token")
	opReview              = newStoreOp("review")
	opExchange            = newStoreOp("exchange")
	opAccessTokens        = newStoreOp("access_tokens")
	opRevokeToken         = newStoreOp("revoke_token")
	opRevoke              = newStoreOp("revoke")
	opTouch               = newStoreOp("touch")
	opCheck               = newStoreOp("check")

	// openErrors counts the calls that were not made, since the store has been out of reach since
	// the start.
	openErrors = storeErrors.WithLabelValues("open")
)

// fail counts an error, unless it is an answer.
func (o *storeOp) fail(err error) {
	if tokenstore.IsFailure(err) {
		o.errors.Inc()
	}
}

// end measures a call that began then.
func (o *storeOp) end(begin time.Time, err error) {
	o.seconds.Observe(time.Since(begin).Seconds())
	o.fail(err)
}

// measured1 measures a call that returns a value and an error.
func measured1[T any](o *storeOp, call func() (T, error)) (T, error) {
	begin := time.Now()
	value, err := call()
	o.end(begin, err)
	return value, err
}

func (o *storeOp) measured(call func() error) error {
	begin := time.Now()
	err := call()
	o.end(begin, err)
	return err
}

// sampledCalls is the number of calls of which one is measured, for what every request calls. To
// measure a call takes longer than to find a record in a cache.
const sampledCalls = 16

// begin returns when a call begins, or the zero time if it is not measured.
func begin() time.Time {
	if rand.Uint32()%sampledCalls != 0 {
		return time.Time{}
	}
	return time.Now()
}

// sampled ends a call that began with begin.
func (o *storeOp) sampled(begin time.Time, err error) {
	if !begin.IsZero() {
		o.seconds.Observe(time.Since(begin).Seconds())
	}
	if err != nil {
		o.fail(err)
	}
}

// A meteredStore measures the calls that requests, pages and probes make. Those of the admin API go
// to its store, which may have more capabilities than CredentialFinder.
type meteredStore struct{ tokenstore.Store }

// A meteredFinder is the meteredStore of a CredentialFinder.
type meteredFinder struct {
	meteredStore
	finder tokenstore.CredentialFinder
}

// metered returns the store, with its calls measured.
func metered(store tokenstore.Store) tokenstore.Store {
	if finder, ok := store.(tokenstore.CredentialFinder); ok {
		return &meteredFinder{meteredStore{store}, finder}
	}
	return &meteredStore{store}
}

// unmetered returns the store that is measured.
func unmetered(store tokenstore.Store) tokenstore.Store {
	switch s := store.(type) {
	case *meteredStore:
		return s.Store
	case *meteredFinder:
		return s.Store
	}
	return store
}

func (s *meteredStore) Consumer(ctx context.Context, key string) (*tokenstore.Consumer, error) {
	begin := begin()
	c, err := s.Store.Consumer(ctx, key)
	opConsumer.sampled(begin, err)
	return c, err
}

func (s *meteredStore) AccessToken(ctx context.Context, key string) (*tokenstore.AccessToken, error) {
	begin := begin()
	t, err := s.Store.AccessToken(ctx, key)
	opAccessToken.sampled(begin, err)
	return t, err
}

func (s *meteredFinder) Credentials(
	ctx context.Context, consumer, token string,
) (*tokenstore.Consumer, *tokenstore.AccessToken, error) {
	begin := begin()
	c, t, err := s.finder.Credentials(ctx, consumer, token)
	opCredentials.sampled(begin, err)
	return c, t, err
}

func (s *meteredStore) UseNonce(ctx context.Context, n tokenstore.Nonce) error {
	begin := begin()
	err := s.Store.UseNonce(ctx, n)
	opUseNonce.sampled(begin, err)
	return err
}

func (s *meteredStore) RoomForRequestToken(ctx context.Context, t *tokenstore.RequestToken, register bool) error {
	return opRoomForRequestToken.measured(func() error { return s.Store.RoomForRequestToken(ctx, t, register) })
}

func (s *meteredStore) CreateRequestToken(ctx context.Context, t *tokenstore.RequestToken) error {
	return opCreateRequestToken.measured(func() error { return s.Store.CreateRequestToken(ctx, t) })
}

func (s *meteredStore) RegisterConsumer(ctx context.Context, c *tokenstore.Consumer, t *tokenstore.RequestToken) error {
	return opRegisterConsumer.measured(func() error { return s.Store.RegisterConsumer(ctx, c, t) })
}

func (s *meteredStore) RequestToken(ctx context.Context, key string) (*tokenstore.RequestToken, error) {
	return measured1(opRequestToken, func() (*tokenstore.RequestToken, error) { return s.Store.RequestToken(ctx, key) })
}

func (s *meteredStore) Review(ctx context.Context, key string, r tokenstore.Review) (*tokenstore.RequestToken, error) {
	return measured1(opReview, func() (*tokenstore.RequestToken, error) { return s.Store.Review(ctx, key, r) })
}

func (s *meteredStore) Exchange(ctx context.Context, key, verifier string) (*tokenstore.AccessToken, error) {
	return measured1(opExchange, func() (*tokenstore.AccessToken, error) { return s.Store.Exchange(ctx, key, verifier) })
}

func (s *meteredStore) AccessTokens(
	ctx context.Context, f tokenstore.Filter, after string, limit int,
) (page []*tokenstore.AccessToken, next string, err error) {
	begin := time.Now()
	page, next, err = s.Store.AccessTokens(ctx, f, after, limit)
	opAccessTokens.end(begin, err)
	return page, next, err
}

func (s *meteredStore) RevokeToken(ctx context.Context, key string) error {
	return opRevokeToken.measured(func() error { return s.Store.RevokeToken(ctx, key) })
}

func (s *meteredStore) Revoke(ctx context.Context, f tokenstore.Filter) (int, error) {
	return measured1(opRevoke, func() (int, error) { return s.Store.Revoke(ctx, f) })
}

func (s *meteredStore) Touch(ctx context.Context, used map[string]time.Time) error {
	return opTouch.measured(func() error { return s.Store.Touch(ctx, used) })
}

func (s *meteredStore) Check(ctx context.Context) error {
	return opCheck.measured(func() error { return s.Store.Check(ctx) })
}
