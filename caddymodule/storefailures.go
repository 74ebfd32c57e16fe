package caddymodule

import (
	"sync"
	"time"
)

// storeFailures decides which failures of the store go to the log. While a store is out of reach,
// every request fails, and the log has to stay readable.
type storeFailures struct {
	mu     sync.Mutex
	text   string // of the failure that was logged last
	at     time.Time
	silent int // failures since then
}

const (
	// failuresApart is the time between two lines about failures.
	failuresApart = time.Second
	// sameFailureApart is the time between two lines about the same failure.
	sameFailureApart = time.Minute
)

// note counts a failure. It reports whether the failure is to be logged, and how many have not been
// logged before it.
func (f *storeFailures) note(err error, now time.Time) (logged bool, silent int) {
	text := err.Error()
	f.mu.Lock()
	defer f.mu.Unlock()
	apart := failuresApart
	if text == f.text {
		apart = sameFailureApart
	}
	if !f.at.IsZero() && now.Sub(f.at) < apart {
		f.silent++
		return false, 0
	}
	silent = f.silent
	f.text, f.at, f.silent = text, now, 0
	return true, silent
}

// unlogged counts failures of which no line could be logged.
func (f *storeFailures) unlogged(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.silent += n
}
