package noncelog

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"go.uber.org/zap"
)

// With manyNonces or more, the garbage of loading them is worth a run of the garbage collector, a
// few milliseconds.
const manyNonces = 500_000

// restore loads the log, and decides what an unclean end may have lost:
//
//   - The process ended, the machine did not (its boot id is the same): nothing. The kernel has
//     everything.
//   - The machine ended too: perhaps the nonces up to the ceiling. All of those are refused from
//     now on; the nonces above it are in the log. The ceiling was a few seconds ahead of the clock.
//     So when the machine is up again, a client whose clock is right is not refused at all, and a
//     client whose clock is slow is refused for as many seconds.
//   - The log is damaged, or less of it is there than was written: it is not known what was lost.
//     So every nonce that may have been accepted is refused: every timestamp up to now and a
//     window, and so every client for that long. (To ask an administrator first would take longer.)
func (l *Log) restore(o Options) error {
	now := o.Clock().Unix()
	boot := o.Boot
	if boot == "" {
		boot = machineBoot()
	}
	known, err := readState(l.keeper)
	if err != nil {
		return err
	}
	state := logState{floor: none, ceiling: none}
	if known != nil {
		state = *known
	}
	l.state = state
	rebooted := boot == "" || boot != state.boot
	if known != nil && !state.clean && rebooted && state.ceiling != none && state.ceiling >= state.floor {
		state.floor = state.ceiling + 1
		warnOfPowerCut(o.Logger, state.floor, now)
	}
	l.floor.Store(state.floor)

	found, err := l.journal.load(func(r loggedNonce) {
		// The error of a nonce that is below the floor, or in the set already, does not matter.
		_ = l.set.use(&r, &l.floor)
	})
	if err != nil {
		return err
	}
	if found.records > manyNonces {
		debug.FreeOSMemory() // the tables that were replaced as they grew are as large as those that are left
	}
	damage := errors.Join(found.damage, l.lost(state, boot))
	switch {
	case known == nil && found.records > 0:
		damage = errors.Join(damage, fmt.Errorf("%w: the tokens database does not know it", errDamaged))
	case known != nil && found.segments == 0:
		damage = errors.Join(damage, fmt.Errorf("%w: its files are gone", errDamaged))
	}
	if damage != nil {
		if known == nil {
			state.window = found.window
		}
		state.floor = max(state.floor, state.ceiling, now+state.window, bucketEnd(found.newest)) + 1
		l.set = newSet(0)
		o.Logger.Error("requests with timestamps before this are refused, because used nonces can't be read",
			zap.Time("before", time.Unix(state.floor, 0)), zap.Error(damage))
	}
	inherited := l.journal.sealed
	if damage != nil {
		l.journal.sealed = nil
	} else if err := l.journal.settle(); err != nil { // records on disk are counted in the state
		return err
	}
	if err := l.journal.advance(nil); err != nil {
		return err
	}
	l.raised = l.journal.position()
	if damage == nil { // all that was loaded is on disk
		state.ceiling = min(state.ceiling, now+lead)
	}
	state.boot, state.clean = boot, false
	state.counts, state.segments = l.journal.counts.serial+1, l.journal.list()
	if err := l.change(func(s *logState) { *s = state }); err != nil {
		return errors.Join(err, l.journal.close())
	}
	if err := removeCounts(l.journal.dir, l.journal.counts.serial); err != nil {
		return errors.Join(err, l.journal.close())
	}
	l.publish() // after kill -9 nothing has changed
	if damage != nil {
		return l.journal.discard(inherited)
	}
	return nil
}

// warnOfPowerCut logs which requests are refused, and what can be done if current ones are among
// them.
func warnOfPowerCut(logger *zap.Logger, floor, now int64) {
	before := zap.Time("before", time.Unix(floor, 0))
	if floor <= now+lead+ceilingSlack {
		logger.Warn("the machine stopped without a clean end: "+
			"requests with timestamps before it are refused", before)
		return
	}
	logger.Warn("the machine stopped while its clock was ahead of the present time, and requests were "+
		"judged by that: all requests with timestamps before the date are refused. If the clock is "+
		"right now, and that is too long, stop the server, restore a backup of the store from before "+
		"the clock was wrong, and start the server a timestamp window later",
		before, zap.Duration("for", time.Duration(floor-now)*time.Second))
}

// lost compares the journal with the state and the counts, and returns an error if records are
// missing.
func (l *Log) lost(state logState, boot string) error {
	for _, r := range state.segments {
		l.journal.serial = max(l.journal.serial, r.serial+1)
	}
	if state.clean || state.counts == 0 || boot == "" || boot != state.boot {
		return missing(state.segments, nil, l.journal.sealed)
	}
	counts, err := readCounts(l.journal.dir, state.counts-1)
	if err != nil {
		return err
	}
	return missing(state.segments, counts, l.journal.sealed)
}

// machineBoot names this run of the machine; empty if the system does not tell.
func machineBoot() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
