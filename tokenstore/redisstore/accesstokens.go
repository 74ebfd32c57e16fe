package redisstore

import (
	"context"
	"strconv"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/record"
)

type storedToken = stored[tokenstore.AccessToken]

// token reads an access token, revoked and expired ones too; nil if there is none.
func (s *Store) token(ctx context.Context, key string) (*storedToken, *view, error) {
	sl := sliceOf(key)
	v, err := s.read(ctx, sl, s.key(kindToken, sl, key))
	if err != nil {
		return nil, nil, err
	}
	t, err := decode(s, record.AccessToken, key, v.values[0])
	return t, v, err
}

// there reports whether an access token exists for the callers of the store.
func (s *Store) there(t *storedToken, m marks) bool {
	return t != nil && !s.revoked(m, t.revision, t.is.Consumer, t.is.User) && !s.past(t.is.Expires, tokenstore.Retention)
}

// past reports whether a time, and a while after it, are over; zero never is.
func (s *Store) past(expires time.Time, after time.Duration) bool {
	return !expires.IsZero() && !s.clock().Before(expires.Add(after))
}

// AccessToken returns an access token.
func (s *Store) AccessToken(ctx context.Context, key string) (*tokenstore.AccessToken, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	c := s.tokens.find(key)
	if c == nil {
		var err error
		if c, err = s.refreshToken(ctx, key); err != nil {
			return nil, err
		}
	}
	if s.past(c.is.Expires, tokenstore.Retention) {
		return nil, tokenstore.ErrNotFound
	}
	return c.is, nil
}

// refreshToken reads an access token and keeps it for a while. ErrNotFound.
func (s *Store) refreshToken(ctx context.Context, key string) (*cached[tokenstore.AccessToken], error) {
	ticket, at := s.tokens.ticket(key), time.Now()
	t, v, err := s.token(ctx, key)
	if err != nil {
		return nil, err
	}
	if !s.there(t, v.marks) {
		return nil, tokenstore.ErrNotFound
	}
	if t.is.LastUsed.Before(t.stamp) {
		t.is.LastUsed = t.stamp
	}
	return s.tokens.put(key, ticket, &cached[tokenstore.AccessToken]{stored: t, sliceRevision: v.revision, at: at}), nil
}

// LastUsed returns when an access token was last used.
func (s *Store) LastUsed(ctx context.Context, key string) (time.Time, error) {
	if err := s.enter(ctx); err != nil {
		return time.Time{}, err
	}
	t, v, err := s.token(ctx, key)
	if err != nil {
		return time.Time{}, err
	}
	if !s.there(t, v.marks) {
		return time.Time{}, tokenstore.ErrNotFound
	}
	return t.stamp, nil
}

// CreateAccessToken adds an access token.
func (s *Store) CreateAccessToken(ctx context.Context, t *tokenstore.AccessToken) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	consumer, err := s.grantee(ctx, t.Consumer)
	if err != nil {
		return err
	}
	if err := s.writeToken(ctx, t); err != nil {
		return err
	}
	if err := s.hasConsumer(ctx, consumer, t.Consumer); err != nil {
		_ = s.RevokeToken(context.WithoutCancel(ctx), t.Key) // nobody has it
		return err
	}
	s.granted(ctx, t.Consumer)
	return nil
}

// writeToken writes a new access token, which may be acknowledged after hasConsumer.
func (s *Store) writeToken(ctx context.Context, t *tokenstore.AccessToken) error {
	err := again(ctx, func() (bool, error) {
		before, v, err := s.token(ctx, t.Key)
		if err != nil && !record.Unreadable(err) {
			return false, err
		}
		if err != nil {
			return false, tokenstore.ErrExists
		}
		if s.there(before, v.marks) {
			return false, s.exists(ctx, sliceOf(t.Key))
		}
		w := newWrite(sliceOf(t.Key), v)
		s.addToken(w, v, before, t)
		return s.commit(ctx, w)
	})
	s.tokens.drop(t.Key)
	return err
}

// addToken adds an access token to a write, in place of one that is revoked or over, or of none.
func (s *Store) addToken(w *write, v *view, before *storedToken, t *tokenstore.AccessToken) {
	key := s.key(kindToken, w.slice, t.Key)
	if before == nil {
		w.require(key, "")
	} else {
		w.require(key, before.value)
		s.removeTokenIndexes(w, before.is)
	}
	s.putToken(w, v, t)
}

// putToken adds an access token and its indexes to a write.
func (s *Store) putToken(w *write, v *view, t *tokenstore.AccessToken) {
	body := *t
	body.Key, body.LastUsed = "", time.Time{} // which stand in the name, and in the head
	e := envelope{
		version: newVersion(), stamp: t.LastUsed, revision: v.number(),
		record: sealed(s, record.AccessToken, t.Key, &body),
	}
	w.do("SET", s.key(kindToken, w.slice, t.Key), e.encode())
	w.index(s, s.key(kindTokens, w.slice, ""), t.Key)
	s.addName(w, kindTokensOfConsumer, t.Consumer, t.Key)
	s.addName(w, kindTokensOfUser, t.User, t.Key)
	if !t.Expires.IsZero() {
		w.do("ZADD", s.key(kindTokensByEnd, w.slice, ""), milliseconds(t.Expires.Add(tokenstore.Retention)), t.Key)
	}
}

// removeToken adds the removal of an access token to a write.
func (s *Store) removeToken(w *write, t *storedToken) {
	w.do("DEL", s.key(kindToken, w.slice, t.is.Key))
	s.removeTokenIndexes(w, t.is)
}

func (s *Store) removeTokenIndexes(w *write, t *tokenstore.AccessToken) {
	w.unindex(s, s.key(kindTokens, w.slice, ""), t.Key)
	s.removeName(w, kindTokensOfConsumer, t.Consumer, t.Key)
	s.removeName(w, kindTokensOfUser, t.User, t.Key)
	if !t.Expires.IsZero() {
		w.do("ZREM", s.key(kindTokensByEnd, w.slice, ""), t.Key)
	}
}

// milliseconds writes a time as the score of a sorted set.
func milliseconds(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) }

// RevokeToken removes an access token.
func (s *Store) RevokeToken(ctx context.Context, key string) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	sl := sliceOf(key)
	consumer := ""
	err := again(ctx, func() (bool, error) {
		t, v, err := s.token(ctx, key)
		if err != nil {
			return false, err
		}
		if !s.there(t, v.marks) {
			// An earlier call may have removed it, and may not have been acknowledged.
			if err := s.prove(ctx, sl); err != nil {
				return false, err
			}
			return false, tokenstore.ErrNotFound
		}
		consumer = t.is.Consumer
		w := newWrite(sl, v)
		w.require(s.key(kindToken, sl, key), t.value)
		s.removeToken(w, t)
		return s.commit(ctx, w)
	})
	s.tokens.drop(key)
	if err != nil {
		return err
	}
	s.ended(ctx, consumer, s.clock())
	return nil
}

// Touch notes when access tokens were last used.
func (s *Store) Touch(ctx context.Context, used map[string]time.Time) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	type touches struct{ keys, stamps []string }
	var bySlice [sliceCount]touches
	for key, at := range used {
		if last := s.tokens.last(key); last != nil && !at.After(last.is.LastUsed) {
			continue
		}
		t := &bySlice[sliceOf(key)]
		t.keys = append(t.keys, s.key(kindToken, sliceOf(key), key))
		t.stamps = append(t.stamps, stampBytes(at))
	}
	var failed error
	for _, t := range bySlice {
		for len(t.keys) > 0 {
			n := min(len(t.keys), 500)
			if _, err := s.run(ctx, touchScript, t.keys[:n], t.stamps[:n]); err != nil {
				failed = err
			}
			t.keys, t.stamps = t.keys[n:], t.stamps[n:]
		}
	}
	return failed
}
