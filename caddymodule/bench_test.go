package caddymodule

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// BenchmarkHandler measures the cost of the handler alone: the next handler does nothing, the token
// is cached, and the nonce survives the end of the process.
func BenchmarkHandler(b *testing.B) {
	for _, method := range []string{"HMAC-SHA1", "HMAC-SHA256", "HMAC-SHA512", "PLAINTEXT"} {
		b.Run(method, func(b *testing.B) {
			bench := newHandlerBench(b, method)
			bench.run(b, func(r *http.Request) { bench.serve(b, r) })
		})
	}
	b.Run("PLAINTEXT without a nonce", func(b *testing.B) {
		bench := newHandlerBench(b, oauth1.Plaintext)
		bench.bare = true
		bench.run(b, func(r *http.Request) { bench.serve(b, r) })
	})
}

// BenchmarkHandlerInColdCaches measures the cost in a server: between two requests the processor's
// caches lose the handler's data, and each request uses another of a thousand tokens. ns-median/op
// is the handler's part.
func BenchmarkHandlerInColdCaches(b *testing.B) {
	bench := newHandlerBench(b, "HMAC-SHA256")
	for len(bench.tokens) < 1000 {
		bench.grant()
	}
	other := make([]byte, 2<<20)
	var took []time.Duration
	bench.run(b, func(r *http.Request) {
		for i := 0; i < len(other); i += 64 {
			other[i]++
		}
		start := time.Now()
		bench.serve(b, r)
		took = append(took, time.Since(start))
	})
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2]), "ns-median/op")
}

// BenchmarkHandlerWithoutNonces measures the cost without nonces: the store accepts every nonce.
func BenchmarkHandlerWithoutNonces(b *testing.B) {
	bench := newHandlerBench(b, "HMAC-SHA256")
	bench.site.app.store = forgetful{bench.site.app.store}
	bench.run(b, func(r *http.Request) { bench.serve(b, r) })
}

// forgetful is a store that accepts every nonce.
type forgetful struct{ tokenstore.Store }

func (forgetful) UseNonce(context.Context, tokenstore.Nonce) error { return nil }

// BenchmarkManyParameters measures a signed form of one megabyte of parameters.
func BenchmarkManyParameters(b *testing.B) {
	site := newTestSite(b, "consumer demo {\n secret s\n two_legged robot WRITE_PUBLIC\n}", "")
	form := strings.Repeat("a&", 1<<19)
	signer := oauth1.Signer{ConsumerKey: "demo", ConsumerSecret: "s", SignatureMethod: "HMAC-SHA1"}
	r := site.sign(signer, "POST", "http://api.test/x", "a=b")
	for b.Loop() {
		again := r.Clone(b.Context())
		again.Body, again.ContentLength = io.NopCloser(strings.NewReader(form)), int64(len(form))
		if w, upstream := site.serve(again); upstream != nil {
			b.Fatal(w.Code)
		}
	}
}

// BenchmarkUnknownToken measures a flood of unknown tokens.
func BenchmarkUnknownToken(b *testing.B) {
	bench := newHandlerBench(b, "HMAC-SHA256")
	requests := make([]*http.Request, b.N)
	for i := range requests {
		bench.tokens[0].Key = "unknown" + strconv.Itoa(i)
		requests[i] = bench.request(b)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for _, r := range requests {
		bench.serve(b, r)
	}
	if bench.passed > 0 {
		b.Fatal("an unknown token passed")
	}
}

// BenchmarkReference is the unit for the other benchmarks: an HMAC-SHA256 of 400 bytes.
func BenchmarkReference(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		referenceWork()
	}
}

func referenceWork() {
	mac := hmac.New(sha256.New, make([]byte, 161))
	mac.Write(make([]byte, 400))
	mac.Sum(nil)
}

// TestCostOfARequest limits the handler's allocations, and its time to a multiple of the reference
// work in the same run. It takes the best of many short turns of both, so that a busy machine
// changes little. It does not limit seconds.
func TestCostOfARequest(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for _, c := range []struct {
		name            string
		method          string
		bare            bool
		mostAllocations float64
		mostReferences  float64 // twice the measured value
	}{
		{"HMAC-SHA256", "HMAC-SHA256", false, 6, 7},
		{"PLAINTEXT", oauth1.Plaintext, false, 6, 7},
		{"PLAINTEXT without a nonce", oauth1.Plaintext, true, 6, 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			bench := newHandlerBench(t, c.method)
			bench.bare = c.bare
			allocations, request, reference := bench.cost(t)
			ratio := float64(request) / float64(reference)
			t.Logf("a request costs %.1f times the reference work (%v against %v), and %v allocations", ratio, request, reference, allocations)
			if allocations > c.mostAllocations {
				t.Errorf("%v allocations a request, at most %v are allowed", allocations, c.mostAllocations)
			}
			if ratio > c.mostReferences {
				t.Errorf("a request costs %.1f times the reference work, at most %v times is allowed", ratio, c.mostReferences)
			}
		})
	}
}

// cost measures a request, and the reference work.
func (bench *handlerBench) cost(t *testing.T) (allocations float64, request, reference time.Duration) {
	const turns, each = 120, 100
	var requests []*http.Request
	prepare := func(n int) {
		requests = requests[:0]
		for range n {
			requests = append(requests, bench.request(t))
		}
	}
	next := func() {
		bench.serve(t, requests[0])
		requests = requests[1:]
	}
	best := func(shortest *time.Duration, work func()) {
		start := time.Now()
		for range each {
			work()
		}
		if took := time.Since(start) / each; *shortest == 0 || took < *shortest {
			*shortest = took
		}
	}
	for range 20 { // until pools and sets have their size
		prepare(each)
		for range each {
			next()
		}
	}
	prepare(each + 1)
	allocations = testing.AllocsPerRun(each, next)
	for range turns {
		prepare(each)
		best(&request, next)
		best(&reference, referenceWork)
	}
	return allocations, request, reference
}

// handlerBench is a site with requests that differ only in their tokens, nonces and signatures.
type handlerBench struct {
	site   *testSite
	signer oauth1.Signer
	tokens []*tokenstore.AccessToken
	w      *httptest.ResponseRecorder
	signed int
	passed int
	bare   bool // PLAINTEXT, without nonce and timestamp
}

func newHandlerBench(tb testing.TB, method string) *handlerBench {
	site := newTestSite(tb, "diagnoses 20 2\n"+demoConsumer, "insecure_plaintext_over_http")
	bench := &handlerBench{site: site, w: httptest.NewRecorder(), signer: oauth1.Signer{
		ConsumerKey: "demo", ConsumerSecret: tokenstore.NewSecret(),
		SignatureMethod: method, Timestamp: site.clock.Unix(),
	}}
	site.app.declared["demo"].Secret = bench.signer.ConsumerSecret
	bench.grant()
	return bench
}

func (bench *handlerBench) grant() {
	user := "alice" + strconv.Itoa(len(bench.tokens))
	bench.tokens = append(bench.tokens, bench.site.grant("demo", user, "WRITE_PRIVATE"))
}

// request makes a request as a server passes it on, with the next token.
func (bench *handlerBench) request(tb testing.TB) *http.Request {
	const target = "/photos?file=vacation.jpg&size=original"
	r := httptest.NewRequest("GET", "http://api.test"+target, nil)
	u := *r.URL
	ctx := context.WithValue(r.Context(), caddyhttp.VarsCtxKey, map[string]any{caddyhttp.TrustedProxyVarKey: false})
	ctx = context.WithValue(ctx, caddyhttp.OriginalRequestCtxKey, http.Request{Method: r.Method, RequestURI: target, URL: &u})
	for _, name := range []string{"Accept", "Accept-Encoding", "User-Agent", "X-Request-Id"} {
		r.Header.Set(name, "x")
	}
	r.Header.Set("Authorization", bench.sign(tb, r))
	r = r.WithContext(ctx)
	caddyhttp.NewTestReplacer(r) // with a request's placeholders, as in a server
	return r
}

func (bench *handlerBench) sign(tb testing.TB, r *http.Request) string {
	token := bench.tokens[bench.signed%len(bench.tokens)]
	bench.signed++
	if bench.bare {
		return `OAuth oauth_consumer_key="demo", oauth_token="` + token.Key + `", oauth_signature_method="PLAINTEXT", oauth_signature="` +
			bench.signer.ConsumerSecret + "%26" + token.Secret + `"`
	}
	bench.signer.Token, bench.signer.TokenSecret = token.Key, token.Secret
	bench.signer.Nonce = "n" + strconv.Itoa(bench.signed)
	header, err := bench.signer.Sign(&oauth1.Request{Method: "GET", Scheme: "http", Host: "api.test", Path: r.URL.Path, Query: r.URL.RawQuery})
	if err != nil {
		tb.Fatal(err)
	}
	return header
}

func (bench *handlerBench) serve(tb testing.TB, r *http.Request) {
	if err := bench.site.handler.ServeHTTP(bench.w, r, bench); err != nil {
		tb.Fatal(err)
	}
}

// ServeHTTP is the next handler.
func (bench *handlerBench) ServeHTTP(http.ResponseWriter, *http.Request) error {
	bench.passed++
	return nil
}

// run calls serve with a new request each time, because the handler changes it. It makes few at a
// time, so that they are in the processor's caches, as in a server.
func (bench *handlerBench) run(b *testing.B, serve func(*http.Request)) {
	b.ReportAllocs()
	b.ResetTimer()
	requests := make([]*http.Request, 0, 100)
	for bench.signed < b.N {
		b.StopTimer()
		requests = requests[:0]
		for len(requests) < cap(requests) && bench.signed < b.N {
			requests = append(requests, bench.request(b))
		}
		b.StartTimer()
		for _, r := range requests {
			serve(r)
		}
	}
	if bench.passed != b.N {
		b.Fatalf("%d of %d passed; the last answer was %d %s", bench.passed, b.N, bench.w.Code, bench.w.Body)
	}
}
