package redisstore

import (
	"errors"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/redisstore/redislab"
)

// reviewed makes a request token that waits for its exchange.
func reviewed(t *testing.T, s *Store, consumer, key, verifier string) {
	t.Helper()
	if err := s.CreateRequestToken(t.Context(), requestOf(consumer, key)); err != nil {
		t.Fatal(err)
	}
	review := tokenstore.Review{User: "u", Permission: "READ", Verifier: verifier, Time: time.Now().UTC()}
	if _, err := s.Review(t.Context(), key, review); err != nil {
		t.Fatal(err)
	}
}

// unfinished exchanges a request token without an acknowledgement, as when the servers fail
// meanwhile.
func unfinished(t *testing.T, s *Store, key, verifier string) *tokenstore.AccessToken {
	t.Helper()
	r, v, err := s.request(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	access, claimed, err := s.exchangeFirst(t.Context(), v, r, verifier)
	if err != nil || claimed == nil {
		t.Fatalf("%v, %v", claimed, err)
	}
	s.unclaim(t.Context(), claimed)
	return access
}

// TestVerifiersOfAnUnfinishedExchange: wrong verifiers count also after an exchange that was not
// acknowledged. The right one, in time, gets the same access token.
func TestVerifiersOfAnUnfinishedExchange(t *testing.T) {
	t.Parallel()
	s := openTest(t, testOptions(redislab.Single(t, redislab.Options{}), 0))
	awaitReady(t, s)
	for _, c := range []struct {
		key   string
		wrong int
		want  error
	}{
		{"some", tokenstore.MaxVerifierFailures - 1, nil},
		{"all", tokenstore.MaxVerifierFailures, tokenstore.ErrNotFound},
	} {
		reviewed(t, s, "c", c.key, "right")
		access := unfinished(t, s, c.key, "right")
		for i := range c.wrong {
			if _, err := s.Exchange(t.Context(), c.key, "wrong"); !errors.Is(err, tokenstore.ErrVerifier) {
				t.Errorf("%s, wrong verifier %d: %v", c.key, i+1, err)
			}
		}
		again, err := s.Exchange(t.Context(), c.key, "right")
		if !errors.Is(err, c.want) || err == nil && again.Key != access.Key {
			t.Errorf("%s: the right verifier after %d wrong ones: %v, %v", c.key, c.wrong, again, err)
		}
	}
}
