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
// the grant fails. The mark may be gone already, and the consumer too. But then the access token was
// revoked before, so whoever grants looks for that last.

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
	return decode(s, record.Consumer, c.is.Key, e.encode())
}

var (
	errForgetting = errors.New("redis: the consumer is being deleted")
	errForgotten  = errors.New("redis: the consumer was deleted, and the new access token was revoked with it")
)

// hasConsumer looks whether the consumer of a new access token is being deleted, or was. The access
// token is acknowledged only after that. A consumer that is not in the store may be declared
// elsewhere, or forgotten meanwhile. One that registered itself may have been forgotten, and have
// registered itself again.
func (s *Store) hasConsumer(ctx context.Context, t *tokenstore.AccessToken) error {
	c, _, err := s.consumer(ctx, t.Consumer)
	if err != nil && !record.Unreadable(err) {
		return err
	}
	if c != nil && c.state == stateDeleted {
		return &tokenstore.LaterError{After: time.Second, Err: errForgetting}
	}
	if c != nil && !c.is.SelfRegistered || s.past(t.Expires, tokenstore.Retention) {
		return nil
	}
	now, v, err := s.token(ctx, t.Key)
	if err != nil {
		return err
	}
	if !s.there(now, v.marks) || now.is.Secret != t.Secret {
		return &tokenstore.LaterError{After: time.Second, Err: errForgotten}
	}
	return nil
}
