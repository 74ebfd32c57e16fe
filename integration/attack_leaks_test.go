package integration

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// CWE-532 and CWE-209: secrets in logs and in error messages. Canaries go into every field. None
// may appear anywhere but in the one answer that is meant to contain it.
//
// Caddy copies a request into its access and error logs before any handler sees it. If clients put
// their credentials into the query, the site's log and the global log need the filter of
// docs/operating.md (accessLog).
func TestAttackLeaks(t *testing.T) {
	t.Run("with the manual's filter nothing is in any log", func(t *testing.T) {
		attackLeaks(t, site{Global: "metrics\n" + strings.Replace(accessLog, "{", "{\n\tlevel DEBUG", 1),
			Before: accessLog}, "")
	})
	t.Run("without it, only in the URI that Caddy's access and error logs show", func(t *testing.T) {
		attackLeaks(t, site{Global: "metrics\ndebug", Before: "log"}, `"logger":"http.log.`)
	})
}

// attackLeaks allows secrets in lines that contain the text `but`, unless that is empty.
func attackLeaks(t *testing.T, s site, but string) {
	up := newUpstream(t)
	s.App = "consumer demo {\n\tsecret CANARYdeclared\n}\nconsumer legged {\n\tsecret CANARYlegged\n\ttwo_legged robot READ_PUBLIC\n}"
	s.Handler = "reverse_proxy /dead/* 127.0.0.1:1\nreverse_proxy {{.Upstream}}"
	srv := startServer(t, s, up.URL)
	canaries := map[string]string{
		"a declared consumer's secret": "CANARYdeclared", "another's": "CANARYlegged", "a stored consumer's secret": "CANARYstored", "its next secret": "CANARYrotated",
		"a token's secret that was brought along": "CANARYtoken", "a wrong secret": "CANARYwrong", "a form field": "CANARYform", "an Authorization header": "CANARYbasic", "a cookie": "CANARYcookie",
		"a wrong verifier": "CANARYverifier",
	}
	var answers strings.Builder // all answers except those that create credentials and show them
	note := func(r reply) reply {
		fmt.Fprintln(&answers, r.Status, r.Header, r.Body)
		return r
	}
	admin := func(method, path string, body any) object {
		status, answer, err := srv.adminDo(method, path, body)
		if err != nil {
			t.Fatal(err)
		}
		if !(method == "POST" && status/100 == 2) {
			fmt.Fprintln(&answers, method, path, status, answer)
		}
		return answer
	}

	admin("POST", "/oauth1/consumers", object{"key": "stored", "secret": "CANARYstored"})
	// This consumer exists already.
	admin("POST", "/oauth1/consumers", object{"key": "stored", "secret": "CANARYstored"})
	admin("POST", "/oauth1/consumers", object{"key": "bad key\n", "secret": "CANARYstored"})
	admin("POST", "/oauth1/consumers", object{"key": "bad", "secret": "CANARYstored\x00"})
	admin("POST", "/oauth1/consumers", object{"key": "bad", "secret": []string{"CANARYstored"}})
	admin("POST", "/oauth1/consumers", object{"key": "bad", "secret": "CANARYstored", "no_such_field": 1})
	admin("POST", "/oauth1/consumers/demo/rotate", object{"secret": "CANARYrotated"})
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	private := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
	canaries["an RSA private key"] = strings.Split(private, "\n")[5]
	if answer := admin("POST", "/oauth1/consumers", object{"key": "bad", "rsa_public_key": private}); !strings.Contains(fmt.Sprint(answer), "private") {
		t.Errorf("a private key for a public one: %v", answer)
	}
	admin("POST", "/oauth1/tokens", object{"consumer": "stored", "user": "salgado", "permission": "READ_PUBLIC",
		"key": "broughtalong", "secret": "CANARYtoken"})
	admin("POST", "/oauth1/tokens", object{"consumer": "stored", "user": "salgado", "permission": "READ_PUBLIC",
		"key": "broughtalong", "secret": "CANARYtoken"})
	admin("POST", "/oauth1/tokens", object{"consumer": "stored", "user": "salgado", "permission": "NONE", "key": "b2",
		"secret": "CANARYtoken"})
	admin("GET", "/oauth1/tokens/broughtalong", nil)
	brought := token{"broughtalong", "CANARYtoken"}

	w := walker{t, srv, "stored", "CANARYstored"}
	oob := w.requestToken(pair{"oauth_callback", "oob"})
	canaries["a request token's secret"] = oob.Secret
	admin("GET", "/oauth1/request-tokens/"+oob.Key, nil)
	verifier := srv.approve(t, srv.origin()+"/+authorize-token?oauth_token="+oob.Key, "salgado", "READ_PUBLIC").Verifier
	canaries["a verifier"] = verifier
	admin("GET", "/oauth1/request-tokens/"+oob.Key, nil)
	note(w.exchange(oob, pair{"oauth_verifier", "CANARYverifier"}))
	access, err := parseToken(w.exchange(oob, pair{"oauth_verifier", verifier}).Body)
	if err != nil {
		t.Fatal(err)
	}
	canaries["an access token's secret"] = access.Secret
	redirected := w.requestToken(pair{"oauth_callback", "https://client.example/"})
	redirect := srv.approve(t, srv.origin()+"/+authorize-token?oauth_token="+redirected.Key, "salgado",
		"READ_PUBLIC").Redirect
	canaries["a redirect's verifier"] = mustParse(t, redirect).Query().Get("oauth_verifier")

	hmac := signer{Consumer: "stored", Secret: "CANARYstored", Token: access}
	for _, path := range []string{"/ok", "/dead/x"} {
		for _, params := range [][]pair{
			plaintext("stored", "CANARYstored", access), plaintext("stored", "CANARYwrong", access),
			plaintext("nobody", "CANARYwrong", access), plaintext("legged", "CANARYlegged", token{}),
			plaintext("stored", "CANARYstored", brought),
			plaintext("stored", "CANARYstored", token{"nothing", "CANARYwrong"}),
			plaintext("demo", "CANARYdeclared", access),
			append(plaintext("stored", "CANARYstored", access), pair{"oauth_nonce", "twice"},
				pair{"oauth_nonce", "twice"}),
			append(plaintext("stored", "CANARYstored", access), pair{"oauth_version", "9"}),
		} {
			for _, lines := range [][]string{{}, {"Accept: application/json"}} {
				lines = append(lines, "Cookie: session=CANARYcookie")
				inHeader := srv.message("GET", path, append(lines, "Authorization: "+authorization(params)), "")
				inForm := srv.message("POST", path,
					append(lines, "Content-Type: "+formType, "Authorization: Basic CANARYbasic"),
					form(params)+"&f=CANARYform")
				inQuery := srv.message("GET", path+"?"+form(params), lines, "")
				for _, request := range []string{inHeader, inForm, inQuery} {
					if got := srv.raw(t, request); got.Status != http.StatusOK {
						note(got)
					}
				}
			}
			note(w.post("/+request-token", append(params, pair{"oauth_version", "2"})))
			note(w.post("/+access-token", params))
		}
		req := srv.request("GET", path, nil)
		header := hmac.sign(t, req, "").Header.Get("Authorization")
		canaries["the signature for "+path] = signatureOf(t, header)
		note(srv.mustDo(t, req))
		note(srv.mustDo(t, req)) // a replay of it
	}
	admin("POST", "/oauth1/consumers/stored/rotate", object{"secret": "CANARYrotated", "overlap": "1h"})
	for _, path := range []string{"/oauth1/consumers", "/oauth1/consumers/stored", "/oauth1/consumers/demo",
		"/oauth1/tokens", "/oauth1/tokens/" + access.Key, "/oauth1/health"} {
		admin("GET", path, nil)
	}
	admin("PATCH", "/oauth1/consumers/stored", object{"name": "n"})
	admin("PATCH", "/oauth1/consumers/stored", object{"secret": "CANARYstored"})
	for _, path := range []string{"/metrics", "/debug/vars", "/reverse_proxy/upstreams"} {
		resp, err := http.Get("http://127.0.0.1:" + srv.admin + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		fmt.Fprintln(&answers, path, string(body))
	}
	srv.stop()

	log := srv.log.String()
	for _, line := range []string{"/ok", "/dead/x", "request refused", `"upstream roundtrip"`, "request_token.granted"} {
		if !strings.Contains(log, line) {
			t.Errorf("%q is not in the log: it is not the one that was to be looked at", line)
		}
	}
	for what, secret := range canaries {
		if len(secret) < 8 {
			t.Errorf("%s: %q is no canary", what, secret)
		}
		for _, spelt := range []string{secret, url.QueryEscape(secret), escape(escape(secret))} {
			for where, text := range map[string]string{"log": log, "answers": answers.String()} {
				for line := range strings.Lines(text) {
					if strings.Contains(line, spelt) && (but == "" || where != "log" || !strings.Contains(line, but)) {
						t.Errorf("%s is in the %s: %s", what, where, line[:min(len(line), 700)])
					}
				}
			}
		}
	}
	t.Logf("%d canaries, %d bytes of log, %d bytes of answers", len(canaries), len(log), answers.Len())
}

func signatureOf(t *testing.T, header string) string {
	t.Helper()
	pairs, err := headerPairs(header)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pairs {
		if p.name == "oauth_signature" {
			return p.value
		}
	}
	t.Fatal("no signature")
	return ""
}

// CWE-203: an answer does not tell how close a guessed secret was. The answer to a wrong verifier
// does not tell whether a user refused the token.
func TestAttackAnswersTellNothing(t *testing.T) {
	srv := startServer(t, site{Handler: "respond ok"}, "")
	tok := srv.issue(t, demoKey, "salgado", "READ_PUBLIC", nil)
	var first reply
	for i, secret := range []string{"", "x", demoSecret[:len(demoSecret)-1], demoSecret + "x",
		strings.ToUpper(demoSecret), strings.Repeat("x", 5000)} {
		req := signer{Consumer: demoKey, Secret: secret, Token: tok}.sign(t, srv.request("GET", "/", nil), "")
		got := srv.mustDo(t, req)
		got.Header.Del("Date")
		if i == 0 {
			first = got
		}
		if got.Status != http.StatusUnauthorized || got.Body != first.Body ||
			!maps.EqualFunc(got.Header, first.Header,
				func(a, b []string) bool { return fmt.Sprint(a) == fmt.Sprint(b) }) {
			t.Errorf("%q: %d %v %s, and the first %v", secret, got.Status, got.Header, got.Body, first)
		}
	}
}
