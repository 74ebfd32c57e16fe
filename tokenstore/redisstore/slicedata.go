package redisstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// A view is what a slice held at one moment.
type view struct {
	revision string
	marks    marks
	values   []string // of the keys that were read; empty where there is none
}

// number is the revision as records have it.
func (v *view) number() uint64 {
	n, _ := strconv.ParseUint(v.revision, 10, 64) // a script wrote it
	return n
}

// read reads keys of a slice. The answer is that of the slice's master: a server that was one, and
// is cut off, is not believed.
func (s *Store) read(ctx context.Context, sl slice, keys ...string) (*view, error) {
	all := append([]string{s.states[sl], s.key(kindMarks, sl, "")}, keys...)
	for range 3 {
		answer, err := s.run(ctx, readScript, all, nil)
		if err != nil {
			return nil, err
		}
		parts, err := answer.ToArray()
		if err != nil || len(parts) < 4 {
			return nil, unexpected("read.lua", err)
		}
		ahead, err := parts[0].AsInt64()
		if err != nil {
			return nil, fmt.Errorf("redis: read.lua: %w", err)
		}
		if ahead < 0 {
			epoch, err := parts[1].ToString()
			if err != nil {
				return nil, fmt.Errorf("redis: read.lua: %w", err)
			}
			r, err := s.raise(ctx, sl)
			if err != nil {
				return nil, err
			}
			if r.epoch != epoch {
				continue
			}
		}
		v := &view{values: make([]string, len(keys))}
		if v.revision, err = parts[2].ToString(); err != nil {
			return nil, fmt.Errorf("redis: read.lua: %w", err)
		}
		pairs, err := parts[3].AsStrSlice()
		if err != nil {
			return nil, fmt.Errorf("redis: read.lua: %w", err)
		}
		for i := 0; i+1 < len(pairs); i += 2 {
			if v.marks == nil {
				v.marks = make(marks, len(pairs)/2)
			}
			if v.marks[pairs[i]], err = strconv.ParseUint(pairs[i+1], 10, 64); err != nil {
				return nil, fmt.Errorf("redis: marks: %w", err)
			}
		}
		for i, part := range parts[4:] {
			if part.IsNil() {
				continue
			}
			if v.values[i], err = part.ToString(); err != nil {
				return nil, fmt.Errorf("redis: read.lua: %w", err)
			}
		}
		return v, nil
	}
	return nil, errors.New("redis: the servers fail over one after the other")
}

// unexpected is the error of a script's answer that it never gives; err may say why it can't be
// read.
func unexpected(script string, err error) error {
	return fmt.Errorf("redis: %s: unexpected answer: %w", script, cmp.Or(err, errors.New("of another form")))
}

// A write is a set of commands for one slice, which are executed together, if what they depend on
// has not changed.
type write struct {
	slice    slice
	revision string
	keys     []string // the conditions' first
	values   []string // what they must be
	commands []string
	numbers  map[string]int // of keys, in KEYS of write.lua
}

// newWrite begins a write that depends on the revision of a view, or on none with nil.
func newWrite(sl slice, v *view) *write {
	w := &write{slice: sl, numbers: make(map[string]int)}
	if v != nil {
		w.revision = v.revision
	}
	return w
}

// require makes the write depend on the value of a key; empty if there must be none. It comes before
// all calls of do.
func (w *write) require(key, value string) {
	w.number(key)
	w.values = append(w.values, value)
}

// do adds a command, whose first argument is the key.
func (w *write) do(name, key string, arguments ...string) {
	w.commands = append(w.commands, name, strconv.Itoa(w.number(key)), strconv.Itoa(len(arguments)))
	w.commands = append(w.commands, arguments...)
}

// evenIfFull lets the write through on a server whose memory is full: see raise.lua. It comes before
// all calls of do.
func (w *write) evenIfFull(s *Store) { w.do("HDEL", s.states[w.slice], "") }

// number returns the place of a key in KEYS, where the state comes first.
func (w *write) number(key string) int {
	n, ok := w.numbers[key]
	if !ok {
		w.keys = append(w.keys, key)
		n = 1 + len(w.keys)
		w.numbers[key] = n
	}
	return n
}

// commit executes a write, and reports whether its conditions were met. It returns when replicas
// have it: after an error nobody knows whether it was executed.
func (s *Store) commit(ctx context.Context, w *write) (bool, error) {
	return s.apply(ctx, w, true)
}

// commitLoosely is commit for what may be lost.
func (s *Store) commitLoosely(ctx context.Context, w *write) (bool, error) {
	return s.apply(ctx, w, false)
}

func (s *Store) apply(ctx context.Context, w *write, durably bool) (bool, error) {
	keys := append([]string{s.states[w.slice]}, w.keys...)
	args := append([]string{w.revision, strconv.Itoa(len(w.values))}, w.values...)
	args = append(args, w.commands...)
	run := s.runDurably
	if !durably {
		run = s.run
	}
	for range 3 {
		answer, err := run(ctx, writeScript, keys, args)
		if err != nil {
			return false, err
		}
		switch reason, seconds := refusal(answer); reason {
		case "epoch":
			if _, err := s.raise(ctx, w.slice); err != nil {
				return false, err
			}
			continue
		case "floor":
			return false, later(seconds)
		}
		n, err := answer.AsInt64()
		return n == 1, err
	}
	return false, later(int64((s.lead() + skew) / time.Second))
}

// prove returns when replicas have everything that the slice's master had when it was called. What
// was read there can be acknowledged then.
func (s *Store) prove(ctx context.Context, sl slice) error {
	if s.replicas == 0 {
		return nil
	}
	w := newWrite(sl, nil)
	w.evenIfFull(s)
	w.do("SET", s.key(kindBarrier, sl, ""), "")
	_, err := s.commit(ctx, w)
	return err
}

// exists returns ErrExists when replicas have what exists. A caller whose first try had no answer may
// take it for done.
func (s *Store) exists(ctx context.Context, sl slice) error {
	if err := s.prove(ctx, sl); err != nil {
		return err
	}
	return tokenstore.ErrExists
}

// again calls attempt until it reports that it is done: until what it has read does not change
// before it writes.
func again(ctx context.Context, attempt func() (done bool, err error)) error {
	for pause := time.Duration(0); ; pause = min(2*pause+time.Millisecond, 20*time.Millisecond) {
		done, err := attempt()
		if done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}
