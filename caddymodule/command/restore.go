package command

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// A Restore says what is to be restored.
type Restore struct {
	File, Identity string
	// Journals are files, or directories with journals.
	Journals []string
	// AcceptLost: revocations since the backup may be lost.
	AcceptLost bool
}

// Restored is what was restored.
type Restored struct {
	Backup Backup

	Consumers, AccessTokens, RequestTokens int
	// Revocations are how many the journals hold since the backup. LeftOut are how many records were
	// not restored because of them.
	Revocations, LeftOut int
	// Disabled, Rotated and Changed are the keys of consumers: Rotated ones were restored as
	// disabled.
	Disabled, Rotated, Changed []string
	Notes                      []string
	RefusedUntil               time.Time
}

func (r Restored) print(out io.Writer) error {
	n := Backup{Consumers: r.Consumers, AccessTokens: r.AccessTokens, RequestTokens: r.RequestTokens}
	var b strings.Builder
	fmt.Fprintf(&b, "Restored:  %s, as they were at %s\n", n.counts(), r.Backup.Time.Format(time.RFC3339))
	fmt.Fprintf(&b, "Left out:  %d, by %s since then\n", r.LeftOut, plural(r.Revocations, "revocation"))
	list := func(what string, keys []string) {
		if len(keys) > 0 {
			fmt.Fprintf(&b, "%s\n", what)
			for _, key := range keys {
				fmt.Fprintf(&b, "  %s\n", onScreen(key))
			}
		}
	}
	list("Disabled since, and restored so:", r.Disabled)
	list("Restored as disabled, since they have an old secret or key: rotate it, and enable them:", r.Rotated)
	list("Changed since, and restored with old settings: compare them:", r.Changed)
	list("Note:", r.Notes)
	fmt.Fprintf(&b, "Lost:      what was added after %s: those clients and users must ask again\n", r.Backup.Time.Format(time.RFC3339))
	fmt.Fprintf(&b, "Requests are refused until:  %s\n", r.RefusedUntil.Format(time.RFC3339))
	_, err := io.WriteString(out, b.String())
	return err
}

func restoreCommand(stores Stores) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "restore <file> --config <config>",
		Short: "Restores a backup into an empty store",
		Long: `
Restores a backup into the empty store of a configuration, of any kind. Stop
every Caddy that uses the store before, and start Caddy after. Run the command
as the user that Caddy runs as ('sudo -u caddy ...').

Give the journals of revocations with --journal: a file, or a directory; those
of all Caddys that used the store. The command can't know of one that is
missing. What was revoked after the backup is left
out then. Without a journal that begins before the backup, or with one that was
shortened since, the command does nothing, unless older copies have the rest, or
--accept-lost-revocations says that those may be valid again.

The whole backup is verified before anything is written. The store must be
empty. No Caddy starts with the store of a restore that did not end. Give the
same command again then: it begins anew.

Every request is refused for one timestamp_window after the restore, with 503,
since it may have been accepted before. The command prints what it restored,
what it left out, and which consumers need a look.`,
		Example: `  $ caddy oauth1 restore /mnt/backup/oauth1-20260102T030405Z.backup --config Caddyfile --journal /mnt/backup`,
		Args:    cobra.ExactArgs(1),
	}
	configFlags(cmd)
	cmd.Flags().String("identity", "", "File with the age identity of an encrypted backup")
	cmd.Flags().StringArray("journal", nil, "Journal of revocations, or a directory with some; may be repeated")
	cmd.Flags().Bool("accept-lost-revocations", false, "Restore though revocations since the backup may be unknown")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		config, err := configOf(cmd)
		if err != nil {
			return err
		}
		journals, err := cmd.Flags().GetStringArray("journal")
		if err != nil {
			return err
		}
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		n, reported := 0, time.Now()
		done, err := stores.Restore(ctx, config, Restore{
			File: args[0], Identity: flagText(cmd, "identity"), Journals: journals,
			AcceptLost: flagText(cmd, "accept-lost-revocations") == "true",
		}, func() {
			n++
			if time.Since(reported) > reportEvery {
				reported = time.Now()
				fmt.Fprintf(cmd.ErrOrStderr(), "%d records so far\n", n)
			}
		})
		if err != nil {
			return err
		}
		return done.print(cmd.OutOrStdout())
	}
	return cmd
}
