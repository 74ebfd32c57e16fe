package noncelog

import (
	"fmt"
	"math"
	"reflect"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/record"
)

// A logState is the state of the nonce log that Open needs. The Keeper saves each change before
// anything relies on it.
type logState struct {
	// floor is the timestamp below which all nonces are forgotten, and so refused. It only rises.
	floor int64
	// ceiling is the timestamp above which a nonce is synced before it is accepted. Nonces up to it
	// may be lost in a power cut, and so it becomes the floor then. It stays a little ahead of the
	// clock. If the clock was ahead, it is lowered when the nonces up to it are on disk.
	ceiling int64
	// window is the longest time from a nonce's timestamp to its expiry, in seconds.
	window int64
	// boot names the run of the machine; empty if that is not known.
	boot string
	// clean says that the log was closed, and everything is on disk.
	clean bool
	// counts is the serial number of the counts of the process that saved this, plus one; 0 if it
	// has none.
	counts uint64
	// segments lists the segments of the log. Other files hold nothing that is needed.
	segments []segmentRecord
}

// none is below every timestamp.
const none = math.MinInt64

// stateKind is the kind of the state's record.
var stateKind = record.Kind[logState]{
	Name:    "state of the nonce log",
	Version: 1,
	Fields: func(f *record.Fields, s *logState) {
		record.Int(f, &s.floor)
		record.Int(f, &s.ceiling)
		record.Int(f, &s.window)
		f.Text(&s.boot)
		f.Bool(&s.clean)
		f.Required()
		record.Int(f, &s.counts)
		record.List(f, &s.segments, func(f *record.Fields, r *segmentRecord) {
			record.Int(f, &r.serial)
			record.Int(f, &r.records)
		})
	},
}

// readState returns nil when there is none yet.
func readState(k Keeper) (*logState, error) {
	b, err := k.Load()
	if b == nil && err == nil {
		return nil, nil
	}
	var s *logState
	if err == nil {
		s, err = stateKind.Decode(b)
	}
	if err != nil {
		return nil, fmt.Errorf("state of the nonce log: %w", err)
	}
	return s, nil
}

// change changes the state durably.
func (l *Log) change(f func(*logState)) error {
	l.stateLock.Lock()
	defer l.stateLock.Unlock()
	next := l.state
	f(&next)
	if reflect.DeepEqual(next, l.state) {
		return nil
	}
	if err := l.keeper.Save(stateKind.Encode(&next)); err != nil {
		return err
	}
	l.state = next
	l.publish()
	return nil
}

// publish copies fields of the state for lock-free reads.
func (l *Log) publish() {
	l.floor.Store(l.state.floor)
	if l.lowered != none {
		l.journal.ceiling.Store(min(l.state.ceiling, l.lowered))
	} else {
		l.journal.ceiling.Store(l.state.ceiling)
	}
	l.window.Store(l.state.window)
}
