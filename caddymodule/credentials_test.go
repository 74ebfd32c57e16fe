package caddymodule

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// pairStore is a store that finds a consumer and a token in one step. It notes its look-ups.
type pairStore struct {
	tokenstore.Store
	asked  []string
	broken error
}

func (s *pairStore) Consumer(ctx context.Context, key string) (*tokenstore.Consumer, error) {
	s.asked = append(s.asked, "consumer")
	return s.Store.Consumer(ctx, key)
}

func (s *pairStore) AccessToken(ctx context.Context, key string) (*tokenstore.AccessToken, error) {
	s.asked = append(s.asked, "token")
	return s.Store.AccessToken(ctx, key)
}

func (s *pairStore) Credentials(
	ctx context.Context, consumer, token string,
) (*tokenstore.Consumer, *tokenstore.AccessToken, error) {
	s.asked = append(s.asked, "both")
	if s.broken != nil {
		return nil, nil, s.broken
	}
	c, err := s.Store.Consumer(ctx, consumer)
	if err != nil && !errors.Is(err, tokenstore.ErrNotFound) {
		return nil, nil, err
	}
	t, err := s.Store.AccessToken(ctx, token)
	if err != nil && !errors.Is(err, tokenstore.ErrNotFound) {
		return nil, nil, err
	}
	return c, t, nil
}

// TestCredentialsInOneStep: a store that finds a consumer and a token in one step is asked once,
// and the answers are those of any other store. A declared consumer is in no store, so only its
// token is asked for.
func TestCredentialsInOneStep(t *testing.T) {
	site := newTestSite(t, demoConsumer, "insecure_plaintext_over_http\npolicy {\n anonymous\n}")
	for _, c := range []*tokenstore.Consumer{
		{Key: "stored", Secret: "s"},
		{Key: "off", Secret: "s", Disabled: true},
		{Key: "old", Secret: "s", Expires: site.clock.Add(-time.Hour)},
		{Key: "bot", Secret: "s", TwoLegged: &tokenstore.TwoLegged{User: "bot", Permission: "READ_PUBLIC"}},
	} {
		if err := site.store().CreateConsumer(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	expired := &tokenstore.AccessToken{
		Key: "expired", Secret: "s", Consumer: "stored", User: "alice", Permission: "READ_PUBLIC",
		Expires: site.clock.Add(-time.Hour),
	}
	if err := site.store().CreateAccessToken(t.Context(), expired); err != nil {
		t.Fatal(err)
	}
	token, declared := site.grant("stored", "alice", "READ_PUBLIC"), site.grant("demo", "alice", "READ_PUBLIC")
	known := oauth1.Signer{ConsumerKey: "stored", ConsumerSecret: "s", Token: token.Key, TokenSecret: token.Secret}
	with := func(change func(*oauth1.Signer)) oauth1.Signer {
		signer := known
		change(&signer)
		return signer
	}
	long := strings.Repeat("x", maxText+1)
	plain := site.app.store
	for _, c := range []struct {
		name   string
		signer oauth1.Signer
		broken error
		status int
		body   string
		asked  []string
	}{
		{name: "both are stored", signer: known, status: 200, asked: []string{"both"}},
		{name: "a declared consumer", signer: oauth1.Signer{
			ConsumerKey: "demo", ConsumerSecret: "demo-secret", Token: declared.Key, TokenSecret: declared.Secret,
		}, status: 200, asked: []string{"token"}},
		{name: "a declared consumer with an unknown token", signer: oauth1.Signer{
			ConsumerKey: "demo", ConsumerSecret: "demo-secret", Token: "nothing",
		}, status: 401, body: "Unknown access token (nothing).", asked: []string{"token"}},
		{name: "an unknown consumer", signer: with(func(s *oauth1.Signer) { s.ConsumerKey = "nobody" }),
			status: 401, body: "Unknown consumer (nobody).", asked: []string{"both"}},
		{name: "an unknown token", signer: with(func(s *oauth1.Signer) { s.Token = "nothing" }),
			status: 401, body: "Unknown access token (nothing).", asked: []string{"both"}},
		{name: "both are unknown", signer: with(func(s *oauth1.Signer) { s.ConsumerKey, s.Token = "nobody", "nothing" }),
			status: 401, body: "Unknown consumer (nobody).", asked: []string{"both"}},
		{name: "a disabled consumer", signer: with(func(s *oauth1.Signer) { s.ConsumerKey = "off" }),
			status: 401, body: "Disabled consumer (off).", asked: []string{"both"}},
		{name: "an expired consumer with an unknown token", signer: with(func(s *oauth1.Signer) {
			s.ConsumerKey, s.Token = "old", "nothing"
		}), status: 401, body: "Expired consumer (old).", asked: []string{"both"}},
		{name: "a token of another consumer", signer: with(func(s *oauth1.Signer) { s.ConsumerKey = "bot" }),
			status: 401, body: "Unknown access token (" + token.Key + ").", asked: []string{"both"}},
		{name: "an expired token", signer: with(func(s *oauth1.Signer) { s.Token, s.TokenSecret = "expired", "s" }),
			status: 401, body: "Expired token (expired).", asked: []string{"both"}},
		{name: "no token", signer: oauth1.Signer{ConsumerKey: "bot", ConsumerSecret: "s"},
			status: 200, asked: []string{"consumer"}},
		{name: "a consumer key that no store can have", signer: with(func(s *oauth1.Signer) { s.ConsumerKey = long }),
			status: 401, body: "Unknown consumer (" + long[:maxText] + "...).", asked: nil},
		{name: "a token that no store can have", signer: with(func(s *oauth1.Signer) { s.Token = long }),
			status: 401, body: "Unknown access token (" + long[:maxText] + "...).", asked: []string{"consumer"}},
		{name: "a store that is out of reach", signer: known, broken: errors.New("no answer"),
			status: 503, body: "The token store is out of reach. Try again later.", asked: []string{"both"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			pair := &pairStore{Store: plain, broken: c.broken}
			stores := []tokenstore.Store{pair, plain}
			if c.broken != nil {
				stores = stores[:1]
			}
			for _, store := range stores {
				site.app.store = store
				w, upstream := site.serve(site.sign(c.signer, http.MethodGet, "http://api.test/x", ""))
				if w.Code != c.status || w.Body.String() != c.body || (upstream != nil) != (c.status == 200) {
					t.Errorf("%T: got %d %q, want %d %q", store, w.Code, w.Body, c.status, c.body)
				}
			}
			if !slices.Equal(pair.asked, c.asked) {
				t.Errorf("the store was asked for %q, want %q", pair.asked, c.asked)
			}
		})
	}
}
