package caddymodule

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/audit"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// told returns the events in a log since the last call, as "event outcome actor_source".
func told(t *testing.T, logs *observer.ObservedLogs) (lines []string) {
	t.Helper()
	for _, entry := range logs.TakeAll() {
		fields := entry.ContextMap()
		if fields["event"] == nil {
			continue
		}
		if text := fmt.Sprint(fields); strings.Contains(text, "canary") {
			t.Errorf("a secret in the trail: %s", text)
		}
		if fields["time"] == "" || fields["hash"] == "" || fields["client"] == nil {
			t.Errorf("the line is not whole: %v", fields)
		}
		lines = append(lines, fmt.Sprint(fields["event"], " ", fields["outcome"], " ", fields["actor_source"]))
	}
	return lines
}

// TestAdminRoutesAreAudited: each route that changes something tells exactly its event, and that it
// was refused. A new route needs its line here.
func TestAdminRoutesAreAudited(t *testing.T) {
	const grant = `"user":"u","permission":"READ_PUBLIC"`
	tests := map[string][]struct{ target, body, want string }{
		"POST /oauth1/consumers": {
			{"/oauth1/consumers", `{"key":"new","secret":"canary-new"}`, "consumer.added done"},
			{"/oauth1/consumers", `{"key":"new"}`, "admin.refused refused"},
			{"/oauth1/consumers", `{"secret":"canary-misplaced","key":7}`, "admin.refused refused"},
		},
		"PATCH /oauth1/consumers/{key}": {
			{"/oauth1/consumers/app", `{"name":"Other"}`, "consumer.changed done"},
			{"/oauth1/consumers/app", `{"disabled":true}`, "consumer.disabled done"},
			{"/oauth1/consumers/app", `{"disabled":false,"name":"App"}`, "consumer.enabled done"},
			{"/oauth1/consumers/ci-bot", `{"name":"x"}`, "admin.refused refused"},
		},
		"DELETE /oauth1/consumers/{key}": {
			{"/oauth1/consumers/nosecret", "", "consumer.removed done"},
			{"/oauth1/consumers/nosecret", "", "admin.refused refused"},
		},
		"POST /oauth1/consumers/{key}/rotate": {
			{"/oauth1/consumers/app/rotate", `{"secret":"canary-rotated","overlap":"1h"}`, "consumer.secret_rotated done"},
			{"/oauth1/consumers/rsa/rotate", `{}`, "admin.refused refused"},
		},
		"POST /oauth1/tokens": {
			{"/oauth1/tokens", `{"consumer":"app",` + grant + `}`, "access_token.issued done"},
			{"/oauth1/tokens", `{"key":"i","secret":"canary-i","consumer":"app",` + grant + `}`, "access_token.imported done"},
			{"/oauth1/tokens", `{"consumer":"nobody",` + grant + `}`, "admin.refused refused"},
		},
		"DELETE /oauth1/tokens/{key}": {
			{"/oauth1/tokens/tok", "", "access_token.revoked done"},
			{"/oauth1/tokens/tok", "", "admin.refused refused"},
		},
		"POST /oauth1/request-tokens/{key}/review": {
			{"/oauth1/request-tokens/waiting/review", `{` + grant + `}`, "request_token.granted done"},
			{"/oauth1/request-tokens/waiting/review", `{` + grant + `}`, ""}, // the same answer
			{"/oauth1/request-tokens/oob/review", `{"user":"u","permission":"UNAUTHORIZED"}`, "request_token.refused done"},
			{"/oauth1/request-tokens/oob/review", `{` + grant + `}`, "admin.refused refused"},
		},
		"POST /oauth1/revoke": {
			{"/oauth1/revoke", `{"user":"salgado"}`, "grants.revoked done"},
			{"/oauth1/revoke", `{"user":"salgado","dry_run":true}`, ""},
			{"/oauth1/revoke", `{}`, "admin.refused refused"},
		},
		"POST /oauth1/import": {
			{"/oauth1/import", `{"lines":[` + strings.Replace(lineApp, `"app"`, `"imported"`, 1) + `]}`, "consumer.added done"},
			{"/oauth1/import", `{"lines":[]}`, "admin.refused refused"},
		},
		"POST /oauth1/export": {
			{"/oauth1/export", `{"kind":"consumer"}`, "store.exported done"},
			{"/oauth1/export", `{"kind":"other"}`, "admin.refused refused"},
		},
		"POST /oauth1/keys/rewrap":  {{"/oauth1/keys/rewrap", `{}`, "admin.refused refused"}}, // no keys
		"POST /oauth1/audit/verify": {{"/oauth1/audit/verify", `{"heads":[]}`, ""}},
		"POST /oauth1/explain":      {{"/oauth1/explain", `{}`, "admin.refused refused"}}, // it changes nothing
	}
	for pattern, methods := range adminRoutes {
		for method := range methods {
			if method != http.MethodGet && tests[method+" "+pattern] == nil {
				t.Errorf("%s %s: no event is named here", method, pattern)
			}
		}
	}
	for route, calls := range tests {
		t.Run(strings.NewReplacer("/", "_", "{", "", "}", "").Replace(route), func(t *testing.T) {
			method, pattern, _ := strings.Cut(route, " ")
			if adminRoutes[pattern][method] == nil {
				t.Fatal("there is no such route")
			}
			a := newTestAdmin(t, declaredConsumers)
			a.seed()
			a.logs.TakeAll()
			for _, call := range calls {
				r := httptest.NewRequest(method, call.target, strings.NewReader(call.body))
				if call.body != "" {
					r.Header.Set("Content-Type", "application/json")
				}
				r.Header.Set("X-Oauth1-Actor", "op%C3%A9")
				a.clock = a.clock.Add(time.Second)
				a.ServeHTTP(httptest.NewRecorder(), r)
				var want []string
				if call.want != "" {
					want = []string{call.want + " claimed"}
				}
				if got := told(t, a.logs); !slices.Equal(got, want) {
					t.Errorf("%s %s: told %q, want %q", call.target, call.body, got, want)
				}
			}
		})
	}
}

// TestSitesAreAudited: each change at the endpoints and pages tells exactly its events.
func TestSitesAreAudited(t *testing.T) {
	core, logs := observer.New(zap.DebugLevel)
	site := newTestSite(t, "registration open\nconsumer demo {\n secret demo-secret\n}", "insecure_plaintext_over_http")
	site.app.trail.Load().Use(audit.Log{Logger: zap.New(core)})
	want := func(lines ...string) {
		t.Helper()
		if got := told(t, logs); !slices.Equal(got, lines) {
			t.Errorf("told %q, want %q", got, lines)
		}
	}
	token := site.newRequestToken("oauth_callback", "oob")
	want("request_token.issued done consumer")
	site.serve(plain("/+request-token", "unheard-of", "", "", ""))
	want("request_token.issued done consumer", "consumer.self_registered done consumer")

	target := "/+authorize-token?oauth_token=" + token.Get("oauth_token")
	site.answer(t, target, "alice", csrfToken(t, site.open(target, "alice")))
	want("request_token.granted done user")
	refused := site.newRequestToken()
	logs.TakeAll()
	target = "/+authorize-token?oauth_token=" + refused.Get("oauth_token")
	site.answer(t, target, "alice", csrfToken(t, site.open(target, "alice")), "decision", "refuse")
	want("request_token.refused done user")

	site.exchange(token, "oauth_verifier", "canary-wrong")
	want("request_token.verifier_failed refused consumer")
	stored, err := site.store().RequestToken(t.Context(), token.Get("oauth_token"))
	if err != nil {
		t.Fatal(err)
	}
	if w := site.exchange(token, "oauth_verifier", stored.Review.Verifier); w.Code != 200 {
		t.Fatalf("exchange: %d %s", w.Code, w.Body)
	}
	for _, entry := range logs.All() {
		if strings.Contains(fmt.Sprint(entry.ContextMap()), stored.Review.Verifier) {
			t.Errorf("the verifier is in the trail: %v", entry.ContextMap())
		}
	}
	want("request_token.exchanged done consumer")

	w := site.open("/+oauth-tokens", "alice")
	site.send("/+oauth-tokens", "alice", revocation(t, w, "token", listed(w)[0]))
	want("access_token.revoked done user")
	site.grant("demo", "alice", "READ_PUBLIC")
	site.grant("demo", "alice", "READ_PUBLIC")
	w = site.open("/+oauth-tokens", "alice")
	site.send("/+oauth-tokens", "alice", revocation(t, w, "consumer", "demo"))
	want("grants.revoked done user")

	expired := &tokenstore.AccessToken{
		Key: "ended", Secret: "s", Consumer: "demo", User: "alice", Permission: "READ_PUBLIC",
		Created: site.clock.Add(-2 * time.Hour), Expires: site.clock.Add(-time.Hour),
	}
	if err := site.store().CreateAccessToken(t.Context(), expired); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		site.serve(plain("/x", "demo", "demo-secret", "ended", "s"))
	}
	want("access_token.expired done server")
}

// TestStrictAudit: a change that can't be written is refused; what takes access away is done, and
// its line is written later.
func TestStrictAudit(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "sub", "audit.log")
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	site := newTestSite(t, "audit strict {\n file "+path+"\n}\n"+declaredConsumers, "")
	a := &testAdmin{testSite: site, Handler: adminHandler(&adminAPI{logger: zap.NewNop()})}
	a.seed()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(text, []byte(`"event":"consumer.added","outcome":"begun"`)) || bytes.Contains(text, []byte("canary")) {
		t.Errorf("the trail: %s", text)
	}
	// The file is rotated away, and can't be made again.
	aside := filepath.Join(dir, "aside")
	if err := os.Rename(filepath.Dir(path), aside); err != nil {
		t.Fatal(err)
	}
	if w := a.call("POST", "/oauth1/consumers", `{"key":"unwritten"}`); w.Code != 503 || !strings.Contains(w.Body.String(), "was not made") {
		t.Errorf("a change: %d %s", w.Code, w.Body)
	}
	if w := a.call("GET", "/oauth1/consumers/unwritten", ""); w.Code != 404 {
		t.Errorf("the change was made: %d %s", w.Code, w.Body)
	}
	if w := a.call("DELETE", "/oauth1/tokens/tok", ""); w.Code != 204 {
		t.Errorf("a revocation: %d %s", w.Code, w.Body)
	}
	if err := os.Rename(aside, filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
	a.must("POST", "/oauth1/consumers", `{"key":"written"}`)
	if text, err = os.ReadFile(path); err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(text, []byte(`"event":"access_token.revoked","outcome":"done"`)) {
		t.Errorf("the revocation is not in the trail: %s", text)
	}
	heads, err := auditHeads(t.Context(), site.store())
	if err != nil {
		t.Fatal(err)
	}
	v := audit.NewVerifier(audit.Key(site.app.secret))
	if err := v.Read(bytes.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	if r := v.End(heads, false); len(r.Problems) > 0 || r.Lines < 10 {
		t.Errorf("%+v", r)
	}
}

// TestPollingFillsNoStrictTrail: a consumer that waits for the review is answered without a line, so
// it can't fill the disk of the trail.
func TestPollingFillsNoStrictTrail(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	site := newTestSite(t, "audit strict {\n file "+path+"\n}\n"+demoConsumer, "insecure_plaintext_over_http")
	token := &tokenstore.RequestToken{Key: "waiting", Secret: "w", Consumer: "demo", Created: site.clock, Expires: site.clock.Add(time.Hour)}
	if err := site.store().CreateRequestToken(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	poll := func() *httptest.ResponseRecorder {
		w, _ := site.serve(plain("/+access-token", "demo", "demo-secret", "waiting", "w"))
		return w
	}
	for range 3 {
		wantAnswer(t, "a poll", poll(), 401, "Request token has not yet been reviewed. Try again later.")
	}
	if text, err := os.ReadFile(path); bytes.Contains(text, []byte("request_token")) {
		t.Errorf("polls are in the trail: %s, %v", text, err)
	}
	if _, err := site.store().Review(t.Context(), "waiting", tokenstore.Review{User: "u", Permission: "READ_PUBLIC", Time: site.clock}); err != nil {
		t.Fatal(err)
	}
	wantAnswer(t, "the exchange", poll(), 200, "")
	text, err := os.ReadFile(path)
	if err != nil || !bytes.Contains(text, []byte(`"event":"request_token.exchanged","outcome":"done"`)) {
		t.Errorf("the exchange is not in the trail: %s, %v", text, err)
	}
}

// closingLog is a log that fails after its configuration has ended, as Caddy's do.
type closingLog struct {
	zapcore.Core
	closed *atomic.Bool
}

func (l closingLog) Check(e zapcore.Entry, c *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	return c.AddCore(e, l)
}

func (l closingLog) Write(e zapcore.Entry, fields []zap.Field) error {
	runtime.Gosched()
	if l.closed.Load() {
		return errors.New("the log is closed")
	}
	return l.Core.Write(e, fields)
}

// auditFailuresSoFar is the value of the metric.
func auditFailuresSoFar(t *testing.T) float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(auditFailures)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	return families[0].GetMetric()[0].GetCounter().GetValue()
}

// TestReloadsLoseNoAuditLines: each configuration has a log or a file of its own, and every second
// reload fails. The lines of all are one chain, in which each writer's lines are in order.
func TestReloadsLoseNoAuditLines(t *testing.T) {
	for _, mode := range []string{auditCounted, auditStrict} {
		t.Run(mode, func(t *testing.T) {
			const writers, least = 4, 20
			core, logs := observer.New(zap.InfoLevel)
			dir, set := t.TempDir(), ""
			path := filepath.Join(dir, "audit.log")
			load := func() (a *App, log *atomic.Bool) {
				log = new(atomic.Bool)
				a = &App{
					module:    optionModule{filepath.Join(dir, "store"), "", &set},
					logger:    zap.New(closingLog{core, log}),
					ready:     make(chan struct{}),
					diagnoser: &diagnoser{off: true},
					Audit:     &AuditTrail{Mode: mode, File: path},
				}
				if err := a.Start(); err != nil {
					t.Fatal(err)
				}
				return a, log
			}
			end := func(a *App, log *atomic.Bool) {
				if err := a.Stop(); err != nil {
					t.Error(err)
				}
				log.Store(true)
				if err := a.Cleanup(); err != nil {
					t.Error(err)
				}
			}
			app, log := load()
			failures := auditFailuresSoFar(t)
			trail, secret := app.trail.Load(), app.secret
			var done atomic.Bool
			var writing sync.WaitGroup
			for w := range writers {
				writing.Go(func() {
					for i := 1; i <= least || !done.Load(); i++ {
						if err := trail.Tell(&audit.Event{Name: audit.AccessTokenRevoked, User: fmt.Sprint(w), Count: i}); err != nil {
							t.Error(err)
						}
					}
				})
			}
			for i := range 10 {
				next, itsLog := load()
				if i%2 == 0 { // another app of the configuration does not start
					end(next, itsLog)
					continue
				}
				end(app, log)
				app, log = next, itsLog
			}
			done.Store(true)
			writing.Wait()
			heads, err := auditHeads(t.Context(), app.store)
			if err != nil {
				t.Fatal(err)
			}
			end(app, log)
			if n := auditFailuresSoFar(t) - failures; n != 0 {
				t.Errorf("%v failures", n)
			}
			var text bytes.Buffer
			if mode == auditStrict {
				file, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				text.Write(file)
			} else {
				enc := zapcore.NewJSONEncoder(zapcore.EncoderConfig{})
				for _, entry := range logs.All() {
					line, err := enc.EncodeEntry(entry.Entry, entry.Context)
					if err != nil {
						t.Fatal(err)
					}
					fmt.Fprintln(&text, line)
				}
			}
			v, last := audit.NewVerifier(audit.Key(secret)), make(map[string]int)
			for line := range bytes.Lines(text.Bytes()) {
				v.Line(line)
				var told struct {
					User  string
					Count int
				}
				if err := json.Unmarshal(line, &told); err != nil || told.User == "" {
					continue
				}
				if told.Count != last[told.User]+1 {
					t.Errorf("writer %s: line %d comes after %d", told.User, told.Count, last[told.User])
				}
				last[told.User] = told.Count
			}
			if r := v.End(heads, false); len(r.Problems) > 0 || len(r.Chains) != 1 || len(last) != writers {
				t.Errorf("%+v", r)
			}
		})
	}
}

// brokenSink is a log that takes no line.
type brokenSink struct{}

func (brokenSink) Strict() bool              { return false }
func (brokenSink) Write([]*audit.Line) error { return errors.New("no log") }

// TestNobodyWaitsForTheLogOfAFailure: it may hang too. The log of the newest configuration learns how
// many failures there were.
func TestNobodyWaitsForTheLogOfAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hangs := make(chan struct{})
		first := zap.NewNop().WithOptions(zap.WrapCore(func(zapcore.Core) zapcore.Core {
			core, _ := observer.New(zap.InfoLevel)
			return zapcore.RegisterHooks(core, func(zapcore.Entry) error {
				<-hangs
				return nil
			})
		}))
		core, logs := observer.New(zap.InfoLevel)
		var of trailOfStore
		trail, err := of.open(t.Context(), &App{logger: first, sink: brokenSink{}}, struct{ tokenstore.Store }{})
		if err != nil {
			t.Fatal(err)
		}
		fail := func() {
			t.Helper()
			begin := time.Now()
			if err := trail.Tell(&audit.Event{Name: audit.AccessTokenRevoked}); err != nil || time.Since(begin) > 0 {
				t.Errorf("a change waits for %v: %v", time.Since(begin), err)
			}
			time.Sleep(2 * sameFailureApart)
		}
		for range 4 { // the first of them waits for the log that hangs
			fail()
		}
		if err := of.use(&App{logger: zap.New(core), sink: brokenSink{}}); err != nil {
			t.Error(err)
		}
		close(hangs)
		synctest.Wait()
		fail()
		of.close()
		var before []int64
		for _, entry := range logs.All() {
			before = append(before, entry.ContextMap()["failed_before"].(int64))
		}
		if want := []int64{1, 2}; !slices.Equal(before, want) {
			t.Errorf("failed_before is %v, want %v", before, want)
		}
	})
}
