package caddymodule

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
)

// runCommand runs `caddy oauth1` with arguments, and returns what it prints.
func runCommand(stdin string, args ...string) (string, error) {
	return runCommandWith(strings.NewReader(stdin), args...)
}

func runCommandWith(stdin io.Reader, args ...string) (string, error) {
	return runCobraWith(stdin, append([]string{"oauth1"}, args...)...)
}

// runCobra runs `caddy` with arguments.
func runCobra(stdin string, args ...string) (string, error) {
	return runCobraWith(strings.NewReader(stdin), args...)
}

func runCobraWith(stdin io.Reader, args ...string) (string, error) {
	root := &cobra.Command{Use: "caddy", SilenceUsage: true, SilenceErrors: true}
	cmd := &cobra.Command{Use: "oauth1 <command>"}
	buildCommands(cmd)
	root.AddCommand(cmd)
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetIn(stdin)
	root.SetArgs(args)
	err := root.Execute()
	return out.String(), err
}

// keyboard is a terminal at which something is typed.
type keyboard struct{ io.Reader }

func (keyboard) IsTerminal() bool { return true }

// commandRunner returns a function that runs a command against the admin endpoint.
func (a *testAdmin) commandRunner() func(stdin string, args ...string) (string, error) {
	address := a.commandAddress()
	return func(stdin string, args ...string) (string, error) {
		return runCommand(stdin, append(args, "--address", address)...)
	}
}

// commandAddress is where the admin endpoint listens.
func (a *testAdmin) commandAddress() string {
	server := httptest.NewServer(a)
	a.t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// squeezed has single spaces, so that the width of a column does not matter.
func squeezed(s string) string { return regexp.MustCompile(` +`).ReplaceAllString(s, " ") }

func writeFile(t testing.TB, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestCommandsThatManage(t *testing.T) {
	a := newTestAdmin(t, declaredConsumers)
	a.seed()
	run := a.commandRunner()
	publicKey := writeFile(t, testPublicKey(t))
	const key = "System-wide: Ubuntu (host/a)"
	// In this order: later ones look at what earlier ones did.
	for _, step := range []struct {
		name, stdin string
		args        []string
		want        []string // lines or parts of lines
		failure     string   // is in the error
	}{
		{"health", "", []string{"health"}, []string{"Status: ok", "Permissions: READ_PUBLIC, WRITE_PUBLIC"}, ""},

		{"a consumer with all flags", "canary-stdin\n", []string{
			"consumer", "add", key, "--name", "Ubuntu", "--homepage", "https://a.example/", "--callback", "https://a.example/*",
			"--callback", "https://b.example/x,y", "--signature-method", "HMAC-SHA1", "--permission", "READ_PUBLIC", "--permission", "WRITE_PUBLIC",
			"--two-legged-user", "salgado", "--two-legged-permission", "WRITE_PUBLIC", "--expires", "2099-01-31", "--disabled", "--secret-stdin",
		}, []string{
			"Key: " + key, "Name: Ubuntu", "Homepage: https://a.example/", "State: disabled", "Origin: added", "Signs with: HMAC-SHA1",
			"Callbacks: https://a.example/* https://b.example/x,y", "Permissions: READ_PUBLIC, WRITE_PUBLIC", "Two-legged: salgado, WRITE_PUBLIC",
			"Expires: 2099-01-31T00:00:00Z",
		}, ""},
		{"it is shown without its secret", "", []string{"consumer", "show", key}, []string{"Key: " + key, "State: disabled"}, ""},
		{"it is enabled", "", []string{"consumer", "enable", key}, []string{"State: active"}, ""},
		{"it is disabled", "", []string{"consumer", "disable", key}, []string{"State: disabled"}, ""},
		{"its secret is rotated", "", []string{"consumer", "rotate", key, "--overlap", "24h"}, []string{"Old secret works until: 2", "Secret: ", "it is not shown again"}, ""},
		{"its secret is rotated to a given one", "canary-2", []string{"consumer", "rotate", key, "--secret-stdin"}, []string{"Key: " + key}, ""},
		{"it is removed", "", []string{"consumer", "remove", key, "--yes"},
			[]string{"is removed, with its 0 access tokens"}, ""},
		{"it is gone", "", []string{"consumer", "show", key}, nil, `consumer "` + key + `": not found`},
		{"an RSA consumer", "", []string{"consumer", "add", "--rsa-public-key", publicKey}, []string{"RSA key: 2048 bits"}, ""},
		{"a consumer without a secret", "", []string{"consumer", "add", "bare", "--no-secret"}, []string{"Secret: (empty)"}, ""},
		{"an RSA key that is not there", "", []string{"consumer", "add", "--rsa-public-key", publicKey + "x"}, nil, "reading the RSA public key"},
		{"no secret on standard input", "\n", []string{"consumer", "add", "--secret-stdin"}, nil,
			"standard input holds no secret in line 1"},
		{"two kinds of secrets", "", []string{"consumer", "add", "--secret-stdin", "--no-secret"}, nil, "secret-stdin"},
		{"half of two_legged", "", []string{"consumer", "add", "--two-legged-user", "u"}, nil, "two-legged-permission"},
		{"the API's refusal", "", []string{"consumer", "add", "ci-bot"}, nil, `consumer "ci-bot": is declared in Caddy's configuration`},
		{"consumers are listed", "", []string{"consumer", "list"}, []string{
			"KEY NAME STATE ORIGIN CREATED", "ci-bot CI bot active declared in the configuration -", "app App active added 2",
		}, ""},

		{"a token is issued", "", []string{
			"token", "issue", "--consumer", "app", "--user", "alice", "--permission", "READ_PUBLIC", "--context", "firefox", "--lifetime", "1d", "--key", "a/b",
		}, []string{"Key: a/b", "Consumer: app", "User: alice", "Permission: READ_PUBLIC", "Context: firefox", "Expires: 2", "Last used: never", "Secret: "}, ""},
		{"a token with a given secret", "canary-3\n", []string{
			"token", "issue", "--consumer", "app", "--user", "bob", "--permission", "READ_PUBLIC", "--key", "k", "--secret-stdin",
		}, []string{"Key: k", "User: bob"}, ""},
		{"a token needs a user", "", []string{"token", "issue", "--consumer", "app", "--permission", "READ_PUBLIC"}, nil, `"user" not set`},
		{"a token is shown", "", []string{"token", "show", "a/b"}, []string{"User: alice"}, ""},
		{"tokens are listed", "", []string{"token", "list", "--user", "bob"}, []string{
			"KEY USER CONSUMER PERMISSION CONTEXT EXPIRES LAST USED\nk bob app READ_PUBLIC - never never\n",
		}, ""},
		{"a token is revoked", "", []string{"token", "revoke", "a/b"}, []string{`The access token "a/b" is revoked.`}, ""},
		{"it is gone", "", []string{"token", "revoke", "a/b"}, nil, `access token "a/b": not found`},

		{"a request token waits", "", []string{"request-token", "show", "back"}, []string{"State: waiting", "Callback: https://app.example.com/ready?x=1"}, ""},
		{"it is granted", "", []string{"request-token", "review", "back", "--user", "alice", "--permission", "READ_PUBLIC"}, []string{
			"State: reviewed", "User: alice", "Verifier: ", "Redirect: https://app.example.com/ready?x=1&oauth_token=back&oauth_verifier=",
		}, ""},
		{"it was reviewed", "", []string{"request-token", "review", "back", "--user", "alice", "--refuse"}, nil, `request token "back": reviewed already`},
		{"another is refused", "", []string{"request-token", "review", "waiting", "--user", "alice", "--refuse"}, []string{"State: refused"}, ""},
		{"grant or refuse", "", []string{"request-token", "review", "oob", "--user", "alice"}, nil, "permission"},
		{"not both", "", []string{"request-token", "review", "oob", "--user", "alice", "--refuse", "--permission", "READ_PUBLIC"}, nil, "permission"},

		{"all tokens of a user are revoked", "", []string{"revoke", "--user", "bob", "--yes"},
			[]string{"Revoked: 1 access token\n"}, ""},
		{"revoke whose?", "", []string{"revoke"}, nil, "user consumer"},

		{"too many arguments", "", []string{"consumer", "show", "a", "b"}, nil, "accepts 1 arg"},
	} {
		t.Run(step.name, func(t *testing.T) {
			out, err := run(step.stdin, step.args...)
			if step.failure != "" {
				if err == nil || !strings.Contains(err.Error(), step.failure) || strings.Contains(err.Error(), "\n") {
					t.Fatalf("error %v, want one line with %q", err, step.failure)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range step.want {
				if !strings.Contains(squeezed(out), want) {
					t.Errorf("got\n%s\nwant %q", out, want)
				}
			}
			if given := strings.TrimSpace(step.stdin); given != "" && strings.Contains(out, given) {
				t.Errorf("shows the secret that was given:\n%s", out)
			}
		})
	}
	for _, entry := range a.logs.All() {
		if line := fmt.Sprint(entry.Message, entry.ContextMap()); strings.Contains(line, "canary") {
			t.Errorf("a secret in the log: %s", line)
		}
	}
}

func TestCommandListsFollowNext(t *testing.T) {
	a := newTestAdmin(t, "")
	a.must("POST", "/oauth1/consumers", `{"key":"app"}`)
	for i := range maxPage + 1 {
		a.must("POST", "/oauth1/tokens", fmt.Sprintf(`{"key":"t%d","consumer":"app","user":"u","permission":"READ_PUBLIC"}`, i))
	}
	out, err := a.commandRunner()("", "token", "list", "--json")
	if err != nil {
		t.Fatal(err)
	}
	var all listView[tokenView]
	if err := json.Unmarshal([]byte(out), &all); err != nil {
		t.Fatal(err)
	}
	if len(all.Items) != maxPage+1 || all.Next != "" {
		t.Errorf("got %d items and next %q", len(all.Items), all.Next)
	}
}

func TestCommandJSONIsTheAnswer(t *testing.T) {
	a := newTestAdmin(t, declaredConsumers)
	a.seed()
	run := a.commandRunner()
	for _, pair := range []struct {
		target string
		args   []string
	}{
		{"/oauth1/consumers/app", []string{"consumer", "show", "app"}},
		{"/oauth1/consumers", []string{"consumer", "list"}},
		{"/oauth1/tokens/tok", []string{"token", "show", "tok"}},
		{"/oauth1/tokens?user=nobody", []string{"token", "list", "--user", "nobody"}},
		{"/oauth1/request-tokens/back", []string{"request-token", "show", "back"}},
		{"/oauth1/health", []string{"health"}},
	} {
		out, err := run("", append(pair.args, "--json")...)
		if err != nil {
			t.Fatal(err)
		}
		var compact bytes.Buffer
		if err := json.Compact(&compact, []byte(out)); err != nil {
			t.Fatal(err)
		}
		if want := strings.TrimSpace(a.call("GET", pair.target, "").Body.String()); compact.String() != want {
			t.Errorf("%q: got\n%s\nwant\n%s", pair.args, compact.String(), want)
		}
	}
	if out, err := run("", "token", "revoke", "tok", "--json"); err != nil || out != "" {
		t.Errorf("an empty answer: %q, %v", out, err)
	}
}

func TestCommandGroups(t *testing.T) {
	for _, args := range [][]string{nil, {"consumer"}, {"token"}, {"request-token"}} {
		out, err := runCommand("", args...)
		if err != nil || !strings.Contains(out, "Available Commands:") {
			t.Errorf("%q alone: %v\n%s", args, err, out)
		}
		_, err = runCommand("", append(args, "destroy")...)
		if err == nil || !strings.Contains(err.Error(), `unknown command "destroy" for "caddy oauth1`) {
			t.Errorf("%q with an unknown command: %v", args, err)
		}
	}
}

func TestCommandWithoutACaddy(t *testing.T) {
	_, err := runCommand("", "health", "--address", "127.0.0.1:1")
	if err == nil || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("got %v", err)
	}
}

func TestCommandTextIsSafeOnATerminal(t *testing.T) {
	if got := onScreen("a\x1b[2J\u202eb\tc?ä"); got != "a?[2J?b?c?ä" {
		t.Errorf("got %q", got)
	}
}

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
	rsaKey := oauth1.Key{RSA: &private.PublicKey}
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
		{"two lines for a request without a token", "c&s\nt s\n", nil,
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
		{[]string{"GET", "http://h/", "--consumer", "k", "--private-key", "command_test.go"}, "parse RSA private key: not PEM"},
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

// TestSignNeedsItsSecrets: nothing on standard input, or an empty variable of a script, is no
// secret.
func TestSignNeedsItsSecrets(t *testing.T) {
	args := []string{"sign", "GET", "http://h/", "--consumer", "k", "--token", "t"}
	for _, stdin := range []string{"", "\n", "\r\n", "\nt\n"} {
		out, err := runCommand(stdin, args...)
		if err == nil || !strings.Contains(err.Error(), "no consumer secret in line 1; --no-secret") ||
			exitCode(err) != 2 || out != "" {
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

func TestExplainGolden(t *testing.T) {
	const header = `Authorization: OAuth realm="x", oauth_consumer_key="ci%20bot", oauth_nonce="abc", oauth_signature="canary%3D", ` +
		`oauth_signature_method="HMAC-SHA1", oauth_timestamp="137131201", oauth_version="1.0"`
	const target = "https://api.example.com:443/a%20b?z=1&a=2%202&a=1"
	const right = "POST&https%3A%2F%2Fapi.example.com%2Fa%2520b&a%3D1%26a%3D2%25202%26body%3Dx%252By%26oauth_consumer_key%3Dci%2520bot%26" +
		"oauth_nonce%3Dabc%26oauth_signature_method%3DHMAC-SHA1%26oauth_timestamp%3D137131201%26oauth_version%3D1.0%26z%3D1"
	changed := func(old, new string) string {
		if !strings.Contains(right, old) {
			t.Fatalf("%q is not in the base string", old)
		}
		return strings.Replace(right, old, new, 1)
	}
	for _, c := range []struct{ file, client string }{
		{"alone", ""},
		{"same", right},
		{"method", changed("POST", "GET")},
		{"scheme", changed("https", "http")},
		{"port", changed("example.com", "example.com%3A443")},
		{"path", changed("a%2520b", "a%20b")},
		{"value", changed("abc", "abd")},
		{"encoded-twice", changed("x%252By", "x%25252By")},
		{"plus", changed("2%25202", "2%2B2")},
		{"missing", changed("%26body%3Dx%252By", "")},
		{"more", changed("%26z%3D1", "%26z%3D1%26zz%3D")},
		{"less", changed("%26z%3D1", "")},
		{"lower-case", changed("%2Fa%2520b", "%2fa%2520b")},
		{"method-lower-case", changed("POST", "post")},
		{"order", changed("a%3D1%26a%3D2%25202", "a%3D2%25202%26a%3D1")},
	} {
		t.Run(c.file, func(t *testing.T) {
			args := []string{"explain", "post", target, "--header", header, "--data", "body=x%2by"}
			if c.client != "" {
				args = append(args, "--base-string", c.client)
			}
			got, err := runCommand("", args...)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(got, "canary") {
				t.Errorf("the signature is shown: %s", got)
			}
			golden := filepath.Join("testdata", "explain", c.file+".txt")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestExplainReadsTheBaseString(t *testing.T) {
	base := "GET&http%3A%2F%2Fh%2F&oauth_consumer_key%3Dk"
	request := []string{"explain", "GET", "http://h/", "--header", `authorization:OAuth oauth_consumer_key="k"`, "--base-string"}
	for _, c := range []struct{ name, value, stdin string }{
		{"a text", base, ""},
		{"a file", writeFile(t, base+"\n"), ""},
		{"standard input", "-", base + "\r\n"},
	} {
		out, err := runCommand(c.stdin, append(request, c.value)...)
		if err != nil || !strings.Contains(out, "The client's base string is the same.") {
			t.Errorf("%s: %v\n%s", c.name, err, out)
		}
	}
	for value, want := range map[string]string{
		"/nowhere":               "neither a text with two & nor a file",
		writeFile(t, "GET&x"):    "the client's base string: has 2 parts",
		writeFile(t, "a&b&c&d"):  "has 4 parts",
		writeFile(t, "a\x1b&\n"): "has 2 parts",
	} {
		if _, err := runCommand("", append(request, value)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", value, err, want)
		}
	}
}

func TestExplainOfOtherSources(t *testing.T) {
	query := url.Values{"oauth_consumer_key": {"k"}, "oauth_signature_method": {"PLAINTEXT"}, "oauth_signature": {"canary&"}}.Encode()
	for _, c := range []struct {
		name string
		args []string
		want []string
	}{
		{"the query", []string{"GET", "http://h/?" + query}, []string{"are in the query", "PLAINTEXT: it covers nothing"}},
		{"the form", []string{"POST", "http://h/", "--data", query}, []string{"are in the form body"}},
		{"a verifier apart from the rest", []string{"POST", "http://h/", "--header", `Authorization: OAuth oauth_token="k"`, "--data", "oauth_verifier=v"},
			[]string{"Only the token endpoints accept this: OAuth parameters in two places", `oauth_verifier = "v"`}},
	} {
		out, err := runCommand("", append([]string{"explain"}, c.args...)...)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range c.want {
			if !strings.Contains(out, want) || strings.Contains(out, "canary") {
				t.Errorf("%s: got\n%s", c.name, out)
			}
		}
	}
}

func TestExplainRefuses(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"GET", "http://h/"}, "no OAuth parameters"},
		{[]string{"GET", "http://h/", "--header", "Host: x"}, "only Authorization"},
		{[]string{"GET", "http://h/", "--header", "Authorization: Basic x"}, "no OAuth parameters"},
		{[]string{"GET", "http://h/", "--header", `Authorization: OAuth oauth_token="%zz"`}, "the server refuses this request: oauth_token: malformed"},
		{[]string{"GET", "http://h/?oauth_token=1&oauth_token=2"}, "the server refuses this request: oauth_token: sent twice"},
	} {
		if _, err := runCommand("", append([]string{"explain"}, c.args...)...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: got %v, want %q", c.args, err, c.want)
		}
	}
}
