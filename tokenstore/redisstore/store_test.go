package redisstore

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/storetest"
)

var prefixes atomic.Int64

// openTest opens a store with a prefix of its own and waits until it accepts nonces.
func openTest(t testing.TB, o Options) *Store {
	t.Helper()
	if o.Prefix == "" {
		o.Prefix = "test" + strconv.FormatInt(prefixes.Add(1), 10)
	}
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second // the machine may be busy
	}
	if o.Lead == 0 {
		o.Lead = 2 * time.Second
	}
	if o.MaxStale == 0 {
		o.MaxStale = time.Second
	}
	o.Logger = zaptest.NewLogger(t)
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := s.ready(ctx); err != nil {
		t.Fatal(err)
	}
	return s
}

func startServer(t testing.TB) string {
	dir := t.TempDir()
	port := 20000 + os.Getpid()%10000
	cmd := exec.Command("redis-server", "--port", strconv.Itoa(port), "--dir", dir, "--save", "", "--loglevel", "warning")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	time.Sleep(300 * time.Millisecond)
	return fmt.Sprintf("127.0.0.1:%d", port)
}

func TestConformance(t *testing.T) {
	address := startServer(t)
	storetest.Run(t, func(t *testing.T, clock func() time.Time) tokenstore.Store {
		return openTest(t, Options{Addresses: []string{address}, clock: clock})
	})
	storetest.RunDurable(t, func(t *testing.T) storetest.Opener {
		prefix := "durable" + strconv.FormatInt(prefixes.Add(1), 10)
		return func(t *testing.T, clock func() time.Time) tokenstore.Store {
			return openTest(t, Options{Addresses: []string{address}, clock: clock, Prefix: prefix})
		}
	})
}
