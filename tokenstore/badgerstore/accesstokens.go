package badgerstore

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

func putAccessToken(c *change, t *tokenstore.AccessToken) {
	until := ttl(retained(t.Expires))
	c.put(recordKey(prefixAccessToken, t.Key), encodeAccessToken(t), until)
	c.put(indexKey(prefixTokenOfUser, t.User, t.Key), nil, until)
	c.put(indexKey(prefixTokenOfConsumer, t.Consumer, t.Key), encodeTime(t.Expires), until)
}

func removeAccessToken(c *change, t *tokenstore.AccessToken) {
	c.remove(recordKey(prefixAccessToken, t.Key))
	c.remove(indexKey(prefixTokenOfUser, t.User, t.Key))
	c.remove(indexKey(prefixTokenOfConsumer, t.Consumer, t.Key))
	if !t.LastUsed.IsZero() {
		c.remove(recordKey(prefixLastUsed, t.Key))
	}
}

// putLastUsed writes when the token was last used, which its own record only says of the time before it came here.
func putLastUsed(c *change, t *tokenstore.AccessToken) {
	e := newEncoder(kindLastUsed)
	e.time(t.LastUsed)
	c.put(recordKey(prefixLastUsed, t.Key), e.finish(), ttl(retained(t.Expires)))
}

// accessTokenIn returns the access token with all that is known of it.
func accessTokenIn(txn *badger.Txn, key string) (t *tokenstore.AccessToken, err error) {
	if t, err = accessRecordIn(txn, key); err != nil {
		return nil, err
	}
	err = get(txn, recordKey(prefixLastUsed, key), func(v []byte) error {
		d := newDecoder(kindLastUsed, v)
		t.LastUsed = d.time()
		d.required()
		return d.finish()
	})
	if err != nil && !errors.Is(err, badger.ErrKeyNotFound) {
		return nil, err
	}
	return t, nil
}

// accessRecordIn does not look when the access token was last used.
func accessRecordIn(txn *badger.Txn, key string) (t *tokenstore.AccessToken, err error) {
	err = get(txn, recordKey(prefixAccessToken, key), func(v []byte) error {
		t, err = decodeAccessToken(v)
		return err
	})
	if err != nil {
		return nil, notFound(err)
	}
	return t, nil
}

// AccessToken returns the access token with the key. Its LastUsed is what this process was told, or the record says.
func (s *Store) AccessToken(ctx context.Context, key string) (*tokenstore.AccessToken, error) {
	if s.closed.Load() {
		return nil, tokenstore.ErrClosed
	}
	t, version := s.accessTokens.get(key)
	if t == nil {
		if err := s.enter(ctx); err != nil {
			return nil, err
		}
		defer s.leave()
		var err error
		if t, err = s.readAccessToken(key, accessRecordIn); err != nil {
			return nil, err
		}
		s.accessTokens.fill(t.Key, t, accessTokenSize(t), version)
	}
	if !t.Expires.IsZero() && forgotten(t.Expires, s.clock()) {
		return nil, tokenstore.ErrNotFound
	}
	return t, nil
}

// LastUsed returns when the access token was last used.
func (s *Store) LastUsed(ctx context.Context, key string) (time.Time, error) {
	if err := s.enter(ctx); err != nil {
		return time.Time{}, err
	}
	defer s.leave()
	t, err := s.readAccessToken(key, accessTokenIn)
	if err != nil {
		return time.Time{}, err
	}
	if forgotten(t.Expires, s.clock()) {
		return time.Time{}, tokenstore.ErrNotFound
	}
	return t.LastUsed, nil
}

// accessTokenSize is what the strings of a token take in memory.
func accessTokenSize(t *tokenstore.AccessToken) int {
	return len(t.Key) + len(t.Secret) + len(t.Consumer) + len(t.User) + len(t.Permission) + len(t.Context)
}

// readAccessToken reads from the database, with accessTokenIn or accessRecordIn.
func (s *Store) readAccessToken(key string, read func(*badger.Txn, string) (*tokenstore.AccessToken, error)) (t *tokenstore.AccessToken, err error) {
	err = s.tokens.view(func(txn *badger.Txn) (err error) {
		t, err = read(txn, key)
		return err
	})
	if err != nil {
		return nil, wrapRead("access token", key, err)
	}
	return t, nil
}

// CreateAccessToken adds an access token.
func (s *Store) CreateAccessToken(ctx context.Context, t *tokenstore.AccessToken) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	s.gate.RLock()
	defer s.gate.RUnlock()
	return s.addAccessToken(change{}, t)
}

// addAccessToken commits c and the new access token together. A self-registered consumer stays from now on.
func (s *Store) addAccessToken(c change, t *tokenstore.AccessToken) error {
	defer s.accessLocks.lock(t.Key).Unlock()
	switch old, err := s.readAccessToken(t.Key, accessTokenIn); {
	case err == nil && !forgotten(old.Expires, s.clock()):
		return tokenstore.ErrExists
	case err == nil:
		removeAccessToken(&c, old)
	case !errors.Is(err, tokenstore.ErrNotFound):
		return err
	}
	putAccessToken(&c, t)
	idle := s.self.has(t.Consumer)
	if idle {
		c.remove(recordKey(prefixIdle, t.Consumer))
	}
	err := s.tokens.commit(c)
	s.accessTokens.remove(t.Key)
	if err == nil && idle {
		s.self.drop(t.Consumer)
	}
	return err
}

// AccessTokens lists those that match.
func (s *Store) AccessTokens(ctx context.Context, f tokenstore.Filter, after string, limit int) (page []*tokenstore.AccessToken, next string, err error) {
	if err := s.enter(ctx); err != nil {
		return nil, "", err
	}
	defer s.leave()
	if err := checkLimit(limit); err != nil {
		return nil, "", err
	}
	err = s.eachAccessToken(f, after, func(t *tokenstore.AccessToken) bool {
		if len(page) == limit {
			next = page[limit-1].Key
			return false
		}
		page = append(page, t)
		return ctx.Err() == nil
	})
	if err = errors.Join(err, ctx.Err()); err != nil {
		return nil, "", err
	}
	return page, next, nil
}

// eachAccessToken calls f with the matching tokens that are remembered, in the order of their keys.
func (s *Store) eachAccessToken(f tokenstore.Filter, after string, visit func(*tokenstore.AccessToken) bool) error {
	prefix := []byte{prefixAccessToken}
	switch {
	case f.User != "":
		prefix = indexPrefix(prefixTokenOfUser, f.User)
	case f.Consumer != "":
		prefix = indexPrefix(prefixTokenOfConsumer, f.Consumer)
	}
	now := s.clock()
	return s.tokens.view(func(txn *badger.Txn) error {
		return scan(txn, prefix, []byte(after), false, func(item *badger.Item) (bool, error) {
			key := string(item.Key()[len(prefix):])
			t, err := accessTokenIn(txn, key)
			switch {
			case errors.Is(err, tokenstore.ErrNotFound): // its TTL ended between the index and the record
				return true, nil
			case err != nil:
				return false, wrapRead("access token", key, err)
			case forgotten(t.Expires, now), f.User != "" && t.User != f.User, f.Consumer != "" && t.Consumer != f.Consumer:
				return true, nil
			}
			return visit(t), nil
		})
	})
}

func (s *Store) matchingAccessTokens(f tokenstore.Filter) (found []*tokenstore.AccessToken, err error) {
	err = s.eachAccessToken(f, "", func(t *tokenstore.AccessToken) bool {
		found = append(found, t)
		return true
	})
	return found, err
}

// RevokeToken removes one access token.
func (s *Store) RevokeToken(ctx context.Context, key string) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	s.gate.RLock()
	defer s.gate.RUnlock()
	defer s.accessLocks.lock(key).Unlock()

	t, err := s.readAccessToken(key, accessTokenIn)
	if err != nil {
		return err
	}
	if forgotten(t.Expires, s.clock()) {
		return tokenstore.ErrNotFound
	}
	var c change
	removeAccessToken(&c, t)
	idle, now, err := s.nowIdle(t.Consumer, key)
	if err != nil {
		return err
	}
	if idle {
		c.put(recordKey(prefixIdle, t.Consumer), encodeTime(now), 0)
	}
	err = s.tokens.commit(c)
	s.accessTokens.remove(key)
	if err == nil && idle {
		s.self.set(t.Consumer, now)
	}
	return err
}

// nowIdle reports whether the consumer is a self-registered one that has no access token besides `except`.
func (s *Store) nowIdle(consumer, except string) (idle bool, now time.Time, err error) {
	now = s.clock()
	c, err := s.storedConsumer(consumer)
	if err != nil || c == nil || !c.SelfRegistered || s.self.has(consumer) {
		return false, now, err
	}
	err = s.tokens.view(func(txn *badger.Txn) error {
		live, _, err := liveAccessToken(txn, consumer, except, now)
		idle = !live
		return err
	})
	return idle, now, err
}

// Revoke removes the matching access tokens and request tokens.
func (s *Store) Revoke(ctx context.Context, f tokenstore.Filter) (int, error) {
	if f == (tokenstore.Filter{}) {
		return 0, errEmptyFilter
	}
	if err := s.enter(ctx); err != nil {
		return 0, err
	}
	defer s.leave()
	s.gate.Lock()
	defer s.gate.Unlock()

	requests, err := s.matchingRequestTokens(f)
	if err != nil {
		return 0, err
	}
	access, err := s.matchingAccessTokens(f)
	if err != nil {
		return 0, err
	}
	r := s.newRemoval()
	for _, t := range requests {
		r.requestToken(t)
	}
	consumers := make(map[string]bool)
	for _, t := range access {
		r.accessToken(t)
		consumers[t.Consumer] = true
	}
	if err := r.finish(); err != nil {
		return 0, err
	}
	for consumer := range consumers {
		idle, now, err := s.nowIdle(consumer, "")
		if err != nil {
			return 0, err
		}
		if idle {
			var c change
			c.put(recordKey(prefixIdle, consumer), encodeTime(now), 0)
			if err := s.tokens.commit(c); err != nil {
				return 0, err
			}
			s.self.set(consumer, now)
		}
	}
	return len(access), nil
}

// Touch notes when access tokens were last used.
func (s *Store) Touch(ctx context.Context, used map[string]time.Time) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	for keys := range slices.Chunk(slices.Collect(maps.Keys(used)), 200) {
		if err := s.touch(keys, used); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// touch takes what it can from the cache, and leaves it there: most tokens that were used a moment ago are in it. When
// the others were used is not read first: that is later only when the clock was set back, and then it is wrong.
func (s *Store) touch(keys []string, used map[string]time.Time) error {
	s.gate.Lock()
	defer s.gate.Unlock()
	var c change
	var touched []*tokenstore.AccessToken
	for _, key := range keys {
		t, _ := s.accessTokens.get(key)
		if t == nil {
			var err error
			if t, err = s.readAccessToken(key, accessRecordIn); errors.Is(err, tokenstore.ErrNotFound) {
				continue
			} else if err != nil {
				return err
			}
		}
		if !used[key].After(t.LastUsed) {
			continue
		}
		next := *t
		next.LastUsed = used[key]
		putLastUsed(&c, &next)
		touched = append(touched, &next)
	}
	if len(touched) == 0 {
		return nil
	}
	err := s.tokens.commit(c)
	for _, t := range touched {
		if err == nil {
			s.accessTokens.replace(t.Key, t, accessTokenSize(t))
		} else {
			s.accessTokens.remove(t.Key)
		}
	}
	return err
}
