package faults

import (
	"fmt"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/redisstore/redislab"
)

const sidecarCount = 3

// options are how a trial is set up.
type options struct {
	start    func(testing.TB, redislab.Options) *redislab.Lab
	lab      redislab.Options
	servers  int // hosts of Redis
	replicas int // that must have a write
	lead     time.Duration
	asUser   bool // whose rights are those in the manual; the default user has none
	toy      bool
	// mutations are changes of the sidecars: of all, or of one.
	mutations []mutation
	one       map[int][]mutation
	// speed makes the clocks of servers, sidecars and clients run faster; 0 means that they don't.
	speed int
	// replays are when a request is sent again, after it was sent first.
	replays []time.Duration
	// onlyNonces leaves the life of tokens out.
	onlyNonces bool
}

// A trial is a network with servers, three sidecars and clients, through a number of faults.
type trial struct {
	t          testing.TB
	options    options
	network    *network
	lab        *redislab.Lab
	sidecars   []*sidecar
	began      time.Time
	fastFrom   time.Time
	stopped    chan struct{}
	clients    sync.WaitGroup
	lastPass   [sidecarCount][consumerCount]atomic.Int64 // the start of the last request that passed
	background sync.WaitGroup

	mu       sync.Mutex
	signed   []*signed
	lives    []*life
	faults   []fault
	kills    []kill
	stalls   []stall
	lastBeat int64
	longest  int64 // answer, but for stalls
	slowest  op
	odd      map[string]int // answers that a client with a right clock must not get
}

// A fault is a nemesis at its work.
type fault struct {
	name       string
	loses      bool
	begin, end int64
}

// A kill is the end of a sidecar.
type kill struct {
	sidecar int
	at      int64
}

func newTrial(t testing.TB, o options) *trial {
	t.Helper()
	x := &trial{t: t, options: o, stopped: make(chan struct{}), odd: map[string]int{}, began: time.Now()}
	if o.speed > 0 {
		x.fastFrom = x.began.Truncate(time.Second)
		o.lab.Speed, o.lab.From = o.speed, x.fastFrom
		o.mutations = append(slices.Clone(o.mutations), fastClock(t, x.fastFrom, o.speed)...)
	}
	binaries := make([]string, sidecarCount)
	for i := range binaries {
		if o.toy {
			break
		}
		mutations := o.mutations
		if m, ok := o.one[i]; ok {
			mutations = append(slices.Clone(mutations), m...)
		}
		binaries[i] = build(t, mutations...)
	}
	var hosts, servers []string
	for i := range o.servers {
		servers = append(servers, fmt.Sprintf("redis%d", i))
	}
	for i := range sidecarCount {
		hosts = append(hosts, sidecarHost(i))
	}
	x.network = newNetwork(t, append(hosts, servers...)...)
	o.lab.Places = x.network.places(servers...)
	if o.asUser {
		o.lab.Config = append(slices.Clone(o.lab.Config), rights(t)...)
	}
	x.lab = o.start(t, o.lab)
	for i := range sidecarCount {
		host := sidecarHost(i)
		x.sidecars = append(x.sidecars, newSidecar(t, host, x.network.hosts[host], x.lab, o, binaries[i]))
	}
	x.began = time.Now()
	return x
}

func sidecarHost(i int) string { return fmt.Sprintf("sidecar%d", i) }

// now is the time since the start.
func (x *trial) now() int64 { return int64(time.Since(x.began)) }

// clock is what a right clock shows.
func (x *trial) clock() time.Time {
	if x.options.speed == 0 {
		return time.Now()
	}
	return x.fastFrom.Add(time.Duration(x.options.speed) * time.Since(x.fastFrom))
}

// acceptable is for how long a timestamp is good, with some air.
const acceptable = 4 * time.Minute

// pause waits. It reports false when the trial has ended meanwhile.
func (x *trial) pause(wait time.Duration) bool {
	select {
	case <-x.stopped:
		return false
	case <-time.After(wait):
		return true
	}
}

// run strikes with one nemesis after the other while clients work, and checks what the clients saw.
// It returns the histories that broke a promise.
func (x *trial) run(nemeses iter.Seq[nemesis]) (nonces, lives []string) {
	x.t.Helper()
	x.clients.Go(x.noteStalls)
	for i := range consumerCount {
		for sidecar := range x.sidecars {
			x.clients.Go(func() { x.probe(i, sidecar) })
		}
	}
	if !x.awaitAll("at the start", x.now(), startTime) {
		close(x.stopped)
		x.clients.Wait()
		return nil, nil
	}
	x.mu.Lock()
	x.longest = 0 // while they start, sidecars let requests wait
	x.mu.Unlock()
	x.clients.Go(x.useNonces)
	if !x.options.onlyNonces {
		for i := range 6 {
			x.clients.Go(func() { x.liveOn("user", i, x.liveToken) })
		}
		for i := range 3 {
			x.clients.Go(func() { x.liveOn("stored", i, x.liveConsumer) })
		}
	}
	x.pause(time.Second)
	for n := range nemeses {
		x.strike(n)
	}
	close(x.stopped)
	x.clients.Wait()
	x.background.Wait()
	x.replayAll()
	x.useRevoked()
	nonces, lives = x.checkNonces(), []string(nil)
	if !x.options.onlyNonces {
		lives = x.checkLives()
	}
	x.checkAnswers()
	return nonces, lives
}

const (
	// startTime is how long the sidecars may take until they let requests pass at first.
	startTime = 30 * time.Second
	// passTime is how soon after a failover requests must pass again.
	passTime = 10 * time.Second
	// answerTime is how soon a sidecar must answer whatever the store does.
	// It may ask the store several times, each for the timeout of 500 ms; the machine may be busy.
	answerTime = 4 * time.Second
)

// strike lets one nemesis do its work, heals, and waits until all requests pass again.
func (x *trial) strike(n nemesis) {
	f := fault{name: n.name, loses: n.loses, begin: x.now(), end: never}
	x.mu.Lock()
	x.faults = append(x.faults, f)
	this := &x.faults[len(x.faults)-1]
	x.mu.Unlock()
	n.do(x)
	x.network.heal()
	settled := x.lab.Await(settleTime)
	x.mu.Lock()
	this.end = x.now()
	x.mu.Unlock()
	if settled != nil {
		x.t.Errorf("%s: the servers have not come back: %v", n.name, settled)
	}
	x.awaitAll("after "+n.name, this.end, passTime)
}

const settleTime = 40 * time.Second

// awaitAll waits until every consumer has passed at every sidecar by a request that was sent after
// a time. It reports whether that was so within the limit.
func (x *trial) awaitAll(when string, since int64, limit time.Duration) bool {
	for {
		missing := ""
		slowest := int64(0)
		for sidecar := range x.lastPass {
			for consumer := range consumerCount {
				pass := x.lastPass[sidecar][consumer].Load()
				slowest = max(slowest, pass)
				if pass < since || pass == 0 {
					missing += fmt.Sprintf(" %s at sidecar %d;", consumerKey(consumer), sidecar)
				}
			}
		}
		took := time.Duration(x.now() - since)
		if missing == "" {
			x.t.Logf("%-50s passes after %5.2f s", when, took.Seconds())
			return true
		}
		x.mu.Lock()
		still := time.Duration(x.stalled(since, x.now()))
		x.mu.Unlock()
		if took-still > limit {
			x.t.Errorf("%s: after %v these have not passed:%s", when, limit, missing)
			return false
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// probe is a client with a right clock that asks all the time.
func (x *trial) probe(consumer, sidecar int) {
	for x.pause(300 * time.Millisecond) {
		s := x.newSigned(x.twoLegged(consumer), 0)
		o := x.send(s, sidecar)
		if o.outcome == accepted {
			x.lastPass[sidecar][consumer].Store(o.call)
		}
		x.background.Go(func() { x.replayLater(s, time.Now(), 8*time.Second) })
	}
}

// A stall is a time in which the machine did not let this process work, nor the sidecars probably.
type stall struct{ begin, end int64 }

// noteStalls notes when the machine stood still.
func (x *trial) noteStalls() {
	const beat, least = 10 * time.Millisecond, 50 * time.Millisecond
	for last := x.now(); x.pause(beat); last = x.now() {
		x.mu.Lock()
		if now := x.now(); now-last > int64(least) {
			x.stalls = append(x.stalls, stall{last, now})
		}
		x.lastBeat = x.now()
		x.mu.Unlock()
	}
}

// stalled is for how long the machine stood still in a time. The caller holds mu.
func (x *trial) stalled(begin, end int64) (sum int64) {
	if x.lastBeat != 0 {
		sum = max(0, end-max(x.lastBeat, begin))
	}
	for _, s := range x.stalls {
		sum += max(0, min(end, s.end)-max(begin, s.begin))
	}
	return sum
}

// noteAnswer notes what must not be: slow answers, and refusals that a client with a right clock
// and a new nonce can't understand.
func (x *trial) noteAnswer(s *signed, o op) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if took := o.ret - o.call - x.stalled(o.call, o.ret); o.outcome != lost && took > x.longest {
		x.slowest, x.longest = o, took
	}
	right := s.off == 0 && x.clock().Sub(s.made) < acceptable
	if right && (o.outcome == other || o.outcome == gone && !s.mayEnd) {
		x.odd[o.note]++
	}
}

func (x *trial) checkAnswers() {
	took := time.Duration(x.longest)
	x.t.Logf("the slowest answer took %v: %v%s", took.Round(time.Millisecond), x.slowest, x.during(x.slowest))
	if still := time.Duration(x.stalled(0, x.lastBeat)); still > time.Second {
		x.t.Logf("the machine stood still for %v", still.Round(time.Millisecond))
	}
	if took > answerTime {
		x.t.Errorf("an answer took %v", took)
	}
	for text, count := range x.odd {
		x.t.Errorf("%d times, with a right clock: %s", count, text)
	}
}

// during says which fault was there, for the description of an operation.
func (x *trial) during(o op) string {
	for _, f := range x.faults {
		if f.begin < o.ret && o.call < f.end {
			return "  (" + f.name + ")"
		}
	}
	return ""
}

// lostData reports whether a fault that loses data was there in a time.
func (x *trial) lostData(begin, end int64) bool {
	return slices.ContainsFunc(x.faults, func(f fault) bool { return f.loses && f.begin < end && begin < f.end })
}

// report fails the test, with the first of the histories that broke a promise.
func report(t testing.TB, what string, wrong []string) {
	t.Helper()
	const most = 3
	for _, history := range wrong[:min(most, len(wrong))] {
		t.Errorf("%s: %s", what, history)
	}
	if len(wrong) > most {
		t.Errorf("and %d more", len(wrong)-most)
	}
}
