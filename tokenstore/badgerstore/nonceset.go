package badgerstore

import (
	"encoding/binary"
	"math"
	"sync"
	"sync/atomic"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

const (
	// nonceShards is so large that a shard's table doubles in well below a millisecond with millions of nonces.
	nonceShards    = 256
	consumerShards = 64
	// noBucket is below all buckets.
	noBucket = math.MinInt32
)

// A nonceSet knows the nonces that are used, and how many each consumer has. A nonce takes 16 bytes in a table that is
// at least three eighths full.
type nonceSet struct {
	limit  int64 // nonces of one consumer
	shards [nonceShards]nonceShard
	// consumers stand by themselves, so that the nonces of one are in all shards.
	consumers [consumerShards]consumerShard
}

// A nonceShard holds the nonces whose digests begin alike.
type nonceShard struct {
	mu     sync.Mutex
	tables map[int32]*nonceTable // by bucket
	_      [64]byte
}

// A nonceTable is a set with open addressing and linear probing.
type nonceTable struct {
	entries []nonceEntry // as many as a power of two
	used    int
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
		s.shards[i].tables = make(map[int32]*nonceTable)
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
	t := shard.tables[n.bucket]
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
			t = &nonceTable{entries: make([]nonceEntry, 8)}
			shard.tables[n.bucket] = t
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

// find returns where the entry is, or where it would be.
func (t *nonceTable) find(e nonceEntry) uint64 {
	mask := uint64(len(t.entries) - 1)
	i := e.a / nonceShards & mask
	for t.entries[i].consumer != 0 && (t.entries[i].a != e.a || t.entries[i].b != e.b) {
		i = (i + 1) & mask
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
		t.entries = make([]nonceEntry, 2*len(old))
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
	for i := range s.shards {
		shard := &s.shards[i]
		shard.mu.Lock()
		t := shard.tables[bucket]
		delete(shard.tables, bucket)
		shard.mu.Unlock()
		if t != nil {
			s.release(t)
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
		for number, t := range shard.tables {
			expires[number] = max(expires[number], t.expires)
		}
		shard.mu.Unlock()
	}
	return expires
}
