package badgerstore

import (
	"encoding/binary"
	"errors"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// TestNonceSet: whatever the order in which nonces of several buckets come, come again, and are dropped, the set knows
// what a map would know, and counts what each consumer has.
func TestNonceSet(t *testing.T) {
	const buckets, consumers = 4, 3
	random := rand.New(rand.NewPCG(1, 2))
	s := newNonceSet(math.MaxInt)
	var floor atomic.Int64
	floor.Store(none)
	type nonce struct {
		bucket int32
		number uint64
	}
	used := make(map[nonce]consumerID)
	for i := range 200_000 {
		if i%50_000 == 49_999 {
			over := int32(random.IntN(buckets))
			s.drop(over)
			for n := range used {
				if n.bucket == over {
					delete(used, n)
				}
			}
		}
		n := nonce{int32(random.IntN(buckets)), random.Uint64N(40_000)}
		l := loggedNonce{bucket: n.bucket, consumer: consumerID(n.number % consumers), expires: uint32(i)}
		binary.LittleEndian.PutUint64(l.digest[:], n.number*0x9e3779b97f4a7c15)
		binary.LittleEndian.PutUint32(l.digest[8:], uint32(n.number))
		_, again := used[n]
		switch err := s.use(&l, 0, &floor); {
		case again && !errors.Is(err, tokenstore.ErrNonceUsed):
			t.Fatalf("%+v a second time: %v", n, err)
		case !again && err != nil:
			t.Fatalf("%+v: %v", n, err)
		}
		used[n] = l.consumer
	}
	for id := range consumerID(consumers) {
		want := int64(0)
		for _, consumer := range used {
			if consumer == id {
				want++
			}
		}
		if c := s.consumers[id].counts[id]; c.live.Load() != want {
			t.Errorf("consumer %d has %d nonces, counted as %d", id, want, c.live.Load())
		}
	}
	want := make(map[int32]bool)
	for n := range used {
		want[n.bucket] = true
	}
	if got := s.buckets(); len(got) != len(want) {
		t.Errorf("%d buckets, want %d", len(got), len(want))
	}
	for i := range s.shards {
		for _, table := range slices.AppendSeq([]nonceTable{s.shards[i].last}, maps.Values(s.shards[i].others)) {
			if n := len(table.entries); n > 8 && 2*table.used < n {
				t.Errorf("shard %d: %d nonces in %d places", i, table.used, n)
			}
		}
	}
}
