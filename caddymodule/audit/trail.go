package audit

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Key derives the key of the hashes from the secret of the store.
func Key(secret [32]byte) []byte {
	mac := hmac.New(sha256.New, secret[:])
	mac.Write([]byte("caddy-oauth1 audit"))
	return mac.Sum(nil)
}

// A Head is the last line of a chain that the store knows of.
type Head struct {
	Chain string `json:"chain"`
	Seq   uint64 `json:"seq"`
	Hash  string `json:"hash"`
	Time  string `json:"time"`
}

// ParseHead reads what Options.Keep was given.
func ParseHead(text []byte) (h Head, err error) {
	if err = json.Unmarshal(text, &h); err == nil && (h.Chain == "" || h.Hash == "") {
		err = errors.New("it names no chain")
	}
	if err != nil {
		return h, fmt.Errorf("read the head of an audit trail: %w", err)
	}
	return h, nil
}

// A Sink takes the lines of a trail.
type Sink interface {
	// Write writes the lines, all or none. It is not called twice at the same time.
	Write(lines []*Line) error
	// Strict reports whether a line is durable when Write has returned. A change is then not made
	// unless its line was written.
	Strict() bool
}

// Options are what a Trail needs.
type Options struct {
	Key []byte
	// Before is the head of the process before this one; nil if there was none.
	Before *Head
	Sink   Sink
	// Keep keeps a head in the store; nil if the store can't.
	Keep func(head []byte) error
	// Failed is told each line that could not be written, and each head that could not be kept.
	Failed func(error)
	Now    func() time.Time
}

const (
	// keepEvery is the least time between two heads that are kept. The lines of as long before a
	// crash can be cut off unnoticed.
	keepEvery = time.Second
	// maxOwed is how many lines of changes that were made wait for a file that can be written.
	maxOwed = 10_000
)

// A Trail writes a chain of lines. Its methods may be called by many goroutines at once.
type Trail struct {
	o     Options
	chain string

	mu      sync.Mutex
	sink    Sink
	queue   []*item
	running bool
	idle    *sync.Cond
	closed  bool

	// Of the goroutine that writes.
	head Head
	owed []*item // what was done, and could not be written yet
	lost int     // what was done, and is not even owed

	keepMu sync.Mutex
	kept   Head
	dirty  chan struct{}
	stop   chan struct{}
	ended  sync.WaitGroup
}

type item struct {
	event *Event
	at    time.Time
	owed  bool
	seq   uint64
	err   error
	done  chan struct{}
}

// ErrClosed is the error of a trail that was closed.
var ErrClosed = errors.New("the audit trail is closed")

// Open begins a chain, which continues the one of the process before.
func Open(o Options) *Trail {
	t := &Trail{o: o, sink: o.Sink, dirty: make(chan struct{}, 1), stop: make(chan struct{})}
	t.idle = sync.NewCond(&t.mu)
	var id [8]byte
	rand.Read(id[:])
	t.chain = hex.EncodeToString(id[:])
	started := &Event{Name: Started, Actor: ActorServer, ActorSource: ActorServer}
	if o.Before != nil {
		t.head.Hash = o.Before.Hash
		started.Changes = []Change{{Field: continuesField, From: o.Before.Chain, To: fmt.Sprint(o.Before.Seq)}}
	}
	t.head.Chain = t.chain
	if o.Keep != nil {
		t.ended.Go(t.keepHeads)
	}
	_, _ = t.write(started, true) // Failed is told; the line is owed
	return t
}

// continuesField is the name of the change in the first line of a chain, which tells where the chain
// before it ended: From is the chain, To the seq.
const continuesField = "continues"

// Use lets the lines go elsewhere, from now on.
func (t *Trail) Use(s Sink) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sink = s
}

// Strict reports whether changes wait for their lines.
func (t *Trail) Strict() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.sink.Strict()
}

// Begin announces a change, if the trail is strict. If it returns an error, the change must not be
// made.
func (t *Trail) Begin(e *Event) error {
	if !t.Strict() {
		return nil
	}
	begun := *e
	begun.Outcome = Begun
	seq, err := t.write(&begun, false)
	e.begun = seq
	return err
}

// Tell writes the line of something that was done. If it can't, and the trail is strict, the line is
// written as soon as the trail can be written again.
func (t *Trail) Tell(e *Event) error {
	_, err := t.write(e, true)
	return err
}

func (t *Trail) write(e *Event, owed bool) (uint64, error) {
	copied := *e
	it := &item{event: &copied, at: t.o.Now(), owed: owed, done: make(chan struct{})}
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return 0, ErrClosed
	}
	t.queue = append(t.queue, it)
	if !t.running {
		t.running = true
		go t.run()
	}
	t.mu.Unlock()
	<-it.done
	return it.seq, it.err
}

// run writes what is queued, all that came in the meantime together.
func (t *Trail) run() {
	for {
		t.mu.Lock()
		items, sink := t.queue, t.sink
		t.queue = nil
		if len(items) == 0 {
			t.running = false
			t.idle.Broadcast()
			t.mu.Unlock()
			return
		}
		t.mu.Unlock()
		t.writeAll(sink, items)
	}
}

func (t *Trail) writeAll(sink Sink, items []*item) {
	all := append(t.owed, items...)
	if t.lost > 0 {
		all = append(all, &item{event: &Event{Name: Lost, Count: t.lost}, at: t.o.Now()})
	}
	head, lines := t.head, make([]*Line, len(all))
	for i, it := range all {
		l := newLine(it.event, it.at)
		l.Chain, l.Seq, l.Prev = t.chain, head.Seq+1, head.Hash
		l.Hash = l.sum(t.o.Key)
		head.Seq, head.Hash, head.Time = l.Seq, l.Hash, l.Time
		it.seq, lines[i] = l.Seq, l
	}
	err := sink.Write(lines)
	if err == nil || !sink.Strict() {
		// A log that missed the line has a gap, which is found. Another log may have it.
		t.head, t.owed, t.lost = head, nil, 0
		t.keepSoon(head)
	}
	if err != nil {
		for range items {
			t.o.Failed(err)
		}
	}
	if err != nil && sink.Strict() {
		for _, it := range items {
			switch {
			case !it.owed:
			case len(t.owed) < maxOwed:
				t.owed = append(t.owed, it)
			default:
				t.lost++
			}
		}
	}
	for _, it := range items {
		if sink.Strict() {
			it.err = err
		}
		close(it.done)
	}
}

// keepSoon lets keepHeads keep the head.
func (t *Trail) keepSoon(h Head) {
	t.keepMu.Lock()
	t.kept = h
	t.keepMu.Unlock()
	select {
	case t.dirty <- struct{}{}:
	default:
	}
}

func (t *Trail) keepHeads() {
	for {
		select {
		case <-t.dirty:
		case <-t.stop:
			return
		}
		t.keepNow()
		select {
		case <-time.After(keepEvery):
		case <-t.stop:
			return
		}
	}
}

func (t *Trail) keepNow() {
	t.keepMu.Lock()
	h := t.kept
	t.keepMu.Unlock()
	if h.Seq == 0 {
		return
	}
	text, err := json.Marshal(h)
	if err == nil {
		err = t.o.Keep(text)
	}
	if err != nil {
		t.o.Failed(fmt.Errorf("keep the head of the audit trail: %w", err))
	}
}

// Close writes what is queued, and keeps the head.
func (t *Trail) Close() {
	t.mu.Lock()
	t.closed = true
	for t.running {
		t.idle.Wait()
	}
	t.mu.Unlock()
	close(t.stop)
	t.ended.Wait()
	if t.o.Keep != nil {
		t.keepNow()
	}
}
