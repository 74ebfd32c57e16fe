package caddymodule

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/audit"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// A Caddy that makes backups by schedule knows from when on its journal is needed: from the oldest
// backup that it keeps. Those with journal_only learn it from the store that they share.

// keptSchedules begins the names of what the store keeps of the schedules, one of each Caddy.
const keptSchedules = "backup/schedule/"

// A keptSchedule is the schedule of a Caddy, as the store keeps it.
type keptSchedule struct {
	// Oldest is the time of the oldest backup that is kept.
	Oldest time.Time `json:"oldest"`
	// Until is when the schedule will have replaced all backups that there are now. A schedule that
	// is not renewed until then has ended, and its backups count no more.
	Until time.Time `json:"until"`
}

// keepSchedule lets the other Caddys with the store know of the app's schedule; a nil one if it has
// none any more.
func (a *App) keepSchedule(ctx context.Context, keeper tokenstore.Keeper, s *keptSchedule) error {
	var text []byte
	if s != nil {
		var err error
		if text, err = json.Marshal(s); err != nil {
			return fmt.Errorf("encode the schedule of backups: %w", err)
		}
	}
	return keeper.Keep(ctx, a.scheduleName(), text)
}

func (a *App) scheduleName() string { return keptSchedules + instanceName(audit.Key(a.secret)) }

// schedule returns the app's schedule whose oldest backup is of the given time.
func (a *App) schedule(oldest time.Time) *keptSchedule {
	return &keptSchedule{oldest, a.now().Add(time.Duration(a.Backup.Keep+1) * time.Duration(a.Backup.Every))}
}

// tellSchedule keeps the schedule in the store of the app.
func (b *backups) tellSchedule(ctx context.Context, a *App, oldest time.Time) {
	store, err := a.open(ctx)
	if err == nil {
		if keeper, ok := unmetered(store).(tokenstore.Keeper); ok {
			err = a.keepSchedule(ctx, keeper, a.schedule(oldest))
		}
	}
	if err != nil && ctx.Err() == nil {
		a.logger.Warn("other Caddys with the store don't learn of the backup, and don't shorten their journals",
			zap.Error(err))
	}
}

// follow removes from the journal what no backup needs that another Caddy with the store makes by
// schedule.
func (b *backups) follow(ctx context.Context, a *App) {
	store, err := a.open(ctx)
	if err != nil {
		return // the store's own log tells of it
	}
	keeper, ok := unmetered(store).(tokenstore.Keeper)
	if !ok {
		return
	}
	bound, err := a.journalBound(ctx, keeper)
	if err == nil && !bound.IsZero() {
		err = b.journal.Prune(bound)
	}
	if err != nil && ctx.Err() == nil {
		a.logger.Warn("the journal of revocations could not be shortened", zap.Error(err))
	}
}

// journalBound returns the time of the oldest backup that another Caddy with the store keeps; zero if
// none makes any by schedule.
func (a *App) journalBound(ctx context.Context, keeper tokenstore.Keeper) (oldest time.Time, err error) {
	kept, err := keeper.Kept(ctx, keptSchedules)
	if err != nil {
		return oldest, err
	}
	own := a.scheduleName()
	if len(kept[own]) > 0 { // this one had a schedule before
		if err := a.keepSchedule(ctx, keeper, nil); err != nil {
			return oldest, err
		}
	}
	delete(kept, own)
	for name, text := range kept {
		if len(text) == 0 {
			continue
		}
		var s keptSchedule
		if err := json.Unmarshal(text, &s); err != nil {
			return time.Time{}, fmt.Errorf("read %q: %w", name, err)
		}
		now := a.now()
		if s.Oldest.After(now) { // one of the clocks is wrong
			return time.Time{}, nil
		}
		if s.Until.After(now) && (oldest.IsZero() || s.Oldest.Before(oldest)) {
			oldest = s.Oldest
		}
	}
	return oldest, nil
}
