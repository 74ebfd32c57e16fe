package redisstore

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/record"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/redisstore/redislab"
)

// indexKeys are keys whose order is easily got wrong.
func indexKeys(n int, random *rand.Rand) (keys []string) {
	keys = []string{"\x00", "\x00\x00", "\x01", "\x01\x01", "\x01\x02", "\x02", "a", "a\x00", "a\x00b", "a\x01", "ab", "B", "\xff", "\xff\xff"}
	for range n {
		key := strconv.FormatUint(random.Uint64N(1<<20), 36)
		if random.IntN(8) == 0 {
			key = key[:1+random.IntN(len(key))] + string([]byte{byte(random.IntN(3))}) + key
		}
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// TestIndex: an index is an ordered set, however many leaves it has, and stays one when it grows and
// shrinks.
func TestIndex(t *testing.T) {
	t.Parallel()
	s := openTest(t, testOptions(redislab.Single(t, redislab.Options{}), 0))
	awaitReady(t, s)
	random := rand.New(rand.NewPCG(1, 2))
	all := indexKeys(3000, random)
	const sl = slice(7)
	index := s.key(kindTokens, sl, "")
	at := lookAt{sl, index}
	var has []string
	check := func(when string) {
		t.Helper()
		if n, err := s.sizes(t.Context(), []lookAt{at}); err != nil || n != len(has) {
			t.Fatalf("%s: it counts %d keys of %d, %v", when, n, len(has), err)
		}
		for _, step := range []int{1000, 128, 7} {
			for after := ""; ; {
				got, err := s.rangeOf(t.Context(), at, after, step)
				i, found := slices.BinarySearch(has, after)
				if found {
					i++
				}
				if want := has[i:min(i+step, len(has))]; err != nil || !slices.Equal(got, want) {
					t.Fatalf("%s: after %q: got %q, want %q, %v", when, after, got, want, err)
				}
				if len(got) < step {
					break
				}
				after = got[len(got)-1]
			}
		}
		for range 50 { // after keys that it need not have
			after := all[random.IntN(len(all))]
			got, err := s.rangeOf(t.Context(), at, after, 3)
			i, found := slices.BinarySearch(has, after)
			if found {
				i++
			}
			if want := has[i:min(i+3, len(has))]; err != nil || !slices.Equal(got, want) {
				t.Fatalf("%s: after %q: got %q, want %q, %v", when, after, got, want, err)
			}
		}
	}
	change := func(add bool, keys []string) {
		t.Helper()
		for some := range slices.Chunk(keys, 100) {
			w := newWrite(sl, nil)
			for _, key := range some {
				if add {
					w.index(s, index, key)
				}
				if i, there := slices.BinarySearch(has, key); add && !there {
					has = slices.Insert(has, i, key)
				} else if !add && there {
					has = slices.Delete(has, i, i+1)
				}
			}
			if !add {
				w.unindex(s, index, some...)
			}
			if done, err := s.commitLoosely(t.Context(), w); err != nil || !done {
				t.Fatal(done, err)
			}
		}
	}
	shuffled := func() []string {
		keys := slices.Clone(all)
		random.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
		return keys
	}

	check("empty")
	change(true, shuffled()[:100])
	check("one sorted set")
	change(true, shuffled())
	check("all keys")
	change(true, all[:300])
	check("keys that were there")
	change(false, all[:len(all)/3])
	check("without its first keys")
	change(true, all[:50])
	check("with some before its first leaf")
	change(false, shuffled()[:len(all)*9/10])
	check("with a tenth")
	change(false, []string{"not there", "zzz"})
	backwards := slices.Clone(all)
	slices.Reverse(backwards)
	change(true, backwards)
	check("all again")

	// What is left is memory that is never freed.
	change(false, all)
	check("empty again")
	if left := keysOf(t, s, s.leaves[sl]+"*"); !slices.Equal(left, []string{s.leaves[sl]}) {
		t.Errorf("the empty index leaves %q", left)
	}
}

// keysOf returns the keys in one server that match a pattern.
func keysOf(t *testing.T, s *Store, pattern string) []string {
	t.Helper()
	c, err := s.link.client()
	if err != nil {
		t.Fatal(err)
	}
	keys, err := c.Do(t.Context(), c.B().Keys().Pattern(pattern).Build()).AsStrSlice()
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(keys)
	return keys
}

// TestIndexesArePacked: no part of an index is as large as Redis does not pack it.
func TestIndexesArePacked(t *testing.T) {
	t.Parallel()
	lab := redislab.Single(t, redislab.Options{})
	s := openTest(t, testOptions(lab, 0))
	awaitReady(t, s)
	const sl = slice(7)
	index := s.key(kindTokens, sl, "")
	for batch := range 20 {
		w := newWrite(sl, nil)
		for i := range 100 {
			w.index(s, index, benchKey(batch*100+i))
		}
		if done, err := s.commitLoosely(t.Context(), w); err != nil || !done {
			t.Fatal(done, err)
		}
	}
	c, err := s.link.client()
	if err != nil {
		t.Fatal(err)
	}
	leaves := 0
	for _, key := range append(keysOf(t, s, s.leaves[sl]+"?*"), index) {
		encoding, err := c.Do(t.Context(), c.B().ObjectEncoding().Key(key).Build()).ToString()
		if err != nil || encoding != "listpack" {
			t.Errorf("%s: %s, %v", key, encoding, err)
		}
		leaves++
	}
	if leaves < 2000/128 {
		t.Errorf("there are %d leaves", leaves)
	}
}

// TestCountInParts: no script counts all of a large index.
func TestCountInParts(t *testing.T) {
	t.Parallel()
	lab := redislab.Single(t, redislab.Options{})
	s := openTest(t, testOptions(lab, 0))
	awaitReady(t, s)
	const many, sl = 3 * 128 * leavesAtOnce, slice(7)
	index := s.key(kindTokens, sl, "")
	for first := 0; first < many; first += 2000 {
		w := newWrite(sl, nil)
		for i := first; i < min(first+2000, many); i++ {
			w.index(s, index, strconv.Itoa(i))
		}
		if done, err := s.commitLoosely(t.Context(), w); err != nil || !done {
			t.Fatal(done, err)
		}
	}
	server := lab.Nodes[0]
	server.Must(t, "CONFIG", "SET", "slowlog-log-slower-than", "0", "slowlog-max-len", "100000")
	if n, err := s.sizes(t.Context(), []lookAt{{sl, index}}); err != nil || n != many {
		t.Errorf("it counts %d keys of %d, %v", n, many, err)
	}
	calls := 0
	entries, _ := server.Must(t, "SLOWLOG", "GET", "-1").([]any)
	for _, entry := range entries {
		fields, _ := entry.([]any)
		command, _ := fields[3].([]any)
		if len(command) > 1 && command[1] == countScript.sum {
			calls++
		}
	}
	if calls < many/128/leavesAtOnce {
		t.Errorf("%d leaves are counted in %d calls", many/128, calls)
	}
}

func benchKey(i int) string { return fmt.Sprintf("%020d", i*7919%2000) }

// TestOldIndex: an index that an earlier program made, and that has more members than one is made
// with now, is read and changed as it is, and gets leaves.
func TestOldIndex(t *testing.T) {
	t.Parallel()
	s := openTest(t, testOptions(redislab.Single(t, redislab.Options{}), 0))
	awaitReady(t, s)
	c, err := s.link.client()
	if err != nil {
		t.Fatal(err)
	}
	const sl, many = slice(7), 1000
	index := s.key(kindTokens, sl, "")
	add := c.B().Zadd().Key(index).ScoreMember()
	var want []string
	for i := range many {
		key := fmt.Sprintf("%05d", i)
		add, want = add.ScoreMember(0, key), append(want, key)
	}
	if err := c.Do(t.Context(), add.Build()).Error(); err != nil {
		t.Fatal(err)
	}
	check := func() {
		t.Helper()
		got, err := s.rangeOf(t.Context(), lookAt{sl, index}, "", 2*many)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("got %d keys, want %d, %v", len(got), len(want), err)
		}
	}
	check()
	for i := range 20 {
		w := newWrite(sl, nil)
		key := fmt.Sprintf("%05d", i*50) + "x"
		w.index(s, index, key)
		w.unindex(s, index, want[len(want)-1])
		if done, err := s.commitLoosely(t.Context(), w); err != nil || !done {
			t.Fatal(done, err)
		}
		want = append(want[:len(want)-1], key)
		slices.Sort(want)
		check()
	}
	if leaves := keysOf(t, s, s.leaves[sl]+"?*"); len(leaves) < 2 {
		t.Errorf("it has the leaves %q", leaves)
	}
}

// TestOldToken: the record of an access token that an earlier program wrote has the key in it.
func TestOldToken(t *testing.T) {
	t.Parallel()
	s := openTest(t, testOptions(redislab.Single(t, redislab.Options{}), 0))
	awaitReady(t, s)
	old := accessOf("c", "u", "token")
	sl := sliceOf(old.Key)
	w := newWrite(sl, nil)
	e := envelope{version: newVersion(), record: string(record.AccessToken.Encode(old))}
	w.do("SET", s.key(kindToken, sl, old.Key), e.encode())
	for kind, rest := range map[string]string{kindTokens: "", kindTokensOfConsumer: "c", kindTokensOfUser: "u"} {
		w.do("ZADD", s.key(kind, sl, rest), "0", old.Key)
	}
	if done, err := s.commit(t.Context(), w); err != nil || !done {
		t.Fatal(done, err)
	}
	if got, err := s.AccessToken(t.Context(), old.Key); err != nil || *got != *old {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, f := range []tokenstore.Filter{{}, {Consumer: "c"}, {User: "u"}} {
		if page, _, err := s.AccessTokens(t.Context(), f, "", 10); err != nil || len(page) != 1 || page[0].Key != old.Key {
			t.Errorf("%+v: got %v, %v", f, page, err)
		}
	}
	if n, err := s.Revoke(t.Context(), tokenstore.Filter{Consumer: "c"}); n != 1 || err != nil {
		t.Errorf("revoked %d, %v", n, err)
	}
	within(t, 10*time.Second, func() error {
		if left := keysOf(t, s, "*"+old.Key+"*"); len(left) > 0 {
			return fmt.Errorf("%q are left", left)
		}
		return nil
	})
}
