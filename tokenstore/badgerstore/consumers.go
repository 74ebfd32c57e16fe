package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/record"
)

// Consumer returns the consumer with the key.
func (s *Store) Consumer(ctx context.Context, key string) (*tokenstore.Consumer, error) {
	if err := s.usable(); err != nil {
		return nil, err
	}
	c, version := s.consumers.find(key)
	if c != nil && !c.SelfRegistered {
		return c, nil
	}
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	if c == nil {
		var err error
		if c, err = s.readConsumer(key, version); err != nil {
			return nil, err
		}
	}
	if gone, err := s.forgottenConsumer(c); err != nil || gone {
		return nil, errors.Join(err, goneIf(gone))
	}
	return c, nil
}

func goneIf(gone bool) error {
	if gone {
		return tokenstore.ErrNotFound
	}
	return nil
}

// readConsumer reads the consumer from disk, even if it is due to be forgotten, and keeps it in the
// cache.
func (s *Store) readConsumer(key string, version uint64) (c *tokenstore.Consumer, err error) {
	size := 0
	err = s.tokens.view(func(txn *reader) error {
		return get(txn, recordKey(prefixConsumer, key), func(v []byte) error {
			size = len(v)
			c, err = record.Consumer.Decode(v)
			return err
		})
	})
	if err = notFound(err); err != nil {
		return nil, wrapRead("consumer", key, err)
	}
	s.consumers.fill(c.Key, c, size, version)
	return c, nil
}

// storedConsumer returns the consumer, or nil if it is not stored.
func (s *Store) storedConsumer(key string) (*tokenstore.Consumer, error) {
	c, version := s.consumers.get(key)
	if c != nil {
		return c, nil
	}
	c, err := s.readConsumer(key, version)
	if errors.Is(err, tokenstore.ErrNotFound) {
		return nil, nil
	}
	return c, err
}

// CreateConsumer adds a consumer.
func (s *Store) CreateConsumer(ctx context.Context, c *tokenstore.Consumer) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	return s.addConsumer(c, func(ch change, _ bool) error { return s.tokens.commit(ch) })
}

// RegisterConsumer adds a self-registered consumer and its first request token.
func (s *Store) RegisterConsumer(ctx context.Context, c *tokenstore.Consumer, t *tokenstore.RequestToken) error {
	if !c.SelfRegistered || t.Consumer != c.Key {
		return fmt.Errorf("register consumer %q with a request token of %q: self-registered %t",
			c.Key, t.Consumer, c.SelfRegistered)
	}
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	return s.addConsumer(c, func(ch change, selfRegistered bool) error {
		defer s.requestLocks.lock(t.Key).Unlock()
		if _, _, err := s.readRequestToken(t.Key); !errors.Is(err, tokenstore.ErrNotFound) {
			return existsUnless(err)
		}
		return s.addRequestToken(ch, t, selfRegistered)
	})
}

// addConsumer calls commit with the change that adds the consumer. If commit fails, addConsumer
// undoes its other changes.
func (s *Store) addConsumer(c *tokenstore.Consumer, commit func(ch change, selfRegistered bool) error) error {
	now := s.clock()
	if s.self.due(c.Key, now) {
		if err := s.forgetConsumers([]string{c.Key}, now); err != nil {
			return err
		}
	}
	if c.SelfRegistered && s.self.full() {
		if err := s.forgetConsumers(s.self.someDue(now, 1), now); err != nil {
			return err
		}
	}
	s.gate.RLock()
	defer s.gate.RUnlock()
	defer s.consumerLocks.lock(c.Key).Unlock()

	switch stored, err := s.storedConsumer(c.Key); {
	case err != nil:
		return err
	case stored != nil:
		return tokenstore.ErrExists
	}
	var ch change
	ch.put(recordKey(prefixConsumer, c.Key), record.Consumer.Encode(c), 0)
	if c.SelfRegistered {
		since := now
		if !s.self.reserve(c.Key, since) {
			s.wake()
			return tokenstore.ErrTooManyConsumers
		}
		ch.put(recordKey(prefixIdle, c.Key), encodeTime(since), 0)
	}
	err := commit(ch, c.SelfRegistered)
	if err != nil && c.SelfRegistered {
		s.self.drop(c.Key)
	}
	s.consumers.remove(c.Key)
	if err == nil {
		s.requests.adopt(c.Key, c.SelfRegistered)
	}
	return err
}

// UpdateConsumer changes a consumer. update must not call the store.
func (s *Store) UpdateConsumer(ctx context.Context, key string, update func(*tokenstore.Consumer) error) (*tokenstore.Consumer, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	s.gate.RLock()
	defer s.gate.RUnlock()
	defer s.consumerLocks.lock(key).Unlock()

	stored, err := s.storedConsumer(key)
	if err != nil {
		return nil, err
	}
	if stored == nil {
		return nil, tokenstore.ErrNotFound
	}
	if gone, err := s.forgottenConsumer(stored); err != nil || gone {
		return nil, errors.Join(err, goneIf(gone))
	}
	next := stored.Clone()
	if err := update(next); err != nil {
		return nil, err
	}
	if next.Key != key {
		return nil, fmt.Errorf("update consumer %q: its key can't change", key)
	}
	var ch change
	ch.put(recordKey(prefixConsumer, key), record.Consumer.Encode(next), 0)
	adopted := !next.SelfRegistered && s.self.has(key)
	if adopted {
		ch.remove(recordKey(prefixIdle, key))
	}
	err = s.tokens.commit(ch)
	s.consumers.remove(key)
	if err != nil {
		return nil, err
	}
	if adopted {
		s.self.drop(key)
	}
	s.requests.adopt(key, next.SelfRegistered)
	return next.Clone(), nil // a copy: update may have kept next
}

// DeleteConsumer removes a consumer and all its tokens.
func (s *Store) DeleteConsumer(ctx context.Context, key string) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	s.gate.Lock()
	defer s.gate.Unlock()

	stored, err := s.storedConsumer(key)
	if err != nil {
		return err
	}
	if stored == nil {
		return tokenstore.ErrNotFound
	}
	gone, err := s.forgottenConsumer(stored)
	if err != nil {
		return err
	}
	if err := s.removeConsumers([]string{key}, nil, s.clock()); err != nil {
		return err
	}
	return goneIf(gone)
}

// removeConsumers removes the consumers of keys and revokes all their tokens. For the consumers in
// notes, it only removes the note that they are idle. The caller holds the gate alone.
func (s *Store) removeConsumers(keys, notes []string, now time.Time) error {
	var c change
	var filters []tokenstore.Filter
	err := s.tokens.view(func(txn *reader) error {
		for _, key := range keys {
			c.remove(recordKey(prefixConsumer, key))
			c.remove(recordKey(prefixIdle, key))
			some, err := hasTokens(txn, key)
			if err != nil {
				return err
			}
			if some {
				filters = append(filters, tokenstore.Filter{Consumer: key})
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, key := range notes {
		c.remove(recordKey(prefixIdle, key))
	}
	switch {
	case len(filters) > 0:
		err = s.mark(c, now, filters...)
	case len(c.ops) > 0:
		err = s.tokens.commit(c)
	}
	for _, key := range keys {
		s.consumers.remove(key)
	}
	if err != nil {
		return err
	}
	for _, key := range slices.Concat(keys, notes) {
		s.self.drop(key)
	}
	return nil
}

// hasTokens reports whether there is any token of the consumer on disk, revoked ones included.
func hasTokens(txn *reader, consumer string) (some bool, err error) {
	for _, index := range []byte{prefixTokenOfConsumer, prefixRequestOfConsumer} {
		if err := scanNamed(txn, indexPrefix(index, consumer), nil, false, func(*entry, []byte) (bool, error) {
			some = true
			return false, nil
		}); err != nil || some {
			return some, err
		}
	}
	return false, nil
}

// Consumers lists the consumers.
func (s *Store) Consumers(ctx context.Context, after string, limit int) (page []*tokenstore.Consumer, next string, err error) {
	if err := s.enter(ctx); err != nil {
		return nil, "", err
	}
	defer s.leave()
	if err := checkLimit(limit); err != nil {
		return nil, "", err
	}
	s.wake()
	err = s.tokens.view(func(txn *reader) error {
		return scan(txn, []byte{prefixConsumer}, []byte(after), true, func(item *entry) (bool, error) {
			var c *tokenstore.Consumer
			if err := item.Value(func(v []byte) (err error) {
				c, err = record.Consumer.Decode(v)
				return err
			}); err != nil {
				return false, wrapRead("consumer", string(item.Key()[1:]), err)
			}
			if gone, err := s.forgottenConsumer(c); err != nil || gone {
				return err == nil, err
			}
			if len(page) == limit {
				next = page[limit-1].Key
				return false, nil
			}
			page = append(page, c)
			return true, ctx.Err()
		})
	})
	if err != nil {
		return nil, "", err
	}
	return page, next, nil
}

// wrapRead adds what could not be read to the error, unless that is ErrNotFound.
func wrapRead(kind, key string, err error) error {
	if errors.Is(err, tokenstore.ErrNotFound) {
		return err
	}
	return fmt.Errorf("read %s %q: %w", kind, key, err)
}
