package badgerstore

import (
	crand "crypto/rand"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/ristretto/v2/z"
	"go.uber.org/zap"
)

// A table that Badger removes while it is read in the background is not damage. Badger truncates
// the file first, and it may exist for a while.
func TestVerifyWhileTablesAreRemoved(t *testing.T) {
	path := t.TempDir()
	s, err := Open(Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 1500 { // one table of several MiB
		var c change
		c.put([]byte("z"+crand.Text()), make([]byte, 4000), 0)
		all.Go(func() {
			if err := s.tokens.commit(c); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	state, err := readLedger(filepath.Join(path, ledgerName))
	if err != nil {
		t.Fatal(err)
	}
	x, err := examine(databaseOptions(filepath.Join(path, "tokens"), nil, zap.NewNop()), state)
	if err != nil {
		t.Fatal(err)
	}
	defer x.close()
	tables, err := filepath.Glob(filepath.Join(path, "tokens", "*.sst"))
	if err != nil {
		t.Fatal(err)
	}
	var b []byte
	for _, p := range tables {
		read, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		if len(read) > len(b) {
			b = read
		}
	}
	dir, unreadable := t.TempDir(), 0
	for i := range 100 {
		p := filepath.Join(dir, fmt.Sprintf("%06d.sst", i+100))
		if err := os.WriteFile(p, b, 0o600); err != nil {
			t.Fatal(err)
		}
		m, err := z.OpenMmapFile(p, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		x.unverified = []tableFile{{id: uint64(i + 100), path: p, size: int64(len(b))}}
		var held atomic.Bool
		held.Store(true)
		var removal sync.WaitGroup
		removal.Go(func() {
			time.Sleep(time.Duration(rand.Int64N(int64(3 * time.Millisecond))))
			held.Store(false) // Badger drops the table like this after a compaction
			if err := m.Delete(); err != nil {
				t.Error(err)
			}
		})
		if err := x.verifyTables(nil, func(uint64) bool {
			unreadable++
			return held.Load()
		}); err != nil {
			t.Errorf("a false alarm: %v", err)
		}
		removal.Wait()
	}
	t.Log(unreadable, "of 100 tables could not be read while they were removed")
}

// While Badger compacts, tables are read in the background as after a start. The store is small, so
// they are read again and again; reading some GiB once takes as long.
func TestVerifyWhileBadgerCompacts(t *testing.T) {
	s := openTest(t, Options{})
	stop := make(chan struct{})
	var filling sync.WaitGroup
	filling.Go(func() {
		defer close(stop)
		for range 600 {
			v := make([]byte, 100<<10)
			crand.Read(v)
			var c change
			c.put([]byte("z"+crand.Text()), v, 0)
			if err := s.tokens.commit(c); err != nil {
				t.Error(err)
				return
			}
		}
	})
	found := s.tokens.found
	x := &examination{dir: s.tokens.dir, opt: found.opt}
	var err error
	if x.index, err = newIndexCache(); err != nil {
		t.Fatal(err)
	}
	defer x.close()
	if _, err := x.readRegistry(); err != nil {
		t.Fatal(err)
	}
	read := 0
	for !isClosed(stop) {
		x.unverified = nil
		for _, info := range s.tokens.db.Tables() {
			path := table.NewFilename(info.ID, s.tokens.dir)
			if i, err := os.Stat(path); err == nil {
				x.unverified = append(x.unverified, tableFile{id: info.ID, path: path, size: i.Size()})
			}
		}
		read += len(x.unverified)
		if err := x.verifyTables(stop, s.tokens.holds); err != nil {
			t.Errorf("a false alarm: %v", err)
		}
	}
	filling.Wait()
	t.Log(read, "tables were read")
}
