package integration

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A workload is clients that do every kind of work until they are stopped.
type workload struct {
	*ledger
	t    *testing.T
	srv  *server
	up   *sightings
	stop atomic.Bool // set before the server ends, or when its answers no longer matter
	full atomic.Bool // 503 is an answer, too
	all  sync.WaitGroup
	base token
}

// startWorkload needs a server that works.
func (l *ledger) startWorkload(t *testing.T, srv *server, up *sightings) *workload {
	t.Helper()
	healthy(srv)
	w := &workload{ledger: l, t: t, srv: srv, up: up}
	w.base = srv.issue(t, demoKey, "salgado", "READ_PUBLIC", nil)
	w.records = append(w.records, &record{name: "access token", known: there, asked: there,
		look: lookAtToken(demoKey, demoSecret, w.base)})
	for _, client := range []func() error{w.tokens, w.tokens, w.sweeps, w.walk, w.walk, w.consumers, w.consumers, w.signed, w.signed, w.signed} {
		w.all.Go(func() {
			for !w.stop.Load() {
				full := w.full.Load()
				err := client()
				if (full || w.full.Load()) && errors.Is(err, errRefused) {
					time.Sleep(5 * time.Millisecond) // clients wait when they are told to try again later
					continue
				}
				if err != nil {
					if !w.stop.Load() {
						t.Error(err)
					}
					return
				}
			}
		})
	}
	return w
}

// kill kills the server during the work.
func (w *workload) kill() {
	w.stop.Store(true)
	w.srv.kill()
	w.all.Wait()
}

// until waits until more work of the kind was done.
func (w *workload) until(kind string, more int) {
	w.t.Helper()
	before, _ := w.counts()
	w.srv.waitUntil(kind+" goes on", func() error {
		if done, _ := w.counts(); done[kind] < before[kind]+more && !w.t.Failed() {
			return fmt.Errorf("%d more", done[kind]-before[kind])
		}
		return nil
	})
}

// admin calls the admin API, and expects success.
func (w *workload) admin(method, path string, body any) error {
	status, answer, err := w.srv.adminDo(method, path, body)
	switch {
	case err != nil:
		return err
	case status == http.StatusServiceUnavailable:
		return errRefused
	case status/100 != 2:
		return fmt.Errorf("admin API: %s %s: %d %v", method, path, status, answer)
	}
	return nil
}

// endpoint requests a token from an endpoint.
func (w *workload) endpoint(name string, tok token) (token, error) {
	r, err := ask(w.srv, name, tok)
	switch {
	case err != nil:
		return token{}, err
	case r.Status == http.StatusServiceUnavailable:
		return token{}, wantRetry(r)
	case r.Status != http.StatusOK:
		return token{}, fmt.Errorf("%s: %d %s", name, r.Status, r.Body)
	}
	return parseToken(r.Body)
}

func ask(srv *server, name string, tok token) (reply, error) {
	req := srv.request("POST", name, strings.NewReader(form(plaintext(demoKey, demoSecret, tok))))
	req.Header.Set("Content-Type", formType)
	return srv.do(req)
}

// wantRetry returns errRefused if the answer says when to try again.
func wantRetry(r reply) error {
	if r.Header.Get("Retry-After") == "" {
		return fmt.Errorf("503 without Retry-After: %s", r.Body)
	}
	return errRefused
}

// newToken returns the record of an access token that does not exist yet.
func newToken(consumer, secret string) (token, *record) {
	tok := token{newNonce(), newNonce()}
	return tok, &record{name: "access token " + tok.Key, look: lookAtToken(consumer, secret, tok)}
}

func lookAtToken(consumer, secret string, tok token) func(*server) (string, error) {
	return func(srv *server) (string, error) {
		req := srv.request("GET", "/", nil)
		req.Header.Set("Authorization", authorization(plaintext(consumer, secret, tok)))
		r, err := srv.do(req)
		switch {
		case err != nil:
			return "", err
		case r.is(http.StatusOK, "ok") == nil:
			return there, nil
		case r.is(http.StatusUnauthorized, "Unknown access token ("+tok.Key+").") == nil,
			r.is(http.StatusUnauthorized, "Unknown consumer ("+consumer+").") == nil:
			return absent, nil
		}
		return fmt.Sprintf("%d %s", r.Status, r.Body), nil
	}
}

// issue makes an access token with a key that the client chose.
func (w *workload) issue(consumer, secret, user string) (*record, token, error) {
	tok, r := newToken(consumer, secret)
	err := w.change("issue", func() error {
		return w.admin("POST", "/oauth1/tokens", object{
			"key": tok.Key, "secret": tok.Secret, "consumer": consumer, "user": user, "permission": "READ_PUBLIC",
		})
	}, effect{r, there})
	return r, tok, err
}

// tokens issues tokens, and revokes every other one.
func (w *workload) tokens() error {
	if _, _, err := w.issue(demoKey, demoSecret, "salgado"); err != nil {
		return err
	}
	r, tok, err := w.issue(demoKey, demoSecret, "salgado")
	if err != nil {
		return err
	}
	return w.change("revoke", func() error { return w.admin("DELETE", "/oauth1/tokens/"+tok.Key, nil) },
		effect{r, absent})
}

// sweeps revokes the tokens of a user or of a consumer, and checks that others stay.
func (w *workload) sweeps() error {
	c, secret, err := w.addConsumer()
	if err != nil {
		return err
	}
	user := "user-" + newNonce()
	var records [3]*record
	for i, of := range []struct{ consumer, secret, user string }{
		{demoKey, demoSecret, user}, {c.key(), secret, user}, {c.key(), secret, "salgado"},
	} {
		if records[i], _, err = w.issue(of.consumer, of.secret, of.user); err != nil {
			return err
		}
	}
	if err := w.change("revoke by user", func() error {
		return w.admin("POST", "/oauth1/revoke",
			object{"user": user})
	},
		effect{records[0], absent}, effect{records[1], absent}); err != nil {
		return err
	}
	return w.change("revoke by consumer", func() error {
		return w.admin("POST", "/oauth1/revoke",
			object{"consumer": c.key()})
	},
		effect{records[2], absent})
}

// A consumerRecord is a consumer that may sign without a token.
type consumerRecord struct {
	record
	secrets []string // that it has or had, or may have
}

func (c *consumerRecord) key() string { return strings.TrimPrefix(c.name, "consumer ") }

func consumerState(name, secret string) string { return name + " with the secret " + secret }

// lookAtConsumer returns the consumer's name, and the secrets with which it can sign.
func (c *consumerRecord) lookAtConsumer(srv *server) (string, error) {
	status, answer, err := srv.adminDo("GET", "/oauth1/consumers/"+c.key(), nil)
	if err != nil {
		return "", err
	}
	var works []string
	for _, secret := range c.secrets {
		req := srv.request("GET", "/", nil)
		req.Header.Set("Authorization", authorization(plaintext(c.key(), secret, token{})))
		r, err := srv.do(req)
		switch {
		case err != nil:
			return "", err
		case r.Status == http.StatusOK:
			works = append(works, secret)
		case r.Status != http.StatusUnauthorized:
			return "", fmt.Errorf("%d %s", r.Status, r.Body)
		}
	}
	switch {
	case status == http.StatusNotFound && works == nil:
		return absent, nil
	case status != http.StatusOK:
		return "", fmt.Errorf("the admin API: %d %v, and the secrets that work: %q", status, answer, works)
	}
	return consumerState(answer["name"].(string), strings.Join(works, ",")), nil
}

func (w *workload) addConsumer() (c *consumerRecord, secret string, err error) {
	secret = newNonce()
	c = &consumerRecord{secrets: []string{secret}}
	c.name, c.look = "consumer "+newNonce(), c.lookAtConsumer
	return c, secret, w.change("add consumer", func() error {
		return w.admin("POST", "/oauth1/consumers", object{
			"key": c.key(), "secret": secret, "name": "first", "two_legged": object{"user": "robot", "permission": "READ_PUBLIC"},
		})
	}, effect{&c.record, consumerState("first", secret)})
}

// consumers adds consumers, and leaves every other one unchanged. It changes the rest, and removes
// them with their tokens.
func (w *workload) consumers() error {
	if _, _, err := w.addConsumer(); err != nil {
		return err
	}
	c, secret, err := w.addConsumer()
	if err != nil {
		return err
	}
	path := "/oauth1/consumers/" + c.key()
	if err := w.change("change consumer", func() error { return w.admin("PATCH", path, object{"name": "second"}) },
		effect{&c.record, consumerState("second", secret)}); err != nil {
		return err
	}
	next := newNonce()
	c.secrets = append(c.secrets, next)
	if err := w.change("rotate secret", func() error { return w.admin("POST", path+"/rotate", object{"secret": next}) },
		effect{&c.record, consumerState("second", next)}); err != nil {
		return err
	}
	r, _, err := w.issue(c.key(), next, "salgado")
	if err != nil {
		return err
	}
	return w.change("remove consumer", func() error { return w.admin("DELETE", path, nil) },
		effect{&c.record, absent}, effect{r, absent})
}

// walk has users grant access or refuse it. Some walks stop at each stage.
func (w *workload) walk() error {
	for _, last := range []string{"request token", "review", "refuse", "exchange"} {
		tok, r, err := w.requestToken()
		if err != nil {
			return err
		}
		if last == "request token" {
			continue
		}
		review := func(kind, permission string) error {
			return w.change(kind, func() error {
				return w.admin("POST", "/oauth1/request-tokens/"+tok.Key+"/review",
					object{"user": "salgado", "permission": permission})
			}, effect{r, permission})
		}
		if last == "refuse" {
			if err := review(last, "UNAUTHORIZED"); err != nil {
				return err
			}
			continue
		}
		if err := review("review", "READ_PUBLIC"); err != nil {
			return err
		}
		if last == "review" {
			continue
		}
		var access token
		if err := w.change("exchange", func() (err error) {
			access, err = w.endpoint("/+access-token", tok)
			return err
		}, effect{r, absent}); err != nil {
			return err
		}
		w.mu.Lock()
		w.records = append(w.records, &record{
			name: "exchanged access token " + access.Key, known: there, asked: there,
			look: lookAtToken(demoKey, demoSecret, access),
		})
		w.mu.Unlock()
	}
	return nil
}

// requestToken requests a token. Its key is not known before, so it is a record only afterwards.
func (w *workload) requestToken() (tok token, r *record, err error) {
	if err := w.change("request token", func() (err error) {
		tok, err = w.endpoint("/+request-token", token{})
		return err
	}); err != nil {
		return tok, nil, err
	}
	r = &record{name: "request token " + tok.Key, known: "waiting", asked: "waiting"}
	r.look = func(srv *server) (string, error) {
		status, answer, err := srv.adminDo("GET", "/oauth1/request-tokens/"+tok.Key, nil)
		switch {
		case err != nil:
			return "", err
		case status == http.StatusOK && answer["permission"] != nil:
			return answer["permission"].(string), nil
		case status == http.StatusOK:
			return "waiting", nil
		case status != http.StatusNotFound:
			return "", fmt.Errorf("%d %v", status, answer)
		}
		again, err := ask(srv, "/+access-token", tok)
		if err != nil {
			return "", err
		}
		return absent, again.is(http.StatusUnauthorized, "The request token is unknown, or was used already.")
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.records = append(w.records, r)
	return tok, r, nil
}

// signed sends a request, and every fourth one again. A refused request must not reach the
// upstream.
func (w *workload) signed() error {
	for i := range 4 {
		nonce := newNonce()
		req := signer{Consumer: demoKey, Secret: demoSecret, Token: w.base, Nonce: nonce}.sign(w.t,
			w.srv.request("GET", "/"+nonce, nil), "")
		w.mu.Lock()
		// Before it is sent: only the upstream knows whether it was accepted.
		w.requests = append(w.requests, signedRequest{req, time.Now()})
		w.mu.Unlock()
		err := w.change("signed", func() error {
			r, err := w.srv.do(req.Clone(req.Context()))
			switch {
			case err != nil:
				return err
			case r.Status == http.StatusServiceUnavailable && w.up.saw(req.URL.Opaque):
				return errors.New("a request that was answered with 503 came to the upstream")
			case r.Status == http.StatusServiceUnavailable:
				return wantRetry(r)
			}
			return r.is(http.StatusOK, "ok")
		})
		if err != nil || i > 0 {
			return err
		}
		r, err := w.srv.do(req.Clone(req.Context()))
		switch {
		case err != nil:
			return err
		case r.Status == http.StatusServiceUnavailable:
			return wantRetry(r)
		}
		if err := r.is(http.StatusUnauthorized, nonceUsed); err != nil {
			return err
		}
	}
	return nil
}
