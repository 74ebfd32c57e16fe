// Package disk has the file system functions of a store that keeps files: free space, and durable
// names.
package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// HasRoom returns an error, which is syscall.ENOSPC, if less than reserve is free below dir.
func HasRoom(dir string, reserve uint64) error {
	free, err := Free(dir)
	if err != nil {
		return fmt.Errorf("free space of %q: %w", dir, err)
	}
	if free < reserve {
		return fmt.Errorf("%q: %d MiB of disk are free and %d are needed: %w",
			dir, free>>20, reserve>>20, syscall.ENOSPC)
	}
	return nil
}

// MakeDir makes the directory and its missing parents, readable for their owner alone. It calls
// sync with each directory that holds the name of a new one.
func MakeDir(dir string, sync func(string) error) error {
	parent := filepath.Dir(dir)
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) || parent == dir {
		return os.MkdirAll(dir, 0o700) // its error tells the reason
	}
	if err := MakeDir(parent, sync); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return sync(parent)
}

// SyncDir makes the names of new files in the directory durable.
func SyncDir(dir string) error {
	f, err := os.Open(filepath.Clean(dir))
	if errors.Is(err, os.ErrPermission) {
		return nil // a parent of the store, in which this process may make names but not read them
	}
	if err != nil {
		return err
	}
	err = f.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, os.ErrPermission) {
		err = nil // some file systems, and Windows, can't sync a directory
	}
	return errors.Join(err, f.Close())
}

// Remove removes a file, if there is one.
func Remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Used returns how many bytes the files below dir take. A file that is removed meanwhile may be
// counted or not.
func Used(dir string) (bytes int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			var info fs.FileInfo
			if info, err = d.Info(); err == nil {
				bytes += allocated(info)
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	return bytes, err
}
