package badgerstore

import (
	"errors"
	"sync"
	"testing"

	"github.com/dgraph-io/badger/v4"
	"go.uber.org/zap"
)

func openTestDatabase(t *testing.T) *database {
	d, err := openDatabase(t.TempDir(), nil, zap.NewNop(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func putTest(t *testing.T, d *database, key, value string) {
	t.Helper()
	var c change
	c.put([]byte(key), []byte(value), 0)
	if err := d.commit(c); err != nil {
		t.Error(err)
	}
}

func getTest(t *testing.T, txn *reader, key string) (value string) {
	t.Helper()
	err := get(txn, []byte(key), func(v []byte) error {
		value = string(v)
		return nil
	})
	if err != nil && !errors.Is(err, badger.ErrKeyNotFound) {
		t.Error(err)
	}
	return value
}

// A reader sees one state until it is done, whatever is written meanwhile. A reader that begins
// after a write sees the write.
func TestReadersShareASnapshotUntilTheNextWrite(t *testing.T) {
	d := openTestDatabase(t)
	putTest(t, d, "key", "old")
	var first *snapshot
	view := func(f func(*reader)) {
		t.Helper()
		if err := d.view(func(txn *reader) error { f(txn); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	view(func(txn *reader) {
		first = d.snapshot.Load()
		view(func(same *reader) {
			if same != txn {
				t.Error("a second reader has a transaction of its own")
			}
		})
		putTest(t, d, "key", "new")
		if got := getTest(t, txn, "key"); got != "old" {
			t.Errorf("a reader from before the write sees %q", got)
		}
		view(func(txn *reader) {
			if got := getTest(t, txn, "key"); got != "new" {
				t.Errorf("a reader from after the write sees %q", got)
			}
		})
		if first.users.Load() == 0 {
			t.Error("the transaction ended during a read")
		}
	})
	if first.users.Load() != 0 || first.use() {
		t.Error("the transaction of the old state does not end")
	}
	if err := d.close(); err != nil {
		t.Fatal(err)
	}
	if err := d.view(func(*reader) error { return nil }); !errors.Is(err, badger.ErrDBClosed) {
		t.Errorf("after close: %v", err)
	}
}

func TestReadersSeeEveryWriteThatWasAcknowledged(t *testing.T) {
	d := openTestDatabase(t)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			key := string(rune('a' + i))
			for n := range 200 {
				want := string(rune('0' + n))
				putTest(t, d, key, want)
				err := d.view(func(txn *reader) error {
					if got := getTest(t, txn, key); got != want {
						t.Errorf("%s: %q, want %q", key, got, want)
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if err := d.close(); err != nil {
		t.Fatal(err)
	}
}
