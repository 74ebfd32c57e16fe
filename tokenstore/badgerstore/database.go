package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"go.uber.org/zap"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/badgerstore/internal/batch"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/badgerstore/internal/disk"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/sealing"
)

const (
	memTableSize = 8 << 20
	// tableSize is the size of a table, on every level. A compaction builds up to 13 tables in
	// memory, each in a buffer of twice its size. With tables that double from level to level,
	// Badger's default, its memory would grow with the store. A flushed memtable fits into the same
	// buffers.
	tableSize = 4 << 20
	// maxTxnSize and maxTxnEntries stay below Badger's own limits, 15% of the memtable.
	maxTxnSize    = 768 << 10
	maxTxnEntries = 4000
	// maxKeySize is Badger's limit of 65,000 with room to spare.
	maxKeySize = 60_000

	// Badger writes through memory maps of sparse files. On a full disk such a write is not an
	// error but SIGBUS, which ends the process. So the store stops adding while there is still room
	// for Badger's own work. It goes on removing for longer, so that revocations are possible.
	reserveToAdd    = 64 << 20
	reserveToRemove = 32 << 20
)

// A database is one Badger database whose writes are grouped. After a write that failed, Badger's
// memory and disk may differ, and Badger may panic. So nothing is read or written until the store
// is opened again.
type database struct {
	db       *badger.DB
	dir      string
	ledger   *ledger
	found    *examination
	writes   *batch.Batcher[change]
	snapshot atomic.Pointer[snapshot] // nil: closed
	failed   atomic.Pointer[error]
	// sealing is how values are kept from now on. A snapshot has that of its time.
	sealing atomic.Pointer[sealing.Sealing]
}

// A snapshot is a read transaction of Badger that all readers share until the next write. A
// transaction for each reader would wake a goroutine of Badger's twice.
type snapshot struct {
	txn   *reader
	users atomic.Int64 // the database is one of them; at 0 the transaction has ended
}

// use adds a user, unless the snapshot has ended. If it returns true, release must be called.
func (s *snapshot) use() bool {
	for {
		n := s.users.Load()
		if n == 0 {
			return false
		}
		if s.users.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (s *snapshot) release() {
	if s.users.Add(-1) == 0 {
		s.txn.Discard()
	}
}

// A change is a list of writes that happen together or not at all, in this order.
type change struct {
	ops  []op
	size int
	// frees says that the change removes something.
	frees bool
}

type op struct {
	entry  *badger.Entry
	remove bool
}

func (c *change) put(key, value []byte, expires uint64) {
	c.ops = append(c.ops, op{entry: &badger.Entry{Key: key, Value: value, ExpiresAt: expires}})
	c.size += len(key) + len(value) + 64
}

func (c *change) remove(key []byte) {
	c.ops = append(c.ops, op{entry: &badger.Entry{Key: key}, remove: true})
	c.size += len(key) + 64
	c.frees = true
}

// databaseOptions are Badger's options. Its log is synced once for a transaction.
func databaseOptions(dir string, key []byte, logger *zap.Logger) badger.Options {
	o := badger.DefaultOptions(dir)
	o.SyncWrites = true
	o.Logger = badgerLogger{logger.Sugar()}
	o.MetricsEnabled = false // they would be process-wide
	o.MemTableSize = memTableSize
	o.NumMemtables = 2
	o.BaseTableSize = tableSize
	o.TableSizeMultiplier = 1
	o.NumCompactors = 2
	o.NumLevelZeroTables = 2 // removed records leave the disk when tables are merged: see reclaim
	o.CompactL0OnClose = false
	o.ValueLogFileSize = 2 << 20 // stays empty: no value is as large as ValueThreshold
	o.Compression = options.None // the values are short and mostly random
	o.BlockCacheSize = 0
	o.ChecksumVerificationMode = options.OnBlockRead // to verify all tables at open takes as long as to read them
	o.DetectConflicts = false                        // the locks of Store prevent conflicts
	if len(key) > 0 {
		o.EncryptionKey = key
		o.BlockCacheSize = 8 << 20
		o.IndexCacheSize = 8 << 20
	}
	return o
}

// openDatabase opens the Badger database in dir, if it has everything that was acknowledged. The
// ledger is beside it.
func openDatabase(dir string, key []byte, logger *zap.Logger, tune func(*badger.Options)) (*database, error) {
	o := databaseOptions(dir, key, logger)
	if tune != nil {
		tune(&o)
	}
	if err := disk.HasRoom(dir, reserveToRemove); err != nil {
		return nil, err
	}
	d := &database{dir: dir}
	path := filepath.Join(filepath.Dir(dir), ledgerName)
	state, err := d.examine(o, path)
	if err != nil {
		return nil, err
	}
	for _, name := range d.found.unreadable {
		logger.Warn("an unreadable log was renamed, "+
			"because no ledger tells whether it is needed",
			zap.String("file", filepath.Join(dir, name+damagedSuffix)))
	}
	if d.db, err = openBadger(o); err != nil {
		d.found.close()
		return nil, openError(dir, err)
	}
	if err := disk.SyncDir(dir); err != nil {
		d.found.close()
		return nil, errors.Join(err, d.db.Close())
	}
	d.writes = batch.New(1000, d.write)
	d.renew()
	if err := d.openLedger(path, state, logger); err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

// examine examines the directory, while no other process can change it.
func (d *database) examine(o badger.Options, path string) (state *ledgerState, err error) {
	unlock, err := lockDirectory(d.dir)
	if err != nil {
		return nil, openError(d.dir, err)
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if state, err = readLedger(path); err != nil {
		return nil, err
	}
	if d.found, err = examine(o, state); err != nil {
		return nil, err
	}
	if err := d.found.removeRedundant(); err != nil {
		d.found.close()
		return nil, err
	}
	return state, nil
}

// openBadger turns a panic into an error: Badger panics at some kinds of damage.
func openBadger(o badger.Options) (db *badger.DB, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("open: %s", oneLine(fmt.Sprint(p)))
		}
	}()
	return badger.Open(o)
}

// openLedger opens the ledger, and makes one if there is none: for a new store, a store of an older
// program, or after it was deleted.
func (d *database) openLedger(path string, state *ledgerState, logger *zap.Logger) (err error) {
	if state == nil {
		marked := false
		err := d.view(func(txn *reader) error {
			err := get(txn, []byte{prefixMarker}, func([]byte) error { return nil })
			marked = err == nil
			if errors.Is(err, badger.ErrKeyNotFound) {
				return nil
			}
			return err
		})
		if err != nil {
			return err
		}
		if marked {
			logger.Warn("the ledger was missing or damaged: the store could not check that the last changes are there",
				zap.String("ledger", path))
		}
		// The ledger is made before the first marker. Otherwise a start that ends in between would
		// look as if the ledger were lost.
		if err := newLedger(path, ledgerState{since: d.version() + 1}); err != nil {
			return err
		}
	}
	if d.ledger, err = openLedger(path); err != nil || state != nil {
		return err
	}
	return d.write([]change{{}})
}

// version returns the version of the last change.
func (d *database) version() uint64 { return d.snapshot.Load().txn.ReadTs() }

// verifyTables reads the tables that were not read when the store was opened. If one is damaged,
// the store is not used any more.
func (d *database) verifyTables(stop <-chan struct{}, logger *zap.Logger) {
	if err := d.found.verifyTables(stop, d.holds); err != nil {
		d.failed.CompareAndSwap(nil, &err)
		logger.Error("the store is damaged, and refuses every request", zap.Error(err))
	}
}

// holds reports whether Badger has the table now.
func (d *database) holds(id uint64) bool {
	return slices.ContainsFunc(d.db.Tables(), func(t badger.TableInfo) bool { return t.ID == id })
}

// renew begins a snapshot of what has been written, for the next readers.
func (d *database) renew() {
	next := &snapshot{txn: &reader{d.db.NewTransaction(false), d.sealing.Load()}}
	next.users.Store(1)
	if old := d.snapshot.Swap(next); old != nil {
		old.release()
	}
}

// openError adds to an error of opening the directory what can be done about it.
func openError(dir string, err error) error {
	switch {
	case lockedElsewhere(dir, err):
		return fmt.Errorf("another process is using it: stop that process, or give this one another path: %w", err)
	case errors.Is(err, badger.ErrEncryptionKeyMismatch):
		return fmt.Errorf("the encryption key is not the one it was made with: %w", err)
	}
	return err
}

// commit writes the change durably, together with those of other callers. It takes no context: the
// caller must know whether it was written.
func (d *database) commit(c change) error {
	c = sealed(d.sealing.Load(), c)
	if c.size > maxTxnSize || len(c.ops) > maxTxnEntries {
		return fmt.Errorf("record of %d bytes is too large", c.size)
	}
	for _, o := range c.ops {
		if len(o.entry.Key) > maxKeySize {
			return fmt.Errorf("key of %d bytes is too long", len(o.entry.Key))
		}
	}
	if !c.frees { // not for the whole batch, which may have removals of other callers
		if err := disk.HasRoom(d.dir, reserveToAdd); err != nil {
			return err
		}
	}
	return d.writes.Do(context.Background(), c)
}

// Only write writes to Badger.
func (d *database) write(changes []change) error {
	if err := d.usable(); err != nil {
		return err
	}
	if err := disk.HasRoom(d.dir, reserveToRemove); err != nil {
		return err
	}
	for len(changes) > 0 {
		n, size, entries := 0, 0, 0
		for n < len(changes) {
			size += changes[n].size
			entries += len(changes[n].ops)
			if n > 0 && (size > maxTxnSize || entries > maxTxnEntries) {
				break
			}
			n++
		}
		if err := d.transact(changes[:n]); err != nil {
			err = fmt.Errorf("write to %q: %w", d.dir, err)
			d.failed.CompareAndSwap(nil, &err)
			return err
		}
		changes = changes[n:]
	}
	d.renew()
	if d.ledger == nil { // the store is being opened
		return nil
	}
	if err := d.ledger.acknowledge(d.version()); err != nil {
		err = fmt.Errorf("write to the ledger of %q: %w", d.dir, err)
		d.failed.CompareAndSwap(nil, &err)
		return err
	}
	return nil
}

func (d *database) transact(changes []change) error {
	txn := d.db.NewTransaction(true)
	defer txn.Discard()
	for i := range changes {
		for _, o := range changes[i].ops {
			err := error(nil)
			if o.remove {
				err = txn.Delete(o.entry.Key)
			} else {
				err = txn.SetEntry(o.entry)
			}
			if err != nil {
				return err
			}
		}
	}
	// The marker: see examine.go.
	if err := txn.SetEntry(&badger.Entry{Key: []byte{prefixMarker}}); err != nil {
		return err
	}
	return txn.Commit()
}

// usable returns the error after which the database must not be used.
func (d *database) usable() error {
	if err := d.failed.Load(); err != nil {
		return fmt.Errorf("the store must be opened again, because it failed: %w", *err)
	}
	return nil
}

// view calls f with the shared snapshot.
func (d *database) view(f func(*reader) error) error {
	if err := d.usable(); err != nil {
		return err
	}
	for {
		s := d.snapshot.Load()
		if s == nil {
			return badger.ErrDBClosed
		}
		if s.use() {
			defer s.release()
			return f(s.txn)
		}
	}
}

func (d *database) close() error {
	d.writes.Flush()
	if s := d.snapshot.Swap(nil); s != nil {
		s.release()
	}
	err := d.db.Close()
	d.found.close()
	if d.ledger != nil {
		err = errors.Join(err, d.ledger.close())
	}
	return err
}

// get calls f with the value of the key, which is valid during the call only.
func get(txn *reader, key []byte, f func([]byte) error) error {
	_, err := getVersion(txn, key, f)
	return err
}

// getVersion calls f with the value of the key, and returns the version of the commit that wrote
// it.
func getVersion(txn *reader, key []byte, f func([]byte) error) (uint64, error) {
	item, err := txn.Get(names(txn.sealing, key)[0])
	if err != nil {
		return 0, err
	}
	return item.Version(), (&entry{item, txn.sealing}).Value(f)
}

// scan calls f with each key below prefix that comes after `after`, until f returns false or an
// error.
func scan(txn *reader, prefix, after []byte, values bool, f func(item *entry) (bool, error)) error {
	o := badger.DefaultIteratorOptions
	o.Prefix = prefix
	o.PrefetchValues = values
	it := txn.NewIterator(o)
	defer it.Close()
	start := append(append([]byte(nil), prefix...), after...)
	for it.Seek(start); it.ValidForPrefix(prefix); it.Next() {
		if len(after) > 0 && string(it.Item().Key()) == string(start) {
			continue
		}
		if more, err := f(&entry{it.Item(), txn.sealing}); err != nil || !more {
			return err
		}
	}
	return nil
}

// badgerLogger is Badger's log. Badger's INFO lines are of no use to operators.
type badgerLogger struct{ log *zap.SugaredLogger }

func (l badgerLogger) Errorf(f string, v ...any)   { l.log.Errorf(strings.TrimSpace(f), v...) }
func (l badgerLogger) Warningf(f string, v ...any) { l.log.Warnf(strings.TrimSpace(f), v...) }
func (l badgerLogger) Infof(f string, v ...any)    { l.log.Debugf(strings.TrimSpace(f), v...) }
func (l badgerLogger) Debugf(string, ...any)       {} // several lines for every write

var _ badger.Logger = badgerLogger{}
