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
		text, all, err := s.readKept(ctx)
		if err != nil {
			return false, err
		}
		all[name] = value
		changed, err := json.Marshal(all)
		if err != nil {
			return false, fmt.Errorf("encode what is kept by name: %w", err)
		}
		w := newWrite(secretSlice, nil)
		key := s.key(kindKept, secretSlice, "")
		w.require(key, text)
		w.do("SET", key, string(changed))
		return s.commit(ctx, w)
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

func (s *Store) readKept(ctx context.Context) (text string, all map[string][]byte, err error) {
	v, err := s.read(ctx, secretSlice, s.key(kindKept, secretSlice, ""))
	if err != nil {
		return "", nil, err
	}
	all = make(map[string][]byte)
	if text = v.values[0]; text != "" {
		if err := json.Unmarshal([]byte(text), &all); err != nil {
			return "", nil, fmt.Errorf("redis: what is kept by name is damaged: %w", err)
		}
	}
	return text, all, nil
}

var _ tokenstore.Keeper = (*Store)(nil)
