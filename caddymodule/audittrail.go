package caddymodule

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/audit"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// AuditTrail says where the audit trail goes: a line for each change of consumers, tokens and grants.
// Each line is chained to the one before it by a keyed hash, so `oauth1 audit verify` finds lines
// that were removed, swapped, changed or added.
type AuditTrail struct {
	// `counted`, the default, writes the lines to Caddy's logger `oauth1.audit`. A line that no log
	// could take within five seconds is counted in the metric
	// caddy_oauth1_audit_write_failures_total, and the change is made all the same. `strict` writes
	// and syncs a file of its own before a change is acknowledged. A change whose line can't be
	// written within five seconds is refused with 503; only what takes access away is done all the
	// same, and its line is written later. Each change costs two fsyncs.
	Mode string `json:"mode,omitempty"`

	// The file of a strict trail. Rotate it by renaming: a new one is made. Default:
	// `oauth1-audit.log` in Caddy's data directory.
	File string `json:"file,omitempty"`
}

const (
	auditCounted = "counted"
	auditStrict  = "strict"
)

// unmarshalAudit reads the option audit.
func (a *App) unmarshalAudit(d *caddyfile.Dispenser) error {
	a.Audit = new(AuditTrail)
	if err := oneOf(d, &a.Audit.Mode, auditCounted, auditStrict); err != nil {
		return err
	}
	seen := make(options)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		if option != "file" || a.Audit.Mode != auditStrict {
			return d.Errf("audit %s: unknown option %q", a.Audit.Mode, option)
		}
		if err := seen.first(d); err != nil {
			return err
		}
		if err := textOption(d, &a.Audit.File); err != nil {
			return err
		}
	}
	return nil
}

// provisionAudit sets the defaults of the trail.
func (a *App) provisionAudit() error {
	if a.Audit == nil {
		a.Audit = new(AuditTrail)
	}
	a.Audit.Mode = cmp.Or(a.Audit.Mode, auditCounted)
	path, err := caddy.NewReplacer().ReplaceOrErr(a.Audit.File, true, true)
	if err != nil {
		return fmt.Errorf("audit: file %q: %w", a.Audit.File, err)
	}
	if a.Audit.File = path; path == "" && a.Audit.Mode == auditStrict {
		a.Audit.File = filepath.Join(caddy.AppDataDir(), "oauth1-audit.log")
	}
	return nil
}

func (t *AuditTrail) validate() error {
	switch {
	case t.Mode != auditCounted && t.Mode != auditStrict:
		return fmt.Errorf("audit %q: must be counted or strict", t.Mode)
	case t.Mode == auditCounted && t.File != "":
		return errors.New("audit: only a strict trail has a file; a counted one goes to the logger oauth1.audit")
	}
	return nil
}

// openSink opens what the app's trail is written to.
func (a *App) openSink() error {
	if a.Audit != nil && a.Audit.Mode == auditStrict {
		file, err := audit.NewFile(a.Audit.File)
		if err != nil {
			return err
		}
		a.sink = file
		return nil
	}
	a.sink = audit.Log{Logger: a.logger.Named("audit")}
	return nil
}

// closeSink closes the file of the app's trail, which another configuration may still write by its
// own File. Lines may still be on their way to the file when the app ends.
func (a *App) closeSink() error {
	file, ok := a.sink.(*audit.File)
	if !ok {
		return nil
	}
	if a.pooled != nil {
		return a.pooled.trail.release(file.Close)
	}
	return file.Close()
}

var auditFailures = prometheus.NewCounter(prometheus.CounterOpts{
	Namespace: "caddy",
	Subsystem: "oauth1",
	Name:      "audit_write_failures_total",
	Help:      "Counter of lines of the audit trail that could not be written, or not in time, and of its ends that the store could not keep.",
})

// A trailOfStore is the audit trail of a store, which all configurations with the store share. A
// reload does not end it.
type trailOfStore struct {
	mu       sync.Mutex
	trail    *audit.Trail
	instance string
	failures *failureLog
	owed     owedEvents

	// The consumers of the last configuration that was loaded, and of the one before it; secrets as
	// keyed hashes.
	declared, declaredBefore map[string]map[string]string
}

const (
	// keptHeads begins the names of what the store keeps for the trail: the end of each Caddy's chain.
	keptHeads = "audit/head/"
	// keepPatience is how long a head may take.
	keepPatience = 5 * time.Second
)

// open returns the trail, which goes to the app's sink from now on.
func (t *trailOfStore) open(ctx context.Context, a *App, store tokenstore.Store) (*audit.Trail, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.trail != nil {
		t.failures.logger.Store(a.logger)
		t.trail.Use(a.sink)
		return t.trail, nil
	}
	key := audit.Key(a.secret)
	t.instance = instanceName(key)
	o := audit.Options{Key: key, Sink: a.sink, Now: time.Now}
	if keeper, ok := store.(tokenstore.Keeper); ok {
		kept, err := keeper.Kept(ctx, keptHeads)
		if err != nil {
			return nil, fmt.Errorf("reading the end of the audit trail: %w", err)
		}
		if text := kept[keptHeads+t.instance]; text != nil {
			head, err := audit.ParseHead(text)
			if err != nil {
				return nil, err
			}
			o.Before = &head
		}
		o.Keep = func(head []byte) error {
			ctx, cancel := context.WithTimeout(context.Background(), keepPatience)
			defer cancel()
			return keeper.Keep(ctx, keptHeads+t.instance, head)
		}
	}
	failures := newFailureLog(a.logger)
	o.Failed = func(err error) {
		auditFailures.Inc()
		failures.note(err)
	}
	t.failures = failures
	t.trail = audit.Open(o)
	if f, ok := store.(tokenstore.Forgetter); ok {
		trail, past := t.trail, a.diagnoser.past // both are the store's, and outlive the app
		f.OnForgotten(func(keys []string) {
			for _, key := range keys {
				event := &audit.Event{
					Name: audit.ConsumerForgotten, Consumer: key,
					Actor: audit.ActorServer, ActorSource: audit.ActorServer,
				}
				past.note(event)
				_ = trail.Tell(event) // a failure is counted and logged
			}
		})
	}
	return t.trail, nil
}

// use lets the trail go to the sink of another configuration. It returns when no line is on its way
// to the sink before any more.
func (t *trailOfStore) use(a *App) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.trail == nil || a.sink == nil {
		return nil
	}
	t.failures.logger.Store(a.logger)
	t.trail.Use(a.sink)
	return t.trail.Release(func() error { return nil })
}

// release calls end when no line is on its way to a sink that is not used any more.
func (t *trailOfStore) release(end func() error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.trail == nil {
		return end()
	}
	return t.trail.Release(end)
}

func (t *trailOfStore) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.trail != nil {
		t.trail.Close()
		t.failures.end()
	}
}

// A failureLog logs that a trail can't be written, from a goroutine of its own: the log may be the
// one that hangs, and nobody must wait for it.
type failureLog struct {
	failures   storeFailures
	logger     atomic.Pointer[zap.Logger] // of the newest configuration
	lines      chan []zap.Field
	stop, done chan struct{}
}

func newFailureLog(logger *zap.Logger) *failureLog {
	l := &failureLog{lines: make(chan []zap.Field, 1), stop: make(chan struct{}), done: make(chan struct{})}
	l.logger.Store(logger)
	go l.run()
	return l
}

func (l *failureLog) run() {
	defer close(l.done)
	log := func(line []zap.Field) { l.logger.Load().Error("the audit trail can't be written", line...) }
	for {
		select {
		case line := <-l.lines:
			log(line)
			continue
		case <-l.stop:
		}
		select {
		case line := <-l.lines:
			log(line)
		default:
		}
		return
	}
}

// note logs a failure, unless one was logged a moment ago or waits for the log.
func (l *failureLog) note(err error) {
	logged, silent := l.failures.note(err, time.Now())
	if !logged {
		return
	}
	select {
	case l.lines <- []zap.Field{zap.Error(err), zap.Int("failed_before", silent)}:
	default:
		l.failures.unlogged(silent + 1)
	}
}

// end logs what waits. It does not wait long for a log that hangs.
func (l *failureLog) end() {
	close(l.stop)
	select {
	case <-l.done:
	case <-time.After(time.Second):
	}
}

// instanceName names this Caddy among those that share the store: by its data directory, and its
// host.
func instanceName(key []byte) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("instance"))
	if id, err := caddy.InstanceID(); err == nil {
		mac.Write(id[:])
	}
	host, _ := os.Hostname() // empty is a name too
	mac.Write([]byte(host))
	return hex.EncodeToString(mac.Sum(nil)[:8])
}

// openTrail opens the audit trail, and tells that the configuration was loaded, if it was.
func (a *App) openTrail(ctx context.Context, store tokenstore.Store) error {
	if a.pooled == nil {
		return nil // a store that is not served, as in some tests
	}
	if a.trail.Load() != nil {
		return nil // the store could not do the rest of its work: see awaitStore
	}
	trail, err := a.pooled.trail.open(ctx, a, store)
	if err != nil {
		return err
	}
	a.trail.Store(trail)
	a.tellKept(ctx, trail, store)
	a.tellLoaded(ctx, store)
	return nil
}

// auditHeads returns the ends of all chains that the store knows.
func auditHeads(ctx context.Context, store tokenstore.Store) ([]audit.Head, error) {
	keeper, ok := store.(tokenstore.Keeper)
	if !ok {
		return nil, nil
	}
	kept, err := keeper.Kept(ctx, keptHeads)
	if err != nil {
		return nil, err
	}
	var heads []audit.Head
	for _, name := range slices.Sorted(maps.Keys(kept)) {
		head, err := audit.ParseHead(kept[name])
		if err != nil {
			return nil, err
		}
		heads = append(heads, head)
	}
	return heads, nil
}

// expiredTokens holds the access tokens whose end was told.
type expiredTokens struct {
	mu   sync.Mutex
	told map[string]struct{}
}

// maxExpiredTold is how many tokens are remembered. After that, some ends are told again.
const maxExpiredTold = 10_000

// first reports whether the token's end is to be told now.
func (e *expiredTokens) first(token string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, ok := e.told[token]; ok {
		return false
	}
	if e.told == nil || len(e.told) >= maxExpiredTold {
		e.told = make(map[string]struct{})
	}
	e.told[token] = struct{}{}
	return true
}
