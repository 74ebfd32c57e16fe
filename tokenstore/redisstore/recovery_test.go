package redisstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/redisstore/redislab"
)

// TestRecovery: when a server does not answer, every call ends soon after its context, also if there
// are more calls than a connection takes. Calls succeed again soon after the others have a new
// master, or the server is back. On an idle machine the first is 150 ms, the second below a second.
// With the client's own times they are ten seconds and more.
func TestRecovery(t *testing.T) {
	t.Parallel()
	const overrun, back = 5 * time.Second, 8 * time.Second
	kill := func(n *redislab.Node) { n.Kill() }
	for _, c := range []struct {
		name    string
		start   func(testing.TB, redislab.Options) *redislab.Lab
		harm    func(*redislab.Node)
		restart bool // else a replica is promoted
	}{
		{"one server is restarted", redislab.Single, kill, true},
		{"one server is frozen", redislab.Single, func(n *redislab.Node) { n.Stop(t) }, true},
		{"Sentinel, master killed", redislab.Sentinel, kill, false},
		{"Sentinel, master frozen", redislab.Sentinel, func(n *redislab.Node) { n.Stop(t) }, false},
		{"Cluster, master killed", redislab.Cluster, kill, false},
		{"Cluster, master frozen", redislab.Cluster, func(n *redislab.Node) { n.Stop(t) }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			lab := c.start(t, redislab.Options{})
			o := optionsFor(lab)
			o.Timeout = defaultTimeout
			l := connectTo(t, o, nil)
			master := lab.Masters()[0]
			if len(lab.Sentinels) == 0 {
				master = lab.Nodes[0]
			}
			key := "oauth1:n{" + sliceTags[0] + "}:x" // server 0 of a Cluster has slot 0
			if err := set(t.Context(), l, key); err != nil {
				t.Fatal(err)
			}
			watch := startCalls(t, l, key, 1500)
			time.Sleep(300 * time.Millisecond)
			c.harm(master)
			time.Sleep(20 * time.Millisecond)
			broken := time.Now()
			if c.restart {
				time.Sleep(2 * time.Second)
				master.Kill()
				master.Start(t)
			} else {
				within(t, 40*time.Second, func() error {
					return promoted(lab, master)
				})
			}
			settled := time.Now()
			took := within(t, 40*time.Second, func() error {
				if !watch.succeededSince(settled) {
					return fmt.Errorf("no call succeeds")
				}
				return nil
			})
			t.Logf("promoted or started after %v, then %v; the slowest call took %v",
				settled.Sub(broken).Round(time.Millisecond), took.Round(time.Millisecond),
				watch.slowest().Round(time.Millisecond))
			if took > back {
				t.Errorf("back only %v after the servers were", took)
			}
			if slow := watch.slowest(); slow > defaultTimeout+overrun {
				t.Errorf("a call took %v, its context %v", slow, defaultTimeout)
			}
		})
	}
}

// promoted returns nil when another server is the master, and all Sentinels say so.
func promoted(lab *redislab.Lab, old *redislab.Node) error {
	for _, sentinel := range lab.Sentinels {
		reply, err := sentinel.Do("SENTINEL", "GET-MASTER-ADDR-BY-NAME", redislab.MasterName)
		if parts, ok := reply.([]any); err != nil || !ok || fmt.Sprintf("%s:%s", parts...) == old.Address() {
			return fmt.Errorf("%s knows no other master: %v, %v", sentinel.Name, reply, err)
		}
	}
	for _, n := range lab.Nodes {
		if n != old && n.IsMaster() && holds(n) {
			return nil
		}
	}
	return errors.New("no replica is promoted")
}

// holds reports whether a server serves slot 0.
func holds(n *redislab.Node) bool {
	_, err := n.Do("EXISTS", "oauth1:n{"+sliceTags[0]+"}:x")
	return err == nil
}

// calls are calls in the background.
type calls struct {
	success atomic.Int64 // when the last one began that succeeded
	longest atomic.Int64
}

func (c *calls) succeededSince(t time.Time) bool { return c.success.Load() > t.UnixNano() }
func (c *calls) slowest() time.Duration          { return time.Duration(c.longest.Load()) }

// startCalls makes calls from as many goroutines, until the test ends.
func startCalls(t *testing.T, l *link, key string, goroutines int) *calls {
	c := new(calls)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	t.Cleanup(func() { cancel(); running.Wait() })
	for range goroutines {
		running.Go(func() {
			for ctx.Err() == nil {
				start := time.Now()
				err := set(ctx, l, key)
				took := int64(time.Since(start))
				for old := c.longest.Load(); took > old && !c.longest.CompareAndSwap(old, took); old = c.longest.Load() {
				}
				if err == nil && c.success.Load() < start.UnixNano() {
					c.success.Store(start.UnixNano())
				}
				time.Sleep(50 * time.Millisecond)
			}
		})
	}
	return c
}

// TestServerThatCannotSave: a server that can't write to its disk refuses writes and every PING. The
// client library ends the process when it sends a PING after an UNSUBSCRIBE, and that is refused.
func TestServerThatCannotSave(t *testing.T) {
	t.Parallel()
	for name, user := range map[string]string{
		"a user with all rights": "~* +@all",
		"the manual's user":      strings.ReplaceAll(manualRights(t), "~oauth1:*", "~*"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testServerThatCannotSave(t, user)
		})
	}
}

func testServerThatCannotSave(t *testing.T, rights string) {
	dir := t.TempDir()
	lab := redislab.Single(t, redislab.Options{Config: []string{
		"save 3600 1", "dir " + dir, "user app on >secret " + rights,
	}})
	o := quickOptions(lab, 0)
	o.Username, o.Password = "app", "secret"
	s := openTest(t, o)
	usable(t, s, "token")
	server := lab.Nodes[0]
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	server.Must(t, "BGSAVE")
	within(t, 5*time.Second, func() error {
		if _, err := server.Do("PING"); err == nil || !strings.HasPrefix(err.Error(), "MISCONF") {
			return fmt.Errorf("PING: %v", err)
		}
		return nil
	})
	for range 3 {
		for sl := range slice(sliceCount) {
			if _, err := s.raise(t.Context(), sl); err == nil {
				t.Error("a ceiling was raised on a server that refuses writes")
			}
		}
	}
	server.Must(t, "CONFIG", "SET", "stop-writes-on-bgsave-error", "no")
	usable(t, s, "token")
}
