package integration

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/redisstore/redislab"
)

// seenWithin is how soon a change at one sidecar is in force at all others.
const seenWithin = time.Second

// A fleet is several sidecars on one Redis. Its server is a load balancer in front of them: each
// request goes to the next sidecar.
type fleet struct {
	*server
	sidecars []*server
	upstream *sightings

	transport http.Transport
	turn      atomic.Int64
	served    []atomic.Int64 // by each sidecar
}

func startFleet(t *testing.T, n int, app string) *fleet {
	t.Helper()
	lab := redislab.Single(t, redislab.Options{})
	startReadyStore(t, lab)
	f := &fleet{upstream: newSightings(t), served: make([]atomic.Int64, n)}
	for range n {
		f.sidecars = append(f.sidecars, startServer(t, site{
			Store: "store redis {\n\taddress {{.Redis}}\n\tprefix " + readyStore + "\n\treplicas 0\n\ttimeout 1s\n}",
			App:   app, Address: "http://:{{.Port}}", Vars: map[string]string{"Redis": lab.Addresses()[0]},
		}, f.upstream.URL))
	}
	balancer := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(*httputil.ProxyRequest) {}, Transport: f})
	t.Cleanup(balancer.Close)
	t.Cleanup(f.transport.CloseIdleConnections)
	first := f.sidecars[0]
	f.server = &server{t: t, port: balancer.URL[strings.LastIndex(balancer.URL, ":")+1:], client: first.client}
	return f
}

// RoundTrip sends a request to the next sidecar, and to the one after it if that is down.
func (f *fleet) RoundTrip(req *http.Request) (resp *http.Response, err error) {
	var body []byte
	if req.Body != nil {
		if body, err = io.ReadAll(req.Body); err != nil {
			return nil, err
		}
	}
	for range 2 * len(f.sidecars) {
		i := int(f.turn.Add(1)) % len(f.sidecars)
		out := req.Clone(req.Context())
		out.URL.Scheme, out.URL.Host = "http", "127.0.0.1:"+f.sidecars[i].port
		out.Body = io.NopCloser(bytes.NewReader(body))
		if resp, err = f.transport.RoundTrip(out); err == nil {
			f.served[i].Add(1)
			return resp, nil
		}
		if !errors.Is(err, syscall.ECONNREFUSED) && !unanswered(err) {
			break
		}
	}
	return nil, err
}

// inForce makes a change, and checks that all sidecars but the first follow it soon, for good.
func (f *fleet) inForce(t *testing.T, change func(), follows func(srv *server) error) {
	t.Helper()
	change()
	due := time.Now().Add(seenWithin)
	var all sync.WaitGroup
	for i, srv := range f.sidecars[1:] {
		all.Go(func() {
			for seen, late := false, false; !late; time.Sleep(10 * time.Millisecond) {
				late = !time.Now().Before(due) // before the request begins
				err := follows(srv)
				if err != nil && (late || seen) {
					t.Errorf("sidecar %d, %v after the change: %v", i+1, seenWithin-time.Until(due), err)
					return
				}
				seen = err == nil
			}
		})
	}
	all.Wait()
}

// get sends a signed GET to one sidecar, as if the load balancer had chosen it.
func (f *fleet) get(t *testing.T, srv *server, sign signer, path string) reply {
	t.Helper()
	return srv.mustDo(t, f.signed(t, srv, sign, path))
}

func (f *fleet) signed(t *testing.T, srv *server, sign signer, path string) *http.Request {
	t.Helper()
	req := srv.request("GET", path, nil)
	req.Host = "127.0.0.1:" + f.port
	return sign.sign(t, req, "")
}

// command runs a command at a sidecar.
func (f *fleet) command(t *testing.T, srv *server, args string) string {
	t.Helper()
	code, out := srv.oauth1(t, "", append(strings.Fields(args), "--address", "127.0.0.1:"+srv.admin)...)
	if code != 0 {
		t.Fatalf("%s: exit code %d: %s", args, code, out)
	}
	return out
}

// TestSidecars: three processes on one Redis, behind plain round robin, are one server.
func TestSidecars(t *testing.T) {
	f := startFleet(t, 3, demoApp+"registration open")
	first, second, third := f.sidecars[0], f.sidecars[1], f.sidecars[2]
	authorize := func(tok token) string { return f.origin() + "/+authorize-token?oauth_token=" + tok.Key }

	t.Run("a walk that is spread over all", func(t *testing.T) {
		for range 4 { // of five requests each, so that each step is at each sidecar
			w := walker{t, f.server, demoKey, demoSecret}
			tok := w.requestToken(pair{"oauth_callback", "oob"})
			approved := f.approve(t, authorize(tok), "salgado", "READ_PUBLIC")
			answer := w.exchange(tok, pair{"oauth_verifier", approved.Verifier})
			access, err := parseToken(w.want(answer, http.StatusOK, ""))
			if err != nil {
				t.Fatal(err)
			}
			sign := signer{Consumer: demoKey, Secret: demoSecret, Token: access}
			for _, srv := range f.sidecars {
				want(t, "with the new token", f.get(t, srv, sign, "/x"), http.StatusOK, "ok")
				again := walker{t, srv, demoKey, demoSecret}
				want(t, "a second exchange", again.exchange(tok, pair{"oauth_verifier", approved.Verifier}),
					http.StatusUnauthorized, "The request token is unknown, or was used already.")
			}
		}
	})

	t.Run("a consumer that registers itself", func(t *testing.T) {
		w := walker{t, f.server, "self-registered", ""}
		tok := w.requestToken()
		f.approve(t, authorize(tok), "salgado", "READ_PUBLIC")
		w.want(w.exchange(tok), http.StatusOK, "")
		for _, srv := range f.sidecars {
			if out := f.command(t, srv, "consumer show self-registered"); !strings.Contains(out, "self-registered") {
				t.Error(out)
			}
		}
	})

	t.Run("a nonce is used once", func(t *testing.T) {
		for i := range 30 {
			sign := signer{Consumer: demoKey, Secret: demoSecret,
				Token: f.sidecars[i%3].issue(t, demoKey, "alice", "READ_PUBLIC", nil)}.repeated()
			replies := make([]reply, 6)
			var all sync.WaitGroup
			for j := range replies {
				srv := f.sidecars[j%3]
				req := f.signed(t, srv, sign, "/x")
				all.Go(func() { replies[j], _ = srv.do(req) })
			}
			all.Wait()
			passed := 0
			for _, r := range replies {
				if r.Status == http.StatusOK {
					passed++
				} else if err := r.is(http.StatusUnauthorized, nonceUsed); err != nil {
					t.Error(err)
				}
			}
			if passed != 1 {
				t.Errorf("one nonce at all sidecars at the same time passed %d times", passed)
			}
			for _, srv := range f.sidecars {
				want(t, "a replay", f.get(t, srv, sign, "/x"), http.StatusUnauthorized, nonceUsed)
			}
		}
	})

	t.Run("a command shows what was made at another", func(t *testing.T) {
		f.command(t, first, "consumer add shown --name Shown")
		f.command(t, second, "token issue --consumer shown --user alice --permission READ_PUBLIC --key shown-token")
		for _, srv := range f.sidecars {
			if out := f.command(t, srv, "consumer list"); !strings.Contains(out, "Shown") {
				t.Errorf("consumer list:\n%s", out)
			}
			if out := f.command(t, srv, "token list --consumer shown"); !strings.Contains(out, "shown-token") {
				t.Errorf("token list:\n%s", out)
			}
		}
	})

	// fresh makes a consumer and a token, which all sidecars have used.
	number := 0
	fresh := func(t *testing.T) signer {
		t.Helper()
		number++
		sign := signer{Consumer: fmt.Sprintf("consumer-%d", number), Secret: "old"}
		first.mustAdmin(t, "POST", "/oauth1/consumers", object{"key": sign.Consumer, "secret": sign.Secret})
		sign.Token = first.issue(t, sign.Consumer, fmt.Sprintf("user-%d", number), "READ_PUBLIC", nil)
		for _, srv := range f.sidecars {
			want(t, "before the change", f.get(t, srv, sign, "/x"), http.StatusOK, "ok")
		}
		return sign
	}
	for _, c := range []struct {
		name, command string // %[1]s is the consumer, %[2]s the token, %[3]s its user
		refusal       string
	}{
		{"a revoked token", "token revoke %[2]s", "Unknown access token (%[2]s)."},
		{"a user's revoked tokens", "revoke --user %[3]s --yes", "Unknown access token (%[2]s)."},
		{"a disabled consumer", "consumer disable %[1]s", "Disabled consumer (%[1]s)."},
		{"a rotated secret", "consumer rotate %[1]s", "Invalid signature."},
		{"a removed consumer", "consumer remove %[1]s --yes", "Unknown consumer (%[1]s)."},
	} {
		t.Run(c.name, func(t *testing.T) {
			sign := fresh(t)
			fill := func(text string) string {
				return fmt.Sprintf(text+"%.0[1]s%.0[2]s%.0[3]s", sign.Consumer, sign.Token.Key, fmt.Sprintf("user-%d", number))
			}
			f.inForce(t, func() { f.command(t, first, fill(c.command)) }, func(srv *server) error {
				return f.get(t, srv, sign, "/x").is(http.StatusUnauthorized, fill(c.refusal))
			})
		})
	}
	t.Run("a consumer that is enabled again", func(t *testing.T) {
		sign := fresh(t)
		f.command(t, first, "consumer disable "+sign.Consumer)
		f.inForce(t, func() { f.command(t, third, "consumer enable "+sign.Consumer) }, func(srv *server) error {
			return f.get(t, srv, sign, "/x").is(http.StatusOK, "ok")
		})
	})

	t.Run("a rolling restart under load", func(t *testing.T) { f.restartUnderLoad(t) })
}

// restartUnderLoad restarts one sidecar after the other. No request fails: those that a sidecar does
// not take go to the next.
func (f *fleet) restartUnderLoad(t *testing.T) {
	sign := signer{Consumer: demoKey, Secret: demoSecret,
		Token: f.sidecars[0].issue(t, demoKey, "alice", "READ_PUBLIC", nil)}
	var sent atomic.Int64
	var done atomic.Bool
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for !done.Load() && !t.Failed() {
				want(t, "a request", f.mustDo(t, sign.sign(t, f.request("GET", "/load", nil), "")), http.StatusOK, "ok")
				sent.Add(1)
			}
		})
	}
	all.Go(func() {
		for i := 0; !done.Load() && !t.Failed(); i++ {
			w := walker{t, f.server, demoKey, demoSecret}
			tok := w.requestToken(pair{"oauth_callback", "oob"})
			approved := f.approve(t, f.origin()+"/+authorize-token?oauth_token="+tok.Key, "salgado", "READ_PUBLIC")
			w.want(w.exchange(tok, pair{"oauth_verifier", approved.Verifier}), http.StatusOK, "")
		}
	})
	more := func(n int64) {
		for before := sent.Load(); sent.Load() < before+n && !t.Failed(); {
			time.Sleep(time.Millisecond)
		}
	}
	for i, srv := range f.sidecars {
		more(20)
		srv.stop()
		more(20) // at the others
		srv.start()
		for before := f.served[i].Load(); f.served[i].Load() < before+10 && !t.Failed(); {
			time.Sleep(time.Millisecond)
		}
	}
	done.Store(true)
	all.Wait()
	t.Logf("%d requests", sent.Load())
}
