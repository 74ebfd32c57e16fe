package redisstore

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// A cache keeps what was read for at most a given time: so long may a replica that is cut off from
// the servers believe it. It has two generations, and forgets the older one when the newer one is
// full of age. So it holds no more than what was used in twice that time.
type cache[T any] struct {
	maxAge func() time.Duration
	shards [16]cacheShard[T]
	// hits and misses count what find returned.
	hits, misses atomic.Uint64
}

type cacheShard[T any] struct {
	mu             sync.RWMutex
	current, older map[string]*cached[T]
	since          time.Time
	// drops counts what was dropped. Something that was read before a drop is not kept after it.
	drops uint64
}

// cached is a record and when it was asked for.
type cached[T any] struct {
	*stored[T]
	sliceRevision string
	at            time.Time
}

func newCache[T any](maxAge func() time.Duration) *cache[T] { return &cache[T]{maxAge: maxAge} }

func (c *cache[T]) shard(key string) *cacheShard[T] {
	return &c.shards[sliceOf(key)%slice(len(c.shards))]
}

// find is get for a caller of the store, which is counted.
func (c *cache[T]) find(key string) *cached[T] {
	e := c.get(key)
	if e != nil {
		c.hits.Add(1)
	} else {
		c.misses.Add(1)
	}
	return e
}

// use returns how often find found a record, and how often not.
func (c *cache[T]) use(name string) tokenstore.CacheUse {
	return tokenstore.CacheUse{Name: name, Hits: c.hits.Load(), Misses: c.misses.Load()}
}

// get returns what is kept, or nil.
func (c *cache[T]) get(key string) *cached[T] {
	e := c.last(key)
	if e == nil || time.Since(e.at) >= c.maxAge() {
		return nil
	}
	return e
}

// last returns what was read last, as old as it may be, or nil if that is forgotten.
func (c *cache[T]) last(key string) *cached[T] {
	sh := c.shard(key)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	return sh.last(key)
}

func (sh *cacheShard[T]) last(key string) *cached[T] {
	if e, ok := sh.current[key]; ok {
		return e
	}
	return sh.older[key]
}

// ticket is to be taken before something is read that is put later.
func (c *cache[T]) ticket(key string) uint64 {
	sh := c.shard(key)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	return sh.drops
}

// put keeps what was read after the ticket was taken, and returns what is kept. A record that is the
// same as the one before keeps its address, by which UseNonce knows it.
func (c *cache[T]) put(key string, ticket uint64, e *cached[T]) *cached[T] {
	sh := c.shard(key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.drops != ticket {
		return e
	}
	before := sh.last(key)
	if before != nil && before.version == e.version && before.record == e.record {
		e.stored = before.stored
	}
	sh.keep(key, e, c.maxAge())
	return e
}

func (sh *cacheShard[T]) keep(key string, e *cached[T], maxAge time.Duration) {
	if sh.current == nil || e.at.Sub(sh.since) > maxAge {
		sh.older, sh.current, sh.since = sh.current, make(map[string]*cached[T]), e.at
	}
	sh.current[key] = e
}

// confirm makes what is kept as new as if it had been read at a time: a call that began then, after
// the ticket was taken, has shown that the servers have nothing else. So a record that is used all
// the time need not be read again.
func (c *cache[T]) confirm(key string, ticket uint64, e *cached[T], at time.Time) {
	maxAge := c.maxAge()
	if at.Sub(e.at) < maxAge/4 {
		return // another call confirms it in time
	}
	sh := c.shard(key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.drops == ticket && sh.last(key) == e {
		sh.keep(key, &cached[T]{stored: e.stored, sliceRevision: e.sliceRevision, at: at}, maxAge)
	}
}

// drop forgets a key.
func (c *cache[T]) drop(key string) {
	sh := c.shard(key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	delete(sh.current, key)
	delete(sh.older, key)
	sh.drops++
}

// clear forgets all.
func (c *cache[T]) clear() {
	for i := range c.shards {
		sh := &c.shards[i]
		sh.mu.Lock()
		sh.current, sh.older = nil, nil
		sh.drops++
		sh.mu.Unlock()
	}
}
