package badgerstore

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/record"
)

// A storedAccessToken knows the version of the commit that wrote it.
type storedAccessToken struct {
	token   tokenstore.AccessToken
	version uint64
}

func putAccessToken(c *change, t *tokenstore.AccessToken) {
	until := ttl(retained(t.Expires))
	c.put(recordKey(prefixAccessToken, t.Key), record.AccessToken.Encode(t), until)
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

// putLastUsed writes when the token was last used. The token's own record has only the time that it
// was created with.
func putLastUsed(c *change, t *tokenstore.AccessToken) {
	c.put(recordKey(prefixLastUsed, t.Key), record.LastUsed.Encode(&t.LastUsed), ttl(retained(t.Expires)))
}

// accessTokenIn returns the access token, with its last use.
func accessTokenIn(txn *reader, key string) (t *storedAccessToken, err error) {
	if t, err = accessRecordIn(txn, key); err != nil {
		return nil, err
	}
	err = get(txn, recordKey(prefixLastUsed, key), func(v []byte) error {
		used, err := record.LastUsed.Decode(v)
		if err != nil {
			return err
		}
		t.token.LastUsed = *used
		return nil
	})
	if err != nil && !errors.Is(err, badger.ErrKeyNotFound) {
		return nil, err
	}
	return t, nil
}

// accessRecordIn returns the access token, without its last use.
func accessRecordIn(txn *reader, key string) (*storedAccessToken, error) {
	var t *tokenstore.AccessToken
	version, err := getVersion(txn, recordKey(prefixAccessToken, key), func(v []byte) (err error) {
		t, err = record.AccessToken.Decode(v)
		return err
	})
	if err != nil {
		return nil, notFound(err)
	}
	return &storedAccessToken{*t, version}, nil
}

// AccessToken returns the access token with the key. Its LastUsed is the time that this process
// noted, or else the time in the record.
func (s *Store) AccessToken(ctx context.Context, key string) (*tokenstore.AccessToken, error) {
	if err := s.usable(); err != nil {
		return nil, err
	}
	pending := s.revocations.pending()
	t, version := s.accessTokens.find(key)
	if t == nil {
		if err := s.enter(ctx); err != nil {
			return nil, err
		}
		defer s.leave()
		var err error
		if t, err = s.readAccessToken(key, accessRecordIn); err != nil {
			return nil, err
		}
		s.accessTokens.fill(t.token.Key, t, accessTokenSize(&t.token), version)
	}
	if pending.hide(t.token.User, t.token.Consumer, t.version) {
		return nil, tokenstore.ErrNotFound
	}
	if !t.token.Expires.IsZero() && forgotten(t.token.Expires, s.clock()) {
		return nil, tokenstore.ErrNotFound
	}
	return &t.token, nil
}

// gone reports whether the token is revoked or forgotten. It may still be on disk.
func (t *storedAccessToken) gone(pending *marks, now time.Time) bool {
	return pending.hide(t.token.User, t.token.Consumer, t.version) || forgotten(t.token.Expires, now)
}

// LastUsed returns when the access token was last used.
func (s *Store) LastUsed(ctx context.Context, key string) (time.Time, error) {
	if err := s.enter(ctx); err != nil {
		return time.Time{}, err
	}
	defer s.leave()
	pending := s.revocations.pending()
	t, err := s.readAccessToken(key, accessTokenIn)
	if err != nil {
		return time.Time{}, err
	}
	if t.gone(pending, s.clock()) {
		return time.Time{}, tokenstore.ErrNotFound
	}
	return t.token.LastUsed, nil
}

// accessTokenSize is how many bytes the strings of a token take in memory.
func accessTokenSize(t *tokenstore.AccessToken) int {
	return len(t.Key) + len(t.Secret) + len(t.Consumer) + len(t.User) + len(t.Permission) + len(t.Context)
}

// readAccessToken reads from the database, with accessTokenIn or accessRecordIn.
func (s *Store) readAccessToken(
	key string, read func(*reader, string) (*storedAccessToken, error),
) (t *storedAccessToken, err error) {
	err = s.tokens.view(func(txn *reader) (err error) {
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

// addAccessToken commits c and the new access token together. A self-registered consumer stays from
// now on.
func (s *Store) addAccessToken(c change, t *tokenstore.AccessToken) error {
	defer s.accessLocks.lock(t.Key).Unlock()
	pending := s.revocations.pending()
	switch old, err := s.readAccessToken(t.Key, accessTokenIn); {
	case err == nil && !old.gone(pending, s.clock()):
		return tokenstore.ErrExists
	case err == nil:
		if err := s.removeUnseenAccessToken(t.Key); err != nil {
			return err
		}
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

// removeUnseenAccessToken removes a token that is gone.
func (s *Store) removeUnseenAccessToken(key string) error {
	s.revocations.mu.Lock()
	defer s.revocations.mu.Unlock()
	t, err := s.readAccessToken(key, accessTokenIn)
	if errors.Is(err, tokenstore.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	r := &removal{s: s}
	r.accessToken(t)
	return r.commit()
}

// AccessTokens lists the access tokens that match.
func (s *Store) AccessTokens(ctx context.Context, f tokenstore.Filter, after string, limit int) (page []*tokenstore.AccessToken, next string, err error) {
	if err := s.enter(ctx); err != nil {
		return nil, "", err
	}
	defer s.leave()
	if err := checkLimit(limit); err != nil {
		return nil, "", err
	}
	err = s.eachAccessToken(ctx, f, after, func(t *storedAccessToken) bool {
		if len(page) == limit {
			next = page[limit-1].Key
			return false
		}
		page = append(page, &t.token)
		return true
	})
	if err != nil {
		return nil, "", err
	}
	return page, next, nil
}

// eachAccessToken calls visit with the matching tokens that are remembered, in the order of their
// keys, until the context ends.
func (s *Store) eachAccessToken(ctx context.Context, f tokenstore.Filter, after string, visit func(*storedAccessToken) bool) error {
	prefix := accessTokensOf(f)
	now, pending := s.clock(), s.revocations.pending()
	return s.tokens.view(func(txn *reader) error {
		return scanNamed(txn, prefix, []byte(after), false, func(item *entry, rest []byte) (bool, error) {
			if err := ctx.Err(); err != nil { // also while nothing matches
				return false, err
			}
			key := string(rest)
			if pending.since(f.Consumer) > item.Version() { // there may be millions
				return true, nil
			}
			t, err := accessTokenIn(txn, key)
			switch {
			case errors.Is(err, tokenstore.ErrNotFound): // its TTL ended between the index and the record
				return true, nil
			case err != nil:
				return false, wrapRead("access token", key, err)
			case t.gone(pending, now), !matches(f, t.token.User, t.token.Consumer):
				return true, nil
			}
			return visit(t), nil
		})
	})
}

// accessTokensOf returns the prefix of the index, or of the records, that holds all tokens that
// match.
func accessTokensOf(f tokenstore.Filter) []byte {
	switch {
	case f.User != "":
		return indexPrefix(prefixTokenOfUser, f.User)
	case f.Consumer != "":
		return indexPrefix(prefixTokenOfConsumer, f.Consumer)
	}
	return []byte{prefixAccessToken}
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

	pending := s.revocations.pending()
	t, err := s.readAccessToken(key, accessTokenIn)
	if err != nil {
		return err
	}
	if t.gone(pending, s.clock()) {
		return tokenstore.ErrNotFound
	}
	var c change
	removeAccessToken(&c, &t.token)
	consumer := t.token.Consumer
	idle, now, err := s.nowIdle(consumer, key)
	if err != nil {
		return err
	}
	if idle {
		c.put(recordKey(prefixIdle, consumer), encodeTime(now), 0)
	}
	err = s.tokens.commit(c)
	s.accessTokens.remove(key)
	if err == nil && idle {
		s.self.set(consumer, now)
	}
	return err
}

// nowIdle reports whether the consumer is self-registered and has no access token besides `except`.
func (s *Store) nowIdle(consumer, except string) (idle bool, now time.Time, err error) {
	now = s.clock()
	c, err := s.storedConsumer(consumer)
	if err != nil || c == nil || !c.SelfRegistered || s.self.has(consumer) {
		return false, now, err
	}
	live, _, err := s.liveAccessToken(consumer, except, now)
	return !live, now, err
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
	before, snapshot, err := s.revoke(f)
	if err != nil {
		return 0, err
	}
	defer snapshot.release()
	return s.countMatching(snapshot.txn, f, before)
}

// revoke writes the mark. It returns the marks and the snapshot from before it.
func (s *Store) revoke(f tokenstore.Filter) (before *marks, tokens *snapshot, err error) {
	s.gate.Lock()
	defer s.gate.Unlock()
	now := s.clock()
	idle := false
	if f.User == "" && !s.self.has(f.Consumer) {
		if idle, err = s.selfRegistered(f.Consumer); err != nil {
			return nil, nil, err
		}
	}
	var c change
	if idle {
		c.put(recordKey(prefixIdle, f.Consumer), encodeTime(now), 0)
	}
	before = s.revocations.pending()
	if tokens, err = s.tokens.pin(); err != nil {
		return nil, nil, err
	}
	if err := s.mark(c, now, f); err != nil {
		tokens.release()
		return nil, nil, err
	}
	if idle {
		s.self.set(f.Consumer, now)
	}
	return before, tokens, nil
}

// CountAccessTokens returns how many access tokens match.
func (s *Store) CountAccessTokens(ctx context.Context, f tokenstore.Filter) (int, error) {
	if err := s.enter(ctx); err != nil {
		return 0, err
	}
	defer s.leave()
	before := s.revocations.pending()
	snapshot, err := s.tokens.pin()
	if err != nil {
		return 0, err
	}
	defer snapshot.release()
	return s.countMatching(snapshot.txn, f, before)
}

// countMatching counts the access tokens that match and were not revoked before. Where an index has
// all that it needs, it reads no records.
func (s *Store) countMatching(txn *reader, f tokenstore.Filter, before *marks) (n int, err error) {
	now, prefix := s.clock(), accessTokensOf(f)
	exact := before != nil || (f.User != "" && f.Consumer != "")
	err = scanNamed(txn, prefix, nil, false, func(item *entry, rest []byte) (bool, error) {
		if before.since(f.Consumer) > item.Version() {
			return true, nil
		}
		if !exact {
			n++
			return true, nil
		}
		t, err := accessRecordIn(txn, string(rest))
		if err == nil && !t.gone(before, now) && matches(f, t.token.User, t.token.Consumer) {
			n++
		}
		if errors.Is(err, tokenstore.ErrNotFound) || record.Unreadable(err) { // it counts as revoked all the same
			err = nil
		}
		return true, err
	})
	return n, err
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

// touch updates the last use of tokens in the cache, which has most of the recently used ones. It
// does not read the last use of the others from disk: that is later than now only if the clock was
// set back, and then it is wrong.
func (s *Store) touch(keys []string, used map[string]time.Time) error {
	s.gate.Lock()
	defer s.gate.Unlock()
	var c change
	var touched []*storedAccessToken
	pending := s.revocations.pending()
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
		if !used[key].After(t.token.LastUsed) || pending.hide(t.token.User, t.token.Consumer, t.version) {
			continue
		}
		next := *t
		next.token.LastUsed = used[key]
		putLastUsed(&c, &next.token)
		touched = append(touched, &next)
	}
	if len(touched) == 0 {
		return nil
	}
	err := s.tokens.commit(c)
	for _, t := range touched {
		if err == nil {
			s.accessTokens.replace(t.token.Key, t, accessTokenSize(&t.token))
		} else {
			s.accessTokens.remove(t.token.Key)
		}
	}
	return err
}
