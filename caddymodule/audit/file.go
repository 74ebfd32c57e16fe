package audit

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// A File is a Sink that writes a file of its own, and syncs it. It can be rotated by renaming: it
// notices that its path is gone, or another file, and makes a new one.
type File struct {
	path string
	file *os.File
}

// NewFile returns a File. It opens the file, and makes it, for its owner alone, if it does not exist.
func NewFile(path string) (*File, error) {
	f := &File{path: path}
	if err := f.open(); err != nil {
		return nil, err
	}
	return f, nil
}

// Strict: lines are durable when they are written.
func (*File) Strict() bool { return true }

// Write appends the lines, and syncs the file.
func (f *File) Write(lines []*Line) error {
	var text []byte
	for _, l := range lines {
		encoded, err := l.JSON()
		if err != nil {
			return err
		}
		text = append(text, encoded...)
	}
	if err := f.reopen(); err != nil {
		return err
	}
	size, err := f.file.Seek(0, io.SeekEnd)
	if err != nil {
		return f.failed(err)
	}
	if size > 0 {
		// A line that a crash cut short must not spoil the next one.
		var last [1]byte
		if _, err := f.file.ReadAt(last[:], size-1); err != nil {
			return f.failed(err)
		}
		if last[0] != '\n' {
			text = append([]byte{'\n'}, text...)
		}
	}
	_, err = f.file.Write(text)
	if err == nil {
		err = f.file.Sync()
	}
	if err != nil {
		// The lines are written again later, and must not be there twice.
		return f.failed(errors.Join(err, f.file.Truncate(size)))
	}
	return nil
}

// Close closes the file.
func (f *File) Close() error {
	if f.file == nil {
		return nil
	}
	err := f.file.Close()
	f.file = nil
	return err
}

// reopen opens the file again if it was renamed or removed.
func (f *File) reopen() error {
	if f.file == nil {
		return f.open()
	}
	now, err := os.Stat(f.path)
	if err == nil {
		mine, err := f.file.Stat()
		if err == nil && os.SameFile(now, mine) {
			return nil
		}
	}
	_ = f.file.Close() // it was synced
	f.file = nil
	return f.open()
}

func (f *File) open() error {
	file, err := os.OpenFile(f.path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("open the audit file: %w", err)
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("it is no regular file")
	}
	if err == nil && info.Size() == 0 {
		err = syncDir(filepath.Dir(f.path))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("open the audit file %q: %w", f.path, err), file.Close())
	}
	f.file = file
	return nil
}

// failed closes the file: after a failed sync, only a newly opened one tells the truth.
func (f *File) failed(err error) error {
	_ = f.Close()
	return fmt.Errorf("write the audit file %q: %w", f.path, err)
}

// syncDir makes the name of a new file durable.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	// Windows can't sync a directory, and needs not.
	if err := dir.Sync(); err != nil && !errors.Is(err, os.ErrInvalid) && !errors.Is(err, os.ErrPermission) {
		return errors.Join(err, dir.Close())
	}
	return dir.Close()
}
