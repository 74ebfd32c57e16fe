package badgerstore

import (
	"encoding/binary"
	"errors"
	"math"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/keyring"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/record"
)

// requestCounts counts request tokens, in units of tokenstore.RequestTokenSize, so that no request
// has to count them on disk. It is rebuilt from an index when the store is opened.
type requestCounts struct {
	mu        sync.Mutex
	limits    tokenstore.Limits
	consumers map[string]*requestCount
	// all and selfRegistered count what is stored, waiting or not: of all consumers, and of those
	// that registered themselves.
	all, selfRegistered int
	// ends holds what is stored, by the second in which it expires.
	ends map[int64]map[*requestCount]*requestEnd
	// Request tokens that end until the second `over` wait no longer, unless the clock goes back.
	// Those that end until `swept` were removed from disk.
	over, swept int64
}

// A requestCount is what one consumer has. It exists while a request token of the consumer is
// stored.
type requestCount struct {
	consumer string
	// waiting is the sum of waits() of its ends after `over`.
	waiting, stored int
	selfRegistered  bool
	// seconds are the keys of its ends.
	seconds map[int64]struct{}
	// since is the version below which the consumer's request tokens were revoked: they count for
	// `all` alone.
	since uint64
}

// A requestEnd counts a consumer's request tokens that expire in one second, and those of them that
// were refused.
type requestEnd struct{ stored, refused int }

// waits returns how many units wait until that second.
func (e *requestEnd) waits() int { return max(e.stored-e.refused, 0) }

// requestUnits returns how many units a request token counts: by its size on disk while Badger
// merges tables, and has half of them twice. It uses only fields that never change.
func requestUnits(t *tokenstore.RequestToken) int {
	// The token's key stands in the record, in the record's key and in two indexes; the consumer in
	// the record and in one index. The rest is for a review's additions, the times, and Badger's
	// own bytes for each of the four entries.
	size := 4*len(t.Key) + len(t.Secret) + 2*len(t.Consumer) + len(t.Callback) + 110
	return (size*3/2 + tokenstore.RequestTokenSize - 1) / tokenstore.RequestTokenSize
}

// endSecond is the second in which a request token expires, with the precision of the index.
func endSecond(expires time.Time) int64 {
	return time.UnixMilli(decodeTime(encodeTime(expires))).Unix()
}

func (r *requestCounts) setLimits(l tokenstore.Limits) {
	if l.RequestTokensOfConsumer < 1 {
		l.RequestTokensOfConsumer = tokenstore.DefaultLimits.RequestTokensOfConsumer
	}
	if l.RequestTokens < 1 {
		l.RequestTokens = tokenstore.DefaultLimits.RequestTokens
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.limits = l
}

// room returns the error if one request token more is too many.
func (r *requestCounts) room(t *tokenstore.RequestToken, selfRegistered bool, now time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.check(t, selfRegistered, now)
}

func (r *requestCounts) check(t *tokenstore.RequestToken, selfRegistered bool, now time.Time) error {
	r.pass(now)
	units, most := requestUnits(t), r.limits.RequestTokensOfConsumer
	if selfRegistered {
		most = min(most, tokenstore.MaxWaiting)
	}
	if c := r.consumers[t.Consumer]; c != nil &&
		(c.waiting+units > most || c.stored+units > tokenstore.StoredForWaiting*most) {
		return tokenstore.ErrTooMany
	}
	if selfRegistered && r.selfRegistered+units > tokenstore.MaxSelfRegisteredRequests {
		return tokenstore.ErrTooManyInAll
	}
	if r.all+units > r.limits.RequestTokens {
		return tokenstore.ErrTooManyInAll
	}
	return nil
}

// reserve counts a new request token, unless there is no room. since is the version below which the
// consumer's earlier ones are being removed.
func (r *requestCounts) reserve(t *tokenstore.RequestToken, selfRegistered bool, now time.Time, since uint64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.check(t, selfRegistered, now); err != nil {
		return err
	}
	r.add(t.Consumer, selfRegistered, since, t.Expires, requestUnits(t), !refused(t))
	return nil
}

// imported counts a request token of another store, whatever the limits.
func (r *requestCounts) imported(t *tokenstore.RequestToken, selfRegistered bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.add(t.Consumer, selfRegistered, 0, t.Expires, requestUnits(t), !refused(t))
}

func (r *requestCounts) add(consumer string, selfRegistered bool, since uint64, expires time.Time, units int, waits bool) {
	c := r.consumers[consumer]
	if c == nil {
		c = &requestCount{consumer: consumer, selfRegistered: selfRegistered, since: since,
			seconds: make(map[int64]struct{}, 1)}
		r.consumers[consumer] = c
	}
	r.register(c, selfRegistered)
	second := endSecond(expires)
	if r.ends[second][c] == nil {
		if r.ends[second] == nil {
			r.ends[second] = make(map[*requestCount]*requestEnd, 1)
		}
		r.ends[second][c] = new(requestEnd)
		c.seconds[second] = struct{}{}
	}
	r.swept = min(r.swept, second-1)
	r.all += units
	c.stored += units
	if c.selfRegistered {
		r.selfRegistered += units
	}
	refused := units
	if waits {
		refused = 0
	}
	r.change(c, second, units, refused)
}

// change adds to the consumer's count of the second: to what is stored, and to what was refused.
func (r *requestCounts) change(c *requestCount, second int64, stored, refused int) {
	end := r.ends[second][c]
	if end == nil {
		return
	}
	before := end.waits()
	end.stored += stored
	end.refused += refused
	if second > r.over {
		c.waiting += end.waits() - before
	}
	if end.stored <= 0 {
		r.drop(second, c)
	}
}

// remove takes a request token from the counts after it was removed from disk. version is that of
// its record, or math.MaxUint64 if it was never written.
func (r *requestCounts) remove(t *tokenstore.RequestToken, version uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	units, second := requestUnits(t), endSecond(t.Expires)
	r.all -= units
	c := r.consumers[t.Consumer]
	if c == nil || version < c.since {
		return
	}
	if refused(t) {
		r.change(c, second, -units, -units)
	} else {
		r.change(c, second, -units, 0)
	}
	if c.selfRegistered {
		r.selfRegistered -= units
	}
	if c.stored -= units; c.stored <= 0 {
		delete(r.consumers, t.Consumer)
	}
}

// refuse takes a request token that was refused from those that wait.
func (r *requestCounts) refuse(t *tokenstore.RequestToken) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.consumers[t.Consumer]; c != nil {
		r.change(c, endSecond(t.Expires), 0, requestUnits(t))
	}
}

func (r *requestCounts) drop(second int64, c *requestCount) {
	delete(c.seconds, second)
	delete(r.ends[second], c)
	if len(r.ends[second]) == 0 {
		delete(r.ends, second)
	}
}

// detach starts a new count for a consumer whose request tokens before the version were revoked.
func (r *requestCounts) detach(consumer string, version uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.consumers[consumer]
	if c == nil {
		return
	}
	r.register(c, false)
	delete(r.consumers, consumer)
	for second := range c.seconds {
		r.drop(second, c)
	}
}

// adopt notes whether a consumer registered itself.
func (r *requestCounts) adopt(consumer string, selfRegistered bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.consumers[consumer]; c != nil {
		r.register(c, selfRegistered)
	}
}

func (r *requestCounts) register(c *requestCount, selfRegistered bool) {
	switch {
	case selfRegistered == c.selfRegistered:
	case selfRegistered:
		r.selfRegistered += c.stored
	default:
		r.selfRegistered -= c.stored
	}
	c.selfRegistered = selfRegistered
}

// pass takes all that has expired from what waits, and adds it again if the clock went back.
func (r *requestCounts) pass(now time.Time) {
	until, sign := now.Unix(), -1
	if until < r.over {
		sign = 1
	}
	r.eachEnd(min(r.over, until), max(r.over, until), func(_ int64, ends map[*requestCount]*requestEnd) {
		for c, end := range ends {
			c.waiting += sign * end.waits()
		}
	})
	r.over = until
}

// eachEnd calls f with the request tokens that end later than `after`, up to `until`.
func (r *requestCounts) eachEnd(after, until int64, f func(second int64, ends map[*requestCount]*requestEnd)) {
	if until-after > int64(len(r.ends)) {
		for second, ends := range r.ends {
			if second > after && second <= until {
				f(second, ends)
			}
		}
		return
	}
	for second := after + 1; second <= until; second++ {
		if ends := r.ends[second]; ends != nil {
			f(second, ends)
		}
	}
}

// due returns the consumers that have request tokens to remove, each with the first second in which
// such a token ended.
func (r *requestCounts) due(until int64) map[string]int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if until <= r.swept {
		return nil
	}
	due := make(map[string]int64)
	r.eachEnd(r.swept, until, func(second int64, ends map[*requestCount]*requestEnd) {
		for c := range ends {
			if first, ok := due[c.consumer]; !ok || second < first {
				due[c.consumer] = second
			}
		}
	})
	if len(due) == 0 {
		r.swept = until
	}
	return due
}

// loadRequestCounts counts the entries of the index of the consumers' request tokens. Tokens that
// an earlier version refused stand at its beginning; they are counted where they expire.
func (s *Store) loadRequestCounts() error {
	now := s.clock()
	r := &s.requests
	r.consumers = make(map[string]*requestCount)
	r.ends = make(map[int64]map[*requestCount]*requestEnd)
	r.over, r.swept = now.Unix(), math.MaxInt64
	r.setLimits(tokenstore.DefaultLimits)
	pending := s.revocations.pending()

	var owner requestOwner
	var consumer string
	var selfRegistered, known bool
	var moved []change
	said := false
	err := s.tokens.view(func(txn *reader) error {
		return scan(txn, []byte{prefixRequestOfConsumer}, nil, true, func(item *entry) (bool, error) {
			name, expires, key, ok, err := owner.of(txn, item.Key())
			if err != nil {
				return false, err
			}
			if !ok {
				return true, nil
			}
			units, waits := 0, true
			if err := item.Value(func(v []byte) (err error) {
				units, waits, err = decodeRequestIndex(v)
				return err
			}); err != nil {
				return false, err
			}
			if units == 0 { // of an earlier version
				t, _, err := requestTokenIn(txn, key)
				if errors.Is(err, tokenstore.ErrNotFound) {
					return true, nil
				}
				if err != nil {
					return false, wrapRead("request token", key, err)
				}
				units, waits, expires = requestUnits(t), !refused(t), t.Expires
				if !waits {
					var c change
					c.remove(item.KeyCopy(nil))
					putRequestToken(&c, t)
					moved = append(moved, c)
				}
			}
			if !known || name != consumer {
				consumer, known = name, true
				c, err := s.storedConsumer(name)
				if record.Unreadable(err) { // only that consumer can't be used
					if !said {
						s.log.Error("counting request tokens: an unreadable consumer counts as one that an operator added",
							zap.Error(err))
					}
					c, err, said = nil, nil, true
				}
				if err != nil {
					return false, err
				}
				selfRegistered = c != nil && c.SelfRegistered
			}
			since := pending.since(name)
			if item.Version() < since {
				r.all += units // it is only waiting for its removal
				return true, nil
			}
			r.add(name, selfRegistered, since, expires, units, waits)
			return true, nil
		})
	})
	for _, c := range moved {
		if err == nil {
			err = s.tokens.commit(c)
		}
	}
	r.swept = min(r.swept, now.Unix())
	return err
}

// requestOfConsumerKey sorts a consumer's tokens by their expiry, so that expired ones can be
// removed without a look at the others.
func requestOfConsumerKey(t *tokenstore.RequestToken) []byte {
	return indexKey(prefixRequestOfConsumer, t.Consumer, string(encodeTime(t.Expires))+t.Key)
}

// A requestOwner finds the consumers of that index's entries, in the order of the index. A hashed
// name is that of the first entry whose record can be read.
type requestOwner struct {
	hash     string
	consumer string
	known    bool
}

// of reads an entry. ok is false if its consumer can't be found out: its record is missing or
// unreadable, and it counts for nobody.
func (o *requestOwner) of(txn *reader, b []byte) (consumer string, expires time.Time, key string, ok bool, err error) {
	name, hashed, expires, key, err := parseRequestOfConsumer(b)
	if err != nil {
		return "", time.Time{}, "", false, err
	}
	if !hashed {
		return name, expires, key, true, nil
	}
	if o.hash != name {
		*o = requestOwner{hash: name}
	}
	if !o.known {
		t, _, err := requestTokenIn(txn, key)
		switch {
		case errors.Is(err, tokenstore.ErrNotFound), record.Unreadable(err):
			return "", expires, key, false, nil
		case err != nil:
			return "", expires, key, false, wrapRead("request token", key, err)
		}
		o.consumer, o.known = t.Consumer, true
	}
	return o.consumer, expires, key, true, nil
}

// parseRequestOfConsumer reads a key of that index. A hashed name is the hash.
func parseRequestOfConsumer(b []byte) (name string, hashed bool, expires time.Time, key string, err error) {
	var rest []byte
	ok := true
	if hashed = isHashed(b); hashed {
		rest = b[1+len(hashedMark):]
		if ok = len(rest) >= keyring.NameSize; ok {
			name, rest = string(rest[:keyring.NameSize]), rest[keyring.NameSize:]
		}
	} else {
		var clear []byte
		clear, rest, ok = cutName(b)
		name = string(clear)
	}
	if !ok || len(rest) < 8 {
		return "", false, time.Time{}, "", record.ErrDamaged
	}
	return name, hashed, time.UnixMilli(decodeTime(rest)), string(rest[8:]), nil
}

// encodeRequestIndex returns the value of that index: how many units the token counts, and whether
// it was refused.
func encodeRequestIndex(t *tokenstore.RequestToken) []byte {
	flag := byte(0)
	if refused(t) {
		flag = 1
	}
	return binary.AppendUvarint([]byte{flag}, uint64(requestUnits(t)))
}

func decodeRequestIndex(v []byte) (units int, waits bool, err error) {
	if len(v) == 0 {
		return 0, false, nil
	}
	n, used := binary.Uvarint(v[1:])
	if v[0] > 1 || used <= 0 || n == 0 || n > math.MaxInt32 {
		return 0, false, record.ErrDamaged
	}
	return int(n), v[0] == 0, nil
}
