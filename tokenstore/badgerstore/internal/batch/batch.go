// Package batch groups the writes of concurrent callers.
package batch

import (
	"context"
	"runtime"
	"sync"
)

// A Batcher collects the items of concurrent callers while the previous batch is being written, and
// writes them together: one fsync for all.
type Batcher[T any] struct {
	write func([]T) error
	max   int // items of one batch

	mu      sync.Mutex
	queue   []*batch[T]
	running bool
	idle    *sync.Cond
}

type batch[T any] struct {
	items []T
	done  chan struct{}
	err   error
}

// New returns a Batcher that calls write with at most limit items, never twice at the same time.
func New[T any](limit int, write func([]T) error) *Batcher[T] {
	b := &Batcher[T]{write: write, max: limit}
	b.idle = sync.NewCond(&b.mu)
	return b
}

// Do returns when the item was written, or when ctx ends. The item is written in both cases.
func (b *Batcher[T]) Do(ctx context.Context, item T) error {
	b.mu.Lock()
	var mine *batch[T]
	if n := len(b.queue); n > 0 && len(b.queue[n-1].items) < b.max {
		mine = b.queue[n-1]
	} else {
		mine = &batch[T]{done: make(chan struct{})}
		b.queue = append(b.queue, mine)
	}
	mine.items = append(mine.items, item)
	if !b.running {
		b.running = true
		go b.run()
	}
	b.mu.Unlock()

	select {
	case <-mine.done:
		return mine.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (b *Batcher[T]) run() {
	for {
		b.mu.Lock()
		if len(b.queue) == 0 {
			b.running = false
			b.idle.Broadcast()
			b.mu.Unlock()
			return
		}
		next := b.queue[0]
		b.queue = b.queue[1:]
		b.mu.Unlock()

		next.err = b.write(next.items)
		close(next.done)
		// Goroutines that are ready run first: some of them add an item to the next batch. The
		// busier the CPU, the longer that takes, and the fewer batches it has to do. On an idle CPU
		// nothing waits.
		runtime.Gosched()
	}
}

// Flush waits until everything is written.
func (b *Batcher[T]) Flush() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.running {
		b.idle.Wait()
	}
}
