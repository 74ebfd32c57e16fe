package noncelog

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/badgerstore/internal/batch"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/badgerstore/internal/disk"
)

// A journal keeps used nonces on disk, in segments. They are filled one after the other, and
// removed when all their nonces have expired. Appending a nonce copies it to memory of the kernel
// (a memory map), without a system call, a lock or another goroutine.
//
// The journal is not encrypted. It holds keyed hashes, and the key is elsewhere. A reader of the
// files learns the times of requests, and which requests are of the same consumer, but not of which
// one.
type journal struct {
	dir   string
	key   uint64 // identifies the key of the digests
	syncs *batch.Batcher[*segment]
	// keep makes the list of segments durable. It is called before a new one is used, when a full
	// one is on disk, and before one is removed. It is nil while the log is opened.
	keep func([]segmentRecord) error
	// filled is called when a segment is full.
	filled func()

	// ceiling is the timestamp above which append syncs a nonce. It may be lowered: append reads it
	// after it has written the nonce, so a nonce that append does not sync is synced by
	// lowerCeiling.
	ceiling atomic.Int64

	active atomic.Pointer[segment]
	failed atomic.Pointer[error]

	mu     sync.Mutex
	spare  *segment   // the next one, made before it is needed
	sealed []*segment // full ones, and those of earlier processes
	serial uint64     // of the next segment
	unused *segment   // the spare one of a log that was closed
	counts *counts

	reserve, reserveToOpen uint64                  // see Options
	onDisk                 func(path string) error // Options.Synced, or nil
}

func newJournal(o Options, key uint64, filled func()) *journal {
	l := &journal{dir: o.Dir, key: key, filled: filled,
		reserve: o.Reserve, reserveToOpen: o.ReserveToOpen, onDisk: o.Synced}
	l.syncs = batch.New(8192, l.syncAll)
	l.ceiling.Store(math.MaxInt64)
	return l
}

// append writes the nonce, so that it survives the end of the process; with sync, also a power cut.
func (l *journal) append(n loggedNonce, sync bool) error {
	if l.failed.Load() != nil {
		return l.usable()
	}
	for {
		s := l.active.Load()
		if i := s.next.Add(1) - 1; i < segmentRecords {
			err := s.put(i, n)
			if err == nil && (sync || int64(n.timestamp) > l.ceiling.Load()) {
				err = l.syncs.Do(context.Background(), s)
			}
			if err == nil {
				err = s.count.add() // after the sync: on disk, the count must not be ahead of the records
			}
			s.done.Add(1)
			return err
		}
		if err := l.advance(s); err != nil {
			return err
		}
	}
}

// usable returns the error after which the journal must not be used: the kernel drops pages that it
// could not write.
func (l *journal) usable() error {
	if err := l.failed.Load(); err != nil {
		return fmt.Errorf("the store must be opened again, since nonces could not be written: %w", *err)
	}
	return nil
}

// position returns a number that changes with every nonce.
func (l *journal) position() int64 {
	s := l.active.Load()
	return int64(s.serial)<<32 + s.next.Load()
}

// check makes a new segment if there is no room for a nonce.
func (l *journal) check() error {
	if s := l.active.Load(); s.next.Load() >= segmentRecords {
		return errors.Join(l.usable(), l.advance(s))
	}
	return l.usable()
}

// advance makes another segment the active one, unless another call did so already.
func (l *journal) advance(full *segment) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.active.Load() != full {
		return nil
	}
	if err := l.usable(); err != nil {
		return err
	}
	next := l.spare
	if next == nil {
		var err error
		if next, err = l.make(); err != nil {
			return fmt.Errorf("nonce log: %w", err)
		}
	}
	l.spare = nil
	if full != nil {
		full.reserved = segmentRecords
		l.sealed = append(l.sealed, full)
	}
	l.active.Store(next)
	l.filled()
	return nil
}

// make makes a segment, if that leaves the reserve of the disk free.
func (l *journal) make() (*segment, error) {
	reserve := l.reserve
	if l.keep == nil { // the log is being opened
		reserve = l.reserveToOpen + segmentSize
	}
	if err := disk.HasRoom(l.dir, reserve); err != nil {
		return nil, err
	}
	if slices.ContainsFunc(l.sealed, func(s *segment) bool { return !s.synced && s.serial+countSlots <= l.serial }) {
		return nil, fmt.Errorf("the disk is too slow: %d full segments are not on it", countSlots)
	}
	if l.counts == nil {
		var err error
		if l.counts, err = newCounts(l.dir, l.serial); err != nil {
			return nil, err
		}
	}
	s, err := newSegment(l.dir, l.serial, l.key)
	if err != nil {
		return nil, err
	}
	if s.count, err = l.counts.take(s.serial); err != nil {
		return nil, errors.Join(err, s.pages.close(), disk.Remove(s.path))
	}
	l.serial++
	if err := l.synced(s); err != nil {
		return nil, errors.Join(err, s.pages.close(), disk.Remove(s.path))
	}
	if l.keep != nil {
		list := append(l.list(), segmentRecord{s.serial, openSegment})
		if err := l.keep(list); err != nil {
			return nil, errors.Join(err, s.pages.close(), disk.Remove(s.path))
		}
	}
	return s, nil
}

// list returns the segments that are needed, for the state. The caller holds mu, or is alone.
func (l *journal) list() []segmentRecord {
	var list []segmentRecord
	for _, s := range append(slices.Clone(l.sealed), l.active.Load(), l.spare) {
		switch {
		case s == nil || s.over:
		case s.synced:
			list = append(list, segmentRecord{s.serial, s.records})
		default:
			list = append(list, segmentRecord{s.serial, openSegment})
		}
	}
	return list
}

// keepList changes segments under the lock, and makes their list durable.
func (l *journal) keepList(change func()) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
	if l.keep == nil {
		return nil
	}
	return l.keep(l.list())
}

func (l *journal) synced(s *segment) error {
	if l.onDisk == nil {
		return nil
	}
	return l.onDisk(s.path)
}

// syncAll syncs the segments, each once.
func (l *journal) syncAll(segments []*segment) error {
	slices.SortFunc(segments, func(a, b *segment) int { return int(int64(a.serial - b.serial)) })
	for _, s := range slices.Compact(segments) {
		if err := l.sync(s); err != nil {
			return err
		}
	}
	return nil
}

func (l *journal) sync(s *segment) error {
	if err := l.usable(); err != nil {
		return err
	}
	err := s.pages.sync()
	if err == nil {
		err = l.synced(s)
	}
	if err != nil {
		err = fmt.Errorf("sync %q: %w", s.path, err)
		l.failed.CompareAndSwap(nil, &err)
		return err
	}
	return nil
}

// syncWritten brings to disk all that has been written. It must not run beside settle.
func (l *journal) syncWritten() error {
	l.mu.Lock()
	segments := append(slices.Clone(l.sealed), l.active.Load())
	l.mu.Unlock()
	for _, s := range segments {
		if s.synced {
			continue
		}
		if err := errors.Join(l.reopen(s), l.sync(s)); err != nil {
			return err
		}
	}
	return nil
}

// prepare makes the next segment before it is needed.
func (l *journal) prepare() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.spare != nil || l.active.Load().next.Load() < segmentRecords/4 {
		return nil
	}
	var err error
	l.spare, err = l.make()
	return err
}

// settle brings full segments to disk and gives their memory back, once all their records are
// written.
func (l *journal) settle() error {
	l.mu.Lock()
	sealed := slices.Clone(l.sealed)
	l.mu.Unlock()
	var full []*segment
	for _, s := range sealed {
		if s.synced || s.done.Load() < s.reserved {
			continue
		}
		if err := l.reopen(s); err != nil {
			return err
		}
		if err := l.sync(s); err != nil {
			return err
		}
		if err := s.pages.close(); err != nil {
			return err
		}
		s.pages = nil
		full = append(full, s)
	}
	if len(full) == 0 {
		return nil
	}
	return l.keepList(func() {
		for _, s := range full {
			s.records, s.synced = max(s.records, s.count.value()), true
		}
	})
}

// reopen makes a segment of an earlier process one that can be synced.
func (l *journal) reopen(s *segment) error {
	if s.pages != nil {
		return nil
	}
	f, err := os.OpenFile(s.path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	s.pages = &written{f}
	return nil
}

// remove removes the segments that hold nothing but what is below the bucket.
func (l *journal) remove(below int32, stop <-chan struct{}) error {
	l.mu.Lock()
	sealed := slices.Clone(l.sealed)
	l.mu.Unlock()
	over := slices.DeleteFunc(sealed, func(s *segment) bool { return !s.synced || s.newest.Load() >= below })
	if len(over) == 0 {
		return nil
	}
	if err := l.keepList(func() {
		for _, s := range over {
			s.over = true
		}
	}); err != nil {
		return err
	}
	for _, s := range over {
		if isClosed(stop) {
			return nil
		}
		if err := disk.Remove(s.path); err != nil {
			return err
		}
		l.mu.Lock()
		l.sealed = slices.DeleteFunc(l.sealed, func(o *segment) bool { return o == s })
		l.mu.Unlock()
		rest()
	}
	return nil
}

// close brings everything to disk. No append may be under way.
func (l *journal) close() error {
	l.syncs.Flush()
	active := l.active.Swap(nil)
	if active == nil {
		return nil
	}
	l.keep = nil // the caller keeps the list when all is done
	active.reserved = min(active.next.Load(), segmentRecords)
	l.sealed = append(l.sealed, active)
	l.unused, l.spare = l.spare, nil
	err := l.settle()
	for _, s := range append(slices.Clone(l.sealed), l.unused) {
		if s != nil && s.pages != nil {
			err = errors.Join(err, s.pages.close())
		}
	}
	if err == nil {
		err = l.trim(active.path, segmentVersion, active.serial, int(active.reserved))
	}
	return errors.Join(err, l.counts.close())
}

// tidy removes the counts and the spare segment of a closed journal, when the list without them is
// durable.
func (l *journal) tidy() error {
	err := disk.Remove(l.counts.path)
	if l.unused != nil {
		err = errors.Join(err, disk.Remove(l.unused.path))
	}
	return err
}

// trim gives back the space of the records that were not used.
func (l *journal) trim(path string, version uint32, serial uint64, records int) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	header := encodeHeader(version, uint32(records), serial, l.key)
	_, err = f.WriteAt(header[:], 0)
	if err == nil {
		err = f.Sync() // the header first: a file that is shorter than its header says is damaged
	}
	if err == nil {
		err = f.Truncate(segmentHeader + int64(records)*recordSize)
	}
	return errors.Join(err, f.Close())
}

// loaded is the result of load.
type loaded struct {
	segments int
	records  int64
	newest   int32
	window   int64 // the longest time from a timestamp to its expiry, in seconds
	damage   error
}

// load calls f with every nonce that is there, from several goroutines. Damage is not an error: f
// gets all that can be read, and the result has the damage.
func (l *journal) load(f func(loggedNonce)) (loaded, error) {
	found := loaded{newest: noBucket}
	entries, err := os.ReadDir(l.dir)
	if err != nil {
		return found, err
	}
	queue := make(chan *segment, len(entries))
	for _, e := range entries {
		path := filepath.Join(l.dir, e.Name())
		if strings.HasSuffix(e.Name(), segmentSuffix+unfinishedSuffix) {
			if err := os.Remove(path); err != nil {
				return found, err
			}
		}
		if serial, ok := segmentSerial(e.Name()); ok {
			l.serial = max(l.serial, serial+1)
			found.segments++
			queue <- &segment{path: path, serial: serial, count: counter{n: new(atomic.Int64)}}
		}
	}
	close(queue)

	var all sync.WaitGroup
	var failed error
	for range runtime.GOMAXPROCS(0) {
		all.Go(func() {
			for s := range queue {
				one, err := l.loadSegment(s, f)
				l.mu.Lock()
				failed = errors.Join(failed, err)
				found.add(one)
				l.sealed = append(l.sealed, s)
				l.mu.Unlock()
			}
		})
	}
	all.Wait()
	return found, failed
}

func (found *loaded) add(one loaded) {
	found.records += one.records
	found.newest = max(found.newest, one.newest)
	found.window = max(found.window, one.window)
	found.damage = errors.Join(found.damage, one.damage)
}

func (l *journal) loadSegment(s *segment, f func(loggedNonce)) (loaded, error) {
	one := loaded{newest: noBucket}
	b, err := os.ReadFile(s.path)
	if err != nil {
		return one, err
	}
	info, err := decodeSegment(b, s.serial, l.key, func(n loggedNonce) {
		one.newest = max(one.newest, n.bucket())
		one.window = max(one.window, int64(n.expires)-int64(n.timestamp))
		f(n)
	})
	one.records = int64(info.records)
	s.records = one.records
	s.newest.Store(one.newest)
	if err != nil {
		one.damage = fmt.Errorf("%q: %w", s.path, err)
		return one, nil
	}
	if info.taken < info.capacity {
		return one, l.trim(s.path, info.version, s.serial, info.taken)
	}
	return one, nil
}

// discard removes segments of earlier processes.
func (l *journal) discard(segments []*segment) error {
	var err error
	for _, s := range segments {
		err = errors.Join(err, disk.Remove(s.path))
	}
	return err
}
