package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/adminapi"
)

// redisPeers are the peers of -redis, in the order of the table. The first is the baseline.
var redisPeers = []peer{
	peers[0],
	peers[1],
	{"oauth1", "oauth1, HMAC-SHA256, Badger", true, startOAuth1("oauth1", "sync off", "HMAC-SHA256")},
	{"oauth1-redis", "oauth1, HMAC-SHA256, one Redis server", true, startOAuth1Redis("oauth1-redis", oneServer)},
	{"oauth1-redis-cluster", "oauth1, HMAC-SHA256, Redis Cluster (3 + 3)", true, startOAuth1Redis("oauth1-redis-cluster", threeShards)},
	{"forward_auth-redis", "forward_auth to a Go OAuth 1 verifier, nonces in Redis", false, startForwardAuthRedis},
}

// A topology is a number of masters, and of replicas of each. More than one master are a Cluster.
type topology struct{ masters, replicas int }

var (
	oneServer   = topology{1, 0}
	threeShards = topology{3, 1}
)

// redisServers are running servers.
type redisServers struct {
	topology
	processes []*process
	addresses []string
}

// redisConfiguration is that which docs/replicas.md recommends.
var redisConfiguration = []string{
	"--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--appendfsync", "everysec",
	"--maxmemory-policy", "noeviction", "--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0",
}

// startRedis starts servers, with a name for their folders.
func (l *lab) startRedis(name string, shape topology) (*redisServers, error) {
	for _, program := range []string{"redis-server", "redis-cli"} {
		if _, err := exec.LookPath(program); err != nil {
			return nil, errMissing(fmt.Sprintf("%s is not installed (Debian: redis-server)", program))
		}
	}
	servers := &redisServers{topology: shape}
	for i := range shape.masters * (1 + shape.replicas) {
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		arguments := append([]string{"--port", port}, redisConfiguration...)
		if shape.masters > 1 {
			bus, err := freePort()
			if err != nil {
				return nil, err
			}
			arguments = append(arguments, "--cluster-enabled", "yes", "--cluster-port", bus)
		}
		p, err := l.start(fmt.Sprintf("%s-server-%d", name, i), nil, "redis-server", arguments...)
		if err != nil {
			return nil, err
		}
		address := "127.0.0.1:" + port
		if err := l.await(p, address); err != nil {
			return nil, err
		}
		servers.processes = append(servers.processes, p)
		servers.addresses = append(servers.addresses, address)
	}
	if shape.masters > 1 {
		return servers, l.joinCluster(servers)
	}
	return servers, nil
}

// joinCluster makes a Cluster of servers, and returns when all of them serve it.
func (l *lab) joinCluster(servers *redisServers) error {
	arguments := append([]string{"--cluster", "create"}, servers.addresses...)
	arguments = append(arguments, "--cluster-replicas", fmt.Sprint(servers.replicas), "--cluster-yes")
	if out, err := exec.CommandContext(l.ctx, "redis-cli", arguments...).CombinedOutput(); err != nil {
		return fmt.Errorf("redis-cli --cluster create: %w\n%s", err, out)
	}
	for i, address := range servers.addresses {
		if err := l.until(servers.processes[i], func() error { return l.serves(address, servers.replicas) }); err != nil {
			return err
		}
	}
	return nil
}

// serves returns what is missing until a server of a Cluster serves it with its replicas, or as one.
func (l *lab) serves(address string, replicas int) error {
	host, port, _ := strings.Cut(address, ":")
	ask := func(command ...string) (string, error) {
		out, err := exec.CommandContext(l.ctx, "redis-cli", append([]string{"-h", host, "-p", port}, command...)...).Output()
		return string(out), err
	}
	state, err1 := ask("CLUSTER", "INFO")
	role, err2 := ask("INFO", "replication")
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	linked := strings.Contains(role, "master_link_status:up") || strings.Contains(role, fmt.Sprintf("connected_slaves:%d\r", replicas))
	if !strings.Contains(state, "cluster_state:ok") || !linked || strings.Contains(role, "state=wait_bgsave") {
		return fmt.Errorf("redis-server at %s does not serve yet:\n%s%s", address, state, role)
	}
	return nil
}

// store is the Caddyfile's store on these servers. The timeout is the longest with the default lead:
// the machine is full, and a refusal would end the benchmark.
func (servers *redisServers) store() string {
	return fmt.Sprintf("redis {\n\t\t\taddress %s\n\t\t\treplicas %d\n\t\t\ttimeout 1250ms\n\t\t}",
		strings.Join(servers.addresses, " "), servers.replicas)
}

func startOAuth1Redis(name string, shape topology) func(*lab) (*target, error) {
	return func(l *lab) (*target, error) {
		servers, err := l.startRedis(name, shape)
		if err != nil {
			return nil, err
		}
		return l.startOAuth1On(name, servers, site{app: anyApp, before: directive}, l.tokens)
	}
}

// startOAuth1On starts a sidecar on servers that hold nothing yet, and creates the consumers and
// tokens.
func (l *lab) startOAuth1On(name string, servers *redisServers, s site, tokens int) (*target, error) {
	s.redis = servers
	t, err := l.startCaddy(name, s, signed("HMAC-SHA256"))
	if err != nil {
		return nil, err
	}
	t.beside = servers.processes
	if err := l.awaitFloor(t); err != nil {
		return nil, err
	}
	return t, t.introduce(tokens, nil)
}

// awaitFloor returns when new servers take writes in every slice of the data: they refuse them for
// lead and a second, as after a failover.
func (l *lab) awaitFloor(t *target) error {
	const slices = 64
	for i := range 8 * slices { // with so many consumers, hardly a slice is left out
		consumer := adminapi.NewConsumer{Key: credentialText('f', i, 20)}
		if err := l.until(t.proxy[0], func() error {
			err := t.callAdmin(http.MethodPost, adminapi.ConsumersPath, consumer)
			var refused *adminapi.Error
			if errors.As(err, &refused) && refused.Status == http.StatusConflict {
				return nil // an earlier attempt was not acknowledged
			}
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}

// startForwardAuthRedis has the same verifier as forward_auth-go, whose nonces are keys of Redis.
func startForwardAuthRedis(l *lab) (*target, error) {
	servers, err := l.startRedis("forward_auth-redis", oneServer)
	if err != nil {
		return nil, err
	}
	p, addr, err := l.startRole("verify-redis", fmt.Sprint(l.tokens), servers.addresses[0])
	if err != nil {
		return nil, err
	}
	t, err := l.startCaddy("forward_auth-redis", site{before: forwardAuth(addr)}, signed("HMAC-SHA256"))
	if err != nil {
		return nil, err
	}
	t.beside = append([]*process{p}, servers.processes...)
	return t, nil
}

// redisNonces remembers nonces as such verifiers do it: a key for each, set if it is absent, which
// goes away by itself. The floor and the lease of package redisstore are missing here, so a failover
// forgets nonces.
type redisNonces struct{ client rueidis.Client }

func newRedisNonces(address string) (*redisNonces, error) {
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{address}, DisableCache: true})
	return &redisNonces{client}, err
}

func (n *redisNonces) use(nonce string, timestamp, now int64) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	left := time.Duration(timestamp+window+1-now) * time.Second
	err := n.client.Do(ctx, n.client.B().Set().Key("nonce:"+nonce).Value("").Nx().Px(left).Build()).Error()
	if rueidis.IsRedisNil(err) {
		return errNonceUsed
	}
	return err
}
