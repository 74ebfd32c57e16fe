//go:build unix

package doctortest

import (
	"syscall"
	"testing"
	"time"
)

// ReportCPU returns a function that reports, as cpu-ms/op, the CPU time that the process has used
// since, for each iteration of b. Unlike the time, it is the same on a busy machine.
func ReportCPU(b *testing.B) (report func()) {
	b.Helper()
	used := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	before := used()
	return func() { b.ReportMetric(float64((used()-before).Microseconds())/1000/float64(b.N), "cpu-ms/op") }
}
