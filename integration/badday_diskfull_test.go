//go:build linux

package integration

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/badgerstore"
)

// smallDisk is in MiB: the space that the store needs, its reserve, and a little more.
const smallDisk = 160

// The disk fills up under load, to the last block, at 100 MiB a second. Writes are refused with
// 503, and refused requests never reach the upstream. The process survives, and all works again
// when there is space. At the end the process is killed while the disk is full. (For a disk that is
// full at once see TestBadDayDiskFullWhileTheStoreGrows.)
func TestBadDayDiskFull(t *testing.T) {
	t.Run("tmpfs", func(t *testing.T) { diskFull(t, newSmallDisk(t, smallDisk)) })
	t.Run("ext4", func(t *testing.T) { diskFull(t, newSmallExt4(t, smallDisk+40)) })
}

func diskFull(t *testing.T, disk string) {
	up := newSightings(t)
	srv := newServer(t, site{Store: "store badger {\n\tpath {{.Disk}}/store\n}",
		Vars: map[string]string{"Disk": disk}}, up.URL)
	expectErrors(t, srv, "MiB of disk are free")
	srv.start()
	l := newLedger()
	w := l.startWorkload(t, srv, up)
	w.until("remove consumer", 1)
	w.until("exchange", 1)
	w.until("revoke by consumer", 1)
	n := (rounds(t, 3) + 1) / 2 // on each file system
	var empty func()
	for round := range n {
		w.full.Store(true)
		empty = fillSlowly(t, disk, 100<<20)
		wantFull(t, w)
		if round == n-1 {
			break
		}
		empty()
		healthy(srv)
		w.full.Store(false)
		w.until("remove consumer", 1)
		w.until("signed", 50)
	}
	w.kill()
	done, refused := l.counts()
	t.Logf("full %d times: acknowledged %v; refused %v", n, done, refused)

	t.Run("it does not start on a full disk, and says why", func(t *testing.T) {
		if launch(t, srv) {
			t.Fatal("it started")
		}
		if message := srv.log.tail(5); !strings.Contains(message, disk) || !strings.Contains(message, "MiB of disk are free") {
			t.Errorf("it said: %s", message)
		}
	})
	empty()
	srv.start()
	l.verify(t, srv, up)
	l.wantAllKinds(t)
}

// wantFull checks that a server on a full disk refuses each kind of write.
func wantFull(t *testing.T, w *workload) {
	t.Helper()
	w.srv.waitUntil("every kind of write was refused", func() error {
		if !w.srv.running() {
			t.Fatalf("the process ended: %v\n%s", w.srv.cmd.ProcessState, w.srv.log.tail(30))
		}
		for _, call := range []struct {
			method, path string
			body         object
		}{
			{"POST", "/oauth1/consumers", object{"name": "n"}},
			{"POST", "/oauth1/tokens", object{"consumer": demoKey, "user": "salgado", "permission": "READ_PUBLIC"}},
			{"POST", "/oauth1/revoke", object{"user": "salgado"}},
			{"DELETE", "/oauth1/tokens/" + w.base.Key, nil},
			{"GET", "/oauth1/health", nil},
		} {
			status, answer, err := w.srv.adminDo(call.method, call.path, call.body)
			if err != nil || status != http.StatusServiceUnavailable {
				return fmt.Errorf("%s %s: %d %v %w", call.method, call.path, status, answer, err)
			}
			if text, _ := answer["error"].(string); !strings.Contains(text, "MiB of disk are free") {
				return fmt.Errorf("%s %s does not say why: %v", call.method, call.path, answer)
			}
		}
		r, err := ask(w.srv, "/+request-token", token{})
		if err != nil || r.Status != http.StatusServiceUnavailable || r.Header.Get("Retry-After") == "" {
			return fmt.Errorf("/+request-token: %d %s %w", r.Status, r.Body, err)
		}
		return nil
	})
	// A nonce is kept if there is room for it; otherwise its request is refused, which
	// workload.signed checks. Requests without a nonce need no room.
	if got, err := lookAtToken(demoKey, demoSecret, w.base)(w.srv); err != nil || got != there {
		t.Errorf("a PLAINTEXT request: %s %v", got, err)
	}
}

// With BADDAY_LARGE=1: the disk stays full until no nonce can be kept. Then requests are refused,
// and accepted again when there is space.
func TestBadDayDiskFullUntilNoNonceCanBeKept(t *testing.T) {
	if !large() {
		t.Skip("needs some 100,000 requests: set BADDAY_LARGE=1")
	}
	disk := newSmallDisk(t, smallDisk)
	up := newSightings(t)
	srv := newServer(t, site{
		Store:   "store badger {\n\tpath {{.Disk}}/store\n}",
		Vars:    map[string]string{"Disk": disk},
		Handler: "respond /quick ok\nreverse_proxy {{.Upstream}}",
	}, up.URL)
	expectErrors(t, srv, "MiB of disk are free", `"logger":"http.handlers.oauth1"`)
	srv.start()
	healthy(srv)
	s := signer{Consumer: demoKey, Secret: demoSecret, Token: srv.issue(t, demoKey, "salgado", "READ_PUBLIC", nil)}
	if err := expect(srv, s.sign(t, srv.request("GET", "/quick", nil), ""), http.StatusOK, "ok"); err != nil {
		t.Fatal(err)
	}
	l := newLedger()
	empty := fill(t, disk, 1<<40)

	var sent, refused atomic.Int64
	var all sync.WaitGroup
	deadline := time.Now().Add(10 * time.Minute)
	for range 16 {
		all.Go(func() {
			for refused.Load() < 1000 && time.Now().Before(deadline) && !t.Failed() {
				req := s.sign(t, srv.request("GET", "/quick", nil), "")
				if sent.Add(1)%500 == 0 || refused.Load() > 0 { // some of them go to the upstream, and are remembered
					req = s.sign(t, srv.request("GET", "/"+newNonce(), nil), "")
					l.change("signed", func() error {
						l.mu.Lock()
						defer l.mu.Unlock()
						l.requests = append(l.requests, signedRequest{req, time.Now()})
						return nil
					})
				}
				r, err := srv.do(req.Clone(req.Context()))
				switch {
				case err != nil:
					t.Error(err)
				case r.Status == http.StatusServiceUnavailable:
					refused.Add(1)
					if up.saw(req.URL.Opaque) {
						t.Error("a request that was answered with 503 came to the upstream")
					}
					if err := wantRetry(r); !errors.Is(err, errRefused) {
						t.Error(err)
					}
				case r.is(http.StatusOK, "ok") != nil:
					t.Errorf("%d %s", r.Status, r.Body)
				}
			}
		})
	}
	all.Wait()
	if accepted := sent.Load() - refused.Load(); refused.Load() == 0 || accepted < 1000 {
		t.Fatalf("%d requests were accepted, and then %d refused", accepted, refused.Load())
	}
	t.Logf("%d requests, the last %d of them were refused; %d are known to have been accepted", sent.Load(),
		refused.Load(), len(l.accepted(up)))

	empty()
	srv.waitUntil("requests are accepted again", func() error {
		return expect(srv, s.sign(t, srv.request("GET", "/quick", nil), ""), http.StatusOK, "ok")
	})
	l.verify(t, srv, up)
	empty = fill(t, disk, 1<<40)
	srv.kill()
	empty()
	srv.start()
	l.verify(t, srv, up)
}

// The same without a server in between, so that it is quick. Each nonce that the store accepts on a
// full disk stays used, also after the store is opened again. When no nonce is accepted any more,
// freed space makes the store accept some again.
func TestBadDayDiskFullOfNonces(t *testing.T) {
	disk := newSmallDisk(t, smallDisk)
	path := filepath.Join(disk, "store")
	open := func() *badgerstore.Store {
		t.Helper()
		s, err := badgerstore.Open(badgerstore.Options{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	now := time.Now()
	nonce := func(i int) tokenstore.Nonce {
		return tokenstore.Nonce{Consumer: "k", Token: "t", Timestamp: now.Unix() + int64(i%200), Value: fmt.Sprint(i),
			Expires: now.Add(time.Hour)}
	}
	s := open()
	defer func() { s.Close() }()
	for i := range 50_000 { // more than the log prepares for
		if err := s.UseNonce(t.Context(), nonce(i)); err != nil {
			t.Fatal(err)
		}
	}
	empty := fill(t, disk, 1<<40)
	accepted := 50_000
	var err error
	for ; err == nil && accepted < 1_000_000; accepted++ {
		err = s.UseNonce(t.Context(), nonce(accepted))
	}
	refused := accepted - 1
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("after %d nonces: %v, want %v", accepted, err, syscall.ENOSPC)
	}
	for i := refused; i < refused+1000; i++ {
		if err := s.UseNonce(t.Context(), nonce(i)); err == nil {
			t.Fatalf("nonce %d is accepted, where nothing can be kept", i)
		}
	}
	if err := s.Check(t.Context()); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("check: %v", err)
	}
	empty()
	if err := s.UseNonce(t.Context(), nonce(2_000_000)); err != nil {
		t.Errorf("with space again: %v", err)
	}
	for _, again := range []string{"in memory", "opened again"} {
		if again == "opened again" {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = open()
		}
		for i := range refused {
			if err := s.UseNonce(t.Context(), nonce(i)); !errors.Is(err, tokenstore.ErrNonceUsed) {
				t.Fatalf("%s: nonce %d: %v", again, i, err)
			}
		}
	}
	t.Logf("%d nonces were accepted on a full disk", refused-50_000)
}

// A store with hundreds of concurrent writers moves megabytes by itself: it flushes memory to
// tables, and merges those. Meanwhile the disk fills up, at once (like fallocate) or at 100 MiB a
// second. Nothing that was acknowledged is lost.
//
// The process, which belongs to this test, may end: Badger writes to mapped memory, and a full disk
// makes that a SIGBUS. The store's reserve prevents it if the disk fills up more slowly than Badger
// finishes its work. In TestBadDayDiskFull, the process must survive.
func TestBadDayDiskFullWhileTheStoreGrows(t *testing.T) {
	t.Run("at once", func(t *testing.T) {
		growUntilFull(t, func(disk string) func() { return fill(t, disk, 1<<40) })
	})
	t.Run("at 100 MiB a second", func(t *testing.T) {
		growUntilFull(t, func(disk string) func() { return fillSlowly(t, disk, 100<<20) })
	})
}

func growUntilFull(t *testing.T, fill func(disk string) (empty func())) {
	disk := newSmallDisk(t, 1000)
	path := filepath.Join(disk, "store")
	child, lines := growingStore(t, path)
	var mu sync.Mutex
	written := map[string]bool{}
	refused, other := 0, 0
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		for lines.Scan() {
			what, key, _ := strings.Cut(lines.Text(), " ")
			mu.Lock()
			switch what {
			case "ok":
				written[key] = true
			case "full":
				refused++
			default:
				if other++; other <= 3 { // only the beginning of a trace is of use
					t.Log(lines.Text())
				}
			}
			mu.Unlock()
		}
		child.Wait()
	}()
	counts := func() (int, int) {
		mu.Lock()
		defer mu.Unlock()
		return len(written), refused
	}
	// until waits for done, and reports whether the process lives.
	until := func(what string, done func() bool) bool {
		t.Helper()
		for deadline := time.Now().Add(patience); !done(); time.Sleep(time.Millisecond) {
			select {
			case <-exited:
				t.Logf("the process ended before %s: %v", what, child.ProcessState)
				return false
			default:
			}
			if time.Now().After(deadline) {
				t.Fatalf("waited %v until %s", patience, what)
			}
		}
		return true
	}
	for range (rounds(t, 3) + 1) / 2 { // at each speed
		before, _ := counts()
		more := 5000 + rand.IntN(15000)
		alive := until("it wrote", func() bool { n, _ := counts(); return n >= before+more })
		_, before = counts()
		empty := fill(disk)
		alive = alive && until("it was refused", func() bool { _, n := counts(); return n >= before+500 })
		empty()
		if !alive {
			break
		}
	}
	before, _ := counts()
	alive := until("it wrote again", func() bool { n, _ := counts(); return n >= before+1000 })
	empty := fill(disk)
	if alive {
		child.Process.Kill()
	}
	<-exited
	empty()

	s, err := badgerstore.Open(badgerstore.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	lost := 0
	for key := range written {
		if _, err := s.AccessToken(t.Context(), key); err != nil {
			if lost++; lost < 5 {
				t.Errorf("token %s: %v", key, err)
			}
		}
	}
	t.Logf("%d tokens were acknowledged, %d are lost; %d were refused", len(written), lost, refused)
}

// growPath makes TestBadDayGrowingProcess write to the store at its value until it is killed.
const growPath = "BADDAY_GROW_PATH"

func growingStore(t *testing.T, path string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command(self, "-test.run=^TestBadDayGrowingProcess$", "-test.timeout=0")
	child.Env = append(os.Environ(), "TMPDIR="+t.TempDir(), growPath+"="+path)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	child.Stderr = child.Stdout
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { child.Process.Kill() })
	return child, bufio.NewScanner(out)
}

// TestBadDayGrowingProcess is not a test: growingStore runs it as a process.
func TestBadDayGrowingProcess(t *testing.T) {
	path := os.Getenv(growPath)
	if path == "" {
		t.Skip("is part of TestBadDayDiskFullWhileTheStoreGrows")
	}
	s, err := badgerstore.Open(badgerstore.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	for worker := range 500 {
		go func() {
			for i := 0; ; i++ {
				key := fmt.Sprintf("%d-%d", worker, i)
				err := s.CreateAccessToken(context.Background(), &tokenstore.AccessToken{
					Key: key, Secret: strings.Repeat("s", 80), Consumer: demoKey, User: "salgado",
					Permission: "READ_PUBLIC", Created: time.Now(),
				})
				switch {
				case err == nil:
					fmt.Printf("ok %s\n", key)
				case errors.Is(err, syscall.ENOSPC):
					fmt.Printf("full %s\n", key)
					time.Sleep(10 * time.Millisecond)
				default:
					fmt.Printf("error %s: %v\n", key, err)
					time.Sleep(100 * time.Millisecond)
				}
			}
		}()
	}
	select {}
}
