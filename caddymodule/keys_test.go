package caddymodule

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/badgerstore"
)

// TestAReloadThatFailsEncryptsNothingWithItsKey: after it, the configuration before can be started
// again without the key. A reload that works encrypts with the key from its end on.
func TestAReloadThatFailsEncryptsNothingWithItsKey(t *testing.T) {
	keys := map[string]*EncryptionKey{
		"k1": {ID: "k1", Key: strings.Repeat("11", 32)},
		"k2": {ID: "k2", Key: strings.Repeat("22", 32)},
		"k3": {ID: "k3", Key: strings.Repeat("33", 32)},
	}
	path := filepath.Join(t.TempDir(), "store")
	core, logs := observer.New(zap.InfoLevel)
	try := func(ids ...string) (*App, error) {
		t.Helper()
		a := &App{
			module:    &badgerstore.Module{Path: path},
			logger:    zap.New(core),
			ready:     make(chan struct{}),
			diagnoser: &diagnoser{off: true},
		}
		for _, id := range ids {
			if a.Keys == nil {
				a.Keys = &Keys{Primary: keys[id]}
			} else {
				a.Keys.Old = append(a.Keys.Old, keys[id])
			}
		}
		if err := a.provisionKeys(); err != nil {
			t.Fatal(err)
		}
		return a, a.Start()
	}
	load := func(ids ...string) *App {
		t.Helper()
		a, err := try(ids...)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	end := func(a *App) {
		t.Helper()
		if err := a.Stop(); err != nil {
			t.Error(err)
		}
		if err := a.Cleanup(); err != nil {
			t.Error(err)
		}
	}
	wantPrimary := func(a *App, want string, told int) {
		t.Helper()
		if err := a.store.CreateConsumer(t.Context(), &tokenstore.Consumer{Key: tokenstore.NewKey()}); err != nil {
			t.Fatal(err)
		}
		use, err := a.store.(tokenstore.Rewrapper).KeyUse(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var used []string
		for id, n := range use.Records {
			if n > 0 {
				used = append(used, id)
			}
		}
		if use.Primary != want || len(used) == 0 || slices.Max(used) != want {
			t.Errorf("primary %q, used %q, want %q", use.Primary, used, want)
		}
		rotations := 0
		for _, entry := range logs.All() {
			if entry.Message == "key.rotated" {
				rotations++
			}
		}
		if rotations != told {
			t.Errorf("key.rotated is told %d times, want %d", rotations, told)
		}
	}

	app := load()
	failed := load("k1") // and another app of the configuration does not start
	wantPrimary(failed, "", 0)
	end(failed)
	wantPrimary(app, "", 0)
	end(app)

	app = load() // would fail if a key were in use
	next := load("k1")
	end(app)
	app = next
	wantPrimary(app, "k1", 1)

	failed = load("k2", "k1")
	end(failed)
	wantPrimary(app, "k1", 1)
	end(app)

	app = load("k1")
	next = load("k2", "k1")
	end(app)
	wantPrimary(next, "k2", 2)

	// A key is not removed by the reload that brings another primary one.
	app = next
	for after := ""; ; {
		done, err := app.store.(tokenstore.Rewrapper).Rewrap(t.Context(), after)
		if err != nil {
			t.Fatal(err)
		}
		if after = done.Next; after == "" {
			break
		}
	}
	for _, ids := range [][]string{{"k3", "k2"}, {"k3"}, {"k1"}} {
		failed, err := try(ids...)
		if err == nil || !strings.Contains(err.Error(), "keep it as old now") {
			t.Errorf("keys %q instead of k2 and k1: got %v", ids, err)
		}
		end(failed)
		wantPrimary(app, "k2", 2)
	}
	end(app)
	app = load("k2", "k1")
	next = load("k2")
	end(app)
	app, next = next, load("k3", "k2")
	wantPrimary(app, "k2", 2)
	end(app)
	wantPrimary(next, "k3", 3)
	end(next)
}
