package command

import (
	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

// Register adds `oauth1` to Caddy's commands, and may be called once. What a configuration decides
// about a request comes from policies, and what is done with its store from stores.
func Register(policies Policies, stores Stores) {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "oauth1",
		Usage: "<command>",
		Short: "Manages OAuth 1.0a consumers and tokens, debugs signatures, tests policies",
		Long: `
Manages the consumers and tokens of the oauth1 app, and helps to debug
OAuth 1.0a signatures.

The managing commands call the admin API of a running Caddy, which listens at
'` + caddy.DefaultAdminListen + `'. Give another address with --address, or have
--config read it from your configuration. The commands print text for people,
or with --json the answer of the API.

A secret is shown once, by the command that made it. Existing secrets are read
from standard input, never from the command line, where other users of the
computer could see them. They are not shown again; only 'oauth1 backup' writes
them, and 'oauth1 export', when it is told to.

'oauth1 sign', 'oauth1 explain' and 'oauth1 policy' need no running Caddy.
'oauth1 store' and 'oauth1 restore' work on a store while no Caddy uses it.

` + exitCodesHelp,
		CobraFunc: func(root *cobra.Command) { Build(root, policies, stores) },
	})
}

// Build adds the subcommands to the command `oauth1`.
func Build(root *cobra.Command, policies Policies, stores Stores) {
	root.Example = `  $ caddy oauth1 consumer add --name "CI bot" --callback 'https://ci.example.com/oauth/*'
  $ caddy oauth1 token list --user salgado
  $ curl -H "$(caddy oauth1 sign GET https://api.example.com/items --consumer ci-bot)" https://api.example.com/items`
	addSubcommands(root,
		commandGroup("consumer", "Manages the applications that sign requests", consumerCommands()...),
		commandGroup("token", "Manages access tokens, which users have granted", tokenCommands()...),
		commandGroup("request-token", "Shows requests for a grant, and answers them", requestTokenCommands()...),
		revokeCommand(),
		importCommand(),
		exportCommand(),
		healthCommand(),
		commandGroup("audit", "Verifies the audit trail", auditVerifyCommand(stores)),
		signCommand(),
		explainCommand(),
		diagnoseCommand(),
		clientCheckCommand(),
		policyCommand(policies),
		commandGroup("keys", "Shows and changes the keys that the store is encrypted with", keysCommands()...),
		backupCommand(stores),
		restoreCommand(stores),
		commandGroup("store", "Works on the stores of tokens, while no Caddy uses them", storeCommands(stores)...),
		versionCommand(),
	)
	checkUsage(root)
	reportWriteErrors(root)
	nameProgram(root, programName())
	tellVersion(root)
}

func commandGroup(name, short string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: name + " <command>", Short: short}
	addSubcommands(cmd, commands...)
	return cmd
}

// addSubcommands makes a command one that only has subcommands. A name that none of them has is an
// error; cobra alone would show the help and succeed.
func addSubcommands(cmd *cobra.Command, commands ...*cobra.Command) {
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
