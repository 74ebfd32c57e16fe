package badgerstore

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// TestOpenTellsWhatIsThere: an operator sees in the log that the right store was opened, and not an empty one.
func TestOpenTellsWhatIsThere(t *testing.T) {
	o := Options{Path: t.TempDir(), EncryptionKey: make([]byte, 16)}
	s := openTest(t, o)
	now := time.Now()
	for _, key := range []string{"a", "b"} {
		if err := s.CreateConsumer(t.Context(), &tokenstore.Consumer{Key: key}); err != nil {
			t.Fatal(err)
		}
	}
	var adding change
	for i := range countedAtOnce + 1 { // it is counted in parts
		putAccessToken(&adding, &tokenstore.AccessToken{Key: fmt.Sprint(i), Secret: "s", Consumer: "a", User: "u", Permission: "p", Created: now})
		if i%1000 == 0 || i == countedAtOnce {
			if err := s.tokens.commit(adding); err != nil {
				t.Fatal(err)
			}
			adding = change{}
		}
	}
	if err := s.CreateRequestToken(t.Context(), &tokenstore.RequestToken{Key: "r", Secret: "s", Consumer: "b", Created: now, Expires: now.Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	for i, consumer := range []string{"a", "a", "b"} {
		n := tokenstore.Nonce{Consumer: consumer, Timestamp: now.Unix(), Value: fmt.Sprint(i), Expires: now.Add(time.Hour)}
		if err := s.UseNonce(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	core, logs := observer.New(zap.InfoLevel)
	o.Logger, o.Sync = zap.New(core), true
	s = openTest(t, o)
	deadline := time.Now().Add(time.Minute)
	for logs.FilterMessage(openedMessage).Len() == 0 {
		if time.Now().After(deadline) {
			t.Fatal("it says nothing")
		}
		time.Sleep(time.Millisecond)
	}
	got := logs.FilterMessage(openedMessage).All()[0].ContextMap()
	want := map[string]any{
		"store": "badger", "path": o.Path, "encrypted": true, "sync": true,
		"consumers": int64(2), "access_tokens": int64(countedAtOnce + 1), "request_tokens": int64(1), "nonces": int64(3),
	}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
