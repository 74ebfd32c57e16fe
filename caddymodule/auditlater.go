package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"os/user"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/audit"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

const (
	// keptLater begins the names of what the store keeps for the trail until a server starts.
	keptLater = "audit/later/"
	// keptPrimary is the name under which the store keeps the id of the primary key, for the trail.
	keptPrimary = "audit/primary-key"
)

// A laterEvent is what a command did to a store that no server had open. The next server that starts
// with the store tells it.
type laterEvent struct {
	Time    time.Time      `json:"time"`
	Actor   string         `json:"actor,omitempty"`
	Count   int            `json:"count,omitempty"`
	Changes []audit.Change `json:"changes,omitempty"`
}

// later returns the event as a store keeps it. The command gives it to the store together with its
// change, so a command that is killed leaves both or none. Its actor is the user of the system.
func later(name audit.Name, count int, changes ...audit.Change) (*tokenstore.Kept, error) {
	event := laterEvent{Time: time.Now().UTC(), Count: count, Changes: changes}
	if u, err := user.Current(); err == nil {
		event.Actor = u.Username
	}
	text, err := json.Marshal(event)
	if err != nil {
		return nil, fmt.Errorf("encode an event of the audit trail: %w", err)
	}
	return &tokenstore.Kept{Name: keptLater + string(name), Value: text}, nil
}

// withEvent returns the records that are imported, and after the last one the event that tells of
// it.
func withEvent(records iter.Seq2[any, error], event func() (*tokenstore.Kept, error)) iter.Seq2[any, error] {
	return func(yield func(any, error) bool) {
		for r, err := range records {
			if !yield(r, err) {
				return
			}
		}
		yield(event())
	}
}

// An owedEvent was told, and the trail could not write it yet: it owes the line. The store keeps the
// event until the line is written, so a process that ends before loses nothing, and the next one may
// tell it again.
type owedEvent struct {
	event string // what the store keeps of it
	then  []byte // what the store is to keep once it is written
}

// owedEvents are those of a trail, by the name under which the store keeps them.
type owedEvents struct {
	mu  sync.Mutex
	all map[string]owedEvent
}

// tell tells an event, unless the trail owes it already, and lets the store know when it is written.
func (o *owedEvents) tell(
	ctx context.Context, trail *audit.Trail, keeper tokenstore.Keeper, name string, owed owedEvent, e *audit.Event,
) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if before, ok := o.all[name]; ok && before.event == owed.event {
		return nil
	}
	err := trail.Tell(e)
	if err == nil {
		delete(o.all, name)
		return keeper.Keep(ctx, name, owed.then)
	}
	if !errors.Is(err, audit.ErrClosed) {
		if o.all == nil {
			o.all = make(map[string]owedEvent)
		}
		o.all[name] = owed
	}
	return err
}

// written lets the store know that the trail owes nothing.
func (o *owedEvents) written(ctx context.Context, keeper tokenstore.Keeper) (err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for name, owed := range o.all {
		if failed := keeper.Keep(ctx, name, owed.then); failed != nil {
			err = errors.Join(err, failed)
			continue
		}
		delete(o.all, name)
	}
	return err
}

// tellKept tells the trail what happened to the store before the app opened it. A crash meanwhile
// lets the next server tell it again.
func (a *App) tellKept(ctx context.Context, trail *audit.Trail, store tokenstore.Store) {
	keeper, ok := store.(tokenstore.Keeper)
	if !ok {
		return
	}
	err := tellEvents(ctx, trail, keeper, &a.pooled.trail.owed)
	if !a.keysWait.Load() {
		err = errors.Join(err, a.tellPrimaryKey(ctx, trail, keeper, &a.pooled.trail.owed))
	}
	if err != nil {
		a.logger.Error("the audit trail can't tell what happened to the store", zap.Error(err))
	}
}

func tellEvents(ctx context.Context, trail *audit.Trail, keeper tokenstore.Keeper, owed *owedEvents) error {
	kept, err := keeper.Kept(ctx, keptLater)
	if err != nil {
		return err
	}
	var failed error
	for _, name := range slices.Sorted(maps.Keys(kept)) {
		if len(kept[name]) == 0 { // it was told
			continue
		}
		var event laterEvent
		if err := json.Unmarshal(kept[name], &event); err != nil {
			return fmt.Errorf("read %q: %w", name, err)
		}
		err := owed.tell(ctx, trail, keeper, name, owedEvent{event: string(kept[name])}, &audit.Event{
			Name: audit.Name(name[len(keptLater):]), Time: event.Time, Count: event.Count, Changes: event.Changes,
			Actor: event.Actor, ActorSource: audit.ActorClaimed,
		})
		failed = errors.Join(failed, err)
	}
	return failed
}

// tellPrimaryKey tells that the configuration has another primary key than the one before it.
func (a *App) tellPrimaryKey(
	ctx context.Context, trail *audit.Trail, keeper tokenstore.Keeper, owed *owedEvents,
) error {
	kept, err := keeper.Kept(ctx, keptPrimary)
	if err != nil {
		return err
	}
	before, known := kept[keptPrimary]
	now := ""
	if a.Keys != nil && a.Keys.Primary != nil {
		now = a.Keys.Primary.ID
	}
	if known && string(before) == now {
		return nil
	}
	if !known {
		return keeper.Keep(ctx, keptPrimary, []byte(now))
	}
	return owed.tell(ctx, trail, keeper, keptPrimary, owedEvent{now, []byte(now)}, &audit.Event{
		Name: audit.KeyRotated, Actor: audit.ActorServer, ActorSource: audit.ActorServer,
		Changes: []audit.Change{{Field: "primary key", From: string(before), To: now}},
	})
}
