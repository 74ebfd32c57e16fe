package redisstore

import (
	"context"
	_ "embed"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// aheadNonces are the nonces of one slice whose timestamps lay above the ceiling when this process
// accepted them.
//
// The floor of a new epoch is not above them. So all replicas must have them before they count as
// accepted. If the servers lose them all the same (all were started empty), this process puts them
// back into the new epoch while its floor still refuses everything.
type aheadNonces struct {
	mu        sync.Mutex
	count     int
	consumers map[string]int                       // how many each has; no zeros
	ending    map[int64]map[aheadNonce]aheadOrigin // by the second in which they expire
	oldest    int64                                // no second before it is in ending
}

type aheadNonce struct{ bucket, digest string }

type aheadOrigin struct {
	consumer        string
	timestamp, span int64
}

// maxAhead is how many such nonces of one slice this process remembers. A consumer may have as many
// as are free, so one alone has half of them at most.
const maxAhead = 20_000

var errTooManyAhead = errors.New("redis: too many requests with timestamps that lie ahead")

// add reserves room for a nonce, which remove takes back. ErrNonceUsed if it is there.
func (a *aheadNonces) add(consumer string, call nonceCall, now int64) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.expire(now)
	n, end := call.ahead()
	if _, used := a.ending[end][n]; used {
		return tokenstore.ErrNonceUsed
	}
	if a.consumers[consumer] >= maxAhead-a.count {
		return &tokenstore.LaterError{After: time.Minute, Err: errTooManyAhead}
	}
	if a.count == 0 {
		a.consumers, a.ending, a.oldest = make(map[string]int), make(map[int64]map[aheadNonce]aheadOrigin), end
	}
	if a.ending[end] == nil {
		a.ending[end] = make(map[aheadNonce]aheadOrigin)
	}
	a.ending[end][n] = aheadOrigin{consumer, call.timestamp, call.span}
	a.oldest = min(a.oldest, end)
	a.consumers[consumer]++
	a.count++
	return nil
}

// remove takes back an add.
func (a *aheadNonces) remove(call nonceCall) {
	a.mu.Lock()
	defer a.mu.Unlock()
	n, end := call.ahead()
	origin, ok := a.ending[end][n]
	if !ok {
		return // it is over
	}
	a.drop(origin.consumer)
	if delete(a.ending[end], n); len(a.ending[end]) == 0 {
		delete(a.ending, end)
	}
}

// expire drops what is over.
func (a *aheadNonces) expire(now int64) {
	if now < a.oldest || a.count == 0 {
		return
	}
	for end, nonces := range a.ending {
		if end > now {
			continue
		}
		for _, origin := range nonces {
			a.drop(origin.consumer)
		}
		delete(a.ending, end)
	}
	a.oldest = now + 1
}

func (a *aheadNonces) drop(consumer string) {
	a.count--
	if a.consumers[consumer]--; a.consumers[consumer] == 0 {
		delete(a.consumers, consumer)
	}
}

// An aheadCall is what remember.lua puts back.
type aheadCall struct {
	aheadNonce
	timestamp int64
}

// live returns the nonces that are not over, and the widest of their spans.
func (a *aheadNonces) live(now int64) (live []aheadCall, widest int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.expire(now)
	for _, nonces := range a.ending {
		for n, origin := range nonces {
			live = append(live, aheadCall{n, origin.timestamp})
			widest = max(widest, origin.span)
		}
	}
	return live, widest
}

// ahead returns the nonce as aheadNonces has it, and when it expires.
func (c *nonceCall) ahead() (aheadNonce, int64) {
	return aheadNonce{c.bucket, c.digest}, c.timestamp + c.span
}

// aheadGates limit how many nonces that lie ahead wait for replicas at once: each takes a
// connection. The consumers share the gates by their keys, so a crowd at one of them hinders few
// others.
type aheadGates [16]chan struct{}

// aheadAtOnce is how many pass one gate at once.
const aheadAtOnce = 8

func newAheadGates() (g aheadGates) {
	for i := range g {
		g[i] = make(chan struct{}, aheadAtOnce)
	}
	return g
}

func (g *aheadGates) of(consumer string) chan struct{} {
	return g[sliceOf(consumer)%slice(len(g))]
}

// useAhead accepts a nonce whose timestamp lies further ahead than the lease. All replicas must
// have it: no floor protects it.
func (s *Store) useAhead(ctx context.Context, consumer string, call nonceCall, keys, args []string) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout())
	defer cancel()
	gate := s.gates.of(consumer)
	select {
	case gate <- struct{}{}:
		defer func() { <-gate }()
	case <-ctx.Done():
		return s.explain(ctx, ctx.Err())
	}
	l := &s.leases[call.slice]
	remembered := &l.ahead
	if err := remembered.add(consumer, call, s.clock().Unix()); err != nil {
		return err
	}
	args[5] = "1"
	args[6], args[7] = l.seen.Load().args()
	answer, err := s.attempt(ctx, func(c rueidis.Client, bySum bool) (rueidis.RedisMessage, error) {
		return dedicated(ctx, c, func(d rueidis.DedicatedClient) (rueidis.RedisMessage, error) {
			answer, err := d.Do(ctx, acceptScript.command(d.B(), bySum, keys, args)).ToMessage()
			if err != nil {
				return answer, err
			}
			reason, connected := refusal(answer)
			replicas := max(int(connected), s.replicas)
			if reason != "accepted" || replicas == 0 {
				return answer, nil
			}
			return answer, confirmed(d.Do(ctx, s.wait(ctx, d, replicas)), replicas)
		})
	})
	if err != nil {
		return err // the servers may have it: it stays remembered
	}
	reason, number := refusal(answer)
	switch reason {
	case "accepted", "":
		return nil
	case "used":
		return tokenstore.ErrNonceUsed
	}
	remembered.remove(call)
	switch reason {
	case "forgotten":
		return tokenstore.ErrNonceForgotten
	case "floor":
		return later(number)
	case "gone", "stale", "epoch":
		// A moment ago it was not so: the client may try again.
		return later(1)
	default:
		return errors.New("redis: accept.lua: unexpected answer " + reason)
	}
}

var (
	//go:embed scripts/remember.lua
	rememberSource string
	rememberScript = newScript(epochSource + spanSource + rememberSource)
)

// rememberedAtOnce is how many nonces one script puts back.
const rememberedAtOnce = 500

// putBackAhead writes the nonces that were accepted ahead of the ceiling into a new epoch.
func (s *Store) putBackAhead(ctx context.Context, sl slice) error {
	nonces, widest := s.leases[sl].ahead.live(s.clock().Unix())
	ctx, cancel := context.WithTimeout(ctx, 10*s.timeout())
	defer cancel()
	for batch := range slices.Chunk(nonces, rememberedAtOnce) {
		keys, args := []string{s.states[sl]}, []string{integer(widest)}
		for _, n := range batch {
			keys = append(keys, n.bucket)
			args = append(args, integer(n.timestamp), n.digest)
		}
		if _, err := s.run(ctx, rememberScript, keys, args); err != nil {
			return err
		}
	}
	return nil
}
