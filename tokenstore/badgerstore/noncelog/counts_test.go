package noncelog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/badgerstore/internal/disktest"
)

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

func zeroPage(page int) func([]byte) []byte {
	return func(b []byte) []byte {
		clear(b[min(page*4096, len(b)):min((page+1)*4096, len(b))])
		return b
	}
}

// TestNonceLogLosesNothingInSilence: after any damage to a file of the log, no used nonce is
// accepted, and an ERROR reports missing records.
func TestNonceLogLosesNothingInSilence(t *testing.T) {
	t.Parallel()
	const begin, early, all = 1_800_000_000, 400, segmentRecords + 2000
	clock := func() time.Time { return time.Unix(begin, 0) }
	use := func(s *testLog, i int) error {
		return s.use(windowNonce(begin-int64(i%200), fmt.Sprint(i)))
	}
	o := testOptions{Path: t.TempDir(), bootID: "same", Clock: clock}
	s, err := open(o)
	if err != nil {
		t.Fatal(err)
	}
	for i := range early {
		if err := use(s, i); err != nil {
			t.Fatal(err)
		}
	}
	older := disktest.Crash(t, o.Path)
	var workers sync.WaitGroup
	for worker := range 4 {
		workers.Go(func() {
			for i := early + worker; i < all; i += 4 {
				if err := use(s, i); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	workers.Wait()
	unsettled := disktest.Crash(t, o.Path)
	if err := s.LookAfter(clock(), nil); err != nil {
		t.Fatal(err)
	}
	killed := disktest.Crash(t, o.Path)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	closed := o.Path

	one := func(pattern string, i int) func(t *testing.T, dir string) string {
		return func(t *testing.T, dir string) string {
			found, err := filepath.Glob(filepath.Join(dir, "nonces", pattern))
			if err != nil || len(found) <= i {
				t.Fatalf("%q, %v", found, err)
			}
			return found[i]
		}
	}
	first, second, counts := one("*"+segmentSuffix, 0), one("*"+segmentSuffix, 1), one("*"+countsSuffix, 0)
	edit := func(file func(*testing.T, string) string, f func([]byte) []byte) func(*testing.T, string) {
		return func(t *testing.T, dir string) { editFile(t, file(t, dir), f) }
	}
	remove := func(file func(*testing.T, string) string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.Remove(file(t, dir)); err != nil {
				t.Fatal(err)
			}
		}
	}
	old := func(file func(*testing.T, string) string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			b, err := os.ReadFile(file(t, older))
			if err != nil {
				t.Fatal(err)
			}
			editFile(t, file(t, dir), func([]byte) []byte { return b })
		}
	}
	for _, c := range []struct {
		name string
		from string
		harm func(t *testing.T, dir string)
		log  string // the text of the ERROR; "" if nothing is lost
	}{
		{"killed", killed, nil, ""},
		{"killed before the full segment was on disk", unsettled, nil, ""},
		{"closed", closed, nil, ""},
		{"killed, a page of a full segment is zeroed", killed, edit(first, zeroPage(7)), "holds"},
		{"killed, a page of a full segment that is not on disk is zeroed", unsettled, edit(first, zeroPage(7)), "holds"},
		{"killed, a page of the active segment is zeroed", killed, edit(second, zeroPage(2)), "holds"},
		{"killed, the last page of the active segment is zeroed", killed, edit(second, zeroPage((2000*recordSize)/4096)), "holds"},
		{"killed, the header's page is zeroed", killed, edit(second, zeroPage(0)), "no header"},
		{"closed, a page of a full segment is zeroed", closed, edit(first, zeroPage(1000)), "holds"},
		{"closed, a page of the last segment is zeroed", closed, edit(second, zeroPage(3)), "holds"},
		{"killed, a full segment is missing", killed, remove(first), "is gone"},
		{"killed, the active segment is missing", killed, remove(second), "is gone"},
		{"closed, a segment is missing", closed, remove(second), "is gone"},
		{"closed, another segment is missing", closed, remove(first), "is gone"},
		{"killed, an older copy of a full segment", killed, old(first), "holds 400 records"},
		{"killed, an older copy of a segment that is not on disk", unsettled, old(first), "holds 400 records"},
		{"closed, an older copy of a segment", closed, old(first), "holds 400 records"},
		{"killed, the counts are missing", killed, remove(counts), "no such file"},
		{"killed, the counts are empty", killed, edit(counts, func([]byte) []byte { return nil }), "is damaged"},
		{"killed, the counts are zeroed", killed, edit(counts, zeroPage(0)), "is damaged"},
		{"killed, the slots of the counts are zeroed", killed, edit(counts, func(b []byte) []byte {
			clear(b[countsHeader:])
			return b
		}), "nothing counts segment"},
		{"killed, the counts are garbled", killed, edit(counts, func(b []byte) []byte {
			for i := range b[countsHeader:] {
				b[countsHeader+i] = byte(i*7 + 1)
			}
			return b
		}), "in a wrong place"},
		{"killed, an older copy of the counts", killed, old(counts), "nothing counts segment"},
		{"a segment of a version to come", closed, edit(second, func(b []byte) []byte {
			h := encodeHeader(segmentVersion+1, binary.LittleEndian.Uint32(b[12:]),
				binary.LittleEndian.Uint64(b[16:]), binary.LittleEndian.Uint64(b[24:]))
			return append(h[:], b[segmentHeader:]...)
		}), "of a version that this program does not know: version 3, and it knows 1 to 2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := disktest.Crash(t, c.from)
			if c.harm != nil {
				c.harm(t, dir)
			}
			for _, again := range []bool{false, true} {
				core, logs := observer.New(zapcore.WarnLevel)
				s, err := open(testOptions{Path: dir, bootID: "same", Clock: clock, Logger: zap.New(core)})
				if err != nil {
					t.Fatal(err)
				}
				step := 7 // a page holds 128
				if again {
					step = 101
				}
				for i := 0; i < all; i += step {
					err := use(s, i)
					if !errors.Is(err, tokenstore.ErrNonceUsed) && !errors.Is(err, tokenstore.ErrNonceForgotten) {
						t.Fatalf("nonce %d: got %v, want used or forgotten", i, err)
					}
				}
				text := ""
				for _, l := range logs.All() {
					text += fmt.Sprintln(l.Message, l.ContextMap())
				}
				if want := c.log; (again || want == "") && text != "" || !again && !strings.Contains(text, want) {
					t.Errorf("opened again: %v; logged %q, want %q", again, text, want)
				}
				passes := begin + int64(testWindow) + 2
				if c.log == "" {
					passes = begin
				}
				if err := s.use(windowNonce(passes, fmt.Sprint("new", again))); err != nil {
					t.Errorf("a new nonce: %v", err)
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// Counts that are written, because files can't be mapped, have the same numbers.
func TestNonceCountsThatAreWritten(t *testing.T) {
	for _, mapped := range []bool{true, false} {
		dir := t.TempDir()
		c, err := newCounts(dir, 5)
		if err != nil {
			t.Fatal(err)
		}
		if !mapped && c.data != nil {
			if err := unmapFile(c.data); err != nil {
				t.Fatal(err)
			}
			c.data = nil
		}
		var all sync.WaitGroup
		for serial, n := range map[uint64]int{5: 1000, 6: 0, 5 + countSlots - 1: 7} {
			count, err := c.take(serial)
			if err != nil {
				t.Fatal(err)
			}
			for range n {
				all.Go(func() {
					if err := count.add(); err != nil {
						t.Error(err)
					}
				})
			}
		}
		all.Wait()
		got, err := readCounts(dir, 5)
		if err != nil || len(got) != 3 || got[5] != 1000 || got[6] != 0 || got[5+countSlots-1] != 7 {
			t.Errorf("mapped %v: got %v, %v", mapped, got, err)
		}
		if err := c.close(); err != nil {
			t.Error(err)
		}
	}
}
