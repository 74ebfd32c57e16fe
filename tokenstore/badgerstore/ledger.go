package badgerstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/badgerstore/internal/disk"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/record"
)

// A ledger is a small file with the last version of the tokens database that was acknowledged.
// Badger opens what is left of a damaged log or manifest as if it were all. The ledger shows that
// something is missing.
//
// It is written after each commit and before the answer, and not synced: after kill -9 it is exact.
// After a power cut it may be a second old, and is never ahead of the database, whose commits are
// synced.
//
//	0 magic (8)   8 version (4)   16 the first version with a marker (8)   60 CRC-32C before it
//	64 version that was acknowledged (8)   72 its complement (8)   80, 88 the same, in turn
type ledger struct {
	file     *os.File
	writes   int
	syncedAt time.Time
}

const (
	ledgerName    = "ledger"
	ledgerMagic   = "oa1ledgr"
	ledgerVersion = 1
	ledgerHeader  = 64
	ledgerSize    = ledgerHeader + 2*16

	unfinishedSuffix = ".new"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ledgerState is the content of a ledger.
type ledgerState struct {
	// since is the version from which on every transaction has a marker, and so the versions have
	// no gap.
	since uint64
	// acknowledged is the last version of which a caller knows.
	acknowledged uint64
}

func ledgerHead(since uint64) (h [ledgerHeader]byte) {
	copy(h[:], ledgerMagic)
	binary.LittleEndian.PutUint32(h[8:], ledgerVersion)
	binary.LittleEndian.PutUint64(h[16:], since)
	binary.LittleEndian.PutUint32(h[60:], crc32.Checksum(h[:60], castagnoli))
	return h
}

func ledgerSlot(acknowledged uint64) (b [16]byte) {
	binary.LittleEndian.PutUint64(b[:], acknowledged)
	binary.LittleEndian.PutUint64(b[8:], ^acknowledged)
	return b
}

// readLedger returns nil if there is none, or none that can be read.
func readLedger(path string) (*ledgerState, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if len(b) != ledgerSize || string(b[:8]) != ledgerMagic || crc32.Checksum(b[:60], castagnoli) != binary.LittleEndian.Uint32(b[60:]) {
		return nil, nil
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v > ledgerVersion {
		return nil, fmt.Errorf("%q is %w: version %d, and it knows 1 to %d: "+
			"run the program that wrote it, or a newer one", path, record.ErrVersion, v, ledgerVersion)
	}
	state := &ledgerState{since: binary.LittleEndian.Uint64(b[16:])}
	good := false
	for at := ledgerHeader; at < ledgerSize; at += 16 {
		v := binary.LittleEndian.Uint64(b[at:])
		if slot := ledgerSlot(v); string(slot[:]) == string(b[at:at+16]) {
			state.acknowledged, good = max(state.acknowledged, v), true
		}
	}
	if !good {
		return nil, nil
	}
	return state, nil
}

// newLedger makes the file, or replaces it.
func newLedger(path string, state ledgerState) error {
	h, slot := ledgerHead(state.since), ledgerSlot(state.acknowledged)
	b := append(append(h[:], slot[:]...), slot[:]...)
	f, err := os.OpenFile(path+unfinishedSuffix, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+unfinishedSuffix, path); err != nil {
		return err
	}
	return disk.SyncDir(filepath.Dir(path))
}

func openLedger(path string) (*ledger, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return &ledger{file: f, syncedAt: time.Now()}, nil
}

// acknowledge notes the version. A sync now and then bounds what a power cut takes from the ledger.
func (l *ledger) acknowledge(version uint64) error {
	slot := ledgerSlot(version)
	l.writes++
	if _, err := l.file.WriteAt(slot[:], ledgerHeader+int64(l.writes%2)*16); err != nil {
		return err
	}
	if time.Since(l.syncedAt) < time.Second {
		return nil
	}
	l.syncedAt = time.Now()
	return l.file.Sync()
}

func (l *ledger) close() error { return errors.Join(l.file.Sync(), l.file.Close()) }
