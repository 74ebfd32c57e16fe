package caddymodule

import (
	"os"
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

// TestRestoreBesideADamagedJournal: what one Caddy revoked between the backup and the damage to its
// journal is lost, though the journal of another one is whole.
func TestRestoreBesideADamagedJournal(t *testing.T) {
	day := func(n int) time.Time { return time.Date(2026, 1, n, 0, 0, 0, 0, time.UTC) }
	dir := t.TempDir()
	open := func(host string, at time.Time) (path string, damage error) {
		path = filepath.Join(dir, backup.JournalName(host))
		j, damage, err := backup.OpenJournal(path, "store", at)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { j.Close() })
		return path, damage
	}
	open("whole", day(1))
	older := filepath.Join(t.TempDir(), backup.JournalName("other"))
	j, _, err := backup.OpenJournal(older, "store", day(1))
	if err != nil {
		t.Fatal(err)
	}
	j.Close()
	path := filepath.Join(dir, backup.JournalName("other"))
	if err := os.WriteFile(path, []byte("damaged\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, damage := open("other", day(10)); damage == nil {
		t.Fatal("the damage was not found")
	}
	for name, c := range map[string]struct {
		at     time.Time
		accept bool
		more   []string
		want   string
	}{
		"a backup from before":             {day(5), false, nil, "can't be read"},
		"a backup from before, accepted":   {day(5), true, nil, ""},
		"a backup from before, and a copy": {day(5), false, []string{older}, ""},
		"a backup from after":              {day(11), false, nil, ""},
	} {
		var done command.Restored
		_, err := readRevocations(backup.Header{ID: "b", Store: "store", Time: c.at},
			command.Restore{Journals: append(c.more, dir), AcceptLost: c.accept}, day(20), &done)
		if (err != nil) != (c.want != "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}
