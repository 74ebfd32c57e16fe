package storetest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// Replicas say how a test opens several replicas of one store, and what they promise.
type Replicas struct {
	// Fresh returns an Opener for a store that is empty. Each of its calls opens another replica of
	// that store. It is nil for a store that has no replicas.
	Fresh func(t *testing.T) Opener
	// Stale is how long, in real time, a replica may show what was before another replica's change,
	// from the moment when that change was acknowledged. 0 means not at all.
	Stale time.Duration
}

// RunReplicas tests what the replicas of a store see of one another's changes, and when: each
// change is seen within Stale, and is not unseen afterwards. Whatever may happen only once happens
// once for all replicas.
func RunReplicas(t *testing.T, r Replicas) {
	if r.Fresh == nil {
		t.Skip("the store has no replicas")
	}
	two := func(t *testing.T) (a, b tokenstore.Store, c *clock) {
		t.Parallel()
		c = newClock()
		open := r.Fresh(t)
		return open(t, c.Now), open(t, c.Now), c
	}
	for _, test := range seenCases {
		t.Run(test.name+" is seen by another replica", func(t *testing.T) {
			a, b, c := two(t)
			test.run(t, a, b, c, r.Stale)
		})
	}
	for _, test := range onceCases {
		t.Run(test.name, func(t *testing.T) {
			a, b, c := two(t)
			test.run(t, []tokenstore.Store{a, b}, c, r.Stale)
		})
	}
}

// A seenCase is a change. look reports whether a replica shows it.
type seenCase struct {
	name            string
	prepare, change func(t *testing.T, s tokenstore.Store, c *clock)
	look            func(t *testing.T, s tokenstore.Store) bool
}

// run makes the change at a, while b is read all the time.
func (test *seenCase) run(t *testing.T, a, b tokenstore.Store, c *clock, stale time.Duration) {
	if test.prepare != nil {
		test.prepare(t, a, c)
		time.Sleep(stale)
	}
	shownBy := []tokenstore.Store{b}
	if _, ok := b.(tokenstore.CredentialFinder); ok {
		shownBy = append(shownBy, inOneStep{b})
	}
	for _, s := range append(shownBy, a) { // also fills the caches
		if test.look(t, s) {
			t.Fatal("seen before the change")
		}
	}
	look := func() bool {
		shown := true
		for _, s := range shownBy {
			shown = test.look(t, s) && shown // each look reads
		}
		return shown
	}
	test.change(t, a, c)
	due := time.Now().Add(stale)
	if !test.look(t, a) {
		t.Error("not seen by the replica that made the change")
	}
	for seen := false; !t.Failed(); time.Sleep(time.Millisecond) {
		late := !time.Now().Before(due) // before the look begins
		switch now := look(); {
		case late && !now:
			t.Errorf("not seen %v after the change", stale)
		case seen && !now:
			t.Error("seen, and then not any more")
		case late:
			return
		case now:
			seen = true
		}
	}
}

// prepared adds the consumer k with the access token a of the user u, the request token waiting,
// and the request token r that u has reviewed.
func prepared(t *testing.T, s tokenstore.Store, c *clock) {
	t.Helper()
	must(t, s.CreateConsumer(t.Context(), &tokenstore.Consumer{Key: "k", Secret: "old"}))
	must(t, s.CreateAccessToken(t.Context(), accessToken(c, "a", "k", "u")))
	must(t, s.CreateRequestToken(t.Context(), requestToken(c, "waiting", "k")))
	reviewed(t, s, c, "r", "k", "u")
}

// there reports whether a look-up found its record.
func there(t *testing.T, err error) bool {
	t.Helper()
	if err != nil && !errors.Is(err, tokenstore.ErrNotFound) {
		t.Error(err)
	}
	return err == nil
}

func hasConsumer(t *testing.T, s tokenstore.Store, key string) bool {
	t.Helper()
	_, err := s.Consumer(t.Context(), key)
	return there(t, err)
}

func hasAccessToken(t *testing.T, s tokenstore.Store, key string) bool {
	t.Helper()
	_, err := s.AccessToken(t.Context(), key)
	return there(t, err)
}

func hasRequestToken(t *testing.T, s tokenstore.Store, key string) bool {
	t.Helper()
	_, err := s.RequestToken(t.Context(), key)
	return there(t, err)
}

func counts(t *testing.T, s tokenstore.Store, f tokenstore.Filter) int {
	t.Helper()
	n, err := s.CountAccessTokens(t.Context(), f)
	if err != nil {
		t.Error(err)
	}
	return n
}

func update(change func(*tokenstore.Consumer)) func(*testing.T, tokenstore.Store, *clock) {
	return func(t *testing.T, s tokenstore.Store, c *clock) {
		t.Helper()
		_, err := s.UpdateConsumer(t.Context(), "k", func(c *tokenstore.Consumer) error { change(c); return nil })
		must(t, err)
	}
}

func revoke(f tokenstore.Filter) func(*testing.T, tokenstore.Store, *clock) {
	return func(t *testing.T, s tokenstore.Store, c *clock) {
		t.Helper()
		n, err := s.Revoke(t.Context(), f)
		must(t, err)
		if n != 1 {
			t.Errorf("revoked %d, want 1", n)
		}
	}
}

func looksAt(ok func(c *tokenstore.Consumer) bool) func(*testing.T, tokenstore.Store) bool {
	return func(t *testing.T, s tokenstore.Store) bool {
		t.Helper()
		c, err := s.Consumer(t.Context(), "k")
		return there(t, err) && ok(c)
	}
}

var seenCases = []seenCase{
	{
		name: "a new consumer",
		change: func(t *testing.T, s tokenstore.Store, c *clock) {
			must(t, s.CreateConsumer(t.Context(), &tokenstore.Consumer{Key: "k"}))
		},
		look: func(t *testing.T, s tokenstore.Store) bool {
			list, _, err := s.Consumers(t.Context(), "", 1)
			return there(t, err) && len(list) == 1 && hasConsumer(t, s, "k")
		},
	},
	{
		name: "a consumer that registered itself",
		change: func(t *testing.T, s tokenstore.Store, c *clock) {
			k := &tokenstore.Consumer{Key: "k", SelfRegistered: true, Created: c.Now()}
			must(t, s.RegisterConsumer(t.Context(), k, requestToken(c, "r", "k")))
		},
		look: func(t *testing.T, s tokenstore.Store) bool {
			return hasRequestToken(t, s, "r") && hasConsumer(t, s, "k")
		},
	},
	{
		name:    "a disabled consumer",
		prepare: prepared,
		change:  update(func(c *tokenstore.Consumer) { c.Disabled = true }),
		look:    looksAt(func(c *tokenstore.Consumer) bool { return c.Disabled }),
	},
	{
		name:    "a rotated secret",
		prepare: prepared,
		change:  update(func(c *tokenstore.Consumer) { c.Secret, c.PreviousSecret = "new", c.Secret }),
		look: looksAt(func(c *tokenstore.Consumer) bool {
			return c.Secret == "new" && c.PreviousSecret == "old"
		}),
	},
	{
		name:    "a removed consumer",
		prepare: prepared,
		change: func(t *testing.T, s tokenstore.Store, c *clock) {
			must(t, s.DeleteConsumer(t.Context(), "k"))
		},
		look: func(t *testing.T, s tokenstore.Store) bool {
			return !hasConsumer(t, s, "k") && !hasAccessToken(t, s, "a") && !hasRequestToken(t, s, "waiting") &&
				!hasRequestToken(t, s, "r") && counts(t, s, tokenstore.Filter{Consumer: "k"}) == 0
		},
	},
	{
		name:    "a consumer that was removed and added again",
		prepare: prepared,
		change: func(t *testing.T, s tokenstore.Store, c *clock) {
			must(t, s.DeleteConsumer(t.Context(), "k"))
			must(t, s.CreateConsumer(t.Context(), &tokenstore.Consumer{Key: "k", Secret: "new"}))
		},
		look: func(t *testing.T, s tokenstore.Store) bool {
			isNew := looksAt(func(c *tokenstore.Consumer) bool { return c.Secret == "new" })
			return isNew(t, s) && !hasAccessToken(t, s, "a") && !hasRequestToken(t, s, "r")
		},
	},
	{
		name: "a new request token",
		change: func(t *testing.T, s tokenstore.Store, c *clock) {
			must(t, s.CreateRequestToken(t.Context(), requestToken(c, "r", "k")))
		},
		look: func(t *testing.T, s tokenstore.Store) bool { return hasRequestToken(t, s, "r") },
	},
	{
		name:    "a review",
		prepare: prepared,
		change: func(t *testing.T, s tokenstore.Store, c *clock) {
			_, err := s.Review(t.Context(), "waiting", review(c, "u", "READ_PUBLIC"))
			must(t, err)
		},
		look: func(t *testing.T, s tokenstore.Store) bool {
			r, err := s.RequestToken(t.Context(), "waiting")
			return there(t, err) && r.Review != nil && r.Review.User == "u"
		},
	},
	{
		name:    "an exchange",
		prepare: prepared,
		change: func(t *testing.T, s tokenstore.Store, c *clock) {
			_, err := s.Exchange(t.Context(), "r", "")
			must(t, err)
		},
		look: func(t *testing.T, s tokenstore.Store) bool {
			return !hasRequestToken(t, s, "r") &&
				counts(t, s, tokenstore.Filter{User: "u"}) == 2
		},
	},
	{
		name: "a new access token",
		change: func(t *testing.T, s tokenstore.Store, c *clock) {
			must(t, s.CreateAccessToken(t.Context(), accessToken(c, "a", "k", "u")))
		},
		look: func(t *testing.T, s tokenstore.Store) bool {
			page, _, err := s.AccessTokens(t.Context(), tokenstore.Filter{User: "u", Consumer: "k"}, "", 2)
			return there(t, err) && len(page) == 1 && hasAccessToken(t, s, "a")
		},
	},
	{
		name:    "a revoked token",
		prepare: prepared,
		change: func(t *testing.T, s tokenstore.Store, c *clock) {
			must(t, s.RevokeToken(t.Context(), "a"))
		},
		look: func(t *testing.T, s tokenstore.Store) bool {
			return !hasAccessToken(t, s, "a") && counts(t, s, tokenstore.Filter{}) == 0
		},
	},
	{
		name:    "a revocation by user",
		prepare: prepared,
		change:  revoke(tokenstore.Filter{User: "u"}),
		look: func(t *testing.T, s tokenstore.Store) bool {
			return !hasAccessToken(t, s, "a") && !hasRequestToken(t, s, "r") && hasRequestToken(t, s, "waiting")
		},
	},
	{
		name:    "a revocation by consumer",
		prepare: prepared,
		change:  revoke(tokenstore.Filter{Consumer: "k"}),
		look: func(t *testing.T, s tokenstore.Store) bool {
			return !hasAccessToken(t, s, "a") && !hasRequestToken(t, s, "r") && !hasRequestToken(t, s, "waiting")
		},
	},
	{
		name:    "a revocation by user and consumer",
		prepare: prepared,
		change:  revoke(tokenstore.Filter{User: "u", Consumer: "k"}),
		look: func(t *testing.T, s tokenstore.Store) bool {
			return !hasAccessToken(t, s, "a") && !hasRequestToken(t, s, "r") && hasRequestToken(t, s, "waiting")
		},
	},
}

// A onceCase has replicas of one store.
type onceCase struct {
	name string
	run  func(t *testing.T, replicas []tokenstore.Store, c *clock, stale time.Duration)
}

var onceCases = []onceCase{
	{"a nonce is used once by all replicas", func(t *testing.T, replicas []tokenstore.Store, c *clock, _ time.Duration) {
		for i := range 5 {
			n := nonce(c, numbered("n", i))
			wantRace(t, race(func(i int) error { return replicas[i%2].UseNonce(t.Context(), n) }), tokenstore.ErrNonceUsed)
		}
		for i := range 100 { // one after the other, at once
			n := nonce(c, numbered("m", i))
			must(t, replicas[i%2].UseNonce(t.Context(), n))
			wantErr(t, replicas[1-i%2].UseNonce(t.Context(), n), tokenstore.ErrNonceUsed)
		}
	}},
	{"a request token is reviewed once by all replicas", func(t *testing.T, replicas []tokenstore.Store, c *clock, stale time.Duration) {
		must(t, replicas[0].CreateRequestToken(t.Context(), requestToken(c, "r", "k")))
		time.Sleep(stale)
		wantRace(t, race(func(i int) error {
			_, err := replicas[i%2].Review(t.Context(), "r", review(c, numbered("u", i), "READ_PUBLIC"))
			return err
		}), tokenstore.ErrAlreadyReviewed)
	}},
	{"a request token is exchanged once by all replicas", func(t *testing.T, replicas []tokenstore.Store, c *clock, stale time.Duration) {
		for i := range rounds {
			reviewed(t, replicas[0], c, numbered("r", i), numbered("k", i), "u")
		}
		time.Sleep(stale)
		for round := range rounds {
			key := numbered("r", round)
			wantRace(t, race(func(i int) error {
				_, err := replicas[i%2].Exchange(t.Context(), key, "")
				return err
			}), tokenstore.ErrNotFound)
		}
		time.Sleep(stale)
		for _, s := range replicas {
			for i := range rounds {
				if n := counts(t, s, tokenstore.Filter{Consumer: numbered("k", i)}); n != 1 {
					t.Errorf("of one exchange there are %d access tokens, want 1", n)
				}
			}
		}
	}},
	{"wrong verifiers are counted by all replicas together", func(t *testing.T, replicas []tokenstore.Store, c *clock, stale time.Duration) {
		r := requestToken(c, "r", "k")
		r.Callback = "oob"
		must(t, replicas[0].CreateRequestToken(t.Context(), r))
		v := review(c, "u", "READ_PUBLIC")
		v.Verifier = "right"
		_, err := replicas[0].Review(t.Context(), "r", v)
		must(t, err)
		time.Sleep(stale)
		for i := range tokenstore.MaxVerifierFailures {
			_, err := replicas[i%2].Exchange(t.Context(), "r", "wrong")
			wantErr(t, err, tokenstore.ErrVerifier)
		}
		for _, s := range replicas {
			_, err := s.Exchange(t.Context(), "r", "right")
			wantErr(t, err, tokenstore.ErrNotFound)
		}
	}},
	{"a key is taken once by all replicas", func(t *testing.T, replicas []tokenstore.Store, c *clock, _ time.Duration) {
		for what, create := range map[string]func(i int) error{
			"consumer":      func(i int) error { return replicas[i%2].CreateConsumer(t.Context(), &tokenstore.Consumer{Key: "k"}) },
			"request token": func(i int) error { return replicas[i%2].CreateRequestToken(t.Context(), requestToken(c, "r", "k")) },
			"access token":  func(i int) error { return replicas[i%2].CreateAccessToken(t.Context(), accessToken(c, "a", "k", "u")) },
			"registration": func(i int) error {
				self := &tokenstore.Consumer{Key: "self", SelfRegistered: true, Created: c.Now()}
				return replicas[i%2].RegisterConsumer(t.Context(), self, requestToken(c, numbered("self", i), "self"))
			},
		} {
			t.Log(what)
			wantRace(t, race(create), tokenstore.ErrExists)
		}
	}},
	{"updates of a consumer at all replicas come one after the other", func(t *testing.T, replicas []tokenstore.Store, c *clock, stale time.Duration) {
		must(t, replicas[0].CreateConsumer(t.Context(), &tokenstore.Consumer{Key: "k"}))
		time.Sleep(stale)
		got := race(func(i int) error {
			_, err := replicas[i%2].UpdateConsumer(t.Context(), "k", func(c *tokenstore.Consumer) error { c.Name += "x"; return nil })
			return err
		})
		if got[nil] != racers {
			t.Fatalf("got %v, want no error", got)
		}
		time.Sleep(stale)
		for _, s := range replicas {
			if k, err := s.Consumer(t.Context(), "k"); err != nil || len(k.Name) != racers {
				t.Errorf("after %d updates there is %+v, %v", racers, k, err)
			}
		}
	}},
	{"a limit is one of all replicas", func(t *testing.T, replicas []tokenstore.Store, c *clock, _ time.Duration) {
		for _, s := range replicas {
			s.SetLimits(tokenstore.Limits{RequestTokensOfConsumer: 10, RequestTokens: 1000})
		}
		got := race(func(i int) error {
			return replicas[i%2].CreateRequestToken(t.Context(), requestToken(c, numbered("r", i), "k"))
		})
		if got[nil] != 10 || got[tokenstore.ErrTooMany] != racers-10 {
			t.Errorf("got %v, want 10 request tokens", got)
		}
	}},
	{"a last use is seen by another replica", func(t *testing.T, replicas []tokenstore.Store, c *clock, stale time.Duration) {
		must(t, replicas[0].CreateAccessToken(t.Context(), accessToken(c, "a", "k", "u")))
		time.Sleep(stale)
		_, err := replicas[1].LastUsed(t.Context(), "a")
		must(t, err)
		must(t, replicas[0].Touch(t.Context(), map[string]time.Time{"a": c.Now()}))
		for _, s := range replicas {
			eventually(t, "last used", func() bool {
				used, err := s.LastUsed(t.Context(), "a")
				must(t, err)
				return used.Equal(c.Now())
			})
		}
	}},
	{"no token of another replica's exchange that began before survives a revocation", func(t *testing.T, replicas []tokenstore.Store, c *clock, stale time.Duration) {
		for i := range racers {
			reviewed(t, replicas[0], c, numbered("r", i), "k", "u")
		}
		time.Sleep(stale)
		var all sync.WaitGroup
		exchanged := make(chan struct{}, racers)
		for i := range racers {
			all.Go(func() {
				defer func() { exchanged <- struct{}{} }()
				_, err := replicas[1].Exchange(context.WithoutCancel(t.Context()), numbered("r", i), "")
				if err != nil && !errors.Is(err, tokenstore.ErrNotFound) {
					t.Error(err)
				}
			})
		}
		<-exchanged // the others have begun
		_, err := replicas[0].Revoke(t.Context(), tokenstore.Filter{User: "u"})
		must(t, err)
		all.Wait()
		time.Sleep(stale)
		for _, s := range replicas {
			if got := tokensOf(t, s, tokenstore.Filter{User: "u"}, 100); len(got) != 0 {
				t.Errorf("%d survived: %q", len(got), got)
			}
		}
	}},
	{"new grants at another replica after a revocation are not hit", func(t *testing.T, replicas []tokenstore.Store, c *clock, stale time.Duration) {
		prepared(t, replicas[0], c)
		time.Sleep(stale)
		must(t, replicas[0].DeleteConsumer(t.Context(), "k"))
		must(t, replicas[1].CreateConsumer(t.Context(), &tokenstore.Consumer{Key: "k"}))
		must(t, replicas[1].CreateAccessToken(t.Context(), accessToken(c, "new", "k", "u")))
		must(t, replicas[1].CreateRequestToken(t.Context(), requestToken(c, "new", "k")))
		time.Sleep(stale + 200*time.Millisecond) // the old ones may be removed meanwhile
		for _, s := range replicas {
			if got := tokensOf(t, s, tokenstore.Filter{User: "u"}, 10); !slices.Equal(got, []string{"new"}) {
				t.Errorf("there are the access tokens %q, want new", got)
			}
			if !hasAccessToken(t, s, "new") || !hasRequestToken(t, s, "new") || !hasConsumer(t, s, "k") {
				t.Error("a new grant is gone")
			}
		}
	}},
	{"the secret is the same for all replicas", func(t *testing.T, replicas []tokenstore.Store, c *clock, _ time.Duration) {
		var secrets [2][32]byte
		got := race(func(i int) error {
			secret, err := replicas[i%2].Secret(t.Context())
			if i < 2 {
				secrets[i] = secret
			}
			return err
		})
		if got[nil] != racers || secrets[0] != secrets[1] || secrets[0] == [32]byte{} {
			t.Errorf("got %v, and the secrets are the same: %t", got, secrets[0] == secrets[1])
		}
	}},
	{"a replica that is closed leaves the others open", func(t *testing.T, replicas []tokenstore.Store, c *clock, _ time.Duration) {
		must(t, replicas[0].CreateConsumer(t.Context(), &tokenstore.Consumer{Key: "k"}))
		must(t, replicas[0].Close())
		must(t, replicas[1].UseNonce(t.Context(), nonce(c, "n")))
		must(t, replicas[1].DeleteConsumer(t.Context(), "k"))
	}},
}
