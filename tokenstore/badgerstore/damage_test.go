package badgerstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/table"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/badgerstore/internal/disktest"
)

// A savedStore is the files of a store, and their content.
type savedStore struct {
	o       Options
	files   map[string]savedFile // by name below the store
	content map[string]string    // the tokens database, without values that change by themselves
	nonces  []tokenstore.Nonce
	// generation is the file beside the store; nil: there is none.
	generation []byte
}

// A savedFile is stored without the zeros at its end.
type savedFile struct {
	b    []byte
	size int64
}

func saveFiles(t testing.TB, dir string) map[string]savedFile {
	t.Helper()
	files, err := readFiles(dir)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// quietFiles returns the files of an open store while Badger does no work of its own: the same
// files that kill -9 would leave.
func quietFiles(t testing.TB, dir string) map[string]savedFile {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(30 * time.Millisecond) {
		first, err := readFiles(dir)
		if err == nil {
			time.Sleep(30 * time.Millisecond)
			var second map[string]savedFile
			if second, err = readFiles(dir); err == nil && reflect.DeepEqual(first, second) {
				return first
			}
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // Badger may remove a file that was listed
			t.Fatal(err)
		}
	}
	t.Fatal("the store never rests")
	return nil
}

func readFiles(dir string) (map[string]savedFile, error) {
	files := make(map[string]savedFile)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		trimmed := bytes.TrimRight(b, "\x00")
		files[filepath.ToSlash(name)] = savedFile{bytes.Clone(trimmed), int64(len(b))}
		return err
	})
	return files, err
}

func writeFiles(t testing.TB, dir string, files map[string]savedFile) {
	t.Helper()
	for name, f := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, f.b, 0o600), os.Truncate(path, f.size)); err != nil {
			t.Fatal(err)
		}
	}
}

// sameFiles returns the name of a file that has changed, or "".
func sameFiles(t testing.TB, dir string, files map[string]savedFile) string {
	t.Helper()
	got := saveFiles(t, dir)
	for name := range maps.Keys(got) {
		if f, ok := files[name]; !ok || f.size != got[name].size || !bytes.Equal(f.b, got[name].b) {
			return name
		}
	}
	for name := range files {
		if _, ok := got[name]; !ok {
			return name
		}
	}
	return ""
}

// contentOf returns the tokens database, without values that change by themselves.
func contentOf(s *Store) (map[string]string, error) {
	content := make(map[string]string)
	err := s.tokens.view(func(txn *reader) error {
		return scan(txn, nil, nil, true, func(item *entry) (bool, error) {
			switch item.Key()[0] {
			case prefixNonceState, prefixCheck, prefixMarker, prefixGeneration:
				return true, nil
			}
			v, err := item.ValueCopy(nil)
			content[string(item.Key())] = string(v)
			return true, err
		})
	})
	return content, err
}

// tuneSmall makes a store of a few thousand records use many tables, which are compacted.
func tuneSmall(o *badger.Options) {
	o.MemTableSize = 128 << 10
	o.BaseTableSize = 64 << 10
	o.BaseLevelSize = 256 << 10
	o.ValueThreshold = 8 << 10
	o.ValueLogFileSize = 1 << 20
	o.NumLevelZeroTables = 2
	o.NumLevelZeroTablesStall = 4
}

// saveStores makes a store and returns its files at three moments: earlier, after kill -9, and
// after it was closed.
func saveStores(t *testing.T, key []byte) (earlier, killed, closed savedStore) {
	now := time.Unix(1_800_000_000, 0)
	o := Options{Path: t.TempDir(), EncryptionKey: key, bootID: "same", Clock: func() time.Time { return now }, tune: tuneSmall}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	var nonces []tokenstore.Nonce
	tokens := 0
	grow := func(n int) {
		var c change
		for range n {
			tokens++
			putAccessToken(&c, &tokenstore.AccessToken{Key: fmt.Sprint("t", tokens), Secret: strings.Repeat("s", 80), Consumer: "k",
				User: fmt.Sprint("u", tokens%7), Permission: "READ_PUBLIC", Created: now})
			if len(c.ops) < 60 {
				continue
			}
			if err := s.tokens.commit(c); err != nil {
				t.Fatal(err)
			}
			c = change{}
			if err := s.RevokeToken(t.Context(), fmt.Sprint("t", tokens-5)); err != nil {
				t.Fatal(err)
			}
			v := windowNonce(now.Unix(), fmt.Sprint(tokens))
			if err := s.UseNonce(t.Context(), v); err != nil {
				t.Fatal(err)
			}
			nonces = append(nonces, v)
		}
	}
	save := func(files map[string]savedFile) savedStore {
		generation, err := os.ReadFile(o.Path + GenerationSuffix)
		if err != nil {
			t.Fatal(err)
		}
		return savedStore{o: o, files: files, nonces: slices.Clone(nonces), generation: generation}
	}
	for i, key := range []string{"k", "other"} {
		if err := s.CreateConsumer(t.Context(), &tokenstore.Consumer{Key: key, Secret: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
	grow(1200)
	earlier = save(quietFiles(t, o.Path))
	grow(1200)
	content, err := contentOf(s)
	if err != nil {
		t.Fatal(err)
	}
	killed = save(quietFiles(t, o.Path))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	closed = save(saveFiles(t, o.Path))
	killed.content, closed.content = content, content
	return earlier, killed, closed
}

type damage struct {
	name string
	do   func(f savedFile) (damaged savedFile, ok bool)
}

func damages(older map[string]savedFile, file string) []damage {
	page := func(where func(pages int) int) func(savedFile) (savedFile, bool) {
		return func(f savedFile) (savedFile, bool) {
			at := where((len(f.b)+4095)/4096) * 4096
			if at < 0 || at >= len(f.b) {
				return f, false
			}
			b := bytes.Clone(f.b)
			clear(b[at:min(at+4096, len(b))])
			return savedFile{bytes.TrimRight(b, "\x00"), f.size}, true
		}
	}
	cut := func(at func(data int) int) func(savedFile) (savedFile, bool) {
		return func(f savedFile) (savedFile, bool) {
			n := at(len(f.b))
			if n < 0 || n >= len(f.b) {
				return f, false
			}
			return savedFile{bytes.TrimRight(f.b[:n], "\x00"), int64(n)}, true
		}
	}
	garble := func(from, to float64) func(savedFile) (savedFile, bool) {
		return func(f savedFile) (savedFile, bool) {
			random := rand.New(rand.NewPCG(1, 2))
			b := bytes.Clone(f.b)
			for i := int(from * float64(len(b))); i < int(to*float64(len(b))); i++ {
				b[i] = byte(random.Uint32())
			}
			return savedFile{bytes.TrimRight(b, "\x00"), f.size}, len(b) > 0
		}
	}
	return []damage{
		{"empty", func(f savedFile) (savedFile, bool) { return savedFile{}, f.size > 0 }},
		{"truncated to a half", cut(func(n int) int { return n / 2 })},
		{"truncated by a little", cut(func(n int) int { return n - 3 })},
		{"truncated to a little", cut(func(n int) int { return min(n-1, 10) })},
		{"first page zeroed", page(func(int) int { return 0 })},
		{"middle page zeroed", page(func(pages int) int { return pages / 2 })},
		{"last page zeroed", page(func(pages int) int { return pages - 1 })},
		{"garbled", garble(0, 1)},
		{"garbled in the middle", garble(0.45, 0.55)},
		{"garbled at the end", garble(0.95, 1)},
		{"older copy", func(f savedFile) (savedFile, bool) {
			old, ok := older[file]
			return old, ok && !bytes.Equal(old.b, f.b)
		}},
	}
}

// openDamaged opens a store with these files. It fails the test unless the store has everything, or
// is refused with its files unchanged.
func openDamaged(t testing.TB, saved savedStore, files map[string]savedFile) (opened bool) {
	t.Helper()
	o := saved.o
	o.Path = filepath.Join(t.TempDir(), "store")
	writeFiles(t, o.Path, files)
	if saved.generation != nil {
		if err := os.WriteFile(o.Path+GenerationSuffix, saved.generation, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	core, logs := observer.New(zapcore.ErrorLevel)
	o.Logger = zap.New(core)
	s, err := Open(o)
	if err != nil {
		if strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), "nothing was changed") || !strings.Contains(err.Error(), "restore a backup") {
			t.Errorf("the error does not tell the remedy in one line: %v", err)
		}
		if name := sameFiles(t, o.Path, files); name != "" {
			t.Errorf("refused (%v), and changed %s", err, name)
		}
		return false
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		_ = os.RemoveAll(o.Path)
	}()
	got, err := contentOf(s)
	if err != nil {
		t.Errorf("opened, and can't be read: %v", err)
	}
	if !maps.Equal(got, saved.content) {
		lost, new := 0, 0
		for k := range saved.content {
			if got[k] != saved.content[k] {
				lost++
			}
		}
		for k := range got {
			if _, ok := saved.content[k]; !ok {
				new++
			}
		}
		t.Errorf("opened without %d of %d records, and with %d that were removed", lost, len(saved.content), new)
	}
	forgotten := 0
	for _, n := range saved.nonces {
		switch err := s.UseNonce(t.Context(), n); {
		case errors.Is(err, tokenstore.ErrNonceForgotten):
			forgotten++
		case !errors.Is(err, tokenstore.ErrNonceUsed):
			t.Errorf("a used nonce: %v", err)
		}
	}
	if forgotten > 0 && logs.Len() == 0 {
		t.Errorf("%d nonces are forgotten, and no log line says why", forgotten)
	}
	if err := s.CreateConsumer(t.Context(), &tokenstore.Consumer{Key: "new"}); err != nil {
		t.Error(err)
	}
	return true
}

// TestEveryDamageToEveryFile: after any damage to one file, the store has everything that was
// acknowledged. Otherwise it does not open, names the damage in one line, and changes nothing.
func TestEveryDamageToEveryFile(t *testing.T) {
	t.Parallel()
	stores := map[string][]byte{"plain": nil, "encrypted": bytes.Repeat([]byte("k"), 32)}
	if raceEnabled { // hundreds of stores are opened, one after the other; .ci/run opens all without it
		delete(stores, "plain")
	}
	for name, key := range stores {
		earlier, killed, closed := saveStores(t, key)
		moments := map[string]savedStore{"killed": killed, "closed": closed}
		if raceEnabled {
			delete(moments, "closed")
		}
		for how, saved := range moments {
			t.Run(name+" "+how, func(t *testing.T) {
				if !openDamaged(t, saved, saved.files) {
					t.Fatal("it does not open undamaged")
				}
				everyDamage(t, saved, earlier.files)
			})
		}
	}
}

func everyDamage(t *testing.T, saved savedStore, older map[string]savedFile) {
	var (
		mu                      sync.Mutex
		opened, refused, tables int
		names                   = slices.Sorted(maps.Keys(saved.files))
	)
	for _, name := range names {
		if strings.HasSuffix(name, ".sst") {
			tables++
		}
	}
	if tables < 4 {
		t.Errorf("there are %d tables only", tables)
	}
	t.Run("files", func(t *testing.T) {
		seen := 0
		for _, name := range names {
			if strings.HasSuffix(name, ".sst") {
				if seen++; seen > 2 && seen < tables {
					continue // the others are like the first two and the last one
				}
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				count := func(what string, files map[string]savedFile) {
					t.Run(what, func(t *testing.T) {
						ok := openDamaged(t, saved, files)
						mu.Lock()
						defer mu.Unlock()
						if ok {
							opened++
						} else {
							refused++
						}
					})
				}
				files := maps.Clone(saved.files)
				delete(files, name)
				count("missing", files)
				for _, d := range damages(older, name) {
					if f, ok := d.do(saved.files[name]); ok {
						files := maps.Clone(saved.files)
						files[name] = f
						count(d.name, files)
					}
				}
			})
		}
	})
	t.Logf("%d files (%d tables): %d damages, %d opened whole, %d refused untouched", len(names), tables, opened+refused, opened, refused)
	if opened < 10 || refused < 10 {
		t.Error("that shows nothing")
	}
}

// Both directories are missing, or one of them.
func TestMissingDirectories(t *testing.T) {
	_, killed, closed := saveStores(t, nil)
	for _, saved := range []savedStore{killed, closed} {
		for _, dir := range []string{"tokens/", "nonces/"} {
			files := maps.Clone(saved.files)
			maps.DeleteFunc(files, func(name string, _ savedFile) bool { return strings.HasPrefix(name, dir) })
			if opened := openDamaged(t, saved, files); opened != (dir == "nonces/") {
				t.Errorf("%s missing: opened %v", dir, opened)
			}
		}
	}
}

// Without a backup, an operator can remove the ledger to open the rest. The log says so.
func TestOpenWhatIsLeft(t *testing.T) {
	_, killed, _ := saveStores(t, nil)
	files := maps.Clone(killed.files)
	for name := range files {
		if strings.HasSuffix(name, ".mem") {
			delete(files, name)
		}
	}
	if openDamaged(t, killed, files) {
		t.Fatal("it opened without its logs")
	}
	delete(files, ledgerName)
	o := killed.o
	o.Path = t.TempDir()
	writeFiles(t, o.Path, files)
	core, logs := observer.New(zapcore.WarnLevel)
	o.Logger = zap.New(core)
	o.Adopt = time.Now().Unix() // what is left looks like an older copy
	s := openTest(t, o)
	if n := logs.FilterMessageSnippet("ledger was missing").Len(); n != 1 {
		t.Errorf("it said %d times that the ledger was missing", n)
	}
	if content, err := contentOf(s); err != nil || len(content) == 0 || len(content) >= len(killed.content) {
		t.Errorf("%d of %d records are left, %v", len(content), len(killed.content), err)
	}
	if err := s.CreateConsumer(t.Context(), &tokenstore.Consumer{Key: "new"}); err != nil {
		t.Error(err)
	}
}

// The error for a ledger of a later program names both versions.
func TestLedgerOfALaterProgram(t *testing.T) {
	path := t.TempDir()
	s := openTest(t, Options{Path: path})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	editFile(t, filepath.Join(path, ledgerName), func(b []byte) []byte {
		h := ledgerHead(1)
		binary.LittleEndian.PutUint32(h[8:], ledgerVersion+1)
		binary.LittleEndian.PutUint32(h[60:], crc32.Checksum(h[:60], castagnoli))
		return append(h[:], b[ledgerHeader:]...)
	})
	wantOpenError(t, Options{Path: path}, "ledger", "version 2, and it knows 1 to 1")
}

// Tables beyond the budget of the start are read afterwards. If one is damaged, the store is not
// used any more.
func TestDamageThatShowsLater(t *testing.T) {
	_, _, closed := saveStores(t, nil)
	o := closed.o
	o.Path = t.TempDir()
	writeFiles(t, o.Path, closed.files)
	tables, err := filepath.Glob(filepath.Join(o.Path, "tokens", "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatal(tables, err)
	}
	opt := databaseOptions(filepath.Join(o.Path, "tokens"), nil, zap.NewNop())
	look := func() *examination {
		t.Helper()
		state, err := readLedger(filepath.Join(o.Path, ledgerName))
		if err != nil {
			t.Fatal(err)
		}
		x, err := examine(opt, state)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(x.close)
		for id, m := range x.manifest.Tables { // as if there had been no budget
			i, err := os.Stat(table.NewFilename(id, opt.Dir))
			if err != nil {
				t.Fatal(err)
			}
			x.unverified = append(x.unverified, tableFile{id, table.NewFilename(id, opt.Dir), i.Size(), m})
		}
		return x
	}
	stop := make(chan struct{})
	good := look()
	held := true
	holds := func(uint64) bool { return held }
	if err := good.verifyTables(stop, holds); err != nil {
		t.Errorf("undamaged: %v", err)
	}
	editFile(t, tables[0], func(b []byte) []byte {
		b[100] ^= 1
		return b
	})
	if err := good.verifyTables(stop, holds); err == nil || !strings.Contains(err.Error(), tables[0]) || strings.Contains(err.Error(), "\n") {
		t.Errorf("damaged: %v", err)
	}
	if err := os.Remove(tables[0]); err != nil {
		t.Fatal(err)
	}
	if err := good.verifyTables(stop, holds); err == nil || !strings.Contains(err.Error(), tables[0]) {
		t.Errorf("a table that was removed meanwhile: %v", err)
	}
	held = false
	if err := good.verifyTables(stop, holds); err != nil {
		t.Errorf("a table that Badger has removed: %v", err)
	}

	first := openTestDatabase(t)
	putTest(t, first, "k", "v")
	if err := first.close(); err != nil { // writes a table
		t.Fatal(err)
	}
	d, err := openDatabase(first.dir, nil, zap.NewNop(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	d.found.unverified = []tableFile{{id: d.db.Tables()[0].ID, path: opt.Dir, size: 1}}
	core, logs := observer.New(zapcore.ErrorLevel)
	d.verifyTables(stop, zap.New(core))
	if err := d.usable(); err == nil || !strings.Contains(err.Error(), "is damaged: restore a backup") || logs.Len() != 1 {
		t.Errorf("after damage was found: %v, %d lines of log", err, logs.Len())
	}
}

// A table that can't be read leaves no file open, so that its disk can be unmounted.
func TestUnreadableTablesAreClosed(t *testing.T) {
	open := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip("this system does not tell which files are open")
		}
		return len(entries)
	}
	_, _, closed := saveStores(t, nil)
	files := maps.Clone(closed.files)
	files["tokens/999999.sst"] = savedFile{bytes.Repeat([]byte{1}, 5000), 5000} // as an interrupted flush leaves it
	openDamaged(t, closed, files)
	before := open()
	for range 5 {
		if !openDamaged(t, closed, files) {
			t.Fatal("it does not open")
		}
	}
	if after := open(); after > before+2 {
		t.Errorf("%d files are open, and were %d", after, before)
	}
}

// FuzzDamagedStore changes bytes at one place of one file of a small store.
func FuzzDamagedStore(f *testing.F) {
	f.Add(false, uint8(0), uint32(8), []byte{0xff})
	f.Add(true, uint8(1), uint32(100), []byte{1, 2, 3})
	f.Add(true, uint8(4), uint32(20), bytes.Repeat([]byte{0xff}, 4096))
	f.Add(false, uint8(6), uint32(70), []byte{0x80})
	var saved [2]savedStore
	for i, archive := range []string{"2-closed.tgz", "2-killed.tgz"} {
		dir := f.TempDir()
		unpack(f, filepath.Join("testdata", "stores", archive), dir)
		saved[i] = savedStore{o: keptOptions(""), files: saveFiles(f, dir), nonces: keptNonces()}
		s, err := Open(keptOptions(dir))
		if err != nil {
			f.Fatal(err)
		}
		if saved[i].content, err = contentOf(s); err != nil {
			f.Fatal(err)
		}
		if err := s.Close(); err != nil {
			f.Fatal(err)
		}
	}
	f.Fuzz(func(t *testing.T, killed bool, file uint8, at uint32, xor []byte) {
		s := saved[0]
		if killed {
			s = saved[1]
		}
		names := slices.Sorted(maps.Keys(s.files))
		name := names[int(file)%len(names)]
		damaged := savedFile{bytes.Clone(s.files[name].b), s.files[name].size}
		if len(damaged.b) == 0 {
			return
		}
		place := int(at) % len(damaged.b)
		for i, x := range xor {
			if place+i < len(damaged.b) {
				damaged.b[place+i] ^= x
			}
		}
		damaged.b = bytes.TrimRight(damaged.b, "\x00")
		files := maps.Clone(s.files)
		files[name] = damaged
		openDamaged(t, s, files)
	})
}

// If there is no ledger, an unreadable log is renamed, because it may be needed. An empty one is
// removed.
func TestLogOfWhichNothingCanBeRead(t *testing.T) {
	for _, c := range []struct {
		name  string
		harm  func([]byte) []byte
		aside int
	}{
		{"damaged at its beginning", func(b []byte) []byte { b[walHeader+3] ^= 1; return b }, 1},
		{"a header alone", func(b []byte) []byte { clear(b[walHeader:]); return b }, 0},
		{"truncated to nothing", func([]byte) []byte { return nil }, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := t.TempDir()
			s := openTest(t, Options{Path: path})
			if err := s.CreateConsumer(t.Context(), &tokenstore.Consumer{Key: "k"}); err != nil {
				t.Fatal(err)
			}
			core, logs := observer.New(zapcore.WarnLevel)
			o := Options{Path: disktest.Crash(t, path), Logger: zap.New(core)}
			o.Adopt = time.Now().Unix() // what is left looks like an older copy
			if err := os.Remove(filepath.Join(o.Path, ledgerName)); err != nil {
				t.Fatal(err)
			}
			found, err := filepath.Glob(filepath.Join(o.Path, "tokens", "*.mem"))
			if err != nil || len(found) != 1 {
				t.Fatal(found, err)
			}
			editFile(t, found[0], c.harm)
			want, err := os.ReadFile(found[0])
			if err != nil {
				t.Fatal(err)
			}
			if err := os.RemoveAll(filepath.Join(o.Path, "nonces")); err != nil { // they would show that something is lost
				t.Fatal(err)
			}
			openTest(t, o)
			got, err := os.ReadFile(found[0] + damagedSuffix)
			if c.aside == 1 && (err != nil || !bytes.Equal(got, want)) ||
				c.aside == 0 && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("renamed: %d bytes, %v", len(got), err)
			}
			if n := logs.FilterMessageSnippet("unreadable log was renamed").Len(); n != c.aside {
				t.Errorf("said %d times", n)
			}
		})
	}
}

func editFile(t testing.TB, path string, f func(b []byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, f(b), 0o600); err != nil {
		t.Fatal(err)
	}
}
