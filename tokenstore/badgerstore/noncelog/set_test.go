package noncelog

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

// TestNonceSet: nonces of several buckets are added, repeated and dropped in any order. The set has
// the same content as a map, and counts the nonces of each consumer.
func TestNonceSet(t *testing.T) {
	const buckets, consumers = 4, 3
	random := rand.New(rand.NewPCG(1, 2))
	s := newSet(math.MaxInt)
	var floor atomic.Int64
	floor.Store(none)
	type nonce struct {
		bucket int32
		number uint64
	}
	used := make(map[nonce]holder)
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
		l := loggedNonce{timestamp: uint32(n.bucket) * bucketSeconds, expires: uint32(i),
			consumer: consumerID(n.number % consumers), token: tokenID(n.number % 5)}
		binary.LittleEndian.PutUint64(l.digest[:], n.number*0x9e3779b97f4a7c15)
		binary.LittleEndian.PutUint32(l.digest[8:], uint32(n.number))
		_, again := used[n]
		switch err := s.use(&l, &floor); {
		case again && !errors.Is(err, tokenstore.ErrNonceUsed):
			t.Fatalf("%+v a second time: %v", n, err)
		case !again && err != nil:
			t.Fatalf("%+v: %v", n, err)
		}
		used[n] = newHolder(l.consumer, l.token)
	}
	holders, sums := make(map[holder]int64), make(map[consumerID]int64)
	for _, h := range used {
		holders[h]++
		sums[h.consumer()]++
	}
	for h, want := range holders {
		if c := s.tokens[h.shard()].counts[h]; c.live.Load() != want {
			t.Errorf("%+v has %d nonces, counted as %d", h, want, c.live.Load())
		}
	}
	for id, want := range sums {
		if c := s.consumers[id%countShards].counts[id]; c.live.Load() != want || c.holders != 5 {
			t.Errorf("consumer %d has %d nonces, counted as %d of %d holders", id, want, c.live.Load(), c.holders)
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
		for _, table := range slices.AppendSeq([]table{s.shards[i].last}, maps.Values(s.shards[i].others)) {
			if n := len(table.entries); n > 8 && 2*table.used < n {
				t.Errorf("shard %d: %d nonces in %d places", i, table.used, n)
			}
		}
	}
}

// TestShareOfAToken: a token may have as many nonces as its consumer has left. Forgotten nonces
// give back both.
func TestShareOfAToken(t *testing.T) {
	const limit = 120
	for tokens, want := range map[int]int{1: 60, 2: 40, 3: 30, 5: 20} {
		s := newSet(limit)
		var floor atomic.Int64
		digest := uint64(0)
		use := func(token tokenID, bucket int32) error {
			digest++
			n := loggedNonce{consumer: 1, token: token, timestamp: uint32(bucket) * bucketSeconds}
			binary.LittleEndian.PutUint64(n.digest[:], digest*0x9e3779b97f4a7c15)
			return s.use(&n, &floor)
		}
		fill := func(bucket int32) (got int) {
			for refused := 0; refused < tokens; {
				refused = 0
				for token := range tokens {
					err := use(tokenID(token+1), bucket)
					switch {
					case err == nil:
						got++
					case errors.Is(err, tokenstore.ErrTokenNoncesFull) && errors.Is(err, tokenstore.ErrNoncesFull):
						refused++
					default:
						t.Fatal(err)
					}
				}
			}
			return got
		}
		if got := fill(1); got != tokens*want {
			t.Errorf("%d greedy tokens got %d nonces of %d, want %d each", tokens, got, limit, want)
		}
		if err := use(99, 2); err != nil {
			t.Errorf("beside %d greedy tokens: %v", tokens, err)
		}
		s.drop(2)
		for range limit - tokens*want { // a request without a token counts for the consumer itself
			if err := use(0, 2); err != nil {
				t.Fatal(err)
			}
		}
		if err := use(0, 2); !errors.Is(err, tokenstore.ErrNoncesFull) || errors.Is(err, tokenstore.ErrTokenNoncesFull) {
			t.Errorf("a full consumer: got %v", err)
		}
		s.drop(1)
		s.drop(2)
		for i := range s.tokens {
			if len(s.tokens[i].counts)+len(s.consumers[i].counts) > 0 {
				t.Errorf("shard %d still counts %v, %v", i, s.tokens[i].counts, s.consumers[i].counts)
			}
		}
		if got := fill(3); got != tokens*want {
			t.Errorf("after all was forgotten %d greedy tokens got %d nonces", tokens, got)
		}
	}
}
