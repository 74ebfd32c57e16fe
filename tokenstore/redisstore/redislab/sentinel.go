package redislab

import (
	"fmt"
	"strconv"
	"testing"
	"time"
)

// MasterName is what the sentinels call their master.
const MasterName = "main"

// Sentinel starts a master, two replicas and three sentinels. With Places, the sentinels are beside
// the servers if there are three places.
func Sentinel(t testing.TB, o Options) *Lab {
	t.Helper()
	requireProgram(t, "redis-sentinel")
	if o.DownAfter == 0 {
		o.DownAfter = time.Second
	}
	l := newLab(t, o, sentinel)
	for i := range 3 {
		n := l.add(t, "server", i)
		l.launch(t, n, func() []string {
			if i == 0 {
				return l.server(n)
			}
			return l.server(n, fmt.Sprintf("replicaof %s %d", l.Nodes[0].place.IP, l.Nodes[0].port))
		})
	}
	for i := range 3 {
		n := l.add(t, "sentinel", len(l.Nodes)+i)
		l.launch(t, n, func() []string { return append(l.common(n), l.watch()...) })
	}
	for _, s := range l.Sentinels { // they look once in ten seconds by default
		s.Must(t, "SENTINEL", "DEBUG", "INFO-PERIOD", "500", "PUBLISH-PERIOD", "500", "ASK-PERIOD", "300",
			"DEFAULT-FAILOVER-TIMEOUT", "6000", "SLAVE-RECONF-TIMEOUT", "3000")
	}
	l.Settle(t)
	return l
}

// watch is what makes a sentinel watch over the first server.
func (l *Lab) watch() []string {
	first := l.Nodes[0]
	lines := []string{fmt.Sprintf("sentinel monitor %s %s %d 2", MasterName, first.place.IP, first.port)}
	for _, option := range []string{
		fmt.Sprintf("down-after-milliseconds %s %d", MasterName, l.options.DownAfter.Milliseconds()),
		"failover-timeout " + MasterName + " 6000",
		"parallel-syncs " + MasterName + " 2",
		"auth-user " + MasterName + " " + labUser,
		"auth-pass " + MasterName + " " + l.password,
	} {
		lines = append(lines, "sentinel "+option)
	}
	return lines
}

// sentinelSettled returns what is missing until a failover works: every sentinel knows the same
// master, the other sentinels and the replicas.
func (l *Lab) sentinelSettled(masters int) error {
	if masters != 1 {
		return fmt.Errorf("%d masters", masters)
	}
	master := l.Masters()
	for _, s := range l.Sentinels {
		reply, err := s.Do("SENTINEL", "MASTER", MasterName)
		if err != nil {
			return fmt.Errorf("%s: %w", s.Name, err)
		}
		state := pairs(reply)
		if len(master) != 1 || state["port"] != strconv.Itoa(master[0].port) || state["ip"] != master[0].place.IP {
			return fmt.Errorf("%s has the master %s:%s", s.Name, state["ip"], state["port"])
		}
		if state["flags"] != "master" || state["num-slaves"] != strconv.Itoa(len(l.Nodes)-1) ||
			state["num-other-sentinels"] != strconv.Itoa(len(l.Sentinels)-1) {
			return fmt.Errorf("%s: flags %s, %s replicas, %s other sentinels", s.Name,
				state["flags"], state["num-slaves"], state["num-other-sentinels"])
		}
	}
	return nil
}

// pairs reads a reply of names and values in turn.
func pairs(reply any) map[string]string {
	items, _ := reply.([]any)
	found := map[string]string{}
	for i := 0; i+1 < len(items); i += 2 {
		name, _ := items[i].(string)
		found[name], _ = items[i+1].(string)
	}
	return found
}

// SwitchMaster makes the sentinels promote a replica while the master is well. It returns before
// that has happened.
func (l *Lab) SwitchMaster() error {
	var err error
	for _, s := range l.Sentinels {
		if _, err = s.Do("SENTINEL", "FAILOVER", MasterName); err == nil {
			return nil
		}
	}
	return err
}
