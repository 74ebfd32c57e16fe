package badgerstore

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/record"
)

// Notes of idle consumers may be out of date. No consumer is forgotten because of that.
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

// The consumers that are due are found by the time when they became idle, in whatever order they
// were noted, changed and dropped.
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

// A having adds a record that belongs to a consumer.
type having func(c *change, s *Store, consumer string)

// manyForgotten forgets n consumers that are due at once. It returns the CPU time that this takes,
// and the highest number of marks.
func manyForgotten(t *testing.T, n int, have having) (cpu time.Duration, marks int) {
	t.Helper()
	s := openTest(t, Options{})
	s.SetLimits(tokenstore.Limits{RequestTokensOfConsumer: 10, RequestTokens: 10 * n})
	long := time.Now().Add(-2 * forgetAfter)
	var c change
	for i := range n {
		key := strconv.Itoa(i)
		k := &tokenstore.Consumer{Key: key, SelfRegistered: true}
		c.put(recordKey(prefixConsumer, key), record.Consumer.Encode(k), 0)
		c.put(recordKey(prefixIdle, key), encodeTime(long), 0)
		if have != nil {
			have(&c, s, key)
		}
		if len(c.ops) > 1000 || i == n-1 {
			if err := s.tokens.commit(c); err != nil {
				t.Fatal(err)
			}
			c = change{}
		}
	}
	for i := range n {
		s.self.set(strconv.Itoa(i), long.Add(time.Duration(i)))
	}
	start, before := time.Now(), cpuTime(t)
	s.wake()
	for s.self.anyDue(time.Now()) || s.revocations.pending() != nil {
		if p := s.revocations.pending(); p != nil {
			marks = max(marks, len(*p))
		}
		if time.Since(start) > time.Minute {
			t.Fatalf("after a minute %d of %d are still there", len(s.self.someDue(time.Now(), n)), n)
		}
		time.Sleep(time.Millisecond)
	}
	cpu = cpuTime(t) - before
	t.Logf("%d consumers: %v, CPU %v, marks at once %d", n, time.Since(start).Round(time.Millisecond),
		cpu.Round(time.Millisecond), marks)
	wantNothing(t, s, prefixConsumer, prefixIdle, prefixRequestToken, prefixRequestOfConsumer,
		prefixAccessToken, prefixTokenOfConsumer)
	wantCounts(t, s, "in the end")
	return cpu, marks
}

// Forgetting many consumers at once costs the same for each, however many there are. Consumers
// without a token leave no mark. With FORGET it forgets that many, and only reports the cost:
//
//	FORGET=20000 go test -v -run TestManyConsumersAreForgottenAtOnce ./tokenstore/badgerstore
func TestManyConsumersAreForgottenAtOnce(t *testing.T) {
	if raceEnabled {
		t.Skip("it compares times, which the race detector distorts")
	}
	for _, test := range []struct {
		name string
		few  int
		have having
	}{
		{"without tokens", 2000, nil},
		{"with a request token each", 1000, func(c *change, s *Store, consumer string) {
			i, _ := strconv.Atoi(consumer)
			ends := time.Now().Add(time.Hour + time.Duration(i)*time.Second)
			r := &tokenstore.RequestToken{Key: "r" + consumer, Consumer: consumer, Expires: ends}
			if err := s.requests.reserve(r, true, time.Now(), 0); err != nil {
				t.Fatal(err)
			}
			putRequestToken(c, r)
		}},
		{"with an expired access token each", 1000, func(c *change, _ *Store, consumer string) {
			ended := time.Now().Add(-time.Minute)
			putAccessToken(c, &tokenstore.AccessToken{Key: "a" + consumer, Consumer: consumer, User: "u",
				Expires: ended})
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if os.Getenv("FORGET") != "" {
				manyForgotten(t, envNumber(t, "FORGET"), test.have)
				return
			}
			const times, tries = 4, 3 // the Go runtime and Badger have work of their own at times
			var few, many time.Duration
			marks := 0
			for range tries {
				few, _ = manyForgotten(t, test.few, test.have)
				many, marks = manyForgotten(t, times*test.few, test.have)
				if many <= 2*times*max(few, 100*time.Millisecond) {
					few = 0
					break
				}
			}
			if few > 0 {
				t.Errorf("%d times as many cost %v of CPU instead of %v", times, many, few)
			}
			if most := maxMarks + forgottenAtOnce; marks > most || (test.have == nil && marks > 0) {
				t.Errorf("%d marks at once", marks)
			}
		})
	}
}

// BenchmarkTooManySelfRegistered measures a refusal while the maximum of consumers is waiting.
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
