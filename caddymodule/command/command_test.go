package command

import (
	"strings"
	"testing"
)

func TestCommandGroups(t *testing.T) {
	for _, args := range [][]string{nil, {"consumer"}, {"token"}, {"request-token"}, {"store"}} {
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
