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

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/audit"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/policy"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

func init() {
	caddy.RegisterModule(new(App))
}

// App holds the common parts of all sites: the token store, the lifetimes of credentials, the
// permission levels, and the consumers that the configuration declares.
//
// Users, tokens and consumers are one namespace for all sites: a grant by the `admin` of one site
// is a grant by the `admin` of every other site. If sites with different logins share users, a
// warning is logged when the configuration is loaded. To separate the users, give each site its own
// text in the handler's `user`, such as `shop:{http.auth.user.id}`.
//
// The app needs no configuration: a site with the `oauth1` handler gets an app with the defaults.
type App struct {
	// The store of tokens and nonces. Default: `badger`, in the folder `oauth1` of Caddy's data
	// directory.
	StoreRaw json.RawMessage `json:"store,omitempty" caddy:"namespace=oauth1.stores inline_key=module"`

	// The keys that encrypt what the store keeps: consumers, tokens, and the names in indexes.
	// Default: none, everything is clear. They can be added, changed and removed while the server
	// runs; see the command `oauth1 keys`. A key that is removed while it is in use is an error when
	// the configuration is loaded.
	Keys *Keys `json:"keys,omitempty"`

	// How long a request token can be reviewed and exchanged, from its creation on. Default: 2h.
	RequestTokenLifetime caddy.Duration `json:"request_token_lifetime,omitempty"`

	// The longest lifetime of an access token, from its review on. Users may choose a shorter one,
	// and the admin API refuses a longer one. An access token that the admin API imports with its
	// secret lives as long as the import says. Default: 0, no limit: a token lives until it is
	// revoked.
	AccessTokenLifetime caddy.Duration `json:"access_token_lifetime,omitempty"`

	// The largest difference between the timestamp of a request and the server's clock, in either
	// direction. Default: 5m. Every accepted request is remembered for as long as its timestamp
	// stays acceptable, so a wide window costs memory. A narrow window refuses clients with a wrong
	// clock. At most ten years.
	TimestampWindow caddy.Duration `json:"timestamp_window,omitempty"`

	// Which consumers may ask for request tokens. `closed`, the default, accepts only declared and
	// stored consumers. `open` registers an unknown consumer key with an empty secret, as Launchpad
	// does. Danger of `open`: the name of such a consumer proves nothing, and anybody who knows the
	// key can use it. A key with a character that can't be seen is refused.
	Registration string `json:"registration,omitempty"`

	// How many request tokens of one consumer may wait for their review and exchange. Default:
	// 10000; a consumer that registered itself may have at most 100. A request token counts as one
	// for each 700 bytes that it takes, so a token with a long callback counts as several. The
	// store may hold twice as many, since refused and expired tokens stay until they are removed.
	// Above the limit, the consumer's requests for a request token are answered with 503. Danger:
	// anybody who knows the consumer's secret can ask for that many, and so exclude the consumer
	// itself.
	MaxRequestTokensOfConsumer int `json:"max_request_tokens_of_consumer,omitempty"`

	// How many request tokens the store may hold, of all consumers, counted in the same way.
	// Refused and expired tokens count until they are removed, about ten minutes after their
	// expiry. Default: 200000, which take at most 140 MB of disk. Consumers that registered
	// themselves may have at most 20000 of them together. Above the limit, requests are answered
	// with 503. A reload may change both limits.
	MaxRequestTokens int `json:"max_request_tokens,omitempty"`

	// Where the audit trail goes. Default: counted, to the logger `oauth1.audit`.
	Audit *AuditTrail `json:"audit,omitempty"`

	// Consumers that are only in the configuration. They are never written to the store, and end
	// when they are removed here. If a key is also in the store, the start fails.
	Consumers []*DeclaredConsumer `json:"consumers,omitempty"`

	// How many refused requests are explained to the operator. Default: 20 a second, and 2 a second
	// of one consumer.
	Diagnoses *Diagnoses `json:"diagnoses,omitempty"`

	// The permission levels, in the order in which they are offered. If any are declared, they
	// replace the defaults (Launchpad's: READ_PUBLIC, WRITE_PUBLIC, READ_PRIVATE, WRITE_PRIVATE,
	// DESKTOP_INTEGRATION).
	Permissions []policy.PermissionLevel `json:"permissions,omitempty"`

	// Backups of the store by schedule, and the journal of what was revoked since. Default: none.
	Backup *Backup `json:"backup,omitempty"`

	// Metrics beside the usual ones. Default: none.
	Metrics *MetricsOptions `json:"metrics,omitempty"`

	ctx      caddy.Context
	logger   *zap.Logger
	metrics  *metrics
	module   tokenstore.Module
	ring     tokenstore.Sealer // of Keys; nil if there are none
	keysWait atomic.Bool       // the store has the keys of the configuration before: see takeKeys
	levels   *policy.Levels
	declared map[string]*tokenstore.Consumer
	now      func() time.Time
	partial  atomic.Bool // at least one handler has its own matcher

	addressWarnings addressWarnings

	pooled       *pooledStore
	poolKey      string           // set while the pool counts this app
	store        tokenstore.Store // nil until ready is closed, and also if the start failed
	meteredStore tokenstore.Store
	ready        chan struct{}
	settle       sync.Once // closes ready
	coming       coming
	secret       [32]byte
	pemKeys      publicKeys
	hmacKeys     *hmacKeys
	usage        usage
	failures     storeFailures
	diagnoser    *diagnoser
	health       storeHealth
	sink         audit.Sink
	trail        atomic.Pointer[audit.Trail] // nil until the store can work
	load         configLoad
	expired      expiredTokens
	backups      *backups // nil: there is no option backup, or the store can't work yet
}

const defaultTimestampWindow = 5 * time.Minute

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

// Provision sets the defaults and checks the declared consumers and levels. It opens nothing:
// `caddy validate` runs it while a server has the store open.
func (a *App) Provision(ctx caddy.Context) error {
	a.ctx, a.logger = ctx, ctx.Logger()
	a.ready = make(chan struct{})
	appsStarted.expect(a)
	if a.now == nil {
		a.now = time.Now
	}
	if err := a.provisionMetrics(ctx.GetMetricsRegistry()); err != nil {
		return err
	}
	a.hmacKeys = newHMACKeys()
	if a.RequestTokenLifetime == 0 {
		a.RequestTokenLifetime = caddy.Duration(2 * time.Hour)
	}
	if a.TimestampWindow == 0 {
		a.TimestampWindow = caddy.Duration(defaultTimestampWindow)
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
	var err error
	if a.Diagnoses == nil {
		a.Diagnoses = new(Diagnoses)
	}
	a.Diagnoses.provision()
	a.diagnoser = newDiagnoser(a.Diagnoses)
	if a.levels, err = policy.NewLevels(a.Permissions); err != nil {
		return err
	}
	if err := a.provisionConsumers(); err != nil {
		return err
	}
	if err := a.provisionAudit(); err != nil {
		return err
	}
	if err := a.awaitStarted(ctx); err != nil {
		return err
	}
	if a.Backup != nil {
		if err := a.Backup.provision(); err != nil {
			return err
		}
	}
	return a.provisionStore(ctx)
}

func (a *App) provisionConsumers() error {
	a.declared = make(map[string]*tokenstore.Consumer, len(a.Consumers))
	for i, d := range a.Consumers {
		if d == nil {
			return fmt.Errorf("consumers: number %d is null", i+1)
		}
		c, err := d.consumer(a.levels)
		if err != nil {
			return fmt.Errorf("consumer %q: %w%s", d.Key, err, d.at())
		}
		if _, ok := a.declared[c.Key]; ok {
			return fmt.Errorf("consumer %q: declared twice", c.Key)
		}
		a.declared[c.Key] = c
		// Not an error: a consumer that expires while the server runs must not prevent a restart.
		if c.Expired(a.now()) {
			a.logger.Warn("consumer has expired: each of its requests is refused",
				zap.String("consumer", c.Key), zap.Time("expires", c.Expires))
		}
	}
	return nil
}

// Validate checks the values.
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
	if err := a.Diagnoses.validate(); err != nil {
		return err
	}
	if a.Registration != registrationClosed && a.Registration != registrationOpen {
		return fmt.Errorf("registration %q: must be closed or open", a.Registration)
	}
	if a.Backup != nil {
		if err := a.Backup.validate(); err != nil {
			return err
		}
	}
	return a.Audit.validate()
}

// Start opens the store, or takes over the one that an earlier configuration opened.
func (a *App) Start() error {
	defer a.settle.Do(func() { close(a.ready) })

	if app, err := a.ctx.AppIfConfigured("http"); err == nil {
		if err := a.checkCopied(app.(*caddyhttp.App)); err != nil {
			return err
		}
		a.warnOfSharedUsers(app.(*caddyhttp.App))
	}
	if err := a.openSink(); err != nil {
		return err
	}
	store, err := a.acquireStore()
	if err != nil {
		return err
	}
	if err := a.takeUp(context.Background(), store); isLater(err) {
		a.awaitStore(store, err)
	} else if err != nil {
		return err
	}
	store.SetLimits(a.limits())
	a.store, a.meteredStore = store, metered(store)
	a.usage.start(a.meteredStore, a.logger)
	a.diagnoser.configured(a.declared)
	a.diagnoser.start(a.explainRefused)
	appsStarted.add(a)
	return nil
}

func (a *App) limits() tokenstore.Limits {
	return tokenstore.Limits{
		RequestTokensOfConsumer: a.MaxRequestTokensOfConsumer,
		RequestTokens:           a.MaxRequestTokens,
	}
}

// Stop lets the audit trail go on in a configuration that stays: Caddy closes the logs of this one
// before Cleanup. A new primary key counts from now on. It ends nothing else, since requests can
// still run until Cleanup and after it.
func (a *App) Stop() error {
	a.load.mu.Lock()
	a.load.stopping = true
	a.load.mu.Unlock()
	if a.poolKey == "" {
		return nil
	}
	other := appsStarted.besides(a)
	if other == nil {
		return nil
	}
	return errors.Join(a.pooled.trail.use(other), other.takeKeys())
}

// Cleanup releases the store, which closes when no other configuration uses it. A request that
// arrives after that is refused with 503: see faultless.
func (a *App) Cleanup() error {
	if a.ready != nil {
		a.settle.Do(func() { close(a.ready) })
	}
	appsStarted.remove(a)
	if a.poolKey == "" {
		return a.closeSink()
	}
	a.coming.end()
	a.tellUnloaded()
	a.diagnoser.end()
	a.usage.end()
	return errors.Join(a.endBackups(), a.releaseStore(), a.closeSink())
}

// open returns the store. It waits until the app has started: Caddy starts its apps in no fixed
// order.
func (a *App) open(ctx context.Context) (tokenstore.Store, error) {
	select {
	case <-a.ready: // in a case of its own, which takes no lock: every request comes here
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
	if err := a.coming.problem.Load(); err != nil {
		return nil, *err
	}
	return a.store, nil
}

// openMetered returns the store with its calls measured, for requests and pages. It has none of the
// capabilities that another store may have, but CredentialFinder.
func (a *App) openMetered(ctx context.Context) (tokenstore.Store, error) {
	store, err := a.open(ctx)
	switch {
	case tokenstore.IsFailure(err):
		openErrors.Inc()
		return nil, err
	case err != nil:
		return nil, err
	case unmetered(a.meteredStore) != store: // a test has put another one there
		return metered(store), nil
	}
	return a.meteredStore, nil
}

// consumer finds a declared or stored consumer. The error for an unknown key is
// tokenstore.ErrNotFound.
func (a *App) consumer(ctx context.Context, store tokenstore.Store, key string) (*tokenstore.Consumer, error) {
	if c, ok := a.declared[key]; ok {
		return c, nil
	}
	if len(key) > maxText {
		return nil, tokenstore.ErrNotFound // some stores can't even look up a key of this length
	}
	return store.Consumer(ctx, key)
}

// accessToken finds an access token. The error for an unknown key is tokenstore.ErrNotFound.
func (a *App) accessToken(ctx context.Context, store tokenstore.Store, key string) (*tokenstore.AccessToken, error) {
	if len(key) > maxText {
		return nil, tokenstore.ErrNotFound
	}
	return store.AccessToken(ctx, key)
}

// requestToken finds a request token. The error for an unknown key is tokenstore.ErrNotFound.
func (a *App) requestToken(ctx context.Context, store tokenstore.Store, key string) (*tokenstore.RequestToken, error) {
	if len(key) > maxText {
		return nil, tokenstore.ErrNotFound
	}
	return store.RequestToken(ctx, key)
}

// tokenExpires returns the end of a grant that is made now: the earlier of the user's choice (0: no
// choice) and the operator's limit. Zero means never.
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

// grantable reports whether a consumer may be granted a level.
func (a *App) grantable(c *tokenstore.Consumer, level string) bool {
	if _, ok := a.levels.Find(level); !ok {
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
