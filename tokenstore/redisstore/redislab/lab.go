package redislab

import (
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// labUser is the user of the lab's own commands and of replication.
const labUser = "redislab"

// settleTime is how long servers may take until they have found each other.
const settleTime = 30 * time.Second

// A Lab is a number of servers that belong together. It ends with its test.
type Lab struct {
	// Nodes are the servers that hold data.
	Nodes []*Node
	// Sentinels watch over them; none in the labs of Single and Cluster.
	Sentinels []*Node
	// Authority signed the certificates; nil without TLS.
	Authority *Authority

	kind         kind
	options      Options
	dir          string
	password     string
	clockLibrary string // changes the clock of a server
}

type kind int

const (
	single kind = iota
	sentinel
	cluster
)

// Single starts one server, without a replica.
func Single(t testing.TB, o Options) *Lab {
	t.Helper()
	l := newLab(t, o, single)
	n := l.add(t, "server", 0)
	l.launch(t, n, func() []string { return l.server(n) })
	return l
}

// newLab prepares a lab that is taken down when the test ends.
func newLab(t testing.TB, o Options, k kind) *Lab {
	t.Helper()
	requireProgram(t, "redis-server")
	// Paths of sockets must be short, and those of t.TempDir are not.
	dir, err := os.MkdirTemp("", "redislab")
	if err != nil {
		t.Fatal(err)
	}
	l := &Lab{kind: k, options: o, dir: dir, password: rand.Text()}
	t.Cleanup(func() { l.end(t) })
	if len(o.Clocks) > 0 || o.Speed > 0 {
		l.clockLibrary = buildClock(t, dir)
	}
	if o.TLS {
		l.Authority = newAuthority(t, dir, o.ips())
	}
	return l
}

// end kills all servers. The logs of a failed test are shown, and kept.
func (l *Lab) end(t testing.TB) {
	for _, n := range l.all() {
		n.Kill()
	}
	if !t.Failed() {
		if err := os.RemoveAll(l.dir); err != nil {
			t.Error(err)
		}
		return
	}
	for _, n := range l.all() {
		t.Logf("the last lines of the log of %s (all of it: %s):\n%s", n.Name, n.log(), n.lastLines(30))
	}
}

func (l *Lab) all() []*Node {
	return append(append([]*Node(nil), l.Nodes...), l.Sentinels...)
}

// add makes a server that does not run yet. place is its number among all of the lab.
func (l *Lab) add(t testing.TB, what string, place int) *Node {
	t.Helper()
	nodes := &l.Nodes
	program := "redis-server"
	if what == "sentinel" {
		nodes, program = &l.Sentinels, "redis-sentinel"
	}
	n := &Node{
		Name: fmt.Sprintf("%s %d", what, len(*nodes)), lab: l, program: program,
		dir: filepath.Join(l.dir, strconv.Itoa(place)), place: l.options.place(place),
	}
	if err := os.Mkdir(n.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if l.clockLibrary != "" {
		n.env = l.clock(n)
		var off time.Duration
		if place < len(l.options.Clocks) {
			off = l.options.Clocks[place]
		}
		n.SetClock(t, off)
	}
	*nodes = append(*nodes, n)
	return n
}

// launch gives the server ports and a configuration, and starts it. Another process may take a port
// between its choice and the server's start; then it is tried again.
func (l *Lab) launch(t testing.TB, n *Node, config func() []string) {
	t.Helper()
	var err error
	for range 5 {
		if n.place.Namespace == "" {
			n.port, n.bus = freePorts(t, n.place.IP)
		} else { // nothing else is there
			n.port = 6379 + l.index(n)
			n.bus = n.port + 10000
		}
		if err := writeConfig(filepath.Join(n.dir, "conf"), config()); err != nil {
			t.Fatal(err)
		}
		if err = n.start(); err == nil {
			return
		}
		if !strings.Contains(err.Error(), "Address already in use") && !strings.Contains(err.Error(), "bind") {
			break
		}
	}
	t.Fatal(err)
}

func (l *Lab) index(n *Node) int {
	for i, other := range l.all() {
		if n == other {
			return i
		}
	}
	return -1
}

func freePorts(t testing.TB, ip string) (int, int) {
	t.Helper()
	var ports [2]int
	for i := range ports {
		listener, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		ports[i] = listener.Addr().(*net.TCPAddr).Port
	}
	return ports[0], ports[1]
}

// Addresses are what a client is told: the servers, or under Sentinel the sentinels.
func (l *Lab) Addresses() []string {
	nodes := l.Nodes
	if l.kind == sentinel {
		nodes = l.Sentinels
	}
	var addresses []string
	for _, n := range nodes {
		addresses = append(addresses, n.Address())
	}
	return addresses
}

// Masters are the servers that hold themselves for masters now.
func (l *Lab) Masters() []*Node { return l.having(true) }

// Replicas are the servers that answer, and are no masters now.
func (l *Lab) Replicas() []*Node { return l.having(false) }

func (l *Lab) having(master bool) (nodes []*Node) {
	for _, n := range l.Nodes {
		info, err := n.Info("replication")
		if err == nil && (info["role"] == "master") == master {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

// FlushAll empties every master.
func (l *Lab) FlushAll(t testing.TB) {
	t.Helper()
	for _, n := range l.Masters() {
		n.Must(t, "FLUSHALL")
	}
}

// Settle waits until every server runs, replicas have what their masters have, and the Cluster or
// the sentinels agree.
func (l *Lab) Settle(t testing.TB) {
	t.Helper()
	if err := l.Await(settleTime); err != nil {
		t.Fatal(err)
	}
}

// Await is Settle with a time of its own. It returns what is still missing.
func (l *Lab) Await(limit time.Duration) error {
	var err error
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if err = l.settled(); err == nil {
			return nil
		}
	}
	return fmt.Errorf("after %v: %w", limit, err)
}

func (l *Lab) settled() error {
	masters := 0
	for _, n := range l.Nodes {
		info, err := n.Info("replication")
		if err != nil {
			return fmt.Errorf("%s: %w", n.Name, err)
		}
		if info["role"] == "master" {
			masters++
			// A replica that is being filled is not "online" yet.
			for i := range len(l.Nodes) {
				if s := info[fmt.Sprintf("slave%d", i)]; s != "" && !strings.Contains(s, "state=online") {
					return fmt.Errorf("%s: replica %s", n.Name, s)
				}
			}
		} else if info["master_link_status"] != "up" {
			return fmt.Errorf("%s has no link to its master", n.Name)
		}
	}
	switch l.kind {
	case cluster:
		return l.clusterSettled()
	case sentinel:
		return l.sentinelSettled(masters)
	}
	return nil
}

func requireProgram(t testing.TB, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		Missing(t, "the program "+name+" is not installed")
	}
}

// Missing skips a test for which something is not there. In CI, where a skipped test would go
// unseen, the test fails.
func Missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(what)
	}
	t.Skip(what)
}
