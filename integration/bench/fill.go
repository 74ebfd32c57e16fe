package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/badgerstore"
)

const (
	// filled is a file that exists when the store is complete.
	filled = "filled"
	// fillers is the number of concurrent writers. The store combines concurrent writes.
	fillers = 2000
	// bucket is how many seconds of timestamps the store forgets together. A window has this many
	// buckets.
	bucket  = 60
	buckets = window / bucket
)

// oldNonces describes the nonces that a store is filled with.
type oldNonces struct {
	number int
	// ends is the end of the first bucket, in seconds since 1970. The others end every so many
	// seconds after it. 0: none ends while the benchmark runs.
	ends, every int
}

// fillStore fills a store from one size to a larger one, in a process that ends by kill -9 and so
// never closes the store.
func (l *lab) fillStore(store string, tokens [2]int, nonces oldNonces) error {
	p, err := l.startSelf("fill", store, fmt.Sprint(tokens[0]), fmt.Sprint(tokens[1]),
		fmt.Sprint(nonces.number), fmt.Sprint(nonces.ends), fmt.Sprint(nonces.every))
	if err != nil {
		return err
	}
	for done := filepath.Join(l.folder(p.name), filled); ; {
		if _, err := os.Stat(done); err == nil {
			l.kill(p)
			return os.Remove(done)
		}
		select {
		case <-p.exited:
			return fmt.Errorf("fill %s: %v\n%s", store, p.cmd.ProcessState, p.tail())
		case <-l.ctx.Done():
			return l.ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// fill is the role of that process. Its arguments are the store's folder, the number of tokens that
// it has and that it shall have, and the nonces to add.
func fill(arguments []string) error {
	if len(arguments) != 6 {
		return errors.New("fill: wants a folder, two numbers of tokens, and three of nonces")
	}
	var n [5]int
	for i := range n {
		var err error
		if n[i], err = strconv.Atoi(arguments[i+1]); err != nil {
			return err
		}
	}
	store, err := badgerstore.Open(badgerstore.Options{Path: arguments[0]})
	if err != nil {
		return err
	}
	ctx := context.Background()
	for i := range consumers {
		if err := store.CreateConsumer(ctx, hmacConsumer(i)); err != nil && !errors.Is(err, tokenstore.ErrExists) {
			return err
		}
	}
	if err := each(n[0], n[1], func(i int) error { return store.CreateAccessToken(ctx, hmacToken(i)) }); err != nil {
		return err
	}
	nonces, now := oldNonces{n[2], n[3], n[4]}, time.Now()
	if err := each(0, nonces.number, func(i int) error { return store.UseNonce(ctx, nonces.nonce(i, now)) }); err != nil {
		return err
	}
	if err := os.WriteFile(filled, nil, 0o600); err != nil {
		return err
	}
	select {} // until kill -9
}

// nonce returns one of the nonces. Its timestamp is in the past window. Nonces that end during the
// benchmark come in the order of their timestamps, as those of requests do, with the same number in
// each bucket.
func (o oldNonces) nonce(i int, now time.Time) tokenstore.Nonce {
	t := hmacToken(i % 1000)
	n := tokenstore.Nonce{
		Consumer:  t.Consumer,
		Token:     t.Key,
		Timestamp: now.Unix() - int64(i%(window-10)),
		Value:     noncePrefix + fmt.Sprintf("%012d", i),
		Expires:   now.Add(time.Hour),
	}
	if o.ends > 0 {
		k := i * buckets / o.number
		// The bucket's last timestamp, below those of now.
		last := (int(now.Unix())/bucket-buckets+k+1)*bucket - 1
		age := i % bucket
		n.Timestamp, n.Expires = int64(last-age), time.Unix(int64(o.ends+k*o.every-age), 0)
	}
	return n
}

// each calls f for every number from one to below another, in many goroutines.
func each(from, to int, f func(int) error) error {
	var next atomic.Int64
	next.Store(int64(from))
	var failed atomic.Pointer[error]
	var all sync.WaitGroup
	for range fillers {
		all.Go(func() {
			for failed.Load() == nil {
				i := int(next.Add(1)) - 1
				if i >= to {
					return
				}
				if err := f(i); err != nil {
					failed.CompareAndSwap(nil, &err)
				}
			}
		})
	}
	all.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}
