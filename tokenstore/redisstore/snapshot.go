package redisstore

import (
	"context"
	"errors"
	"iter"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// Snapshot returns what is in the store, without the nonces, one slice after the other, while every
// process goes on. So it shows the slices at different moments: what is changed meanwhile may be in
// it or not, a token may be there without its consumer, and a token that is revoked after its slice
// was read is in it. What was acknowledged before the call is in it.
func (s *Store) Snapshot(ctx context.Context) iter.Seq2[any, error] {
	return func(yield func(any, error) bool) {
		e := &exporter{s: s, yield: func(r any) bool { return yield(r, nil) }, deleted: make(map[string]bool), live: true}
		if err := e.snapshot(ctx); err != nil && !errors.Is(err, errStopped) {
			yield(nil, err)
		}
	}
}

func (e *exporter) snapshot(ctx context.Context) error {
	if err := e.s.enter(ctx); err != nil {
		return err
	}
	state, err := e.state(ctx)
	if err != nil {
		return err
	}
	state.Floor = max(e.s.clock().Unix(), state.Floor)
	if err := e.give(state); err != nil {
		return err
	}
	return e.records(ctx)
}

// indexPages reads the keys in an index of a slice, some at a time.
type indexPages struct {
	s     *Store
	slice slice
	index string
	live  bool

	from int      // how many were read
	last string   // the last of them
	all  []string // of an index that is read at once
}

// read returns the next keys, and the same again until more is called. An index of access tokens
// goes on after the last key, also where tokens come and go. Of the others: where nothing changes
// meanwhile, places in the index stay the same. Else it goes on after the last key. The index of
// request tokens is in another order, and is read at once: their number is limited.
func (p *indexPages) read(ctx context.Context) ([]string, error) {
	key := p.s.key(p.index, p.slice, "")
	switch {
	case indexed(p.index):
		return p.s.rangeOf(ctx, lookAt{p.slice, key}, p.last, exportedAtOnce)
	case !p.live:
		return p.s.members(ctx, key, p.from, exportedAtOnce)
	}
	c, err := p.s.link.client()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, p.s.timeout())
	defer cancel()
	if p.index == kindRequestsByEnd {
		if p.from == 0 {
			if p.all, err = c.Do(ctx, c.B().Zrange().Key(key).Min("0").Max("-1").Build()).AsStrSlice(); err != nil {
				return nil, p.s.explain(ctx, err)
			}
		}
		rest := p.all[min(p.from, len(p.all)):]
		return rest[:min(exportedAtOnce, len(rest))], nil
	}
	after := "-"
	if p.last != "" {
		after = "(" + p.last
	}
	keys, err := c.Do(ctx, c.B().Zrange().Key(key).Min(after).Max("+").Bylex().Limit(0, exportedAtOnce).Build()).AsStrSlice()
	return keys, p.s.explainAny(ctx, err)
}

// more goes on behind the keys that read returned last, and reports whether there may be any.
func (p *indexPages) more(keys []string) bool {
	if len(keys) < exportedAtOnce {
		return false
	}
	p.from += len(keys)
	p.last = keys[len(keys)-1]
	return true
}

// explainAny is explain, for an error that may be nil.
func (s *Store) explainAny(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	return s.explain(ctx, err)
}

var _ tokenstore.Snapshotter = (*Store)(nil)
