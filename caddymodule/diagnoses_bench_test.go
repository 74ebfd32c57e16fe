//go:build unix

package caddymodule

import (
	"strings"
	"testing"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/doctor/doctortest"
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
			report := doctortest.ReportCPU(b)
			for b.Loop() {
				s.app.explainRefused(b.Context(), s.handler.refusedRequest(r, endpointAPI, read, refusal.InvalidSignature))
			}
			report()
		})
	}
}
