package noncelog

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// mountSmall mounts a file system of so many MiB, or skips the test where that can't be done.
func mountSmall(t *testing.T, mib int) string {
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

// A full disk is an error when a segment is made, and not a signal when a record is written.
func TestSegmentOnAFullDisk(t *testing.T) {
	dir := mountSmall(t, 6)
	first, err := newSegment(dir, 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newSegment(dir, 2, 1); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("got %v, want %v", err, syscall.ENOSPC)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("there are %v", left)
	}
	for i := range int64(segmentRecords) {
		if err := first.put(i, loggedNonce{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := first.pages.close(); err != nil {
		t.Error(err)
	}
}
