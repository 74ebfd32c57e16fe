package faults

import (
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/redisstore/redislab"
)

var (
	onCluster = options{
		start: redislab.Cluster, servers: 6, replicas: 1, lead: 2 * time.Second,
		lab: redislab.Options{NodeTimeout: time.Second, Config: []string{"cluster-require-full-coverage no"}},
	}
	onSentinel = options{start: redislab.Sentinel, servers: 3, replicas: 1, lead: 2 * time.Second}
)

// TestToy shows that the faults bite: a store without a fence accepts nonces again.
func TestToy(t *testing.T) {
	for name, c := range map[string]struct {
		options
		nemeses []nemesis
	}{
		"Cluster":  {onCluster, []nemesis{cutReplication, restartEmpty}},
		"Sentinel": {onSentinel, []nemesis{cutMasterWithClients}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := c.options
			o.toy, o.onlyNonces = true, true
			x := newTrial(t, o)
			nonces, _ := x.run(c.nemeses)
			if len(nonces) == 0 {
				t.Error("no nonce was accepted again: the faults do no harm")
			}
		})
	}
}
