package faults

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
)

// A signed is one signed request, and all that became of it wherever it was sent.
type signed struct {
	header string
	made   time.Time
	off    time.Duration // of the clock of its client

	mu  sync.Mutex
	ops []op
}

const apiPath = "/photos"

// newSigned signs a request. off is how far the client's clock is off.
func (x *trial) newSigned(signer oauth1.Signer, off time.Duration) *signed {
	now := time.Now()
	signer.Timestamp = now.Add(off).Unix()
	s := &signed{
		header: sign(x.t, &signer, "GET", apiPath), made: now, off: off,
	}
	if signer.SignatureMethod != "PLAINTEXT" {
		x.mu.Lock()
		x.signed = append(x.signed, s)
		x.mu.Unlock()
	}
	return s
}

func (x *trial) twoLegged(i int) oauth1.Signer {
	return oauth1.Signer{ConsumerKey: consumerKey(i), ConsumerSecret: consumerSecret}
}

// send sends a signed request to a sidecar, and records what became of it.
func (x *trial) send(s *signed, sidecar int) op {
	call := x.now()
	a := x.sidecars[sidecar].do("GET", apiPath, s.header)
	o := op{sidecar: sidecar, call: call, ret: x.now(), outcome: a.outcome}
	switch {
	case a.outcome == other:
		o.note = fmt.Sprint(a.status, " ", a.text)
	case a.outcome == later && !a.after:
		o.outcome, o.note = other, "503 without Retry-After"
	}
	s.mu.Lock()
	s.ops = append(s.ops, o)
	s.mu.Unlock()
	x.noteAnswer(s, o)
	return o
}

// sendAll sends it to some sidecars at the same time.
func (x *trial) sendAll(s *signed, sidecars []int) {
	var wg sync.WaitGroup
	for _, sidecar := range sidecars {
		wg.Go(func() { x.send(s, sidecar) })
	}
	wg.Wait()
}

// some returns some sidecars, in any order.
func (x *trial) some(count int) []int { return rand.Perm(len(x.sidecars))[:count] }

// replayAfter is when a request is sent again, after it was sent first.
var replayAfter = []time.Duration{time.Second, 3 * time.Second, 8 * time.Second, 20 * time.Second, time.Minute}

// clocks are how far the clocks of clients are off: most are right.
var clocks = []time.Duration{0, 0, 0, 0, 0, 0, 20 * time.Second, 200 * time.Second, -20 * time.Second, -200 * time.Second}

// useNonces sends signed requests to two or three sidecars at the same time, and again later.
func (x *trial) useNonces() {
	for i := 0; x.pause(nonceInterval); i++ {
		x.background.Go(func() {
			s := x.newSigned(x.twoLegged(i%consumerCount), clocks[rand.IntN(len(clocks))])
			x.sendAll(s, x.some(2+rand.IntN(len(x.sidecars)-1)))
			x.replayLater(s, replayAfter...)
		})
	}
}

const nonceInterval = 20 * time.Millisecond

// replayLater sends a request again, to one sidecar at each of the times.
func (x *trial) replayLater(s *signed, after ...time.Duration) {
	for _, wait := range after {
		if !x.pause(time.Until(s.made.Add(wait))) {
			return
		}
		x.send(s, x.some(1)[0])
	}
}

// replayAll sends again, everywhere, what was accepted and has a timestamp that is still good.
func (x *trial) replayAll() {
	slots := make(chan struct{}, 32)
	var wg sync.WaitGroup
	for _, s := range x.signed {
		if time.Since(s.made) > 4*time.Minute || !s.wasAccepted() {
			continue
		}
		slots <- struct{}{}
		wg.Go(func() {
			x.sendAll(s, x.some(2))
			<-slots
		})
	}
	wg.Wait()
}

func (s *signed) wasAccepted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.ops {
		if o.outcome == accepted {
			return true
		}
	}
	return false
}

// checkNonces returns the histories in which a nonce was not used once.
func (x *trial) checkNonces() (wrong []string) {
	acceptedOnes := 0
	kinds := map[string]int{}
	for _, s := range x.signed {
		if s.wasAccepted() {
			acceptedOnes++
		}
		if !linearizable(nonceModel, s.ops) {
			text := fmt.Sprintf("(clock off by %v) %s", s.off, s.header)
			for _, o := range s.ops {
				text += "\n\t" + o.String() + x.during(o)
			}
			wrong = append(wrong, text)
			kinds[fmt.Sprintf("clock off by %v: %s", s.off, x.between(s.ops))]++
		}
	}
	x.t.Logf("nonces: %d of %d accepted, %d not used once", acceptedOnes, len(x.signed), len(wrong))
	for kind, count := range kinds {
		x.t.Logf("%d: %s", count, kind)
	}
	if acceptedOnes == 0 {
		x.t.Error("no nonce was ever accepted")
	}
	return wrong
}

// between says which faults lie between the first two requests that were accepted.
func (x *trial) between(ops []op) string {
	times := []int64{}
	for _, o := range ops {
		if o.outcome == accepted {
			times = append(times, o.call)
		}
	}
	if len(times) < 2 {
		return "accepted once or never, but refused as used before it was sent"
	}
	slices.Sort(times)
	names := []string{}
	for _, f := range x.faults {
		if f.begin < times[1] && times[0] < f.end {
			names = append(names, f.name)
		}
	}
	return fmt.Sprintf("accepted again, through: %s", strings.Join(names, "; "))
}
