package faults

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/redisstore/redislab"
)

// namespacePrefix begins the names of all our namespaces; the pid of the test binary follows.
const namespacePrefix = "faults-"

// A network is a number of hosts, each a namespace of its own with one address, joined by a bridge
// that is in a namespace too. The test itself reaches all hosts, always.
type network struct {
	t     testing.TB
	names string // what their names begin with
	nets  string // what their addresses begin with
	hosts map[string]redislab.Place

	mu    sync.Mutex
	drops map[string]map[string]bool // the rules of a host
}

// newNetwork makes the hosts. It skips the test for anybody but root.
func newNetwork(t testing.TB, hosts ...string) *network {
	t.Helper()
	if os.Geteuid() != 0 {
		redislab.Missing(t, "only root may make network namespaces")
	}
	for _, program := range []string{"ip", "iptables-restore"} {
		if _, err := exec.LookPath(program); err != nil {
			redislab.Missing(t, "the program "+program+" is not installed")
		}
	}
	sweep.Do(func() { sweepNamespaces(t) })
	n := &network{t: t, hosts: map[string]redislab.Place{}, drops: map[string]map[string]bool{}}
	number := n.freeNumber()
	n.names = fmt.Sprintf("%s%d-%d-", namespacePrefix, os.Getpid(), number)
	n.nets = fmt.Sprintf("198.18.%d.", number) // RFC 2544: for tests of networks
	t.Cleanup(n.remove)

	hub := n.names + "hub"
	n.ip("netns", "add", hub)
	n.ip("-n", hub, "link", "add", "hub", "type", "bridge")
	n.ip("-n", hub, "link", "set", "hub", "up")
	n.join(number, 254, "")
	for i, host := range hosts {
		place := redislab.Place{Namespace: n.names + host, IP: n.nets + strconv.Itoa(i+1)}
		n.hosts[host] = place
		n.ip("netns", "add", place.Namespace)
		n.ip("-n", place.Namespace, "link", "set", "lo", "up")
		n.join(number, i+1, place.Namespace)
	}
	return n
}

// takenNumbers are the networks of this process. Trials that run at once make them at once.
var takenNumbers sync.Map

// freeNumber finds a network that this machine does not have.
func (n *network) freeNumber() int {
	addresses := n.run(exec.Command("ip", "-o", "-4", "address"))
	for {
		number := rand.IntN(256)
		if strings.Contains(addresses, fmt.Sprintf(" 198.18.%d.", number)) {
			continue
		}
		if _, taken := takenNumbers.LoadOrStore(number, true); !taken {
			return number
		}
	}
}

// join connects a namespace with the hub; the empty name is the test's own.
func (n *network) join(number, host int, namespace string) {
	outer, inner := fmt.Sprintf("fh%d-%d", number, host), fmt.Sprintf("fi%d-%d", number, host)
	hub, address := n.names+"hub", fmt.Sprintf("%s%d/24", n.nets, host)
	n.ip("-n", hub, "link", "add", outer, "type", "veth", "peer", "name", inner)
	n.ip("-n", hub, "link", "set", outer, "master", "hub", "up")
	if namespace == "" {
		n.ip("-n", hub, "link", "set", inner, "netns", strconv.Itoa(os.Getpid()))
		n.ip("address", "add", address, "dev", inner)
		n.ip("link", "set", inner, "up")
		return
	}
	n.ip("-n", hub, "link", "set", inner, "netns", namespace)
	n.ip("-n", namespace, "address", "add", address, "dev", inner)
	n.ip("-n", namespace, "link", "set", inner, "up")
}

func (n *network) ip(args ...string) { n.run(exec.Command("ip", args...)) }

func (n *network) run(cmd *exec.Cmd) string {
	n.t.Helper()
	out, err := cmd.CombinedOutput()
	if err != nil {
		n.t.Fatalf("%q: %v\n%s", cmd.Args, err, out)
	}
	return string(out)
}

func (n *network) remove() {
	removeNamespaces(n.t, func(name string) bool { return strings.HasPrefix(name, n.names) })
}

var sweep sync.Once

// sweepNamespaces removes what test binaries left that were killed.
func sweepNamespaces(t testing.TB) {
	removeNamespaces(t, func(name string) bool {
		rest, ours := strings.CutPrefix(name, namespacePrefix)
		pid, _, _ := strings.Cut(rest, "-")
		_, err := os.Stat("/proc/" + pid)
		return ours && err != nil
	})
}

func removeNamespaces(t testing.TB, chosen func(name string) bool) {
	out, err := exec.Command("ip", "netns", "list").Output()
	if err != nil {
		t.Error(err)
	}
	for line := range strings.Lines(string(out)) {
		name := strings.Fields(line)[0]
		if !chosen(name) {
			continue
		}
		if out, err := exec.Command("ip", "netns", "delete", name).CombinedOutput(); err != nil {
			t.Logf("remove namespace %s: %v\n%s", name, err, out)
		}
	}
}

// A rule drops what comes to a host.
func (n *network) rule(from, more string) string {
	return strings.TrimSpace("-A INPUT -s " + n.hosts[from].IP + " " + more + " -j DROP")
}

// cut drops everything between two groups of hosts.
func (n *network) cut(a, b []string) {
	n.cutOneWay(a, b)
	n.cutOneWay(b, a)
}

// cutOneWay drops what goes from one group to another.
func (n *network) cutOneWay(from, to []string) {
	for _, f := range from {
		for _, t := range to {
			n.drop(t, n.rule(f, ""))
		}
	}
	n.apply(to)
}

// cutReplication drops what replication sends between two servers. The bus of the Cluster goes on.
func (n *network) cutReplication(a, b string) {
	for _, pair := range [][2]string{{a, b}, {b, a}} {
		for _, port := range []string{"--sport", "--dport"} {
			n.drop(pair[0], n.rule(pair[1], "-p tcp "+port+" 6379:6399"))
		}
	}
	n.apply([]string{a, b})
}

func (n *network) drop(host, rule string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.drops[host] == nil {
		n.drops[host] = map[string]bool{}
	}
	n.drops[host][rule] = true
}

// heal takes all cuts away.
func (n *network) heal() {
	n.mu.Lock()
	hosts := slices.Collect(maps.Keys(n.drops))
	n.drops = map[string]map[string]bool{}
	n.mu.Unlock()
	n.apply(hosts)
}

// apply makes the rules of some hosts true, at the same time for each.
func (n *network) apply(hosts []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, host := range hosts {
		lines := []string{"*filter", ":INPUT ACCEPT", ":FORWARD ACCEPT", ":OUTPUT ACCEPT"}
		lines = append(lines, slices.Sorted(maps.Keys(n.drops[host]))...)
		cmd := exec.Command("ip", "netns", "exec", n.hosts[host].Namespace, "iptables-restore")
		cmd.Stdin = strings.NewReader(strings.Join(append(lines, "COMMIT"), "\n") + "\n")
		if out, err := cmd.CombinedOutput(); err != nil {
			n.t.Errorf("%q: %v\n%s", cmd.Args, err, out)
		}
	}
}

// others are all hosts but some.
func (n *network) others(some []string) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(n.hosts)), func(host string) bool {
		return slices.Contains(some, host)
	})
}

func (n *network) places(hosts ...string) (places []redislab.Place) {
	for _, host := range hosts {
		places = append(places, n.hosts[host])
	}
	return places
}

// hostOf is the host of a server.
func (n *network) hostOf(node *redislab.Node) string {
	for host, place := range n.hosts {
		if place == node.Place() {
			return host
		}
	}
	return ""
}

// TestNetwork: what the partitions are worth.
func TestNetwork(t *testing.T) {
	n := newNetwork(t, "a", "b", "c")
	reaches := func(from, to string) bool {
		return exec.Command("ip", "netns", "exec", n.hosts[from].Namespace, "bash", "-c",
			"exec timeout 0.3 bash -c '</dev/tcp/"+n.hosts[to].IP+"/9'").Run() == nil
	}
	listen := func(host string) {
		cmd := exec.Command("ip", "netns", "exec", n.hosts[host].Namespace, "redis-server",
			"--port", "9", "--bind", n.hosts[host].IP, "--save", "", "--protected-mode", "no")
		if err := redislab.StartBound(cmd); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			cmd.Process.Kill()
			cmd.Wait()
		})
	}
	if _, err := exec.LookPath("redis-server"); err != nil {
		redislab.Missing(t, "the program redis-server is not installed")
	}
	for host := range n.hosts {
		listen(host)
	}
	expect := func(when string, cut ...string) {
		t.Helper()
		for _, from := range []string{"a", "b", "c"} {
			for _, to := range []string{"a", "b", "c"} {
				if want := !slices.Contains(cut, from+to); from != to && reaches(from, to) != want {
					t.Errorf("%s: %s reaches %s: %v", when, from, to, !want)
				}
			}
		}
	}
	for deadline := time.Now().Add(5 * time.Second); !reaches("a", "b") || !reaches("a", "c") || !reaches("b", "a"); {
		if time.Now().After(deadline) {
			t.Fatal("nobody listens")
		}
	}
	expect("whole")
	n.cut([]string{"a"}, n.others([]string{"a"}))
	expect("a alone", "ab", "ba", "ac", "ca")
	n.heal()
	expect("healed")
	// A connection needs both ways.
	n.cutOneWay([]string{"a"}, []string{"b"})
	expect("one way", "ab", "ba")
	n.heal()
}
