package badgerstore

import (
	"errors"
	"fmt"
	"math"
	"os"
	"reflect"
	"runtime/debug"
	"strings"
	"time"

	"github.com/dgraph-io/badger/v4"
	"go.uber.org/zap"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/record"
)

// A nonceState is what must be known of the nonce log when it is opened. It is kept in the tokens database, each change
// on disk before anything is done that relies on it.
type nonceState struct {
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
	// counts names the nonceCounts of the process that wrote this: their serial number, and one; 0 where it has none.
	counts uint64
	// segments are those of the log. A file that is not among them holds nothing that is needed.
	segments []segmentRecord
}

const none = math.MinInt64

// kindNonceState is the kind of its record.
var kindNonceState = record.Kind[nonceState]{
	Name:    "state of the nonce log",
	Version: 1,
	Fields: func(f *record.Fields, s *nonceState) {
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

// readNonceState returns nil when there is none yet.
func readNonceState(db *database) (found *nonceState, err error) {
	err = db.view(func(txn *badger.Txn) error {
		return get(txn, []byte{prefixNonceState}, func(v []byte) (err error) {
			found, err = kindNonceState.Decode(v)
			return err
		})
	})
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("state of the nonce log: %w", err)
	}
	return found, nil
}

// change changes the state durably.
func (n *nonces) change(f func(*nonceState)) error {
	n.stateLock.Lock()
	defer n.stateLock.Unlock()
	next := n.state
	f(&next)
	if reflect.DeepEqual(next, n.state) {
		return nil
	}
	var c change
	c.put([]byte{prefixNonceState}, kindNonceState.Encode(&next), 0)
	c.frees = true
	if err := n.tokens.commit(c); err != nil {
		return err
	}
	n.state = next
	n.publish()
	return nil
}

// publish tells those who only read what the state says.
func (n *nonces) publish() {
	n.floor.Store(n.state.floor)
	if n.lowered != none {
		n.log.ceiling.Store(min(n.state.ceiling, n.lowered))
	} else {
		n.log.ceiling.Store(n.state.ceiling)
	}
	n.window.Store(n.state.window)
}

// manyNonces are so many that what is left of loading them is worth a run of the garbage collector, a few milliseconds.
const manyNonces = 500_000

// restore loads the log, and decides what an end that was not clean may have cost:
//
//   - The process ended, the machine did not (its boot id is the same): nothing, the kernel has it all.
//   - The machine ended too: perhaps the nonces up to the ceiling. They are all refused from now on; those above it are
//     in the log. The ceiling was a few seconds ahead of the clock, so when the machine is up again a client whose clock
//     is right is not refused at all; one whose clock is slow is, for as long as it is slow.
//   - The log is damaged, or less of it is there than was written: nobody knows what was lost.
//     Whatever can have been accepted is refused: every timestamp up to
//     now and a window, so every client for that long. (To ask an administrator first would take longer.)
func (n *nonces) restore(o Options) error {
	now := o.Clock().Unix()
	boot := o.bootID
	if boot == "" {
		boot = machineBoot()
	}
	known, err := readNonceState(n.tokens)
	if err != nil {
		return err
	}
	state := nonceState{floor: none, ceiling: none}
	if known != nil {
		state = *known
	}
	n.state = state
	if known != nil && !state.clean && (boot == "" || boot != state.boot) && state.ceiling != none && state.ceiling >= state.floor {
		state.floor = state.ceiling + 1
		warnOfPowerCut(o.Logger, state.floor, now)
	}
	n.floor.Store(state.floor)

	found, err := n.log.load(func(l loggedNonce) {
		// What is below the floor or there already is no news.
		_ = n.set.use(&l, &n.floor)
	})
	if err != nil {
		return err
	}
	if found.records > manyNonces {
		debug.FreeOSMemory() // the tables that others took the place of are as large as those
	}
	damage := errors.Join(found.damage, n.lost(state, boot))
	switch {
	case known == nil && found.records > 0:
		damage = errors.Join(damage, fmt.Errorf("%w: the tokens database does not know it", errSegment))
	case known != nil && found.segments == 0:
		damage = errors.Join(damage, fmt.Errorf("%w: its files are gone", errSegment))
	}
	if damage != nil {
		if known == nil {
			state.window = found.window
		}
		state.floor = max(state.floor, state.ceiling, now+state.window, bucketEnd(found.newest)) + 1
		n.set = newNonceSet(0)
		o.Logger.Error("requests with timestamps before this are refused, since used nonces can't be read",
			zap.Time("before", time.Unix(state.floor, 0)), zap.Error(damage))
	}
	inherited := n.log.sealed
	if damage != nil {
		n.log.sealed = nil
	} else if err := n.log.settle(); err != nil { // what is on disk can be counted for ever
		return err
	}
	if err := n.log.advance(nil); err != nil {
		return err
	}
	n.raised = n.log.position()
	if damage == nil { // all that is there is on disk
		state.ceiling = min(state.ceiling, now+nonceLead)
	}
	state.boot, state.clean, state.counts, state.segments = boot, false, n.log.counts.serial+1, n.log.list()
	if err := n.change(func(s *nonceState) { *s = state }); err != nil {
		return errors.Join(err, n.log.close())
	}
	if err := removeNonceCounts(n.log.dir, n.log.counts.serial); err != nil {
		return errors.Join(err, n.log.close())
	}
	n.publish() // after kill -9 nothing has changed
	if damage != nil {
		return n.log.discard(inherited)
	}
	return nil
}

// warnOfPowerCut says which requests are refused, and where those of now are among them, what can
// be done.
func warnOfPowerCut(logger *zap.Logger, floor, now int64) {
	before := zap.Time("before", time.Unix(floor, 0))
	if floor <= now+nonceLead+ceilingSlack {
		logger.Warn("the machine stopped and could not say so: "+
			"requests with timestamps before it are refused", before)
		return
	}
	logger.Warn("the machine stopped while its clock was ahead of what it is now, and requests were "+
		"judged by that: all requests with timestamps before the date are refused. If the clock is "+
		"right now, and that is too long, stop the server, restore a backup of the store from before "+
		"the clock was wrong, and start the server a timestamp window later",
		before, zap.Duration("for", time.Duration(floor-now)*time.Second))
}

// lost returns what the state tells of the log and the log does not have.
func (n *nonces) lost(state nonceState, boot string) error {
	for _, l := range state.segments {
		n.log.serial = max(n.log.serial, l.serial+1)
	}
	if state.clean || state.counts == 0 || boot == "" || boot != state.boot {
		return missing(state.segments, nil, n.log.sealed)
	}
	counts, err := readNonceCounts(n.log.dir, state.counts-1)
	if err != nil {
		return err
	}
	return missing(state.segments, counts, n.log.sealed)
}

// machineBoot names this run of the machine, where Linux tells.
func machineBoot() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
