package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// All calls run at once, and Close in the middle of them: no deadlock, and with -race no race.
func TestEverythingAtOnce(t *testing.T) {
	for round := range 2 {
		var clock atomic.Int64
		clock.Store(time.Now().Unix())
		path := t.TempDir()
		s, err := Open(Options{Path: path, tune: tuneSmall,
			Clock: func() time.Time { return time.Unix(clock.Load(), 0) }})
		if err != nil {
			t.Fatal(err)
		}
		ctx := context.Background()
		names := []string{"", "a", "b", "a\x00b", "\x00", strings.Repeat("n", 255), "ü\xff"}
		stop := make(chan struct{})
		var all sync.WaitGroup
		for w := range 8 {
			all.Go(func() {
				r := rand.New(rand.NewPCG(uint64(w), uint64(round)))
				for i := 0; !isClosed(stop); i++ {
					name, user := names[r.IntN(len(names))], names[r.IntN(len(names))]
					key := fmt.Sprintf("%d-%d", w, i)
					exp := time.Unix(clock.Load()+int64(r.IntN(100)), 0)
					var err error
					switch r.IntN(14) {
					case 0:
						_, err = s.Revoke(ctx, tokenstore.Filter{User: user, Consumer: name})
						if user+name == "" {
							err = nil
						}
					case 1:
						err = s.DeleteConsumer(ctx, name)
					case 2:
						err = s.RegisterConsumer(ctx, &tokenstore.Consumer{Key: name, SelfRegistered: true},
							&tokenstore.RequestToken{Key: key, Consumer: name, Expires: exp})
					case 3, 4:
						err = s.CreateRequestToken(ctx,
							&tokenstore.RequestToken{Key: key, Consumer: name, Expires: exp})
						if err == nil {
							_, err = s.Review(ctx, key, tokenstore.Review{User: user,
								Permission: []string{"P", tokenstore.Unauthorized}[r.IntN(2)]})
						}
						if err == nil {
							_, err = s.Exchange(ctx, key, "")
						}
					case 5:
						err = s.CreateAccessToken(ctx, &tokenstore.AccessToken{Key: key, Consumer: name, User: user,
							Expires: exp})
					case 6:
						_, _, err = s.AccessTokens(ctx, tokenstore.Filter{User: user, Consumer: name}, "", 10)
					case 7:
						err = s.Touch(ctx, map[string]time.Time{fmt.Sprintf("%d-%d", w, i-1): time.Now()})
					case 8:
						_, err = s.UpdateConsumer(ctx, name,
							func(c *tokenstore.Consumer) error { c.SelfRegistered = r.IntN(2) == 0; return nil })
					case 9:
						clock.Add(int64(r.IntN(2000) - 100))
					case 10:
						s.SetLimits(tokenstore.Limits{RequestTokensOfConsumer: 1 + r.IntN(1000),
							RequestTokens: 1 + r.IntN(5000)})
					case 11:
						err = s.UseNonce(ctx, tokenstore.Nonce{Consumer: name, Token: user, Timestamp: clock.Load(),
							Value: key, Expires: time.Unix(clock.Load()+60, 0)})
					case 12:
						s.revocations.garbage.Add(20 << 20)
						s.revocations.wake()
					case 13:
						err = s.RevokeToken(ctx, fmt.Sprintf("%d-%d", w, i-1))
						s.wake()
					}
					known := false
					for _, e := range []error{nil, tokenstore.ErrNotFound, tokenstore.ErrExists, tokenstore.ErrTooMany,
						tokenstore.ErrTooManyInAll, tokenstore.ErrTooManyConsumers, tokenstore.ErrExpired,
						tokenstore.ErrRefused,
						tokenstore.ErrNonceForgotten, tokenstore.ErrClosed, tokenstore.ErrAlreadyReviewed} {
						known = known || errors.Is(err, e)
					}
					if !known {
						t.Errorf("%q %q: %v", name, user, err)
					}
				}
			})
		}
		time.Sleep(time.Second)
		if round%2 == 1 {
			close(stop)
			all.Wait()
			for range 3000 {
				if s.revocations.pending() == nil {
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
			if got, want := counted(s), recounted(t, s); got != want {
				t.Errorf("before it was closed: counted %v, on disk %v", got, want)
			}
		}
		closed := make(chan error)
		begin := time.Now()
		go func() { closed <- s.Close() }()
		select {
		case err := <-closed:
			if err != nil {
				t.Error(err)
			}
			t.Log("closed after", time.Since(begin))
		case <-time.After(30 * time.Second):
			panic("Close hangs")
		}
		if round%2 == 0 {
			close(stop)
			all.Wait()
		}
		s, err = Open(Options{Path: path, tune: tuneSmall,
			Clock: func() time.Time { return time.Unix(clock.Load(), 0) }})
		if err != nil {
			t.Fatal(err)
		}
		for range 3000 {
			if s.revocations.pending() == nil {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		if got, want := counted(s), recounted(t, s); got != want {
			t.Errorf("counted %v, on disk %v", got, want)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}
