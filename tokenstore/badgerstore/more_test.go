package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// A clock that was ahead for a moment does not free a consumer of its limit.
func TestLimitsAfterTheClockWasAhead(t *testing.T) {
	now := int64(1_800_000_000)
	s := openTest(t, Options{Clock: func() time.Time { return time.Unix(now, 0) }})
	s.SetLimits(tokenstore.Limits{RequestTokensOfConsumer: 10, RequestTokens: 100})
	made := 0
	create := func() error {
		made++
		return s.CreateRequestToken(context.Background(), &tokenstore.RequestToken{Key: fmt.Sprint("r", made), Consumer: "k",
			Expires: time.Unix(now+7200, 0)})
	}
	now += 86400
	if err := create(); err != nil {
		t.Fatal(err)
	}
	now -= 86400
	for range 100 {
		if err := create(); err != nil {
			if !errors.Is(err, tokenstore.ErrTooMany) {
				t.Errorf("request token %d: %v", made, err)
			}
			return
		}
	}
	t.Errorf("%d request tokens where 10 may wait", made)
}

// What one consumer's user refuses takes the room of nobody else.
func TestRefusalsOfOneConsumer(t *testing.T) {
	s := openTest(t, Options{})
	s.SetLimits(tokenstore.Limits{RequestTokensOfConsumer: 10, RequestTokens: 200})
	for i := range 200 {
		key := fmt.Sprint("r", i)
		err := s.CreateRequestToken(context.Background(), &tokenstore.RequestToken{Key: key, Consumer: "hostile", Expires: time.Now().Add(2 * time.Hour)})
		if err != nil {
			t.Log("stopped at", i, err)
			break
		}
		if _, err := s.Review(context.Background(), key, tokenstore.Review{User: "mallory", Permission: tokenstore.Unauthorized}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.CreateRequestToken(context.Background(), &tokenstore.RequestToken{Key: "honest", Consumer: "other", Expires: time.Now().Add(2 * time.Hour)}); err != nil {
		t.Errorf("another consumer: %v", err)
	}
}

// Request tokens that nobody granted do not take the nonces of those who have a grant.
func TestNoncesOfRequestTokens(t *testing.T) {
	const limit, waiting = 100_000, 1000 // a tenth of the defaults
	now := time.Now()
	s := openTest(t, Options{MaxNonces: limit, Clock: func() time.Time { return now }})
	use := func(token string, i int) error {
		return s.UseNonce(context.Background(), tokenstore.Nonce{Consumer: "k", Token: token, Timestamp: now.Unix(), Value: fmt.Sprint(token, i),
			Expires: now.Add(5 * time.Minute)})
	}
	sent := 0
	for i, full := 0, 0; full < waiting; i++ {
		full = 0
		for r := range waiting {
			if err := use(fmt.Sprint("request", r), i); err != nil {
				full++
			} else {
				sent++
			}
		}
	}
	passed := 0
	for user := range 1000 {
		if use(fmt.Sprint("access", user), 0) == nil {
			passed++
		}
	}
	t.Logf("%d nonces of request tokens; then of 1000 users with a grant %d pass once", sent, passed)
	if passed < 1000 {
		t.Errorf("%d of 1000 users are locked out", 1000-passed)
	}
}

// Many consumers that registered themselves and are forgotten at once cost a bounded time each.
func TestManyConsumersAreForgottenAtOnce(t *testing.T) {
	for _, n := range []int{2000, envOr("FORGET", 8000)} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			var mu sync.Mutex
			now := time.Unix(1_800_000_000, 0)
			s := openTest(t, Options{Path: t.TempDir(), Clock: func() time.Time { mu.Lock(); defer mu.Unlock(); return now }})
			var all sync.WaitGroup
			for w := range 32 {
				all.Go(func() {
					for i := w; i < n; i += 32 {
						key := fmt.Sprint("c", i)
						if err := s.CreateConsumer(context.Background(), &tokenstore.Consumer{Key: key, SelfRegistered: true}); err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			all.Wait()
			mu.Lock()
			now = now.Add(25 * time.Hour)
			mu.Unlock()
			start, cpu := time.Now(), cpuTime(t)
			s.wake()
			time.Sleep(200 * time.Millisecond)
			most := 0
			var slowest time.Duration
			for i := 0; ; i++ {
				p := s.removals.pending()
				if p == nil && len(s.self.someDue(now, 1)) == 0 {
					break
				}
				if p != nil {
					most = max(most, len(*p))
				}
				at := time.Now()
				if err := s.CreateAccessToken(context.Background(), &tokenstore.AccessToken{Key: fmt.Sprint("t", i), Consumer: "x", User: "u"}); err != nil {
					t.Fatal(err)
				}
				slowest = max(slowest, time.Since(at))
				time.Sleep(5 * time.Millisecond)
			}
			t.Logf("%d consumers: %v, CPU %v, marks at once %d, slowest other write %v", n, time.Since(start).Round(time.Millisecond),
				(cpuTime(t) - cpu).Round(time.Millisecond), most, slowest)
		})
	}
}

func envOr(name string, n int) int {
	if v, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return v
	}
	return n
}

// Nor is it, where the clock was ahead only while the store was opened.
func TestLimitsAfterTheClockWasAheadAtStart(t *testing.T) {
	now := int64(1_800_000_000 + 86400)
	s := openTest(t, Options{Clock: func() time.Time { return time.Unix(now, 0) }})
	s.SetLimits(tokenstore.Limits{RequestTokensOfConsumer: 10, RequestTokens: 100})
	now -= 86400
	for i := range 11 {
		err := s.CreateRequestToken(context.Background(), &tokenstore.RequestToken{Key: fmt.Sprint("r", i), Consumer: "k",
			Expires: time.Unix(now+7200, 0)})
		if want := i == 10; errors.Is(err, tokenstore.ErrTooMany) != want {
			t.Errorf("request token %d: %v", i+1, err)
		}
	}
}
