package redisstore

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/redisstore/redislab"
)

// nonceAt is a nonce that is remembered for a span of seconds.
func nonceAt(timestamp int64, token, value string, span int64) tokenstore.Nonce {
	return tokenstore.Nonce{
		Consumer: "consumer", Token: token, Timestamp: timestamp, Value: value,
		Expires: time.Unix(timestamp+span, 0),
	}
}

// quickOptions are those of a store that gives up soon.
func quickOptions(lab *redislab.Lab, replicas int) Options {
	o := testOptions(lab, replicas)
	o.Timeout = time.Second
	return o
}

func isLater(err error) bool {
	var later *tokenstore.LaterError
	return errors.As(err, &later)
}

// usable waits until a nonce of now is accepted, and returns how long it took.
func usable(t *testing.T, s *Store, token string) time.Duration {
	t.Helper()
	begin := time.Now()
	for i := 0; ; i++ {
		err := s.UseNonce(t.Context(), nonceAt(time.Now().Unix(), token, "probe"+strconv.FormatInt(time.Now().UnixNano(), 36), 300))
		if err == nil {
			return time.Since(begin)
		}
		if errors.Is(err, tokenstore.ErrNonceUsed) || time.Since(begin) > 40*time.Second {
			t.Fatalf("after %v: %v", time.Since(begin), err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// TestNoNonceTwice: whatever the servers lose, no nonce that was accepted is accepted again, and
// clients whose clocks are right pass again within ten seconds after the servers are back.
func TestNoNonceTwice(t *testing.T) {
	promote := func(t *testing.T, lab *redislab.Lab, how string) {
		t.Helper()
		for _, n := range lab.Replicas() {
			if err := n.Promote(how); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		name     string
		lab      func(testing.TB, redislab.Options) *redislab.Lab
		replicas int
		before   func(t *testing.T, lab *redislab.Lab) []byte
		fault    func(t *testing.T, lab *redislab.Lab, dump []byte)
	}{
		{"FLUSHALL", redislab.Single, 0, nil, func(t *testing.T, lab *redislab.Lab, _ []byte) { lab.FlushAll(t) }},
		{"a server that is started empty", redislab.Single, 0, nil, func(t *testing.T, lab *redislab.Lab, _ []byte) {
			lab.Nodes[0].Kill()
			lab.Nodes[0].StartEmpty(t)
		}},
		{"a server that is started from an older dump", redislab.Single, 0,
			func(t *testing.T, lab *redislab.Lab) []byte { return lab.Nodes[0].Dump(t) },
			func(t *testing.T, lab *redislab.Lab, dump []byte) {
				lab.Nodes[0].Kill()
				lab.Nodes[0].StartFrom(t, dump)
			}},
		{"a failover by hand", redislab.Cluster, 1, nil, func(t *testing.T, lab *redislab.Lab, _ []byte) { promote(t, lab, "") }},
		{"a failover without the masters", redislab.Cluster, 1, nil, func(t *testing.T, lab *redislab.Lab, _ []byte) { promote(t, lab, "TAKEOVER") }},
		{"masters that are killed", redislab.Cluster, 1, nil, func(t *testing.T, lab *redislab.Lab, _ []byte) {
			n := lab.Masters()[0]
			n.Kill()
			time.Sleep(5 * time.Second)
			n.Start(t)
		}},
		{"masters that are frozen, and wake up", redislab.Cluster, 1, nil, func(t *testing.T, lab *redislab.Lab, _ []byte) {
			n := lab.Masters()[0]
			n.Stop(t)
			time.AfterFunc(5*time.Second, func() { n.Continue(t) })
		}},
		{"a Cluster that is flushed", redislab.Cluster, 1, nil, func(t *testing.T, lab *redislab.Lab, _ []byte) { lab.FlushAll(t) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			lab := c.lab(t, redislab.Options{})
			o := quickOptions(lab, c.replicas)
			a, b := openTest(t, o), openTest(t, o)
			awaitReady(t, a)
			var dump []byte
			if c.before != nil {
				dump = c.before(t, lab)
			}
			// Tokens of many slices, clients whose clocks are right, slow, and 100 seconds ahead.
			var accepted []tokenstore.Nonce
			for i := range 300 {
				now := time.Now().Unix() // once: else two of them are the same when a second ends between
				for _, off := range []int64{0, -1, -60, 1, 2, 100} {
					n := nonceAt(now+off, "token"+strconv.Itoa(i), "n", 300)
					err := a.UseNonce(t.Context(), n)
					if isLater(err) && off < 0 {
						continue // below the floor
					}
					if err != nil {
						t.Fatalf("timestamp %+d: %v", off, err)
					}
					accepted = append(accepted, n)
				}
			}
			c.fault(t, lab, dump)
			again := func(s *Store) {
				t.Helper()
				for _, n := range accepted {
					ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
					err := s.UseNonce(ctx, n)
					cancel()
					if err == nil {
						t.Fatalf("accepted again: %+v, %d seconds ahead now", n, n.Timestamp-time.Now().Unix())
					}
				}
			}
			if c.replicas == 0 { // else all of them would wait for servers that don't answer
				again(b)
			}
			for i := range 300 {
				if took := usable(t, b, "token"+strconv.Itoa(i)); took > 20*time.Second {
					t.Errorf("usable after %v", took)
				}
			}
			again(b)
			again(a)
		})
	}
}

// TestAheadOfTheLease: clients whose clocks are ahead by any time within the window pass, once.
func TestAheadOfTheLease(t *testing.T) {
	t.Parallel()
	lab := redislab.Cluster(t, redislab.Options{})
	s := openTest(t, testOptions(lab, 1))
	awaitReady(t, s)
	for _, ahead := range []int64{0, 1, 2, 3, 5, 30, 299} {
		n := nonceAt(time.Now().Unix()+ahead, "t", "n"+strconv.FormatInt(ahead, 10), 300)
		if err := s.UseNonce(t.Context(), n); err != nil {
			t.Errorf("%d seconds ahead: %v", ahead, err)
		}
		if err := s.UseNonce(t.Context(), n); !errors.Is(err, tokenstore.ErrNonceUsed) {
			t.Errorf("%d seconds ahead, again: %v", ahead, err)
		}
	}
}

// TestAheadNeedsAllReplicas: while a replica does not answer, a nonce that is ahead is not accepted.
func TestAheadNeedsAllReplicas(t *testing.T) {
	t.Parallel()
	lab := redislab.Sentinel(t, redislab.Options{DownAfter: time.Minute}) // a master and two replicas
	o := quickOptions(lab, 1)
	o.Addresses, o.SentinelMaster = []string{lab.Masters()[0].Address()}, ""
	s := openTest(t, o)
	awaitReady(t, s)
	lab.Replicas()[0].Stop(t)
	defer lab.Replicas()[0].Continue(t)
	if err := s.UseNonce(t.Context(), nonceAt(time.Now().Unix(), "t", "now", 300)); err != nil {
		t.Errorf("now: %v", err)
	}
	if err := s.UseNonce(t.Context(), nonceAt(time.Now().Unix()+60, "t", "ahead", 300)); !errors.Is(err, errReplicas) {
		t.Errorf("a minute ahead, with one of two replicas: %v", err)
	}
}

// TestWiderWindow: when a site's timestamp window becomes wider, timestamps that the narrower one
// has forgotten stay forgotten, and requests of now pass.
func TestWiderWindow(t *testing.T) {
	t.Parallel()
	lab := redislab.Single(t, redislab.Options{})
	s := openTest(t, testOptions(lab, 0))
	awaitReady(t, s)
	used := nonceAt(time.Now().Unix(), "t", "used", 3)
	if err := s.UseNonce(t.Context(), used); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Until(used.Expires) + 1500*time.Millisecond)
	wide := func(n tokenstore.Nonce) tokenstore.Nonce {
		n.Expires = time.Unix(n.Timestamp+600, 0)
		return n
	}
	check := func(when string) {
		t.Helper()
		if err := s.UseNonce(t.Context(), wide(used)); !errors.Is(err, tokenstore.ErrNonceForgotten) {
			t.Errorf("%s: a nonce that is forgotten: %v", when, err)
		}
		n := wide(nonceAt(time.Now().Unix(), "t", when, 600))
		if err := s.UseNonce(t.Context(), n); err != nil {
			t.Errorf("%s: a nonce of now: %v", when, err)
		}
		if err := s.UseNonce(t.Context(), n); !errors.Is(err, tokenstore.ErrNonceUsed) {
			t.Errorf("%s: again: %v", when, err)
		}
	}
	check("wider")
	if err := s.UseNonce(t.Context(), nonceAt(time.Now().Unix(), "t", "narrow again", 3)); err != nil {
		t.Error(err)
	}
	check("both")
}

// TestCheckOfANewEpoch: as long as the floor of a new epoch refuses requests, Check does not pass,
// and says when to try again.
func TestCheckOfANewEpoch(t *testing.T) {
	t.Parallel()
	lab := redislab.Single(t, redislab.Options{})
	o := testOptions(lab, 0)
	o.Lead = 4 * time.Second
	s := openTest(t, o)
	for _, epoch := range []string{"the first epoch", "an epoch after a flush"} {
		if err := s.Check(t.Context()); !isLater(err) {
			t.Errorf("%s has begun: %v", epoch, err)
		}
		within(t, 20*time.Second, func() error { return s.Check(t.Context()) })
		for sl := range slice(sliceCount) {
			token := tokenIn(sl)
			if err := s.UseNonce(t.Context(), nonceAt(time.Now().Unix(), token, epoch, 300)); err != nil {
				t.Errorf("%s: after a check that passed: %v", epoch, err)
			}
		}
		lab.FlushAll(t)
	}
}

// tokenIn returns the key of a token in a slice.
func tokenIn(sl slice) string {
	for i := 0; ; i++ {
		if key := "token" + strconv.Itoa(i); sliceOf(key) == sl {
			return key
		}
	}
}

// TestSecretComesBack: processes that know the secret give it back to servers that lost it.
func TestSecretComesBack(t *testing.T) {
	t.Parallel()
	lab := redislab.Single(t, redislab.Options{})
	o := testOptions(lab, 0)
	s := openTest(t, o)
	awaitReady(t, s)
	before, err := s.Secret(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	lab.FlushAll(t)
	usable(t, s, "t")
	time.Sleep(2 * watchInterval)
	awaitReady(t, s)
	if after, err := openTest(t, o).Secret(t.Context()); err != nil || after != before {
		t.Errorf("a process that is started later has another secret (%v)", err)
	}
}

// TestNonceEndsWithTheTimeout: a request does not wait longer than the timeout for others that raise
// the ceiling, and is told to try again.
func TestNonceEndsWithTheTimeout(t *testing.T) {
	t.Parallel()
	o := quickOptions(redislab.Single(t, redislab.Options{}), 0)
	s := openTest(t, o)
	usable(t, s, "token")
	l := &s.leases[sliceOf("token")]
	l.raising <- struct{}{} // somebody raises it, and does not come to an end
	defer func() { <-l.raising }()
	ctx, cancel := context.WithTimeout(t.Context(), 20*o.Timeout)
	defer cancel()
	for i := 0; ; i++ {
		begin := time.Now()
		err := s.UseNonce(ctx, nonceAt(begin.Unix(), "token", strconv.Itoa(i), 300))
		if err == nil { // the lease is not over
			time.Sleep(20 * time.Millisecond)
			continue
		}
		if took := time.Since(begin); took > 2*o.Timeout || !isLater(err) {
			t.Errorf("after %v: %v", took, err)
		}
		return
	}
}

// TestClockSetBack: when the clock of a server is set back, timestamps whose nonces were forgotten
// stay forgotten.
func TestClockSetBack(t *testing.T) {
	t.Parallel()
	s := openTest(t, testOptions(redislab.Single(t, redislab.Options{}), 0))
	awaitReady(t, s)
	c, err := s.link.client()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().Unix()
	n := nonceAt(now, "token", "n", 300)
	if err := s.UseNonce(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	call := s.nonceCall(n)
	noted := func() int64 {
		t.Helper()
		at, err := c.Do(t.Context(), c.B().Hget().Key(s.states[call.slice]).Field("clock").Build()).AsInt64()
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	s.lookAround(t.Context())
	if at := noted(); at > time.Now().Unix() || at < time.Now().Unix()-10 {
		t.Errorf("the time that is noted is %d seconds ago", time.Now().Unix()-at)
	}
	if end, err := c.Do(t.Context(), c.B().Expiretime().Key(call.bucket).Build()).AsInt64(); err != nil || end < n.Timestamp+300+6 {
		t.Errorf("the bucket may end before the time is noted: %d seconds after the timestamp, %v", end-n.Timestamp, err)
	}

	// The clock was ahead, the bucket ended, and the clock was set back.
	set := c.B().Hset().Key(s.states[call.slice]).FieldValue().FieldValue("clock", integer(now+301)).Build()
	if err := c.Do(t.Context(), set).Error(); err != nil {
		t.Fatal(err)
	}
	if err := c.Do(t.Context(), c.B().Del().Key(call.bucket).Build()).Error(); err != nil {
		t.Fatal(err)
	}
	s.lookAround(t.Context())
	if err := s.UseNonce(t.Context(), n); !errors.Is(err, tokenstore.ErrNonceForgotten) {
		t.Errorf("a nonce that was used: %v", err)
	}
	if err := s.UseNonce(t.Context(), nonceAt(now+10, "token", "later", 300)); err != nil {
		t.Errorf("a timestamp that no clock has left behind: %v", err)
	}
	if at := noted(); at < now+301 {
		t.Errorf("the time that is noted went back to %d seconds after the start", at-now)
	}
}

// TestLastServerOfAShard: when a Cluster has lost a master for good, and the replica that took over
// has none itself, requests pass again, and changes are refused until it has one.
func TestLastServerOfAShard(t *testing.T) {
	t.Parallel()
	lab := redislab.Cluster(t, redislab.Options{})
	s := openTest(t, quickOptions(lab, 1))
	awaitReady(t, s)
	issue := func(i int) error {
		return s.CreateAccessToken(t.Context(), &tokenstore.AccessToken{Key: "t" + strconv.Itoa(i), Consumer: "k", User: "u"})
	}
	for i := range 100 {
		if err := issue(i); err != nil {
			t.Fatal(err)
		}
	}
	lost := lab.Masters()[0]
	lost.Kill()
	begin := time.Now()
	for i := range 100 {
		key := "t" + strconv.Itoa(i)
		usable(t, s, key)
		if _, err := s.AccessToken(t.Context(), key); err != nil {
			t.Errorf("%s: %v", key, err)
		}
	}
	if took := time.Since(begin); took > 20*time.Second {
		t.Errorf("requests pass again after %v", took)
	}
	refused := 0
	for i := range 100 {
		if err := s.RevokeToken(t.Context(), "t"+strconv.Itoa(i)); isLater(err) {
			refused++
		} else if err != nil {
			t.Errorf("t%d: %v", i, err)
		}
	}
	if refused < 10 || refused > 60 {
		t.Errorf("%d of 100 changes were refused, want those of one of three masters", refused)
	}
	lost.Start(t)
	within(t, 30*time.Second, func() error {
		for i := range 100 {
			if err := issue(1000 + i); err != nil && !errors.Is(err, tokenstore.ErrExists) {
				return err
			}
		}
		return nil
	})
}

// TestOnlyClustersGoOnAlone: a server that belongs to no Cluster can't know whether it was replaced. What
// the state says of another term does not count.
func TestOnlyClustersGoOnAlone(t *testing.T) {
	t.Parallel()
	lab := redislab.Single(t, redislab.Options{})
	s := openTest(t, quickOptions(lab, 0))
	awaitReady(t, s)
	c, err := s.link.client()
	if err != nil {
		t.Fatal(err)
	}
	s.replicas = 1
	for name, alone := range map[string]string{
		"a server that belongs to no Cluster": "0",
		"what an earlier build wrote":         "1",
		"what was so in another term":         "0123456789abcdef.1.1",
	} {
		set := c.B().Hset().Key(s.states[0]).FieldValue().FieldValue("alone", alone).Build()
		if err := c.Do(t.Context(), set).Error(); err != nil {
			t.Fatal(err)
		}
		if _, err := s.raise(t.Context(), 0); !errors.Is(err, errReplicas) {
			t.Errorf("%s: got %v, want %v", name, err, errReplicas)
		}
	}
}

// TestOnlyThePromotedGoOnAlone: a master without a replica goes on alone only if it was a replica
// itself before. Another one may be cut off, with a replica on the other side that takes over.
func TestOnlyThePromotedGoOnAlone(t *testing.T) {
	for name, lose := range map[string]func(t *testing.T, master, replica *redislab.Node){
		"a master that was started again": func(t *testing.T, master, replica *redislab.Node) {
			replica.Stop(t)
			master.Kill()
			master.Start(t)
		},
		"a master whose statistics were reset": func(t *testing.T, master, replica *redislab.Node) {
			master.Must(t, "CONFIG", "RESETSTAT")
			replica.Kill()
		},
		"a promoted master whose statistics were reset": func(t *testing.T, master, replica *redislab.Node) {
			if err := replica.Promote("TAKEOVER"); err != nil {
				t.Fatal(err)
			}
			within(t, 20*time.Second, func() error {
				info, err := replica.Info("replication")
				if err == nil && info["connected_slaves"] != "1" {
					err = errors.New("the former master is no replica yet")
				}
				return err
			})
			time.Sleep(2 * time.Second) // the ceiling is raised meanwhile
			replica.Must(t, "CONFIG", "RESETSTAT")
			master.Kill()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lab := redislab.Cluster(t, redislab.Options{NodeTimeout: 10 * time.Second})
			s := openTest(t, quickOptions(lab, 1))
			awaitReady(t, s)
			const sl = slice(0)
			master, replicas, err := lab.Shard(int(crc16(sliceTags[sl])) % slots)
			if err != nil {
				t.Fatal(err)
			}
			lose(t, master, replicas[0])
			for begin := time.Now(); ; time.Sleep(100 * time.Millisecond) {
				_, err := s.raise(t.Context(), sl)
				if errors.Is(err, errReplicas) {
					return
				}
				if time.Since(begin) > 30*time.Second {
					t.Fatalf("the ceiling is raised without a replica: %v", err)
				}
			}
		})
	}
}

// TestMemorySetBack: a server whose memory is set back to what it was, with the machine, accepts no nonce
// again as long as some process has seen it later: also when its clock goes back with it, and when it
// is set back to the same memory twice.
func TestMemorySetBack(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		times int
		clock bool
	}{
		"once":           {1, false},
		"twice":          {2, false},
		"with its clock": {1, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			options := redislab.Options{Config: []string{"enable-debug-command yes"}}
			if c.clock {
				options.Clocks = []time.Duration{0}
			}
			lab := redislab.Single(t, options)
			node, o := lab.Nodes[0], quickOptions(lab, 0)
			looker := openTest(t, o)
			awaitReady(t, looker)
			node.Dump(t)
			dumped := time.Now()
			var accepted []tokenstore.Nonce
			again := func() {
				t.Helper()
				for _, n := range accepted {
					if err := looker.UseNonce(t.Context(), n); err == nil {
						t.Fatalf("accepted again: %+v", n)
					}
				}
			}
			for range c.times {
				user := openTest(t, o)
				for begin := time.Now(); time.Since(begin) < 3*o.Lead; time.Sleep(20 * time.Millisecond) {
					n := nonceAt(time.Now().Unix(), "token", strconv.Itoa(len(accepted)), 300)
					if err := user.UseNonce(t.Context(), n); err != nil {
						t.Fatal(err)
					}
					accepted = append(accepted, n)
				}
				time.Sleep(2 * watchInterval)
				if err := user.Close(); err != nil { // the one that looked is left
					t.Fatal(err)
				}
				if c.clock {
					node.SetClock(t, -time.Since(dumped))
				}
				node.Must(t, "DEBUG", "RELOAD", "NOSAVE") // the server goes on, under the same id
				again()
				if took := usable(t, looker, "token"); took > 30*time.Second {
					t.Errorf("usable after %v", took)
				}
				again()
			}
		})
	}
}

// TestMemorySetBackIsFoundAtOnce: a process that uses a nonce need not have looked since the server's
// memory was set back. Its lease may look valid.
func TestMemorySetBackIsFoundAtOnce(t *testing.T) {
	t.Parallel()
	s := openTest(t, testOptions(redislab.Single(t, redislab.Options{}), 0))
	awaitReady(t, s)
	c, err := s.link.client()
	if err != nil {
		t.Fatal(err)
	}
	for sl := range slice(sliceCount) {
		token := tokenIn(sl)
		if err := s.UseNonce(t.Context(), nonceAt(time.Now().Unix(), token, "before", 300)); err != nil {
			t.Fatal(err)
		}
		older := c.B().Hincrby().Key(s.states[sl]).Field("pending").Increment(-60).Build()
		if err := c.Do(t.Context(), older).Error(); err != nil {
			t.Fatal(err)
		}
		n := nonceAt(time.Now().Unix(), token, "after", 300)
		if err := s.UseNonce(t.Context(), n); !isLater(err) {
			t.Errorf("slice %d: a nonce right after the memory was set back: %v", sl, err)
		}
	}
}

// TestFloorIsAboveAllThatWasSeen: a term that begins with an older memory, or with none, has its floor
// above all that the process has seen, also if the server's clock went back. It begins once.
func TestFloorIsAboveAllThatWasSeen(t *testing.T) {
	t.Parallel()
	lab := redislab.Single(t, redislab.Options{})
	s := openTest(t, testOptions(lab, 0))
	const sl = slice(0)
	before, err := s.raiseNow(t.Context(), sl)
	if err != nil {
		t.Fatal(err)
	}
	for i, lose := range []func(){func() {}, func() { lab.FlushAll(t) }} {
		seen := before.now + 100*int64(i+1)
		s.leases[sl].see(before.epoch, seen)
		lose()
		after, err := s.raiseNow(t.Context(), sl)
		if err != nil {
			t.Fatal(err)
		}
		if after.term == before.term || after.floor < seen {
			t.Errorf("a term with a floor of %d: %+v, want at least %d, and another term", before.floor, after, seen)
		}
		again, err := s.raiseNow(t.Context(), sl)
		if err != nil || again.term != after.term {
			t.Errorf("then the term is %+v, %v, want %s", again, err, after.term)
		}
		before = after
	}
}
