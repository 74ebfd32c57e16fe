package command

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/adminapi"
)

func revokeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "revoke [--user <name>] [--consumer <key>]",
		Short: "Revokes all access tokens of a user, of a consumer, or of both together",
		Long: `
Revokes every access token that a user has granted, that a consumer holds, or,
with both, that the user has granted to the consumer. Request tokens that still
wait for their exchange end, too.

The command tells the number of access tokens and asks for confirmation, unless
--yes is given.`,
		Example: `  $ caddy oauth1 revoke --user salgado
  $ caddy oauth1 revoke --user salgado --consumer ci-bot --yes`,
	}
	cmd.Flags().String("user", "", "The user whose grants are revoked")
	cmd.Flags().String("consumer", "", "The key of the consumer that holds the tokens")
	completeFlag(cmd, "consumer", consumerKeys)
	yesFlag(cmd)
	cmd.MarkFlagsOneRequired("user", "consumer")
	return managing(cmd, cobra.NoArgs, func(s *session, _ []string) error {
		body := adminapi.Revocation{User: s.givenFlag("user"), Consumer: s.givenFlag("consumer")}
		n, err := s.matching(body)
		if err != nil {
			return err
		}
		whose := accessTokensText(n)
		if body.User != nil {
			whose += fmt.Sprintf(" of the user %q", *body.User)
		}
		if body.Consumer != nil {
			whose += fmt.Sprintf(" of the consumer %q", *body.Consumer)
		}
		if err := s.confirm(whose + " will be revoked"); err != nil {
			return err
		}
		var answer adminapi.Revoked
		if err := s.call(http.MethodPost, adminapi.RevokePath, body, &answer); err != nil {
			return err
		}
		return s.show(answer, []shownRow{{"Revoked", accessTokensText(answer.Revoked)}})
	})
}

// matching returns the number of access tokens that a revocation would end.
func (s *session) matching(body adminapi.Revocation) (int, error) {
	body.DryRun = true
	var answer adminapi.Revoked
	if err := s.call(http.MethodPost, adminapi.RevokePath, body, &answer); err != nil {
		return 0, err
	}
	if answer.Matching == nil {
		return 0, errors.New("the admin API does not tell how many access tokens there are")
	}
	return *answer.Matching, nil
}

func accessTokensText(n int) string { return plural(n, "access token") }

// plural is a number of things.
// were is the verb for a number of things.
func were(n int) string {
	if n == 1 {
		return "was"
	}
	return "were"
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
