package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	_ "github.com/caddy-oauth1/caddy-oauth1/tokenstore/badgerstore" // the default store
	_ "github.com/caddy-oauth1/caddy-oauth1/tokenstore/redisstore"  // for several replicas
)

// stores holds the open stores, so that a reload can take over an open store.
var stores = caddy.NewUsagePool()

// A pooledStore is a store in the pool.
type pooledStore struct {
	tokenstore.Store
	trail   trailOfStore
	past    *past // for explanations, as nonces
	nonces  *seenNonces
	sending atomic.Bool        // a backup is being sent
	cancel  context.CancelFunc // stops the background work for the store
	running sync.WaitGroup
	watch   *storeWatch
}

// Destruct closes the store when the last user has released it.
func (s *pooledStore) Destruct() error {
	s.cancel()
	s.running.Wait()
	s.trail.close()
	storesWatched.forget(s.watch)
	return s.Close()
}

// provisionStore loads the store's module. This does not open the store.
func (a *App) provisionStore(ctx caddy.Context) error {
	var module any
	var err error
	if a.StoreRaw == nil {
		module, err = ctx.LoadModuleByID(storeID(tokenstore.DefaultModule), nil)
	} else {
		module, err = ctx.LoadModule(a, "StoreRaw")
	}
	if err != nil {
		return fmt.Errorf("loading the store's module: %w", err)
	}
	m, ok := module.(tokenstore.Module)
	if !ok {
		return fmt.Errorf("module %T is not a token store", module)
	}
	a.module = m
	return a.provisionKeys()
}

// storeID returns the module ID for the name of a store.
func storeID(name string) string { return tokenstore.ModuleNamespace + "." + name }

// acquireStore opens the store, or takes over the one that another configuration opened. From then
// on the pool counts the app. This is also true after an error, if the store is open but could not
// be configured.
func (a *App) acquireStore() (tokenstore.Store, error) {
	key, err := a.module.PoolKey()
	if err != nil {
		return nil, err
	}
	value, loaded, err := stores.LoadOrNew(key, func() (caddy.Destructor, error) {
		store, err := a.module.Open()
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithCancel(context.Background())
		pooled := &pooledStore{
			Store: store, cancel: cancel, watch: storesWatched.watch(store), past: new(past), nonces: newSeenNonces(),
		}
		pooled.running.Go(func() { pooled.watch.measure(ctx) })
		pooled.running.Go(func() {
			begin := time.Now()
			pooled.watch.counted(logOpened(ctx, a.logger, a.module, store))
			pooled.watch.count(ctx, time.Since(begin))
		})
		return pooled, nil
	})
	if err != nil {
		return nil, err
	}
	a.poolKey = key
	a.pooled = value.(*pooledStore)
	a.diagnoser.remember(a.pooled)
	store := a.pooled.Store
	if loaded {
		err = a.configureStore(store)
	}
	return store, err
}

// releaseStore releases the store, for which the pool counts the app.
func (a *App) releaseStore() error {
	var err error
	// A failed reload may have changed the options of the open store.
	if other := appsStarted.besides(a); other != nil {
		err = errors.Join(other.module.Configure(other.store), other.takeKeys())
		other.store.SetLimits(other.limits())
		other.diagnoser.inForce()
		err = errors.Join(err, a.pooled.trail.use(other))
	}
	_, closing := stores.Delete(a.poolKey)
	a.poolKey = ""
	return errors.Join(err, closing)
}

// openedMessage is the message of the log line.
const openedMessage = "token store is open"

// logOpened logs which store was opened, and how much it holds, if known, which it returns. It runs
// in the background: a store may count for seconds.
func logOpened(
	ctx context.Context, logger *zap.Logger, module tokenstore.Module, store tokenstore.Store,
) (stats []tokenstore.Stat) {
	var fields []zap.Field
	if m, ok := module.(caddy.Module); ok {
		fields = append(fields, zap.String("store", m.CaddyModule().ID.Name()))
	}
	if d, ok := module.(tokenstore.Describer); ok {
		for _, attr := range d.Describe() {
			fields = append(fields, zap.Any(attr.Key, attr.Value.Any()))
		}
	}
	if s, ok := store.(tokenstore.Statter); ok {
		var err error
		stats, err = s.Stats(ctx)
		if ctx.Err() != nil {
			return nil // the store is being closed
		}
		if err != nil {
			fields = append(fields, zap.NamedError("uncounted", err))
		}
		for _, stat := range stats {
			fields = append(fields, zap.Int64(stat.Name, stat.Value))
		}
	}
	logger.Info(openedMessage, fields...)
	return stats
}
