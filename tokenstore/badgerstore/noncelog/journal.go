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
	"time"

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
	watcher                atomic.Pointer[func(time.Duration)]
}

func newJournal(o Options, key uint64, filled func()) *journal {
	j := &journal{dir: o.Dir, key: key, filled: filled,
		reserve: o.Reserve, reserveToOpen: o.ReserveToOpen, onDisk: o.Synced}
	j.syncs = batch.New(8192, j.syncAll)
	j.ceiling.Store(math.MaxInt64)
	return j
}

// append writes the nonce, so that it survives the end of the process; with sync, also a power cut.
func (j *journal) append(n loggedNonce, sync bool) error {
	if j.failed.Load() != nil {
		return j.usable()
	}
	for {
		s := j.active.Load()
		if i := s.next.Add(1) - 1; i < segmentRecords {
			err := s.put(i, n)
			if err == nil && (sync || int64(n.timestamp) > j.ceiling.Load()) {
				err = j.syncs.Do(context.Background(), s)
			}
			if err == nil {
				err = s.count.add() // after the sync: on disk, the count must not be ahead of the records
			}
			s.done.Add(1)
			return err
		}
		if err := j.advance(s); err != nil {
			return err
		}
	}
}

// usable returns the error after which the journal must not be used: the kernel drops pages that it
// could not write.
func (j *journal) usable() error {
	if err := j.failed.Load(); err != nil {
		return fmt.Errorf("the store must be opened again, because nonces could not be written: %w", *err)
	}
	return nil
}

// position returns a number that changes with every nonce.
func (j *journal) position() int64 {
	s := j.active.Load()
	return int64(s.serial)<<32 + s.next.Load()
}

// check makes a new segment if there is no room for a nonce.
func (j *journal) check() error {
	if s := j.active.Load(); s.next.Load() >= segmentRecords {
		return errors.Join(j.usable(), j.advance(s))
	}
	return j.usable()
}

// advance makes another segment the active one, unless another call did so already.
func (j *journal) advance(full *segment) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.active.Load() != full {
		return nil
	}
	if err := j.usable(); err != nil {
		return err
	}
	next := j.spare
	if next == nil {
		var err error
		if next, err = j.make(); err != nil {
			return fmt.Errorf("nonce log: %w", err)
		}
	}
	j.spare = nil
	if full != nil {
		full.reserved = segmentRecords
		j.sealed = append(j.sealed, full)
	}
	j.active.Store(next)
	j.filled()
	return nil
}

// make makes a segment, if that leaves the reserve of the disk free.
func (j *journal) make() (*segment, error) {
	reserve := j.reserve
	if j.keep == nil { // the log is being opened
		reserve = j.reserveToOpen + segmentSize
	}
	if err := disk.HasRoom(j.dir, reserve); err != nil {
		return nil, err
	}
	if slices.ContainsFunc(j.sealed, func(s *segment) bool { return !s.synced && s.serial+countSlots <= j.serial }) {
		return nil, fmt.Errorf("the disk is too slow: %d full segments are not on it", countSlots)
	}
	if j.counts == nil {
		var err error
		if j.counts, err = newCounts(j.dir, j.serial); err != nil {
			return nil, err
		}
	}
	s, err := newSegment(j.dir, j.serial, j.key)
	if err != nil {
		return nil, err
	}
	if s.count, err = j.counts.take(s.serial); err != nil {
		return nil, errors.Join(err, s.pages.close(), disk.Remove(s.path))
	}
	j.serial++
	if err := j.synced(s); err != nil {
		return nil, errors.Join(err, s.pages.close(), disk.Remove(s.path))
	}
	if j.keep != nil {
		list := append(j.list(), segmentRecord{s.serial, openSegment})
		if err := j.keep(list); err != nil {
			return nil, errors.Join(err, s.pages.close(), disk.Remove(s.path))
		}
	}
	return s, nil
}

// list returns the segments that are needed, for the state. The caller holds mu, or is alone.
func (j *journal) list() []segmentRecord {
	var list []segmentRecord
	for _, s := range append(slices.Clone(j.sealed), j.active.Load(), j.spare) {
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
func (j *journal) keepList(change func()) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	change()
	if j.keep == nil {
		return nil
	}
	return j.keep(j.list())
}

func (j *journal) synced(s *segment) error {
	if j.onDisk == nil {
		return nil
	}
	return j.onDisk(s.path)
}

// syncAll syncs the segments, each once.
func (j *journal) syncAll(segments []*segment) error {
	slices.SortFunc(segments, func(a, b *segment) int { return int(int64(a.serial - b.serial)) })
	for _, s := range slices.Compact(segments) {
		if err := j.sync(s); err != nil {
			return err
		}
	}
	return nil
}

func (j *journal) sync(s *segment) error {
	if err := j.usable(); err != nil {
		return err
	}
	begin := time.Now()
	err := s.pages.sync()
	if watch := j.watcher.Load(); watch != nil {
		(*watch)(time.Since(begin))
	}
	if err == nil {
		err = j.synced(s)
	}
	if err != nil {
		err = fmt.Errorf("sync %q: %w", s.path, err)
		j.failed.CompareAndSwap(nil, &err)
		return err
	}
	return nil
}

// syncWritten brings to disk all that has been written. It must not run beside settle.
func (j *journal) syncWritten() error {
	j.mu.Lock()
	segments := append(slices.Clone(j.sealed), j.active.Load())
	j.mu.Unlock()
	for _, s := range segments {
		if s.synced {
			continue
		}
		if err := errors.Join(j.reopen(s), j.sync(s)); err != nil {
			return err
		}
	}
	return nil
}

// prepare makes the next segment before it is needed.
func (j *journal) prepare() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.spare != nil || j.active.Load().next.Load() < segmentRecords/4 {
		return nil
	}
	var err error
	j.spare, err = j.make()
	return err
}

// settle brings full segments to disk and gives their memory back, once all their records are
// written.
func (j *journal) settle() error {
	j.mu.Lock()
	sealed := slices.Clone(j.sealed)
	j.mu.Unlock()
	var full []*segment
	for _, s := range sealed {
		if s.synced || s.done.Load() < s.reserved {
			continue
		}
		if err := j.reopen(s); err != nil {
			return err
		}
		if err := j.sync(s); err != nil {
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
	return j.keepList(func() {
		for _, s := range full {
			s.records, s.synced = max(s.records, s.count.value()), true
		}
	})
}

// reopen makes a segment of an earlier process one that can be synced.
func (j *journal) reopen(s *segment) error {
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
func (j *journal) remove(below int32, stop <-chan struct{}) error {
	j.mu.Lock()
	sealed := slices.Clone(j.sealed)
	j.mu.Unlock()
	over := slices.DeleteFunc(sealed, func(s *segment) bool { return !s.synced || s.newest.Load() >= below })
	if len(over) == 0 {
		return nil
	}
	if err := j.keepList(func() {
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
		j.mu.Lock()
		j.sealed = slices.DeleteFunc(j.sealed, func(o *segment) bool { return o == s })
		j.mu.Unlock()
		rest()
	}
	return nil
}

// close brings everything to disk. No append may be under way.
func (j *journal) close() error {
	j.syncs.Flush()
	active := j.active.Swap(nil)
	if active == nil {
		return nil
	}
	j.keep = nil // the caller keeps the list when all is done
	active.reserved = min(active.next.Load(), segmentRecords)
	j.sealed = append(j.sealed, active)
	j.unused, j.spare = j.spare, nil
	err := j.settle()
	for _, s := range append(slices.Clone(j.sealed), j.unused) {
		if s != nil && s.pages != nil {
			err = errors.Join(err, s.pages.close())
		}
	}
	if err == nil {
		err = j.trim(active.path, segmentVersion, active.serial, int(active.reserved))
	}
	return errors.Join(err, j.counts.close())
}

// tidy removes the counts and the spare segment of a closed journal, when the list without them is
// durable.
func (j *journal) tidy() error {
	err := disk.Remove(j.counts.path)
	if j.unused != nil {
		err = errors.Join(err, disk.Remove(j.unused.path))
	}
	return err
}

// trim gives back the space of the records that were not used.
func (j *journal) trim(path string, version uint32, serial uint64, records int) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	header := encodeHeader(version, uint32(records), serial, j.key)
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
func (j *journal) load(f func(loggedNonce)) (loaded, error) {
	found := loaded{newest: noBucket}
	entries, err := os.ReadDir(j.dir)
	if err != nil {
		return found, err
	}
	queue := make(chan *segment, len(entries))
	for _, e := range entries {
		path := filepath.Join(j.dir, e.Name())
		if strings.HasSuffix(e.Name(), segmentSuffix+unfinishedSuffix) {
			if err := os.Remove(path); err != nil {
				return found, err
			}
		}
		if serial, ok := segmentSerial(e.Name()); ok {
			j.serial = max(j.serial, serial+1)
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
				one, err := j.loadSegment(s, f)
				j.mu.Lock()
				failed = errors.Join(failed, err)
				found.add(one)
				j.sealed = append(j.sealed, s)
				j.mu.Unlock()
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

func (j *journal) loadSegment(s *segment, f func(loggedNonce)) (loaded, error) {
	one := loaded{newest: noBucket}
	b, err := os.ReadFile(s.path)
	if err != nil {
		return one, err
	}
	info, err := decodeSegment(b, s.serial, j.key, func(n loggedNonce) {
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
		return one, j.trim(s.path, info.version, s.serial, info.taken)
	}
	return one, nil
}

// discard removes segments of earlier processes.
func (j *journal) discard(segments []*segment) error {
	var err error
	for _, s := range segments {
		err = errors.Join(err, disk.Remove(s.path))
	}
	return err
}
