package faults

import (
	"iter"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/redisstore/redislab"
)

// Node timeouts and leads are shorter than one would run them with, so that many faults fit into
// some minutes.
var (
	onCluster = options{
		start: redislab.Cluster, servers: 6, replicas: 1, lead: 2 * time.Second,
		lab: redislab.Options{NodeTimeout: time.Second, Config: []string{"cluster-require-full-coverage no"}},
	}
	onSentinel = options{start: redislab.Sentinel, servers: 3, replicas: 1, lead: 2 * time.Second}
	onSingle   = options{start: redislab.Single, servers: 1, lead: 2 * time.Second}
)

// TestFaults: through every fault no nonce is accepted twice, a request token gives one access token
// and no acknowledged revocation is undone; and requests pass again soon.
func TestFaults(t *testing.T) {
	cluster := onCluster
	cluster.one = map[int]mutation{2: wrongClock(40)} // one sidecar's clock is wrong
	sentinel := onSentinel
	sentinel.lab.Clocks = []time.Duration{2 * time.Second, -2 * time.Second, 0} // and those of servers
	for name, c := range map[string]struct {
		options
		nemeses []nemesis
	}{
		"Cluster": {cluster, []nemesis{
			killMaster, freezeMaster, cutMasterWithClients, cutReplication, migrateSlots, restartFromDump,
			killReplica, doubleFailover, reloadSidecars, handOver, takeOver, restartEmpty, flushAll,
			cutSidecar, cutMaster, cutHalf, muteMaster, freezeShortly, freezeReplica, restartShardEmpty,
			killSidecar,
		}},
		"Sentinel": {sentinel, []nemesis{
			cutMasterWithClients, cutReplicasThenKill, restartFromDump, killMaster, handOver, flushAll,
			freezeMaster, doubleFailover, restartEmpty, deafMaster, cutHalf,
		}},
		"Single": {onSingle, []nemesis{
			restartFromDump, restartEmpty, flushAll, freezeShortly, cutSidecar, killSidecar, restartFromDump,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newTrial(t, c.options)
			nonces, lives := x.run(forSomeTime(t, c.nemeses))
			report(t, "nonce not used once", nonces)
			report(t, "token", lives)
		})
	}
}

// forSomeTime yields each nemesis once, or with FAULTS_MINUTES in the environment any of them again
// and again for that long.
func forSomeTime(t *testing.T, nemeses []nemesis) iter.Seq[nemesis] {
	text := os.Getenv("FAULTS_MINUTES")
	if text == "" {
		return slices.Values(nemeses)
	}
	minutes, err := strconv.ParseFloat(text, 64)
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(time.Duration(minutes * float64(time.Minute)))
	return func(yield func(nemesis) bool) {
		for time.Now().Before(deadline) {
			for _, i := range rand.Perm(len(nemeses)) {
				if !time.Now().Before(deadline) || !yield(nemeses[i]) {
					return
				}
			}
		}
	}
}

// The fence taken out of the store, and the WAIT of its raise.
var (
	noFence = []mutation{
		{
			file: "tokenstore/redisstore/scripts/accept.lua",
			old:  "if s[1] ~= epoch(info) then", new: "if not s[1] then",
		},
		{
			file: "tokenstore/redisstore/scripts/accept.lua",
			old:  "if timestamp <= floor then", new: "if false then",
		},
		{
			file: "tokenstore/redisstore/scripts/accept.lua",
			old:  "local ceiling = tonumber(s[3])", new: "local ceiling = timestamp + 60",
		},
	}
	noWait = []mutation{{
		file: "tokenstore/redisstore/fence.go",
		old:  "waits := s.replicas > 0 && !s.sabotage.noWait", new: "waits := false",
	}}
)

// TestFaultsAreFound: the test finds replays where there is no fence: in a toy store, in the real
// one without its fence, and in the real one when its ceiling rises without a WAIT.
func TestFaultsAreFound(t *testing.T) {
	toy := onCluster
	toy.toy = true
	unfenced, unwaited := onCluster, onSentinel
	unfenced.mutations, unwaited.mutations = noFence, noWait
	for name, c := range map[string]struct {
		options
		nemeses []nemesis
	}{
		"toy":      {toy, []nemesis{cutReplication}},
		"no fence": {unfenced, []nemesis{cutReplication}},
		"no WAIT":  {unwaited, []nemesis{cutMasterWithClients}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.options.onlyNonces = true
			nonces, _ := newTrial(t, c.options).run(slices.Values(c.nemeses))
			if len(nonces) == 0 {
				t.Error("no nonce was accepted again")
			}
		})
	}
}
