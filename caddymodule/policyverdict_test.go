package caddymodule

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/command"
)

// TestPolicyCommand: the command's answers about a configuration, which it never starts and whose
// secrets are missing.
func TestPolicyCommand(t *testing.T) {
	config, err := adapt(`{
	admin off
	oauth1 {
		store badger {env.NO_SUCH_FOLDER}
		consumer ci-bot {
			secret {env.NO_SUCH_SECRET}
			two_legged robot READ_PUBLIC
		}
		consumer rsa {
			rsa_public_key {file.no-such.pem}
			signature_methods RSA-SHA256
		}
	}
}
http://api.test {
	@project path_regexp project ^/projects/([^/]+)/
	handle /health {
		respond ok
	}
	handle_path /v1/* {
		oauth1 {
			policy /open/* {
				anonymous
			}
			policy @project {
				context {re.project.1}
			}
			policy /admin/* {
				consumers ops-*
				permission GET READ_PRIVATE
			}
		}
		reverse_proxy 127.0.0.1:9
	}
	handle {
		oauth1
		reverse_proxy 127.0.0.1:9
	}
}
http://other.test:8080 {
	route {
		rewrite /old/* /admin{uri}
		oauth1 {
			policy /admin/* {
				deny
			}
			policy {
				anonymous
			}
		}
	}
}
`)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, method, url string
		caller            command.Caller
		refused           bool
		says              string
	}{
		{"anonymous by policy", "GET", "http://api.test/v1/open/x", command.Caller{}, false, "policy:  1 of 3: anonymous\nanswer:  passes"},
		{"the path after handle_path", "GET", "http://api.test/v1/admin/x", command.Caller{User: "alice", Consumer: "ops-1", Permission: "READ_PRIVATE"}, false, "request: GET /admin/x\nwho:     user alice with READ_PRIVATE, by consumer ops-1\npolicy:  3 of 3: consumers ops-*; permission GET READ_PRIVATE\nanswer:  passes"},
		{"the level", "GET", "http://api.test/v1/admin/x", command.Caller{User: "alice", Consumer: "ops-1", Permission: "READ_PUBLIC"}, true, "answer:  403 This request needs the permission READ_PRIVATE."},
		{"an undeclared level", "GET", "http://api.test/v1/admin/x", command.Caller{User: "alice", Permission: "READ_MINDS"}, true, "answer:  403 The permission READ_MINDS is not accepted here."},
		{"the context", "GET", "http://api.test/v1/projects/a/x", command.Caller{User: "alice", Permission: "READ_PUBLIC", Context: "b"}, true, "answer:  403 The access token was granted for another context."},
		{"no policy", "GET", "http://api.test/v1/else", command.Caller{User: "alice", Permission: "READ_PUBLIC"}, true, "policy:  none of 3 matches\nanswer:  403"},
		{"the default policy, two-legged", "GET", "http://api.test/x", command.Caller{Consumer: "ci-bot"}, false, "user robot with READ_PUBLIC, by consumer ci-bot"},
		{"the default policy writes with more", "POST", "http://api.test/x", command.Caller{Consumer: "ci-bot"}, true, "needs the permission WRITE_PUBLIC"},
		{"anonymous", "GET", "http://api.test/x", command.Caller{}, true, "nobody (anonymous)"},
		{"a way past oauth1", "GET", "http://api.test/health", command.Caller{}, false, "no oauth1 directive is on the way"},
		{"an endpoint", "GET", "http://api.test/+request-token", command.Caller{}, false, "is an endpoint"},
		{"a rewrite", "GET", "http://other.test:8080/old/x", command.Caller{}, true, "request: GET /admin/old/x"},
		{"a method in lower case", "get", "http://api.test/x", command.Caller{Consumer: "ci-bot"}, true, "answer:  400 The method get must be written in upper case."},
		{"a path that is not plain", "GET", "http://api.test/v1/open/../admin/x", command.Caller{}, true, "answer:  400 The path holds a dot segment"},
		{"another site", "GET", "http://other.test:8080/x", command.Caller{}, false, "policy:  2 of 2: anonymous"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, err := imagined(test.method, test.url)
			if err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			err = explainPolicy(&out, config, r, test.caller)
			if errors.Is(err, errRefused) != test.refused || (err != nil && !test.refused) {
				t.Errorf("error %v", err)
			}
			if !strings.Contains(out.String(), test.says) {
				t.Errorf("says:\n%s", out.String())
			}
		})
	}
}

// TestPolicyCommandRefuses: the command's errors say why there is no answer.
func TestPolicyCommandRefuses(t *testing.T) {
	t.Chdir(t.TempDir())
	config := writeFile(t, "{\n\tadmin off\n}\nhttp://api.test {\n\toauth1\n}\n")
	with := func(args ...string) []string {
		return append([]string{"policy", "GET", "http://api.test/x", "--config", config, "--adapter", "caddyfile"}, args...)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"policy", "GET", "http://api.test/x"}, "no Caddyfile in this folder; name a configuration with --config"},
		{[]string{"policy", "GET", "http://api.test/x", "--config", config + "x"}, "no such file"},
		{[]string{"policy", "GET", "/x", "--config", config, "--adapter", "caddyfile"}, "must be an http or https URL with a host"},
		{with("--user", "alice"), "permission"},
		{with("--permission", "READ_PUBLIC"), "user"},
		{with(), "the request is refused"},
	} {
		if _, err := runCommand("", c.args...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: got %v, want %q", c.args, err, c.want)
		}
	}
	if _, err := runCommand("", with("--user", "alice", "--permission", "READ_PUBLIC")...); err != nil {
		t.Error(err)
	}
}

// TestPolicyCommandOnTheWay: handlers before the directive, and requests that no site answers.
func TestPolicyCommandOnTheWay(t *testing.T) {
	config, err := adapt(`{
	admin off
	http_port 8000
	https_port 8443
	oauth1 {
		consumer old {
			secret {env.NO_SUCH_SECRET}
			two_legged robot READ_PUBLIC
			expires 2020-01-01
		}
	}
}
&(guarded) {
	oauth1
}
http://api.test {
	handle /login/* {
		forward_auth 127.0.0.1:9 {
			uri /verify
			copy_headers Remote-User
		}
		oauth1 {
			paths as_sent
			policy /login/deny/* {
				deny
			}
			policy /login/* {
				anonymous
			}
		}
		reverse_proxy 127.0.0.1:9
	}
	handle /files/* {
		route {
			file_server {
				pass_thru
			}
			oauth1
		}
	}
	handle /invoked/* {
		invoke guarded
	}
	handle /static/* {
		route {
			file_server
			oauth1
		}
	}
	handle /teapot {
		route {
			error 418
			oauth1
		}
	}
	handle {
		oauth1
	}
}
https://secure.test {
	oauth1
}
`)
	if err != nil {
		t.Fatal(err)
	}
	alice := command.Caller{User: "alice", Consumer: "c", Permission: "READ_PUBLIC"}
	for _, test := range []struct {
		name, method, url string
		caller            command.Caller
		want              string // the beginning of the error; "" passes
		says              string
	}{
		{"behind forward_auth", "GET", "http://api.test/login/x", command.Caller{}, "", "policy:  2 of 2: anonymous"},
		{"behind forward_auth, refused", "GET", "http://api.test/login/deny/x", alice, "the request is refused", "answer:  403 This request is denied."},
		{"another reading is refused", "GET", "http://api.test/login/x/..;/deny/y", alice, "the request is refused", "request: GET /login/x/..;/deny/y\nreading: GET /login/x/../deny/y (as an upstream could take it)\nwho:     user alice with READ_PUBLIC, by consumer c\npolicy:  1 of 2: deny\nanswer:  403 This request is denied."},
		{"behind files that pass on", "GET", "http://api.test/files/x", alice, "", "policy:  1 of 1"},
		{"behind files", "GET", "http://api.test/static/x", alice, "", "no oauth1 directive is on the way"},
		{"behind an error", "GET", "http://api.test/teapot", alice, "", "no oauth1 directive is on the way"},
		{"in a named route", "POST", "http://api.test/invoked/x", alice, "the request is refused", "needs the permission WRITE_PUBLIC"},
		{"a consumer that has expired", "GET", "http://api.test/x", command.Caller{Consumer: "old"}, "the request is refused", "answer:  401 Expired consumer (old)."},
		{"the ports of the configuration", "GET", "http://api.test:8000/x", alice, "", "policy:  1 of 1"},
		{"TLS", "GET", "https://secure.test/x", alice, "", "policy:  1 of 1"},
		{"TLS, its port", "GET", "https://secure.test:8443/x", alice, "", "policy:  1 of 1"},
		{"no server there", "GET", "http://api.test:81/x", alice, "no site of this configuration listens on port 81", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, err := imagined(test.method, test.url)
			if err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			err = explainPolicy(&out, config, r, test.caller)
			if got := fmt.Sprint(err); (test.want == "") != (err == nil) || !strings.HasPrefix(got, test.want) && err != nil {
				t.Errorf("error %v", err)
			}
			if !strings.Contains(out.String(), test.says) {
				t.Errorf("says:\n%s", out.String())
			}
		})
	}
}

// TestPolicyCommandArguments: mistakes in the arguments are errors, and not anonymous requests.
func TestPolicyCommandArguments(t *testing.T) {
	file := filepath.Join(t.TempDir(), "Caddyfile")
	if err := os.WriteFile(file, []byte("{\n admin off\n}\nhttp://api.test {\n oauth1\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"GET", "http://api.test/x", "--user", "alice"}, "[user permission]"},
		{[]string{"GET", "http://api.test/x", "--permission", "READ_PUBLIC"}, "[user permission]"},
		{[]string{"GET", "http://api.test/x", "--context", "a"}, "--context"},
		{[]string{"GET", "api.test/x"}, "must be an http or https URL with a host"},
		{[]string{"GET", "/x"}, "must be an http or https URL with a host"},
		{[]string{"GET, POST", "http://api.test/x"}, "invalid method"},
		{[]string{"GET"}, "accepts 2 arg(s)"},
		{[]string{"GET", "http://api.test/x", "--user", "alice", "--permission", "READ_PUBLIC"}, ""},
		{[]string{"get", "http://api.test/x", "--user", "alice", "--permission", "READ_PUBLIC"}, "refused"},
	} {
		args := append([]string{"policy"}, append(test.args, "--config", file)...)
		if _, err := runCommand("", args...); (test.want == "") != (err == nil) || (err != nil && !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%q: %v", test.args, err)
		}
	}
}
