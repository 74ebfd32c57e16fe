package badgerstore

import (
	"crypto/rand"
	"time"

	"github.com/dgraph-io/badger/v4"
)

const (
	// recordOnDisk is what a removed record leaves, more or less: itself, its indexes, and the notes that they are gone.
	recordOnDisk = 600
	// Badger is made to clean up when it has so much garbage, and that is so large a part of what it holds. So the work
	// is never much more than what made it necessary.
	garbageAtLeast = 1 << 20
	garbagePart    = 8
	// flushPatience is how long a cleaning waits for what is to be cleaned.
	flushPatience = 10 * time.Second
)

// reclaim makes Badger forget on disk what was removed. By itself it does that only when as much is written again: what
// says that a record is gone stays in memory, and beside the record on disk, until a level is full.
func (s *Store) reclaim() error {
	garbage := s.removals.garbage.Load()
	if garbage < garbageAtLeast || s.removals.pending() != nil || isClosed(s.stop) {
		return nil
	}
	size := int64(0)
	for _, level := range s.tokens.db.Levels() {
		size += level.Size
	}
	if garbage < size/garbagePart {
		return nil
	}
	if err := s.fillMemtable(); err != nil || isClosed(s.stop) {
		return err
	}
	if err := s.tokens.db.Flatten(1); err != nil {
		return err
	}
	s.removals.garbage.Add(-garbage)
	return nil
}

// fillMemtable writes as much as Badger holds in memory, and waits until what it held before is in a table. Badger has no
// call for that.
func (s *Store) fillMemtable() error {
	const piece = 256 << 10
	key, value := []byte{prefixFiller}, make([]byte, piece)
	rand.Read(value)
	first := uint64(0)
	for written := 0; written <= memTableSize; written += piece {
		var c change
		c.put(key, value, 0)
		c.frees = true
		if err := s.tokens.commit(c); err != nil {
			return err
		}
		if first > 0 {
			continue
		}
		if err := s.tokens.view(func(txn *badger.Txn) error {
			item, err := txn.Get(key)
			if err == nil {
				first = item.Version()
			}
			return err
		}); err != nil {
			return err
		}
	}
	var c change
	c.remove(key)
	if err := s.tokens.commit(c); err != nil {
		return err
	}
	for deadline := time.Now().Add(flushPatience); time.Now().Before(deadline) && !s.inTable(first); {
		select {
		case <-s.stop:
			return nil
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

// inTable reports whether what was committed with the version is in a table.
func (s *Store) inTable(version uint64) bool {
	for _, t := range s.tokens.db.Tables() {
		if t.MaxVersion >= version {
			return true
		}
	}
	return false
}
