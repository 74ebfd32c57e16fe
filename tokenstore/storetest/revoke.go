package storetest

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

var revokeCases = []testCase{
	{"a revoked token is gone", func(t *testing.T, s tokenstore.Store, c *clock) {
		must(t, s.CreateAccessToken(t.Context(), accessToken(c, "a", "k", "u")))
		must(t, s.CreateAccessToken(t.Context(), accessToken(c, "b", "k", "u")))
		_, err := s.AccessToken(t.Context(), "a")
		must(t, err)
		wantRace(t, race(func(int) error { return s.RevokeToken(t.Context(), "a") }), tokenstore.ErrNotFound)
		_, err = s.AccessToken(t.Context(), "a")
		wantErr(t, err, tokenstore.ErrNotFound)
		for _, f := range []tokenstore.Filter{{}, {User: "u"}, {Consumer: "k"}} {
			if got := tokensOf(t, s, f, 7); !slices.Equal(got, []string{"b"}) {
				t.Errorf("%+v: got %q", f, got)
			}
		}
	}},
	{"revoking by user", func(t *testing.T, s tokenstore.Store, c *clock) {
		testRevoke(t, s, c, tokenstore.Filter{User: "a"}, 2,
			[]string{"ab of a", "ab of ab"}, []string{"waiting a", "waiting ab", "ab of a", "ab of ab"})
	}},
	{"revoking by consumer", func(t *testing.T, s tokenstore.Store, c *clock) {
		testRevoke(t, s, c, tokenstore.Filter{Consumer: "a"}, 2,
			[]string{"a of ab", "ab of ab"}, []string{"waiting ab", "a of ab", "ab of ab"})
	}},
	{"revoking by user and consumer", func(t *testing.T, s tokenstore.Store, c *clock) {
		testRevoke(t, s, c, tokenstore.Filter{User: "a", Consumer: "ab"}, 1,
			[]string{"a of a", "ab of a", "ab of ab"}, []string{"waiting a", "waiting ab", "a of a", "ab of a", "ab of ab"})
	}},
	{"revoking by nothing is an error", func(t *testing.T, s tokenstore.Store, c *clock) {
		must(t, s.CreateAccessToken(t.Context(), accessToken(c, "a", "k", "u")))
		if n, err := s.Revoke(t.Context(), tokenstore.Filter{}); err == nil || n != 0 {
			t.Errorf("got %d, %v", n, err)
		}
		_, err := s.AccessToken(t.Context(), "a")
		must(t, err)
	}},
	{"new grants after a revocation of the user are not hit", func(t *testing.T, s tokenstore.Store, c *clock) {
		testNewGrants(t, s, c, func(round int) error {
			n, err := s.Revoke(t.Context(), tokenstore.Filter{User: "u"})
			if want := 130 / min(round, 2); n != want {
				t.Errorf("revoked %d, want %d", n, want)
			}
			return err
		})
	}},
	{"new grants after a revocation of the consumer are not hit", func(t *testing.T, s tokenstore.Store, c *clock) {
		testNewGrants(t, s, c, func(round int) error {
			n, err := s.Revoke(t.Context(), tokenstore.Filter{Consumer: "k"})
			if want := 130 / min(round, 2); n != want {
				t.Errorf("revoked %d, want %d", n, want)
			}
			return err
		})
	}},
	{"new grants after a revocation of the user's for the consumer are not hit", func(t *testing.T, s tokenstore.Store, c *clock) {
		testNewGrants(t, s, c, func(round int) error {
			n, err := s.Revoke(t.Context(), tokenstore.Filter{User: "u", Consumer: "k"})
			if want := 130 / min(round, 2); n != want {
				t.Errorf("revoked %d, want %d", n, want)
			}
			return err
		})
	}},
	{"new grants of a consumer that was deleted and added again are not hit", func(t *testing.T, s tokenstore.Store, c *clock) {
		must(t, s.CreateConsumer(t.Context(), &tokenstore.Consumer{Key: "k"}))
		testNewGrants(t, s, c, func(int) error {
			must(t, s.DeleteConsumer(t.Context(), "k"))
			return s.CreateConsumer(t.Context(), &tokenstore.Consumer{Key: "k"})
		})
	}},
	{"tokens that are issued while others are revoked are there or not, as they were acknowledged", func(t *testing.T, s tokenstore.Store, c *clock) {
		for i := range 200 {
			must(t, s.CreateAccessToken(t.Context(), accessToken(c, numbered("old", i), "k", "u")))
		}
		var all sync.WaitGroup
		var revoked atomic.Int64 // acknowledged revocations
		var after sync.Map       // tokens whose creation began after so many
		for worker := range 8 {
			all.Go(func() {
				for i := range 100 {
					key, before := numbered(numbered("w", worker), i), revoked.Load()
					if err := s.CreateAccessToken(context.WithoutCancel(t.Context()), accessToken(c, key, "k", "u")); err != nil {
						t.Error(err)
					}
					after.Store(key, before)
				}
			})
		}
		for range 5 {
			_, err := s.Revoke(t.Context(), tokenstore.Filter{User: "u"})
			must(t, err)
			revoked.Add(1)
		}
		all.Wait()
		time.Sleep(300 * time.Millisecond)
		for i := range 200 {
			_, err := s.AccessToken(t.Context(), numbered("old", i))
			wantErr(t, err, tokenstore.ErrNotFound)
		}
		after.Range(func(key, before any) bool {
			if _, err := s.AccessToken(t.Context(), key.(string)); err != nil && before.(int64) == 5 {
				t.Errorf("%s was issued after the last revocation: %v", key, err)
			}
			return true
		})
	}},
	{"no reader sees a token again that was revoked", func(t *testing.T, s tokenstore.Store, c *clock) {
		for round := range 50 {
			key := numbered("a", round)
			must(t, s.CreateAccessToken(t.Context(), accessToken(c, key, "k", "u")))
			stop := make(chan struct{})
			var all sync.WaitGroup
			for range 4 {
				all.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
							_, _ = s.AccessToken(context.WithoutCancel(t.Context()), key)
						}
					}
				})
			}
			err := s.RevokeToken(t.Context(), key)
			_, after := s.AccessToken(t.Context(), key)
			close(stop)
			all.Wait()
			must(t, err)
			wantErr(t, after, tokenstore.ErrNotFound)
			_, after = s.AccessToken(t.Context(), key)
			wantErr(t, after, tokenstore.ErrNotFound)
		}
	}},
}

// testNewGrants revokes many tokens, and makes new ones of the same user, consumer and keys at
// once. The old ones are gone and the new ones exist, at once and after the store has removed the
// old ones from disk.
func testNewGrants(t *testing.T, s tokenstore.Store, c *clock, revoke func(round int) error) {
	t.Helper()
	const tokens, rounds = 130, 2
	create := func(round, i int) {
		must(t, s.CreateAccessToken(t.Context(), accessToken(c, numbered("a", i), "k", "u")))
		r := requestToken(c, numbered("r", i), "k")
		r.Secret = numbered("secret", round)
		must(t, s.CreateRequestToken(t.Context(), r))
		_, err := s.Review(t.Context(), r.Key, review(c, "u", "READ_PUBLIC"))
		must(t, err)
	}
	must(t, s.CreateAccessToken(t.Context(), accessToken(c, "other", "other", "other")))
	for i := range tokens {
		create(0, i)
	}
	kept := tokens / 2
	for round := 1; round <= rounds; round++ {
		must(t, revoke(round))
		for i := range tokens {
			key := numbered("a", i)
			_, err := s.AccessToken(t.Context(), key)
			wantErr(t, err, tokenstore.ErrNotFound)
			_, err = s.LastUsed(t.Context(), key)
			wantErr(t, err, tokenstore.ErrNotFound)
			wantErr(t, s.RevokeToken(t.Context(), key), tokenstore.ErrNotFound)
			_, err = s.RequestToken(t.Context(), numbered("r", i))
			wantErr(t, err, tokenstore.ErrNotFound)
			_, err = s.Exchange(t.Context(), numbered("r", i), "")
			wantErr(t, err, tokenstore.ErrNotFound)
			_, err = s.Review(t.Context(), numbered("r", i), review(c, "u", "READ_PUBLIC"))
			wantErr(t, err, tokenstore.ErrNotFound)
			must(t, s.Touch(t.Context(), map[string]time.Time{key: c.Now().Add(time.Hour)}))
			if i < kept {
				create(round, i)
			}
		}
		if n, err := s.Revoke(t.Context(), tokenstore.Filter{User: "nobody"}); n != 0 || err != nil {
			t.Errorf("got %d, %v", n, err)
		}
		check := func() {
			t.Helper()
			for _, f := range []tokenstore.Filter{{User: "u"}, {Consumer: "k"}, {User: "u", Consumer: "k"}} {
				if got := tokensOf(t, s, f, 1000); len(got) != kept {
					t.Fatalf("%+v has %d tokens, want %d", f, len(got), kept)
				}
			}
			if got := tokensOf(t, s, tokenstore.Filter{}, 1000); len(got) != kept+1 {
				t.Fatalf("there are %d tokens, want %d", len(got), kept+1)
			}
			for i := range kept {
				a, err := s.AccessToken(t.Context(), numbered("a", i))
				must(t, err)
				if !a.LastUsed.IsZero() {
					t.Errorf("a new token was used at %v", a.LastUsed)
				}
				r, err := s.RequestToken(t.Context(), numbered("r", i))
				must(t, err)
				if r.Secret != numbered("secret", round) {
					t.Fatalf("got the request token of another round: %+v", r)
				}
			}
		}
		check()
		time.Sleep(200 * time.Millisecond) // the old ones may be removed meanwhile
		check()
	}
	if got := tokensOf(t, s, tokenstore.Filter{User: "other"}, 10); len(got) != 1 {
		t.Errorf("another's tokens are %q", got)
	}
}

// testRevoke revokes tokens of the users a and ab and the consumers a and ab, which are named `user
// of consumer`.
func testRevoke(t *testing.T, s tokenstore.Store, c *clock, f tokenstore.Filter, want int, access, requests []string) {
	t.Helper()
	var all []string
	for _, consumer := range []string{"a", "ab"} {
		must(t, s.CreateRequestToken(t.Context(), requestToken(c, "waiting "+consumer, consumer)))
		all = append(all, "waiting "+consumer)
		for _, user := range []string{"a", "ab"} {
			key := user + " of " + consumer
			reviewed(t, s, c, key, consumer, user)
			must(t, s.CreateAccessToken(t.Context(), accessToken(c, key, consumer, user)))
			_, err := s.AccessToken(t.Context(), key)
			must(t, err)
			all = append(all, key)
		}
	}
	count := func(f tokenstore.Filter, want int) {
		t.Helper()
		if n, err := s.CountAccessTokens(t.Context(), f); n != want || err != nil {
			t.Errorf("%+v: counted %d, want %d (%v)", f, n, want, err)
		}
	}
	count(f, want)
	count(tokenstore.Filter{}, 4)
	n, err := s.Revoke(t.Context(), f)
	must(t, err)
	if n != want {
		t.Errorf("revoked %d, want %d", n, want)
	}
	count(f, 0)
	count(tokenstore.Filter{}, 4-want)
	if got := tokensOf(t, s, tokenstore.Filter{}, 3); !slices.Equal(got, access) {
		t.Errorf("there are still the access tokens %q, want %q", got, access)
	}
	for _, key := range all {
		_, err := s.RequestToken(t.Context(), key)
		if left := err == nil; left != slices.Contains(requests, key) {
			t.Errorf("request token %q is left: %t (%v)", key, left, err)
		}
		_, err = s.AccessToken(t.Context(), key)
		if left := err == nil; left != slices.Contains(access, key) {
			t.Errorf("access token %q is left: %t (%v)", key, left, err)
		}
	}
	if n, err = s.Revoke(t.Context(), f); n != 0 || err != nil {
		t.Errorf("again: %d, %v", n, err)
	}
}
