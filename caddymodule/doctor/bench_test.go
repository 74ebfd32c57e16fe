//go:build unix

package doctor

import (
	"syscall"
	"testing"
	"time"
)

// BenchmarkDiagnose is the cost of a signature that no mistake explains: everything is tried. Its
// request has all kinds of parameters, so that no alternative is left out; the plain one is what
// most APIs get.
func BenchmarkDiagnose(b *testing.B) {
	for _, method := range []string{"HMAC-SHA1", "HMAC-SHA256", "RSA-SHA256", "PLAINTEXT"} {
		b.Run(method, func(b *testing.B) { benchmarkOf(b, strange(newClient(method)).seen(b)) })
	}
	b.Run("plain", func(b *testing.B) {
		c := strange(newClient("HMAC-SHA1"))
		c.path, c.query, c.form = "/v1/items", "page=2&size=10", ""
		benchmarkOf(b, c.seen(b))
	})
	b.Run("form of 1 MiB", func(b *testing.B) {
		c := strange(newClient("HMAC-SHA256"))
		c.form = largeForm(1 << 20)
		benchmarkOf(b, c.seen(b))
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
func strange(c *client) *client {
	c.consumer, c.token, c.signedURL = "another secret", "and another", "https://elsewhere.example.com/"
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
