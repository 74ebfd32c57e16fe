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
	// onPatientCluster has the node timeout of the manual.
	onPatientCluster = options{
		start: redislab.Cluster, servers: 6, replicas: 1, lead: 2 * time.Second,
		lab: redislab.Options{NodeTimeout: 5 * time.Second},
	}
	onSingle = options{start: redislab.Single, servers: 1, lead: 2 * time.Second}
)

// onFastSingle makes minutes pass in seconds, so that the whole time for which a nonce is remembered
// goes by.
func onFastSingle() options {
	o := onSingle
	o.speed, o.lead, o.onlyNonces = 10, 20*time.Second, true
	for wait := 2 * time.Second; wait < time.Minute; wait += 4 * time.Second {
		o.replays = append(o.replays, wait)
	}
	return o
}

// TestFaults: through every fault no nonce is accepted twice, a request token gives one access token
// and no acknowledged revocation is undone; and requests pass again soon.
func TestFaults(t *testing.T) {
	span := minutes(t)
	t.Parallel()
	cluster := onCluster
	cluster.one = map[int][]mutation{1: wrongClock(t, -40), 2: wrongClock(t, 40)} // clocks of sidecars
	sentinel := onSentinel
	sentinel.lab.TLS, sentinel.asUser = true, true
	sentinel.lab.Clocks = []time.Duration{2 * time.Second, -2 * time.Second, 0} // and those of servers
	slow := onCluster
	slow.lead, slow.lab.NodeTimeout = 5*time.Second, 15*time.Second
	usual := onSentinel
	usual.lead, usual.lab.Config = 5*time.Second, recommended(t)
	apart := onSentinel
	apart.servers, apart.replicas = 6, 2
	asTold := onSentinel
	asTold.lab.Config = recommended(t)
	for name, c := range map[string]struct {
		options
		nemeses []nemesis
	}{
		"Cluster": {cluster, []nemesis{
			killMaster, freezeMaster, cutMasterWithClients, cutReplication, migrateSlots, restartFromDump,
			killReplica, doubleFailover, reloadSidecars, handOver, takeOver, restartEmpty, flushAll,
			cutSidecar, cutMaster, cutHalf, deafMaster, muteMaster, freezeShortly, freezeReplica, restartShardEmpty,
			killSidecar,
		}},
		"Sentinel": {sentinel, []nemesis{
			cutMasterWithClients, cutReplicasThenKill, restartFromDump, killMaster, switchMaster, flushAll,
			freezeMaster, doubleFailover, restartEmpty, deafMaster, cutHalf,
		}},
		"Cluster with a timeout of 5 s": {onPatientCluster, []nemesis{restartCutMaster}},
		"Sentinel as recommended":       {asTold, []nemesis{restartAll, killMaster, cutMasterWithClients}},
		"sentinels elsewhere":           {apart, []nemesis{cutMasterWithReplica}},
		"fast clocks":                   {onFastSingle(), []nemesis{restartFromDump, flushAll, quiet(45 * time.Second)}},
		"Single": {onSingle, []nemesis{
			restartFromDump, restartEmpty, flushAll, freezeShortly, cutSidecar, killSidecar, restartFromDump,
		}},
		"Sentinel with the usual lead": {usual, []nemesis{
			killMaster, freezeMaster, cutMasterWithClients, cutReplicasThenKill, switchMaster, doubleFailover,
			cutMaster, deafMaster, cutSidecar, freezeShortly, killSidecar, restartAll,
		}},
		"Cluster with a node timeout of 15 s": {slow, []nemesis{
			killMaster, freezeMaster, cutMasterWithClients, cutReplication, doubleFailover, cutHalf, deafMaster,
		}},
	} {
		trials := [][]nemesis{c.nemeses}
		if span == 0 {
			trials = slices.Collect(slices.Chunk(c.nemeses, mostInATrial))
		}
		for i, nemeses := range trials {
			if i > 0 {
				name += " again"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				if c.lead == 5*time.Second && span == 0 {
					t.Skip("takes long: set " + minutesName + " above 0")
				}
				x := newTrial(t, c.options)
				nonces, lives := x.run(forSomeTime(nemeses, span))
				report(t, "nonce not used once", nonces)
				report(t, "token", lives)
			})
		}
	}
}

// mostInATrial is how many nemeses a trial has where each comes once. Further ones have another
// trial: the longest trial would end minutes after the others.
const mostInATrial = 12

// minutesName is the variable of the environment that says how long the test takes.
const minutesName = "FAULTS_MINUTES"

// minutes is how long the nemeses come in random order; 0 means that each comes once, in order. The
// test is skipped where nobody has said: it takes some minutes and a machine for itself.
func minutes(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv(minutesName)
	if text == "" {
		t.Skip("takes minutes: set " + minutesName + ", to 0 for each fault once")
	}
	minutes, err := strconv.ParseFloat(text, 64)
	if err != nil {
		t.Fatal(err)
	}
	return time.Duration(minutes * float64(time.Minute))
}

// forSomeTime yields each nemesis once, or any of them again and again for a time.
func forSomeTime(nemeses []nemesis, span time.Duration) iter.Seq[nemesis] {
	if span == 0 {
		return slices.Values(nemeses)
	}
	deadline := time.Now().Add(span)
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
			old:  "if s[1] ~= epoch(info) or set_back then", new: "if not s[1] then",
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
		old:  "waits := s.replicas > 0", new: "waits := false",
	}}
	// Every master of a Cluster goes on without a replica, not only one that was promoted.
	anyAlone = []mutation{{
		file: "tokenstore/redisstore/scripts/raise.lua",
		old:  "alone = without and promoted(stats)", new: "alone = without",
	}}
)

// TestFaultsAreFound: the test finds replays where there is no fence: in a toy store, in the real
// one without its fence, and in the real one when its ceiling rises without a WAIT, be it only that
// of a master that was started again.
func TestFaultsAreFound(t *testing.T) {
	minutes(t)
	t.Parallel()
	toy := onCluster
	toy.toy = true
	unfenced, unwaited := onCluster, onSentinel
	unfenced.mutations, unwaited.mutations = noFence, noWait
	alone := onPatientCluster
	alone.mutations = anyAlone
	early := onFastSingle()
	early.mutations = []mutation{{
		file: "tokenstore/redisstore/scripts/span.lua",
		old:  "redis.call('EXPIREAT', bucket, timestamp + span + spare)",
		new:  "redis.call('EXPIREAT', bucket, timestamp + 60)",
	}}
	for name, c := range map[string]struct {
		options
		nemeses []nemesis
	}{
		"toy":                    {toy, []nemesis{cutReplication}},
		"no fence":               {unfenced, []nemesis{cutReplication}},
		"nonces forgotten early": {early, []nemesis{quiet(20 * time.Second)}},
		"no WAIT":                {unwaited, []nemesis{cutMasterWithClients}},
		"alone after a restart":  {alone, []nemesis{restartCutMaster}},
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
