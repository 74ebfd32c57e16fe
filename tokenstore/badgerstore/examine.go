package badgerstore

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/fb"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/badger/v4/y"
	"github.com/dgraph-io/ristretto/v2"
	"github.com/dgraph-io/ristretto/v2/z"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/badgerstore/internal/disk"
)

// Badger opens a damaged directory as well as it can: it removes tables that its MANIFEST does not
// name, skips those whose index is damaged, and cuts a log where it can't be read further. So the
// store examines the directory first, and changes no file. Nothing is missing if
//
//   - the MANIFEST can be read, and every table that it names is there and can be read;
//   - every key that tables and logs (.mem) are encrypted with is in the KEYREGISTRY;
//   - the versions of the tables and then of the logs have no gap, up to the last that the ledger
//     says was acknowledged;
//   - no table that the MANIFEST does not name is newer than all of that.
//
// Every transaction writes a marker, whose newest version no compaction drops; so the highest
// version of the tables is that of the last transaction in them, and the logs have those of all
// later ones.

// errLost: the store does not have everything that was acknowledged.
var errLost = errors.New("nothing was changed: restore a backup of the whole store")

// verifyAtOpen is how many bytes of tables are read before the store opens. Verification goes on
// afterwards.
const verifyAtOpen = 256 << 20

// An examination is the result of looking at a directory of Badger's.
type examination struct {
	dir      string
	opt      badger.Options
	ledger   *ledgerState // nil: nothing is known of versions
	registry *badger.KeyRegistry
	manifest badger.Manifest
	index    *ristretto.Cache[uint64, *fb.TableIndex]

	names   []string
	version atomic.Uint64 // the highest of the tables
	// redundant are files that Badger does not need: logs whose changes are all in tables, and the
	// value log, which is empty.
	redundant []string
	// unreadable are logs with content that can't be read at all, if there is no ledger that tells
	// whether it is needed.
	unreadable []string
	// unverified are the tables that were not read to their ends.
	unverified []tableFile
}

type tableFile struct {
	id   uint64
	path string
	size int64
	badger.TableManifest
}

// lost returns the error for a file, in one line.
func (x *examination) lost(name, reason string, args ...any) error {
	return fmt.Errorf("%q %s: %w", filepath.Join(x.dir, name), oneLine(fmt.Sprintf(reason, args...)), errLost)
}

func oneLine(s string) string {
	if s = strings.Join(strings.Fields(s), " "); len(s) > 300 {
		s = s[:300] + "..."
	}
	return s
}

// examine returns an error if something is missing in the directory.
func examine(o badger.Options, ledger *ledgerState) (_ *examination, err error) {
	x := &examination{dir: o.Dir, opt: o, ledger: ledger}
	defer func() {
		if err != nil {
			x.close()
		}
	}()
	entries, err := os.ReadDir(x.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		x.names = append(x.names, e.Name())
	}
	if fresh, err := x.readManifest(); err != nil || fresh {
		return x, err
	}
	if fresh, err := x.readRegistry(); err != nil || fresh {
		return x, err
	}
	if err := x.lookAtTables(); err != nil {
		return nil, err
	}
	if err := x.lookAtLogs(); err != nil {
		return nil, err
	}
	for _, name := range x.names {
		if strings.HasSuffix(name, ".vlog") || name == "DISCARD" {
			x.redundant = append(x.redundant, name)
		}
	}
	return x, nil
}

// readManifest reports whether the store is a new one.
func (x *examination) readManifest() (fresh bool, err error) {
	f, err := os.Open(filepath.Join(x.dir, badger.ManifestFilename))
	if errors.Is(err, fs.ErrNotExist) {
		if x.ledger != nil && x.ledger.acknowledged > 0 {
			return false, x.lost(badger.ManifestFilename, "is missing, and %d changes were acknowledged", x.ledger.acknowledged)
		}
		for _, name := range x.names {
			if strings.HasSuffix(name, ".sst") || strings.HasSuffix(name, ".mem") {
				return false, x.lost(badger.ManifestFilename, "is missing, and %s is there", name)
			}
		}
		return true, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	if x.manifest, _, err = badger.ReplayManifestFile(f, x.opt.ExternalMagicVersion, x.opt); err != nil {
		return false, x.lost(badger.ManifestFilename, "is damaged (%v)", err)
	}
	return false, nil
}

const registrySanityText = "Hello Badger"

// readRegistry reports whether the store is a new one: Badger makes the MANIFEST first, and the
// KEYREGISTRY before anything that it encrypts.
func (x *examination) readRegistry() (fresh bool, err error) {
	b, err := os.ReadFile(filepath.Join(x.dir, badger.KeyRegistryFileName))
	missing := errors.Is(err, fs.ErrNotExist)
	switch {
	case missing && len(x.opt.EncryptionKey) > 0:
		if fresh, err := x.holdsNothing(); err != nil || fresh {
			return fresh, err
		}
		return false, x.lost(badger.KeyRegistryFileName, "is missing, without which nothing can be decrypted")
	case err != nil && !missing:
		return false, err
	case !missing && len(b) < 16+len(registrySanityText):
		return false, x.lost(badger.KeyRegistryFileName, "has %d bytes only", len(b))
	}
	if !missing { // Badger would allocate a damaged length
		for rest := b[16+len(registrySanityText):]; len(rest) > 0; {
			if len(rest) < 8 || int64(len(rest))-8 < int64(binary.BigEndian.Uint32(rest)) {
				return false, x.lost(badger.KeyRegistryFileName, "is truncated or damaged")
			}
			rest = rest[8+binary.BigEndian.Uint32(rest):]
		}
	}
	x.registry, err = badger.OpenKeyRegistry(badger.KeyRegistryOptions{ReadOnly: true, Dir: x.dir,
		EncryptionKey: x.opt.EncryptionKey, EncryptionKeyRotationDuration: x.opt.EncryptionKeyRotationDuration})
	if errors.Is(err, badger.ErrEncryptionKeyMismatch) {
		return false, fmt.Errorf("the encryption key is not the one it was made with, "+
			"or %q is damaged (then restore a backup); nothing was changed: %w",
			filepath.Join(x.dir, badger.KeyRegistryFileName), err)
	}
	if err != nil {
		return false, x.lost(badger.KeyRegistryFileName, "is damaged (%v)", err)
	}
	return false, nil
}

// holdsNothing reports whether there is no ledger, no table, and no log with a byte in it. Such
// logs are redundant.
func (x *examination) holdsNothing() (bool, error) {
	if x.ledger != nil || len(x.manifest.Tables) > 0 {
		return false, nil
	}
	var empty []string
	for _, name := range x.names {
		switch filepath.Ext(name) {
		case ".sst":
			return false, nil
		case ".mem":
			b, err := os.ReadFile(filepath.Join(x.dir, name))
			if err != nil {
				return false, err
			}
			if len(bytes.Trim(b, "\x00")) > 0 {
				return false, nil
			}
			empty = append(empty, name)
		}
	}
	x.redundant = append(x.redundant, empty...)
	return true, nil
}

// lookAtTables opens every table, and reads as many as the budget allows.
func (x *examination) lookAtTables() error {
	var err error
	if x.index, err = newIndexCache(); err != nil {
		return err
	}
	var files []tableFile
	for id, m := range x.manifest.Tables {
		path := table.NewFilename(id, x.dir)
		i, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			return x.lost(filepath.Base(path), "is missing, and the MANIFEST names it")
		}
		if err != nil {
			return err
		}
		files = append(files, tableFile{id, path, i.Size(), m})
	}
	slices.SortFunc(files, func(a, b tableFile) int { return cmp.Or(cmp.Compare(a.Level, b.Level), cmp.Compare(a.id, b.id)) })

	queue := make(chan tableFile, len(files))
	for _, f := range files {
		queue <- f
	}
	close(queue)
	var (
		all    sync.WaitGroup
		budget atomic.Int64
		mu     sync.Mutex
		errs   []error
	)
	for range runtime.GOMAXPROCS(0) {
		all.Go(func() {
			for f := range queue {
				whole := budget.Add(f.size) <= verifyAtOpen
				version, err := x.readTable(f, whole)
				for old := x.version.Load(); version > old && !x.version.CompareAndSwap(old, version); old = x.version.Load() {
				}
				mu.Lock()
				if err != nil {
					errs = append(errs, x.lost(filepath.Base(f.path), "is damaged (%v)", err))
				} else if !whole {
					x.unverified = append(x.unverified, f)
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if len(errs) > 0 {
		return errs[0] // one line
	}
	return nil
}

func newIndexCache() (*ristretto.Cache[uint64, *fb.TableIndex], error) {
	return ristretto.NewCache(&ristretto.Config[uint64, *fb.TableIndex]{NumCounters: 1000, MaxCost: 8 << 20, BufferItems: 64})
}

// readTable returns the table's highest version. A table that panics or can't be read from the disk
// is an error.
func (x *examination) readTable(f tableFile, whole bool) (version uint64, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = errors.New("its index can't be read") // Badger's error has many lines
			if fault, ok := p.(runtime.Error); ok {
				err = fmt.Errorf("it can't be read: %s", oneLine(fault.Error()))
			}
		}
	}()
	key, err := x.registry.DataKey(f.KeyID)
	if err != nil {
		return 0, err
	}
	if f.size == 0 {
		return 0, errors.New("it is empty")
	}
	m, err := z.OpenMmapFile(f.path, os.O_RDONLY, 0)
	if err != nil {
		return 0, err
	}
	// OpenTable closes the file only after a wrong checksum, which it does not verify here.
	defer func() {
		if closed := m.Close(-1); err == nil {
			err = closed
		}
	}()
	t, err := table.OpenTable(m, table.Options{ReadOnly: true, BlockSize: x.opt.BlockSize, Compression: f.Compression, DataKey: key,
		IndexCache: x.index, ChkMode: options.NoVerification})
	if err != nil {
		return 0, err
	}
	if whole {
		err = t.VerifyChecksum()
	}
	return t.MaxVersion(), err
}

// verifyTables reads the tables that were not read to their ends when the store was opened. holds
// reports whether Badger still has a table. Badger drops a table before it truncates and removes
// the file, so a read error of such a file is not damage.
func (x *examination) verifyTables(stop <-chan struct{}, holds func(id uint64) bool) error {
	for _, f := range x.unverified {
		if isClosed(stop) {
			return nil
		}
		start := time.Now()
		if _, err := x.readTable(f, true); err != nil && holds(f.id) {
			return fmt.Errorf("%q is damaged: restore a backup: %s", f.path, oneLine(err.Error()))
		}
		time.Sleep(time.Since(start)) // requests have the CPU and the disk for half of the time at least
	}
	return nil
}

// lookAtLogs reads the logs, and checks that they continue where the tables end.
func (x *examination) lookAtLogs() error {
	var logs []walFile
	for _, name := range x.names {
		digits, ok := strings.CutSuffix(name, ".mem")
		if !ok {
			continue
		}
		id, err := strconv.ParseInt(digits, 10, 64)
		if err != nil {
			return x.lost(name, "is no log of Badger's: move it away")
		}
		w, err := x.readLog(name)
		if err != nil {
			return err
		}
		w.id = id
		logs = append(logs, w)
	}
	slices.SortFunc(logs, func(a, b walFile) int { return cmp.Compare(a.id, b.id) })
	end, last := x.version.Load(), ""
	for _, w := range logs {
		switch known := x.ledger != nil; {
		case w.first == 0 && !known && w.damaged && w.size > walHeader:
			x.unreadable = append(x.unreadable, w.name)
		case w.first == 0:
			if known && w.damaged {
				last = w.name
			}
			x.redundant = append(x.redundant, w.name)
		case known && w.last <= x.version.Load():
			x.redundant = append(x.redundant, w.name)
		case known && w.gap > x.ledger.since:
			return x.lost(w.name, "lacks the changes before %d", w.gap)
		case known && w.first != end+1 && w.first > x.ledger.since:
			return x.lost(w.name, "begins with change %d, and what is before it ends with %d: a .mem or .sst file is missing, or an older copy", w.first, end)
		default:
			end = max(end, w.last)
			last = w.name
		}
	}
	if x.ledger == nil {
		return nil
	}
	if end < x.ledger.acknowledged {
		if last == "" {
			last = "*.mem"
		}
		return x.lost(last, "is damaged, missing, or an older copy: the last change that is there is %d, and %d were acknowledged; "+
			"without a backup, remove %q to open what is left", end, x.ledger.acknowledged, filepath.Join(filepath.Dir(x.dir), ledgerName))
	}
	return x.lookAtOtherTables(end)
}

// lookAtOtherTables looks for tables that Badger would remove although they hold versions that no
// other file has. Tables of an interrupted compaction or flush hold nothing new, or can't be read.
func (x *examination) lookAtOtherTables(end uint64) error {
	for _, name := range x.names {
		id, ok := table.ParseFileID(name)
		if !ok {
			continue
		}
		if _, ok := x.manifest.Tables[id]; ok {
			continue
		}
		for _, key := range x.keyIDs() {
			f := tableFile{id: id, path: filepath.Join(x.dir, name)}
			f.KeyID, f.Compression = key, x.opt.Compression
			if i, err := os.Stat(f.path); err == nil {
				f.size = i.Size()
			}
			if version, err := x.readTable(f, false); err == nil && version > end {
				return x.lost(badger.ManifestFilename, "is an older copy: it does not name %s", name)
			}
		}
	}
	return nil
}

// keyIDs returns the encryption keys of the tables that the MANIFEST names.
func (x *examination) keyIDs() []uint64 {
	ids := []uint64{0}
	for _, m := range x.manifest.Tables {
		ids = append(ids, m.KeyID)
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	if len(x.opt.EncryptionKey) > 0 {
		ids = ids[1:]
	}
	return ids
}

// A walFile is the log of one of Badger's memtables.
type walFile struct {
	name string
	id   int64
	// first and last are the versions of its transactions; 0 if it has none.
	first, last uint64
	// gap is the version before which others are missing.
	gap  uint64
	size int
	// damaged says that there are bytes after the last entry that can be read.
	damaged bool
}

const (
	walHeader    = 20 // key id (8), base IV (12)
	walTxn       = 1 << 6
	walTxnEnd    = 1 << 7
	walMaxKeyLen = 1 << 16
)

// readLog reads a log as Badger does: up to the first entry or transaction that is not whole.
func (x *examination) readLog(name string) (w walFile, err error) {
	w.name = name
	b, err := os.ReadFile(filepath.Join(x.dir, name))
	if err != nil {
		return w, err
	}
	w.size = len(b)
	if len(b) < walHeader {
		w.damaged = true
		return w, nil
	}
	key, err := x.registry.DataKey(binary.BigEndian.Uint64(b))
	if err != nil {
		return w, x.lost(name, "is damaged, or the KEYREGISTRY is an older copy (%v)", err)
	}
	iv := slices.Clone(b[8:walHeader])
	at, txn := walHeader, uint64(0)
	for {
		e, size, ok := decodeLogEntry(b[at:])
		if !ok {
			break
		}
		kv := e.kv
		if key != nil {
			if kv, err = y.XORBlockAllocate(kv, key.Data, binary.BigEndian.AppendUint32(slices.Clone(iv), uint32(at))); err != nil {
				return w, err
			}
		}
		if e.meta&walTxn != 0 {
			ts := y.ParseTs(kv[:e.keyLen])
			if txn == 0 {
				txn = ts
			}
			if ts != txn {
				break
			}
		} else if e.meta&walTxnEnd != 0 {
			ts, err := strconv.ParseUint(string(kv[e.keyLen:]), 10, 64)
			if err != nil || ts != txn {
				break
			}
			w.add(ts)
			txn = 0
		} else {
			if txn != 0 {
				break
			}
			w.add(y.ParseTs(kv[:e.keyLen]))
		}
		at += size
	}
	w.damaged = len(bytes.TrimRight(b[at:], "\x00")) > 0
	return w, nil
}

func (w *walFile) add(version uint64) {
	if w.first == 0 {
		w.first = version
	} else if version > w.last+1 {
		w.gap = version
	}
	w.last = max(w.last, version)
}

type logEntry struct {
	meta   byte
	keyLen int
	kv     []byte
}

// decodeLogEntry reads one entry; ok is false if there is none, or it is not whole.
func decodeLogEntry(b []byte) (e logEntry, size int, ok bool) {
	if len(b) < 2 {
		return e, 0, false
	}
	e.meta = b[0]
	at := 2
	var lengths [3]uint64 // of the key, of the value, and when it expires
	for i := range lengths {
		v, n := binary.Uvarint(b[at:])
		if n <= 0 {
			return e, 0, false
		}
		lengths[i] = v
		at += n
	}
	klen, vlen := uint64(uint32(lengths[0])), uint64(uint32(lengths[1]))
	if klen < 8 || klen > walMaxKeyLen || uint64(len(b)-at) < klen+vlen+crc32.Size {
		return e, 0, false
	}
	end := at + int(klen+vlen)
	if crc32.Checksum(b[:end], castagnoli) != binary.BigEndian.Uint32(b[end:]) {
		return e, 0, false
	}
	e.keyLen, e.kv = int(klen), b[at:end]
	return e, end + crc32.Size, true
}

// damagedSuffix is added to the name of an unreadable log.
const damagedSuffix = ".damaged"

// removeRedundant removes the redundant files, when it is known that nothing is lost. It puts
// unreadable logs aside, which Badger would remove.
func (x *examination) removeRedundant() error {
	for _, name := range x.unreadable {
		path := filepath.Join(x.dir, name)
		if err := os.Rename(path, path+damagedSuffix); err != nil {
			return err
		}
	}
	for _, name := range x.redundant {
		if err := disk.Remove(filepath.Join(x.dir, name)); err != nil {
			return err
		}
	}
	return nil
}

func (x *examination) close() {
	if x.index != nil {
		x.index.Close()
	}
}
