package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/badgerstore/internal/disktest"
)

// openOnceEnv makes the test binary open the store at its value, use it briefly and close it.
const openOnceEnv = "BADGERSTORE_TEST_OPEN_ONCE"

func init() {
	path := os.Getenv(openOnceEnv)
	if path == "" {
		return
	}
	o := Options{Path: path, Logger: zap.New(zapcore.NewCore(zapcore.NewConsoleEncoder(zap.NewProductionEncoderConfig()),
		zapcore.AddSync(os.Stdout), zap.WarnLevel))}
	if key := os.Getenv("ONCE_KEY"); key != "" {
		o.EncryptionKey = []byte(key)
	}
	if os.Getenv(smallEnv) != "" {
		o.tune = tuneSmall
	}
	if os.Getenv("ONCE_KEPT") != "" {
		o.Clock, o.bootID = func() time.Time { return time.Unix(4_000_000_000, 0) }, "kept"
	}
	fmt.Println("begin")
	s, err := Open(o)
	if err != nil {
		fmt.Println("refused:", err)
		os.Exit(1)
	}
	fmt.Println("opened")
	var all sync.WaitGroup
	for w := range 4 {
		all.Go(func() {
			for i := range 20 {
				n := s.clock().Unix()
				key := fmt.Sprintf("%d-%d-%d", os.Getpid(), w, i)
				if err := s.UseNonce(context.Background(), crashNonce(key, n)); err != nil {
					fmt.Println("refused:", err)
				}
				if i%5 == 0 {
					_ = s.CreateAccessToken(context.Background(),
						&tokenstore.AccessToken{Key: key, Consumer: "k", User: "u"})
				}
			}
		})
	}
	all.Wait()
	fmt.Println("closing")
	if err := s.Close(); err != nil {
		fmt.Println("refused: close:", err)
	}
	fmt.Println("closed")
	os.Exit(0)
}

// openOnce runs a child that opens the store. If kill is given, it kills the child that long after
// the child has begun.
func openOnce(t *testing.T, path string, kill time.Duration, env ...string) string {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), openOnceEnv+"="+path), env...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	buf := make([]byte, 4096)
	n, _ := out.Read(buf)
	b.Write(buf[:n])
	if kill > 0 {
		time.AfterFunc(kill, func() { _ = cmd.Process.Kill() })
	}
	for {
		n, err := out.Read(buf)
		b.Write(buf[:n])
		if err != nil {
			break
		}
	}
	_ = cmd.Wait()
	return b.String()
}

// A store whose process was killed while it was made, opened or closed opens again, without an
// error or a warning.
func TestKillWhileOpeningAndClosing(t *testing.T) {
	for _, c := range []struct {
		name  string
		fresh bool
		env   []string
		most  time.Duration
	}{
		{"first start", true, nil, 40 * time.Millisecond},
		{"first start, encrypted", true, []string{"ONCE_KEY=0123456789abcdef"}, 40 * time.Millisecond},
		{"restarts", false, nil, 120 * time.Millisecond},
		{"restarts, encrypted", false, []string{"ONCE_KEY=0123456789abcdef"}, 120 * time.Millisecond},
		{"restarts, small", false, []string{smallEnv + "=1"}, 120 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "store")
			stages := map[string]int{}
			for round := range 6 {
				if c.fresh {
					path = filepath.Join(t.TempDir(), "store")
				}
				kill := 100*time.Microsecond + time.Duration(rand.Int64N(int64(c.most)))
				said := openOnce(t, path, kill, c.env...)
				lines := strings.Split(strings.TrimSpace(said), "\n")
				stages[lines[len(lines)-1]]++
				again := said
				if c.fresh || round%3 == 2 {
					again = openOnce(t, path, 0, c.env...)
				}
				for _, l := range strings.Split(again, "\n") {
					if strings.Contains(l, "refused") || strings.Contains(l, "error") || strings.Contains(l, "warn") {
						t.Errorf("killed after %v: %s", kill, l)
					}
				}
			}
			t.Log(stages)
		})
	}
}

// An encrypted store opens even if its first start ended between two of Badger's files: nothing was
// acknowledged by then.
func TestFirstStartOfAnEncryptedStoreThatEndedEarly(t *testing.T) {
	path := t.TempDir()
	o := Options{Path: path, EncryptionKey: []byte("0123456789abcdef")}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := os.ReadFile(filepath.Join(path, "tokens", "MANIFEST"))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	o.Path = t.TempDir()
	if err := os.Mkdir(filepath.Join(o.Path, "tokens"), 0o700); err != nil {
		t.Fatal(err)
	}
	// Badger makes the MANIFEST first, and then the KEYREGISTRY. The MANIFEST of a new store has
	// only its magic number.
	early := filepath.Join(o.Path, "tokens", "MANIFEST")
	if err := os.WriteFile(early, manifest[:8], 0o600); err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(o.Path, "tokens", "00001.mem")
	if err := os.WriteFile(log, append(make([]byte, 100), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	wantOpenError(t, o, "KEYREGISTRY", "is missing, without which nothing can be decrypted")
	if err := os.WriteFile(log, make([]byte, 100), 0o600); err != nil {
		t.Fatal(err)
	}
	openTest(t, o)
}

// A start that ended before or after its first change raises no alarm. A ledger that is really
// missing does.
func TestFirstStartThatEndedAroundTheLedger(t *testing.T) {
	path := t.TempDir()
	s, err := Open(Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	ledger := filepath.Join(path, ledgerName)
	open := func() (warnings int) {
		t.Helper()
		core, logs := observer.New(zap.WarnLevel)
		s, err := Open(Options{Path: path, Logger: zap.New(core)})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		return logs.FilterMessageSnippet("the ledger was missing").Len()
	}
	if err := newLedger(ledger, ledgerState{since: 1}); err != nil { // nothing is acknowledged yet
		t.Fatal(err)
	}
	if n := open(); n != 0 {
		t.Errorf("%d warnings of a ledger that is there", n)
	}
	if err := os.Remove(ledger); err != nil {
		t.Fatal(err)
	}
	if n := open(); n != 1 {
		t.Errorf("%d warnings of a ledger that was taken away", n)
	}
	state, err := readLedger(ledger)
	if err != nil || state == nil || state.acknowledged < state.since {
		t.Errorf("the ledger that took its place says %+v, %v", state, err)
	}
}

// A store of an earlier format keeps everything if the process is killed while it opens the store
// for the first time.
func TestKillWhileAnOldStoreIsOpened(t *testing.T) {
	archives, _ := filepath.Glob("testdata/stores/*.tgz")
	for _, archive := range archives {
		for range 4 {
			path := t.TempDir()
			unpack(t, archive, path)
			for range 3 {
				openOnce(t, path, time.Duration(rand.IntN(30_000))*time.Microsecond, "ONCE_KEPT=1")
			}
			core, logs := observer.New(zap.WarnLevel)
			o := keptOptions(path)
			o.Logger = zap.New(core)
			s, err := Open(o)
			if err != nil {
				t.Errorf("%s: %v", archive, err)
				continue
			}
			for _, l := range logs.All() {
				t.Errorf("%s: %s %v", archive, l.Message, l.ContextMap())
			}
			wantKept(t, s)
			_ = s.Close()
		}
	}
}

// floodEnv makes the test binary use nonces of the store at its value as fast as it can, until it
// is killed. Segments are filled, sealed and removed all the time.
const floodEnv = "BADGERSTORE_TEST_FLOOD"

func init() {
	path := os.Getenv(floodEnv)
	if path == "" {
		return
	}
	var clock atomic.Int64
	base, start := int64(2_000_000_000), time.Now()
	if v, err := strconv.ParseInt(os.Getenv("FLOOD_BASE"), 10, 64); err == nil {
		base = v
	}
	clock.Store(base)
	s, err := Open(Options{Path: path, MaxNonces: 1 << 40, bootID: "same",
		Clock: func() time.Time { return time.Unix(clock.Load(), 0) },
		Logger: zap.New(zapcore.NewCore(zapcore.NewConsoleEncoder(zap.NewProductionEncoderConfig()),
			zapcore.AddSync(os.Stdout), zap.WarnLevel))})
	if err != nil {
		fmt.Println("refused:", err)
		os.Exit(1)
	}
	for w := range 4 {
		go func() {
			for i := 0; ; i++ {
				now := clock.Load()
				n := tokenstore.Nonce{Consumer: "k", Token: fmt.Sprint("t", i%100), Timestamp: now,
					Value:   fmt.Sprintf("%d-%d-%d", os.Getpid(), w, i),
					Expires: time.Unix(now+121, 0)}
				if err := s.UseNonce(context.Background(), n); err != nil {
					fmt.Println("refused:", err)
					return
				}
				if i%2000 == 0 {
					fmt.Printf("used %d %s %s\n", now, n.Token, n.Value)
				}
			}
		}()
	}
	for { // one real second is one minute on the store's clock
		clock.Store(base + int64(time.Since(start).Seconds()*60))
		fmt.Println("clock", clock.Load())
		_ = s.nonces.LookAfter(s.clock(), nil)
		time.Sleep(20 * time.Millisecond)
	}
}

// After a kill while segments are filled, sealed, trimmed or removed, no used nonce is accepted
// again, and there is no alarm.
func TestKillWhileSegmentsComeAndGo(t *testing.T) {
	path := t.TempDir()
	base, used, checked := int64(2_000_000_000), [][3]string{}, 0
	for round := range 6 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), floodEnv+"="+path, "FLOOD_BASE="+fmt.Sprint(base))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		kill := time.Duration(rand.IntN(1200)) * time.Millisecond
		if round%3 == 0 {
			kill = time.Duration(rand.IntN(150)) * time.Millisecond // while the store is opened
		}
		time.AfterFunc(kill, func() { _ = cmd.Process.Kill() })
		b, _ := io.ReadAll(out)
		_ = cmd.Wait()
		for _, l := range strings.Split(string(b), "\n") {
			f := strings.Fields(l)
			switch {
			case len(f) == 4 && f[0] == "used":
				used = append(used, [3]string{f[1], f[2], f[3]})
			case len(f) == 2 && f[0] == "clock":
				if v, err := strconv.ParseInt(f[1], 10, 64); err == nil {
					base = max(base, v)
				}
			case strings.Contains(l, "refused") || strings.Contains(l, "error") || strings.Contains(l, "warn"):
				t.Errorf("round %d, killed after %v: %s", round, kill, l)
			}
		}
		core, logs := observer.New(zap.WarnLevel)
		copied := disktest.Crash(t, path)
		s, err := Open(Options{Path: copied, bootID: "same", MaxNonces: 1 << 40,
			Clock: func() time.Time { return time.Unix(base, 0) }, Logger: zap.New(core)})
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range logs.All() {
			t.Errorf("round %d: %s %v", round, l.Message, l.ContextMap())
		}
		for _, u := range used {
			ts, _ := strconv.ParseInt(u[0], 10, 64)
			if ts+121 < base {
				continue
			}
			checked++
			err := s.UseNonce(context.Background(),
				tokenstore.Nonce{Consumer: "k", Token: u[1], Timestamp: ts, Value: u[2], Expires: time.Unix(ts+121, 0)})
			if !errors.Is(err, tokenstore.ErrNonceUsed) && !errors.Is(err, tokenstore.ErrNonceForgotten) {
				t.Errorf("round %d: a used nonce of %d gets %v", round, ts, err)
			}
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		_ = os.RemoveAll(copied)
	}
	segments, _ := filepath.Glob(filepath.Join(path, "nonces", "*"+segmentSuffix))
	t.Log(checked, "checked, last segments", segments[len(segments)-1])
}
