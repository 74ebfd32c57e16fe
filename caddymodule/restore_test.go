package caddymodule

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/command"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/backup"
)

// TestRestoreOfABackupByAClockThatWasAhead: a journal that begins before the backup's time does not
// do, unless it has the backup's mark.
func TestRestoreOfABackupByAClockThatWasAhead(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	h := backup.Header{ID: "b", Store: "store", Time: now.AddDate(9, 0, 0)}
	path := filepath.Join(t.TempDir(), backup.JournalName("host"))
	j, damage, err := backup.OpenJournal(path, h.Store, now)
	if err != nil || damage != nil {
		t.Fatal(err, damage)
	}
	defer j.Close()
	var done command.Restored
	r := command.Restore{Journals: []string{path}}
	if _, err := readRevocations(h, r, now, &done); err == nil || !strings.Contains(err.Error(), "a clock that was ahead") {
		t.Errorf("without the mark: got %v", err)
	}
	if len(done.Notes) != 1 || !strings.Contains(done.Notes[0], "all that it holds counts") {
		t.Errorf("notes %q", done.Notes)
	}
	if err := j.Append(backup.Revocation{Time: h.Time, Op: backup.BackupBegun, Backup: h.ID}); err != nil {
		t.Fatal(err)
	}
	if _, err := readRevocations(h, r, now, &done); err != nil {
		t.Errorf("with the mark: %v", err)
	}
}
