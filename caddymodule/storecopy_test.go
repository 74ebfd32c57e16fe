package caddymodule

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/audit"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/command"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/badgerstore"
)

// TestACopyThatBrokeOff: no app starts with what it left, and the same command mends it.
func TestACopyThatBrokeOff(t *testing.T) {
	ctx, from, to := t.Context(), t.TempDir(), t.TempDir()
	config := func(path string) []byte {
		return fmt.Appendf(nil, `{"apps":{"oauth1":{"store":{"module":"badger","path":%q}}}}`, path)
	}
	with := func(path string, f func(*badgerstore.Store) error) error {
		s, err := badgerstore.Open(badgerstore.Options{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		return errors.Join(f(s), s.Close())
	}
	if err := with(from, func(s *badgerstore.Store) error {
		return s.CreateConsumer(ctx, &tokenstore.Consumer{Key: "a"})
	}); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("the power went out")
	if err := with(to, func(s *badgerstore.Store) error {
		return s.Import(ctx, func(yield func(any, error) bool) {
			if yield(&tokenstore.StoreState{}, nil) && yield(&tokenstore.Consumer{Key: "old"}, nil) {
				yield(nil, broken)
			}
		})
	}); !errors.Is(err, broken) {
		t.Fatal(err)
	}

	start := func() error {
		o, err := provisionOffline(config(to))
		if err != nil {
			t.Fatal(err)
		}
		defer o.close()
		ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
		defer cancel()
		a := &App{ctx: ctx, module: o.app.module, logger: zap.NewNop(), ready: make(chan struct{}),
			diagnoser: newDiagnoser(&Diagnoses{})}
		defer a.Cleanup()
		return a.Start()
	}
	if err := start(); !errors.Is(err, tokenstore.ErrIncomplete) {
		t.Errorf("the start: got %v", err)
	}
	got := make(map[command.CopiedKind]int)
	if err := copyStore(ctx, config(from), config(to), func(kind command.CopiedKind) { got[kind]++ }); err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(got, map[command.CopiedKind]int{command.CopiedConsumer: 1}) {
		t.Errorf("copied %v", got)
	}
	if err := start(); err != nil {
		t.Errorf("the start after the copy: %v", err)
	}
	if err := with(to, func(s *badgerstore.Store) error {
		if _, err := s.Consumer(ctx, "old"); !errors.Is(err, tokenstore.ErrNotFound) {
			t.Errorf("of the copy that broke off: %v", err)
		}
		_, err := s.Consumer(ctx, "a")
		return err
	}); err != nil {
		t.Error(err)
	}
	err := copyStore(ctx, config(from), config(to), func(command.CopiedKind) {})
	if !errors.Is(err, tokenstore.ErrNotEmpty) {
		t.Errorf("a target that is not empty: %v", err)
	}
}

// TestWhichConfigurationsHaveAStore: a site with the handler alone has the default store; a
// configuration without the module has none.
func TestWhichConfigurationsHaveAStore(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	for config, ok := range map[string]bool{
		`{"apps":{"http":{"servers":{"a":{"routes":[{"handle":[{"handler":"oauth1"}]}]}}}}}`: true,
		`{"apps":{"oauth1":{}}}`:                          true,
		`{"apps":{"http":{}}}`:                            false,
		`{"apps":{"oauth1":{"store":{"module":"none"}}}}`: false,
		`{`: false,
	} {
		o, err := provisionOffline([]byte(config))
		if (err == nil) != ok {
			t.Errorf("%s: %v", config, err)
		}
		if o != nil {
			o.close()
		}
	}
}

// TestCommandsMakeNoStore: a command that reads a store, with a path that is wrong, says so. It makes
// no store there, and calls no line of the trail changed.
func TestCommandsMakeNoStore(t *testing.T) {
	path, set := filepath.Join(t.TempDir(), "store"), ""
	config := []byte(fmt.Sprintf(`{"apps":{"oauth1":{"store":{"module":"badger","path":%q}}}}`, path))
	verify := func() error {
		_, err := verifyOffline(t.Context(), config, false, func(*audit.Verifier) error { return nil })
		return err
	}
	for name, do := range map[string]func() error{
		"audit verify": verify,
		"store adopt": func() error {
			_, err := adoptStore(config)
			return err
		},
		"store copy": func() error {
			return copyStore(t.Context(), config, []byte(`{"apps":{"oauth1":{"store":{"module":"badger","path":"`+t.TempDir()+`"}}}}`),
				func(command.CopiedKind) {})
		},
	} {
		if err := do(); err == nil || !strings.Contains(err.Error(), "there is no store") {
			t.Errorf("%s: got %v", name, err)
		}
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("%s: the path: %v", name, err)
		}
	}
	store, err := optionModule{path, "", &set}.Open()
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	if err := verify(); err == nil || !strings.Contains(err.Error(), "no Caddy has written an audit trail") {
		t.Errorf("audit verify with another store: got %v", err)
	}
}
