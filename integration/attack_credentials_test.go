package integration

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A forger signs requests with the secrets and keys that it has.
type forger struct {
	consumer string
	token    string // its key
	method   string
	secrets  secrets
}

// header signs a GET of the path and lets mangle change the signature.
func (f forger) header(t *testing.T, srv *server, path string, mangle func(string) string) string {
	t.Helper()
	params := []pair{
		{"oauth_consumer_key", f.consumer}, {"oauth_signature_method", f.method},
		{"oauth_timestamp", strconv.FormatInt(time.Now().Unix(), 10)}, {"oauth_nonce", newNonce()},
	}
	if f.token != "" {
		params = append(params, pair{"oauth_token", f.token})
	}
	sig, err := signature(f.method, baseString("GET", "http", "127.0.0.1:"+srv.port, path, params), f.secrets)
	if err != nil {
		t.Fatal(err)
	}
	if mangle != nil {
		sig = mangle(sig)
	}
	return authorization(append(params, pair{"oauth_signature", sig}))
}

func (f forger) get(t *testing.T, srv *server, mangle func(string) string) reply {
	t.Helper()
	return srv.raw(t, srv.message("GET", "/x", []string{"Authorization: " + f.header(t, srv, "/x", mangle)}, ""))
}

// RFC 5849 sections 3.4 and 4: a secret is valid only for its own consumer, token and method.
func TestAttackCredentials(t *testing.T) {
	up := newUpstream(t)
	srv := startServer(t, site{
		More: "http://127.0.0.1:{{.Strict}} {\n\toauth1\n\treverse_proxy {{.Upstream}}\n}",
		Vars: map[string]string{"Strict": freePort(t)},
	}, up.URL)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	public := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	pkcs1 := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY",
		Bytes: x509.MarshalPKCS1PublicKey(&key.PublicKey)}))
	srv.mustAdmin(t, "POST", "/oauth1/consumers", object{"key": "alice", "secret": "alice-secret"})
	srv.mustAdmin(t, "POST", "/oauth1/consumers", object{"key": "eve", "secret": "eve-secret"})
	srv.mustAdmin(t, "POST", "/oauth1/consumers", object{"key": "robot", "rsa_public_key": public})
	srv.mustAdmin(t, "POST", "/oauth1/consumers", object{"key": "changed", "secret": "old-secret"})
	srv.mustAdmin(t, "POST", "/oauth1/consumers/changed/rotate", object{"overlap": "1h"})
	srv.mustAdmin(t, "PATCH", "/oauth1/consumers/changed", object{"rsa_public_key": public})
	alice := srv.issue(t, "alice", "salgado", "WRITE_PRIVATE", nil)
	eve := srv.issue(t, "eve", "eve", "READ_PUBLIC", nil)
	robot := srv.issue(t, "robot", "salgado", "READ_PUBLIC", nil)
	hmacs := []string{"HMAC-SHA1", "HMAC-SHA256", "HMAC-SHA512"}

	// refused checks that the answer is a 400, 401 or 431, and that nothing reaches the upstream.
	refused := func(t *testing.T, what string, got reply, body string) {
		t.Helper()
		if got.Status != http.StatusUnauthorized && got.Status != http.StatusBadRequest &&
			got.Status != http.StatusRequestHeaderFieldsTooLarge || body != "" && got.Body != body {
			t.Errorf("%s: %d %s, want %s", what, got.Status, got.Body, body)
		}
		if n := len(up.take()); n > 0 {
			t.Errorf("%s: reached the upstream", what)
		}
	}

	t.Run("valid for their own purpose", func(t *testing.T) {
		for _, f := range []forger{
			{"alice", alice.Key, "HMAC-SHA1", secrets{consumer: "alice-secret", token: alice.Secret}},
			{"robot", robot.Key, "RSA-SHA256", secrets{key: key}},
		} {
			want(t, f.consumer, f.get(t, srv, nil), http.StatusOK, "")
		}
		up.take()
	})
	t.Run("another consumer's token", func(t *testing.T) {
		for _, s := range []secrets{
			{consumer: "eve-secret", token: alice.Secret}, {consumer: "eve-secret", token: eve.Secret}, {consumer: "eve-secret"}, {consumer: "alice-secret", token: alice.Secret},
		} {
			refused(t, "alice's token", forger{"eve", alice.Key, "HMAC-SHA1", s}.get(t, srv, nil),
				"Unknown access token ("+alice.Key+").")
		}
		refused(t, "no token at all", forger{"eve", "", "HMAC-SHA1", secrets{consumer: "eve-secret"}}.get(t, srv,
			nil), "")
		refused(t, "one's own token with another's secret",
			forger{"eve", eve.Key, "HMAC-SHA1", secrets{consumer: "eve-secret", token: alice.Secret}}.get(t, srv,
				nil), "Invalid signature.")
		refused(t, "alice's key with eve's token",
			forger{"alice", eve.Key, "HMAC-SHA1", secrets{consumer: "eve-secret", token: eve.Secret}}.get(t, srv,
				nil), "Unknown access token ("+eve.Key+").")
		refused(t, "the secrets exchanged", forger{"alice", alice.Key, "HMAC-SHA1",
			secrets{consumer: alice.Secret, token: "alice-secret"}}.get(t, srv, nil), "Invalid signature.")
	})
	t.Run("a request token as an access token, and back", func(t *testing.T) {
		w := walker{t, srv, "alice", "alice-secret"}
		waiting, reviewed := w.requestToken(), w.requestToken()
		srv.review(t, reviewed.Key, "salgado", "WRITE_PRIVATE", nil)
		for _, tok := range []token{waiting, reviewed} {
			refused(t, "a request token", forger{"alice", tok.Key, "HMAC-SHA1",
				secrets{consumer: "alice-secret", token: tok.Secret}}.get(t, srv, nil),
				"Unknown access token ("+tok.Key+").")
		}
		w.want(w.exchange(alice), http.StatusUnauthorized, "The request token is unknown, or was used already.")
		thief := walker{t, srv, "eve", "eve-secret"}
		w.want(thief.exchange(reviewed), http.StatusUnauthorized, "The request token is unknown, or was used already.")
		w.want(w.exchange(token{reviewed.Key, "guessed"}), http.StatusUnauthorized, "Invalid OAuth signature.")
		w.want(w.exchange(reviewed), http.StatusOK, "")
		refused(t, "a request token that was exchanged",
			forger{"alice", reviewed.Key, "HMAC-SHA1",
				secrets{consumer: "alice-secret", token: reviewed.Secret}}.get(t, srv, nil), "")
		up.take()
	})
	// The algorithm confusion of JSON web tokens, CVE-2015-9235 and CVE-2016-10555: a public key is
	// used as a shared secret.
	t.Run("an RSA consumer's public key as its secret", func(t *testing.T) {
		for _, consumer := range []string{"robot", "changed"} {
			tok := robot
			if consumer == "changed" {
				tok = srv.issue(t, "changed", "salgado", "READ_PUBLIC", nil)
			}
			for _, secret := range []string{
				"", public, strings.TrimSpace(public), strings.ReplaceAll(public, "\n", ""),
				strings.ReplaceAll(public, "\n", "\r\n"), pkcs1, string(der),
				base64.StdEncoding.EncodeToString(der), key.N.String(), string(key.N.Bytes()), "old-secret",
			} {
				for _, method := range append(hmacs, "PLAINTEXT") {
					refused(t, method+" with "+strconv.Quote(shorten(secret)),
						forger{consumer, tok.Key, method, secrets{consumer: secret, token: tok.Secret}}.get(t, srv,
							nil), "Invalid signature.")
				}
			}
		}
	})
	t.Run("RSA for a consumer with a secret, or with another's key", func(t *testing.T) {
		other, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		for _, method := range []string{"RSA-SHA1", "RSA-SHA256", "RSA-SHA512"} {
			refused(t, "alice "+method, forger{"alice", alice.Key, method, secrets{key: key}}.get(t, srv, nil),
				"Invalid signature.")
			refused(t, "robot "+method, forger{"robot", robot.Key, method, secrets{key: other}}.get(t, srv, nil),
				"Invalid signature.")
		}
	})
	// RFC 4648 section 3.5 (canonical encoding). Other encodings of a signature would look like
	// different requests to a program that counts requests.
	t.Run("signatures in another base64", func(t *testing.T) {
		bump := func(s string) string { // changes bits that decode to the same bytes
			const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
			body := strings.TrimRight(s, "=")
			last := strings.IndexByte(alphabet, body[len(body)-1])
			return body[:len(body)-1] + string(alphabet[last^1]) + s[len(body):]
		}
		for name, mangle := range map[string]func(string) string{
			"trailing bits": bump,
			"no padding":    func(s string) string { return strings.TrimRight(s, "=") },
			"more padding":  func(s string) string { return s + "=" },
			"a line end":    func(s string) string { return s + "\n" },
			"line ends":     func(s string) string { return s[:4] + "\r\n" + s[4:] },
			"a space":       func(s string) string { return " " + s },
			"URL alphabet":  func(s string) string { return strings.NewReplacer("+", "-", "/", "_").Replace(s) + "\n" },
			"encoded twice": escape,
			"in hex":        func(s string) string { b, _ := base64.StdEncoding.DecodeString(s); return fmt.Sprintf("%x", b) },
			"empty":         func(string) string { return "" },
			"one byte":      func(string) string { return "A" },
			"NUL":           func(s string) string { return s + "\x00" },
			"not ASCII":     func(string) string { return "\xff\xfe é ☃" },
			"shorter":       func(s string) string { return s[:len(s)-4] },
			"twice":         func(s string) string { return s + s },
			"lower case":    func(s string) string { return strings.ToLower(s) + " " },
			"60 kB of it":   func(s string) string { return strings.Repeat(s, 60<<10/len(s)) },
		} {
			for _, f := range []forger{
				{"alice", alice.Key, "HMAC-SHA1", secrets{consumer: "alice-secret", token: alice.Secret}},
				{"alice", alice.Key, "HMAC-SHA256", secrets{consumer: "alice-secret", token: alice.Secret}},
				{"robot", robot.Key, "RSA-SHA1", secrets{key: key}},
				{"alice", alice.Key, "PLAINTEXT", secrets{consumer: "alice-secret", token: alice.Secret}},
			} {
				if f.method == "PLAINTEXT" && (name == "encoded twice" || name == "no padding" ||
					name == "URL alphabet" || name == "in hex" || name == "trailing bits") {
					continue
				}
				refused(t, f.method+" "+name, f.get(t, srv, mangle), "")
			}
		}
	})
	t.Run("PLAINTEXT without TLS", func(t *testing.T) {
		line := "Authorization: " + authorization(plaintext("alice", "alice-secret", alice))
		for _, lines := range [][]string{
			{}, {"X-Forwarded-Proto: https"}, {"X-Forwarded-Proto: http, https"}, {"X-Forwarded-Proto: https", "X-Forwarded-Host: api.example.com", "X-Forwarded-For: 127.0.0.1"},
			{"Forwarded: proto=https"}, {"X-Forwarded-Ssl: on"}, {"Front-End-Https: on"}, {"X-Url-Scheme: https"},
		} {
			got, err := srv.tryRaw(t, "127.0.0.1:"+srv.names["Strict"],
				srv.message("GET", "/x", append(lines, line), ""))
			if err != nil {
				t.Fatal(err)
			}
			refused(t, fmt.Sprint(lines), got, "oauth_signature_method: PLAINTEXT is accepted over HTTPS only.")
		}
		got, err := srv.tryRaw(t, "127.0.0.1:"+srv.names["Strict"],
			srv.message("GET", "https://127.0.0.1/x", []string{line}, ""))
		if err != nil {
			t.Fatal(err)
		}
		refused(t, "https in the request target", got, "")
	})
	// CVE-2014-3150 and many others: a comparison must not tell how close a guess is, nor accept a
	// part.
	t.Run("part of a PLAINTEXT signature", func(t *testing.T) {
		full := "alice-secret&" + alice.Secret
		for _, sig := range []string{"", "&", full[:len(full)-1], full + "&", full + "x", "alice-secret&",
			"&" + alice.Secret, "alice-secret" + alice.Secret, strings.ToUpper(full), " " + full, full + "\x00"} {
			got := forger{"alice", alice.Key, "PLAINTEXT", secrets{}}.get(t, srv, func(string) string { return sig })
			body := "Invalid signature."
			if sig == "" {
				body = "oauth_signature: required."
			}
			refused(t, strconv.Quote(sig), got, body)
		}
	})
}

// OAuth Core 1.0a section 11.12 and the advisory 2009.1 (session fixation): Eve asks for a request
// token and has Alice approve it. Eve gains nothing, because only Alice's browser gets the
// verifier.
func TestAttackSessionFixation(t *testing.T) {
	srv := startServer(t, site{Handler: "respond ok",
		App: "consumer app {\n\tsecret app-secret\n\tcallbacks https://client.example/*\n}\n" + demoApp}, "")
	eve := walker{t, srv, "app", "app-secret"} // Eve uses the application like any user, so it signs for her
	const callback = "https://client.example/ready"
	approve := func(tok token, more string) approval {
		return srv.approve(t, srv.origin()+"/+authorize-token?oauth_token="+tok.Key+more, "alice", "READ_PUBLIC")
	}

	tok := eve.requestToken(pair{"oauth_callback", callback})
	approved := approve(tok, "")
	verifier := mustParse(t, approved.Redirect).Query().Get("oauth_verifier")
	if len(verifier) < 8 {
		t.Fatalf("redirected to %s", approved.Redirect)
	}
	for _, guess := range []string{"", strings.ToUpper(verifier) + "x", verifier[:len(verifier)-1], "%"} {
		eve.want(eve.exchange(tok, pair{"oauth_verifier", guess}), http.StatusUnauthorized, "Invalid OAuth verifier.")
	}
	eve.want(eve.exchange(tok), http.StatusUnauthorized, "Invalid OAuth verifier.")
	eve.want(eve.exchange(tok, pair{"oauth_verifier", verifier}), http.StatusUnauthorized,
		"The request token is unknown, or was used already.")

	t.Run("the link can't lead the verifier elsewhere", func(t *testing.T) {
		for _, more := range []string{
			"&oauth_callback=https%3A%2F%2Fevil.example%2F",
			"&oauth_callback=https%3A%2F%2Fclient.example%2Felsewhere", "&oauth_callback=oob", "&oauth_callback=",
			"&OAUTH_CALLBACK=https%3A%2F%2Fevil.example%2F", "&oauth_callback=a&oauth_callback=b",
		} {
			tok := eve.requestToken(pair{"oauth_callback", callback})
			if got := approve(tok, more).Redirect; !strings.HasPrefix(got, callback+"?oauth_token="+tok.Key) {
				t.Errorf("%s: redirected to %s", more, got)
			}
		}
	})
	t.Run("a verifier is not valid for another token", func(t *testing.T) {
		mine, hers := eve.requestToken(pair{"oauth_callback", "oob"}), eve.requestToken(pair{"oauth_callback", "oob"})
		verifier := srv.approve(t, srv.origin()+"/+authorize-token?oauth_token="+mine.Key, "eve",
			"READ_PUBLIC").Verifier
		approve(hers, "")
		eve.want(eve.exchange(hers, pair{"oauth_verifier", verifier}), http.StatusUnauthorized,
			"Invalid OAuth verifier.")
		eve.want(eve.exchange(mine, pair{"oauth_verifier", verifier}), http.StatusOK, "")
		eve.want(eve.exchange(mine, pair{"oauth_verifier", verifier}), http.StatusUnauthorized,
			"The request token is unknown, or was used already.")
	})
	t.Run("nobody else can see the verifier of an oob token", func(t *testing.T) {
		tok := eve.requestToken(pair{"oauth_callback", "oob"})
		page := srv.asUser(t, "GET", srv.origin()+"/+authorize-token?oauth_token="+tok.Key, "alice", nil)
		done := srv.asUser(t, "POST", srv.origin()+"/+authorize-token?oauth_token="+tok.Key, "alice",
			fillIn(page.Body, "READ_PUBLIC"))
		location, err := mustParse(t, srv.origin()+"/+authorize-token").Parse(done.Header.Get("Location"))
		if err != nil {
			t.Fatal(err)
		}
		if got := srv.asUser(t, "GET", location.String(), "eve", nil); got.Status != http.StatusForbidden || strings.Contains(got.Body, `id="verifier"`) {
			t.Errorf("eve sees %d %s", got.Status, got.Body)
		}
	})
	t.Run("without a callback the page warns", func(t *testing.T) {
		tok := eve.requestToken()
		page := srv.asUser(t, "GET", srv.origin()+"/+authorize-token?oauth_token="+tok.Key+
			"&oauth_callback=https%3A%2F%2Fevil.example%2F", "alice", nil)
		if page.Status == http.StatusOK && (!strings.Contains(page.Body, "did not say where it came from") ||
			strings.Contains(page.Body, "evil.example")) {
			t.Errorf("%d %s", page.Status, page.Body)
		}
	})
}
