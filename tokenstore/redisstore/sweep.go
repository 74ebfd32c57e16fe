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

// Every process sweeps: it removes what is over, a little at a time. Several may do so at once: each
// removal depends on what was read.

// sweepInterval is how often the slices are looked at.
const sweepInterval = time.Second

// abandonedAfter is when a bulk revocation is taken over from the process that began it.
const abandonedAfter = 5 * time.Second

func (s *Store) sweep() {
	for s.sleep(sweepInterval) {
		if err := s.sweepOnce(s.life); err != nil {
			s.complain("can't remove what is over", err)
		}
		if err := s.forgetConsumers(s.life); err != nil {
			s.complain("can't forget self-registered consumers", err)
		}
	}
}

// sweepOnce removes some of what is over in each slice, and goes on with bulk revocations.
func (s *Store) sweepOnce(ctx context.Context) error {
	c, err := s.link.client()
	if err != nil {
		return nil // the link says so itself
	}
	now := milliseconds(s.clock())
	over := func(kind string, sl slice) rueidis.Completed {
		return c.B().Zrange().Key(s.key(kind, sl, "")).Min("-inf").Max(now).Byscore().Limit(0, removedAtOnce).Build()
	}
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
		for _, key := range deleted {
			if err := quiet(s.goOnDeleting(ctx, key)); err != nil {
				return err
			}
		}
	}
	return nil
}

// sweepSlice removes tokens of a slice that may be over, and goes on with its bulk revocations.
func (s *Store) sweepSlice(ctx context.Context, sl slice, tokens, requests []string, jobs bool) error {
	if len(tokens) > 0 {
		if err := s.removeExpiredTokens(ctx, sl, tokens); err != nil {
			return err
		}
	}
	if len(requests) > 0 {
		if err := s.removeExpiredRequests(ctx, sl, requests); err != nil {
			return err
		}
	}
	if !jobs {
		return nil
	}
	list, err := s.jobs(ctx, sl)
	if err != nil {
		return err
	}
	for _, j := range list {
		if time.Since(time.UnixMicro(int64(j.revision))) < abandonedAfter {
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
	if record.Unreadable(err) {
		s.complain("can't finish the deletion of a consumer", err)
		return nil
	}
	if err != nil || c == nil || c.state != stateDeleted {
		return err // another process has finished it meanwhile
	}
	return s.finishDeletion(ctx, c)
}

func (s *Store) removeExpiredTokens(ctx context.Context, sl slice, keys []string) error {
	w := newWrite(sl, nil)
	var over []*storedToken
	_, err := readRecords(ctx, s, record.AccessToken, sl, kindToken, keys, func(_ *view, t *storedToken) {
		if s.past(t.is.Expires, tokenstore.Retention) {
			over = append(over, t)
		}
	})
	if err != nil {
		return err
	}
	for _, t := range over {
		w.require(s.key(kindToken, sl, t.is.Key), t.value)
	}
	for _, t := range over {
		s.removeToken(w, t)
	}
	_, err = s.commitLoosely(ctx, w)
	return quiet(err)
}

func (s *Store) removeExpiredRequests(ctx context.Context, sl slice, keys []string) error {
	w := newWrite(sl, nil)
	var over []*storedRequest
	_, err := readRecords(ctx, s, record.RequestToken, sl, kindRequest, keys, func(_ *view, t *storedRequest) {
		if s.past(t.is.Expires, tokenstore.RequestRetention) {
			over = append(over, t)
		}
	})
	if err != nil {
		return err
	}
	for _, t := range over {
		w.require(s.key(kindRequest, sl, t.is.Key), t.value)
	}
	for _, t := range over {
		s.removeRequest(w, t)
	}
	_, err = s.commitLoosely(ctx, w)
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
func (s *Store) forgetConsumers(ctx context.Context) error {
	c, err := s.link.client()
	if err != nil {
		return nil
	}
	now := milliseconds(s.clock())
	limited, cancel := context.WithTimeout(ctx, s.timeout())
	defer cancel()
	due := func(set string) rueidis.Completed {
		return c.B().Zrange().Key(s.account(set)).Min("-inf").Max(now).Byscore().Limit(0, removedAtOnce).Build()
	}
	var keys []string
	for _, answer := range c.DoMulti(limited, due(registered), due(registeredOld)) {
		some, err := answer.AsStrSlice()
		if err != nil {
			return s.explain(limited, err)
		}
		keys = append(keys, some...)
	}
	for _, key := range keys {
		if err := quiet(s.forgetConsumer(ctx, key)); err != nil {
			return err
		}
	}
	return nil
}

// forgetConsumer removes a self-registered consumer, unless it has an access token, or had one until
// less than a day ago.
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
	err = s.deleteConsumer(ctx, key, func(c *tokenstore.Consumer) bool { return c.SelfRegistered })
	if errors.Is(err, tokenstore.ErrNotFound) || errors.Is(err, errKept) {
		s.forgetRegistration(ctx, key)
		return nil
	}
	return err
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

// Stats counts what the store holds.
func (s *Store) Stats(ctx context.Context) ([]tokenstore.Stat, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	var stats []tokenstore.Stat
	var errs []error
	for _, kind := range []struct{ name, index string }{
		{"consumers", kindConsumers}, {"access_tokens", kindTokens}, {"request_tokens", kindRequestsByEnd},
	} {
		n, err := s.cardinality(ctx, kind.index, "")
		if err != nil {
			errs = append(errs, err)
			continue
		}
		stats = append(stats, tokenstore.Stat{Name: kind.name, Value: int64(n)})
	}
	return stats, errors.Join(errs...)
}
