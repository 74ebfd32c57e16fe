package caddymodule

import (
	"fmt"
	"net/http"
	"os"
	"slices"
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
		consumerUpdateCommand(),
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
	settingFlags(cmd, true)
	cmd.Flags().Bool("secret-stdin", false, "Read the secret from standard input")
	cmd.Flags().Bool("no-secret", false, "Give the consumer an empty secret")
	cmd.MarkFlagsMutuallyExclusive("secret-stdin", "no-secret", "rsa-public-key")
	cmd.MarkFlagsRequiredTogether("two-legged-user", "two-legged-permission")
	return managing(cmd, cobra.MaximumNArgs(1), addConsumer)
}

func addConsumer(c *adminClient, args []string) error {
	body, err := givenSettings(c.cmd)
	if err != nil {
		return err
	}
	if len(args) > 0 {
		body["key"] = args[0]
	}
	secret, err := c.givenSecret()
	if err != nil {
		return err
	}
	switch {
	case secret != nil:
		body["secret"] = *secret
	case c.flag("no-secret") == "true":
		body["secret"] = ""
	}
	var answer newSecretView
	if err := c.call(http.MethodPost, "/oauth1/consumers", body, &answer); err != nil {
		return err
	}
	return c.showSecret(answer, consumerRows(&answer.consumerView), answer.Secret)
}

func consumerUpdateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "update <key>",
		Short: "Changes the settings of a consumer",
		Long: `
Changes those settings of a consumer that are given, and keeps the others, its
secret and its tokens. The changes hold from the next request on.

A flag that may be repeated replaces all that there were. --clear sets one back
to what holds without it: --clear expires makes the consumer live for ever, and
--clear callback lets it name any callback.

A new secret comes with 'consumer rotate'. With --rsa-public-key the consumer
signs with that key, and its secret ends.`,
		Example: `  $ caddy oauth1 consumer update ci-bot --name "CI bot" --expires 2027-01-31
  $ caddy oauth1 consumer update printer --callback https://a.example.com/ --callback 'https://b.example.com/*'
  $ caddy oauth1 consumer update printer --clear permission --clear two-legged`,
	}
	settingFlags(cmd, false)
	var clearable []string
	for _, setting := range consumerSettings {
		if setting.option != "rsa_public_key" { // the consumer has no secret to go on with
			clearable = append(clearable, setting.flag)
		}
	}
	cmd.Flags().StringArray("clear", nil,
		"A setting to set back (repeatable): "+strings.Join(clearable, ", "))
	completeFlag(cmd, "clear", fixed(clearable...))
	return completeKey(managing(cmd, cobra.ExactArgs(1), func(c *adminClient, args []string) error {
		patch, err := givenSettings(c.cmd)
		if err != nil {
			return err
		}
		cleared, err := c.cmd.Flags().GetStringArray("clear")
		if err != nil {
			return err
		}
		for _, name := range cleared {
			option := optionOfFlag(name)
			if !slices.Contains(clearable, name) {
				return misused("flag --clear %q: must be one of %s", name, strings.Join(clearable, ", "))
			}
			if _, given := patch[option]; given {
				return misused("flag --clear %q: the setting is given as well", name)
			}
			patch[option] = nil
		}
		if len(patch) == 0 {
			return misused("nothing to change: give a setting, or --clear")
		}
		var answer consumerView
		if err := c.call(http.MethodPatch, resource("consumers", args[0], ""), patch, &answer); err != nil {
			return err
		}
		return c.show(answer, consumerRows(&answer))
	}), consumerKeys)
}

// optionOfFlag is the option of the setting that has the flag.
func optionOfFlag(flag string) string {
	for _, setting := range consumerSettings {
		if setting.flag == flag {
			return setting.option
		}
	}
	return ""
}

// settingFlags adds a flag for each setting of a consumer; for a new one it says what holds
// without.
func settingFlags(cmd *cobra.Command, isNew bool) {
	flags := cmd.Flags()
	for _, setting := range consumerSettings {
		var notes []string
		value := setting.value(new(ConsumerSettings))
		if _, ok := value.(*[]string); ok {
			notes = append(notes, "repeatable")
		}
		if isNew {
			notes = append(notes, "default: "+setting.optional)
		}
		usage := setting.usage
		if len(notes) > 0 {
			usage += " (" + strings.Join(notes, "; ") + ")"
		}
		switch value.(type) {
		case *string:
			flags.String(setting.flag, "", usage)
		case *[]string:
			flags.StringArray(setting.flag, nil, usage)
		case *bool:
			flags.Bool(setting.flag, false, usage)
		case **tokenstore.TwoLegged:
			flags.String(setting.flag+"-user", "", usage)
			flags.String(setting.flag+"-permission", "", "The level that it has then")
		}
	}
	flags.Bool("disabled", false, "Refuse its requests for now")
	completeFlag(cmd, "signature-method", signatureMethodNames)
	completeFlag(cmd, "permission", permissionNames)
	completeFlag(cmd, "two-legged-permission", permissionNames)
}

// givenSettings are the settings whose flags are given, by their names in the admin API.
func givenSettings(cmd *cobra.Command) (map[string]any, error) {
	given := make(map[string]any)
	flags := cmd.Flags()
	for _, setting := range consumerSettings {
		switch setting.value(new(ConsumerSettings)).(type) {
		case *string:
			if flags.Changed(setting.flag) {
				given[setting.option] = flagText(cmd, setting.flag)
			}
		case *[]string:
			if flags.Changed(setting.flag) {
				values, err := flags.GetStringArray(setting.flag)
				if err != nil {
					return nil, err
				}
				given[setting.option] = values
			}
		case *bool:
			if flags.Changed(setting.flag) {
				given[setting.option] = flagText(cmd, setting.flag) == "true"
			}
		case **tokenstore.TwoLegged:
			parts := make(map[string]string)
			for _, part := range []string{"user", "permission"} {
				if name := setting.flag + "-" + part; flags.Changed(name) {
					parts[part] = flagText(cmd, name)
				}
			}
			if len(parts) > 0 {
				given[setting.option] = parts
			}
		}
	}
	if flags.Changed("disabled") {
		given["disabled"] = flagText(cmd, "disabled") == "true"
	}
	if file, ok := given["rsa_public_key"].(string); ok {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("reading the RSA public key: %w", err)
		}
		given["rsa_public_key"] = string(pem)
	}
	return given, nil
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
	return completeKey(managing(cmd, cobra.ExactArgs(1), func(c *adminClient, args []string) error {
		var answer consumerView
		if err := c.call(http.MethodGet, resource("consumers", args[0], ""), nil, &answer); err != nil {
			return err
		}
		return c.show(answer, consumerRows(&answer))
	}), consumerKeys)
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
	return completeKey(managing(cmd, cobra.ExactArgs(1), func(c *adminClient, args []string) error {
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
	}), consumerKeys)
}

func consumerSwitchCommand(name, short string, disabled bool) *cobra.Command {
	cmd := &cobra.Command{
		Use:   name + " <key>",
		Short: short,
	}
	return completeKey(managing(cmd, cobra.ExactArgs(1), func(c *adminClient, args []string) error {
		var answer consumerView
		body := map[string]bool{"disabled": disabled}
		if err := c.call(http.MethodPatch, resource("consumers", args[0], ""), body, &answer); err != nil {
			return err
		}
		return c.show(answer, consumerRows(&answer))
	}), consumerKeys)
}

func consumerRemoveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "remove <key>",
		Short: "Removes a consumer and all its tokens",
		Long: `
Removes a consumer and every token that it holds. To keep them, disable the
consumer instead.

It says how many access tokens there are and asks, unless --yes is given.`,
	}
	yesFlag(cmd)
	return completeKey(managing(cmd, cobra.ExactArgs(1), func(c *adminClient, args []string) error {
		var consumer consumerView
		uri := resource("consumers", args[0], "")
		if err := c.call(http.MethodGet, uri, nil, &consumer); err != nil {
			return err
		}
		if consumer.Declared { // then there is nothing to ask: the server says why
			return c.call(http.MethodDelete, uri, nil, nil)
		}
		n, err := c.matching(revokeBody{Consumer: &args[0]})
		if err != nil {
			return err
		}
		if err := c.confirm(fmt.Sprintf("The consumer %q will be removed, with its %s", args[0],
			accessTokensText(n))); err != nil {
			return err
		}
		if err := c.call(http.MethodDelete, uri, nil, nil); err != nil {
			return err
		}
		c.say("The consumer %q is removed, with its %s.", args[0], accessTokensText(n))
		return nil
	}), consumerKeys)
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
