package integration

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Acknowledged changes survive kill -9: every token still works, every revoked token is gone, and
// no accepted nonce is accepted again.

// The acknowledgements are the results that a client was told, or that the upstream saw.
type acknowledgements struct {
	mu       sync.Mutex
	issued   []token         // by the admin API
	walked   []token         // by the three-legged walk
	reviewed []token         // request tokens with an acknowledged review, for which no exchange was requested
	revoked  []token         // by the admin API
	requests []*http.Request // signed requests, each with a nonce of its own
	done     map[string]int  // how often each kind of work was acknowledged
}

func (a *acknowledgements) add(kind string, f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.done[kind]++
	f()
}

func TestKill9LosesNothingThatWasAcknowledged(t *testing.T) {
	for _, sync := range []string{"on", "off"} {
		t.Run("with sync "+sync, func(t *testing.T) {
			killRounds(t, sync, 3)
		})
	}
}

func killRounds(t *testing.T, sync string, rounds int) {
	up := newSightings(t)
	srv := startServer(t, site{Sync: sync}, up.URL)
	acks := &acknowledgements{done: map[string]int{}}
	for round := range rounds {
		work(t, srv, acks, 500*time.Millisecond+rand.N(700*time.Millisecond))
		srv.start()
		t.Logf("round %d: %v so far, and the upstream saw %d", round+1, acks.done, up.count())
		verify(t, srv, up, acks)
		if t.Failed() {
			return
		}
	}
	if len(acks.done) != 5 || up.count() == 0 {
		t.Errorf("a kind of work was never done, so nothing is known of it: %v", acks.done)
	}
}

// work has clients do all kinds of work until the server is killed.
func work(t *testing.T, srv *server, acks *acknowledgements, duration time.Duration) {
	t.Helper()
	base := srv.issue(t, demoKey, "salgado", "READ_PUBLIC", nil)
	acks.add("issued", func() { acks.issued = append(acks.issued, base) })
	var wg sync.WaitGroup
	var dying atomic.Bool
	repeat := func(n int, f func() error) {
		for range n {
			wg.Go(func() {
				for {
					if err := f(); err != nil {
						if !dying.Load() {
							t.Error(err)
						}
						return
					}
				}
			})
		}
	}
	admin := func(path string, body object) (object, error) {
		status, answer, err := srv.adminDo("POST", path, body)
		if err == nil && status/100 != 2 {
			err = fmt.Errorf("admin API: %s: %d %v", path, status, answer)
		}
		return answer, err
	}
	issue := func() (token, error) {
		answer, err := admin("/oauth1/tokens",
			object{"consumer": demoKey, "user": "salgado", "permission": "READ_PUBLIC"})
		if err != nil {
			return token{}, err
		}
		return token{answer["key"].(string), answer["secret"].(string)}, nil
	}
	endpoint := func(name string, tok token) (token, error) {
		req := srv.request("POST", name, strings.NewReader(form(plaintext(demoKey, demoSecret, tok))))
		req.Header.Set("Content-Type", formType)
		r, err := srv.do(req)
		if err != nil {
			return token{}, err
		}
		return parseToken(r.Body)
	}

	repeat(2, func() error { // the admin API issues tokens, and revokes every other one
		kept, err := issue()
		if err != nil {
			return err
		}
		acks.add("issued", func() { acks.issued = append(acks.issued, kept) })
		ended, err := issue()
		if err != nil {
			return err
		}
		status, answer, err := srv.adminDo("DELETE", "/oauth1/tokens/"+ended.Key, nil)
		if err != nil {
			return err
		}
		if status/100 != 2 {
			return fmt.Errorf("revoke: %d %v", status, answer)
		}
		acks.add("revoked", func() { acks.revoked = append(acks.revoked, ended) })
		return nil
	})
	repeat(2, func() error { // the walk; every other token stops after its review
		for _, exchanged := range []bool{true, false} {
			tok, err := endpoint("/+request-token", token{})
			if err != nil {
				return err
			}
			if _, err := admin("/oauth1/request-tokens/"+tok.Key+"/review", object{"user": "salgado", "permission": "READ_PUBLIC"}); err != nil {
				return err
			}
			if !exchanged {
				acks.add("reviewed", func() { acks.reviewed = append(acks.reviewed, tok) })
				continue
			}
			access, err := endpoint("/+access-token", tok)
			if err != nil {
				return err
			}
			acks.add("walked", func() { acks.walked = append(acks.walked, access) })
		}
		return nil
	})
	// Signed requests, remembered before they are sent: only the upstream knows which were
	// accepted.
	repeat(4, func() error {
		nonce := newNonce()
		req := signer{Consumer: demoKey, Secret: demoSecret, Token: base, Nonce: nonce}.sign(t,
			srv.request("GET", "/"+nonce, nil), "")
		acks.add("signed", func() { acks.requests = append(acks.requests, req) })
		r, err := srv.do(req.Clone(req.Context()))
		if err != nil {
			return err
		}
		return r.is(http.StatusOK, "")
	})

	time.Sleep(duration) // the time for which they work
	dying.Store(true)
	srv.kill()
	wg.Wait()
}

// verify checks all acknowledgements.
func verify(t *testing.T, srv *server, up *sightings, acks *acknowledgements) {
	t.Helper()
	var checks []func() error
	use := func(tok token, status int, body string) {
		checks = append(checks, func() error {
			req := srv.request("GET", "/", nil)
			req.Header.Set("Authorization", authorization(plaintext(demoKey, demoSecret, tok)))
			return expect(srv, req, status, body)
		})
	}
	for _, tok := range acks.issued {
		use(tok, http.StatusOK, "")
	}
	for _, tok := range acks.walked {
		use(tok, http.StatusOK, "")
	}
	for _, tok := range acks.revoked {
		use(tok, http.StatusUnauthorized, "Unknown access token ("+tok.Key+").")
	}
	exchanged := make(chan token, len(acks.reviewed))
	for _, tok := range acks.reviewed {
		checks = append(checks, func() error {
			req := srv.request("POST", "/+access-token", strings.NewReader(form(plaintext(demoKey, demoSecret, tok))))
			req.Header.Set("Content-Type", formType)
			r, err := srv.do(req)
			if err != nil {
				return err
			}
			access, err := parseToken(r.Body)
			if err != nil {
				return fmt.Errorf("a reviewed request token: %d: %w", r.Status, err)
			}
			exchanged <- access
			return nil
		})
	}
	for _, req := range acks.requests {
		if up.saw(req.URL.Opaque) {
			checks = append(checks, func() error {
				if err := expect(srv, req.Clone(req.Context()), http.StatusUnauthorized, "This nonce has been used already."); err != nil {
					return fmt.Errorf("a request that was accepted before: %w", err)
				}
				return nil
			})
		}
	}
	atOnce(t, 8, checks)
	close(exchanged)
	for tok := range exchanged { // they exist now, and stay
		acks.issued = append(acks.issued, tok)
	}
	acks.reviewed = acks.reviewed[:0]
}

// atOnce runs the checks, n at a time, and reports the first failures.
func atOnce(t *testing.T, n int, checks []func() error) {
	t.Helper()
	queue := make(chan func() error)
	failures := make(chan error, len(checks))
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			for check := range queue {
				if err := check(); err != nil {
					failures <- err
				}
			}
		})
	}
	for _, check := range checks {
		queue <- check
	}
	close(queue)
	wg.Wait()
	close(failures)
	shown := 0
	for err := range failures {
		if shown++; shown <= 10 {
			t.Error(err)
		}
	}
	if shown > 0 {
		t.Errorf("%d of %d checks failed", shown, len(checks))
	}
}
