package integration

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/redisstore/redislab"
)

// A life is what clients and people have under way while a store is copied.
type life struct {
	srv  *server
	tok  token
	used []*http.Request // accepted

	reviewed token      // and not exchanged
	open     string     // the address of an authorize page
	form     url.Values // of that page
}

const copiedSecret = "s3cr3t-of-app"

// begin lets clients and people begin something at the server.
func (l *life) begin(t *testing.T) {
	t.Helper()
	l.srv.waitUntil("requests pass", func() error { return l.use(t, 0) })
	for _, ahead := range []time.Duration{3 * time.Second, 30 * time.Second, 250 * time.Second} {
		if err := l.use(t, ahead); err != nil {
			t.Fatalf("a client whose clock is ahead by %v: %v", ahead, err)
		}
	}
	w := walker{t, l.srv, "app", copiedSecret}
	l.reviewed = w.requestToken()
	l.srv.review(t, l.reviewed.Key, "salgado", "READ_PUBLIC", nil)
	l.open = l.srv.origin() + "/+authorize-token?oauth_token=" + w.requestToken().Key
	page := l.srv.asUser(t, "GET", l.open, "salgado", nil)
	if page.Status != http.StatusOK {
		t.Fatalf("the authorize page: %d %s", page.Status, page.Body)
	}
	l.form = fillIn(page.Body, "READ_PUBLIC")
}

// use sends a request with the token.
func (l *life) use(t *testing.T, ahead time.Duration) error {
	req := signer{
		Consumer: "app", Secret: copiedSecret, Token: l.tok,
		Timestamp: strconv.FormatInt(time.Now().Add(ahead).Unix(), 10),
	}.sign(t, l.srv.request("GET", "/a", nil), "")
	if err := l.srv.mustDo(t, req).is(http.StatusOK, "ok"); err != nil {
		return err
	}
	l.used = append(l.used, req)
	return nil
}

// goOn shows that nobody notices anything but a pause.
func (l *life) goOn(t *testing.T) {
	t.Helper()
	for i, req := range l.used {
		got := l.srv.mustDo(t, req)
		if got.is(http.StatusUnauthorized, nonceUsed) != nil && got.Status != http.StatusServiceUnavailable {
			t.Errorf("used nonce %d: %d %s", i, got.Status, got.Body)
		}
		if got.Status == http.StatusServiceUnavailable && got.Header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	}
	begun := time.Now()
	l.srv.waitUntil("requests pass", func() error { return l.use(t, 0) })
	if err := l.use(t, 200*time.Second); err != nil {
		t.Errorf("a client whose clock is ahead: %v", err)
	}
	if took := time.Since(begun); took > 15*time.Second {
		t.Errorf("requests pass after %v", took)
	}
	for i, req := range l.used {
		if i < len(l.used)-2 {
			if got := l.srv.mustDo(t, req); got.Status == http.StatusOK {
				t.Errorf("used nonce %d passes", i)
			}
		}
	}
	done := l.srv.asUser(t, "POST", l.open, "salgado", l.form)
	if done.Status != http.StatusSeeOther && done.Status != http.StatusFound {
		t.Errorf("the page that was open: %d %s", done.Status, done.Body)
	}
	w := walker{t, l.srv, "app", copiedSecret}
	tok, err := parseToken(w.want(w.exchange(l.reviewed), http.StatusOK, ""))
	if err != nil {
		t.Fatal(err)
	}
	l.tok = tok
}

// copyStore copies between two stores of the site.
func (srv *server) copyStore(t *testing.T, from, to string) (code int, out string) {
	t.Helper()
	paths := []string{from, to}
	for i, store := range paths {
		s := srv.site
		s.Store = store
		paths[i] = srv.writeCaddyfile(fmt.Sprintf("%d.caddyfile", i), s)
	}
	return srv.oauth1(t, "", "store", "copy", "--from", paths[0], "--to", paths[1])
}

// TestStoreCopy moves a site from Badger to Redis and back. The same clients and people are served
// all the time.
func TestStoreCopy(t *testing.T) {
	lab := redislab.Single(t, redislab.Options{})
	badger := func(name string) string { return "store badger {\n\tpath {{.Dir}}/" + name + "\n}" }
	redis := "store redis {\n\taddress " + strings.Join(lab.Addresses(), " ") + "\n\treplicas 0\n}"
	up := newQuickUpstream(t)
	srv := startServer(t, site{Store: badger("store")}, up.URL)
	srv.mayLogErrors(t) // about requests that are refused for a moment
	srv.mustAdmin(t, "POST", "/oauth1/consumers", object{"key": "app", "secret": copiedSecret})
	l := &life{srv: srv, tok: srv.issue(t, "app", "salgado", "READ_PUBLIC", nil)}
	l.begin(t)

	if code, out := srv.copyStore(t, badger("store"), redis); code != 1 || !strings.Contains(out, "another process is using it") {
		t.Errorf("while the source is open: %d\n%s", code, out)
	}
	srv.stop()
	for _, c := range []struct{ name, from, to, want string }{
		{"no source", badger("nothing"), redis, "there is no store"},
		{"the same store", badger("store"), badger("store"), "the same store"},
	} {
		if code, out := srv.copyStore(t, c.from, c.to); code != 1 || !strings.Contains(out, c.want) {
			t.Errorf("%s: %d\n%s", c.name, code, out)
		}
	}
	if code, out := srv.copyStore(t, badger("store"), redis); code != 0 ||
		!strings.Contains(out, "Copied:  1 consumer, 1 access token, 2 request tokens\n") {
		t.Fatalf("to Redis: %d\n%s", code, out)
	}
	srv.site.Store = redis
	srv.start()
	srv.wantTold(t, "store.imported", `"count":4`)
	l.goOn(t)
	if code, out := srv.copyStore(t, badger("store"), redis); code != 1 || !strings.Contains(out, "is not empty") {
		t.Errorf("a target that is not empty: %d\n%s", code, out)
	}

	// The Caddy on Redis runs during the copy, so the servers refuse its requests.
	l.begin(t)
	if code, out := srv.copyStore(t, redis, badger("back")); code != 0 ||
		!strings.Contains(out, "Copied:  1 consumer, 2 access tokens, 3 request tokens\n") {
		t.Fatalf("from Redis: %d\n%s", code, out)
	}
	if err := l.use(t, 0); err == nil {
		t.Error("the source accepts requests")
	}
	srv.stop()
	srv.site.Store = badger("back")
	srv.start()
	l.goOn(t)
}

// TestStoreCopyOfAWrongConfiguration: a mistake in a path makes no store.
func TestStoreCopyOfAWrongConfiguration(t *testing.T) {
	srv := newServer(t, site{}, "")
	write := func(name, text string) string {
		path := filepath.Join(srv.dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	other := write("other.caddyfile", "http://127.0.0.1:1 {\n\trespond ok\n}\n")
	usual := srv.writeCaddyfile("usual.caddyfile", site{Handler: "respond ok"})
	for _, c := range []struct {
		name, from, to string
		code           int
		want           string
	}{
		{"no target", usual, "", 2, "is empty"},
		{"no such file", filepath.Join(srv.dir, "missing"), usual, 2, "--from: "},
		{"a configuration without the app", usual, other, 1, "the target: the configuration does not use oauth1"},
	} {
		code, out := srv.oauth1(t, "", "store", "copy", "--from", c.from, "--to", c.to)
		if code != c.code || !strings.Contains(out, c.want) {
			t.Errorf("%s: %d\n%s", c.name, code, out)
		}
	}
	if code, out := srv.oauth1(t, "", "store", "copy", "--from", usual); code != 2 || !strings.Contains(out, `"to" not set`) {
		t.Errorf("a missing flag: %d\n%s", code, out)
	}
	if _, err := os.Stat(filepath.Join(srv.dir, "store")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a store was made: %v", err)
	}
}
