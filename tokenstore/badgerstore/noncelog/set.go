package noncelog

import (
	"encoding/binary"
	"math"
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

const (
	// With setShards shards and millions of nonces, a table grows in much less than a millisecond.
	setShards   = 256
	countShards = 256
	// noBucket is below all buckets.
	noBucket = math.MinInt32
	// Dropping droppedAtOnce nonces takes a fifth of a millisecond.
	droppedAtOnce = 4096
)

// A set holds the used nonces, and how many each consumer and each of its tokens has. A nonce takes
// 16 bytes, in a table that is at least half full.
type set struct {
	limit  int64 // nonces of one consumer
	shards [setShards]setShard
	// The counts have shards of their own, since the nonces of one consumer are in all shards. The
	// counts of one consumer's tokens are in all their shards too: there may be many.
	tokens    [countShards]tokenShard
	consumers [countShards]consumerShard
}

// A setShard holds the nonces of a part of all digests, in a table for each bucket. The table that
// was used last is in the shard itself, which saves a cache miss: most requests have timestamps of
// the same minute.
type setShard struct {
	mu     sync.Mutex
	last   table
	others map[int32]table // by bucket
	_      [64]byte
}

// A table is a set with open addressing and linear probing.
type table struct {
	entries []entry // nil: there is no such table
	used    int
	bucket  int32
	expires uint32 // the last one, in seconds since 1970
}

// An entry has no pointer, so that the garbage collector skips tables.
type entry struct {
	a      uint64
	b      uint32
	holder uint32 // tokenCount.ref; 0 is an entry that is free
}

// A holder has nonces: it is a token of a consumer, or the consumer itself if the token is 0. It is
// one number, since maps with integer keys are the fastest.
type holder uint64

func newHolder(consumer consumerID, token tokenID) holder {
	return holder(uint64(consumer)&(1<<consumerBits-1) | uint64(token)<<consumerBits)
}

func (h holder) consumer() consumerID { return consumerID(h & (1<<consumerBits - 1)) }

func (h holder) shard() uint32 { return uint32(h^h>>consumerBits) % countShards }

// A tokenShard counts the nonces of some holders.
type tokenShard struct {
	mu     sync.RWMutex
	counts map[holder]*tokenCount
	byRef  []*tokenCount
	free   []uint32
	_      [64]byte
}

// A tokenCount is the count of a holder. It may be dropped when it is 0.
type tokenCount struct {
	live     atomic.Int64
	consumer *consumerCount
	ref      uint32 // never 0: its number in the shard, and the shard
}

// A consumerShard counts the nonces of some consumers. Its lock is taken below a tokenShard's.
type consumerShard struct {
	mu     sync.Mutex
	counts map[consumerID]*consumerCount
	_      [64]byte
}

// A consumerCount is the sum of its holders' counts. It is dropped with the last of them.
type consumerCount struct {
	live    atomic.Int64
	holders int // below the shard's lock
}

func newSet(limit int) *set {
	s := &set{limit: int64(limit)}
	for i := range s.shards {
		s.shards[i].others = make(map[int32]table)
	}
	for i := range s.tokens {
		s.tokens[i].counts = make(map[holder]*tokenCount)
		s.consumers[i].counts = make(map[consumerID]*consumerCount)
	}
	return s
}

// use adds the nonce, unless its timestamp is below the floor, or it is in the set, or its consumer
// or its token has too many. A token may have as many as its consumer has left. So one token leaves
// half of the limit to the others, and n tokens together leave 1/(n+1). The consumer's requests to
// the endpoints have a share of their own.
func (s *set) use(n *loggedNonce, floor *atomic.Int64) error {
	// The counts rise before the nonce is looked up. So a consumer with room for one more, that
	// sends the same nonce twice at the same time, may get the error that there is no room.
	count, live, consumerLive := s.acquire(newHolder(n.consumer, n.token))
	e := entry{
		a:      binary.LittleEndian.Uint64(n.digest[:]),
		b:      binary.LittleEndian.Uint32(n.digest[8:]),
		holder: count.ref,
	}
	shard := &s.shards[e.a%setShards]
	bucket := n.bucket()
	shard.mu.Lock()
	err := error(nil)
	t := shard.table(bucket)
	var tokenFull error
	switch {
	case n.token == endpointID && live > max(s.limit/tokenstore.EndpointShare, 1):
		tokenFull = tokenstore.ErrEndpointNoncesFull
	case n.token != 0 && n.token != endpointID && live+consumerLive-1 > s.limit:
		// live-1 were not fewer than limit-(consumerLive-1)
		tokenFull = tokenstore.ErrTokenNoncesFull
	}
	switch {
	case int64(n.timestamp) < floor.Load():
		// Under the lock: buckets below the floor are dropped after it was raised.
		err = tokenstore.ErrNonceForgotten
	case consumerLive > s.limit || tokenFull != nil:
		err = tokenstore.ErrNoncesFull
		if consumerLive <= s.limit {
			err = tokenFull
		}
		if t != nil && t.entries[t.find(e)].holder != 0 {
			err = tokenstore.ErrNonceUsed
		}
	default:
		if t == nil {
			t = shard.put(table{entries: make([]entry, 8), bucket: bucket})
		}
		if !t.add(e) {
			err = tokenstore.ErrNonceUsed
			break
		}
		t.expires = max(t.expires, n.bucketExpires())
	}
	shard.mu.Unlock()
	if err != nil {
		count.release()
	}
	return err
}

// table returns the table of the bucket, and moves it to last; nil if there is none.
func (s *setShard) table(bucket int32) *table {
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

// put moves a table to last, which must not be in others, and returns its place.
func (s *setShard) put(t table) *table {
	if s.last.entries != nil {
		s.others[s.last.bucket] = s.last
	}
	s.last = t
	return &s.last
}

// take takes the table of a bucket out of the shard.
func (s *setShard) take(bucket int32) (taken table) {
	if t := s.table(bucket); t != nil {
		taken, *t = *t, table{}
	}
	return taken
}

// find returns the place of the entry, or the free place for it. Shards are chosen by the digest's
// last bits, places by its first.
func (t *table) find(e entry) int {
	place, _ := bits.Mul64(e.a, uint64(len(t.entries)))
	i := int(place)
	for t.entries[i].holder != 0 && (t.entries[i].a != e.a || t.entries[i].b != e.b) {
		if i++; i == len(t.entries) {
			i = 0
		}
	}
	return i
}

func (t *table) add(e entry) bool {
	i := t.find(e)
	if t.entries[i].holder != 0 {
		return false
	}
	if 4*(t.used+1) > 3*len(t.entries) {
		old := t.entries
		t.entries = make([]entry, len(old)+len(old)/2)
		for _, o := range old {
			if o.holder != 0 {
				t.entries[t.find(o)] = o
			}
		}
		i = t.find(e)
	}
	t.entries[i] = e
	t.used++
	return true
}

// acquire counts one nonce more, and returns the counts with it, of the holder and of its consumer.
func (s *set) acquire(h holder) (c *tokenCount, live, consumerLive int64) {
	shard := &s.tokens[h.shard()]
	shard.mu.RLock()
	if c = shard.counts[h]; c != nil {
		live = c.live.Add(1) // under the lock: a count of 0 may be dropped
	}
	shard.mu.RUnlock()
	if c != nil {
		return c, live, c.consumer.live.Add(1)
	}
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if c = shard.counts[h]; c == nil {
		c = &tokenCount{consumer: s.consumers[h.consumer()%countShards].hold(h.consumer())}
		number := uint32(len(shard.byRef))
		if n := len(shard.free); n > 0 {
			number, shard.free = shard.free[n-1], shard.free[:n-1]
			shard.byRef[number] = c
		} else {
			shard.byRef = append(shard.byRef, c)
		}
		c.ref = (number+1)*countShards + h.shard()
		shard.counts[h] = c
	}
	return c, c.live.Add(1), c.consumer.live.Add(1)
}

// release takes a nonce from the counts, the holder's last: at 0 it may be dropped.
func (c *tokenCount) release() {
	c.consumer.live.Add(-1)
	c.live.Add(-1)
}

// hold returns the consumer's count, and counts one holder more.
func (s *consumerShard) hold(id consumerID) *consumerCount {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.counts[id]
	if c == nil {
		c = new(consumerCount)
		s.counts[id] = c
	}
	c.holders++
	return c
}

func (s *consumerShard) letGo(id consumerID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.counts[id]
	if c.holders--; c.holders == 0 {
		delete(s.counts, id)
	}
}

// drop forgets a bucket that is below the floor.
func (s *set) drop(bucket int32) {
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
	for i := range s.tokens {
		if s.forget(&s.tokens[i]) >= droppedAtOnce {
			rest()
		}
	}
}

// release takes the nonces of a table, which was taken out of its shard, from the counts.
func (s *set) release(t *table) {
	for _, e := range t.entries {
		if e.holder == 0 {
			continue
		}
		shard := &s.tokens[e.holder%countShards]
		shard.mu.RLock()
		shard.byRef[e.holder/countShards-1].release()
		shard.mu.RUnlock()
	}
}

// forget drops the counts of holders without a nonce, and returns how many counts there were.
func (s *set) forget(shard *tokenShard) int {
	shard.mu.Lock()
	defer shard.mu.Unlock()
	looked := len(shard.counts)
	for h, c := range shard.counts {
		if c.live.Load() == 0 {
			number := c.ref/countShards - 1
			delete(shard.counts, h)
			shard.byRef[number] = nil
			shard.free = append(shard.free, number)
			s.consumers[h.consumer()%countShards].letGo(h.consumer())
		}
	}
	return looked
}

// buckets returns when the last nonce of each bucket expires.
func (s *set) buckets() map[int32]uint32 {
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

// live returns how many nonces are remembered, and how many the consumer has that has most.
func (s *set) live() (all, most int64) {
	for i := range s.consumers {
		shard := &s.consumers[i]
		shard.mu.Lock()
		for _, c := range shard.counts {
			n := c.live.Load()
			all, most = all+n, max(most, n)
		}
		shard.mu.Unlock()
	}
	return all, most
}
