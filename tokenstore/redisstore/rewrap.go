package redisstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/keyring"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/record"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/sealing"
)

const (
	// rewrappedAtOnce records are read by one call, and written by one.
	rewrappedAtOnce = 100
	// rewrapFor is about how long a call of Rewrap works.
	rewrapFor = time.Second
	// restAfterRewrap is how long it rests after some records, in multiples of the time that they
	// took.
	restAfterRewrap = 2
)

// The kinds of records that are encrypted, by the index that has all their keys.
var rewrappedKinds = []struct{ index, kind string }{
	{kindConsumers, kindConsumer}, {kindDeletedByEnd, kindConsumer}, {kindRequestsByEnd, kindRequest}, {kindTokens, kindToken},
}

// A place is how far a rewrap is: in a kind's index, in a slice of that, behind a key. The last one
// is behind all kinds.
type place struct {
	kind  int
	slice slice
	after string
}

func (p place) String() string { return fmt.Sprintf("%d:%d:%s", p.kind, p.slice, p.after) }

func parsePlace(text string) (p place, err error) {
	if text == "" {
		return p, nil
	}
	parts := strings.SplitN(text, ":", 3)
	kind, err1 := strconv.Atoi(parts[0])
	if len(parts) < 3 || err1 != nil {
		return p, fmt.Errorf("after %q: no call of rewrap returned that", text)
	}
	sl, err := strconv.Atoi(parts[1])
	if err != nil || kind < 0 || kind > len(rewrappedKinds) || sl < 0 || sl >= sliceCount {
		return p, fmt.Errorf("after %q: no call of rewrap returned that", text)
	}
	return place{kind, slice(sl), parts[2]}, nil
}

// some returns the keys of some records at a place, and the next place.
func (s *Store) some(ctx context.Context, p place, n int) ([]string, place, error) {
	index := lookAt{p.slice, s.key(rewrappedKinds[p.kind].index, p.slice, "")}
	var keys []string
	var err error
	after := ""
	switch rewrappedKinds[p.kind].index {
	case kindTokens, kindConsumers:
		if keys, err = s.rangeOf(ctx, index, p.after, n); len(keys) > 0 {
			after = keys[len(keys)-1]
		}
	default: // by time: more may come before the place meanwhile, and is seen in the next round
		from, _ := strconv.Atoi(p.after)
		keys, err = s.members(ctx, index.index, from, n)
		after = strconv.Itoa(from + len(keys))
	}
	if err != nil {
		return nil, p, err
	}
	if len(keys) < n {
		p.after = ""
		if p.slice++; p.slice == sliceCount {
			p.kind, p.slice = p.kind+1, 0
		}
		return keys, p, nil
	}
	p.after = after
	return keys, p, nil
}

// members returns n members of a sorted set, from a place on.
func (s *Store) members(ctx context.Context, set string, from, n int) ([]string, error) {
	c, err := s.link.client()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout())
	defer cancel()
	members, err := c.Do(ctx, c.B().Zrange().Key(set).Min(strconv.Itoa(from)).Max(strconv.Itoa(from+n-1)).Build()).AsStrSlice()
	return members, s.explainAny(ctx, err)
}

// recordsByKey counts the records by the keys that they are encrypted with.
func (s *Store) recordsByKey(ctx context.Context) (map[string]int64, error) {
	counts := make(map[string]int64)
	note := func(stored string) {
		id, _ := keyring.SealedWith(stored)
		counts[id]++
	}
	for p := (place{}); p.kind < len(rewrappedKinds); {
		keys, next, err := s.some(ctx, p, exportedAtOnce)
		if err != nil {
			return nil, err
		}
		kind := rewrappedKinds[p.kind].kind
		names := make([]string, len(keys))
		for i, key := range keys {
			names[i] = s.key(kind, p.slice, key)
		}
		if len(names) > 0 {
			v, err := s.read(ctx, p.slice, names...)
			if err != nil {
				return nil, err
			}
			for _, value := range v.values {
				if e, err := open(value); err == nil {
					note(e.record)
				}
			}
		}
		p = next
	}
	v, err := s.read(ctx, secretSlice, s.key(kindSecret, secretSlice, ""), s.key(kindKept, secretSlice, ""))
	if err != nil {
		return nil, err
	}
	for _, value := range v.values {
		if value != "" {
			note(value)
		}
	}
	elsewhere, err := s.elsewhereFields(ctx)
	if err != nil {
		return nil, err
	}
	for _, value := range elsewhere {
		note(value)
	}
	return counts, nil
}

// elsewhereFields returns the lists of nonces that another store accepted, as they are stored.
func (s *Store) elsewhereFields(ctx context.Context) (map[string]string, error) {
	c, err := s.link.client()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout())
	defer cancel()
	fields, err := c.Do(ctx, c.B().Hgetall().Key(s.key(kindElsewhere, secretSlice, "")).Build()).AsStrMap()
	if err != nil {
		return nil, s.explain(ctx, err)
	}
	return fields, nil
}

// KeyUse counts the records by the keys that they are encrypted with.
func (s *Store) KeyUse(ctx context.Context) (*tokenstore.KeyUse, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	now := s.sealing.Load()
	if now == nil {
		return &tokenstore.KeyUse{Records: map[string]int64{}}, nil
	}
	counts, err := s.recordsByKey(ctx)
	if err != nil {
		return nil, fmt.Errorf("count the records of each key: %w", err)
	}
	use := &tokenstore.KeyUse{Primary: now.Primary(), Records: counts, AllSealed: now.AllSealed()}
	use.Records[""] += 0
	for _, id := range now.IDs() {
		use.Records[id] += 0
	}
	return use, nil
}

// Rewrap encrypts records that are clear, or encrypted with an old key, with the primary key.
func (s *Store) Rewrap(ctx context.Context, after string) (done tokenstore.Rewrapped, err error) {
	if err := s.enter(ctx); err != nil {
		return done, err
	}
	if s.sealing.Load() == nil {
		return done, errors.New("the store has no keys")
	}
	p, err := parsePlace(after)
	if err != nil {
		return done, err
	}
	for end := time.Now().Add(rewrapFor); p.kind < len(rewrappedKinds); {
		begun := time.Now()
		keys, next, err := s.some(ctx, p, rewrappedAtOnce)
		if err == nil && len(keys) > 0 {
			err = s.rewrapSome(ctx, p, keys, &done)
		}
		if err != nil {
			return done, fmt.Errorf("rewrap: %w", err)
		}
		if p = next; time.Now().After(end) {
			done.Next, done.Stage = p.String(), "records"
			return done, nil
		}
		if len(keys) > 0 && !s.sleep(restAfterRewrap*time.Since(begun)) {
			return done, tokenstore.ErrClosed
		}
	}
	if after != p.String() {
		done.Next, done.Stage = p.String(), "names"
		return done, nil
	}
	if err := s.endRewrap(ctx, &done); err != nil {
		return done, fmt.Errorf("rewrap: %w", err)
	}
	return done, nil
}

// rewrapSome encrypts some records of a slice. What is revoked or over stays as it is, since it is
// being removed.
func (s *Store) rewrapSome(ctx context.Context, p place, keys []string, done *tokenstore.Rewrapped) error {
	kind := rewrappedKinds[p.kind].kind
	names := make([]string, len(keys))
	for i, key := range keys {
		names[i] = s.key(kind, p.slice, key)
	}
	left := keys
	return again(ctx, func() (bool, error) {
		v, err := s.read(ctx, p.slice, names...)
		if err != nil {
			return false, err
		}
		w := newWrite(p.slice, v)
		var change []func()
		var changed, waiting, unreadable int64
		for i, key := range left {
			if v.values[i] == "" {
				continue
			}
			e, err := open(v.values[i])
			if err != nil {
				unreadable++
				continue
			}
			if s.sealing.Load().Current([]byte(e.record)) {
				continue
			}
			again, err := s.putAgain(w, v, kind, key, v.values[i], *e)
			switch {
			case record.Unreadable(err):
				unreadable++
			case err != nil:
				return false, err
			case again == nil:
				waiting++
			default:
				w.require(names[i], v.values[i])
				change = append(change, again)
				changed++
			}
		}
		if changed > 0 {
			for _, f := range change {
				f()
			}
			if ok, err := s.commit(ctx, w); !ok || err != nil {
				return false, err
			}
		}
		done.Looked += int64(len(left))
		done.Changed += changed
		done.Waiting += waiting
		done.Unreadable += unreadable
		return true, nil
	})
}

// putAgain returns what writes a record again; nil if it is about to be removed.
func (s *Store) putAgain(w *write, v *view, kind, key, value string, e envelope) (func(), error) {
	put := func(name string) error {
		clear, err := s.sealing.Load().Open(name, key, []byte(e.record))
		if err != nil {
			return err
		}
		e.record = string(s.sealing.Load().Seal(name, key, clear)) // with fields that this program does not know
		return nil
	}
	set := func() { w.do("SET", s.key(kind, w.slice, key), e.encode()) }
	switch kind {
	case kindConsumer:
		return set, put(record.Consumer.Name)
	case kindToken:
		t, err := decode(s, record.AccessToken, key, value)
		if err != nil || !s.there(t, v.marks) {
			return nil, err
		}
		return func() {
			set()
			s.addName(w, kindTokensOfConsumer, t.is.Consumer, key)
			s.addName(w, kindTokensOfUser, t.is.User, key)
		}, put(record.AccessToken.Name)
	}
	t, err := decode(s, record.RequestToken, key, value)
	if err != nil || !s.waits(t, v.marks) {
		return nil, err
	}
	return func() {
		set()
		s.addName(w, kindRequestsOfConsumer, t.is.Consumer, key)
		if user := reviewer(t.is); user != "" {
			s.addName(w, kindRequestsOfUser, user, key)
		}
	}, put(record.RequestToken.Name)
}

// endRewrap encrypts what the store has once. If nothing is left then that is clear, or encrypted
// with an old key, it accepts nothing clear any more.
func (s *Store) endRewrap(ctx context.Context, done *tokenstore.Rewrapped) error {
	now := s.sealing.Load()
	keys := s.key(kindKeys, secretSlice, "")
	noted, err := s.read(ctx, secretSlice, keys)
	if err != nil {
		return err
	}
	secret, err := s.Secret(ctx)
	if err != nil {
		return err
	}
	key := s.key(kindSecret, secretSlice, "")
	if err := again(ctx, func() (bool, error) {
		v, err := s.read(ctx, secretSlice, key)
		if err != nil || now.Current([]byte(v.values[0])) {
			return err == nil, err
		}
		w := newWrite(secretSlice, nil)
		w.require(key, v.values[0])
		w.do("SET", key, s.sealedSecret(secret))
		return s.commit(ctx, w)
	}); err != nil {
		return err
	}
	if err := s.rewrapKept(ctx); err != nil {
		return err
	}
	fields, err := s.elsewhereFields(ctx)
	if err != nil {
		return err
	}
	for field, value := range fields {
		if now.Current([]byte(value)) {
			continue
		}
		clear, err := now.Open(record.UsedNonces.Name, field, []byte(value))
		if err != nil {
			return err
		}
		w := newWrite(secretSlice, nil)
		w.do("HSET", s.key(kindElsewhere, secretSlice, ""), field, string(now.Seal(record.UsedNonces.Name, field, clear)))
		if _, err := s.commit(ctx, w); err != nil {
			return err
		}
	}
	if err := s.hashAccounts(ctx); err != nil {
		return err
	}
	use, err := s.recordsByKey(ctx)
	if err != nil {
		return err
	}
	for id, n := range use {
		if id != now.Primary() {
			done.Waiting += n
		}
	}
	clear, err := s.clearNames(ctx)
	if err != nil {
		return err
	}
	if done.Waiting += clear; done.Waiting > 0 {
		return nil
	}
	note := sealing.Done(now.Sealer())
	w := newWrite(secretSlice, nil)
	w.require(keys, noted.values[0]) // else another process has noted a key meanwhile, which may be in use
	w.do("SET", keys, string(note.Encode(now.Sealer())))
	switch written, err := s.commit(ctx, w); {
	case err != nil:
		return err
	case !written:
		done.Waiting++ // the caller goes through the records again
		return nil
	}
	if s.sealing.CompareAndSwap(now, sealing.New(now.Sealer(), note)) { // else a reload has changed the keys
		done.Complete = true
	}
	return nil
}

// moveCounts adds one set of counts to another, which ends with the later of both.
const moveCounts = `local ends = math.max(redis.call('PEXPIRETIME', KEYS[1]), redis.call('PEXPIRETIME', KEYS[2]))
redis.call('ZUNIONSTORE', KEYS[1], 2, KEYS[1], KEYS[2], 'AGGREGATE', 'MAX')
redis.call('DEL', KEYS[2])
if ends > 0 then redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', ends)) end
return 1`

// hashAccounts renames the counts of consumers that stand under clear names.
func (s *Store) hashAccounts(ctx context.Context) error {
	return s.scan(ctx, func(keys []string) error {
		for _, key := range keys {
			for _, kind := range []string{countWaiting, countStored} {
				consumer, ok := strings.CutPrefix(key, s.account(kind))
				if !ok || strings.HasPrefix(consumer, hashedMark) {
					continue
				}
				to := s.accounts(kind, consumer)[0]
				s.count(ctx, func(b rueidis.Builder) []rueidis.Completed {
					return []rueidis.Completed{b.Eval().Script(moveCounts).Numkeys(2).Key(to, key).Build()}
				})
			}
		}
		return nil
	})
}

// clearNames counts the keys with a clear name, and the marks of revocations that are not finished.
func (s *Store) clearNames(ctx context.Context) (n int64, err error) {
	err = s.scan(ctx, func(keys []string) error {
		for _, key := range keys {
			kind, rest, _ := strings.Cut(strings.TrimPrefix(key, s.prefix+":"), "{")
			_, rest, _ = strings.Cut(rest, "}:")
			if _, named := nameKinds[kind]; named && !strings.HasPrefix(rest, hashedMark) || kind == kindMarks {
				n++
			}
		}
		return nil
	})
	return n, err
}

var _ tokenstore.Rewrapper = (*Store)(nil)
