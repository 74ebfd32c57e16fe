package caddymodule

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"go.uber.org/zap"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/audit"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// A configLoad is how far Caddy has come with the configuration of an app. The audit trail tells of
// it when all of its apps have started: until then another one may fail, and Caddy goes on with the
// configuration before.
type configLoad struct {
	mu       sync.Mutex
	started  bool // all apps have
	told     bool
	stopping bool // it was in force, and ends
}

// A startedHandler hears that all apps of a configuration have started. Caddy's debug log prints it,
// so its field is one that is not printed.
type startedHandler struct{ app *App }

// awaitStarted lets the app hear it.
func (a *App) awaitStarted(ctx caddy.Context) error {
	app, err := ctx.App("events")
	if err != nil {
		return fmt.Errorf("getting the events app: %w", err)
	}
	return app.(*caddyevents.App).On("started", &startedHandler{a})
}

// Handle tells of the configuration, if the event is Caddy's own.
func (h *startedHandler) Handle(ctx context.Context, e caddy.Event) error {
	if e.Origin() != nil {
		return nil
	}
	h.app.load.mu.Lock()
	h.app.load.started = true
	h.app.load.mu.Unlock()
	h.app.tellLoaded(ctx, h.app.store)
	return nil
}

// tellLoaded tells that the configuration was loaded, once, when it was and the trail is open.
func (a *App) tellLoaded(ctx context.Context, store tokenstore.Store) {
	a.load.mu.Lock()
	defer a.load.mu.Unlock()
	trail := a.trail.Load()
	if !a.load.started || a.load.told || a.load.stopping || trail == nil {
		return
	}
	a.load.told = true
	for _, event := range a.pooled.trail.loaded(a) {
		if trail.Tell(event) != nil {
			return // counted and logged
		}
	}
	// A trail writes its lines in order.
	if keeper, ok := store.(tokenstore.Keeper); ok {
		if err := a.pooled.trail.owed.written(ctx, keeper); err != nil {
			a.logger.Error("the store can't keep what the audit trail told", zap.Error(err))
		}
	}
}

// tellUnloaded tells that Caddy gave up a configuration after all: something that Caddy does after
// the start of its apps has failed.
func (a *App) tellUnloaded() {
	a.load.mu.Lock()
	defer a.load.mu.Unlock()
	if !a.load.told || a.load.stopping {
		return
	}
	a.pooled.trail.unloaded()
	_ = a.trail.Load().Tell(&audit.Event{ // a failure is counted and logged
		Name: audit.ConfigurationLoaded, Outcome: audit.Failed, Count: len(a.declared),
		Reason: "Caddy gave it up after its start", Actor: audit.ActorServer, ActorSource: audit.ActorServer,
	})
}

// loaded returns the events of the app's configuration, with what differs from the one before in
// this process. The first one is told whole. There are several if the differences are many.
func (t *trailOfStore) loaded(a *App) (events []*audit.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	declared := make(map[string]map[string]string, len(a.declared))
	for key, c := range a.declared {
		texts := settingTexts(c)
		if c.Secret != "" {
			mac := hmac.New(sha256.New, audit.Key(a.secret))
			mac.Write([]byte("declared secret" + c.Secret))
			texts["secret"] = hex.EncodeToString(mac.Sum(nil)[:8])
		}
		declared[key] = texts
	}
	for changes := range audit.Parts(declaredChanges(t.declared, declared)) {
		events = append(events, &audit.Event{
			Name: audit.ConfigurationLoaded, Count: len(declared), Changes: changes,
			Actor: audit.ActorServer, ActorSource: audit.ActorServer,
		})
	}
	t.declaredBefore, t.declared = t.declared, declared
	return events
}

// unloaded takes the last configuration back.
func (t *trailOfStore) unloaded() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.declared = t.declaredBefore
}

// declaredChanges returns what differs between the declared consumers of two configurations.
func declaredChanges(before, after map[string]map[string]string) (changes []audit.Change) {
	all := maps.Clone(after)
	maps.Copy(all, before)
	for _, key := range slices.Sorted(maps.Keys(all)) {
		name := "consumer " + key
		switch {
		case before[key] == nil:
			changes = append(changes, audit.Change{Field: name, To: "declared"})
		case after[key] == nil:
			changes = append(changes, audit.Change{Field: name, From: "declared"})
		default:
			for _, change := range settingChanges(name+": ", before[key], after[key]) {
				if strings.HasSuffix(change.Field, ": secret") {
					change.From, change.To = hidden(change.From), hidden(change.To)
				}
				changes = append(changes, change)
			}
		}
	}
	return changes
}

// Interface guard
var _ caddyevents.Handler = (*startedHandler)(nil)
