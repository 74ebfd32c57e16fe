package badgerstore

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// A cache stays within its limit, however many records it is given, and its counts are exact.
func TestCacheIsBounded(t *testing.T) {
	const size = 100
	limit := cacheShards * 20 * (size + cacheOverhead)
	c := newCache[int](limit)
	var all sync.WaitGroup
	for worker := range 4 {
		all.Go(func() {
			for i := range 20_000 {
				key := fmt.Sprint(worker, " ", i)
				_, version := c.get(key)
				c.fill(key, new(int), size-len(key), version)
				if i%10 == 0 {
					c.fill(key, new(int), 2*size, version) // again, and larger
				}
				if i%7 == 0 {
					c.remove(key)
				}
			}
		})
	}
	all.Wait()
	total, records := 0, 0
	for i := range c.shards {
		bytes := 0
		for _, r := range c.shards[i].records {
			bytes += r.size
		}
		s := &c.shards[i]
		if s.bytes != bytes || bytes > c.limit {
			t.Errorf("shard %d: %d bytes of %d, counted as %d", i, bytes, c.limit, s.bytes)
		}
		for place, r := range s.ring {
			if r.place != place || s.records[r.key] != r {
				t.Errorf("shard %d: %q is in place %d of the ring, not in %d", i, r.key, place, r.place)
			}
		}
		if len(s.ring) != len(s.records) {
			t.Errorf("shard %d: %d records, %d in the ring", i, len(s.records), len(s.ring))
		}
		total += bytes
		records += len(c.shards[i].records)
	}
	if total < limit/2 {
		t.Errorf("%d records of %d bytes together are kept, where %d may be", records, total, limit)
	}
	_, version := c.get("large")
	c.fill("large", new(int), limit/cacheShards, version)
	if r, _ := c.get("large"); r != nil {
		t.Error("a record that would take a shard for itself is kept")
	}
}

// A record that is used again and again stays in the cache, however many others are added.
func TestCacheSparesWhatIsUsed(t *testing.T) {
	const size, passers = 100, 10
	c := newCache[int](cacheShards * 20 * (size + cacheOverhead)) // twenty in a shard
	read := func(key string) (hit bool) {
		r, version := c.get(key)
		if r == nil {
			c.fill(key, new(int), size-len(key), version)
		}
		return r != nil
	}
	hits, asked, passed := 0, 0, 0
	for i := 0; asked < 1000; i++ {
		passer := fmt.Sprint(i)
		if c.shard(passer) != c.shard("often") {
			continue
		}
		read(passer)
		if passed++; passed%passers == 0 {
			asked++
			if read("often") {
				hits++
			}
		}
	}
	if hits < asked*9/10 {
		t.Errorf("%d of %d were there", hits, asked)
	}
}

// A record that was read before a removal is not kept, because it may be older than the last write.
func TestCacheKeepsNothingOld(t *testing.T) {
	c := newCache[int](cacheBytes)
	_, version := c.get("k")
	c.remove("k")
	c.fill("k", new(int), 1, version)
	if r, _ := c.get("k"); r != nil {
		t.Error("it is kept")
	}
	_, version = c.get("k")
	c.fill("k", new(int), 1, version)
	if r, _ := c.get("k"); r == nil {
		t.Error("a record that was read after that is not kept")
	}
}

// A replaced record keeps its place in the cache. A record that was read before the write is not
// kept.
func TestCacheReplaces(t *testing.T) {
	c := newCache[int](cacheBytes)
	c.replace("k", new(int), 1)
	if r, _ := c.get("k"); r != nil {
		t.Error("a record that was not cached is kept")
	}
	_, version := c.get("k")
	c.fill("k", new(int), 1, version)
	next := 7
	c.replace("k", &next, 1)
	c.fill("k", new(int), 1, version)
	if r, _ := c.get("k"); *r != next {
		t.Errorf("got %d, want the replacement %d", *r, next)
	}
}

// The key that a caller passes is often part of a whole request. The cache must not keep that
// request in memory.
func TestCacheKeepsNothingOfTheRequest(t *testing.T) {
	s := openTest(t, Options{})
	if err := s.CreateAccessToken(t.Context(), &tokenstore.AccessToken{Key: "token", Consumer: "consumer", User: "u"}); err != nil {
		t.Fatal(err)
	}
	if err := s.CreateConsumer(t.Context(), &tokenstore.Consumer{Key: "consumer"}); err != nil {
		t.Fatal(err)
	}
	request := strings.Repeat("x", 1000) + "token consumer"
	token, err := s.AccessToken(t.Context(), request[1000:1005])
	if err != nil {
		t.Fatal(err)
	}
	consumer, err := s.Consumer(t.Context(), request[1006:])
	if err != nil {
		t.Fatal(err)
	}
	for key := range s.accessTokens.shard("token").records {
		if unsafe.StringData(key) != unsafe.StringData(token.Key) {
			t.Error("the token's key is another string than its record's")
		}
	}
	for key := range s.consumers.shard("consumer").records {
		if unsafe.StringData(key) != unsafe.StringData(consumer.Key) {
			t.Error("the consumer's key is another string than its record's")
		}
	}
}

// Noting the use of tokens does not slow their next request: they stay in the cache with the values
// that are on disk.
func TestTouchedTokensStayInTheCache(t *testing.T) {
	s := openTest(t, Options{})
	used := make(map[string]time.Time)
	now := time.UnixMilli(1_800_000_000_000)
	for _, key := range []string{"cached", "not cached"} {
		if err := s.CreateAccessToken(t.Context(), &tokenstore.AccessToken{Key: key, Consumer: "k", User: "u"}); err != nil {
			t.Fatal(err)
		}
		used[key] = now
	}
	if _, err := s.AccessToken(t.Context(), "cached"); err != nil {
		t.Fatal(err)
	}
	if err := s.Touch(t.Context(), used); err != nil {
		t.Fatal(err)
	}
	if r, _ := s.accessTokens.get("cached"); r == nil || !r.token.LastUsed.Equal(now) {
		t.Errorf("in the cache: %+v", r)
	}
	if r, _ := s.accessTokens.get("not cached"); r != nil {
		t.Errorf("in the cache, though no call read it: %+v", r)
	}
	for key := range used {
		if used, err := s.LastUsed(t.Context(), key); err != nil || !used.Equal(now) {
			t.Errorf("on disk: %v, %v", used, err)
		}
	}
}
