package badgerstore

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/record"
)

// walkedAtOnce is how many records are read before they are handed out. The store can be closed
// between two reads.
const walkedAtOnce = 256

// errStopped: the caller wants no more records.
var errStopped = errors.New("stopped")

// Snapshot returns what Export returns, without the nonces, of the moment of the call.
func (s *Store) Snapshot(ctx context.Context) iter.Seq2[any, error] {
	return func(yield func(any, error) bool) {
		err := s.walk(ctx, func(r any) bool { return yield(r, nil) }, nil)
		if err != nil && !errors.Is(err, errStopped) {
			yield(nil, err)
		}
	}
}

// A walk reads the records of one moment. It holds nothing while it hands them out, except Badger's
// read transaction.
type walk struct {
	s        *Store
	snapshot *snapshot
	pending  *marks
	now      time.Time
}

// walk calls yield with the state and with each record. Then it calls last, if there is one, with
// the store open.
func (s *Store) walk(ctx context.Context, yield func(any) bool, last func(txn *reader, floor, now int64, yield func(any) bool) error) error {
	w := &walk{s: s}
	state, err := w.begin(ctx)
	if err != nil {
		return err
	}
	defer w.end()
	if !yield(state) {
		return errStopped
	}
	for _, kind := range w.kinds() {
		for after, more := []byte(nil), true; more; {
			var batch []any
			if batch, after, more, err = w.read(ctx, kind, after); err != nil {
				return err
			}
			for _, r := range batch {
				if !yield(r) {
					return errStopped
				}
			}
		}
	}
	if last == nil {
		return nil
	}
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	return last(w.snapshot.txn, state.Floor, w.now.Unix(), yield)
}

// begin takes the moment. A revocation that has returned before is in it: either its mark, or what
// it removed is gone.
func (w *walk) begin(ctx context.Context) (*tokenstore.StoreState, error) {
	s := w.s
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	if err := s.incomplete(); err != nil {
		return nil, err
	}
	secret, err := s.secretOfPages()
	if err != nil {
		return nil, err
	}
	s.gate.Lock()
	w.pending = s.revocations.pending()
	w.snapshot, err = s.tokens.pin()
	s.gate.Unlock()
	if err != nil {
		return nil, err
	}
	w.now = s.clock()
	return &tokenstore.StoreState{Secret: secret, Floor: s.nonces.Floor(w.now.Unix())}, nil
}

// end releases Badger's transaction, unless Badger is closed.
func (w *walk) end() {
	w.s.door.RLock()
	defer w.s.door.RUnlock()
	if !w.s.closed.Load() {
		w.snapshot.release()
	}
}

// A walkedKind is how the records of a kind are read. A record that is not to be handed out is nil.
type walkedKind struct {
	prefix byte
	name   string
	read   func(item *entry, key string) (any, error)
}

func (w *walk) kinds() []walkedKind {
	txn := w.snapshot.txn
	return []walkedKind{
		{prefixConsumer, "consumer", func(item *entry, _ string) (r any, err error) {
			err = item.Value(func(v []byte) error {
				c, err := record.Consumer.Decode(v)
				if err != nil {
					return err
				}
				gone, err := w.s.forgottenConsumer(c)
				if !gone {
					r = c
				}
				return err
			})
			return r, err
		}},
		{prefixRequestToken, "request token", func(_ *entry, key string) (any, error) {
			t, version, err := requestTokenIn(txn, key)
			if errors.Is(err, tokenstore.ErrNotFound) { // its TTL ended a moment ago
				return nil, nil
			}
			if err != nil || w.pending.hide(reviewer(t), t.Consumer, version) || requestForgotten(t, w.now) {
				return nil, err
			}
			return t, nil
		}},
		{prefixAccessToken, "access token", func(_ *entry, key string) (any, error) {
			t, err := accessTokenIn(txn, key)
			if errors.Is(err, tokenstore.ErrNotFound) { // its TTL ended a moment ago
				return nil, nil
			}
			if err != nil || t.gone(w.pending, w.now) {
				return nil, err
			}
			return &t.token, nil
		}},
	}
}

// read returns the next records of a kind, and the last key that it looked at.
func (w *walk) read(ctx context.Context, kind walkedKind, after []byte) (batch []any, last []byte, more bool, err error) {
	if err := w.s.enter(ctx); err != nil {
		return nil, nil, false, err
	}
	defer w.s.leave()
	seen := 0
	err = scan(w.snapshot.txn, []byte{kind.prefix}, after, false, func(item *entry) (bool, error) {
		if seen == walkedAtOnce {
			more = true
			return false, nil
		}
		seen++
		last = append(last[:0], item.Key()[1:]...)
		r, err := kind.read(item, string(last))
		if err != nil {
			return false, wrapRead(kind.name, string(last), err)
		}
		if r != nil {
			batch = append(batch, r)
		}
		return true, ctx.Err()
	})
	return batch, last, more, err
}

var _ tokenstore.Snapshotter = (*Store)(nil)
