package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/audit"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/backup"
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

func (a *App) scheduleName() string { return keptSchedules + instanceName(audit.Key(a.secret)) }

// errOtherBackups: the folder is not the one that the store knows of.
var errOtherBackups = errors.New("the oldest backup that was made is not in the folder: is its disk mounted?")

// keepSchedule lets the other Caddys with the store know the time of the oldest backup. seen are the
// backups that were in the folder before old ones were removed. Without the oldest one that was told
// before among them, that one stays, until its schedule has ended: it may be in another folder.
func (a *App) keepSchedule(
	ctx context.Context, keeper tokenstore.Keeper, oldest time.Time, seen []backup.Kept,
) error {
	name := a.scheduleName()
	kept, err := keeper.Kept(ctx, name)
	if err != nil {
		return err
	}
	now := a.now()
	if text := kept[name]; len(text) > 0 {
		told, err := readSchedule(name, text)
		if err != nil {
			return err
		}
		here := slices.ContainsFunc(seen, func(k backup.Kept) bool { return k.Time.Equal(told.Oldest) })
		if told.Until.After(now) && told.Oldest.Before(oldest) && !here {
			return fmt.Errorf("%w (begun at %s)", errOtherBackups, told.Oldest.UTC().Format(time.RFC3339))
		}
	}
	until := now.Add(time.Duration(a.Backup.Keep+1) * time.Duration(a.Backup.Every))
	text, err := json.Marshal(keptSchedule{oldest, until})
	if err != nil {
		return fmt.Errorf("encode the schedule of backups: %w", err)
	}
	return keeper.Keep(ctx, name, text)
}

func readSchedule(name string, text []byte) (s keptSchedule, err error) {
	if err := json.Unmarshal(text, &s); err != nil {
		return s, fmt.Errorf("read %q: %w", name, err)
	}
	return s, nil
}

// tellSchedule keeps the schedule in the store of the app.
func (b *backups) tellSchedule(ctx context.Context, a *App, oldest time.Time, seen []backup.Kept) {
	store, err := a.open(ctx)
	if err == nil {
		if keeper, ok := unmetered(store).(tokenstore.Keeper); ok {
			err = a.keepSchedule(ctx, keeper, oldest, seen)
		}
	}
	if err != nil && ctx.Err() == nil {
		a.logger.Warn("other Caddys with the store don't learn of the backup, and keep their journals longer",
			zap.Error(err))
	}
}

// follow removes from the journal what no backup needs that a Caddy with the store makes by
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

// journalBound returns the time of the oldest backup that a Caddy with the store keeps; zero if none
// makes any by schedule. Its own schedule from before counts, too, until it has ended: another Caddy
// may have begun anew.
func (a *App) journalBound(ctx context.Context, keeper tokenstore.Keeper) (oldest time.Time, err error) {
	kept, err := keeper.Kept(ctx, keptSchedules)
	if err != nil {
		return oldest, err
	}
	var schedules []keptSchedule
	for name, text := range kept {
		if len(text) == 0 {
			continue
		}
		s, err := readSchedule(name, text)
		if err != nil {
			return oldest, err
		}
		schedules = append(schedules, s)
	}
	now := a.now()
	for _, s := range schedules {
		if s.Oldest.After(now) { // one of the clocks is wrong
			return time.Time{}, nil
		}
		if s.Until.After(now) && (oldest.IsZero() || s.Oldest.Before(oldest)) {
			oldest = s.Oldest
		}
	}
	return oldest, nil
}
