//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package badgerstore

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// lockDirectory takes the lock that Badger takes. The function that it returns releases it.
func lockDirectory(dir string) (unlock func() error, err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock %q: %w", dir, err)
	}
	return f.Close, nil
}

// lockedElsewhere reports whether a process has the lock now. Badger's error for it has no type.
func lockedElsewhere(dir string, err error) bool {
	if errors.Is(err, unix.EWOULDBLOCK) {
		return true
	}
	unlock, err := lockDirectory(dir)
	if err == nil {
		_ = unlock()
	}
	return errors.Is(err, unix.EWOULDBLOCK)
}
