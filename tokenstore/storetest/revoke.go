package storetest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

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
	{"no token of an exchange that began before survives a revocation", func(t *testing.T, s tokenstore.Store, c *clock) {
		for round := range 10 {
			for _, f := range []tokenstore.Filter{{User: "u"}, {Consumer: "k"}} {
				name := numbered(f.User+f.Consumer, round)
				for i := range racers {
					reviewed(t, s, c, numbered(name+" r", i), "k", "u")
				}
				var all sync.WaitGroup
				exchanged := make(chan struct{}, racers)
				for i := range racers {
					all.Go(func() {
						defer func() { exchanged <- struct{}{} }()
						_, err := s.Exchange(context.WithoutCancel(t.Context()), numbered(name+" r", i), "", numbered(name+" a", i), "secret")
						if err != nil && !errors.Is(err, tokenstore.ErrNotFound) {
							t.Error(err)
						}
					})
				}
				for range 1 + round { // the others have begun
					<-exchanged
				}
				_, err := s.Revoke(t.Context(), f)
				must(t, err)
				all.Wait()
				if got := tokensOf(t, s, tokenstore.Filter{User: "u"}, 100); len(got) != 0 {
					t.Fatalf("%+v: %d survived: %q", f, len(got), got)
				}
			}
		}
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

// testRevoke revokes where the users a and ab, and the consumers a and ab, have what there is, named `user of
// consumer`.
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
	n, err := s.Revoke(t.Context(), f)
	must(t, err)
	if n != want {
		t.Errorf("revoked %d, want %d", n, want)
	}
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
