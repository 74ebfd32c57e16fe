package command

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/adminapi"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
)

// signedHeader signs a GET request for http://h/x?a=1.
func signedHeader(t *testing.T, signer oauth1.Signer) string {
	t.Helper()
	signer.SignatureMethod = "HMAC-SHA256"
	header, err := signer.Sign(&oauth1.Request{Method: "GET", Scheme: "http", Host: "h", Path: "/x", Query: "a=1"})
	if err != nil {
		t.Fatal(err)
	}
	return "Authorization: " + header
}

// TestExplainByTheSecrets: with the secrets on standard input, explain names the mistake, and shows
// no secret.
func TestExplainByTheSecrets(t *testing.T) {
	right := oauth1.Signer{ConsumerKey: "app", ConsumerSecret: "s3cr3t", Token: "t", TokenSecret: "t0k3n"}
	noToken := oauth1.Signer{ConsumerKey: "app", ConsumerSecret: "s3cr3t\n"}
	swapped := right
	swapped.ConsumerSecret, swapped.TokenSecret = right.TokenSecret, right.ConsumerSecret
	for _, c := range []struct {
		name, url, stdin, want string
		signer                 oauth1.Signer
	}{
		{"right", "http://h/x?a=1", "s3cr3t\nt0k3n\n", "The signature is right.", right},
		{"swapped", "http://h/x?a=1", "s3cr3t\nt0k3n\n", "The mistake's name: secrets-swapped", swapped},
		{"no token", "http://h/x?a=1", "s3cr3t\n", "The mistake's name: secret-with-blank", noToken},
		{"TLS ends before", "https://h/x?a=1", "s3cr3t\nt0k3n\n", "GET&http%3A%2F%2Fh%2Fx&a%3D1", right},
		{"another secret", "http://h/x?a=1", "other\nt0k3n\n", "the secret is another one", right},
	} {
		out, err := runCommand(c.stdin, "explain", "GET", c.url, "--header", signedHeader(t, c.signer), "--secret-stdin")
		if err != nil || !strings.Contains(out, c.want) || strings.Contains(out, "s3cr3t") || strings.Contains(out, "t0k3n") {
			t.Errorf("%s: %v\n%s", c.name, err, out)
		}
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--secret-stdin"}, "token secret in line 2"},
		{[]string{"--secret-stdin", "--base-string", "-"}, "both read standard input"},
		{[]string{"--token", "t"}, "--token needs --consumer"},
		{[]string{"--secret-stdin", "--consumer", "app"}, "none of the others can be"},
		{[]string{"--public-key", "/nowhere"}, "reading the public key"},
	} {
		args := append([]string{"explain", "GET", "http://h/x?a=1", "--header", signedHeader(t, right)}, c.args...)
		if _, err := runCommand("s3cr3t\n", args...); err == nil || ExitCode(err) != exitUsage || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v", c.args, err)
		}
	}
}

// TestExplainByTheServer: the request and the names of the keys are sent, and the answer is shown.
func TestExplainByTheServer(t *testing.T) {
	var got adminapi.SignedRequest
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.URL.Path != adminapi.ExplainPath || json.NewDecoder(r.Body).Decode(&got) != nil {
			t.Errorf("%s %s", r.Method, r.URL)
		}
		_ = json.NewEncoder(w).Encode(adminapi.Explanation{
			Mistakes: []string{"scheme"}, Diagnosis: "The scheme.", ClientBaseString: "GET&x&y", Policy: "who:     alice\nanswer:  passes to the upstream\n",
		})
	}))
	defer server.Close()
	header := signedHeader(t, oauth1.Signer{ConsumerKey: "app", ConsumerSecret: "s"})
	out, err := runCommand("", "explain", "GET", "http://h/x?a=1#top", "--header", header,
		"--consumer", "app", "--token", "tok", "--address", strings.TrimPrefix(server.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	want := adminapi.SignedRequest{
		Method: "GET", URL: "http://h/x?a=1", Authorization: strings.TrimPrefix(header, "Authorization: "), Consumer: "app", Token: "tok",
	}
	if got != want {
		t.Errorf("sent %+v", got)
	}
	for _, part := range []string{
		"\nThe scheme.\nThe mistake's name: scheme\n", "\nThe base string that the client signed:\nGET&x&y\n",
		"\nWith a right signature and a new timestamp:\n  who:     alice\n  answer:  passes to the upstream\n",
	} {
		if !strings.Contains(out, part) {
			t.Errorf("no %q in\n%s", part, out)
		}
	}
}

// TestDiagnose: refused requests for people and as JSON; what came from a client can't move the
// cursor.
func TestDiagnose(t *testing.T) {
	at := time.Date(2026, 11, 26, 19, 30, 0, 0, time.UTC)
	var query string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query = r.URL.RawQuery
		_ = json.NewEncoder(w).Encode(adminapi.Diagnoses{Items: []adminapi.Diagnosis{{
			Time: at, Client: "203.0.113.7", Consumer: "app", Token: "t\x1b[2J", Method: "GET", URL: "http://h/x", Reason: "signature_invalid",
			Refusal: "Invalid signature.", Mistakes: []string{"scheme", "http-method"}, Diagnosis: "The scheme. And: the method.",
			BaseString: "GET&a&b", ClientBaseString: "GET&c&d",
		}, {
			Time: at.Add(time.Second), Consumer: "app", Method: "GET", URL: "http://h/y", Refusal: "This request is denied.",
		}}})
	}))
	defer server.Close()
	address := strings.TrimPrefix(server.URL, "http://")
	out, err := runCommand("", "diagnose", "--consumer", "app", "--since", "2026-01-01T00:00:00Z", "--address", address)
	const want = `2026-11-26T19:30:00Z  203.0.113.7  app token t?[2J
  GET http://h/x
  refused:   Invalid signature.
  diagnosis: The scheme. And: the method.
  mistake:   scheme, http-method
  server:    GET&a&b
  client:    GET&c&d

2026-11-26T19:30:01Z  -  app
  GET http://h/y
  refused:   This request is denied.

`
	if err != nil || out != want || query != "consumer=app&since=2026-01-01T00%3A00%3A00Z" {
		t.Errorf("%v, asked %q:\n%s", err, query, out)
	}
	out, err = runCommand("", "diagnose", "--json", "--address", address)
	var answer adminapi.Diagnoses
	if err != nil || json.Unmarshal([]byte(out), &answer) != nil || len(answer.Items) != 2 || query != "" {
		t.Errorf("%v: %s", err, out)
	}
}
