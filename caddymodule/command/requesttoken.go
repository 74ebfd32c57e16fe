package command

import (
	"net/http"

	"github.com/spf13/cobra"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/adminapi"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

func requestTokenCommands() []*cobra.Command {
	return []*cobra.Command{requestTokenShowCommand(), requestTokenReviewCommand()}
}

func requestTokenShowCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show <key>",
		Short: "Shows a request token and its state: waiting, reviewed, refused or expired",
	}
	return managing(cmd, cobra.ExactArgs(1), func(s *session, args []string) error {
		path := adminapi.ResourcePath(adminapi.RequestTokensPath, args[0], "")
		var answer adminapi.RequestToken
		if err := s.call(http.MethodGet, path, nil, &answer); err != nil {
			return err
		}
		return s.show(answer, requestTokenRows(&answer))
	})
}

func requestTokenReviewCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "review <key> --user <name> (--permission <level> | --refuse)",
		Short: "Answers a request for a grant, in the name of a user",
		Long: `
Answers a request for a grant in the name of a user, like the authorize page. A
request is answered once.

If the consumer sent a callback, the command shows the verifier that the
consumer needs, and the address to which a browser would be sent.`,
		Example: `  $ caddy oauth1 request-token review pmbVvBcfQg0wLJzZRc5T --user salgado --permission READ_PUBLIC`,
	}
	grantFlags(cmd)
	cmd.Flags().Bool("refuse", false, "Grant nothing")
	cmd.Flags().String("callback", "",
		"The registered callback that the link to the page named, if the consumer sent none")
	_ = cmd.MarkFlagRequired("user")
	cmd.MarkFlagsOneRequired("permission", "refuse")
	cmd.MarkFlagsMutuallyExclusive("permission", "refuse")
	return managing(cmd, cobra.ExactArgs(1), func(s *session, args []string) error {
		body := adminapi.Review{Grant: s.grant(), Callback: s.flag("callback")}
		if s.flag("refuse") == "true" {
			body.Permission = tokenstore.Unauthorized
		}
		var answer adminapi.ReviewedToken
		path := adminapi.ResourcePath(adminapi.RequestTokensPath, args[0], adminapi.ActionReview)
		if err := s.call(http.MethodPost, path, body, &answer); err != nil {
			return err
		}
		rows := append(requestTokenRows(&answer.RequestToken),
			shownRow{"Verifier", answer.Verifier}, shownRow{"Redirect", answer.Redirect})
		return s.show(answer, rows)
	})
}

func requestTokenRows(v *adminapi.RequestToken) []shownRow {
	return []shownRow{
		{"Key", v.Key},
		{"Consumer", keyOnScreen(v.Consumer)},
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
