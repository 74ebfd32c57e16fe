package caddymodule

import (
	"errors"
	"strings"
	"testing"
)

// TestPolicyCommand: what the command says of a configuration, which it never starts and whose secrets are not there.
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
		id                Identity
		refused           bool
		says              string
	}{
		{"anonymous by policy", "GET", "http://api.test/v1/open/x", Identity{}, false, "policy:  1 of 3: anonymous\nanswer:  passes"},
		{"the path after handle_path", "GET", "http://api.test/v1/admin/x", Identity{User: "alice", Consumer: "ops-1", Permission: "READ_PRIVATE"}, false, "request: GET /admin/x\nwho:     user alice with READ_PRIVATE, by consumer ops-1\npolicy:  3 of 3: consumers ops-*; permission GET READ_PRIVATE\nanswer:  passes"},
		{"the level", "GET", "http://api.test/v1/admin/x", Identity{User: "alice", Consumer: "ops-1", Permission: "READ_PUBLIC"}, true, "answer:  403 This request needs the permission READ_PRIVATE."},
		{"a level nobody declared", "GET", "http://api.test/v1/admin/x", Identity{User: "alice", Permission: "READ_MINDS"}, true, "answer:  403 The permission READ_MINDS is not accepted here."},
		{"the context", "GET", "http://api.test/v1/projects/a/x", Identity{User: "alice", Permission: "READ_PUBLIC", Context: "b"}, true, "answer:  403 The access token was granted for another context."},
		{"no policy", "GET", "http://api.test/v1/else", Identity{User: "alice", Permission: "READ_PUBLIC"}, true, "policy:  none of 3 matches\nanswer:  403"},
		{"the default policy, two-legged", "GET", "http://api.test/x", Identity{Consumer: "ci-bot"}, false, "user robot with READ_PUBLIC, by consumer ci-bot"},
		{"the default policy writes with more", "POST", "http://api.test/x", Identity{Consumer: "ci-bot"}, true, "needs the permission WRITE_PUBLIC"},
		{"anonymous", "GET", "http://api.test/x", Identity{}, true, "nobody (anonymous)"},
		{"a way past oauth1", "GET", "http://api.test/health", Identity{}, false, "no oauth1 directive is on the way"},
		{"an endpoint", "GET", "http://api.test/+request-token", Identity{}, false, "is an endpoint"},
		{"a rewrite", "GET", "http://other.test:8080/old/x", Identity{}, true, "request: GET /admin/old/x"},
		{"another site", "GET", "http://other.test:8080/x", Identity{}, false, "policy:  2 of 2: anonymous"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, err := imagined(test.method, test.url)
			if err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			err = explainPolicy(&out, config, r, test.id)
			if errors.Is(err, errRefused) != test.refused || (err != nil && !test.refused) {
				t.Errorf("error %v", err)
			}
			if !strings.Contains(out.String(), test.says) {
				t.Errorf("says:\n%s", out.String())
			}
		})
	}
}

// TestPolicyCommandRefuses: what can't be answered is said in words.
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
