//go:build unix

package doctor

import (
	"syscall"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/doctor/doctortest"
)

// BenchmarkDiagnose is the cost of a signature that no mistake explains: everything is tried. Its
// request has all kinds of parameters, so that no alternative is left out; the plain one is what
// most APIs get.
func BenchmarkDiagnose(b *testing.B) {
	for _, method := range []string{"HMAC-SHA1", "HMAC-SHA256", "RSA-SHA256", "PLAINTEXT"} {
		b.Run(method, func(b *testing.B) { benchmarkOf(b, seenOf(b, strange(newClient(method)))) })
	}
	b.Run("plain", func(b *testing.B) {
		c := strange(newClient("HMAC-SHA1"))
		c.Path, c.Query, c.Form = "/v1/items", "page=2&size=10", ""
		benchmarkOf(b, seenOf(b, c))
	})
	b.Run("form of 1 MiB", func(b *testing.B) {
		c := strange(newClient("HMAC-SHA256"))
		c.Form = largeForm(1 << 20)
		benchmarkOf(b, seenOf(b, c))
	})
}

func benchmarkOf(b *testing.B, c *Case) {
	b.ReportAllocs()
	before := cpuTime(b)
	for b.Loop() {
		d := Diagnose(b.Context(), c)
		if len(d.Mistakes) > 0 || d.Valid {
			b.Fatal("named something: ", d.Names())
		}
	}
	// Unlike the time, this is the same on a busy machine.
	b.ReportMetric(float64((cpuTime(b)-before).Microseconds())/1000/float64(b.N), "cpu-ms/op")
}

// strange signs another URL, with secrets that the server does not know.
func strange(c *doctortest.Client) *doctortest.Client {
	c.ConsumerSecret, c.TokenSecret, c.SignedURL = "another secret", "and another", "https://elsewhere.example.com/"
	return c
}

// cpuTime is the CPU time that the process has used.
func cpuTime(t testing.TB) time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		t.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
