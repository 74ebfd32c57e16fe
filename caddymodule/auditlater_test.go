package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/audit"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/command"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/backup"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/badgerstore"
)

// keepLater leaves an event in a store.
func keepLater(ctx context.Context, keeper tokenstore.Keeper, name audit.Name, count int, changes ...audit.Change) error {
	event, err := later(name, count, changes...)
	if err != nil {
		return err
	}
	return keeper.Keep(ctx, event.Name, event.Value)
}

// TestTheNextStartTellsWhatHappenedBefore: what a command did to the store, once and with its time,
// and that the primary key is another one.
func TestTheNextStartTellsWhatHappenedBefore(t *testing.T) {
	path, set := filepath.Join(t.TempDir(), "store"), ""
	start := func(primary string) (lines []string) {
		core, logs := observer.New(zap.InfoLevel)
		a := &App{
			module:    optionModule{path, "", &set},
			logger:    zap.New(core),
			ready:     make(chan struct{}),
			diagnoser: &diagnoser{off: true},
		}
		if primary != "" {
			a.Keys = &Keys{Primary: &EncryptionKey{ID: primary}}
		}
		if err := a.Start(); err != nil {
			t.Fatal(err)
		}
		if err := a.Cleanup(); err != nil {
			t.Fatal(err)
		}
		for _, entry := range logs.All() {
			fields := entry.ContextMap()
			if event := fields["event"]; event == "audit.started" || event == "configuration.loaded" || event == nil {
				continue
			}
			if at, err := time.Parse(time.RFC3339Nano, fmt.Sprint(fields["time"])); err != nil || time.Since(at) > time.Minute {
				t.Errorf("the time of %v: %v", fields, err)
			}
			lines = append(lines, fmt.Sprint(fields["event"], " ", fields["count"], " ", fields["changes"]))
		}
		return lines
	}
	restore := func() {
		store, err := badgerstore.Open(badgerstore.Options{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		if err := keepLater(t.Context(), store, audit.StoreRestored, 3, audit.Change{Field: "backup", To: "b"}); err != nil {
			t.Error(err)
		}
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
	}
	const restored = "store.restored 3 [map[field:backup to:b]]"
	rotated := func(from, to string) string {
		changes := "field:primary key"
		if from != "" {
			changes += " from:" + from
		}
		if to != "" {
			changes += " to:" + to
		}
		return "key.rotated <nil> [map[" + changes + "]]"
	}
	for i, c := range []struct {
		restored bool
		primary  string
		want     []string
	}{
		{false, "", nil},
		{false, "k1", []string{rotated("", "k1")}},
		{false, "k1", nil},
		{true, "k1", []string{restored}},
		{false, "k2", []string{rotated("k1", "k2")}},
		{true, "k2", []string{restored}},
		{false, "", []string{rotated("k2", "")}},
	} {
		if c.restored {
			restore()
		}
		if got := start(c.primary); !slices.Equal(got, c.want) {
			t.Errorf("start %d told %q, want %q", i, got, c.want)
		}
	}
}

// killedModule opens Badger's store in a process that is killed after the command's last change of
// the store: it keeps nothing any more.
type killedModule struct {
	Path string `json:"path"`
}

func init() { caddy.RegisterModule(new(killedModule)) }

type killedStore struct{ *badgerstore.Store }

func (killedStore) Keep(context.Context, string, []byte) error { return errors.New("killed") }

func (*killedModule) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "oauth1.stores.killed", New: func() caddy.Module { return new(killedModule) }}
}

func (m *killedModule) PoolKey() (string, error) { return "killed:" + m.Path, nil }

func (m *killedModule) Open() (tokenstore.Store, error) {
	return m.open(badgerstore.Options{Path: m.Path})
}

func (m *killedModule) Adopt(floor int64, empty bool, keep *tokenstore.Kept) (tokenstore.Store, error) {
	return m.open(badgerstore.Options{Path: m.Path, Adopt: floor, AdoptEmpty: empty, AdoptKeep: keep})
}

func (m *killedModule) Exists() (bool, error) { return true, nil }

func (m *killedModule) open(o badgerstore.Options) (tokenstore.Store, error) {
	s, err := badgerstore.Open(o)
	return killedStore{s}, err
}

func (*killedModule) Configure(tokenstore.Store) error { return nil }

// TestACommandThatIsKilledAtItsEnd: what it did to the store is told all the same.
func TestACommandThatIsKilledAtItsEnd(t *testing.T) {
	ctx := t.Context()
	config := func(module, path string) []byte {
		return fmt.Appendf(nil, `{"apps":{"oauth1":{"store":{"module":%q,"path":%q}}}}`, module, path)
	}
	from := filepath.Join(t.TempDir(), "from")
	with := func(path string, f func(*badgerstore.Store) error) {
		t.Helper()
		s, err := badgerstore.Open(badgerstore.Options{Path: path})
		if err == nil {
			err = errors.Join(f(s), s.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	backedUp := filepath.Join(t.TempDir(), "b")
	with(from, func(s *badgerstore.Store) error {
		f, err := os.Create(backedUp)
		if err != nil {
			return err
		}
		_, err = writeBackup(ctx, s, f, backup.Header{ID: "b", Store: "s", Time: time.Now()}, nil)
		return errors.Join(s.CreateConsumer(ctx, &tokenstore.Consumer{Key: "c"}), err, f.Close())
	})
	for event, command := range map[audit.Name]func(path string) error{
		audit.StoreImported: func(path string) error {
			return copyStore(ctx, config("badger", from), config("killed", path), func(command.CopiedKind) {})
		},
		audit.StoreRestored: func(path string) error {
			_, err := restoreStore(ctx, config("killed", path), command.Restore{File: backedUp, AcceptLost: true}, func() {})
			return err
		},
		audit.StoreAdopted: func(path string) error {
			with(path, func(*badgerstore.Store) error { return nil })
			if err := os.Remove(path + badgerstore.GenerationSuffix); err != nil {
				return err
			}
			_, err := adoptStore(config("killed", path))
			return err
		},
	} {
		path := filepath.Join(t.TempDir(), "to")
		if err := command(path); err != nil {
			t.Errorf("%s: %v", event, err)
		}
		with(path, func(s *badgerstore.Store) error {
			kept, err := s.Kept(ctx, keptLater)
			if len(kept) != 1 || kept[keptLater+string(event)] == nil {
				t.Errorf("%s: the store keeps %q", event, kept)
			}
			return err
		})
	}
}

// strictSink is a strict trail's file, which can be full.
type strictSink struct {
	full   atomic.Bool
	events []string
}

func (*strictSink) Strict() bool { return true }

func (s *strictSink) Write(lines []*audit.Line) error {
	if s.full.Load() {
		return errors.New("disk full")
	}
	for _, l := range lines {
		s.events = append(s.events, l.Event)
	}
	return nil
}

// TestWhatHappenedBeforeIsToldOnce: also by a trail that can't be written for a while, and that owes
// the lines. The store keeps them until they are written.
func TestWhatHappenedBeforeIsToldOnce(t *testing.T) {
	ctx := t.Context()
	store, err := badgerstore.Open(badgerstore.Options{Path: filepath.Join(t.TempDir(), "store")})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if err := errors.Join(keepLater(ctx, store, audit.StoreRestored, 3), store.Keep(ctx, keptPrimary, []byte("k1"))); err != nil {
		t.Fatal(err)
	}
	sink := new(strictSink)
	sink.full.Store(true)
	trail := audit.Open(audit.Options{Key: audit.Key([32]byte{}), Sink: sink, Now: time.Now, Failed: func(error) {}})
	pooled := &pooledStore{trail: trailOfStore{trail: trail, failures: newFailureLog(zap.NewNop())}}
	defer pooled.trail.failures.end()
	reload := func(primary string) {
		t.Helper()
		a := &App{logger: zap.NewNop(), sink: sink, pooled: pooled, Keys: &Keys{Primary: &EncryptionKey{ID: primary}}}
		a.load.started = true
		if err := a.openTrail(ctx, store); err != nil {
			t.Error(err)
		}
	}
	wantKept := func(restored bool, primary string) {
		t.Helper()
		later, err := store.Kept(ctx, keptLater)
		keys, err2 := store.Kept(ctx, keptPrimary)
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		if got := len(later[keptLater+string(audit.StoreRestored)]) > 0; got != restored || string(keys[keptPrimary]) != primary {
			t.Errorf("the store keeps the restore: %v, and key %q, want %v, %q", got, keys[keptPrimary], restored, primary)
		}
	}
	reload("k2")
	reload("k2")
	wantKept(true, "k1")
	sink.full.Store(false)
	reload("k2")
	wantKept(false, "k2")
	reload("k2")
	if err := keepLater(ctx, store, audit.StoreRestored, 4); err != nil {
		t.Fatal(err)
	}
	reload("k3")
	wantKept(false, "k3")
	trail.Close()
	told := make(map[string]int)
	for _, event := range sink.events {
		told[event]++
	}
	if told["store.restored"] != 2 || told["key.rotated"] != 2 {
		t.Errorf("told %v", told)
	}
}

// partStore can't read consumers at first.
type partStore struct {
	tokenstore.Store
	tokenstore.Keeper
	failures int
}

func (s *partStore) Consumer(context.Context, string) (*tokenstore.Consumer, error) {
	if s.failures--; s.failures >= 0 {
		return nil, &tokenstore.LaterError{Err: errors.New("later")}
	}
	return nil, tokenstore.ErrNotFound
}

// TestAStoreThatIsTakenUpInPartsIsToldOnce: the configuration is loaded once, however often the rest
// is tried.
func TestAStoreThatIsTakenUpInPartsIsToldOnce(t *testing.T) {
	ctx := t.Context()
	badger, err := badgerstore.Open(badgerstore.Options{Path: filepath.Join(t.TempDir(), "store")})
	if err != nil {
		t.Fatal(err)
	}
	defer badger.Close()
	core, logs := observer.New(zap.InfoLevel)
	a := &App{
		logger: zap.NewNop(), sink: audit.Log{Logger: zap.New(core)}, pooled: new(pooledStore),
		declared: map[string]*tokenstore.Consumer{"c": {Key: "c"}},
	}
	defer a.pooled.trail.close()
	a.load.started = true
	store := &partStore{badger, badger, 2}
	for i := range 3 {
		if err := a.takeUp(ctx, store); isLater(err) != (i < 2) {
			t.Errorf("number %d: %v", i, err)
		}
	}
	if n := logs.FilterMessage("configuration.loaded").Len(); n != 1 {
		t.Errorf("configuration.loaded is told %d times", n)
	}
}
