package badgerstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/badgerstore/internal/disk"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/keyring"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/record"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/sealing"
)

const (
	// rewrappedAtOnce records are encrypted in a transaction. Every change waits for it.
	rewrappedAtOnce = 100
	// rewrapFor is about how long a call of Rewrap works.
	rewrapFor = time.Second
	// mergesAtMost is how often a call of Rewrap merges Badger's tables. Once is enough, unless much
	// is written meanwhile.
	mergesAtMost = 4
)

// The stages of a rewrap, with which `after` begins. A key follows the first.
const (
	stageRecords = "records:"
	stageNames   = "names"
	stageFiles   = "files"
)

// beginSealing takes up a Sealer, while the store is opened.
func (s *Store) beginSealing(sealer tokenstore.Sealer) error {
	var secret []byte
	err := s.tokens.view(func(txn *reader) error {
		item, err := txn.Get([]byte{prefixSecret})
		if err == nil {
			secret, err = item.ValueCopy(nil)
		}
		return err
	})
	fresh := errors.Is(err, badger.ErrKeyNotFound)
	if err != nil && !fresh {
		return err
	}
	if note, err := s.storedNote(); err != nil || note == nil && len(secret) > secretSize {
		return cmp.Or(err, fmt.Errorf("the note of its keys is missing: %w", record.ErrDamaged))
	}
	return s.useKeys(context.Background(), sealer, fresh)
}

// UseKeys goes on with another Sealer. It fails, and changes nothing, if that lacks a key that is in
// use.
func (s *Store) UseKeys(ctx context.Context, sealer tokenstore.Sealer) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	s.gate.Lock() // no change is under way, that was begun with the other keys
	defer s.gate.Unlock()
	return s.useKeys(ctx, sealer, false)
}

func (s *Store) useKeys(ctx context.Context, sealer tokenstore.Sealer, fresh bool) error {
	stored, err := s.storedNote()
	if err != nil {
		return err
	}
	note, err := sealing.ReadNote(sealer, stored)
	if err != nil || sealer == nil {
		return err
	}
	var missing []string
	if note != nil {
		if missing, err = note.Missing(sealer); err != nil {
			return err
		}
	} else if fresh {
		note = &sealing.Note{AllSealed: true}
	}
	if len(missing) > 0 {
		use, err := s.valuesOf(ctx)
		if err != nil {
			return err
		}
		if err := sealing.InUse(missing, use); err != nil {
			return err
		}
	}
	next, _ := note.Begin(sealer, missing)
	return s.setSealing(sealer, next)
}

// setSealing writes the note, and keeps values with it from now on.
func (s *Store) setSealing(sealer tokenstore.Sealer, note *sealing.Note) error {
	var c change
	c.put([]byte{prefixKeys}, note.Encode(sealer), 0)
	c.frees = true
	before := s.tokens.sealing.Swap(sealing.New(sealer, note))
	if err := s.tokens.commit(c); err != nil { // whose snapshot is the first with the new keys
		s.tokens.sealing.Store(before)
		return fmt.Errorf("note the keys: %w", err)
	}
	return nil
}

func (s *Store) storedNote() (note []byte, err error) {
	err = s.tokens.view(func(txn *reader) error {
		return get(txn, []byte{prefixKeys}, func(v []byte) error {
			note = append([]byte(nil), v...)
			return nil
		})
	})
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, nil
	}
	return note, err
}

// KeyUse counts the values by the keys that they are encrypted with.
func (s *Store) KeyUse(ctx context.Context) (*tokenstore.KeyUse, error) {
	if err := s.usable(); err != nil {
		return nil, err
	}
	counts, err := s.valuesByKey(ctx)
	if err != nil {
		return nil, fmt.Errorf("count the records of each key: %w", err)
	}
	now := s.tokens.sealing.Load()
	use := &tokenstore.KeyUse{Primary: now.Primary(), Records: counts, AllSealed: now.AllSealed()}
	use.Records[""] += 0
	for _, id := range now.IDs() {
		use.Records[id] += 0
	}
	return use, nil
}

// valuesByKey counts values, the clear ones under the empty id. It holds the door only while it
// reads.
func (s *Store) valuesByKey(ctx context.Context) (map[string]int64, error) {
	counts := make(map[string]int64)
	for _, kind := range sealedKinds {
		for after, more := []byte(nil), true; more; {
			begin, counted := time.Now(), 0
			if err := s.enter(ctx); err != nil {
				return nil, err
			}
			var err error
			after, counted, err = s.countSome(kind, after, counts)
			s.leave()
			if err != nil {
				return nil, err
			}
			if more = counted == countedAtOnce; more {
				s.rest(time.Since(begin), s.stop)
			}
		}
	}
	return counts, nil
}

// valuesOf is valuesByKey for a caller that holds the door.
func (s *Store) valuesOf(ctx context.Context) (map[string]int64, error) {
	counts := make(map[string]int64)
	for _, kind := range sealedKinds {
		for after, counted := []byte(nil), countedAtOnce; counted == countedAtOnce; {
			var err error
			if after, counted, err = s.countSome(kind, after, counts); err != nil {
				return nil, err
			}
			if err := ctx.Err(); err != nil {
				return nil, err
			}
		}
	}
	return counts, nil
}

// countSome counts some values of a kind. It returns the last that it counted.
func (s *Store) countSome(kind byte, after []byte, counts map[string]int64) (last []byte, counted int, err error) {
	err = s.tokens.view(func(txn *reader) error {
		return scan(txn, []byte{kind}, after, true, func(item *entry) (bool, error) {
			err := item.Item.Value(func(v []byte) error {
				id, _ := keyring.SealedWith(v)
				counts[id]++
				return nil
			})
			if counted++; counted == countedAtOnce {
				last = item.KeyCopy(nil)[1:]
			}
			return counted < countedAtOnce, err
		})
	})
	return last, counted, err
}

// Rewrap encrypts values that are clear, or encrypted with an old key, with the primary key.
func (s *Store) Rewrap(ctx context.Context, after string) (done tokenstore.Rewrapped, err error) {
	if err := s.usable(); err != nil {
		return done, err
	}
	if s.tokens.sealing.Load() == nil {
		return done, errors.New("the store has no keys")
	}
	if err := s.incomplete(); err != nil {
		return done, err
	}
	switch {
	case after == "":
		after = stageRecords
		fallthrough
	case strings.HasPrefix(after, stageRecords):
		err = s.rewrapRecords(ctx, []byte(after[len(stageRecords):]), &done)
	case after == stageNames:
		err = s.rewrapNames(ctx, &done)
	case after == stageFiles:
		err = s.rewrapFiles(ctx, &done)
	default:
		err = fmt.Errorf("after %q: no call of rewrap returned that", after)
	}
	if err != nil {
		err = fmt.Errorf("rewrap: %w", err)
	}
	return done, err
}

// rewrapRecords looks at the values behind a key.
func (s *Store) rewrapRecords(ctx context.Context, after []byte, done *tokenstore.Rewrapped) error {
	for end := time.Now().Add(rewrapFor); time.Now().Before(end); {
		begin := time.Now()
		keys, last, more, err := s.notCurrent(ctx, after, done)
		if err != nil {
			return err
		}
		if len(keys) > 0 {
			if err := s.rewrapSome(ctx, keys, done); err != nil {
				return err
			}
		}
		if !more {
			done.Next, done.Stage = stageNames, "names"
			return nil
		}
		after = last
		s.rest(time.Since(begin), s.stop)
	}
	done.Next, done.Stage = stageRecords+string(after), "records"
	return nil
}

// notCurrent returns the keys of some values behind a key that the primary key has not encrypted.
func (s *Store) notCurrent(ctx context.Context, after []byte, done *tokenstore.Rewrapped) (keys [][]byte, last []byte, more bool, err error) {
	if err := s.enter(ctx); err != nil {
		return nil, nil, false, err
	}
	defer s.leave()
	looked := 0
	err = s.tokens.view(func(txn *reader) error {
		from := 0
		if len(after) > 0 {
			for from < len(sealedKinds) && sealedKinds[from] != after[0] {
				from++
			}
		}
		for _, kind := range sealedKinds[from:] {
			var rest []byte
			if len(after) > 0 && after[0] == kind {
				rest = after[1:]
			}
			err := scan(txn, []byte{kind}, rest, true, func(item *entry) (bool, error) {
				last = item.KeyCopy(nil)
				if looked++; kind != prefixRevocation { // a mark is gone as soon as its tokens are
					err := item.Item.Value(func(v []byte) error {
						if !txn.sealing.Current(v) {
							keys = append(keys, last)
						}
						return nil
					})
					if err != nil {
						return false, err
					}
				}
				more = looked >= lookedAtOnce || len(keys) >= rewrappedAtOnce
				return !more, nil
			})
			if err != nil || more {
				return err
			}
		}
		return nil
	})
	done.Looked += int64(looked)
	return keys, last, more, err
}

// rewrapSome encrypts some values in one transaction. A record that is hidden, or over, stays as it
// is: written again, it would come back to life.
func (s *Store) rewrapSome(ctx context.Context, keys [][]byte, done *tokenstore.Rewrapped) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	s.gate.Lock()
	defer s.gate.Unlock()
	s.revocations.mu.Lock()
	defer s.revocations.mu.Unlock()
	s.stateLock.Lock()
	defer s.stateLock.Unlock()
	s.secretLock.Lock()
	defer s.secretLock.Unlock()

	var c change
	changed := int64(0)
	commit := func() error {
		if len(c.ops) == 0 {
			return nil
		}
		if err := s.tokens.commit(c); err != nil {
			return err
		}
		done.Changed += changed
		c, changed = change{}, 0
		return nil
	}
	err := s.tokens.view(func(txn *reader) error {
		for _, key := range keys {
			switch again, err := s.putAgain(txn, &c, key); {
			case errors.Is(err, badger.ErrKeyNotFound): // it was removed meanwhile
			case record.Unreadable(err):
				done.Unreadable++
			case err != nil:
				return err
			case again:
				changed++
			default:
				done.Waiting++
			}
			if c.full() {
				if err := commit(); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return commit()
}

// putAgain adds a value to a change as it is, with its indexes. It reports whether it did: not if the
// record is about to be removed.
func (s *Store) putAgain(txn *reader, c *change, key []byte) (bool, error) {
	item, err := txn.Get(key)
	if err != nil {
		return false, err
	}
	var value []byte
	if err := (&entry{item, txn.sealing}).Value(func(v []byte) error {
		value = append([]byte(nil), v...)
		return nil
	}); err != nil {
		return false, err
	}
	pending := s.revocations.pending()
	switch key[0] {
	case prefixAccessToken:
		t, err := record.AccessToken.Decode(value)
		if err != nil {
			return false, err
		}
		if (&storedAccessToken{*t, item.Version()}).gone(pending, s.clock()) {
			return false, nil
		}
		putAccessToken(c, t)
	case prefixRequestToken:
		t, err := record.RequestToken.Decode(value)
		if err != nil {
			return false, err
		}
		if pending.hide(reviewer(t), t.Consumer, item.Version()) || requestForgotten(t, s.clock()) {
			return false, nil
		}
		putRequestToken(c, t)
	}
	c.put(key, value, item.ExpiresAt()) // as it was written, with fields that this program does not know
	return true, nil
}

// rewrapNames ends the first stage: nothing may be left of it. It hashes the names of index entries
// that no record has put again, and then accepts nothing clear any more.
func (s *Store) rewrapNames(ctx context.Context, done *tokenstore.Rewrapped) error {
	now := s.tokens.sealing.Load()
	counts, err := s.valuesByKey(ctx)
	if err != nil {
		return err
	}
	left := int64(0)
	for id, n := range counts {
		if id != now.Primary() {
			left += n
		}
	}
	if left > 0 { // what is unreadable was counted before
		done.Waiting = left
		return nil
	}
	if err := s.hashNames(ctx); err != nil {
		return err
	}
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	s.gate.Lock()
	defer s.gate.Unlock()
	if s.tokens.sealing.Load() != now { // a reload changed the keys
		done.Next, done.Stage = stageRecords, "records"
		return nil
	}
	if err := s.setSealing(now.Sealer(), sealing.Done(now.Sealer())); err != nil {
		return err
	}
	done.Next, done.Stage = stageFiles, "merging the files"
	return nil
}

// hashNames writes the index entries with clear names again. Only an entry without a record still
// has one.
func (s *Store) hashNames(ctx context.Context) error {
	for _, kind := range namedKinds {
		for more := true; more; {
			if err := s.enter(ctx); err != nil {
				return err
			}
			var err error
			more, err = s.hashSome(kind)
			s.leave()
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Store) hashSome(kind byte) (more bool, err error) {
	s.gate.Lock()
	defer s.gate.Unlock()
	s.revocations.mu.Lock()
	defer s.revocations.mu.Unlock()
	var c change
	err = s.tokens.view(func(txn *reader) error {
		return scan(txn, []byte{kind}, nil, true, func(item *entry) (bool, error) {
			if key := item.KeyCopy(nil); !isHashed(key) {
				value, err := item.ValueCopy(nil)
				if err != nil {
					return false, err
				}
				c.put(key, value, item.ExpiresAt())
				more = c.full()
			}
			return !more, nil
		})
	})
	if err != nil || len(c.ops) == 0 {
		return false, err
	}
	return more, s.tokens.commit(c)
}

// rewrapFiles makes Badger drop what it still has of values and names from before.
func (s *Store) rewrapFiles(ctx context.Context, done *tokenstore.Rewrapped) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	for range mergesAtMost {
		stale, err := s.holdsStale(ctx)
		if err != nil {
			return err
		}
		if !stale {
			done.Complete = true
			return nil
		}
		levels := s.tokens.db.Levels()
		if err := disk.HasRoom(s.tokens.dir, uint64(tablesSize(levels))+reserveToAdd); err != nil {
			return fmt.Errorf("merging the files takes as much disk again as they have: %w", err)
		}
		if err := s.merge(math.MaxInt64); err != nil {
			return err
		}
		if isClosed(s.stop) {
			return tokenstore.ErrClosed
		}
	}
	done.Next, done.Stage = stageFiles, "merging the files"
	return nil
}

// holdsStale reports whether Badger has a version of a value, however old, that the primary key has
// not encrypted, or a key with a clear name in an index, be it one that was removed.
func (s *Store) holdsStale(ctx context.Context) (stale bool, err error) {
	err = s.tokens.view(func(txn *reader) error {
		o := badger.DefaultIteratorOptions
		o.AllVersions = true
		it := txn.NewIterator(o)
		defer it.Close()
		for it.Rewind(); it.Valid() && !stale; it.Next() {
			key := it.Item().Key()
			switch {
			case len(key) == 0:
			case isNamed[key[0]] && !isHashed(key):
				stale = true
			case isSealed[key[0]]:
				if err := it.Item().Value(func(v []byte) error {
					stale = len(v) > 0 && !txn.sealing.Current(v) // a removed one has no value
					return nil
				}); err != nil {
					return err
				}
			}
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		return nil
	})
	return stale, err
}

var _ tokenstore.Rewrapper = (*Store)(nil)
