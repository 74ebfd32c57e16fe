package command

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/adminapi"
)

func exportCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Writes all consumers and access tokens, a JSON object on each line",
		Long: `
Writes all stored consumers and access tokens as 'oauth1 import' reads them: a
JSON object on each line, consumers first. Declared consumers are in Caddy's
configuration, and are not among them.

The lines hold no secrets, and can't be imported, unless --with-secrets is
given. Who has the secrets can sign as every consumer and every user. --output
makes a file that only you can read.

What changes during an export may be in it or not. Request tokens and used
nonces are not in it: 'oauth1 store copy' moves a whole store.`,
		Example: `  $ caddy oauth1 export > overview.jsonl
  $ caddy oauth1 export --with-secrets --output tokens.jsonl`,
	}
	cmd.Flags().Bool("with-secrets", false, "Write the secrets too")
	cmd.Flags().String("output", "", "A file to make (default: standard output)")
	cmd = managing(cmd, cobra.NoArgs, runExport)
	_ = cmd.Flags().MarkHidden("json") // the lines are JSON
	return cmd
}

func runExport(s *session, _ []string) (err error) {
	secrets := s.flag("with-secrets") == "true"
	var out io.Writer = s.cmd.OutOrStdout()
	if name := s.flag("output"); name != "" {
		ctx, stop := signal.NotifyContext(s.cmd.Context(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		s.cmd.SetContext(ctx) // so that an interruption leaves no file
		file, failed := makeFile(name)
		if failed != nil {
			return misused("--output: %w", failed)
		}
		defer func() { // err is what the command returns
			if err == nil {
				if err = file.finish(nil); err == nil {
					return
				}
				err = fmt.Errorf("writing %q: %w", name, err)
			}
			file.drop()
		}()
		out = file
	}
	if secrets {
		fmt.Fprintln(s.cmd.ErrOrStderr(),
			"Warning: the output holds secrets. Who has them can sign as every consumer and every user.")
	}
	buffered := bufio.NewWriter(out)
	shown := newProgress(s.cmd.ErrOrStderr(), 0, "lines")
	counts := make(map[string]int)
	for _, kind := range []string{adminapi.KindConsumer, adminapi.KindAccessToken} {
		body := adminapi.Export{Kind: kind, Secrets: secrets}
		for {
			var page adminapi.List[json.RawMessage]
			if err := s.call(http.MethodPost, adminapi.ExportPath, body, &page); err != nil {
				shown.end()
				return err
			}
			for _, line := range page.Items {
				_, _ = buffered.Write(line)
				_ = buffered.WriteByte('\n') // Flush returns the error
				counts[kind]++
			}
			shown.tell(0, counts[adminapi.KindConsumer]+counts[adminapi.KindAccessToken])
			if page.Next == "" {
				break
			}
			body.After = page.Next
		}
	}
	shown.end()
	if err := buffered.Flush(); err != nil {
		return fmt.Errorf("writing the lines: %w", err)
	}
	fmt.Fprintf(s.cmd.ErrOrStderr(), "Exported: %s, %s\n",
		plural(counts[adminapi.KindConsumer], "consumer"), plural(counts[adminapi.KindAccessToken], "access token"))
	return nil
}
