package command

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
)

// testKey is the private key of an RSA consumer.
var testKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

func TestSignIsVerified(t *testing.T) {
	private, err := testKey()
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	keyFile := writeFile(t, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	secrets := oauth1.Key{ConsumerSecret: "c&s", TokenSecret: "t s"}
	onlyConsumer := oauth1.Key{ConsumerSecret: "c&s"}
	rsaKey := oauth1.Key{Public: &private.PublicKey}
	get := oauth1.Request{Method: "GET", Scheme: "https", Host: "api.example.com", Path: "/a%20b", Query: "x=1&y=%2F"}
	root := oauth1.Request{Method: "GET", Scheme: "http", Host: "api.example.com:8080", Path: "/"}
	post := oauth1.Request{Method: "POST", Scheme: "https", Host: "api.example.com", Path: "/items", Form: []byte("a=b+c&d=%2B")}
	for _, c := range []struct {
		name    string
		stdin   string
		env     map[string]string
		args    []string
		request oauth1.Request
		key     oauth1.Key
		method  string
	}{
		{"secrets on standard input", "c&s\nt s\n", nil, []string{"GET", "https://api.example.com/a%20b?x=1&y=%2F", "--token", "t"}, get, secrets, "HMAC-SHA256"},
		{"lines of Windows", "c&s\r\nt s", nil, []string{"GET", "https://api.example.com/a%20b?x=1&y=%2F#part", "--token", "t"}, get, secrets, "HMAC-SHA256"},
		{"one line only", "c&s", nil, []string{"GET", "http://api.example.com:8080"}, root, onlyConsumer, "HMAC-SHA256"},
		{"an empty line at the end", "c&s\n\r\n", nil,
			[]string{"GET", "http://api.example.com:8080/"}, root, onlyConsumer, "HMAC-SHA256"},
		{"no secret", "", nil, []string{"GET", "http://api.example.com:8080/", "--no-secret"}, root,
			oauth1.Key{}, "HMAC-SHA256"},
		{"a token's secret alone", "t s\n", nil,
			[]string{"GET", "http://api.example.com:8080/", "--no-secret", "--token", "t"}, root,
			oauth1.Key{TokenSecret: "t s"}, "HMAC-SHA256"},
		{"secrets in the environment", "", map[string]string{envConsumerSecret: "c&s", envTokenSecret: "t s"}, []string{"POST", "https://api.example.com/items", "--data", "a=b+c", "--data", "d=%2B", "--token", "t"}, post, secrets, "HMAC-SHA256"},
		{"another method", "c&s\n", nil, []string{"POST", "https://api.example.com/items", "--data", "a=b+c&d=%2B", "--signature-method", "HMAC-SHA1"}, post, onlyConsumer, "HMAC-SHA1"},
		{"PLAINTEXT", "c&s\nt s\n", nil, []string{"GET", "http://api.example.com:8080/", "--token", "t", "--signature-method", "PLAINTEXT"}, root, secrets, "PLAINTEXT"},
		{"RSA", "", nil, []string{"GET", "https://api.example.com/a%20b?x=1&y=%2F", "--private-key", keyFile}, get, rsaKey, "RSA-SHA256"},
		{"RSA-SHA512", "", nil, []string{"GET", "https://api.example.com/a%20b?x=1&y=%2F", "--private-key", keyFile, "--signature-method", "RSA-SHA512"}, get, rsaKey, "RSA-SHA512"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for name, value := range c.env {
				t.Setenv(name, value)
			}
			out, err := runCommand(c.stdin, append([]string{"sign", "--consumer", "key", "--realm", "r", "--callback", "oob", "--verifier", "v", "--nonce", "n", "--timestamp", "17"}, c.args...)...)
			if err != nil {
				t.Fatal(err)
			}
			header, ok := strings.CutPrefix(strings.TrimSuffix(out, "\n"), "Authorization: ")
			if !ok || strings.Contains(header, "\n") {
				t.Fatalf("got %q", out)
			}
			p, err := oauth1.Parse([]string{header}, c.request.Query, c.request.Form)
			if err != nil {
				t.Fatal(err)
			}
			if p.SignatureMethod != c.method || p.ConsumerKey != "key" || p.Realm != "r" || p.Callback != "oob" || p.Verifier != "v" || p.Nonce != "n" || p.Timestamp != "17" {
				t.Errorf("got %s", header)
			}
			if err := oauth1.Verify(&c.request, &p, &c.key); err != nil {
				t.Errorf("%v: %s", err, header)
			}
		})
	}
}

func TestSignRefuses(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"GET", "http://h/", "--consumer", "k", "--signature-method", "RSA-SHA1"}, "signature method RSA-SHA1: the RSA methods need --private-key"},
		{[]string{"GET", "http://h/", "--consumer", "k", "--signature-method", "MD5"}, "oauth_signature_method: not supported"},
		{[]string{"GET", "http://h/?oauth_token=x", "--consumer", "k", "--nonce", "n"},
			"OAuth parameters in two places"},
		{[]string{"GET", "http://h/", "--consumer", "k", "--private-key", "/nowhere"}, "reading the private key"},
		{[]string{"GET", "http://h/", "--consumer", "k", "--private-key", "sign_test.go"}, "parse RSA private key: not PEM"},
		{[]string{"GET", "ftp://h/", "--consumer", "k"}, "must begin with http:// or https://"},
		{[]string{"GET", "/path", "--consumer", "k"}, "must begin with http:// or https://"},
		{[]string{"GET", "http://h/%zz", "--consumer", "k"}, "invalid URL escape"},
		{[]string{"GET", "http://h/a b", "--consumer", "k"}, "holds a space"},
		{[]string{"GET", "http://h/"}, `"consumer" not set`},
		{[]string{"http://h/", "--consumer", "k"}, "accepts 2 arg"},
		{[]string{"GET", "http://h/", "--consumer", "k", "--timestamp", "0"},
			"timestamp 0: must be positive"},
		{[]string{"GET", "http://h/", "--consumer", "k", "--timestamp", "-1"},
			"timestamp -1: must be positive"},
		{[]string{"GET", "http://h/", "--consumer", "k", "--token", "t"},
			"standard input holds no token secret in line 2"},
	} {
		_, err := runCommand("s\n", append([]string{"sign"}, c.args...)...)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: got %v, want %q", c.args, err, c.want)
		}
	}
}

// TestSignNeedsItsSecrets: an empty standard input, or an empty variable of a script, is not a
// secret.
func TestSignNeedsItsSecrets(t *testing.T) {
	args := []string{"sign", "GET", "http://h/", "--consumer", "k", "--token", "t"}
	for _, stdin := range []string{"", "\n", "\r\n", "\nt\n"} {
		out, err := runCommand(stdin, args...)
		if err == nil || !strings.Contains(err.Error(), "no consumer secret in line 1; --no-secret") ||
			ExitCode(err) != 2 || out != "" {
			t.Errorf("%q: got %q, %v", stdin, out, err)
		}
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if out, err := runCommandWith(null, args...); err == nil || out != "" {
		t.Errorf("%s was asked: %q, %v", os.DevNull, out, err)
	}
	out, err := runCommandWith(keyboard{strings.NewReader("c\nt\n")}, args...)
	if err != nil || !strings.HasPrefix(out,
		"Type the consumer secret: Type the token secret: Authorization: OAuth ") {
		t.Errorf("at a terminal: %q, %v", out, err)
	}
	for name, value := range map[string]string{envConsumerSecret: "c", envTokenSecret: ""} {
		t.Setenv(name, value)
	}
	if out, err := runCommand("c\nt\n", args...); err == nil ||
		!strings.Contains(err.Error(), envTokenSecret+" holds no token secret") {
		t.Errorf("an empty variable: %q, %v", out, err)
	}
}
