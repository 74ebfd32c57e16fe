package command

import (
	"io"
	"net/http"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

// A Caller is whom a request acts for, as the flags say it. Without a user, a consumer with
// two_legged acts for its own user; any other request is anonymous.
type Caller struct{ Consumer, User, Permission, Context string }

// Policies decides about requests by a configuration. Only caddymodule can, which hands it in.
type Policies struct {
	// Imagine makes a request with a method and a URL that nobody sent. Its error is one of the
	// command line.
	Imagine func(method, url string) (*http.Request, error)
	// Explain says what a configuration, in Caddy's JSON, decides about the request. Its error
	// makes the exit status 1.
	Explain func(out io.Writer, config []byte, r *http.Request, caller Caller) error
}

func policyCommand(policies Policies) *cobra.Command {
	var caller Caller
	cmd := &cobra.Command{
		Use:   "policy <method> <url> [--consumer <key>] [--user <name> --permission <level>] [--context <name>]",
		Short: "Tells which policy decides about a request, and what it decides",
		Long: `
Tells which policy of a configuration decides about a request, and what it
decides. It needs no running Caddy, no store and no secret, so policies can be
tested before they are loaded.

The request is anonymous unless --user and --permission name the user that it
acts for, or --consumer names a declared consumer with two_legged. Matchers and
rewrites see a request with this method and URL, without other headers, from
127.0.0.1.

The URL is the one that clients use. The command asks every server that listens
on its port and has its host, and every site whose base_url covers it, with the
URL as it arrives there behind the proxy. If there are several, it prints the
answer of each, with its name and addresses.

The exit status is 0 if all of them let the request pass: by a policy, to an
endpoint, or because no oauth1 directive stands before the handler that answers.
It is 1 if one of them refuses the request, redirects it to HTTPS, or does not
answer it; if no site listens on the port, speaks the scheme, or serves the
host; and if the configuration is wrong. It is 2 if an argument is wrong, or if
there is no configuration.`,
		Example: `  $ caddy oauth1 policy GET https://api.example.com/admin/users --consumer ops-1 --user alice --permission READ_PRIVATE
  $ caddy oauth1 policy DELETE https://api.example.com/items/1 || echo refused`,
		Args: cobra.ExactArgs(2),
	}
	flags := cmd.Flags()
	flags.StringP("config", "c", "", "Configuration file (default: Caddyfile in this folder)")
	flags.StringP("adapter", "a", "", "Name of config adapter to apply")
	flags.StringVar(&caller.Consumer, "consumer", "", "The consumer that signs")
	flags.StringVar(&caller.User, "user", "", "The user that the access token acts for")
	flags.StringVar(&caller.Permission, "permission", "", "The level of the access token")
	flags.StringVar(&caller.Context, "context", "", "The context that the access token is limited to")
	cmd.MarkFlagsRequiredTogether("user", "permission")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if caller.Context != "" && caller.User == "" {
			return misused("--context needs --user and --permission: it belongs to an access token")
		}
		r, err := policies.Imagine(args[0], args[1])
		if err != nil {
			return misuse(err)
		}
		config, _, _, err := caddycmd.LoadConfig(flagText(cmd, "config"), flagText(cmd, "adapter"))
		if err != nil {
			return err
		}
		if config == nil {
			return misused("there is no Caddyfile in this folder; name a configuration with --config")
		}
		return policies.Explain(cmd.OutOrStdout(), config, r, caller)
	}
	return cmd
}
