//go:build linux

package integration

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// These tests have file systems of their own: a tmpfs, and ext4 on loop devices. If the kernel does
// not allow mounting, the tests are skipped; in CI they fail.

// mountOrSkip mounts a file system until the test ends.
func mountOrSkip(t *testing.T, target string, args ...string) {
	t.Helper()
	if os.Geteuid() != 0 {
		missing(t, "only root may mount a file system")
	}
	if err := os.MkdirAll(target, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", append(slices.Clone(args), target)...).CombinedOutput(); err != nil {
		missing(t, fmt.Sprintf("this machine does not let us mount %v: %v: %s", args, err, out))
	}
	t.Cleanup(func() { unmount(t, target) })
}

// unmount removes all mounts at the target, even while they are in use.
func unmount(t *testing.T, target string) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for isMounted(t, target) {
		out, err := exec.Command("umount", target).CombinedOutput()
		if err != nil && time.Now().After(deadline) {
			t.Errorf("umount %s: %v: %s", target, err, out)
			exec.Command("umount", "--lazy", target).Run()
			return
		}
		if err != nil {
			time.Sleep(50 * time.Millisecond)
		}
	}
}

func isMounted(t *testing.T, target string) bool {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(mounts), " "+target+" ")
}

// newSmallDisk mounts a tmpfs of size MiB.
func newSmallDisk(t *testing.T, size int) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "disk")
	mountOrSkip(t, dir, "-t", "tmpfs", "-o", fmt.Sprintf("size=%dm", size), "tmpfs")
	return dir
}

func free(t *testing.T, dir string) int64 {
	t.Helper()
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		t.Fatal(err)
	}
	return int64(s.Bavail) * s.Bsize
}

// newSmallExt4 mounts an ext4 of size MiB, on a loop device.
func newSmallExt4(t *testing.T, size int64) string {
	t.Helper()
	if os.Geteuid() != 0 {
		missing(t, "only root may mount a file system")
	}
	requireProgram(t, "mkfs.ext4")
	dir := t.TempDir()
	image := filepath.Join(dir, "disk.img")
	(&powerDisk{t: t}).make(image, size, "-m", "0")
	mountOrSkip(t, filepath.Join(dir, "disk"), "-o", "loop", image)
	return filepath.Join(dir, "disk")
}

// fill takes the space of the file system, at once or step by step, until no block is free. It
// returns a function that gives the space back.
func fill(t *testing.T, dir string, step int64) (empty func()) {
	t.Helper()
	path := filepath.Join(dir, "ballast")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const block = 4096
	for size := int64(0); ; {
		more := max(min(free(t, dir), step), block)
		err := unix.Fallocate(int(f.Fd()), 0, size, more)
		switch {
		case err == nil:
			size += more
		case errors.Is(err, unix.ENOSPC) && more > block:
			// The file system needs some of it for itself, or others were quicker.
			step = more / 2
		case errors.Is(err, unix.ENOSPC):
			return func() {
				if err := os.Remove(path); err != nil {
					t.Error(err)
				}
			}
		case !errors.Is(err, unix.EINTR):
			t.Fatal(err)
		}
	}
}

// fillSlowly is fill, but takes the last 128 MiB at rate bytes a second.
func fillSlowly(t *testing.T, dir string, rate int64) (empty func()) {
	t.Helper()
	path := filepath.Join(dir, "slow")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const chunk = 1 << 20
	size := max(0, free(t, dir)-128<<20)
	if size > 0 {
		if err := unix.Fallocate(int(f.Fd()), 0, 0, size); err != nil {
			t.Fatal(err)
		}
	}
	tick := time.NewTicker(time.Second * chunk / time.Duration(rate))
	defer tick.Stop()
	for ; err == nil; size += chunk {
		<-tick.C
		err = unix.Fallocate(int(f.Fd()), 0, size, chunk)
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	last := fill(t, dir, chunk)
	return func() {
		last()
		if err := os.Remove(path); err != nil {
			t.Error(err)
		}
	}
}

// A powerDisk is an ext4 file system whose power can be cut. It is on a loop device, whose file has
// the content of the disk. Unsynced writes are only in the kernel's memory. The file is in turn on
// a file system of its own, which is frozen while the file is copied. So the copy is the disk at
// one moment: if a write is in it, all earlier writes are, too.
//
// (A disk with a cache that loses confirmed writes before a flush is not simulated.)
type powerDisk struct {
	t      *testing.T
	dir    string // holds the outer file system's image and mount, the copies, and the mount
	Mount  string // the file system
	device string // the loop device that it is on
	copies int    // how often the power was cut: each time the disk becomes another file
}

func newPowerDisk(t *testing.T) *powerDisk {
	t.Helper()
	if os.Geteuid() != 0 {
		missing(t, "only root may mount a file system")
	}
	for _, program := range []string{"losetup", "mkfs.ext4", "fsfreeze", "unshare"} {
		requireProgram(t, program)
	}
	d := &powerDisk{t: t, dir: t.TempDir()}
	d.Mount = filepath.Join(d.dir, "disk")
	outer := filepath.Join(d.dir, "outer.img")
	d.make(outer, 800, "-O", "^has_journal")
	mountOrSkip(t, filepath.Join(d.dir, "outer"), "-o", "loop", outer)
	d.make(d.image(), 256)
	if err := os.Mkdir(d.Mount, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.detach)
	if err := d.attach(); err != nil {
		missing(t, fmt.Sprintf("this machine does not let us mount a disk: %v", err))
	}
	return d
}

// image is the file that has the content of the disk.
func (d *powerDisk) image() string {
	return filepath.Join(d.dir, "outer", fmt.Sprintf("disk%d.img", d.copies))
}

// make makes a file with an empty ext4 of size MiB.
func (d *powerDisk) make(path string, size int64, options ...string) {
	d.t.Helper()
	if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, size<<20)); err != nil {
		d.t.Fatal(err)
	}
	d.must("mkfs.ext4", append(options, "-q", "-F", path)...)
}

func (d *powerDisk) attach() error {
	out, err := exec.Command("losetup", "--find", "--show", d.image()).CombinedOutput()
	if err != nil {
		return fmt.Errorf("losetup: %w: %s", err, out)
	}
	d.device = strings.TrimSpace(string(out))
	if out, err := exec.Command("mount", "-t", "ext4", d.device, d.Mount).CombinedOutput(); err != nil {
		return fmt.Errorf("mount: %w: %s", err, out)
	}
	return nil
}

func (d *powerDisk) detach() {
	unmount(d.t, d.Mount)
	if d.device != "" {
		d.must("losetup", "--detach", d.device)
		d.device = ""
	}
}

// cut keeps a copy of the disk as it is now. The test goes on with the disk itself.
func (d *powerDisk) cut(name string) {
	d.t.Helper()
	outer := filepath.Join(d.dir, "outer")
	d.must("fsfreeze", "--freeze", outer)
	out, err := exec.Command("cp", "--sparse=always", d.image(), filepath.Join(d.dir, name)).CombinedOutput()
	d.must("fsfreeze", "--unfreeze", outer)
	if err != nil {
		d.t.Fatalf("cp: %v: %s", err, out)
	}
}

// power mounts the disk as it was at the cut. The kernel replays its journal. The disk gets a file of
// its own: if a process of another mount namespace has the mount, the kernel goes on writing to the
// former one.
func (d *powerDisk) power(name string) {
	d.t.Helper()
	d.detach()
	if err := os.Remove(d.image()); err != nil {
		d.t.Fatal(err)
	}
	d.copies++
	d.must("cp", "--sparse=always", filepath.Join(d.dir, name), d.image())
	if err := d.attach(); err != nil {
		d.t.Fatal(err)
	}
}

func (d *powerDisk) must(program string, args ...string) {
	d.t.Helper()
	if out, err := exec.Command(program, args...).CombinedOutput(); err != nil {
		d.t.Errorf("%s %v: %v: %s", program, args, err, out)
	}
}

// write writes a file of 64 KiB, synced or not.
func (d *powerDisk) write(name string, sync bool) {
	d.t.Helper()
	f, err := os.Create(filepath.Join(d.Mount, name))
	if err != nil {
		d.t.Fatal(err)
	}
	_, err = f.WriteString(strings.Repeat(name, 1<<16/len(name)))
	if sync {
		err = errors.Join(err, f.Sync())
	}
	if err := errors.Join(err, f.Close()); err != nil {
		d.t.Fatal(err)
	}
}

// has reports whether the file exists with its whole content.
func (d *powerDisk) has(name string) bool {
	b, _ := os.ReadFile(filepath.Join(d.Mount, name))
	return string(b) == strings.Repeat(name, 1<<16/len(name))
}
