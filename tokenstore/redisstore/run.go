package redisstore

import (
	"context"
	"crypto/sha1"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// The scripts. Each says at its top what it does.
var (
	//go:embed scripts/epoch.lua
	epochSource string
	//go:embed scripts/span.lua
	spanSource string
	//go:embed scripts/accept.lua
	acceptSource string
	//go:embed scripts/raise.lua
	raiseSource string
	//go:embed scripts/confirm.lua
	confirmSource string
	//go:embed scripts/look.lua
	lookSource string
	//go:embed scripts/read.lua
	readSource string
	//go:embed scripts/write.lua
	writeSource string
	//go:embed scripts/mark.lua
	markSource string
	//go:embed scripts/finish.lua
	finishSource string
	//go:embed scripts/touch.lua
	touchSource string
	//go:embed scripts/reserve.lua
	reserveSource string
	//go:embed scripts/refuse.lua
	refuseSource string

	acceptScript  = newScript(epochSource + spanSource + acceptSource)
	raiseScript   = newScript(epochSource + raiseSource)
	confirmScript = newScript(epochSource + confirmSource)
	lookScript    = newScript(epochSource + lookSource)
	readScript    = newScript(epochSource + readSource)
	writeScript   = newScript(epochSource + indexSource + writeSource)
	markScript    = newScript(epochSource + indexSource + markSource)
	refuseScript  = newScript(epochSource + refuseSource)
	finishScript  = newScript(finishSource)
	touchScript   = newScript(touchSource)
	reserveScript = newScript(reserveSource)
)

// A script is called by its checksum, and by its source on a server that does not have it yet.
type script struct{ source, sum string }

func newScript(source string) *script {
	sum := sha1.Sum([]byte(source)) // which is what EVALSHA takes
	return &script{source, hex.EncodeToString(sum[:])}
}

func (sc *script) command(b rueidis.Builder, bySum bool, keys, args []string) rueidis.Completed {
	if bySum {
		return b.Evalsha().Sha1(sc.sum).Numkeys(int64(len(keys))).Key(keys...).Arg(args...).Build()
	}
	return b.Eval().Script(sc.source).Numkeys(int64(len(keys))).Key(keys...).Arg(args...).Build()
}

// run runs a script, in a pipeline with the calls of others. With a network error nobody knows
// whether it ran. It is never repeated then.
func (s *Store) run(ctx context.Context, sc *script, keys, args []string) (rueidis.RedisMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout())
	defer cancel()
	return s.runWithin(ctx, sc, keys, args)
}

// runWithin is run until the context ends, which must have an end.
func (s *Store) runWithin(ctx context.Context, sc *script, keys, args []string) (rueidis.RedisMessage, error) {
	return s.attempt(ctx, func(c rueidis.Client, bySum bool) (rueidis.RedisMessage, error) {
		return c.Do(ctx, sc.command(c.B(), bySum, keys, args)).ToMessage()
	})
}

// errReplicas: a write is on too few replicas. It may be lost, and it may be there.
var errReplicas = errors.New("too few replicas have confirmed a write")

// runDurably runs a script that writes, and returns when as many replicas as the options demand have
// what it wrote. It has a connection for itself: WAIT waits for what its own connection wrote.
func (s *Store) runDurably(ctx context.Context, sc *script, keys, args []string) (rueidis.RedisMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout())
	defer cancel()
	return s.attempt(ctx, func(c rueidis.Client, bySum bool) (rueidis.RedisMessage, error) {
		return dedicated(ctx, c, func(d rueidis.DedicatedClient) (rueidis.RedisMessage, error) {
			if s.replicas == 0 {
				return d.Do(ctx, sc.command(d.B(), bySum, keys, args)).ToMessage()
			}
			answers := d.DoMulti(ctx, sc.command(d.B(), bySum, keys, args), s.wait(ctx, d, s.replicas))
			answer, err := answers[0].ToMessage()
			if err != nil {
				return answer, err // and WAIT has waited for nothing, on a server that the script did not run on
			}
			return answer, confirmed(answers[1], s.replicas)
		})
	})
}

// dedicated makes calls on a connection of their own, and returns when they have, or the context
// ends. rueidis hands such connections out and takes them back under a lock. It holds that lock while
// it closes those to a server that was replaced, one after the other; each can take the timeout if
// the server does not answer.
func dedicated[T any](ctx context.Context, c rueidis.Client, do func(rueidis.DedicatedClient) (T, error)) (T, error) {
	type result struct {
		answer T
		err    error
	}
	results := make(chan result, 2)
	go func() {
		err := c.Dedicated(func(d rueidis.DedicatedClient) error {
			answer, err := do(d)
			results <- result{answer, err}
			return err
		})
		results <- result{err: err} // the first one, if there was no connection
	}()
	select {
	case r := <-results:
		return r.answer, r.err
	case <-ctx.Done():
		return *new(T), ctx.Err()
	}
}

// wait is a WAIT that returns before the context ends.
func (s *Store) wait(ctx context.Context, d rueidis.DedicatedClient, replicas int) rueidis.Completed {
	left := s.timeout()
	if deadline, ok := ctx.Deadline(); ok {
		left = min(left, time.Until(deadline))
	}
	left -= left / 8                            // for the way there and back
	milliseconds := max(1, left.Milliseconds()) // 0 would wait for ever
	return d.B().Wait().Numreplicas(int64(replicas)).Timeout(milliseconds).Build()
}

// confirmed reads the answer to a WAIT.
func confirmed(answer rueidis.RedisResult, replicas int) error {
	n, err := answer.AsInt64()
	if err == nil && n < int64(replicas) {
		err = fmt.Errorf("%w: %d of %d", errReplicas, n, replicas)
	}
	return err
}

// attempt makes a call, again and again while servers answer that they did not execute it, until
// the context ends.
func (s *Store) attempt(ctx context.Context, call func(c rueidis.Client, bySum bool) (rueidis.RedisMessage, error)) (rueidis.RedisMessage, error) {
	bySum := true
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		c, err := s.link.client()
		if err != nil {
			return rueidis.RedisMessage{}, err
		}
		answer, err := call(c, bySum)
		if err == nil {
			return answer, nil
		}
		if reply, ok := rueidis.IsRedisErr(err); ok && reply.IsNoScript() && bySum {
			bySum = false
			continue
		}
		if !notExecuted(err) {
			return rueidis.RedisMessage{}, s.explain(ctx, err)
		}
		select {
		case <-ctx.Done():
			return rueidis.RedisMessage{}, s.explain(ctx, err)
		case <-time.After(pause):
		}
	}
}

// notExecuted reports whether an error is the answer of a server that did nothing, and that may do
// it soon, or whose successor will: the slot has moved, or the server is no master now, or loads its
// data.
func notExecuted(err error) bool {
	reply, ok := rueidis.IsRedisErr(err)
	if !ok {
		return false
	}
	if _, moved := reply.IsMoved(); moved {
		return true
	}
	if _, asked := reply.IsAsk(); asked {
		return true
	}
	for _, prefix := range []string{"TRYAGAIN", "CLUSTERDOWN", "LOADING", "READONLY", "MASTERDOWN", "BUSY "} {
		if strings.HasPrefix(reply.Error(), prefix) {
			return true
		}
	}
	return false
}

// explain returns the error of a call as callers expect it. What time may mend is a LaterError.
func (s *Store) explain(ctx context.Context, err error) error {
	switch reply, answered := rueidis.IsRedisErr(err); {
	case s.closed.Load(): // whatever the closed connections made of it
		return tokenstore.ErrClosed
	case errors.Is(err, context.Canceled):
		return err
	case answered && !notExecuted(err):
		return fmt.Errorf("redis: %w", reply)
	case errors.Is(err, context.DeadlineExceeded) || ctx.Err() == context.DeadlineExceeded:
		err = fmt.Errorf("no answer within %v: %w", s.timeout(), err)
	}
	return &tokenstore.LaterError{After: retryEvery, Err: fmt.Errorf("redis: %w", err)}
}

// refusal reads the answer of a script that did nothing: a reason, and a number. It returns an empty
// reason for every other answer.
func refusal(answer rueidis.RedisMessage) (reason string, number int64) {
	if !answer.IsArray() {
		return "", 0
	}
	parts, err := answer.ToArray()
	if err != nil || len(parts) != 2 {
		return "", 0
	}
	reason, err = parts[0].ToString()
	if err != nil {
		return "", 0
	}
	number, _ = parts[1].AsInt64()
	return reason, number
}

// later is the error of a slice whose new epoch has just begun.
func later(seconds int64) error {
	return &tokenstore.LaterError{
		After: time.Duration(seconds) * time.Second,
		Err: fmt.Errorf("redis: the servers have failed over, or were started, moments ago: "+
			"requests are refused for another %d seconds, so that none is accepted twice", seconds),
	}
}

func integer(n int64) string { return strconv.FormatInt(n, 10) }
