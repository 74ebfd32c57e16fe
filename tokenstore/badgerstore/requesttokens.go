package badgerstore

import (
	"context"
	"errors"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// putRequestToken writes the record and its indexes. A refused token is kept for ever, so that its consumer is always
// told; all others go a while after they expired.
func putRequestToken(c *change, t *tokenstore.RequestToken) {
	until := ttl(retained(t.Expires))
	if refused(t) {
		until = 0
	}
	c.put(recordKey(prefixRequestToken, t.Key), encodeRequestToken(t), until)
	c.put(requestOfConsumerKey(t), nil, until)
	if t.Review != nil {
		c.put(indexKey(prefixRequestOfUser, t.Review.User, t.Key), nil, until)
	}
}

func removeRequestToken(c *change, t *tokenstore.RequestToken) {
	c.remove(recordKey(prefixRequestToken, t.Key))
	c.remove(requestOfConsumerKey(t))
	if t.Review != nil {
		c.remove(indexKey(prefixRequestOfUser, t.Review.User, t.Key))
	}
}

// requestOfConsumerKey has the token among those of its consumer by when it stops waiting, so that those which wait can be
// counted without a look at all that did: the refused ones may be many.
func requestOfConsumerKey(t *tokenstore.RequestToken) []byte {
	waits := encodeTime(t.Expires)
	if refused(t) {
		waits = encodeTime(time.UnixMilli(0))
	}
	return indexKey(prefixRequestOfConsumer, t.Consumer, string(waits)+t.Key)
}

func refused(t *tokenstore.RequestToken) bool {
	return t.Review != nil && t.Review.Permission == tokenstore.Unauthorized
}

// readRequestToken reads one that is still remembered.
func (s *Store) readRequestToken(key string) (t *tokenstore.RequestToken, err error) {
	err = s.tokens.view(func(txn *badger.Txn) (err error) {
		t, err = requestTokenIn(txn, key)
		return err
	})
	if err != nil {
		return nil, wrapRead("request token", key, err)
	}
	if !refused(t) && forgotten(t.Expires, s.clock()) {
		return nil, tokenstore.ErrNotFound
	}
	return t, nil
}

func requestTokenIn(txn *badger.Txn, key string) (t *tokenstore.RequestToken, err error) {
	err = get(txn, recordKey(prefixRequestToken, key), func(v []byte) error {
		t, err = decodeRequestToken(v)
		return err
	})
	return t, notFound(err)
}

// CreateRequestToken adds a request token.
func (s *Store) CreateRequestToken(ctx context.Context, t *tokenstore.RequestToken) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	s.gate.RLock()
	defer s.gate.RUnlock()
	defer s.requestLocks.lock(t.Key).Unlock()

	if _, err := s.readRequestToken(t.Key); err == nil {
		return tokenstore.ErrExists
	} else if !errors.Is(err, tokenstore.ErrNotFound) {
		return err
	}
	consumer, err := s.storedConsumer(t.Consumer)
	if err != nil {
		return err
	}
	if consumer != nil && consumer.SelfRegistered {
		defer s.consumerLocks.lock(t.Consumer).Unlock()
		waiting, err := s.waitingRequestTokens(t.Consumer)
		if err != nil {
			return err
		}
		if waiting >= tokenstore.MaxWaiting {
			return tokenstore.ErrTooMany
		}
	}
	var c change
	putRequestToken(&c, t)
	return s.tokens.commit(c)
}

// waitingRequestTokens counts those that could still be exchanged, up to tokenstore.MaxWaiting.
func (s *Store) waitingRequestTokens(consumer string) (n int, err error) {
	after := encodeTime(s.clock().Add(time.Millisecond)) // the time is in milliseconds, and who stops now waits no longer
	err = s.tokens.view(func(txn *badger.Txn) error {
		return scan(txn, indexPrefix(prefixRequestOfConsumer, consumer), after, false, func(*badger.Item) (bool, error) {
			n++
			return n < tokenstore.MaxWaiting, nil
		})
	})
	return n, err
}

// RequestToken returns the request token with the key.
func (s *Store) RequestToken(ctx context.Context, key string) (*tokenstore.RequestToken, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	return s.readRequestToken(key)
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

	t, err := s.readRequestToken(key)
	if err != nil {
		return nil, err
	}
	next, err := t.WithReview(r, s.clock())
	if err != nil {
		return nil, err
	}
	var c change
	if refused(next) {
		c.remove(requestOfConsumerKey(t)) // it waits no longer
	}
	putRequestToken(&c, next)
	if err := s.tokens.commit(c); err != nil {
		return nil, err
	}
	return next, nil
}

// Exchange turns a reviewed request token into an access token.
func (s *Store) Exchange(ctx context.Context, key, verifier, accessKey, accessSecret string) (*tokenstore.AccessToken, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	s.gate.RLock()
	defer s.gate.RUnlock()
	defer s.requestLocks.lock(key).Unlock()

	t, err := s.readRequestToken(key)
	if err != nil {
		return nil, err
	}
	access, err := t.Exchange(verifier, accessKey, accessSecret, s.clock())
	if errors.Is(err, tokenstore.ErrVerifier) {
		if err := s.countVerifierFailure(t); err != nil {
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
	return access, nil
}

func (s *Store) countVerifierFailure(t *tokenstore.RequestToken) error {
	var c change
	if next := t.WithVerifierFailure(); next != nil {
		putRequestToken(&c, next)
	} else {
		removeRequestToken(&c, t)
	}
	return s.tokens.commit(c)
}

// matchingRequestTokens returns the request tokens of the consumer, or those that the user reviewed, or with both
// given those that the user reviewed for the consumer.
func (s *Store) matchingRequestTokens(f tokenstore.Filter) (found []*tokenstore.RequestToken, err error) {
	prefix, before := indexPrefix(prefixRequestOfConsumer, f.Consumer), 8 // the time stands before the key
	if f.User != "" {
		prefix, before = indexPrefix(prefixRequestOfUser, f.User), 0
	}
	err = s.tokens.view(func(txn *badger.Txn) error {
		return scan(txn, prefix, nil, false, func(item *badger.Item) (bool, error) {
			key := item.Key()[len(prefix):]
			t, err := requestTokenIn(txn, string(key[min(before, len(key)):]))
			if errors.Is(err, tokenstore.ErrNotFound) {
				return true, nil
			}
			if err != nil {
				return false, err
			}
			if (f.Consumer == "" || t.Consumer == f.Consumer) && (f.User == "" || t.Review != nil && t.Review.User == f.User) {
				found = append(found, t)
			}
			return true, nil
		})
	})
	return found, err
}
