//go:build unix

package redisstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/redisstore/redislab"
)

// benchLabs are the servers of benchmarks.
var benchLabs = []struct {
	name     string
	lab      func(testing.TB, redislab.Options) *redislab.Lab
	replicas int
}{
	{"one server", redislab.Single, 0},
	{"cluster", redislab.Cluster, 1},
}

// benchOptions are those of a store with the default lead.
func benchOptions(lab *redislab.Lab, replicas int) Options {
	o := testOptions(lab, replicas)
	o.Lead = defaultLead
	return o
}

// together makes n calls from many goroutines. It reports calls a second, the time that 99 of 100
// calls take at most, and what a call costs this process and all servers together, in CPU time:
// other work on the machine disturbs these two least. The bytes on the network are those between the
// masters and their clients, in both directions.
func together(b *testing.B, lab *redislab.Lab, what string, goroutines, n int, call func(i int) error) {
	b.Helper()
	took := make([][]time.Duration, goroutines)
	var next atomic.Int64
	var all sync.WaitGroup
	client, servers, network := processTime(b), serverTime(b, lab), networkBytes(b, lab)
	b.ResetTimer()
	for g := range goroutines {
		all.Go(func() {
			for i := int(next.Add(1)); i <= n; i = int(next.Add(1)) {
				begin := time.Now()
				if err := call(i); err != nil {
					b.Error(err)
					return
				}
				took[g] = append(took[g], time.Since(begin))
			}
		})
	}
	all.Wait()
	b.StopTimer()
	client, servers, network = processTime(b)-client, serverTime(b, lab)-servers, networkBytes(b, lab)-network
	times := slices.Concat(took...)
	if len(times) == 0 {
		return // all have failed
	}
	slices.Sort(times)
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), what+"s/s")
	b.ReportMetric(float64(times[len(times)*99/100].Microseconds())/1000, "p99-ms")
	b.ReportMetric(float64(client.Nanoseconds())/1000/float64(n), "client-µs/"+what)
	b.ReportMetric(float64(servers.Nanoseconds())/1000/float64(n), "redis-µs/"+what)
	b.ReportMetric(float64(network)/float64(n), "net-B/"+what)
}

// BenchmarkUseNonce has 256 goroutines that use nonces of 10,000 tokens, without and with the check
// that the token is still there. It also reports the bytes that a nonce takes in Redis.
func BenchmarkUseNonce(b *testing.B) {
	for _, where := range benchLabs {
		for _, checked := range []bool{false, true} {
			name := where.name
			if checked {
				name += ", token checked"
			}
			b.Run(name, func(b *testing.B) {
				lab := where.lab(b, redislab.Options{})
				s := openTest(b, benchOptions(lab, where.replicas))
				awaitReady(b, s)
				f := benchFilling{tokens: 10_000, perUser: 1, consumers: 16}
				fillTokens(b, s, f)
				tokens := make([]*tokenstore.AccessToken, f.tokens)
				for i := range tokens {
					tokens[i] = f.token(i)
				}
				before := dataMemory(b, lab)
				together(b, lab, "nonce", 256, b.N, func(i int) error {
					t := tokens[i%len(tokens)]
					now := time.Now().Unix()
					n := tokenstore.Nonce{
						Consumer: t.Consumer, Token: t.Key, Value: strconv.FormatInt(int64(i), 36),
						Timestamp: now, Expires: time.Unix(now+301, 0),
					}
					if checked {
						var err error
						if n.AccessToken, err = s.AccessToken(context.Background(), n.Token); err != nil {
							return err
						}
					}
					return s.UseNonce(context.Background(), n)
				})
				b.ReportMetric(float64(dataMemory(b, lab)-before)/float64(b.N), "B/nonce")
			})
		}
	}
}

// BenchmarkFlow has 64 goroutines that go through whole flows: request token, page, review,
// exchange. Three of the four wait for replicas where there are any.
func BenchmarkFlow(b *testing.B) {
	for _, where := range benchLabs {
		b.Run(where.name, func(b *testing.B) {
			lab := where.lab(b, redislab.Options{})
			s := openTest(b, benchOptions(lab, where.replicas))
			awaitReady(b, s)
			const consumers = 16
			ctx := context.Background()
			for i := range consumers {
				if err := s.CreateConsumer(ctx, &tokenstore.Consumer{Key: "consumer" + strconv.Itoa(i), Secret: "secret"}); err != nil {
					b.Fatal(err)
				}
			}
			together(b, lab, "flow", 64, b.N, func(i int) error {
				now := time.Now()
				key := tokenstore.NewKey()
				t := &tokenstore.RequestToken{
					Key: key, Secret: tokenstore.NewSecret(), Consumer: "consumer" + strconv.Itoa(i%consumers),
					Callback: "https://consumer.example/ready", Created: now, Expires: now.Add(2 * time.Hour),
				}
				if err := s.CreateRequestToken(ctx, t); err != nil {
					return err
				}
				if _, err := s.RequestToken(ctx, key); err != nil {
					return err
				}
				r := tokenstore.Review{User: "user" + strconv.Itoa(i), Permission: "WRITE_PUBLIC", Verifier: "verifier", Time: now}
				if _, err := s.Review(ctx, key, r); err != nil {
					return err
				}
				_, err := s.Exchange(ctx, key, "verifier")
				return err
			})
		})
	}
}

// processTime is the CPU time of this process.
func processTime(tb testing.TB) time.Duration {
	tb.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// serverTime is the CPU time of all servers, replicas too.
func serverTime(tb testing.TB, lab *redislab.Lab) (total time.Duration) {
	tb.Helper()
	for _, n := range lab.Nodes {
		info, err := n.Info("cpu")
		for _, field := range []string{"used_cpu_user", "used_cpu_sys"} {
			seconds, wrong := strconv.ParseFloat(info[field], 64)
			err = errors.Join(err, wrong)
			total += time.Duration(seconds * float64(time.Second))
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
	return total
}

// networkBytes is what the masters have got from clients and sent to them.
func networkBytes(tb testing.TB, lab *redislab.Lab) (total int64) {
	tb.Helper()
	for _, n := range lab.Masters() {
		info, err := n.Info("stats")
		for _, field := range []string{"total_net_input_bytes", "total_net_output_bytes"} {
			bytes, wrong := strconv.ParseInt(info[field], 10, 64)
			err = errors.Join(err, wrong)
			total += bytes
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
	return total
}

// dataMemory is what the masters use for their data, in bytes, tables of keys and what the allocator
// rounds up included: all that they use without the buffers of clients and replicas.
func dataMemory(tb testing.TB, lab *redislab.Lab) (total int64) {
	tb.Helper()
	for _, n := range lab.Masters() {
		info, err := n.Info("memory")
		if err != nil {
			tb.Fatal(err)
		}
		number := func(field string) int64 {
			value, err := strconv.ParseInt(info[field], 10, 64)
			if err != nil {
				tb.Fatal(fmt.Errorf("%s: %w", field, err))
			}
			return value
		}
		total += number("used_memory")
		for _, buffer := range []string{
			"mem_clients_normal", "mem_clients_slaves", "mem_replication_backlog", "mem_cluster_links", "mem_aof_buffer",
		} {
			total -= number(buffer)
		}
	}
	return total
}
