package integration

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestIdentityHeaders(t *testing.T) {
	up := newUpstream(t)
	srv := startServer(t, site{
		OAuth1: "policy /public/* {\n\tanonymous\n}\npolicy {\n\tpermission READ_PUBLIC\n}",
		More: `
http://127.0.0.1:{{.Custom}} {
	oauth1 {
		insecure_plaintext_over_http
		identity_headers {
			user Remote-User
			permission X-Scope
		}
	}
	reverse_proxy {{.Upstream}} {
		header_up X-Placeholders "{http.auth.user.id}|{http.auth.user.consumer}|{http.auth.user.permission}|{http.auth.user.context}"
	}
}`,
		Vars: map[string]string{"Custom": freePort(t)},
	}, up.URL)
	tok := srv.issue(t, demoKey, "salgado", "READ_PUBLIC", object{"context": "firefox"})
	credentials := "Authorization: " + authorization(plaintext(demoKey, demoSecret, tok)) + "\r\n"
	genuine := []string{"X-Oauth-Consumer: demo", "X-Oauth-Context: firefox", "X-Oauth-Permission: READ_PUBLIC",
		"X-Oauth-Token: " + tok.Key, "X-Oauth-User: salgado"}

	// identity sends a request by hand, and returns the header lines that could be read as an
	// identity.
	identity := func(t *testing.T, port, request string) (lines []string, trailer http.Header) {
		t.Helper()
		up.take()
		conn, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(patience))
		io.WriteString(conn, request)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s", resp.Status, body)
		}
		got := up.last(t)
		for _, line := range got.Lines {
			name := strings.NewReplacer("_", "-", ".", "-").Replace(strings.ToLower(strings.SplitN(line, ":", 2)[0]))
			if strings.HasPrefix(name, "x-oauth-") || name == "remote-user" || name == "x-scope" ||
				name == "x-placeholders" {
				lines = append(lines, line)
			}
		}
		slices.Sort(lines)
		return lines, got.Trailer
	}
	get := func(path, headers string) string {
		return "GET " + path + " HTTP/1.1\r\nHost: 127.0.0.1:" + srv.port + "\r\n" + headers + "\r\n"
	}

	t.Run("a signed request carries its identity", func(t *testing.T) {
		if got, _ := identity(t, srv.port, get("/", credentials)); !slices.Equal(got, genuine) {
			t.Errorf("%q, want %q", got, genuine)
		}
	})
	t.Run("a token without a context carries no context", func(t *testing.T) {
		plain := srv.issue(t, demoKey, "mark", "READ_PUBLIC", nil)
		got, _ := identity(t, srv.port, get("/",
			"Authorization: "+authorization(plaintext(demoKey, demoSecret, plain))+"\r\n"))
		for _, line := range got {
			if name, value, _ := strings.Cut(line, ":"); name == "X-Oauth-Context" && strings.TrimSpace(value) != "" {
				t.Errorf("%q", line)
			}
		}
	})
	t.Run("a user's name may be UTF-8", func(t *testing.T) {
		tok := srv.issue(t, demoKey, "Jürgen ☃", "READ_PUBLIC", nil)
		got, _ := identity(t, srv.port, get("/",
			"Authorization: "+authorization(plaintext(demoKey, demoSecret, tok))+"\r\n"))
		if !slices.Contains(got, "X-Oauth-User: Jürgen ☃") {
			t.Errorf("%q", got)
		}
	})
	forged := []struct{ name, headers string }{
		{"by its own name", "X-OAuth-User: mark\r\n"},
		{"in lower case", "x-oauth-user: mark\r\nx-oauth-permission: WRITE_PRIVATE\r\n"},
		{"in upper case", "X-OAUTH-USER: mark\r\n"},
		{"with underscores", "X_OAuth_User: mark\r\n"},
		{"with one underscore", "X-OAuth_User: mark\r\nX_OAuth-Token: k\r\n"},
		{"with dots", "X.OAuth.User: mark\r\nX-OAuth.Context: c\r\n"},
		{"repeated", "X-OAuth-User: mark\r\nX-OAuth-User: eve\r\n"},
		{"empty", "X-OAuth-User:\r\n"},
		{"all of them", "X-OAuth-User: a\r\nX-OAuth-Consumer: b\r\nX-OAuth-Permission: c\r\nX-OAuth-Context: d\r\nX-OAuth-Token: e\r\n"},
		{"listed by Connection", "X-OAuth-User: mark\r\nConnection: X-OAuth-User, x-oauth-permission, X-OAuth-Token, close\r\n"},
	}
	for _, c := range forged {
		t.Run("a forged one is replaced: "+c.name, func(t *testing.T) {
			if strings.Contains(c.headers, "Connection:") {
				want(t, "signed", srv.raw(t, get("/", c.headers+credentials)), http.StatusBadRequest, "")
				return
			}
			if got, _ := identity(t, srv.port, get("/", c.headers+credentials)); !slices.Equal(got, genuine) {
				t.Errorf("%q, want %q", got, genuine)
			}
		})
		t.Run("a forged one of an anonymous request is removed: "+c.name, func(t *testing.T) {
			got, _ := identity(t, srv.port, get("/public/a", c.headers))
			for _, line := range got {
				if _, value, _ := strings.Cut(line, ":"); strings.TrimSpace(value) != "" {
					t.Errorf("%q", got)
				}
			}
		})
	}
	t.Run("a forged trailer is removed, others stay", func(t *testing.T) {
		for _, name := range []string{"X-OAuth-User", "x_oauth_user", "X.OAuth-Token"} {
			_, trailer := identity(t, srv.port,
				"GET / HTTP/1.1\r\nHost: 127.0.0.1:"+srv.port+"\r\nContent-Type: text/plain\r\n"+credentials+
					"Trailer: "+name+", X-Digest\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n"+name+
					": mark\r\nX-Digest: abc\r\n\r\n")
			for n := range trailer {
				if n != "X-Digest" {
					t.Errorf("the upstream got the trailer %v", trailer)
				}
			}
			if trailer.Get("X-Digest") != "abc" {
				t.Errorf("the upstream got the trailer %v", trailer)
			}
		}
	})
	t.Run("names of the site's own, and placeholders", func(t *testing.T) {
		got, _ := identity(t, srv.names["Custom"],
			"GET / HTTP/1.1\r\nHost: 127.0.0.1:"+srv.names["Custom"]+"\r\nremote_user: mark\r\n"+credentials+"\r\n")
		for _, want := range []string{"Remote-User: salgado", "X-Scope: READ_PUBLIC",
			"X-Placeholders: salgado|demo|READ_PUBLIC|firefox"} {
			if !slices.Contains(got, want) {
				t.Errorf("%q, want %q", got, want)
			}
		}
		if slices.ContainsFunc(got, func(line string) bool { return strings.Contains(line, "mark") }) {
			t.Errorf("%q", got)
		}
	})
}

func TestCredentialsStopAtTheDirective(t *testing.T) {
	up := newUpstream(t)
	srv := startServer(t, site{
		Handler: "reverse_proxy {{.Upstream}} {\n\theader_up X-Original {http.request.orig_uri}\n}",
		More:    "http://127.0.0.1:{{.Keeps}} {\n\toauth1 {\n\t\tinsecure_plaintext_over_http\n\t\tkeep_authorization\n\t}\n\treverse_proxy {{.Upstream}}\n}",
		Vars:    map[string]string{"Keeps": freePort(t)},
	}, up.URL)
	tok := srv.issue(t, demoKey, "salgado", "WRITE_PRIVATE", nil)
	params := plaintext(demoKey, demoSecret, tok)
	header := authorization(params)

	t.Run("the Authorization header is removed", func(t *testing.T) {
		req := srv.request("GET", "/", nil)
		req.Header.Set("Authorization", header)
		got := parseReceived(t, srv.mustDo(t, req))
		if values := got.Header.Values("Authorization"); len(values) > 0 {
			t.Errorf("the upstream got Authorization: %q", values)
		}
	})
	for _, c := range []struct{ name, before, after, want string }{
		{"all of it", "", "", "/a%2Fb"},
		{"after others", "x=%7e&y+z=%20&", "", "/a%2Fb?x=%7e&y+z=%20"},
		{"before others", "", "&x=%7e&&=", "/a%2Fb?x=%7e&&="},
		{"between others", "b=2&a=1&", "&a=%31", "/a%2Fb?b=2&a=1&a=%31"},
	} {
		t.Run("OAuth parameters in the query are removed, the rest is unchanged: "+c.name, func(t *testing.T) {
			got := parseReceived(t, srv.mustDo(t, srv.request("GET", "/a%2Fb?"+c.before+form(params)+c.after, nil)))
			if original := got.Header.Get("X-Original"); got.URI != c.want || original != c.want {
				t.Errorf("the upstream got %s, and %s as the original, want %s", got.URI, original, c.want)
			}
		})
	}
	t.Run("another Authorization beside a signed query stays", func(t *testing.T) {
		req := srv.request("GET", "/?"+form(params), nil)
		req.Header.Set("Authorization", "Basic YTpi")
		if got := parseReceived(t, srv.mustDo(t, req)); got.Header.Get("Authorization") != "Basic YTpi" {
			t.Errorf("the upstream got %v", got.Header)
		}
	})
	t.Run("a signed form is unchanged", func(t *testing.T) {
		body := "b=%7e&" + form(params) + "&a=+"
		req := srv.request("POST", "/", strings.NewReader(body))
		req.Header.Set("Content-Type", formType)
		if got := parseReceived(t, srv.mustDo(t, req)); string(got.Body) != body {
			t.Errorf("the upstream got %s, want %s", got.Body, body)
		}
	})
	t.Run("keep_authorization keeps it", func(t *testing.T) {
		req, err := http.NewRequest("GET", "http://127.0.0.1:"+srv.names["Keeps"]+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", header)
		if got := parseReceived(t, srv.mustDo(t, req)); got.Header.Get("Authorization") != header {
			t.Errorf("the upstream got %v", got.Header)
		}
	})
}
