package integration

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// The badday_ tests do to a server under load what happens to machines. Afterwards they check that
// all acknowledged changes are there, and that no accepted request is accepted again.
//
//	badday_kill_test.go       the process is killed at random moments, also while it starts
//	badday_start_test.go      it is killed, and starts with a large store
//	badday_powercut_test.go   the machine loses power, and with it all unsynced writes
//	badday_diskfull_test.go   the disk is full, for a while
//	badday_disk_test.go       the file systems for it
//	badday_workload_test.go   the clients of the server; badday_ledger_test.go: their knowledge
//
// BADDAY_ROUNDS sets the number of rounds (by default the process is killed 8 times, and all else
// happens 3 times). BADDAY_LARGE=1 adds the tests that take minutes.

func rounds(t *testing.T, usual int) int {
	text := os.Getenv("BADDAY_ROUNDS")
	if text == "" {
		return usual
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("BADDAY_ROUNDS %q is not a number", text)
	}
	return n
}

func large() bool { return os.Getenv("BADDAY_LARGE") == "1" }

// A ledger is the knowledge of a server's clients.
type ledger struct {
	mu       sync.Mutex
	records  []*record
	requests []signedRequest
	done     map[string]int // how often each kind of work was acknowledged
	refused  map[string]int // how often it was answered with 503
}

func newLedger() *ledger { return &ledger{done: map[string]int{}, refused: map[string]int{}} }

// A record is a consumer or a token. Only one client changes it, one change after the other.
type record struct {
	name  string
	known string // the acknowledged state
	asked string // the state that was requested last; without an answer it may be the present one
	look  func(*server) (string, error)
}

// A signedRequest has a nonce of its own, and a path that identifies it at the upstream.
type signedRequest struct {
	*http.Request
	signed time.Time
}

// States of records. Other states are texts of the record's own.
const (
	absent = "absent" // not made yet, or removed: it must not be found
	there  = "there"
)

// An effect is the change of one record.
type effect struct {
	*record
	state string
}

// errRefused: the server answered 503.
var errRefused = errors.New("503")

// change does something to records, and notes the result.
func (l *ledger) change(kind string, do func() error, effects ...effect) error {
	l.mu.Lock()
	for _, e := range effects {
		if e.known == "" { // a new one
			e.known = absent
			l.records = append(l.records, e.record)
		}
		e.asked = e.state
	}
	l.mu.Unlock()
	err := do()
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err == nil:
		for _, e := range effects {
			e.known = e.state
		}
		l.done[kind]++
	case errors.Is(err, errRefused):
		l.refused[kind]++
	}
	return err
}

func (l *ledger) counts() (done, refused map[string]int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.done), maps.Clone(l.refused)
}

// verify checks every record, and sends every accepted request again.
func (l *ledger) verify(t *testing.T, srv *server, up *sightings) {
	t.Helper()
	healthy(srv)
	var checks []func() error
	for _, r := range l.records {
		checks = append(checks, func() error {
			got, err := r.look(srv)
			if err != nil {
				return fmt.Errorf("%s: %w", r.name, err)
			}
			if got != r.known && got != r.asked {
				return fmt.Errorf("%s: it is %q, was acknowledged as %q, and last asked to be %q", r.name, got,
					r.known, r.asked)
			}
			r.known, r.asked = got, got
			return nil
		})
	}
	for _, s := range l.accepted(up) {
		checks = append(checks, func() error {
			r, err := srv.do(s.Clone(s.Context()))
			if err != nil {
				return err
			}
			if r.Status != http.StatusUnauthorized || r.Body != nonceUsed && time.Since(s.signed) < 4*time.Minute {
				return fmt.Errorf("REPLAY of a request that was accepted before: %d %s", r.Status, r.Body)
			}
			return nil
		})
	}
	atOnce(t, 8, checks)
}

// accepted returns the requests that reached the upstream.
func (l *ledger) accepted(up *sightings) []signedRequest {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(l.requests), func(s signedRequest) bool { return !up.saw(s.URL.Opaque) })
}

// allKinds lists all kinds of work of a workload.
var allKinds = []string{
	"add consumer", "change consumer", "rotate secret", "remove consumer", "issue", "revoke", "revoke by user",
	"revoke by consumer", "request token", "review", "refuse", "exchange", "signed",
}

// wantAllKinds fails the test if some kind of work was never done, and so was not tested.
func (l *ledger) wantAllKinds(t *testing.T) {
	t.Helper()
	done, _ := l.counts()
	for _, kind := range allKinds {
		if done[kind] == 0 {
			t.Errorf("%s: never done", kind)
		}
	}
}

// launch starts a server with a command of the test's own. It reports whether the server came up,
// because it may end at once, too.
func launch(t *testing.T, srv *server, wrapper ...string) bool {
	t.Helper()
	if len(wrapper) > 0 {
		wrapper[0] = requireProgram(t, wrapper[0])
	}
	srv.spawn(wrapper...)
	up := false
	srv.waitUntil("it answers or ends", func() error {
		if !srv.running() {
			return nil
		}
		status, answer, err := srv.adminDo("GET", "/oauth1/health", nil)
		// A site may answer before the store is open, or before the store fails to open.
		up = err == nil && status == http.StatusOK
		if !up {
			return fmt.Errorf("%d %v %w", status, answer, err)
		}
		return nil
	})
	if !up {
		srv.cmd = nil
	}
	return up
}

// healthy waits until the server's own check succeeds. Sites may answer before the admin API knows
// the app.
func healthy(srv *server) {
	srv.t.Helper()
	srv.waitUntil("it is healthy", func() error {
		status, answer, err := srv.adminDo("GET", "/oauth1/health", nil)
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("%d %v", status, answer)
		}
		return err
	})
}

// expectErrors checks the log at the end in place of checkLog, for a test that makes the store log
// errors. There must be an error of the module with these words, and no panic.
func expectErrors(t *testing.T, srv *server, words ...string) {
	t.Cleanup(func() {
		srv.stop()
		text := srv.log.String()
		for _, sign := range []string{"DATA RACE", "panic", "SIGBUS", "fatal error", "unexpected fault address",
			"goroutine 1 ["} {
			if strings.Contains(text, sign) {
				t.Errorf("the server's log has %q", sign)
			}
		}
		for _, word := range words {
			found := false
			for line := range strings.Lines(text) {
				found = found || strings.Contains(line, "oauth1") && strings.Contains(line, `"level":"error"`) &&
					strings.Contains(line, word)
			}
			if !found {
				t.Errorf("the server's log has no error of the module's with %q", word)
			}
		}
		if t.Failed() {
			t.Logf("the server's log:\n%s", srv.log.tail(60))
		}
		srv.log = &logBuffer{}
	})
}
