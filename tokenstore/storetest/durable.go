package storetest

import (
	"context"
	"errors"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

var storeCases = []testCase{
	{"the secret is the same for all", func(t *testing.T, s tokenstore.Store, c *clock) {
		var mu sync.Mutex
		secrets := make(map[[32]byte]bool)
		race(func(int) error {
			secret, err := s.Secret(t.Context())
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			secrets[secret] = true
			return nil
		})
		if len(secrets) != 1 || secrets[[32]byte{}] {
			t.Errorf("got %d secrets", len(secrets))
		}
	}},
	{"a store that works passes its check", func(t *testing.T, s tokenstore.Store, c *clock) {
		if got := race(func(int) error { return s.Check(t.Context()) }); got[nil] != racers {
			t.Error(got)
		}
	}},
	{"a context that has ended ends the call", func(t *testing.T, s tokenstore.Store, c *clock) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		wantErr(t, s.UseNonce(ctx, nonce(c, "n")), context.Canceled)
		_, err := s.AccessToken(ctx, "not in a cache")
		wantErr(t, err, context.Canceled)
	}},
	{"a closed store says so", func(t *testing.T, s tokenstore.Store, c *clock) {
		must(t, s.CreateConsumer(t.Context(), &tokenstore.Consumer{Key: "k"}))
		_, err := s.Consumer(t.Context(), "k")
		must(t, err)
		must(t, s.Close())
		must(t, s.Close())
		for i, err := range everyCall(t.Context(), s, c) {
			if !errors.Is(err, tokenstore.ErrClosed) {
				t.Errorf("call %d: got %v", i, err)
			}
		}
	}},
	{"a store is closed under way", func(t *testing.T, s tokenstore.Store, c *clock) {
		var all sync.WaitGroup
		for i := range 16 {
			all.Go(func() {
				ctx := context.WithoutCancel(t.Context())
				for j := 0; ; j++ {
					err := s.UseNonce(ctx, nonce(c, numbered("n", i*1_000_000+j)))
					if err == nil {
						err = s.CreateAccessToken(ctx, accessToken(c, numbered("a", i*1_000_000+j), "k", "u"))
					}
					if errors.Is(err, tokenstore.ErrClosed) {
						return
					}
					if err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		time.Sleep(100 * time.Millisecond)
		must(t, s.Close())
		all.Wait()
	}},
}

// everyCall makes each call of a store once.
func everyCall(ctx context.Context, s tokenstore.Store, c *clock) []error {
	var errs []error
	add := func(err error) { errs = append(errs, err) }
	_, err := s.Consumer(ctx, "k")
	add(err)
	add(s.CreateConsumer(ctx, &tokenstore.Consumer{Key: "l"}))
	_, err = s.UpdateConsumer(ctx, "k", func(*tokenstore.Consumer) error { return nil })
	add(err)
	add(s.DeleteConsumer(ctx, "k"))
	_, _, err = s.Consumers(ctx, "", 1)
	add(err)
	add(s.CreateRequestToken(ctx, requestToken(c, "r", "k")))
	_, err = s.RequestToken(ctx, "r")
	add(err)
	_, err = s.Review(ctx, "r", review(c, "u", "READ_PUBLIC"))
	add(err)
	_, err = s.Exchange(ctx, "r", "")
	add(err)
	add(s.CreateAccessToken(ctx, accessToken(c, "a", "k", "u")))
	_, err = s.AccessToken(ctx, "a")
	add(err)
	_, err = s.LastUsed(ctx, "a")
	add(err)
	_, _, err = s.AccessTokens(ctx, tokenstore.Filter{}, "", 1)
	add(err)
	add(s.RevokeToken(ctx, "a"))
	_, err = s.Revoke(ctx, tokenstore.Filter{User: "u"})
	add(err)
	add(s.Touch(ctx, map[string]time.Time{"a": c.Now()}))
	add(s.UseNonce(ctx, nonce(c, "n")))
	_, err = s.Secret(ctx)
	add(err)
	add(s.Check(ctx))
	return errs
}

var durableCases = []struct {
	name string
	test func(t *testing.T, open func() tokenstore.Store, clock *clock)
}{
	{"records are there after reopening", func(t *testing.T, open func() tokenstore.Store, c *clock) {
		s := open()
		must(t, s.CreateConsumer(t.Context(), &tokenstore.Consumer{Key: "k", Name: "n"}))
		must(t, s.CreateAccessToken(t.Context(), accessToken(c, "a", "k", "u")))
		must(t, s.CreateAccessToken(t.Context(), accessToken(c, "revoked", "k", "u")))
		must(t, s.RevokeToken(t.Context(), "revoked"))
		reviewed(t, s, c, "r", "k", "u")
		reviewed(t, s, c, "exchanged", "k", "u")
		_, err := s.Exchange(t.Context(), "exchanged", "")
		must(t, err)
		secret, err := s.Secret(t.Context())
		must(t, err)
		a, err := s.AccessToken(t.Context(), "a")
		must(t, err)
		must(t, s.Close())

		s = open()
		again, err := s.AccessToken(t.Context(), "a")
		must(t, err)
		if !reflect.DeepEqual(again, a) {
			t.Errorf("got %+v, want %+v", again, a)
		}
		_, err = s.AccessToken(t.Context(), "revoked")
		wantErr(t, err, tokenstore.ErrNotFound)
		_, err = s.Exchange(t.Context(), "exchanged", "")
		wantErr(t, err, tokenstore.ErrNotFound)
		_, err = s.Review(t.Context(), "r", review(c, "u", "READ_PUBLIC"))
		must(t, err) // the same answer again
		_, err = s.Review(t.Context(), "r", review(c, "u", "WRITE_PUBLIC"))
		wantErr(t, err, tokenstore.ErrAlreadyReviewed)
		_, err = s.Exchange(t.Context(), "r", "")
		must(t, err)
		if again, err := s.Secret(t.Context()); err != nil || again != secret {
			t.Errorf("the secret changed (%v)", err)
		}
	}},
	{"wrong verifiers are counted across reopening", func(t *testing.T, open func() tokenstore.Store, c *clock) {
		s := open()
		r := requestToken(c, "r", "k")
		r.Callback = "oob"
		must(t, s.CreateRequestToken(t.Context(), r))
		v := review(c, "u", "READ_PUBLIC")
		v.Verifier = "right"
		_, err := s.Review(t.Context(), "r", v)
		must(t, err)
		for range tokenstore.MaxVerifierFailures {
			_, err := s.Exchange(t.Context(), "r", "wrong")
			wantErr(t, err, tokenstore.ErrVerifier)
			must(t, s.Close())
			s = open()
		}
		_, err = s.Exchange(t.Context(), "r", "right")
		wantErr(t, err, tokenstore.ErrNotFound)
	}},
	{"nonces are used after reopening", func(t *testing.T, open func() tokenstore.Store, c *clock) {
		s := open()
		for i := range 100 {
			must(t, s.UseNonce(t.Context(), nonce(c, numbered("n", i))))
		}
		must(t, s.Close())
		s = open()
		for i := range 100 {
			wantErr(t, s.UseNonce(t.Context(), nonce(c, numbered("n", i))), tokenstore.ErrNonceUsed)
		}
		must(t, s.UseNonce(t.Context(), nonce(c, "new")))
	}},
	{"forgotten nonces stay forgotten after reopening", func(t *testing.T, open func() tokenstore.Store, c *clock) {
		s := open()
		n := nonce(c, "n")
		must(t, s.UseNonce(t.Context(), n))
		c.advance(time.Hour)
		must(t, s.UseNonce(t.Context(), nonce(c, "later")))
		time.Sleep(100 * time.Millisecond)
		must(t, s.Close())
		c.advance(-time.Hour)
		s = open()
		n.Expires = c.Now().Add(2 * time.Hour)
		err := s.UseNonce(t.Context(), n)
		if !errors.Is(err, tokenstore.ErrNonceUsed) && !errors.Is(err, tokenstore.ErrNonceForgotten) {
			t.Fatalf("got %v, want used or forgotten", err)
		}
	}},
	{"self-registered consumers are forgotten after reopening", func(t *testing.T, open func() tokenstore.Store, c *clock) {
		s := open()
		selfRegister(t, s, c, "k")
		must(t, s.Close())
		c.advance(day)
		wantForgotten(t, open(), "k")
	}},
}
