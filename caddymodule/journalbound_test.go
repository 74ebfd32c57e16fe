package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/backup"
)

// TestTheJournalOfAReplica: one that makes no backups keeps what the backups of another one need, and
// no more.
func TestTheJournalOfAReplica(t *testing.T) {
	ctx, now := t.Context(), time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	maker, makersStore := backedUpApp(t, &now)
	maker.Backup.Keep, maker.Backup.Every, maker.metrics = 2, caddy.Duration(defaultBackupEvery), new(metrics)
	later := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	a, store := backedUpApp(t, &later)
	// The two have a store each here, which stand for one.
	share := func() {
		kept, err := makersStore.Kept(ctx, keptSchedules)
		if err == nil {
			err = store.Keep(ctx, keptSchedules+"maker", kept[maker.scheduleName()])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	days := func() (all []int) {
		for _, e := range a.backups.read(t) {
			all = append(all, e.Time.Day())
		}
		return all
	}
	for day := range 4 {
		now = time.Date(2026, 1, 1+day, 0, 0, 0, 0, time.UTC)
		maker.backups.makeOne(ctx, maker)
		later = now.Add(time.Hour)
		key := now.String()
		if err := errors.Join(store.CreateConsumer(ctx, &tokenstore.Consumer{Key: key}), a.deleteConsumer(ctx, store, key)); err != nil {
			t.Fatal(err)
		}
	}
	a.backups.follow(ctx, a)
	if got := days(); len(got) != 4 {
		t.Errorf("without a schedule it has the days %v", got)
	}
	share()
	a.backups.follow(ctx, a)
	if got := days(); len(got) != 2 || got[0] != 3 {
		t.Errorf("with backups from day 3 on it has the days %v", got)
	}
	kept, err := backup.List(maker.backups.path)
	if err != nil || len(kept) != 2 {
		t.Fatalf("kept %v, %v", kept, err)
	}
	read, err := backup.ReadJournal(a.backups.path + "/" + backup.JournalName(replicaName()))
	if err != nil || !read.Covers(backup.Header{Time: kept[0].Time}, later) {
		t.Errorf("the journal does not cover the oldest backup: %v", err)
	}

	// A clock that is ahead leaves a backup whose place in time nobody knows.
	for i, at := range []time.Time{now.AddDate(9, 0, 0), time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)} {
		now, maker.Backup.Keep = at, 1+i
		maker.backups.makeOne(ctx, maker)
		share()
		a.backups.follow(ctx, a)
		if got := days(); len(got) != 2 {
			t.Errorf("with a backup that is to come it has the days %v", got)
		}
	}
}

// TestAMakerWithAnotherFolder: the others keep what the backups in the folder before need, until its
// schedule has ended. A disk may not be mounted.
func TestAMakerWithAnotherFolder(t *testing.T) {
	ctx, now := t.Context(), time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	maker, store := backedUpApp(t, &now)
	maker.Backup.Keep, maker.Backup.Every, maker.metrics = 3, caddy.Duration(defaultBackupEvery), new(metrics)
	core, logs := observer.New(zap.WarnLevel)
	maker.logger = zap.New(core)
	mounted := maker.backups
	empty, err := newBackups(t.TempDir(), mounted.storeID, now, maker.logger)
	if err != nil {
		t.Fatal(err)
	}
	defer empty.Destruct()
	for _, c := range []struct {
		day    int
		folder *backups
		want   int // the day of the oldest backup that counts
		warned bool
	}{
		{1, mounted, 1, false},
		{2, mounted, 1, false},
		{3, mounted, 1, false},
		{4, mounted, 2, false}, // it has removed the one of day 1
		{5, empty, 2, true},
		{6, empty, 2, true},
		{7, mounted, 3, false},
		{8, mounted, 4, false},
		{9, empty, 4, true},
		{10, empty, 4, true},
		{11, empty, 4, true},
		{12, empty, 10, false}, // the schedule of day 8 has ended
		{13, empty, 11, false},
	} {
		now = time.Date(2026, 1, c.day, 0, 0, 0, 0, time.UTC)
		maker.backups, maker.Backup.Path = c.folder, c.folder.path
		c.folder.makeOne(ctx, maker)
		got, err := maker.journalBound(ctx, store)
		if err != nil || got.Day() != c.want {
			t.Errorf("on day %d: got %v, %v, want day %d", c.day, got, err, c.want)
		}
		warned := slices.ContainsFunc(logs.TakeAll(), func(e observer.LoggedEntry) bool {
			return strings.Contains(fmt.Sprint(e.ContextMap()["error"]), "is its disk mounted?")
		})
		if warned != c.warned {
			t.Errorf("on day %d: warned %v", c.day, warned)
		}
	}
	maker.backups, maker.Backup.Path = mounted, mounted.path // for the end
}

// TestADamagedSchedule: it is not replaced, since it may have had an older backup.
func TestADamagedSchedule(t *testing.T) {
	ctx, now := t.Context(), time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	a, store := backedUpApp(t, &now)
	if err := store.Keep(ctx, a.scheduleName(), []byte("{")); err != nil {
		t.Fatal(err)
	}
	if err := a.keepSchedule(ctx, store, now, nil); err == nil {
		t.Error("it was replaced")
	}
}

// TestJournalBound: which of the schedules in the store counts.
func TestJournalBound(t *testing.T) {
	ctx, now := t.Context(), time.Date(2026, 1, 20, 0, 0, 0, 0, time.UTC)
	day := func(n int) time.Time { return time.Date(2026, 1, n, 0, 0, 0, 0, time.UTC) }
	for name, c := range map[string]struct {
		schedules map[string]keptSchedule
		want      time.Time
	}{
		"none":                       {nil, time.Time{}},
		"one":                        {map[string]keptSchedule{"x": {day(3), day(30)}}, day(3)},
		"two":                        {map[string]keptSchedule{"x": {day(3), day(30)}, "y": {day(2), day(30)}}, day(2)},
		"one that has ended":         {map[string]keptSchedule{"x": {day(3), day(19)}}, time.Time{}},
		"one of two has ended":       {map[string]keptSchedule{"x": {day(3), day(19)}, "y": {day(4), day(30)}}, day(4)},
		"one from a time to come":    {map[string]keptSchedule{"x": {day(3), day(30)}, "y": {day(21), day(30)}}, time.Time{}},
		"its own, from before":       {map[string]keptSchedule{"": {day(3), day(30)}}, day(3)},
		"its own, and another one":   {map[string]keptSchedule{"": {day(3), day(30)}, "y": {day(4), day(30)}}, day(3)},
		"its own has ended":          {map[string]keptSchedule{"": {day(3), day(19)}, "y": {day(4), day(30)}}, day(4)},
		"one that has been given up": {map[string]keptSchedule{"x": {}, "y": {day(4), day(30)}}, day(4)},
	} {
		a, store := backedUpApp(t, &now)
		for id, s := range c.schedules {
			text, err := json.Marshal(s)
			if s.Oldest.IsZero() {
				text = nil
			}
			key := keptSchedules + id
			if id == "" {
				key = a.scheduleName()
			}
			if err := errors.Join(err, store.Keep(ctx, key, text)); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			if got, err := a.journalBound(ctx, store); err != nil || !got.Equal(c.want) {
				t.Errorf("%s: got %v, %v, want %v", name, got, err, c.want)
			}
		}
		if err := store.Keep(ctx, keptSchedules+"damaged", []byte("{")); err != nil {
			t.Fatal(err)
		}
		if got, err := a.journalBound(ctx, store); err == nil || !got.IsZero() {
			t.Errorf("%s, and a damaged one: got %v", name, got)
		}
	}
}
