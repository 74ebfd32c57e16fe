package storetest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

func nonce(c *clock, value string) tokenstore.Nonce {
	return tokenstore.Nonce{
		Consumer: "k", Token: "t", Timestamp: c.Now().Unix(), Value: value,
		Expires: time.Unix(c.Now().Unix(), 0).Add(5 * time.Minute),
	}
}

var nonceCases = []testCase{
	{"a nonce is used once", func(t *testing.T, s tokenstore.Store, c *clock) {
		for i := range 5 {
			n := nonce(c, numbered("n", i))
			wantRace(t, race(func(int) error { return s.UseNonce(t.Context(), n) }), tokenstore.ErrNonceUsed)
			wantErr(t, s.UseNonce(t.Context(), n), tokenstore.ErrNonceUsed)
		}
	}},
	{"a nonce is of its consumer, token and timestamp", func(t *testing.T, s tokenstore.Store, c *clock) {
		n := nonce(c, "n")
		all := []tokenstore.Nonce{n, n, n, n, n, n, n}
		all[1].Consumer = "other"
		all[2].Token = "other"
		all[3].Token = ""
		all[4].Timestamp++
		all[5].Value = "N"
		all[6].Value = "n\x00"
		for _, n := range all {
			must(t, s.UseNonce(t.Context(), n))
		}
		for _, n := range all {
			wantErr(t, s.UseNonce(t.Context(), n), tokenstore.ErrNonceUsed)
		}
	}},
	{"no two nonces are kept alike", func(t *testing.T, s tokenstore.Store, c *clock) {
		for _, parts := range [][3]string{
			{"ab", "c", "d"}, {"a", "bc", "d"}, {"abc", "", "d"}, {"", "abc", "d"}, {"ab", "cd", ""}, {"abcd", "", ""},
			{"", "", "abcd"}, {"a\x00b", "c", "d"}, {"a", "b\x00c", "d"}, {"a/b", "c", "d"}, {"a", "b/c", "d"},
			{"a:b", "c", "d"}, {"a", "b:c", "d"}, {"{a}", "b", "c"}, {"a", "{b}", "c"},
		} {
			n := nonce(c, parts[2])
			n.Consumer, n.Token = parts[0], parts[1]
			if err := s.UseNonce(t.Context(), n); err != nil {
				t.Errorf("%q: %v", parts, err)
			}
		}
	}},
	{"a nonce is remembered until it expires", func(t *testing.T, s tokenstore.Store, c *clock) {
		n := nonce(c, "n")
		must(t, s.UseNonce(t.Context(), n))
		c.advance(n.Expires.Sub(c.Now()) - time.Second)
		must(t, s.UseNonce(t.Context(), nonce(c, "later")))
		wantErr(t, s.UseNonce(t.Context(), n), tokenstore.ErrNonceUsed)
	}},
	{"a forgotten nonce is never new again", func(t *testing.T, s tokenstore.Store, c *clock) {
		n := nonce(c, "n")
		must(t, s.UseNonce(t.Context(), n))
		c.advance(time.Hour)
		must(t, s.UseNonce(t.Context(), nonce(c, "later")))
		c.advance(-time.Hour) // the clock goes back, or the timestamp window was widened
		n.Expires = c.Now().Add(2 * time.Hour)
		for range 50 {
			err := s.UseNonce(t.Context(), n)
			if !errors.Is(err, tokenstore.ErrNonceUsed) && !errors.Is(err, tokenstore.ErrNonceForgotten) {
				t.Fatalf("got %v, want used or forgotten", err)
			}
			time.Sleep(2 * time.Millisecond)
		}
	}},
}

// RunNonceLimit tests a store whose consumers may each have limit live nonces. open gets the limit.
func RunNonceLimit(t *testing.T, open func(t *testing.T, clock func() time.Time, limit int) tokenstore.Store) {
	const limit = 120
	use := func(t *testing.T, s tokenstore.Store, c *clock, token string, i int) error {
		n := nonce(c, numbered("n", i))
		n.Token = token
		return s.UseNonce(t.Context(), n)
	}
	for _, tokens := range []int{1, 2, 5} {
		t.Run(fmt.Sprintf("%d greedy tokens leave one part of %d to the others", tokens, tokens+1), func(t *testing.T) {
			t.Parallel()
			c := newClock()
			s := open(t, c.Now, limit)
			for i := range limit {
				for token := range tokens {
					err := use(t, s, c, numbered("t", token), i)
					if i < limit/(tokens+1) {
						must(t, err)
						continue
					}
					wantErr(t, err, tokenstore.ErrTokenNoncesFull)
					wantErr(t, err, tokenstore.ErrNoncesFull)
				}
			}
			wantErr(t, use(t, s, c, numbered("t", 0), 0), tokenstore.ErrNonceUsed)
			for i := range limit / (tokens + 1) / 2 {
				must(t, use(t, s, c, "another", i))
			}
		})
	}
	t.Run("requests to the endpoints have their own share, whatever tokens they name", func(t *testing.T) {
		t.Parallel()
		c := newClock()
		s := open(t, c.Now, limit)
		endpoint := func(token string, i int) error {
			n := nonce(c, numbered("n", i))
			n.Token, n.Endpoint = token, true
			return s.UseNonce(t.Context(), n)
		}
		for i := range limit / tokenstore.EndpointShare {
			must(t, endpoint(numbered("request", i), 0))
		}
		wantErr(t, endpoint("another", 0), tokenstore.ErrEndpointNoncesFull)
		wantErr(t, endpoint("another", 0), tokenstore.ErrNoncesFull)
		wantErr(t, endpoint(numbered("request", 0), 0), tokenstore.ErrNonceUsed)
		for i := range limit / 2 {
			must(t, use(t, s, c, numbered("access", i), 0))
		}
	})
	t.Run("requests without a token may use the whole limit, and no more", func(t *testing.T) {
		t.Parallel()
		c := newClock()
		s := open(t, c.Now, limit)
		for i := range limit {
			must(t, use(t, s, c, "", i))
		}
		err := use(t, s, c, "", limit)
		wantErr(t, err, tokenstore.ErrNoncesFull)
		if errors.Is(err, tokenstore.ErrTokenNoncesFull) {
			t.Errorf("there is no token, and got %v", err)
		}
		wantErr(t, use(t, s, c, "t", 0), tokenstore.ErrNoncesFull)
	})
}
