package badgerstore

import (
	"bytes"
	"context"
	"fmt"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// Keep keeps a value by its name.
func (s *Store) Keep(ctx context.Context, name string, value []byte) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	var c change
	c.keep(name, value)
	return s.tokens.commit(c)
}

// keep keeps a value with the rest of the change.
func (c *change) keep(name string, value []byte) {
	c.put(recordKey(prefixKept, name), bytes.Clone(value), 0)
	c.frees = true // it is small, and replaces another one: a full disk must not end the audit trail
}

// Kept returns the values whose names begin with the prefix.
func (s *Store) Kept(ctx context.Context, prefix string) (map[string][]byte, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	kept := make(map[string][]byte)
	err := s.tokens.view(func(txn *reader) error {
		return scan(txn, recordKey(prefixKept, prefix), nil, true, func(item *entry) (bool, error) {
			name := string(item.Key()[1:])
			return true, item.Value(func(v []byte) error {
				kept[name] = bytes.Clone(v)
				return nil
			})
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read what is kept by name: %w", err)
	}
	return kept, nil
}

var _ tokenstore.Keeper = (*Store)(nil)
