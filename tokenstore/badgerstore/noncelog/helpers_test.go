package noncelog

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// fileKeeper keeps the state in a file.
type fileKeeper struct{ path string }

func (k fileKeeper) Load() ([]byte, error) {
	b, err := os.ReadFile(k.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return b, err
}

func (k fileKeeper) Save(state []byte) error {
	if err := os.WriteFile(k.path+".new", state, 0o600); err != nil {
		return err
	}
	return os.Rename(k.path+".new", k.path)
}

func (k fileKeeper) Usable() error { return nil }

// testOptions are Options with the defaults of a store. The path holds the log, in "nonces", and
// then the state, so that a copy never has a state older than its log.
type testOptions struct {
	Path      string
	Sync      bool
	MaxNonces int
	Logger    *zap.Logger
	Clock     func() time.Time
	bootID    string
	afterSync func(string) error
}

// openAlone opens a log without a goroutine that maintains it.
func openAlone(o testOptions) (*Log, error) {
	if o.MaxNonces == 0 {
		o.MaxNonces = 1_000_000
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	dir := filepath.Join(o.Path, "nonces")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return Open(Options{Dir: dir, State: fileKeeper{filepath.Join(o.Path, "state")},
		MaxNonces: o.MaxNonces, Sync: o.Sync,
		Logger: o.Logger, Clock: o.Clock, Boot: o.bootID, Synced: o.afterSync})
}

// A testLog is maintained until it is closed.
type testLog struct {
	*Log
	stop    chan struct{}
	stopped sync.WaitGroup
}

func open(o testOptions) (*testLog, error) {
	l, err := openAlone(o)
	if err != nil {
		return nil, err
	}
	s := &testLog{Log: l, stop: make(chan struct{})}
	s.stopped.Go(func() { l.Maintain(s.stop) })
	return s, nil
}

func openTest(t testing.TB, o testOptions) *testLog {
	t.Helper()
	if o.Path == "" {
		o.Path = t.TempDir()
	}
	s, err := open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *testLog) use(n tokenstore.Nonce) error { return s.Use(&n) }

// kill ends the goroutines of the log, and reports whether they were running.
func (s *testLog) kill() bool {
	if isClosed(s.stop) {
		return false
	}
	close(s.stop)
	s.stopped.Wait()
	return true
}

// Close closes the log, unless it is closed already.
func (s *testLog) Close() error {
	if !s.kill() {
		return nil
	}
	return s.Log.Close()
}

const testWindow = 300

func windowNonce(timestamp int64, value string) tokenstore.Nonce {
	return tokenstore.Nonce{Consumer: "k", Timestamp: timestamp, Value: value,
		Expires: time.Unix(timestamp+1+testWindow, 0)}
}
