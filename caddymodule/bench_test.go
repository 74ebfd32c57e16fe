package caddymodule

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// BenchmarkHandler measures what the handler alone costs a request: the next handler does nothing, the token is cached, the
// nonce is durable across the end of the process.
func BenchmarkHandler(b *testing.B) {
	for _, method := range []string{"HMAC-SHA1", "HMAC-SHA256", "HMAC-SHA512", "PLAINTEXT"} {
		b.Run(method, func(b *testing.B) { newHandlerBench(b, method).run(b) })
	}
	b.Run("PLAINTEXT without a nonce", func(b *testing.B) {
		bench := newHandlerBench(b, plaintext)
		bench.bare = true
		bench.run(b)
	})
}

// BenchmarkHandlerWithoutNonces is the same with a store that takes every nonce, to see what the rest costs.
func BenchmarkHandlerWithoutNonces(b *testing.B) {
	bench := newHandlerBench(b, "HMAC-SHA256")
	bench.site.app.store = forgetful{bench.site.app.store}
	bench.run(b)
}

// forgetful is a store that takes every nonce.
type forgetful struct{ tokenstore.Store }

func (forgetful) UseNonce(context.Context, tokenstore.Nonce) error { return nil }

// BenchmarkUnknownToken measures a flood of tokens that nobody has.
func BenchmarkUnknownToken(b *testing.B) {
	bench := newHandlerBench(b, "HMAC-SHA256")
	headers := make([][]string, b.N)
	for i := range headers {
		bench.signer.Token = "unknown" + strconv.Itoa(i)
		headers[i] = bench.header(b, i)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for _, header := range headers {
		bench.serve(b, header)
	}
	if bench.passed > 0 {
		b.Fatal("an unknown token passed")
	}
}

// BenchmarkReference is the work that the others are compared with: an HMAC-SHA256 of 400 bytes.
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

// TestCostOfARequest holds the handler to its allocations, and its time to a multiple of the reference work in the same run: the
// best of many short turns of both, so that a busy machine changes little. It says nothing about seconds.
func TestCostOfARequest(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	const (
		mostAllocations = 6
		mostReferences  = 8 // measured: 3 to 4
		turns, each     = 60, 200
	)
	bench := newHandlerBench(t, "HMAC-SHA256")
	headers := make([][]string, (turns+30)*each)
	for i := range headers {
		headers[i] = bench.header(t, i)
	}
	next := func() []string {
		header := headers[0]
		headers = headers[1:]
		return header
	}
	for range 20 * each { // until pools and sets have their size
		bench.serve(t, next())
	}
	if got := testing.AllocsPerRun(each, func() { bench.serve(t, next()) }); got > mostAllocations {
		t.Errorf("%v allocations a request, at most %d are allowed", got, mostAllocations)
	}
	best := func(shortest *time.Duration, work func()) {
		start := time.Now()
		for range each {
			work()
		}
		if took := time.Since(start); *shortest == 0 || took < *shortest {
			*shortest = took
		}
	}
	var request, reference time.Duration
	for range turns {
		best(&request, func() { bench.serve(t, next()) })
		best(&reference, referenceWork)
	}
	ratio := float64(request) / float64(reference)
	t.Logf("a request costs %.1f times the reference work (%v against %v)", ratio, request/each, reference/each)
	if ratio > mostReferences {
		t.Errorf("a request costs %.1f times the reference work, at most %d times is allowed", ratio, mostReferences)
	}
}

// handlerBench is a site, and one request that is sent to it again and again with another signature.
type handlerBench struct {
	site   *testSite
	signer oauth1.Signer
	r      *http.Request
	w      *httptest.ResponseRecorder
	passed int
	bare   bool // PLAINTEXT, with neither nonce nor timestamp
}

func newHandlerBench(tb testing.TB, method string) *handlerBench {
	site := newTestSite(tb, demoConsumer, "insecure_plaintext_over_http")
	token := site.grant("demo", "alice", "WRITE_PRIVATE")
	bench := &handlerBench{site: site, w: httptest.NewRecorder(), signer: oauth1.Signer{
		ConsumerKey: "demo", ConsumerSecret: tokenstore.NewSecret(),
		Token: token.Key, TokenSecret: token.Secret,
		SignatureMethod: method, Timestamp: site.clock.Unix(),
	}}
	site.app.declared["demo"].Secret = bench.signer.ConsumerSecret

	const target = "/photos?file=vacation.jpg&size=original"
	r := httptest.NewRequest("GET", "http://api.test"+target, nil)
	u := *r.URL
	ctx := context.WithValue(r.Context(), caddy.ReplacerCtxKey, caddy.NewReplacer())
	ctx = context.WithValue(ctx, caddyhttp.VarsCtxKey, map[string]any{caddyhttp.TrustedProxyVarKey: false})
	ctx = context.WithValue(ctx, caddyhttp.OriginalRequestCtxKey, http.Request{Method: r.Method, RequestURI: target, URL: &u})
	bench.r = r.WithContext(ctx)
	for _, name := range []string{"Accept", "Accept-Encoding", "User-Agent", "X-Request-Id"} {
		bench.r.Header.Set(name, "x")
	}
	return bench
}

// header signs the request for the i-th time.
func (bench *handlerBench) header(tb testing.TB, i int) []string {
	if bench.bare {
		return []string{`OAuth oauth_consumer_key="demo", oauth_token="` + bench.signer.Token + `", oauth_signature_method="PLAINTEXT", oauth_signature="` +
			bench.signer.ConsumerSecret + "%26" + bench.signer.TokenSecret + `"`}
	}
	bench.signer.Nonce = "n" + strconv.Itoa(i)
	header, err := bench.signer.Sign(&oauth1.Request{Method: "GET", Scheme: "http", Host: "api.test", Path: bench.r.URL.Path, Query: bench.r.URL.RawQuery})
	if err != nil {
		tb.Fatal(err)
	}
	return []string{header}
}

func (bench *handlerBench) serve(tb testing.TB, header []string) {
	bench.r.Header["Authorization"] = header
	if err := bench.site.handler.ServeHTTP(bench.w, bench.r, bench); err != nil {
		tb.Fatal(err)
	}
}

// ServeHTTP is the next handler.
func (bench *handlerBench) ServeHTTP(http.ResponseWriter, *http.Request) error {
	bench.passed++
	return nil
}

func (bench *handlerBench) run(b *testing.B) {
	headers := make([][]string, b.N)
	for i := range headers {
		headers[i] = bench.header(b, i)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for _, header := range headers {
		bench.serve(b, header)
	}
	if bench.passed != b.N {
		b.Fatalf("%d of %d passed; the last answer was %d %s", bench.passed, b.N, bench.w.Code, bench.w.Body)
	}
}
