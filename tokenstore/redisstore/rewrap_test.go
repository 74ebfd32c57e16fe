package redisstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/record"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/redisstore/redislab"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// fill puts something of each kind into a store, with a marker in each name and secret.
func fill(t testing.TB, s *Store, n int) {
	t.Helper()
	ctx := t.Context()
	for i := range n {
		must(t, s.CreateConsumer(ctx, &tokenstore.Consumer{
			Key: fmt.Sprint("app", i), Name: "MARKER-name", Secret: "MARKER-secret", Created: time.Now(),
		}))
		must(t, s.CreateAccessToken(ctx, &tokenstore.AccessToken{
			Key: fmt.Sprint("token", i), Secret: "MARKER-tokensecret", Consumer: "MARKER-declared",
			User: fmt.Sprint("MARKER-user", i%7), Permission: "MARKER-permission", Context: "MARKER-context",
		}))
		r := &tokenstore.RequestToken{
			Key: fmt.Sprint("request", i), Secret: "MARKER-requestsecret", Consumer: "MARKER-declared",
			Created: time.Now(), Expires: time.Now().Add(time.Hour),
		}
		must(t, s.CreateRequestToken(ctx, r))
		_, err := s.Review(ctx, r.Key, tokenstore.Review{
			User: fmt.Sprint("MARKER-reviewer", i%7), Permission: "MARKER-permission", Verifier: "MARKER-verifier", Time: time.Now(),
		})
		must(t, err)
	}
}

func checkFilled(t testing.TB, s *Store, n int) {
	t.Helper()
	users := 0
	for i := range 7 {
		page, _, err := s.AccessTokens(t.Context(), tokenstore.Filter{User: fmt.Sprint("MARKER-user", i)}, "", n)
		must(t, err)
		users += len(page)
	}
	all, _, err := s.AccessTokens(t.Context(), tokenstore.Filter{Consumer: "MARKER-declared"}, "", n+1)
	must(t, err)
	count, err := s.CountAccessTokens(t.Context(), tokenstore.Filter{Consumer: "MARKER-declared"})
	must(t, err)
	consumers, _, err := s.Consumers(t.Context(), "", n+1)
	must(t, err)
	if users != n || len(all) != n || count != n || len(consumers) != n {
		t.Errorf("of %d there are %d by user, %d by consumer (counted: %d), %d consumers", n, users, len(all), count, len(consumers))
	}
	for i := 1; i < len(all); i++ {
		if all[i-1].Key >= all[i].Key {
			t.Fatalf("%q comes before %q", all[i-1].Key, all[i].Key)
		}
	}
}

func rewrapAll(t testing.TB, s *Store) {
	t.Helper()
	for deadline, next := time.Now().Add(2*time.Minute), ""; ; {
		done, err := s.Rewrap(t.Context(), next)
		must(t, err)
		if done.Complete {
			return
		}
		if time.Now().After(deadline) || done.Unreadable > 0 {
			t.Fatalf("not complete: %+v", done)
		}
		if next = done.Next; next == "" {
			time.Sleep(200 * time.Millisecond)
		}
	}
}

// snapshotOf returns what the server writes to its snapshot, without the keys of nonces.
func snapshotOf(t testing.TB, s *Store) []byte {
	t.Helper()
	c, err := s.link.client()
	must(t, err)
	ctx := t.Context()
	must(t, c.Do(ctx, c.B().ConfigSet().ParameterValue().ParameterValue("rdbcompression", "no").Build()).Error())
	must(t, c.Do(ctx, c.B().Arbitrary("SAVE").Build()).Error())
	where, err := c.Do(ctx, c.B().ConfigGet().Parameter("dir", "dbfilename").Build()).AsStrMap()
	must(t, err)
	b, err := os.ReadFile(filepath.Join(where["dir"], where["dbfilename"]))
	must(t, err)
	return b
}

// A store in clear gets keys, and another key, while two processes use it. Nothing clear is left.
func TestRewrap(t *testing.T) {
	t.Parallel()
	const n = 150
	lab := redislab.Single(t, redislab.Options{})
	o := testOptions(lab, 0)
	s := openTest(t, o)
	awaitReady(t, s)
	if _, err := s.Secret(t.Context()); err != nil {
		t.Fatal(err)
	}
	fill(t, s, n)
	if !bytes.Contains(snapshotOf(t, s), []byte("MARKER")) {
		t.Fatal("the snapshot of a clear store shows no marker, so this shows nothing")
	}
	o.Sealer = testRing(t, "k1")
	must(t, s.Configure(o))
	other := openTest(t, o)
	checkFilled(t, s, n)
	use, err := s.KeyUse(t.Context())
	must(t, err)
	if use.Records[""] < 3*n || use.AllSealed {
		t.Errorf("before the rewrap: %+v", use)
	}

	ctx, cancel := context.WithCancel(t.Context())
	var load sync.WaitGroup
	for g, s := range []*Store{s, other} {
		load.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				key, user := fmt.Sprintf("load%d-%d", g, i), fmt.Sprint("MARKER-load", g)
				if err := s.CreateAccessToken(t.Context(), &tokenstore.AccessToken{Key: key, Consumer: "MARKER-load", User: user}); err != nil {
					t.Error(err)
					return
				}
				if i%10 == 9 {
					if _, err := s.Revoke(t.Context(), tokenstore.Filter{User: user}); err != nil {
						t.Error(err)
					}
					if page, _, err := s.AccessTokens(t.Context(), tokenstore.Filter{User: user}, "", 5); err != nil || len(page) > 0 {
						t.Errorf("revoked, and there are %d: %v", len(page), err)
					}
				}
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	for range 3 {
		if _, err := s.Rewrap(t.Context(), ""); err != nil {
			t.Error(err)
		}
	}
	cancel()
	load.Wait()
	rewrapAll(t, s)
	checkFilled(t, s, n)
	checkFilled(t, other, n)
	if snapshot := snapshotOf(t, s); bytes.Contains(snapshot, []byte("MARKER")) {
		i := bytes.Index(snapshot, []byte("MARKER"))
		t.Errorf("a marker is in the snapshot: %q", snapshot[max(0, i-80):min(len(snapshot), i+60)])
	}
	if _, err := s.Exchange(t.Context(), "request1", "MARKER-verifier"); err != nil {
		t.Error(err)
	}

	o.Sealer = testRing(t, "k2", "k1")
	must(t, s.Configure(o))
	must(t, other.Configure(o))
	o.Sealer = testRing(t, "k2")
	if err := s.Configure(o); err == nil || !strings.Contains(err.Error(), `key "k1" with `) {
		t.Errorf("an old key that is in use can be removed: %v", err)
	}
	rewrapAll(t, s)
	must(t, s.Configure(o))
	must(t, other.Configure(o))
	if left, err := s.Revoke(t.Context(), tokenstore.Filter{User: "MARKER-user3"}); left == 0 || err != nil {
		t.Errorf("revoked %d, %v", left, err)
	}
	if page, _, err := other.AccessTokens(t.Context(), tokenstore.Filter{User: "MARKER-user3"}, "", 5); err != nil || len(page) > 0 {
		t.Errorf("revoked, and there are %d: %v", len(page), err)
	}
}

// TestStoresWithoutTheirKey: a store does not work, and says in one line what is missing. What
// somebody changed in the servers is not taken for a record.
func TestStoresWithoutTheirKey(t *testing.T) {
	t.Parallel()
	lab := redislab.Single(t, redislab.Options{})
	o := testOptions(lab, 0)
	o.Sealer = testRing(t, "k1")
	s := openTest(t, o)
	awaitReady(t, s)
	secret, err := s.Secret(t.Context())
	must(t, err)
	fill(t, s, 3)
	for _, c := range []struct {
		name   string
		sealer tokenstore.Sealer
		want   string
	}{
		{"no keys", nil, `encrypted with key "k1", and the configuration has no`},
		{"another key", testRing(t, "k3"), `encrypted with key "k1", which is not among`},
	} {
		o.Sealer = c.sealer
		_, err := openTest(t, o).Secret(t.Context())
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
	o.Sealer = testRing(t, "k2", "k1")
	if again, err := openTest(t, o).Secret(t.Context()); again != secret || err != nil {
		t.Errorf("with the key as an old one: %v", err)
	}

	c, err := s.link.client()
	must(t, err)
	name := func(key string) string { return s.key(kindConsumer, sliceOf(key), key) }
	value := func(key string) string {
		v, err := c.Do(t.Context(), c.B().Get().Key(name(key)).Build()).ToString()
		must(t, err)
		return v
	}
	changed := []byte(value("app1"))
	changed[len(changed)-20] ^= 1
	clear := envelope{version: newVersion(), record: string(record.Consumer.Encode(&tokenstore.Consumer{Key: "app2", Secret: "mine"}))}
	for _, f := range []struct{ name, key, value string }{
		{"that of another record", "app0", value("app1")},
		{"changed", "app1", string(changed)},
		{"clear, in a store where nothing is", "app2", clear.encode()},
	} {
		must(t, c.Do(t.Context(), c.B().Set().Key(name(f.key)).Value(rueidis.BinaryString([]byte(f.value))).Build()).Error())
		if got, err := s.Consumer(t.Context(), f.key); !errors.Is(err, record.ErrDamaged) {
			t.Errorf("%s: got %+v, %v", f.name, got, err)
		}
	}
}
