//go:build unix

package doctor

import (
	"syscall"
	"testing"
	"time"
)

// BenchmarkDiagnose is the cost of a signature that no mistake explains: everything is tried. Its
// request has all kinds of parameters, so that no alternative is left out; the plain one is what
// most APIs get, and the last ones are made to cost much.
func BenchmarkDiagnose(b *testing.B) {
	for _, method := range []string{"HMAC-SHA1", "HMAC-SHA256", "RSA-SHA256", "PLAINTEXT"} {
		b.Run(method, func(b *testing.B) { benchmarkOf(b, seenOf(b, strange(newClient(method)))) })
	}
	b.Run("plain", func(b *testing.B) {
		c := strange(newClient("HMAC-SHA1"))
		c.Path, c.Query, c.Form = "/v1/items", "page=2&size=10", ""
		benchmarkOf(b, seenOf(b, c))
	})
	for _, h := range hostile {
		for _, method := range []string{"HMAC-SHA1", "HMAC-SHA256", "RSA-SHA256"} {
			b.Run(h.name+"/"+method, func(b *testing.B) { benchmarkOf(b, seenOf(b, h.client(method))) })
		}
	}
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

// cpuTime is the CPU time that the process has used.
func cpuTime(t testing.TB) time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		t.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
