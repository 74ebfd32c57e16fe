package noncelog

import (
	"errors"
	"os"
	"syscall"
	"testing"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/badgerstore/internal/disktest"
)

// A full disk is an error when a segment is made, and not a signal when a record is written.
func TestSegmentOnAFullDisk(t *testing.T) {
	dir := disktest.MountSmall(t, 6)
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
