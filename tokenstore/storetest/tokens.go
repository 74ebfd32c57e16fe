package storetest

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

var tokenCases = []testCase{
	{"tokens are given back as they were created", func(t *testing.T, s tokenstore.Store, c *clock) {
		r := requestToken(c, "r", "k")
		r.Callback = "https://example.com/cb?a=b"
		must(t, s.CreateRequestToken(t.Context(), r))
		gotR, err := s.RequestToken(t.Context(), "r")
		must(t, err)
		if !reflect.DeepEqual(gotR, r) {
			t.Errorf("got %+v, want %+v", gotR, r)
		}
		a := accessToken(c, "a", "k", "u")
		a.Context, a.Expires, a.LastUsed = "c\x00", c.Now().Add(time.Hour), c.Now()
		must(t, s.CreateAccessToken(t.Context(), a))
		for range 2 {
			gotA, err := s.AccessToken(t.Context(), "a")
			must(t, err)
			if !reflect.DeepEqual(gotA, a) {
				t.Errorf("got %+v, want %+v", gotA, a)
			}
		}
	}},
	{"a key is a token's alone", func(t *testing.T, s tokenstore.Store, c *clock) {
		wantRace(t, race(func(int) error { return s.CreateRequestToken(t.Context(), requestToken(c, "x", "k")) }), tokenstore.ErrExists)
		wantRace(t, race(func(int) error { return s.CreateAccessToken(t.Context(), accessToken(c, "x", "k", "u")) }), tokenstore.ErrExists)
	}},
	{"an unknown token is not found", func(t *testing.T, s tokenstore.Store, c *clock) {
		_, err := s.RequestToken(t.Context(), "x")
		wantErr(t, err, tokenstore.ErrNotFound)
		_, err = s.AccessToken(t.Context(), "x")
		wantErr(t, err, tokenstore.ErrNotFound)
		_, err = s.Review(t.Context(), "x", review(c, "u", "READ_PUBLIC"))
		wantErr(t, err, tokenstore.ErrNotFound)
		_, err = s.Exchange(t.Context(), "x", "")
		wantErr(t, err, tokenstore.ErrNotFound)
		wantErr(t, s.RevokeToken(t.Context(), "x"), tokenstore.ErrNotFound)
	}},
	{"an exchange carries user, permission, context and expiry", func(t *testing.T, s tokenstore.Store, c *clock) {
		must(t, s.CreateRequestToken(t.Context(), requestToken(c, "r", "k")))
		r := tokenstore.Review{User: "u", Permission: "WRITE_PUBLIC", Context: "ctx", Time: c.Now(), Expires: c.Now().Add(time.Hour)}
		_, err := s.Review(t.Context(), "r", r)
		must(t, err)
		c.advance(time.Minute)
		got, err := s.Exchange(t.Context(), "r", "")
		must(t, err)
		if len(got.Key) < 20 || len(got.Secret) < 20 {
			t.Errorf("got the key %q and the secret %q", got.Key, got.Secret)
		}
		want := &tokenstore.AccessToken{Key: got.Key, Secret: got.Secret, Consumer: "k", User: "u", Permission: "WRITE_PUBLIC",
			Context: "ctx", Created: c.Now(), Expires: r.Expires}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
		stored, err := s.AccessToken(t.Context(), got.Key)
		must(t, err)
		if !reflect.DeepEqual(stored, want) {
			t.Errorf("stored %+v, want %+v", stored, want)
		}
	}},
	{"an unreviewed request token is not exchanged", func(t *testing.T, s tokenstore.Store, c *clock) {
		must(t, s.CreateRequestToken(t.Context(), requestToken(c, "r", "k")))
		_, err := s.Exchange(t.Context(), "r", "")
		wantErr(t, err, tokenstore.ErrNotReviewed)
		c.advance(2*time.Hour + time.Minute)
		_, err = s.Exchange(t.Context(), "r", "")
		wantErr(t, err, tokenstore.ErrNotReviewed)
	}},
	{"an expired request token is neither reviewed nor exchanged, and remembered for a while", func(t *testing.T, s tokenstore.Store, c *clock) {
		must(t, s.CreateRequestToken(t.Context(), requestToken(c, "waiting", "k")))
		reviewed(t, s, c, "reviewed", "k", "u")
		c.advance(2 * time.Hour)
		_, err := s.Review(t.Context(), "waiting", review(c, "u", "READ_PUBLIC"))
		wantErr(t, err, tokenstore.ErrExpired)
		_, err = s.Exchange(t.Context(), "reviewed", "")
		wantErr(t, err, tokenstore.ErrExpired)
		c.advance(tokenstore.RequestRetention - time.Second)
		_, err = s.Exchange(t.Context(), "reviewed", "")
		wantErr(t, err, tokenstore.ErrExpired)
		c.advance(time.Second)
		for _, key := range []string{"waiting", "reviewed"} {
			_, err = s.RequestToken(t.Context(), key)
			wantErr(t, err, tokenstore.ErrNotFound)
			_, err = s.Exchange(t.Context(), key, "")
			wantErr(t, err, tokenstore.ErrNotFound)
		}
		must(t, s.CreateRequestToken(t.Context(), requestToken(c, "reviewed", "k"))) // the key is free
		r, err := s.RequestToken(t.Context(), "reviewed")
		must(t, err)
		if r.Review != nil {
			t.Errorf("a new token of that key has the review %+v", r.Review)
		}
	}},
	{"a refusal is told for as long as the request token is remembered", func(t *testing.T, s tokenstore.Store, c *clock) {
		must(t, s.CreateRequestToken(t.Context(), requestToken(c, "r", "k")))
		_, err := s.Review(t.Context(), "r", review(c, "u", tokenstore.Unauthorized))
		must(t, err)
		for range 2 {
			_, err = s.Exchange(t.Context(), "r", "")
			wantErr(t, err, tokenstore.ErrRefused)
			_, err = s.Review(t.Context(), "r", review(c, "u", "READ_PUBLIC"))
			wantErr(t, err, tokenstore.ErrAlreadyReviewed)
			c.advance(2*time.Hour + tokenstore.RequestRetention - time.Second)
		}
		c.advance(time.Second)
		_, err = s.Exchange(t.Context(), "r", "")
		wantErr(t, err, tokenstore.ErrNotFound)
	}},
	{"the fifth wrong verifier ends a request token", func(t *testing.T, s tokenstore.Store, c *clock) {
		oob := func(key string) {
			r := requestToken(c, key, "k")
			r.Callback = "oob"
			must(t, s.CreateRequestToken(t.Context(), r))
			v := review(c, "u", "READ_PUBLIC")
			v.Verifier = "right"
			_, err := s.Review(t.Context(), key, v)
			must(t, err)
		}
		oob("patient")
		for _, wrong := range []string{"", "wrong", "righ", "right "} {
			_, err := s.Exchange(t.Context(), "patient", wrong)
			wantErr(t, err, tokenstore.ErrVerifier)
		}
		if r, err := s.RequestToken(t.Context(), "patient"); err != nil || r.VerifierFailures != 4 {
			t.Fatalf("got %+v, %v; want 4 failures", r, err)
		}
		_, err := s.Exchange(t.Context(), "patient", "right")
		must(t, err)

		oob("guessed")
		got := race(func(i int) error {
			_, err := s.Exchange(t.Context(), "guessed", numbered("v", i))
			return err
		})
		if got[tokenstore.ErrVerifier] != tokenstore.MaxVerifierFailures || got[tokenstore.ErrNotFound] != racers-tokenstore.MaxVerifierFailures {
			t.Errorf("of %d wrong verifiers at the same time: got %v", racers, got)
		}
		_, err = s.Exchange(t.Context(), "guessed", "right")
		wantErr(t, err, tokenstore.ErrNotFound)
	}},
	{"an expired access token is remembered for a while", func(t *testing.T, s tokenstore.Store, c *clock) {
		a := accessToken(c, "a", "k", "u")
		a.Expires = c.Now().Add(time.Hour)
		must(t, s.CreateAccessToken(t.Context(), a))
		c.advance(time.Hour + tokenstore.Retention - time.Second)
		got, err := s.AccessToken(t.Context(), "a")
		must(t, err)
		if !got.Expired(c.Now()) {
			t.Error("it is not expired")
		}
	}},
	{"access tokens are listed by user and consumer", func(t *testing.T, s tokenstore.Store, c *clock) {
		names := []string{"a", "ab", "a\x00", "a\x00b", "a/b", "/", "b", "日本", "é", "e\u0301", "\x01a", " "}
		for i, user := range names {
			for j, consumer := range names {
				key := numbered("t", i*len(names)+j)
				must(t, s.CreateAccessToken(t.Context(), accessToken(c, key, consumer, user)))
			}
		}
		for i, name := range names {
			var ofUser, ofConsumer []string
			for j := range names {
				ofUser = append(ofUser, numbered("t", i*len(names)+j))
				ofConsumer = append(ofConsumer, numbered("t", j*len(names)+i))
			}
			for _, limit := range []int{5, len(names), 100} {
				if got := tokensOf(t, s, tokenstore.Filter{User: name}, limit); !slices.Equal(got, ofUser) {
					t.Errorf("user %q in pages of %d: got %q", name, limit, got)
				}
				if got := tokensOf(t, s, tokenstore.Filter{Consumer: name}, limit); !slices.Equal(got, ofConsumer) {
					t.Errorf("consumer %q in pages of %d: got %q", name, limit, got)
				}
			}
			both := tokenstore.Filter{User: name, Consumer: "ab"}
			if got := tokensOf(t, s, both, 1); !slices.Equal(got, []string{numbered("t", i*len(names)+1)}) {
				t.Errorf("%+v: got %q", both, got)
			}
		}
		if got := tokensOf(t, s, tokenstore.Filter{}, 7); len(got) != len(names)*len(names) || !slices.IsSorted(got) {
			t.Errorf("all: got %d, sorted %t", len(got), slices.IsSorted(got))
		}
		if got := tokensOf(t, s, tokenstore.Filter{User: "nobody"}, 7); len(got) != 0 {
			t.Errorf("a filter without a match has %q", got)
		}
	}},
	{"a touch notes when tokens were used", func(t *testing.T, s tokenstore.Store, c *clock) {
		must(t, s.CreateAccessToken(t.Context(), accessToken(c, "a", "k", "u")))
		_, err := s.AccessToken(t.Context(), "a")
		must(t, err)
		c.advance(time.Hour)
		must(t, s.Touch(t.Context(), map[string]time.Time{"a": c.Now(), "gone": c.Now()}))
		must(t, s.Touch(t.Context(), nil))
		eventually(t, "last used", func() bool {
			used, err := s.LastUsed(t.Context(), "a")
			must(t, err)
			return used.Equal(c.Now())
		})
		page, _, err := s.AccessTokens(t.Context(), tokenstore.Filter{}, "", 2)
		if err != nil || len(page) != 1 || !page[0].LastUsed.Equal(c.Now()) {
			t.Errorf("listed: %+v, %v", page, err)
		}
		_, err = s.AccessToken(t.Context(), "gone")
		wantErr(t, err, tokenstore.ErrNotFound)
		_, err = s.LastUsed(t.Context(), "gone")
		wantErr(t, err, tokenstore.ErrNotFound)
		if got := tokensOf(t, s, tokenstore.Filter{User: "u"}, 7); !slices.Equal(got, []string{"a"}) {
			t.Errorf("the user has %q", got)
		}
	}},
	{"a touch sets nothing back", func(t *testing.T, s tokenstore.Store, c *clock) {
		a := accessToken(c, "a", "k", "u")
		a.LastUsed = c.Now()
		must(t, s.CreateAccessToken(t.Context(), a))
		must(t, s.CreateAccessToken(t.Context(), accessToken(c, "b", "k", "u")))
		must(t, s.Touch(t.Context(), map[string]time.Time{"a": c.Now().Add(-time.Minute), "b": c.Now()}))
		eventually(t, "last used", func() bool {
			b, err := s.LastUsed(t.Context(), "b")
			must(t, err)
			return b.Equal(c.Now())
		})
		if got, err := s.LastUsed(t.Context(), "a"); err != nil || !got.Equal(c.Now()) {
			t.Errorf("got %v, %v", got, err)
		}
	}},
	{"a token that was never used says so, and one that is forgotten is not there", func(t *testing.T, s tokenstore.Store, c *clock) {
		a := accessToken(c, "a", "k", "u")
		a.Expires = c.Now().Add(time.Hour)
		must(t, s.CreateAccessToken(t.Context(), a))
		if got, err := s.LastUsed(t.Context(), "a"); err != nil || !got.IsZero() {
			t.Errorf("got %v, %v", got, err)
		}
		c.advance(time.Hour + tokenstore.Retention)
		_, err := s.LastUsed(t.Context(), "a")
		wantErr(t, err, tokenstore.ErrNotFound)
	}},
	{"a touch brings no token back that is revoked meanwhile", func(t *testing.T, s tokenstore.Store, c *clock) {
		used := make(map[string]time.Time)
		for i := range racers {
			key := numbered("a", i)
			must(t, s.CreateAccessToken(t.Context(), accessToken(c, key, "k", "u")))
			used[key] = c.Now()
		}
		var all sync.WaitGroup
		stop := make(chan struct{})
		for range 2 {
			all.Go(func() {
				for n := time.Duration(1); ; n++ {
					select {
					case <-stop:
						return
					default:
					}
					later := make(map[string]time.Time)
					for key, at := range used {
						later[key] = at.Add(n * time.Second)
					}
					if err := s.Touch(context.WithoutCancel(t.Context()), later); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		got := race(func(i int) error { return s.RevokeToken(t.Context(), numbered("a", i)) })
		close(stop)
		all.Wait()
		if got[nil] != racers {
			t.Errorf("revoking: got %v, want no error", got)
		}
		for key := range used {
			if _, err := s.AccessToken(t.Context(), key); !errors.Is(err, tokenstore.ErrNotFound) {
				t.Errorf("%s: got %v, want %v", key, err, tokenstore.ErrNotFound)
			}
		}
		if got := tokensOf(t, s, tokenstore.Filter{User: "u"}, 100); len(got) != 0 {
			t.Errorf("the user has %q", got)
		}
	}},
	{"a page without a record is an error", func(t *testing.T, s tokenstore.Store, c *clock) {
		for _, limit := range []int{0, -1} {
			if _, _, err := s.AccessTokens(t.Context(), tokenstore.Filter{}, "", limit); err == nil {
				t.Errorf("access tokens: a limit of %d", limit)
			}
			if _, _, err := s.Consumers(t.Context(), "", limit); err == nil {
				t.Errorf("consumers: a limit of %d", limit)
			}
		}
	}},
}

// requestTokenCases look up no consumer and no access token.
var requestTokenCases = []testCase{
	{"a request token is reviewed once", func(t *testing.T, s tokenstore.Store, c *clock) {
		for round := range rounds {
			key := numbered("r", round)
			must(t, s.CreateRequestToken(t.Context(), requestToken(c, key, "k")))
			wantRace(t, race(func(i int) error {
				_, err := s.Review(t.Context(), key, review(c, numbered("u", i), "READ_PUBLIC"))
				return err
			}), tokenstore.ErrAlreadyReviewed)
		}
	}},
	{"the same answer of the same user, at the same time too, is one review with one verifier", func(t *testing.T, s tokenstore.Store, c *clock) {
		for round := range rounds {
			key := numbered("r", round)
			r := requestToken(c, key, "k")
			r.Callback = "https://example.com/cb"
			must(t, s.CreateRequestToken(t.Context(), r))
			answer := func(i int, permission string) (string, error) {
				v := review(c, "u", permission)
				v.Time = v.Time.Add(time.Duration(i) * time.Millisecond)
				v.Expires = v.Time.Add(time.Hour)
				v.Verifier = numbered("v", i)
				got, err := s.Review(t.Context(), key, v)
				if err != nil {
					return "", err
				}
				return got.Review.Verifier, nil
			}
			verifiers := make([]string, racers)
			got := race(func(i int) (err error) {
				verifiers[i], err = answer(i, "READ_PUBLIC")
				return err
			})
			if got[nil] != racers {
				t.Fatalf("of %d same answers at the same time: got %v, want no error", racers, got)
			}
			slices.Sort(verifiers)
			if verifiers = slices.Compact(verifiers); len(verifiers) != 1 {
				t.Fatalf("got the verifiers %q, want one", verifiers)
			}
			_, err := answer(0, "WRITE_PUBLIC")
			wantErr(t, err, tokenstore.ErrAlreadyReviewed)
			_, err = answer(0, tokenstore.Unauthorized)
			wantErr(t, err, tokenstore.ErrAlreadyReviewed)
			_, err = s.Review(t.Context(), key, review(c, "somebody else", "READ_PUBLIC"))
			wantErr(t, err, tokenstore.ErrAlreadyReviewed)
			_, err = s.Exchange(t.Context(), key, verifiers[0])
			must(t, err)
			_, err = answer(0, "READ_PUBLIC")
			wantErr(t, err, tokenstore.ErrNotFound)
		}
	}},
	{"of different answers of one user at the same time one is taken", func(t *testing.T, s tokenstore.Store, c *clock) {
		for round := range rounds {
			key := numbered("r", round)
			must(t, s.CreateRequestToken(t.Context(), requestToken(c, key, "k")))
			wantRace(t, race(func(i int) error {
				_, err := s.Review(t.Context(), key, review(c, "u", numbered("LEVEL", i)))
				return err
			}), tokenstore.ErrAlreadyReviewed)
		}
	}},
	{"a request token is exchanged once", func(t *testing.T, s tokenstore.Store, c *clock) {
		for round := range rounds {
			key, consumer := numbered("r", round), numbered("k", round)
			reviewed(t, s, c, key, consumer, "u")
			wantRace(t, race(func(int) error {
				_, err := s.Exchange(t.Context(), key, "")
				return err
			}), tokenstore.ErrNotFound)
			if got := tokensOf(t, s, tokenstore.Filter{Consumer: consumer}, 10); len(got) != 1 {
				t.Errorf("there are the access tokens %q, want one", got)
			}
			_, err := s.RequestToken(t.Context(), key)
			wantErr(t, err, tokenstore.ErrNotFound)
		}
	}},
	{"no token of an exchange that began before survives a revocation", func(t *testing.T, s tokenstore.Store, c *clock) {
		for round := range 4 {
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
						_, err := s.Exchange(context.WithoutCancel(t.Context()), numbered(name+" r", i), "")
						if err != nil && !errors.Is(err, tokenstore.ErrNotFound) {
							t.Error(err)
						}
					})
				}
				for range 1 + 4*round { // the others have begun
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
	{"a consumer that is revoked or deleted has no request token waiting", func(t *testing.T, s tokenstore.Store, c *clock) {
		s.SetLimits(tokenstore.Limits{RequestTokensOfConsumer: 50})
		must(t, s.CreateConsumer(t.Context(), &tokenstore.Consumer{Key: "k"}))
		for round := range 4 {
			for i := range 50 {
				must(t, s.CreateRequestToken(t.Context(), requestToken(c, numbered(numbered("r", round), i), "k")))
			}
			wantErr(t, s.CreateRequestToken(t.Context(), requestToken(c, "x", "k")), tokenstore.ErrTooMany)
			if round%2 == 0 {
				_, err := s.Revoke(t.Context(), tokenstore.Filter{Consumer: "k"})
				must(t, err)
				continue
			}
			must(t, s.DeleteConsumer(t.Context(), "k"))
			must(t, s.CreateConsumer(t.Context(), &tokenstore.Consumer{Key: "k"}))
		}
	}},
}
