package redisstore

import (
	"context"
	"errors"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/record"
)

type storedRequest = stored[tokenstore.RequestToken]

// request reads a request token, revoked and expired ones too; nil if there is none. The access
// token of an exchange lies in the same slice.
func (s *Store) request(ctx context.Context, key string) (*storedRequest, *view, error) {
	sl := sliceOf(key)
	v, err := s.read(ctx, sl, s.key(kindRequest, sl, key))
	if err != nil {
		return nil, nil, err
	}
	t, err := decode(s, record.RequestToken, key, v.values[0])
	return t, v, err
}

// waits reports whether a request token exists for the callers of the store.
func (s *Store) waits(t *storedRequest, m marks) bool {
	return t != nil && !s.revoked(m, t.revision, t.is.Consumer, reviewer(t.is)) && !s.past(t.is.Expires, tokenstore.RequestRetention)
}

// reviewer is the user who has reviewed a request token, or empty.
func reviewer(t *tokenstore.RequestToken) string {
	if t.Review == nil {
		return ""
	}
	return t.Review.User
}

func refused(t *tokenstore.RequestToken) bool {
	return t.Review != nil && t.Review.Permission == tokenstore.Unauthorized
}

// RoomForRequestToken returns what CreateRequestToken or RegisterConsumer would return.
func (s *Store) RoomForRequestToken(ctx context.Context, t *tokenstore.RequestToken, register bool) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	self, err := s.isSelfRegistered(ctx, t.Consumer)
	if err != nil {
		return err
	}
	return s.reserve(ctx, reservation{request: t, consumer: t.Consumer, self: self, register: register, dry: true})
}

func (s *Store) isSelfRegistered(ctx context.Context, consumer string) (bool, error) {
	c, err := s.Consumer(ctx, consumer)
	if errors.Is(err, tokenstore.ErrNotFound) { // declared elsewhere
		return false, nil
	}
	return err == nil && c.SelfRegistered, err
}

// CreateRequestToken adds a request token.
func (s *Store) CreateRequestToken(ctx context.Context, t *tokenstore.RequestToken) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	self, err := s.isSelfRegistered(ctx, t.Consumer)
	if err != nil {
		return err
	}
	return s.createRequestToken(ctx, t, reservation{request: t, consumer: t.Consumer, self: self})
}

func (s *Store) createRequestToken(ctx context.Context, t *tokenstore.RequestToken, r reservation) error {
	sl := sliceOf(t.Key)
	key := s.key(kindRequest, sl, t.Key)
	reserved := false
	err := again(ctx, func() (bool, error) {
		before, v, err := s.request(ctx, t.Key)
		if err != nil && !record.Unreadable(err) {
			return false, err
		}
		if err != nil || s.waits(before, v.marks) {
			return false, tokenstore.ErrExists
		}
		if !reserved {
			if err := s.reserve(ctx, r); err != nil {
				return false, err
			}
			reserved = true
		}
		w := newWrite(sl, v)
		if before == nil {
			w.require(key, "")
		} else {
			w.require(key, before.value)
			s.removeRequestIndexes(w, before.is)
		}
		s.putRequest(w, v, t)
		return s.commit(ctx, w)
	})
	switch {
	case !reserved || err == nil:
	case errors.Is(err, tokenstore.ErrExists):
		// Another call made a token of that key meanwhile, and counted it under the same name. If
		// that one is of another consumer, only this count goes.
		if other, _, err := s.request(ctx, t.Key); err == nil && other != nil && other.is.Consumer != t.Consumer {
			s.removed(ctx, t)
		}
	default:
		// Nobody will use the token: it must not take the place of one that somebody uses.
		s.withdraw(ctx, t)
		if r.register {
			s.withdrawRegistration(ctx, r.consumer)
		}
	}
	return err
}

// putRequest adds a request token and its indexes to a write.
func (s *Store) putRequest(w *write, v *view, t *tokenstore.RequestToken) {
	e := envelope{version: newVersion(), revision: v.number(), record: sealed(s, record.RequestToken, t.Key, t)}
	w.do("SET", s.key(kindRequest, w.slice, t.Key), e.encode())
	s.addName(w, kindRequestsOfConsumer, t.Consumer, t.Key)
	w.do("ZADD", s.key(kindRequestsByEnd, w.slice, ""), milliseconds(t.Expires.Add(tokenstore.RequestRetention)), t.Key)
	if user := reviewer(t); user != "" {
		s.addName(w, kindRequestsOfUser, user, t.Key)
	}
}

func (s *Store) removeRequestIndexes(w *write, t *tokenstore.RequestToken) {
	s.removeName(w, kindRequestsOfConsumer, t.Consumer, t.Key)
	w.do("ZREM", s.key(kindRequestsByEnd, w.slice, ""), t.Key)
	if user := reviewer(t); user != "" {
		s.removeName(w, kindRequestsOfUser, user, t.Key)
	}
}

// removeRequest adds the removal of a request token to a write that depends on it.
func (s *Store) removeRequest(w *write, t *storedRequest) {
	w.do("DEL", s.key(kindRequest, w.slice, t.is.Key))
	s.removeRequestIndexes(w, t.is)
}

// RegisterConsumer adds a self-registered consumer and its first request token. The request token
// comes first: alone it is of no use to anybody.
func (s *Store) RegisterConsumer(ctx context.Context, c *tokenstore.Consumer, t *tokenstore.RequestToken) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	if before, _, err := s.consumer(ctx, c.Key); err != nil && !record.Unreadable(err) {
		return err
	} else if err != nil || before != nil && before.state != stateDeleted {
		return tokenstore.ErrExists
	}
	if err := s.createRequestToken(ctx, t, reservation{request: t, consumer: c.Key, register: true}); err != nil {
		return err
	}
	err := s.createConsumer(ctx, c)
	if err == nil {
		return nil
	}
	if !errors.Is(err, tokenstore.ErrExists) {
		s.withdrawRegistration(ctx, c.Key)
	}
	s.withdraw(ctx, t)
	return err
}

// withdraw removes a request token that was counted a moment ago, and counts it no longer. It may be
// there or not. As long as that can't be found out, it counts.
func (s *Store) withdraw(ctx context.Context, t *tokenstore.RequestToken) {
	ctx = context.WithoutCancel(ctx)
	there, _, err := s.request(ctx, t.Key)
	if err != nil {
		return
	}
	if there != nil {
		if there.is.Secret != t.Secret {
			return // another one, under the same name
		}
		w := newWrite(sliceOf(t.Key), nil)
		w.require(s.key(kindRequest, w.slice, t.Key), there.value)
		s.removeRequest(w, there)
		if done, err := s.commitLoosely(ctx, w); !done || err != nil {
			return
		}
	}
	s.removed(ctx, t)
}

// RequestToken returns a request token.
func (s *Store) RequestToken(ctx context.Context, key string) (*tokenstore.RequestToken, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	t, v, err := s.request(ctx, key)
	if err != nil {
		return nil, err
	}
	if !s.waits(t, v.marks) {
		return nil, tokenstore.ErrNotFound
	}
	return t.is, nil
}

// Review records the user's answer.
func (s *Store) Review(ctx context.Context, key string, r tokenstore.Review) (*tokenstore.RequestToken, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	var next *tokenstore.RequestToken
	err := again(ctx, func() (bool, error) {
		t, v, err := s.request(ctx, key)
		if err != nil {
			return false, err
		}
		if !s.waits(t, v.marks) || t.state == stateExchanged {
			return false, tokenstore.ErrNotFound
		}
		if next, err = t.is.WithReview(r, s.clock()); err != nil {
			return false, err
		}
		e := t.envelope
		if next != t.is {
			e.version, e.revision, e.record = newVersion(), v.number(), sealed(s, record.RequestToken, key, next)
		}
		// The same answer is written again: an earlier call may have written it without being able
		// to acknowledge it.
		w := newWrite(sliceOf(key), v)
		redisKey := s.key(kindRequest, w.slice, key)
		w.require(redisKey, t.value)
		w.do("SET", redisKey, e.encode())
		s.addName(w, kindRequestsOfConsumer, next.Consumer, key)
		s.addName(w, kindRequestsOfUser, next.Review.User, key)
		return s.commit(ctx, w)
	})
	if err != nil {
		return nil, err
	}
	if refused(next) {
		s.waitsNoLonger(ctx, next)
	}
	return next, nil
}

// Exchange turns a reviewed request token into an access token.
//
// One script makes the access token and marks the request token as exchanged. Both are in one slice,
// so a failover keeps both or loses both. When replicas have them, the request token is removed.
// Where that can't be acknowledged, the mark stays, and the next call returns the same access token.
// Calls at the same time wait to see whether the first succeeds.
func (s *Store) Exchange(ctx context.Context, key, verifier string) (*tokenstore.AccessToken, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 4*s.timeout())
	defer cancel()
	sl := sliceOf(key)
	var access *tokenstore.AccessToken
	var exchanged *storedRequest
	var consumer *tokenstore.Consumer
	var claim string      // of another call
	var claimed time.Time // when this call saw it first: no two clocks are compared
	err := again(ctx, func() (bool, error) {
		t, v, err := s.request(ctx, key)
		if err != nil {
			return false, err
		}
		if !s.waits(t, v.marks) {
			return false, tokenstore.ErrNotFound
		}
		if t.state == stateExchanged && t.claim != "" {
			if t.claim != claim {
				claim, claimed = t.claim, time.Now()
			}
			if time.Since(claimed) < 2*s.timeout() {
				return false, nil // another call is at it
			}
		}
		if consumer, err = s.grantee(ctx, t.is.Consumer); err != nil {
			return false, err
		}
		if t.state == stateExchanged {
			access, exchanged, err = s.exchangeAgain(ctx, v, t, verifier)
		} else {
			access, exchanged, err = s.exchangeFirst(ctx, v, t, verifier)
		}
		return exchanged != nil, err
	})
	if err != nil {
		if ctx.Err() == context.DeadlineExceeded {
			err = &tokenstore.LaterError{After: time.Second, Err: err}
		}
		return nil, err
	}
	if err := s.hasConsumer(ctx, consumer, access.Consumer); err != nil {
		s.unclaim(ctx, exchanged)
		return nil, err
	}
	w := newWrite(sl, nil)
	w.require(s.key(kindRequest, sl, key), exchanged.value)
	s.removeRequest(w, exchanged)
	if _, err := s.commitLoosely(ctx, w); err != nil {
		s.complain("can't remove a request token that was exchanged", err)
	}
	s.removed(ctx, exchanged.is)
	s.granted(ctx, access.Consumer)
	return access, nil
}

// exchangeFirst makes the access token. It returns the request token as it left it, or nil if
// another call has changed it.
func (s *Store) exchangeFirst(ctx context.Context, v *view, t *storedRequest, verifier string) (*tokenstore.AccessToken, *storedRequest, error) {
	sl := sliceOf(t.is.Key)
	access, err := t.is.Exchange(verifier, newKeyIn(sl), tokenstore.NewSecret(), s.clock())
	if err != nil {
		return nil, nil, s.refuseExchange(ctx, v, t, err)
	}
	w := newWrite(sl, v)
	redisKey := s.key(kindRequest, sl, t.is.Key)
	w.require(redisKey, t.value)
	s.addToken(w, v, nil, access)
	next := s.claimed(t, access.Key)
	w.do("SET", redisKey, next.value)
	done, err := s.commit(ctx, w)
	if err != nil {
		s.unclaim(ctx, next)
		return nil, nil, err
	}
	if !done {
		return nil, nil, nil
	}
	return access, next, nil
}

// exchangeAgain returns the access token of an exchange that was not acknowledged.
func (s *Store) exchangeAgain(ctx context.Context, v *view, t *storedRequest, verifier string) (*tokenstore.AccessToken, *storedRequest, error) {
	if _, err := t.is.Exchange(verifier, "", "", t.is.Review.Time); err != nil {
		return nil, nil, s.refuseExchange(ctx, v, t, err)
	}
	access, now, err := s.token(ctx, t.access)
	if err != nil {
		return nil, nil, err
	}
	if !s.there(access, now.marks) {
		return nil, nil, tokenstore.ErrNotFound // revoked meanwhile
	}
	w := newWrite(sliceOf(t.is.Key), v)
	redisKey := s.key(kindRequest, w.slice, t.is.Key)
	w.require(redisKey, t.value)
	next := s.claimed(t, t.access)
	w.do("SET", redisKey, next.value)
	done, err := s.commit(ctx, w)
	if err != nil {
		s.unclaim(ctx, next)
		return nil, nil, err
	}
	if !done {
		return nil, nil, nil
	}
	return access.is, next, nil
}

// claimed is a request token while a call exchanges it.
func (s *Store) claimed(t *storedRequest, access string) *storedRequest {
	next := *t
	next.state, next.access, next.claim = stateExchanged, access, newVersion()
	next.value = next.encode()
	return &next
}

// unclaim lets the next call exchange the token at once.
func (s *Store) unclaim(ctx context.Context, t *storedRequest) {
	free := *t
	free.claim = ""
	w := newWrite(sliceOf(t.is.Key), nil)
	key := s.key(kindRequest, w.slice, t.is.Key)
	w.require(key, t.value)
	w.do("SET", key, free.encode())
	_, _ = s.commitLoosely(context.WithoutCancel(ctx), w) // without it, the next call waits for this one
}

// refuseExchange returns why a request token can't be exchanged. ErrVerifier says that it was
// counted. It returns nil if the token has changed meanwhile.
func (s *Store) refuseExchange(ctx context.Context, v *view, t *storedRequest, refusal error) error {
	if !errors.Is(refusal, tokenstore.ErrVerifier) {
		return refusal
	}
	counted, err := s.countVerifierFailure(ctx, v, t)
	if err == nil && counted {
		err = refusal
	}
	return err
}

// countVerifierFailure reports whether it could count: not if the token has changed meanwhile.
func (s *Store) countVerifierFailure(ctx context.Context, v *view, t *storedRequest) (bool, error) {
	w := newWrite(sliceOf(t.is.Key), v)
	key := s.key(kindRequest, w.slice, t.is.Key)
	w.require(key, t.value)
	next := t.is.WithVerifierFailure()
	if next == nil {
		s.removeRequest(w, t)
	} else {
		e := t.envelope
		e.version, e.record = newVersion(), sealed(s, record.RequestToken, t.is.Key, next)
		w.do("SET", key, e.encode())
		s.addName(w, kindRequestsOfConsumer, next.Consumer, next.Key)
		s.addName(w, kindRequestsOfUser, next.Review.User, next.Key)
	}
	done, err := s.commit(ctx, w)
	if done && next == nil {
		s.removed(ctx, t.is)
	}
	return done, err
}
