package badgerstore

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/ristretto/v2/z"
	"go.uber.org/zap"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/badgerstore/internal/disktest"
)

// TestGrowth measures a store with as many access tokens as TOKENS says, or live nonces as NONCES
// says:
//
//	TOKENS=10000000 NONCES=5000000 go test -v -run TestGrowth ./tokenstore/badgerstore
//
// GROWTH_DIR is the directory of the store, which is kept for the next run.
func TestGrowth(t *testing.T) {
	t.Run("tokens", func(t *testing.T) { growTokens(t, envNumber(t, "TOKENS")) })
	t.Run("nonces", func(t *testing.T) { growNonces(t, envNumber(t, "NONCES")) })
}

func envNumber(t *testing.T, name string) int {
	text := os.Getenv(name)
	if text == "" {
		t.Skipf("%s is not set", name)
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func growTokens(t *testing.T, n int) {
	path := t.TempDir()
	if dir := os.Getenv("GROWTH_DIR"); dir != "" {
		path = filepath.Join(dir, fmt.Sprint("tokens-", n))
	}
	if _, err := os.Stat(filepath.Join(path, "loaded")); err != nil {
		start := time.Now()
		secret := strings.Repeat("s", 160)
		loadTokens(t, path, n, func(i int, token *tokenstore.AccessToken) {
			token.Secret, token.Consumer = secret, fmt.Sprintf("consumer %06d", i/(n/1000+1))
		}, func(*badger.Options) {})
		if err := os.WriteFile(filepath.Join(path, "loaded"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		t.Logf("loaded %d tokens in %v", n, time.Since(start))
	}

	start := time.Now()
	s := openTest(t, Options{Path: path})
	t.Logf("open: %v (bar: 2s)", time.Since(start))

	measure := func(what string, times int, key func() string, want error) {
		cpu, start := cpuTime(t), time.Now()
		for range times {
			if _, err := s.AccessToken(t.Context(), key()); !errors.Is(err, want) {
				t.Fatal(err)
			}
		}
		t.Logf("%s: %v each, %v of CPU; RssAnon %d MiB", what, time.Since(start)/time.Duration(times),
			(cpuTime(t)-cpu)/time.Duration(times), rssAnon(t)>>20)
	}
	at := func(i uint64) string { return loadedKey(int(i*0x9e3779b97f4a7c15%uint64(n)), n) }
	zipf := rand.NewZipf(rand.New(rand.NewPCG(1, 2)), 1.1, 1, uint64(n-1))
	touch := func(what string) { // as the app does after those reads
		used, now, cpu := make(map[string]time.Time), time.Now(), cpuTime(t)
		for range 200_000 {
			used[at(rand.Uint64())] = now
		}
		if err := s.Touch(t.Context(), used); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %v each, %v of CPU; RssAnon %d MiB", what, time.Since(now)/time.Duration(len(used)),
			(cpuTime(t)-cpu)/time.Duration(len(used)), rssAnon(t)>>20)
	}
	measure("random", 200_000, func() string { return at(rand.Uint64()) }, nil)
	touch("touch")
	touch("touch")
	measure("Zipf, to warm up", 300_000, func() string { return at(zipf.Uint64()) }, nil)
	measure("Zipf", 300_000, func() string { return at(zipf.Uint64()) }, nil)
	measure("unknown", 200_000, tokenstore.NewKey, tokenstore.ErrNotFound)
	measure("unknown", 200_000, tokenstore.NewKey, tokenstore.ErrNotFound)
	touch("touch")
}

// loadedKey is the key of token i of n. Keys rise with i.
func loadedKey(i, n int) string {
	const digits = "0123456789BCDFGHJKLMNPQRSTVWXZbcdfghjklmnpqrstvwxz" // the alphabet of tokenstore.NewKey, in order
	step := uint64(1<<63) / uint64(n)
	u := uint64(i)*step + uint64(i)*0x9e3779b97f4a7c15%step
	key := make([]byte, 20)
	for j := range 12 {
		key[11-j] = digits[u%50]
		u /= 50
	}
	for j := range 8 {
		key[12+j] = digits[(uint64(i)*0xff51afd7ed558ccd>>(6*j))%50]
	}
	return string(key)
}

// loadTokens makes a store with n access tokens, and a user for each ten. complete sets the secret
// and the consumer of token i.
func loadTokens(
	tb testing.TB, path string, n int, complete func(i int, t *tokenstore.AccessToken),
	tune func(*badger.Options),
) {
	must := func(err error) {
		if err != nil {
			tb.Fatal(err)
		}
	}
	must(os.MkdirAll(filepath.Join(path, "tokens"), 0o700))
	o := databaseOptions(filepath.Join(path, "tokens"), nil, zap.NewNop())
	tune(&o)
	db, err := badger.Open(o)
	must(err)
	w := db.NewStreamWriter()
	must(w.Prepare())
	buf := z.NewBuffer(4<<20, "test")
	flush := func() {
		must(w.Write(buf))
		buf.Reset()
	}
	for stream, prefix := range []byte{prefixTokenOfConsumer, prefixAccessToken, prefixTokenOfUser} {
		for i := range n {
			t := tokenstore.AccessToken{Key: loadedKey(i, n), User: fmt.Sprintf("user-%08d", i/10),
				Permission: "READ_PUBLIC", Created: time.Unix(1_700_000_000, 0)}
			complete(i, &t)
			var c change
			putAccessToken(&c, &t)
			for _, o := range c.ops {
				if o.entry.Key[0] == prefix {
					badger.KVToBuffer(&pb.KV{Key: o.entry.Key, Value: o.entry.Value, Version: 1,
						StreamId: uint32(stream + 1)}, buf)
				}
			}
			if buf.LenNoPadding() > 3<<20 {
				flush()
			}
		}
		flush()
	}
	must(w.Flush())
	must(buf.Release())
	must(db.Close())
}

func growNonces(t *testing.T, n int) {
	path := t.TempDir()
	memory := func() uint64 {
		debug.FreeOSMemory()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	s, err := Open(Options{Path: path, MaxNonces: n})
	if err != nil {
		t.Fatal(err)
	}
	before := memory()
	fillNonces(t, s, n)
	t.Logf("memory: %.1f bytes a nonce (bar: 48)", float64(memory()-before)/float64(n))

	// kill -9 leaves the files as the kernel has them now.
	crashed := filepath.Join(t.TempDir(), "crashed")
	if err := os.CopyFS(crashed, os.DirFS(path)); err != nil {
		t.Fatal(err)
	}
	disktest.CopyGeneration(t, path, crashed)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	before = memory()
	cpu, start := cpuTime(t), time.Now()
	s = openTest(t, Options{Path: crashed, MaxNonces: n})
	t.Logf("start: %v, %v of CPU (bar: 3s)", time.Since(start), cpuTime(t)-cpu)
	t.Logf("memory: %.1f bytes a nonce (bar: 48)", float64(memory()-before)/float64(n))

	start = time.Now()
	if err := s.nonces.LookAfter(time.Now().Add(time.Hour), nil); err != nil {
		t.Fatal(err)
	}
	t.Logf("forget all: %v", time.Since(start))
}

// fillNonces uses n nonces of a thousand consumers, with timestamps of the last ten minutes.
func fillNonces(tb testing.TB, s *Store, n int) {
	tb.Helper()
	now := time.Now().Unix()
	nonce := tokenstore.Nonce{Token: tokenstore.NewKey()}
	for i := range n {
		nonce.Consumer = fmt.Sprint("consumer ", i%1000)
		nonce.Timestamp = now - int64(i%600)
		nonce.Expires = time.Unix(now+1000, 0)
		nonce.Value = fmt.Sprintf("%032d", i)
		if err := s.UseNonce(tb.Context(), nonce); err != nil {
			tb.Fatal(err)
		}
	}
}

func rssAnon(tb testing.TB) uint64 {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, after, _ := bytes.Cut(b, []byte("RssAnon:"))
	var kb uint64
	if _, err := fmt.Sscan(string(after), &kb); err != nil {
		tb.Fatal(err)
	}
	return kb << 10
}
