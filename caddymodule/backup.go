package caddymodule

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"filippo.io/age"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/command"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/backup"
)

// errNoBackup: the store's module has no snapshots.
var errNoBackup = errors.New("a store of this kind can't be backed up")

// backupHeader begins a backup of the app's store. What is revoked from now on is in the journal
// behind the backup's ID.
func (a *App) backupHeader() (backup.Header, error) {
	h := backup.Header{
		ID:      rand.Text(),
		Product: command.Version(),
		Store:   backup.StoreID(a.secret),
		Time:    a.now().UTC(),
		Window:  time.Duration(a.TimestampWindow),
	}
	if a.backups == nil {
		return h, nil
	}
	return h, a.backups.journal.Append(backup.Revocation{Time: h.Time, Op: backup.BackupBegun, Backup: h.ID})
}

// writeBackup writes a backup of the store, and returns an identity that can read it, for a check.
// Nothing is written if the store can't be read.
func writeBackup(
	ctx context.Context, store tokenstore.Store, out io.Writer, h backup.Header, recipients []age.Recipient,
) (age.Identity, error) {
	s, ok := unmetered(store).(tokenstore.Snapshotter)
	if !ok {
		return nil, errNoBackup
	}
	var w *backup.Writer
	for r, err := range s.Snapshot(ctx) {
		if err != nil {
			return nil, fmt.Errorf("read the store: %w", err)
		}
		if w == nil {
			if w, err = backup.NewWriter(out, h, recipients...); err != nil {
				return nil, err
			}
		}
		if err := w.Add(r); err != nil {
			return nil, err
		}
	}
	if w == nil {
		return nil, errors.New("read the store: there is nothing")
	}
	return w.Identity(), w.Close()
}

// verifyFile verifies the backup in a file.
func verifyFile(path string, identities ...age.Identity) (backup.Header, backup.Counts, error) {
	f, err := os.Open(path)
	if err != nil {
		return backup.Header{}, backup.Counts{}, err
	}
	defer f.Close()
	return backup.Verify(f, identities...)
}
