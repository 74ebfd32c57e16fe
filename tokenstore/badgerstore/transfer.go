package badgerstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/record"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/usednonce"
)

// An origin is what a store that was imported keeps of the store that it came from.
type origin struct {
	// incomplete says that the import has not ended.
	incomplete bool
	// secret is what Secret returns. The store's own secret is the key of its nonce log.
	secret [32]byte
	// floor is a timestamp. Nonces up to it are refused, because the other store may have accepted
	// them.
	floor int64
	// used are nonces above the floor that the other store accepted. They have records of their own.
	used *usednonce.Set
}

var originKind = record.Kind[origin]{
	Name:    "origin of an imported store",
	Version: 1,
	Fields: func(f *record.Fields, o *origin) {
		secret := string(o.secret[:])
		f.Bool(&o.incomplete)
		f.Text(&secret)
		record.Int(f, &o.floor)
		f.Required()
		copy(o.secret[:], secret)
	},
}

// imported are the kinds of keys that an import writes, besides the origin.
var imported = []byte{
	prefixConsumer, prefixRequestToken, prefixAccessToken, prefixLastUsed, prefixTokenOfUser, prefixTokenOfConsumer,
	prefixRequestOfConsumer, prefixRequestOfUser, prefixIdle, prefixUsedNonces,
}

// loadOrigin reads the origin, and removes what an import left that did not end.
func (s *Store) loadOrigin() error {
	var o *origin
	err := s.tokens.view(func(txn *reader) error {
		return get(txn, []byte{prefixOrigin}, func(v []byte) (err error) {
			o, err = originKind.Decode(v)
			return err
		})
	})
	switch {
	case errors.Is(err, badger.ErrKeyNotFound):
		return nil
	case err != nil:
		return fmt.Errorf("read where the store was imported from: %w", err)
	}
	if o.incomplete {
		if err := s.removeImported(); err != nil {
			return err
		}
	} else if o.used, err = s.readUsedNonces(); err != nil {
		return err
	}
	s.origin.Store(o)
	return nil
}

func (s *Store) readUsedNonces() (*usednonce.Set, error) {
	var all []*tokenstore.UsedNonces
	err := s.tokens.view(func(txn *reader) error {
		return scan(txn, []byte{prefixUsedNonces}, nil, true, func(item *entry) (bool, error) {
			return true, item.Value(func(v []byte) error {
				used, err := record.UsedNonces.Decode(v)
				all = append(all, used)
				return err
			})
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read the nonces that were imported: %w", err)
	}
	return usednonce.NewSet(all, s.clock().Unix()), nil
}

func (s *Store) removeImported() error {
	for {
		var c change
		err := s.tokens.view(func(txn *reader) error {
			for _, prefix := range imported {
				if err := scan(txn, []byte{prefix}, nil, false, func(item *entry) (bool, error) {
					c.remove(item.KeyCopy(nil))
					return !c.full(), nil
				}); err != nil || c.full() {
					return err
				}
			}
			return nil
		})
		if err != nil || len(c.ops) == 0 {
			return err
		}
		if err := s.tokens.commit(c); err != nil {
			return fmt.Errorf("remove what an import left: %w", err)
		}
	}
}

// full reports whether one more record may be too much for one commit.
func (c *change) full() bool { return len(c.ops) > maxTxnEntries/4 || c.size > maxTxnSize/2 }

// incomplete returns the error of a store whose import has not ended.
func (s *Store) incomplete() error {
	if o := s.origin.Load(); o != nil && o.incomplete {
		return tokenstore.ErrIncomplete
	}
	return nil
}

// usedElsewhere reports whether the store that this one was imported from accepted the nonce.
func (s *Store) usedElsewhere(n *tokenstore.Nonce) bool {
	o := s.origin.Load()
	return o != nil && o.used.Has(n)
}

// refusedAfterImport returns the error for a nonce that is forgotten. If it is one of a time that
// only the other store knows, the client may try again with a new timestamp.
func (s *Store) refusedAfterImport(n *tokenstore.Nonce) error {
	o := s.origin.Load()
	if o == nil || n.Timestamp > o.floor {
		return tokenstore.ErrNonceForgotten
	}
	return &tokenstore.LaterError{
		After: time.Duration(o.floor-n.Timestamp+1) * time.Second,
		Err:   errors.New("the store was copied, restored or adopted moments ago: requests from before that are refused"),
	}
}

// Export returns everything that another store needs, of one moment.
func (s *Store) Export(ctx context.Context) iter.Seq2[any, error] {
	return func(yield func(any, error) bool) {
		err := s.walk(ctx, func(r any) bool { return yield(r, nil) }, s.exportNonces)
		if err != nil && !errors.Is(err, errStopped) {
			yield(nil, err)
		}
	}
}

// exportNonces exports the nonces above the floor that this store and earlier ones accepted.
func (s *Store) exportNonces(txn *reader, floor, now int64, yield func(any) bool) error {
	for used := range s.nonces.Used(floor) {
		if !yield(used) {
			return errStopped
		}
	}
	return s.exportUsedElsewhere(txn, now, yield)
}

// exportUsedElsewhere exports the nonces that this store has imported itself.
func (s *Store) exportUsedElsewhere(txn *reader, now int64, yield func(any) bool) error {
	return scan(txn, []byte{prefixUsedNonces}, nil, true, func(item *entry) (more bool, err error) {
		err = item.Value(func(v []byte) error {
			used, err := record.UsedNonces.Decode(v)
			more = err == nil && (used.Expires <= now || yield(used))
			return err
		})
		return more, err
	})
}

// An importer collects records until they are worth a commit.
type importer struct {
	s         *Store
	now       time.Time
	state     *tokenstore.StoreState
	changes   change
	requests  []*tokenstore.RequestToken // in changes
	self      map[string]bool            // self-registered consumers: whether they have an access token
	usedLists uint64
	kept      []*tokenstore.Kept
}

// Import stores what Export of another store returned.
func (s *Store) Import(ctx context.Context, records iter.Seq2[any, error]) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	if err := s.checkEmpty(); err != nil {
		return err
	}
	if err := s.putOrigin(&origin{incomplete: true}); err != nil {
		return err
	}
	i := &importer{s: s, now: s.clock(), self: make(map[string]bool)}
	for r, err := range records {
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = i.add(r)
		}
		if err != nil {
			return err
		}
	}
	return i.end()
}

// checkEmpty returns ErrNotEmpty if there is a consumer or a token. What is revoked counts too,
// until it is removed.
func (s *Store) checkEmpty() error {
	return s.tokens.view(func(txn *reader) error {
		for _, prefix := range imported {
			if err := scan(txn, []byte{prefix}, nil, false, func(*entry) (bool, error) {
				return false, tokenstore.ErrNotEmpty
			}); err != nil {
				return err
			}
		}
		return nil
	})
}

// putOrigin sets the origin, and keeps what is to be kept from then on.
func (s *Store) putOrigin(o *origin, kept ...*tokenstore.Kept) error {
	var c change
	for _, k := range kept {
		c.keep(k.Name, k.Value)
	}
	c.put([]byte{prefixOrigin}, originKind.Encode(o), 0)
	if err := s.tokens.commit(c); err != nil {
		return err
	}
	s.origin.Store(o)
	return nil
}

func (i *importer) add(r any) error {
	switch r := r.(type) {
	case *tokenstore.StoreState:
		i.state = r
	case *tokenstore.Consumer:
		i.changes.put(recordKey(prefixConsumer, r.Key), record.Consumer.Encode(r), 0)
		if r.SelfRegistered {
			i.self[r.Key] = false
		}
	case *tokenstore.RequestToken:
		putRequestToken(&i.changes, r)
		i.requests = append(i.requests, r)
	case *tokenstore.AccessToken:
		putAccessToken(&i.changes, r)
		if _, ok := i.self[r.Consumer]; ok && !r.Expired(i.now) {
			i.self[r.Consumer] = true
		}
	case *tokenstore.UsedNonces:
		key := binary.BigEndian.AppendUint64([]byte{prefixUsedNonces}, i.usedLists)
		i.changes.put(key, record.UsedNonces.Encode(r), uint64(max(r.Expires, 1)))
		i.usedLists++
	case *tokenstore.Kept:
		i.kept = append(i.kept, r)
	default:
		return fmt.Errorf("import a %T", r)
	}
	if i.changes.full() {
		return i.commit()
	}
	return nil
}

func (i *importer) commit() error {
	if len(i.changes.ops) > 0 {
		if err := i.s.tokens.commit(i.changes); err != nil {
			return err
		}
	}
	for _, t := range i.requests {
		_, self := i.self[t.Consumer]
		i.s.requests.imported(t, self)
	}
	i.changes, i.requests = change{}, nil
	return nil
}

// end makes the store one that can be used.
func (i *importer) end() error {
	if i.state == nil {
		return errors.New("import: there is no secret")
	}
	for key, granted := range i.self {
		if granted {
			continue
		}
		i.changes.put(recordKey(prefixIdle, key), encodeTime(i.now), 0)
		if i.changes.full() {
			if err := i.commit(); err != nil {
				return err
			}
		}
		i.s.self.set(key, i.now)
	}
	if err := i.commit(); err != nil {
		return err
	}
	if err := i.s.nonces.Refuse(i.state.Floor); err != nil {
		return err
	}
	used, err := i.s.readUsedNonces()
	if err != nil {
		return err
	}
	return i.s.putOrigin(&origin{secret: i.state.Secret, floor: i.state.Floor, used: used}, i.kept...)
}

var _ tokenstore.Transferrer = (*Store)(nil)
