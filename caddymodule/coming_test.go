package caddymodule

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/refusal"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// comingStore has no secret before a time.
type comingStore struct {
	tokenstore.Store
	from   time.Time
	stored []string // consumers
	broken error
}

func (s comingStore) Secret(context.Context) (secret [32]byte, err error) {
	if s.broken != nil {
		return secret, s.broken
	}
	if left := time.Until(s.from); left > 0 {
		return secret, &tokenstore.LaterError{After: left, Err: errors.New("no server answers")}
	}
	return [32]byte{1}, nil
}

func (s comingStore) Consumer(_ context.Context, key string) (*tokenstore.Consumer, error) {
	if slices.Contains(s.stored, key) {
		return &tokenstore.Consumer{Key: key}, nil
	}
	return nil, tokenstore.ErrNotFound
}

func (comingStore) SetLimits(tokenstore.Limits) {}
func (comingStore) Close() error                { return nil }

type comingModule struct{ store comingStore }

func (m comingModule) PoolKey() (string, error)         { return "coming", nil }
func (m comingModule) Open() (tokenstore.Store, error)  { return m.store, nil }
func (m comingModule) Configure(tokenstore.Store) error { return nil }

// TestAStoreThatComesLater: the app starts without it, refuses requests with 503 and a time to try
// again, and needs no restart when the store is there. An error that stays fails the start.
func TestAStoreThatComesLater(t *testing.T) {
	for name, c := range map[string]struct {
		store comingStore
		logs  []string
		err   string
	}{
		"it comes": {logs: []string{
			"the token store can't work yet: requests are refused until it can", "the token store works"}},
		"it has a consumer that is declared": {store: comingStore{stored: []string{"declared"}}, logs: []string{
			"the token store can't work yet: requests are refused until it can", "a consumer is declared and stored"}},
		"it is broken": {store: comingStore{broken: errors.New("broken")}, err: "broken"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				core, logs := observer.New(zap.InfoLevel)
				c.store.from = time.Now().Add(4500 * time.Millisecond)
				a := &App{
					module: comingModule{c.store}, logger: zap.New(core), ready: make(chan struct{}), diagnoser: &diagnoser{off: true},
					declared: map[string]*tokenstore.Consumer{"declared": {Key: "declared"}},
				}
				err := a.Start()
				defer func() {
					if err := a.Cleanup(); err != nil {
						t.Error(err)
					}
				}()
				if c.err != "" {
					if err == nil || !strings.Contains(err.Error(), c.err) {
						t.Errorf("got %v, want %q", err, c.err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				_, err = a.open(t.Context())
				if got := retryAfter(refusal.Store.Because(err)); got != "5" {
					t.Errorf("%v: Retry-After is %q", err, got)
				}
				time.Sleep(6 * time.Second)
				if store, err := a.open(t.Context()); err != nil || store == nil || a.secret[0] != 1 {
					t.Errorf("got %v, %v and the secret %x", store, err, a.secret)
				}
				var lines []string
				for _, e := range logs.All() {
					if e.Message != openedMessage && e.LoggerName != "audit" {
						lines = append(lines, e.Message)
					}
				}
				if !slices.Equal(lines, c.logs) {
					t.Errorf("logged %q, want %q", lines, c.logs)
				}
			})
		})
	}
	t.Run("it never comes", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := &App{
				module: comingModule{comingStore{from: time.Now().Add(time.Hour)}}, logger: zap.NewNop(),
				ready: make(chan struct{}), diagnoser: &diagnoser{off: true},
			}
			if err := a.Start(); err != nil {
				t.Fatal(err)
			}
			if err := a.Cleanup(); err != nil { // ends the waiting, or the bubble would not end
				t.Error(err)
			}
		})
	})
}
