package caddymodule

import (
	"net/http"

	"github.com/spf13/cobra"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

func tokenCommands() []*cobra.Command {
	return []*cobra.Command{
		tokenIssueCommand(),
		tokenListCommand(),
		tokenShowCommand(),
		tokenRevokeCommand(),
	}
}

func tokenIssueCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "issue --consumer <key> --user <name> --permission <level>",
		Short: "Issues an access token, and shows its secret",
		Long: `
Issues an access token without asking its user, and shows its secret, once.

Key and secret are random unless you give them with --key and --secret-stdin.
So tokens of another provider can be brought along. A token whose secret is
given lives as long as --lifetime or --expires say, and without them until it is
revoked, as it did there. Any other token lives as long as the app allows; more
is refused.`,
		Example: `  $ caddy oauth1 token issue --consumer ci-bot --user salgado --permission READ_PUBLIC --lifetime 7d
  $ caddy oauth1 token issue --consumer old-app --user salgado --permission READ_PUBLIC --key OLD-KEY --secret-stdin < old-token.secret`,
	}
	cmd.Flags().String("consumer", "", "The key of the consumer")
	cmd.Flags().String("key", "", "The key of the token (default: a random one)")
	cmd.Flags().Bool("secret-stdin", false, "Read the token's secret from standard input")
	cmd.Flags().String("expires", "",
		"When the token ends, in place of --lifetime: a date, or a time such as 2027-01-31T00:00:00Z")
	grantFlags(cmd)
	completeFlag(cmd, "consumer", consumerKeys)
	cmd.MarkFlagsMutuallyExclusive("expires", "lifetime")
	for _, name := range []string{"consumer", "user", "permission"} {
		_ = cmd.MarkFlagRequired(name)
	}
	return managing(cmd, cobra.NoArgs, func(c *adminClient, _ []string) error {
		secret, err := c.givenSecret()
		if err != nil {
			return err
		}
		body := newTokenBody{
			Consumer:  c.flag("consumer"),
			Key:       c.flag("key"),
			Secret:    secret,
			Expires:   c.flag("expires"),
			grantBody: c.grant(),
		}
		var answer newTokenView
		if err := c.call(http.MethodPost, "/oauth1/tokens", body, &answer); err != nil {
			return err
		}
		return c.showSecret(answer, tokenRows(&answer.tokenView), &answer.Secret)
	})
}

func grantFlags(cmd *cobra.Command) {
	cmd.Flags().String("user", "", "The user whom the token acts for")
	cmd.Flags().String("permission", "", "The level that is granted, such as READ_PUBLIC")
	cmd.Flags().String("context", "", "The context that the grant is limited to (default: none)")
	cmd.Flags().String("lifetime", "",
		"How long the grant lasts, such as 12h or 7d, or never (default: as long as the app allows)")
	completeFlag(cmd, "permission", permissionNames)
}

func (c *adminClient) grant() grantBody {
	return grantBody{
		User:       c.flag("user"),
		Permission: c.flag("permission"),
		Context:    c.flag("context"),
		Lifetime:   c.flag("lifetime"),
	}
}

func tokenListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list [--user <name>] [--consumer <key>]",
		Short: "Lists access tokens, without their secrets",
	}
	cmd.Flags().String("user", "", "Only those that the user has granted")
	cmd.Flags().String("consumer", "", "Only those that the consumer holds")
	completeFlag(cmd, "consumer", consumerKeys)
	return managing(cmd, cobra.NoArgs, func(c *adminClient, _ []string) error {
		all, err := listAll[tokenView](c, "/oauth1/tokens", "user", "consumer")
		if err != nil {
			return err
		}
		var lines [][]string
		for _, v := range all.Items {
			lines = append(lines, []string{
				v.Key, v.User, v.Consumer, v.Permission, v.Context, timeOrNever(v.Expires), timeOrNever(v.LastUsed),
			})
		}
		return c.showTable(all, []string{"KEY", "USER", "CONSUMER", "PERMISSION", "CONTEXT", "EXPIRES", "LAST USED"}, lines)
	})
}

func tokenShowCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show <key>",
		Short: "Shows an access token, without its secret",
	}
	return completeKey(managing(cmd, cobra.ExactArgs(1), func(c *adminClient, args []string) error {
		var answer tokenView
		if err := c.call(http.MethodGet, resource("tokens", args[0], ""), nil, &answer); err != nil {
			return err
		}
		return c.show(answer, tokenRows(&answer))
	}), accessTokenKeys)
}

func tokenRevokeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "revoke <key>",
		Short: "Revokes an access token",
	}
	return completeKey(managing(cmd, cobra.ExactArgs(1), func(c *adminClient, args []string) error {
		if err := c.call(http.MethodDelete, resource("tokens", args[0], ""), nil, nil); err != nil {
			return err
		}
		c.say("The access token %q is revoked.", args[0])
		return nil
	}), accessTokenKeys)
}

func tokenRows(v *tokenView) []row {
	return []row{
		{"Key", v.Key},
		{"Consumer", v.Consumer},
		{"User", v.User},
		{"Permission", v.Permission},
		{"Context", v.Context},
		{"Created", timeText(v.Created)},
		{"Expires", timeOrNever(v.Expires)},
		{"Last used", timeOrNever(v.LastUsed)},
	}
}

func requestTokenCommands() []*cobra.Command {
	return []*cobra.Command{requestTokenShowCommand(), requestTokenReviewCommand()}
}

func requestTokenShowCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show <key>",
		Short: "Shows a request token and its state: waiting, reviewed, refused or expired",
	}
	return managing(cmd, cobra.ExactArgs(1), func(c *adminClient, args []string) error {
		var answer requestTokenView
		if err := c.call(http.MethodGet, resource("request-tokens", args[0], ""), nil, &answer); err != nil {
			return err
		}
		return c.show(answer, requestTokenRows(&answer))
	})
}

func requestTokenReviewCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "review <key> --user <name> (--permission <level> | --refuse)",
		Short: "Answers a request for a grant, in the name of a user",
		Long: `
Answers a request for a grant in the name of a user, as the authorize page does
it. A request is answered once.

If the consumer asked with a callback, the answer shows the verifier that it
needs, and where a browser would be sent.`,
		Example: `  $ caddy oauth1 request-token review pmbVvBcfQg0wLJzZRc5T --user salgado --permission READ_PUBLIC`,
	}
	grantFlags(cmd)
	cmd.Flags().Bool("refuse", false, "Grant nothing")
	cmd.Flags().String("callback", "", "The registered callback that the link to the page named, if the consumer sent none")
	_ = cmd.MarkFlagRequired("user")
	cmd.MarkFlagsOneRequired("permission", "refuse")
	cmd.MarkFlagsMutuallyExclusive("permission", "refuse")
	return managing(cmd, cobra.ExactArgs(1), func(c *adminClient, args []string) error {
		body := reviewBody{grantBody: c.grant(), Callback: c.flag("callback")}
		if c.flag("refuse") == "true" {
			body.Permission = tokenstore.Unauthorized
		}
		var answer reviewView
		if err := c.call(http.MethodPost, resource("request-tokens", args[0], "review"), body, &answer); err != nil {
			return err
		}
		rows := append(requestTokenRows(&answer.requestTokenView),
			row{"Verifier", answer.Verifier}, row{"Redirect", answer.Redirect})
		return c.show(answer, rows)
	})
}

func requestTokenRows(v *requestTokenView) []row {
	return []row{
		{"Key", v.Key},
		{"Consumer", v.Consumer},
		{"State", v.State},
		{"Callback", v.Callback},
		{"Created", timeText(v.Created)},
		{"Expires", timeText(v.Expires)},
		{"User", v.User},
		{"Permission", v.Permission},
		{"Context", v.Context},
		{"Reviewed", timeText(v.Reviewed)},
		{"Grant expires", timeText(v.TokenExpires)},
	}
}
