package backup

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// UnfinishedSuffix ends the name of a file that is being written.
const UnfinishedSuffix = ".unfinished"

// WriteFile makes the file at path with what write writes, readable for its owner alone. It has its
// name only when it is on disk as a whole, and check, which is called with the name that it has
// before, has returned no error. A file that is there is replaced only if replace says so.
func WriteFile(path string, replace bool, write func(io.Writer) error, check func(unfinished string) error) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("write %q: %w", path, err)
		}
	}()
	if !replace {
		if _, err := os.Lstat(path); err == nil {
			return fs.ErrExist
		}
	}
	name := path + UnfinishedSuffix
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := lock(f); err != nil {
		_ = f.Close()
		return fmt.Errorf("another process writes it: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(name)
		}
	}()
	buffered := bufio.NewWriterSize(f, 256<<10)
	err = errors.Join(f.Truncate(0), f.Chmod(0o600)) // of a file that was left
	if err == nil {
		err = write(buffered)
	}
	if err == nil {
		err = buffered.Flush()
	}
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if check != nil {
		if err := check(name); err != nil {
			return err
		}
	}
	if err := os.Rename(name, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes the names in a directory durable, where the system can.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		if errors.Is(err, os.ErrPermission) {
			return nil
		}
		return err
	}
	err = f.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, os.ErrPermission) {
		err = nil
	}
	return errors.Join(err, f.Close())
}
