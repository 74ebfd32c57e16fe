package noncelog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/badgerstore/internal/disktest"
)

func TestNoncesOfOneConsumerAreLimited(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	s := openTest(t, testOptions{MaxNonces: 10, Clock: func() time.Time { return now }})
	use := func(consumer string, i int, timestamp int64) error {
		return s.use(tokenstore.Nonce{Consumer: consumer, Value: fmt.Sprint(i), Timestamp: timestamp,
			Expires: time.Unix(timestamp+300, 0)})
	}
	for i := range 10 {
		if err := use("k", i, now.Unix()+int64(i)*30); err != nil {
			t.Fatal(err)
		}
	}
	if err := use("k", 10, now.Unix()); !errors.Is(err, tokenstore.ErrNoncesFull) {
		t.Errorf("got %v, want %v", err, tokenstore.ErrNoncesFull)
	}
	if err := use("k", 0, now.Unix()); !errors.Is(err, tokenstore.ErrNonceUsed) {
		t.Errorf("got %v, want %v", err, tokenstore.ErrNonceUsed)
	}
	if err := use("other", 0, now.Unix()); err != nil {
		t.Errorf("another consumer: %v", err)
	}
	// Only expired nonces make room.
	if err := s.LookAfter(now.Add(390*time.Second), nil); err != nil {
		t.Fatal(err)
	}
	if err := use("k", 0, now.Unix()); !errors.Is(err, tokenstore.ErrNonceForgotten) {
		t.Errorf("got %v, want %v", err, tokenstore.ErrNonceForgotten)
	}
	made := 0
	for i := range 10 {
		if err := use("k", 100+i, now.Unix()+300); err == nil {
			made++
		}
	}
	if made == 0 || made == 10 {
		t.Errorf("there was room for %d", made)
	}
}

// TestClockThatJumps: the clock jumps forward, so that all nonces are forgotten, and back, so that
// they would be in the window again. No nonce is accepted again, in memory, after a crash or after
// a clean stop. Until the clock is where it was, all nonces are refused, new or not.
func TestClockThatJumps(t *testing.T) {
	const begin, jump = 1_800_000_000, 3600
	now := int64(begin)
	o := testOptions{Path: t.TempDir(), Clock: func() time.Time { return time.Unix(now, 0) }, bootID: "same"}
	s := openTest(t, o)
	var used []tokenstore.Nonce
	for i := int64(-testWindow); i <= testWindow; i += 10 {
		n := windowNonce(begin+i, fmt.Sprint(i))
		if err := s.use(n); err != nil {
			t.Fatal(err)
		}
		used = append(used, n)
	}
	look := func() {
		t.Helper()
		if err := s.LookAfter(time.Unix(now, 0), nil); err != nil {
			t.Fatal(err)
		}
	}
	now -= jump // back: nothing is forgotten
	look()
	if err := s.use(used[0]); !errors.Is(err, tokenstore.ErrNonceUsed) {
		t.Errorf("when the clock has gone back: got %v, want %v", err, tokenstore.ErrNonceUsed)
	}
	now = begin + jump
	look()
	if b := s.set.buckets(); len(b) > 0 {
		t.Fatalf("nothing is forgotten: %v", b)
	}
	now = begin
	for _, how := range []string{"in memory", "after a crash", "after a clean stop"} {
		switch how {
		case "after a crash":
			o.Path = disktest.Crash(t, o.Path)
			s = openTest(t, o)
		case "after a clean stop":
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = openTest(t, o)
		}
		for _, n := range used {
			if err := s.use(n); !errors.Is(err, tokenstore.ErrNonceForgotten) {
				t.Fatalf("%s: timestamp %+d: got %v, want %v", how, n.Timestamp-begin, err,
					tokenstore.ErrNonceForgotten)
			}
		}
		if err := s.use(windowNonce(begin, "new")); !errors.Is(err, tokenstore.ErrNonceForgotten) {
			t.Errorf("%s: a new one that can't be told from a forgotten one: got %v, want %v", how, err,
				tokenstore.ErrNonceForgotten)
		}
	}
	// Nonces are refused up to the end of the forgotten timestamps, and no further.
	if err := s.use(windowNonce(begin+testWindow+bucketSeconds, "new")); err != nil {
		t.Errorf("a new one behind all that was forgotten: %v", err)
	}
}

func TestNonceDigestHasNoAmbiguity(t *testing.T) {
	n := new(Log)
	seen := make(map[digest]tokenstore.Nonce)
	for _, nonce := range []tokenstore.Nonce{
		{Consumer: "ab", Token: "c"}, {Consumer: "a", Token: "bc"}, {Consumer: "abc"}, {Token: "abc"}, {Value: "abc"},
		{Consumer: string(binary.AppendUvarint([]byte("a"), 1)) + "b"}, {Consumer: "a", Token: "b"}, {Timestamp: 1}, {Timestamp: 2}, {},
		{Value: strings.Repeat("x", 1000)},
	} {
		l, err := n.digest(&nonce)
		if err != nil {
			t.Fatal(err)
		}
		if old, ok := seen[l.digest]; ok {
			t.Errorf("%+v and %+v are alike", old, nonce)
		}
		seen[l.digest] = nonce
	}
}

// A bucket is forgotten when all its timestamps have expired. So a client with an acceptable
// timestamp is not refused because of others with older ones.
func TestNonceForgottenNotBeforeItsTime(t *testing.T) {
	const begin = 1_800_000_000 / bucketSeconds * bucketSeconds
	const last = bucketSeconds - 1 // of a bucket
	var now atomic.Int64
	now.Store(begin)
	clock := func() time.Time { return time.Unix(now.Load(), 0) }
	s := openTest(t, testOptions{Clock: clock})
	use := func(value string, timestamp, window int64) error {
		return s.use(tokenstore.Nonce{Consumer: "k", Value: value, Timestamp: timestamp,
			Expires: time.Unix(timestamp+1+window, 0)})
	}
	after := func(seconds int64, value string, timestamp int64, want error) {
		t.Helper()
		now.Store(begin + seconds)
		if err := s.LookAfter(clock(), nil); err != nil {
			t.Fatal(err)
		}
		if err := use(value, timestamp, 300); !errors.Is(err, want) {
			t.Errorf("timestamp %d after %d seconds: got %v, want %v", timestamp-begin, seconds, err, want)
		}
	}
	if err := use("first", begin, 300); err != nil {
		t.Fatal(err)
	}
	after(301, "late", begin+last, nil)
	after(300+last, "later", begin+last, nil)
	after(300+last, "first", begin, tokenstore.ErrNonceUsed)
	after(300+last+1, "too late", begin+last, tokenstore.ErrNonceForgotten)

	// The window was narrowed in between. The bucket stays for as long as the first nonce needs it.
	const later = 10 * bucketSeconds
	if err := use("wide", begin+later, 600); err != nil {
		t.Fatal(err)
	}
	for i := range 5000 { // some of them are in the shard of "wide"
		if err := use(fmt.Sprint("narrow ", i), begin+later, 10); err != nil {
			t.Fatal(err)
		}
	}
	after(later+600+last, "wide", begin+later, tokenstore.ErrNonceUsed)
	after(later+600+last+1, "wide", begin+later, tokenstore.ErrNonceForgotten)
}

// TestForgettingRests: forgetting, in memory and on disk, never holds up a request for long.
func TestForgettingRests(t *testing.T) {
	const consumer = 7
	s := newSet(math.MaxInt)
	for i := range uint64(10 * droppedAtOnce) {
		n := loggedNonce{consumer: consumer, token: tokenID(i % 3)}
		binary.LittleEndian.PutUint64(n.digest[:], i*0x9e3779b97f4a7c15)
		if err := s.use(&n, new(atomic.Int64)); err != nil {
			t.Fatal(err)
		}
	}
	live := &s.consumers[consumer].counts[consumer].live

	log := new(journal)
	dir := t.TempDir()
	for i := range 10 {
		path := filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		log.sealed = append(log.sealed, &segment{path: path, synced: true})
	}

	for _, c := range []struct {
		name   string
		atOnce int
		forget func()
		left   func() int
	}{
		{"nonces", 2 * droppedAtOnce, func() { s.drop(0) }, func() int { return int(live.Load()) }},
		{"files", 1, func() {
			if err := log.remove(1, nil); err != nil {
				t.Error(err)
			}
		}, func() int {
			entries, err := os.ReadDir(dir)
			if err != nil {
				t.Error(err)
			}
			return len(entries)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				before := c.left()
				go c.forget()
				for left := before; left > 0; before = left {
					synctest.Wait() // until it rests
					if left = c.left(); left < before-c.atOnce {
						t.Errorf("from %d to %d without a rest", before, left)
					}
					time.Sleep(time.Millisecond)
				}
			})
		})
	}
}

// TestShareOfATokenIsKept: the nonces of a token still count after the store is opened again.
func TestShareOfATokenIsKept(t *testing.T) {
	const limit = 20
	now := time.Unix(1_800_000_000, 0)
	o := testOptions{Path: t.TempDir(), MaxNonces: limit, Clock: func() time.Time { return now }, bootID: "same"}
	use := func(s *testLog, token, value string) error {
		n := windowNonce(now.Unix(), value)
		n.Token = token
		return s.use(n)
	}
	s := openTest(t, o)
	for i := range limit / 2 {
		if err := use(s, "greedy", fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	o.Path = disktest.Crash(t, o.Path)
	for _, how := range []string{"after kill -9", "after a clean stop"} {
		s, err := open(o)
		if err != nil {
			t.Fatal(err)
		}
		if err := use(s, "greedy", how); !errors.Is(err, tokenstore.ErrTokenNoncesFull) {
			t.Errorf("%s: got %v, want %v", how, err, tokenstore.ErrTokenNoncesFull)
		}
		if err := use(s, "other", how); err != nil {
			t.Errorf("%s: another token: %v", how, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTokenIDs(t *testing.T) {
	n := &Log{hashKey: [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9}}
	seen := make(map[tokenID]bool)
	alike := 0
	for i := range 20_000 {
		id := n.tokenID(fmt.Sprint("token ", i))
		if id == 0 || id >= 1<<tokenBits {
			t.Fatalf("token %d is %x", i, id)
		}
		if seen[id] {
			alike++
		}
		seen[id] = true
	}
	if alike > 40 { // 12 are expected
		t.Errorf("%d of 20,000 are like another one", alike)
	}
}
