package redisstore

import (
	"context"
	"errors"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/record"
)

// A self-registered consumer without an access token is forgotten, while another process may grant
// it one. Its tokens lie in other slices, so no script can look at all of it. Whoever forgets it
// marks it as deleted, and looks for access tokens after that. Whoever grants looks for the mark
// after it has written the access token. So one of them sees the other: the consumer is kept, or
// the grant fails. The consumer may be gone by then, mark and all, and the access token revoked. So
// whoever grants looks before, too: a consumer that was there before must still be.

// conclude finishes the deletion of a consumer. If it was forgotten, and has an access token after
// all, it stays.
func (s *Store) conclude(ctx context.Context, c *storedConsumer) error {
	if c.stamp.IsZero() {
		return s.finishDeletion(ctx, c)
	}
	c, err := s.decide(ctx, c)
	if c == nil || err != nil {
		return err
	}
	return s.finishDeletion(ctx, c)
}

// decide keeps a consumer that has an access token, and makes the deletion of any other certain. It
// returns the consumer that is to be deleted, or nil.
func (s *Store) decide(ctx context.Context, c *storedConsumer) (*storedConsumer, error) {
	kept, err := s.keptUntil(ctx, c.is.Key)
	if err != nil {
		return nil, err
	}
	w := newWrite(sliceOf(c.is.Key), nil)
	key := s.key(kindConsumer, w.slice, c.is.Key)
	e := c.envelope
	e.version, e.stamp = newVersion(), time.Time{}
	w.require(key, c.value) // one process alone decides
	w.evenIfFull(s)
	keep := kept.After(s.clock())
	if keep {
		e.state = stateThere
		w.do("ZADD", s.key(kindConsumers, w.slice, ""), "0", c.is.Key)
		w.do("ZREM", s.key(kindDeletedByEnd, w.slice, ""), c.is.Key)
	}
	w.do("SET", key, e.encode())
	done, err := s.commit(ctx, w)
	s.consumers.drop(c.is.Key)
	if !done || err != nil {
		return nil, err
	}
	if keep {
		s.granted(ctx, c.is.Key)
		s.lookAtConsumer(ctx, c.is.Key, kept)
		return nil, nil
	}
	if tell := s.onForgotten.Load(); tell != nil {
		(*tell)([]string{c.is.Key})
	}
	return decode(s, record.Consumer, c.is.Key, e.encode())
}

// OnForgotten sets the function that is called with the keys of forgotten consumers.
func (s *Store) OnForgotten(f func(keys []string)) { s.onForgotten.Store(&f) }

var (
	errForgetting = errors.New("redis: the consumer is being deleted")
	errForgotten  = errors.New("redis: the consumer was deleted meanwhile")
)

// grantee returns the consumer that is to get an access token; nil if it is not in the store. It comes
// before the access token is written. A consumer that is about to be forgotten gets it: it may be kept
// for that.
func (s *Store) grantee(ctx context.Context, consumer string) (*tokenstore.Consumer, error) {
	if c := s.consumers.get(consumer); c != nil {
		return c.is, nil // if it is gone, hasConsumer finds out
	}
	c, _, err := s.consumer(ctx, consumer)
	switch {
	case record.Unreadable(err), err == nil && c == nil:
		return nil, nil
	case err != nil:
		return nil, err
	}
	return c.is, nil
}

// hasConsumer looks whether the consumer of a new access token is still the one that grantee
// returned. The access token is acknowledged only after that. A consumer that never was in the store
// may be declared elsewhere.
func (s *Store) hasConsumer(ctx context.Context, before *tokenstore.Consumer, consumer string) error {
	c, _, err := s.consumer(ctx, consumer)
	switch {
	case record.Unreadable(err):
		return nil
	case err != nil:
		return err
	case c != nil && c.state == stateDeleted:
		return &tokenstore.LaterError{After: time.Second, Err: errForgetting}
	case before != nil && (c == nil || !c.is.Created.Equal(before.Created)):
		// Its access tokens were revoked. It may have registered itself again since.
		return &tokenstore.LaterError{After: time.Second, Err: errForgotten}
	}
	return nil
}
