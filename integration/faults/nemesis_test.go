package faults

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/redisstore/redislab"
)

// A nemesis does harm. After do has returned, all cuts of the network are healed; what else it broke
// it has mended itself.
type nemesis struct {
	name string
	// loses: more than one server loses or forgets data, so that nothing but nonces is promised.
	loses bool
	do    func(*trial)
}

// A shard is a master and its replicas.
type shard struct {
	master   *redislab.Node
	replicas []*redislab.Node
}

// pick returns a shard of the Cluster, the one that the sentinels watch, or the only server.
func (x *trial) pick() (s shard) {
	x.t.Helper()
	err := x.lab.Await(settleTime)
	if err == nil && len(x.lab.Sentinels) == 0 && len(x.lab.Nodes) > 1 {
		s.master, s.replicas, err = x.lab.Shard(rand.IntN(16384))
	} else if err == nil {
		s.master, s.replicas = x.lab.Masters()[0], x.lab.Replicas()
	}
	if err != nil {
		x.t.Fatal(err)
	}
	return s
}

// awaitFailover waits until a replica is the master.
func (x *trial) awaitFailover(s shard) *redislab.Node {
	for deadline := time.Now().Add(settleTime); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		for _, n := range s.replicas {
			if n.IsMaster() {
				return n
			}
		}
	}
	x.t.Errorf("no replica of %s was promoted", s.master.Name)
	return s.replicas[0]
}

// passesWithoutMaster waits until requests pass while the former master is still away, which takes
// a second replica.
func (x *trial) passesWithoutMaster(s shard, name string) {
	if len(s.replicas) > x.options.replicas {
		x.awaitAll("without the former master: "+name, x.now(), passTime)
		return
	}
	x.pause(time.Second)
}

// lease is how long requests are refused after a failover; what is held longer than that sees them
// pass.
func (x *trial) lease() time.Duration { return x.options.lead + time.Second }

// each does something to some servers at the same time.
func each(nodes []*redislab.Node, do func(*redislab.Node)) {
	var wg sync.WaitGroup
	for _, n := range nodes {
		wg.Go(func() { do(n) })
	}
	wg.Wait()
}

func (s shard) all() []*redislab.Node { return append([]*redislab.Node{s.master}, s.replicas...) }

var (
	killMaster = nemesis{name: "master killed", do: func(x *trial) {
		s := x.pick()
		s.master.Kill()
		x.awaitFailover(s)
		x.passesWithoutMaster(s, "it was killed")
		s.master.Start(x.t)
	}}
	killReplica = nemesis{name: "replica killed", do: func(x *trial) {
		n := x.pick().replicas[0]
		n.Kill()
		x.pause(3 * time.Second)
		n.Start(x.t)
	}}
	freezeMaster = nemesis{name: "master frozen until after the failover", do: func(x *trial) {
		s := x.pick()
		s.master.Stop(x.t)
		x.awaitFailover(s)
		x.passesWithoutMaster(s, "it is frozen")
		s.master.Continue(x.t)
	}}
	freezeShortly = nemesis{name: "master frozen for a moment", do: func(x *trial) {
		s := x.pick()
		s.master.Stop(x.t)
		x.pause(700 * time.Millisecond)
		s.master.Continue(x.t)
	}}
	freezeReplica = nemesis{name: "replica frozen", do: func(x *trial) {
		n := x.pick().replicas[0]
		n.Stop(x.t)
		x.pause(3 * time.Second)
		n.Continue(x.t)
	}}
	cutMaster = nemesis{name: "master cut off alone", do: func(x *trial) {
		s := x.pick()
		host := []string{x.network.hostOf(s.master)}
		x.network.cut(host, x.network.others(host))
		x.awaitFailover(s)
		x.pause(x.lease() + time.Second)
	}}
	cutMasterWithClients = nemesis{name: "master cut off with a sidecar on its side", do: func(x *trial) {
		s := x.pick()
		hosts := []string{x.network.hostOf(s.master), sidecarHost(rand.IntN(sidecarCount))}
		x.network.cut(hosts, x.network.others(hosts))
		x.awaitFailover(s)
		x.pause(2*x.lease() + time.Second)
	}}
	// It takes sentinels that are not on the servers' hosts. Else no side of the cut has a majority of
	// sentinels and a replica, while the other has a master and a replica.
	cutMasterWithReplica = nemesis{name: "master cut off with a replica and a sidecar on its side", do: func(x *trial) {
		s := x.pick()
		hosts := []string{
			x.network.hostOf(s.master), x.network.hostOf(s.replicas[0]), sidecarHost(rand.IntN(sidecarCount)),
		}
		x.network.cut(hosts, x.network.others(hosts))
		x.awaitFailover(s)
		x.pause(2*x.lease() + time.Second)
	}}
	// Each time it takes the other masters for reachable until the node timeout is over.
	restartCutMaster = nemesis{name: "master cut off with clients, and started again", do: func(x *trial) {
		s := x.pick()
		dump := s.master.Dump(x.t)
		hosts := []string{x.network.hostOf(s.master), sidecarHost(rand.IntN(sidecarCount))}
		x.network.cut(hosts, x.network.others(hosts))
		x.awaitFailover(s)
		for range 2 { // the second time, the new master lets requests pass all the while
			s.master.Kill()
			s.master.StartFrom(x.t, dump)
			x.pause(x.options.lab.NodeTimeout + x.lease())
		}
	}}
	cutSidecar = nemesis{name: "sidecar cut off", do: func(x *trial) {
		host := []string{sidecarHost(rand.IntN(sidecarCount))}
		x.network.cut(host, x.network.others(host))
		x.pause(4 * time.Second)
	}}
	cutHalf = nemesis{name: "half of the servers and a sidecar cut off", do: func(x *trial) {
		hosts := []string{sidecarHost(rand.IntN(sidecarCount))}
		for _, i := range rand.Perm(x.options.servers)[:x.options.servers/2] {
			hosts = append(hosts, fmt.Sprintf("redis%d", i))
		}
		x.network.cut(hosts, x.network.others(hosts))
		x.pause(6 * time.Second)
	}}
	deafMaster = nemesis{name: "master hears nobody", do: func(x *trial) {
		s := x.pick()
		host := []string{x.network.hostOf(s.master)}
		x.network.cutOneWay(x.network.others(host), host)
		x.awaitFailover(s)
		x.pause(x.lease())
	}}
	muteMaster = nemesis{name: "master is not heard by the other servers", do: func(x *trial) {
		s := x.pick()
		var to []string
		for i := range x.options.servers {
			if host := fmt.Sprintf("redis%d", i); host != x.network.hostOf(s.master) {
				to = append(to, host)
			}
		}
		x.network.cutOneWay([]string{x.network.hostOf(s.master)}, to)
		x.awaitFailover(s)
		x.pause(x.lease())
	}}
	// The replica does not get what the master writes, and neither knows that. Then it is promoted.
	cutReplication = nemesis{name: "replica promoted that was cut off from its master", do: func(x *trial) {
		s := x.pick()
		for _, r := range s.replicas {
			x.network.cutReplication(x.network.hostOf(s.master), x.network.hostOf(r))
		}
		x.pause(2 * x.lease())
		if err := s.replicas[0].Promote("TAKEOVER"); err != nil {
			x.t.Error(err)
		}
		x.awaitFailover(s)
		x.pause(time.Second)
	}}
	// Under Sentinel: a master without its replicas, then it dies.
	cutReplicasThenKill = nemesis{name: "replicas cut off from their master, which is killed then", do: func(x *trial) {
		s := x.pick()
		for _, r := range s.replicas {
			x.network.cutReplication(x.network.hostOf(s.master), x.network.hostOf(r))
		}
		x.pause(2 * x.lease())
		s.master.Kill()
		x.awaitFailover(s)
		x.pause(time.Second)
		x.network.heal()
		s.master.Start(x.t)
	}}
	handOver = nemesis{name: "failover by hand", do: func(x *trial) {
		s := x.pick()
		if err := s.replicas[0].Promote(""); err != nil {
			x.t.Error(err)
			return
		}
		x.awaitFailover(s)
	}}
	// Sentinels don't stop the master before they promote a replica. For a moment it goes on with the
	// other replica, which confirms writes that are thrown away then.
	switchMaster = nemesis{name: "failover by hand", loses: true, do: func(x *trial) {
		s := x.pick()
		if err := x.lab.SwitchMaster(); err != nil {
			x.t.Error(err)
			return
		}
		x.awaitFailover(s)
	}}
	takeOver = nemesis{name: "failover by hand, without the master's consent", do: func(x *trial) {
		s := x.pick()
		if err := s.replicas[0].Promote("TAKEOVER"); err != nil {
			x.t.Error(err)
			return
		}
		x.awaitFailover(s)
	}}
	doubleFailover = nemesis{name: "two failovers, one soon after the other", do: func(x *trial) {
		s := x.pick()
		s.master.Kill()
		second := x.awaitFailover(s)
		s.master.Start(x.t)
		if err := x.lab.Await(settleTime); err != nil {
			x.t.Error(err)
			return
		}
		second.Kill()
		rest := shard{master: second}
		for _, n := range s.all() {
			if n != second {
				rest.replicas = append(rest.replicas, n)
			}
		}
		x.awaitFailover(rest)
		x.pause(time.Second)
		second.Start(x.t)
	}}
	restartEmpty = nemesis{name: "master restarted empty at once", loses: true, do: func(x *trial) {
		s := x.pick()
		s.master.Kill()
		s.master.StartEmpty(x.t)
		x.pause(time.Second)
	}}
	restartFromDump = nemesis{name: "master restarted from an older dump", loses: true, do: func(x *trial) {
		s := x.pick()
		dump := s.master.Dump(x.t)
		x.pause(3 * time.Second)
		s.master.Kill()
		s.master.StartFrom(x.t, dump)
		x.pause(time.Second)
	}}
	restartShardEmpty = nemesis{name: "all servers of a shard restarted empty", loses: true, do: func(x *trial) {
		all := x.pick().all()
		each(all, (*redislab.Node).Kill)
		each(all, func(n *redislab.Node) { n.StartEmpty(x.t) })
		x.pause(time.Second)
	}}
	restartAll = nemesis{name: "all servers restarted with what is on their disks", do: func(x *trial) {
		each(x.lab.Nodes, (*redislab.Node).Kill)
		each(x.lab.Nodes, func(n *redislab.Node) { n.Start(x.t) })
		x.pause(time.Second)
	}}
	flushAll = nemesis{name: "FLUSHALL", loses: true, do: func(x *trial) {
		x.lab.FlushAll(x.t)
		x.pause(time.Second)
	}}
	killSidecar = nemesis{name: "sidecar killed", do: func(x *trial) {
		i := rand.IntN(sidecarCount)
		x.sidecars[i].kill()
		x.mu.Lock()
		x.kills = append(x.kills, kill{i, x.now()})
		x.mu.Unlock()
		x.pause(time.Second)
		x.sidecars[i].start()
	}}
	reloadSidecars = nemesis{name: "sidecars reloaded during a failover", do: func(x *trial) {
		s := x.pick()
		s.master.Kill()
		var wg sync.WaitGroup
		for _, side := range x.sidecars {
			wg.Go(func() {
				for range 3 {
					if err := side.reload(); err != nil {
						x.t.Error(err)
					}
					x.pause(500 * time.Millisecond)
				}
			})
		}
		wg.Wait()
		x.awaitFailover(s)
		s.master.Start(x.t)
	}}
	migrateSlots = nemesis{name: "slots migrated", do: func(x *trial) {
		s := x.pick()
		moved := x.usedSlots(s.master, 8)
		for _, slot := range moved {
			to := x.pick().master
			if err := x.lab.Migrate(slot, to); err != nil {
				x.t.Errorf("slot %d to %s: %v", slot, to.Name, err)
			}
		}
		x.pause(time.Second)
		for _, slot := range moved { // home again
			if err := x.lab.Migrate(slot, s.master); err != nil {
				x.t.Errorf("slot %d back to %s: %v", slot, s.master.Name, err)
			}
		}
	}}
)

// quiet lets time go by.
func quiet(wait time.Duration) nemesis {
	return nemesis{name: "nothing", do: func(x *trial) { x.pause(wait) }}
}

// usedSlots returns some slots of a master that hold keys.
func (x *trial) usedSlots(master *redislab.Node, most int) (found []int) {
	seen := map[int]bool{}
	reply, err := master.Do("SCAN", "0", "COUNT", "1000")
	if err != nil {
		x.t.Error(err)
		return nil
	}
	keys, _ := reply.([]any)[1].([]any)
	for _, key := range keys {
		reply, err := master.Do("CLUSTER", "KEYSLOT", key.(string))
		slot, ok := reply.(int64)
		if err != nil || !ok {
			x.t.Errorf("slot of a key: %v, %v", reply, err)
		}
		if len(found) < most && !seen[int(slot)] {
			seen[int(slot)] = true
			found = append(found, int(slot))
		}
	}
	if len(found) == 0 {
		x.t.Error("no slot of " + master.Name + " holds a key, of " + strconv.Itoa(len(keys)))
	}
	return found
}
