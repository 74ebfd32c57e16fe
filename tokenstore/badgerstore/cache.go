package badgerstore

import (
	"hash/maphash"
	"sync"
	"sync/atomic"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

const (
	cacheShards = 64
	// cacheBytes is about how much memory the records of a kind may take: some 120,000 access
	// tokens.
	cacheBytes = 64 << 20
	// cacheOverhead is how many bytes a record takes beyond its strings.
	cacheOverhead = 320
)

// A cache holds decoded records. Every write removes or replaces its record in the cache after the
// commit and before it returns, so no call sees a record from before a write that was acknowledged.
type cache[T any] struct {
	seed   maphash.Seed
	limit  int // bytes of a shard
	shards [cacheShards]cacheShard[T]
}

type cacheShard[T any] struct {
	mu      sync.RWMutex
	records map[string]*cached[T]
	bytes   int
	// ring holds the same records. The hand goes round and evicts those that were not used since it
	// passed.
	ring []*cached[T]
	hand int
	// version counts writes. A record that was read from disk before a write may be older than it,
	// and is not kept.
	version uint64
	// hits and misses count what find returned.
	hits, misses atomic.Uint64
	_            [64]byte
}

type cached[T any] struct {
	record T
	key    string
	size   int
	place  int // in the ring
	used   atomic.Bool
}

func newCache[T any](limit int) *cache[T] {
	c := &cache[T]{seed: maphash.MakeSeed(), limit: limit / cacheShards}
	for i := range c.shards {
		c.shards[i].records = make(map[string]*cached[T])
	}
	return c
}

func (c *cache[T]) shard(key string) *cacheShard[T] {
	return &c.shards[maphash.String(c.seed, key)%cacheShards]
}

// find is get for a request, which is counted.
func (c *cache[T]) find(key string) (*T, uint64) {
	s := c.shard(key)
	record, version := s.get(key)
	if record != nil {
		s.hits.Add(1)
	} else {
		s.misses.Add(1)
	}
	return record, version
}

// use returns how often find found a record, and how often not.
func (c *cache[T]) use(name string) tokenstore.CacheUse {
	use := tokenstore.CacheUse{Name: name}
	for i := range c.shards {
		use.Hits += c.shards[i].hits.Load()
		use.Misses += c.shards[i].misses.Load()
	}
	return use
}

// get returns the record, or nil and the version to give to fill.
func (c *cache[T]) get(key string) (*T, uint64) { return c.shard(key).get(key) }

func (s *cacheShard[T]) get(key string) (*T, uint64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	r := s.records[key]
	if r == nil {
		return nil, s.version
	}
	if !r.used.Load() { // most are set already, and memory that is only read stays in the caches of all processors
		r.used.Store(true)
	}
	return &r.record, s.version
}

// fill keeps a record that was read after get returned the version. size is what it takes on disk.
// The key is kept, too: it should be the record's own, not a part of a longer string, which would
// stay in memory.
func (c *cache[T]) fill(key string, record *T, size int, version uint64) {
	size += len(key) + cacheOverhead
	s := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.version == version {
		c.keep(s, key, record, size)
	}
}

// replace replaces a record that is in the cache by what was written.
func (c *cache[T]) replace(key string, record *T, size int) {
	size += len(key) + cacheOverhead
	s := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	if _, ok := s.records[key]; ok {
		c.keep(s, key, record, size)
	}
}

// keep makes room for a record in its shard, whose lock is held, and adds it.
func (c *cache[T]) keep(s *cacheShard[T], key string, record *T, size int) {
	s.drop(key)
	if size > c.limit/4 {
		return
	}
	for s.bytes+size > c.limit {
		s.evict()
	}
	r := &cached[T]{record: *record, key: key, size: size, place: len(s.ring)}
	s.records[key] = r
	s.ring = append(s.ring, r)
	s.bytes += size
}

// evict drops one record. There must be one.
func (s *cacheShard[T]) evict() {
	for evicted := false; !evicted; s.hand++ {
		if s.hand >= len(s.ring) {
			s.hand = 0
		}
		// The newest record takes the place of the evicted one, and the hand skips it.
		if r := s.ring[s.hand]; !r.used.Swap(false) {
			s.drop(r.key)
			evicted = true
		}
	}
}

func (s *cacheShard[T]) drop(key string) {
	r := s.records[key]
	if r == nil {
		return
	}
	last := s.ring[len(s.ring)-1]
	s.ring[r.place], last.place = last, r.place
	s.ring[len(s.ring)-1] = nil
	s.ring = s.ring[:len(s.ring)-1]
	s.bytes -= r.size
	delete(s.records, key)
}

func (c *cache[T]) remove(key string) {
	s := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	s.drop(key)
}
