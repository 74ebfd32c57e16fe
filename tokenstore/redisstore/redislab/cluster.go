package redislab

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	clusterMasters = 3
	slots          = 16384
)

// Cluster starts a Cluster of three masters, which are servers 0 to 2, and three replicas: server 3
// of server 0, and so on.
func Cluster(t testing.TB, o Options) *Lab {
	t.Helper()
	if o.NodeTimeout == 0 {
		o.NodeTimeout = 2 * time.Second
	}
	l := newLab(t, o, cluster)
	for i := range 2 * clusterMasters {
		n := l.add(t, "server", i)
		l.launch(t, n, func() []string {
			return l.server(n, "cluster-enabled yes", fmt.Sprintf("cluster-port %d", n.bus),
				fmt.Sprintf("cluster-node-timeout %d", o.NodeTimeout.Milliseconds()))
		})
	}
	for i, n := range l.Nodes[:clusterMasters] {
		n.Must(t, "CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(i*slots/clusterMasters),
			strconv.Itoa((i+1)*slots/clusterMasters-1))
	}
	first := l.Nodes[0]
	for i, n := range l.Nodes {
		n.Must(t, "CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i+1))
		if n != first {
			n.Must(t, "CLUSTER", "MEET", first.place.IP, strconv.Itoa(first.port), strconv.Itoa(first.bus))
		}
	}
	for i, n := range l.Nodes[clusterMasters:] {
		id := l.Nodes[i].id(t)
		for deadline := time.Now().Add(settleTime); ; time.Sleep(20 * time.Millisecond) {
			_, err := n.Do("CLUSTER", "REPLICATE", id)
			if err == nil {
				break
			}
			if time.Now().After(deadline) { // it has not heard of its master
				t.Fatal(err)
			}
		}
	}
	l.Settle(t)
	return l
}

func (n *Node) id(t testing.TB) string {
	t.Helper()
	id, _ := n.Must(t, "CLUSTER", "MYID").(string)
	return id
}

// clusterSettled returns what is missing until the Cluster works as it should: every server knows
// all others, all slots are served, and each master has as many replicas as its share.
func (l *Lab) clusterSettled() error {
	for _, n := range l.Nodes {
		reply, err := n.Do("CLUSTER", "INFO")
		if err != nil {
			return fmt.Errorf("%s: %w", n.Name, err)
		}
		info, _ := reply.(string)
		known := fmt.Sprintf("cluster_known_nodes:%d\r", len(l.Nodes))
		if !strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, known) {
			return fmt.Errorf("%s: %s", n.Name, info)
		}
		reply, err = n.Do("CLUSTER", "NODES")
		if err != nil {
			return err
		}
		lines, _ := reply.(string)
		masters := strings.Count(lines, "master")
		if masters != clusterMasters || strings.Contains(lines, "fail") {
			return fmt.Errorf("%s sees\n%s", n.Name, lines)
		}
	}
	return nil
}

// Shard returns the master that serves a slot, and its replicas, as the servers that answer see it.
// Where they differ, the one with the highest epoch counts.
func (l *Lab) Shard(slot int) (master *Node, replicas []*Node, err error) {
	views := []view{}
	for _, n := range l.Nodes {
		v, err := n.view()
		if err == nil {
			views = append(views, v)
		}
	}
	slices.SortFunc(views, func(a, b view) int { return cmp.Compare(b.epoch, a.epoch) })
	for _, v := range views {
		for _, m := range v.nodes {
			if m.serves(slot) {
				for _, r := range v.nodes {
					if r.master == m.id {
						replicas = append(replicas, l.at(r.address))
					}
				}
				return l.at(m.address), replicas, nil
			}
		}
	}
	return nil, nil, fmt.Errorf("nobody serves slot %d", slot)
}

// at returns the server with a port and an address.
func (l *Lab) at(address string) *Node {
	for _, n := range l.Nodes {
		if n.Address() == address {
			return n
		}
	}
	return nil
}

// A view is what a server says of the Cluster.
type view struct {
	epoch int
	nodes []member
}

type member struct {
	id, address, master string
	ranges              [][2]int
}

func (m member) serves(slot int) bool {
	return slices.ContainsFunc(m.ranges, func(r [2]int) bool { return r[0] <= slot && slot <= r[1] })
}

func (n *Node) view() (v view, err error) {
	reply, err := n.Do("CLUSTER", "NODES")
	if err != nil {
		return v, err
	}
	text, _ := reply.(string)
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 8 {
			return v, fmt.Errorf("%s: line %q", n.Name, line)
		}
		address, _, _ := strings.Cut(fields[1], "@")
		epoch, _ := strconv.Atoi(fields[6])
		v.epoch = max(v.epoch, epoch)
		m := member{id: fields[0], address: address}
		if fields[3] != "-" {
			m.master = fields[3]
		}
		for _, r := range fields[8:] {
			if strings.HasPrefix(r, "[") { // migrating
				continue
			}
			from, to, two := strings.Cut(r, "-")
			if !two {
				to = from
			}
			first, err1 := strconv.Atoi(from)
			last, err2 := strconv.Atoi(to)
			if err := errors.Join(err1, err2); err != nil {
				return v, err
			}
			m.ranges = append(m.ranges, [2]int{first, last})
		}
		v.nodes = append(v.nodes, m)
	}
	return v, nil
}

// Promote makes a replica of a Cluster the master of its shard. how is "" (the master agrees and
// hands over), "FORCE" (without the master) or "TAKEOVER" (without the other masters too).
func (n *Node) Promote(how string) error {
	command := []string{"CLUSTER", "FAILOVER"}
	if how != "" {
		command = append(command, how)
	}
	_, err := n.Do(command...)
	return err
}

// Migrate moves a slot with its keys to another master, as `redis-cli --cluster reshard` does, while
// clients use it.
func (l *Lab) Migrate(slot int, to *Node) error {
	m, err := l.BeginMigration(slot, to)
	if m == nil || err != nil {
		return err
	}
	for {
		keys, err := m.Keys(100)
		if err != nil {
			return err
		}
		if len(keys) == 0 {
			return m.End()
		}
		if err := m.Move(keys...); err != nil {
			return err
		}
	}
}

// A Migration is that of a slot which moves from one master to another.
type Migration struct {
	lab      *Lab
	slot     string
	from, to *Node
	target   string // its id
}

// BeginMigration opens both masters for the slot's move, and moves no key. It returns nil if the slot is
// there already.
func (l *Lab) BeginMigration(slot int, to *Node) (*Migration, error) {
	from, _, err := l.Shard(slot)
	if err != nil || from == to {
		return nil, err
	}
	m := &Migration{lab: l, slot: strconv.Itoa(slot), from: from, to: to}
	ids := map[*Node]string{}
	for _, n := range []*Node{from, to} {
		reply, err := n.Do("CLUSTER", "MYID")
		if err != nil {
			return nil, err
		}
		ids[n], _ = reply.(string)
	}
	m.target = ids[to]
	if _, err := to.Do("CLUSTER", "SETSLOT", m.slot, "IMPORTING", ids[from]); err != nil {
		return nil, err
	}
	if _, err := from.Do("CLUSTER", "SETSLOT", m.slot, "MIGRATING", ids[to]); err != nil {
		return nil, err
	}
	return m, nil
}

// Keys returns up to n keys that have not moved yet.
func (m *Migration) Keys(n int) ([]string, error) {
	reply, err := m.from.Do("CLUSTER", "GETKEYSINSLOT", m.slot, strconv.Itoa(n))
	if err != nil {
		return nil, err
	}
	names, _ := reply.([]any)
	keys := make([]string, len(names))
	for i, name := range names {
		keys[i], _ = name.(string)
	}
	return keys, nil
}

// Move moves some keys.
func (m *Migration) Move(keys ...string) error {
	command := []string{
		"MIGRATE", m.to.place.IP, strconv.Itoa(m.to.port), "", "0", "5000",
		"AUTH2", labUser, m.lab.password, "KEYS",
	}
	_, err := m.from.Do(append(command, keys...)...)
	return err
}

// End gives the slot, all of whose keys have moved, to its new master.
func (m *Migration) End() error {
	// The new owner first: else there is a moment without one.
	for _, n := range []*Node{m.to, m.from} {
		if _, err := n.Do("CLUSTER", "SETSLOT", m.slot, "NODE", m.target); err != nil {
			return err
		}
	}
	for _, n := range m.lab.Masters() { // gossip tells the rest
		if n != m.to && n != m.from {
			n.Do("CLUSTER", "SETSLOT", m.slot, "NODE", m.target)
		}
	}
	return nil
}
