//go:build unix

package caddymodule

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/refusal"
)

// BenchmarkExplainRefused is all that the worker does with a refused request: the diagnosis, and what
// is kept of it for the operator.
func BenchmarkExplainRefused(b *testing.B) {
	s := newTestSite(b, "diagnoses 1000 1000\nconsumer app {\n secret s3cr3t\n}", "")
	signer := oauth1.Signer{ConsumerKey: "app", ConsumerSecret: "wrong", SignatureMethod: "HMAC-SHA256"}
	for _, form := range []struct{ name, text string }{
		{"small form", "a=1&b=2"},
		{"one long value", "a=" + strings.Repeat("b+%2F", 50_000)},
		{"9000 long parameters", strings.Repeat("abcdefghijkl=b+mnopqrstuvw&", 9000)},
		{"9900 short parameters", strings.Repeat("a=b+&", 9900)},
	} {
		b.Run(form.name, func(b *testing.B) {
			r, read := s.sign(signer, "POST", "http://api.test/x", form.text), new(signed)
			if problem := s.handler.read(r, read, false); problem != nil {
				b.Fatal(problem.Text)
			}
			before := cpuTime(b)
			for b.Loop() {
				s.app.explainRefused(b.Context(), s.handler.refusedRequest(r, endpointAPI, read, refusal.InvalidSignature))
			}
			// Unlike the time, this is the same on a busy machine.
			b.ReportMetric(float64((cpuTime(b)-before).Microseconds())/1000/float64(b.N), "cpu-ms/op")
		})
	}
}

// cpuTime is the CPU time that the process has used.
func cpuTime(t testing.TB) time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		t.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
