package redislab

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// over sends one command over the network, as a client does.
func over(n *Node, config *tls.Config, args ...string) (any, error) {
	var conn net.Conn
	var err error
	dialer := &net.Dialer{Timeout: time.Second}
	if config == nil {
		conn, err = dialer.Dial("tcp", n.Address())
	} else {
		conn, err = tls.DialWithDialer(dialer, "tcp", n.Address(), config)
	}
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(2 * time.Second))
	if err := writeCommand(conn, args); err != nil {
		return nil, err
	}
	return readReply(bufio.NewReader(conn))
}

// eventually waits until f returns nil.
func eventually(t *testing.T, f func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(settleTime); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if err = f(); err == nil {
			return
		}
	}
	t.Fatal(err)
}

func want(t *testing.T, reply any, err error, wanted string) {
	t.Helper()
	if err != nil || fmt.Sprint(reply) != wanted {
		t.Errorf("got %v, %v, want %s", reply, err, wanted)
	}
}

func TestSingle(t *testing.T) {
	t.Parallel()
	l := Single(t, Options{Config: []string{"maxmemory 12mb"}})
	n := l.Nodes[0]
	reply, err := over(n, nil, "SET", "a", "1")
	want(t, reply, err, "OK")
	dump := n.Dump(t)
	n.Must(t, "SET", "b", "2")
	want(t, n.Must(t, "CONFIG", "GET", "maxmemory"), nil, "[maxmemory 12582912]")

	n.Kill()
	if n.Pid() != 0 {
		t.Error("a killed server has a process")
	}
	n.Start(t) // from the last dump
	want(t, n.Must(t, "MGET", "a", "b"), nil, "[1 <nil>]")
	n.Kill()
	n.StartEmpty(t)
	want(t, n.Must(t, "DBSIZE"), nil, "0")
	n.Kill()
	n.StartFrom(t, dump)
	want(t, n.Must(t, "DBSIZE"), nil, "1")

	n.Stop(t)
	if _, err := over(n, nil, "PING"); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a frozen server answered: %v", err)
	}
	n.Continue(t)
	reply, err = over(n, nil, "PING")
	want(t, reply, err, "PONG")
	l.FlushAll(t)
	want(t, n.Must(t, "DBSIZE"), nil, "0")
}

// TestUsers: the lab's own commands work when the default user may do nothing.
func TestUsers(t *testing.T) {
	t.Parallel()
	l := Single(t, Options{Config: []string{"user default off", "user app on >secret ~* +get"}})
	if _, err := over(l.Nodes[0], nil, "GET", "a"); err == nil || !strings.HasPrefix(err.Error(), "NOAUTH") {
		t.Errorf("GET as nobody: %v", err)
	}
	want(t, l.Nodes[0].Must(t, "SET", "a", "1"), nil, "OK")
}

func TestTLS(t *testing.T) {
	t.Parallel()
	l := Cluster(t, Options{TLS: true})
	for _, n := range l.Nodes {
		reply, err := over(n, l.Authority.Client(t, true), "PING")
		want(t, reply, err, "PONG")
		if _, err := over(n, &tls.Config{}, "PING"); err == nil {
			t.Error("an unknown authority was trusted")
		}
		if _, err := over(n, nil, "PING"); err == nil {
			t.Error("a server answered without TLS")
		}
	}
}

func TestClock(t *testing.T) {
	t.Parallel()
	from := time.Now().Add(-time.Minute).Truncate(time.Second)
	for name, c := range map[string]struct {
		Options
		clock func(now time.Time) time.Time
	}{
		"behind": {Options{Clocks: []time.Duration{-time.Hour}},
			func(now time.Time) time.Time { return now.Add(-time.Hour) }},
		"fast": {Options{Speed: 11, From: from},
			func(now time.Time) time.Time { return from.Add(11 * now.Sub(from)) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			node := Single(t, c.Options).Nodes[0]
			check := func(off time.Duration) {
				t.Helper()
				earliest := c.clock(time.Now()).Add(off)
				reply := node.Must(t, "TIME").([]any)
				latest := c.clock(time.Now()).Add(off)
				var seconds int64
				fmt.Sscan(reply[0].(string), &seconds)
				at := time.Unix(seconds, 0)
				if at.Before(earliest.Add(-30*time.Second)) || at.After(latest.Add(30*time.Second)) {
					t.Errorf("the clock says %v, not between %v and %v", at, earliest, latest)
				}
			}
			check(0)
			if len(c.Clocks) > 0 {
				node.SetClock(t, c.Clocks[0]-2*time.Hour)
				check(-2 * time.Hour)
			}
		})
	}
}

func TestSentinel(t *testing.T) {
	t.Parallel()
	l := Sentinel(t, Options{})
	if len(l.Addresses()) != 3 || l.Addresses()[0] != l.Sentinels[0].Address() {
		t.Errorf("addresses %q", l.Addresses())
	}
	first := l.Masters()[0]
	first.Must(t, "SET", "a", "1")
	want(t, first.Must(t, "WAIT", "2", "1000"), nil, "2")
	first.Kill()
	eventually(t, func() error {
		if masters := l.Masters(); len(masters) != 1 {
			return fmt.Errorf("%d masters", len(masters))
		}
		return nil
	})
	second := l.Masters()[0]
	want(t, second.Must(t, "GET", "a"), nil, "1")
	first.Start(t)
	l.Settle(t)
	if err := l.SwitchMaster(); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if second.IsMaster() {
			return errors.New("still the old master")
		}
		return nil
	})
	l.Settle(t)
	want(t, l.Masters()[0].Must(t, "GET", "a"), nil, "1")
}

func TestCluster(t *testing.T) {
	t.Parallel()
	l := Cluster(t, Options{Config: []string{"cluster-require-full-coverage no"}})
	const slot = 15495 // of the key "a"
	master, replicas, err := l.Shard(slot)
	if err != nil || master != l.Nodes[2] || len(replicas) != 1 || replicas[0] != l.Nodes[5] {
		t.Fatalf("shard: %v, %v, %v", master, replicas, err)
	}
	master.Must(t, "SET", "a", "1")

	if err := replicas[0].Promote(""); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if m, _, err := l.Shard(slot); err != nil || m != replicas[0] {
			return fmt.Errorf("the master is %v, %w", m, err)
		}
		return nil
	})
	l.Settle(t)

	if err := l.Migrate(slot, l.Nodes[0]); err != nil {
		t.Fatal(err)
	}
	if m, _, err := l.Shard(slot); err != nil || m != l.Nodes[0] {
		t.Errorf("migrated to %v, %v", m, err)
	}
	want(t, l.Nodes[0].Must(t, "GET", "a"), nil, "1")
	l.Nodes[0].Must(t, "WAIT", "1", "1000")

	l.Nodes[0].Kill()
	eventually(t, func() error {
		if m, _, err := l.Shard(slot); err != nil || m != l.Nodes[3] {
			return fmt.Errorf("the master is %v, %w", m, err)
		}
		return nil
	})
	want(t, l.Nodes[3].Must(t, "GET", "a"), nil, "1")
	l.Nodes[0].StartEmpty(t)
	l.Settle(t)
}

// TestServersEndWithTheBinary kills a test binary that has servers.
func TestServersEndWithTheBinary(t *testing.T) {
	const child = "REDISLAB_TEST_CHILD"
	if os.Getenv(child) != "" {
		l := Single(t, Options{})
		fmt.Println("pid", l.Nodes[0].Pid(), l.dir)
		select {}
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestServersEndWithTheBinary$")
	cmd.Env = append(os.Environ(), child+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := StartBound(cmd); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	var pid int
	var dir string
	for lines := bufio.NewScanner(out); pid == 0 && lines.Scan(); {
		fmt.Sscanf(lines.Text(), "pid %d %s", &pid, &dir)
	}
	if pid == 0 {
		Missing(t, "the child has no server")
	}
	defer os.RemoveAll(dir)
	cmd.Process.Kill()
	eventually(t, func() error {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err == nil && !strings.Contains(string(stat), ") Z ") {
			return fmt.Errorf("server %d lives", pid)
		}
		return nil
	})
}
