package redisstore

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"sync"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/record"
)

// A merge reads an index of all slices in the order of keys.
type merge struct {
	s       *Store
	kind    string
	rests   []string // the names that stand for what is looked for
	batch   int
	cursors []cursor // of each name, those of all slices
	started bool
	after   string
}

// A cursor is how far one slice was read.
type cursor struct {
	keys []string // read and not yet returned
	last string   // the last that was read
	end  bool     // there are no more
}

// newMerge begins to read an index after a key. So many keys are expected to be read.
func (s *Store) newMerge(kind, rest, after string, expected int) *merge {
	rests := []string{rest}
	if of, ok := nameKinds[kind]; ok {
		rests = s.names(of, rest)
	}
	return &merge{s: s, kind: kind, rests: rests, batch: min(4+expected/8, 1000), after: after,
		cursors: make([]cursor, len(rests)*sliceCount)}
}

// next returns the next n keys, or fewer at the end.
func (m *merge) next(ctx context.Context, n int) ([]string, error) {
	if !m.started {
		m.started = true
		all := make([]int, len(m.cursors))
		for i := range m.cursors {
			m.cursors[i].last = m.after
			all[i] = i
		}
		if err := m.fill(ctx, all...); err != nil {
			return nil, err
		}
	}
	var keys []string
	for len(keys) < n {
		first := -1
		for i := range m.cursors {
			c := &m.cursors[i]
			if len(c.keys) == 0 && !c.end {
				if err := m.fill(ctx, i); err != nil {
					return nil, err
				}
			}
			if len(c.keys) > 0 && (first < 0 || c.keys[0] < m.cursors[first].keys[0]) {
				first = i
			}
		}
		if first < 0 {
			break
		}
		c := &m.cursors[first]
		keys = append(keys, c.keys[0])
		c.keys = c.keys[1:]
	}
	return keys, nil
}

// fill reads on at some cursors.
func (m *merge) fill(ctx context.Context, cursors ...int) error {
	indexes, after := make([]lookAt, len(cursors)), make([]string, len(cursors))
	for i, c := range cursors {
		sl := slice(c % sliceCount)
		indexes[i], after[i] = lookAt{sl, m.s.key(m.kind, sl, m.rests[c/sliceCount])}, m.cursors[c].last
	}
	found, err := m.s.ranges(ctx, indexes, after, m.batch)
	if err != nil {
		return err
	}
	for i, keys := range found {
		cur := &m.cursors[cursors[i]]
		cur.keys, cur.end = keys, len(keys) < m.batch
		if len(keys) > 0 {
			cur.last = keys[len(keys)-1]
		}
	}
	return nil
}

// list returns a page of the records in an index, which are read and chosen in all slices at once:
// a page of a hundred records lies in some fifty of them.
func list[T any](ctx context.Context, m *merge, limit int, keyOf func(*T) string, read func(context.Context, slice, []string) (map[string]*T, error)) (page []*T, next string, err error) {
	if limit < 1 {
		return nil, "", fmt.Errorf("a page of %d records", limit)
	}
	for {
		keys, err := m.next(ctx, limit+1-len(page))
		if err != nil {
			return nil, "", err
		}
		if len(keys) == 0 {
			return page, "", nil
		}
		var bySlice [sliceCount][]string
		for _, key := range keys {
			bySlice[sliceOf(key)] = append(bySlice[sliceOf(key)], key)
		}
		var (
			all    sync.WaitGroup
			mu     sync.Mutex
			found  = make(map[string]*T, len(keys))
			failed error
		)
		for sl, keys := range bySlice {
			if len(keys) == 0 {
				continue
			}
			all.Go(func() {
				some, err := read(ctx, slice(sl), keys)
				mu.Lock()
				defer mu.Unlock()
				failed = cmp.Or(failed, err)
				maps.Copy(found, some)
			})
		}
		all.Wait()
		if failed != nil {
			return nil, "", failed
		}
		for _, key := range keys {
			r, ok := found[key]
			if !ok {
				continue
			}
			if len(page) == limit {
				return page, keyOf(page[limit-1]), nil
			}
			page = append(page, r)
		}
	}
}

// Consumers lists the consumers.
func (s *Store) Consumers(ctx context.Context, after string, limit int) ([]*tokenstore.Consumer, string, error) {
	if err := s.enter(ctx); err != nil {
		return nil, "", err
	}
	m := s.newMerge(kindConsumers, "", after, limit)
	return list(ctx, m, limit, func(c *tokenstore.Consumer) string { return c.Key },
		func(ctx context.Context, sl slice, keys []string) (map[string]*tokenstore.Consumer, error) {
			found := make(map[string]*tokenstore.Consumer)
			_, err := readRecords(ctx, s, record.Consumer, sl, kindConsumer, keys, func(_ *view, c *storedConsumer) {
				if c.state != stateDeleted {
					found[c.is.Key] = c.is
				}
			})
			return found, err
		})
}

// readRecords reads records of a slice. It leaves out those that are not there, and those that can't
// be read.
func readRecords[T any](ctx context.Context, s *Store, kind record.Kind[T], sl slice, keyKind string, keys []string, each func(*view, *stored[T])) (*view, error) {
	names := make([]string, len(keys))
	for i, key := range keys {
		names[i] = s.key(keyKind, sl, key)
	}
	v, err := s.read(ctx, sl, names...)
	if err != nil {
		return nil, err
	}
	for i, value := range v.values {
		switch r, err := decode(s, kind, keys[i], value); {
		case record.Unreadable(err):
			s.complain("leaving out a record that can't be read", err)
		case err != nil:
			return nil, err
		case r != nil:
			each(v, r)
		}
	}
	return v, nil
}

// AccessTokens lists the access tokens that match.
func (s *Store) AccessTokens(ctx context.Context, f tokenstore.Filter, after string, limit int) ([]*tokenstore.AccessToken, string, error) {
	if err := s.enter(ctx); err != nil {
		return nil, "", err
	}
	kind, rest := index(f)
	m := s.newMerge(kind, rest, after, limit)
	return list(ctx, m, limit, func(t *tokenstore.AccessToken) string { return t.Key },
		func(ctx context.Context, sl slice, keys []string) (map[string]*tokenstore.AccessToken, error) {
			found := make(map[string]*tokenstore.AccessToken)
			_, err := readRecords(ctx, s, record.AccessToken, sl, kindToken, keys, func(v *view, t *storedToken) {
				if s.there(t, v.marks) && matches(f, t.is) {
					t.is.LastUsed = t.stamp
					found[t.is.Key] = t.is
				}
			})
			return found, err
		})
}

// index returns the index in which all access tokens of a filter are.
func index(f tokenstore.Filter) (kind, rest string) {
	switch {
	case f.User != "":
		return kindTokensOfUser, f.User
	case f.Consumer != "":
		return kindTokensOfConsumer, f.Consumer
	}
	return kindTokens, ""
}

func matches(f tokenstore.Filter, t *tokenstore.AccessToken) bool {
	return (f.User == "" || f.User == t.User) && (f.Consumer == "" || f.Consumer == t.Consumer)
}

// CountAccessTokens counts the access tokens that match. Where a bulk revocation is under way, those
// of a user may still be counted that it has not removed.
func (s *Store) CountAccessTokens(ctx context.Context, f tokenstore.Filter) (int, error) {
	if err := s.enter(ctx); err != nil {
		return 0, err
	}
	if f.User == "" || f.Consumer == "" {
		kind, rest := index(f)
		return s.cardinality(ctx, kind, rest)
	}
	n := 0
	for after := ""; ; {
		page, next, err := s.AccessTokens(ctx, f, after, 500)
		if err != nil {
			return 0, err
		}
		n += len(page)
		if next == "" {
			return n, nil
		}
		after = next
	}
}
