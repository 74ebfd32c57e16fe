package integration

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestImportAfterKill9: an import that broke off, because the server was killed, is ended by the
// same command. It brings every line, and none twice.
func TestImportAfterKill9(t *testing.T) {
	const tokens = 10_000
	srv := startServer(t, site{}, newUpstream(t).URL)
	var lines strings.Builder
	lines.WriteString(`{"kind":"consumer","key":"old","secret":"old-secret"}` + "\n")
	for n := range tokens {
		fmt.Fprintf(&lines, `{"kind":"access_token","key":"old-%d","secret":"secret-%d","consumer":"old",`+
			`"user":"salgado","permission":"READ_PUBLIC"}`+"\n", n, n)
	}
	file := filepath.Join(t.TempDir(), "old.jsonl")
	if err := os.WriteFile(file, []byte(lines.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	killed, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(killed)
		for { // until some tokens are there
			select {
			case <-ended:
				return
			default:
			}
			if status, _, err := srv.adminDo("GET", "/oauth1/tokens/old-1500", nil); err == nil && status == http.StatusOK {
				srv.kill()
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	code, out := srv.oauth1(t, "", "import", file, "--address", "127.0.0.1:"+srv.admin)
	close(ended)
	<-killed
	if code != 1 || !strings.Contains(out, "give the same command again") {
		t.Fatalf("the import did not break off: %d\n%s", code, out)
	}
	srv.start()
	began := time.Now()
	code, out = srv.oauth1(t, "", "import", file, "--address", "127.0.0.1:"+srv.admin)
	took := time.Since(began)
	counts := regexp.MustCompile(`(Added|Unchanged): .*?(\d+) access tokens`).FindAllStringSubmatch(out, -1)
	if code != 0 || len(counts) != 2 {
		t.Fatalf("%d\n%s", code, out)
	}
	sum := 0
	for _, count := range counts {
		var n int
		fmt.Sscan(count[2], &n)
		sum += n
	}
	if sum != tokens {
		t.Errorf("%d access tokens, want %d:\n%s", sum, tokens, out)
	}
	t.Logf("%.0f lines a second", tokens/took.Seconds())
	last := signer{Consumer: "old", Secret: "old-secret",
		Token: token{Key: fmt.Sprintf("old-%d", tokens-1), Secret: fmt.Sprintf("secret-%d", tokens-1)}}
	want(t, "the last token", srv.mustDo(t, last.sign(t, srv.request("GET", "/x", nil), "")), http.StatusOK, "")
	if strings.Contains(out+srv.log.String(), "old-secret") {
		t.Error("a secret was printed")
	}
}

// TestDualRun: with the manual's Caddyfile, a consumer that has moved is judged here alone, and
// the others reach the old provider as they came.
func TestDualRun(t *testing.T) {
	api, old := newUpstream(t), newUpstream(t)
	block := ""
	for _, b := range fences(t, "../docs/migration.md") {
		if b.language == "caddyfile" && strings.Contains(b.text, "unknown_tokens pass") {
			block = b.text[strings.Index(b.text, "\thandle_errors"):strings.LastIndex(b.text, "}")]
		}
	}
	if block == "" {
		t.Fatal("docs/migration.md has no such Caddyfile")
	}
	s := site{OAuth1: "unknown_tokens pass", Handler: "reverse_proxy {{.Upstream}}\n" +
		strings.ReplaceAll(block, "localhost:9100", strings.TrimPrefix(old.URL, "http://"))}
	srv := startServer(t, s, api.URL)
	srv.mustAdmin(t, "POST", "/oauth1/consumers", object{"key": "moved", "secret": "s"})
	moved := signer{Consumer: "moved", Secret: "s", Token: srv.issue(t, "moved", "salgado", "WRITE_PUBLIC", nil)}
	revoked := moved
	revoked.Token = srv.issue(t, "moved", "salgado", "READ_PUBLIC", nil)
	srv.mustAdmin(t, "DELETE", "/oauth1/tokens/"+revoked.Token.Key, nil)
	stays := signer{Consumer: "stays", Secret: "x", Token: token{Key: "theirs", Secret: "y"}}
	for _, c := range []struct {
		name   string
		from   signer
		method string
		form   string
		to     *upstream // nil: refused
	}{
		{"a consumer that has moved", moved, "GET", "", api},
		{"its revoked token, which the old provider knows", revoked, "GET", "", nil},
		{"a consumer that stays", stays, "GET", "", old},
		{"its form", stays, "POST", "a=1&b=2", old},
	} {
		t.Run(c.name, func(t *testing.T) {
			api.take()
			old.take()
			req := srv.request(c.method, "/photos?size=1", nil)
			if c.form != "" {
				req = srv.request(c.method, "/photos?size=1", strings.NewReader(c.form))
				req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			}
			req = c.from.sign(t, req, c.form)
			authorization := req.Header.Get("Authorization")
			req.Header.Set("X-OAuth-User", "root")
			got := srv.mustDo(t, req)
			if c.to == nil {
				if got.Status != http.StatusUnauthorized || len(api.take())+len(old.take()) > 0 {
					t.Errorf("got %d %s", got.Status, got.Body)
				}
				return
			}
			seen := c.to.last(t)
			user, sent := seen.Header.Get("X-OAuth-User"), seen.Header.Get("Authorization")
			switch {
			case got.Status != http.StatusOK || got.Header.Get("WWW-Authenticate") != "":
				t.Errorf("got %d, %v", got.Status, got.Header)
			case c.to == api && (user != "salgado" || sent != ""),
				c.to == old && (user != "" || sent != authorization || string(seen.Body) != c.form):
				t.Errorf("the upstream saw user %q, %q, body %q", user, sent, seen.Body)
			}
		})
	}
	page := srv.mustDo(t, srv.request("GET", "/+authorize-token?oauth_token=theirs", nil))
	if page.Status != http.StatusOK || old.last(t).URI != "/+authorize-token?oauth_token=theirs" {
		t.Errorf("an unknown request token: %d %s", page.Status, page.Body)
	}
}

// TestObserve: a site that observes refuses nobody and tells what it saw.
func TestObserve(t *testing.T) {
	up := newUpstream(t)
	srv := startServer(t, site{OAuth1: "observe"}, up.URL)
	wrong := signer{Consumer: demoKey, Secret: "wrong", Token: token{Key: "k", Secret: "s"}}
	req := wrong.sign(t, srv.request("GET", "/x", nil), "")
	authorization := req.Header.Get("Authorization")
	got := srv.mustDo(t, req)
	if seen := up.last(t); got.Status != http.StatusOK || seen.Header.Get("Authorization") != authorization {
		t.Errorf("got %d; the upstream saw %v", got.Status, seen.Header)
	}
	if !strings.Contains(srv.log.String(), "this site protects nothing") {
		t.Error("Caddy does not warn")
	}
	code, out := srv.oauth1(t, "", "consumer", "show", demoKey, "--address", "127.0.0.1:"+srv.admin)
	if code != 0 || !strings.Contains(out, "token_unknown (1)") || !strings.Contains(out, "1 request,") {
		t.Errorf("%d\n%s", code, out)
	}
}
