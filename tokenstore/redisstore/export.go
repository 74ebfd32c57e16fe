package redisstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/record"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/usednonce"
)

const (
	// pausedFor is for how many seconds a slice refuses everything, if nobody renews that.
	pausedFor  = 10
	renewEvery = 2 * time.Second

	exportedAtOnce = 500
)

var errChanged = errors.New("redis: the store was changed while it was exported, because the servers were out of reach")

// Export returns everything that another store needs. While it runs, and for some seconds after, the
// servers refuse the nonces and the changes of every process.
func (s *Store) Export(ctx context.Context) iter.Seq2[any, error] {
	return func(yield func(any, error) bool) {
		e := &exporter{s: s, yield: func(r any) bool { return yield(r, nil) }, deleted: make(map[string]bool)}
		if err := e.run(ctx); err != nil && !errors.Is(err, errStopped) {
			yield(nil, err)
		}
	}
}

// errStopped: the caller wants no more records.
var errStopped = errors.New("stopped")

type exporter struct {
	s     *Store
	yield func(any) bool
	floor int64
	// deleted tells of consumers without a record in the index whether they are being deleted.
	deleted map[string]bool
	// live says that others change the store meanwhile.
	live bool
}

func (e *exporter) give(r any) error {
	if !e.yield(r) {
		return errStopped
	}
	return nil
}

func (e *exporter) run(ctx context.Context) error {
	s := e.s
	if err := s.enter(ctx); err != nil {
		return err
	}
	state, err := e.state(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if e.floor, err = s.pause(ctx, 0); err != nil {
		return err
	}
	var renewing sync.WaitGroup
	defer renewing.Wait()
	defer cancel(nil)
	renewing.Go(func() { s.renewPause(ctx, cancel) })

	state.Floor = max(e.floor, state.Floor)
	if err := e.give(state); err != nil {
		return err
	}
	if err = e.records(ctx); err == nil {
		err = e.nonces(ctx)
	}
	if err == nil {
		_, err = s.pause(ctx, e.floor) // it was without a gap until now
	}
	if cause := context.Cause(ctx); cause != nil && err != nil && !errors.Is(err, errStopped) {
		return cause
	}
	return err
}

// state returns the store's secret, and the floor that it was imported with.
func (e *exporter) state(ctx context.Context) (*tokenstore.StoreState, error) {
	s, state := e.s, new(tokenstore.StoreState)
	return state, patiently(ctx, func() (err error) {
		if state.Floor, err = s.readPast(ctx); err != nil {
			return err
		}
		v, err := s.read(ctx, secretSlice, s.key(kindSecret, secretSlice, ""))
		if err == nil && v.values[0] != "" && v.values[0] != incompleteMark { // Secret would write it, which a full memory refuses
			state.Secret, err = s.openSecret(v.values[0])
			return err
		}
		if err == nil {
			state.Secret, err = s.Secret(ctx)
		}
		return err
	})
}

// pause makes all slices refuse nonces and changes for a while. It returns a timestamp that lies
// above the floors, and not below the clocks. With a floor that an earlier call returned, it fails
// if the pause has ended meanwhile.
func (s *Store) pause(ctx context.Context, earlier int64) (floor int64, err error) {
	for sl := range slice(sliceCount) {
		var before, now int64
		if err := patiently(ctx, func() (err error) {
			before, now, err = s.refuse(ctx, sl, 0, strconv.Itoa(pausedFor))
			return err
		}); err != nil {
			return 0, err
		}
		if earlier != 0 && now > before {
			return 0, errChanged
		}
		floor = max(floor, before, now)
	}
	return floor, nil
}

// renewPause pauses the slices again and again, until the context ends.
func (s *Store) renewPause(ctx context.Context, fail context.CancelCauseFunc) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(renewEvery):
		}
		if _, err := s.pause(ctx, 1); err != nil {
			fail(err)
			return
		}
	}
}

// refuse raises the floor of a slice: see refuse.lua.
func (s *Store) refuse(ctx context.Context, sl slice, floor int64, ahead string) (before, now int64, err error) {
	for range 3 {
		answer, err := s.runDurably(ctx, refuseScript, []string{s.states[sl]}, []string{integer(floor), ahead})
		if err != nil {
			return 0, 0, err
		}
		if reason, _ := refusal(answer); reason == "epoch" {
			if _, err := s.raise(ctx, sl); err != nil {
				return 0, 0, err
			}
			continue
		}
		numbers, err := answer.AsIntSlice()
		if err != nil || len(numbers) != 3 {
			return 0, 0, unexpected("refuse.lua", err)
		}
		return numbers[0], numbers[1], nil
	}
	return 0, 0, later(int64((s.lead() + skew) / time.Second))
}

// transferPatience is how long a transfer waits for servers that can't answer: longer than a
// failover, and than the first seconds of an epoch.
const transferPatience = 2 * time.Minute

// patiently calls f again while the store says that it can't do its work now.
func patiently(ctx context.Context, f func() error) error {
	for begun := time.Now(); ; {
		err := f()
		var wait *tokenstore.LaterError
		if !errors.As(err, &wait) || time.Since(begun) > transferPatience {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(max(20*time.Millisecond, min(wait.After, time.Second))):
		}
	}
}

func (e *exporter) records(ctx context.Context) error {
	for sl := range slice(sliceCount) {
		if err := exportKind(ctx, e, sl, record.Consumer, kindConsumer, kindConsumers, func(_ *view, c *storedConsumer) error {
			if c.state == stateDeleted {
				return nil
			}
			e.deleted[c.is.Key] = false
			return e.give(c.is)
		}); err != nil {
			return err
		}
	}
	kinds := []func(context.Context) error{e.requestTokens, e.accessTokens}
	if e.live {
		// A request token that is exchanged meanwhile is then in neither, and never in both.
		slices.Reverse(kinds)
	}
	for _, kind := range kinds {
		if err := kind(ctx); err != nil {
			return err
		}
	}
	return nil
}

// requestTokens gives the request tokens that were not exchanged.
func (e *exporter) requestTokens(ctx context.Context) error {
	for sl := range slice(sliceCount) {
		if err := exportKind(ctx, e, sl, record.RequestToken, kindRequest, kindRequestsByEnd, func(v *view, t *storedRequest) error {
			// One that was exchanged is only there so that a repeated exchange gets the same answer.
			if !e.s.waits(t, v.marks) || t.state == stateExchanged {
				return nil
			}
			return e.unlessDeleted(ctx, t.is.Consumer, t.is)
		}); err != nil {
			return err
		}
	}
	return nil
}

// accessTokens gives the access tokens with their last use.
func (e *exporter) accessTokens(ctx context.Context) error {
	for sl := range slice(sliceCount) {
		if err := exportKind(ctx, e, sl, record.AccessToken, kindToken, kindTokens, func(v *view, t *storedToken) error {
			if !e.s.there(t, v.marks) {
				return nil
			}
			t.is.LastUsed = t.stamp
			return e.unlessDeleted(ctx, t.is.Consumer, t.is)
		}); err != nil {
			return err
		}
	}
	return nil
}

// exportKind calls give with each record of a slice that is in an index. A record that can't be read
// is an error.
func exportKind[T any](ctx context.Context, e *exporter, sl slice, kind record.Kind[T], keyKind, index string, give func(*view, *stored[T]) error) error {
	s := e.s
	pages := &indexPages{s: s, slice: sl, index: index, live: e.live}
	for {
		var v *view
		var keys []string
		err := patiently(ctx, func() error {
			var err error
			if keys, err = pages.read(ctx); err != nil {
				return err
			}
			names := make([]string, len(keys))
			for i, key := range keys {
				names[i] = s.key(keyKind, sl, key)
			}
			v, err = s.read(ctx, sl, names...)
			return err
		})
		if err != nil {
			return err
		}
		for i, value := range v.values {
			r, err := decode(s, kind, keys[i], value)
			if err != nil {
				return fmt.Errorf("%q: %w", keys[i], err)
			}
			if r == nil {
				continue
			}
			if err := give(v, r); err != nil {
				return err
			}
		}
		if !pages.more(keys) {
			return nil
		}
	}
}

// unlessDeleted gives a token, unless its consumer is being deleted: then the token is about to be.
func (e *exporter) unlessDeleted(ctx context.Context, consumer string, token any) error {
	gone, known := e.deleted[consumer]
	if !known {
		if err := patiently(ctx, func() error {
			c, _, err := e.s.consumer(ctx, consumer)
			gone = c != nil && c.state == stateDeleted
			return err
		}); err != nil {
			return err
		}
		e.deleted[consumer] = gone
	}
	if gone {
		return nil
	}
	return e.give(token)
}

// nonces gives the nonces above the floor: those that this store accepted, and those that it was
// imported with.
func (e *exporter) nonces(ctx context.Context) error {
	s := e.s
	var found []string
	err := s.scan(ctx, func(keys []string) error {
		for _, key := range keys {
			if timestamp, ok := s.nonceTimestamp(key); ok && timestamp > e.floor {
				found = append(found, key)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	used := new(tokenstore.UsedNonces)
	for some := range slices.Chunk(found, exportedAtOnce) {
		var fields [][]string
		var ends []int64
		if err := patiently(ctx, func() (err error) {
			fields, ends, err = s.readBuckets(ctx, some)
			return err
		}); err != nil {
			return err
		}
		for i, key := range some {
			timestamp, _ := s.nonceTimestamp(key)
			used.Expires = max(used.Expires, ends[i])
			for _, field := range fields[i] {
				d := usednonce.PlainOf(timestamp, field)
				used.Digests += string(d[:])
			}
			if len(used.Digests) > 4096*usednonce.Size {
				if err := e.give(used); err != nil {
					return err
				}
				used = new(tokenstore.UsedNonces)
			}
		}
	}
	if used.Digests != "" {
		if err := e.give(used); err != nil {
			return err
		}
	}
	var elsewhere []*tokenstore.UsedNonces
	if err := patiently(ctx, func() (err error) {
		elsewhere, err = s.readElsewhere(ctx)
		return err
	}); err != nil {
		return err
	}
	for _, used := range elsewhere {
		if err := e.give(used); err != nil {
			return err
		}
	}
	return nil
}

// nonceTimestamp returns the timestamp of a bucket of nonces, by its name.
func (s *Store) nonceTimestamp(key string) (int64, bool) {
	rest, ok := strings.CutPrefix(key, s.prefix+":"+kindNonces+"{")
	if !ok {
		return 0, false
	}
	_, rest, _ = strings.Cut(rest, "}:")
	text, _, _ := strings.Cut(rest, ".")
	timestamp, err := strconv.ParseInt(text, 36, 64)
	return timestamp, err == nil
}

// readBuckets reads buckets of nonces, and when they end, in seconds since 1970.
func (s *Store) readBuckets(ctx context.Context, keys []string) (fields [][]string, ends []int64, err error) {
	c, err := s.link.client()
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout())
	defer cancel()
	commands := make([]rueidis.Completed, 0, 2*len(keys))
	for _, key := range keys {
		commands = append(commands, c.B().Hkeys().Key(key).Build(), c.B().Expiretime().Key(key).Build())
	}
	answers := c.DoMulti(ctx, commands...)
	for i := range keys {
		some, err := answers[2*i].AsStrSlice()
		if err != nil {
			return nil, nil, s.explain(ctx, err)
		}
		end, err := answers[2*i+1].AsInt64()
		if err != nil {
			return nil, nil, s.explain(ctx, err)
		}
		fields, ends = append(fields, some), append(ends, end)
	}
	return fields, ends, nil
}

// scan calls each with the names of all keys of the store, some of them more than once.
func (s *Store) scan(ctx context.Context, each func(keys []string) error) error {
	c, err := s.link.client()
	if err != nil {
		return err
	}
	missing := make(map[string]bool)
	for sl := range slice(sliceCount) {
		missing[s.states[sl]] = true
	}
	pattern := globEscaper.Replace(s.prefix) + ":*"
	var failed, refused error
	for address, node := range c.Nodes() {
		err := s.scanNode(ctx, node, pattern, func(keys []string) error {
			for _, key := range keys {
				delete(missing, key)
			}
			refused = each(keys)
			return refused
		})
		if refused != nil {
			return refused
		}
		if err != nil {
			failed = cmp.Or(failed, fmt.Errorf("server %s: %w", address, err))
		}
	}
	if len(missing) > 0 { // a node that can't be reached does not matter, if another one has its keys
		return fmt.Errorf("redis: not all servers could be read: %w", cmp.Or(failed, errors.New("some slices were not found")))
	}
	return nil
}

var globEscaper = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`)

// scanNode does nothing on a replica.
func (s *Store) scanNode(ctx context.Context, node rueidis.Client, pattern string, each func(keys []string) error) error {
	do := func(command rueidis.Completed) rueidis.RedisResult {
		ctx, cancel := context.WithTimeout(ctx, 4*s.timeout())
		defer cancel()
		return node.Do(ctx, command)
	}
	role, err := do(node.B().Role().Build()).ToArray()
	if err != nil || len(role) == 0 {
		return err
	}
	if is, _ := role[0].ToString(); is != "master" {
		return nil
	}
	for cursor := uint64(0); ; {
		entry, err := do(node.B().Scan().Cursor(cursor).Match(pattern).Count(1000).Build()).AsScanEntry()
		if err != nil {
			return err
		}
		if err := each(entry.Elements); err != nil {
			return err
		}
		if cursor = entry.Cursor; cursor == 0 {
			return nil
		}
	}
}
