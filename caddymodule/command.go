package caddymodule

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "oauth1",
		Usage: "<command>",
		Short: "Manages OAuth 1.0a consumers and tokens, debugs signatures, tests policies",
		Long: `
Manages the consumers and tokens of the oauth1 app, and helps to debug
OAuth 1.0a signatures.

The commands that manage work on a running Caddy, by way of its admin API at
'` + caddy.DefaultAdminListen + `'. Name another --address, or use --config to have it
read from your configuration. All of them print text for people, or with
--json what the API answered.

A secret is shown once, by the command that made it. Secrets that you have
already are read from standard input, never from the command line, where other
users of the computer could see them; they are not shown again.

'oauth1 sign', 'oauth1 explain' and 'oauth1 policy' work by themselves, without
a running Caddy.

` + exitCodesHelp,
		CobraFunc: buildCommands,
	})
}

// buildCommands adds the subcommands. Those of consumers are in command_consumer.go, those of
// tokens in command_token.go; sign.go and explain.go are for people who debug signatures,
// policycommand.go for those who test policies. What ends them with which exit code is in
// command_exit.go, what a shell completes in command_complete.go.
func buildCommands(root *cobra.Command) {
	root.Example = `  $ caddy oauth1 consumer add --name "CI bot" --callback 'https://ci.example.com/oauth/*'
  $ caddy oauth1 token list --user salgado
  $ curl -H "$(caddy oauth1 sign GET https://api.example.com/items --consumer ci-bot)" https://api.example.com/items`
	addGroup(root,
		group("consumer", "Manages the applications that sign requests", consumerCommands()...),
		group("token", "Manages access tokens: what users have granted", tokenCommands()...),
		group("request-token", "Looks at requests for a grant, and answers them", requestTokenCommands()...),
		revokeCommand(),
		healthCommand(),
		signCommand(),
		explainCommand(),
		policyCommand(),
	)
	checkUsage(root)
	nameProgram(root, programName())
	tellVersion(root)
}

func group(name, short string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: name + " <command>", Short: short}
	addGroup(cmd, commands...)
	return cmd
}

// addGroup makes a command one that only has subcommands. A name that none of them has is an error; cobra alone would show
// the help and succeed.
func addGroup(cmd *cobra.Command, commands ...*cobra.Command) {
	cmd.DisableFlagsInUseLine = true
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		return misused("unknown command %q for %q", args[0], cmd.CommandPath())
	}
	cmd.AddCommand(commands...)
}

// managing makes a command one that calls the admin API.
func managing(cmd *cobra.Command, args cobra.PositionalArgs, run func(*adminClient, []string) error) *cobra.Command {
	cmd.Flags().StringP("address", "", "", "Address of the administration API listener (if --config is not used)")
	cmd.Flags().StringP("config", "c", "", "Configuration file (if --address is not used)")
	cmd.Flags().StringP("adapter", "a", "", "Name of config adapter to apply (if --config is used)")
	cmd.Flags().BoolP("json", "", false, "Print JSON")
	cmd.Args = args
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := newAdminClient(cmd)
		if err != nil {
			return err
		}
		return run(c, args)
	}
	return cmd
}

func revokeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "revoke [--user <name>] [--consumer <key>]",
		Short: "Revokes all access tokens of a user, of a consumer, or of both together",
		Long: `
Revokes every access token that a user has granted, that a consumer holds, or,
with both, that the user has granted to the consumer. Requests that still wait
for their exchange end with them.

It says how many there are and asks, unless --yes is given.`,
		Example: `  $ caddy oauth1 revoke --user salgado
  $ caddy oauth1 revoke --user salgado --consumer ci-bot --yes`,
	}
	cmd.Flags().String("user", "", "The user who granted")
	cmd.Flags().String("consumer", "", "The key of the consumer that was granted to")
	completeFlag(cmd, "consumer", consumerKeys)
	yesFlag(cmd)
	cmd.MarkFlagsOneRequired("user", "consumer")
	return managing(cmd, cobra.NoArgs, func(c *adminClient, _ []string) error {
		body := revokeBody{User: c.givenFlag("user"), Consumer: c.givenFlag("consumer")}
		n, err := c.matching(body)
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
		if err := c.confirm(whose + " will be revoked"); err != nil {
			return err
		}
		var answer revokedView
		if err := c.call(http.MethodPost, "/oauth1/revoke", body, &answer); err != nil {
			return err
		}
		return c.show(answer, []row{{"Revoked", accessTokensText(answer.Revoked)}})
	})
}

// matching is how many access tokens a revocation would hit.
func (c *adminClient) matching(body revokeBody) (int, error) {
	body.DryRun = true
	var answer revokedView
	if err := c.call(http.MethodPost, "/oauth1/revoke", body, &answer); err != nil {
		return 0, err
	}
	if answer.Matching == nil {
		return 0, errors.New("the admin API does not tell how many access tokens there are")
	}
	return *answer.Matching, nil
}

func accessTokensText(n int) string {
	if n == 1 {
		return "1 access token"
	}
	return fmt.Sprintf("%d access tokens", n)
}

func healthCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Tells whether the token store works",
		Long: `
Asks the running Caddy whether its token store does its work. The exit code is
0 if it does.`,
	}
	return managing(cmd, cobra.NoArgs, func(c *adminClient, _ []string) error {
		var answer healthView
		if err := c.call(http.MethodGet, "/oauth1/health", nil, &answer); err != nil {
			return err
		}
		return c.show(answer, []row{
			{"Status", answer.Status},
			{"Registration", answer.Registration},
			{"Permissions", strings.Join(answer.Permissions, ", ")},
		})
	})
}

// adminClient is what a managing command works with: its flags and the admin API.
type adminClient struct {
	cmd     *cobra.Command
	address string
}

// newAdminClient finds the address by the flags that managing has added, if it has.
func newAdminClient(cmd *cobra.Command) (*adminClient, error) {
	if cmd.Flag("address") == nil {
		return &adminClient{cmd, caddy.DefaultAdminListen}, nil
	}
	address, err := caddycmd.DetermineAdminAPIAddress(
		flagText(cmd, "address"), nil, flagText(cmd, "config"), flagText(cmd, "adapter"))
	if err != nil {
		return nil, fmt.Errorf("couldn't determine admin API address: %w", err)
	}
	return &adminClient{cmd, address}, nil
}

func (c *adminClient) flag(name string) string { return flagText(c.cmd, name) }

// givenFlag is nil for a flag that is not there, which an empty one is not.
func (c *adminClient) givenFlag(name string) *string {
	if !c.cmd.Flags().Changed(name) {
		return nil
	}
	value := c.flag(name)
	return &value
}

func flagText(cmd *cobra.Command, name string) string { return cmd.Flag(name).Value.String() }

// call sends a request with a JSON body, if there is one, and reads the JSON answer into a value, if there is one.
func (c *adminClient) call(method, uri string, body, answer any) error {
	var sent io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		sent = bytes.NewReader(text)
	}
	resp, err := caddycmd.AdminAPIRequest(c.address, method, uri, make(http.Header), sent)
	if err != nil {
		return apiError(err)
	}
	defer resp.Body.Close()
	if answer == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(answer); err != nil {
		return fmt.Errorf("reading the admin API's answer: %w", err)
	}
	return nil
}

// resource is the path of a resource below /oauth1/ whose key may hold any character.
func resource(kind, key, action string) string {
	escaped := url.PathEscape(key)
	if key == "." || key == ".." {
		escaped = strings.ReplaceAll(key, ".", "%2E") // else a path would be cleaned of it
	}
	uri := "/oauth1/" + kind + "/" + escaped
	if action != "" {
		uri += "/" + action
	}
	return uri
}

// listAll reads a list to its end. The filters are the names of flags, and of query parameters.
func listAll[T any](c *adminClient, uri string, filters ...string) (listView[T], error) {
	all := listView[T]{Items: []T{}}
	query := url.Values{"limit": {strconv.Itoa(maxPage)}}
	for _, name := range filters {
		if value := c.givenFlag(name); value != nil {
			query.Set(name, *value)
		}
	}
	for {
		var part listView[T]
		if err := c.call(http.MethodGet, uri+"?"+query.Encode(), nil, &part); err != nil {
			return all, err
		}
		all.Items = append(all.Items, part.Items...)
		if part.Next == "" {
			return all, nil
		}
		query.Set("after", part.Next)
	}
}

// A row is a line of an answer for people.
type row struct{ name, value string }

// show prints an answer: as JSON if that is asked for, else as those of the rows that have a value.
func (c *adminClient) show(answer any, rows []row) error {
	if c.flag("json") == "true" {
		return c.showJSON(answer)
	}
	out := tabwriter.NewWriter(c.cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	for _, r := range rows {
		if r.value != "" {
			fmt.Fprintf(out, "%s:\t%s\n", r.name, onScreen(r.value))
		}
	}
	return out.Flush()
}

// showTable prints a list: as JSON if that is asked for, else as a table with a heading.
func (c *adminClient) showTable(answer any, heading []string, lines [][]string) error {
	if c.flag("json") == "true" {
		return c.showJSON(answer)
	}
	out := tabwriter.NewWriter(c.cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	for _, line := range append([][]string{heading}, lines...) {
		for i, cell := range line {
			if i > 0 {
				fmt.Fprint(out, "\t")
			}
			if cell == "" {
				cell = "-"
			}
			fmt.Fprint(out, onScreen(cell))
		}
		fmt.Fprintln(out)
	}
	return out.Flush()
}

func (c *adminClient) showJSON(answer any) error {
	enc := json.NewEncoder(c.cmd.OutOrStdout())
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(answer)
}

// showSecret is show for the one answer that holds a secret; nil is none. A secret that was given stays
// off the screen.
func (c *adminClient) showSecret(answer any, rows []row, secret *string) error {
	switch {
	case secret == nil, c.flag("secret-stdin") == "true":
		return c.show(answer, rows)
	case *secret == "":
		return c.show(answer, append(rows, row{"Secret", "(empty)"}))
	}
	if err := c.show(answer, append(rows, row{"Secret", *secret})); err != nil {
		return err
	}
	c.say("\nKeep the secret well: it is not shown again.")
	return nil
}

// say prints a sentence for people.
func (c *adminClient) say(format string, args ...any) {
	if c.flag("json") != "true" {
		fmt.Fprintf(c.cmd.OutOrStdout(), format+"\n", args...)
	}
}

// onScreen keeps a consumer's claims about itself from writing elsewhere on the terminal.
func onScreen(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}

func timeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.RFC3339)
}

// timeOrNever is for the end of what may have none.
func timeOrNever(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return timeText(t)
}

// givenSecret is the secret from standard input if there is to be one, else nil.
func (c *adminClient) givenSecret() (*string, error) {
	if c.flag("secret-stdin") != "true" {
		return nil, nil
	}
	secret, err := readSecret(c.cmd)
	return &secret, err
}
