package caddymodule

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/audit"
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

// backedUpApp is an app with a store of its own, and backups in a directory. Nothing is done by
// schedule: the test calls it, and sets the clock.
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
	a.backups.stop()
	a.backups.running.Wait()
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
		{Time: now, Op: backup.ConsumerChanged, Consumer: "c", Disabled: true, Made: now, Order: 1},
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
	if due := b.due(a); due > 0 {
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

// TestScheduleAfterAClockThatWasAhead: backups with a time to come don't push out those that are made
// when the clock is right again, and the journal keeps what these need.
func TestScheduleAfterAClockThatWasAhead(t *testing.T) {
	ctx, now := t.Context(), time.Date(2035, 1, 1, 0, 0, 0, 0, time.UTC)
	a, store := backedUpApp(t, &now)
	a.Backup.Keep, a.Backup.Every, a.metrics = 2, caddy.Duration(defaultBackupEvery), new(metrics)
	b := a.backups
	for range 2 {
		b.makeOne(ctx, a)
		now = now.Add(defaultBackupEvery)
	}
	b.begun = time.Time{} // as after a restart
	for day := range 3 {
		now = time.Date(2026, 1, 1+day, 0, 0, 0, 0, time.UTC)
		if due := b.due(a); day == 0 && due > 0 {
			t.Errorf("the first one by the right clock is due in %v", due)
		}
		b.makeOne(ctx, a)
		kept, err := backup.List(b.path)
		if err != nil || len(kept) != 2 || !slices.ContainsFunc(kept, func(k backup.Kept) bool { return k.Time.Equal(now) }) {
			t.Fatalf("on day %d: kept %v, %v", day, kept, err)
		}
		key := now.String()
		if err := store.CreateConsumer(ctx, &tokenstore.Consumer{Key: key}); err != nil {
			t.Fatal(err)
		}
		if err := a.deleteConsumer(ctx, store, key); err != nil {
			t.Fatal(err)
		}
		if got := b.read(t); got[len(got)-1].Consumer != key || got[len(got)-2].Op != backup.BackupBegun {
			t.Errorf("on day %d: the journal: %+v", day, got)
		}
	}
	if kept, _ := backup.List(b.path); kept[0].Time.Day() != 2 || kept[1].Time.Day() != 3 {
		t.Errorf("kept %v", kept)
	}
}

// TestTheNewestBackupIsKept: it is not taken for one that is to come, though the clock went on while
// it was begun.
func TestTheNewestBackupIsKept(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	a, _ := backedUpApp(t, &now)
	a.Backup.Keep, a.Backup.Every, a.metrics = 1, caddy.Duration(defaultBackupEvery), new(metrics)
	a.now = func() time.Time {
		now = now.Add(time.Second)
		return now
	}
	for range 2 {
		begun := now
		a.backups.makeOne(t.Context(), a)
		kept, err := backup.List(a.backups.path)
		if err != nil || len(kept) != 1 || !kept[0].Time.After(begun) {
			t.Errorf("kept %v, %v, want the one from after %v", kept, err, begun)
		}
		now = now.Add(defaultBackupEvery)
	}
}

// slowStore takes long to take something away.
type slowStore struct {
	tokenstore.Store
	wait func()
}

func (s *slowStore) RevokeToken(context.Context, string) error {
	s.wait()
	return nil
}

func (s *slowStore) Revoke(context.Context, tokenstore.Filter) (int, error) {
	s.wait()
	return 0, nil
}

func (s *slowStore) DeleteConsumer(context.Context, string) error {
	s.wait()
	return nil
}

// TestARevocationThatTakesLong: a backup that is begun meanwhile has the mark behind the entry, and
// a later time, and still has what is revoked. A restore leaves it out.
func TestARevocationThatTakesLong(t *testing.T) {
	ctx := t.Context()
	for name, c := range map[string]struct {
		revoke func(*App, tokenstore.Store) error
		record any
	}{
		"a token": {
			func(a *App, s tokenstore.Store) error { return a.revokeToken(ctx, s, "t") },
			&tokenstore.AccessToken{Key: "t"},
		},
		"grants": {
			func(a *App, s tokenstore.Store) error {
				_, err := a.revokeGrants(ctx, s, tokenstore.Filter{User: "u"})
				return err
			},
			&tokenstore.AccessToken{Key: "t", User: "u"},
		},
		"a consumer": {
			func(a *App, s tokenstore.Store) error { return a.deleteConsumer(ctx, s, "c") },
			&tokenstore.Consumer{Key: "c"},
		},
	} {
		now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		a, store := backedUpApp(t, &now)
		var h backup.Header
		if err := c.revoke(a, &slowStore{store, func() {
			now = now.Add(2 * backup.Margin)
			var err error
			if h, err = a.backupHeader(); err != nil {
				t.Fatal(err)
			}
		}}); err != nil {
			t.Fatal(err)
		}
		var r backup.Revocations
		r.Add(h, a.backups.read(t), now)
		if _, fate := r.Apply(c.record); fate != backup.Revoked {
			t.Errorf("%s: got %q", name, fate)
		}
	}
}

// overtakenStore lets another change of the consumer be made and told before the first is told.
type overtakenStore struct {
	tokenstore.Store
	overtake func()
}

func (s *overtakenStore) UpdateConsumer(
	ctx context.Context, key string, update func(*tokenstore.Consumer) error,
) (*tokenstore.Consumer, error) {
	changed, err := s.Store.UpdateConsumer(ctx, key, update)
	s.overtake()
	return changed, err
}

// TestChangesAtOnce: of two changes that are made at once, a restore takes the one that the store
// made last, though the journal was told of it first; also if that was long before.
func TestChangesAtOnce(t *testing.T) {
	ctx := t.Context()
	for _, disabledLast := range []bool{true, false} {
		for _, between := range []time.Duration{0, 2 * backup.Margin} {
			now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
			a, store := backedUpApp(t, &now)
			if err := store.CreateConsumer(ctx, &tokenstore.Consumer{Key: "c", Disabled: disabledLast}); err != nil {
				t.Fatal(err)
			}
			h, err := a.backupHeader()
			if err != nil {
				t.Fatal(err)
			}
			set := func(s tokenstore.Store, disabled bool) {
				if _, err := a.updateConsumer(ctx, s, "c", false, func(c *tokenstore.Consumer) error {
					c.Disabled = disabled
					return nil
				}); err != nil {
					t.Fatal(err)
				}
			}
			set(&overtakenStore{store, func() {
				set(store, disabledLast)
				now = now.Add(between)
			}}, !disabledLast)
			if c, err := store.Consumer(ctx, "c"); err != nil || c.Disabled != disabledLast {
				t.Fatalf("the store has %+v, %v", c, err)
			}
			var r backup.Revocations
			r.Add(h, a.backups.read(t), now)
			restored, _ := r.Apply(&tokenstore.Consumer{Key: "c"})
			if got := restored.(*tokenstore.Consumer).Disabled; got != disabledLast {
				t.Errorf("told %v late: restored as disabled: %v, want %v", between, got, disabledLast)
			}
		}
	}
}

// TestTheTrailOfAChangeThatTheJournalMisses: the change is done, and both kinds of a trail say so.
// The call fails nevertheless, and a rotation gives the new secret away to its caller alone.
func TestTheTrailOfAChangeThatTheJournalMisses(t *testing.T) {
	for _, strict := range []bool{false, true} {
		dir := t.TempDir()
		path := filepath.Join(dir, "audit.log")
		global := "backup " + filepath.Join(dir, "backups") + " {\n journal_only\n}\n" + declaredConsumers
		if strict {
			global = "audit strict {\n file " + path + "\n}\n" + global
		}
		core, logs := observer.New(zap.DebugLevel)
		site := newTestSite(t, global, "")
		if !strict {
			site.app.trail.Load().Use(audit.Log{Logger: zap.New(core)})
		}
		a := &testAdmin{testSite: site, Handler: adminHandler(&adminAPI{logger: zap.New(core)}), logs: logs}
		a.seed()
		journal := filepath.Join(a.app.backups.path, backup.JournalName(replicaName()))
		if err := errors.Join(os.Rename(journal, journal+".aside"), os.WriteFile(journal, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
		logs.TakeAll()
		for _, c := range []struct{ method, target, body string }{
			{"DELETE", "/oauth1/tokens/tok", ""},
			{"POST", "/oauth1/revoke", `{"user":"salgado"}`},
			{"PATCH", "/oauth1/consumers/app", `{"disabled":true}`},
			{"DELETE", "/oauth1/consumers/nosecret", ""},
		} {
			if w := a.call(c.method, c.target, c.body); w.Code != 503 || !strings.Contains(w.Body.String(), "it is done, but") {
				t.Errorf("%s %s: %d %s", c.method, c.target, w.Code, w.Body)
			}
		}
		printed, err := a.commandRunner()("", "consumer", "rotate", "app")
		if err == nil || !strings.Contains(err.Error(), "it is done, but") {
			t.Errorf("rotate: %v", err)
		}
		consumer, stored := a.store().Consumer(t.Context(), "app")
		if stored != nil || !strings.Contains(printed, consumer.Secret) {
			t.Errorf("the new secret is not shown: %s, %v", printed, stored)
		}
		for _, entry := range logs.All() {
			if strings.Contains(fmt.Sprint(entry.Message, entry.ContextMap()), consumer.Secret) {
				t.Errorf("the new secret is logged: %v", entry)
			}
		}
		want := []string{"access_token.revoked", "grants.revoked", "consumer.disabled", "consumer.removed", "consumer.secret_rotated"}
		if strict {
			text, err := os.ReadFile(path)
			for _, event := range want {
				if !bytes.Contains(text, []byte(`"event":"`+event+`","outcome":"done"`)) {
					t.Errorf("%s is not done in the trail: %s, %v", event, text, err)
				}
			}
			if bytes.Contains(text, []byte(`"outcome":"failed"`)) || bytes.Contains(text, []byte("admin.refused")) {
				t.Errorf("the trail denies what was done: %s", text)
			}
			continue
		}
		var got []string
		for _, line := range told(t, logs) {
			event, outcome, _ := strings.Cut(line, " ")
			if strings.HasPrefix(outcome, "done") {
				line = event
			}
			got = append(got, line)
		}
		if !slices.Equal(got, want) {
			t.Errorf("told %q, want %q", got, want)
		}
	}
}

// TestThePageOfARevocationThatTheJournalMisses: the access is gone, and the user learns both.
func TestThePageOfARevocationThatTheJournalMisses(t *testing.T) {
	site := newTestSite(t, "backup "+filepath.Join(t.TempDir(), "backups")+" {\n journal_only\n}\n"+demoConsumer, "")
	journal := filepath.Join(site.app.backups.path, backup.JournalName(replicaName()))
	if err := errors.Join(os.Rename(journal, journal+".aside"), os.WriteFile(journal, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		site.grant("demo", "alice", "READ_PUBLIC")
	}
	for _, c := range []struct {
		field string
		left  int
	}{{"token", 2}, {"consumer", 0}} {
		list := site.open("/+oauth-tokens", "alice")
		value := "demo"
		if c.field == "token" {
			value = listed(list)[0]
		}
		w := site.send("/+oauth-tokens", "alice", revocation(t, list, c.field, value))
		wantPage(t, w, 503, "Revoked, but not noted", "lost the access", "Your applications")
		if left := listed(site.open("/+oauth-tokens", "alice")); len(left) != c.left {
			t.Errorf("after the revocation of a %s there are %d grants, want %d", c.field, len(left), c.left)
		}
	}
}
