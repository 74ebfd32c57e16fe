package faults

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// never is when an operation ends whose end nobody saw.
const never = math.MaxInt64

// An op is what a client did and saw. Its times are nanoseconds since the start of the trial.
type op struct {
	sidecar   int
	call, ret int64
	outcome   outcome
	note      string // the key of an exchanged token; what an answer said
}

func (o op) String() string {
	return fmt.Sprintf("%8.3f-%8.3fs sidecar %d: %v %s", float64(o.call)/1e9, float64(o.ret)/1e9, o.sidecar, o.outcome, o.note)
}

// A nonce is fresh until a request with it is accepted. A request whose answer says "later", or that
// got none, may have left its nonce in the store, from which a failover may take it again.
const (
	nonceFresh = iota
	nonceMaybe
	nonceAccepted
)

// nonceModel: a nonce is accepted once, ever, and refused as used only if somebody has sent it.
var nonceModel = (&porcupine.NondeterministicModel{
	Init: func() []any { return []any{nonceFresh} },
	Step: func(state, input, _ any) []any {
		switch input.(op).outcome {
		case accepted:
			if state != nonceAccepted {
				return []any{nonceAccepted}
			}
			return nil
		case used:
			switch state {
			case nonceAccepted:
				return []any{nonceAccepted}
			case nonceMaybe:
				return []any{nonceFresh, nonceMaybe}
			}
			return nil
		case later, lost:
			if state == nonceFresh {
				return []any{nonceFresh, nonceMaybe}
			}
		}
		return []any{state}
	},
}).ToModel()

// exchangeModel: all exchanges of a request token that succeed give the same access token.
var exchangeModel = porcupine.Model{
	Init: func() any { return "" },
	Step: func(state, input, _ any) (bool, any) {
		o := input.(op)
		if o.outcome != accepted {
			return true, state
		}
		return state == "" || state == o.note, o.note
	},
}

// revocationModel: a token lives from its first grant until it is revoked, and never again. The
// operations are uses (accepted, gone), and the revocation, whose note is "revoke".
var revocationModel = (&porcupine.NondeterministicModel{
	Init: func() []any { return []any{true} },
	Step: func(state, input, _ any) []any {
		switch o := input.(op); {
		case o.note == revokeNote && o.outcome == accepted:
			return []any{false}
		case o.note == revokeNote:
			return []any{state, false}
		case o.outcome == accepted && state == false, o.outcome == gone && state == true:
			return nil
		}
		return []any{state}
	},
}).ToModel()

const revokeNote = "revoke"

// linearizable checks one history.
func linearizable(model porcupine.Model, ops []op) bool {
	history := make([]porcupine.Operation, 0, len(ops))
	for _, o := range ops {
		ret := o.ret
		if o.outcome == later || o.outcome == lost {
			ret = never // it may still do its work
		}
		history = append(history, porcupine.Operation{Input: o, Call: o.call, Return: ret})
	}
	return porcupine.CheckOperations(model, history)
}

// staleness is how long a replica may go on with what it knew.
const staleness = int64(time.Second)

// stale widens uses of a token: what a replica answers may be as old as staleness.
func stale(ops []op) []op {
	wide := make([]op, 0, len(ops))
	for _, o := range ops {
		if o.note != revokeNote {
			o.call -= staleness
		}
		wide = append(wide, o)
	}
	return wide
}

func TestModels(t *testing.T) {
	t.Parallel()
	at := func(call, ret int64, outcome outcome, note string) op {
		return op{call: call, ret: ret, outcome: outcome, note: note}
	}
	second := int64(time.Second)
	for name, c := range map[string]struct {
		model porcupine.Model
		ops   []op
		want  bool
	}{
		"a nonce once": {nonceModel, []op{at(0, 1, accepted, ""), at(2, 3, used, "")}, true},
		"of two at the same time the later one": {
			nonceModel, []op{at(0, 5, used, ""), at(1, 4, accepted, "")}, true,
		},
		"a nonce twice":            {nonceModel, []op{at(0, 1, accepted, ""), at(2, 3, accepted, "")}, false},
		"twice at the same time":   {nonceModel, []op{at(0, 5, accepted, ""), at(1, 4, accepted, "")}, false},
		"twice, with one lost":     {nonceModel, []op{at(0, 1, accepted, ""), at(2, 3, lost, ""), at(4, 5, accepted, "")}, false},
		"used before anybody came": {nonceModel, []op{at(0, 1, used, ""), at(2, 3, accepted, "")}, false},
		"used since one was lost":  {nonceModel, []op{at(0, 1, lost, ""), at(2, 3, used, "")}, true},
		"a stored nonce was lost with its master": {
			nonceModel, []op{at(0, 1, later, ""), at(2, 3, used, ""), at(4, 5, accepted, "")}, true,
		},

		"one key":  {exchangeModel, []op{at(0, 1, accepted, "a"), at(2, 3, accepted, "a")}, true},
		"two keys": {exchangeModel, []op{at(0, 1, accepted, "a"), at(2, 3, accepted, "b")}, false},
		"two keys at the same time, with one lost": {
			exchangeModel, []op{at(0, 9, accepted, "a"), at(0, 9, lost, ""), at(0, 9, accepted, "b")}, false,
		},

		"alive, then revoked": {
			revocationModel, stale([]op{
				at(2*second, 3*second, accepted, ""), at(4*second, 5*second, accepted, revokeNote),
				at(6*second, 7*second, gone, ""),
			}), true,
		},
		"alive within the second": {
			revocationModel, stale([]op{
				at(4*second, 5*second, accepted, revokeNote), at(5*second+second/2, 6*second, accepted, ""),
			}), true,
		},
		"alive after the second": {
			revocationModel, stale([]op{
				at(4*second, 5*second, accepted, revokeNote), at(6*second+1, 7*second, accepted, ""),
			}), false,
		},
		"a revocation that was put off": {
			revocationModel, stale([]op{at(4, 5, later, revokeNote), at(8*second, 9*second, accepted, "")}), true,
		},
		"lost before it was revoked": {revocationModel, stale([]op{at(4*second, 5*second, gone, "")}), false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := linearizable(c.model, c.ops); got != c.want {
				t.Errorf("linearizable: %v, want %v", got, c.want)
			}
		})
	}
}

// TestAnswerLost: an exchange that never reached a sidecar has used no request token.
func TestAnswerLost(t *testing.T) {
	for _, c := range []struct {
		outcome outcome
		note    string
		want    bool
	}{
		{lost, `Post "http://198.18.0.1:8080/+access-token": EOF`, true},
		{lost, "context deadline exceeded", true},
		{lost, "dial tcp 198.18.0.1:8080: connect: connection refused", false},
		{later, "", false},
		{used, usedTokenText, false},
	} {
		l := &life{exchanges: []op{{outcome: used}, {outcome: c.outcome, note: c.note}}}
		if got := l.answerLost(); got != c.want {
			t.Errorf("%v %q: %t", c.outcome, c.note, got)
		}
	}
}
