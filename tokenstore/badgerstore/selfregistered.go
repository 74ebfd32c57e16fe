package badgerstore

import (
	"encoding/binary"
	"errors"
	"math"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

const (
	// forgetAfter is how long a self-registered consumer is remembered without an access token.
	forgetAfter = 24 * time.Hour
	// sweepEvery is how often consumers are looked for whose last access token expired.
	sweepEvery = time.Hour
)

// selfRegistered knows since when which self-registered consumers are without an access token. The same is on disk
// below prefixIdle. It may hold too many after calls at the same time, never too few for longer than sweepEvery: before
// a consumer is forgotten its tokens are looked for.
type selfRegistered struct {
	mu   sync.RWMutex
	idle map[string]time.Time
	// swept is when all consumers were last looked at.
	swept time.Time
}

func (r *selfRegistered) has(key string) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	_, ok := r.idle[key]
	return ok
}

// due reports whether it is time to forget the consumer.
func (r *selfRegistered) due(key string, now time.Time) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	since, ok := r.idle[key]
	return ok && !now.Before(since.Add(forgetAfter))
}

func (r *selfRegistered) allDue(now time.Time) (keys []string) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for key, since := range r.idle {
		if !now.Before(since.Add(forgetAfter)) {
			keys = append(keys, key)
		}
	}
	return keys
}

func (r *selfRegistered) anyDue(now time.Time) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, since := range r.idle {
		if !now.Before(since.Add(forgetAfter)) {
			return true
		}
	}
	return false
}

func (r *selfRegistered) full() bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.idle) >= tokenstore.MaxSelfRegistered
}

// reserve adds a new consumer, unless there are too many.
func (r *selfRegistered) reserve(key string, since time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.idle) >= tokenstore.MaxSelfRegistered {
		return false
	}
	r.idle[key] = since
	return true
}

func (r *selfRegistered) set(key string, since time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.idle[key] = since
}

func (r *selfRegistered) drop(key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.idle, key)
}

// sweepDue reports whether it is time to look at all consumers, and notes that it is done.
func (r *selfRegistered) sweepDue(now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Sub(r.swept).Abs() < sweepEvery {
		return false
	}
	r.swept = now
	return true
}

func (s *Store) loadIdle() error {
	s.self.idle = make(map[string]time.Time)
	s.self.swept = s.clock()
	return s.tokens.view(func(txn *badger.Txn) error {
		return scan(txn, []byte{prefixIdle}, nil, true, func(item *badger.Item) (bool, error) {
			err := item.Value(func(v []byte) error {
				if len(v) != 8 {
					return errDamaged
				}
				s.self.idle[string(item.Key()[1:])] = time.UnixMilli(decodeTime(v))
				return nil
			})
			return true, err
		})
	})
}

// forgottenConsumer reports whether the consumer is one that a sweep has only not come to yet.
func (s *Store) forgottenConsumer(c *tokenstore.Consumer) (bool, error) {
	if !c.SelfRegistered {
		return false, nil
	}
	now := s.clock()
	if !s.self.due(c.Key, now) {
		return false, nil
	}
	s.wake()
	live := false
	err := s.tokens.view(func(txn *badger.Txn) (err error) {
		live, _, err = liveAccessToken(txn, c.Key, "", now)
		return err
	})
	return !live, err
}

// sweep forgets the consumers that are due, and once in a while finds those whose last access token is gone.
func (s *Store) sweep(now time.Time, stop <-chan struct{}) error {
	if s.self.sweepDue(now) {
		if err := s.findIdle(now, stop); err != nil {
			return err
		}
	}
	return s.forgetDue(now, stop)
}

func (s *Store) findIdle(now time.Time, stop <-chan struct{}) error {
	found := make(map[string]time.Time)
	err := s.tokens.view(func(txn *badger.Txn) error {
		return scan(txn, []byte{prefixConsumer}, nil, true, func(item *badger.Item) (bool, error) {
			key := string(item.Key()[1:])
			var c *tokenstore.Consumer
			if err := item.Value(func(v []byte) (err error) {
				c, err = decodeConsumer(v)
				return err
			}); err != nil {
				return false, wrapRead("consumer", key, err)
			}
			if c.SelfRegistered && !s.self.has(key) {
				live, last, err := liveAccessToken(txn, key, "", now)
				if err != nil {
					return false, err
				}
				if !live {
					if last.IsZero() {
						last = now
					}
					found[key] = last
				}
			}
			return !isClosed(stop), nil
		})
	})
	if err != nil {
		return err
	}
	for key, since := range found {
		var c change
		c.put(recordKey(prefixIdle, key), encodeTime(since), 0)
		if err := s.tokens.commit(c); err != nil {
			return err
		}
		s.self.set(key, since)
	}
	return nil
}

// forgetDue removes the consumers that had no access token for long enough, some at a time.
func (s *Store) forgetDue(now time.Time, stop <-chan struct{}) error {
	due := s.self.allDue(now)
	for len(due) > 0 && !isClosed(stop) {
		some := due[:min(len(due), 200)]
		due = due[len(some):]
		if err := s.forgetConsumers(some, now); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) forgetConsumers(keys []string, now time.Time) error {
	s.gate.Lock()
	defer s.gate.Unlock()
	r := s.newRemoval()
	for _, key := range keys {
		if !s.self.due(key, now) {
			continue
		}
		live := false
		if err := s.tokens.view(func(txn *badger.Txn) (err error) {
			live, _, err = liveAccessToken(txn, key, "", now)
			return err
		}); err != nil {
			return err
		}
		c, err := s.storedConsumer(key)
		if err != nil {
			return err
		}
		if live || c == nil || !c.SelfRegistered { // it was adopted or removed while somebody noted that it is idle
			r.marker(key)
			continue
		}
		if err := r.consumer(key); err != nil {
			return err
		}
	}
	return r.finish()
}

// liveAccessToken reports whether the consumer has an access token other than `except` that has not expired, and
// else when the last one of those that are remembered did.
func liveAccessToken(txn *badger.Txn, consumer, except string, now time.Time) (live bool, last time.Time, err error) {
	prefix := indexPrefix(prefixTokenOfConsumer, consumer)
	err = scan(txn, prefix, nil, true, func(item *badger.Item) (bool, error) {
		if string(item.Key()[len(prefix):]) == except && except != "" {
			return true, nil
		}
		err := item.Value(func(v []byte) error {
			if len(v) != 8 {
				return errDamaged
			}
			ends := decodeTime(v)
			live = ends > now.UnixMilli()
			if t := time.UnixMilli(ends); !live && t.After(last) {
				last = t
			}
			return nil
		})
		return !live, err
	})
	return live, last, err
}

// never is the end of what has none, in an index.
const never = math.MaxInt64

func encodeTime(t time.Time) []byte {
	ms := int64(never)
	if !t.IsZero() {
		ms = t.UnixMilli()
	}
	return binary.BigEndian.AppendUint64(nil, uint64(ms))
}

func decodeTime(b []byte) int64 { return int64(binary.BigEndian.Uint64(b)) }

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// A removal removes many records in transactions that are not too large, each record with its indexes in one of them.
// The caller holds the gate alone.
type removal struct {
	s    *Store
	c    change
	undo []func() // what the caches forget after the commit
	err  error
}

func (s *Store) newRemoval() *removal { return &removal{s: s} }

// cut commits what there is when it is much. It is called between records.
func (r *removal) cut() {
	if len(r.c.ops) >= maxTxnEntries/2 || r.c.size >= maxTxnSize/2 {
		r.commit()
	}
}

func (r *removal) commit() {
	if r.err == nil && len(r.c.ops) > 0 {
		r.err = r.s.tokens.commit(r.c)
	}
	for _, f := range r.undo {
		f()
	}
	r.c, r.undo = change{}, nil
}

func (r *removal) finish() error {
	r.commit()
	return r.err
}

func (r *removal) accessToken(t *tokenstore.AccessToken) {
	removeAccessToken(&r.c, t)
	r.undo = append(r.undo, func() { r.s.accessTokens.remove(t.Key) })
	r.cut()
}

func (r *removal) requestToken(t *tokenstore.RequestToken) {
	removeRequestToken(&r.c, t)
	r.cut()
}

// marker removes what says that the consumer has no access token.
func (r *removal) marker(key string) {
	r.c.remove(recordKey(prefixIdle, key))
	r.undo = append(r.undo, func() {
		if r.err == nil {
			r.s.self.drop(key)
		}
	})
}

// consumer removes the consumer and its tokens; itself last, so that a crash between leaves no token that a consumer
// of the same key could use later.
func (r *removal) consumer(key string) error {
	access, err := r.s.matchingAccessTokens(tokenstore.Filter{Consumer: key})
	if err != nil {
		return err
	}
	requests, err := r.s.matchingRequestTokens(tokenstore.Filter{Consumer: key})
	if err != nil {
		return err
	}
	for _, t := range access {
		r.accessToken(t)
	}
	for _, t := range requests {
		r.requestToken(t)
	}
	r.marker(key)
	r.c.remove(recordKey(prefixConsumer, key))
	r.undo = append(r.undo, func() { r.s.consumers.remove(key) })
	r.cut()
	return r.err
}

var errEmptyFilter = errors.New("neither a user nor a consumer given")
