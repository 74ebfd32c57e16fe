package redisstore

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/redisstore/redislab"
)

// damage puts records that can't be read first among what is over.
func damage(t *testing.T, s *Store, set string, keyOf func(name string) string, n int) {
	t.Helper()
	c, err := s.link.client()
	if err != nil {
		t.Fatal(err)
	}
	var commands []rueidis.Completed
	for i := range n {
		name := "damaged" + strconv.Itoa(i)
		commands = append(commands, c.B().Zadd().Key(set).ScoreMember().ScoreMember(1, name).Build())
		if key := keyOf(name); key != "" {
			commands = append(commands, c.B().Set().Key(key).Value("?").Build())
		}
	}
	for _, answer := range c.DoMulti(t.Context(), commands...) {
		if err := answer.Error(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestSweepPassesTheUnreadable: records that can't be read stay, and do not keep the others.
func TestSweepPassesTheUnreadable(t *testing.T) {
	t.Parallel()
	s := openTest(t, testOptions(redislab.Single(t, redislab.Options{}), 0))
	awaitReady(t, s)
	const many = 2*removedAtOnce + 50
	sl := sliceOf("token")
	in := func(kind string) func(string) string {
		return func(name string) string { return s.key(kind, sl, name) }
	}
	damage(t, s, s.key(kindTokensByEnd, sl, ""), in(kindToken), many)
	damage(t, s, s.key(kindRequestsByEnd, sl, ""), in(kindRequest), many)
	damage(t, s, s.key(kindDeletedByEnd, sl, ""), in(kindConsumer), many)
	damage(t, s, s.account(registered), func(name string) string {
		return s.key(kindConsumer, sliceOf(name), name)
	}, many)

	// Behind them is what is over.
	long := time.Now().Add(-100 * time.Hour)
	access := accessOf("c", "u", "token")
	access.Expires = long
	if err := s.CreateAccessToken(t.Context(), access); err != nil {
		t.Fatal(err)
	}
	request := requestOf("c", "token")
	request.Expires = long
	if err := s.CreateRequestToken(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"token", "self"} {
		if err := s.createConsumer(t.Context(), &tokenstore.Consumer{Key: key, SelfRegistered: key == "self"}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.markDeleted(t.Context(), "token"); err != nil {
		t.Fatal(err)
	}
	c, err := s.link.client()
	if err != nil {
		t.Fatal(err)
	}
	due := c.B().Zadd().Key(s.account(registered)).ScoreMember().ScoreMember(float64(long.UnixMilli()), "self").Build()
	if err := c.Do(t.Context(), due).Error(); err != nil {
		t.Fatal(err)
	}
	within(t, 40*time.Second, func() error {
		for _, key := range []string{
			s.key(kindToken, sl, "token"), s.key(kindRequest, sl, "token"), s.key(kindConsumer, sl, "token"),
			s.key(kindConsumer, sliceOf("self"), "self"),
		} {
			if n, err := c.Do(t.Context(), c.B().Exists().Key(key).Build()).AsInt64(); err != nil || n != 0 {
				return errors.Join(errors.New(key+" is there"), err)
			}
		}
		return nil
	})
	if n, err := c.Do(t.Context(), c.B().Exists().Key(s.key(kindToken, sl, "damaged0")).Build()).AsInt64(); err != nil || n != 1 {
		t.Errorf("the token that can't be read is gone (%v)", err)
	}
}

// TestSweepComesBack: what follows the end of a list that was read in steps is found again.
func TestSweepComesBack(t *testing.T) {
	w := newSweeper(nil)
	w.pass("set", removedAtOnce, 60)
	w.pass("set", removedAtOnce, 30)
	if at := w.places["set"]; at != 90 {
		t.Errorf("it goes on at %d", at)
	}
	w.pass("set", removedAtOnce-1, 1)
	if at := w.places["set"]; at != 0 {
		t.Errorf("after the end it goes on at %d", at)
	}
}

// TestRevocationFromTheFuture: a bulk revocation that a server made while its clock was far ahead
// is finished by another process all the same.
func TestRevocationFromTheFuture(t *testing.T) {
	t.Parallel()
	s := openTest(t, testOptions(redislab.Single(t, redislab.Options{}), 0))
	awaitReady(t, s)
	sl := sliceOf("token")
	c, err := s.link.client()
	if err != nil {
		t.Fatal(err)
	}
	future := time.Now().Add(1000 * time.Hour).UnixMicro()
	set := c.B().Hset().Key(s.states[sl]).FieldValue().FieldValue("rev", integer(future)).Build()
	if err := c.Do(t.Context(), set).Error(); err != nil {
		t.Fatal(err)
	}
	if err := s.CreateAccessToken(t.Context(), accessOf("c", "u", "token")); err != nil {
		t.Fatal(err)
	}
	j, _, err := s.mark(t.Context(), sl, tokenstore.Filter{Consumer: "c"})
	if err != nil || int64(j.revision) < future {
		t.Fatalf("%v, %v", j, err)
	}
	begin := time.Now()
	within(t, abandonedAfter+20*time.Second, func() error {
		jobs, err := s.jobs(context.WithoutCancel(t.Context()), sl)
		if err == nil && len(jobs) > 0 {
			err = errors.New("it is not finished")
		}
		return err
	})
	if took := time.Since(begin); took < abandonedAfter-sweepInterval {
		t.Errorf("it was taken over after %v: its process may still be at it", took)
	}
}
