package storetest

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// updateInterrupted makes the change to the consumer k. While it runs for the first time, another
// update adds "other " to the name, unless the store lets that one wait. It returns when both are
// made.
func updateInterrupted(
	t *testing.T, s tokenstore.Store, change func(*tokenstore.Consumer) error,
) (*tokenstore.Consumer, error) {
	t.Helper()
	var other sync.WaitGroup
	var interrupt sync.Once
	defer other.Wait()
	return s.UpdateConsumer(t.Context(), "k", func(c *tokenstore.Consumer) error {
		interrupt.Do(func() {
			made := make(chan struct{})
			other.Go(func() {
				defer close(made)
				_, err := s.UpdateConsumer(context.WithoutCancel(t.Context()), "k", func(c *tokenstore.Consumer) error {
					c.Name += "other "
					c.Callbacks = append(c.Callbacks, "https://other.example/")
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			})
			select {
			case <-made:
			case <-time.After(100 * time.Millisecond): // it waits for this change
			}
		})
		return change(c)
	})
}

var consumerCases = []testCase{
	{"a consumer is given back as it was created", func(t *testing.T, s tokenstore.Store, c *clock) {
		want := &tokenstore.Consumer{
			Key: "ci bot/ü\x00", Name: "CI", Homepage: "https://ci.example.com", Secret: "s",
			PreviousSecret: "p", PreviousSecretExpires: c.Now().Add(time.Hour), RSAPublicKey: "pem",
			SignatureMethods: []string{"RSA-SHA256", "HMAC-SHA1"}, Callbacks: []string{"https://ci.example.com/*"},
			Permissions: []string{"READ_PUBLIC"}, TwoLegged: &tokenstore.TwoLegged{User: "alice", Permission: "READ_PUBLIC"},
			Disabled: true, CallbacksIgnoreQuery: true, DefaultCallback: true, Contact: "a@example.com", Created: c.Now(), Expires: c.Now().Add(time.Hour),
		}
		must(t, s.CreateConsumer(t.Context(), want))
		for range 2 { // the second may come from a cache
			got, err := s.Consumer(t.Context(), want.Key)
			must(t, err)
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v, want %+v", got, want)
			}
		}
		bare := &tokenstore.Consumer{Key: "bare"}
		must(t, s.CreateConsumer(t.Context(), bare))
		got, err := s.Consumer(t.Context(), "bare")
		must(t, err)
		if !reflect.DeepEqual(got, bare) {
			t.Errorf("got %+v, want %+v", got, bare)
		}
	}},
	{"a key is a consumer's alone", func(t *testing.T, s tokenstore.Store, c *clock) {
		wantRace(t, race(func(int) error { return s.CreateConsumer(t.Context(), &tokenstore.Consumer{Key: "k"}) }), tokenstore.ErrExists)
		wantErr(t, s.CreateConsumer(t.Context(), &tokenstore.Consumer{Key: "k", SelfRegistered: true}), tokenstore.ErrExists)
	}},
	{"an unknown consumer is not found", func(t *testing.T, s tokenstore.Store, c *clock) {
		_, err := s.Consumer(t.Context(), "k")
		wantErr(t, err, tokenstore.ErrNotFound)
		_, err = s.UpdateConsumer(t.Context(), "k", func(*tokenstore.Consumer) error { return nil })
		wantErr(t, err, tokenstore.ErrNotFound)
		wantErr(t, s.DeleteConsumer(t.Context(), "k"), tokenstore.ErrNotFound)
	}},
	{"consumers are listed by key in pages", func(t *testing.T, s tokenstore.Store, c *clock) {
		if got := consumersOf(t, s, 3); len(got) != 0 {
			t.Errorf("an empty store lists %q", got)
		}
		want := []string{"a", "a\x00", "a\x00b", "aa", "b", "b/c", "z", "é", "日"}
		for _, i := range []int{5, 0, 8, 3, 1, 7, 2, 6, 4} {
			must(t, s.CreateConsumer(t.Context(), &tokenstore.Consumer{Key: want[i]}))
		}
		for _, limit := range []int{1, 2, 3, 8, 9, 10, 100} { // 3 and 9: the last page is full
			if got := consumersOf(t, s, limit); !slices.Equal(got, want) {
				t.Errorf("in pages of %d: got %q, want %q", limit, got, want)
			}
		}
		page, next, err := s.Consumers(t.Context(), "aZ", 1) // after a key that is not there
		must(t, err)
		if len(page) != 1 || page[0].Key != "aa" || next != "aa" {
			t.Errorf("after aZ: got %v, next %q; want aa", page, next)
		}
	}},
	{"updates of a consumer come one after the other", func(t *testing.T, s tokenstore.Store, c *clock) {
		must(t, s.CreateConsumer(t.Context(), &tokenstore.Consumer{Key: "k"}))
		got := race(func(int) error {
			_, err := s.UpdateConsumer(t.Context(), "k", func(c *tokenstore.Consumer) error {
				c.Name += "x"
				c.Callbacks = append(c.Callbacks, "https://example.com/")
				return nil
			})
			return err
		})
		if got[nil] != racers {
			t.Fatalf("got %v, want no error", got)
		}
		k, err := s.Consumer(t.Context(), "k")
		must(t, err)
		if len(k.Name) != racers || len(k.Callbacks) != racers {
			t.Errorf("after %d updates there are %d and %d", racers, len(k.Name), len(k.Callbacks))
		}
	}},
	{"a change that another update interrupts is made to what that update left", func(t *testing.T, s tokenstore.Store, c *clock) {
		must(t, s.CreateConsumer(t.Context(), &tokenstore.Consumer{Key: "k"}))
		_, err := updateInterrupted(t, s, func(c *tokenstore.Consumer) error {
			if c.Name != "" && c.Name != "other " {
				t.Errorf("change was called with %q, of which it wrote a part itself", c.Name)
			}
			c.Name += "mine "
			c.Callbacks = append(c.Callbacks, "https://mine.example/")
			return nil
		})
		must(t, err)
		k, err := s.Consumer(t.Context(), "k")
		must(t, err)
		if n := strings.Count(k.Name, "mine"); n != 1 || strings.Count(k.Name, "other") != 1 || len(k.Callbacks) != 2 {
			t.Errorf("after one change and one other there are %q and %q", k.Name, k.Callbacks)
		}
	}},
	{"a change that fails when it runs again changes nothing", func(t *testing.T, s tokenstore.Store, c *clock) {
		must(t, s.CreateConsumer(t.Context(), &tokenstore.Consumer{Key: "k"}))
		no := errors.New("no")
		_, err := updateInterrupted(t, s, func(c *tokenstore.Consumer) error {
			if c.Name != "" {
				return no
			}
			c.Name = "mine "
			return nil
		})
		want := "mine other " // the other update waited
		if err != nil {
			wantErr(t, err, no)
			want = "other "
		}
		if k, err := s.Consumer(t.Context(), "k"); err != nil || k.Name != want {
			t.Errorf("got %+v, %v; want the name %q", k, err, want)
		}
	}},
	{"an update that fails changes nothing", func(t *testing.T, s tokenstore.Store, c *clock) {
		must(t, s.CreateConsumer(t.Context(), &tokenstore.Consumer{Key: "k", Name: "before", Callbacks: []string{"https://a.example/"}}))
		before, err := s.Consumer(t.Context(), "k")
		must(t, err)
		no := errors.New("no")
		_, err = s.UpdateConsumer(t.Context(), "k", func(c *tokenstore.Consumer) error {
			c.Name, c.Callbacks[0] = "after", "https://b.example/"
			return no
		})
		wantErr(t, err, no)
		_, err = s.UpdateConsumer(t.Context(), "k", func(c *tokenstore.Consumer) error { c.Key = "l"; return nil })
		if err == nil {
			t.Error("an update changed the key")
		}
		after, err := s.Consumer(t.Context(), "k")
		must(t, err)
		if after.Name != "before" || after.Callbacks[0] != "https://a.example/" || before.Callbacks[0] != "https://a.example/" {
			t.Errorf("it changed to %+v", after)
		}
	}},
	{"a record that was given out is never written to", func(t *testing.T, s tokenstore.Store, c *clock) {
		must(t, s.CreateConsumer(t.Context(), &tokenstore.Consumer{Key: "k", Name: "before"}))
		old, err := s.Consumer(t.Context(), "k")
		must(t, err)
		next, err := s.UpdateConsumer(t.Context(), "k", func(c *tokenstore.Consumer) error { c.Name = "after"; return nil })
		must(t, err)
		if old.Name != "before" || next.Name != "after" {
			t.Errorf("old %q, new %q", old.Name, next.Name)
		}
		if now, err := s.Consumer(t.Context(), "k"); err != nil || now.Name != "after" {
			t.Errorf("got %+v, %v", now, err)
		}
	}},
	{"no reader sees a consumer as it was before an update", func(t *testing.T, s tokenstore.Store, c *clock) {
		must(t, s.CreateConsumer(t.Context(), &tokenstore.Consumer{Key: "k"}))
		stop := make(chan struct{})
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
						_, _ = s.Consumer(context.WithoutCancel(t.Context()), "k")
					}
				}
			})
		}
		defer all.Wait()
		defer close(stop)
		for round := range 50 {
			want := numbered("n", round)
			_, err := s.UpdateConsumer(t.Context(), "k", func(c *tokenstore.Consumer) error { c.Name = want; return nil })
			must(t, err)
			for range 20 {
				got, err := s.Consumer(t.Context(), "k")
				must(t, err)
				if got.Name != want {
					t.Fatalf("after the update to %q, a reader gets %q", want, got.Name)
				}
			}
		}
		must(t, s.DeleteConsumer(t.Context(), "k"))
		_, err := s.Consumer(t.Context(), "k")
		wantErr(t, err, tokenstore.ErrNotFound)
	}},
	{"a deleted consumer takes its tokens with it", func(t *testing.T, s tokenstore.Store, c *clock) {
		for _, k := range []string{"a", "ab"} {
			must(t, s.CreateConsumer(t.Context(), &tokenstore.Consumer{Key: k}))
			must(t, s.CreateAccessToken(t.Context(), accessToken(c, "access of "+k, k, "u")))
			must(t, s.CreateRequestToken(t.Context(), requestToken(c, "request of "+k, k)))
			reviewed(t, s, c, "reviewed of "+k, k, "u")
		}
		_, err := s.AccessToken(t.Context(), "access of a")
		must(t, err)
		must(t, s.DeleteConsumer(t.Context(), "a"))
		_, err = s.Consumer(t.Context(), "a")
		wantErr(t, err, tokenstore.ErrNotFound)
		_, err = s.AccessToken(t.Context(), "access of a")
		wantErr(t, err, tokenstore.ErrNotFound)
		for _, k := range []string{"request of a", "reviewed of a"} {
			_, err = s.RequestToken(t.Context(), k)
			wantErr(t, err, tokenstore.ErrNotFound)
		}
		if got := tokensOf(t, s, tokenstore.Filter{User: "u"}, 10); !slices.Equal(got, []string{"access of ab"}) {
			t.Errorf("the user's tokens are %q", got)
		}
		_, err = s.RequestToken(t.Context(), "reviewed of ab")
		must(t, err)
		must(t, s.CreateConsumer(t.Context(), &tokenstore.Consumer{Key: "a"}))
		if got := tokensOf(t, s, tokenstore.Filter{Consumer: "a"}, 10); len(got) != 0 {
			t.Errorf("a new consumer of that key has %q", got)
		}
	}},
}
