package badgerstore

import (
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// TestRemoval measures how long it takes to revoke as many tokens as REMOVE says, and how much that
// slows other calls:
//
//	REMOVE=300000 go test -v -timeout 1h -run TestRemoval ./tokenstore/badgerstore
func TestRemoval(t *testing.T) {
	n := envNumber(t, "REMOVE")
	for _, test := range []struct {
		name   string
		remove func(s *Store) error
	}{
		{"revoke", func(s *Store) error {
			got, err := s.Revoke(t.Context(), tokenstore.Filter{Consumer: "k"})
			if err == nil && got != n {
				err = fmt.Errorf("revoked %d, want %d", got, n)
			}
			return err
		}},
		{"delete", func(s *Store) error { return s.DeleteConsumer(t.Context(), "k") }},
	} {
		t.Run(test.name, func(t *testing.T) { measureRemoval(t, n, test.remove) })
	}
}

func measureRemoval(t *testing.T, n int, remove func(*Store) error) {
	path := t.TempDir()
	loadTokens(t, path, n, ofOneConsumer, func(*badger.Options) {})
	s := openTest(t, Options{Path: path})
	if err := s.CreateConsumer(t.Context(), &tokenstore.Consumer{Key: "k"}); err != nil {
		t.Fatal(err)
	}
	for i := range 2000 {
		if err := s.CreateAccessToken(t.Context(), &tokenstore.AccessToken{Key: fmt.Sprint("other", i), Secret: "s", Consumer: "l", User: "v"}); err != nil {
			t.Fatal(err)
		}
	}
	before := diskUse(t, path)
	measure := func(what string, until func() bool) {
		var all sync.WaitGroup
		var mu sync.Mutex
		var created, read []time.Duration
		var done atomic.Bool
		for worker := range 4 {
			all.Go(func() {
				var c, r []time.Duration
				for i := 0; !done.Load(); i++ {
					start := time.Now()
					if err := s.CreateAccessToken(context.Background(), &tokenstore.AccessToken{Key: fmt.Sprintf("%s %d-%d", what, worker, i), Secret: "s", Consumer: "l", User: "v"}); err != nil {
						t.Error(err)
						return
					}
					c = append(c, time.Since(start))
					start = time.Now()
					if _, err := s.AccessToken(context.Background(), fmt.Sprint("other", rand.IntN(2000))); err != nil {
						t.Error(err)
						return
					}
					r = append(r, time.Since(start))
					time.Sleep(5 * time.Millisecond)
				}
				mu.Lock()
				defer mu.Unlock()
				created, read = append(created, c...), append(read, r...)
			})
		}
		heap := peakHeap(until)
		done.Store(true)
		all.Wait()
		slices.Sort(created)
		slices.Sort(read)
		p99 := func(d []time.Duration) time.Duration { return d[len(d)*99/100] }
		t.Logf("%s: create p50 %v p99 %v max %v; read p99 %v max %v; %d of each; heap grew by %d MiB at most", what,
			created[len(created)/2], p99(created), created[len(created)-1], p99(read), read[len(read)-1], len(read),
			heap>>20)
	}
	begin := time.Now()
	measure("idle", func() bool { return time.Since(begin) > 5*time.Second })
	var acknowledged time.Duration
	begin = time.Now()
	result := make(chan error, 1)
	go func() {
		err := remove(s)
		acknowledged = time.Since(begin)
		result <- err
	}()
	returned := false
	measure("removing", func() bool {
		if !returned {
			select {
			case err := <-result:
				if err != nil {
					t.Error(err)
				}
				returned = true
			default:
			}
		}
		return returned && removed(s) && time.Since(begin) > 2*time.Second
	})
	t.Logf("acknowledged after %v, removed after %v", acknowledged, time.Since(begin))
	deadline := time.Now().Add(3 * time.Minute)
	for diskUse(t, path) > before/4 && time.Now().Before(deadline) {
		time.Sleep(time.Second)
	}
	t.Logf("on disk: %d MiB before, %d MiB %v after the removal began", before>>20, diskUse(t, path)>>20,
		time.Since(begin))
}

// The heap while tokens are removed is bounded by Badger's buffers, however many tokens there are.
// By default tables, levels and counts are small. With the real ones:
//
//	MEMORY=400000 go test -v -timeout 1h -run TestRemovalMemory ./tokenstore/badgerstore
func TestRemovalMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("removes many tokens")
	}
	if raceEnabled {
		t.Skip("the race detector makes it ten times as slow, and its memory another one")
	}
	n, tune := 135_000, func(o *badger.Options) {
		o.SyncWrites = false
		o.MemTableSize /= 16
		o.BaseTableSize /= 16
		o.BaseLevelSize /= 16
		o.ValueThreshold = 64 << 10 // a memtable of that size wants it
	}
	if os.Getenv("MEMORY") != "" {
		n, tune = envNumber(t, "MEMORY"), func(o *badger.Options) {}
	}
	removalMemory(t, n/3, tune)
	removalMemory(t, n, tune)
}

// removalMemory measures the live heap while n tokens are revoked, counted and removed, and while
// Badger cleans up.
func removalMemory(t *testing.T, n int, tune func(*badger.Options)) {
	path := t.TempDir()
	loadTokens(t, path, n, ofOneConsumer, tune)
	s, err := Open(Options{Path: path, tune: tune})
	if err != nil {
		t.Fatal(err)
	}
	o := s.tokens.db.Opts()
	for _, l := range s.tokens.db.Levels() {
		if l.Level > 0 && l.TargetFileSize > o.BaseTableSize {
			t.Errorf("a table of level %d may have %d KiB", l.Level, l.TargetFileSize>>10)
		}
	}
	before, begin, growth := liveHeap(), time.Now(), int64(0)
	revoked := make(chan error, 1)
	go func() {
		got, err := s.Revoke(context.Background(), tokenstore.Filter{Consumer: "k"})
		if err == nil && got != n {
			err = fmt.Errorf("revoked %d, want %d", got, n)
		}
		revoked <- err
	}()
	cleaned := func() bool { return removed(s) && s.revocations.garbage.Load() < garbageAtLeast }
	for done := false; !done || !cleaned(); time.Sleep(20 * time.Millisecond) {
		growth = max(growth, liveHeap()-before)
		select {
		case err := <-revoked:
			if err != nil {
				t.Error(err)
			}
			done = true
		default:
		}
		if time.Since(begin) > 10*time.Minute {
			t.Fatal("not removed yet")
		}
	}
	// Each of two compactions builds up to 13 tables, in buffers of twice their size, and 8 more
	// such buffers are kept. There are 3 memtables, each with some room for a batch. A buffer that is
	// full gets another one, so three times that is allowed. By default 9 to 31 MiB were measured, for
	// 45,000 tokens as for 180,000.
	most := 3 * ((2*13+8)*2*o.BaseTableSize + 3*o.MemTableSize*4/3)
	t.Logf("%d tokens: %d KiB more are alive at most, want %d; %v", n, growth>>10, most>>10, time.Since(begin))
	if growth > most {
		t.Errorf("%d KiB more are alive, want %d at most", growth>>10, most>>10)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// A removal waits while Badger has tables to merge, and goes on afterwards.
func TestRemovalAwaitsMerges(t *testing.T) {
	t.Parallel()
	const n = 3000
	path, tune := t.TempDir(), func(o *badger.Options) {
		o.NumLevelZeroTables = 10 // so Badger merges no tables by itself
		o.SyncWrites = false
	}
	loadTokens(t, path, n, ofOneConsumer, tune)
	s := openTest(t, Options{Path: path, tune: tune})
	for s.unmerged() < unmergedTables {
		if err := s.fillMemtable(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Revoke(t.Context(), tokenstore.Filter{Consumer: "k"}); err != nil {
		t.Fatal(err)
	}
	left := func() (left int) {
		if err := s.tokens.view(func(txn *reader) error {
			return scan(txn, []byte{prefixAccessToken}, nil, false,
				func(*entry) (bool, error) { left++; return true, nil })
		}); err != nil {
			t.Fatal(err)
		}
		return left
	}
	time.Sleep(time.Second)
	if got := left(); got < n-removedAtOnce {
		t.Errorf("%d tokens are left of %d, although %d tables are not merged", got, n, s.unmerged())
	}
	if err := s.tokens.db.Flatten(1); err != nil {
		t.Fatal(err)
	}
	settle(t, s)
	if got := left(); got > 0 {
		t.Errorf("%d tokens are left", got)
	}
}

// liveHeap returns the size of the heap after a garbage collection.
func liveHeap() int64 {
	runtime.GC()
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	return int64(live[0].Value.Uint64())
}

// A request token takes at most tokenstore.RequestTokenSize on disk while it waits. After its end
// it takes almost nothing, without a restart and without further writes.
func TestRequestTokensOnDisk(t *testing.T) {
	if testing.Short() {
		t.Skip("writes many request tokens")
	}
	t.Parallel() // it waits most of the time
	for _, test := range []struct {
		name     string
		tokens   int
		callback int
	}{
		{"usual", 30_000, 32},
		{"long callbacks", 10_000, 2048},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			testRequestTokensOnDisk(t, test.tokens, test.callback)
		})
	}
}

func testRequestTokensOnDisk(t *testing.T, tokens, callback int) {
	var offset atomic.Int64
	path := t.TempDir()
	s := openTest(t, Options{Path: path, Clock: func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }})
	empty := diskUse(t, filepath.Join(path, "tokens"))
	s.SetLimits(tokenstore.Limits{RequestTokensOfConsumer: 10 * tokens, RequestTokens: 10 * tokens})
	var all sync.WaitGroup
	for range 32 {
		all.Go(func() {
			for range tokens / 32 {
				now := time.Now()
				if err := s.CreateRequestToken(context.WithoutCancel(t.Context()), &tokenstore.RequestToken{
					Key: tokenstore.NewKey(), Secret: tokenstore.NewSecret(), Consumer: "a-consumer-key-123456",
					Callback: "https://" + strings.Repeat("c", callback-8),
					Created:  now, Expires: now.Add(2 * time.Hour),
				}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	units := counted(s).all
	var most int64
	for range 20 { // tables are written in the meantime
		most = max(most, diskUse(t, filepath.Join(path, "tokens"))-empty)
		time.Sleep(50 * time.Millisecond)
	}
	each := most / int64(units)
	t.Logf("%d bytes for each of %d units, of %d tokens", each, units, tokens)
	if each > tokenstore.RequestTokenSize {
		t.Errorf("it takes %d bytes for each of %d units, want %d at most", each, units, tokenstore.RequestTokenSize)
	}

	offset.Store(int64(2*time.Hour + tokenstore.RequestRetention + time.Minute))
	ended := time.Now()
	s.wake()
	left := func() int64 { return diskUse(t, filepath.Join(path, "tokens")) - empty }
	for (left() > 4<<20 || counted(s).all > 0) && time.Since(ended) < 4*time.Minute {
		time.Sleep(100 * time.Millisecond)
	}
	t.Logf("%d KiB are left of %d KiB after %v", left()>>10, most>>10, time.Since(ended))
	if left() > 4<<20 {
		t.Errorf("%d KiB are left of %d KiB", left()>>10, most>>10)
	}
	wantNothing(t, s, prefixRequestToken, prefixRequestOfConsumer)
}

// ofOneConsumer has loadTokens make tokens of the consumer k.
func ofOneConsumer(_ int, t *tokenstore.AccessToken) {
	t.Secret, t.Consumer = strings.Repeat("s", 80), "k"
}

// peakHeap returns by how much the heap grows until `until` returns.
func peakHeap(until func() bool) (peak uint64) {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	start := m.HeapAlloc
	for !until() {
		runtime.ReadMemStats(&m)
		if m.HeapAlloc > start {
			peak = max(peak, m.HeapAlloc-start)
		}
		time.Sleep(20 * time.Millisecond)
	}
	return peak
}

// diskUse returns the size of the blocks of all files.
func diskUse(tb testing.TB, dir string) (bytes int64) {
	tb.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return nil // the file was removed in the meantime
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			bytes += stat.Blocks * 512
		} else {
			bytes += info.Size()
		}
		return nil
	})
	if err != nil && !os.IsNotExist(err) {
		tb.Fatal(err)
	}
	return bytes
}
