package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// TestStats: the figures show an operator that the right store was opened, and not an empty one.
func TestStats(t *testing.T) {
	o := Options{Path: t.TempDir(), EncryptionKey: make([]byte, 16)}
	s := openTest(t, o)
	now := time.Now()
	for _, key := range []string{"a", "b"} {
		if err := s.CreateConsumer(t.Context(), &tokenstore.Consumer{Key: key}); err != nil {
			t.Fatal(err)
		}
	}
	var adding change
	for i := range countedAtOnce + 1 { // more than are counted at once
		putAccessToken(&adding,
			&tokenstore.AccessToken{Key: fmt.Sprint(i), Secret: "s", Consumer: "a", User: "u",
				Permission: "p", Created: now})
		if i%1000 == 0 || i == countedAtOnce {
			if err := s.tokens.commit(adding); err != nil {
				t.Fatal(err)
			}
			adding = change{}
		}
	}
	request := func(key, consumer string, expires time.Time) *tokenstore.RequestToken {
		return &tokenstore.RequestToken{Key: key, Secret: "s", Consumer: consumer, Created: now, Expires: expires}
	}
	for key, expires := range map[string]time.Time{
		"waiting": now.Add(time.Hour), "refused": now.Add(time.Hour), "expired": now.Add(-time.Second),
	} {
		if err := s.CreateRequestToken(t.Context(), request(key, "b", expires)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Review(t.Context(), "refused",
		tokenstore.Review{User: "u", Permission: tokenstore.Unauthorized, Time: now}); err != nil {
		t.Fatal(err)
	}
	if err := s.RegisterConsumer(t.Context(), &tokenstore.Consumer{Key: "idle", SelfRegistered: true, Created: now},
		request("first", "idle", now.Add(time.Hour))); err != nil {
		t.Fatal(err)
	}
	for i, consumer := range []string{"a", "a", "b"} {
		n := tokenstore.Nonce{Consumer: consumer, Timestamp: now.Unix(), Value: fmt.Sprint(i),
			Expires: now.Add(time.Hour)}
		if err := s.UseNonce(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	o.Sync = true
	s = openTest(t, o)
	stats, err := s.Stats(t.Context())
	want := []tokenstore.Stat{
		{Name: "consumers", Value: 3, Parts: []tokenstore.Stat{
			{Name: "stored", Value: 2}, {Name: "idle", Value: 1},
		}},
		{Name: "access_tokens", Value: countedAtOnce + 1},
		{Name: "request_tokens", Value: 4, Parts: []tokenstore.Stat{
			{Name: "waiting", Value: 2}, {Name: "refused", Value: 1}, {Name: "expired", Value: 1},
		}},
		{Name: "nonces", Value: 3},
	}
	if err != nil || !reflect.DeepEqual(stats, want) {
		t.Errorf("got %v, %v; want %v", stats, err, want)
	}

	ended, end := context.WithCancel(t.Context())
	end()
	stats, err = s.Stats(ended)
	if !errors.Is(err, context.Canceled) || len(stats) != 1 || stats[0].Name != "nonces" {
		t.Errorf("when it has no time: %v, %v; want the nonces alone, and %v", stats, err, context.Canceled)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Stats(t.Context()); !errors.Is(err, tokenstore.ErrClosed) {
		t.Errorf("when it is closed: %v, want %v", err, tokenstore.ErrClosed)
	}
}
