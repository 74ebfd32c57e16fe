package caddymodule

import (
	"errors"
	"go/ast"
	goparser "go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/backup"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/badgerstore"
)

// TestOnlyRevocationsTakeAway: no other file calls what takes something away in a store, so the
// journal misses nothing.
func TestOnlyRevocationsTakeAway(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") || name == "storemeter.go" { // it measures, and passes on
			continue
		}
		file, err := goparser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				if f, ok := call.Fun.(*ast.SelectorExpr); ok &&
					slices.Contains([]string{"RevokeToken", "Revoke", "DeleteConsumer", "UpdateConsumer"}, f.Sel.Name) {
					seen++
					if name != "revocation.go" {
						t.Errorf("%s calls %s", name, f.Sel.Name)
					}
				}
			}
			return true
		})
	}
	if seen != 4 {
		t.Errorf("saw %d calls, want 4", seen)
	}
}

// backedUpApp is an app with a store of its own, and backups in a directory.
func backedUpApp(t *testing.T, now *time.Time) (*App, *badgerstore.Store) {
	t.Helper()
	dir := t.TempDir()
	store, err := badgerstore.Open(badgerstore.Options{Path: filepath.Join(dir, "store")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	a := &App{
		Backup: &Backup{Path: filepath.Join(dir, "backups"), JournalOnly: true}, logger: zap.NewNop(),
		now: func() time.Time { return *now }, store: store, ready: make(chan struct{}),
	}
	close(a.ready)
	if err := a.Backup.provision(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(a.takeUp(t.Context(), store), a.Backup.validate()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.endBackups() })
	return a, store
}

func (b *backups) read(t *testing.T) []backup.Revocation {
	t.Helper()
	j, err := backup.ReadJournal(filepath.Join(b.path, backup.JournalName(replicaName())))
	if err != nil {
		t.Fatal(err)
	}
	return j.Revocations
}

func TestWhatIsTakenAwayIsInTheJournal(t *testing.T) {
	ctx, now := t.Context(), time.Now().UTC()
	a, store := backedUpApp(t, &now)
	if err := errors.Join(
		store.CreateConsumer(ctx, &tokenstore.Consumer{Key: "c"}),
		store.CreateAccessToken(ctx, &tokenstore.AccessToken{Key: "t", Consumer: "c", User: "u"}),
		a.revokeToken(ctx, store, "t"),
	); err != nil {
		t.Fatal(err)
	}
	if _, err := a.revokeGrants(ctx, store, tokenstore.Filter{User: "u"}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.updateConsumer(ctx, store, "c", true, func(c *tokenstore.Consumer) error {
		c.Disabled = true
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := a.deleteConsumer(ctx, store, "c"); err != nil {
		t.Fatal(err)
	}
	want := []backup.Revocation{
		{Time: now, Op: backup.TokenRevoked, Token: "t", User: "u", Consumer: "c"},
		{Time: now, Op: backup.GrantsRevoked, User: "u"},
		{Time: now, Op: backup.ConsumerChanged, Consumer: "c", Disabled: true},
		{Time: now, Op: backup.ConsumerRotated, Consumer: "c"},
		{Time: now, Op: backup.ConsumerDeleted, Consumer: "c"},
	}
	if got := a.backups.read(t); !slices.Equal(got, want) {
		t.Errorf("got %+v", got)
	}
}

// TestAJournalThatCanNotBeWritten: the revocation is done, and the error says what is wrong.
func TestAJournalThatCanNotBeWritten(t *testing.T) {
	ctx, now := t.Context(), time.Now()
	a, store := backedUpApp(t, &now)
	if err := store.CreateAccessToken(ctx, &tokenstore.AccessToken{Key: "t", Consumer: "c", User: "u"}); err != nil {
		t.Fatal(err)
	}
	if err := a.backups.journal.Close(); err != nil {
		t.Fatal(err)
	}
	if err := a.revokeToken(ctx, store, "t"); err == nil || !strings.Contains(err.Error(), "it is done, but") {
		t.Errorf("got %v", err)
	}
	if _, err := store.AccessToken(ctx, "t"); !errors.Is(err, tokenstore.ErrNotFound) {
		t.Errorf("the token: %v", err)
	}
}

// TestSchedule: when backups are due, which of them are kept, and what the journal keeps.
func TestSchedule(t *testing.T) {
	ctx, now := t.Context(), time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	a, store := backedUpApp(t, &now)
	a.Backup.Keep, a.Backup.Every, a.metrics = 2, caddy.Duration(defaultBackupEvery), new(metrics)
	b := a.backups
	if due := b.due(a); due > 0 {
		t.Errorf("the first is due in %v", due)
	}
	for day := range 4 {
		now = time.Date(2026, 1, 1+day, 0, 0, 0, 0, time.UTC)
		if wait := b.makeOne(ctx, a); wait != defaultBackupEvery {
			t.Errorf("the next one is due in %v", wait)
		}
		if err := store.CreateConsumer(ctx, &tokenstore.Consumer{Key: now.String()}); err != nil {
			t.Fatal(err)
		}
		if err := a.deleteConsumer(ctx, store, now.String()); err != nil {
			t.Fatal(err)
		}
	}
	kept, err := backup.List(b.path)
	if err != nil || len(kept) != 2 || kept[0].Time.Day() != 3 || kept[1].Time.Day() != 4 {
		t.Errorf("kept %v, %v", kept, err)
	}
	for _, k := range kept {
		if _, _, err := verifyFile(k.Path); err != nil {
			t.Error(err)
		}
	}
	if got := b.read(t); len(got) != 4 || got[0].Op != backup.BackupBegun || got[0].Time.Day() != 3 {
		t.Errorf("the journal: %+v", got)
	}

	b.begun = time.Time{} // as after a restart
	now = now.Add(6 * time.Hour)
	if due := b.due(a); due != 18*time.Hour {
		t.Errorf("after a restart it is due in %v", due)
	}
	now = now.Add(-1000 * time.Hour)
	if due := b.due(a); due != defaultBackupEvery {
		t.Errorf("after the clock was set back it is due in %v", due)
	}

	// A backup that fails removes nothing, and is tried again soon.
	now = time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)
	if err := os.Mkdir(filepath.Join(b.path, backup.FileName(now)+backup.UnfinishedSuffix), 0o700); err != nil {
		t.Fatal(err)
	}
	if wait := b.makeOne(ctx, a); wait != backupRetry {
		t.Errorf("it is tried again in %v", wait)
	}
	if again, _ := backup.List(b.path); len(again) != 2 {
		t.Errorf("kept %v", again)
	}
}
