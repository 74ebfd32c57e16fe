package noncelog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/usednonce"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/badgerstore/internal/disk"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/record"
)

// A segment is one file of the nonce log: a header, and records of fixed size that are written
// once, in any order. All numbers are little-endian.
//
//	header   0 magic (8)   8 version (4)   12 capacity in records (4)   16 serial number (8)
//	        24 what key the digests are made with (8)   32 zeros (28)   60 CRC-32C of all before
//	record   0 digest (12)   12 consumer (5)   17 token (3)   20 timestamp (4)   24 expiry (4)
//	        28 checksum (4)
//
// Times are seconds since 1970. The checksum is written last, at once, and is never 0: a record
// with 0 there was not finished, so its request was never let through. Any other checksum that is
// wrong is damage, and so are fewer records than were written (counts.go). No record crosses a
// disk's sector.
//
// The reading of a segment depends on no constant that may change, such as bucketSeconds. Version 1
// had eight bytes of the consumer's hash, a bucket of 60 seconds for the timestamp, and the expiry
// of the whole bucket.
const (
	segmentMagic   = "oa1nonce"
	segmentVersion = 2
	segmentHeader  = 64
	recordSize     = 32
	// segmentRecords makes a segment 4 MiB: a new file for each 131,070 requests.
	segmentRecords = (4<<20 - segmentHeader) / recordSize
	segmentSize    = segmentHeader + segmentRecords*recordSize

	segmentSuffix    = ".nonces"
	unfinishedSuffix = ".new"
)

// errDamaged: the nonce log can't be trusted.
var errDamaged = errors.New("damaged nonce log")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

type (
	// digest is the first 96 bits of a keyed hash: enough that two of millions of nonces never have
	// the same.
	digest [usednonce.Size]byte
	// consumerID is 40 bits of a keyed hash of the consumer's key.
	consumerID uint64
	// tokenID is 24 bits of a keyed hash of the token; 0 means no token, or an unknown one.
	tokenID uint32
)

const (
	consumerBits  = 40
	tokenBits     = 24
	v1BucketWidth = 60
)

// A loggedNonce is the part of a nonce that is kept.
type loggedNonce struct {
	digest    digest
	consumer  consumerID
	token     tokenID
	timestamp uint32 // seconds since 1970
	expires   uint32 // seconds since 1970
}

func (n *loggedNonce) bucket() int32 { return int32(n.timestamp / bucketSeconds) }

// bucketExpires returns when all timestamps of the bucket have expired, if they live as long as
// this one.
func (n *loggedNonce) bucketExpires() uint32 {
	return uint32(min(int64(n.expires)+bucketEnd(n.bucket())-int64(n.timestamp), math.MaxUint32))
}

type segment struct {
	path   string
	serial uint64
	// pages has the open file; nil if the segment is full, or of an earlier process.
	pages pages
	// count counts the records that were written, and outlives the process.
	count counter
	// reserved is how many records were begun, set when no more can be.
	reserved int64
	// synced says that the whole segment is on disk.
	synced bool
	// records is how many it holds, once it is synced.
	records int64
	// over says that the segment is not needed any more.
	over bool
	// newest is the highest bucket of a record.
	newest atomic.Int32
	_      [64]byte
	next   atomic.Int64 // the next free record
	_      [64]byte
	done   atomic.Int64 // records that are finished, including failed ones
}

// pages are the bytes of a segment's file. Its space is reserved when it is made: a write to mapped
// memory must not meet a full disk.
type pages interface {
	// put writes record i of the segment with the number, its checksum last.
	put(i int64, serial uint64, n loggedNonce) error
	// sync returns when all that was put is on disk.
	sync() error
	close() error
}

// newSegment makes the file. When it returns, its space, its header and its name are on disk.
func newSegment(dir string, serial, key uint64) (_ *segment, err error) {
	s := &segment{path: filepath.Join(dir, fmt.Sprintf("%016x%s", serial, segmentSuffix)), serial: serial,
		count: counter{n: new(atomic.Int64)}}
	s.newest.Store(noBucket)
	unfinished := s.path + unfinishedSuffix
	header := encodeHeader(segmentVersion, segmentRecords, serial, key)
	reserved, err := makeFile(unfinished, segmentSize, header)
	if err != nil {
		return nil, errors.Join(err, disk.Remove(unfinished))
	}
	if err := errors.Join(os.Rename(unfinished, s.path), disk.SyncDir(dir)); err != nil {
		return nil, errors.Join(err, disk.Remove(unfinished), disk.Remove(s.path))
	}
	if s.pages, err = openPages(s.path, reserved); err != nil {
		return nil, errors.Join(err, disk.Remove(s.path))
	}
	return s, nil
}

// makeFile reports whether the file's space could be reserved.
func makeFile(path string, size int64, header [segmentHeader]byte) (reserved bool, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return false, err
	}
	if reserved, err = reserve(f, size); err == nil {
		_, err = f.WriteAt(header[:], 0)
	}
	if err == nil {
		err = f.Sync()
	}
	return reserved, errors.Join(err, f.Close())
}

func openPages(path string, reserved bool) (pages, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	if reserved {
		p, err := mapPages(f, segmentSize)
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		return p, nil
	}
	return &written{f}, nil
}

// put writes record i. The caller counts it: at once, or after the sync if it syncs.
func (s *segment) put(i int64, n loggedNonce) error {
	bucket := n.bucket()
	for {
		newest := s.newest.Load()
		if bucket <= newest || s.newest.CompareAndSwap(newest, bucket) {
			break
		}
	}
	return s.pages.put(i, s.serial, n)
}

// segmentSerial reads a file's name; ok is false if that is not a segment's.
func segmentSerial(name string) (serial uint64, ok bool) {
	digits, ok := strings.CutSuffix(name, segmentSuffix)
	if !ok || len(digits) != 16 {
		return 0, false
	}
	serial, err := strconv.ParseUint(digits, 16, 64)
	return serial, err == nil
}

func encodeHeader(version, records uint32, serial, key uint64) (h [segmentHeader]byte) {
	copy(h[:], segmentMagic)
	binary.LittleEndian.PutUint32(h[8:], version)
	binary.LittleEndian.PutUint32(h[12:], records)
	binary.LittleEndian.PutUint64(h[16:], serial)
	binary.LittleEndian.PutUint64(h[24:], key)
	binary.LittleEndian.PutUint32(h[60:], crc32.Checksum(h[:60], castagnoli))
	return h
}

// encodeNonce writes record i without its checksum, which it returns.
func encodeNonce(to []byte, i int64, serial uint64, n loggedNonce) uint32 {
	_ = to[recordSize-1]
	copy(to, n.digest[:])
	binary.LittleEndian.PutUint64(to[12:], uint64(newHolder(n.consumer, n.token)))
	binary.LittleEndian.PutUint32(to[20:], n.timestamp)
	binary.LittleEndian.PutUint32(to[24:], n.expires)
	return nonceChecksum(to, i, serial)
}

// nonceChecksum depends on the record's place: a record in another place is damage.
func nonceChecksum(record []byte, i int64, serial uint64) uint32 {
	place := uint32(serial)*0x9e3779b1 ^ uint32(i)*0x85ebca6b // odd factors: neighbours differ in many bits
	return max(crc32.Update(place, castagnoli, record[:recordSize-4]), 1)
}

// A segmentInfo describes a segment's file.
type segmentInfo struct {
	version  uint32
	capacity int // in the header
	taken    int // the last place that was begun, plus one
	records  int // those that can be read
}

// decodeSegment calls f with every record of a segment's file. If some can't be read, it returns an
// error that is errDamaged.
func decodeSegment(b []byte, serial, key uint64, f func(loggedNonce)) (info segmentInfo, err error) {
	if len(b) < segmentHeader || string(b[:8]) != segmentMagic ||
		crc32.Checksum(b[:60], castagnoli) != binary.LittleEndian.Uint32(b[60:]) {
		return info, fmt.Errorf("%w: no header", errDamaged)
	}
	info.version = binary.LittleEndian.Uint32(b[8:])
	if info.version == 0 || info.version > segmentVersion {
		return info, fmt.Errorf("%w %w: version %d, and it knows 1 to %d",
			errDamaged, record.ErrVersion, info.version, segmentVersion)
	}
	if got := binary.LittleEndian.Uint64(b[16:]); got != serial {
		return info, fmt.Errorf("%w: number %x where %x should be", errDamaged, got, serial)
	}
	capacity := int(binary.LittleEndian.Uint32(b[12:]))
	if capacity > segmentRecords {
		return info, fmt.Errorf("%w: of %d records", errDamaged, capacity)
	}
	info.capacity = capacity
	if binary.LittleEndian.Uint64(b[24:]) != key { // its times can be read nevertheless
		err = fmt.Errorf("%w: it belongs to another store", errDamaged)
	}
	b = b[segmentHeader:]
	if len(b) < capacity*recordSize {
		err = fmt.Errorf("%w: %d bytes of records where %d should be",
			errDamaged, len(b), capacity*recordSize)
	}
	var n loggedNonce
	for i := 0; i < capacity && len(b) >= recordSize; i, b = i+1, b[recordSize:] {
		r := b[:recordSize]
		sum := binary.LittleEndian.Uint32(r[28:])
		if sum == 0 {
			if [recordSize]byte(r) != [recordSize]byte{} {
				info.taken = i + 1
			}
			continue
		}
		info.taken = i + 1
		if sum != nonceChecksum(r, int64(i), serial) {
			err = fmt.Errorf("%w: record %d", errDamaged, i)
			continue
		}
		info.records++
		copy(n.digest[:], r[:])
		ids := binary.LittleEndian.Uint64(r[12:])
		n.consumer = consumerID(ids & (1<<consumerBits - 1))
		n.expires = binary.LittleEndian.Uint32(r[24:])
		if info.version == 1 {
			v1Nonces(n, int32(binary.LittleEndian.Uint32(r[20:])), bucketSeconds, f)
			continue
		}
		n.token = tokenID(ids >> consumerBits)
		n.timestamp = binary.LittleEndian.Uint32(r[20:])
		f(n)
	}
	return info, err
}

// v1Nonces calls f with nonces that stand for a record of version 1: one for each bucket that its
// timestamp may be in.
func v1Nonces(n loggedNonce, bucket int32, width int64, f func(loggedNonce)) {
	first := int64(bucket) * v1BucketWidth
	last := first + v1BucketWidth - 1
	lives := int64(n.expires) - last // from a timestamp to its expiry
	for first = max(first, 0); first <= last; {
		timestamp := min(last, first-first%width+width-1)
		if timestamp > math.MaxUint32 {
			return
		}
		n.timestamp, n.expires = uint32(timestamp), uint32(min(max(timestamp+lives, 0), math.MaxUint32))
		f(n)
		first = timestamp + 1
	}
}
