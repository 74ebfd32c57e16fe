package noncelog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/badgerstore/internal/disk"
)

// counts is a small file with the number of records that were written to each segment that is not
// full and on disk yet. A record is counted when it is written, without a system call if files can
// be mapped. So after kill -9, a segment that holds fewer is damaged. After a power cut the file
// proves nothing, and is not read. Each process makes its own.
//
//	header  0 magic (8)   8 version (4)   16 serial number of the process's first segment (8)
//	        60 CRC-32C of all before
//	slots   64 bytes each, in the machine's byte order: 0 serial number of the segment, plus one (8)
//	        8 records (8)
type counts struct {
	path   string
	serial uint64
	file   *os.File
	data   []byte // nil: not mapped
	mu     sync.Mutex
}

const (
	countsSuffix  = ".counts"
	countsMagic   = "oa1count"
	countsVersion = 1
	countsHeader  = 64
	countSize     = 64
	countsSize    = 4096
	// countSlots is how many segments may not be on disk at the same time.
	countSlots = (countsSize - countsHeader) / countSize
)

// A counter counts the records of a segment.
type counter struct {
	n *atomic.Int64
	// write is nil if n is in the file's memory.
	write func() error
}

func (c *counter) add() error {
	if c.write != nil {
		return c.write()
	}
	c.n.Add(1)
	return nil
}

func (c *counter) value() int64 { return c.n.Load() }

func countsPath(dir string, serial uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%016x%s", serial, countsSuffix))
}

func countsHead(serial uint64) (h [segmentHeader]byte) {
	copy(h[:], countsMagic)
	binary.LittleEndian.PutUint32(h[8:], countsVersion)
	binary.LittleEndian.PutUint64(h[16:], serial)
	binary.LittleEndian.PutUint32(h[60:], crc32.Checksum(h[:60], castagnoli))
	return h
}

func newCounts(dir string, serial uint64) (*counts, error) {
	c := &counts{path: countsPath(dir, serial), serial: serial}
	reserved, err := makeFile(c.path, countsSize, countsHead(serial))
	if err != nil {
		return nil, errors.Join(err, disk.Remove(c.path))
	}
	if c.file, err = os.OpenFile(c.path, os.O_RDWR, 0); err != nil {
		return nil, err
	}
	if reserved {
		if c.data, err = mapFile(c.file, countsSize); err != nil {
			return nil, errors.Join(err, c.file.Close())
		}
	}
	return c, nil
}

func slotOf(serial uint64) int { return countsHeader + int(serial%countSlots)*countSize }

// take begins to count the records of a segment. The slot is synced, for a disk that loses power
// while the machine does not.
func (c *counts) take(serial uint64) (counter, error) {
	at := slotOf(serial)
	if c.data != nil {
		n := (*atomic.Int64)(unsafe.Pointer(&c.data[at+8])) // aligned: pages and slots are
		n.Store(0)
		(*atomic.Uint64)(unsafe.Pointer(&c.data[at])).Store(serial + 1)
		return counter{n: n}, c.file.Sync()
	}
	n := new(atomic.Int64)
	write := func(records int64) error {
		var b [16]byte
		binary.NativeEndian.PutUint64(b[:], serial+1)
		binary.NativeEndian.PutUint64(b[8:], uint64(records))
		_, err := c.file.WriteAt(b[:], int64(at))
		return err
	}
	return counter{n, func() error {
		c.mu.Lock() // so that the highest number is written last
		defer c.mu.Unlock()
		return write(n.Add(1))
	}}, errors.Join(write(0), c.file.Sync())
}

func (c *counts) close() error {
	var err error
	if c.data != nil {
		err = unmapFile(c.data)
	}
	return errors.Join(err, c.file.Close())
}

// readCounts returns how many records each segment has at least, by serial number.
func readCounts(dir string, serial uint64) (map[uint64]int64, error) {
	b, err := os.ReadFile(countsPath(dir, serial))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
	if h := countsHead(serial); len(b) != countsSize || string(b[:countsHeader]) != string(h[:]) {
		return nil, fmt.Errorf("%w: %q is damaged or of another version", errDamaged, countsPath(dir, serial))
	}
	counts := make(map[uint64]int64)
	for at := countsHeader; at < countsSize; at += countSize {
		segment := binary.NativeEndian.Uint64(b[at:])
		switch {
		case segment == 0:
		case slotOf(segment-1) != at:
			return nil, fmt.Errorf("%w: %q counts segment %x in a wrong place",
				errDamaged, countsPath(dir, serial), segment-1)
		default:
			counts[segment-1] = int64(binary.NativeEndian.Uint64(b[at+8:]))
		}
	}
	return counts, nil
}

// removeCounts removes the counts of earlier processes.
func removeCounts(dir string, except uint64) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if strings.HasSuffix(e.Name(), countsSuffix) && path != countsPath(dir, except) {
			err = errors.Join(err, disk.Remove(path))
		}
	}
	return err
}

// A segmentRecord describes a segment in the state.
type segmentRecord struct {
	serial uint64
	// records is how many records it holds, or openSegment while counts has the number.
	records int64
}

const openSegment = -1

// missing compares the segments that were loaded with those of the state, and returns an error that
// names the missing ones. counts is nil if the open segments' counts are not known.
func missing(listed []segmentRecord, counts map[uint64]int64, loaded []*segment) error {
	bySerial := make(map[uint64]*segment, len(loaded))
	for _, s := range loaded {
		bySerial[s.serial] = s
	}
	var errs []error
	for _, l := range listed {
		s := bySerial[l.serial]
		want := l.records
		if want == openSegment && counts != nil {
			n, ok := counts[l.serial]
			if !ok {
				errs = append(errs, fmt.Errorf("%w: nothing counts segment %x", errDamaged, l.serial))
			}
			want = n
		}
		switch {
		case s == nil:
			errs = append(errs, fmt.Errorf("%w: segment %x is gone", errDamaged, l.serial))
		case s.records < want:
			errs = append(errs, fmt.Errorf("%w: %q holds %d records, and %d were written",
				errDamaged, s.path, s.records, want))
		}
	}
	return errors.Join(errs...)
}
