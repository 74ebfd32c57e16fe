package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/badgerstore"
)

// TestTheDefaultStoreIsLoadedByCaddy: the default store is loaded like any other store, with its
// own logger, Validate and Cleanup.
func TestTheDefaultStoreIsLoadedByCaddy(t *testing.T) {
	for name, raw := range map[string]json.RawMessage{
		"default": nil,
		"named":   json.RawMessage(`{"module":"badger"}`),
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("XDG_DATA_HOME", filepath.Join(t.TempDir(), "data"))
			ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
			defer cancel()
			a := &App{StoreRaw: raw}
			if err := a.provisionStore(ctx); err != nil {
				t.Fatal(err)
			}
			m, ok := a.module.(*badgerstore.Module)
			if want := filepath.Join(caddy.AppDataDir(), "oauth1"); !ok || m.Path != want {
				t.Errorf("got %+v, want a store at %q", a.module, want)
			}

			t.Setenv("XDG_DATA_HOME", "/{no.such.placeholder}")
			err := (&App{StoreRaw: raw}).provisionStore(ctx)
			if want := "loading the store's module: "; err == nil || !strings.HasPrefix(err.Error(), want) ||
				!strings.Contains(err.Error(), "provision oauth1.stores.badger: path: ") {
				t.Errorf("got %v, want Caddy's error for a module that it provisions", err)
			}
		})
	}
}

// silentModule and silentStore have no optional capability.
type (
	silentModule struct{ tokenstore.Module }
	silentStore  struct{ tokenstore.Store }
)

// statStore has some of the optional capabilities.
type statStore struct {
	tokenstore.Store
	stats []tokenstore.Stat
	err   error
}

func (s statStore) Stats(context.Context) ([]tokenstore.Stat, error) { return s.stats, s.err }

type describedModule struct{ tokenstore.Module }

func (describedModule) Describe() []slog.Attr {
	return []slog.Attr{slog.String("path", "/p"), slog.Bool("sync", true)}
}

// TestTheLogTellsWhatTheStoreKnows: the log shows which store was opened, as far as the store can
// tell.
func TestTheLogTellsWhatTheStoreKnows(t *testing.T) {
	t.Parallel()
	stats := []tokenstore.Stat{{Name: "consumers", Value: 3}, {Name: "cats", Value: 4}}
	for _, c := range []struct {
		name   string
		module tokenstore.Module
		store  tokenstore.Store
		want   map[string]any
	}{
		{"nothing", silentModule{}, silentStore{}, map[string]any{}},
		{"its place", describedModule{}, silentStore{}, map[string]any{"path": "/p", "sync": true}},
		{"how much is in it", silentModule{}, statStore{stats: stats},
			map[string]any{"consumers": int64(3), "cats": int64(4)}},
		{"some of its content", silentModule{}, statStore{stats: stats[:1], err: errors.New("broken")},
			map[string]any{"consumers": int64(3), "uncounted": "broken"}},
		{"the default store's name and place", &badgerstore.Module{Path: "/nowhere/at/all"}, silentStore{},
			map[string]any{"store": "badger", "path": "/nowhere/at/all", "encrypted": false, "sync": false}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			core, logs := observer.New(zap.InfoLevel)
			logOpened(t.Context(), zap.New(core), c.module, c.store)
			all := logs.All()
			if len(all) != 1 || all[0].Message != openedMessage || !maps.Equal(all[0].ContextMap(), c.want) {
				t.Errorf("got %+v, want one line with %v", all, c.want)
			}
		})
	}
	t.Run("nothing of a store that is being closed", func(t *testing.T) {
		t.Parallel()
		core, logs := observer.New(zap.InfoLevel)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		store := statStore{err: fmt.Errorf("count: %w", context.Canceled)}
		logOpened(ctx, zap.New(core), silentModule{}, store)
		if logs.Len() > 0 {
			t.Errorf("got %v", logs.All())
		}
	})
}

// endlessStore counts until its context ends.
type endlessStore struct {
	tokenstore.Store
	counting chan struct{}
	closed   *bool
}

func (s endlessStore) Stats(ctx context.Context) ([]tokenstore.Stat, error) {
	close(s.counting)
	<-ctx.Done()
	if *s.closed {
		return nil, errors.New("closed while it counts")
	}
	return nil, ctx.Err()
}

func (s endlessStore) Secret(context.Context) (secret [32]byte, err error) { return secret, nil }
func (s endlessStore) SetLimits(tokenstore.Limits)                         {}
func (s endlessStore) Close() error                                        { *s.closed = true; return nil }

type endlessModule struct{ store endlessStore }

func (m endlessModule) PoolKey() (string, error)         { return "endless", nil }
func (m endlessModule) Open() (tokenstore.Store, error)  { return m.store, nil }
func (m endlessModule) Configure(tokenstore.Store) error { return nil }

// TestAStoreThatIsCountedCanBeClosed: a stop does not wait until millions of tokens are counted,
// and nothing counts in a closed store.
func TestAStoreThatIsCountedCanBeClosed(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	closed := false
	store := endlessStore{counting: make(chan struct{}), closed: &closed}
	a := &App{module: endlessModule{store}, logger: zap.New(core), ready: make(chan struct{}), diagnoser: &diagnoser{off: true}}
	if err := a.Start(); err != nil {
		t.Fatal(err)
	}
	<-store.counting
	if err := a.Cleanup(); err != nil {
		t.Fatal(err)
	}
	unexpected := logs.Filter(func(e observer.LoggedEntry) bool { return e.LoggerName != "audit" })
	if !closed || unexpected.Len() > 0 {
		t.Errorf("closed: %v; logged %v", closed, unexpected.All())
	}
}
