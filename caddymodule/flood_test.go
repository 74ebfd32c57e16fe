//go:build unix

package caddymodule

import (
	"net/http"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
)

// BenchmarkFloodOfBadSignatures compares what a flood of wrong signatures costs with and without
// their diagnoses, in turns of one run: percent-more is the difference in CPU time of the process,
// with the worker. It takes the best turns of both, so that a busy machine does not matter. Run it
// with -benchtime 1x; an operation takes sixteen seconds.
func BenchmarkFloodOfBadSignatures(b *testing.B) {
	for _, consumers := range []int{1, 30} {
		b.Run(strconv.Itoa(consumers)+" consumers", func(b *testing.B) {
			on, off := newFlood(b, "diagnoses 20 2\n", consumers), newFlood(b, "diagnoses off\n", consumers)
			for b.Loop() {
				for range 8 {
					on.run(b)
					off.run(b)
				}
			}
			b.ReportMetric(on.best/1000, "us-cpu-with/request")
			b.ReportMetric(off.best/1000, "us-cpu-without/request")
			b.ReportMetric(100*(on.best/off.best-1), "percent-more")
		})
	}
}

// flood is a site under a flood.
type flood struct {
	site     *testSite
	requests []*http.Request
	best     float64 // the lowest CPU time of a request in a turn, in nanoseconds
}

func newFlood(b *testing.B, option string, consumers int) *flood {
	names := option
	for i := range consumers {
		names += "consumer c" + strconv.Itoa(i) + " {\n secret s3cr3t\n}\n"
	}
	f := &flood{site: newTestSite(b, names, "insecure_plaintext_over_http")}
	for i := range consumers {
		signer := oauth1.Signer{ConsumerKey: "c" + strconv.Itoa(i), ConsumerSecret: "wrong", SignatureMethod: "HMAC-SHA256"}
		f.requests = append(f.requests, f.site.sign(signer, "GET", "http://api.test/photos?file=vacation.jpg&size=original", ""))
	}
	return f
}

// run sends requests for a second, one after the other.
func (f *flood) run(b *testing.B) {
	before, served := cpuOfProcess(b), 0
	for end := time.Now().Add(time.Second); time.Now().Before(end); served++ {
		if w, _ := f.site.serve(f.requests[served%len(f.requests)].Clone(b.Context())); w.Code != http.StatusUnauthorized {
			b.Fatal(w.Code)
		}
	}
	if cost := float64(cpuOfProcess(b)-before) / float64(served); f.best == 0 || cost < f.best {
		f.best = cost
	}
}

func cpuOfProcess(tb testing.TB) time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
