//go:build linux

package integration

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const onPowerDisk = "store badger {\n\tpath {{.Disk}}/store\n\tsync %s\n}"

// The power is cut while clients work. All acknowledged changes are on the disk and, with `sync
// on`, every accepted nonce, too. The machine itself goes on, so its boot id is the same: the store
// can rely only on the disk.
func TestBadDayPowerCut(t *testing.T) {
	d := newPowerDisk(t)
	up := newSightings(t)
	srv := newServer(t, site{Store: fmt.Sprintf(onPowerDisk, "on"), Vars: map[string]string{"Disk": d.Mount}}, up.URL)
	l := newLedger()
	n := rounds(t, 3)
	for range n {
		srv.start()
		l.verify(t, srv, up)
		if t.Failed() {
			return
		}
		cutPower(t, l.startWorkload(t, srv, up), d)
	}
	srv.start()
	l.verify(t, srv, up)
	l.wantAllKinds(t)
	done, _ := l.counts()
	t.Logf("%d cuts: %v; %d records, %d accepted requests", n, done, len(l.records), len(l.accepted(up)))
}

// With `sync off`, all acknowledged changes are on the disk, too. Some nonces are not. The store
// sees the power cut by the boot id, and refuses every timestamp from before it.
func TestBadDayPowerCutWithSyncOff(t *testing.T) {
	d := newPowerDisk(t)
	up := newSightings(t)
	srv := newServer(t, site{Store: fmt.Sprintf(onPowerDisk, "off"), Vars: map[string]string{"Disk": d.Mount}}, up.URL)
	l := newLedger()
	srv.start()
	cutPower(t, l.startWorkload(t, srv, up), d)

	t.Run("with another boot id nothing is accepted again", func(t *testing.T) {
		startOtherBoot(t, srv)
		used := l.requests
		l.requests = nil
		l.verify(t, srv, up)
		l.wantAllKinds(t)
		l.requests = used
		checks, accepted := []func() error(nil), l.accepted(up)
		for _, s := range accepted {
			checks = append(checks, func() error {
				r, err := srv.do(s.Clone(s.Context()))
				if err == nil && r.Status != http.StatusUnauthorized {
					err = fmt.Errorf("REPLAY of a request that was accepted before: %d %s", r.Status, r.Body)
				}
				return err
			})
		}
		atOnce(t, 8, checks)
		done, _ := l.counts()
		t.Logf("%v; %d records, %d accepted requests", done, len(l.records), len(accepted))

		// The ceiling was a few seconds ahead of the clock. A machine takes longer to start than
		// this test did.
		ahead := signer{Consumer: demoKey, Secret: demoSecret, Timestamp: strconv.FormatInt(time.Now().Unix()+60, 10),
			Token: srv.issue(t, demoKey, "salgado", "READ_PUBLIC", nil)}
		if err := expect(srv, ahead.sign(t, srv.request("GET", "/", nil), ""), http.StatusOK, "ok"); err != nil {
			t.Errorf("a request with a later timestamp: %v", err)
		}
		srv.kill()
	})
	// This is not a property of the store. It shows that the simulation loses unsynced writes:
	// because the boot id did not change, the store believes that no nonce is missing.
	t.Run("control: with the same boot id some nonces are accepted again", func(t *testing.T) {
		d.power("cut")
		srv.start()
		lost := 0
		for _, s := range l.accepted(up) {
			if r := srv.mustDo(t, s.Clone(t.Context())); r.Status == http.StatusOK {
				lost++
			}
		}
		if lost == 0 {
			t.Error("no nonce is missing: this test can't tell whether anything is synced")
		}
		t.Logf("%d nonces are missing", lost)
	})
}

// TestPowerDiskOfAnotherNamespace: a process elsewhere, such as that of another test, can have a copy
// of the mount, so that the kernel goes on writing to the disk as it was before the cut.
func TestPowerDiskOfAnotherNamespace(t *testing.T) {
	d := newPowerDisk(t)
	other := exec.Command("unshare", "--mount", "sleep", "1000")
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // before the disk is removed
		_ = other.Process.Kill()
		_ = other.Wait()
	})
	mounts := fmt.Sprintf("/proc/%d/mounts", other.Process.Pid)
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		own, _ := os.Readlink("/proc/self/ns/mnt")
		its, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", other.Process.Pid))
		text, _ := os.ReadFile(mounts)
		if own != its && strings.Contains(string(text), d.Mount) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the other namespace does not have the mount")
		}
	}
	d.write("synced", true)
	d.write("unsynced", false)
	d.cut("cut")
	d.power("cut")
	syscall.Sync() // what the kernel has not written yet
	d.detach()
	if err := d.attach(); err != nil {
		t.Fatal(err)
	}
	if !d.has("synced") || d.has("unsynced") {
		t.Error("the disk is not what it was at the cut")
	}
}

// cutPower cuts the power during the work, and powers the disk again.
func cutPower(t *testing.T, w *workload, d *powerDisk) {
	t.Helper()
	for _, kind := range []string{"remove consumer", "exchange", "revoke by consumer"} {
		w.until(kind, 1)
	}
	w.until("signed", 200)
	d.write("synced", true)
	d.write("unsynced", false)
	w.srv.cmd.Process.Signal(syscall.SIGSTOP) // an answer that is on its way was given before the cut
	d.cut("cut")
	w.kill()
	d.power("cut")
	if !d.has("synced") {
		t.Error("control: a file that was synced is missing")
	}
	if d.has("unsynced") {
		t.Error("control: a file that was not synced is there, so this is no power cut")
	}
}

// startOtherBoot starts the server with another boot id: in a mount namespace of its own, another
// file is mounted over the kernel's.
func startOtherBoot(t *testing.T, srv *server) {
	t.Helper()
	id := filepath.Join(srv.dir, "boot_id")
	if err := os.WriteFile(id, []byte(rand.Text()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const script = `mount --bind "$0" /proc/sys/kernel/random/boot_id && exec "$@"`
	if !launch(t, srv, "unshare", "--mount", "sh", "-c", script, id) {
		t.Fatalf("it does not start:\n%s", srv.log.tail(20))
	}
}
