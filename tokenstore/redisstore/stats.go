package redisstore

import (
	"context"

	"github.com/redis/rueidis"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// Stats counts what the servers hold, in a few commands for each slice. A request token that was
// refused counts as waiting until it expires: no index has its review.
func (s *Store) Stats(ctx context.Context) ([]tokenstore.Stat, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	var stats []tokenstore.Stat
	var failed error
	for _, count := range []func(context.Context) (tokenstore.Stat, error){
		s.countConsumers, s.countAccessTokens, s.countRequestTokens,
	} {
		stat, err := count(ctx)
		if err != nil {
			failed = err
			continue
		}
		stats = append(stats, stat)
	}
	return stats, failed
}

func (s *Store) countConsumers(ctx context.Context) (tokenstore.Stat, error) {
	n, err := s.cardinality(ctx, kindConsumers, "")
	if err != nil {
		return tokenstore.Stat{}, err
	}
	idle, err := s.sum(ctx, func(b rueidis.Builder) []rueidis.Completed {
		return []rueidis.Completed{b.Zcard().Key(s.account(registered)).Build()}
	})
	idle = min(idle, n)
	return tokenstore.Stat{Name: "consumers", Value: int64(n), Parts: []tokenstore.Stat{
		{Name: "stored", Value: int64(n - idle)}, {Name: "idle", Value: int64(idle)},
	}}, err
}

func (s *Store) countAccessTokens(ctx context.Context) (tokenstore.Stat, error) {
	n, err := s.cardinality(ctx, kindTokens, "")
	return tokenstore.Stat{Name: "access_tokens", Value: int64(n)}, err
}

func (s *Store) countRequestTokens(ctx context.Context) (tokenstore.Stat, error) {
	n, err := s.cardinality(ctx, kindRequestsByEnd, "")
	if err != nil {
		return tokenstore.Stat{}, err
	}
	// The score is when a token is removed.
	live := milliseconds(s.clock().Add(tokenstore.RequestRetention))
	waiting, err := s.sum(ctx, func(b rueidis.Builder) (commands []rueidis.Completed) {
		for sl := range slice(sliceCount) {
			commands = append(commands,
				b.Zcount().Key(s.key(kindRequestsByEnd, sl, "")).Min("("+live).Max("+inf").Build())
		}
		return commands
	})
	waiting = min(waiting, n)
	return tokenstore.Stat{Name: "request_tokens", Value: int64(n), Parts: []tokenstore.Stat{
		{Name: "waiting", Value: int64(waiting)}, {Name: "expired", Value: int64(n - waiting)},
	}}, err
}

// cardinality returns how many keys an index has in all slices.
func (s *Store) cardinality(ctx context.Context, kind, rest string) (int, error) {
	if indexed(kind) {
		var indexes []lookAt
		for sl := range slice(sliceCount) {
			for _, key := range s.namedKeys(kind, sl, rest) {
				indexes = append(indexes, lookAt{sl, key})
			}
		}
		return s.sizes(ctx, indexes)
	}
	return s.sum(ctx, func(b rueidis.Builder) (commands []rueidis.Completed) {
		for sl := range slice(sliceCount) {
			for _, key := range s.namedKeys(kind, sl, rest) {
				commands = append(commands, b.Zcard().Key(key).Build())
			}
		}
		return commands
	})
}

// sum returns the sum of the numbers that commands return.
func (s *Store) sum(ctx context.Context, commands func(rueidis.Builder) []rueidis.Completed) (int, error) {
	c, err := s.link.client()
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout())
	defer cancel()
	total := 0
	for _, answer := range c.DoMulti(ctx, commands(c.B())...) {
		n, err := answer.AsInt64()
		if err != nil {
			return 0, s.explain(ctx, err)
		}
		total += int(n)
	}
	return total, nil
}

var _ tokenstore.Statter = (*Store)(nil)
