package integration

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// The operator's tools: the commands, as scripts and shells use them.

// oauth1 runs one of the module's commands against the server, without a terminal, and returns its
// exit code and its output.
func (srv *server) oauth1(t testing.TB, stdin string, args ...string) (code int, out string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := srv.command(ctx, append([]string{"oauth1"}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	text, err := cmd.CombinedOutput()
	if ended := (*exec.ExitError)(nil); err != nil && !errors.As(err, &ended) {
		t.Fatalf("%q: %v", args, err)
	}
	return cmd.ProcessState.ExitCode(), string(text)
}

// TestExitCodes: scripts read results from exit codes. The order matters: later commands see the
// effects of earlier ones.
func TestExitCodes(t *testing.T) {
	srv := startServer(t, site{Handler: "respond ok"}, "")
	address := "127.0.0.1:" + srv.admin
	for _, c := range []struct {
		name, stdin string
		args        string
		code        int
		want        string
	}{
		{"a consumer is added", "", "consumer add app --name App", 0, "Secret:"},
		{"a token is issued", "",
			"token issue --consumer app --user alice --permission READ_PUBLIC --key tok", 0, "Secret:"},
		{"a key that is taken", "", "consumer add app", 4, `Error: consumer "app": exists already`},
		{"a declared consumer", "", "consumer update demo --name x", 4, "declared in Caddy's configuration"},
		{"an end in the past", "", "consumer add --expires 2020-01-31", 4, "is in the past"},
		{"no such consumer", "", "consumer update nobody --name x", 3, `Error: consumer "nobody": not found`},
		{"no such token", "", "token show nothing", 3, "not found"},
		{"an unknown flag", "", "consumer list --all", 2, "unknown flag"},
		{"a missing flag", "", "token issue --consumer app", 2, "not set"},
		{"an empty key", "", "consumer add EMPTY", 2, "is empty"},
		{"an empty flag", "", "consumer update app --expires EMPTY", 2, "is empty"},
		{"no terminal", "y\n", "consumer remove app", 2,
			"without a terminal, confirm this with --yes"},
		{"a consumer is updated", "", "consumer update app --name New --permission READ_PUBLIC", 0,
			"Permissions:  READ_PUBLIC"},
		{"and reset", "", "consumer update app --clear permission", 0, "Name:     New"},
		{"a user's tokens end", "", "revoke --user alice --yes", 0, "Revoked:  1 access token\n"},
		{"a consumer is removed", "", "consumer remove app -y", 0, "with its 0 access tokens"},
		{"a secret that is not there", "", "sign GET http://h/ --consumer k", 2, "no consumer secret"},
		{"an invalid URL", "s\n", "sign GET h --consumer k", 2, "must begin with http"},
		{"a request is signed", "s\n", "sign GET http://h/ --consumer k", 0, "Authorization: OAuth "},
		{"a policy without a configuration", "", "policy GET http://h/ --config /nowhere", 1, "no such file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := strings.Fields(c.args)
			for i := range args {
				args[i] = strings.Replace(args[i], "EMPTY", "", 1)
			}
			if args[0] != "sign" && args[0] != "policy" {
				args = append(args, "--address", address)
			}
			code, out := srv.oauth1(t, c.stdin, args...)
			if code != c.code || !strings.Contains(out, c.want) || strings.Count(out, "Error: ") > 1 {
				t.Errorf("got %d, want %d and %q:\n%s", code, c.code, c.want, out)
			}
		})
	}
	srv.stop()
	if code, out := srv.oauth1(t, "", "consumer", "list", "--address", address); code != 1 ||
		!strings.Contains(out, "connection refused") {
		t.Errorf("no server: %d\n%s", code, out)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	cmd := srv.command(t.Context(), "oauth1", "sign", "GET", "http://h/", "--consumer", "k")
	cmd.Stdin = null
	if out, err := cmd.CombinedOutput(); cmd.ProcessState.ExitCode() != 2 ||
		strings.Contains(string(out), "Type ") {
		t.Errorf("sign < %s: %v\n%s", os.DevNull, err, out)
	}
}

// TestQuestionsAtATerminal: commands that end grants say how many, and ask.
func TestQuestionsAtATerminal(t *testing.T) {
	script := requireProgram(t, "script")
	srv := startServer(t, site{Handler: "respond ok"}, "")
	srv.mustAdmin(t, "POST", "/oauth1/consumers", object{"key": "app"})
	for range 2 {
		srv.issue(t, "app", "alice", "READ_PUBLIC", nil)
	}
	ask := func(typed, args string) (int, string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), script, "-qec",
			requireBinary(t)+" oauth1 "+args+" --address 127.0.0.1:"+srv.admin, os.DevNull)
		cmd.Stdin = strings.NewReader(typed)
		out, _ := cmd.CombinedOutput()
		return cmd.ProcessState.ExitCode(), string(out)
	}
	for _, c := range []struct {
		typed, args string
		code        int
		want        []string
	}{
		{"n\n", "consumer remove app", 1,
			[]string{`The consumer "app" will be removed, with its 2 access tokens. Go on? [y/N]`,
				"nothing was changed"}},
		{"\n", "revoke --user alice", 1,
			[]string{`2 access tokens of the user "alice" will be revoked. Go on? [y/N]`,
				"nothing was changed"}},
		{"y\n", "revoke --consumer app", 0,
			[]string{`2 access tokens of the consumer "app" will be revoked. Go on? [y/N]`,
				"2 access tokens"}},
		{"yes\n", "consumer remove app", 0, []string{"with its 0 access tokens. Go on? [y/N]", "is removed"}},
	} {
		code, out := ask(c.typed, c.args)
		for _, want := range c.want {
			if code != c.code || !strings.Contains(out, want) {
				t.Errorf("%s, %q: got %d, want %d and %q:\n%s", c.args, c.typed, code, c.code, want, out)
			}
		}
	}
}

// TestVersion: the program prints Caddy's version in the first line, as Caddy does, and its own.
func TestVersion(t *testing.T) {
	out, err := exec.Command(requireBinary(t), "version").Output()
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`^v2\.[^\n]*\ncaddy-oauth1 \S[^\n]*\n$`).Match(out) {
		t.Errorf("got %q", out)
	}
}

// TestTheLogTellsWhatWasOpened: the log names the store, its place, and the number of its records.
func TestTheLogTellsWhatWasOpened(t *testing.T) {
	srv := startServer(t, site{Handler: "respond ok"}, "")
	srv.mustAdmin(t, "POST", "/oauth1/consumers", object{"key": "app"})
	srv.issue(t, "app", "alice", "READ_PUBLIC", nil)
	srv.stop()
	srv.start()
	for _, want := range []string{
		`"consumers":0,"access_tokens":0,"request_tokens":0,"nonces":0`,
		fmt.Sprintf(`"store":"badger","path":%q,"encrypted":false,"sync":false,`+
			`"consumers":1,"access_tokens":1,"request_tokens":0`,
			filepath.Join(srv.dir, "store")),
	} {
		srv.waitUntil("the log tells", func() error {
			if !strings.Contains(srv.log.String(), want) {
				return fmt.Errorf("it has no %s", want)
			}
			return nil
		})
	}
}

// TestAdminRightAfterTheStart: the admin endpoint listens before the app runs. Scripts need not
// care.
func TestAdminRightAfterTheStart(t *testing.T) {
	srv := newServer(t, site{Handler: "respond ok"}, "")
	for range 5 {
		answered := make(chan error, 1)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		go func() {
			answered <- func() error {
				for ctx.Err() == nil {
					conn, err := net.Dial("tcp", "127.0.0.1:"+srv.admin)
					if err != nil {
						time.Sleep(time.Millisecond / 2)
						continue
					}
					conn.Close()
					resp, err := http.Get("http://127.0.0.1:" + srv.admin + "/oauth1/health")
					if err != nil {
						return err
					}
					resp.Body.Close()
					if resp.StatusCode != http.StatusOK {
						return fmt.Errorf("health: %d", resp.StatusCode)
					}
					return nil
				}
				return ctx.Err()
			}()
		}()
		srv.start()
		if err := <-answered; err != nil {
			t.Error(err)
		}
		srv.stop()
	}
}

// TestBashCompletes: a real bash with Caddy's own completion script, under the program's name.
func TestBashCompletes(t *testing.T) {
	const library = "/usr/share/bash-completion/bash_completion"
	if _, err := os.Stat(library); err != nil {
		missing(t, "Debian's bash-completion is not installed")
	}
	srv := startServer(t, site{Handler: "respond ok", App: demoApp + "registration open"}, "")
	for _, key := range []string{"printer", "print.shop"} {
		srv.mustAdmin(t, "POST", "/oauth1/consumers", object{"key": key})
	}
	tok := srv.issue(t, "printer", "alice", "READ_PUBLIC", nil)
	trap := filepath.Join(srv.dir, "trap")
	unknown := srv.request("POST", "/+request-token",
		strings.NewReader(form(plaintext("$(touch${IFS}"+trap+")", "", token{}))))
	unknown.Header.Set("Content-Type", formType)
	if got := srv.mustDo(t, unknown); got.Status != http.StatusOK {
		t.Fatalf("it did not register itself: %d %s", got.Status, got.Body)
	}
	const program = `. ` + library + `
. <("$PROGRAM" completion bash)
PATH=$(dirname "$PROGRAM"):$PATH
complete_line() { # as readline does: bash cuts a word at a colon
	COMP_LINE=$1 COMP_POINT=${#1} COMP_TYPE=9 COMP_KEY=9 COMPREPLY=()
	local words=${1//:/ : }
	read -ra COMP_WORDS <<<"$words"
	[[ $1 == *' ' ]] && COMP_WORDS+=("")
	COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
	"$(complete -p caddy-oauth1 | sed 's/.*-F \([^ ]*\).*/\1/')" 2>/dev/null
	echo "${COMPREPLY[@]}"
}
complete_line "$LINE"
`
	for line, want := range map[string]string{
		"consumer sh":                         "show",
		"consumer show ADDRESS pri":           "print.shop printer",
		"consumer show ADDRESS ":              "demo print.shop printer",
		"token revoke ADDRESS " + tok.Key[:3]: tok.Key,
		"token list ADDRESS --consumer d":     "demo",
		"token issue ADDRESS --permission R":  "READ_PUBLIC READ_PRIVATE",
	} {
		cmd := exec.CommandContext(t.Context(), "bash", "--norc", "-c", program)
		cmd.Dir = srv.dir
		cmd.Env = append(os.Environ(), "PROGRAM="+requireBinary(t),
			"LINE=caddy-oauth1 oauth1 "+strings.Replace(line, "ADDRESS", "--address 127.0.0.1:"+srv.admin, 1))
		out, err := cmd.CombinedOutput()
		if err != nil || strings.TrimSpace(string(out)) != want {
			t.Errorf("%s: got %q, %v, want %q", line, out, err, want)
		}
	}
	if _, err := os.Stat(trap); err == nil {
		t.Error("completing ran an unknown consumer's key as a command")
	}
}
