package command

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// A newFile is a file that a command makes, readable for its owner alone. It has its name only when
// it is whole and on disk, so nobody takes a part of it for all.
type newFile struct {
	*os.File
	name string
}

const unfinishedSuffix = ".unfinished"

// makeFile begins a file. One that is there already is not replaced.
func makeFile(name string) (*newFile, error) {
	if _, err := os.Lstat(name); err == nil {
		return nil, misused("%s: is there already, and is not replaced", name)
	}
	f, err := os.OpenFile(name+unfinishedSuffix, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("%s: is there already: another command writes it, or was interrupted: "+
			"remove it then", name+unfinishedSuffix)
	}
	if err != nil {
		return nil, err
	}
	return &newFile{f, name}, nil
}

// finish gives the file its name, unless check, which is called with the name that it has before,
// returns an error.
func (f *newFile) finish(check func(unfinished string) error) error {
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	if check != nil {
		if err := check(f.Name()); err != nil {
			return err
		}
	}
	if err := f.giveName(); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(f.name))
	if err != nil { // the name is there; some systems can't sync it
		return nil
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, os.ErrPermission) {
		return err
	}
	return nil
}

// giveName names the file. It does not replace one that somebody has made meanwhile.
func (f *newFile) giveName() error {
	err := os.Link(f.Name(), f.name)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s: is there already, and is not replaced", f.name)
	}
	if err != nil { // some file systems have no links
		if _, err := os.Lstat(f.name); err == nil {
			return fmt.Errorf("%s: is there already, and is not replaced", f.name)
		}
		return os.Rename(f.Name(), f.name)
	}
	return os.Remove(f.Name())
}

// drop removes what was written, if the file did not get its name.
func (f *newFile) drop() {
	_ = f.Close()
	_ = os.Remove(f.Name())
}
