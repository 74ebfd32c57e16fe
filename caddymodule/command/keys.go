package command

import (
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/adminapi"
)

func keysCommands() []*cobra.Command { return []*cobra.Command{keysStatusCommand(), rewrapCommand()} }

func keysStatusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Shows which keys the store is encrypted with",
		Long: `
Shows how many records of the store each key has encrypted, how many are clear,
and which old keys can be removed from the configuration.`,
	}
	return managing(cmd, cobra.NoArgs, func(s *session, _ []string) error {
		var status adminapi.KeysStatus
		if err := s.call(http.MethodGet, adminapi.KeysPath, nil, &status); err != nil {
			return err
		}
		lines := make([][]string, 0, len(status.Keys)+1)
		for _, k := range status.Keys {
			use := "old: in use"
			switch {
			case k.Primary:
				use = "primary"
			case k.Removable:
				use = "old: can be removed"
			}
			lines = append(lines, []string{k.ID, strconv.FormatInt(k.Records, 10), use})
		}
		clear := "accepted until rewrap is done"
		if status.AllEncrypted {
			clear = "refused"
		}
		lines = append(lines, []string{"(clear)", strconv.FormatInt(status.Clear, 10), clear})
		return s.showTable(status, []string{"KEY", "RECORDS", "USE"}, lines)
	})
}

// rewrapPatience is how long a rewrap waits for records that are about to be removed.
const rewrapPatience = 2 * time.Minute

func rewrapCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rewrap",
		Short: "Encrypts everything in the store with the primary key",
		Long: `
Encrypts what is clear, or encrypted with an old key, with the primary key, while
the server works. When the command has said that it is done:

  - every record is encrypted with the primary key, and every name in an index
    is a hash with that key;
  - no file of a Badger store holds a value or name from before;
  - the store refuses clear records;
  - old keys can be removed from the configuration.

It takes the server a few records at a time, with rests in between. It may be
interrupted, and so may the server: give the command again, and it goes on.

In Redis, what was clear before is in the append-only file and in the snapshot
until the servers have written them anew: run BGREWRITEAOF and BGSAVE on each.`,
		Example: `  $ caddy oauth1 keys rewrap`,
	}
	return managing(cmd, cobra.NoArgs, func(s *session, _ []string) error {
		ctx, stop := signal.NotifyContext(s.cmd.Context(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		s.cmd.SetContext(ctx)
		var status adminapi.KeysStatus
		if err := s.call(http.MethodGet, adminapi.KeysPath, nil, &status); err != nil {
			return err
		}
		all := status.Clear
		for _, k := range status.Keys {
			all += k.Records
		}
		p := newProgress(s.cmd.ErrOrStderr(), max(all, 1), "records")
		var changed int64
		for begun := time.Now(); ; {
			round, err := rewrapOnce(s, p)
			changed += round.Changed
			if err != nil {
				p.end()
				return fmt.Errorf("%w: give the command again, and it goes on", err)
			}
			if round.Complete {
				p.end()
				round.Changed = changed
				return s.show(round, []shownRow{
					{"Encrypted", plural(int(changed), "record")},
					{"Status", "everything is encrypted with the primary key"},
				})
			}
			if round.Unreadable > 0 {
				p.end()
				return fmt.Errorf("%s can't be read, and stay as they are: the log names them when they are used",
					plural(int(round.Unreadable), "record"))
			}
			if time.Since(begun) > rewrapPatience+time.Duration(all)*time.Millisecond {
				p.end()
				return fmt.Errorf("%s that are revoked or over have not been removed yet: give the command again later",
					plural(int(round.Waiting), "record"))
			}
			p.what = "records; waiting for revoked ones to be removed"
			p.tell(all, int(all))
			select {
			case <-ctx.Done():
				p.end()
				return ctx.Err()
			case <-time.After(2 * time.Second):
			}
		}
	})
}

// rewrapOnce goes through the whole store once. What it returns are the sums of all calls.
func rewrapOnce(s *session, p *progress) (sum adminapi.Rewrapped, err error) {
	for next := ""; ; {
		var done adminapi.Rewrapped
		if err := s.call(http.MethodPost, adminapi.RewrapPath, adminapi.Rewrap{After: next}, &done); err != nil {
			return sum, err
		}
		sum.Looked += done.Looked
		sum.Changed += done.Changed
		sum.Waiting = max(sum.Waiting, done.Waiting)
		sum.Unreadable += done.Unreadable
		sum.Complete = done.Complete
		if next = done.Next; next == "" {
			return sum, nil
		}
		p.what = "records, " + done.Stage
		p.tell(sum.Looked, int(sum.Looked))
	}
}
