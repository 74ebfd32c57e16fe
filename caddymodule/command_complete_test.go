package caddymodule

import (
	"slices"
	"strings"
	"testing"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// TestCompletion sends the requests of a shell's script: `caddy __complete oauth1 ...`.
func TestCompletion(t *testing.T) {
	a := newTestAdmin(t, declaredConsumers+"\nregistration open")
	a.must("POST", "/oauth1/consumers", `{"key":"printer"}`)
	a.must("POST", "/oauth1/consumers", `{"key":"print.shop"}`)
	a.must("POST", "/oauth1/tokens",
		`{"key":"tok1","consumer":"printer","user":"u","permission":"READ_PUBLIC"}`)
	a.must("POST", "/oauth1/tokens",
		`{"key":"tok2","consumer":"printer","user":"u","permission":"READ_PUBLIC"}`)
	// A consumer that registered itself chose its own key, and bash would run it.
	for _, key := range []string{"$(touch pwned)", "`id`", "${HOME}", "two words", "-rf", "a;b", "a'b",
		"~root", "a*"} {
		err := a.store().CreateConsumer(t.Context(),
			&tokenstore.Consumer{Key: key, SelfRegistered: true, Created: a.clock})
		if err != nil {
			t.Fatal(err)
		}
	}
	address := a.commandAddress()
	host, port, _ := strings.Cut(address, ":")
	for _, c := range []struct {
		name string
		args []string
		want []string
	}{
		{"consumers, declared ones too", []string{"consumer", "show", ""},
			[]string{"ci-bot", "limited", "print.shop", "printer"}},
		{"those that begin so", []string{"consumer", "remove", "print"}, []string{"print.shop", "printer"}},
		{"no key with that prefix", []string{"consumer", "update", "x"}, nil},
		{"a key is all", []string{"consumer", "show", "printer", ""}, nil},
		{"tokens", []string{"token", "revoke", "t"}, []string{"tok1", "tok2"}},
		{"a consumer's flag", []string{"token", "list", "--consumer", "pr"},
			[]string{"print.shop", "printer"}},
		{"levels", []string{"token", "issue", "--permission", "READ"},
			[]string{"READ_PUBLIC", "READ_PRIVATE"}},
		{"signature methods", []string{"consumer", "add", "--signature-method", "RSA"},
			[]string{"RSA-SHA1", "RSA-SHA256", "RSA-SHA512"}},
		{"clearable settings", []string{"consumer", "update", "printer", "--clear", "e"},
			[]string{"expires"}},
	} {
		// bash cuts at the colon
		for _, flag := range [][]string{{"--address", address}, {"--address", host, ":", port}} {
			if got := complete(t, flag, c.args...); !slices.Equal(got, c.want) {
				t.Errorf("%s, %q: got %q, want %q", c.name, flag, got, c.want)
			}
		}
	}
}

// complete completes the last argument.
func complete(t *testing.T, flag []string, args ...string) (found []string) {
	t.Helper()
	args = slices.Insert(slices.Clone(args), 2, flag...)
	out, err := runCobra("", append([]string{"__complete", "oauth1"}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out) {
		if line = strings.TrimSuffix(line, "\n"); strings.HasPrefix(line, ":") {
			break
		}
		found = append(found, line)
	}
	return found
}
