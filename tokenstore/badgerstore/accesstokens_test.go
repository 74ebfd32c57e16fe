package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// The last use of a token is stored beside its record, so that no request reads it. LastUsed
// returns it, and it is removed with the token.
func TestLastUsedIsKeptBesideTheToken(t *testing.T) {
	path := t.TempDir()
	token := &tokenstore.AccessToken{Key: "a", Consumer: "k", User: "u"}
	now := time.UnixMilli(1_800_000_000_000)

	s := openTest(t, Options{Path: path})
	if err := s.CreateAccessToken(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	if err := s.Touch(t.Context(), map[string]time.Time{"a": now}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	s = openTest(t, Options{Path: path})
	if got, err := s.AccessToken(t.Context(), "a"); err != nil || !got.LastUsed.IsZero() {
		t.Errorf("for a request: %+v, %v", got, err)
	}
	if got, err := s.LastUsed(t.Context(), "a"); err != nil || !got.Equal(now) {
		t.Errorf("last used: %v, %v, want %v", got, err, now)
	}
	if err := s.RevokeToken(t.Context(), "a"); err != nil { // the cached record has no last use
		t.Fatal(err)
	}
	if err := s.CreateAccessToken(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	if got, err := s.LastUsed(t.Context(), "a"); err != nil || !got.IsZero() {
		t.Errorf("a new token of that key was used at %v, %v", got, err)
	}
}

// countedContext ends when it was asked so many times.
type countedContext struct {
	context.Context
	left int
}

func (c *countedContext) Err() error {
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return nil
}

// TestAListThatFindsNothingEndsWithItsContext: it may look at millions of tokens.
func TestAListThatFindsNothingEndsWithItsContext(t *testing.T) {
	s := openTest(t, Options{})
	for i := range 20 {
		if err := s.CreateAccessToken(t.Context(), &tokenstore.AccessToken{Key: fmt.Sprint(i), User: "u", Consumer: "c"}); err != nil {
			t.Fatal(err)
		}
	}
	ctx := &countedContext{t.Context(), 10}
	if _, _, err := s.AccessTokens(ctx, tokenstore.Filter{User: "u", Consumer: "other"}, "", 1); !errors.Is(err, context.Canceled) {
		t.Errorf("it went on: %v", err)
	}
}
