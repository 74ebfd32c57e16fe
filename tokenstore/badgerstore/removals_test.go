package badgerstore

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// revokeEnv makes the test binary revoke tokens in the store at its value until it is killed.
const revokeEnv = "BADGERSTORE_TEST_REVOKE"

const killTokens = 3000

// revokeUntilKilled issues tokens to a user and a consumer, and revokes them, again and again. It
// writes a line after each acknowledged step.
func revokeUntilKilled(path string) {
	fail := func(err error) {
		if err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
	}
	s, err := Open(Options{Path: path})
	fail(err)
	ctx := context.Background()
	for n := 0; ; n++ {
		round := fmt.Sprintf("%d-%d", os.Getpid(), n)
		var c change
		for i := range killTokens {
			key := fmt.Sprintf("%s-%d", round, i)
			putAccessToken(&c, &tokenstore.AccessToken{Key: key, Consumer: "k", User: "u"})
			if len(c.ops) > 1000 || i == killTokens-1 {
				fail(s.tokens.commit(c))
				c = change{}
			}
		}
		for i := range 20 {
			fail(s.CreateRequestToken(ctx, &tokenstore.RequestToken{Key: fmt.Sprintf("%s-%d", round, i),
				Consumer: "k", Expires: time.Now().Add(time.Hour)}))
		}
		fmt.Println("issued", round)
		switch n % 3 {
		case 0:
			_, err = s.Revoke(ctx, tokenstore.Filter{User: "u", Consumer: "k"})
			fail(err)
			_, err = s.Revoke(ctx, tokenstore.Filter{Consumer: "k"})
		case 1:
			_, err = s.Revoke(ctx, tokenstore.Filter{User: "u"})
			fail(err)
			_, err = s.Revoke(ctx, tokenstore.Filter{Consumer: "k"})
		default:
			if err := s.CreateConsumer(ctx, &tokenstore.Consumer{Key: "k"}); !errors.Is(err, tokenstore.ErrExists) {
				fail(err) // the previous process may have been killed before it removed the consumer
			}
			err = s.DeleteConsumer(ctx, "k")
		}
		fail(err)
		fmt.Println("revoked", round)
	}
}

// A revoked token is refused as soon as the revocation is acknowledged. It is removed in the end,
// however often the process is killed meanwhile. Tokens that were not revoked, or are issued
// afterwards, stay.
func TestKillWhileRemoving(t *testing.T) {
	path := t.TempDir()
	state := make(map[string]string)
	interrupted := 0
	for range 3 {
		child := exec.Command(os.Args[0], "-test.run=^$")
		child.Env = append(os.Environ(), revokeEnv+"="+path)
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		var last string
		revoked := 0
		for lines := bufio.NewScanner(out); lines.Scan(); {
			what, round, _ := strings.Cut(lines.Text(), " ")
			if what == "error" {
				t.Fatal(lines.Text())
			}
			state[round], last = what, round
			if what == "revoked" {
				if revoked++; revoked == 2 { // while the tokens are removed
					time.AfterFunc(time.Duration(rand.IntN(30))*time.Millisecond, func() { _ = child.Process.Kill() })
				}
			}
		}
		_ = child.Wait()

		s, err := Open(Options{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		if s.revocations.pending() != nil {
			interrupted++
		}
		for round, what := range state {
			for _, i := range []int{0, 1, 10, killTokens / 2, killTokens - 1} {
				key := fmt.Sprintf("%s-%d", round, i)
				_, err := s.AccessToken(t.Context(), key)
				if what == "revoked" && !errors.Is(err, tokenstore.ErrNotFound) {
					t.Errorf("%s was revoked, and then got %v", key, err)
				}
				if what == "issued" && err != nil && round != last { // the last token may be revoked by then
					t.Errorf("%s was issued, and then got %v", key, err)
				}
				if i < 20 && what == "revoked" {
					if _, err := s.RequestToken(t.Context(), key); !errors.Is(err, tokenstore.ErrNotFound) {
						t.Errorf("request token %s was revoked, and then got %v", key, err)
					}
				}
			}
		}
		fresh := &tokenstore.AccessToken{Key: "fresh " + last, Consumer: "k", User: "u"}
		if err := s.CreateAccessToken(t.Context(), fresh); err != nil {
			t.Fatal(err)
		}
		settle(t, s)
		for round, what := range state {
			prefix := recordKey(prefixAccessToken, round+"-")
			n := 0
			if err := s.tokens.view(func(txn *reader) error {
				return scan(txn, prefix, nil, false, func(*entry) (bool, error) { n++; return true, nil })
			}); err != nil {
				t.Fatal(err)
			}
			if what == "revoked" && n > 0 {
				t.Errorf("%d revoked tokens of %s are still on disk", n, round)
			}
		}
		if _, err := s.AccessToken(t.Context(), fresh.Key); err != nil {
			t.Errorf("a token that was issued meanwhile: %v", err)
		}
		if _, err := s.Revoke(t.Context(), tokenstore.Filter{User: "u"}); err != nil { // prepares the next round
			t.Fatal(err)
		}
		for round := range state {
			state[round] = "revoked"
		}
		settle(t, s)
		wantCounts(t, s, "after the removal")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if t.Failed() {
			return
		}
	}
	if interrupted == 0 {
		t.Error("no process was killed while it removed")
	}
}

// Other calls change tokens while the revoked ones are counted.
func TestRevokeCountsWithoutTheGate(t *testing.T) {
	const n = 20_000
	s := openTest(t, Options{tune: func(o *badger.Options) { o.SyncWrites = false }})
	addTokens(t, s, n)
	before := make(map[string]bool)
	returned := make(chan error, 1)
	go func() {
		// Counting the tokens of a user and a consumer reads each record.
		got, err := s.Revoke(context.Background(), tokenstore.Filter{User: "u", Consumer: "k"})
		if err == nil && got != n {
			err = fmt.Errorf("revoked %d, want %d", got, n)
		}
		returned <- err
	}()
	for i := 0; ; i++ {
		select {
		case err := <-returned:
			if err != nil {
				t.Error(err)
			}
			if len(before) == 0 {
				t.Error("no token could be created while the revoked ones were counted")
			}
			for key := range before {
				if _, err := s.AccessToken(t.Context(), key); err != nil {
					t.Errorf("%s, issued while the revoked ones were counted: %v", key, err)
				}
			}
			return
		default:
		}
		if s.revocations.pending() == nil {
			continue // it is not revoked yet
		}
		key := fmt.Sprint("new", i)
		if err := s.CreateAccessToken(t.Context(), &tokenstore.AccessToken{Key: key, Consumer: "k", User: "u"}); err != nil {
			t.Fatal(err)
		}
		if len(returned) == 0 {
			before[key] = true
		}
	}
}

// addTokens adds n access tokens of the user u for the consumer k.
func addTokens(t *testing.T, s *Store, n int) {
	t.Helper()
	var c change
	for i := range n {
		putAccessToken(&c, &tokenstore.AccessToken{Key: fmt.Sprint("token", i), Consumer: "k", User: "u"})
		if len(c.ops) > 1000 || i == n-1 {
			if err := s.tokens.commit(c); err != nil {
				t.Fatal(err)
			}
			c = change{}
		}
	}
}

// A mark hides older tokens of a user, a consumer, or both, and nothing else.
func TestMarks(t *testing.T) {
	m := &marks{
		{User: "u"}:                 {version: 10},
		{Consumer: "k"}:             {version: 20},
		{User: "v", Consumer: "l"}:  {version: 30},
		{User: "", Consumer: "any"}: {version: 40},
	}
	for _, test := range []struct {
		user, consumer string
		version        uint64
		want           bool
	}{
		{"u", "l", 9, true},
		{"u", "l", 10, false}, // only the mark itself has the version of its commit
		{"u", "k", 19, true},
		{"u", "k", 20, false},
		{"v", "l", 29, true},
		{"v", "m", 29, false},
		{"w", "l", 29, false},
		{"", "k", 19, true},
		{"", "l", 5, false},
		{"", "any", 39, true},
	} {
		if got := m.hide(test.user, test.consumer, test.version); got != test.want {
			t.Errorf("%+v: got %t", test, got)
		}
	}
	if (*marks)(nil).hide("u", "k", 0) {
		t.Error("no marks hide something")
	}
}

// removed reports whether all revoked tokens are gone from the database.
func removed(s *Store) bool { return s.revocations.pending() == nil }
