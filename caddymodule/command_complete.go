package caddymodule

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
)

const (
	// completionPatience is how long a shell waits for the running server before it completes
	// nothing.
	completionPatience = 2 * time.Second
	// mostCompletions is how many a shell is given. Who wants another types more of it.
	mostCompletions = 500
)

// harmless are the texts that a shell is given to complete. Caddy's script for bash expands them
// once more, $(...) included, and where registration is open the key of a consumer is written by
// whoever comes.
var harmless = regexp.MustCompile(`^[A-Za-z0-9._@+,/][A-Za-z0-9._@+,/:=%-]*$`)

// A completer lists what may stand in the place of a text that was begun.
type completer func(c *adminClient, begun string) ([]string, error)

func (complete completer) forShell(cmd *cobra.Command, begun string) ([]string, cobra.ShellCompDirective) {
	found := make(chan []string, 1) // so that nobody waits for who gave up
	go func() {
		var offered []string
		if c, err := newAdminClient(cmd); err == nil {
			all, _ := complete(c, begun)
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
	case <-time.After(completionPatience): // the process ends with its answer
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
		panic(err) // there is no such flag: a mistake of ours
	}
}

// joinAddress gives the flag --address the port again that bash took from it, and returns the
// arguments that are left. Caddy's script lets bash cut words at a colon: HOST, ":" and PORT
// arrive, of which the last two look like arguments.
func joinAddress(cmd *cobra.Command, args []string) []string {
	address := cmd.Flag("address")
	if address == nil || address.Value.String() == "" || len(args) < 2 || args[0] != ":" {
		return args
	}
	_ = address.Value.Set(address.Value.String() + ":" + args[1]) // any text is one
	return args[2:]
}

// fixed completes words that are known without a server.
func fixed(words ...string) completer {
	return func(*adminClient, string) ([]string, error) { return words, nil }
}

var signatureMethodNames = fixed(oauth1.SignatureMethods...)

// consumerKeys, accessTokenKeys and permissionNames ask the running server.
func consumerKeys(c *adminClient, begun string) ([]string, error) {
	return keysOf(c, "/oauth1/consumers", begun, func(v consumerView) string { return v.Key })
}

func accessTokenKeys(c *adminClient, begun string) ([]string, error) {
	return keysOf(c, "/oauth1/tokens", begun, func(v tokenView) string { return v.Key })
}

func permissionNames(c *adminClient, _ string) ([]string, error) {
	var health healthView
	err := c.call(http.MethodGet, "/oauth1/health", nil, &health)
	return health.Permissions, err
}

// keysOf reads the keys of a list that begin with a text. Lists are in the order of their keys, so
// those follow it.
func keysOf[T any](c *adminClient, uri, begun string, key func(T) string) (keys []string, err error) {
	query := make(url.Values)
	if begun != "" {
		query.Set("after", begun)
	}
	for len(keys) < mostCompletions {
		var page listView[T]
		if err := c.call(http.MethodGet, uri+"?"+query.Encode(), nil, &page); err != nil {
			return keys, err
		}
		for _, item := range page.Items {
			if !strings.HasPrefix(key(item), begun) {
				return keys, nil
			}
			keys = append(keys, key(item))
		}
		if page.Next == "" {
			break
		}
		query.Set("after", page.Next)
	}
	return keys, nil
}
