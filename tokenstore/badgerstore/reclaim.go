package badgerstore

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"time"

	"github.com/dgraph-io/badger/v4"
)

const (
	// accessTokenOnDisk is about how many bytes a removed access token leaves: its record, its
	// indexes, and Badger's tombstones.
	accessTokenOnDisk = 600
	// Badger cleans up when it has garbageAtLeast bytes of garbage, and they are one garbagePart-th
	// of its tables or more. So the work stays in proportion to what was removed.
	garbageAtLeast = memTableSize
	garbagePart    = 8
	// flattenAtMost is how many bytes of tables may be merged at once: that can't be interrupted,
	// and Close waits for it. In a larger store the tombstones sink through the levels as more is
	// written, and go with the records at the last one.
	flattenAtMost = 1 << 30
	// flushPatience is how long a cleaning waits for a memtable to be written.
	flushPatience = 10 * time.Second
)

// reclaim makes Badger drop removed records from disk. By itself Badger does that only when as much
// is written again: the tombstone stays in memory, and then beside the record on disk, until a
// level is full.
func (s *Store) reclaim() error {
	garbage := s.revocations.garbage.Load()
	if garbage < garbageAtLeast || s.revocations.sweeping.Load() || len(s.revocations.working()) > 0 || isClosed(s.stop) {
		return nil
	}
	if garbage < tablesSize(s.tokens.db.Levels())/garbagePart {
		return nil
	}
	if err := s.merge(flattenAtMost); err != nil || isClosed(s.stop) {
		return err
	}
	s.revocations.garbage.Add(-garbage)
	return nil
}

// merge makes Badger write what it has in memory into tables, and merge all tables, if they have no
// more bytes than `most`.
func (s *Store) merge(most int64) error {
	s.cleaning.Lock()
	defer s.cleaning.Unlock()
	if err := s.fillMemtable(); err != nil || isClosed(s.stop) {
		return err
	}
	if levels := s.tokens.db.Levels(); levels[0].NumTables == 1 && levels[0].Size == tablesSize(levels) {
		if err := s.fillMemtable(); err != nil || isClosed(s.stop) { // one table alone is not merged
			return err
		}
	}
	if tablesSize(s.tokens.db.Levels()) > most {
		return nil
	}
	return s.tokens.db.Flatten(1)
}

func tablesSize(levels []badger.LevelInfo) (size int64) {
	for _, level := range levels {
		size += level.Size
	}
	return size
}

// fillMemtable writes fillers until Badger flushes its memtable, since Badger has no call for that.
func (s *Store) fillMemtable() error {
	key, value := []byte{prefixFiller}, make([]byte, s.tokens.db.Opts().MemTableSize/32)
	rand.Read(value)
	put := func() error {
		var c change
		c.put(key, value, 0)
		c.frees = true
		return s.tokens.commit(c)
	}
	memtable, err := s.newestMemtable()
	if err != nil {
		return err
	}
	if err := put(); err != nil {
		return err
	}
	version, err := s.versionOf(key)
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(flushPatience); !s.inTable(version) && time.Now().Before(deadline); {
		if newest, err := s.newestMemtable(); err != nil {
			return err
		} else if newest == memtable { // else it is full, and on its way to a table
			if err := put(); err != nil {
				return err
			}
		}
		select {
		case <-s.stop:
			return nil
		case <-time.After(10 * time.Millisecond): // a table may be written meanwhile, and others may write
		}
	}
	var c change
	c.remove(key)
	return s.tokens.commit(c)
}

// newestMemtable returns the name of the file that Badger writes to now: the one with the largest
// number, of five digits or more.
func (s *Store) newestMemtable() (newest string, err error) {
	files, err := os.ReadDir(s.tokens.dir)
	for _, file := range files {
		name := file.Name()
		if filepath.Ext(name) == ".mem" && (len(name) > len(newest) || len(name) == len(newest) && name > newest) {
			newest = name
		}
	}
	return newest, err
}

// versionOf returns the version of the commit that wrote the key.
func (s *Store) versionOf(key []byte) (version uint64, err error) {
	err = s.tokens.view(func(txn *reader) error {
		version, err = getVersion(txn, key, func([]byte) error { return nil })
		return err
	})
	return version, err
}

// inTable reports whether the commit with the version is in a table.
func (s *Store) inTable(version uint64) bool {
	for _, t := range s.tokens.db.Tables() {
		if t.MaxVersion >= version {
			return true
		}
	}
	return false
}
