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
	made   time.Time     // by a right clock
	off    time.Duration // of the clock of its client
	mayEnd bool          // what it is signed with may be revoked

	mu  sync.Mutex
	ops []op
}

const apiPath = "/photos"

// newSigned signs a request. off is how far the client's clock is off.
func (x *trial) newSigned(signer oauth1.Signer, off time.Duration) *signed {
	now := x.clock()
	signer.Timestamp = now.Add(off).Unix()
	s := &signed{
		header: sign(x.t, &signer, "GET", apiPath), made: now, off: off, mayEnd: signer.Token != "",
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
	case a.outcome == other, a.outcome == gone:
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
			made := time.Now()
			s := x.newSigned(x.twoLegged(i%consumerCount), clocks[rand.IntN(len(clocks))])
			x.sendAll(s, x.some(2+rand.IntN(len(x.sidecars)-1)))
			replays := x.options.replays
			if replays == nil {
				replays = replayAfter
			}
			x.replayLater(s, made, replays...)
		})
	}
}

const nonceInterval = 20 * time.Millisecond

// replayLater sends a request again, to one sidecar at each of the times.
func (x *trial) replayLater(s *signed, made time.Time, after ...time.Duration) {
	for _, wait := range after {
		if !x.pause(time.Until(made.Add(wait))) {
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
		if x.clock().Sub(s.made) > acceptable || !s.wasAccepted() {
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
	acceptedOnes, spared := 0, 0
	kinds := map[string]int{}
	for _, s := range x.signed {
		if s.wasAccepted() {
			acceptedOnes++
		}
		if !linearizable(nonceModel, s.ops) {
			if x.forgottenWithSidecar(s) {
				spared++
				continue
			}
			text := fmt.Sprintf("(clock off by %v) %s", s.off, s.header)
			for _, o := range s.ops {
				text += "\n\t" + o.String() + x.during(o)
			}
			wrong = append(wrong, text)
			kinds[fmt.Sprintf("clock off by %v: %s", s.off, x.between(s.ops))]++
		}
	}
	x.t.Logf("nonces: %d of %d accepted, %d not used once (and %d that only a killed sidecar remembered)",
		acceptedOnes, len(x.signed), len(wrong), spared)
	for kind, count := range kinds {
		x.t.Logf("%d: %s", count, kind)
	}
	if acceptedOnes == 0 {
		x.t.Error("no nonce was ever accepted")
	}
	return wrong
}

// forgottenWithSidecar reports whether a nonce was accepted ahead of the lease by a sidecar that was
// killed before the servers lost their data. Only that process could have given it back to them:
// that is the one promise that two faults break.
func (x *trial) forgottenWithSidecar(s *signed) bool {
	if s.off <= 0 {
		return false
	}
	again := 0
	for i, first := range s.ops {
		for _, second := range s.ops[i+1:] {
			if first.outcome != accepted || second.outcome != accepted {
				continue
			}
			again++
			if second.call < first.call {
				first, second = second, first
			}
			if !slices.ContainsFunc(x.kills, func(k kill) bool {
				return k.sidecar == first.sidecar && first.call < k.at && x.lostData(k.at, second.ret)
			}) {
				return false
			}
		}
	}
	return again > 0
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
