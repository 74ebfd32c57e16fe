package redisstore

import (
	"cmp"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/redis/rueidis"
)

// commandsInScripts are the commands that the store's scripts call, each with arguments for a try.
// KEY and KEY2 are scratch keys. What they hold is removed before they get another type.
//
// The first one takes memory. A server without memory left refuses that only until the script has
// written something, be it a DEL.
var commandsInScripts = [][]string{
	{"SET", "KEY", "1", "EX", "60"},
	{"DEL", "KEY", "KEY2"}, // of an earlier check
	{"TIME"},
	{"EXISTS", "KEY"},
	{"HSETNX", "KEY", "a", "1"},
	{"HSET", "KEY", "b", "1"},
	{"HGET", "KEY", "a"},
	{"HMGET", "KEY", "a", "b"},
	{"HGETALL", "KEY"},
	{"HVALS", "KEY"},
	{"HLEN", "KEY"},
	{"HDEL", "KEY", "b"},
	{"EXPIREAT", "KEY", "4102444800"},
	{"PEXPIREAT", "KEY", "4102444800000"},
	{"PEXPIRETIME", "KEY"},
	{"RENAME", "KEY", "KEY2"},
	{"DEL", "KEY2"},
	{"ZADD", "KEY", "0", "a"},
	{"ZCARD", "KEY"},
	{"ZSCORE", "KEY", "a"},
	{"ZRANGE", "KEY", "-", "+", "BYLEX", "LIMIT", "0", "1"},
	{"ZUNIONSTORE", "KEY2", "1", "KEY"},
	{"ZDIFFSTORE", "KEY2", "2", "KEY2", "KEY"},
	{"ZREMRANGEBYSCORE", "KEY", "1", "1"},
	{"ZREM", "KEY", "a"},
	{"UNLINK", "KEY", "KEY2"},
	{"SET", "KEY", "1", "EX", "60"},
	{"SETRANGE", "KEY", "0", "2"},
	{"GETRANGE", "KEY", "0", "0"},
	{"GET", "KEY"},
	{"INCR", "KEY"},
}

var (
	// whoScript returns the id of the server, which it has until it is restarted or promoted. The
	// key is there so that the script is run by the server that has it.
	whoScript = `local reply = redis.pcall('INFO', 'replication')
if type(reply) == 'table' then
	return redis.error_reply('INFO: ' .. reply.err)
end
return string.match(reply, 'master_replid:(%x+)')`

	// tryScript calls commands, and returns the error of the first one that fails. A write is left,
	// for WAIT.
	tryScript = `for _, command in ipairs(cjson.decode(ARGV[1])) do
	for i = 2, #command do
		if command[i] == 'KEY' then command[i] = KEYS[1] end
		if command[i] == 'KEY2' then command[i] = KEYS[2] end
	end
	local reply = redis.pcall(unpack(command))
	if type(reply) == 'table' and reply.err then
		return redis.error_reply(command[1] .. ': ' .. reply.err)
	end
end
return redis.status_reply('OK')`

	tryScriptHash = func() string {
		sum := sha1.Sum([]byte(tryScript))
		return hex.EncodeToString(sum[:])
	}()

	triedCommands = func() string {
		text, _ := json.Marshal(commandsInScripts) // strings only: it can't fail
		return string(text)
	}()
)

// probes returns names of keys, one in each slice.
func probes(prefix string) []string {
	keys := make([]string, len(sliceTags))
	for i, tag := range sliceTags {
		keys[i] = prefix + ":" + kindProbe + "{" + tag + "}"
	}
	return keys
}

// kindProbe is the kind of the keys that check writes. They expire.
const kindProbe = "p"

// errTopology is returned while a failover or a move of slots is going on.
var errTopology = errors.New("the servers are changing their roles")

// check tries what the store needs on every master: the commands, a write that the replicas
// confirm, a server that keeps what it has. Its error says in one line what is wrong.
func (l *link) check(ctx context.Context) error {
	client, err := l.client()
	if err != nil {
		return err
	}
	if l.missing.Load() {
		return fmt.Errorf("the new configuration is not in use: %w", *l.cause.Load())
	}
	return l.examine(ctx, client, *l.options.Load())
}

// examine is check, with a client and options.
func (l *link) examine(ctx context.Context, client rueidis.Client, o Options) error {
	ctx, cancel := context.WithTimeout(ctx, 4*o.Timeout)
	defer cancel()
	asking, enough := context.WithTimeout(ctx, 2*o.Timeout)
	ids, err := l.masters(asking, client)
	enough()
	if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
		err = silent(ctx, client, err)
	}
	if err != nil {
		return explain(err, o)
	}
	nodes := client.Nodes()
	addresses := slices.Sorted(maps.Keys(nodes))
	results := make([]checked, len(addresses))
	var checking sync.WaitGroup
	for i, address := range addresses {
		checking.Go(func() {
			result := examineNode(ctx, nodes[address], ids, client.Mode() == rueidis.ClientModeCluster, o)
			if result.err != nil {
				result.err = fmt.Errorf("server %s: %w", address, explain(result.err, o))
			}
			results[i] = result
		})
	}
	checking.Wait()
	masters := 0
	err = errTopology
	for _, result := range results {
		switch {
		case result.master && result.err != nil:
			return result.err
		case result.master:
			masters++
		case result.err != nil:
			err = result.err
		}
	}
	if masters < len(ids) {
		return err
	}
	return nil
}

// checked is what was found out about a server.
type checked struct {
	master bool  // it has slices
	err    error // it can't be used
}

// masters returns the ids of the servers that have the slices, each with a key that it has.
func (l *link) masters(ctx context.Context, client rueidis.Client) (map[string]string, error) {
	commands := make([]rueidis.Completed, len(l.probes))
	for i, key := range l.probes {
		commands[i] = client.B().Eval().Script(whoScript).Numkeys(1).Key(key).Build()
	}
	ids := make(map[string]string)
	for i, reply := range client.DoMulti(ctx, commands...) {
		id, err := reply.ToString()
		if err != nil {
			return nil, err
		}
		ids[id] = l.probes[i]
	}
	return ids, nil
}

// silent returns which server does not answer, and err if all do.
func silent(ctx context.Context, client rueidis.Client, err error) error {
	nodes := client.Nodes()
	addresses := slices.Sorted(maps.Keys(nodes))
	errs := make([]error, len(addresses))
	var asking sync.WaitGroup
	for i, address := range addresses {
		asking.Go(func() {
			if _, err := info(ctx, nodes[address]); err != nil {
				errs[i] = fmt.Errorf("server %s: no answer (%w)", address, err)
			}
		})
	}
	asking.Wait()
	return cmp.Or(append(errs, err)...)
}

// info returns the fields of INFO that the checks look at, and others.
func info(ctx context.Context, node rueidis.Client) (map[string]string, error) {
	fields := make(map[string]string)
	for _, reply := range node.DoMulti(ctx,
		node.B().Info().Section("server").Build(),
		node.B().Info().Section("memory").Build(),
		node.B().Info().Section("replication").Build(),
	) {
		text, err := reply.ToString()
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(text) {
			if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
				fields[name] = value
			}
		}
	}
	return fields, nil
}

// examineNode looks whether a server has slices, and can be used. ids are the result of masters.
func examineNode(ctx context.Context, node rueidis.Client, ids map[string]string, cluster bool, o Options) checked {
	about, err := info(ctx, node)
	if err != nil {
		return checked{err: err}
	}
	probe, ok := ids[about["master_replid"]]
	if !ok || cluster && about["role"] != "master" { // a replica has the id of its master
		return checked{}
	}
	if err := suitable(about, cluster, o); err != nil {
		return checked{master: true, err: err}
	}
	return checked{master: true, err: try(ctx, node, probe, o)}
}

// try calls the commands that the store needs, and waits until the replicas have what was written.
func try(ctx context.Context, node rueidis.Client, probe string, o Options) error {
	dedicated, cancel := node.Dedicate()
	defer cancel()
	b := dedicated.B()
	// The second call is by the hash, as most are. WAIT is on the same connection as the writes.
	confirm := b.Wait().Numreplicas(int64(o.Replicas)).Timeout(max(1, o.Timeout.Milliseconds())).Build()
	replies := dedicated.DoMulti(ctx,
		b.Eval().Script(tryScript).Numkeys(2).Key(probe, probe+"2").Arg(triedCommands).Build(),
		b.Evalsha().Sha1(tryScriptHash).Numkeys(2).Key(probe, probe+"2").Arg(triedCommands).Build(),
		confirm,
	)
	for _, reply := range replies {
		if reply.NonRedisError() != nil {
			dedicated.Close() // a reply may still come
		}
		if err := reply.Error(); err != nil {
			if moved(err) {
				return errTopology // WAIT was for another connection's writes
			}
			return err
		}
	}
	confirmed, err := replies[2].AsInt64()
	if err != nil {
		return err
	}
	if confirmed < int64(o.Replicas) {
		return fmt.Errorf("%d of %d replicas confirmed a write within %v", confirmed, o.Replicas, o.Timeout)
	}
	return nil
}

// suitable looks at a server's INFO.
func suitable(about map[string]string, cluster bool, o Options) error {
	product, version, least := "Redis", about["redis_version"], 7
	if v, ok := about["valkey_version"]; ok {
		product, version, least = "Valkey", v, 8
	}
	if major, _ := strconv.Atoi(firstPart(version)); major < least {
		return misconfigured("the server is %s %s: Redis 7.0 or Valkey 8 is needed", product, version)
	}
	if role := about["role"]; role != "master" {
		if o.SentinelMaster != "" {
			return errTopology
		}
		return misconfigured("the server is a replica: set the master's address, or sentinel")
	}
	if policy := about["maxmemory_policy"]; about["maxmemory"] != "0" && policy != "noeviction" {
		return misconfigured("the server may throw away used nonces and tokens when its memory is full: "+
			"set its maxmemory-policy to noeviction, it is %s", policy)
	}
	n, _ := strconv.Atoi(about["connected_slaves"])
	if n < o.Replicas && cluster {
		// The other masters may have theirs, and requests pass (see fence.go).
		return fmt.Errorf("the server has %d connected replicas, and replicas is %d: start a replica", n, o.Replicas)
	}
	if n < o.Replicas {
		return misconfigured("the server has %d connected replicas, and replicas is %d: "+
			"start a replica, or set replicas to %d and accept that a failover loses what was acknowledged",
			n, o.Replicas, n)
	}
	return nil
}

func firstPart(version string) string {
	first, _, _ := strings.Cut(version, ".")
	return first
}

// moved reports whether a server answered that it does not have the slot.
func moved(err error) bool {
	reply, ok := rueidis.IsRedisErr(err)
	if !ok {
		return false
	}
	_, moved := reply.IsMoved()
	_, ask := reply.IsAsk()
	return moved || ask
}
