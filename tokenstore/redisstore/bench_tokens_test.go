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
}

func (f benchFilling) consumer(i int) string { return benchText('c', i%f.consumers, 20) }
func (f benchFilling) user(i int) string     { return "user-" + strconv.Itoa(i/f.perUser) }

func (f benchFilling) token(i int) *tokenstore.AccessToken {
	return &tokenstore.AccessToken{
		Key: benchText('t', i, 20), Secret: benchText('s', i, 80), Consumer: f.consumer(i), User: f.user(i),
		Permission: "WRITE_PRIVATE", Created: time.Unix(1_700_000_000+int64(i), 0),
	}
}

// benchText makes keys and secrets as long as the product's from their number, so that millions need
// no memory here.
func benchText(kind byte, number, length int) string {
	const alphabet = "0123456789bcdfghjklmnpqrstvwxzBCDFGHJKLMNPQRSTVWXZ"
	random := rand.NewChaCha8(sha256.Sum256(binary.BigEndian.AppendUint64([]byte{kind}, uint64(number))))
	text := make([]byte, length)
	for i := range text {
		text[i] = alphabet[random.Uint64()%uint64(len(alphabet))]
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

// BenchmarkPages reads pages of 100 tokens of a consumer that has half of all, and the tokens of a
// user. It also reports the bytes that a token takes in Redis, its indexes included.
func BenchmarkPages(b *testing.B) {
	for _, n := range benchSizes(b) {
		for _, perUser := range []int{1, 5} {
			b.Run(fmt.Sprintf("%d tokens, %d of a user", n, perUser), func(b *testing.B) {
				lab := redislab.Single(b, redislab.Options{})
				s := openTest(b, benchOptions(lab, 0))
				awaitReady(b, s)
				before := dataMemory(b, lab)
				f := benchFilling{tokens: n, perUser: perUser, consumers: 2}
				fillTokens(b, s, f)
				each := float64(dataMemory(b, lab)-before) / float64(n)
				for _, page := range []struct {
					name string
					of   tokenstore.Filter
					want int
				}{
					{"page of a consumer", tokenstore.Filter{Consumer: f.consumer(0)}, 100},
					{"page of a user", tokenstore.Filter{User: f.user(n / 2)}, perUser},
				} {
					b.Run(page.name, func(b *testing.B) {
						for i := 0; b.Loop(); i++ {
							after := benchText('a', i, 4)
							if page.want < 100 {
								after = ""
							}
							// Close to the end of all keys, a page has fewer.
							tokens, _, err := s.AccessTokens(context.Background(), page.of, after, 100)
							if err != nil || after == "" && len(tokens) != page.want {
								b.Fatalf("%d tokens, %v", len(tokens), err)
							}
						}
						b.ReportMetric(each, "B/token")
					})
				}
			})
		}
	}
}

// BenchmarkDeleteConsumer deletes a consumer with as many tokens as the last number of -redis.tokens
// says, on a Cluster. It reports how long the call takes, how long it takes until the last token is
// removed, and the longest time that other calls took meanwhile, and before.
func BenchmarkDeleteConsumer(b *testing.B) {
	sizes := benchSizes(b)
	n := sizes[len(sizes)-1]
	b.Run(fmt.Sprintf("%d tokens", n), func(b *testing.B) {
		lab := redislab.Cluster(b, redislab.Options{})
		s, other := openTest(b, benchOptions(lab, 1)), (*Store)(nil)
		o := benchOptions(lab, 1)
		o.Prefix = s.prefix
		other = openTest(b, o)
		awaitReady(b, s)
		ctx := context.Background()
		for b.Loop() {
			f := benchFilling{tokens: n, perUser: 1, consumers: 1}
			if err := s.CreateConsumer(ctx, &tokenstore.Consumer{Key: f.consumer(0), Secret: "secret"}); err != nil {
				b.Fatal(err)
			}
			fillTokens(b, s, f)
			before := pauses(b, other, func() { time.Sleep(3 * time.Second) })
			begin := time.Now()
			var call, all time.Duration
			during := pauses(b, other, func() {
				if err := s.DeleteConsumer(ctx, f.consumer(0)); err != nil {
					b.Error(err)
				}
				call = time.Since(begin)
				for jobsLeft(b, s) {
					time.Sleep(50 * time.Millisecond)
				}
				all = time.Since(begin)
			})
			if left, err := s.CountAccessTokens(ctx, tokenstore.Filter{}); err != nil || left != 0 {
				b.Fatalf("%d tokens are left, %v", left, err)
			}
			b.ReportMetric(call.Seconds(), "s/call")
			b.ReportMetric(all.Seconds(), "s/all")
			b.ReportMetric(float64(before[len(before)-1].Microseconds())/1000, "longest-before-ms")
			b.ReportMetric(float64(during[len(during)-1].Microseconds())/1000, "longest-ms")
			b.ReportMetric(float64(before[len(before)*99/100].Microseconds())/1000, "p99-before-ms")
			b.ReportMetric(float64(during[len(during)*99/100].Microseconds())/1000, "p99-ms")
		}
	})
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
