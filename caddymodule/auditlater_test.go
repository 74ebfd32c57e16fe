package caddymodule

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/audit"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/badgerstore"
)

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
		if err := tellLater(t.Context(), store, audit.StoreRestored, 3, audit.Change{Field: "backup", To: "b"}); err != nil {
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
