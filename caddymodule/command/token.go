package command

import (
	"net/http"

	"github.com/spf13/cobra"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/adminapi"
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
This imports tokens of another provider. A token with a given secret lives as
long as --lifetime or --expires say, or without them until it is revoked. Any
other token lives as long as the app allows; a longer life is refused.`,
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
	return managing(cmd, cobra.NoArgs, func(s *session, _ []string) error {
		secret, err := s.givenSecret()
		if err != nil {
			return err
		}
		body := adminapi.NewToken{
			Consumer: s.flag("consumer"),
			Key:      s.flag("key"),
			Secret:   secret,
			Expires:  s.flag("expires"),
			Grant:    s.grant(),
		}
		var answer adminapi.TokenWithSecret
		if err := s.call(http.MethodPost, adminapi.TokensPath, body, &answer); err != nil {
			return err
		}
		return s.showSecret(answer, tokenRows(&answer.Token), &answer.Secret)
	})
}

func grantFlags(cmd *cobra.Command) {
	cmd.Flags().String("user", "", "The user that the token acts for")
	cmd.Flags().String("permission", "", "The level that is granted, such as READ_PUBLIC")
	cmd.Flags().String("context", "", "The context that the grant is limited to (default: none)")
	cmd.Flags().String("lifetime", "",
		"How long the grant lasts, such as 12h or 7d, or never (default: as long as the app allows)")
	completeFlag(cmd, "permission", permissionNames)
}

func (s *session) grant() adminapi.Grant {
	return adminapi.Grant{
		User:       s.flag("user"),
		Permission: s.flag("permission"),
		Context:    s.flag("context"),
		Lifetime:   s.flag("lifetime"),
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
	return managing(cmd, cobra.NoArgs, func(s *session, _ []string) error {
		all, err := listAll[adminapi.Token](s, adminapi.TokensPath, "user", "consumer")
		if err != nil {
			return err
		}
		var lines [][]string
		for _, v := range all.Items {
			lines = append(lines, []string{
				v.Key, v.User, keyOnScreen(v.Consumer), v.Permission, v.Context, timeOrNever(v.Expires), timeOrNever(v.LastUsed),
			})
		}
		return s.showTable(all,
			[]string{"KEY", "USER", "CONSUMER", "PERMISSION", "CONTEXT", "EXPIRES", "LAST USED"}, lines)
	})
}

func tokenShowCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show <key>",
		Short: "Shows an access token, without its secret",
	}
	return completeKey(managing(cmd, cobra.ExactArgs(1), func(s *session, args []string) error {
		var answer adminapi.Token
		if err := s.call(http.MethodGet, tokenPath(args), nil, &answer); err != nil {
			return err
		}
		return s.show(answer, tokenRows(&answer))
	}), accessTokenKeys)
}

func tokenRevokeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "revoke <key>",
		Short: "Revokes an access token",
	}
	return completeKey(managing(cmd, cobra.ExactArgs(1), func(s *session, args []string) error {
		if err := s.call(http.MethodDelete, tokenPath(args), nil, nil); err != nil {
			return err
		}
		s.say("The access token %q is revoked.", args[0])
		return nil
	}), accessTokenKeys)
}

func tokenRows(v *adminapi.Token) []shownRow {
	return []shownRow{
		{"Key", v.Key},
		{"Consumer", keyOnScreen(v.Consumer)},
		{"User", v.User},
		{"Permission", v.Permission},
		{"Context", v.Context},
		{"Created", timeText(v.Created)},
		{"Expires", timeOrNever(v.Expires)},
		{"Last used", timeOrNever(v.LastUsed)},
	}
}

func tokenPath(args []string) string {
	return adminapi.ResourcePath(adminapi.TokensPath, args[0], "")
}
