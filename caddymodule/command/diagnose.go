package command

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/adminapi"
)

func diagnoseCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "diagnose [--consumer <key>] [--since <time>] [--follow]",
		Short: "Shows the latest refused requests, and what their clients did wrong",
		Long: `
Shows the latest refused requests of the running Caddy, the oldest first: the
last 200 of the process, unless the option 'diagnoses' left some out. For each
it shows the time, the client's address, the consumer and the token that the
request named, the URL, why it was refused, and what the client did wrong.

It shows the base string as the server computes it, and the client's where the
mistake tells. The values of a form are not shown.

With --follow it goes on until you end it with ctrl-C.`,
		Example: `  $ caddy oauth1 diagnose --consumer printer
  $ caddy oauth1 diagnose --follow`,
	}
	cmd.Flags().String("consumer", "", "Only requests that name this consumer")
	cmd.Flags().String("since", "", "Only requests after this time, such as 2027-01-31T00:00:00Z")
	cmd.Flags().BoolP("follow", "f", false, "Go on with the requests that come")
	completeFlag(cmd, "consumer", consumerKeys)
	return managing(cmd, cobra.NoArgs, func(s *session, _ []string) error {
		query := make(url.Values)
		for _, name := range []string{"consumer", "since"} {
			if value := s.givenFlag(name); value != nil {
				query.Set(name, *value)
			}
		}
		if s.flag("follow") != "true" {
			answer, err := s.diagnoses(query)
			if err != nil {
				return err
			}
			if s.flag("json") == "true" {
				return s.showJSON(answer)
			}
			for i := range answer.Items {
				showDiagnosis(s.cmd.OutOrStdout(), &answer.Items[i])
			}
			return nil
		}
		return s.follow(func() error { return s.showNew(query) })
	})
}

func (s *session) diagnoses(query url.Values) (answer adminapi.Diagnoses, err error) {
	err = s.call(http.MethodGet, adminapi.DiagnosesPath+"?"+query.Encode(), nil, &answer)
	return answer, err
}

// followEvery is how often a command that follows asks the server.
const followEvery = time.Second

// follow calls look again and again, until it fails or the user ends the program.
func (s *session) follow(look func() error) error {
	ctx, cancel := signal.NotifyContext(s.cmd.Context(), os.Interrupt)
	defer cancel()
	for {
		if err := look(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(followEvery):
		}
	}
}

// showNew shows what came since the query's time, and moves that on. With --json it prints one
// object a line.
func (s *session) showNew(query url.Values) error {
	answer, err := s.diagnoses(query)
	if err != nil {
		return err
	}
	for i := range answer.Items {
		d := &answer.Items[i]
		query.Set("since", d.Time.Format(time.RFC3339Nano))
		if s.flag("json") != "true" {
			showDiagnosis(s.cmd.OutOrStdout(), d)
			continue
		}
		enc := json.NewEncoder(s.cmd.OutOrStdout())
		enc.SetEscapeHTML(false)
		if err := enc.Encode(d); err != nil {
			return err
		}
	}
	return nil
}

// showDiagnosis prints one refused request for people.
func showDiagnosis(out io.Writer, d *adminapi.Diagnosis) {
	who := keyOnScreen(d.Consumer)
	if d.Token != "" {
		who += " token " + d.Token
	}
	fmt.Fprintf(out, "%s  %s  %s\n", timeText(d.Time), cmp.Or(onScreen(d.Client), "-"), onScreen(who))
	fmt.Fprintf(out, "  %s %s\n", onScreen(d.Method), onScreen(d.URL))
	fmt.Fprintf(out, "  refused:   %s\n", onScreen(d.Refusal))
	if d.Diagnosis != "" {
		fmt.Fprintf(out, "  diagnosis: %s\n", onScreen(d.Diagnosis))
	}
	if len(d.Mistakes) > 0 {
		fmt.Fprintf(out, "  mistake:   %s\n", onScreen(strings.Join(d.Mistakes, ", ")))
	}
	if d.BaseString != "" && d.Reason == "signature_invalid" {
		fmt.Fprintf(out, "  server:    %s\n", onScreen(d.BaseString))
	}
	if d.ClientBaseString != "" {
		fmt.Fprintf(out, "  client:    %s\n", onScreen(d.ClientBaseString))
	}
	fmt.Fprintln(out)
}
