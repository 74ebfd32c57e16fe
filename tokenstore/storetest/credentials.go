package storetest

import (
	"context"
	"reflect"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// runCredentials tests stores that find a consumer and a token in one step: all that holds for
// Consumer and AccessToken holds for Credentials. The cases that look up neither are left out.
func runCredentials(t *testing.T, open Opener) {
	t.Parallel()
	if _, ok := open(t, newClock().Now).(tokenstore.CredentialFinder); !ok {
		t.Skip("the store has no Credentials")
	}
	for _, c := range concat(credentialCases, consumerCases, tokenCases, revokeCases, storeCases) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			clock := newClock()
			c.test(t, inOneStep{open(t, clock.Now)}, clock)
		})
	}
}

// inOneStep looks up consumers and access tokens with Credentials.
type inOneStep struct{ tokenstore.Store }

func (s inOneStep) Credentials(
	ctx context.Context, consumer, token string,
) (*tokenstore.Consumer, *tokenstore.AccessToken, error) {
	return s.Store.(tokenstore.CredentialFinder).Credentials(ctx, consumer, token)
}

func (s inOneStep) Consumer(ctx context.Context, key string) (*tokenstore.Consumer, error) {
	c, _, err := s.Credentials(ctx, key, "no such token")
	if err == nil && c == nil {
		err = tokenstore.ErrNotFound
	}
	return c, err
}

func (s inOneStep) AccessToken(ctx context.Context, key string) (*tokenstore.AccessToken, error) {
	_, a, err := s.Credentials(ctx, "no such consumer", key)
	if err == nil && a == nil {
		err = tokenstore.ErrNotFound
	}
	return a, err
}

var credentialCases = []testCase{
	{"each of a consumer and a token is found without the other", func(t *testing.T, s tokenstore.Store, c *clock) {
		wantConsumer := &tokenstore.Consumer{Key: "k", Name: "n", Secret: "s"}
		must(t, s.CreateConsumer(t.Context(), wantConsumer))
		ended := accessToken(c, "ended", "k", "u")
		ended.Expires = c.Now()
		foreign := accessToken(c, "foreign", "other", "u")
		revoked := accessToken(c, "revoked", "k", "u")
		for _, token := range []*tokenstore.AccessToken{ended, foreign, revoked} {
			must(t, s.CreateAccessToken(t.Context(), token))
		}
		check := func(consumer, token string, wantConsumer *tokenstore.Consumer, wantToken *tokenstore.AccessToken) {
			t.Helper()
			for range 2 { // the second may come from a cache
				gotConsumer, gotToken, err := s.(tokenstore.CredentialFinder).Credentials(t.Context(), consumer, token)
				must(t, err)
				if !reflect.DeepEqual(gotConsumer, wantConsumer) || !reflect.DeepEqual(gotToken, wantToken) {
					t.Errorf("%q, %q: got %+v, %+v; want %+v, %+v",
						consumer, token, gotConsumer, gotToken, wantConsumer, wantToken)
				}
			}
		}
		check("k", "ended", wantConsumer, ended)
		check("k", "foreign", wantConsumer, foreign)
		check("k", "revoked", wantConsumer, revoked)
		check("k", "nothing", wantConsumer, nil)
		check("nobody", "foreign", nil, foreign)
		check("nobody", "nothing", nil, nil)
		must(t, s.RevokeToken(t.Context(), "revoked"))
		check("k", "revoked", wantConsumer, nil)
		must(t, s.DeleteConsumer(t.Context(), "k"))
		check("k", "ended", nil, nil)
		check("k", "foreign", nil, foreign)
		c.advance(tokenstore.Retention + time.Second)
		check("k", "foreign", nil, foreign)
	}},
}
