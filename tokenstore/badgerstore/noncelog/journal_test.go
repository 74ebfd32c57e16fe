package noncelog

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/badgerstore/internal/disktest"
)

// TestPowerCut opens the nonce log with the bytes that were synced when the power was cut, at a
// random moment, on a machine with a new boot id. Every accepted nonce is refused, and a client
// whose clock is right soon passes.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name        string
		sync, jumps bool
	}{{"sync off", false, false}, {"sync on", true, false}, {"sync off, and a clock that jumps", false, true}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			rounds := 10
			if testing.Short() {
				rounds = 3
			}
			for round := range rounds {
				powerCut(t, c.sync, c.jumps, time.Duration(round*20)*time.Millisecond)
			}
		})
	}
}

func powerCut(t *testing.T, sync_, jumps bool, after time.Duration) {
	path := t.TempDir()
	var (
		mu     sync.Mutex
		disk   = make(map[string][]byte) // the content of each segment at its last sync
		cut    atomic.Bool
		now    atomic.Int64
		nonces []tokenstore.Nonce
		all    sync.WaitGroup
	)
	now.Store(1_800_000_000)
	s := openTest(t, testOptions{Path: path, Sync: sync_, bootID: "before",
		Clock: func() time.Time { return time.Unix(now.Load(), 0) },
		afterSync: func(path string) error {
			mu.Lock() // before the file is read, so that the later of two concurrent syncs is kept
			defer mu.Unlock()
			b, err := os.ReadFile(path)
			if err == nil && !cut.Load() {
				disk[filepath.Base(path)] = b
			}
			return nil
		}})
	for worker := range 4 {
		all.Go(func() {
			for i := 0; !cut.Load(); i++ {
				// The clients' clocks are slow, right and fast, up to the window. Few are fast,
				// because each of those makes all earlier nonces be synced.
				ahead := int64(i * 37 % testWindow)
				if i%25 != 0 {
					ahead = -ahead
				}
				n := windowNonce(now.Load()+ahead, fmt.Sprint(worker, " ", i))
				err := s.use(n)
				if errors.Is(err, tokenstore.ErrNonceForgotten) {
					continue // the clock went on between the timestamp and its use, and the window has passed
				}
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if !cut.Load() { // after the cut nobody gets the answer
					nonces = append(nonces, n)
				}
				mu.Unlock()
				if i%50 == 0 {
					now.Add(1)
				}
			}
		})
	}
	for enough := !jumps; !enough && !t.Failed(); { // the ceiling is raised, and lowered while nonces are used
		for _, by := range []int64{2 * (lead + ceilingSlack), -2 * (lead + ceilingSlack)} {
			now.Add(by)
			if err := s.LookAfter(s.clock(), nil); err != nil {
				t.Error(err)
			}
		}
		mu.Lock()
		enough = len(nonces) >= 200
		mu.Unlock()
	}
	for enough := false; !enough && !t.Failed(); time.Sleep(time.Millisecond) {
		mu.Lock()
		enough = len(nonces) >= 200
		mu.Unlock()
	}
	time.Sleep(after)
	s.looking.Lock() // no ceiling is lowered between the cut and the copy
	mu.Lock()
	cut.Store(true)
	mu.Unlock()
	all.Wait()

	// The tokens database is synced at each commit. Its later states refuse at least as much.
	copied := disktest.Crash(t, path)
	s.looking.Unlock()
	for _, name := range disktest.Segments(t, copied) {
		b, ok := disk[filepath.Base(name)]
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
		if ok {
			if err := os.WriteFile(name, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	again := openTest(t, testOptions{Path: copied, bootID: "after",
		Clock: func() time.Time { return time.Unix(now.Load(), 0) }})
	for _, n := range nonces {
		err := again.use(n)
		if !errors.Is(err, tokenstore.ErrNonceUsed) && !errors.Is(err, tokenstore.ErrNonceForgotten) {
			t.Fatalf("timestamp %d, clock %d: got %v, want used or forgotten", n.Timestamp, now.Load(), err)
		}
	}
	later := now.Load() + lead + 1
	if sync_ {
		later = now.Load() - testWindow
	}
	if jumps { // the cut may have come while the clock was ahead
		later += 2 * (lead + ceilingSlack)
	}
	if err := again.use(windowNonce(later, "new")); err != nil {
		t.Errorf("a new nonce, %d seconds later: %v", later-now.Load(), err)
	}
}

// A clock that is a year ahead has no later effect if no request was judged by it. If requests
// were, the next look at the log lowers the ceiling, and the nonces accepted until then are still
// refused after a power cut.
func TestClockThatWasAYearAhead(t *testing.T) {
	const year = 365 * 86400
	for _, judged := range []bool{false, true} {
		t.Run(fmt.Sprint("requests were judged ", judged), func(t *testing.T) {
			var now atomic.Int64
			now.Store(1_800_000_000)
			disk := make(map[string][]byte)
			var mu sync.Mutex
			// The log has no goroutine here that looks after it with a time from before the clock
			// jumped.
			open := func(o testOptions) *Log {
				t.Helper()
				n, err := openAlone(o)
				if err != nil {
					t.Fatal(err)
				}
				return n
			}
			end := func(n *Log) {
				if err := n.Close(); err != nil {
					t.Error(err)
				}
			}
			clock := func() time.Time { return time.Unix(now.Load(), 0) }
			o := testOptions{Path: t.TempDir(), MaxNonces: 1000, Logger: zap.NewNop(), Clock: clock, bootID: "one",
				afterSync: func(path string) error {
					b, err := os.ReadFile(path)
					if err != nil {
						t.Error(err)
					}
					mu.Lock()
					defer mu.Unlock()
					disk[filepath.Base(path)] = b
					return nil
				}}
			var used []tokenstore.Nonce
			var n *Log
			use := func(nonce tokenstore.Nonce) {
				t.Helper()
				if err := n.Use(&nonce); err != nil {
					t.Fatal(err)
				}
				used = append(used, nonce)
			}
			look := func() {
				t.Helper()
				if err := n.LookAfter(o.Clock(), nil); err != nil {
					t.Fatal(err)
				}
			}
			n = open(o)
			use(windowNonce(now.Load(), "a"))
			look()
			end(n)
			now.Add(year)
			o.bootID = "two"
			n = open(o)
			look()
			if c := n.journal.ceiling.Load(); c > now.Load()-year+lead {
				t.Fatalf("without a request the ceiling became %d", c)
			}
			if judged {
				use(windowNonce(now.Load(), "ahead")) // this raises the ceiling
				look()
				use(windowNonce(now.Load()-1, "ahead, and below the ceiling"))
			}
			now.Add(bucketSeconds - year)
			look()
			use(windowNonce(now.Load(), "b"))
			if !judged { // it would sync the earlier nonces
				use(windowNonce(now.Load()+lead+1, "above the ceiling"))
			}
			look()

			path := disktest.Crash(t, o.Path)
			for _, name := range disktest.Segments(t, path) {
				mu.Lock()
				b := disk[filepath.Base(name)]
				mu.Unlock()
				if err := os.WriteFile(name, b, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			now.Add(120)
			o.Path, o.bootID, o.afterSync = path, "three", nil
			end(n)
			n = open(o)
			defer end(n)
			for _, u := range used {
				err := n.Use(&u)
				if !errors.Is(err, tokenstore.ErrNonceUsed) && !errors.Is(err, tokenstore.ErrNonceForgotten) {
					t.Errorf("%q of %d: got %v, want used or forgotten", u.Value, u.Timestamp, err)
				}
			}
			fresh := windowNonce(now.Load(), "c")
			if err := n.Use(&fresh); err != nil {
				t.Errorf("after the power cut: %v", err)
			}
		})
	}
}

// A nonce that is being written while the ceiling is lowered below it is synced by itself. It was
// not in the log yet when the nonces below the old ceiling were synced.
func TestNonceOnItsWayWhileTheCeilingIsLowered(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	var synced atomic.Bool
	s := openTest(t, testOptions{Clock: func() time.Time { return now }, afterSync: func(string) error {
		synced.Store(true)
		return nil
	}})
	n := s.Log
	n.looking.Lock()
	defer n.looking.Unlock()
	if err := n.change(func(s *logState) { s.ceiling = now.Unix() + 86400 }); err != nil {
		t.Fatal(err)
	}
	active := n.journal.active.Load()
	active.pages = slowPages{active.pages, func() {
		if err := n.lowerCeiling(now); err != nil {
			t.Error(err)
		}
		if !synced.Swap(false) {
			t.Error("the ceiling is lowered before the nonces below it are on disk")
		}
	}}
	if err := s.use(windowNonce(now.Unix()+lead+1, "n")); err != nil {
		t.Fatal(err)
	}
	if !synced.Load() {
		t.Error("accepted above the ceiling, and not on disk")
	}
}

// slowPages does something before a nonce is written.
type slowPages struct {
	pages
	before func()
}

func (p slowPages) put(i int64, serial uint64, n loggedNonce) error {
	p.before()
	return p.pages.put(i, serial, n)
}

// After a power cut while the clock is ahead, and requests are judged by it, all requests up to
// that time are refused. The log says until when, and what an operator can do.
func TestPowerCutWhileTheClockIsAhead(t *testing.T) {
	now := int64(1_800_000_000 + 86400)
	core, logs := observer.New(zap.WarnLevel)
	o := testOptions{Path: t.TempDir(), Clock: func() time.Time { return time.Unix(now, 0) }, bootID: "one",
		Logger: zap.New(core)}
	s := openTest(t, o)
	if err := s.use(windowNonce(now, "a")); err != nil {
		t.Fatal(err)
	}
	if err := s.LookAfter(s.clock(), nil); err != nil {
		t.Fatal(err)
	}
	until := s.journal.ceiling.Load() + 1
	o.Path, o.bootID = disktest.Crash(t, o.Path), "two"
	o.Clock = func() time.Time { return time.Unix(1_800_000_000, 0) }
	openTest(t, o)
	said := logs.FilterMessageSnippet("restore a backup").All()
	if len(said) != 1 || !said[0].ContextMap()["before"].(time.Time).Equal(time.Unix(until, 0)) {
		t.Errorf("logged %v, want the date %d and a remedy", logs.All(), until)
	}
}

// Segments are removed when their nonces are forgotten. A restart leaves no segment that is mostly
// empty.
func TestSegmentsAreGivenBack(t *testing.T) {
	const n = 3*segmentRecords + 1000
	var now atomic.Int64
	now.Store(1_800_000_000)
	path := t.TempDir()
	o := testOptions{Path: path, MaxNonces: n, Clock: func() time.Time { return time.Unix(now.Load(), 0) }}
	s := openTest(t, o)
	var all sync.WaitGroup
	for worker := range 8 {
		all.Go(func() {
			for i := worker; i < n; i += 8 {
				if err := s.use(windowNonce(now.Load(), fmt.Sprint(i))); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	size := int64(0)
	for _, name := range disktest.Segments(t, path) {
		i, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		size += i.Size()
	}
	if size < n*recordSize || size > n*recordSize+100*segmentHeader {
		t.Errorf("%d nonces take %d bytes", n, size)
	}
	s = openTest(t, o)
	for i := range n {
		if err := s.use(windowNonce(now.Load(), fmt.Sprint(i))); !errors.Is(err, tokenstore.ErrNonceUsed) {
			t.Fatalf("nonce %d: got %v", i, err)
		}
	}
	now.Add(2*testWindow + bucketSeconds)
	s.wake()
	for deadline := time.Now().Add(time.Minute); len(disktest.Segments(t, path)) > 1; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("there are still %q", disktest.Segments(t, path))
		}
	}
	if b := s.set.buckets(); len(b) > 0 {
		t.Errorf("memory has the buckets %v", b)
	}
	for i := range s.set.consumers {
		shard := &s.set.consumers[i]
		shard.mu.Lock()
		if len(shard.counts) > 0 {
			t.Errorf("memory counts %v", shard.counts)
		}
		shard.mu.Unlock()
	}
}

// After a failed sync, the kernel may have dropped any of the pages.
func TestFailedSync(t *testing.T) {
	s := openTest(t, testOptions{Sync: true})
	broken := errors.New("broken disk")
	s.journal.failed.Store(&broken)
	now := time.Now().Unix()
	for name, err := range map[string]error{"use": s.use(windowNonce(now, "n")), "check": s.Check()} {
		if !errors.Is(err, broken) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	s.journal.failed.Store(nil)
}

// TestStateAfterKill: after a kill, the next process has the state of the last one at once.
// Otherwise it would sync needlessly for a while, and take a lock for every nonce.
func TestStateAfterKill(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	o := testOptions{Path: t.TempDir(), Clock: func() time.Time { return now }, bootID: "same"}
	s := openTest(t, o)
	if err := s.use(windowNonce(now.Unix(), "n")); err != nil {
		t.Fatal(err)
	}
	if err := s.LookAfter(now, nil); err != nil {
		t.Fatal(err)
	}
	before := s.state
	if before.ceiling <= now.Unix() || before.window < testWindow {
		t.Fatalf("state: %+v", before)
	}
	o.Path = disktest.Crash(t, o.Path)
	n := openTest(t, o).Log
	if n.floor.Load() != before.floor || n.journal.ceiling.Load() != before.ceiling ||
		n.window.Load() != before.window {
		t.Errorf("got floor %d, ceiling %d, window %d; want %+v", n.floor.Load(), n.journal.ceiling.Load(),
			n.window.Load(), before)
	}
}

// No nonce is accepted twice while its timestamp is acceptable, nor after the window was widened.
// This holds for all jumps of the clock, all times of maintenance, and all kills and stops.
func TestClockJumpsAndRestarts(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, 0))
			var now atomic.Int64
			now.Store(1_800_000_000)
			window := int64(testWindow)
			o := testOptions{Path: t.TempDir(), bootID: "same", Sync: seed == 3,
				Clock: func() time.Time { return time.Unix(now.Load(), 0) }}
			s := openTest(t, o)
			var accepted []tokenstore.Nonce
			passed, forgotten, boots := 0, 0, 0
			for step := range 300 {
				switch random.IntN(40) {
				case 0:
					now.Add(3600)
				case 1:
					now.Add(-3600)
				case 2, 3:
					now.Add(window + random.Int64N(2*bucketSeconds))
				case 4, 5:
					now.Add(-random.Int64N(window))
				case 6, 7:
					window = testWindow * (1 + random.Int64N(3))
				case 8:
					// kill -9: nothing records the end of the process. Half of the time the machine
					// is restarted, too.
					s.kill()
					if err := errors.Join(s.journal.active.Load().pages.close(), s.journal.counts.close()); err != nil {
						t.Fatal(err)
					}
					if random.IntN(2) == 0 {
						boots++
						o.bootID = fmt.Sprint("boot ", boots)
					}
					s = openTest(t, o)
				case 9:
					if err := s.Close(); err != nil {
						t.Fatal(err)
					}
					s = openTest(t, o)
				case 10, 11, 12, 13, 14, 15:
					if err := s.LookAfter(o.Clock(), nil); err != nil {
						t.Fatal(err)
					}
				default:
					now.Add(random.Int64N(60))
				}
				use := func(n tokenstore.Nonce) error {
					n.Expires = time.Unix(n.Timestamp+1+window, 0)
					return s.use(n)
				}
				for _, n := range accepted {
					if n.Timestamp < now.Load()-window || n.Timestamp > now.Load()+window {
						continue
					}
					switch err := use(n); {
					case errors.Is(err, tokenstore.ErrNonceForgotten):
						forgotten++
					case !errors.Is(err, tokenstore.ErrNonceUsed):
						t.Fatalf("step %d: timestamp %d, clock %d: got %v, want used or forgotten", step, n.Timestamp,
							now.Load(), err)
					}
				}
				n := tokenstore.Nonce{Consumer: "k", Timestamp: now.Load() + random.Int64N(2*window+1) - window,
					Value: fmt.Sprint(step)}
				switch err := use(n); {
				case err == nil:
					accepted = append(accepted, n)
					passed++
				case !errors.Is(err, tokenstore.ErrNonceForgotten):
					t.Fatalf("step %d: a new nonce: %v", step, err)
				}
			}
			if passed < 20 || forgotten == 0 {
				t.Errorf("%d passed, %d were forgotten: this shows nothing", passed, forgotten)
			}
		})
	}
}
