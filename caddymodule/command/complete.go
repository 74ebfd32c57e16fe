package command

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/adminapi"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
)

const (
	// completionPatience limits the wait for the running server; a shell then gets no completions.
	completionPatience = 2 * time.Second
	// mostCompletions limits the words of one answer. Typing more letters leads to the others.
	mostCompletions = 500
)

// harmless matches the words that a shell may get. Caddy's script for bash expands each word once
// more, $(...) included, and with open registration any stranger can write the key of a consumer.
var harmless = regexp.MustCompile(`^[A-Za-z0-9._@+,/][A-Za-z0-9._@+,/:=%-]*$`)

// A completer lists the words that may complete a word that was begun.
type completer func(s *session, begun string) ([]string, error)

func (complete completer) forShell(cmd *cobra.Command, begun string) ([]string, cobra.ShellCompDirective) {
	found := make(chan []string, 1) // the send must not block after the timeout
	go func() {
		var offered []string
		if s, err := newSession(cmd); err == nil {
			all, _ := complete(s, begun)
			for _, text := range all {
				if strings.HasPrefix(text, begun) && harmless.MatchString(text) &&
					len(offered) < mostCompletions {
					offered = append(offered, text)
				}
			}
		}
		found <- offered
	}()
	select {
	case offered := <-found:
		return offered, cobra.ShellCompDirectiveNoFileComp
	case <-time.After(completionPatience): // the goroutine ends with the process
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeKey completes the first argument.
func completeKey(cmd *cobra.Command, complete completer) *cobra.Command {
	cmd.ValidArgsFunction = func(
		cmd *cobra.Command, args []string, begun string,
	) ([]string, cobra.ShellCompDirective) {
		if args = joinAddress(cmd, args); len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return complete.forShell(cmd, begun)
	}
	return cmd
}

// completeFlag completes a flag's value. The flag must be there.
func completeFlag(cmd *cobra.Command, flag string, complete completer) {
	err := cmd.RegisterFlagCompletionFunc(flag,
		func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
			joinAddress(cmd, args)
			return complete.forShell(cmd, begun)
		})
	if err != nil {
		panic(err) // the command has no such flag, which is a bug
	}
}

// joinAddress puts the port back into the flag --address, and returns the other arguments. Caddy's
// script lets bash cut words at a colon: HOST, ":" and PORT arrive as three words, and the last two
// look like arguments.
func joinAddress(cmd *cobra.Command, args []string) []string {
	address := cmd.Flag("address")
	if address == nil || address.Value.String() == "" || len(args) < 2 || args[0] != ":" {
		return args
	}
	_ = address.Value.Set(address.Value.String() + ":" + args[1]) // any text is an address here
	return args[2:]
}

// fixed completes words that are known without a server.
func fixed(words ...string) completer {
	return func(*session, string) ([]string, error) { return words, nil }
}

var signatureMethodNames = fixed(oauth1.SignatureMethods...)

// consumerKeys, accessTokenKeys and permissionNames ask the running server.
func consumerKeys(s *session, begun string) ([]string, error) {
	return keysOf(s, adminapi.ConsumersPath, begun, func(v adminapi.Consumer) string { return v.Key })
}

func accessTokenKeys(s *session, begun string) ([]string, error) {
	return keysOf(s, adminapi.TokensPath, begun, func(v adminapi.Token) string { return v.Key })
}

func permissionNames(s *session, _ string) ([]string, error) {
	var health adminapi.Health
	err := s.call(http.MethodGet, adminapi.HealthPath, nil, &health)
	return health.Permissions, err
}

// keysOf reads the keys of a list that begin with a text. Lists are in the order of their keys, so
// those follow it.
func keysOf[T any](s *session, path, begun string, key func(T) string) (keys []string, err error) {
	query := make(url.Values)
	if begun != "" {
		query.Set("after", begun)
	}
	for item, err := range adminapi.Items[T](s.cmd.Context(), s.api, path, query) {
		if err != nil || !strings.HasPrefix(key(item), begun) || len(keys) == mostCompletions {
			return keys, err
		}
		keys = append(keys, key(item))
	}
	return keys, nil
}
