package redisstore

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/redisstore/redislab"
)

// BenchmarkUseNonce has 256 goroutines that use nonces of 10,000 tokens. It reports the calls a
// second, the time that 99 of 100 calls take at most, and the bytes that a nonce takes in Redis.
func BenchmarkUseNonce(b *testing.B) {
	for _, where := range []struct {
		name     string
		lab      func(testing.TB, redislab.Options) *redislab.Lab
		replicas int
	}{
		{"one server", redislab.Single, 0},
		{"cluster", redislab.Cluster, 1},
	} {
		b.Run(where.name, func(b *testing.B) {
			lab := where.lab(b, redislab.Options{})
			o := testOptions(lab, where.replicas)
			o.Lead = 5 * time.Second
			s := openTest(b, o)
			awaitReady(b, s)
			before := usedMemory(b, lab)
			const goroutines = 256
			took := make([][]time.Duration, goroutines)
			var next atomic.Int64
			var all sync.WaitGroup
			b.ResetTimer()
			for g := range goroutines {
				all.Go(func() {
					for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
						begin := time.Now()
						n := tokenstore.Nonce{
							Consumer: "consumer", Token: "token" + strconv.FormatInt(i%10_000, 10), Value: strconv.FormatInt(i, 36),
							Timestamp: begin.Unix(), Expires: time.Unix(begin.Unix()+301, 0),
						}
						if err := s.UseNonce(context.Background(), n); err != nil {
							b.Error(err)
							return
						}
						took[g] = append(took[g], time.Since(begin))
					}
				})
			}
			all.Wait()
			b.StopTimer()
			times := slices.Concat(took...)
			slices.Sort(times)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "nonces/s")
			b.ReportMetric(float64(times[len(times)*99/100].Microseconds())/1000, "p99-ms")
			b.ReportMetric(float64(usedMemory(b, lab)-before)/float64(b.N), "B/nonce")
		})
	}
}

// usedMemory is what the masters say they use for their data, in bytes.
func usedMemory(tb testing.TB, lab *redislab.Lab) (total int64) {
	tb.Helper()
	for _, n := range lab.Masters() {
		info, err := n.Info("memory")
		if err != nil {
			tb.Fatal(err)
		}
		used, err := strconv.ParseInt(info["used_memory_dataset"], 10, 64)
		if err != nil {
			tb.Fatal(fmt.Errorf("used_memory_dataset: %w", err))
		}
		total += used
	}
	return total
}
