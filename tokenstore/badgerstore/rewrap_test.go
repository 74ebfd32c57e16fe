package badgerstore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/keyring"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/record"
)

// fill puts something of each kind into a store, with a marker in each name and secret that must not
// be found in a file. Keys of consumers and tokens have none.
func fill(t testing.TB, s *Store, n int) {
	t.Helper()
	ctx := t.Context()
	for i := range n {
		c := &tokenstore.Consumer{
			Key: fmt.Sprint("app", i), Name: "MARKER-name", Secret: "MARKER-secret", PreviousSecret: "MARKER-previous",
			Homepage: "https://MARKER-home.example.com", Contact: "MARKER-contact", Created: time.Now(),
			Callbacks: []string{"https://MARKER-callback.example.com"},
			TwoLegged: &tokenstore.TwoLegged{User: "MARKER-twolegged", Permission: "MARKER-level"},
		}
		must(t, s.CreateConsumer(ctx, c))
		must(t, s.CreateAccessToken(ctx, &tokenstore.AccessToken{
			Key: fmt.Sprint("token", i), Secret: "MARKER-tokensecret", Consumer: "MARKER-declared", User: fmt.Sprint("MARKER-user", i%7),
			Permission: "MARKER-permission", Context: "MARKER-context", Created: time.Now(),
		}))
		r := &tokenstore.RequestToken{
			Key: fmt.Sprint("request", i), Secret: "MARKER-requestsecret", Consumer: "MARKER-declared", Callback: "https://MARKER.example.com",
			Created: time.Now(), Expires: time.Now().Add(time.Hour),
		}
		must(t, s.CreateRequestToken(ctx, r))
		_, err := s.Review(ctx, r.Key, tokenstore.Review{
			User: fmt.Sprint("MARKER-reviewer", i%7), Permission: "MARKER-permission", Verifier: "MARKER-verifier", Time: time.Now(),
		})
		must(t, err)
	}
	must(t, s.Touch(ctx, map[string]time.Time{"token0": time.Now()}))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// checkFilled fails the test if something is missing that fill put there.
func checkFilled(t testing.TB, s *Store, n int) {
	t.Helper()
	ctx := t.Context()
	users := 0
	for i := range 7 {
		page, _, err := s.AccessTokens(ctx, tokenstore.Filter{User: fmt.Sprint("MARKER-user", i)}, "", n)
		must(t, err)
		users += len(page)
	}
	all, _, err := s.AccessTokens(ctx, tokenstore.Filter{Consumer: "MARKER-declared"}, "", n+1)
	must(t, err)
	consumers, _, err := s.Consumers(ctx, "", n+1)
	must(t, err)
	if users != n || len(all) != n || len(consumers) != n {
		t.Errorf("of %d there are %d by user, %d by consumer, %d consumers", n, users, len(all), len(consumers))
	}
	for i := 1; i < len(all); i++ {
		if all[i-1].Key >= all[i].Key {
			t.Fatalf("%q comes before %q", all[i-1].Key, all[i].Key)
		}
	}
	r, err := s.RequestToken(ctx, fmt.Sprint("request", n-1))
	must(t, err)
	if r.Secret != "MARKER-requestsecret" || r.Review.Verifier != "MARKER-verifier" {
		t.Errorf("got %+v", r)
	}
}

// rewrapAll calls Rewrap until it is done.
func rewrapAll(t testing.TB, s *Store) (changed int64) {
	t.Helper()
	for deadline, next := time.Now().Add(time.Minute), ""; ; {
		done, err := s.Rewrap(t.Context(), next)
		must(t, err)
		changed += done.Changed
		if next = done.Next; done.Complete {
			return changed
		}
		if time.Now().After(deadline) {
			t.Fatalf("not complete: %+v", done)
		}
		if next == "" {
			time.Sleep(50 * time.Millisecond)
		}
	}
}

// findMarkers returns the files below a directory that hold a text.
func findMarkers(t testing.TB, dir, text string) (found []string) {
	t.Helper()
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // Badger has just removed it
		}
		if bytes.Contains(b, []byte(text)) {
			found = append(found, filepath.Base(path))
		}
		return err
	}))
	return found
}

// awaitNoMarker gives Badger a moment to remove the files that it does not need any more.
func awaitNoMarker(t testing.TB, dir, text string) {
	t.Helper()
	var found []string
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if found = findMarkers(t, dir, text); found == nil {
			return
		}
	}
	t.Errorf("%q is in %q", text, found)
}

// After a rewrap nothing of before is in a file, and all is there.
func TestRewrapOfAClearStore(t *testing.T) {
	t.Parallel()
	const n = 300
	path := t.TempDir()
	s := openTest(t, Options{Path: path})
	fill(t, s, n)
	if n, err := s.Revoke(t.Context(), tokenstore.Filter{User: "MARKER-nobody"}); n != 0 || err != nil {
		t.Fatal(n, err)
	}
	must(t, s.Close())
	if findMarkers(t, path, "MARKER") == nil {
		t.Fatal("a clear store shows no marker, so this shows nothing")
	}

	s = openTest(t, Options{Path: path, Sealer: testRing(t, "k1")})
	checkFilled(t, s, n)
	use, err := s.KeyUse(t.Context())
	must(t, err)
	if use.Records[""] < 3*n || use.AllSealed {
		t.Errorf("before the rewrap: %+v", use)
	}
	rewrapAll(t, s)
	awaitNoMarker(t, path, "MARKER")
	checkFilled(t, s, n)
	use, err = s.KeyUse(t.Context())
	must(t, err)
	if use.Records[""] != 0 || use.Records["k1"] < 3*n || !use.AllSealed {
		t.Errorf("after the rewrap: %+v", use)
	}
	if _, err := s.Exchange(t.Context(), "request1", "MARKER-verifier"); err != nil {
		t.Error(err)
	}
	if n, err := s.Revoke(t.Context(), tokenstore.Filter{User: "MARKER-user3"}); n == 0 || err != nil {
		t.Errorf("revoked %d, %v", n, err)
	}
	must(t, s.Close())

	s = openTest(t, Options{Path: path, Sealer: testRing(t, "k1")})
	if page, _, err := s.AccessTokens(t.Context(), tokenstore.Filter{User: "MARKER-user3"}, "", 10); len(page) != 0 || err != nil {
		t.Errorf("revoked, and back: %d, %v", len(page), err)
	}
	awaitNoMarker(t, path, "MARKER")
}

// A key is changed, and the old one removed, while the store is used.
func TestRewrapUnderLoad(t *testing.T) {
	t.Parallel()
	const n = 200
	path := t.TempDir()
	s := openTest(t, Options{Path: path, Sealer: testRing(t, "k1")})
	fill(t, s, n)
	must(t, s.UseKeys(t.Context(), testRing(t, "k2", "k1")))
	if err := s.UseKeys(t.Context(), testRing(t, "k2")); err == nil ||
		!strings.Contains(err.Error(), `key "k1" with `) {
		t.Errorf("an old key that is in use can be removed: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var load sync.WaitGroup
	for g := range 4 {
		load.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				key := fmt.Sprintf("load%d-%d", g, i)
				user := fmt.Sprint("MARKER-load", g)
				if err := s.CreateAccessToken(context.Background(), &tokenstore.AccessToken{Key: key, Consumer: "MARKER-load", User: user}); err != nil {
					t.Error(err)
					return
				}
				if i%3 == 0 {
					if err := s.RevokeToken(context.Background(), key); err != nil {
						t.Error(err)
					}
				}
				if i%20 == 19 {
					if _, err := s.Revoke(context.Background(), tokenstore.Filter{User: user}); err != nil {
						t.Error(err)
					}
					if page, _, err := s.AccessTokens(context.Background(), tokenstore.Filter{User: user}, "", 5); err != nil || len(page) > 0 {
						t.Errorf("revoked, and there are %d: %v", len(page), err)
					}
				}
			}
		})
	}
	rewrapAll(t, s)
	cancel()
	load.Wait()
	checkFilled(t, s, n)
	must(t, s.UseKeys(t.Context(), testRing(t, "k2")))
	checkFilled(t, s, n)
	for g := range 4 {
		f := tokenstore.Filter{User: fmt.Sprint("MARKER-load", g)}
		if _, err := s.Revoke(t.Context(), f); err != nil {
			t.Error(err)
		}
		if page, _, err := s.AccessTokens(t.Context(), f, "", 5); err != nil || len(page) > 0 {
			t.Errorf("revoked, and there are %d: %v", len(page), err)
		}
	}
	must(t, s.Close())
	s = openTest(t, Options{Path: path, Sealer: testRing(t, "k2")})
	checkFilled(t, s, n)
	if found := findMarkers(t, path, "MARKER"); found != nil {
		t.Errorf("markers in %q", found)
	}
}

// rewrap of a token that is revoked, and not removed yet, does not bring it back.
func TestRewrapLeavesWhatIsRevoked(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	fill(t, s, 20)
	must(t, s.UseKeys(t.Context(), testRing(t, "k1")))
	s.revocations.mu.Lock() // so nothing is removed
	if _, err := s.Revoke(t.Context(), tokenstore.Filter{User: "MARKER-user1"}); err != nil {
		t.Error(err)
	}
	var c change
	var err error
	s.tokens.view(func(txn *reader) error {
		for i := range 20 {
			var again bool
			if again, err = s.putAgain(txn, &c, recordKey(prefixAccessToken, fmt.Sprint("token", i))); again != (i%7 != 1) || err != nil {
				t.Errorf("token %d: %t, %v", i, again, err)
			}
		}
		return nil
	})
	s.revocations.mu.Unlock()
	rewrapAll(t, s)
	if page, _, err := s.AccessTokens(t.Context(), tokenstore.Filter{User: "MARKER-user1"}, "", 10); len(page) != 0 || err != nil {
		t.Errorf("there are %d, %v", len(page), err)
	}
}

// TestStoresWithoutTheirKey: a store does not open, and says in one line what is missing.
func TestStoresWithoutTheirKey(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	s := openTest(t, Options{Path: path, Sealer: testRing(t, "k1")})
	fill(t, s, 3)
	must(t, s.UseKeys(t.Context(), testRing(t, "k2", "k1")))
	must(t, s.CreateConsumer(t.Context(), &tokenstore.Consumer{Key: "new"}))
	must(t, s.Close())
	wrong, err := keyring.New(keyring.Key{ID: "k2", Secret: sha256.Sum256([]byte("k2"))},
		keyring.Key{ID: "k1", Secret: sha256.Sum256([]byte("another"))})
	must(t, err)
	for _, c := range []struct {
		name   string
		sealer tokenstore.Sealer
		want   string
	}{
		{"no keys", nil, `encrypted with key "k2", and the configuration has no`},
		{"another key", testRing(t, "k3"), `encrypted with key "k2", which is not among`},
		{"without the old one", testRing(t, "k2"), `lacks a key that is in use: key "k1" with `},
		{"another old one of the same id", wrong, `key "k1" is not the key`},
	} {
		s, err := Open(Options{Path: path, Sealer: c.sealer})
		if err == nil {
			s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
	s = openTest(t, Options{Path: path, Sealer: testRing(t, "k1", "k2")})
	if _, err := s.Consumer(t.Context(), "new"); err != nil {
		t.Errorf("back to the key before: %v", err)
	}
}

// TestForeignValues: what somebody changed in the database is not taken for a record.
func TestForeignValues(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{Sealer: testRing(t, "k1")})
	for _, key := range []string{"a", "b", "c"} {
		must(t, s.CreateConsumer(t.Context(), &tokenstore.Consumer{Key: key, Secret: "secret of " + key}))
	}
	stored := func(key string) (v []byte) {
		must(t, s.tokens.view(func(txn *reader) error {
			item, err := txn.Get(recordKey(prefixConsumer, key))
			if err == nil {
				v, err = item.ValueCopy(nil)
			}
			return err
		}))
		return v
	}
	changed := stored("b")
	changed[len(changed)-20] ^= 1
	for _, c := range []struct {
		name, key string
		value     []byte
	}{
		{"that of another record", "a", stored("b")},
		{"changed", "b", changed},
		{"clear, in a store where nothing is", "c", record.Consumer.Encode(&tokenstore.Consumer{Key: "c", Secret: "mine"})},
	} {
		must(t, s.tokens.writes.Do(t.Context(), change{ops: []op{{entry: badger.NewEntry(recordKey(prefixConsumer, c.key), c.value)}}}))
		got, err := s.Consumer(t.Context(), c.key)
		if !errors.Is(err, record.ErrDamaged) {
			t.Errorf("%s: got %+v, %v", c.name, got, err)
		}
	}
	must(t, s.tokens.writes.Do(t.Context(), change{ops: []op{{entry: badger.NewEntry(
		recordKey(prefixConsumer, "d"), testRing(t, "k9").Seal("c", "d", nil))}}}))
	if _, err := s.Consumer(t.Context(), "d"); !errors.Is(err, record.ErrKey) {
		t.Errorf("with another key: %v", err)
	}
	done, err := s.Rewrap(t.Context(), "")
	must(t, err)
	if done.Unreadable != 2 { // the one with another key, and the clear one
		t.Errorf("a rewrap reports %+v", done)
	}
	if after, err := s.Rewrap(t.Context(), stageNames); err != nil || after.Complete || after.Next != "" {
		t.Errorf("a rewrap is done with what it can't read: %+v, %v", after, err)
	}
}

// A record in the cache is not decrypted again.
func TestCachedRecordsAreNotDecrypted(t *testing.T) {
	s := openTest(t, Options{Sealer: testRing(t, "k1")})
	fill(t, s, 1)
	read := func() {
		if _, err := s.Consumer(t.Context(), "app0"); err != nil {
			t.Fatal(err)
		}
		if _, err := s.AccessToken(t.Context(), "token0"); err != nil {
			t.Fatal(err)
		}
	}
	read()
	if n := testing.AllocsPerRun(100, read); n != 0 {
		t.Errorf("reading what is cached allocates %v times", n)
	}
}
