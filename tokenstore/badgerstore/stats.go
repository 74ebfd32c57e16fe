package badgerstore

import (
	"context"
	"fmt"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// countedAtOnce is how many keys are counted before requests get their turn.
const countedAtOnce = 1 << 13

// Stats counts what is in the store. Millions of tokens take seconds; it holds no snapshot while it
// rests. Concurrent changes may be counted or not; revoked tokens count until they have left
// the disk.
func (s *Store) Stats(ctx context.Context) (stats []tokenstore.Stat, err error) {
	if err := s.usable(); err != nil {
		return nil, err
	}
	nonces := tokenstore.Stat{Name: "nonces", Value: s.nonces.Live()} // now: they are forgotten while the rest is counted
	for _, count := range []func(context.Context) (tokenstore.Stat, error){
		s.countConsumers, s.countAccessTokens, s.countRequestTokens,
	} {
		stat, counting := count(ctx)
		if counting != nil {
			err = fmt.Errorf("count %s: %w", stat.Name, counting)
			break
		}
		stats = append(stats, stat)
	}
	return append(stats, nonces), err
}

func (s *Store) countConsumers(ctx context.Context) (tokenstore.Stat, error) {
	n, err := s.countKeys(ctx, prefixConsumer)
	idle := min(s.self.count(), n)
	return tokenstore.Stat{Name: "consumers", Value: n, Parts: []tokenstore.Stat{
		{Name: "stored", Value: n - idle}, {Name: "idle", Value: idle},
	}}, err
}

func (s *Store) countAccessTokens(ctx context.Context) (tokenstore.Stat, error) {
	n, err := s.countKeys(ctx, prefixAccessToken)
	return tokenstore.Stat{Name: "access_tokens", Value: n}, err
}

// countRequestTokens counts the entries of the index of the consumers' request tokens, which has
// their states.
func (s *Store) countRequestTokens(ctx context.Context) (tokenstore.Stat, error) {
	var all, expired, refused int64
	now := s.clock()
	err := s.eachItem(ctx, prefixRequestOfConsumer, true, func(item *entry) error {
		_, _, expires, _, err := parseRequestOfConsumer(item.Key())
		if err != nil {
			return err
		}
		waits := true
		if err := item.Value(func(v []byte) (err error) {
			_, waits, err = decodeRequestIndex(v)
			return err
		}); err != nil {
			return err
		}
		all++
		switch {
		case !now.Before(expires):
			expired++
		case !waits:
			refused++
		}
		return nil
	})
	return tokenstore.Stat{Name: "request_tokens", Value: all, Parts: []tokenstore.Stat{
		{Name: "waiting", Value: all - expired - refused},
		{Name: "refused", Value: refused},
		{Name: "expired", Value: expired},
	}}, err
}

func (s *Store) countKeys(ctx context.Context, prefix byte) (n int64, err error) {
	err = s.eachItem(ctx, prefix, false, func(*entry) error {
		n++
		return nil
	})
	return n, err
}

// eachItem calls f with each key that begins with prefix. It holds the door only while it reads, so
// that the store can be closed in between.
func (s *Store) eachItem(ctx context.Context, prefix byte, values bool, f func(*entry) error) error {
	for after := []byte(nil); ; {
		begin, seen := time.Now(), 0
		if err := s.enter(ctx); err != nil {
			return err
		}
		err := s.tokens.view(func(txn *reader) error {
			return scan(txn, []byte{prefix}, after, values, func(item *entry) (bool, error) {
				if seen++; seen == countedAtOnce {
					after = item.KeyCopy(nil)[1:]
				}
				return seen < countedAtOnce, f(item)
			})
		})
		s.leave()
		if err != nil || seen < countedAtOnce {
			return err
		}
		s.rest(time.Since(begin), s.stop)
	}
}

var _ tokenstore.Statter = (*Store)(nil)
