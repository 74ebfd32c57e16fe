package storetest

import (
	"errors"
	"iter"
	"os"
	"reflect"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// RunTransfer tests that the content of one store can be moved to another. It calls from and to in
// each case. Each of the Openers that they return opens the same store each time; the first time it
// is empty.
//
// With TRANSFER_TOKENS in the environment, so many access tokens are moved in one of the cases.
func RunTransfer(t *testing.T, from, to func(t *testing.T) Opener) {
	for _, c := range transferCases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			clock := newClock()
			source, target := from(t), to(t)
			c.test(t, &transfer{clock: clock,
				source: func() tokenstore.Store { return source(t, clock.Now) },
				target: func() tokenstore.Store { return target(t, clock.Now) },
				again:  func() tokenstore.Store { return from(t)(t, clock.Now) },
			})
		})
	}
}

type transfer struct {
	clock *clock
	// again opens another empty store of the source's kind.
	source, target, again func() tokenstore.Store
}

func export(t *testing.T, s tokenstore.Store) iter.Seq2[any, error] {
	return s.(tokenstore.Transferrer).Export(t.Context())
}

func importInto(t *testing.T, s tokenstore.Store, records iter.Seq2[any, error]) error {
	return s.(tokenstore.Transferrer).Import(t.Context(), records)
}

func move(t *testing.T, from, to tokenstore.Store) {
	t.Helper()
	must(t, importInto(t, to, export(t, from)))
}

// wantRefused fails the test if a nonce is accepted.
func wantRefused(t *testing.T, s tokenstore.Store, name string, n tokenstore.Nonce) {
	t.Helper()
	err := s.UseNonce(t.Context(), n)
	var later *tokenstore.LaterError
	if !errors.Is(err, tokenstore.ErrNonceUsed) && !errors.Is(err, tokenstore.ErrNonceForgotten) && !errors.As(err, &later) {
		t.Errorf("%s: got %v", name, err)
	}
}

// nonceAt is a nonce of the present, for stores whose servers have a clock of their own.
func nonceAt(ahead time.Duration, value string) tokenstore.Nonce {
	at := time.Unix(time.Now().Add(ahead).Unix(), 0)
	return tokenstore.Nonce{Consumer: "k", Token: "t", Timestamp: at.Unix(), Value: value, Expires: at.Add(5 * time.Minute)}
}

var transferCases = []struct {
	name string
	test func(*testing.T, *transfer)
}{
	{"everything is moved", func(t *testing.T, x *transfer) {
		ctx, c := t.Context(), x.clock
		from, to := x.source(), x.target()
		full := &tokenstore.Consumer{
			Key: "k", Name: "n", Homepage: "https://h", Contact: "c@h", Secret: "s", PreviousSecret: "p",
			PreviousSecretExpires: c.Now().Add(time.Hour), SignatureMethods: []string{"HMAC-SHA1"},
			Callbacks: []string{"https://a/*"}, CallbacksIgnoreQuery: true, DefaultCallback: true,
			Permissions: []string{"READ_PUBLIC"}, TwoLegged: &tokenstore.TwoLegged{User: "u", Permission: "READ_PUBLIC"},
			Disabled: true, Created: c.Now(), Expires: c.Now().Add(time.Hour),
		}
		must(t, from.CreateConsumer(ctx, full))
		self := &tokenstore.Consumer{Key: "self", SelfRegistered: true, Created: c.Now()}
		first := requestToken(c, "first", "self")
		must(t, from.RegisterConsumer(ctx, self, first))
		must(t, from.CreateConsumer(ctx, &tokenstore.Consumer{Key: "deleted"}))
		must(t, from.CreateAccessToken(ctx, accessToken(c, "of deleted", "deleted", "u")))
		must(t, from.DeleteConsumer(ctx, "deleted"))

		token := accessToken(c, "t", "k", "u")
		token.Context, token.Expires, token.LastUsed = "x", c.Now().Add(time.Hour), c.Now().Add(-time.Hour)
		must(t, from.CreateAccessToken(ctx, token))
		must(t, from.CreateAccessToken(ctx, accessToken(c, "never used", "k", "v")))
		over := accessToken(c, "over", "k", "u")
		over.Expires = c.Now().Add(-time.Hour)
		must(t, from.CreateAccessToken(ctx, over))
		must(t, from.CreateAccessToken(ctx, accessToken(c, "revoked", "k", "w")))
		must(t, from.RevokeToken(ctx, "revoked"))
		must(t, from.CreateAccessToken(ctx, accessToken(c, "revoked with the user", "k", "x")))
		_, err := from.Revoke(ctx, tokenstore.Filter{User: "x"})
		must(t, err)
		used := c.Now().Add(time.Minute)
		must(t, from.Touch(ctx, map[string]time.Time{"t": used}))

		must(t, from.CreateRequestToken(ctx, requestToken(c, "waiting", "k")))
		verified := requestToken(c, "verified", "k")
		verified.Callback = "https://a/b"
		must(t, from.CreateRequestToken(ctx, verified))
		answer := review(c, "u", "READ_PUBLIC")
		answer.Verifier, answer.Context, answer.Expires = "right", "x", c.Now().Add(time.Hour)
		_, err = from.Review(ctx, "verified", answer)
		must(t, err)
		for range tokenstore.MaxVerifierFailures - 1 {
			_, err := from.Exchange(ctx, "verified", "wrong")
			wantErr(t, err, tokenstore.ErrVerifier)
		}
		reviewed(t, from, c, "reviewed", "k", "u")
		must(t, from.CreateRequestToken(ctx, requestToken(c, "refused", "k")))
		_, err = from.Review(ctx, "refused", review(c, "u", tokenstore.Unauthorized))
		must(t, err)
		reviewed(t, from, c, "exchanged", "self", "v")
		granted, err := from.Exchange(ctx, "exchanged", "")
		must(t, err)
		secret, err := from.Secret(ctx)
		must(t, err)
		var moved []*tokenstore.RequestToken
		for _, key := range []string{"first", "waiting", "verified", "reviewed", "refused"} {
			r, err := from.RequestToken(ctx, key)
			must(t, err)
			moved = append(moved, r)
		}

		move(t, from, to)

		if got, err := to.Secret(ctx); err != nil || got != secret {
			t.Errorf("the secret is another one: %v", err)
		}
		must(t, to.Check(ctx))
		if got := consumersOf(t, to, 10); !slices.Equal(got, []string{"k", "self"}) {
			t.Errorf("consumers: %q", got)
		}
		for _, want := range []*tokenstore.Consumer{full, self} {
			if got, err := to.Consumer(ctx, want.Key); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("consumer: got %+v, %v; want %+v", got, err, want)
			}
		}
		tokens := []string{granted.Key, "never used", "over", "t"}
		slices.Sort(tokens)
		if got := tokensOf(t, to, tokenstore.Filter{}, 10); !slices.Equal(got, tokens) {
			t.Errorf("access tokens: got %q, want %q", got, tokens)
		}
		for _, f := range []tokenstore.Filter{{User: "u"}, {User: "u", Consumer: "k"}} {
			if got := tokensOf(t, to, f, 10); !slices.Equal(got, []string{"over", "t"}) {
				t.Errorf("access tokens of %v: %q", f, got)
			}
		}
		for _, key := range tokens {
			want, err := from.AccessToken(ctx, key)
			must(t, err)
			got, err := to.AccessToken(ctx, key)
			must(t, err)
			w, g := *want, *got
			w.LastUsed, g.LastUsed = time.Time{}, time.Time{} // AccessToken may have an older one
			if g != w {
				t.Errorf("access token: got %+v, want %+v", g, w)
			}
		}
		if got, err := to.LastUsed(ctx, "t"); err != nil || !got.Equal(used) {
			t.Errorf("last used: got %v, %v; want %v", got, err, used)
		}
		if got, err := to.LastUsed(ctx, "never used"); err != nil || !got.IsZero() {
			t.Errorf("never used: got %v, %v", got, err)
		}
		for _, want := range moved {
			if got, err := to.RequestToken(ctx, want.Key); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("request token: got %+v, %v; want %+v", got, err, want)
			}
		}
		_, err = to.Exchange(ctx, "verified", "wrong") // the last one
		wantErr(t, err, tokenstore.ErrVerifier)
		_, err = to.Exchange(ctx, "verified", "right")
		wantErr(t, err, tokenstore.ErrNotFound)
		_, err = to.Exchange(ctx, "refused", "")
		wantErr(t, err, tokenstore.ErrRefused)
		_, err = to.Exchange(ctx, "exchanged", "")
		wantErr(t, err, tokenstore.ErrNotFound)
		access, err := to.Exchange(ctx, "reviewed", "")
		if err != nil || access.User != "u" || access.Consumer != "k" {
			t.Errorf("exchange: got %+v, %v", access, err)
		}
		_, err = to.Review(ctx, "waiting", review(c, "u", "READ_PUBLIC"))
		must(t, err)

		// Revocation finds what was moved, by all of its indexes.
		n, err := to.Revoke(ctx, tokenstore.Filter{User: "u"})
		if err != nil || n != 3 {
			t.Errorf("revoked %d, %v", n, err)
		}
		_, err = to.RequestToken(ctx, "waiting")
		wantErr(t, err, tokenstore.ErrNotFound)
		must(t, to.DeleteConsumer(ctx, "self"))
		_, err = to.AccessToken(ctx, granted.Key)
		wantErr(t, err, tokenstore.ErrNotFound)
	}},
	{"a self-registered consumer without a token is forgotten after a move too", func(t *testing.T, x *transfer) {
		ctx, c := t.Context(), x.clock
		from, to := x.source(), x.target()
		for _, key := range []string{"idle", "granted"} {
			must(t, from.RegisterConsumer(ctx, &tokenstore.Consumer{Key: key, SelfRegistered: true, Created: c.Now()},
				requestToken(c, "of "+key, key)))
		}
		must(t, from.CreateAccessToken(ctx, accessToken(c, "t", "granted", "u")))
		move(t, from, to)
		_, err := to.Consumer(ctx, "idle")
		must(t, err)
		c.advance(25 * time.Hour)
		eventually(t, "the consumer is forgotten", func() bool {
			_, err := to.Consumer(ctx, "idle")
			return errors.Is(err, tokenstore.ErrNotFound)
		})
		_, err = to.Consumer(ctx, "granted")
		must(t, err)
	}},
	{"limits count what was moved", func(t *testing.T, x *transfer) {
		ctx, c := t.Context(), x.clock
		from, to := x.source(), x.target()
		for i := range 3 {
			must(t, from.CreateRequestToken(ctx, requestToken(c, numbered("r", i), "k")))
		}
		_, err := from.Review(ctx, numbered("r", 0), review(c, "u", tokenstore.Unauthorized))
		must(t, err)
		to.SetLimits(tokenstore.Limits{RequestTokensOfConsumer: 3, RequestTokens: 100})
		move(t, from, to)
		must(t, to.CreateRequestToken(ctx, requestToken(c, "third", "k")))
		wantErr(t, to.CreateRequestToken(ctx, requestToken(c, "fourth", "k")), tokenstore.ErrTooMany)
	}},
	{"no used nonce is accepted after a move, nor after two", func(t *testing.T, x *transfer) {
		from, to := x.source(), x.target()
		used := make(map[string]tokenstore.Nonce)
		for name, ahead := range map[string]time.Duration{
			"of now": 0, "of the next second": 2 * time.Second, "a little ahead": 5 * time.Second, "ahead": 100 * time.Second, "far ahead": 299 * time.Second,
		} {
			eventually(t, "a nonce is accepted", func() bool {
				used[name] = nonceAt(ahead, name)
				return from.UseNonce(t.Context(), used[name]) == nil
			})
		}
		for name, behind := range map[string]time.Duration{"a second ago": time.Second, "two minutes ago": 2 * time.Minute} {
			n := nonceAt(-behind, name)
			if from.UseNonce(t.Context(), n) == nil { // servers that have begun a moment ago refuse it
				used[name] = n
			}
		}
		move(t, from, to)
		for name, n := range used {
			wantRefused(t, to, name, n)
		}
		for _, ahead := range []time.Duration{0, 100 * time.Second} {
			n := nonceAt(ahead, "after the move")
			eventually(t, "clients go on", func() bool {
				n = nonceAt(ahead, "after the move")
				return to.UseNonce(t.Context(), n) == nil
			})
			wantErr(t, to.UseNonce(t.Context(), n), tokenstore.ErrNonceUsed)
			used[ahead.String()+" after the move"] = n
		}
		back := x.again()
		move(t, to, back)
		for name, n := range used {
			wantRefused(t, back, name, n)
		}
		eventually(t, "clients go on", func() bool { return back.UseNonce(t.Context(), nonceAt(0, "back")) == nil })
		must(t, back.UseNonce(t.Context(), nonceAt(100*time.Second, "back")))
	}},
	{"what the other store refused is refused", func(t *testing.T, x *transfer) {
		to := x.target()
		n := nonceAt(4*time.Second, "n")
		must(t, importInto(t, to, func(yield func(any, error) bool) {
			yield(&tokenstore.StoreState{Secret: [32]byte{1}, Floor: n.Timestamp}, nil)
		}))
		wantRefused(t, to, "at the floor", n)
		eventually(t, "clients go on", func() bool { return to.UseNonce(t.Context(), nonceAt(0, "later")) == nil })
		wantRefused(t, to, "at the floor", n)
	}},
	{"what was used stays used when the store is opened again", func(t *testing.T, x *transfer) {
		from, to := x.source(), x.target()
		n := nonceAt(100*time.Second, "n")
		eventually(t, "a nonce is accepted", func() bool { return from.UseNonce(t.Context(), n) == nil })
		secret, err := from.Secret(t.Context())
		must(t, err)
		move(t, from, to)
		must(t, to.Close())
		to = x.target()
		wantRefused(t, to, "a used nonce", n)
		if got, err := to.Secret(t.Context()); err != nil || got != secret {
			t.Errorf("the secret is another one: %v", err)
		}
	}},
	{"a store that is not empty stays as it is", func(t *testing.T, x *transfer) {
		ctx := t.Context()
		from, to := x.source(), x.target()
		must(t, from.CreateConsumer(ctx, &tokenstore.Consumer{Key: "a"}))
		must(t, to.CreateConsumer(ctx, &tokenstore.Consumer{Key: "b"}))
		wantErr(t, importInto(t, to, export(t, from)), tokenstore.ErrNotEmpty)
		if got := consumersOf(t, to, 10); !slices.Equal(got, []string{"b"}) {
			t.Errorf("got %q", got)
		}
		_, err := to.Secret(ctx)
		must(t, err)
		must(t, to.Check(ctx))
		must(t, to.DeleteConsumer(ctx, "b"))
	}},
	{"an import that did not end can't be used, and can be begun again", func(t *testing.T, x *transfer) {
		ctx, c := t.Context(), x.clock
		from, to := x.source(), x.target()
		for i := range 1000 {
			must(t, from.CreateAccessToken(ctx, accessToken(c, numbered("t", i), "k", "u")))
		}
		must(t, from.CreateConsumer(ctx, &tokenstore.Consumer{Key: "self", SelfRegistered: true}))
		must(t, from.CreateRequestToken(ctx, requestToken(c, "r", "self")))
		broken := errors.New("the source broke")
		n := 0
		wantErr(t, importInto(t, to, func(yield func(any, error) bool) {
			for r, err := range export(t, from) {
				if n++; n == 900 {
					yield(nil, broken)
					return
				}
				if !yield(r, err) {
					return
				}
			}
		}), broken)
		for range 2 {
			_, err := to.Secret(ctx)
			wantErr(t, err, tokenstore.ErrIncomplete)
			wantErr(t, to.Check(ctx), tokenstore.ErrIncomplete)
			for _, err := range export(t, to) {
				wantErr(t, err, tokenstore.ErrIncomplete)
			}
			must(t, to.Close())
			to = x.target()
		}

		// What was revoked at the source meanwhile does not come back.
		eventually(t, "the source can be used again", func() bool {
			_, err := from.Revoke(ctx, tokenstore.Filter{Consumer: "k"})
			return err == nil
		})
		must(t, from.CreateAccessToken(ctx, accessToken(c, "left", "k", "u")))
		move(t, from, to)
		if got := tokensOf(t, to, tokenstore.Filter{}, 100); !slices.Equal(got, []string{"left"}) {
			t.Errorf("%d tokens", len(got))
		}
		_, err := to.Secret(ctx)
		must(t, err)
		must(t, to.Check(ctx))
		_, err = to.RequestToken(ctx, "r")
		must(t, err)
	}},
	{"a floor that is far ahead refuses nonces, and no change", func(t *testing.T, x *transfer) {
		ctx, c := t.Context(), x.clock
		to := x.target()
		floor := time.Now().Add(10 * time.Minute).Unix()
		records := func(yield func(any, error) bool) {
			if yield(&tokenstore.StoreState{Secret: [32]byte{1}, Floor: floor}, nil) {
				yield(&tokenstore.Consumer{Key: "k"}, nil)
			}
		}
		must(t, importInto(t, to, records))
		for range 2 {
			eventually(t, "it can be changed", func() bool {
				_, err := to.UpdateConsumer(ctx, "k", func(c *tokenstore.Consumer) error {
					c.Disabled = !c.Disabled
					return nil
				})
				return err == nil
			})
			must(t, to.Check(ctx))
			must(t, to.CreateAccessToken(ctx, accessToken(c, tokenstore.NewKey(), "k", "u")))
			_, err := to.Revoke(ctx, tokenstore.Filter{User: "u"})
			must(t, err)
			for name, ahead := range map[string]time.Duration{"now": 0, "up to the floor": time.Until(time.Unix(floor, 0))} {
				var later *tokenstore.LaterError
				n := nonceAt(ahead, name)
				if err := to.UseNonce(ctx, n); !errors.As(err, &later) || later.After < 4*time.Minute && name == "now" {
					t.Errorf("a nonce of %s: %v", name, err)
				}
			}
			must(t, to.UseNonce(ctx, nonceAt(time.Until(time.Unix(floor+5, 0)), tokenstore.NewKey())))
			if m, ok := to.(tokenstore.Measurer); ok && *m.Measure().NonceFloor < floor {
				t.Errorf("the floor is measured as %d, want %d", *m.Measure().NonceFloor, floor)
			}
			must(t, to.Close())
			to = x.target()
		}
	}},
	{"what is to be kept with an import is kept when it ends, and not before", func(t *testing.T, x *transfer) {
		ctx := t.Context()
		from, to := x.source(), x.target()
		must(t, from.CreateConsumer(ctx, &tokenstore.Consumer{Key: "c"}))
		broken := errors.New("the source broke")
		with := func(keep *tokenstore.Kept, end error) iter.Seq2[any, error] {
			return func(yield func(any, error) bool) {
				for r, err := range export(t, from) {
					if !yield(r, err) {
						return
					}
				}
				if yield(keep, nil) && end != nil {
					yield(nil, end)
				}
			}
		}
		kept := func() map[string][]byte {
			all, err := to.(tokenstore.Keeper).Kept(ctx, "test/")
			must(t, err)
			return all
		}
		wantErr(t, importInto(t, to, with(&tokenstore.Kept{Name: "test/a", Value: []byte("1")}, broken)), broken)
		if all := kept(); len(all) > 0 {
			t.Errorf("of an import that did not end: %q", all)
		}
		must(t, importInto(t, to, with(&tokenstore.Kept{Name: "test/b", Value: []byte("2")}, nil)))
		for range 2 {
			if all := kept(); len(all) != 1 || string(all["test/b"]) != "2" {
				t.Errorf("kept %q", all)
			}
			must(t, to.Close())
			to = x.target()
		}
	}},
	{"a snapshot has what was acknowledged before, while the store is used", func(t *testing.T, x *transfer) {
		ctx, c := t.Context(), x.clock
		from, to := x.source(), x.target()
		must(t, from.CreateConsumer(ctx, &tokenstore.Consumer{Key: "k"}))
		for i := range 1200 {
			must(t, from.CreateAccessToken(ctx, accessToken(c, numbered("before", i), "k", "u")))
		}
		must(t, from.CreateAccessToken(ctx, accessToken(c, "revoked", "k", "gone")))
		_, err := from.Revoke(ctx, tokenstore.Filter{User: "gone"})
		must(t, err)
		must(t, from.CreateRequestToken(ctx, requestToken(c, "r", "k")))
		n := nonceAt(0, "n")
		eventually(t, "a nonce is accepted", func() bool {
			n = nonceAt(0, "n")
			return from.UseNonce(ctx, n) == nil
		})
		// In the middle of it, the caller changes the store, as others could.
		i := 0
		must(t, importInto(t, to, func(yield func(any, error) bool) {
			for r, err := range from.(tokenstore.Snapshotter).Snapshot(ctx) {
				if i++; i%100 == 0 && err == nil {
					err = from.CreateAccessToken(ctx, accessToken(c, numbered("after", i), "k", "u"))
				}
				if !yield(r, err) {
					return
				}
			}
		}))
		got := tokensOf(t, to, tokenstore.Filter{}, 2000)
		for i := range 1200 {
			if !slices.Contains(got, numbered("before", i)) {
				t.Fatalf("%s is missing", numbered("before", i))
			}
		}
		if slices.Contains(got, "revoked") {
			t.Error("a token that was revoked before is there")
		}
		_, err = to.RequestToken(ctx, "r")
		must(t, err)
		if a, err := from.Secret(ctx); err == nil {
			b, err := to.Secret(ctx)
			if err != nil || a != b {
				t.Errorf("the secret is another one: %v", err)
			}
		}
		must(t, from.UseNonce(ctx, nonceAt(0, "the source goes on")))
	}},
	{"many tokens", func(t *testing.T, x *transfer) {
		ctx, c := t.Context(), x.clock
		many := 3000
		if text := os.Getenv("TRANSFER_TOKENS"); text != "" {
			n, err := strconv.Atoi(text)
			must(t, err)
			many = n
		}
		from, to := x.source(), x.target()
		must(t, importInto(t, from, func(yield func(any, error) bool) {
			if !yield(&tokenstore.StoreState{Secret: [32]byte{1}}, nil) {
				return
			}
			for i := range many {
				token := accessToken(c, "t"+strconv.Itoa(1e8+i), "consumer "+strconv.Itoa(i%100), "user "+strconv.Itoa(i/10))
				if !yield(token, nil) {
					return
				}
			}
		}))
		begun := time.Now()
		move(t, from, to)
		t.Logf("%d tokens in %v", many, time.Since(begun))
		if n, err := to.CountAccessTokens(ctx, tokenstore.Filter{}); err != nil || n != many {
			t.Errorf("got %d, %v; want %d", n, err, many)
		}
	}},
}
