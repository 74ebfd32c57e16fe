package badgerstore

import (
	"errors"
	"math"
	"path/filepath"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/badgerstore/internal/disk"
)

// Measure returns figures of the store. It looks at the names and sizes of its files.
func (s *Store) Measure() tokenstore.Measures {
	nonces := s.nonces.Figures()
	m := tokenstore.Measures{
		Nonces:           &nonces.Live,
		NonceConsumerMax: &nonces.Most,
		NonceLimit:       &nonces.Limit,
		NonceFloor:       &nonces.Floor,
		Caches: []tokenstore.CacheUse{
			s.consumers.use("consumers"), s.accessTokens.use("access_tokens"),
		},
	}
	path := filepath.Dir(s.tokens.dir)
	if size, err := disk.Used(path); err == nil {
		m.Size = &size
	}
	if free, err := disk.Free(path); err == nil && free <= math.MaxInt64 {
		m.Free = new(int64(free))
	}
	return m
}

// Failed returns the error after which the store must be opened again.
func (s *Store) Failed() error { return errors.Join(s.tokens.usable(), s.nonces.Failed()) }

// WatchSyncs has f called after each sync of nonces.
func (s *Store) WatchSyncs(f func(took time.Duration)) { s.nonces.WatchSyncs(f) }

var (
	_ tokenstore.Measurer    = (*Store)(nil)
	_ tokenstore.Failer      = (*Store)(nil)
	_ tokenstore.SyncWatcher = (*Store)(nil)
)
