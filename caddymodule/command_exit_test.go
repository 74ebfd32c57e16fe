package caddymodule

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/command"
)

func TestCommandExitCodes(t *testing.T) {
	a := newTestAdmin(t, declaredConsumers)
	a.seed()
	run := a.commandRunner()
	for _, c := range []struct {
		name string
		code int
		args []string
		want string
	}{
		{"done", 0, []string{"consumer", "show", "app"}, ""},

		{"an unknown flag", 2, []string{"consumer", "list", "--all"}, "unknown flag"},
		{"a missing argument", 2, []string{"consumer", "show"}, "accepts 1 arg"},
		{"too many arguments", 2, []string{"consumer", "list", "x"}, "unknown command"},
		{"a missing flag", 2, []string{"token", "issue", "--consumer", "app"}, "not set"},
		{"flags that exclude each other", 2,
			[]string{"token", "issue", "--consumer", "app", "--user", "u", "--permission", "READ_PUBLIC",
				"--lifetime", "1h", "--expires", "2099-01-31"}, "expires lifetime"},
		{"an empty key", 2, []string{"consumer", "add", ""}, "is empty"},
		{"an empty key to remove", 2, []string{"consumer", "remove", "", "--yes"}, "is empty"},
		{"an empty flag", 2, []string{"consumer", "add", "--expires", ""}, "flag --expires: is empty"},
		{"an empty flag of several", 2,
			[]string{"consumer", "add", "--permission", "READ_PUBLIC", "--permission", ""},
			"flag --permission: is empty"},
		{"an empty file name", 2, []string{"consumer", "add", "--rsa-public-key", ""},
			"flag --rsa-public-key: is empty"},
		{"nothing on standard input", 2, []string{"consumer", "add", "--secret-stdin"}, "no secret"},
		{"no terminal", 2, []string{"consumer", "remove", "app"}, "confirm this with --yes"},
		{"no terminal to confirm a user", 2, []string{"revoke", "--user", "salgado"}, "confirm this with --yes"},
		{"an update of nothing", 2, []string{"consumer", "update", "app"}, "nothing to change"},
		{"a setting that can't be cleared", 2, []string{"consumer", "update", "app", "--clear", "key"},
			"must be one of name, homepage"},
		{"an RSA key can't be taken away", 2,
			[]string{"consumer", "update", "rsa", "--clear", "rsa-public-key"}, "must be one of"},
		{"a setting that is given and cleared", 2,
			[]string{"consumer", "update", "app", "--clear", "name", "--name", "x"}, "given as well"},

		{"no such consumer", 3, []string{"consumer", "show", "nobody"}, "not found"},
		{"no such consumer to remove", 3, []string{"consumer", "remove", "nobody"}, "not found"},
		{"no such consumer to update", 3, []string{"consumer", "update", "nobody", "--name", "x"},
			"not found"},
		{"no such token", 3, []string{"token", "revoke", "nothing"}, "not found"},
		{"no such request token", 3, []string{"request-token", "show", "nothing"}, "not found"},
		{"no such consumer for a token", 3,
			[]string{"token", "issue", "--consumer", "nobody", "--user", "u", "--permission",
				"READ_PUBLIC"}, "not found"},

		{"a key that is taken", 4, []string{"consumer", "add", "app"}, "exists already"},
		{"a declared consumer", 4, []string{"consumer", "remove", "ci-bot"},
			"declared in Caddy's configuration"},
		{"a date in the past", 4, []string{"consumer", "add", "--expires", "2020-01-31"}, "is in the past"},
		{"a date in the past for a token", 4,
			[]string{"token", "issue", "--consumer", "app", "--user", "u", "--permission", "READ_PUBLIC",
				"--expires", "2020-01-31"}, "is in the past"},
		{"a lifetime below 0", 4,
			[]string{"token", "issue", "--consumer", "app", "--user", "u", "--permission", "READ_PUBLIC",
				"--lifetime", "-1h"}, "lifetime"},
		{"an overlap below 0", 4, []string{"consumer", "rotate", "app", "--overlap", "-1h"}, "overlap"},
		{"a change that the server does not accept", 4,
			[]string{"consumer", "update", "rsa", "--signature-method", "HMAC-SHA1"}, "no key for it"},

		{"a file that is not there", 2, []string{"consumer", "add", "--rsa-public-key", "/nowhere"},
			"no such file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, err := run("", c.args...)
			if command.ExitCode(err) != c.code || c.code != 0 && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %d, %v, want %d, %q\n%s", command.ExitCode(err), err, c.code, c.want, out)
			}
		})
	}
	for _, args := range [][]string{{"consumer", "destroy"}, {"token", "list", "--user"}, {"sign", "GET"},
		{"sign", "", "http://h/", "--consumer", "k"}, {"policy", "GET", "/x"}} {
		if out, err := runCommand("", args...); command.ExitCode(err) != 2 {
			t.Errorf("%q: got %v\n%s", args, err, out)
		}
	}
	if out, err := runCommand("", "consumer"); err != nil || !strings.Contains(out, "Usage:") {
		t.Errorf("help: %v\n%s", err, out)
	}
	if a.must("GET", "/oauth1/tokens/tok", "")["user"] != "salgado" {
		t.Error("a token was revoked")
	}
	if err := a.store().Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := run("", "consumer", "list"); command.ExitCode(err) != 1 {
		t.Errorf("a store that is out of reach: %v", err)
	}
	if _, err := runCommand("", "consumer", "list", "--address", "127.0.0.1:1"); command.ExitCode(err) != 1 ||
		!strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("no server: %v", err)
	}
}

// TestCommandsAskBeforeTheyRevoke: the commands say how much they revoke, and only "yes" confirms.
func TestCommandsAskBeforeTheyRevoke(t *testing.T) {
	a := newTestAdmin(t, "")
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	for _, c := range []struct {
		name string
		args []string
		asks string
	}{
		{"a consumer is removed", []string{"consumer", "remove", "app"},
			`The consumer "app" will be removed, with its 3 access tokens. Go on? [y/N] `},
		{"a user's grants end", []string{"revoke", "--user", "alice"},
			`2 access tokens of the user "alice" will be revoked. Go on? [y/N] `},
		{"a consumer's grants end", []string{"revoke", "--consumer", "app"},
			`3 access tokens of the consumer "app" will be revoked. Go on? [y/N] `},
		{"a user's grants to a consumer end", []string{"revoke", "--user", "bob", "--consumer", "app"},
			`1 access token of the user "bob" of the consumer "app" will be revoked. Go on? [y/N] `},
	} {
		t.Run(c.name, func(t *testing.T) {
			a.must("POST", "/oauth1/consumers", `{"key":"app"}`)
			t.Cleanup(func() { a.call("DELETE", "/oauth1/consumers/app", "") })
			for _, user := range []string{"alice", "alice", "bob"} {
				a.must("POST", "/oauth1/tokens",
					`{"consumer":"app","user":"`+user+`","permission":"READ_PUBLIC"}`)
			}
			there := func() int { return len(a.must("GET", "/oauth1/tokens", "")["items"].([]any)) }
			args := append(c.args, "--address", strings.TrimPrefix(server.URL, "http://"))
			for _, typed := range []string{"", "\n", "n\n", "no\n", "yes please\n"} {
				out, err := runCommandWith(keyboard{strings.NewReader(typed)}, args...)
				if command.ExitCode(err) != 1 || err.Error() != "nothing was changed" || out != c.asks {
					t.Errorf("%q: got %q, %v", typed, out, err)
				}
			}
			if n := there(); n != 3 {
				t.Fatalf("there are %d tokens", n)
			}
			out, err := runCommandWith(keyboard{strings.NewReader("Yes\n")}, args...)
			if err != nil || !strings.HasPrefix(out, c.asks) || there() == 3 {
				t.Errorf("yes: got %q, %v, and there are %d tokens", out, err, there())
			}
		})
	}
}
