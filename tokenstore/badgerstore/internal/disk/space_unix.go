//go:build linux || darwin || freebsd

package disk

import (
	"io/fs"
	"syscall"

	"golang.org/x/sys/unix"
)

// Free returns how many bytes of the file system below dir this process may still write.
func Free(dir string) (uint64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, err
	}
	return uint64(s.Bavail) * uint64(s.Bsize), nil
}

// allocated returns how many bytes a file takes: a sparse file takes less than its size.
func allocated(info fs.FileInfo) int64 {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return int64(s.Blocks) * 512
	}
	return info.Size()
}
