package caddymodule

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/audit"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/badgerstore"
)

// startedEvent is the event by which Caddy says that all apps have started.
func startedEvent(t *testing.T) caddy.Event {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	defer cancel()
	e, err := caddy.NewEvent(ctx, "started", nil)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// TestWhenAConfigurationIsTold: when all apps have started and the trail is open, whichever comes
// first. If Caddy gives it up after that, the trail says so, and the next one is compared with the
// one before it.
func TestWhenAConfigurationIsTold(t *testing.T) {
	ctx := t.Context()
	store, err := badgerstore.Open(badgerstore.Options{Path: filepath.Join(t.TempDir(), "store")})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	core, logs := observer.New(zap.InfoLevel)
	pooled := new(pooledStore)
	defer pooled.trail.close()
	app := func(name string) *App {
		return &App{
			logger: zap.NewNop(), sink: audit.Log{Logger: zap.New(core)}, pooled: pooled, store: store, diagnoser: newDiagnoser(&Diagnoses{}),
			declared: map[string]*tokenstore.Consumer{"c": {Key: "c", Name: name}},
		}
	}
	open := func(a *App) {
		if err := a.openTrail(ctx, store); err != nil {
			t.Fatal(err)
		}
	}
	started := func(a *App) {
		if err := (&startedHandler{a}).Handle(ctx, startedEvent(t)); err != nil {
			t.Fatal(err)
		}
	}
	told := func() (lines []string) {
		for _, entry := range logs.TakeAll() {
			if entry.Message == "configuration.loaded" {
				lines = append(lines, fmt.Sprint(entry.ContextMap()["outcome"], " ", entry.ContextMap()["changes"]))
			}
		}
		return lines
	}
	want := func(when string, lines ...string) {
		t.Helper()
		if got := told(); !slices.Equal(got, lines) {
			t.Errorf("%s: told %q, want %q", when, got, lines)
		}
	}
	first, failed, given, late, last := app("first"), app("failed"), app("given up"), app("late"), app("last")
	open(first)
	want("the trail is open")
	started(first)
	want("all have started", "done [map[field:consumer c to:declared]]")
	started(first)
	want("again")

	open(failed)
	failed.tellUnloaded()
	want("another app failed")

	started(given)
	want("the trail is not open")
	open(given)
	want("the trail is open", "done [map[field:consumer c: name from:first to:given up]]")
	given.tellUnloaded()
	want("Caddy gave up", "failed <nil>")

	started(late)
	late.load.stopping = true
	open(late)
	want("it ends before the trail is open")

	open(last)
	started(last)
	want("the last", "done [map[field:consumer c: name from:first to:last]]")
	last.load.stopping = true
	last.tellUnloaded()
	want("the end")
}

// TestCaddysDebugLogShowsNothingOfTheApp: it prints those who hear of an event.
func TestCaddysDebugLogShowsNothingOfTheApp(t *testing.T) {
	handler := &startedHandler{&App{Consumers: []*DeclaredConsumer{{Key: "k", Secret: "canary"}}}}
	fields := zapcore.NewMapObjectEncoder()
	zap.Any("handler", handler).AddTo(fields)
	if text, err := json.Marshal(fields.Fields); err != nil || strings.Contains(string(text), "canary") {
		t.Errorf("printed %s, %v", text, err)
	}
}
