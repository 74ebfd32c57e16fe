package integration

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The directive among Caddy's other directives: it works the same wherever a site puts it.

// at makes a request to one of the server's sites by its name.
func (srv *server) at(host, method, uri string) *http.Request {
	req := srv.request(method, uri, nil)
	req.Host = host + ":" + srv.port
	return req
}

func TestDirectiveInBlocks(t *testing.T) {
	up := newUpstream(t)
	srv := startServer(t, site{More: `
(guarded) {
	oauth1 {
		permissions READ_PUBLIC WRITE_PUBLIC
	}
}
http://blocks.test:{{.Port}} {
	handle /route/* {
		route {
			rewrite * /rewritten{uri}
			oauth1 {
				policy /rewritten/* {
					permission READ_PUBLIC
				}
			}
			reverse_proxy {{.Upstream}}
		}
	}
	handle /handle/* {
		oauth1
		reverse_proxy {{.Upstream}}
	}
	handle_path /stripped/* {
		oauth1 {
			policy /x {
				permission READ_PUBLIC
			}
		}
		reverse_proxy {{.Upstream}}
	}
	handle /imported/* {
		import guarded
		reverse_proxy {{.Upstream}}
	}
	@matched path /matched/*
	oauth1 @matched
	handle {
		reverse_proxy {{.Upstream}}
	}
}
`}, up.URL)
	sign := signer{Consumer: demoKey, Secret: demoSecret, Token: srv.issue(t, demoKey, "alice", "READ_PUBLIC", nil)}
	for _, test := range []struct{ path, seen string }{
		{"/route/x?a=b", "/rewritten/route/x?a=b"},
		{"/handle/x", "/handle/x"},
		{"/stripped/x", "/x"},
		{"/imported/x", "/imported/x"},
		{"/matched/x", "/matched/x"},
	} {
		t.Run(test.path, func(t *testing.T) {
			up.take()
			if err := srv.mustDo(t, srv.at("blocks.test", "GET", test.path)).is(401, "OAuth credentials required."); err != nil {
				t.Error("unsigned:", err)
			}
			if len(up.take()) > 0 {
				t.Error("an unsigned request reached the upstream")
			}
			if err := srv.mustDo(t, sign.sign(t, srv.at("blocks.test", "GET", test.path), "")).is(200, ""); err != nil {
				t.Fatal("signed for what the client sent:", err)
			}
			if got := up.last(t); got.URI != test.seen || got.Header.Get("X-OAuth-User") != "alice" {
				t.Errorf("the upstream saw %s of %q", got.URI, got.Header.Get("X-OAuth-User"))
			}
		})
	}
	if err := srv.mustDo(t, srv.at("blocks.test", "GET", "/open")).is(200, ""); err != nil {
		t.Error("outside of its matcher:", err)
	}
}

func TestSitesShareOneStore(t *testing.T) {
	up := newUpstream(t)
	srv := startServer(t, site{More: `
http://second.test:{{.Port}} {
	oauth1 {
		permissions READ_PUBLIC
	}
	reverse_proxy {{.Upstream}}
}
`}, up.URL)
	sign := signer{Consumer: demoKey, Secret: demoSecret,
		Token: srv.issue(t, demoKey, "alice", "READ_PUBLIC", nil)}.repeated()
	if err := srv.mustDo(t, sign.sign(t, srv.at("second.test", "GET", "/x"), "")).is(200, ""); err != nil {
		t.Fatal("at the second site:", err)
	}
	if err := srv.mustDo(t, sign.sign(t, srv.request("GET", "/x", nil), "")).is(401, "This nonce has been used already."); err != nil {
		t.Error("the same nonce at the first site:", err)
	}
	sign.Nonce, sign.Token = newNonce(), srv.issue(t, demoKey, "alice", "WRITE_PUBLIC", nil)
	if err := srv.mustDo(t, sign.sign(t, srv.at("second.test", "GET", "/x"), "")).is(403, "The permission WRITE_PUBLIC is not accepted here."); err != nil {
		t.Error("a level that the second site does not accept:", err)
	}
}

func TestPlaceholdersAndLogs(t *testing.T) {
	up := newUpstream(t)
	srv := startServer(t, site{
		Before: `
	log {
		output file {{.Dir}}/access.log
		format json
	}
	log_append who "{http.auth.user.id}"
	@alice expression ` + "`{http.auth.user.id} == 'alice' && path('/expression')`" + `
	@bob vars {http.auth.user.id} bob
`,
		Handler: `
	respond @alice "hello alice"
	respond @bob "hello bob"
	reverse_proxy {{.Upstream}} {
		header_up X-Who "{http.auth.user.id} {http.auth.user.consumer} {http.auth.user.permission} {http.auth.user.context}"
	}
`}, up.URL)
	alice := signer{Consumer: demoKey, Secret: demoSecret,
		Token: srv.issue(t, demoKey, "alice", "READ_PUBLIC", object{"context": "firefox"})}
	bob := signer{Consumer: demoKey, Secret: demoSecret, Token: srv.issue(t, demoKey, "bob", "READ_PUBLIC", nil)}
	if err := srv.mustDo(t, alice.sign(t, srv.request("GET", "/x", nil), "")).is(200, ""); err != nil {
		t.Fatal(err)
	}
	if got := up.last(t).Header.Get("X-Who"); got != "alice demo READ_PUBLIC firefox" {
		t.Errorf("header_up: %q", got)
	}
	if err := srv.mustDo(t, alice.sign(t, srv.request("GET", "/expression", nil), "")).is(200, "hello alice"); err != nil {
		t.Error("expression matcher:", err)
	}
	if err := srv.mustDo(t, bob.sign(t, srv.request("GET", "/x", nil), "")).is(200, "hello bob"); err != nil {
		t.Error("vars matcher:", err)
	}
	srv.mustDo(t, srv.request("GET", "/refused", nil))

	type line struct {
		Request  struct{ URI string }
		UserID   string `json:"user_id"`
		Consumer string `json:"oauth_consumer"`
		Refusal  string `json:"oauth_refusal"`
		Who      string `json:"who"`
	}
	var lines []line
	srv.waitUntil("the access log is written", func() error {
		text, err := os.ReadFile(filepath.Join(srv.dir, "access.log"))
		if err != nil {
			return err
		}
		lines = nil
		for entry := range strings.Lines(string(text)) {
			var l line
			if err := json.Unmarshal([]byte(entry), &l); err != nil {
				return err
			}
			lines = append(lines, l)
		}
		if len(lines) < 4 {
			return http.ErrMissingFile
		}
		return nil
	})
	if l := lines[0]; l.UserID != "alice" || l.Consumer != demoKey || l.Who != "alice" || l.Refusal != "" {
		t.Errorf("a request that passed: %+v", l)
	}
	if l := lines[3]; l.UserID != "" || l.Refusal != "credentials_required" {
		t.Errorf("a request that was refused: %+v", l)
	}
}

func TestHandleErrors(t *testing.T) {
	srv := startServer(t, site{Handler: `
	respond ok
	handle_errors 403 {
		respond "sorry: {err.message}" 403
	}
`}, "")
	reader := signer{Consumer: demoKey, Secret: demoSecret, Token: srv.issue(t, demoKey, "alice", "READ_PUBLIC", nil)}
	if err := srv.mustDo(t, reader.sign(t, srv.request("POST", "/x", nil), "")).is(403, "sorry: This request needs the permission WRITE_PUBLIC."); err != nil {
		t.Error("replaced:", err)
	}
	if err := srv.mustDo(t, srv.request("GET", "/x", nil)).is(401, "OAuth credentials required."); err != nil {
		t.Error("left alone:", err)
	}
}

// TestPagesBehindForwardAuth: another service's login, with a user and without one.
func TestPagesBehindForwardAuth(t *testing.T) {
	login := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cookie, err := r.Cookie("session")
		if err != nil {
			http.Redirect(w, r, "https://login.test/", http.StatusFound)
			return
		}
		if cookie.Value != "nobody" {
			w.Header().Set("Remote-User", cookie.Value)
		}
	}))
	defer login.Close()
	srv := startServer(t, site{
		Vars: map[string]string{"Login": strings.TrimPrefix(login.URL, "http://")},
		More: `
http://forward.test:{{.Port}} {
	@people path /+authorize-token /+oauth-tokens
	forward_auth @people {{.Login}} {
		uri /verify
		copy_headers Remote-User
	}
	oauth1 {
		user {http.request.header.Remote-User}
	}
	respond ok
}
http://basic.test:{{.Port}} {
	@people path /+authorize-token /+oauth-tokens
	basic_auth @people {
		# bcrypt, cost 4: "opensesame"
		salgado $2a$04$zDgcJab37ImIcBLhqF2f7eE2.g8cW7syeUNTNvnPrwfMe02toJQ..
	}
	oauth1
	respond ok
}
`, Handler: "respond ok"}, "")

	visit := func(host, session, forged string) reply {
		req := srv.at(host, "GET", "/+oauth-tokens")
		if session != "" {
			req.AddCookie(&http.Cookie{Name: "session", Value: session})
		}
		if forged != "" {
			req.Header.Set("Remote-User", forged)
		}
		return srv.mustDo(t, req)
	}
	if r := visit("forward.test", "", "mallory"); r.Status != http.StatusFound {
		t.Errorf("without a session: %d", r.Status)
	}
	if r := visit("forward.test", "salgado", "mallory"); r.Status != 200 || !strings.Contains(r.Body, "salgado") || strings.Contains(r.Body, "mallory") {
		t.Errorf("with a session and a forged header: %d %s", r.Status, r.Body)
	}
	if r := visit("forward.test", "nobody", "mallory"); r.Status != 401 {
		t.Errorf("no session, with a forged header: %d", r.Status)
	}
	if r := visit("basic.test", "", ""); r.Status != 401 || !strings.HasPrefix(r.Header.Get("WWW-Authenticate"), "Basic") {
		t.Errorf("without a password: %d %q", r.Status, r.Header.Get("WWW-Authenticate"))
	}
	req := srv.at("basic.test", "GET", "/+oauth-tokens")
	req.SetBasicAuth("salgado", "opensesame")
	if r := srv.mustDo(t, req); r.Status != 200 || !strings.Contains(r.Body, "salgado") {
		t.Errorf("with the password: %d %s", r.Status, r.Body)
	}
}

// TestTrustedProxies: the signed origin behind a proxy that Caddy trusts, and behind one that it
// does not.
func TestTrustedProxies(t *testing.T) {
	for global, status := range map[string]int{
		"": 401,
		"servers {\n\ttrusted_proxies static 127.0.0.0/8\n}":     200,
		"servers {\n\ttrusted_proxies static 198.51.100.0/24\n}": 401,
	} {
		t.Run(global, func(t *testing.T) {
			srv := startServer(t, site{Global: global, Handler: "respond ok"}, "")
			sign := signer{Consumer: demoKey, Secret: demoSecret,
				Token: srv.issue(t, demoKey, "alice", "READ_PUBLIC", nil)}
			public, err := http.NewRequest("GET", "https://api.public.test/x?a=1", nil)
			if err != nil {
				t.Fatal(err)
			}
			sign.sign(t, public, "")
			req := srv.request("GET", "/x?a=1", nil)
			req.Header.Set("Authorization", public.Header.Get("Authorization"))
			req.Header.Set("X-Forwarded-Proto", "https")
			req.Header.Set("X-Forwarded-Host", "api.public.test")
			if err := srv.mustDo(t, req).is(status, ""); err != nil {
				t.Error(err)
			}
		})
	}
}
