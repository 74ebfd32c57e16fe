package batch

import (
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestBatcherYields: on a busy processor, callers that return together are written together. A
// caller that is alone waits only for its own write.
func TestBatcherYields(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	const write, calls = time.Millisecond, 10
	for _, test := range []struct {
		name    string
		callers int
		most    int // batches
	}{
		{"alone", 1, calls},
		{"several", 4, calls + calls/2}, // in turns it would be twice as many as the calls
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				batches := 0
				b := New(100, func([]int) error {
					batches++
					time.Sleep(write)
					return nil
				})
				began := time.Now()
				var all sync.WaitGroup
				for range test.callers {
					all.Go(func() {
						for i := range calls {
							if err := b.Do(t.Context(), i); err != nil {
								t.Error(err)
							}
						}
					})
				}
				all.Wait()
				if took := time.Since(began); batches > test.most || took > time.Duration(test.most)*write {
					t.Errorf("%d batches in %v, want at most %d in %v", batches, took, test.most, time.Duration(test.most)*write)
				}
				b.Flush()
			})
		})
	}
}
