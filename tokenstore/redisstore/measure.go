package redisstore

import (
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// Measure returns figures of this process: the nonces are those that it has accepted, and the floor
// is the highest of the slices whose ceilings it has raised, or that of an import. The servers' memory
// and disk are for their own monitoring to tell.
func (s *Store) Measure() tokenstore.Measures {
	all, most := s.quota.live(s.clock().Unix())
	m := tokenstore.Measures{
		Nonces:           &all,
		NonceConsumerMax: &most,
		NonceLimit:       new(int64(s.quota.limit)),
		NonceFloor:       new(int64(0)),
		Caches: []tokenstore.CacheUse{
			s.consumers.use("consumers"), s.tokens.use("access_tokens"),
		},
	}
	for i := range s.leases {
		if o := s.leases[i].last.Load(); o != nil && o.raised != nil {
			*m.NonceFloor = max(*m.NonceFloor, o.raised.floor)
		}
	}
	if e := s.elsewhere.Load(); e != nil {
		*m.NonceFloor = max(*m.NonceFloor, e.floor)
	}
	return m
}

var _ tokenstore.Measurer = (*Store)(nil)
