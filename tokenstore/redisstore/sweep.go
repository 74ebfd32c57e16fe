package redisstore

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/redis/rueidis"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/record"
)

// A sweeper removes what is over, a little at a time. Every process has one. Several may work at
// once: each removal depends on what was read.
type sweeper struct {
	*Store
	jobsSeen [sliceCount]map[string]time.Time // when bulk revocations were seen first
	places   map[string]int64                 // of sorted sets, where they are read next
}

func newSweeper(s *Store) *sweeper { return &sweeper{Store: s, places: make(map[string]int64)} }

// due asks for what a sorted set has that is over, behind what is left there.
func (s *sweeper) due(c rueidis.Client, key, now string) rueidis.Completed {
	return c.B().Zrange().Key(key).Min("-inf").Max(now).Byscore().Limit(s.places[key], removedAtOnce).Build()
}

// pass goes on behind what stays in a sorted set since it can't be read. At the end of what is over
// it begins again.
func (s *sweeper) pass(key string, seen, left int) {
	if seen < removedAtOnce {
		delete(s.places, key)
	} else {
		s.places[key] += int64(left)
	}
}

// sweepInterval is how often the slices are looked at.
const sweepInterval = time.Second

// abandonedAfter is when a bulk revocation is taken over from the process that began it.
const abandonedAfter = 5 * time.Second

func (s *Store) sweep() {
	sweeper := newSweeper(s)
	for s.sleep(sweepInterval) {
		if err := sweeper.sweepOnce(s.life); err != nil {
			s.complain("can't remove what is over", err)
		}
		if err := sweeper.forgetConsumers(s.life); err != nil {
			s.complain("can't forget self-registered consumers", err)
		}
	}
}

// sweepOnce removes some of what is over in each slice, and goes on with bulk revocations.
func (s *sweeper) sweepOnce(ctx context.Context) error {
	c, err := s.link.client()
	if err != nil {
		return nil // the link says so itself
	}
	now := milliseconds(s.clock())
	over := func(kind string, sl slice) rueidis.Completed { return s.due(c, s.key(kind, sl, ""), now) }
	const questions = 4
	commands := make([]rueidis.Completed, 0, questions*sliceCount)
	for sl := range slice(sliceCount) {
		commands = append(commands,
			over(kindTokensByEnd, sl), over(kindRequestsByEnd, sl), over(kindDeletedByEnd, sl),
			c.B().Hlen().Key(s.key(kindWork, sl, "")).Build())
	}
	limited, cancel := context.WithTimeout(ctx, s.timeout())
	defer cancel()
	answers := c.DoMulti(limited, commands...)
	for sl := range slice(sliceCount) {
		of := answers[questions*sl : questions*(sl+1)]
		tokens, err1 := of[0].AsStrSlice()
		requests, err2 := of[1].AsStrSlice()
		deleted, err3 := of[2].AsStrSlice()
		jobs, err4 := of[3].AsInt64()
		if err := cmp.Or(err1, err2, err3, err4); err != nil {
			return s.explain(limited, err)
		}
		if err := s.sweepSlice(ctx, sl, tokens, requests, jobs > 0); err != nil {
			return err
		}
		err := s.eachConsumer(s.key(kindDeletedByEnd, sl, ""), deleted, "can't finish the deletion of a consumer",
			func(key string) error { return s.goOnDeleting(ctx, key) })
		if err != nil {
			return err
		}
	}
	return nil
}

// eachConsumer calls a function for the consumers that a sorted set has. It leaves those that can't
// be read.
func (s *sweeper) eachConsumer(set string, keys []string, complaint string, do func(key string) error) error {
	left := 0
	for _, key := range keys {
		switch err := quiet(do(key)); {
		case record.Unreadable(err):
			s.complain(complaint, err)
			left++
		case err != nil:
			return err
		}
	}
	s.pass(set, len(keys), left)
	return nil
}

// sweepSlice removes tokens of a slice that may be over, and goes on with its bulk revocations.
func (s *sweeper) sweepSlice(ctx context.Context, sl slice, tokens, requests []string, jobs bool) error {
	if err := s.removeExpiredTokens(ctx, sl, tokens); err != nil {
		return err
	}
	if err := s.removeExpiredRequests(ctx, sl, requests); err != nil {
		return err
	}
	if !jobs {
		s.jobsSeen[sl] = nil
		return nil
	}
	list, err := s.jobs(ctx, sl)
	if err != nil {
		return err
	}
	before, now := s.jobsSeen[sl], time.Now()
	s.jobsSeen[sl] = make(map[string]time.Time, len(list))
	for _, j := range list {
		first, ok := before[j.name]
		if !ok {
			first = now // not the revision: the server's clock may have been far ahead
		}
		s.jobsSeen[sl][j.name] = first
	}
	for _, j := range list {
		if now.Sub(s.jobsSeen[sl][j.name]) < abandonedAfter {
			continue
		}
		if err := s.finish(ctx, j, time.Now().Add(sweepInterval/2)); err != nil {
			return err
		}
	}
	return nil
}

// goOnDeleting finishes the deletion of a consumer, which another process began.
func (s *Store) goOnDeleting(ctx context.Context, key string) error {
	c, _, err := s.consumer(ctx, key)
	if err != nil || c == nil || c.state != stateDeleted {
		return err // another process has finished it meanwhile
	}
	return s.conclude(ctx, c)
}

// expiring is what the sweeper must know of a kind of records that end.
type expiring[T any] struct {
	kind    record.Kind[T]
	keyKind string
	byEnd   string // the sorted set of their keys
	key     func(*T) string
	over    func(*T) bool
	remove  func(*write, *stored[T])
}

func (s *sweeper) removeExpiredTokens(ctx context.Context, sl slice, keys []string) error {
	return removeExpired(ctx, s, sl, keys, expiring[tokenstore.AccessToken]{
		kind: record.AccessToken, keyKind: kindToken, byEnd: kindTokensByEnd,
		key:    func(t *tokenstore.AccessToken) string { return t.Key },
		over:   func(t *tokenstore.AccessToken) bool { return s.past(t.Expires, tokenstore.Retention) },
		remove: s.removeToken,
	})
}

func (s *sweeper) removeExpiredRequests(ctx context.Context, sl slice, keys []string) error {
	return removeExpired(ctx, s, sl, keys, expiring[tokenstore.RequestToken]{
		kind: record.RequestToken, keyKind: kindRequest, byEnd: kindRequestsByEnd,
		key:    func(t *tokenstore.RequestToken) string { return t.Key },
		over:   func(t *tokenstore.RequestToken) bool { return s.past(t.Expires, tokenstore.RequestRetention) },
		remove: s.removeRequest,
	})
}

// removeExpired removes the records of some keys, as far as they are over.
func removeExpired[T any](ctx context.Context, s *sweeper, sl slice, keys []string, x expiring[T]) error {
	set := s.key(x.byEnd, sl, "")
	if len(keys) == 0 {
		s.pass(set, 0, 0)
		return nil
	}
	var over []*stored[T]
	_, err := readRecords(ctx, s.Store, x.kind, sl, x.keyKind, keys, func(_ *view, r *stored[T]) {
		if x.over(r.is) {
			over = append(over, r)
		}
	})
	if err != nil {
		return err
	}
	w := newWrite(sl, nil)
	for _, r := range over {
		w.require(s.key(x.keyKind, sl, x.key(r.is)), r.value)
	}
	for _, r := range over {
		x.remove(w, r)
	}
	return s.removeOver(ctx, w, set, len(keys), len(over))
}

// removeOver writes the removal of some of the records that were seen in a sorted set.
func (s *sweeper) removeOver(ctx context.Context, w *write, set string, seen, removed int) error {
	done, err := s.commitLoosely(ctx, w)
	if done {
		s.pass(set, seen, seen-removed)
	}
	return quiet(err)
}

// quiet drops the error of a slice whose epoch has just begun: what is over is removed later.
func quiet(err error) error {
	var later *tokenstore.LaterError
	if errors.As(err, &later) {
		return nil
	}
	return err
}

// forgetConsumers removes self-registered consumers that have no access token for a day.
func (s *sweeper) forgetConsumers(ctx context.Context) error {
	c, err := s.link.client()
	if err != nil {
		return nil
	}
	now := milliseconds(s.clock())
	limited, cancel := context.WithTimeout(ctx, s.timeout())
	defer cancel()
	sets := []string{s.account(registered), s.account(registeredOld)}
	for i, answer := range c.DoMulti(limited, s.due(c, sets[0], now), s.due(c, sets[1], now)) {
		keys, err := answer.AsStrSlice()
		if err != nil {
			return s.explain(limited, err)
		}
		err = s.eachConsumer(sets[i], keys, "can't forget a self-registered consumer",
			func(key string) error { return s.forgetConsumer(ctx, key) })
		if err != nil {
			return err
		}
	}
	return nil
}

// forgetConsumer removes a self-registered consumer, unless it has an access token, or had one
// until less than a day ago.
func (s *Store) forgetConsumer(ctx context.Context, key string) error {
	kept, err := s.keptUntil(ctx, key)
	if err != nil {
		return err
	}
	if kept.After(s.clock()) {
		s.granted(ctx, key)
		s.lookAtConsumer(ctx, key, kept)
		return nil
	}
	begun := false
	forgotten, err := s.mayDelete(ctx, key, s.clock(), func(c *storedConsumer) bool {
		begun = c.state == stateDeleted
		return c.is.SelfRegistered && !begun
	})
	if begun {
		return nil // whoever deletes it goes on, and it counts until then
	}
	if errors.Is(err, tokenstore.ErrNotFound) || errors.Is(err, errKept) {
		s.forgetRegistration(ctx, key)
		return nil
	}
	if err != nil {
		return err
	}
	return s.conclude(ctx, forgotten)
}

// keptUntil returns until when a self-registered consumer is kept for its access tokens; zero if it
// has none.
func (s *Store) keptUntil(ctx context.Context, key string) (until time.Time, err error) {
	for after := ""; ; {
		page, next, err := s.AccessTokens(ctx, tokenstore.Filter{Consumer: key}, after, 500)
		if err != nil {
			return time.Time{}, err
		}
		for _, t := range page {
			if t.Expires.IsZero() {
				return s.clock().Add(forgetAfter), nil
			}
			if end := t.Expires.Add(forgetAfter); end.After(until) {
				until = end
			}
		}
		if next == "" {
			return until, nil
		}
		after = next
	}
}
