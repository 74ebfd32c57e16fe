package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"filippo.io/age"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/audit"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/command"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/backup"
)

// offlineStores are what the commands do with stores that no Caddy has open.
var offlineStores = command.Stores{
	Copy: copyStore, Verify: verifyBackup, Restore: restoreStore, Adopt: adoptStore,
	VerifyAudit: verifyOffline,
}

// verifyBackup is the command `oauth1 backup verify`.
func verifyBackup(path, identity string) (command.Backup, error) {
	identities, err := readIdentities(identity)
	if err != nil {
		return command.Backup{}, err
	}
	h, n, err := verifyFile(path, identities...)
	return viewBackup(h, n), err
}

func readIdentities(path string) ([]age.Identity, error) {
	if path == "" {
		return nil, nil
	}
	return backup.ReadIdentities(path)
}

func viewBackup(h backup.Header, n backup.Counts) command.Backup {
	return command.Backup{
		Product: h.Product, Store: h.Store, Time: h.Time, Recipients: strings.Fields(h.Recipients),
		Consumers: n.Consumers, AccessTokens: n.AccessTokens, RequestTokens: n.RequestTokens,
	}
}

// restoreStore restores a backup into the empty store of a configuration. It is the command
// `oauth1 restore`.
func restoreStore(ctx context.Context, config []byte, r command.Restore, progress func()) (done command.Restored, err error) {
	identities, err := readIdentities(r.Identity)
	if err != nil {
		return done, err
	}
	h, n, err := verifyFile(r.File, identities...)
	if err != nil {
		return done, fmt.Errorf("%q: %w", r.File, err)
	}
	done.Backup = viewBackup(h, n)
	revoked, err := readRevocations(h, r, time.Now(), &done)
	if err != nil {
		return done, err
	}
	target, err := provisionOffline(config)
	if err != nil {
		return done, err
	}
	defer func() { err = errors.Join(err, target.close()) }()
	floor := target.app.floor(h)
	importer, err := target.openEmpty(floor)
	if err != nil {
		return done, restoreError(err)
	}
	f, err := os.Open(r.File)
	if err != nil {
		return done, err
	}
	defer f.Close()
	reader, err := backup.NewReader(f, identities...)
	if err != nil {
		return done, fmt.Errorf("%q: %w", r.File, err)
	}
	if reader.Header != h {
		return done, fmt.Errorf("%q: it was changed while it was read", r.File)
	}
	done.RefusedUntil = time.Unix(floor, 0).UTC()
	records := withEvent(restored(reader, revoked, floor, &done, progress), func() (*tokenstore.Kept, error) {
		count := done.Consumers + done.AccessTokens + done.RequestTokens
		return later(audit.StoreRestored, count, restoredFrom(h, r, &done)...)
	})
	if err := importer.Import(ctx, records); err != nil {
		return done, restoreError(err)
	}
	return done, nil
}

// restoredFrom is what the audit trail says of a restore.
func restoredFrom(h backup.Header, r command.Restore, done *command.Restored) []audit.Change {
	changes := []audit.Change{
		{Field: "backup", To: audit.Time(h.Time)},
		{Field: "left out, as revoked", To: strconv.Itoa(done.LeftOut)},
	}
	if r.AcceptLost {
		changes = append(changes, audit.Change{Field: "lost revocations", To: "accepted"})
	}
	return changes
}

// floor is up to which timestamp nonces may have been used: the server's clock and that of the
// backup, and the wider of the windows ahead.
func (a *App) floor(h backup.Header) int64 {
	now := time.Now()
	if h.Time.After(now) {
		now = h.Time
	}
	window := time.Duration(a.TimestampWindow)
	if window <= 0 {
		window = defaultTimestampWindow
	}
	return now.Add(max(window, h.Window)).Unix() + 1
}

// restored returns the records that are to be stored, and fills what was done.
func restored(reader *backup.Reader, revoked *backup.Revocations, floor int64, done *command.Restored, progress func()) iter.Seq2[any, error] {
	return func(yield func(any, error) bool) {
		for rec, err := range reader.Records() {
			if err != nil {
				yield(nil, err)
				return
			}
			progress()
			if state, ok := rec.(*tokenstore.StoreState); ok {
				done.RefusedUntil = time.Unix(max(floor, state.Floor), 0).UTC()
				rec = &tokenstore.StoreState{Secret: state.Secret, Floor: max(floor, state.Floor)}
			}
			key := ""
			if c, ok := rec.(*tokenstore.Consumer); ok {
				key = c.Key
			}
			next, fate := revoked.Apply(rec)
			switch fate {
			case backup.Revoked:
				done.LeftOut++
				continue
			case backup.Disabled:
				done.Disabled = append(done.Disabled, key)
			case backup.Rotated:
				done.Rotated = append(done.Rotated, key)
			case backup.Changed:
				done.Changed = append(done.Changed, key)
			}
			switch next.(type) {
			case *tokenstore.Consumer:
				done.Consumers++
			case *tokenstore.AccessToken:
				done.AccessTokens++
			case *tokenstore.RequestToken:
				done.RequestTokens++
			}
			if !yield(next, nil) {
				return
			}
		}
	}
}

// readRevocations reads the journals. Without one that is complete since the backup, the caller must
// accept what is lost.
func readRevocations(
	h backup.Header, r command.Restore, now time.Time, done *command.Restored,
) (*backup.Revocations, error) {
	revoked := new(backup.Revocations)
	covered := make(map[string]bool)     // by the name of the file
	damaged := make(map[string][]string) // what may hold revocations since the backup, by the same name
	copies := make(map[string][]*backup.JournalFile)
	for _, given := range r.Journals {
		paths := []string{given}
		if info, err := os.Stat(given); err == nil && info.IsDir() {
			if paths, err = backup.Journals(given); err != nil {
				return nil, err
			}
			if len(paths) == 0 {
				return nil, fmt.Errorf("--journal: there is no journal of revocations in %q", given)
			}
		}
		for _, path := range paths {
			j, err := backup.ReadJournal(path)
			if err != nil {
				return nil, fmt.Errorf("--journal: %w", err)
			}
			if j.Store != h.Store {
				return nil, fmt.Errorf("--journal: %q: %w", path, backup.ErrOtherStore)
			}
			name := filepath.Base(path)
			copies[name] = append(copies[name], j)
			revoked.Add(h, j.Revocations, now)
			if j.Covers(h, now) {
				covered[name] = true
				continue
			}
			before, err := backup.Damaged(path)
			if err != nil {
				return nil, fmt.Errorf("--journal: %w", err)
			}
			if len(before) > 0 {
				damaged[name] = before
			}
			if h.Time.After(now) {
				done.Notes = append(done.Notes, fmt.Sprintf("%s does not say when the backup was begun, by a clock that was ahead: "+
					"all that it holds counts as revoked since.", path))
			} else {
				done.Notes = append(done.Notes, fmt.Sprintf("%s begins at %s, after the backup: what its Caddy revoked before is not in it.",
					path, j.Since.UTC().Format(time.RFC3339)))
			}
		}
	}
	done.Revocations = revoked.Count
	for _, name := range slices.Sorted(maps.Keys(copies)) {
		if len(covered) == 0 || r.AcceptLost {
			break // it is said below, or accepted
		}
		if lost := damaged[name]; len(lost) > 0 && !covered[name] {
			return nil, fmt.Errorf("the journal %q can't be read, and the one after it may begin after the "+
				"backup: what its Caddy revoked until then would be valid again. Give an older copy of %s too that "+
				"covers the backup, or accept that with --accept-lost-revocations", lost[len(lost)-1], name)
		}
		if backup.Shortened(h, copies[name], now) {
			return nil, fmt.Errorf("entries since the backup may have been removed from the journal %s, since no "+
				"newer backup needs them: what its Caddy revoked then would be valid again. Give older copies of it "+
				"too that have all since the backup, or accept that with --accept-lost-revocations", name)
		}
	}
	if len(covered) == 0 && !r.AcceptLost {
		what := "no journal of revocations is given"
		if len(r.Journals) > 0 {
			what = "no journal begins before the backup"
		}
		if len(r.Journals) > 0 && h.Time.After(now) {
			what = "the backup was made by a clock that was ahead, and no journal says when it was begun"
		}
		return nil, fmt.Errorf("%s: whatever was revoked since the backup of %s would be valid again. Give the journals of all "+
			"Caddys with --journal, or accept that with --accept-lost-revocations", what, h.Time.Format(time.RFC3339))
	}
	return revoked, nil
}

// restoreError says what to do about an error of the target.
func restoreError(err error) error {
	if errors.Is(err, tokenstore.ErrNotEmpty) {
		return fmt.Errorf("%w, or a Caddy has been started with it: "+
			"give another path or prefix, or move away what is there", err)
	}
	return err
}

// openEmpty opens the store to import into it. It need not be the one that was here before.
func (o *offlineStore) openEmpty(floor int64) (tokenstore.Transferrer, error) {
	return o.openWith(func() (tokenstore.Store, error) {
		if m, ok := o.app.module.(tokenstore.Adopter); ok {
			return m.Adopt(floor, true, nil)
		}
		return o.app.module.Open()
	})
}

// adoptStore takes a store into use that was copied back or moved. It is the command
// `oauth1 store adopt`. It returns until when requests are refused.
func adoptStore(config []byte) (until time.Time, err error) {
	o, err := provisionOffline(config)
	if err != nil {
		return until, err
	}
	defer func() { err = errors.Join(err, o.close()) }()
	m, ok := o.app.module.(tokenstore.Adopter)
	if !ok {
		return until, fmt.Errorf("a store of this kind needs no adoption: %s", o.key)
	}
	if err := o.mustExist(); err != nil {
		return until, err
	}
	switch o.store, err = o.app.module.Open(); {
	case err == nil:
		return until, errors.New("there is nothing to adopt: the store is the one that was used last")
	case !errors.Is(err, tokenstore.ErrCopied):
		return until, err
	}
	event, err := later(audit.StoreAdopted, 0)
	if err != nil {
		return until, err
	}
	floor := o.app.floor(backup.Header{})
	o.store, err = m.Adopt(floor, false, event)
	return time.Unix(floor, 0).UTC(), err
}
