package caddymodule

import (
	"context"
	"fmt"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/audit"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// Diagnoses says how many refused requests are explained. The explanations are for the operator: in
// the log, in the metric caddy_oauth1_mistakes_total, and at the admin API. The site's option
// explain_refusals shows them to clients too.
type Diagnoses struct {
	// Explain no refused request. Default: false.
	Off bool `json:"off,omitempty"`

	// How many refused requests are explained in a second at most. Default: 20; at most 1000. One
	// takes up to about 10 ms of a processor. Whatever the number, the operator's explanations take
	// at most a thirtieth of one processor. Those that explain_refusals shows to clients come on top
	// of that.
	PerSecond int `json:"per_second,omitempty"`

	// How many refused requests of one consumer are explained in a second at most. Default: 2, or
	// per_second if that is less. All requests with unknown consumer keys count as one consumer.
	PerSecondOfConsumer int `json:"per_second_of_consumer,omitempty"`
}

const (
	defaultDiagnoses           = 20
	defaultDiagnosesOfConsumer = 2
	mostDiagnoses              = 1000
)

func (o *Diagnoses) provision() {
	if o.PerSecond == 0 {
		o.PerSecond = max(defaultDiagnoses, o.PerSecondOfConsumer)
	}
	if o.PerSecondOfConsumer == 0 {
		o.PerSecondOfConsumer = min(defaultDiagnosesOfConsumer, o.PerSecond)
	}
}

func (o *Diagnoses) validate() error {
	switch {
	case o.PerSecond < 0 || o.PerSecond > mostDiagnoses:
		return fmt.Errorf("diagnoses %d: must be a number from 1 to %d", o.PerSecond, mostDiagnoses)
	case o.PerSecondOfConsumer < 0 || o.PerSecondOfConsumer > o.PerSecond:
		return fmt.Errorf("diagnoses %d of one consumer: must be a number from 1 to %d", o.PerSecondOfConsumer, o.PerSecond)
	}
	return nil
}

// unmarshalDiagnoses reads the app's option: off, or one or two numbers.
func (a *App) unmarshalDiagnoses(d *caddyfile.Dispenser) error {
	a.Diagnoses = new(Diagnoses)
	args := d.RemainingArgs()
	if len(args) < 1 || len(args) > 2 {
		return d.Err("diagnoses: wants off, or how many a second, and optionally how many of one consumer")
	}
	if slices.Equal(args, []string{"off"}) {
		a.Diagnoses.Off = true
		return nil
	}
	for i, value := range []*int{&a.Diagnoses.PerSecond, &a.Diagnoses.PerSecondOfConsumer}[:len(args)] {
		n, err := strconv.Atoi(args[i])
		if err != nil || n < 1 || n > mostDiagnoses {
			return d.Errf("diagnoses %q: must be off or a number from 1 to %d", args[i], mostDiagnoses)
		}
		*value = n
	}
	if err := a.Diagnoses.validateGiven(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

// validateGiven is validate for options that have not got their defaults.
func (o Diagnoses) validateGiven() error {
	o.provision()
	return o.validate()
}

// diagnoser explains refused requests to the operator, when they are answered. One worker takes them
// from a queue, so that a flood costs little, and nobody waits. An app that was not provisioned has
// none: it is nil.
type diagnoser struct {
	off    bool
	turns  turns
	queue  chan *refusedRequest
	past   *past       // of the store, once the app has started
	nonces *seenNonces // the same
	stop   context.CancelFunc
	done   chan struct{}
}

const (
	// diagnosisQueue is how many requests wait for the worker. Each holds its form.
	diagnosisQueue = 20
	// mostDiagnosed is the largest request that is explained, in bytes: its form, its target and its
	// credentials.
	mostDiagnosed = 256 << 10
	// restAfterDiagnosis is how many times longer than it worked the worker rests, so that it uses
	// a thirtieth of one processor.
	restAfterDiagnosis = 29
	// longestRest ends a rest. On a busy machine the worker waits more than it works.
	longestRest = 5 * time.Second
)

func newDiagnoser(o *Diagnoses) *diagnoser {
	return &diagnoser{
		off:    o.Off,
		turns:  turns{all: o.PerSecond, ofOne: o.PerSecondOfConsumer},
		queue:  make(chan *refusedRequest, diagnosisQueue),
		past:   new(past),
		nonces: newSeenNonces(),
	}
}

// remember takes over what configurations with the same store remember.
func (d *diagnoser) remember(s *pooledStore) {
	if d != nil {
		d.past, d.nonces = s.past, s.nonces
	}
}

// start explains what comes into the queue, until end is called.
func (d *diagnoser) start(explain func(context.Context, *refusedRequest)) {
	if d == nil || d.off {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	d.stop, d.done = cancel, make(chan struct{})
	go func() {
		defer close(d.done)
		for {
			select {
			case <-ctx.Done():
				return
			case q := <-d.queue:
				began := time.Now()
				explain(ctx, q)
				select {
				case <-ctx.Done():
					return
				case <-time.After(min(restAfterDiagnosis*time.Since(began), longestRest)):
				}
			}
		}
	}()
}

// end ends the worker. What waits is not explained.
func (d *diagnoser) end() {
	if d == nil || d.stop == nil {
		return
	}
	d.stop()
	<-d.done
}

// add queues a request, and reports whether there was room.
func (d *diagnoser) add(q *refusedRequest) bool {
	select {
	case d.queue <- q:
		return true
	default:
		return false
	}
}

// signedWell remembers what helps to explain later requests: the nonce was used now, and the
// consumer's clock is right. Each accepted request comes here.
func (d *diagnoser) signedWell(r *http.Request, s *signed) {
	if d == nil || d.off {
		return
	}
	d.nonces.note(&s.params, clientOf(r), s.now)
	d.past.goodClock(s.params.ConsumerKey)
}

// changed remembers what a change has ended.
func (d *diagnoser) changed(event *audit.Event) {
	if d != nil && !d.off {
		d.past.note(event)
	}
}

// exchanged remembers the secret of the request token that became an access token.
func (d *diagnoser) exchanged(accessToken, requestSecret string) {
	if d != nil && !d.off {
		d.past.exchanged(accessToken, requestSecret)
	}
}

// replaced remembers the keys that a consumer had before a change.
func (d *diagnoser) replaced(before, after *tokenstore.Consumer) {
	if d != nil && !d.off {
		d.past.changed(before, after)
	}
}

// configured remembers the keys that declared consumers had in the configuration before. With off,
// what that one remembered is forgotten.
func (d *diagnoser) configured(declared map[string]*tokenstore.Consumer) {
	d.inForce()
	if d != nil && !d.off {
		d.past.configured(declared)
	}
}

// inForce lets the store's past follow the options of this configuration.
func (d *diagnoser) inForce() {
	if d != nil && d.past != nil {
		d.past.keep(!d.off)
	}
}

// revoked remembers access tokens that were revoked together.
func (d *diagnoser) revoked(keys []string) {
	if d != nil && !d.off {
		d.past.revoked(keys)
	}
}

// turns limits how often something is done in a second, in all and for one consumer.
type turns struct {
	all, ofOne int

	mu     sync.Mutex
	latest []turn // of the last second, the oldest first
}

type turn struct {
	at       time.Time
	consumer string
}

// take reports whether it is the consumer's turn. The key of a consumer is kept for a second.
func (t *turns) take(consumer string, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forget(now)
	if len(t.latest) >= t.all {
		return false
	}
	same := 0
	for i := range t.latest {
		if t.latest[i].consumer == consumer {
			same++
		}
	}
	if same >= t.ofOne {
		return false
	}
	t.latest = append(t.latest, turn{now, consumer})
	return true
}

// taken reports whether no turn is left for anybody.
func (t *turns) taken(now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forget(now)
	return len(t.latest) >= t.all
}

// forget removes what is more than a second old.
func (t *turns) forget(now time.Time) {
	over := 0
	for over < len(t.latest) && now.Sub(t.latest[over].at) >= time.Second {
		over++
	}
	t.latest = slices.Delete(t.latest, 0, over)
}

// survives calls do. A panic of it must not end the process: clients choose what it works on.
func survives(logger *zap.Logger, do func()) {
	defer func() {
		if recovered := recover(); recovered != nil {
			// The value may hold what a client sent. The stack holds none.
			logger.Error("explaining a refused request: panic", zap.String("stack", string(debug.Stack())))
		}
	}()
	do()
}
