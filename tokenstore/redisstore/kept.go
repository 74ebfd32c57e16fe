package redisstore

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// Keep keeps a value by its name. All of them are in one JSON object, which is written with its
// replicas as every record is.
func (s *Store) Keep(ctx context.Context, name string, value []byte) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	return again(ctx, func() (bool, error) {
		stored, all, err := s.readKept(ctx)
		if err != nil {
			return false, err
		}
		all[name] = value
		return s.writeKept(ctx, stored, all)
	})
}

// Kept returns the values whose names begin with the prefix.
func (s *Store) Kept(ctx context.Context, prefix string) (map[string][]byte, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	_, all, err := s.readKept(ctx)
	for name := range all {
		if !strings.HasPrefix(name, prefix) {
			delete(all, name)
		}
	}
	return all, err
}

// keptName is the kind that the values have when they are encrypted.
const keptName = "kept by name"

// readKept returns the values, and what is stored of them.
func (s *Store) readKept(ctx context.Context) (stored string, all map[string][]byte, err error) {
	v, err := s.read(ctx, secretSlice, s.key(kindKept, secretSlice, ""))
	if err != nil {
		return "", nil, err
	}
	all = make(map[string][]byte)
	if stored = v.values[0]; stored == "" {
		return "", all, nil
	}
	clear, err := s.sealing.Load().Open(keptName, "", []byte(stored))
	if err == nil {
		err = json.Unmarshal(clear, &all)
	}
	if err != nil {
		return "", nil, fmt.Errorf("redis: read what is kept by name: %w", err)
	}
	return stored, all, nil
}

// writeKept replaces what is stored, unless that has changed.
func (s *Store) writeKept(ctx context.Context, stored string, all map[string][]byte) (bool, error) {
	w := newWrite(secretSlice, nil)
	if err := s.putKept(w, stored, all); err != nil {
		return false, err
	}
	return s.commit(ctx, w)
}

// putKept replaces what is stored with the rest of the write, unless that has changed.
func (s *Store) putKept(w *write, stored string, all map[string][]byte) error {
	text, err := json.Marshal(all)
	if err != nil {
		return fmt.Errorf("encode what is kept by name: %w", err)
	}
	key := s.key(kindKept, secretSlice, "")
	w.require(key, stored)
	w.do("SET", key, string(s.sealing.Load().Seal(keptName, "", text)))
	return nil
}

// rewrapKept encrypts the values with the primary key.
func (s *Store) rewrapKept(ctx context.Context) error {
	return again(ctx, func() (bool, error) {
		stored, all, err := s.readKept(ctx)
		if err != nil || stored == "" || s.sealing.Load().Current([]byte(stored)) {
			return err == nil, err
		}
		return s.writeKept(ctx, stored, all)
	})
}

var _ tokenstore.Keeper = (*Store)(nil)
