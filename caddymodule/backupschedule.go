package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"filippo.io/age"
	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/audit"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/backup"
)

// backupPool holds the directories of backups in use, so that a reload goes on with the schedule and
// the journal of the configuration before.
var backupPool = caddy.NewUsagePool()

// backups is a directory of backups in use: its journal, and its schedule.
type backups struct {
	path    string
	storeID string
	journal *backup.Journal
	stop    context.CancelFunc
	running sync.WaitGroup

	mu      sync.Mutex
	users   []*App // the newest last; its options count
	changed chan struct{}
	begun   time.Time // when the last backup was begun
	said    time.Time // when the log last said that one failed
	silent  int       // failures since
}

// startBackups takes the directory of the option backup into use. The store works.
func (a *App) startBackups(store tokenstore.Store) error {
	if a.Backup == nil || a.backups != nil {
		return nil
	}
	if _, ok := store.(tokenstore.Snapshotter); !ok {
		return fmt.Errorf("backup: %w", errNoBackup)
	}
	id := backup.StoreID(a.secret)
	value, _, err := backupPool.LoadOrNew(a.Backup.Path, func() (caddy.Destructor, error) {
		return newBackups(a.Backup.Path, id, a.now(), a.logger)
	})
	if err != nil {
		return err
	}
	b := value.(*backups)
	if b.storeID != id {
		_, err := backupPool.Delete(a.Backup.Path)
		return errors.Join(fmt.Errorf("backup: %q is in use for another store: give each store a path of its own", a.Backup.Path), err)
	}
	a.backups = b
	b.mu.Lock()
	defer b.mu.Unlock()
	b.users = append(b.users, a)
	b.wake()
	return nil
}

// endBackups gives the directory back.
func (a *App) endBackups() error {
	b := a.backups
	if b == nil {
		return nil
	}
	b.mu.Lock()
	b.users = without(b.users, a)
	b.wake()
	b.mu.Unlock()
	_, err := backupPool.Delete(b.path)
	return err
}

// newBackups opens the journal, and starts the schedule.
func newBackups(path, storeID string, now time.Time, logger *zap.Logger) (*backups, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("backup: %w", err)
	}
	journal, damage, err := backup.OpenJournal(filepath.Join(path, backup.JournalName(replicaName())), storeID, now)
	if err != nil {
		return nil, fmt.Errorf("backup: %w", err)
	}
	if damage != nil {
		logger.Error("revocations of the time until now can't be read: make a backup now, since after a restore of "+
			"an older one they would come back to life", zap.Error(damage))
	}
	ctx, cancel := context.WithCancel(context.Background())
	b := &backups{path: path, storeID: storeID, journal: journal, stop: cancel, changed: make(chan struct{}, 1)}
	b.running.Go(func() { b.run(ctx) })
	return b, nil
}

// Destruct ends a backup that is being made, and the journal.
func (b *backups) Destruct() error {
	b.stop()
	b.running.Wait()
	return b.journal.Close()
}

func (b *backups) wake() {
	select {
	case b.changed <- struct{}{}:
	default:
	}
}

// user is the app whose options count, or nil during a moment of a reload.
func (b *backups) user() *App {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.users) == 0 {
		return nil
	}
	return b.users[len(b.users)-1]
}

// run makes backups when they are due, or looks which of another Caddy's need the journal.
func (b *backups) run(ctx context.Context) {
	for {
		wait := time.Hour
		switch a := b.user(); {
		case a == nil:
		case a.Backup.JournalOnly:
			b.follow(ctx, a)
		default:
			if wait = b.due(a); wait <= 0 {
				wait = b.makeOne(ctx, a)
			}
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-b.changed:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// backupRetry is how long a backup that failed is not tried again.
const backupRetry = 5 * time.Minute

// due returns in how long the next backup is due: an interval after the last one in this process,
// or else in the directory.
func (b *backups) due(a *App) time.Duration {
	every, last := time.Duration(a.Backup.Every), b.begun
	if last.IsZero() {
		kept, ahead, err := b.kept(a.now())
		if err != nil || len(kept) == ahead {
			return 0
		}
		last = kept[len(kept)-1].Time
		backupLastSuccess.Set(float64(last.Unix()))
	}
	return min(last.Add(every).Sub(a.now()), every) // the clock may have been set back
}

// makeOne makes a backup, and returns in how long to look again.
func (b *backups) makeOne(ctx context.Context, a *App) time.Duration {
	path, begun, err := b.write(ctx, a)
	if ctx.Err() != nil {
		return 0 // the server ends, and the next one begins again
	}
	if err == nil {
		b.begun = begun
		backupLastSuccess.Set(float64(begun.Unix()))
		b.silent, b.said = 0, time.Time{}
		a.logger.Info("backup made", zap.String("file", path))
		oldest, seen, err := b.prune(a.Backup.Keep, begun)
		if err != nil {
			a.logger.Error("removing old backups", zap.Error(err))
		}
		if err == nil && !oldest.IsZero() {
			b.tellSchedule(ctx, a, oldest, seen)
		}
		return b.due(a)
	}
	backupFailures.Inc()
	if time.Since(b.said) >= time.Duration(a.Backup.Every) {
		a.logger.Error("the backup could not be made: it is tried again every few minutes",
			zap.Error(err), zap.Int("failed_before", b.silent))
		b.silent, b.said = 0, time.Now()
	} else {
		b.silent++
	}
	return min(backupRetry, time.Duration(a.Backup.Every))
}

// write writes a backup into the directory, and verifies it there. begun is the time in its name.
func (b *backups) write(ctx context.Context, a *App) (path string, begun time.Time, err error) {
	store, err := a.open(ctx)
	if err != nil {
		return "", begun, err
	}
	h, err := a.backupHeader()
	if err != nil {
		return "", begun, err
	}
	path = filepath.Join(b.path, backup.FileName(h.Time))
	var identity age.Identity
	made := &audit.Event{Name: audit.BackupMade, ActorSource: audit.ActorServer}
	return path, h.Time, newEvents(a, a.logger).change(made, func() error {
		return backup.WriteFile(path, false, func(w io.Writer) (err error) {
			identity, err = writeBackup(ctx, store, w, h, a.Backup.recipients)
			return err
		}, func(unfinished string) error {
			var identities []age.Identity
			if identity != nil {
				identities = append(identities, identity)
			}
			_, _, err := verifyFile(unfinished, identities...)
			return err
		})
	})
}

// kept returns the backups in the directory, the oldest first. Those that are ahead of now come
// before the others: they were made before now, by a clock that was wrong, or is wrong now.
func (b *backups) kept(now time.Time) (kept []backup.Kept, ahead int, err error) {
	kept, err = backup.List(b.path)
	if err != nil {
		return nil, 0, err
	}
	past := slices.IndexFunc(kept, func(k backup.Kept) bool { return k.Time.After(now) })
	if past < 0 {
		return kept, 0, nil
	}
	return slices.Concat(kept[past:], kept[:past]), len(kept) - past, nil
}

// prune removes backups beyond the newest few, what kill -9 left of one, and what no backup needs of
// the journal. now is when the newest one was begun. It returns the time of the oldest one that is
// left, zero if a clock was wrong, and nobody knows it; and those that it saw first.
func (b *backups) prune(keep int, now time.Time) (oldest time.Time, seen []backup.Kept, err error) {
	kept, ahead, err := b.kept(now)
	if err != nil {
		return oldest, nil, err
	}
	seen = kept
	for len(kept) > keep {
		if err := os.Remove(kept[0].Path); err != nil {
			return oldest, seen, err
		}
		kept, ahead = kept[1:], max(0, ahead-1)
	}
	left, err := filepath.Glob(filepath.Join(b.path, backup.UnfinishedNames))
	for _, name := range left {
		err = errors.Join(err, os.Remove(name))
	}
	if err != nil || len(kept) == ahead {
		return oldest, seen, err
	}
	if ahead == 0 {
		oldest = kept[0].Time
	}
	return oldest, seen, b.journal.Prune(kept[ahead].Time)
}
