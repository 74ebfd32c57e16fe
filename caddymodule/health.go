package caddymodule

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

func init() {
	caddy.RegisterModule(new(Health))
	httpcaddyfile.RegisterHandlerDirective("oauth1_health", parseHealth)
	httpcaddyfile.RegisterDirectiveOrder("oauth1_health", httpcaddyfile.Before, "redir")
}

// Health tells a load balancer or an orchestrator, in one word, whether this server can do its work.
//
// `ok` comes with the status 200. Every other word comes with 503:
//
// Word | Probe | Reason
// -----|-------|-------
// `starting` | ready | The store is not open yet, or out of reach since the start
// `stopping` | ready | The server is shutting down
// `waiting` | ready | Requests with right clocks are refused: after a restore, an adoption or a failover
// `disk` | ready | The store's disk is full
// `store` | ready | The store can't do its work
// `store` | live | The store has failed, and works again only after a restart
//
// The store is asked at most once a second, however many requests there are. The answer tells
// nothing else, so it may be public. GET and HEAD are answered, other methods with 405.
//
// In a Caddyfile the directive comes before redirects, logins and `oauth1`, so a probe needs no
// signature.
type Health struct {
	// What is asked. `ready`: can requests be verified now? A load balancer sends no requests
	// otherwise. `live`: does the process work, or must it be restarted? A full disk, a server of
	// the store that is out of reach and a shutdown need no restart. Default: `ready`.
	Probe string `json:"probe,omitempty"`

	app *App
}

const (
	probeReady = "ready"
	probeLive  = "live"
)

// The words of an answer.
const (
	healthOK       = "ok"
	healthStarting = "starting"
	healthStopping = "stopping"
	healthWaiting  = "waiting"
	healthDisk     = "disk"
	healthStore    = "store"
)

// CaddyModule returns the Caddy module information.
func (*Health) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.oauth1_health",
		New: func() caddy.Module { return new(Health) },
	}
}

// Provision sets the default and loads the app.
func (h *Health) Provision(ctx caddy.Context) error {
	app, err := ctx.App("oauth1")
	if err != nil {
		return fmt.Errorf("getting the oauth1 app: %w", err)
	}
	h.app = app.(*App)
	if h.Probe == "" {
		h.Probe = probeReady
	}
	return nil
}

// Validate checks the probe.
func (h *Health) Validate() error {
	if h.Probe != probeReady && h.Probe != probeLive {
		return fmt.Errorf("oauth1_health %q: must be %s or %s", h.Probe, probeLive, probeReady)
	}
	return nil
}

// parseHealth sets up the handler. Syntax:
//
//	oauth1_health [<matcher>] [live|ready]
func parseHealth(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	health := new(Health)
	if err := health.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	return health, nil
}

// UnmarshalCaddyfile reads the directive; see parseHealth for the syntax.
func (h *Health) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive's name
	if d.NextArg() {
		h.Probe = d.Val()
		if err := h.Validate(); err != nil {
			return d.WrapErr(err)
		}
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		return d.Err("oauth1_health: has no block")
	}
	return nil
}

// ServeHTTP answers the probe.
func (h *Health) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	header.Set("Content-Type", "text/plain; charset=utf-8")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		header.Set("Allow", "GET, HEAD")
		w.WriteHeader(http.StatusMethodNotAllowed)
		return nil
	}
	word, status := h.word(r), http.StatusOK
	if word != healthOK {
		status = http.StatusServiceUnavailable
	}
	header.Set("Content-Length", strconv.Itoa(len(word)))
	w.WriteHeader(status)
	_, _ = w.Write([]byte(word)) // to HEAD, net/http sends the header alone
	return nil
}

func (h *Health) word(r *http.Request) string {
	if h.Probe == probeLive {
		return h.app.live()
	}
	if stopping, _ := replacer(r).Get("http.shutting_down"); stopping == true || caddy.Exiting() {
		return healthStopping
	}
	return h.app.healthy(r.Context())
}

// live tells whether the process must be restarted.
func (a *App) live() string {
	select {
	case <-a.ready:
	default:
		return healthOK
	}
	if a.store == nil {
		return healthOK
	}
	if f, ok := a.store.(tokenstore.Failer); ok && f.Failed() != nil {
		return healthStore
	}
	return healthOK
}

// healthy tells whether requests can be verified.
func (a *App) healthy(ctx context.Context) string {
	select {
	case <-a.ready:
	default:
		return healthStarting
	}
	switch {
	case a.store == nil:
		return healthStopping
	case a.coming.problem.Load() != nil:
		return healthStarting
	}
	return healthWord(a.health.check(ctx, a.meteredStore))
}

// errRefusesNow: the store works, and refuses the nonce of a request that was signed now.
var errRefusesNow = errors.New("the store refuses the timestamps of now")

// refusesNow returns errRefusesNow if it does.
func refusesNow(store tokenstore.Store) error {
	if m, ok := unmetered(store).(tokenstore.Measurer); ok {
		if floor := m.Measure().NonceFloor; floor != nil && *floor > time.Now().Unix() {
			return errRefusesNow
		}
	}
	return nil
}

// healthWord returns the word for what is wrong with the store.
func healthWord(err error) string {
	switch {
	case err == nil:
		return healthOK
	case errors.Is(err, tokenstore.ErrClosed):
		return healthStopping
	case errors.Is(err, syscall.ENOSPC):
		return healthDisk
	case errors.Is(err, errRefusesNow):
		return healthWaiting
	}
	return healthStore
}

const (
	// healthEvery is the shortest time between two questions to the store.
	healthEvery = time.Second
	// healthPatience is how long the store may take to answer.
	healthPatience = 5 * time.Second
)

// storeHealth asks the store how it is, for all probes together.
type storeHealth struct {
	mu    sync.Mutex
	asked time.Time     // when the last question began
	known chan struct{} // closed when the answer to it is there
	err   error

	stuck chan error // of ask: gets the answer to a question that was given up
}

// check returns what is wrong with the store: the answer to the last question, or to a new one if
// the last one is old. While the store is slow, all probes wait for the same answer.
func (h *storeHealth) check(ctx context.Context, store tokenstore.Store) error {
	h.mu.Lock()
	if h.known == nil || isDone(h.known) && time.Since(h.asked) >= healthEvery {
		h.asked, h.known = time.Now(), make(chan struct{})
		go h.ask(store, h.known)
	}
	known := h.known
	h.mu.Unlock()
	select {
	case <-known:
	case <-ctx.Done():
		return ctx.Err()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.err
}

// ask does not end with the probe that began it, since others wait for it too.
func (h *storeHealth) ask(store tokenstore.Store, known chan<- struct{}) {
	ctx, cancel := context.WithTimeout(context.Background(), healthPatience)
	defer cancel()
	err := h.answer(ctx, store)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.err = err
	close(known)
}

// answer asks the store. A store may be stuck in its disk, whatever its context says: it is not asked
// again until it has answered.
func (h *storeHealth) answer(ctx context.Context, store tokenstore.Store) error {
	if h.stuck != nil {
		select {
		case <-h.stuck: // the answer is old
			h.stuck = nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	answer := make(chan error, 1)
	go func() {
		err := store.Check(ctx)
		var later *tokenstore.LaterError // some stores take no record either meanwhile
		if err == nil || errors.As(err, &later) {
			err = cmp.Or(refusesNow(store), err)
		}
		answer <- err
	}()
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		h.stuck = answer
		return ctx.Err()
	}
}

func isDone(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Health)(nil)
	_ caddy.Validator             = (*Health)(nil)
	_ caddyhttp.MiddlewareHandler = (*Health)(nil)
	_ caddyfile.Unmarshaler       = (*Health)(nil)
)
