package caddymodule

import (
	"hash/maphash"
	"math/bits"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
)

// seenNonces remembers when the latest nonces were used, and from which address, to explain why
// others are refused. It holds hashes only, has a fixed size, and takes no lock: each forwarded
// request writes to it. The store alone decides whether a nonce was used.
type seenNonces struct {
	seed  maphash.Seed
	slots [1 << 13]seenNonce
}

// seenNonce is a hash and a value. The first word is both of them combined: a reader that sees the
// words of two writers finds neither.
type seenNonce struct{ mixed, value atomic.Uint64 }

func newSeenNonces() *seenNonces { return &seenNonces{seed: maphash.MakeSeed()} }

func (n *seenNonces) hash(p *oauth1.Params) uint64 {
	var sum uint64
	for _, text := range [...]string{p.ConsumerKey, p.Token, p.Timestamp, p.Nonce} {
		sum = bits.RotateLeft64(sum, 17) ^ maphash.String(n.seed, text)
	}
	return sum
}

// address returns a hash of a client's address without its port, if it has one. It looks before it
// splits, because the error for an address without a port is an allocation.
func (n *seenNonces) address(client string) uint32 {
	if strings.HasPrefix(client, "[") || strings.Count(client, ":") == 1 {
		if host, _, err := net.SplitHostPort(client); err == nil {
			client = host
		}
	}
	return uint32(maphash.String(n.seed, client))
}

// note remembers a nonce that was used.
func (n *seenNonces) note(p *oauth1.Params, client string, now time.Time) {
	sum := n.hash(p)
	value := uint64(uint32(now.Unix()))<<32 | uint64(n.address(client))
	slot := &n.slots[sum%uint64(len(n.slots))]
	slot.value.Store(value)
	slot.mixed.Store(sum ^ value)
}

// find returns when the nonce was used, and whether from the same address. The time is zero if that
// is not known.
func (n *seenNonces) find(p *oauth1.Params, client string) (used time.Time, same bool) {
	sum := n.hash(p)
	slot := &n.slots[sum%uint64(len(n.slots))]
	value := slot.value.Load()
	if slot.mixed.Load()^value != sum {
		return time.Time{}, false
	}
	return time.Unix(int64(value>>32), 0), uint32(value) == n.address(client)
}
