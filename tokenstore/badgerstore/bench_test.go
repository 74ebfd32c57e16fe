package badgerstore

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

func benchTokens(b *testing.B, s *Store, n int) []string {
	keys := make([]string, n)
	var c change
	for i := range keys {
		keys[i] = tokenstore.NewKey()
		putAccessToken(&c, &tokenstore.AccessToken{Key: keys[i], Secret: tokenstore.NewSecret(), Consumer: "k",
			User: "u", Permission: "READ_PUBLIC", Created: time.Now()})
		if len(c.ops) > 1000 || i == n-1 {
			if err := s.tokens.commit(c); err != nil {
				b.Fatal(err)
			}
			c = change{}
		}
	}
	return keys
}

// reportCPU adds the processor time of an operation, which depends less on other processes than the
// elapsed time does. The caller calls the returned function at the end.
func reportCPU(b *testing.B) func() {
	before := cpuTime(b)
	return func() { b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/op") }
}

// BenchmarkReference measures the machine itself: an HMAC-SHA256 of 400 bytes.
func BenchmarkReference(b *testing.B) {
	key, text := make([]byte, 64), make([]byte, 400)
	defer reportCPU(b)()
	for b.Loop() {
		h := hmac.New(sha256.New, key)
		h.Write(text)
		h.Sum(nil)
	}
}

func BenchmarkAccessTokenHit(b *testing.B) {
	s := openTest(b, Options{})
	keys := benchTokens(b, s, 1024)
	ctx := context.Background()
	for _, k := range keys {
		if _, err := s.AccessToken(ctx, k); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if _, err := s.AccessToken(ctx, keys[i%len(keys)]); err != nil {
			b.Fatal(err)
		}
		i++
	}
}

func BenchmarkAccessTokenMiss(b *testing.B) {
	s := openTest(b, Options{})
	keys := benchTokens(b, s, 20_000)
	ctx := context.Background()
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		k := keys[i%len(keys)]
		s.accessTokens.remove(k)
		if _, err := s.AccessToken(ctx, k); err != nil {
			b.Fatal(err)
		}
		i++
	}
}

// BenchmarkTouch measures the cost of noting the use of one token, in batches of a thousand
// recently used tokens.
func BenchmarkTouch(b *testing.B) {
	s := openTest(b, Options{})
	keys := benchTokens(b, s, 1000)
	used := make(map[string]time.Time, len(keys))
	now := time.Now()
	defer reportCPU(b)()
	for i := 0; i < b.N; i += len(keys) {
		now = now.Add(time.Minute)
		for _, key := range keys {
			if _, err := s.AccessToken(b.Context(), key); err != nil { // the request
				b.Fatal(err)
			}
			used[key] = now
		}
		if err := s.Touch(b.Context(), used); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkUseNonce(b *testing.B) {
	for name, sync := range map[string]bool{"sync off": false, "sync on": true} {
		b.Run(name, func(b *testing.B) {
			s := openTest(b, Options{Sync: sync, MaxNonces: 1 << 40})
			var serial atomic.Int64
			b.SetParallelism(16) // times two processors
			b.ReportAllocs()
			defer reportCPU(b)()
			b.RunParallel(func(pb *testing.PB) {
				n := tokenstore.Nonce{Consumer: "consumer", Token: tokenstore.NewKey(), Timestamp: time.Now().Unix(),
					Expires: time.Now().Add(5 * time.Minute)}
				for pb.Next() {
					n.Value = strconv.FormatInt(serial.Add(1), 36)
					if err := s.UseNonce(context.Background(), n); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

// BenchmarkUseNonceAlone runs in one goroutine, so it shows latency. The nonces are new, and never
// exceed the limit of a window.
func BenchmarkUseNonceAlone(b *testing.B) {
	for name, live := range map[string]int{"no nonces live": 0, "5 M nonces live": 5_000_000} {
		b.Run(name, func(b *testing.B) {
			s := openTest(b, Options{MaxNonces: 1 << 40})
			fillNonces(b, s, live)
			n := tokenstore.Nonce{Consumer: "consumer", Token: tokenstore.NewKey(), Timestamp: time.Now().Unix(),
				Expires: time.Now().Add(5 * time.Minute)}
			values := make([]string, 1<<20)
			for i := range values {
				values[i] = fmt.Sprintf("%032d", i)
			}
			i := 0
			b.ReportAllocs()
			defer reportCPU(b)()
			for b.Loop() {
				n.Value = values[i%len(values)]
				if i++; i%len(values) == 0 {
					n.Timestamp++
				}
				if err := s.UseNonce(context.Background(), n); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkExchange measures the whole life of a request token: creation, review, exchange.
func BenchmarkExchange(b *testing.B) {
	s := openTest(b, Options{})
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		ctx := context.Background()
		for pb.Next() {
			key := tokenstore.NewKey()
			if err := s.CreateRequestToken(ctx, &tokenstore.RequestToken{Key: key, Consumer: "k", Expires: time.Now().Add(time.Hour)}); err != nil {
				b.Error(err)
				return
			}
			if _, err := s.Review(ctx, key, tokenstore.Review{User: "u", Permission: "READ_PUBLIC"}); err != nil {
				b.Error(err)
				return
			}
			if _, err := s.Exchange(ctx, key, ""); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
