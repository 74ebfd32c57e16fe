package redisstore

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/usednonce"
)

// bucketsOfSecond is over how many hashes the nonces of one second and slice are spread. Redis packs
// a hash of up to 512 small fields (hash-max-listpack-entries).
const bucketsOfSecond = 4

// A nonceCall is what accept.lua is called with.
type nonceCall struct {
	slice     slice
	timestamp int64
	span      int64  // how long it is remembered, in seconds after the timestamp
	digest    string // the chance that two of one second are equal is one in 2^64
	bucket    string
}

func (s *Store) nonceCall(n tokenstore.Nonce) nonceCall {
	digest, spread := usednonce.Plain(&n)
	c := nonceCall{
		slice:     sliceOf(cmp.Or(n.Token, n.Consumer)),
		timestamp: n.Timestamp,
		span:      n.Expires.Unix() - n.Timestamp,
		digest:    string(digest[usednonce.Size-usednonce.PlainSize:]),
	}
	bucket := append(make([]byte, 0, 64), s.buckets[c.slice]...)
	bucket = strconv.AppendInt(bucket, n.Timestamp, 36)
	bucket = append(bucket, '.', '0'+spread%bucketsOfSecond)
	c.bucket = string(bucket)
	return c
}

// args are the arguments of accept.lua. Those that do not come from the nonce are empty.
func (c *nonceCall) args() []string {
	return []string{integer(c.timestamp), c.digest, integer(c.span), "", "", "", "", ""}
}

// UseNonce remembers a nonce, once, for all replicas. In the same step it checks that the access
// token is still the one that the request was verified with.
func (s *Store) UseNonce(ctx context.Context, n tokenstore.Nonce) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	if err := s.usedElsewhere(ctx, &n); err != nil {
		return err
	}
	call := s.nonceCall(n)
	if full := s.quota.add(n, s.clock().Unix()); full != nil {
		return s.usedOr(ctx, call, full)
	}
	err := s.useNonce(ctx, n, call)
	if err != nil {
		s.quota.remove(n)
	}
	return err
}

// usedOr returns ErrNonceUsed if the nonce was used, and full if not.
func (s *Store) usedOr(ctx context.Context, call nonceCall, full error) error {
	c, err := s.link.client()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout())
	defer cancel()
	used, err := c.Do(ctx, c.B().Hexists().Key(call.bucket).Field(call.digest).Build()).AsBool()
	if err != nil {
		return s.explain(ctx, err)
	}
	if used {
		return tokenstore.ErrNonceUsed
	}
	return full
}

func (s *Store) useNonce(ctx context.Context, n tokenstore.Nonce, call nonceCall) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout()) // of all its steps together
	defer cancel()
	keys := append(make([]string, 0, 3), s.states[call.slice], call.bucket)
	args := call.args()
	var t *cached[tokenstore.AccessToken]
	if n.AccessToken != nil {
		keys = append(keys, s.key(kindToken, call.slice, n.Token))
		var err error
		if t, err = s.verifiedWith(ctx, n); err != nil {
			return err
		}
		args[3], args[4] = t.version, t.sliceRevision
	}
	for range 4 {
		args[6], args[7] = s.leases[call.slice].seen.Load().args()
		ticket, at := s.tokens.ticket(n.Token), time.Now()
		answer, err := s.runWithin(ctx, acceptScript, keys, args)
		if err != nil {
			return err
		}
		reason, number := refusal(answer)
		switch reason {
		case "":
			ahead, err := answer.AsInt64()
			if err != nil {
				return fmt.Errorf("redis: accept.lua: %w", err)
			}
			if ahead < int64(s.lead()/time.Second)/2+1 {
				s.raiseSoon(call.slice)
			}
			if t != nil {
				s.tokens.confirm(n.Token, ticket, t, at)
			}
			return nil
		case "used":
			return tokenstore.ErrNonceUsed
		case "forgotten":
			return tokenstore.ErrNonceForgotten
		case "floor":
			return later(number)
		case "gone":
			s.tokens.drop(n.Token)
			return tokenstore.ErrNotFound
		case "stale":
			// Something was revoked in the slice. Whether this token was, its record and the marks say.
			if t, err = s.refreshToken(ctx, n.Token); err != nil {
				return err
			}
			if !sameGrant(t.is, n.AccessToken) {
				return tokenstore.ErrNotFound
			}
			args[3], args[4] = t.version, t.sliceRevision
		case "epoch":
			if _, err := s.raise(ctx, call.slice); err != nil {
				return err
			}
		case "ahead":
			r, err := s.raise(ctx, call.slice)
			if err != nil {
				return err
			}
			if call.timestamp > r.ceiling {
				return s.useAhead(ctx, n.Consumer, call, keys, args)
			}
		default:
			return fmt.Errorf("redis: accept.lua: unexpected answer %q", reason)
		}
	}
	return later(int64((s.lead() + skew) / time.Second))
}

// verifiedWith returns what this process read when it verified the request: the version of the
// token, and the revision of its slice.
func (s *Store) verifiedWith(ctx context.Context, n tokenstore.Nonce) (*cached[tokenstore.AccessToken], error) {
	// What is kept may have been read again since, because it was touched. accept.lua compares its
	// version.
	if c := s.tokens.last(n.Token); c != nil && (c.is == n.AccessToken || sameGrant(c.is, n.AccessToken)) {
		return c, nil
	}
	c, err := s.refreshToken(ctx, n.Token)
	if err != nil {
		return nil, err
	}
	if !sameGrant(c.is, n.AccessToken) {
		return nil, tokenstore.ErrNotFound // another token, that was made with the same key meanwhile
	}
	return c, nil
}

// sameGrant reports whether two records of a key are the same access token.
func sameGrant(a, b *tokenstore.AccessToken) bool {
	return a.Secret == b.Secret && a.Consumer == b.Consumer && a.User == b.User && a.Permission == b.Permission &&
		a.Context == b.Context && a.Created.Equal(b.Created) && a.Expires.Equal(b.Expires)
}
