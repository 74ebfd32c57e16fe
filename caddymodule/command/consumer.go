package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/adminapi"
)

func consumerCommands() []*cobra.Command {
	return []*cobra.Command{
		consumerAddCommand(),
		consumerListCommand(),
		consumerShowCommand(),
		consumerUpdateCommand(),
		consumerRotateCommand(),
		consumerSwitchCommand("disable", "Refuses every request of a consumer, and keeps its tokens", true),
		consumerSwitchCommand("enable", "Accepts the requests of a disabled consumer again", false),
		consumerRemoveCommand(),
	}
}

func consumerAddCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "add [<key>]",
		Short: "Adds a consumer, and shows its secret",
		Long: `
Adds an application that may sign requests, and shows its secret, once.

Key and secret are random unless you give them: the key as an argument, the
secret on standard input with --secret-stdin. This imports credentials of
another provider. With --rsa-public-key the consumer signs with its own RSA key
and has no secret. With --no-secret its secret is empty, so anybody who knows
the key can use it.`,
		Example: `  $ caddy oauth1 consumer add --name "Photo printer" --callback 'https://printer.example.com/ready'
  $ caddy oauth1 consumer add ci-bot --rsa-public-key ci-bot.pem --two-legged-user ci --two-legged-permission WRITE_PUBLIC
  $ caddy oauth1 consumer add old-app --secret-stdin < old-app.secret`,
	}
	settingFlags(cmd, true)
	cmd.Flags().Bool("secret-stdin", false, "Read the secret from standard input")
	cmd.Flags().Bool("no-secret", false, "Give the consumer an empty secret")
	cmd.MarkFlagsMutuallyExclusive("secret-stdin", "no-secret", "rsa-public-key")
	cmd.MarkFlagsRequiredTogether("two-legged-user", "two-legged-permission")
	return managing(cmd, cobra.MaximumNArgs(1), addConsumer)
}

func addConsumer(s *session, args []string) error {
	body, err := givenSettings(s.cmd)
	if err != nil {
		return err
	}
	if len(args) > 0 {
		body["key"] = args[0]
	}
	secret, err := s.givenSecret()
	if err != nil {
		return err
	}
	switch {
	case secret != nil:
		body["secret"] = *secret
	case s.flag("no-secret") == "true":
		body["secret"] = ""
	}
	var answer adminapi.ConsumerWithSecret
	if err := s.call(http.MethodPost, adminapi.ConsumersPath, body, &answer); err != nil {
		return err
	}
	return s.showSecret(answer, consumerRows(&answer.Consumer), answer.Secret)
}

func consumerUpdateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "update <key>",
		Short: "Changes the settings of a consumer",
		Long: `
Changes the given settings of a consumer, and keeps the others, its secret and
its tokens. The changes are in force from the next request on.

A repeatable flag replaces all previous values. --clear resets a setting to its
default: --clear expires removes the consumer's end, and --clear callback lets
it name any callback.

'consumer rotate' makes a new secret. With --rsa-public-key the consumer signs
with that key, and its secret ends.`,
		Example: `  $ caddy oauth1 consumer update ci-bot --name "CI bot" --expires 2027-01-31
  $ caddy oauth1 consumer update printer --callback https://a.example.com/ --callback 'https://b.example.com/*'
  $ caddy oauth1 consumer update printer --clear permission --clear two-legged`,
	}
	settingFlags(cmd, false)
	var clearable []string
	for _, setting := range adminapi.Settings {
		if setting.Option != "rsa_public_key" { // without its key the consumer could not sign: it has no secret
			clearable = append(clearable, setting.Flag)
		}
	}
	cmd.Flags().StringArray("clear", nil,
		"A setting to reset (repeatable): "+strings.Join(clearable, ", "))
	completeFlag(cmd, "clear", fixed(clearable...))
	return completeKey(managing(cmd, cobra.ExactArgs(1), func(s *session, args []string) error {
		patch, err := givenSettings(s.cmd)
		if err != nil {
			return err
		}
		cleared, err := s.cmd.Flags().GetStringArray("clear")
		if err != nil {
			return err
		}
		for _, name := range cleared {
			if !slices.Contains(clearable, name) {
				return misused("flag --clear %q: must be one of %s", name, strings.Join(clearable, ", "))
			}
			option := adminapi.SettingByFlag(name).Option
			if _, given := patch[option]; given {
				return misused("flag --clear %q: the setting is given as well", name)
			}
			patch[option] = nil
		}
		if len(patch) == 0 {
			return misused("nothing to change: give a setting, or --clear")
		}
		var answer adminapi.Consumer
		if err := s.call(http.MethodPatch, consumerPath(args), patch, &answer); err != nil {
			return err
		}
		return s.show(answer, consumerRows(&answer))
	}), consumerKeys)
}

func consumerListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Lists all consumers, declared and stored",
	}
	return managing(cmd, cobra.NoArgs, func(s *session, _ []string) error {
		all, err := listAll[adminapi.Consumer](s, adminapi.ConsumersPath)
		if err != nil {
			return err
		}
		var lines [][]string
		for _, v := range all.Items {
			lines = append(lines, []string{
				keyOnScreen(v.Key), v.Name, stateOf(&v, time.Now()), provenance(&v), timeText(v.Created),
			})
		}
		return s.showTable(all, []string{"KEY", "NAME", "STATE", "ORIGIN", "CREATED"}, lines)
	})
}

func consumerShowCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show <key>",
		Short: "Shows a consumer, without its secret",
	}
	return completeKey(managing(cmd, cobra.ExactArgs(1), func(s *session, args []string) error {
		var answer adminapi.Consumer
		if err := s.call(http.MethodGet, consumerPath(args), nil, &answer); err != nil {
			return err
		}
		return s.show(answer, consumerRows(&answer))
	}), consumerKeys)
}

func consumerRotateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rotate <key>",
		Short: "Gives a consumer a new secret, and shows it",
		Long: `
Gives a consumer a new secret, and shows it, once. The old secret ends at once.
With --overlap it still works for that long, so that there is time to give the
new secret to the application.`,
		Example: `  $ caddy oauth1 consumer rotate ci-bot --overlap 24h`,
	}
	cmd.Flags().String("overlap", "",
		"How long the old secret still works, such as 24h or 7d (default: not at all)")
	cmd.Flags().Bool("secret-stdin", false, "Read the new secret from standard input")
	return completeKey(managing(cmd, cobra.ExactArgs(1), func(s *session, args []string) error {
		secret, err := s.givenSecret()
		if err != nil {
			return err
		}
		body := adminapi.Rotation{Overlap: s.flag("overlap"), Secret: secret}
		path := adminapi.ResourcePath(adminapi.ConsumersPath, args[0], adminapi.ActionRotate)
		var answer adminapi.ConsumerWithSecret
		failed := s.call(http.MethodPost, path, body, &answer)
		if said := (*adminapi.Error)(nil); errors.As(failed, &said) {
			_ = json.Unmarshal([]byte(said.Body), &answer)
		}
		if failed != nil && answer.Secret == nil {
			return failed
		}
		// Also with an error that comes with the secret: the old one has ended.
		return errors.Join(s.showSecret(answer, consumerRows(&answer.Consumer), answer.Secret), failed)
	}), consumerKeys)
}

func consumerSwitchCommand(name, short string, disabled bool) *cobra.Command {
	cmd := &cobra.Command{
		Use:   name + " <key>",
		Short: short,
	}
	return completeKey(managing(cmd, cobra.ExactArgs(1), func(s *session, args []string) error {
		var answer adminapi.Consumer
		body := map[string]bool{"disabled": disabled}
		if err := s.call(http.MethodPatch, consumerPath(args), body, &answer); err != nil {
			return err
		}
		return s.show(answer, consumerRows(&answer))
	}), consumerKeys)
}

func consumerRemoveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "remove <key>",
		Short: "Removes a consumer and all its tokens",
		Long: `
Removes a consumer and every token that it holds. To keep the tokens, disable
the consumer instead.

The command tells the number of access tokens and asks for confirmation, unless
--yes is given.`,
	}
	yesFlag(cmd)
	return completeKey(managing(cmd, cobra.ExactArgs(1), func(s *session, args []string) error {
		var consumer adminapi.Consumer
		path := consumerPath(args)
		if err := s.call(http.MethodGet, path, nil, &consumer); err != nil {
			return err
		}
		if consumer.Declared { // no question: the server refuses, and says why
			return s.call(http.MethodDelete, path, nil, nil)
		}
		n, err := s.matching(adminapi.Revocation{Consumer: &args[0]})
		if err != nil {
			return err
		}
		if err := s.confirm(fmt.Sprintf("The consumer %q will be removed, with its %s", args[0],
			accessTokensText(n))); err != nil {
			return err
		}
		if err := s.call(http.MethodDelete, path, nil, nil); err != nil {
			return err
		}
		s.say("The consumer %q is removed, with its %s.", args[0], accessTokensText(n))
		return nil
	}), consumerKeys)
}

func consumerPath(args []string) string {
	return adminapi.ResourcePath(adminapi.ConsumersPath, args[0], "")
}
