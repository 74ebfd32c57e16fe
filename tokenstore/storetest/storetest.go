package storetest

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// An Opener opens a store that takes the time from clock. It closes the store with t.Cleanup; Close
// may have been called by then.
type Opener func(t *testing.T, clock func() time.Time) tokenstore.Store

// Run tests a store. Each case opens a store that must be empty.
func Run(t *testing.T, open Opener) { run(t, open, concat(fewCases, manyCases)) }

// RunFew is Run without the cases that make thousands of records. They take most of its time, and
// show nothing new of a store that Run tests too: with other servers, or other keys.
func RunFew(t *testing.T, open Opener) { run(t, open, fewCases) }

func run(t *testing.T, open Opener, cases []testCase) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			clock := newClock()
			c.test(t, open(t, clock.Now), clock)
		})
	}
	t.Run("both credentials in one step", func(t *testing.T) { runCredentials(t, open) })
}

// RunDurable tests that a store keeps its content when it is closed. It calls fresh once in each
// case. The Opener that fresh returns opens the same store each time; the first time it is empty.
func RunDurable(t *testing.T, fresh func(t *testing.T) Opener) {
	for _, c := range durableCases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			clock := newClock()
			open := fresh(t)
			c.test(t, func() tokenstore.Store { return open(t, clock.Now) }, clock)
		})
	}
}

type testCase struct {
	name string
	test func(t *testing.T, s tokenstore.Store, clock *clock)
}

var fewCases = concat(consumerCases, tokenCases, requestTokenCases, limitCases, revokeCases, selfRegisteredCases,
	nonceCases, storeCases, keptCases)

func concat(lists ...[]testCase) (all []testCase) {
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

// A clock stands still until it is advanced. It begins at the real time, since the database of a
// store may drop by itself what expired in the past.
type clock struct{ now atomic.Int64 }

func newClock() *clock {
	c := new(clock)
	c.now.Store(time.Now().Truncate(time.Millisecond).UnixNano())
	return c
}

func (c *clock) Now() time.Time          { return time.Unix(0, c.now.Load()).UTC() }
func (c *clock) advance(d time.Duration) { c.now.Add(int64(d)) }

const (
	// racers is how many calls are made at the same time if one must win.
	racers = 64
	// rounds is how often a race is run: a store with a fault does not let two win each time.
	rounds = 30
)

// race calls f racers times at the same time, and counts the errors by their sentinel.
func race(f func(i int) error) map[error]int {
	var (
		mu    sync.Mutex
		count = make(map[error]int)
		start = make(chan struct{})
		all   sync.WaitGroup
	)
	for i := range racers {
		all.Go(func() {
			<-start
			err := sentinel(f(i))
			mu.Lock()
			defer mu.Unlock()
			count[err]++
		})
	}
	close(start)
	all.Wait()
	return count
}

// sentinel returns tokenstore's error that err is, or err itself.
func sentinel(err error) error {
	for _, s := range []error{
		tokenstore.ErrNotFound, tokenstore.ErrExists, tokenstore.ErrTooMany, tokenstore.ErrTooManyInAll,
		tokenstore.ErrTooManyConsumers, tokenstore.ErrAlreadyReviewed,
		tokenstore.ErrNotReviewed, tokenstore.ErrRefused, tokenstore.ErrExpired, tokenstore.ErrVerifier,
		tokenstore.ErrNonceUsed, tokenstore.ErrNoncesFull, tokenstore.ErrNonceForgotten, tokenstore.ErrClosed,
	} {
		if errors.Is(err, s) {
			return s
		}
	}
	return err
}

// wantRace fails the test unless one call won and all others got lost.
func wantRace(t *testing.T, got map[error]int, lost error) {
	t.Helper()
	if got[nil] != 1 || got[lost] != racers-1 {
		t.Errorf("of %d calls at the same time, got %v; want one without an error and all others with %q", racers, got, lost)
	}
}

func wantErr(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got error %v, want %v", err, want)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually waits for something that a store may do in the background.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not after a minute", what)
		}
	}
}

func requestToken(c *clock, key, consumer string) *tokenstore.RequestToken {
	return &tokenstore.RequestToken{
		Key: key, Secret: "secret of " + key, Consumer: consumer,
		Created: c.Now(), Expires: c.Now().Add(2 * time.Hour),
	}
}

func accessToken(c *clock, key, consumer, user string) *tokenstore.AccessToken {
	return &tokenstore.AccessToken{
		Key: key, Secret: "secret of " + key, Consumer: consumer, User: user,
		Permission: "READ_PUBLIC", Created: c.Now(),
	}
}

func review(c *clock, user, permission string) tokenstore.Review {
	return tokenstore.Review{User: user, Permission: permission, Time: c.Now()}
}

// reviewed adds a request token that the user has reviewed.
func reviewed(t *testing.T, s tokenstore.Store, c *clock, key, consumer, user string) {
	t.Helper()
	must(t, s.CreateRequestToken(t.Context(), requestToken(c, key, consumer)))
	_, err := s.Review(t.Context(), key, review(c, user, "READ_PUBLIC"))
	must(t, err)
}

// pages reads a list to its end, and returns the keys.
func pages[T any](t *testing.T, limit int, key func(T) string, list func(after string) ([]T, string, error)) (keys []string) {
	t.Helper()
	after := ""
	for {
		page, next, err := list(after)
		must(t, err)
		if len(page) > limit {
			t.Fatalf("a page of %d records, want %d at most", len(page), limit)
		}
		for _, r := range page {
			keys = append(keys, key(r))
		}
		if next == "" {
			return keys
		}
		if len(page) != limit {
			t.Fatalf("a page of %d records and another one after it, want %d", len(page), limit)
		}
		after = next
	}
}

func tokensOf(t *testing.T, s tokenstore.Store, f tokenstore.Filter, limit int) []string {
	t.Helper()
	return pages(t, limit, func(a *tokenstore.AccessToken) string { return a.Key },
		func(after string) ([]*tokenstore.AccessToken, string, error) {
			return s.AccessTokens(t.Context(), f, after, limit)
		})
}

func consumersOf(t *testing.T, s tokenstore.Store, limit int) []string {
	t.Helper()
	return pages(t, limit, func(c *tokenstore.Consumer) string { return c.Key },
		func(after string) ([]*tokenstore.Consumer, string, error) {
			return s.Consumers(t.Context(), after, limit)
		})
}

func numbered(prefix string, n int) string { return fmt.Sprintf("%s%04d", prefix, n) }
