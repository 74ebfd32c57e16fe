package badgerstore

import (
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// What is noted of idle consumers may be out of date. Nobody is forgotten because of it.
func TestOutdatedNotesForgetNobody(t *testing.T) {
	s := openTest(t, Options{})
	for _, c := range []tokenstore.Consumer{{Key: "has a token", SelfRegistered: true}, {Key: "added"}} {
		if err := s.CreateConsumer(t.Context(), &c); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.CreateAccessToken(t.Context(), &tokenstore.AccessToken{Key: "a", Consumer: "has a token", User: "u"}); err != nil {
		t.Fatal(err)
	}
	waiting := &tokenstore.RequestToken{Key: "r", Consumer: "declared", Expires: time.Now().Add(time.Hour)}
	if err := s.CreateRequestToken(t.Context(), waiting); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"has a token", "added", "declared"} {
		var c change
		long := time.Now().Add(-forgetAfter)
		c.put(recordKey(prefixIdle, key), encodeTime(long), 0)
		if err := s.tokens.commit(c); err != nil {
			t.Fatal(err)
		}
		s.self.set(key, long)
	}
	if err := s.forgetDue(time.Now(), nil); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"has a token", "added"} {
		if _, err := s.Consumer(t.Context(), key); err != nil {
			t.Errorf("%s: %v", key, err)
		}
	}
	if _, err := s.RequestToken(t.Context(), "r"); err != nil {
		t.Errorf("a token of a consumer that is not stored: %v", err)
	}
	if err := s.loadIdle(); err != nil || len(s.self.idle) != 0 {
		t.Errorf("there are still the notes %v (%v)", s.self.idle, err)
	}
}
