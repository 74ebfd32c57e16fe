package redisstore

import (
	"errors"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/redisstore/redislab"
)

// TestGrantWhileForgetting: a consumer that gets an access token just before it is forgotten keeps
// both. A grant that comes a moment later fails, and succeeds when the consumer is kept.
func TestGrantWhileForgetting(t *testing.T) {
	t.Parallel()
	s := openTest(t, testOptions(redislab.Single(t, redislab.Options{}), 0))
	awaitReady(t, s)
	forgetting := func(key string) *storedConsumer {
		t.Helper()
		c, err := s.mayDelete(t.Context(), key, s.clock(), func(*storedConsumer) bool { return true })
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	for _, key := range []string{"before", "after", "none"} {
		if err := s.CreateConsumer(t.Context(), &tokenstore.Consumer{Key: key, SelfRegistered: true}); err != nil {
			t.Fatal(err)
		}
	}

	if err := s.CreateAccessToken(t.Context(), accessOf("before", "u", "token")); err != nil {
		t.Fatal(err)
	}
	if err := s.conclude(t.Context(), forgetting("before")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Consumer(t.Context(), "before"); err != nil {
		t.Errorf("the consumer with an access token: %v", err)
	}
	if _, err := s.AccessToken(t.Context(), "token"); err != nil {
		t.Errorf("its access token: %v", err)
	}

	reviewed(t, s, "after", "request", "right")
	c := forgetting("after")
	if _, err := s.Exchange(t.Context(), "request", "right"); !isLater(err) {
		t.Errorf("an exchange while the consumer is forgotten: %v", err)
	}
	if err := s.CreateAccessToken(t.Context(), accessOf("after", "u", "direct")); !isLater(err) {
		t.Errorf("a grant while the consumer is forgotten: %v", err)
	}
	if err := s.conclude(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if access, err := s.Exchange(t.Context(), "request", "right"); err != nil || access.Consumer != "after" {
		t.Errorf("the exchange again: %v", err)
	}

	c = forgetting("none")
	if err := s.conclude(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Consumer(t.Context(), "none"); !errors.Is(err, tokenstore.ErrNotFound) {
		t.Errorf("the consumer without an access token: %v", err)
	}
	if err := s.conclude(t.Context(), c); err != nil {
		t.Errorf("another process that decides later: %v", err)
	}
}

// TestGrantWhileForgettingEnds: a grant whose access token was written after it was decided that the
// consumer is forgotten, and that looks for the consumer only when it is gone, or there again, is not
// acknowledged: the access token was revoked meanwhile.
func TestGrantWhileForgettingEnds(t *testing.T) {
	t.Parallel()
	s := openTest(t, testOptions(redislab.Single(t, redislab.Options{}), 0))
	awaitReady(t, s)
	for key, comesBack := range map[string]bool{"gone": false, "again": true} {
		self := &tokenstore.Consumer{Key: key, SelfRegistered: true, Created: time.Now().Add(-48 * time.Hour)}
		if err := s.CreateConsumer(t.Context(), self); err != nil {
			t.Fatal(err)
		}
		before, err := s.grantee(t.Context(), key)
		if err != nil || before == nil {
			t.Fatalf("the consumer before: %v, %v", before, err)
		}
		c, err := s.mayDelete(t.Context(), key, s.clock(), func(*storedConsumer) bool { return true })
		if err != nil {
			t.Fatal(err)
		}
		if late, err := s.grantee(t.Context(), key); err != nil || late == nil {
			t.Fatalf("the consumer while it is forgotten: %v, %v", late, err)
		}
		if c, err = s.decide(t.Context(), c); err != nil || c == nil {
			t.Fatalf("decided: %v, %v", c, err)
		}
		access := accessOf(key, "u", "token of "+key)
		if err := s.writeToken(t.Context(), access); err != nil {
			t.Fatal(err)
		}
		if err := s.finishDeletion(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if comesBack {
			again := &tokenstore.Consumer{Key: key, SelfRegistered: true, Created: time.Now()}
			if err := s.CreateConsumer(t.Context(), again); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.LastUsed(t.Context(), access.Key); !errors.Is(err, tokenstore.ErrNotFound) {
			t.Errorf("the access token: %v", err)
		}
		if err := s.hasConsumer(t.Context(), before, key); !isLater(err) {
			t.Errorf("the consumer is %s: a grant that is revoked is acknowledged: %v", key, err)
		}
	}

	// The consumer may be declared in the configuration.
	if err := s.CreateAccessToken(t.Context(), accessOf("declared", "u", "token")); err != nil {
		t.Errorf("a grant of a consumer that is not in the store: %v", err)
	}
}

// TestForgettingIsFinished: a consumer that a process began to forget is kept or forgotten by
// another.
func TestForgettingIsFinished(t *testing.T) {
	t.Parallel()
	s := openTest(t, testOptions(redislab.Single(t, redislab.Options{}), 0))
	awaitReady(t, s)
	for _, key := range []string{"with", "without"} {
		if err := s.CreateConsumer(t.Context(), &tokenstore.Consumer{Key: key, SelfRegistered: true}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.CreateAccessToken(t.Context(), accessOf("with", "u", "token")); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"with", "without"} {
		if _, err := s.mayDelete(t.Context(), key, s.clock(), func(*storedConsumer) bool { return true }); err != nil {
			t.Fatal(err)
		}
	}
	within(t, abandonedAfter+20*time.Second, func() error {
		with, _, err1 := s.consumer(t.Context(), "with")
		without, _, err2 := s.consumer(t.Context(), "without")
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		if with == nil || with.state != stateThere || without != nil {
			return errors.New("neither kept nor forgotten")
		}
		return nil
	})
	if _, err := s.AccessToken(t.Context(), "token"); err != nil {
		t.Errorf("the access token: %v", err)
	}
}
