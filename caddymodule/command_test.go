package caddymodule

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/adminapi"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/command"
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
	command.Build(cmd, command.Policies{Imagine: imagined, Explain: explainPolicy},
		offlineStores)
	root.AddCommand(cmd)
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetIn(stdin)
	root.SetArgs(args)
	err := root.Execute()
	return out.String(), err
}

// keyboard is a terminal with typed input.
type keyboard struct{ io.Reader }

func (keyboard) IsTerminal() bool { return true }

// commandRunner returns a function that runs a command against the admin endpoint.
func (a *testAdmin) commandRunner() func(stdin string, args ...string) (string, error) {
	address := a.commandAddress()
	return func(stdin string, args ...string) (string, error) {
		return runCommand(stdin, append(args, "--address", address)...)
	}
}

// commandAddress returns the address of the admin endpoint.
func (a *testAdmin) commandAddress() string {
	server := httptest.NewServer(a)
	a.t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// squeezed replaces repeated spaces with one, so that the width of a column does not matter.
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
	// The order matters: later steps depend on earlier ones.
	for _, step := range []struct {
		name, stdin string
		args        []string
		want        []string // lines or parts of lines
		failure     string   // a part of the error
	}{
		{"health", "", []string{"health"}, []string{"Status: ok", "Permissions: READ_PUBLIC, WRITE_PUBLIC"}, ""},

		{"a consumer with all flags", "canary-stdin\n", []string{
			"consumer", "add", key, "--name", "Ubuntu", "--homepage", "https://a.example/", "--contact", "ops@a.example", "--callback", "https://a.example/*",
			"--callback", "https://b.example/x,y", "--signature-method", "HMAC-SHA1", "--permission", "READ_PUBLIC", "--permission", "WRITE_PUBLIC",
			"--two-legged-user", "salgado", "--two-legged-permission", "WRITE_PUBLIC", "--expires", "2099-01-31", "--disabled", "--secret-stdin",
		}, []string{
			"Key: " + key, "Name: Ubuntu", "Homepage: https://a.example/", "Contact: ops@a.example", "State: disabled", "Origin: added", "Signs with: HMAC-SHA1",
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
		{"revoke without a filter", "", []string{"revoke"}, nil, "user consumer"},

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
	for i := range adminapi.MaxPage + 1 {
		a.must("POST", "/oauth1/tokens", fmt.Sprintf(`{"key":"t%d","consumer":"app","user":"u","permission":"READ_PUBLIC"}`, i))
	}
	out, err := a.commandRunner()("", "token", "list", "--json")
	if err != nil {
		t.Fatal(err)
	}
	var all adminapi.List[adminapi.Token]
	if err := json.Unmarshal([]byte(out), &all); err != nil {
		t.Fatal(err)
	}
	if len(all.Items) != adminapi.MaxPage+1 || all.Next != "" {
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
