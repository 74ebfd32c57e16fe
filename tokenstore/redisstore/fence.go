package redisstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
)

// The fence keeps nonces from being accepted twice when a server loses data: a replica that is
// promoted, or a server that is started again, may not have what was written last.
//
// Each slice has a state: an epoch, a floor and a ceiling. A nonce is accepted if its timestamp lies
// above the floor and not above the ceiling. The ceiling is a lease: it is never further than lead
// ahead of the clock, and it is raised in three steps:
//
//	raise.lua    writes the new ceiling as pending
//	WAIT         until replicas have it
//	confirm.lua  makes it effective
//
// A master that is cut off can't raise its ceiling, and so accepts nothing after lead. The master of
// a new epoch puts the floor above every ceiling that can have been effective: above the pending one
// if it has it, and lead+skew ahead of its clock in any case. Nothing passes below the floor, and
// nothing is written until the clock has passed it (see later). So what the former master still
// answers is over when the new one begins.
//
// One master need not wait: that of a Cluster which was promoted, and has had no replica since. Nobody
// can take over from it with what it wrote; and when it is cut off from the other masters, it stops by
// itself, before the floor of anybody who takes over with older data. So a Cluster goes on with
// requests when a master is lost whose only replica has taken over. Changes are refused until that one
// has a replica. The state names the term that this holds for; each term begins by looking again. A
// master that was started again must wait: it takes the other masters for reachable for a while, even
// if they are not, and have promoted its replica long ago.
//
// The lease must be valid to accept any nonce, and to read: the answer of a master whose ceiling has
// passed proves nothing before the ceiling is raised. That tells also whether the server has forgotten
// what it knew, without being started again, since its machine was set back to a snapshot: it has a
// lower pending ceiling than some process has seen in the epoch. Then a new term begins as after a
// failover. Its floor is not below what was seen, whatever the server's clock says. The lease looks
// valid to a server whose clock went back with its memory. So accept.lua is told what the process has
// seen. A snapshot is not noticed if it is younger than the pending ceiling.

// A lease is what this process does about the ceiling of one slice.
type lease struct {
	raising chan struct{} // has room for the one call that raises the ceiling
	rounds  atomic.Int64  // how often it was tried
	last    atomic.Pointer[outcome]

	seen  atomic.Pointer[sight]  // the latest
	soon  atomic.Bool            // it is being raised in the background
	term  atomic.Pointer[string] // has all nonces that were ahead
	ahead aheadNonces
}

// A sight is the epoch of a slice, and the highest pending ceiling that this process has seen in it. A
// server that has a lower one in the same epoch was set back to an older memory.
type sight struct {
	epoch   string
	pending int64
}

// args are what the scripts are told of a sight.
func (s *sight) args() (epoch, pending string) {
	if s == nil {
		return "", "0"
	}
	return s.epoch, integer(s.pending)
}

// see notes what a server said. It reports whether the process has seen more before.
func (l *lease) see(epoch string, pending int64) (setBack bool) {
	for {
		before := l.seen.Load()
		if before != nil && before.epoch == epoch && pending <= before.pending {
			return pending < before.pending
		}
		if l.seen.CompareAndSwap(before, &sight{epoch, pending}) {
			return false
		}
	}
}

// An outcome is what came of raising a ceiling.
type outcome struct {
	raised *raised
	err    error
}

type raised struct {
	epoch, term         string
	ceiling, floor, now int64
	alone               bool // the master of a Cluster, promoted, and without a replica ever since
}

// raisesAtOnce is how many ceilings are raised at the same time: each takes a connection.
const raisesAtOnce = 8

// raise raises the ceiling of a slice, and opens a new epoch where there is one. Calls that wait for
// another one share its outcome.
func (s *Store) raise(ctx context.Context, sl slice) (*raised, error) {
	l := &s.leases[sl]
	before := l.rounds.Load()
	select {
	case l.raising <- struct{}{}:
		defer func() { <-l.raising }()
	case <-ctx.Done():
		return nil, s.explain(ctx, ctx.Err())
	}
	if l.rounds.Load() != before {
		o := l.last.Load()
		return o.raised, o.err
	}
	o := new(outcome)
	o.raised, o.err = s.raiseNow(ctx, sl)
	l.last.Store(o)
	l.rounds.Add(1)
	return o.raised, o.err
}

func (s *Store) raiseNow(ctx context.Context, sl slice) (*raised, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.timeout())
	defer cancel() // others may wait for it: it does not end with the request that began it
	select {
	case s.raises <- struct{}{}:
		defer func() { <-s.raises }()
	case <-ctx.Done():
		return nil, s.explain(ctx, ctx.Err())
	}
	l, state := &s.leases[sl], []string{s.states[sl]}
	var last *raised
	_, err := s.attempt(ctx, func(c rueidis.Client, bySum bool) (rueidis.RedisMessage, error) {
		r, err := dedicated(ctx, c, func(d rueidis.DedicatedClient) (*raised, error) {
			epoch, pending := l.seen.Load().args()
			args := []string{
				integer(int64(s.lead() / time.Second)), integer(int64(skew / time.Second)), epoch, pending,
			}
			answer, err := d.Do(ctx, raiseScript.command(d.B(), bySum, state, args)).ToMessage()
			if err != nil {
				return nil, err
			}
			r := new(raised)
			if err := r.read(answer); err != nil {
				return nil, err
			}
			l.see(r.epoch, r.ceiling)
			waits := s.replicas > 0
			if waits && !r.alone {
				if err := confirmed(d.Do(ctx, s.wait(ctx, d, s.replicas)), s.replicas); err != nil {
					return nil, err
				}
			}
			sum := bySum
			for {
				n, err := d.Do(ctx, confirmScript.command(d.B(), sum, state, []string{r.term, integer(r.ceiling)})).AsInt64()
				if reply, ok := rueidis.IsRedisErr(err); ok && reply.IsNoScript() && sum {
					sum = false
					continue
				}
				if err == nil && n != 1 {
					err = errors.New("a new epoch began meanwhile")
				}
				return r, err
			}
		})
		last = r
		return rueidis.RedisMessage{}, err
	})
	if err != nil {
		return nil, err
	}
	return last, nil
}

// read reads the answer of raise.lua.
func (r *raised) read(answer rueidis.RedisMessage) error {
	parts, err := answer.ToArray()
	if err != nil || len(parts) != 6 {
		return errors.Join(errors.New("raise.lua: unexpected answer"), err)
	}
	if r.epoch, err = parts[0].ToString(); err != nil {
		return err
	}
	if r.term, err = parts[1].ToString(); err != nil {
		return err
	}
	var numbers [4]int64
	for i := range numbers {
		if numbers[i], err = parts[2+i].AsInt64(); err != nil {
			return err
		}
	}
	r.ceiling, r.floor, r.now, r.alone = numbers[0], numbers[1], numbers[2], numbers[3] == 1
	return nil
}

// raiseSoon raises the ceiling of a slice in the background, if it is not under way.
func (s *Store) raiseSoon(sl slice) {
	l := &s.leases[sl]
	if !l.soon.CompareAndSwap(false, true) {
		return
	}
	s.inBackground(func() {
		defer l.soon.Store(false)
		if _, err := s.raise(s.life, sl); err != nil {
			s.complain("can't raise the ceiling of a slice of nonces", err)
		}
	})
}

// watch looks for new epochs, so that the seconds of refusals after a failover begin at once for all
// slices, and not when each is used.
func (s *Store) watch() {
	for s.sleep(watchInterval) {
		s.lookAround(s.life)
	}
}

// watchInterval is how often watch looks.
const watchInterval = 500 * time.Millisecond

// clockStep is by how many seconds a clock may be set back without a complaint.
const clockStep = 5

// lookAround opens the new epochs that it finds. Into a term that this process did not know it puts
// what only this process may still have.
func (s *Store) lookAround(ctx context.Context) {
	var all sync.WaitGroup
	for sl := range slice(sliceCount) {
		all.Go(func() {
			answer, err := s.run(ctx, lookScript, []string{s.states[sl]}, nil)
			if err != nil {
				return
			}
			term, behind, pending, err := looked(answer)
			if err != nil {
				s.complain("can't look at a slice", err)
				return
			}
			l := &s.leases[sl]
			epoch, _, _ := strings.Cut(term, ".")
			if term != "" && l.see(epoch, pending) {
				term = ""
			}
			if behind > clockStep {
				s.complain("the clock of a server was set back: requests are refused until it is where it was",
					fmt.Errorf("it is %d seconds behind", behind))
			}
			if term == "" {
				r, err := s.raise(ctx, sl)
				if err != nil {
					return
				}
				term = r.term
			}
			if known := l.term.Load(); known != nil && *known == term {
				return
			}
			if err := s.putBackAhead(ctx, sl); err != nil {
				s.complain("can't put back the nonces of clients whose clocks are ahead", err)
				return
			}
			if sl == secretSlice && s.putBackSecret(ctx) != nil {
				return
			}
			l.term.Store(&term)
		})
	}
	all.Wait()
}

// looked reads the answer of look.lua.
func looked(answer rueidis.RedisMessage) (term string, behind, pending int64, err error) {
	parts, err := answer.ToArray()
	if err != nil || len(parts) != 3 {
		return "", 0, 0, unexpected("look.lua", err)
	}
	term, err1 := parts[0].ToString()
	behind, err2 := parts[1].AsInt64()
	pending, err3 := parts[2].AsInt64()
	if err := cmp.Or(err1, err2, err3); err != nil {
		return "", 0, 0, unexpected("look.lua", err)
	}
	return term, behind, pending, nil
}
