package storetest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

const (
	// manyTokens are removed by one call. A store that removes them one after the other, durably,
	// takes seconds.
	manyTokens = 4000
	// longestDelay is how long a call may take while they are removed, if the same calls took less
	// before. It leaves room for a busy machine.
	longestDelay = time.Second
)

// manyCases make thousands of records. RunFew leaves them out.
var manyCases = []testCase{
	{"the removal of many tokens of a consumer delays no other call", func(t *testing.T, s tokenstore.Store, c *clock) {
		testRemoval(t, s, c, func() error { return s.DeleteConsumer(t.Context(), "k") })
	}},
	{"the revocation of many tokens of a user delays no other call", func(t *testing.T, s tokenstore.Store, c *clock) {
		testRemoval(t, s, c, func() error {
			n, err := s.Revoke(t.Context(), tokenstore.Filter{User: "u"})
			if err == nil && n != manyTokens {
				t.Errorf("revoked %d, want %d", n, manyTokens)
			}
			return err
		})
	}},
	{"self-registered consumers have a limit together", func(t *testing.T, s tokenstore.Store, c *clock) {
		if testing.Short() {
			t.Skip("makes many request tokens")
		}
		const of = tokenstore.MaxSelfRegisteredRequests / tokenstore.MaxWaiting
		for i := range of {
			selfRegister(t, s, c, numbered("k", i))
		}
		race(func(worker int) error {
			for i := worker; i < tokenstore.MaxSelfRegisteredRequests; i += racers {
				if err := s.CreateRequestToken(t.Context(), requestToken(c, numbered("r", i), numbered("k", i%of))); err != nil {
					t.Error(err)
					break
				}
			}
			return nil
		})
		selfRegister(t, s, c, "more")
		wantErr(t, s.CreateRequestToken(t.Context(), requestToken(c, "x", "more")), tokenstore.ErrTooManyInAll)
		must(t, s.CreateConsumer(t.Context(), &tokenstore.Consumer{Key: "added"}))
		must(t, s.CreateRequestToken(t.Context(), requestToken(c, "of added", "added")))
		must(t, s.CreateRequestToken(t.Context(), requestToken(c, "of declared", "declared")))

		// An adopted consumer no longer counts as self-registered. The request tokens of a deleted
		// consumer no longer count.
		_, err := s.UpdateConsumer(t.Context(), "k0000", func(k *tokenstore.Consumer) error { k.SelfRegistered = false; return nil })
		must(t, err)
		for i := range tokenstore.MaxWaiting {
			must(t, s.CreateRequestToken(t.Context(), requestToken(c, numbered("m", i), "more")))
		}
		selfRegister(t, s, c, "last")
		wantErr(t, s.CreateRequestToken(t.Context(), requestToken(c, "x", "last")), tokenstore.ErrTooManyInAll)
		must(t, s.DeleteConsumer(t.Context(), "k0001"))
		for i := range tokenstore.MaxWaiting {
			must(t, s.CreateRequestToken(t.Context(), requestToken(c, numbered("l", i), "last")))
		}
		wantErr(t, s.CreateRequestToken(t.Context(), requestToken(c, "x", "k0002")), tokenstore.ErrTooMany)
	}},
}

// testRemoval removes the consumer k or the user u with many tokens. Meanwhile, and for a while
// after, it measures the calls of another consumer and user.
func testRemoval(t *testing.T, s tokenstore.Store, c *clock, remove func() error) {
	t.Helper()
	for _, key := range []string{"k", "other"} {
		must(t, s.CreateConsumer(t.Context(), &tokenstore.Consumer{Key: key}))
	}
	before := measured(t, s, c, "before", func() {
		var all sync.WaitGroup
		for worker := range racers {
			all.Go(func() {
				for i := worker; i < manyTokens; i += racers {
					a := accessToken(c, numbered("a", i), "k", "u")
					if err := s.CreateAccessToken(context.WithoutCancel(t.Context()), a); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
	})
	during := measured(t, s, c, "during", func() {
		must(t, remove())
		time.Sleep(500 * time.Millisecond) // the store may go on removing
	})
	for name, took := range during {
		if took > max(longestDelay, 2*before[name]) {
			t.Errorf("%s took %v while %d tokens were removed, and %v before", name, took, manyTokens, before[name])
		}
	}
	must(t, s.CreateAccessToken(t.Context(), accessToken(c, "a0000", "other", "someone")))
}

// measured returns the longest time that each call took while work ran.
func measured(t *testing.T, s tokenstore.Store, c *clock, phase string, work func()) map[string]time.Duration {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	longest := make(map[string]time.Duration)
	stop := make(chan struct{})
	var all sync.WaitGroup
	var mu sync.Mutex
	for worker, call := range []struct {
		name string
		make func(key string) error
	}{
		{"CreateAccessToken", func(key string) error {
			return s.CreateAccessToken(ctx, accessToken(c, key, "other", "someone"))
		}},
		{"CreateRequestToken, Review and Exchange", func(key string) error {
			if err := s.CreateRequestToken(ctx, requestToken(c, "r"+key, "other")); err != nil {
				return err
			}
			if _, err := s.Review(ctx, "r"+key, review(c, "someone", "READ_PUBLIC")); err != nil {
				return err
			}
			_, err := s.Exchange(ctx, "r"+key, "")
			return err
		}},
		{"Consumer", func(string) error { _, err := s.Consumer(ctx, "other"); return err }},
		{"UpdateConsumer", func(key string) error {
			_, err := s.UpdateConsumer(ctx, "other", func(c *tokenstore.Consumer) error { c.Name = key; return nil })
			return err
		}},
		{"UseNonce", func(key string) error { return s.UseNonce(ctx, nonce(c, key)) }},
	} {
		all.Go(func() {
			for i := 0; ; i++ {
				begun := time.Now()
				err := call.make(numbered(numbered(phase, worker)+" ", i))
				took := time.Since(begun)
				if err != nil {
					t.Errorf("%s: %v", call.name, err)
					return
				}
				mu.Lock()
				longest[call.name] = max(longest[call.name], took)
				mu.Unlock()
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
				}
			}
		})
	}
	work()
	close(stop)
	all.Wait()
	return longest
}
