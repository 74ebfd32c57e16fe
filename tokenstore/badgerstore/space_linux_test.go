package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/badgerstore/internal/disk"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/badgerstore/internal/disktest"
)

// On a disk with room to remove but not to add, concurrent additions do not make a revocation fail.
func TestRevocationsOnANearlyFullDisk(t *testing.T) {
	dir := disktest.MountSmall(t, 120)
	s := openTest(t, Options{Path: filepath.Join(dir, "store")})
	const tokens = 50
	for i := range tokens {
		if err := s.CreateAccessToken(t.Context(), &tokenstore.AccessToken{Key: fmt.Sprint("a", i), Consumer: "k", User: "u"}); err != nil {
			t.Fatal(err)
		}
	}
	free, err := disk.Free(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "other"), make([]byte, free-(reserveToAdd+reserveToRemove)/2), 0o600); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	stop := make(chan struct{})
	for range 8 {
		all.Go(func() {
			for !isClosed(stop) {
				err := s.CreateAccessToken(context.WithoutCancel(t.Context()),
					&tokenstore.AccessToken{Key: tokenstore.NewKey(), Consumer: "k", User: "u"})
				if !errors.Is(err, syscall.ENOSPC) {
					t.Errorf("add: got %v, want %v", err, syscall.ENOSPC)
					return
				}
			}
		})
	}
	for i := range tokens {
		if err := s.RevokeToken(t.Context(), fmt.Sprint("a", i)); err != nil {
			t.Errorf("revocation %d: %v", i, err)
		}
	}
	close(stop)
	all.Wait()
}

const fullDiskEnv = "BADGERSTORE_TEST_FULL_DISK"

// TestFullDisk fills a disk with a store and with another file, in a process of its own, because a
// signal would end it.
func TestFullDisk(t *testing.T) {
	dir := os.Getenv(fullDiskEnv)
	if dir == "" {
		child := exec.Command(os.Args[0], "-test.run=^TestFullDisk$", "-test.v")
		child.Env = append(os.Environ(), fullDiskEnv+"="+disktest.MountSmall(t, 100))
		if out, err := child.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestFullDisk") {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	s, err := Open(Options{Path: filepath.Join(dir, "store"), MaxNonces: 1 << 40})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.CreateAccessToken(t.Context(), &tokenstore.AccessToken{Key: "early", Consumer: "k", User: "u"}); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	use := func(i int) error {
		return s.UseNonce(t.Context(), tokenstore.Nonce{Consumer: "k", Timestamp: now.Unix() - int64(i%100),
			Value: fmt.Sprint(i), Expires: now.Add(time.Hour)})
	}
	accepted := 0
	for ; err == nil; accepted++ {
		err = use(accepted)
	}
	accepted--
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("after %d nonces: got %v, want %v", accepted, err, syscall.ENOSPC)
	}
	if err := s.Check(t.Context()); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("check: got %v", err)
	}
	// Another program takes the rest of the disk.
	if err := os.WriteFile(filepath.Join(dir, "other"), make([]byte, 40<<20), 0o600); err != nil {
		t.Log(err)
	}
	for i := range 1000 {
		if err := use(accepted + 1 + i); !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("got %v", err)
		}
		if err := s.CreateAccessToken(t.Context(), &tokenstore.AccessToken{Key: fmt.Sprint("a", i), Consumer: "k", User: "u"}); !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("got %v", err)
		}
	}
	if err := use(0); !errors.Is(err, tokenstore.ErrNonceUsed) {
		t.Errorf("got %v", err)
	}
	if err := os.Remove(filepath.Join(dir, "other")); err != nil {
		t.Fatal(err)
	}
	if err := s.RevokeToken(t.Context(), "early"); err != nil {
		t.Errorf("a revocation on a nearly full disk: %v", err)
	}
	// Forgotten nonces make room.
	if err := s.nonces.LookAfter(now.Add(2*time.Hour), nil); err != nil {
		t.Fatal(err)
	}
	n := windowNonce(now.Unix()+testWindow, "after")
	if err := s.UseNonce(t.Context(), n); err != nil {
		t.Errorf("when there is room again: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// A store that runs and revokes with little free space opens again with the same space. When it is
// closed it gives back a segment, and needs that space again.
func TestRestartWithLittleSpace(t *testing.T) {
	dir := disktest.MountSmall(t, 200)
	o := Options{Path: filepath.Join(dir, "store")}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.CreateAccessToken(t.Context(), &tokenstore.AccessToken{Key: "t", Consumer: "c", User: "u"}); err != nil {
		t.Fatal(err)
	}
	free, err := disk.Free(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "others"), make([]byte, free-50<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.UseNonce(t.Context(), windowNonce(time.Now().Unix(), "a")); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openTest(t, o)
	if err := s.UseNonce(t.Context(), windowNonce(time.Now().Unix(), "b")); err != nil {
		t.Error(err)
	}
	if err := s.RevokeToken(t.Context(), "t"); err != nil {
		t.Error(err)
	}
}
