package storetest

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

var limitCases = []testCase{
	{"a consumer has no more request tokens waiting than the limit", func(t *testing.T, s tokenstore.Store, c *clock) {
		s.SetLimits(tokenstore.Limits{RequestTokensOfConsumer: 10, RequestTokens: 1000})
		create := func(key, consumer string) error {
			return s.CreateRequestToken(t.Context(), requestToken(c, key, consumer))
		}
		got := race(func(i int) error { return create(numbered("r", i), "k") })
		if got[nil] != 10 || got[tokenstore.ErrTooMany] != racers-10 {
			t.Fatalf("got %v, want 10 request tokens", got)
		}
		var waiting []string
		for i := range racers {
			if _, err := s.RequestToken(t.Context(), numbered("r", i)); err == nil {
				waiting = append(waiting, numbered("r", i))
			}
		}
		if len(waiting) != 10 {
			t.Fatalf("there are %q, want 10: a refused token leaves nothing", waiting)
		}
		wantErr(t, s.RoomForRequestToken(t.Context(), requestToken(c, "x", "k"), false), tokenstore.ErrTooMany)
		must(t, create("another", "l"))

		// A request token that ends makes room for another, however it ends.
		_, err := s.Review(t.Context(), waiting[0], review(c, "u", tokenstore.Unauthorized))
		must(t, err)
		must(t, s.RoomForRequestToken(t.Context(), requestToken(c, "x", "k"), false))
		must(t, create("after a refusal", "k"))
		wantErr(t, create("y", "k"), tokenstore.ErrTooMany)
		_, err = s.Review(t.Context(), waiting[1], review(c, "u", "READ_PUBLIC"))
		must(t, err)
		wantErr(t, create("y", "k"), tokenstore.ErrTooMany)
		_, err = s.Exchange(t.Context(), waiting[1], "")
		must(t, err)
		must(t, create("after an exchange", "k"))
		wantErr(t, create("y", "k"), tokenstore.ErrTooMany)
		_, err = s.Review(t.Context(), waiting[2], review(c, "gone", "READ_PUBLIC"))
		must(t, err)
		_, err = s.Revoke(t.Context(), tokenstore.Filter{User: "gone"})
		must(t, err)
		eventually(t, "room after a revocation", func() bool { return create("after a revocation", "k") == nil })
		wantErr(t, create("y", "k"), tokenstore.ErrTooMany)

		c.advance(2 * time.Hour) // 11 are stored
		for i := range 9 {
			must(t, create(numbered("later", i), "k"))
		}
		wantErr(t, create("y", "k"), tokenstore.ErrTooMany)
		c.advance(tokenstore.RequestRetention)
		eventually(t, "room when they are removed", func() bool { return create("last", "k") == nil })
		wantErr(t, create("y", "k"), tokenstore.ErrTooMany)
		s.SetLimits(tokenstore.Limits{RequestTokensOfConsumer: 11, RequestTokens: 1000})
		must(t, create("y", "k"))
		wantErr(t, create("z", "k"), tokenstore.ErrTooMany)
	}},
	{"a consumer has at most twice as many request tokens stored as may wait", func(t *testing.T, s tokenstore.Store, c *clock) {
		const limit, stored = 10, tokenstore.StoredForWaiting * 10
		s.SetLimits(tokenstore.Limits{RequestTokensOfConsumer: limit, RequestTokens: 1000})
		create := func(key, consumer string) error {
			return s.CreateRequestToken(t.Context(), requestToken(c, key, consumer))
		}
		for i := range stored {
			must(t, create(numbered("refused", i), "k"))
			_, err := s.Review(t.Context(), numbered("refused", i), review(c, "u", tokenstore.Unauthorized))
			must(t, err)
		}
		wantErr(t, s.RoomForRequestToken(t.Context(), requestToken(c, "x", "k"), false), tokenstore.ErrTooMany)
		wantErr(t, create("x", "k"), tokenstore.ErrTooMany)

		for i := range stored {
			r := requestToken(c, numbered("short", i), "l")
			r.Expires = c.Now().Add(time.Minute)
			must(t, s.CreateRequestToken(t.Context(), r))
			if i == limit-1 {
				c.advance(time.Minute)
			}
		}
		c.advance(time.Minute)
		wantErr(t, create("x", "l"), tokenstore.ErrTooMany)

		selfRegister(t, s, c, "self")
		s.SetLimits(tokenstore.Limits{})
		for i := range tokenstore.StoredForWaiting * tokenstore.MaxWaiting {
			must(t, create(numbered("self", i), "self"))
			_, err := s.Review(t.Context(), numbered("self", i), review(c, "u", tokenstore.Unauthorized))
			must(t, err)
		}
		wantErr(t, create("x", "self"), tokenstore.ErrTooMany)

		s.SetLimits(tokenstore.Limits{RequestTokensOfConsumer: limit, RequestTokens: 1000})
		must(t, create("of another", "m"))
		c.advance(2*time.Hour + tokenstore.RequestRetention)
		for _, consumer := range []string{"k", "l", "self"} {
			eventually(t, "room when they are removed", func() bool { return create("later "+consumer, consumer) == nil })
		}
	}},
	{"a store has no more request tokens than the limit, until those that ended are removed", func(t *testing.T, s tokenstore.Store, c *clock) {
		s.SetLimits(tokenstore.Limits{RequestTokensOfConsumer: 1000, RequestTokens: 20})
		got := race(func(i int) error {
			return s.CreateRequestToken(t.Context(), requestToken(c, numbered("r", i), numbered("k", i%7)))
		})
		if got[nil] != 20 || got[tokenstore.ErrTooManyInAll] != racers-20 {
			t.Fatalf("got %v, want 20 request tokens", got)
		}
		wantErr(t, s.RoomForRequestToken(t.Context(), requestToken(c, "x", "new"), false), tokenstore.ErrTooManyInAll)
		c.advance(2*time.Hour + tokenstore.RequestRetention - time.Second)
		wantErr(t, s.CreateRequestToken(t.Context(), requestToken(c, "x", "new")), tokenstore.ErrTooManyInAll)
		c.advance(2 * time.Second)
		for i := range 20 {
			eventually(t, "room for new ones", func() bool {
				err := s.CreateRequestToken(t.Context(), requestToken(c, numbered("new", i), "new"))
				if err != nil && !errors.Is(err, tokenstore.ErrTooManyInAll) {
					t.Fatal(err)
				}
				return err == nil
			})
		}
		wantErr(t, s.CreateRequestToken(t.Context(), requestToken(c, "x", "new")), tokenstore.ErrTooManyInAll)
	}},
	{"a large request token counts as several", func(t *testing.T, s tokenstore.Store, c *clock) {
		s.SetLimits(tokenstore.Limits{RequestTokensOfConsumer: 10, RequestTokens: 1000})
		r := requestToken(c, "large", "k")
		r.Callback = "https://example.com/" + strings.Repeat("x", 5*tokenstore.RequestTokenSize)
		must(t, s.CreateRequestToken(t.Context(), r))
		n := 0
		for ; s.CreateRequestToken(t.Context(), requestToken(c, numbered("r", n), "k")) == nil; n++ {
		}
		if n < 1 || n > 5 {
			t.Errorf("beside one of five times the size there is room for %d, want 5 at the most", n)
		}
	}},
	{"a consumer is registered together with its request token, or not at all", func(t *testing.T, s tokenstore.Store, c *clock) {
		s.SetLimits(tokenstore.Limits{RequestTokensOfConsumer: 10, RequestTokens: 5})
		register := func(key string) error {
			return s.RegisterConsumer(t.Context(), &tokenstore.Consumer{Key: key, SelfRegistered: true, Created: c.Now()}, requestToken(c, "of "+key, key))
		}
		for i := range 5 {
			must(t, s.RoomForRequestToken(t.Context(), requestToken(c, "x", numbered("k", i)), true))
			must(t, register(numbered("k", i)))
		}
		wantErr(t, register("k0000"), tokenstore.ErrExists)
		wantErr(t, s.RoomForRequestToken(t.Context(), requestToken(c, "x", "late"), true), tokenstore.ErrTooManyInAll)
		wantErr(t, register("late"), tokenstore.ErrTooManyInAll)
		_, err := s.Consumer(t.Context(), "late")
		wantErr(t, err, tokenstore.ErrNotFound)
		_, err = s.RequestToken(t.Context(), "of late")
		wantErr(t, err, tokenstore.ErrNotFound)
		if got := consumersOf(t, s, 10); len(got) != 5 {
			t.Errorf("there are %q, want 5", got)
		}

		s.SetLimits(tokenstore.Limits{})
		wantRace(t, race(func(i int) error {
			return s.RegisterConsumer(t.Context(), &tokenstore.Consumer{Key: "raced", SelfRegistered: true}, requestToken(c, numbered("raced", i), "raced"))
		}), tokenstore.ErrExists)
		n := 0
		for i := range racers {
			if _, err := s.RequestToken(t.Context(), numbered("raced", i)); err == nil {
				n++
			}
		}
		if n != 1 {
			t.Errorf("of %d registrations of one consumer there are %d request tokens, want 1", racers, n)
		}
		must(t, s.CreateRequestToken(t.Context(), requestToken(c, "taken", "raced")))
		err = s.RegisterConsumer(t.Context(), &tokenstore.Consumer{Key: "second", SelfRegistered: true}, requestToken(c, "taken", "second"))
		wantErr(t, err, tokenstore.ErrExists)
		_, err = s.Consumer(t.Context(), "second")
		wantErr(t, err, tokenstore.ErrNotFound)
	}},
}
