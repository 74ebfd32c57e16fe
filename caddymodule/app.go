package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

func init() {
	caddy.RegisterModule(new(App))
}

// App keeps what all sites share: the token store, how long credentials live, the permission levels, and the
// consumers that are declared in the configuration.
//
// Users, tokens and consumers are one namespace for all sites: a grant by `admin`, who logged in at one
// site, is a grant by `admin` at every other. Sites with different logins are warned of at load, unless
// each has a text of its own in its handler's `user`, such as `shop:{http.auth.user.id}`.
//
// It needs no configuration: a site that uses the `oauth1` handler gets one with the defaults.
type App struct {
	// Where tokens and nonces are kept. Default: `badger`, in the folder `oauth1` of Caddy's data directory.
	StoreRaw json.RawMessage `json:"store,omitempty" caddy:"namespace=oauth1.stores inline_key=module"`

	// How long a request token can be reviewed and exchanged. Default: 2h.
	RequestTokenLifetime caddy.Duration `json:"request_token_lifetime,omitempty"`

	// How long an access token lives at the most, from its review on; users may choose less, and the admin API refuses
	// more. One that the admin API imports with its secret lives as long as the import says. Default: 0, which means
	// until it is revoked.
	AccessTokenLifetime caddy.Duration `json:"access_token_lifetime,omitempty"`

	// How far the timestamp of a request may lie from our clock, in either direction. Default: 5m. Every accepted
	// request is remembered for as long as its timestamp stays acceptable, so a wide window costs memory; a narrow one
	// refuses clients whose clock is wrong. At most ten years.
	TimestampWindow caddy.Duration `json:"timestamp_window,omitempty"`

	// Who may ask for request tokens: `closed` (the default) knows declared and stored consumers only; with `open`, an
	// unknown consumer key is registered with an empty secret, as Launchpad does it. Then a consumer's name is
	// nothing but its own claim, and whoever knows a key may use it. A key with a
	// character that can't be seen is refused.
	Registration string `json:"registration,omitempty"`

	// How many request tokens of one consumer may wait at once, to be reviewed and exchanged. Default:
	// 10000; a consumer that registered itself may have 100 at the most. A request token counts as one
	// for each 700 bytes that it takes, so one with a long callback as several. Twice as many may be
	// stored, those included that were refused or have expired, until they are removed. Whoever knows a
	// consumer's secret can ask for as many, and the consumer's next request for one is answered 503
	// then.
	MaxRequestTokensOfConsumer int `json:"max_request_tokens_of_consumer,omitempty"`

	// How many request tokens the store may hold, of all consumers, counted in the same way; those that were refused or
	// have expired until they are removed, some ten minutes after their expiry. Default: 200000, which take 140 MB of disk
	// at the most. Consumers that registered themselves have 20000 of them together at the most. Requests for more
	// are answered 503. A reload may change both limits.
	MaxRequestTokens int `json:"max_request_tokens,omitempty"`

	// Consumers that live in the configuration alone: never written to the store, gone when they are removed here. A
	// key that is stored as well is an error at start.
	Consumers []*DeclaredConsumer `json:"consumers,omitempty"`

	// The permission levels, in the order in which they are offered. When there are any they replace the default
	// ones (Launchpad's: READ_PUBLIC, WRITE_PUBLIC, READ_PRIVATE, WRITE_PRIVATE, DESKTOP_INTEGRATION).
	Permissions []PermissionLevel `json:"permissions,omitempty"`

	ctx      caddy.Context
	logger   *zap.Logger
	metrics  *metrics
	module   tokenstore.Module
	levels   *levels
	declared map[string]*tokenstore.Consumer
	now      func() time.Time
	partial  atomic.Bool // some handler has a matcher of its own

	poolKey  string           // set while the pool counts us
	store    tokenstore.Store // nil until ready is closed, and then if there is none
	ready    chan struct{}
	settle   sync.Once // closes ready
	secret   [32]byte
	rsaKeys  rsaKeys
	hmacKeys *hmacKeys
	usage    usage
}

const (
	registrationClosed = "closed"
	registrationOpen   = "open"
)

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "oauth1",
		New: func() caddy.Module { return new(App) },
	}
}

// Provision sets the defaults and prepares what is declared. It opens nothing: `caddy validate` comes this far, beside a
// server that runs.
func (a *App) Provision(ctx caddy.Context) error {
	a.ctx, a.logger = ctx, ctx.Logger()
	a.ready = make(chan struct{})
	appsStarted.expect(a)
	if a.now == nil {
		a.now = time.Now
	}
	var err error
	if a.metrics, err = newMetrics(ctx.GetMetricsRegistry()); err != nil {
		return err
	}
	a.hmacKeys = newHMACKeys()
	if a.RequestTokenLifetime == 0 {
		a.RequestTokenLifetime = caddy.Duration(2 * time.Hour)
	}
	if a.TimestampWindow == 0 {
		a.TimestampWindow = caddy.Duration(5 * time.Minute)
	}
	if a.MaxRequestTokensOfConsumer == 0 {
		a.MaxRequestTokensOfConsumer = tokenstore.DefaultLimits.RequestTokensOfConsumer
	}
	if a.MaxRequestTokens == 0 {
		a.MaxRequestTokens = max(tokenstore.DefaultLimits.RequestTokens, a.MaxRequestTokensOfConsumer)
	}
	if a.Registration == "" {
		a.Registration = registrationClosed
	}
	builtin := len(a.Permissions) == 0
	if builtin {
		a.Permissions = defaultPermissionLevels
	}
	if a.levels, err = newLevels(a.Permissions); err != nil {
		return err
	}
	a.levels.builtin = builtin
	if err := a.provisionConsumers(); err != nil {
		return err
	}
	return a.provisionStore(ctx)
}

func (a *App) provisionConsumers() error {
	a.declared = make(map[string]*tokenstore.Consumer, len(a.Consumers))
	for _, d := range a.Consumers {
		c, err := d.consumer(a.levels)
		if err != nil {
			return fmt.Errorf("consumer %q: %w%s", d.Key, err, d.at())
		}
		if _, ok := a.declared[c.Key]; ok {
			return fmt.Errorf("consumer %q: declared twice", c.Key)
		}
		a.declared[c.Key] = c
		// no error: one that ends while the server runs must not keep it from starting again
		if c.Expired(a.now()) {
			a.logger.Warn("consumer has expired: each of its requests is refused",
				zap.String("consumer", c.Key), zap.Time("expires", c.Expires))
		}
	}
	return nil
}

// Validate looks at the values.
func (a *App) Validate() error {
	if a.RequestTokenLifetime < 0 {
		return fmt.Errorf("request_token_lifetime %v: must be positive", time.Duration(a.RequestTokenLifetime))
	}
	if a.AccessTokenLifetime < 0 {
		return fmt.Errorf("access_token_lifetime %v: must be positive, or 0 for never", time.Duration(a.AccessTokenLifetime))
	}
	if a.TimestampWindow < caddy.Duration(time.Second) || time.Duration(a.TimestampWindow) > tokenstore.MaxWindow {
		return fmt.Errorf("timestamp_window %v: must be from a second to ten years", time.Duration(a.TimestampWindow))
	}
	if a.MaxRequestTokensOfConsumer < 0 {
		return fmt.Errorf("max_request_tokens_of_consumer %d: must be positive", a.MaxRequestTokensOfConsumer)
	}
	if a.MaxRequestTokens < a.MaxRequestTokensOfConsumer {
		return fmt.Errorf("max_request_tokens %d: must be at least the %d of one consumer",
			a.MaxRequestTokens, a.MaxRequestTokensOfConsumer)
	}
	if a.Registration != registrationClosed && a.Registration != registrationOpen {
		return fmt.Errorf("registration %q: must be closed or open", a.Registration)
	}
	return nil
}

// Start opens the store, or goes on with the one that an earlier configuration opened.
func (a *App) Start() error {
	defer a.settle.Do(func() { close(a.ready) })

	if app, err := a.ctx.AppIfConfigured("http"); err == nil {
		if err := a.checkCopied(app.(*caddyhttp.App)); err != nil {
			return err
		}
		a.warnOfSharedUsers(app.(*caddyhttp.App))
	}
	store, err := a.acquireStore()
	if err != nil {
		return err
	}
	if err := a.checkDeclared(store); err != nil {
		return err
	}
	if a.secret, err = store.Secret(context.Background()); err != nil {
		return fmt.Errorf("reading the store's secret: %w", err)
	}
	store.SetLimits(a.limits())
	a.store = store
	a.usage.start(store, a.logger)
	appsStarted.add(a)
	return nil
}

func (a *App) limits() tokenstore.Limits {
	return tokenstore.Limits{
		RequestTokensOfConsumer: a.MaxRequestTokensOfConsumer,
		RequestTokens:           a.MaxRequestTokens,
	}
}

// checkDeclared refuses a consumer that is declared and stored at once: which of them is meant?
func (a *App) checkDeclared(store tokenstore.Store) error {
	for key := range a.declared {
		_, err := store.Consumer(context.Background(), key)
		if err == nil {
			return fmt.Errorf("consumer %q: declared in the configuration and stored as well; remove one of them (the stored one with: oauth1 consumer remove)", key)
		}
		if !errors.Is(err, tokenstore.ErrNotFound) {
			return fmt.Errorf("looking for consumer %q: %w", key, err)
		}
	}
	return nil
}

// Stop does nothing: requests may be under way until Cleanup and beyond.
func (a *App) Stop() error { return nil }

// Cleanup lets go of the store. It closes when no other configuration uses it; a request that still comes by then is
// refused with 503.
func (a *App) Cleanup() error {
	if a.ready != nil {
		a.settle.Do(func() { close(a.ready) })
	}
	appsStarted.remove(a)
	if a.poolKey == "" {
		return nil
	}
	a.usage.end()
	return a.releaseStore()
}

// open returns the store, and waits for it while Caddy starts its apps, in no certain order.
func (a *App) open(ctx context.Context) (tokenstore.Store, error) {
	select {
	case <-a.ready: // by itself, and so without a lock: it is what every request finds
	default:
		select {
		case <-a.ready:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if a.store == nil {
		return nil, tokenstore.ErrClosed
	}
	return a.store, nil
}

// consumer finds a consumer among the declared and the stored ones. tokenstore.ErrNotFound.
func (a *App) consumer(ctx context.Context, store tokenstore.Store, key string) (*tokenstore.Consumer, error) {
	if c, ok := a.declared[key]; ok {
		return c, nil
	}
	if len(key) > maxText {
		return nil, tokenstore.ErrNotFound // a store may have no room for such a key, not even to look for it
	}
	return store.Consumer(ctx, key)
}

// accessToken finds an access token. tokenstore.ErrNotFound.
func (a *App) accessToken(ctx context.Context, store tokenstore.Store, key string) (*tokenstore.AccessToken, error) {
	if len(key) > maxText {
		return nil, tokenstore.ErrNotFound
	}
	return store.AccessToken(ctx, key)
}

// requestToken finds a request token. tokenstore.ErrNotFound.
func (a *App) requestToken(ctx context.Context, store tokenstore.Store, key string) (*tokenstore.RequestToken, error) {
	if len(key) > maxText {
		return nil, tokenstore.ErrNotFound
	}
	return store.RequestToken(ctx, key)
}

// tokenExpires is when a grant that is made now ends: by the user's choice (0: no wish) and the operator's limit.
// Zero means never.
func (a *App) tokenExpires(now time.Time, lifetime time.Duration) time.Time {
	most := time.Duration(a.AccessTokenLifetime)
	if lifetime == 0 || (most > 0 && lifetime > most) {
		lifetime = most
	}
	if lifetime == 0 {
		return time.Time{}
	}
	return now.Add(lifetime)
}

// grantable reports whether a consumer may be granted a level at all.
func (a *App) grantable(c *tokenstore.Consumer, level string) bool {
	if _, ok := a.levels.declared(level); !ok {
		return false
	}
	return len(c.Permissions) == 0 || slices.Contains(c.Permissions, level)
}

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.Validator    = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
