package redisstore

import (
	"errors"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/redisstore/redislab"
)

func requestOf(consumer, key string) *tokenstore.RequestToken {
	now := time.Now().UTC()
	return &tokenstore.RequestToken{Key: key, Secret: "secret", Consumer: consumer, Created: now, Expires: now.Add(time.Hour)}
}

func accessOf(consumer, user, key string) *tokenstore.AccessToken {
	return &tokenstore.AccessToken{Key: key, Secret: "secret", Consumer: consumer, User: user, Permission: "READ", Created: time.Now().UTC()}
}

// countedIn returns how many members a set of the accounting has.
func countedIn(t *testing.T, s *Store, set string) int64 {
	t.Helper()
	c, err := s.link.client()
	if err != nil {
		t.Fatal(err)
	}
	n, err := c.Do(t.Context(), c.B().Zcard().Key(s.account(set)).Build()).AsInt64()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestWhatWasNotMadeDoesNotCount: calls that are refused in the seconds after a failover take no
// room from those that come later.
func TestWhatWasNotMadeDoesNotCount(t *testing.T) {
	t.Parallel()
	lab := redislab.Single(t, redislab.Options{})
	s := openTest(t, quickOptions(lab, 0))
	awaitReady(t, s)
	lab.FlushAll(t)
	s.SetLimits(tokenstore.Limits{RequestTokensOfConsumer: 3, RequestTokens: 1000})
	for i := range 10 {
		if err := s.CreateRequestToken(t.Context(), requestOf("consumer", "k"+strconv.Itoa(i))); !isLater(err) {
			t.Fatalf("request token %d, below the floor: %v", i, err)
		}
		self := "self" + strconv.Itoa(i)
		err := s.RegisterConsumer(t.Context(), &tokenstore.Consumer{Key: self, SelfRegistered: true}, requestOf(self, "r"+self))
		if !isLater(err) {
			t.Fatalf("registration %d, below the floor: %v", i, err)
		}
	}
	for _, set := range []string{countAll, countSelf, countWaiting + "consumer", countStored + "consumer", registered} {
		if n := countedIn(t, s, set); n != 0 {
			t.Errorf("%d are counted in %q", n, set)
		}
	}
}

// withTwoReplicas opens a store that demands both replicas, and the slices of some keys. It returns
// the second replica.
func withTwoReplicas(t *testing.T, lead time.Duration, keys ...string) (*Store, *redislab.Node) {
	t.Helper()
	lab := redislab.Sentinel(t, redislab.Options{})
	o := quickOptions(lab, 2)
	o.Addresses, o.SentinelMaster, o.Lead = []string{lab.Nodes[0].Address()}, "", lead
	s := openTest(t, o)
	awaitReady(t, s)
	for _, key := range keys {
		if _, err := s.raise(t.Context(), sliceOf(key)); err != nil {
			t.Fatal(err)
		}
	}
	return s, lab.Nodes[2]
}

// TestUnconfirmedRegistrationCounts: a self-registered consumer that may be there, and is, counts,
// so that it is forgotten after a day.
func TestUnconfirmedRegistrationCounts(t *testing.T) {
	t.Parallel()
	s, second := withTwoReplicas(t, 5*time.Second, "self")
	second.Stop(t)
	err := s.CreateConsumer(t.Context(), &tokenstore.Consumer{Key: "self", SelfRegistered: true})
	if err == nil {
		t.Fatal("created without the second replica")
	}
	if c, _, err := s.consumer(t.Context(), "self"); err != nil || c == nil {
		t.Fatalf("the consumer: %v", err)
	}
	if n := countedIn(t, s, registered); n != 1 {
		t.Errorf("%d consumers are counted", n)
	}
}

// TestWhatExistsIsConfirmed: a caller who tries again after no answer takes "it exists" for an
// acknowledgement, so it comes only when replicas have what exists.
func TestWhatExistsIsConfirmed(t *testing.T) {
	t.Parallel()
	s, second := withTwoReplicas(t, 20*time.Second, "new consumer", "new token")
	creations := map[string]func() error{
		"a consumer": func() error {
			return s.CreateConsumer(t.Context(), &tokenstore.Consumer{Key: "new consumer"})
		},
		"an access token": func() error {
			return s.CreateAccessToken(t.Context(), accessOf("declared", "u", "new token"))
		},
	}
	second.Stop(t)
	for name, create := range creations {
		for range 2 {
			if err := create(); err == nil || errors.Is(err, tokenstore.ErrExists) {
				t.Errorf("%s, without the second replica: got %v", name, err)
			}
		}
	}
	second.Continue(t)
	for name, create := range creations {
		err := create()
		for begun := time.Now(); !errors.Is(err, tokenstore.ErrExists) && time.Since(begun) < 20*time.Second; err = create() {
			time.Sleep(100 * time.Millisecond)
		}
		if !errors.Is(err, tokenstore.ErrExists) {
			t.Errorf("%s, with both replicas: got %v", name, err)
		}
	}
}

// TestDeletionIsFinished: what a process began that did not live to finish it, another one finishes.
func TestDeletionIsFinished(t *testing.T) {
	t.Parallel()
	lab := redislab.Single(t, redislab.Options{})
	s := openTest(t, quickOptions(lab, 0))
	awaitReady(t, s)
	if err := s.CreateConsumer(t.Context(), &tokenstore.Consumer{Key: "c", Secret: "secret"}); err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		if err := s.CreateAccessToken(t.Context(), accessOf("c", "u", "t"+strconv.Itoa(i))); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.markDeleted(t.Context(), "c"); err != nil {
		t.Fatal(err)
	}
	for begin := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		n, err := s.CountAccessTokens(t.Context(), tokenstore.Filter{Consumer: "c"})
		if err != nil {
			t.Fatal(err)
		}
		c, _, err := s.consumer(t.Context(), "c")
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 && c == nil {
			break
		}
		if time.Since(begin) > 30*time.Second {
			t.Fatalf("there are still %d tokens of the consumer; the consumer is there: %v", n, c != nil)
		}
	}
	keys, err := (&indexPages{s: s, slice: sliceOf("c"), index: kindDeletedByEnd}).read(t.Context())
	if err != nil || len(keys) != 0 {
		t.Errorf("to be deleted: %q, %v", keys, err)
	}
}

// TestMarkStaysWithItsTokens: a bulk revocation does not end while a server has tokens to remove,
// whatever another server has said.
func TestMarkStaysWithItsTokens(t *testing.T) {
	t.Parallel()
	lab := redislab.Single(t, redislab.Options{})
	s := openTest(t, quickOptions(lab, 0))
	awaitReady(t, s)
	if err := s.CreateAccessToken(t.Context(), accessOf("c", "u", "token")); err != nil {
		t.Fatal(err)
	}
	sl := sliceOf("token")
	j, _, err := s.mark(t.Context(), sl, tokenstore.Filter{Consumer: "c"})
	if err != nil {
		t.Fatal(err)
	}
	if done, err := s.endJob(t.Context(), *j); done || err != nil {
		t.Errorf("ended: %v, %v", done, err)
	}
	if _, err := s.LastUsed(t.Context(), "token"); !errors.Is(err, tokenstore.ErrNotFound) {
		t.Errorf("the revoked token: %v", err)
	}
	if err := s.finish(t.Context(), *j, time.Now().Add(10*time.Second)); err != nil {
		t.Fatal(err)
	}
	if v, err := s.read(t.Context(), sl); err != nil || len(v.marks) != 0 {
		t.Errorf("marks: %v, %v", v.marks, err)
	}
}

// TestFullMemory: a server whose memory is full still takes back what was given.
func TestFullMemory(t *testing.T) {
	t.Parallel()
	lab := redislab.Single(t, redislab.Options{})
	s := openTest(t, quickOptions(lab, 0))
	awaitReady(t, s)
	for _, key := range []string{"disabled", "deleted"} {
		if err := s.CreateConsumer(t.Context(), &tokenstore.Consumer{Key: key, Secret: "secret"}); err != nil {
			t.Fatal(err)
		}
	}
	for i, consumer := range []string{"deleted", "x", "y", "z"} {
		if err := s.CreateAccessToken(t.Context(), accessOf(consumer, "user of "+consumer, "t"+strconv.Itoa(i))); err != nil {
			t.Fatal(err)
		}
	}
	lab.Nodes[0].Must(t, "CONFIG", "SET", "maxmemory", "1")
	time.Sleep(s.lead() + 2*time.Second) // all leases are over
	if err := s.CreateAccessToken(t.Context(), accessOf("x", "u", "another")); err == nil {
		t.Fatal("the memory is not full")
	}
	check := func(what string, err error) {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	check("revoke a token", s.RevokeToken(t.Context(), "t1"))
	if err := s.RevokeToken(t.Context(), "t1"); !errors.Is(err, tokenstore.ErrNotFound) {
		t.Errorf("revoke it again: %v", err)
	}
	_, err := s.Revoke(t.Context(), tokenstore.Filter{Consumer: "y"})
	check("revoke the tokens of a consumer", err)
	_, err = s.Revoke(t.Context(), tokenstore.Filter{User: "user of z"})
	check("revoke the tokens of a user", err)
	_, err = s.UpdateConsumer(t.Context(), "disabled", func(c *tokenstore.Consumer) error { c.Disabled = true; return nil })
	check("disable a consumer", err)
	check("delete a consumer", s.DeleteConsumer(t.Context(), "deleted"))
	tokens, err := s.CountAccessTokens(t.Context(), tokenstore.Filter{})
	if tokens != 0 || err != nil {
		t.Errorf("%d tokens are left, %v", tokens, err)
	}
}

// TestNothingBeginsAfterClose: a call under way begins nothing that Close has not waited for.
func TestNothingBeginsAfterClose(t *testing.T) {
	t.Parallel()
	lab := redislab.Single(t, redislab.Options{})
	s := openTest(t, quickOptions(lab, 0))
	awaitReady(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	began := false
	var all sync.WaitGroup
	for sl := range slice(sliceCount) {
		all.Go(func() { s.raiseSoon(sl) })
	}
	s.inBackground(func() { began = true })
	all.Wait()
	s.background.Wait()
	if began {
		t.Error("something began")
	}
}

// TestDemoted: a server that is a replica now, and keeps its connections, is like one that is out of
// reach: whoever calls may try again.
func TestDemoted(t *testing.T) {
	t.Parallel()
	lab := redislab.Single(t, redislab.Options{})
	s := openTest(t, quickOptions(lab, 0))
	awaitReady(t, s)
	if err := s.CreateConsumer(t.Context(), &tokenstore.Consumer{Key: "c", Secret: "secret"}); err != nil {
		t.Fatal(err)
	}
	lab.Nodes[0].Must(t, "REPLICAOF", "127.0.0.1", "1")
	time.Sleep(100 * time.Millisecond)
	_, _, err := s.consumer(t.Context(), "c")
	if !isLater(err) {
		t.Errorf("read: %v", err)
	}
	if err := s.UseNonce(t.Context(), nonceAt(time.Now().Unix(), "token", "n", 300)); !isLater(err) {
		t.Errorf("a nonce: %v", err)
	}
	if err := s.CreateConsumer(t.Context(), &tokenstore.Consumer{Key: "d", Secret: "secret"}); !isLater(err) {
		t.Errorf("write: %v", err)
	}
	if _, err := s.Revoke(t.Context(), tokenstore.Filter{User: "u"}); !isLater(err) {
		t.Errorf("revoke: %v", err)
	}
	lab.Nodes[0].Must(t, "REPLICAOF", "NO", "ONE")
	usable(t, s, "token")
}
