package noncelog

import (
	"fmt"
	"math"
	"reflect"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/record"
)

// A logState is what must be known of the nonce log when it is opened. A Keeper has it, each
// change on disk before anything is done that relies on it.
type logState struct {
	// floor is the timestamp below which everything is forgotten, and so refused. It only rises.
	floor int64
	// ceiling: a nonce with a timestamp above it was brought to disk before it was accepted; up to
	// it, perhaps not. So it stays a little ahead of the clock, and after a power cut it is the
	// floor. It is lowered, when what it covers is on disk, after the clock was wrong.
	ceiling int64
	// window is the longest time from a nonce's timestamp to its expiry, in seconds.
	window int64
	// boot is when the machine was started, as a name, or empty where that is not known.
	boot string
	// clean says that all was brought to disk and the log closed.
	clean bool
	// counts names the counts of the process that wrote this: their serial number, and one; 0 where
	// it has none.
	counts uint64
	// segments are those of the log. A file that is not among them holds nothing that is needed.
	segments []segmentRecord
}

// none is below every timestamp.
const none = math.MinInt64

// stateKind is the kind of its record.
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
		record.List(f, &s.segments, func(f *record.Fields, l *segmentRecord) {
			record.Int(f, &l.serial)
			record.Int(f, &l.records)
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
func (n *Log) change(f func(*logState)) error {
	n.stateLock.Lock()
	defer n.stateLock.Unlock()
	next := n.state
	f(&next)
	if reflect.DeepEqual(next, n.state) {
		return nil
	}
	if err := n.keeper.Save(stateKind.Encode(&next)); err != nil {
		return err
	}
	n.state = next
	n.publish()
	return nil
}

// publish tells those who only read what the state says.
func (n *Log) publish() {
	n.floor.Store(n.state.floor)
	if n.lowered != none {
		n.journal.ceiling.Store(min(n.state.ceiling, n.lowered))
	} else {
		n.journal.ceiling.Store(n.state.ceiling)
	}
	n.window.Store(n.state.window)
}
