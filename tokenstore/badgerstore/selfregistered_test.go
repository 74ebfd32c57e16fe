package badgerstore

import (
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// What is noted of idle consumers may be out of date. Nobody is forgotten because of it.
func TestOutdatedNotesForgetNobody(t *testing.T) {
	s := openTest(t, Options{})
	for _, c := range []tokenstore.Consumer{{Key: "has a token", SelfRegistered: true}, {Key: "added"}} {
		if err := s.CreateConsumer(t.Context(), &c); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.CreateAccessToken(t.Context(), &tokenstore.AccessToken{Key: "a", Consumer: "has a token", User: "u"}); err != nil {
		t.Fatal(err)
	}
	waiting := &tokenstore.RequestToken{Key: "r", Consumer: "declared", Expires: time.Now().Add(time.Hour)}
	if err := s.CreateRequestToken(t.Context(), waiting); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"has a token", "added", "declared"} {
		var c change
		long := time.Now().Add(-forgetAfter)
		c.put(recordKey(prefixIdle, key), encodeTime(long), 0)
		if err := s.tokens.commit(c); err != nil {
			t.Fatal(err)
		}
		s.self.set(key, long)
	}
	if err := s.forgetDue(time.Now(), nil); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"has a token", "added"} {
		if _, err := s.Consumer(t.Context(), key); err != nil {
			t.Errorf("%s: %v", key, err)
		}
	}
	if _, err := s.RequestToken(t.Context(), "r"); err != nil {
		t.Errorf("a token of a consumer that is not stored: %v", err)
	}
	if err := s.loadIdle(); err != nil || len(s.self.idle) != 0 {
		t.Errorf("there are still the notes %v (%v)", s.self.idle, err)
	}
}

// The consumers that are due are found by when they became idle, in whichever order they were noted, changed and dropped.
func TestDueConsumersAreFoundInOrder(t *testing.T) {
	now := time.Now()
	r := &selfRegistered{idle: make(map[string]*idleConsumer)}
	want := make(map[string]time.Time)
	rng := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		key := strconv.Itoa(rng.IntN(500))
		since := now.Add(-time.Duration(rng.IntN(48)) * time.Hour)
		switch rng.IntN(3) {
		case 0:
			r.drop(key)
			delete(want, key)
		default:
			r.set(key, since)
			want[key] = since
		}
		if rng.IntN(50) > 0 {
			continue
		}
		at := now.Add(time.Duration(rng.IntN(48)-24) * time.Hour)
		due := 0
		for key, since := range want {
			is := !at.Before(since.Add(forgetAfter))
			if is {
				due++
			}
			if r.due(key, at) != is {
				t.Fatalf("%s, idle since %v, is due: %t", key, since, !is)
			}
		}
		for _, most := range []int{1, 7, 1000} {
			got := r.someDue(at, most)
			if len(got) != min(due, most) {
				t.Fatalf("of %d that are due, got %d, want %d at most", due, len(got), most)
			}
			seen := make(map[string]bool)
			for _, key := range got {
				if seen[key] || at.Before(want[key].Add(forgetAfter)) {
					t.Fatalf("%s is not due, or is there twice", key)
				}
				seen[key] = true
			}
		}
		if r.anyDue(at) != (due > 0) {
			t.Fatalf("any due: %t, of %d", due == 0, due)
		}
	}
}

// BenchmarkTooManySelfRegistered is what a refusal costs where as many consumers wait as may.
func BenchmarkTooManySelfRegistered(b *testing.B) {
	s := openTest(b, Options{})
	now := time.Now()
	for i := range tokenstore.MaxSelfRegistered {
		s.self.set(strconv.Itoa(i), now.Add(-time.Duration(i%80_000)*time.Second))
	}
	for i := 0; b.Loop(); i++ {
		if err := s.CreateConsumer(b.Context(), &tokenstore.Consumer{Key: "k", SelfRegistered: true}); err == nil {
			b.Fatal("it was taken")
		}
	}
}
