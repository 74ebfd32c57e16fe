package badgerstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/badgerstore/internal/disktest"
)

const testWindow = 300

// Constants of noncelog: its lead, and the names and headers of its files.
const (
	nonceLead     = 20
	segmentSuffix = ".nonces"
	segmentHeader = 64
)

func windowNonce(timestamp int64, value string) tokenstore.Nonce {
	return tokenstore.Nonce{Consumer: "k", Timestamp: timestamp, Value: value,
		Expires: time.Unix(timestamp+1+testWindow, 0)}
}

// TestRestart: the nonce log and its state in the database are restored together, after each kind
// of end.
func TestRestart(t *testing.T) {
	const begin = 1_800_000_000
	flip := func(t *testing.T, path string) {
		for _, name := range disktest.Segments(t, path) {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			b[segmentHeader] ^= 1
			if err := os.WriteFile(name, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		name   string
		clean  bool
		sync   bool
		boot   string
		harm   func(t *testing.T, path string)
		passes int64 // the first timestamps that pass, in seconds from the clock
		log    string
	}{
		{"kill -9 costs nothing", false, false, "same", nil, -testWindow, ""},
		{"a clean stop before the machine's costs nothing", true, false, "another", nil, -testWindow, ""},
		{"a power cut costs the nonces below the ceiling", false, false, "another", nil,
			nonceLead + 1, "the machine stopped"},
		{"a power cut with sync on costs nothing", false, true, "another", nil, -testWindow, ""},
		{"a flipped bit costs a window", false, false, "same", flip, testWindow + 2, "record 0"},
		{"a truncated segment costs a window", true, false, "same", func(t *testing.T, path string) {
			for _, name := range disktest.Segments(t, path) {
				if err := os.Truncate(name, segmentHeader+10); err != nil {
					t.Fatal(err)
				}
			}
		}, testWindow + 2, "10 bytes of records where 64 should be"},
		{"lost segments cost a window", true, false, "same", func(t *testing.T, path string) {
			if err := os.RemoveAll(filepath.Join(path, "nonces")); err != nil {
				t.Fatal(err)
			}
		}, testWindow + 2, "its files are gone"},
		{"another store's log costs a window", true, false, "same", func(t *testing.T, path string) {
			for _, name := range []string{"tokens", ledgerName} {
				if err := os.RemoveAll(filepath.Join(path, name)); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Remove(path + GenerationSuffix); err != nil {
				t.Fatal(err)
			}
		}, testWindow + 2, "it belongs to another store"},
		{"files of others are nothing to us", true, false, "same", func(t *testing.T, path string) {
			name := filepath.Join(path, "nonces", "lost+found")
			if err := os.WriteFile(name, []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, -testWindow, ""},
		{"a segment that was never finished is removed", false, false, "same", func(t *testing.T, path string) {
			name := filepath.Join(path, "nonces", "00000000000000ff"+segmentSuffix+".new")
			if err := os.WriteFile(name, []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, -testWindow, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			clock := func() time.Time { return time.Unix(begin, 0) }
			path := t.TempDir()
			s, err := Open(Options{Path: path, Sync: c.sync, bootID: "same", Clock: clock})
			if err != nil {
				t.Fatal(err)
			}
			// The first nonce makes the ceiling rise, and the second is below it.
			for i := range int64(2) {
				if err := s.UseNonce(t.Context(), windowNonce(begin+i, "used")); err != nil {
					t.Fatal(err)
				}
				if err := s.nonces.LookAfter(clock(), nil); err != nil {
					t.Fatal(err)
				}
			}
			crashed := ""
			if !c.clean {
				crashed = disktest.Crash(t, path)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if c.clean {
				crashed = path
			}
			if c.harm != nil {
				c.harm(t, crashed)
			}
			core, logs := observer.New(zapcore.WarnLevel)
			s = openTest(t, Options{Path: crashed, bootID: c.boot, Clock: clock, Logger: zap.New(core)})
			for i := range int64(2) {
				if err := s.UseNonce(t.Context(), windowNonce(begin+i, "used")); err == nil {
					t.Errorf("timestamp %d: a used nonce passed", i)
				}
			}
			err = s.UseNonce(t.Context(), windowNonce(begin+c.passes-1, "new"))
			if c.passes > -testWindow && !errors.Is(err, tokenstore.ErrNonceForgotten) {
				t.Errorf("timestamp %d: got %v, want %v", c.passes-1, err, tokenstore.ErrNonceForgotten)
			}
			if err := s.UseNonce(t.Context(), windowNonce(begin+c.passes, "new")); err != nil {
				t.Errorf("timestamp %d: %v", c.passes, err)
			}
			text := ""
			for _, l := range logs.All() {
				text += fmt.Sprintln(l.Message, l.ContextMap())
			}
			if !strings.Contains(text, c.log) || c.log == "" && text != "" {
				t.Errorf("logged %q, want %q", text, c.log)
			}
			if left, _ := filepath.Glob(filepath.Join(crashed, "nonces", "*.new")); len(left) > 0 {
				t.Errorf("there is still %q", left)
			}
		})
	}
}

// A nonce that can't be synced is not accepted. From then on every call says that the store must be
// opened again, because the kernel may have dropped any of its pages.
func TestFailedSyncOfANonce(t *testing.T) {
	broken := errors.New("broken disk")
	var breaks atomic.Bool
	s := openTest(t, Options{Sync: true, afterSync: func(string) error {
		if breaks.Load() {
			return broken
		}
		return nil
	}})
	now := time.Now().Unix()
	if err := s.UseNonce(t.Context(), windowNonce(now, "before")); err != nil {
		t.Fatal(err)
	}
	breaks.Store(true)
	if err := s.UseNonce(t.Context(), windowNonce(now, "n")); !errors.Is(err, broken) {
		t.Errorf("use: got %v", err)
	}
	breaks.Store(false)
	if err := s.UseNonce(t.Context(), windowNonce(now, "after")); !errors.Is(err, broken) {
		t.Errorf("use, later: got %v", err)
	}
	if err := s.Check(t.Context()); !errors.Is(err, broken) {
		t.Errorf("check: got %v", err)
	}
	if err := s.Close(); !errors.Is(err, broken) {
		t.Errorf("close: got %v", err)
	}
}
