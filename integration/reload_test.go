package integration

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Every request is answered as if there were no reload. Caddy's exchange of sockets may end some
// connections before their requests are handled; these requests are sent again (see unanswered).
// Each has the same nonce again, so a request that the server had accepted and lost would not pass.
func TestReloadsUnderLoadLoseNothing(t *testing.T) {
	up := newQuickUpstream(t)
	srv := startServer(t, site{}, up.URL)
	tok := srv.issue(t, demoKey, "salgado", "WRITE_PUBLIC", nil)
	waiting := walker{t, srv, demoKey, demoSecret}.requestToken()
	used := signer{Consumer: demoKey, Secret: demoSecret, Token: tok}.repeated()
	replay := used.sign(t, srv.request("GET", "/", nil), "")
	if err := expect(srv, replay.Clone(t.Context()), http.StatusOK, "ok"); err != nil {
		t.Fatal(err)
	}

	var wg sync.WaitGroup
	var done atomic.Bool
	var sent, resent atomic.Int64
	for i := range 6 {
		wg.Go(func() {
			for !done.Load() {
				req := srv.request("GET", "/a?b=c", nil)
				body := ""
				if i%2 == 1 {
					body = "a=b&c=+"
					req = srv.request("POST", "/a?b=c", strings.NewReader(body))
					req.Header.Set("Content-Type", formType)
				}
				req.Close = i%3 == 0
				signer{Consumer: demoKey, Secret: demoSecret, Token: tok}.sign(t, req, body)
				got, again, err := srv.resend(req)
				resent.Add(int64(again))
				if err == nil {
					err = got.is(http.StatusOK, "ok")
				}
				if err != nil {
					t.Errorf("after %d requests: %v", sent.Load(), err)
					return
				}
				sent.Add(1)
			}
		})
	}
	wg.Go(func() { // tokens are issued meanwhile, too
		for !done.Load() {
			status, answer, err := srv.adminDo("POST", "/oauth1/tokens",
				object{"consumer": demoKey, "user": "salgado", "permission": "READ_PUBLIC"})
			// Caddy restarts its admin endpoint with every reload, and cuts its connections. A cut
			// connection is no answer, and not a wrong one.
			if err == nil && status != http.StatusCreated {
				t.Errorf("the admin API: %d %v", status, answer)
				return
			}
		}
	})

	for i := range 10 {
		// Each configuration differs in the settings of the app, the store and the directive.
		s := site{
			Sync: []string{"on", "off"}[i%2],
			App: demoApp + fmt.Sprintf("consumer declared-%d {\n\tsecret s\n\ttwo_legged robot READ_PUBLIC\n}\naccess_token_lifetime %dh\ntimestamp_window %dm",
				i, 100+i, 5+i),
			OAuth1: fmt.Sprintf("realm \"reload %d\"", i),
		}
		before := sent.Load()
		if err := srv.load(srv.caddyfile(s)); err != nil {
			t.Errorf("reload %d: %v", i, err)
			break
		}
		// The previous server may accept connections for a moment after the load, until its
		// shutdown reaches its socket.
		srv.waitUntil(fmt.Sprintf("the consumer that reload %d declares is known", i), func() error {
			req := signer{Consumer: fmt.Sprintf("declared-%d", i), Secret: "s"}.sign(t, srv.request("GET", "/", nil),
				"")
			return srv.mustDo(t, req).is(http.StatusOK, "ok")
		})
		if i > 0 {
			srv.waitUntil(fmt.Sprintf("the consumer that reload %d no longer declares is unknown", i), func() error {
				req := signer{Consumer: fmt.Sprintf("declared-%d", i-1), Secret: "s"}.sign(t,
					srv.request("GET", "/", nil), "")
				got := srv.mustDo(t, req)
				if want := fmt.Sprintf("reload %d", i); !strings.Contains(got.Header.Get("WWW-Authenticate"), want) {
					return fmt.Errorf("WWW-Authenticate %q, want %s", got.Header.Get("WWW-Authenticate"), want)
				}
				return got.is(http.StatusUnauthorized, fmt.Sprintf("Unknown consumer (declared-%d).", i-1))
			})
		}
		srv.waitUntil("requests go on after the reload", func() error {
			if sent.Load() < before+20 && !t.Failed() {
				return errors.New("none yet")
			}
			return nil
		})
	}
	done.Store(true)
	wg.Wait()
	// There are at most as many connections at a time as clients, and each reload ends those of its
	// moment.
	if most := int64(10 * 6 * (6 + 1)); resent.Load() > most {
		t.Errorf("%d requests were sent again, which is more than the %d that 10 reloads explain", resent.Load(), most)
	}
	t.Logf("%d requests in the course of 10 reloads, %d of them sent again", sent.Load(), resent.Load())

	t.Run("a nonce from before is still used", func(t *testing.T) {
		if err := expect(srv, replay, http.StatusUnauthorized, "This nonce has been used already."); err != nil {
			t.Error(err)
		}
	})
	t.Run("a request token from before can be reviewed and exchanged", func(t *testing.T) {
		w := walker{t, srv, demoKey, demoSecret}
		srv.review(t, waiting.Key, "salgado", "READ_PUBLIC", nil)
		w.want(w.exchange(waiting), http.StatusOK, "")
	})
	t.Run("a wrong config is refused, and the old one stays in force", func(t *testing.T) {
		err := srv.load(srv.caddyfile(site{OAuth1: "realm \"wrong\"\npolicy {\n\tpermission NO_SUCH_LEVEL\n}"}))
		if err == nil || !strings.Contains(err.Error(), "NO_SUCH_LEVEL") {
			t.Errorf("%v, want an error that names NO_SUCH_LEVEL", err)
		}
		req := signer{Consumer: demoKey, Secret: demoSecret, Token: tok}.sign(t, srv.request("GET", "/", nil), "")
		if err := expect(srv, req, http.StatusOK, "ok"); err != nil {
			t.Error(err)
		}
		got := srv.mustDo(t, srv.request("GET", "/", nil))
		if strings.Contains(got.Header.Get("WWW-Authenticate"), "wrong") {
			t.Errorf("WWW-Authenticate: %s", got.Header.Get("WWW-Authenticate"))
		}
	})
}

func TestBesideARunningServer(t *testing.T) {
	up := newQuickUpstream(t)
	srv := startServer(t, site{}, up.URL)
	tok := srv.issue(t, demoKey, "salgado", "READ_PUBLIC", nil)
	stillWorks := func(t *testing.T) {
		t.Helper()
		req := signer{Consumer: demoKey, Secret: demoSecret, Token: tok}.sign(t, srv.request("GET", "/", nil), "")
		if err := expect(srv, req, http.StatusOK, "ok"); err != nil {
			t.Error(err)
		}
	}
	run := func(t *testing.T, args ...string) (string, error) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		out, err := srv.command(ctx, args...).CombinedOutput()
		if ctx.Err() != nil {
			t.Fatalf("%v did not end within %v:\n%s", args, patience, out)
		}
		return string(out), err
	}

	t.Run("validate says that its config is valid", func(t *testing.T) {
		out, err := run(t, "validate", "--config", srv.writeCaddyfile("Caddyfile", srv.site), "--adapter", "caddyfile")
		if err != nil || !strings.Contains(out, "Valid configuration") {
			t.Errorf("%v\n%s", err, out)
		}
		stillWorks(t)
	})
	t.Run("validate names the mistake in another", func(t *testing.T) {
		wrong := srv.site
		wrong.OAuth1 = "policy {\n\tpermission NO_SUCH_LEVEL\n}"
		out, err := run(t, "validate", "--config", srv.writeCaddyfile("wrong", wrong), "--adapter", "caddyfile")
		if err == nil || !strings.Contains(out, "NO_SUCH_LEVEL") {
			t.Errorf("%v\n%s", err, out)
		}
		stillWorks(t)
	})
	t.Run("a second server on the same directory ends with a message that names it", func(t *testing.T) {
		second := &server{t: t, dir: srv.dir, names: map[string]string{}}
		for name, value := range srv.names {
			second.names[name] = value
		}
		second.names["Admin"], second.names["Port"] = freePort(t), freePort(t)
		start := time.Now()
		out, err := run(t, "run", "--config", second.writeCaddyfile("second", srv.site), "--adapter", "caddyfile")
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			t.Fatalf("%v, want an exit status\n%s", err, out)
		}
		message := out[strings.LastIndex(out, "Error:")+1:]
		if !strings.Contains(message, srv.dir+"/store") {
			t.Errorf("the message does not name %s/store:\n%s", srv.dir, out)
		}
		t.Logf("after %v: %s", time.Since(start).Round(time.Millisecond), strings.TrimSpace(message))
		stillWorks(t)
	})
}
