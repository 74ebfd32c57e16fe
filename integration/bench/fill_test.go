package main

import (
	"testing"
	"time"
)

func TestOldNoncesEndBucketAfterBucket(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_700_000_030, 0)
	o := oldNonces{number: 1000, ends: 1_700_000_100, every: 8}
	counts := make(map[int]int)
	previous := 0
	for i := range o.number {
		n := o.nonce(i, now)
		b := int(n.Timestamp) / bucket
		if b < previous || b >= int(now.Unix())/bucket {
			t.Fatalf("nonce %d is of bucket %d, after one of %d, now is in %d", i, b, previous, now.Unix()/bucket)
		}
		previous = b
		counts[b]++
		// In the store, a bucket ends with its last timestamp.
		last := (b+1)*bucket - 1
		ends := int(n.Expires.Unix()) + last - int(n.Timestamp)
		if want := o.ends + (len(counts)-1)*o.every; ends != want {
			t.Fatalf("nonce %d: its bucket ends at %d, want %d", i, ends, want)
		}
	}
	if len(counts) != buckets {
		t.Errorf("%d buckets, want %d", len(counts), buckets)
	}
	for b, n := range counts {
		if n != o.number/buckets {
			t.Errorf("bucket %d has %d nonces, want %d", b, n, o.number/buckets)
		}
	}
}

func TestOldNoncesStayLive(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_700_000_030, 0)
	for _, i := range []int{0, 289, 290, 12345} {
		if n := (oldNonces{number: 20_000}).nonce(i, now); n.Expires.Before(now.Add(patience)) || now.Unix()-n.Timestamp >= window {
			t.Errorf("nonce %d: %+v", i, n)
		}
	}
}
