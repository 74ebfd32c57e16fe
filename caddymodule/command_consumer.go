package caddymodule

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

func consumerCommands() []*cobra.Command {
	return []*cobra.Command{
		consumerAddCommand(),
		consumerListCommand(),
		consumerShowCommand(),
		consumerRotateCommand(),
		consumerSwitchCommand("disable", "Refuses every request of a consumer, and keeps its tokens", true),
		consumerSwitchCommand("enable", "Lets a disabled consumer in again", false),
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
secret on standard input with --secret-stdin. So credentials of another
provider can be brought along. With --rsa-public-key the consumer signs with
its own RSA key and has no secret; with --no-secret it has none either, and
whoever knows its key may use it.`,
		Example: `  $ caddy oauth1 consumer add --name "Photo printer" --callback 'https://printer.example.com/ready'
  $ caddy oauth1 consumer add ci-bot --rsa-public-key ci-bot.pem --two-legged-user ci --two-legged-permission WRITE_PUBLIC
  $ caddy oauth1 consumer add old-app --secret-stdin < old-app.secret`,
	}
	flags := cmd.Flags()
	flags.String("name", "", "What people read on the authorize page")
	flags.String("homepage", "", "The application's website")
	flags.StringArray("callback", nil, "A callback that the consumer may name: a URL, or one with a * at the end of its path (repeatable; default: any http or https URL)")
	flags.String("rsa-public-key", "", "A PEM file with the consumer's RSA public key or certificate")
	flags.StringArray("signature-method", nil, "A method that the consumer may sign with (repeatable; default: all that the site accepts)")
	flags.StringArray("permission", nil, "A level that the consumer may be granted (repeatable; default: all)")
	flags.String("two-legged-user", "", "The user whom the consumer acts for when it signs without a token")
	flags.String("two-legged-permission", "", "The level that it has then")
	flags.String("expires", "", "When the consumer ends: a date, or a time such as 2027-01-31T00:00:00Z (default: never)")
	flags.Bool("disabled", false, "Refuse its requests for now")
	flags.Bool("secret-stdin", false, "Read the secret from standard input")
	flags.Bool("no-secret", false, "Give the consumer an empty secret")
	cmd.MarkFlagsMutuallyExclusive("secret-stdin", "no-secret", "rsa-public-key")
	cmd.MarkFlagsRequiredTogether("two-legged-user", "two-legged-permission")
	return managing(cmd, cobra.MaximumNArgs(1), addConsumer)
}

func addConsumer(c *adminClient, args []string) error {
	body, err := newConsumer(c.cmd)
	if err != nil {
		return err
	}
	if len(args) > 0 {
		body.Key = args[0]
	}
	if body.Secret, err = c.givenSecret(); err != nil {
		return err
	}
	if c.flag("no-secret") == "true" {
		body.Secret = new(string)
	}
	var answer newSecretView
	if err := c.call(http.MethodPost, "/oauth1/consumers", body, &answer); err != nil {
		return err
	}
	return c.showSecret(answer, consumerRows(&answer.consumerView), answer.Secret)
}

// newConsumer is what the flags say.
func newConsumer(cmd *cobra.Command) (*newConsumerBody, error) {
	body := new(newConsumerBody)
	body.Name = flagText(cmd, "name")
	body.Homepage = flagText(cmd, "homepage")
	body.Expires = flagText(cmd, "expires")
	body.Disabled = flagText(cmd, "disabled") == "true"
	for name, into := range map[string]*[]string{
		"callback":         &body.Callbacks,
		"signature-method": &body.SignatureMethods,
		"permission":       &body.Permissions,
	} {
		var err error
		if *into, err = cmd.Flags().GetStringArray(name); err != nil {
			return nil, err
		}
	}
	if user := flagText(cmd, "two-legged-user"); user != "" {
		body.TwoLegged = &tokenstore.TwoLegged{User: user, Permission: flagText(cmd, "two-legged-permission")}
	}
	if file := flagText(cmd, "rsa-public-key"); file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("reading the RSA public key: %w", err)
		}
		body.RSAPublicKey = string(pem)
	}
	return body, nil
}

func consumerListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Lists all consumers, declared and stored",
	}
	return managing(cmd, cobra.NoArgs, func(c *adminClient, _ []string) error {
		all, err := listAll[consumerView](c, "/oauth1/consumers")
		if err != nil {
			return err
		}
		var lines [][]string
		for _, v := range all.Items {
			lines = append(lines, []string{v.Key, v.Name, v.state(time.Now()), v.origin(), timeText(v.Created)})
		}
		return c.showTable(all, []string{"KEY", "NAME", "STATE", "ORIGIN", "CREATED"}, lines)
	})
}

func consumerShowCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show <key>",
		Short: "Shows a consumer, without its secret",
	}
	return managing(cmd, cobra.ExactArgs(1), func(c *adminClient, args []string) error {
		var answer consumerView
		if err := c.call(http.MethodGet, resource("consumers", args[0], ""), nil, &answer); err != nil {
			return err
		}
		return c.show(answer, consumerRows(&answer))
	})
}

func consumerRotateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rotate <key>",
		Short: "Gives a consumer a new secret, and shows it",
		Long: `
Gives a consumer a new secret, and shows it, once. The old one ends at once,
unless --overlap says for how long it works on: time to bring the new one to
where the application runs.`,
		Example: `  $ caddy oauth1 consumer rotate ci-bot --overlap 24h`,
	}
	cmd.Flags().String("overlap", "", "How long the old secret works on, such as 24h or 7d (default: not at all)")
	cmd.Flags().Bool("secret-stdin", false, "Read the new secret from standard input")
	return managing(cmd, cobra.ExactArgs(1), func(c *adminClient, args []string) error {
		secret, err := c.givenSecret()
		if err != nil {
			return err
		}
		body := rotateBody{Overlap: c.flag("overlap"), Secret: secret}
		var answer newSecretView
		if err := c.call(http.MethodPost, resource("consumers", args[0], "rotate"), body, &answer); err != nil {
			return err
		}
		return c.showSecret(answer, consumerRows(&answer.consumerView), answer.Secret)
	})
}

func consumerSwitchCommand(name, short string, disabled bool) *cobra.Command {
	cmd := &cobra.Command{
		Use:   name + " <key>",
		Short: short,
	}
	return managing(cmd, cobra.ExactArgs(1), func(c *adminClient, args []string) error {
		var answer consumerView
		body := map[string]bool{"disabled": disabled}
		if err := c.call(http.MethodPatch, resource("consumers", args[0], ""), body, &answer); err != nil {
			return err
		}
		return c.show(answer, consumerRows(&answer))
	})
}

func consumerRemoveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "remove <key>",
		Short: "Removes a consumer and all its tokens",
		Long: `
Removes a consumer and every token that it holds. To keep them, disable the
consumer instead.`,
	}
	return managing(cmd, cobra.ExactArgs(1), func(c *adminClient, args []string) error {
		if err := c.call(http.MethodDelete, resource("consumers", args[0], ""), nil, nil); err != nil {
			return err
		}
		c.say("The consumer %q is removed, with its tokens.", args[0])
		return nil
	})
}

func consumerRows(v *consumerView) []row {
	rows := []row{
		{"Key", v.Key},
		{"Name", v.Name},
		{"Homepage", v.Homepage},
		{"State", v.state(time.Now())},
		{"Origin", v.origin()},
		{"Signs with", strings.Join(v.SignatureMethods, ", ")},
		{"RSA key", rsaKeyText(v.RSAPublicKey)},
		{"Callbacks", callbacksText(v)},
		{"Permissions", strings.Join(v.Permissions, ", ")},
	}
	if two := v.TwoLegged; two != nil {
		rows = append(rows, row{"Two-legged", two.User + ", " + two.Permission})
	}
	return append(rows,
		row{"Created", timeText(v.Created)},
		row{"Expires", v.Expires},
		row{"Old secret works until", timeText(v.PreviousSecretExpires)},
	)
}

func callbacksText(v *consumerView) string {
	text := strings.Join(v.Callbacks, " ")
	if v.CallbacksIgnoreQuery {
		text += ", with any query"
	}
	if v.DefaultCallback {
		text += ", by default"
	}
	return text
}

func rsaKeyText(pem string) string {
	if pem == "" {
		return ""
	}
	key, err := oauth1.ParseRSAPublicKey(pem)
	if err != nil {
		return "unreadable"
	}
	return fmt.Sprintf("%d bits", key.N.BitLen())
}

func (v *consumerView) state(now time.Time) string {
	expires, err := parseTime(v.Expires)
	switch {
	case v.Disabled:
		return "disabled"
	case err == nil && !now.Before(expires):
		return "expired"
	}
	return "active"
}

// origin is how the consumer came to be.
func (v *consumerView) origin() string {
	switch {
	case v.Declared:
		return "declared in the configuration"
	case v.SelfRegistered:
		return "registered itself"
	}
	return "added"
}
