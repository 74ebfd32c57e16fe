package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// checkedStore is a store whose health the test decides.
type checkedStore struct {
	tokenstore.Store
	err    error
	failed error
	asked  atomic.Int64
	wait   chan struct{} // if it is not nil, Check waits until it is closed
}

func (s *checkedStore) Check(context.Context) error {
	s.asked.Add(1)
	if s.wait != nil {
		<-s.wait
	}
	return s.err
}

func (s *checkedStore) Failed() error { return s.failed }

// measuredStore is one that knows its floor.
type measuredStore struct {
	checkedStore
	floor time.Time
}

func (s *measuredStore) Measure() tokenstore.Measures {
	return tokenstore.Measures{NonceFloor: new(s.floor.Unix())}
}

// probe sends a probe to an app that has started with the store; without a store it has not started.
func probe(method, which string, store tokenstore.Store, placeholders map[string]any) *httptest.ResponseRecorder {
	app := &App{ready: make(chan struct{})}
	if store != nil {
		app.store, app.meteredStore = store, metered(store)
		close(app.ready)
	}
	w, r := httptest.NewRecorder(), httptest.NewRequest(method, "http://api.test/healthz", nil)
	repl := caddy.NewEmptyReplacer()
	for name, value := range placeholders {
		repl.Set(name, value)
	}
	r = r.WithContext(context.WithValue(r.Context(), caddy.ReplacerCtxKey, repl))
	if err := (&Health{Probe: which, app: app}).ServeHTTP(w, r, nil); err != nil {
		panic(err)
	}
	return w
}

// TestHealthWords: one word for each state, and 200 for ok alone.
func TestHealthWords(t *testing.T) {
	full := fmt.Errorf("no room: %w", syscall.ENOSPC)
	broken := errors.New("broken")
	later := &tokenstore.LaterError{After: time.Minute, Err: broken}
	stopping := map[string]any{"http.shutting_down": true}
	for _, c := range []struct {
		name         string
		probe        string
		store        tokenstore.Store
		placeholders map[string]any
		want         string
	}{
		{"a store that works", probeReady, &checkedStore{}, nil, "200 ok"},
		{"the server runs", probeReady, &checkedStore{}, map[string]any{"http.shutting_down": false}, "200 ok"},
		{"before the start", probeReady, nil, nil, "503 starting"},
		{"a full disk", probeReady, &checkedStore{err: full}, nil, "503 disk"},
		{"a store out of reach", probeReady, &checkedStore{err: broken}, nil, "503 store"},
		{"a closed store", probeReady, &checkedStore{err: tokenstore.ErrClosed}, nil, "503 stopping"},
		{"a shutdown", probeReady, &checkedStore{}, stopping, "503 stopping"},
		{"a floor to come", probeReady, &measuredStore{floor: time.Now().Add(time.Minute)}, nil, "503 waiting"},
		{"a floor that has passed", probeReady, &measuredStore{floor: time.Now().Add(-time.Minute)}, nil, "200 ok"},
		{"a floor to come, and a full disk", probeReady,
			&measuredStore{checkedStore{err: full}, time.Now().Add(time.Minute)}, nil, "503 disk"},
		{"a floor to come, and no record is taken meanwhile", probeReady,
			&measuredStore{checkedStore{err: later}, time.Now().Add(time.Minute)}, nil, "503 waiting"},
		{"a store out of reach, that tells for how long", probeReady, &checkedStore{err: later}, nil, "503 store"},
		{"live, a floor to come", probeLive, &measuredStore{floor: time.Now().Add(time.Minute)}, nil, "200 ok"},
		{"live, before the start", probeLive, nil, nil, "200 ok"},
		{"live, a full disk", probeLive, &checkedStore{err: full}, nil, "200 ok"},
		{"live, a shutdown", probeLive, &checkedStore{}, stopping, "200 ok"},
		{"live, a failed store", probeLive, &checkedStore{failed: broken}, nil, "503 store"},
	} {
		w := probe("GET", c.probe, c.store, c.placeholders)
		if got := fmt.Sprint(w.Code, " ", w.Body); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
		if w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: may be cached", c.name)
		}
	}
	if w := probe("POST", probeReady, &checkedStore{}, nil); w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: %d, Allow: %s", w.Code, w.Header().Get("Allow"))
	}
}

// TestHealthAsksTheStoreOnceASecond: whatever the load, and however slow the store is.
func TestHealthAsksTheStoreOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h storeHealth
		store := &checkedStore{}
		for range 3 {
			var all sync.WaitGroup
			for range 1000 {
				all.Go(func() {
					if err := h.check(t.Context(), store); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
			time.Sleep(healthEvery / 2)
		}
		if n := store.asked.Load(); n != 2 { // at 0 s and at 1 s
			t.Errorf("asked %d times within a second, want 2", n)
		}
	})
}

// TestHealthOfAStoreThatHangs: the answer comes, and the store is not asked again until it goes on.
func TestHealthOfAStoreThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h storeHealth
		store := &checkedStore{wait: make(chan struct{})}
		for range 10 {
			begin := time.Now()
			if err := h.check(t.Context(), store); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v, want %v", err, context.DeadlineExceeded)
			}
			if took := time.Since(begin); took != healthPatience {
				t.Errorf("it took %v, want %v", took, healthPatience)
			}
		}
		gone, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := h.check(gone, store); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a probe that gave up: %v", err)
		}
		if n := store.asked.Load(); n != 1 {
			t.Errorf("asked %d times, want 1", n)
		}
		close(store.wait)
		if err := h.check(t.Context(), store); err != nil {
			t.Errorf("a store that goes on: %v", err)
		}
	})
}

// TestHealthDirective: its arguments.
func TestHealthDirective(t *testing.T) {
	for _, c := range []struct {
		arguments string
		ok        bool
	}{
		{"", true}, {"live", true}, {"/healthz", true}, {"/healthz live", true}, {"/healthz ready", true},
		{"/healthz alive", false}, {"live ready", false}, {"/healthz live ready", false}, {"/healthz {\n option\n}", false},
	} {
		_, err := adapt("{\n admin off\n}\nhttp://api.test {\n oauth1_health " + c.arguments + "\n}\n")
		if (err == nil) != c.ok {
			t.Errorf("oauth1_health %s: %v", c.arguments, err)
		}
	}
}
