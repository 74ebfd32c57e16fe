package disktest

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

// MountSmall mounts a file system of that many MiB until the test ends, and returns its directory.
// It skips the test if mounting is not possible.
func MountSmall(t *testing.T, mib int) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm", mib)); err != nil {
		t.Skipf("needs to mount a small file system, which only root may: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}
