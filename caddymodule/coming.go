package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// coming is the state of a store that could not do its work when the app started, and that will do
// it later. Until then every request is refused.
type coming struct {
	problem atomic.Pointer[error] // nil: the store is there
	stop    context.CancelFunc
	waiting sync.WaitGroup
}

// end stops the waiting.
func (c *coming) end() {
	if c.stop != nil {
		c.stop()
		c.waiting.Wait()
	}
}

// isLater reports whether a store can't do its work now, and will do it later.
func isLater(err error) bool {
	var later *tokenstore.LaterError
	return errors.As(err, &later)
}

// errDeclaredTwice is the error of a consumer that is declared in the configuration and stored.
var errDeclaredTwice = errors.New("declared in the configuration and stored as well; " +
	"remove one of them (the stored one with: oauth1 consumer remove)")

// takeUp asks the store for what the app needs of it before the first request.
func (a *App) takeUp(ctx context.Context, store tokenstore.Store) error {
	secret, err := store.Secret(ctx)
	if err != nil {
		return fmt.Errorf("reading the store's secret: %w", err)
	}
	a.secret = secret
	if err := a.startBackups(store); err != nil {
		return err
	}
	// Before checkDeclared, whose error does not end an app that serves already: see awaitStore.
	if err := a.openTrail(ctx, store); err != nil {
		return err
	}
	return a.checkDeclared(ctx, store)
}

// checkDeclared refuses a key that is both declared and stored, because the two consumers may
// differ.
func (a *App) checkDeclared(ctx context.Context, store tokenstore.Store) error {
	for key := range a.declared {
		_, err := store.Consumer(ctx, key)
		if err == nil {
			return fmt.Errorf("consumer %q: %w", key, errDeclaredTwice)
		}
		if !errors.Is(err, tokenstore.ErrNotFound) {
			return fmt.Errorf("looking for consumer %q: %w", key, err)
		}
	}
	return nil
}

// awaitStore takes up the store as soon as it can do its work. err is why it can't.
func (a *App) awaitStore(store tokenstore.Store, err error) {
	const every = time.Second
	a.logger.Warn("the token store can't work yet: requests are refused until it can", zap.Error(err))
	a.coming.problem.Store(&err)
	ctx, cancel := context.WithCancel(context.Background())
	a.coming.stop = cancel
	a.coming.waiting.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(every):
			}
			err := a.takeUp(ctx, store)
			switch {
			case ctx.Err() != nil:
				return
			case err == nil:
				a.logger.Info("the token store works")
			case errors.Is(err, errDeclaredTwice):
				// It is too late to refuse the configuration. The declared consumer counts.
				a.logger.Error("a consumer is declared and stored", zap.Error(err))
			default:
				a.coming.problem.Store(&err)
				continue
			}
			a.coming.problem.Store(nil)
			return
		}
	})
}
