package integration

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	dghubble "github.com/dghubble/oauth1"
)

// Real clients with what goes wrong in real life, and what the server says about it.

// sortsFirst is a signer of dghubble/oauth1 that sorts the parameters before it encodes them.
type sortsFirst struct{ dghubble.HMACSigner }

// Sign signs the base string with its parameters in the order of their plain text.
func (s *sortsFirst) Sign(tokenSecret, base string) (string, error) {
	parts := strings.Split(base, "&")
	params := strings.Split(parts[2], "%26")
	plain := func(param string) string {
		once, _ := url.PathUnescape(param)
		twice, _ := url.PathUnescape(once)
		return twice
	}
	slices.SortFunc(params, func(a, b string) int { return strings.Compare(plain(a), plain(b)) })
	parts[2] = strings.Join(params, "%26")
	return s.HMACSigner.Sign(tokenSecret, strings.Join(parts, "&"))
}

// TestTheServerExplainsRealClients: behind a proxy that ends TLS and that no base_url tells of, with
// a library that sorts before it encodes, and with a wrong clock, the operator reads what is wrong;
// so does the client, where the site says so. No log holds a secret.
func TestTheServerExplainsRealClients(t *testing.T) {
	up := newUpstream(t)
	srv := startServer(t, site{App: demoApp + "diagnoses 1000 1000", OAuth1: "explain_refusals consumers demo"}, up.URL)
	tok := srv.issue(t, demoKey, "salgado", "WRITE_PRIVATE", nil)

	behind, err := url.Parse(srv.origin())
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(behind) // it keeps Host, as nginx with proxy_set_header Host
	front := httptest.NewTLSServer(proxy)
	t.Cleanup(front.Close)

	get := func(signer dghubble.Signer, target string) string {
		config := &dghubble.Config{ConsumerKey: demoKey, Signer: signer}
		insecure := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
		ctx := context.WithValue(t.Context(), dghubble.HTTPClient, insecure)
		client := config.Client(ctx, dghubble.NewToken(tok.Key, tok.Secret))
		resp, err := client.Get(target)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusUnauthorized {
			t.Fatalf("%s: %d, %v: %s", target, resp.StatusCode, err, text)
		}
		return string(text)
	}
	for _, c := range []struct {
		name, mistake, refusal, says string
		send                         func() string
	}{
		{"a proxy ends TLS", "scheme", "Invalid signature.", "signed a URL with https://, and the request came with http://", func() string {
			return get(&dghubble.HMACSigner{ConsumerSecret: demoSecret}, front.URL+"/items?a=1")
		}},
		{"a library sorts first", "sorted-before-encoding", "Invalid signature.", "sorted the parameters before it encoded them", func() string {
			return get(&sortsFirst{dghubble.HMACSigner{ConsumerSecret: demoSecret}}, srv.origin()+"/items?b%C3%A9=1&bz=2&b%5B%5D=3")
		}},
		{"a clock is wrong", "timestamp-off", "Timestamp appears to come from bad system clock.", "behind; at most", func() string {
			return srv.shellWithClock(t, tok, "20 minutes ago")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			answer := c.send()
			if answer != "" && (!strings.HasPrefix(answer, c.refusal) || !strings.Contains(answer, c.says)) {
				t.Errorf("the client reads %q", answer)
			}
			code, out := srv.oauth1(t, "", "diagnose", "--consumer", demoKey, "--address", "127.0.0.1:"+srv.admin)
			last := out[strings.LastIndex(strings.TrimSuffix(out, "\n\n"), "\n\n")+1:]
			for _, want := range []string{c.refusal, c.says, "mistake:   " + c.mistake + "\n", "127.0.0.1", "demo token " + tok.Key} {
				if code != 0 || !strings.Contains(last, want) {
					t.Errorf("exit code %d: the operator does not read %q in\n%s", code, want, last)
				}
			}
			if strings.Contains(answer+out, demoSecret) || strings.Contains(answer+out, tok.Secret) {
				t.Error("a secret is shown")
			}
		})
	}
	log := srv.log.tail(10_000)
	for _, mistake := range []string{"scheme", "sorted-before-encoding", "timestamp-off"} {
		if !strings.Contains(log, `"oauth_diagnosis":"`+mistake+`"`) {
			t.Errorf("the log does not say %s", mistake)
		}
	}
	if strings.Contains(log, demoSecret) || strings.Contains(log, tok.Secret) || strings.Contains(log, "oauth_signature%3D") {
		t.Error("the log holds a secret or a signature")
	}
}

// shellWithClock sends a request with the client that is a shell script with openssl and curl, on a
// computer whose date is another one. It returns the answer.
func (srv *server) shellWithClock(t *testing.T, tok token, date string) string {
	t.Helper()
	for _, name := range []string{"bash", "curl", "jq", "openssl"} {
		requireProgram(t, name)
	}
	real := requireProgram(t, "date")
	dir := t.TempDir()
	script := "#!/bin/sh\nexec " + real + " --date '" + date + "' \"$@\"\n"
	if err := os.WriteFile(filepath.Join(dir, "date"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	drive(t, []string{"bash", filepath.Join("clients", "curl", "curl_driver.sh")}, object{
		"method": "HMAC-SHA256", "placement": "header", "consumer": demoKey, "consumer_secret": demoSecret,
		"token": tok.Key, "secret": tok.Secret, "rsa_key": "", "dir": dir, "callback": "",
		"requests": []object{{"name": "late", "method": "GET", "url": srv.origin() + "/items", "kind": ""}},
	}, noQuestions(t), new(object))
	answer, err := os.ReadFile(filepath.Join(dir, "answer"))
	if err != nil {
		t.Fatal(err)
	}
	return string(answer)
}
