package storetest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

const day = 24 * time.Hour

func selfRegister(t *testing.T, s tokenstore.Store, c *clock, key string) {
	t.Helper()
	must(t, s.CreateConsumer(t.Context(), &tokenstore.Consumer{Key: key, SelfRegistered: true, Created: c.Now()}))
}

// wantForgotten fails the test unless the consumer is forgotten.
func wantForgotten(t *testing.T, s tokenstore.Store, key string) {
	t.Helper()
	eventually(t, "forgetting consumer "+key, func() bool {
		_, _, err := s.Consumers(t.Context(), "", 10)
		must(t, err)
		_, err = s.Consumer(t.Context(), key)
		if err != nil && !errors.Is(err, tokenstore.ErrNotFound) {
			t.Fatal(err)
		}
		return err != nil
	})
}

var selfRegisteredCases = []testCase{
	{"a self-registered consumer without an access token is forgotten after a day", func(t *testing.T, s tokenstore.Store, c *clock) {
		selfRegister(t, s, c, "k")
		must(t, s.CreateConsumer(t.Context(), &tokenstore.Consumer{Key: "added"}))
		c.advance(day - time.Second)
		_, err := s.Consumer(t.Context(), "k")
		must(t, err)
		c.advance(time.Second)
		wantForgotten(t, s, "k")
		_, err = s.UpdateConsumer(t.Context(), "k", func(*tokenstore.Consumer) error { return nil })
		wantErr(t, err, tokenstore.ErrNotFound)
		selfRegister(t, s, c, "k")
		_, err = s.Consumer(t.Context(), "k")
		must(t, err)
		_, err = s.Consumer(t.Context(), "added")
		must(t, err)
	}},
	{"a self-registered consumer stays while it has an access token", func(t *testing.T, s tokenstore.Store, c *clock) {
		selfRegister(t, s, c, "exchanged")
		selfRegister(t, s, c, "issued")
		reviewed(t, s, c, "r", "exchanged", "u")
		a, err := s.Exchange(t.Context(), "r", "")
		must(t, err)
		must(t, s.CreateAccessToken(t.Context(), accessToken(c, "b", "issued", "u")))
		must(t, s.CreateAccessToken(t.Context(), accessToken(c, "b2", "issued", "u2")))
		c.advance(30 * day)
		for _, k := range []string{"exchanged", "issued"} {
			_, err = s.Consumer(t.Context(), k)
			must(t, err)
		}
		must(t, s.RevokeToken(t.Context(), a.Key))
		_, err = s.Revoke(t.Context(), tokenstore.Filter{User: "u"})
		must(t, err)
		c.advance(day - time.Second)
		for _, k := range []string{"exchanged", "issued"} {
			_, err = s.Consumer(t.Context(), k)
			must(t, err)
		}
		c.advance(2 * time.Second)
		wantForgotten(t, s, "exchanged")
		_, err = s.Consumer(t.Context(), "issued") // has b2
		must(t, err)
		_, err = s.Revoke(t.Context(), tokenstore.Filter{Consumer: "issued"})
		must(t, err)
		c.advance(day)
		wantForgotten(t, s, "issued")
	}},
	{"a self-registered consumer is forgotten a day after its last access token expired", func(t *testing.T, s tokenstore.Store, c *clock) {
		selfRegister(t, s, c, "k")
		a := accessToken(c, "a", "k", "u")
		a.Expires = c.Now().Add(2 * time.Hour)
		must(t, s.CreateAccessToken(t.Context(), a))
		c.advance(day)
		_, err := s.Consumer(t.Context(), "k")
		must(t, err)
		c.advance(3 * time.Hour)
		_, _, err = s.Consumers(t.Context(), "", 10)
		must(t, err)
		time.Sleep(50 * time.Millisecond)
		c.advance(2 * day)
		wantForgotten(t, s, "k")
	}},
	{"a self-registered consumer has few request tokens waiting", func(t *testing.T, s tokenstore.Store, c *clock) {
		selfRegister(t, s, c, "k")
		must(t, s.CreateConsumer(t.Context(), &tokenstore.Consumer{Key: "added"}))
		create := func(i int) error { return s.CreateRequestToken(t.Context(), requestToken(c, numbered("r", i), "k")) }
		for i := range tokenstore.MaxWaiting - 1 {
			must(t, create(i))
		}
		got := race(func(i int) error { return create(1000 + i) })
		if got[nil] != 1 || got[tokenstore.ErrTooMany] != racers-1 {
			t.Fatalf("got %v, want one more", got)
		}
		for i := range tokenstore.MaxWaiting + 1 {
			must(t, s.CreateRequestToken(t.Context(), requestToken(c, numbered("s", i), "added")))
			must(t, s.CreateRequestToken(t.Context(), requestToken(c, numbered("t", i), "not stored")))
		}

		// Refused and exchanged request tokens no longer wait.
		_, err := s.Review(t.Context(), numbered("r", 0), review(c, "u", tokenstore.Unauthorized))
		must(t, err)
		must(t, create(2000))
		wantErr(t, create(2001), tokenstore.ErrTooMany)
		_, err = s.Review(t.Context(), numbered("r", 1), review(c, "u", "READ_PUBLIC"))
		must(t, err)
		wantErr(t, create(2001), tokenstore.ErrTooMany)
		_, err = s.Exchange(t.Context(), numbered("r", 1), "")
		must(t, err)
		must(t, create(2001))
		wantErr(t, create(2002), tokenstore.ErrTooMany)

		// An expired request token no longer waits either.
		c.advance(2 * time.Hour) // one more than MaxWaiting is stored
		for i := range tokenstore.MaxWaiting - 1 {
			must(t, create(3000+i))
		}
		wantErr(t, create(4000), tokenstore.ErrTooMany)
		c.advance(tokenstore.RequestRetention)
		eventually(t, "room when they are removed", func() bool { return create(4000) == nil })
		wantErr(t, create(4001), tokenstore.ErrTooMany)
	}},
	{"a consumer that was adopted is not forgotten, whatever is revoked meanwhile", func(t *testing.T, s tokenstore.Store, c *clock) {
		const consumers = 50
		for i := range consumers {
			selfRegister(t, s, c, numbered("k", i))
			must(t, s.CreateAccessToken(t.Context(), accessToken(c, numbered("a", i), numbered("k", i), "u")))
		}
		var all sync.WaitGroup
		start := make(chan struct{})
		for i := range consumers {
			all.Go(func() {
				<-start
				if err := s.RevokeToken(context.WithoutCancel(t.Context()), numbered("a", i)); err != nil {
					t.Error(err)
				}
			})
			all.Go(func() {
				<-start
				if _, err := s.UpdateConsumer(context.WithoutCancel(t.Context()), numbered("k", i), func(c *tokenstore.Consumer) error {
					c.SelfRegistered = false
					return nil
				}); err != nil {
					t.Error(err)
				}
			})
		}
		close(start)
		all.Wait()
		selfRegister(t, s, c, "due with them")
		c.advance(day)
		wantForgotten(t, s, "due with them")
		selfRegister(t, s, c, "due with them") // the old one has gone, and so would the others have
		for i := range consumers {
			k, err := s.Consumer(t.Context(), numbered("k", i))
			must(t, err)
			if k.SelfRegistered {
				t.Errorf("%s was not adopted", k.Key)
			}
		}
	}},
	{"a forgotten consumer takes its tokens with it", func(t *testing.T, s tokenstore.Store, c *clock) {
		selfRegister(t, s, c, "k")
		must(t, s.CreateRequestToken(t.Context(), requestToken(c, "r", "k")))
		c.advance(day)
		wantForgotten(t, s, "k")
		eventually(t, "forgetting its request token", func() bool {
			_, err := s.RequestToken(t.Context(), "r")
			return errors.Is(err, tokenstore.ErrNotFound)
		})
	}},
}
