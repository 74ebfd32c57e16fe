package redisstore

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/redisstore/redislab"
)

func slotOf(sl slice) int { return int(crc16(sliceTags[sl])) % slots }

// createIn creates access tokens with keys of one slice, all at once.
func createIn(t *testing.T, s *Store, sl slice, consumer, user string, n int) (keys []string) {
	t.Helper()
	v, err := s.read(t.Context(), sl)
	if err != nil {
		t.Fatal(err)
	}
	for some := range slices.Chunk(make([]struct{}, n), 100) {
		w := newWrite(sl, v)
		for range some {
			keys = append(keys, newKeyIn(sl))
			s.putToken(w, v, accessOf(consumer, user, keys[len(keys)-1]))
		}
		if done, err := s.commitLoosely(t.Context(), w); err != nil || !done {
			t.Fatal(done, err)
		}
	}
	slices.Sort(keys)
	return keys
}

// soundIndexes checks that the indexes of a slice have the tokens that are there, and no others, and
// that no leaf is left over.
func soundIndexes(t *testing.T, s *Store, sl slice, master *redislab.Node, consumers ...string) {
	t.Helper()
	reply := master.Must(t, "CLUSTER", "GETKEYSINSLOT", strconv.Itoa(slotOf(sl)), "100000")
	names, _ := reply.([]any)
	want := make(map[string][]string)
	leaves := make(map[string]bool)
	for _, name := range names {
		name, _ := name.(string)
		if leaf, ok := strings.CutPrefix(name, s.leaves[sl]); ok && leaf != "" {
			leaves[leaf] = true
		}
		key, ok := strings.CutPrefix(name, s.key(kindToken, sl, ""))
		if !ok {
			continue
		}
		token, _, err := s.token(t.Context(), key)
		if err != nil || token == nil {
			t.Fatalf("%s: %v, %v", name, token, err)
		}
		for _, consumer := range []string{"", token.is.Consumer} {
			want[consumer] = append(want[consumer], key)
		}
	}
	for _, consumer := range append(consumers, "") {
		slices.Sort(want[consumer])
		kind, rest := index(tokenstore.Filter{Consumer: consumer})
		at := lookAt{sl, s.namedKeys(kind, sl, rest)[0]}
		got, err := s.rangeOf(t.Context(), at, "", 100000)
		if err != nil || !slices.Equal(got, want[consumer]) {
			t.Errorf("index of %q: %d keys, want %d, %v", consumer, len(got), len(want[consumer]), err)
		}
		entries, _ := master.Must(t, "ZRANGE", at.index, "0", "-1").([]any)
		for _, entry := range entries {
			entry, _ := entry.(string)
			if _, leaf, ok := strings.Cut(entry, "\x00"); ok {
				delete(leaves, leaf)
			}
		}
	}
	if len(leaves) > 0 {
		t.Errorf("leaves of no index: %q", slices.Sorted(maps.Keys(leaves)))
	}
}

// TestHalfMovedIndex: while some keys of a slot have moved to another master, and others have not, a
// call does all or nothing, and a list is whole or refused.
func TestHalfMovedIndex(t *testing.T) {
	t.Parallel()
	lab := redislab.Cluster(t, calm)
	o := quickOptions(lab, 1)
	s := openTest(t, o)
	awaitReady(t, s)
	timeout := func(d time.Duration) { s.settings.Store(&settings{d, o.Lead, 0}) } // nothing is cached
	const sl = slice(3)
	all := createIn(t, s, sl, "large", "u", 600)
	is := func(kinds ...string) func(string) bool {
		return func(name string) bool {
			return slices.ContainsFunc(kinds, func(kind string) bool {
				return strings.HasPrefix(name, s.key(kind, sl, ""))
			})
		}
	}
	base := func(name string) bool { return name == s.leaves[sl] }
	masters := lab.Masters()
	for i, c := range []struct {
		name  string
		moves func(key string) bool
	}{
		{"nothing", func(string) bool { return false }},
		{"all", func(string) bool { return true }},
		{"the leaves", is(kindLeaves)},
		{"all but the leaves", func(name string) bool { return base(name) || !is(kindLeaves)(name) }},
		{"all but the number of the last leaf", func(name string) bool { return !base(name) }},
		{"the number of the last leaf", base},
		{"the indexes", is(kindTokens, kindTokensOfConsumer, kindTokensOfUser)},
		{"the state", is(kindState)},
		{"the tokens", is(kindToken)},
		{"some", func(string) bool { return rand.IntN(2) == 0 }},
		{"most", func(string) bool { return rand.IntN(20) > 0 }},
	} {
		timeout(2 * time.Second)
		from, _, err := lab.Shard(slotOf(sl))
		if err != nil {
			t.Fatal(err)
		}
		to := masters[(slices.Index(masters, from)+1)%len(masters)]
		within(t, 20*time.Second, func() error { // the floor of the new epoch
			_, err := s.commitLoosely(t.Context(), newWrite(sl, nil))
			return err
		})
		// Old tokens of one consumer are replaced by those of another: all keys of that write exist, and
		// some leaves have no room.
		replaced := createIn(t, s, sl, "small", "u", 120)
		m, err := lab.BeginMigration(slotOf(sl), to)
		if err != nil {
			t.Fatal(err)
		}
		keys, err := m.Keys(100000)
		if err != nil {
			t.Fatal(err)
		}
		moved, rest := []string{}, []string{}
		for _, key := range keys {
			if c.moves(key) {
				moved = append(moved, key)
			} else {
				rest = append(rest, key)
			}
		}
		if len(moved) > 0 {
			if err := m.Move(moved...); err != nil {
				t.Fatal(err)
			}
		}

		timeout(200 * time.Millisecond)
		ctx := t.Context()
		check := func(what string, err error) bool {
			if err != nil && !isLater(err) {
				t.Errorf("%s moved: %s: %v", c.name, what, err)
			}
			return err == nil
		}
		page, _, err := s.AccessTokens(ctx, tokenstore.Filter{Consumer: "large"}, "", 10000)
		if check("list", err) && len(page) != len(all) {
			t.Errorf("%s moved: a list of %d tokens, want %d", c.name, len(page), len(all))
		}
		n, err := s.CountAccessTokens(ctx, tokenstore.Filter{Consumer: "large"})
		if check("count", err) && n != len(all) {
			t.Errorf("%s moved: a count of %d tokens, want %d", c.name, n, len(all))
		}
		_, err = s.AccessToken(ctx, all[0])
		check("read", err)
		created := accessOf("large", "u", newKeyIn(sl))
		check("create", s.CreateAccessToken(ctx, created))
		revoked := all[rand.IntN(len(all))]
		gone := check("revoke", s.RevokeToken(ctx, revoked))
		w := newWrite(sl, nil)
		for _, key := range replaced[1:] { // one is left, so that the index is there
			w.unindex(s, s.key(kindTokens, sl, ""), key)
			s.removeName(w, kindTokensOfConsumer, "small", key)
			s.putToken(w, &view{}, accessOf("large", "u", key))
		}
		_, err = s.commitLoosely(ctx, w)
		check("replace", err)
		_, err = s.Revoke(ctx, tokenstore.Filter{Consumer: "small"})
		check("revoke all of a consumer", err)

		for batch := range slices.Chunk(rest, 100) {
			if err := m.Move(batch...); err != nil {
				t.Fatalf("%s moved: %v", c.name, err)
			}
		}
		if left, err := m.Keys(100); err != nil {
			t.Fatal(err)
		} else if len(left) > 0 {
			t.Fatalf("%s moved: made meanwhile at the former master: %q", c.name, left)
		}
		if err := m.End(); err != nil {
			t.Fatal(err)
		}
		timeout(5 * time.Second)
		usable(t, s, all[0]) // in the new epoch
		soundIndexes(t, s, sl, to, "large", "small")
		if _, err := s.AccessToken(t.Context(), revoked); gone && err == nil {
			t.Errorf("%s moved: a revoked token is there", c.name)
		}
		if t.Failed() {
			t.Fatalf("in round %d: %s moved", i, c.name)
		}
		all = nil
		page, _, err = s.AccessTokens(t.Context(), tokenstore.Filter{Consumer: "large"}, "", 10000)
		if err != nil {
			t.Fatal(err)
		}
		for _, token := range page {
			all = append(all, token.Key)
		}
	}
}

// TestMigrationUnderLoad: a slot with large indexes moves from master to master while tokens are
// created, listed, used and revoked. Nothing is lost, and no answer is wrong.
func TestMigrationUnderLoad(t *testing.T) {
	t.Parallel()
	lab := redislab.Cluster(t, calm)
	o := quickOptions(lab, 1)
	stores := []*Store{openTest(t, o), openTest(t, o)}
	awaitReady(t, stores[0])
	const sl = slice(3)
	stable := createIn(t, stores[0], sl, "c", "stable", 1000)

	var (
		mu      sync.Mutex
		live    = make(map[string]bool) // created and acknowledged, and nobody has tried to revoke it
		dead    = make(map[string]bool) // revoked, and acknowledged
		counts  [5]atomic.Int64         // created, revoked, listed, used, refused
		all     sync.WaitGroup
		stopped = make(chan struct{})
	)
	refused := func(what string, err error) bool {
		if err == nil {
			return false
		}
		if !isLater(err) {
			t.Errorf("%s: %v", what, err)
		}
		counts[4].Add(1)
		return true
	}
	load := func(pause time.Duration, do func(s *Store)) {
		all.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stopped:
					return
				case <-time.After(pause):
					do(stores[i%2])
				}
			}
		})
	}
	create := func(s *Store) {
		key := newKeyIn(sl)
		for range 3 {
			err := s.CreateAccessToken(t.Context(), accessOf("c", "new", key))
			if errors.Is(err, tokenstore.ErrExists) || !refused("create", err) {
				mu.Lock()
				defer mu.Unlock()
				live[key] = true
				counts[0].Add(1)
				return
			}
		}
	}
	revoke := func(s *Store) {
		mu.Lock()
		key := ""
		for key = range live {
			break
		}
		delete(live, key)
		mu.Unlock()
		if key == "" {
			return
		}
		for range 3 {
			err := s.RevokeToken(t.Context(), key)
			if errors.Is(err, tokenstore.ErrNotFound) || !refused("revoke", err) {
				mu.Lock()
				defer mu.Unlock()
				dead[key] = true
				counts[1].Add(1)
				return
			}
		}
	}
	copyOf := func(m map[string]bool) map[string]bool {
		mu.Lock()
		defer mu.Unlock()
		return maps.Clone(m)
	}
	list := func(s *Store) {
		liveBefore, deadBefore := copyOf(live), copyOf(dead)
		found := make(map[string]bool)
		for after := ""; ; {
			page, next, err := s.AccessTokens(t.Context(), tokenstore.Filter{Consumer: "c"}, after, 400)
			if refused("list", err) {
				return
			}
			for _, token := range page {
				found[token.Key] = true
			}
			if after = next; next == "" {
				break
			}
		}
		counts[2].Add(1)
		liveAfter := copyOf(live)
		for _, key := range stable {
			if !found[key] {
				t.Errorf("a list is without %s", key)
			}
		}
		for key := range liveBefore {
			if liveAfter[key] && !found[key] {
				t.Errorf("a list is without %s, a new one", key)
			}
		}
		for key := range deadBefore {
			if found[key] {
				t.Errorf("a list has %s, which was revoked", key)
			}
		}
	}
	use := func(*Store) {
		token := stable[rand.IntN(len(stable))]
		now := time.Now().Unix()
		value := strconv.FormatInt(rand.Int64(), 36)
		accepted := 0
		for range 2 {
			for _, s := range stores {
				is, err := s.AccessToken(t.Context(), token)
				if refused("read", err) {
					continue
				}
				n := nonceAt(now, token, value, 300)
				n.Consumer, n.AccessToken = "c", is
				if err := s.UseNonce(t.Context(), n); err == nil {
					accepted++
					counts[3].Add(1)
				} else if !errors.Is(err, tokenstore.ErrNonceUsed) {
					refused("use", err)
				}
			}
		}
		if accepted > 1 {
			t.Errorf("a nonce was accepted %d times", accepted)
		}
	}
	for range 3 {
		load(2*time.Millisecond, create)
		load(5*time.Millisecond, revoke)
		load(5*time.Millisecond, use)
	}
	load(20*time.Millisecond, list)

	masters := lab.Masters()
	var to *redislab.Node
	for round := range 4 {
		from, _, err := lab.Shard(slotOf(sl))
		if err != nil {
			t.Fatal(err)
		}
		to = masters[(slices.Index(masters, from)+1)%len(masters)]
		m, err := lab.BeginMigration(slotOf(sl), to)
		if err != nil {
			t.Fatal(err)
		}
		for {
			keys, err := m.Keys(100000)
			if err != nil {
				t.Fatal(err)
			}
			if len(keys) == 0 {
				break
			}
			rand.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
			for some := range slices.Chunk(keys, 100) {
				if err := m.Move(some...); err != nil {
					t.Fatalf("round %d: %v", round, err)
				}
				time.Sleep(20 * time.Millisecond)
			}
		}
		if err := m.End(); err != nil {
			t.Fatal(err)
		}
		before := counts[0].Load() + counts[1].Load()
		within(t, 30*time.Second, func() error { // it goes on, and some more is stored in this epoch
			if n := counts[0].Load() + counts[1].Load() - before; n < 50 {
				return fmt.Errorf("%d changes", n)
			}
			return nil
		})
	}
	close(stopped)
	all.Wait()
	t.Logf("created %d, revoked %d, listed %d, used %d, refused %d",
		counts[0].Load(), counts[1].Load(), counts[2].Load(), counts[3].Load(), counts[4].Load())
	within(t, 30*time.Second, func() error {
		_, err := stores[0].AccessToken(t.Context(), stable[0])
		return err
	})
	list(stores[0])
	for key := range live {
		if _, err := stores[1].AccessToken(t.Context(), key); err != nil {
			t.Errorf("%s: %v", key, err)
		}
	}
	soundIndexes(t, stores[0], sl, to, "c")
}
