package redisstore

import (
	"context"
	"errors"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/record"
)

type storedConsumer = stored[tokenstore.Consumer]

// consumer reads a consumer, deleted ones too; nil if there is none.
func (s *Store) consumer(ctx context.Context, key string) (*storedConsumer, *view, error) {
	sl := sliceOf(key)
	v, err := s.read(ctx, sl, s.key(kindConsumer, sl, key))
	if err != nil {
		return nil, nil, err
	}
	c, err := decode(s, record.Consumer, key, v.values[0])
	return c, v, err
}

// Consumer returns a consumer.
func (s *Store) Consumer(ctx context.Context, key string) (*tokenstore.Consumer, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	if c := s.consumers.find(key); c != nil {
		return c.is, nil
	}
	ticket, at := s.consumers.ticket(key), time.Now()
	c, v, err := s.consumer(ctx, key)
	if err != nil {
		return nil, err
	}
	if c == nil || c.state == stateDeleted {
		return nil, tokenstore.ErrNotFound
	}
	return s.consumers.put(key, ticket, &cached[tokenstore.Consumer]{stored: c, sliceRevision: v.revision, at: at}).is, nil
}

// CreateConsumer adds a consumer.
func (s *Store) CreateConsumer(ctx context.Context, c *tokenstore.Consumer) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	if c.SelfRegistered {
		// Before it counts: what exists already takes no room.
		if before, _, err := s.consumer(ctx, c.Key); err == nil && before != nil && before.state != stateDeleted {
			return tokenstore.ErrExists
		}
		if err := s.reserve(ctx, reservation{consumer: c.Key, register: true}); err != nil {
			return err
		}
	}
	err := s.createConsumer(ctx, c)
	if err != nil && c.SelfRegistered && !errors.Is(err, tokenstore.ErrExists) {
		s.withdrawRegistration(ctx, c.Key)
	}
	return err
}

// withdrawRegistration counts a consumer no longer whose registration failed. It may be there all
// the same: then it counts, and is forgotten after a day as every other.
func (s *Store) withdrawRegistration(ctx context.Context, key string) {
	ctx = context.WithoutCancel(ctx)
	if c, _, err := s.consumer(ctx, key); err == nil && (c == nil || c.state == stateDeleted) {
		s.forgetRegistration(ctx, key)
	}
}

func (s *Store) createConsumer(ctx context.Context, c *tokenstore.Consumer) error {
	sl := sliceOf(c.Key)
	key := s.key(kindConsumer, sl, c.Key)
	defer s.consumers.drop(c.Key)
	return again(ctx, func() (bool, error) {
		before, v, err := s.consumer(ctx, c.Key)
		switch {
		case record.Unreadable(err):
			return false, tokenstore.ErrExists
		case err != nil:
			return false, err
		case before != nil && before.state == stateDeleted:
			return false, s.conclude(ctx, before) // and look again
		case before != nil:
			return false, s.exists(ctx, sl)
		}
		e := envelope{version: newVersion(), record: sealed(s, record.Consumer, c.Key, c)}
		w := newWrite(sl, v)
		w.require(key, "")
		w.do("SET", key, e.encode())
		w.do("ZADD", s.key(kindConsumers, sl, ""), "0", c.Key)
		return s.commit(ctx, w)
	})
}

// UpdateConsumer changes a consumer. The change is made again if somebody else changed it meanwhile.
func (s *Store) UpdateConsumer(ctx context.Context, key string, change func(*tokenstore.Consumer) error) (*tokenstore.Consumer, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	var next *tokenstore.Consumer
	wasSelfRegistered := false
	err := again(ctx, func() (bool, error) {
		c, v, err := s.consumer(ctx, key)
		if err != nil {
			return false, err
		}
		if c == nil || c.state == stateDeleted {
			return false, tokenstore.ErrNotFound
		}
		wasSelfRegistered = c.is.SelfRegistered
		next = c.is.Clone()
		if err := change(next); err != nil {
			return false, err
		}
		if next.Key != key {
			return false, errors.New("the key of a consumer can't change")
		}
		e := c.envelope
		e.version, e.record = newVersion(), sealed(s, record.Consumer, key, next)
		w := newWrite(sliceOf(key), v)
		redisKey := s.key(kindConsumer, w.slice, key)
		w.require(redisKey, c.value)
		w.evenIfFull(s) // it may disable the consumer that filled the memory
		w.do("SET", redisKey, e.encode())
		return s.commit(ctx, w)
	})
	s.consumers.drop(key)
	if err != nil {
		return nil, err
	}
	switch {
	case wasSelfRegistered && !next.SelfRegistered:
		s.adopted(ctx, key)
	case !wasSelfRegistered && next.SelfRegistered:
		s.abandoned(ctx, key)
	}
	return next, nil
}

// DeleteConsumer removes a consumer and its tokens. The consumer is marked as deleted first, so that
// the tokens are removed in any case before another consumer has the key.
func (s *Store) DeleteConsumer(ctx context.Context, key string) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	deleted, err := s.markDeleted(ctx, key)
	if err != nil {
		return err
	}
	return s.finishDeletion(ctx, deleted)
}

// markDeleted marks a consumer as deleted. If the process ends before finishDeletion is done, sweep
// does it.
func (s *Store) markDeleted(ctx context.Context, key string) (*storedConsumer, error) {
	return s.mayDelete(ctx, key, time.Time{}, func(*storedConsumer) bool { return true })
}

// errKept: a consumer is not to be deleted.
var errKept = errors.New("the consumer is kept")

// mayDelete is markDeleted under a condition. It is not certain yet if there is a time when the
// consumer was forgotten: see conclude.
func (s *Store) mayDelete(
	ctx context.Context, key string, forgotten time.Time, condition func(*storedConsumer) bool,
) (*storedConsumer, error) {
	sl := sliceOf(key)
	var deleted *storedConsumer
	err := again(ctx, func() (bool, error) {
		c, v, err := s.consumer(ctx, key)
		if err != nil {
			return false, err
		}
		if c == nil {
			if err := s.prove(ctx, sl); err != nil {
				return false, err
			}
			return false, tokenstore.ErrNotFound
		}
		if !condition(c) {
			return false, errKept
		}
		e := c.envelope
		e.state, e.version, e.stamp = stateDeleted, newVersion(), forgotten
		w := newWrite(sl, v)
		redisKey := s.key(kindConsumer, sl, key)
		w.require(redisKey, c.value)
		w.evenIfFull(s)
		w.do("SET", redisKey, e.encode())
		w.do("ZREM", s.key(kindConsumers, sl, ""), key)
		w.do("ZADD", s.key(kindDeletedByEnd, sl, ""), milliseconds(s.clock().Add(abandonedAfter)), key)
		done, err := s.commit(ctx, w)
		if done {
			deleted, err = decode(s, record.Consumer, key, e.encode())
		}
		return done, err
	})
	s.consumers.drop(key)
	return deleted, err
}

// finishDeletion removes the tokens of a consumer that is marked as deleted, and the mark.
func (s *Store) finishDeletion(ctx context.Context, c *storedConsumer) error {
	if _, err := s.revoke(ctx, tokenstore.Filter{Consumer: c.is.Key}); err != nil {
		return err
	}
	s.forgetRegistration(ctx, c.is.Key)
	sl := sliceOf(c.is.Key)
	key := s.key(kindConsumer, sl, c.is.Key)
	w := newWrite(sl, nil)
	w.require(key, c.value)
	w.do("DEL", key)
	w.do("ZREM", s.key(kindDeletedByEnd, sl, ""), c.is.Key)
	_, err := s.commit(ctx, w) // where the condition is not met, another call has done it
	return err
}
