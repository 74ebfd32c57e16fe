package caddymodule

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/adminapi"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/doctor"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/refusal"
)

// passWatch keeps the passed requests of a few consumers for a short time, while somebody asks for
// them.
type passWatch struct {
	// watched is len(until), for the requests of everybody else.
	watched atomic.Int32

	mu    sync.Mutex
	until map[string]time.Time
	times rising
	all   []adminapi.Pass // the oldest first
}

const (
	// watchFor is how long a consumer is watched after a call that asks for its requests.
	watchFor = 30 * time.Second
	// mostWatched is how many consumers are watched at once.
	mostWatched = 20
	// mostPasses is how many requests are kept.
	mostPasses = 200
)

// recentPasses are the passed requests of the process.
var recentPasses passWatch

// watch begins to watch a consumer, or goes on. It reports whether there is room.
func (w *passWatch) watch(consumer string, now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.forget(now)
	if _, ok := w.until[consumer]; !ok && len(w.until) >= mostWatched {
		return false
	}
	if w.until == nil {
		w.until = make(map[string]time.Time)
	}
	w.until[consumer] = now.Add(watchFor)
	w.watched.Store(int32(len(w.until)))
	return true
}

// forget ends what nobody asks for any more.
func (w *passWatch) forget(now time.Time) {
	for consumer, until := range w.until {
		if now.After(until) {
			delete(w.until, consumer)
		}
	}
	if len(w.until) == 0 {
		w.all = nil
	}
	w.watched.Store(int32(len(w.until)))
}

// note keeps a request if its consumer is watched. It costs nothing while nobody is.
func (w *passWatch) note(r *http.Request, s *signed, a *App) {
	if w.watched.Load() == 0 || s == nil || !w.watches(s.params.ConsumerKey) {
		return
	}
	p := viewPass(r, s)
	// Clients pass with a secret among their parameters, too.
	if keys, err := a.keysOfPassed(r.Context(), s); err != nil {
		p.URL = "" // nobody knows what it holds
	} else {
		p.URL = refusal.Printable(shownURL(keys.Hider(), urlWithoutCredentials(&s.request)))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	p.Time = w.times.next(time.Now())
	w.all = appendLatest(w.all, p, mostPasses)
}

// watches reports whether a consumer is watched now.
func (w *passWatch) watches(consumer string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.forget(time.Now())
	return !w.until[consumer].IsZero()
}

// keysOfPassed returns the keys of the consumer and the token of a request that has passed.
func (a *App) keysOfPassed(ctx context.Context, s *signed) (doctor.Keys, error) {
	p := &s.params
	store, err := a.open(ctx)
	if err != nil {
		return doctor.Keys{}, err
	}
	consumer, err := a.consumer(ctx, store, p.ConsumerKey)
	if err != nil {
		return doctor.Keys{}, err
	}
	secret, err := a.secretOfToken(ctx, store, p, endpointAPI)
	if err != nil {
		return doctor.Keys{}, err
	}
	return a.keysOf(consumer, secret, a.diagnoser.past.whatBecame(p.Token).requestSecret, s.now), nil
}

func (w *passWatch) list(consumer string, since time.Time) []adminapi.Pass {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := []adminapi.Pass{}
	for _, p := range w.all {
		if p.Consumer == consumer && p.Time.After(since) {
			list = append(list, p)
		}
	}
	return list
}

// viewPass says what a passed request had, without its URL and the values of its form.
func viewPass(r *http.Request, s *signed) adminapi.Pass {
	form := string(s.request.Form) + string(s.hashedForm)
	query := oauth1.StripQuery(s.request.Query)
	p := adminapi.Pass{
		Consumer:        s.params.ConsumerKey,
		Method:          s.request.Method,
		SignatureMethod: s.params.SignatureMethod,
		Query:           query != "",
		Form:            oauth1.StripQuery(form) != "",
		JSON:            hasBody(r) && isJSON(mediaType(r.Header.Get("Content-Type"))),
		NonASCII:        notASCII(s.request.Path) || notASCII(query) || notASCII(form),
		Repeated:        repeatsName(query, form),
	}
	if seconds, err := s.params.Unix(); err == nil {
		off := seconds - s.now.Unix()
		p.ClockOff = &off
	}
	return p
}

// notASCII reports whether an encoded text has an escape of a byte that is not ASCII.
func notASCII(text string) bool {
	for i := range len(text) {
		if text[i] >= 0x80 || text[i] == '%' && i+1 < len(text) && strings.IndexByte("89abcdefABCDEF", text[i+1]) >= 0 {
			return true
		}
	}
	return false
}

// repeatsName reports whether a parameter's name is there twice.
func repeatsName(query, form string) bool {
	seen := make(map[string]bool)
	for _, text := range []string{query, form} {
		for pair := range strings.SplitSeq(text, "&") {
			name, _, _ := strings.Cut(pair, "=")
			if name != "" && seen[name] {
				return true
			}
			seen[name] = true
		}
	}
	return false
}

// listPasses answers with the passed requests of a consumer after a time, and has it watched for a
// while. The first call finds none.
func (c *adminCall) listPasses() (int, any, error) {
	query, err := c.query("consumer", "since")
	if err != nil {
		return 0, nil, err
	}
	consumer := query.Get("consumer")
	if consumer == "" {
		return 0, nil, failure(http.StatusBadRequest, "query parameter %q: is missing", "consumer")
	}
	if _, err := c.app.consumer(c.Context(), c.store, consumer); err != nil {
		return 0, nil, storeFailure(fmt.Sprintf("consumer %q", consumer), err)
	}
	since, err := sinceOf(query.Get("since"))
	if err != nil {
		return 0, nil, err
	}
	if !recentPasses.watch(consumer, time.Now()) {
		return 0, nil, failure(http.StatusServiceUnavailable, "%d consumers are watched already: try again in a minute", mostWatched)
	}
	return http.StatusOK, adminapi.Passes{Items: recentPasses.list(consumer, since)}, nil
}
