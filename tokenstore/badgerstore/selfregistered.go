package badgerstore

import (
	"container/heap"
	"encoding/binary"
	"errors"
	"math"
	"sync"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/record"
)

const (
	// forgetAfter is how long a self-registered consumer is remembered without an access token.
	forgetAfter = 24 * time.Hour
	// forgottenAtOnce consumers are forgotten in a transaction. Every change waits for as long as
	// that takes.
	forgottenAtOnce = 100
	// sweepEvery is how often the store looks for consumers whose last access token expired.
	sweepEvery = time.Hour
)

// selfRegistered holds the self-registered consumers that have no access token, each with the time
// since when. The same is on disk below prefixIdle. After concurrent calls it may hold too many of
// them. That does no harm: a consumer's tokens are looked up before it is forgotten. It never holds
// too few for longer than sweepEvery.
type selfRegistered struct {
	mu sync.RWMutex
	// idle holds them by key. order is a heap of the same, the longest idle first.
	idle  map[string]*idleConsumer
	order idleOrder
	// swept is when the store last looked at all consumers.
	swept time.Time
}

type idleConsumer struct {
	key   string
	since time.Time
	place int // in the order
}

// idleOrder is a heap.Interface.
type idleOrder []*idleConsumer

func (o idleOrder) Len() int           { return len(o) }
func (o idleOrder) Less(i, j int) bool { return o[i].since.Before(o[j].since) }
func (o idleOrder) Swap(i, j int) {
	o[i], o[j] = o[j], o[i]
	o[i].place, o[j].place = i, j
}

func (o *idleOrder) Push(c any) {
	c.(*idleConsumer).place = len(*o)
	*o = append(*o, c.(*idleConsumer))
}

func (o *idleOrder) Pop() any {
	last := len(*o) - 1
	c := (*o)[last]
	(*o)[last] = nil
	*o = (*o)[:last]
	return c
}

func (c *idleConsumer) due(now time.Time) bool { return !now.Before(c.since.Add(forgetAfter)) }

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
	c, ok := r.idle[key]
	return ok && c.due(now)
}

// someDue returns at most `most` consumers that are due. It looks only at those in the heap, and at
// their children.
func (r *selfRegistered) someDue(now time.Time, most int) (keys []string) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for places := []int{0}; len(places) > 0 && len(keys) < most; {
		i := places[len(places)-1]
		places = places[:len(places)-1]
		if i < len(r.order) && r.order[i].due(now) {
			keys = append(keys, r.order[i].key)
			places = append(places, 2*i+1, 2*i+2)
		}
	}
	return keys
}

func (r *selfRegistered) anyDue(now time.Time) bool { return len(r.someDue(now, 1)) > 0 }

func (r *selfRegistered) count() int64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return int64(len(r.idle))
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
	r.put(key, since)
	return true
}

func (r *selfRegistered) set(key string, since time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.put(key, since)
}

func (r *selfRegistered) put(key string, since time.Time) {
	c := r.idle[key]
	if c == nil {
		c = &idleConsumer{key: key, since: since}
		r.idle[key] = c
		heap.Push(&r.order, c)
		return
	}
	c.since = since
	heap.Fix(&r.order, c.place)
}

func (r *selfRegistered) drop(key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.idle[key]; c != nil {
		heap.Remove(&r.order, c.place)
		delete(r.idle, key)
	}
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
	s.self.idle, s.self.order = make(map[string]*idleConsumer), nil
	s.self.swept = s.clock()
	return s.tokens.view(func(txn *reader) error {
		return scan(txn, []byte{prefixIdle}, nil, true, func(item *entry) (bool, error) {
			err := item.Value(func(v []byte) error {
				if len(v) != 8 {
					return record.ErrDamaged
				}
				s.self.set(string(item.Key()[1:]), time.UnixMilli(decodeTime(v)))
				return nil
			})
			return true, err
		})
	})
}

// forgottenConsumer reports whether the next sweep forgets the consumer, so that it counts as gone
// already.
func (s *Store) forgottenConsumer(c *tokenstore.Consumer) (bool, error) {
	if !c.SelfRegistered {
		return false, nil
	}
	now := s.clock()
	if !s.self.due(c.Key, now) {
		return false, nil
	}
	s.wake()
	live, _, err := s.liveAccessToken(c.Key, "", now)
	return !live, err
}

// sweepConsumers forgets the consumers that are due, and once in a while finds those whose last
// access token is gone.
func (s *Store) sweepConsumers(now time.Time, stop <-chan struct{}) error {
	if s.self.sweepDue(now) {
		if err := s.findIdle(now, stop); err != nil {
			return err
		}
	}
	return s.forgetDue(now, stop)
}

func (s *Store) findIdle(now time.Time, stop <-chan struct{}) error {
	found := make(map[string]time.Time)
	err := s.tokens.view(func(txn *reader) error {
		return scan(txn, []byte{prefixConsumer}, nil, true, func(item *entry) (bool, error) {
			key := string(item.Key()[1:])
			var c *tokenstore.Consumer
			if err := item.Value(func(v []byte) (err error) {
				c, err = record.Consumer.Decode(v)
				return err
			}); record.Unreadable(err) {
				return true, nil // it is kept, and a call that reads it gets the error
			} else if err != nil {
				return false, wrapRead("consumer", key, err)
			}
			if c.SelfRegistered && !s.self.has(key) {
				live, last, err := s.liveAccessToken(key, "", now)
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

// forgetDue removes the consumers that had no access token for long enough, a few at a time and
// with rests. It stops if there are many marks, and is called again when those have been worked
// off.
func (s *Store) forgetDue(now time.Time, stop <-chan struct{}) error {
	for !isClosed(stop) && !s.revocations.many() {
		some := s.self.someDue(now, forgottenAtOnce)
		if len(some) == 0 {
			break
		}
		start := time.Now()
		if err := s.forgetConsumers(some, now); err != nil {
			return err
		}
		s.rest(time.Since(start), stop)
	}
	return nil
}

// forgetConsumers forgets those of the consumers that are due. The others are no longer noted as
// idle.
func (s *Store) forgetConsumers(keys []string, now time.Time) error {
	if len(keys) == 0 {
		return nil
	}
	forgotten, err := s.forgetIdle(keys, now)
	if tell := s.onForgotten.Load(); err == nil && tell != nil && len(forgotten) > 0 {
		(*tell)(forgotten)
	}
	return err
}

// OnForgotten sets the function that is called with the keys of forgotten consumers.
func (s *Store) OnForgotten(f func(keys []string)) { s.onForgotten.Store(&f) }

// forgetIdle does the work of forgetConsumers, and returns those that it has forgotten.
func (s *Store) forgetIdle(keys []string, now time.Time) (forgotten []string, err error) {
	s.gate.Lock()
	defer s.gate.Unlock()
	var idle, others []string
	for _, key := range keys {
		if !s.self.due(key, now) {
			continue
		}
		live, _, err := s.liveAccessToken(key, "", now)
		if err != nil {
			return nil, err
		}
		c, err := s.storedConsumer(key)
		if err != nil && !record.Unreadable(err) {
			return nil, err
		}
		if live || c == nil || !c.SelfRegistered { // it was adopted or removed while a call noted it as idle
			others = append(others, key)
			continue
		}
		idle = append(idle, key)
	}
	return idle, s.removeConsumers(idle, others, now)
}

// liveAccessToken reports whether the consumer has an access token, other than `except`, that has
// not expired. If it has none, last is the time when the last of its remembered tokens expired.
func (s *Store) liveAccessToken(consumer, except string, now time.Time) (live bool, last time.Time, err error) {
	prefix, pending := indexPrefix(prefixTokenOfConsumer, consumer), s.revocations.pending()
	since, ofUsers := pending.since(consumer), sync.OnceValue(pending.ofUsers) // most have no token at all
	err = s.tokens.view(func(txn *reader) error {
		return scanNamed(txn, prefix, nil, true, func(item *entry, rest []byte) (bool, error) {
			key := string(rest)
			if (key == except && except != "") || item.Version() < since {
				return true, nil
			}
			if ofUsers() {
				t, err := accessRecordIn(txn, key)
				if errors.Is(err, tokenstore.ErrNotFound) {
					return true, nil
				}
				if err != nil && !record.Unreadable(err) {
					return false, wrapRead("access token", key, err)
				}
				if err == nil && t.gone(pending, now) {
					return true, nil
				}
			}
			err := item.Value(func(v []byte) error {
				if len(v) != 8 {
					return record.ErrDamaged
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
	})
	return live, last, err
}

// never stands in an index for no expiry.
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

var errEmptyFilter = errors.New("neither a user nor a consumer given")
