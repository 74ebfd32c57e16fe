package noncelog

import (
	"encoding/binary"
	"iter"
	"maps"
	"slices"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/usednonce"
)

// usedAtOnce is how many digests stand in one UsedNonces.
const usedAtOnce = 4096

// Floor returns a timestamp up to which every nonce may have been used: the given one, or a later
// one.
func (l *Log) Floor(now int64) int64 { return max(now+1, l.floor.Load()) - 1 }

// Used returns the nonces that were used with timestamps above the floor, and up to a minute below.
func (l *Log) Used(floor int64) iter.Seq[*tokenstore.UsedNonces] {
	return func(yield func(*tokenstore.UsedNonces) bool) {
		expires := l.set.buckets()
		for _, bucket := range slices.Sorted(maps.Keys(expires)) {
			if bucketEnd(bucket) <= floor {
				continue
			}
			digests := l.set.digests(bucket)
			for some := range slices.Chunk(digests, usedAtOnce*usednonce.Size) {
				if !yield(&tokenstore.UsedNonces{
					Key: string(l.hashKey[:]), Digests: string(some), Expires: int64(expires[bucket]),
				}) {
					return
				}
			}
		}
	}
}

// digests returns the digests of a bucket, one after the other.
func (s *set) digests(bucket int32) (all []byte) {
	for i := range s.shards {
		shard := &s.shards[i]
		shard.mu.Lock()
		t := &shard.last
		if other, ok := shard.others[bucket]; ok {
			t = &other
		}
		for _, e := range t.entries {
			if t.bucket == bucket && e.holder != 0 {
				all = binary.LittleEndian.AppendUint64(all, e.a)
				all = binary.LittleEndian.AppendUint32(all, e.b)
			}
		}
		shard.mu.Unlock()
	}
	return all
}

// Refuse makes the log refuse all timestamps up to the floor as forgotten, from now on.
func (l *Log) Refuse(floor int64) error {
	return l.change(func(s *logState) { s.floor = max(s.floor, floor+1) })
}
