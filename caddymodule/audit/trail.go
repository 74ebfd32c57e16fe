package audit

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
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
	// Failed is told each line that could not be written, or not in time, and each head that could
	// not be kept. Many goroutines may call it at once.
	Failed func(error)
	Now    func() time.Time
}

const (
	// Patience is how long a line may take to be written before nobody waits for it any more: a disk
	// or a log may hang.
	Patience = 5 * time.Second
	// keepEvery is the least time between two heads that are kept. The lines of as long before a
	// crash can be cut off unnoticed.
	keepEvery = time.Second
	// maxOwed is how many lines of changes that were made wait for a sink that can be written.
	maxOwed = 10_000
)

// A Trail writes a chain of lines. Its methods may be called by many goroutines at once. Lines are
// numbered and hashed only when they are written, so one that comes late does not break the chain.
type Trail struct {
	o     Options
	chain string

	mu      sync.Mutex
	sink    Sink
	queue   []*item
	running bool
	since   time.Time // when the write under way began
	after   []func()  // what is done after it
	lost    int       // how many lines are not even owed
	idle    *sync.Cond
	closed  bool

	// Of the goroutine that writes.
	head Head
	owed []*item // what was done, and could not be written yet

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
	seq   uint64 // of the goroutine that writes; 0 unless the line was written
	err   error
	done  chan struct{} // closed under the trail's lock
	left  leaving       // under the trail's lock
}

// leaving says that nobody waits for a line any more.
type leaving int

const (
	awaited   leaving = iota
	late              // its write took too long; its failure was told
	withdrawn         // the same, and what it announces is not done
)

// ErrClosed is the error of a trail that was closed.
var ErrClosed = errors.New("the audit trail is closed")

// The errors of a trail that hangs.
var (
	errLate = fmt.Errorf("not written within %v: its disk or its log hangs", Patience)
	errFull = fmt.Errorf("%d lines wait for a disk or a log that hangs", maxOwed)
)

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
	_ = t.Tell(started) // Failed is told; the line is owed
	return t
}

// continuesField is the name of the change in the first line of a chain, which tells where the chain
// before it ended: From is the chain, To the seq.
const continuesField = "continues"

// Use lets the lines go elsewhere, from now on. Those that are being written still go to the sink
// before: see Release.
func (t *Trail) Use(s Sink) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sink = s
}

// Release closes what a sink had open that another one has replaced, after the lines that are being
// written to it. If that takes too long, it does not wait for it.
func (t *Trail) Release(end func() error) (err error) {
	t.mu.Lock()
	if !t.running {
		t.mu.Unlock()
		return end()
	}
	done := make(chan error, 1)
	t.after = append(t.after, func() { done <- end() })
	t.mu.Unlock()
	timer := time.NewTimer(Patience)
	defer timer.Stop()
	select {
	case err = <-done:
		return err
	case <-timer.C:
		return fmt.Errorf("end the audit trail of a configuration: %w", errLate)
	}
}

// Strict reports whether changes wait for their lines.
func (t *Trail) Strict() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.sink.Strict()
}

// Begin announces a change, if the trail is strict. If it returns an error, the change must not be
// made, unless it is needed. A line that is written later all the same is then followed by another
// one, by which the change failed.
func (t *Trail) Begin(e *Event, needed bool) error {
	if !t.Strict() {
		return nil
	}
	begun := *e
	begun.Outcome = Begun
	it := t.newItem(&begun, false)
	e.begun = it
	left := withdrawn
	if needed {
		left = late
	}
	return t.write(it, left)
}

// Tell writes the line of something that was done. If it can't, and the trail is strict, the line is
// written as soon as the trail can be written again. The same is true of a trail that hangs.
func (t *Trail) Tell(e *Event) error {
	copied := *e
	return t.write(t.newItem(&copied, true), late)
}

func (t *Trail) newItem(e *Event, owed bool) *item {
	at := e.Time
	if at.IsZero() {
		at = t.o.Now()
	}
	return &item{event: e, at: at, owed: owed, done: make(chan struct{})}
}

// write queues a line, and waits until it is written, but for a limited time. left is what it
// becomes after that.
func (t *Trail) write(it *item, left leaving) error {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return ErrClosed
	}
	patience := Patience
	if t.running && time.Since(t.since) >= Patience { // it hangs: only the first lines wait for it
		patience = 0
	}
	if len(t.queue) >= maxOwed && patience == 0 {
		if it.owed {
			t.lost++
		}
		return t.unlockFailed(errFull)
	}
	t.queue = append(t.queue, it)
	if !t.running {
		t.running, t.since = true, time.Now()
		go t.run()
	}
	t.mu.Unlock()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-it.done:
		return it.err
	case <-timer.C:
	}

	t.mu.Lock()
	select {
	case <-it.done:
		t.mu.Unlock()
		return it.err
	default:
	}
	it.left = left
	if i := slices.Index(t.queue, it); i >= 0 && !it.owed {
		t.queue = slices.Delete(t.queue, i, i+1)
	}
	return t.unlockFailed(errLate)
}

// unlockFailed tells a failure, which is an error if the trail is strict.
func (t *Trail) unlockFailed(err error) error {
	strict := t.sink.Strict()
	t.mu.Unlock()
	t.o.Failed(err)
	if strict {
		return err
	}
	return nil
}

// run writes what is queued, all that came in the meantime together.
func (t *Trail) run() {
	for {
		t.mu.Lock()
		after := t.after
		t.after = nil
		if len(after) > 0 {
			t.mu.Unlock()
			for _, do := range after {
				do()
			}
			continue
		}
		items, sink, lost := t.queue, t.sink, t.lost
		t.queue, t.since = nil, time.Now()
		if len(items) == 0 {
			t.running = false
			t.idle.Broadcast()
			t.mu.Unlock()
			return
		}
		t.mu.Unlock()
		t.writeAll(sink, items, lost)
	}
}

func (t *Trail) writeAll(sink Sink, items []*item, lost int) {
	all := append(t.owed, items...)
	if lost > 0 {
		all = append(all, &item{event: &Event{Name: Lost, Count: lost}, at: t.o.Now()})
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
	again := err != nil && sink.Strict() // all lines, by other numbers
	if again {
		for _, it := range all {
			it.seq = 0
		}
	} else {
		// A log that missed the line has a gap, which is found. Another log may have it.
		t.head, t.owed = head, nil
		t.keepSoon(head)
	}

	t.mu.Lock()
	if !again {
		t.lost -= lost
	}
	failures := 0
	for _, it := range items {
		if err != nil && it.left == awaited {
			failures++
		}
		switch {
		case again && !it.owed:
		case again && len(t.owed) < maxOwed:
			t.owed = append(t.owed, it)
		case again:
			t.lost++
		case it.left == withdrawn:
			undone := *it.event
			undone.Outcome, undone.Reason, undone.begun = Failed, "the trail took too long to announce it", it
			t.queue = append(t.queue, t.newItem(&undone, true))
		}
		if sink.Strict() {
			it.err = err
		}
		close(it.done)
	}
	t.mu.Unlock()
	for range failures {
		t.o.Failed(err)
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

// Close writes what is queued, and keeps the head. It does not wait long for a sink that hangs.
func (t *Trail) Close() {
	t.mu.Lock()
	t.closed = true
	end := time.Now().Add(Patience)
	timer := time.AfterFunc(Patience, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.idle.Broadcast()
	})
	for t.running && time.Now().Before(end) {
		t.idle.Wait()
	}
	timer.Stop()
	t.mu.Unlock()
	close(t.stop)
	t.ended.Wait()
	if t.o.Keep != nil {
		t.keepNow()
	}
}
