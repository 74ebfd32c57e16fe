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

// Crash copies the store as another process would find it now, and returns the path of the copy.
func Crash(t *testing.T, path string) string {
	t.Helper()
	for try := range 100 {
		to := filepath.Join(t.TempDir(), fmt.Sprint("crashed", try))
		err := os.CopyFS(to, os.DirFS(path))
		if err == nil {
			return to
		}
		if !errors.Is(err, fs.ErrNotExist) { // Badger may remove a file that was listed
			t.Fatal(err)
		}
	}
	t.Fatal("the store never rests")
	return ""
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
