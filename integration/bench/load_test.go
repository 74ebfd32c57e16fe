package main

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestPace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		p := pace{first: start.Add(time.Second), every: 10 * time.Millisecond}
		for _, c := range []struct {
			name        string
			i           int
			busy        time.Duration // until then no connection is free
			sent, since time.Duration // after the start
		}{
			{"the first waits for its time", 0, 0, 1000 * time.Millisecond, 1000 * time.Millisecond},
			{"the next is due a little later", 1, 1005 * time.Millisecond, 1010 * time.Millisecond, 1010 * time.Millisecond},
			{"who was held up counts from when it was due", 2, 1500 * time.Millisecond, 1500 * time.Millisecond, 1020 * time.Millisecond},
			{"and so do those behind it", 3, 1500 * time.Millisecond, 1500 * time.Millisecond, 1030 * time.Millisecond},
			{"until the delay is made up", 60, 1500 * time.Millisecond, 1600 * time.Millisecond, 1600 * time.Millisecond},
		} {
			time.Sleep(time.Until(start.Add(c.busy)))
			since := p.wait(c.i).Sub(start)
			if sent := time.Since(start); sent != c.sent || since != c.since {
				t.Errorf("%s: sent after %v, counted from %v; want %v, %v", c.name, sent, since, c.sent, c.since)
			}
		}
		if now := time.Now(); !(pace{}).wait(5).Equal(now) {
			t.Error("without a pace there is something to wait for")
		}
	})
}
