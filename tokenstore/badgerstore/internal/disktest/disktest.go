// Package disktest has helpers for the tests of a store that keeps files.
package disktest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// Crash copies the store, and its generation, as another process would find them now, and returns
// the path of the copy.
func Crash(t *testing.T, path string) string {
	t.Helper()
	for try := range 100 {
		to := filepath.Join(t.TempDir(), fmt.Sprint("crashed", try))
		err := os.CopyFS(to, os.DirFS(path))
		if err == nil {
			CopyGeneration(t, path, to)
			return to
		}
		if !errors.Is(err, fs.ErrNotExist) { // Badger may remove a file that was listed
			t.Fatal(err)
		}
	}
	t.Fatal("the store never rests")
	return ""
}

// CopyGeneration copies the generation of a store, which lies beside it, to the place beside a copy
// of the store. So the copy is not noticed.
func CopyGeneration(t testing.TB, path, to string) {
	t.Helper()
	b, err := os.ReadFile(path + ".generation")
	if err == nil {
		err = os.WriteFile(to+".generation", b, 0o600)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
}

// Segments returns the files of the nonce log's segments in a store.
func Segments(t *testing.T, path string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(path, "nonces", "*.nonces"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}
