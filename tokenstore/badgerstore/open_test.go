package badgerstore

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/record"
)

func wantOpenError(t *testing.T, o Options, words ...string) error {
	t.Helper()
	s, err := Open(o)
	if err == nil {
		_ = s.Close()
		t.Fatalf("it opened; want an error with %q", words)
	}
	for _, w := range append(words, fmt.Sprintf("open store %q: ", o.Path)) {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
	if len(o.EncryptionKey) > 0 && strings.Contains(err.Error(), string(o.EncryptionKey)) {
		t.Errorf("error %q shows the key", err)
	}
	return err
}

func TestOpenWhatIsOpen(t *testing.T) {
	s := openTest(t, Options{Path: t.TempDir()})
	err := wantOpenError(t, Options{Path: filepath.Dir(s.tokens.dir)}, "another process is using it: stop that process, or give this one another path")
	if errors.Unwrap(errors.Unwrap(err)) == nil {
		t.Error("the cause is not wrapped")
	}
}

// TestOpenErrorNamesTheProcess: whatever Badger says, the lock itself tells that another process has
// the directory. Words of an error, or of a path in it, tell nothing.
func TestOpenErrorNamesTheProcess(t *testing.T) {
	s := openTest(t, Options{Path: t.TempDir()})
	cause := errors.New("any words")
	if err := openError(s.tokens.dir, cause); !errors.Is(err, cause) ||
		!strings.HasPrefix(err.Error(), "another process is using it: ") {
		t.Errorf("of a directory that is open: %v", err)
	}
	cause = errors.New(`open "/srv/manifests/oauth1": permission denied`)
	if err := openError(t.TempDir(), cause); err != cause {
		t.Errorf("of a directory that nobody uses: %v", err)
	}
}

func TestOpenMakesADirectoryForItsOwnerAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b")
	openTest(t, Options{Path: path})
	for _, dir := range []string{path, filepath.Join(path, "tokens"), filepath.Join(path, "nonces")} {
		if i, err := os.Stat(dir); err != nil || i.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v; want 0700", dir, i.Mode(), err)
		}
	}
}

func TestOpenWithAnotherKey(t *testing.T) {
	key := bytes.Repeat([]byte("k"), 32)
	other := bytes.Repeat([]byte("o"), 32)
	for name, c := range map[string]struct{ made, opened []byte }{
		"another key":                    {key, other},
		"no key":                         {key, nil},
		"a key for an unencrypted store": {nil, key},
		"a shorter key":                  {key, key[:16]},
	} {
		t.Run(name, func(t *testing.T) {
			path := t.TempDir()
			s, err := Open(Options{Path: path, EncryptionKey: c.made})
			if err != nil {
				t.Fatal(err)
			}
			if err := s.CreateConsumer(t.Context(), &tokenstore.Consumer{Key: "k"}); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			wantOpenError(t, Options{Path: path, EncryptionKey: c.opened}, "the encryption key is not the one it was made with")
			openTest(t, Options{Path: path, EncryptionKey: c.made})
		})
	}
	wantOpenError(t, Options{Path: t.TempDir(), EncryptionKey: []byte("short")}, "encryption key of 5 bytes")
}

func TestEncryptionLeavesNothingReadable(t *testing.T) {
	path := t.TempDir()
	s, err := Open(Options{Path: path, EncryptionKey: make([]byte, 16)})
	if err != nil {
		t.Fatal(err)
	}
	secret := "a secret that must not be found"
	if err := s.CreateConsumer(t.Context(), &tokenstore.Consumer{Key: "k", Secret: secret}); err != nil {
		t.Fatal(err)
	}
	look := func() {
		_ = filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				if b, err := os.ReadFile(p); err != nil || bytes.Contains(b, []byte(secret)) {
					t.Errorf("%s holds it, or %v", p, err)
				}
			}
			return nil
		})
	}
	look()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	look()
}

func TestOpenDamaged(t *testing.T) {
	t.Run("manifest", func(t *testing.T) {
		path := t.TempDir()
		s, err := Open(Options{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(path, "tokens", "MANIFEST"), []byte("nonsense, and more of it"), 0o600); err != nil {
			t.Fatal(err)
		}
		wantOpenError(t, Options{Path: path}, "manifest")
	})
	t.Run("state of the nonce log", func(t *testing.T) {
		path := t.TempDir()
		s, err := Open(Options{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		close(s.stop)
		s.stopped.Wait()
		if err := s.nonces.Close(); err != nil {
			t.Fatal(err)
		}
		var c change
		c.put([]byte{prefixNonceState}, []byte("nonsense"), 0)
		if err := s.tokens.commit(c); err != nil {
			t.Fatal(err)
		}
		if err := s.tokens.close(); err != nil {
			t.Fatal(err)
		}
		wantOpenError(t, Options{Path: path}, "state of the nonce log", "damaged record")
	})
	t.Run("a record", func(t *testing.T) {
		s := openTest(t, Options{})
		var c change
		c.put(recordKey(prefixAccessToken, "a"), []byte("nonsense"), 0)
		if err := s.tokens.commit(c); err != nil {
			t.Fatal(err)
		}
		if _, err := s.AccessToken(t.Context(), "a"); !errors.Is(err, record.ErrDamaged) || !strings.Contains(err.Error(), `access token "a"`) {
			t.Errorf("got %v", err)
		}
	})
}

// A process may end just after it has created a file of Badger's, which is empty then. The next
// process opens the store nevertheless, because every acknowledged write is on disk.
func TestOpenWithAnEmptyMemtable(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, Options{Path: dir})
	if err := s.CreateAccessToken(t.Context(), &tokenstore.AccessToken{Key: "key", Consumer: "consumer", User: "user"}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "tokens", "00431.mem"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		s, err := Open(Options{Path: dir})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.AccessToken(t.Context(), "key"); err != nil {
			t.Error(err)
		}
		if err := s.CreateConsumer(t.Context(), &tokenstore.Consumer{Key: rand.Text()}); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A file stands in the place of the directory, or the directory is not writable.
func TestOpenWhereItCannot(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	wantOpenError(t, Options{Path: file}, "not a directory")
	wantOpenError(t, Options{Path: ""}, "no path")
}

// Badger's INFO lines do not reach the log.
func TestOpenIsQuiet(t *testing.T) {
	core, logs := observer.New(zapcore.InfoLevel)
	s, err := Open(Options{Path: t.TempDir(), Logger: zap.New(core)})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Check(t.Context()), s.Close()); err != nil {
		t.Fatal(err)
	}
	for _, l := range logs.All() {
		t.Errorf("%s %s", l.Level, l.Message)
	}
}

// After a failed write nothing is acknowledged or read until the store is opened again.
func TestFailedWrite(t *testing.T) {
	s := openTest(t, Options{})
	if err := s.CreateConsumer(t.Context(), &tokenstore.Consumer{Key: "k"}); err != nil {
		t.Fatal(err)
	}
	broken := fmt.Errorf("write: %w", syscall.EIO)
	s.tokens.failed.Store(&broken)
	for name, err := range map[string]error{
		"create": s.CreateConsumer(t.Context(), &tokenstore.Consumer{Key: "l"}),
		"check":  s.Check(t.Context()),
		"revoke": func() error { _, err := s.Revoke(t.Context(), tokenstore.Filter{User: "u"}); return err }(),
		"read":   func() error { _, err := s.AccessToken(t.Context(), "a"); return err }(),
	} {
		if !errors.Is(err, syscall.EIO) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// A record that Badger would not take is refused alone, and not with the records of other callers.
func TestTooLarge(t *testing.T) {
	s := openTest(t, Options{})
	if err := s.CreateConsumer(t.Context(), &tokenstore.Consumer{Key: "k", Name: strings.Repeat("x", 1<<20)}); err == nil {
		t.Error("a consumer of 1 MiB was taken")
	}
	if err := s.CreateAccessToken(t.Context(), &tokenstore.AccessToken{Key: "a", User: strings.Repeat("x", 64<<10)}); err == nil {
		t.Error("a user of 64 KiB was taken")
	}
	if err := s.CreateConsumer(t.Context(), &tokenstore.Consumer{Key: "k"}); err != nil {
		t.Error(err)
	}
}

func TestTooManySelfRegistered(t *testing.T) {
	now := time.Now()
	s := openTest(t, Options{Clock: func() time.Time { return now }})
	for i := range tokenstore.MaxSelfRegistered - 1 {
		s.self.set(fmt.Sprint(i), now)
	}
	self := func(key string) error {
		return s.CreateConsumer(t.Context(), &tokenstore.Consumer{Key: key, SelfRegistered: true})
	}
	if err := self("last"); err != nil {
		t.Fatal(err)
	}
	if err := self("one more"); !errors.Is(err, tokenstore.ErrTooManyConsumers) {
		t.Errorf("got %v, want %v", err, tokenstore.ErrTooManyConsumers)
	}
	if err := s.CreateConsumer(t.Context(), &tokenstore.Consumer{Key: "added"}); err != nil {
		t.Error(err)
	}
	if err := s.CreateAccessToken(t.Context(), &tokenstore.AccessToken{Key: "a", Consumer: "last", User: "u"}); err != nil {
		t.Fatal(err)
	}
	if err := self("one more"); err != nil {
		t.Errorf("after another one stays for good: %v", err)
	}
}
