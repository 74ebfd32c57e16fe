package caddymodule

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/command"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
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

// TestRestoreOfABackupFromAheadBesideADamagedJournal: when the journal was damaged, in relation to the
// backup, nobody knows.
func TestRestoreOfABackupFromAheadBesideADamagedJournal(t *testing.T) {
	day := func(n int) time.Time { return time.Date(2026, 1, n, 0, 0, 0, 0, time.UTC) }
	dir := t.TempDir()
	h := backup.Header{ID: "b", Store: "store", Time: day(30)}
	maker, _, err := backup.OpenJournal(filepath.Join(dir, backup.JournalName("maker")), h.Store, day(1))
	if err != nil {
		t.Fatal(err)
	}
	defer maker.Close()
	if err := maker.Append(backup.Revocation{Time: h.Time, Op: backup.BackupBegun, Backup: h.ID}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, backup.JournalName("other"))
	if err := os.WriteFile(path, []byte("damaged\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	other, damage, err := backup.OpenJournal(path, h.Store, day(10))
	if err != nil || damage == nil {
		t.Fatal(err, damage)
	}
	defer other.Close()
	for _, accept := range []bool{false, true} {
		var done command.Restored
		_, err := readRevocations(h, command.Restore{Journals: []string{dir}, AcceptLost: accept}, day(20), &done)
		if (err == nil) != accept || err != nil && !strings.Contains(err.Error(), "can't be read") {
			t.Errorf("accepted %v: got %v", accept, err)
		}
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

// TestRestoreBesideAShortenedJournal: an archived backup is older than those by schedule. The journal
// of the Caddy that made it covers it, and that of another one was shortened since.
func TestRestoreBesideAShortenedJournal(t *testing.T) {
	day := func(n int) time.Time { return time.Date(2026, 1, n, 0, 0, 0, 0, time.UTC) }
	root := t.TempDir()
	name := func(folder string) string { return filepath.Join(root, folder, backup.JournalName("b")) }
	for _, folder := range []string{"now", "day 5", "day 7", "day 9", "later"} {
		if err := os.Mkdir(filepath.Join(root, folder), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	open := func(path string, at time.Time) *backup.Journal {
		j, _, err := backup.OpenJournal(path, "store", at)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { j.Close() })
		return j
	}
	maker := filepath.Join(root, backup.JournalName("a"))
	open(maker, day(1))
	open(name("later"), day(6)) // of a Caddy that was new then
	j := open(name("now"), day(1))
	revoke := func(n int) {
		e := backup.Revocation{Time: day(n), Op: backup.TokenRevoked, Token: day(n).String()}
		if err := j.Append(e); err != nil {
			t.Fatal(err)
		}
	}
	prune := func(n int) {
		if err := j.Prune(day(n)); err != nil {
			t.Fatal(err)
		}
	}
	keep := func(folder string) {
		text, err := os.ReadFile(name("now"))
		if err == nil {
			err = os.WriteFile(name(folder), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	revoke(2)
	prune(3)
	revoke(4)
	keep("day 5")
	revoke(6)
	keep("day 7")
	prune(6)
	revoke(8)
	keep("day 9")
	prune(20) // nothing is left in it
	for _, c := range []struct {
		of      int // the day of the backup
		folders []string
		accept  bool
		refused bool
	}{
		{3, []string{"day 5"}, false, false}, // nobody knows of the other one
		{3, []string{"now"}, false, true},
		{3, []string{"now"}, true, false},
		{3, []string{"now", "day 5"}, false, true}, // day 6 is missing
		{3, []string{"now", "day 7"}, false, true}, // day 8 is missing
		{3, []string{"now", "day 9"}, false, true}, // day 4 is missing
		{3, []string{"now", "day 9", "day 7"}, false, false},
		{3, []string{"day 7", "day 9", "now"}, false, false},
		{3, []string{"later"}, false, false},
		{7, []string{"now", "day 9"}, false, false},
		{20, []string{"now"}, false, false},
		// A clock was ahead: it may have been begun at any time before.
		{30, []string{"now"}, false, true},
	} {
		h := backup.Header{ID: "b", Store: "store", Time: day(c.of)}
		journals := []string{maker}
		if c.of == 30 {
			journals[0] = filepath.Join(root, "ahead", backup.JournalName("a"))
			if err := os.Mkdir(filepath.Dir(journals[0]), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := open(journals[0], day(1)).Append(backup.Revocation{Op: backup.BackupBegun, Backup: "b"}); err != nil {
				t.Fatal(err)
			}
		}
		for _, folder := range c.folders {
			journals = append(journals, filepath.Join(root, folder))
		}
		var done command.Restored
		revoked, err := readRevocations(h, command.Restore{Journals: journals, AcceptLost: c.accept}, day(25), &done)
		if (err != nil) != c.refused || err != nil && !strings.Contains(err.Error(), "may have been removed") {
			t.Errorf("%+v: got %v", c, err)
		}
		if err != nil || c.accept || len(c.folders) == 1 {
			continue
		}
		for n := (c.of + 2) / 2 * 2; n <= 8; n += 2 {
			token := &tokenstore.AccessToken{Key: day(n).String(), Consumer: "c"}
			if _, fate := revoked.Apply(token); fate != backup.Revoked {
				t.Errorf("%+v: the token of day %d is back", c, n)
			}
		}
	}
}
