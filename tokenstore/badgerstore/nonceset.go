package badgerstore

import (
	"encoding/binary"
	"math"
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

const (
	// nonceShards is so large that a shard's table grows in well below a millisecond with millions of nonces.
	nonceShards    = 256
	consumerShards = 64
	// noBucket is below all buckets.
	noBucket = math.MinInt32
	// droppedAtOnce nonces are dropped in a fifth of a millisecond.
	droppedAtOnce = 4096
)

// A nonceSet knows the nonces that are used, and how many each consumer has. A nonce takes 16 bytes in a table that is
// at least half full.
type nonceSet struct {
	limit  int64 // nonces of one consumer
	shards [nonceShards]nonceShard
	// consumers stand by themselves, so that the nonces of one are in all shards.
	consumers [consumerShards]consumerShard
}

// A nonceShard holds the nonces whose digests begin alike, in a table for each bucket. The last one that was asked for
// lies in the shard itself: requests come with timestamps of the same minute, and each of them finds the processor's
// caches full of other things.
type nonceShard struct {
	mu     sync.Mutex
	last   nonceTable
	others map[int32]nonceTable // by bucket
	_      [64]byte
}

// A nonceTable is a set with open addressing and linear probing.
type nonceTable struct {
	entries []nonceEntry // none: there is no such table
	used    int
	bucket  int32
	expires uint32 // the last one, in seconds since 1970
}

// A nonceEntry has no pointer, so the garbage collector passes it by.
type nonceEntry struct {
	a        uint64
	b        uint32
	consumer uint32 // what nonceCount says; 0 is an entry that is free
}

// A consumerShard counts the nonces of some consumers.
type consumerShard struct {
	mu     sync.RWMutex
	counts map[consumerID]*nonceCount
	byRef  []*nonceCount
	free   []uint32
	_      [64]byte
}

// A nonceCount is a consumer's. It may be forgotten when no nonce is live.
type nonceCount struct {
	live atomic.Int64
	id   consumerID
	ref  uint32 // never 0: its number in the shard, and the shard
}

func newNonceSet(limit int) *nonceSet {
	s := &nonceSet{limit: int64(limit)}
	for i := range s.shards {
		s.shards[i].others = make(map[int32]nonceTable)
	}
	for i := range s.consumers {
		s.consumers[i].counts = make(map[consumerID]*nonceCount)
	}
	return s
}

// use adds the nonce, unless its timestamp is below the floor, or it is there, or its consumer has too many.
func (s *nonceSet) use(n *loggedNonce, timestamp int64, floor *atomic.Int64) error {
	// The count goes up before anybody looks whether the nonce is new. So a consumer that sends one nonce twice at
	// the same time, with room for one more, may hear that there is none.
	count, live := s.acquire(n.consumer)
	e := nonceEntry{a: binary.LittleEndian.Uint64(n.digest[:]), b: binary.LittleEndian.Uint32(n.digest[8:]), consumer: count.ref}
	shard := &s.shards[e.a%nonceShards]
	shard.mu.Lock()
	err := error(nil)
	t := shard.table(n.bucket)
	switch {
	case timestamp < floor.Load(): // under the lock: what is below the floor is dropped after it was raised
		err = tokenstore.ErrNonceForgotten
	case live > s.limit:
		err = tokenstore.ErrNoncesFull
		if t != nil && t.entries[t.find(e)].consumer != 0 {
			err = tokenstore.ErrNonceUsed
		}
	default:
		if t == nil {
			t = shard.put(nonceTable{entries: make([]nonceEntry, 8), bucket: n.bucket})
		}
		if !t.add(e) {
			err = tokenstore.ErrNonceUsed
			break
		}
		t.expires = max(t.expires, n.expires)
	}
	shard.mu.Unlock()
	if err != nil {
		count.live.Add(-1)
	}
	return err
}

// table returns the table for the bucket, which is the last one from then on; nil where there is none.
func (s *nonceShard) table(bucket int32) *nonceTable {
	if s.last.bucket == bucket && s.last.entries != nil {
		return &s.last
	}
	t, ok := s.others[bucket]
	if !ok {
		return nil
	}
	delete(s.others, bucket)
	return s.put(t)
}

// put makes a table that is not among the others the last one, and returns where it is.
func (s *nonceShard) put(t nonceTable) *nonceTable {
	if s.last.entries != nil {
		s.others[s.last.bucket] = s.last
	}
	s.last = t
	return &s.last
}

// take takes the table of a bucket out of the shard.
func (s *nonceShard) take(bucket int32) (taken nonceTable) {
	if t := s.table(bucket); t != nil {
		taken, *t = *t, nonceTable{}
	}
	return taken
}

// find returns where the entry is, or where it would be. Shards go by the digest's last bits, places by its first.
func (t *nonceTable) find(e nonceEntry) int {
	place, _ := bits.Mul64(e.a, uint64(len(t.entries)))
	i := int(place)
	for t.entries[i].consumer != 0 && (t.entries[i].a != e.a || t.entries[i].b != e.b) {
		if i++; i == len(t.entries) {
			i = 0
		}
	}
	return i
}

func (t *nonceTable) add(e nonceEntry) bool {
	i := t.find(e)
	if t.entries[i].consumer != 0 {
		return false
	}
	if 4*(t.used+1) > 3*len(t.entries) {
		old := t.entries
		t.entries = make([]nonceEntry, len(old)+len(old)/2)
		for _, o := range old {
			if o.consumer != 0 {
				t.entries[t.find(o)] = o
			}
		}
		i = t.find(e)
	}
	t.entries[i] = e
	t.used++
	return true
}

// acquire counts one nonce more, and returns how many there are with it.
func (s *nonceSet) acquire(id consumerID) (c *nonceCount, live int64) {
	shard := &s.consumers[id%consumerShards]
	shard.mu.RLock()
	if c = shard.counts[id]; c != nil {
		live = c.live.Add(1) // under the lock: who has none may be forgotten
	}
	shard.mu.RUnlock()
	if c != nil {
		return c, live
	}
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if c = shard.counts[id]; c == nil {
		c = &nonceCount{id: id}
		number := uint32(len(shard.byRef))
		if n := len(shard.free); n > 0 {
			number, shard.free = shard.free[n-1], shard.free[:n-1]
			shard.byRef[number] = c
		} else {
			shard.byRef = append(shard.byRef, c)
		}
		c.ref = (number+1)*consumerShards + uint32(id%consumerShards)
		shard.counts[id] = c
	}
	return c, c.live.Add(1)
}

// drop forgets a bucket that is below the floor.
func (s *nonceSet) drop(bucket int32) {
	dropped := 0
	for i := range s.shards {
		shard := &s.shards[i]
		shard.mu.Lock()
		t := shard.take(bucket)
		shard.mu.Unlock()
		s.release(&t)
		if dropped += t.used; dropped >= droppedAtOnce {
			dropped = 0
			rest()
		}
	}
	for i := range s.consumers {
		s.consumers[i].forget()
	}
}

// release takes the nonces of a table, which nobody else has any more, from the counts.
func (s *nonceSet) release(t *nonceTable) {
	for _, e := range t.entries {
		if e.consumer == 0 {
			continue
		}
		shard := &s.consumers[e.consumer%consumerShards]
		shard.mu.RLock()
		shard.byRef[e.consumer/consumerShards-1].live.Add(-1)
		shard.mu.RUnlock()
	}
}

func (s *consumerShard) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, c := range s.counts {
		if c.live.Load() == 0 {
			number := c.ref/consumerShards - 1
			delete(s.counts, id)
			s.byRef[number] = nil
			s.free = append(s.free, number)
		}
	}
}

// buckets returns when the last nonce of each bucket expires.
func (s *nonceSet) buckets() map[int32]uint32 {
	expires := make(map[int32]uint32)
	for i := range s.shards {
		shard := &s.shards[i]
		shard.mu.Lock()
		if t := &shard.last; t.entries != nil {
			expires[t.bucket] = max(expires[t.bucket], t.expires)
		}
		for number, t := range shard.others {
			expires[number] = max(expires[number], t.expires)
		}
		shard.mu.Unlock()
	}
	return expires
}
