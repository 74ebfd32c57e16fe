package redisstore

import (
	"context"
	"crypto/sha256"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"go.uber.org/zap/zaptest"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/keyring"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/redisstore/redislab"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/storetest"
)

var prefixes atomic.Int64

// testOptions are the options of a store with a prefix of its own.
func testOptions(lab *redislab.Lab, replicas int) Options {
	o := Options{
		Addresses: lab.Addresses(), Prefix: "test" + strconv.FormatInt(prefixes.Add(1), 10),
		Replicas: replicas, Timeout: 10 * time.Second, Lead: 2 * time.Second, MaxStale: time.Second,
	}
	if len(lab.Sentinels) > 0 {
		o.SentinelMaster = redislab.MasterName
	}
	return o
}

// openTest opens a store.
func openTest(t testing.TB, o Options) *Store {
	t.Helper()
	if o.Logger == nil {
		o.Logger = zaptest.NewLogger(t)
	}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// awaitReady waits until the first seconds of the epoch are over, in which requests are refused.
func awaitReady(t testing.TB, s *Store) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for sl := range slice(sliceCount) {
		for {
			r, err := s.raise(ctx, sl)
			if err == nil && r.now > r.floor {
				break
			}
			if ctx.Err() != nil {
				t.Fatalf("slice %d: %v, %v", sl, r, err)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
}

// readyOptions returns the options of stores that are empty and accept nonces at once: their epochs
// began a while ago. It makes n at a time.
func readyOptions(t testing.TB, lab *redislab.Lab, replicas, n int) func() Options {
	t.Helper()
	s := openTest(t, testOptions(lab, replicas))
	c, err := s.link.client()
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var ready []Options
	more := func() error {
		for range n {
			o := testOptions(lab, replicas)
			other := &Store{prefix: o.Prefix}
			var commands []rueidis.Completed
			for sl := range slice(sliceCount) {
				state := []string{other.key(kindState, sl, "")}
				commands = append(commands, raiseScript.command(c.B(), false, state, []string{"2", "1", "", "0"}))
			}
			for _, answer := range c.DoMulti(context.Background(), commands...) {
				if err := answer.Error(); err != nil {
					return err
				}
			}
			ready = append(ready, o)
		}
		time.Sleep(5 * time.Second)
		return nil
	}
	if err := more(); err != nil {
		t.Fatal(err)
	}
	return func() Options {
		mu.Lock()
		defer mu.Unlock()
		if len(ready) == 0 {
			if err := more(); err != nil {
				panic(err) // a test cannot be ended from another one
			}
		}
		o := ready[0]
		ready = ready[1:]
		return o
	}
}

// staleInTests is the max_stale of the stores of replicas: each of their cases waits that long.
const staleInTests = 300 * time.Millisecond

// oneByOne hides that the store finds both credentials in one step. The cases of that capability are
// many, and are run on one server only. Elsewhere the cases of replicas look up credentials so.
type oneByOne struct{ tokenstore.Store }

func hideCredentials(s *Store) tokenstore.Store { return oneByOne{s} }

// A conformance is what the suite is run with.
type conformance struct {
	start    func(testing.TB, redislab.Options) *redislab.Lab
	replicas int
	sealer   tokenstore.Sealer
	as       func(*Store) tokenstore.Store
}

// calm is for tests in which no server fails: on a busy machine, one that does not answer for a second
// is not taken for dead.
var calm = redislab.Options{NodeTimeout: time.Minute, DownAfter: time.Minute}

func (c conformance) test(t *testing.T) {
	t.Parallel()
	lab := c.start(t, calm)
	fresh := readyOptions(t, lab, c.replicas, 250)
	ready := func() Options {
		o := fresh()
		o.Sealer = c.sealer
		return o
	}
	storetest.Run(t, func(t *testing.T, clock func() time.Time) tokenstore.Store {
		o := ready()
		o.clock = clock
		return c.as(openTest(t, o))
	})
	storetest.RunDurable(t, func(t *testing.T) storetest.Opener {
		o := ready()
		return func(t *testing.T, clock func() time.Time) tokenstore.Store {
			o.clock = clock
			return openTest(t, o)
		}
	})
	storetest.RunReplicas(t, storetest.Replicas{
		Fresh: func(t *testing.T) storetest.Opener {
			o := ready()
			o.MaxStale = staleInTests
			return func(t *testing.T, clock func() time.Time) tokenstore.Store {
				o.clock = clock
				return openTest(t, o)
			}
		},
		Stale: staleInTests,
	})
}

func TestConformanceOneServer(t *testing.T) {
	conformance{redislab.Single, 0, nil, func(s *Store) tokenstore.Store { return s }}.test(t)
}

// testRing is a ring of keys that are made of their ids. The first is the primary one.
func testRing(t testing.TB, ids ...string) *keyring.Ring {
	t.Helper()
	var keys []keyring.Key
	for _, id := range ids {
		keys = append(keys, keyring.Key{ID: id, Secret: sha256.Sum256([]byte(id))})
	}
	r, err := keyring.New(keys[0], keys[1:]...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestConformanceSentinel is about keys too. With an old key, the store looks in two places for each
// name.
func TestConformanceSentinel(t *testing.T) {
	conformance{redislab.Sentinel, 1, testRing(t, "k2", "k1"), hideCredentials}.test(t)
}

func TestConformanceCluster(t *testing.T) {
	conformance{redislab.Cluster, 1, nil, hideCredentials}.test(t)
}

// TestNonceLimit: a process has the limits of every store for the nonces of a consumer.
func TestNonceLimit(t *testing.T) {
	t.Parallel()
	lab := redislab.Single(t, redislab.Options{})
	ready := readyOptions(t, lab, 0, 10)
	storetest.RunNonceLimit(t, func(t *testing.T, clock func() time.Time, limit int) tokenstore.Store {
		o := ready()
		o.clock, o.maxNonces = clock, limit
		return openTest(t, o)
	})
}

// TestComplaints: while the servers are away, the background does not fill the log.
func TestComplaints(t *testing.T) {
	t.Parallel()
	var c complaints
	start := time.Now()
	refused, silent := errors.New("connection refused"), errors.New("no answer")
	for _, call := range []struct {
		after time.Duration
		what  string
		err   error
		want  bool
	}{
		{0, "sweep", refused, true},
		{0, "raise", refused, true},
		{59 * time.Second, "sweep", refused, false},
		{59 * time.Second, "sweep", silent, true},
		{59*time.Second + time.Millisecond, "sweep", refused, false},
		{60 * time.Second, "raise", refused, true},
		{60 * time.Second, "sweep", refused, true},
	} {
		if got := c.note(call.what, call.err, start.Add(call.after)); got != call.want {
			t.Errorf("%s: %v after %v: got %v", call.what, call.err, call.after, got)
		}
	}
}
