package caddymodule

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

const (
	// usageResolution is how exact LastUsed is: a token that was noted less than that ago is not noted again, if the store
	// has it at hand.
	usageResolution = time.Minute
	// usageInterval is how often what was noted is written.
	usageInterval = 10 * time.Second
)

// usage collects which access tokens were used, and writes them to the store in batches, so that a request pays no more
// than a look at the time.
type usage struct {
	mu   sync.Mutex
	used map[string]time.Time
	stop context.CancelFunc
	done chan struct{}
}

// note notes that a request passed with the token.
func (u *usage) note(token *tokenstore.AccessToken, now time.Time) {
	if now.Sub(token.LastUsed) < usageResolution {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.used == nil {
		u.used = make(map[string]time.Time)
	}
	u.used[token.Key] = now
}

// take returns what was noted since the last time.
func (u *usage) take() map[string]time.Time {
	u.mu.Lock()
	defer u.mu.Unlock()
	used := u.used
	u.used = nil
	return used
}

// start writes to the store until end is called.
func (u *usage) start(store tokenstore.Store, logger *zap.Logger) {
	ctx, cancel := context.WithCancel(context.Background())
	u.stop, u.done = cancel, make(chan struct{})
	write := func() {
		used := u.take()
		if len(used) == 0 {
			return
		}
		if err := store.Touch(context.Background(), used); err != nil {
			logger.Warn("writing when tokens were last used", zap.Error(err))
		}
	}
	go func() {
		defer close(u.done)
		ticker := time.NewTicker(usageInterval)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				write()
			case <-ctx.Done():
				write()
				return
			}
		}
	}()
}

// end writes what is left.
func (u *usage) end() {
	if u.stop == nil {
		return
	}
	u.stop()
	<-u.done
}
