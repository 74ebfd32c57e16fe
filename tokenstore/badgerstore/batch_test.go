package badgerstore

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestBatcherRests: callers that come back together are written together, and one that is alone waits for its own write only.
func TestBatcherRests(t *testing.T) {
	const write, calls = time.Millisecond, 10
	for _, test := range []struct {
		name    string
		callers int
		most    int // batches
		longest time.Duration
	}{
		{"alone", 1, calls, calls * write},
		// The first may go by itself. Without a rest, the others would follow it in turns, in twice as many batches.
		{"several", 4, calls + 1, (2*calls + 2) * write},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				batches := 0
				b := newBatcher(100, func([]int) error {
					batches++
					time.Sleep(write)
					return nil
				})
				b.rest = write
				began := time.Now()
				var all sync.WaitGroup
				for range test.callers {
					all.Go(func() {
						for i := range calls {
							if err := b.do(t.Context(), i); err != nil {
								t.Error(err)
							}
						}
					})
				}
				all.Wait()
				if took := time.Since(began); batches > test.most || took > test.longest {
					t.Errorf("%d batches in %v, want at most %d in %v", batches, took, test.most, test.longest)
				}
				b.flush()
			})
		})
	}
}
