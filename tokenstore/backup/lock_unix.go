//go:build linux || darwin || freebsd

package backup

import (
	"os"
	"syscall"
)

// lock takes the file for this process. It is free when the file is closed.
func lock(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) }
