package command

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/audit"
)

// Stores works on stores that no Caddy has open. Only caddymodule can open the store of a
// configuration, so it hands that in.
type Stores struct {
	// Copy copies the content of one configuration's store to that of another. Both are in Caddy's
	// JSON. It calls progress with each record. Where it can, the error says what to do.
	Copy func(ctx context.Context, from, to []byte, progress func(CopiedKind)) error
	// VerifyAudit verifies the lines that read gives to the verifier, with the key in the store of a
	// configuration. If they are a part of the trail, what is before and after them is not missing.
	VerifyAudit func(
		ctx context.Context, config []byte, part bool, read func(*audit.Verifier) error,
	) (audit.Report, error)
	// Verify reads a backup to its end. identity is a file, or empty.
	Verify func(file, identity string) (Backup, error)
	// Restore restores a backup into the empty store of a configuration. It calls progress with each
	// record.
	Restore func(ctx context.Context, config []byte, r Restore, progress func()) (Restored, error)
	// Adopt takes a store into use that was copied back or moved. It returns until when requests are
	// refused.
	Adopt func(config []byte) (until time.Time, err error)
}

// A CopiedKind is what a record is that was copied.
type CopiedKind int

// The kinds, in the order in which they are shown.
const (
	CopiedConsumer CopiedKind = iota
	CopiedAccessToken
	CopiedRequestToken
	copiedKinds
)

type copied [copiedKinds]int

func (c copied) String() string {
	return fmt.Sprintf("%s, %s, %s", plural(c[CopiedConsumer], "consumer"),
		plural(c[CopiedAccessToken], "access token"), plural(c[CopiedRequestToken], "request token"))
}

func storeCommands(stores Stores) []*cobra.Command {
	return []*cobra.Command{copyCommand(stores), adoptCommand(stores)}
}

func adoptCommand(stores Stores) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "adopt --config <config>",
		Short: "Uses a store's directory that was copied back or moved",
		Long: `
Takes a directory into use that a Caddy refuses because it was copied back or
moved. Stop Caddy before, and start it after. Run the command as the user that
Caddy runs as ('sudo -u caddy ...').

Use it when you moved the directory. When you copied an older one back, every
token that was revoked since is valid again, and every token that was issued
since is unknown: 'oauth1 restore' knows the revocations, this command does not.

Every request is refused for one timestamp_window from now on, with 503, since
it may have been accepted before.`,
		Example: `  $ caddy oauth1 store adopt --config Caddyfile`,
		Args:    cobra.NoArgs,
	}
	configFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		config, err := configOf(cmd)
		if err != nil {
			return err
		}
		until, err := stores.Adopt(config)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "Adopted. Requests are refused until:  %s\n", until.Format(time.RFC3339))
		return err
	}
	return cmd
}

// configFlags adds the flags that name a configuration whose store is worked on.
func configFlags(cmd *cobra.Command) {
	cmd.Flags().StringP("config", "c", "", "Configuration file with the store")
	cmd.Flags().StringP("adapter", "a", "", "Name of config adapter to apply")
	if err := cmd.MarkFlagRequired("config"); err != nil {
		panic(err) // the command has no such flag, which is a bug
	}
}

// configOf reads the configuration that the flags name, as Caddy's JSON.
func configOf(cmd *cobra.Command) ([]byte, error) {
	file, err := os.Open(flagText(cmd, "config"))
	if err != nil {
		return nil, misused("--config: %w", err)
	}
	file.Close()
	config, _, _, err := caddycmd.LoadConfig(file.Name(), flagText(cmd, "adapter"))
	if err != nil {
		return nil, fmt.Errorf("--config: %w", err)
	}
	return config, nil
}

func copyCommand(stores Stores) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "copy --from <config> --to <config>",
		Short: "Copies a store to another one, such as Badger to Redis, or back",
		Long: `
Copies everything in the store of one configuration to the store of another:
consumers, access tokens, request tokens that wait for a user or for their
exchange, and the secret that keeps open pages working. No client notices
anything but the pause.

Stop every Caddy that uses one of the stores before, and start Caddy with the
other configuration after. A store in a directory can't be copied while a Caddy
has it open. A store in Redis refuses all requests during the copy, and until
some ten seconds after it.

Used nonces are not accepted again: requests from before the copy are refused.
Clients whose clocks are right notice nothing of that. Don't serve the source
again afterwards: it does not know what happened at the target.

The target must be empty, and no Caddy may have been started with it. No Caddy
starts with the target of a copy that did not end. Give the same command again
then: it begins anew, and removes what the first one left.

The command prints how much it copied. It reads the configurations for their
stores alone, and changes nothing in the source.`,
		Example: `  $ caddy oauth1 store copy --from Caddyfile --to Caddyfile.redis`,
		Args:    cobra.NoArgs,
	}
	flags := cmd.Flags()
	flags.String("from", "", "Configuration file with the store to copy")
	flags.String("to", "", "Configuration file with the empty store")
	flags.String("from-adapter", "", "Name of config adapter to apply to --from")
	flags.String("to-adapter", "", "Name of config adapter to apply to --to")
	for _, name := range []string{"from", "to"} {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err) // the command has no such flag, which is a bug
		}
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var configs [2][]byte
		for i, name := range []string{"from", "to"} {
			file, err := os.Open(flagText(cmd, name))
			if err != nil {
				return misused("--%s: %w", name, err)
			}
			file.Close()
			configs[i], _, _, err = caddycmd.LoadConfig(file.Name(), flagText(cmd, name+"-adapter"))
			if err != nil {
				return fmt.Errorf("--%s: %w", name, err)
			}
		}
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		var n copied
		reported := time.Now()
		err := stores.Copy(ctx, configs[0], configs[1], func(kind CopiedKind) {
			n[kind]++
			if time.Since(reported) > reportEvery {
				reported = time.Now()
				fmt.Fprintf(cmd.ErrOrStderr(), "%s so far\n", n)
			}
		})
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "Copied:  %s\n", n)
		return err
	}
	return cmd
}
