package caddymodule

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

const (
	// usageResolution is the precision of LastUsed: a use is not recorded again within this time,
	// if the store has the token in memory.
	usageResolution = time.Minute
	// usageInterval is the time between two writes.
	usageInterval = 10 * time.Second
)

// usage collects the times of use of access tokens, and writes them to the store in batches. A
// request only compares two times.
type usage struct {
	mu   sync.Mutex
	used map[string]time.Time
	stop context.CancelFunc
	done chan struct{}
}

// note records that a request passed with the token.
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

// take returns the records since the last call.
func (u *usage) take() map[string]time.Time {
	u.mu.Lock()
	defer u.mu.Unlock()
	used := u.used
	u.used = nil
	return used
}

// start writes to the store periodically until end is called.
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

// end writes the remaining records.
func (u *usage) end() {
	if u.stop == nil {
		return
	}
	u.stop()
	<-u.done
}
