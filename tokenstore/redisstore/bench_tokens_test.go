//go:build unix

package redisstore

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	options "flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/redisstore/redislab"
)

var benchTokens = options.String("redis.tokens", "1000,100000",
	"how many access tokens the benchmarks store, `sizes` with commas; one million takes half a gigabyte")

func benchSizes(b *testing.B) (sizes []int) {
	b.Helper()
	for text := range strings.SplitSeq(*benchTokens, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			b.Fatalf("-redis.tokens: size %q", text)
		}
		sizes = append(sizes, n)
	}
	return sizes
}

// A benchFilling says which tokens a store is filled with.
type benchFilling struct {
	tokens, perUser int
	consumers       int // which share the tokens
	// only leaves out the tokens that are not in this slice, if it is not nil.
	only *slice
}

func (f benchFilling) consumer(i int) string { return benchText('c', i%f.consumers, 20) }
func (f benchFilling) user(i int) string     { return "user-" + strconv.Itoa(i/f.perUser) }

func (f benchFilling) token(i int) *tokenstore.AccessToken {
	return &tokenstore.AccessToken{
		Key: benchText('t', i, 20), Secret: benchText('s', i, 80), Consumer: f.consumer(i), User: f.user(i),
		Permission: "WRITE_PRIVATE", Created: time.Unix(1_700_000_000+int64(i), 0),
	}
}

const benchLetters = "0123456789bcdfghjklmnpqrstvwxzBCDFGHJKLMNPQRSTVWXZ"

// benchText makes keys and secrets as long as the product's from their number, so that millions need
// no memory here.
func benchText(kind byte, number, length int) string {
	random := rand.NewChaCha8(sha256.Sum256(binary.BigEndian.AppendUint64([]byte{kind}, uint64(number))))
	text := make([]byte, length)
	for i := range text {
		text[i] = benchLetters[random.Uint64()%uint64(len(benchLetters))]
	}
	return string(text)
}

// fillTokens stores tokens as CreateAccessToken does, many of a slice at once.
func fillTokens(b *testing.B, s *Store, f benchFilling) {
	b.Helper()
	ctx := context.Background()
	var views [sliceCount]*view
	for sl := range slice(sliceCount) {
		var err error
		if views[sl], err = s.read(ctx, sl); err != nil {
			b.Fatal(err)
		}
	}
	const batch = 100
	var waiting [sliceCount][]*tokenstore.AccessToken
	var all sync.WaitGroup
	free := make(chan struct{}, 32)
	flush := func(sl slice) {
		tokens := waiting[sl]
		waiting[sl] = nil
		free <- struct{}{}
		all.Go(func() {
			defer func() { <-free }()
			w := newWrite(sl, views[sl])
			for _, t := range tokens {
				w.require(s.key(kindToken, sl, t.Key), "")
			}
			for _, t := range tokens {
				s.putToken(w, views[sl], t)
			}
			if done, err := s.commitLoosely(ctx, w); err != nil || !done {
				b.Errorf("fill slice %d: %v, %v", sl, done, err)
			}
		})
	}
	for i := range f.tokens {
		t := f.token(i)
		sl := sliceOf(t.Key)
		if f.only != nil && sl != *f.only {
			continue
		}
		if waiting[sl] = append(waiting[sl], t); len(waiting[sl]) == batch {
			flush(sl)
		}
	}
	for sl := range slice(sliceCount) {
		if len(waiting[sl]) > 0 {
			flush(sl)
		}
	}
	all.Wait()
	if b.Failed() {
		b.FailNow()
	}
}

// BenchmarkPages reads pages of 100 tokens close to the start, in the middle and close to the end, of all
// tokens and of those of a consumer that has a tenth of all; and the tokens of a user. It reports the
// bytes that a token takes in Redis, its indexes included. At last the consumer is deleted, as in
// BenchmarkDeleteConsumer.
func BenchmarkPages(b *testing.B) {
	for _, n := range benchSizes(b) {
		for _, perUser := range []int{1, 5} {
			b.Run(fmt.Sprintf("%d tokens, %d of a user", n, perUser), func(b *testing.B) {
				lab := redislab.Single(b, redislab.Options{})
				s, other := openBenchStores(b, lab, 0)
				before := dataMemory(b, lab)
				f := benchFilling{tokens: n, perUser: perUser, consumers: 10}
				benchFill(b, s, f)
				each := float64(dataMemory(b, lab)-before) / float64(n)
				for _, list := range []struct {
					name string
					of   tokenstore.Filter
				}{
					{"all", tokenstore.Filter{}},
					{"a consumer", tokenstore.Filter{Consumer: f.consumer(0)}},
				} {
					for _, percent := range []int{1, 50, 99} {
						b.Run(fmt.Sprintf("page of %s at %d%%", list.name, percent), func(b *testing.B) {
							together(b, lab, "page", 1, b.N, func(i int) error {
								after := benchPlace(float64(percent)/100 + float64(i%1000)/1e6)
								page, _, err := s.AccessTokens(context.Background(), list.of, after, 100)
								if want := min(100, n*(99-percent)/2000); err == nil && len(page) < want {
									err = fmt.Errorf("a page of %d tokens", len(page))
								}
								return err
							})
							b.ReportMetric(each, "B/token")
						})
					}
				}
				b.Run("page of a user", func(b *testing.B) {
					together(b, lab, "page", 1, b.N, func(i int) error {
						of := tokenstore.Filter{User: f.user(i * 7919 % n)}
						page, _, err := s.AccessTokens(context.Background(), of, "", 100)
						if err == nil && len(page) != perUser {
							err = fmt.Errorf("a page of %d tokens", len(page))
						}
						return err
					})
				})
				b.Run("count of a consumer", func(b *testing.B) {
					together(b, lab, "count", 1, b.N, func(int) error {
						count, err := s.CountAccessTokens(context.Background(), tokenstore.Filter{Consumer: f.consumer(0)})
						if err == nil && count != (n+9)/10 {
							err = fmt.Errorf("%d tokens", count)
						}
						return err
					})
				})
				d := benchDelete(b, lab, s, other, f.consumer(0))
				b.Run("deletion of a consumer", d.report)
			})
		}
	}
}

// benchAlphabet has the characters of benchText's keys, in their order.
var benchAlphabet = func() string {
	sorted := []byte(benchLetters)
	slices.Sort(sorted)
	return string(sorted)
}()

// benchPlace returns a key after which a share of all keys comes: 0 is the start, 1 the end.
func benchPlace(share float64) string {
	var key []byte
	for range 6 {
		share *= float64(len(benchAlphabet))
		digit := min(int(share), len(benchAlphabet)-1)
		key = append(key, benchAlphabet[digit])
		share -= float64(digit)
	}
	return string(key)
}

// openBenchStores opens two stores with the same data.
func openBenchStores(b *testing.B, lab *redislab.Lab, replicas int) (s, other *Store) {
	b.Helper()
	o := benchOptions(lab, replicas)
	s, other = openTest(b, o), openTest(b, o)
	awaitReady(b, s)
	return s, other
}

// benchFill stores consumers and tokens.
func benchFill(b *testing.B, s *Store, f benchFilling) {
	b.Helper()
	for i := range f.consumers {
		c := &tokenstore.Consumer{Key: f.consumer(i), Secret: "secret"}
		if err := s.CreateConsumer(context.Background(), c); err != nil {
			b.Fatal(err)
		}
	}
	begin := time.Now()
	fillTokens(b, s, f)
	b.Logf("%d tokens were stored in %v", f.tokens, time.Since(begin).Round(time.Second))
}

// BenchmarkMigration moves the slot of a slice to another master of a Cluster, with the part of all
// tokens that is in it. So long its requests are refused.
func BenchmarkMigration(b *testing.B) {
	for _, n := range benchSizes(b) {
		b.Run(fmt.Sprintf("%d tokens", n), func(b *testing.B) {
			lab := redislab.Cluster(b, redislab.Options{})
			s, _ := openBenchStores(b, lab, 1)
			benchFill(b, s, benchFilling{tokens: n, perUser: 1, consumers: 10, only: new(slice)})
			masters := lab.Masters()
			keys := 0
			for b.Loop() {
				b.StopTimer()
				from, _, err := lab.Shard(slotOf(0))
				if err != nil {
					b.Fatal(err)
				}
				count, _ := from.Must(b, "CLUSTER", "COUNTKEYSINSLOT", strconv.Itoa(slotOf(0))).(int64)
				keys = int(count)
				to := masters[(slices.Index(masters, from)+1)%len(masters)]
				b.StartTimer()
				if err := lab.Migrate(slotOf(0), to); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(keys), "keys")
		})
	}
}

// BenchmarkDeleteConsumer deletes a consumer with as many tokens as the last number of -redis.tokens
// says, on a Cluster.
func BenchmarkDeleteConsumer(b *testing.B) {
	sizes := benchSizes(b)
	n := sizes[len(sizes)-1]
	b.Run(fmt.Sprintf("%d tokens", n), func(b *testing.B) {
		lab := redislab.Cluster(b, redislab.Options{})
		s, other := openBenchStores(b, lab, 1)
		for b.Loop() {
			f := benchFilling{tokens: n, perUser: 1, consumers: 1}
			benchFill(b, s, f)
			benchDelete(b, lab, s, other, f.consumer(0)).report(b)
		}
	})
}

// A deletion says how long that of a consumer took: the call, and until the last token was removed; and
// how long nonces of another consumer took at another store, before and meanwhile.
type deletion struct {
	call, all              time.Duration
	before, during, slowly []time.Duration // sorted; slowly are the commands of half a millisecond or more
}

func benchDelete(b *testing.B, lab *redislab.Lab, s, other *Store, consumer string) (d deletion) {
	b.Helper()
	ctx := context.Background()
	d.before = pauses(b, other, func() { time.Sleep(3 * time.Second) })
	for _, n := range lab.Masters() {
		n.Must(b, "CONFIG", "SET", "slowlog-log-slower-than", "500", "slowlog-max-len", "1000")
		n.Must(b, "SLOWLOG", "RESET")
	}
	begin := time.Now()
	d.during = pauses(b, other, func() {
		if err := s.DeleteConsumer(ctx, consumer); err != nil {
			b.Error(err)
		}
		d.call = time.Since(begin)
		for jobsLeft(b, s) {
			d.slowly = append(d.slowly, slowCommands(b, lab)...)
			time.Sleep(50 * time.Millisecond)
		}
		d.all = time.Since(begin)
	})
	d.slowly = append(d.slowly, slowCommands(b, lab)...)
	slices.Sort(d.slowly)
	if left, err := s.CountAccessTokens(ctx, tokenstore.Filter{Consumer: consumer}); err != nil || left != 0 {
		b.Fatalf("%d tokens are left, %v", left, err)
	}
	return d
}

func (d deletion) report(b *testing.B) {
	milliseconds := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	b.ReportMetric(d.call.Seconds(), "s/call")
	b.ReportMetric(d.all.Seconds(), "s/all")
	if n := len(d.slowly); n > 0 { // on a busy machine, the longest ones waited for a core
		b.ReportMetric(milliseconds(d.slowly[n-1]), "longest-command-ms")
		b.ReportMetric(milliseconds(d.slowly[n/2]), "slow-command-p50-ms")
		b.ReportMetric(milliseconds(d.slowly[n*99/100]), "slow-command-p99-ms")
	}
	b.ReportMetric(milliseconds(d.before[len(d.before)-1]), "longest-before-ms")
	b.ReportMetric(milliseconds(d.during[len(d.during)-1]), "longest-ms")
	b.ReportMetric(milliseconds(d.before[len(d.before)*99/100]), "p99-before-ms")
	b.ReportMetric(milliseconds(d.during[len(d.during)*99/100]), "p99-ms")
}

// slowCommands are how long the masters took for the commands in their SLOWLOG, which it empties.
func slowCommands(b *testing.B, lab *redislab.Lab) (took []time.Duration) {
	b.Helper()
	for _, n := range lab.Masters() {
		entries, _ := n.Must(b, "SLOWLOG", "GET", "-1").([]any)
		n.Must(b, "SLOWLOG", "RESET")
		for _, entry := range entries {
			fields, _ := entry.([]any)
			if len(fields) < 4 {
				b.Fatalf("%s: SLOWLOG: %q", n.Name, fields)
			}
			microseconds, _ := fields[2].(int64)
			took = append(took, time.Duration(microseconds)*time.Microsecond)
		}
	}
	return took
}

// pauses returns how long nonces of all slices took while something ran, sorted.
func pauses(b *testing.B, s *Store, while func()) []time.Duration {
	b.Helper()
	ended := make(chan struct{})
	var took []time.Duration
	var all sync.WaitGroup
	all.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-ended:
				return
			case <-time.After(time.Millisecond):
			}
			begin := time.Now()
			n := tokenstore.Nonce{
				Consumer: "other", Token: "other" + strconv.Itoa(i%1000), Value: strconv.FormatInt(begin.UnixNano(), 36),
				Timestamp: begin.Unix(), Expires: time.Unix(begin.Unix()+301, 0),
			}
			if err := s.UseNonce(context.Background(), n); err != nil {
				b.Error(err)
				return
			}
			took = append(took, time.Since(begin))
		}
	})
	while()
	close(ended)
	all.Wait()
	if len(took) == 0 {
		b.FailNow()
	}
	slices.Sort(took)
	return took
}

// jobsLeft reports whether bulk revocations are not finished.
func jobsLeft(b *testing.B, s *Store) bool {
	b.Helper()
	c, err := s.link.client()
	if err != nil {
		b.Fatal(err)
	}
	var commands []rueidis.Completed
	for sl := range slice(sliceCount) {
		commands = append(commands, c.B().Hlen().Key(s.key(kindWork, sl, "")).Build())
	}
	left := int64(0)
	for _, answer := range c.DoMulti(context.Background(), commands...) {
		n, err := answer.AsInt64()
		if err != nil {
			b.Fatal(err)
		}
		left += n
	}
	return left > 0
}
