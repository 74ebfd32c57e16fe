package badgerstore

import (
	"fmt"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// Refused tokens are kept for ever. However many a consumer has, and whoever refused them, it costs the consumer's next
// request token nothing.
func TestRefusedTokensCostTheirConsumerNothing(t *testing.T) {
	s := openTest(t, Options{})
	token := func(key, consumer string) *tokenstore.RequestToken {
		return &tokenstore.RequestToken{Key: key, Consumer: consumer, Expires: time.Now().Add(time.Hour)}
	}
	for _, consumer := range []string{"refused", "new"} {
		if err := s.CreateConsumer(t.Context(), &tokenstore.Consumer{Key: consumer, SelfRegistered: true}); err != nil {
			t.Fatal(err)
		}
		for i := range 10 {
			if err := s.CreateRequestToken(t.Context(), token(fmt.Sprint(consumer, i), consumer)); err != nil {
				t.Fatal(err)
			}
		}
	}
	const refusals = 50_000
	for i := 0; i < refusals; {
		var c change
		for ; i < refusals && len(c.ops) < maxTxnEntries-10; i++ {
			r := token(fmt.Sprint("r", i), "refused")
			r.Review = &tokenstore.Review{User: "u", Permission: tokenstore.Unauthorized}
			putRequestToken(&c, r)
			if c.size > maxTxnSize*3/4 {
				break
			}
		}
		if err := s.tokens.commit(c); err != nil {
			t.Fatal(err)
		}
	}
	cost := func(consumer string) (best time.Duration) {
		for i := range 50 {
			start := time.Now()
			n, err := s.waitingRequestTokens(consumer)
			if took := time.Since(start); i == 0 || took < best {
				best = took
			}
			if n != 10 || err != nil {
				t.Fatalf("%s: %d wait, %v; want 10", consumer, n, err)
			}
		}
		return best
	}
	if fresh, busy := cost("new"), cost("refused"); busy > 20*fresh {
		t.Errorf("with %d refused tokens it costs %v, without %v", refusals, busy, fresh)
	}
	if n, err := s.Revoke(t.Context(), tokenstore.Filter{Consumer: "refused"}); n != 0 || err != nil {
		t.Errorf("got %d, %v", n, err)
	}
	for _, key := range []string{"refused0", "r0", fmt.Sprint("r", refusals-1)} {
		if _, err := s.RequestToken(t.Context(), key); err != tokenstore.ErrNotFound {
			t.Errorf("%s: got %v, want %v", key, err, tokenstore.ErrNotFound)
		}
	}
	if n, err := s.waitingRequestTokens("new"); n != 10 || err != nil {
		t.Errorf("the other consumer: %d wait, %v", n, err)
	}
}
