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
	nonces := s.nonces.Live() // now: they are forgotten while the rest is counted
	for _, kind := range []struct {
		name   string
		prefix byte
	}{
		{"consumers", prefixConsumer},
		{"access_tokens", prefixAccessToken},
		{"request_tokens", prefixRequestToken},
	} {
		n, counting := s.countKeys(ctx, kind.prefix)
		if counting != nil {
			err = fmt.Errorf("count %s: %w", kind.name, counting)
			break
		}
		stats = append(stats, tokenstore.Stat{Name: kind.name, Value: n})
	}
	return append(stats, tokenstore.Stat{Name: "nonces", Value: nonces}), err
}

// countKeys counts the keys that begin with prefix. It holds the door only while it reads, so that
// the store can be closed in between.
func (s *Store) countKeys(ctx context.Context, prefix byte) (n int64, err error) {
	for after := []byte(nil); ; {
		begin, counted := time.Now(), 0
		if err := s.enter(ctx); err != nil {
			return 0, err
		}
		err := s.tokens.view(func(txn *reader) error {
			return scan(txn, []byte{prefix}, after, false, func(item *entry) (bool, error) {
				if counted++; counted == countedAtOnce {
					after = item.KeyCopy(nil)[1:]
				}
				return counted < countedAtOnce, nil
			})
		})
		s.leave()
		if n += int64(counted); err != nil || counted < countedAtOnce {
			return n, err
		}
		s.rest(time.Since(begin), s.stop)
	}
}

var _ tokenstore.Statter = (*Store)(nil)
