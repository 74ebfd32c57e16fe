package badgerstore

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/record"
)

// putRequestToken writes the record and its indexes. They have no TTL, since request tokens are
// counted until the store removes them.
func putRequestToken(c *change, t *tokenstore.RequestToken) {
	c.put(recordKey(prefixRequestToken, t.Key), record.RequestToken.Encode(t), 0)
	c.put(requestOfConsumerKey(t), encodeRequestIndex(t), 0)
	if t.Review != nil {
		c.put(indexKey(prefixRequestOfUser, t.Review.User, t.Key), nil, 0)
	}
}

func removeRequestToken(c *change, t *tokenstore.RequestToken) {
	c.remove(recordKey(prefixRequestToken, t.Key))
	c.remove(requestOfConsumerKey(t))
	if t.Review != nil {
		c.remove(indexKey(prefixRequestOfUser, t.Review.User, t.Key))
	}
}

func refused(t *tokenstore.RequestToken) bool {
	return t.Review != nil && t.Review.Permission == tokenstore.Unauthorized
}

// requestForgotten reports whether the request token is no longer remembered.
func requestForgotten(t *tokenstore.RequestToken, now time.Time) bool {
	return !now.Before(t.Expires.Add(tokenstore.RequestRetention))
}

// readRequestToken reads a request token that is still remembered, and its version.
func (s *Store) readRequestToken(key string) (*tokenstore.RequestToken, uint64, error) {
	pending := s.revocations.pending()
	t, version, err := s.storedRequestToken(key)
	if err != nil {
		return nil, 0, err
	}
	if pending.hide(reviewer(t), t.Consumer, version) || requestForgotten(t, s.clock()) {
		return nil, 0, tokenstore.ErrNotFound
	}
	return t, version, nil
}

// storedRequestToken reads a request token from disk, even if it is revoked or forgotten.
func (s *Store) storedRequestToken(key string) (t *tokenstore.RequestToken, version uint64, err error) {
	err = s.tokens.view(func(txn *reader) (err error) {
		t, version, err = requestTokenIn(txn, key)
		return err
	})
	if err != nil {
		return nil, 0, wrapRead("request token", key, err)
	}
	return t, version, nil
}

func requestTokenIn(txn *reader, key string) (t *tokenstore.RequestToken, version uint64, err error) {
	version, err = getVersion(txn, recordKey(prefixRequestToken, key), func(v []byte) error {
		t, err = record.RequestToken.Decode(v)
		return err
	})
	return t, version, notFound(err)
}

// RoomForRequestToken returns the error if one request token more is too many.
func (s *Store) RoomForRequestToken(ctx context.Context, t *tokenstore.RequestToken, register bool) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	now := s.clock()
	if register && s.self.full() && !s.self.anyDue(now) {
		return tokenstore.ErrTooManyConsumers
	}
	selfRegistered, err := s.selfRegistered(t.Consumer)
	if err != nil {
		return err
	}
	return s.wakeIfFull(s.requests.room(t, register || selfRegistered, now))
}

// wakeIfFull starts the removal of expired request tokens if err says that there is no room.
func (s *Store) wakeIfFull(err error) error {
	if errors.Is(err, tokenstore.ErrTooManyInAll) || errors.Is(err, tokenstore.ErrTooMany) {
		s.wake()
	}
	return err
}

func (s *Store) selfRegistered(consumer string) (bool, error) {
	c, err := s.storedConsumer(consumer)
	return c != nil && c.SelfRegistered, err
}

// SetLimits changes how many request tokens there may be.
func (s *Store) SetLimits(l tokenstore.Limits) { s.requests.setLimits(l) }

// CreateRequestToken adds a request token.
func (s *Store) CreateRequestToken(ctx context.Context, t *tokenstore.RequestToken) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	s.gate.RLock()
	defer s.gate.RUnlock()
	defer s.requestLocks.lock(t.Key).Unlock()

	if _, _, err := s.readRequestToken(t.Key); !errors.Is(err, tokenstore.ErrNotFound) {
		return existsUnless(err)
	}
	selfRegistered, err := s.selfRegistered(t.Consumer)
	if err != nil {
		return err
	}
	return s.addRequestToken(change{}, t, selfRegistered)
}

func existsUnless(err error) error {
	if err == nil {
		return tokenstore.ErrExists
	}
	return err
}

// addRequestToken commits c and the new request token together, if there is room. The caller has
// its lock, and knows that no visible token has its key.
func (s *Store) addRequestToken(c change, t *tokenstore.RequestToken, selfRegistered bool) error {
	switch _, _, err := s.storedRequestToken(t.Key); {
	case err == nil:
		if err := s.removeUnseenRequestToken(t.Key); err != nil {
			return err
		}
	case !errors.Is(err, tokenstore.ErrNotFound):
		return err
	}
	since := s.revocations.pending().since(t.Consumer)
	if err := s.requests.reserve(t, selfRegistered, s.clock(), since); err != nil {
		return s.wakeIfFull(err)
	}
	putRequestToken(&c, t)
	if err := s.tokens.commit(c); err != nil {
		s.requests.remove(t, math.MaxUint64)
		return err
	}
	return nil
}

// removeUnseenRequestToken removes a token that is revoked or forgotten, if it is still on disk.
func (s *Store) removeUnseenRequestToken(key string) error {
	s.revocations.mu.Lock()
	defer s.revocations.mu.Unlock()
	t, version, err := s.storedRequestToken(key)
	if errors.Is(err, tokenstore.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	r := &removal{s: s}
	r.requestToken(t, version)
	return r.commit()
}

// RequestToken returns the request token with the key.
func (s *Store) RequestToken(ctx context.Context, key string) (*tokenstore.RequestToken, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	t, _, err := s.readRequestToken(key)
	return t, err
}

// Review records the user's answer, once.
func (s *Store) Review(ctx context.Context, key string, r tokenstore.Review) (*tokenstore.RequestToken, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	s.gate.RLock()
	defer s.gate.RUnlock()
	defer s.requestLocks.lock(key).Unlock()

	t, _, err := s.readRequestToken(key)
	if err != nil {
		return nil, err
	}
	next, err := t.WithReview(r, s.clock())
	if err != nil || next == t { // the same answer again: it was on disk before its lock was released
		return next, err
	}
	var c change
	putRequestToken(&c, next)
	if err := s.tokens.commit(c); err != nil {
		return nil, err
	}
	if refused(next) {
		s.requests.refuse(next)
	}
	return next, nil
}

// Exchange turns a reviewed request token into an access token.
func (s *Store) Exchange(ctx context.Context, key, verifier string) (*tokenstore.AccessToken, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	s.gate.RLock()
	defer s.gate.RUnlock()
	defer s.requestLocks.lock(key).Unlock()

	t, version, err := s.readRequestToken(key)
	if err != nil {
		return nil, err
	}
	access, err := t.Exchange(verifier, tokenstore.NewKey(), tokenstore.NewSecret(), s.clock())
	if errors.Is(err, tokenstore.ErrVerifier) {
		if err := s.countVerifierFailure(t, version); err != nil {
			return nil, err // not ErrVerifier, which says that it was counted
		}
	}
	if err != nil {
		return nil, err
	}
	var c change
	removeRequestToken(&c, t)
	if err := s.addAccessToken(c, access); err != nil {
		return nil, err
	}
	s.requests.remove(t, version)
	return access, nil
}

func (s *Store) countVerifierFailure(t *tokenstore.RequestToken, version uint64) error {
	var c change
	next := t.WithVerifierFailure()
	if next != nil {
		putRequestToken(&c, next)
	} else {
		removeRequestToken(&c, t)
	}
	if err := s.tokens.commit(c); err != nil {
		return err
	}
	if next == nil {
		s.requests.remove(t, version)
	}
	return nil
}
