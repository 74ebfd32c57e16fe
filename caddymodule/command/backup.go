package command

import (
	"bufio"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/adminapi"
)

// A Backup is what is known of a backup.
type Backup struct {
	Product string    `json:"product"`
	Store   string    `json:"store"`
	Time    time.Time `json:"time"`
	// Recipients are the age recipients that can read it; empty if it is not encrypted.
	Recipients []string `json:"recipients,omitempty"`

	Consumers     int `json:"consumers"`
	AccessTokens  int `json:"access_tokens"`
	RequestTokens int `json:"request_tokens"`
}

func (b Backup) counts() copied {
	return copied{CopiedConsumer: b.Consumers, CopiedAccessToken: b.AccessTokens, CopiedRequestToken: b.RequestTokens}
}

func (b Backup) rows() []shownRow {
	rows := []shownRow{
		{"Made", b.Time.Format(time.RFC3339)}, {"By", b.Product}, {"Store", b.Store},
		{"Holds", b.counts().String()},
	}
	for _, recipient := range b.Recipients {
		rows = append(rows, shownRow{"Recipient", recipient})
	}
	return rows
}

func backupCommand(stores Stores) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "backup <file>",
		Short: "Writes a backup of the running Caddy's store",
		Long: `
Writes a backup of the store of a running Caddy to a file, while it goes on:
consumers, access tokens, request tokens, and the secret that keeps open pages
working. 'oauth1 restore' restores it, also into a store of another kind.

The file holds every secret in clear, readable for its owner alone. With
--recipient, the server encrypts it for an age recipient, so that only the
owner of the identity can read it. The recipients of the option backup count
where none is given.

A backup that was interrupted leaves no file. A file that is there already is
not replaced. A clear backup is verified before it gets its name; verify an
encrypted one with 'oauth1 backup verify'.`,
		Example: `  $ caddy oauth1 backup /mnt/backup/oauth1-today.backup --recipient age1...
  $ caddy oauth1 backup verify /mnt/backup/oauth1-today.backup --identity key.txt`,
	}
	cmd = managing(cmd, cobra.ExactArgs(1), func(s *session, args []string) error {
		recipients, err := s.cmd.Flags().GetStringArray("recipient")
		if err != nil {
			return err
		}
		path := adminapi.BackupPath
		if len(recipients) > 0 {
			path += "?" + url.Values{"recipient": recipients}.Encode()
		}
		return s.backup(stores, path, args[0])
	})
	cmd.Flags().StringArray("recipient", nil, "Encrypt it for this age recipient (age1...); may be repeated")
	cmd.AddCommand(verifyCommand(stores))
	return cmd
}

// backup writes the answer of the admin API to a file.
func (s *session) backup(stores Stores, path, name string) (err error) {
	f, err := makeFile(name)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.drop()
		}
	}()
	ctx, stop := signal.NotifyContext(s.cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	out := bufio.NewWriter(f)
	err = apiError(s.api.Download(ctx, path, out))
	if err == nil {
		err = out.Flush()
	}
	encrypted := false
	if err == nil {
		start := make([]byte, len(ageMagic))
		_, err = f.ReadAt(start, 0)
		encrypted = string(start) == ageMagic
	}
	if err != nil {
		return err
	}
	var b Backup
	if err := f.finish(func(unfinished string) error {
		if encrypted {
			return nil
		}
		if b, err = stores.Verify(unfinished, ""); err != nil {
			return fmt.Errorf("the backup that was written is not whole: %w", err)
		}
		return nil
	}); err != nil {
		return err
	}
	if encrypted {
		return s.show(struct {
			Encrypted bool `json:"encrypted"`
		}{true}, []shownRow{{"Encrypted", "verify it where the identity is: oauth1 backup verify"}})
	}
	return s.show(b, b.rows())
}

// ageMagic is how a file that age has encrypted begins.
const ageMagic = "age-encryption.org/"

func verifyCommand(stores Stores) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify <file>",
		Short: "Reads a backup to its end, and says what it holds",
		Long: `
Reads a backup to its end, and finds every missing end and every changed bit.
It prints when the backup was made, of which store, and what it holds. It needs
no running Caddy.`,
		Example: `  $ caddy oauth1 backup verify /mnt/backup/oauth1-20260102T030405Z.backup`,
		Args:    cobra.ExactArgs(1),
	}
	cmd.Flags().String("identity", "", "File with the age identity of an encrypted backup")
	cmd.Flags().Bool("json", false, "Print JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		b, err := stores.Verify(args[0], flagText(cmd, "identity"))
		if err != nil {
			return fmt.Errorf("%s: %w", args[0], err)
		}
		return (&session{cmd: cmd}).show(b, b.rows())
	}
	return cmd
}
