package redisstore

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/record"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/usednonce"
)

// incompleteMark is in the place of the secret until an import ends. So no server starts meanwhile.
const incompleteMark = "incomplete"

const (
	importedAtOnce = 100 // records in one write
	writesAtOnce   = 8
	// floorPatience is for how long a floor may lie ahead for an import to wait until it has passed.
	floorPatience = 10 * time.Second
)

// Import stores what Export of another store returned.
func (s *Store) Import(ctx context.Context, records iter.Seq2[any, error]) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	i := &importer{s: s, fail: cancel, room: make(chan struct{}, writesAtOnce), granted: make(map[string]bool)}
	defer i.writing.Wait()
	defer cancel(nil)
	for sl := range slice(sliceCount) {
		if err := patiently(ctx, func() (err error) {
			i.views[sl], err = s.read(ctx, sl)
			return err
		}); err != nil {
			return err
		}
	}
	if err := s.beginImport(ctx); err != nil {
		return err
	}
	for r, err := range records {
		if err == nil {
			err = i.add(ctx, r)
		}
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		if err != nil {
			return err
		}
	}
	return i.end(ctx)
}

// beginImport marks an empty store as incomplete. It removes what an import left that did not end.
func (s *Store) beginImport(ctx context.Context) error {
	key := s.key(kindSecret, secretSlice, "")
	return patiently(ctx, func() error {
		v, err := s.read(ctx, secretSlice, key)
		if err != nil {
			return err
		}
		switch v.values[0] {
		case incompleteMark:
			return s.removeImported(ctx)
		case "":
		default: // a server has been started with it, and may still run
			return tokenstore.ErrNotEmpty
		}
		stats, err := s.Stats(ctx)
		if err != nil {
			return err
		}
		for _, stat := range stats {
			if stat.Value > 0 {
				return tokenstore.ErrNotEmpty
			}
		}
		w := newWrite(secretSlice, nil)
		w.require(key, "")
		w.do("SET", key, incompleteMark)
		switch done, err := s.commit(ctx, w); {
		case err != nil:
			return err
		case !done:
			return tokenstore.ErrNotEmpty
		}
		return nil
	})
}

// removeImported removes everything but the states of the slices and the mark.
func (s *Store) removeImported(ctx context.Context) error {
	kept := map[string]bool{s.key(kindSecret, secretSlice, ""): true, s.key(kindKeys, secretSlice, ""): true}
	for sl := range slice(sliceCount) {
		kept[s.states[sl]] = true
	}
	return s.scan(ctx, func(keys []string) error {
		c, err := s.link.client()
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, 4*s.timeout())
		defer cancel()
		var commands []rueidis.Completed
		for _, key := range keys {
			if !kept[key] {
				commands = append(commands, c.B().Unlink().Key(key).Build())
			}
		}
		for _, answer := range c.DoMulti(ctx, commands...) {
			if err := answer.Error(); err != nil {
				return s.explain(ctx, err)
			}
		}
		return nil
	})
}

// An importer collects the records of each slice until they are worth a write. What it writes can be
// written again: an error may be about something that was done.
type importer struct {
	s       *Store
	state   *tokenstore.StoreState
	views   [sliceCount]*view
	batches [sliceCount]*importBatch
	granted map[string]bool // self-registered consumers: whether they have an access token
	lists   int             // of used nonces
	expire  int64           // the last of them, in seconds since 1970
	kept    []*tokenstore.Kept

	fail    context.CancelCauseFunc
	room    chan struct{}
	writing sync.WaitGroup
}

type importBatch struct {
	*write
	records      int
	reservations []reservation
}

// batch returns the batch of a slice, with one record more in it.
func (i *importer) batch(sl slice) *importBatch {
	b := i.batches[sl]
	if b == nil {
		b = &importBatch{write: newWrite(sl, nil)}
		i.batches[sl] = b
	}
	b.records++
	return b
}

func (i *importer) add(ctx context.Context, r any) error {
	s := i.s
	var b *importBatch
	switch r := r.(type) {
	case *tokenstore.StoreState:
		i.state = r
		return nil
	case *tokenstore.Consumer:
		sl := sliceOf(r.Key)
		b = i.batch(sl)
		e := envelope{version: newVersion(), record: sealed(s, record.Consumer, r.Key, r)}
		b.do("SET", s.key(kindConsumer, sl, r.Key), e.encode())
		b.do("ZADD", s.key(kindConsumers, sl, ""), "0", r.Key)
		if r.SelfRegistered {
			i.granted[r.Key] = false
			b.reservations = append(b.reservations, reservation{consumer: r.Key, register: true, unlimited: true})
		}
	case *tokenstore.RequestToken:
		sl := sliceOf(r.Key)
		b = i.batch(sl)
		s.putRequest(b.write, i.views[sl], r)
		_, self := i.granted[r.Consumer]
		b.reservations = append(b.reservations, reservation{request: r, consumer: r.Consumer, self: self, unlimited: true})
	case *tokenstore.AccessToken:
		sl := sliceOf(r.Key)
		b = i.batch(sl)
		s.putToken(b.write, i.views[sl], r)
		if granted, self := i.granted[r.Consumer]; self && !granted && !r.Expired(s.clock()) {
			i.granted[r.Consumer] = true
		}
	case *tokenstore.UsedNonces:
		b = i.batch(secretSlice)
		b.do("HSET", s.key(kindElsewhere, secretSlice, ""), strconv.Itoa(i.lists),
			sealed(s, record.UsedNonces, strconv.Itoa(i.lists), r))
		i.lists++
		i.expire = max(i.expire, r.Expires)
	case *tokenstore.Kept:
		i.kept = append(i.kept, r)
		return nil
	default:
		return fmt.Errorf("import a %T", r)
	}
	if b.records >= importedAtOnce {
		return i.send(ctx, b)
	}
	return nil
}

// send writes a batch in the background.
func (i *importer) send(ctx context.Context, b *importBatch) error {
	i.batches[b.slice] = nil
	select {
	case i.room <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	i.writing.Go(func() {
		defer func() { <-i.room }()
		err := patiently(ctx, func() error {
			_, err := i.s.commit(ctx, b.write)
			return err
		})
		for _, r := range b.reservations {
			if err != nil {
				break
			}
			err = patiently(ctx, func() error { return i.s.reserve(ctx, r) })
			if err == nil && r.request != nil && refused(r.request) {
				i.s.waitsNoLonger(ctx, r.request)
			}
		}
		if err != nil {
			i.fail(err)
		}
	})
	return nil
}

// end makes the store one that can be used.
func (i *importer) end(ctx context.Context) error {
	if i.state == nil {
		return errors.New("import: there is no secret")
	}
	for _, b := range i.batches {
		if b == nil {
			continue
		}
		if err := i.send(ctx, b); err != nil {
			return err
		}
	}
	i.writing.Wait()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	s := i.s
	for consumer, granted := range i.granted {
		if granted {
			s.granted(ctx, consumer)
		}
	}
	err := patiently(ctx, func() error {
		return again(ctx, func() (bool, error) { return i.complete(ctx) })
	})
	s.elsewhere.Store(nil) // it may have been read before
	if err != nil {
		return err
	}
	// After a copy, requests of now pass as soon as a server starts. After a restore the floor is far
	// ahead.
	if wait := time.Until(time.Unix(i.state.Floor+1, 0)); wait > 0 && wait < floorPatience {
		time.Sleep(wait)
	}
	return nil
}

// complete takes the mark away, and keeps what is to be kept, in one write.
func (i *importer) complete(ctx context.Context) (bool, error) {
	s, w := i.s, newWrite(secretSlice, nil)
	if len(i.kept) > 0 {
		stored, all, err := s.readKept(ctx)
		if err != nil {
			return false, err
		}
		for _, k := range i.kept {
			all[k.Name] = k.Value
		}
		if err := s.putKept(w, stored, all); err != nil {
			return false, err
		}
	}
	if i.lists > 0 {
		w.do("EXPIREAT", s.key(kindElsewhere, secretSlice, ""), integer(i.expire))
	}
	w.do("SET", s.key(kindPast, secretSlice, ""), integer(i.state.Floor))
	w.do("SET", s.key(kindSecret, secretSlice, ""), s.sealedSecret(i.state.Secret))
	return s.commit(ctx, w)
}

// elsewhere is what is known of the store that this one was imported from: the nonces that it
// accepted, and the timestamp up to which it may have accepted others.
type elsewhere struct {
	used  *usednonce.Set
	floor int64
}

// importedFrom returns what is known of the store that this one was imported from. No process runs
// during an import, so what is read once stays true.
func (s *Store) importedFrom(ctx context.Context) (*elsewhere, error) {
	if e := s.elsewhere.Load(); e != nil {
		return e, nil
	}
	if err := s.complete(ctx); err != nil {
		return nil, err
	}
	all, err := s.readElsewhere(ctx)
	if err != nil {
		return nil, err
	}
	floor, err := s.readPast(ctx)
	if err != nil {
		return nil, err
	}
	e := &elsewhere{usednonce.NewSet(all, s.clock().Unix()), floor}
	s.elsewhere.Store(e)
	return e, nil
}

// usedElsewhere returns the error of a nonce that the store accepted that this one was imported from,
// or may have accepted. In the latter case the client may try again with a new timestamp.
func (s *Store) usedElsewhere(ctx context.Context, n *tokenstore.Nonce) error {
	e, err := s.importedFrom(ctx)
	switch {
	case err != nil:
		return err
	case e.used.Has(n):
		return tokenstore.ErrNonceUsed
	case n.Timestamp <= e.floor:
		return &tokenstore.LaterError{
			After: time.Duration(e.floor-n.Timestamp+1) * time.Second,
			Err:   errors.New("redis: the store was copied or restored moments ago: requests from before that are refused"),
		}
	}
	return nil
}

// readPast returns up to which timestamp the store may have accepted nonces that this one was
// imported from; 0 if it was not imported.
func (s *Store) readPast(ctx context.Context) (floor int64, err error) {
	v, err := s.read(ctx, secretSlice, s.key(kindPast, secretSlice, ""))
	if err != nil || v.values[0] == "" {
		return 0, err
	}
	if floor, err = strconv.ParseInt(v.values[0], 10, 64); err != nil {
		return 0, fmt.Errorf("redis: read when the store was imported: %w", err)
	}
	return floor, nil
}

// complete returns ErrIncomplete if an import has not ended.
func (s *Store) complete(ctx context.Context) error {
	v, err := s.read(ctx, secretSlice, s.key(kindSecret, secretSlice, ""))
	if err == nil && v.values[0] == incompleteMark {
		err = tokenstore.ErrIncomplete
	}
	return err
}

func (s *Store) readElsewhere(ctx context.Context) (all []*tokenstore.UsedNonces, err error) {
	values, err := s.elsewhereFields(ctx)
	if err != nil {
		return nil, err
	}
	for field, v := range values {
		var used *tokenstore.UsedNonces
		clear, err := s.sealing.Load().Open(record.UsedNonces.Name, field, []byte(v))
		if err == nil {
			used, err = record.UsedNonces.Decode(clear)
		}
		if err != nil {
			return nil, fmt.Errorf("redis: %w", err)
		}
		all = append(all, used)
	}
	return all, nil
}

var _ tokenstore.Transferrer = (*Store)(nil)
