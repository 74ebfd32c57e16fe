package badgerstore

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// openOnceEnv makes the test binary open the store at its value, use it a little and close it.
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
					_ = s.CreateAccessToken(context.Background(), &tokenstore.AccessToken{Key: key, Consumer: "k", User: "u"})
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

// openOnce lets a child have the store, and kills it at a moment after it said that it has begun, if a moment is given.
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

// A store that was killed while it was made, opened or closed opens again, without an error or a warning.
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
			for round := range 10 {
				if c.fresh {
					path = filepath.Join(t.TempDir(), "store")
				}
				kill := 100*time.Microsecond + time.Duration(rand.Int64N(int64(c.most)))
				said := openOnce(t, path, kill, c.env...)
				lines := strings.Split(strings.TrimSpace(said), "\n")
				stages[lines[len(lines)-1]]++
				again := said
				if c.fresh || round%5 == 4 {
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

// An encrypted store whose first start ended between two of Badger's files opens: nothing was ever acknowledged.
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
	// Badger makes the MANIFEST, and then the KEYREGISTRY. The MANIFEST of a new store is its magic alone.
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

// A start that ended before its first change makes no alarm, and neither does one that ended after it. A ledger that is
// really gone does.
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
	if err := newLedger(ledger, ledgerState{since: 1}); err != nil { // nothing was acknowledged yet
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

// A store of an earlier format that was killed while it was opened for the first time has all that it had.
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
