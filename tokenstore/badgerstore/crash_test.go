package badgerstore

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// childEnv makes the test binary write to the store at its value until it is killed.
const childEnv = "BADGERSTORE_TEST_CHILD"

// smallEnv makes that store use many small tables, which are flushed and compacted all the time.
const smallEnv = "BADGERSTORE_TEST_SMALL"

func TestMain(m *testing.M) {
	if path := os.Getenv(childEnv); path != "" {
		writeUntilKilled(path)
	}
	if path := os.Getenv(revokeEnv); path != "" {
		revokeUntilKilled(path)
	}
	os.Exit(m.Run())
}

func crashNonce(value string, timestamp int64) tokenstore.Nonce {
	return tokenstore.Nonce{Consumer: "k", Timestamp: timestamp, Value: value,
		Expires: time.Unix(timestamp, 0).Add(time.Hour)}
}

// writeUntilKilled writes a line `what key` for each write after it was acknowledged. A line is one
// write to the pipe, so it comes whole or not at all.
func writeUntilKilled(path string) {
	fail := func(err error) {
		if err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
	}
	o := Options{Path: path}
	if os.Getenv(smallEnv) != "" {
		o.tune = tuneSmall
	}
	s, err := Open(o)
	fail(err)
	ctx := context.Background()
	for worker := range 8 {
		go func() {
			for i := 0; ; i++ {
				key := fmt.Sprintf("%d-%d-%d", os.Getpid(), worker, i)
				n := time.Now().Unix()
				fail(s.UseNonce(ctx, crashNonce(key, n)))
				fmt.Printf("nonce %s@%d\n", key, n)

				fail(s.CreateRequestToken(ctx, &tokenstore.RequestToken{Key: key, Consumer: "k",
					Expires: time.Now().Add(time.Hour)}))
				fmt.Printf("created %s\n", key)
				_, err := s.Review(ctx, key, tokenstore.Review{User: "u", Permission: "READ_PUBLIC"})
				fail(err)
				fmt.Printf("reviewed %s\n", key)
				if i%4 == 0 {
					continue
				}
				access, err := s.Exchange(ctx, key, "")
				fail(err)
				fmt.Printf("exchanged %s %s\n", key, access.Key)
				if i%4 == 1 {
					continue
				}
				fail(s.RevokeToken(ctx, access.Key))
				fmt.Printf("revoked %s %s\n", key, access.Key)
			}
		}()
	}
	select {}
}

// Every write that a child process acknowledged before it was killed is there when the store is
// opened again. (A power cut can't be tested this way: the kernel keeps unsynced writes.)
func TestKill(t *testing.T) { testKill(t, 5, false) }

// TestKillWhileTablesAreMade: while tables are written and merged, a killed process leaves files
// that Badger has not removed or not named yet. None of these is damage.
func TestKillWhileTablesAreMade(t *testing.T) {
	rounds := 10
	if n, err := strconv.Atoi(os.Getenv("KILLS")); err == nil {
		rounds = n
	}
	testKill(t, rounds, true)
}

// testKill is never parallel. Until a new child runs, it has the locks of all stores that are open
// in this process, and another test could not open its own store again.
func testKill(t *testing.T, rounds int, small bool) {
	if testing.Short() {
		rounds = 2
	}
	path := t.TempDir()
	last := make(map[string]acknowledged) // by the request token
	var nonces []tokenstore.Nonce
	for range rounds {
		child := exec.Command(os.Args[0], "-test.run=^$")
		child.Env = append(os.Environ(), childEnv+"="+path)
		if small {
			child.Env = append(child.Env, smallEnv+"=1")
		}
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 1; lines.Scan(); n++ {
			if n == 50 { // the child is at work by then, however slow the machine is
				time.AfterFunc(time.Duration(100+rand.IntN(500))*time.Millisecond, func() { _ = child.Process.Kill() })
			}
			what, key, ok := strings.Cut(lines.Text(), " ")
			switch {
			case what == "error":
				t.Fatal(lines.Text())
			case !ok:
			case what == "nonce":
				var timestamp int64
				value, at, _ := strings.Cut(key, "@")
				if _, err := fmt.Sscan(at, &timestamp); err != nil {
					t.Fatal(err)
				}
				nonces = append(nonces, crashNonce(value, timestamp))
			default:
				request, access, _ := strings.Cut(key, " ")
				last[request] = acknowledged{what, access}
			}
		}
		_ = child.Wait()

		o := Options{Path: path}
		if small {
			o.tune = tuneSmall
		}
		s, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		for key, a := range last {
			checkAcknowledged(t, s, key, a)
		}
		for _, n := range nonces {
			if err := s.UseNonce(t.Context(), n); !errors.Is(err, tokenstore.ErrNonceUsed) {
				t.Errorf("nonce %s: got %v, want it used", n.Value, err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if t.Failed() {
			return
		}
	}
	if len(last) < 10*rounds || len(nonces) < 10*rounds {
		t.Errorf("the children acknowledged %d tokens and %d nonces only", len(last), len(nonces))
	}
	t.Logf("%d tokens and %d nonces in %d rounds", len(last), len(nonces), rounds)
}

// acknowledged is the last step of a request token that a child acknowledged.
type acknowledged struct {
	what   string // created, reviewed, exchanged, revoked
	access string // the key of the access token, from the exchange on
}

// checkAcknowledged fails the test if the token is behind the acknowledged step. It may be one step
// ahead.
func checkAcknowledged(t *testing.T, s *Store, key string, last acknowledged) {
	t.Helper()
	what := last.what
	r, rerr := s.RequestToken(t.Context(), key)
	_, aerr := s.AccessToken(t.Context(), last.access)
	ok := false
	switch what {
	case "created":
		ok = rerr == nil
	case "reviewed":
		ok = rerr == nil && r.Review != nil || errors.Is(rerr, tokenstore.ErrNotFound) // exchanged
	case "exchanged":
		ok = errors.Is(rerr, tokenstore.ErrNotFound) // and the access token is there, or was just revoked
	case "revoked":
		ok = errors.Is(rerr, tokenstore.ErrNotFound) && errors.Is(aerr, tokenstore.ErrNotFound)
	}
	if what == "exchanged" && ok {
		var i int
		if _, err := fmt.Sscan(key[strings.LastIndexByte(key, '-')+1:], &i); err == nil && i%4 == 1 {
			ok = aerr == nil // the child does not revoke these
		}
	}
	if !ok {
		t.Errorf("token %s was %s: request token %+v (%v), access token (%v)", key, what, r, rerr, aerr)
	}
}
