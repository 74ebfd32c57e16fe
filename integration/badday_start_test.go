package integration

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/badgerstore"
)

// A server with a million tokens, whose process was killed, verifies its first request within five
// seconds of its start. Without BADDAY_LARGE=1 it has 20,000, and the time is only logged.
func TestBadDayStartAfterKill9WithManyTokens(t *testing.T) {
	n := 20_000
	if large() {
		n = 1_000_000
	}
	up := newQuickUpstream(t)
	srv := newServer(t, site{}, up.URL)
	requireBinary(t)
	began := time.Now()
	used := fillAndKill(t, filepath.Join(srv.dir, "store"), n)
	t.Logf("filled with %d tokens and %d nonces in %v", n, n/2, time.Since(began).Round(time.Second))

	// If the machine is busy, one start may be slow because of that.
	took := time.Hour
	for try := 0; try == 0 || try < 5 && took > 5*time.Second; try++ {
		if try > 0 {
			srv.kill()
		}
		began = time.Now()
		srv.start()
		s := signer{Consumer: demoKey, Secret: demoSecret, Token: manyToken(n / 2)}
		if err := expect(srv, s.sign(t, srv.request("GET", "/", nil), ""), http.StatusOK, "ok"); err != nil {
			t.Fatal(err)
		}
		took = min(took, time.Since(began))
		t.Logf("%v from the start of the process to its first answer", time.Since(began).Round(time.Millisecond))
	}
	if large() && took > 5*time.Second {
		t.Errorf("the start took %v", took)
	}

	var checks []func() error
	for i := 0; i < n; i += max(1, n/2000) {
		checks = append(checks, func() error {
			want := there
			if isRevoked(i) {
				want = absent
			}
			got, err := lookAtToken(demoKey, demoSecret, manyToken(i))(srv)
			if err == nil && got != want {
				err = fmt.Errorf("token %d is %s, want %s", i, got, want)
			}
			return err
		})
	}
	for i := 0; i < n/2; i += max(1, n/2000) {
		checks = append(checks, func() error {
			s := signer{Consumer: demoKey, Secret: demoSecret, Token: manyToken(0), Nonce: manyNonce(i, used).Value,
				Timestamp: strconv.FormatInt(manyNonce(i, used).Timestamp, 10)}
			return expect(srv, s.sign(t, srv.request("GET", "/", nil), ""), http.StatusUnauthorized, nonceUsed)
		})
	}
	atOnce(t, 8, checks)
}

func manyToken(i int) token { return token{fmt.Sprintf("many-%d", i), fmt.Sprintf("secret-%d", i)} }

// isRevoked is true for every thousandth token.
func isRevoked(i int) bool { return i%1000 == 999 }

func manyNonce(i int, now time.Time) tokenstore.Nonce {
	return tokenstore.Nonce{Consumer: demoKey, Token: manyToken(0).Key, Value: fmt.Sprintf("nonce-%d", i),
		Timestamp: now.Unix() + int64(i%200), Expires: now.Add(20 * time.Minute)}
}

// This test binary fills the store in a process of its own, which can be killed.
const (
	fillPath   = "BADDAY_FILL_PATH"
	fillTokens = "BADDAY_FILL_TOKENS"
	fillTime   = "BADDAY_FILL_TIME"
)

// fillAndKill returns the time of the nonces.
func fillAndKill(t *testing.T, path string, tokens int) time.Time {
	t.Helper()
	now := time.Now().Truncate(time.Second)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cmd := exec.Command(self, "-test.run=^TestBadDayFillerProcess$", "-test.timeout=0")
	cmd.Env = append(os.Environ(), "TMPDIR="+dir, fillPath+"="+path, fillTokens+"="+strconv.Itoa(tokens),
		fillTime+"="+strconv.FormatInt(now.Unix(), 10))
	var out logBuffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	for {
		if _, err := os.Stat(filepath.Join(dir, "filled")); err == nil {
			cmd.Process.Kill()
			<-exited
			return now
		}
		select {
		case err := <-exited:
			t.Fatalf("%v:\n%s", err, out.tail(20))
		case <-t.Context().Done():
			cmd.Process.Kill()
			t.Fatal(t.Context().Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// TestBadDayFillerProcess is not a test: fillAndKill runs it as a process.
func TestBadDayFillerProcess(t *testing.T) {
	path := os.Getenv(fillPath)
	if path == "" {
		t.Skip("is part of TestBadDayStartAfterKill9WithManyTokens")
	}
	n, err := strconv.Atoi(os.Getenv(fillTokens))
	if err != nil {
		t.Fatal(err)
	}
	seconds, err := strconv.ParseInt(os.Getenv(fillTime), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	s, err := badgerstore.Open(badgerstore.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	now := time.Unix(seconds, 0)
	inParallel(t, n, func(i int) error {
		tok := manyToken(i)
		err := s.CreateAccessToken(ctx, &tokenstore.AccessToken{
			Key: tok.Key, Secret: tok.Secret, Consumer: demoKey, User: fmt.Sprintf("user-%d", i%1000),
			Permission: "READ_PUBLIC", Created: now,
		})
		if err == nil && isRevoked(i) {
			err = s.RevokeToken(ctx, tok.Key)
		}
		return err
	})
	inParallel(t, n/2, func(i int) error { return s.UseNonce(ctx, manyNonce(i, now)) })
	if t.Failed() {
		return
	}
	if err := os.WriteFile(filepath.Join(os.TempDir(), "filled"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	select {} // until it is killed
}

// inParallel calls f for every number below n. The store writes concurrent changes together.
func inParallel(t *testing.T, n int, f func(int) error) {
	var next atomic.Int64
	var all sync.WaitGroup
	for range 2000 {
		all.Go(func() {
			for !t.Failed() {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := f(i); err != nil && !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
}
