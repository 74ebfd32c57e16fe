package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/record"
)

// A countOf is the numbers of requestCounts, in all or for a consumer.
type countOf struct {
	all, selfRegistered int
	consumers           string
}

// counted returns the counts that the store keeps.
func counted(s *Store) (c countOf) {
	s.requests.mu.Lock()
	defer s.requests.mu.Unlock()
	s.requests.pass(s.clock())
	consumers := make(map[string][2]int)
	for name, count := range s.requests.consumers {
		consumers[name] = [2]int{count.waiting, count.stored}
	}
	return countOf{s.requests.all, s.requests.selfRegistered, fmt.Sprint(consumers)}
}

// recounted computes the same counts from every record on disk.
func recounted(t *testing.T, s *Store) (c countOf) {
	t.Helper()
	consumers := make(map[string][2]int)
	now := s.clock()
	pending := s.revocations.pending()
	err := s.tokens.view(func(txn *reader) error {
		return scan(txn, []byte{prefixRequestToken}, nil, true, func(item *entry) (bool, error) {
			r, version, err := requestTokenIn(txn, string(item.Key()[1:]))
			if err != nil {
				return false, err
			}
			units := requestUnits(r)
			c.all += units
			if version < pending.since(r.Consumer) {
				return true, nil
			}
			count := consumers[r.Consumer]
			count[1] += units
			if !refused(r) && r.Expires.Unix() > now.Unix() {
				count[0] += units
			}
			consumers[r.Consumer] = count
			if k, err := s.storedConsumer(r.Consumer); err != nil {
				return false, err
			} else if k != nil && k.SelfRegistered {
				c.selfRegistered += units
			}
			return true, nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	c.consumers = fmt.Sprint(consumers)
	return c
}

func wantCounts(t *testing.T, s *Store, when string) {
	t.Helper()
	if got, want := counted(s), recounted(t, s); got != want {
		t.Errorf("%s: counted %+v, on disk there is %+v", when, got, want)
	}
}

// After concurrent changes of request tokens of all kinds, the counts match the records on disk,
// and still do after the store is opened again.
func TestRequestTokensAreCountedExactly(t *testing.T) {
	var offset atomic.Int64
	clock := func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
	path := t.TempDir()
	s := openTest(t, Options{Path: path, Clock: clock})
	ctx := context.WithoutCancel(t.Context())
	self := func(i int) *tokenstore.Consumer {
		return &tokenstore.Consumer{Key: fmt.Sprint("self", i), SelfRegistered: true}
	}
	for round := range 3 {
		var all sync.WaitGroup
		for worker := range 8 {
			all.Go(func() {
				rng := rand.New(rand.NewPCG(uint64(round), uint64(worker)))
				for range 150 {
					key := fmt.Sprint("r", rng.IntN(400))
					consumer := fmt.Sprint([]string{"known", "self"}[rng.IntN(2)], rng.IntN(4))
					r := &tokenstore.RequestToken{Key: key, Secret: "s", Consumer: consumer,
						Expires: clock().Add(time.Duration(1+rng.IntN(3)) * time.Hour)}
					if rng.IntN(3) == 0 {
						r.Callback = "https://example.com/" + strings.Repeat("x", 2000)
					}
					permission := []string{"READ_PUBLIC", tokenstore.Unauthorized}[rng.IntN(2)]
					switch rng.IntN(8) { // most of these fail, and must count nothing then
					case 0, 1:
						_ = s.CreateRequestToken(ctx, r)
					case 2:
						r.Consumer = fmt.Sprint("self", rng.IntN(4))
						_ = s.RegisterConsumer(ctx, &tokenstore.Consumer{Key: r.Consumer, SelfRegistered: true}, r)
					case 3:
						_, _ = s.Review(ctx, key, tokenstore.Review{User: fmt.Sprint("u", rng.IntN(3)),
							Permission: permission, Verifier: "v"})
					case 4:
						_, _ = s.Exchange(ctx, key, "v")
					case 5:
						for range tokenstore.MaxVerifierFailures {
							_, _ = s.Exchange(ctx, key, "wrong")
						}
					case 6:
						f := tokenstore.Filter{User: fmt.Sprint("u", rng.IntN(3))}
						if rng.IntN(2) == 0 {
							f = tokenstore.Filter{Consumer: consumer}
						}
						if _, err := s.Revoke(ctx, f); err != nil {
							t.Error(err)
						}
					case 7:
						_ = s.DeleteConsumer(ctx, fmt.Sprint("self", rng.IntN(4)))
						_ = s.CreateConsumer(ctx, self(rng.IntN(4)))
					}
				}
			})
		}
		all.Wait()
		settle(t, s)
		wantCounts(t, s, "after changes")
		before := counted(s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = openTest(t, Options{Path: path, Clock: clock})
		if after := counted(s); after != before {
			t.Errorf("opened again: counted %+v, before %+v", after, before)
		}
		offset.Add(int64(90 * time.Minute))
		wantCounts(t, s, "after some expired")
		offset.Add(int64(-90 * time.Minute))
		wantCounts(t, s, "after the clock went back")
		offset.Add(int64(90 * time.Minute))
		if err := s.sweepRequests(clock()); err != nil {
			t.Fatal(err)
		}
		wantCounts(t, s, "after those were removed")
	}
	offset.Add(int64(24 * time.Hour))
	if err := s.sweepRequests(clock()); err != nil {
		t.Fatal(err)
	}
	if got := counted(s); got != (countOf{consumers: "map[]"}) || len(s.requests.ends) != 0 {
		t.Errorf("when all have ended there is still %+v, and %d ends", got, len(s.requests.ends))
	}
	wantNothing(t, s, prefixRequestToken, prefixRequestOfConsumer, prefixRequestOfUser)
}

// settle waits until the revoked tokens are removed.
func settle(t *testing.T, s *Store) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); s.revocations.pending() != nil; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not removed yet: %v", *s.revocations.pending())
		}
	}
}

// wantNothing fails the test if there is a key with one of the prefixes.
func wantNothing(t *testing.T, s *Store, prefixes ...byte) {
	t.Helper()
	for _, prefix := range prefixes {
		err := s.tokens.view(func(txn *reader) error {
			return scan(txn, []byte{prefix}, nil, false, func(item *entry) (bool, error) {
				t.Errorf("there is still %q", item.Key())
				return false, nil
			})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// An index entry of an earlier version has no value, and the entry of a refused token stood at the
// beginning of time. They are counted, refused tokens are recognized, and all are removed in time.
func TestRequestTokensOfAnEarlierVersion(t *testing.T) {
	path := t.TempDir()
	s := openTest(t, Options{Path: path})
	now := time.Now()
	waiting := &tokenstore.RequestToken{Key: "waiting", Consumer: "k", Expires: now.Add(time.Hour)}
	no := &tokenstore.RequestToken{Key: "refused", Consumer: "k", Expires: now.Add(time.Hour),
		Review: &tokenstore.Review{User: "u", Permission: tokenstore.Unauthorized}}
	long := *no
	long.Key, long.Expires = "long ago", now.Add(-1000*time.Hour)
	var c change
	for _, r := range []*tokenstore.RequestToken{waiting, no, &long} {
		at := encodeTime(r.Expires)
		until := ttl(r.Expires.Add(tokenstore.Retention))
		if refused(r) {
			at, until = encodeTime(time.UnixMilli(0)), 0
			c.put(indexKey(prefixRequestOfUser, "u", r.Key), nil, until)
		}
		c.put(recordKey(prefixRequestToken, r.Key), record.RequestToken.Encode(r), until)
		c.put(indexKey(prefixRequestOfConsumer, r.Consumer, string(at)+r.Key), nil, until)
	}
	if err := s.tokens.commit(c); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	s = openTest(t, Options{Path: path})
	wantCounts(t, s, "opened")
	if got := s.requests.consumers["k"]; got == nil || got.waiting != 1 || got.stored != 3 {
		t.Errorf("counted %+v, want 1 of 3 waiting", got)
	}
	if _, err := s.Exchange(t.Context(), "refused", ""); err != tokenstore.ErrRefused {
		t.Errorf("refused: got %v", err)
	}
	if err := s.sweepRequests(now); err != nil {
		t.Fatal(err)
	}
	wantCounts(t, s, "swept")
	if got := counted(s); got.all != 2 {
		t.Errorf("counted %+v after the sweep, want 2 in all", got)
	}
	if err := s.sweepRequests(now.Add(2 * time.Hour)); err != nil {
		t.Fatal(err)
	}
	wantNothing(t, s, prefixRequestToken, prefixRequestOfConsumer, prefixRequestOfUser)
}

// A clock that was ahead for a moment does not lift a consumer's limit.
func TestLimitsAfterTheClockWasAhead(t *testing.T) {
	const day = 86400
	for _, test := range []struct {
		name         string
		start, moves []int64 // added to the clock before the store is opened, and before each token
	}{
		{"while a token was created", nil, []int64{day, -day}},
		{"while the store was opened", []int64{day}, []int64{-day}},
		{"again and again", nil, []int64{day, -day, day, -day}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var now atomic.Int64
			now.Store(1_800_000_000)
			for _, by := range test.start {
				now.Add(by)
			}
			s := openTest(t, Options{Clock: func() time.Time { return time.Unix(now.Load(), 0) }})
			s.SetLimits(tokenstore.Limits{RequestTokensOfConsumer: 10, RequestTokens: 100})
			for i := range 11 {
				if i < len(test.moves) {
					now.Add(test.moves[i])
				}
				err := s.CreateRequestToken(t.Context(), &tokenstore.RequestToken{
					Key: fmt.Sprint("r", i), Consumer: "k", Expires: time.Unix(now.Load()+7200, 0)})
				if want := i == 10; errors.Is(err, tokenstore.ErrTooMany) != want || (err != nil) != want {
					t.Errorf("request token %d of 10: %v", i+1, err)
				}
			}
			wantCounts(t, s, "at the end")
		})
	}
}

// Request tokens that the users of one consumer refuse take no room from other consumers.
func TestRefusalsOfOneConsumer(t *testing.T) {
	s := openTest(t, Options{})
	s.SetLimits(tokenstore.Limits{RequestTokensOfConsumer: 10, RequestTokens: 200})
	create := func(key, consumer string) error {
		return s.CreateRequestToken(t.Context(), &tokenstore.RequestToken{
			Key: key, Consumer: consumer, Expires: time.Now().Add(2 * time.Hour)})
	}
	no := tokenstore.Review{User: "mallory", Permission: tokenstore.Unauthorized}
	for i := range 200 {
		key := fmt.Sprint("r", i)
		if err := create(key, "hostile"); errors.Is(err, tokenstore.ErrTooMany) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Review(t.Context(), key, no); err != nil {
			t.Fatal(err)
		}
	}
	if err := create("honest", "other"); err != nil {
		t.Errorf("another consumer: %v", err)
	}
}

// The cost of refusing or creating a request token does not depend on how many there are.
func BenchmarkRoomForRequestToken(b *testing.B) {
	for _, n := range []int{0, 10_000, 200_000} {
		b.Run(fmt.Sprint(n, " stored"), func(b *testing.B) {
			s := openTest(b, Options{})
			s.SetLimits(tokenstore.Limits{RequestTokensOfConsumer: math.MaxInt32, RequestTokens: math.MaxInt32})
			now := time.Now()
			for i := range n {
				r := &tokenstore.RequestToken{Key: fmt.Sprint(i), Consumer: "k",
					Expires: now.Add(time.Duration(i) * time.Millisecond * 36)}
				if err := s.requests.reserve(r, false, now, 0); err != nil {
					b.Fatal(err)
				}
			}
			r := &tokenstore.RequestToken{Key: "x", Consumer: "k", Expires: now.Add(time.Hour)}
			for b.Loop() {
				if err := s.RoomForRequestToken(b.Context(), r, false); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
