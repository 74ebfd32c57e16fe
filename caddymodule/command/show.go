package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// A shownRow is a line of an answer for people.
type shownRow struct{ name, value string }

// show prints an answer: with --json as JSON, else as the rows that have a value.
func (s *session) show(answer any, rows []shownRow) error {
	if s.flag("json") == "true" {
		return s.showJSON(answer)
	}
	out := tabwriter.NewWriter(s.cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	for _, r := range rows {
		if r.value != "" {
			fmt.Fprintf(out, "%s:\t%s\n", r.name, onScreen(r.value))
		}
	}
	return out.Flush()
}

// showTable prints a list: with --json as JSON, else as a table with a heading.
func (s *session) showTable(answer any, heading []string, lines [][]string) error {
	if s.flag("json") == "true" {
		return s.showJSON(answer)
	}
	out := tabwriter.NewWriter(s.cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
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

func (s *session) showJSON(answer any) error {
	enc := json.NewEncoder(s.cmd.OutOrStdout())
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(answer)
}

// showSecret is show for an answer that may hold a secret; nil is none. A secret from standard
// input is not shown.
func (s *session) showSecret(answer any, rows []shownRow, secret *string) error {
	switch {
	case secret == nil, s.flag("secret-stdin") == "true":
		return s.show(answer, rows)
	case *secret == "":
		return s.show(answer, append(rows, shownRow{"Secret", "(empty)"}))
	}
	if err := s.show(answer, append(rows, shownRow{"Secret", *secret})); err != nil {
		return err
	}
	s.say("\nSave the secret now: it is not shown again.")
	return nil
}

// say prints a sentence for people.
func (s *session) say(format string, args ...any) {
	if s.flag("json") != "true" {
		fmt.Fprintf(s.cmd.OutOrStdout(), format+"\n", args...)
	}
}

// onScreen replaces what is not printable: a consumer's claims about itself could move the cursor
// of the terminal.
func onScreen(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}

// keyOnScreen is a consumer's key: quoted, with escapes, where a part of it can't be seen or would
// be taken for an escape. Such a key looks like another's otherwise, and could not be named in a
// command.
func keyOnScreen(key string) string {
	switch {
	case !tokenstore.Legible(key):
		return strconv.QuoteToASCII(key)
	case strings.ContainsAny(key, `"\`):
		return strconv.Quote(key)
	}
	return key
}

// An output passes on what a command prints, and keeps the first error.
type output struct {
	to  io.Writer
	err error
}

func (o *output) Write(text []byte) (int, error) {
	n, err := o.to.Write(text)
	if o.err == nil {
		o.err = err
	}
	return n, err
}

// reportWriteErrors makes it an error of a command, and all below it, when its output could not be
// written: a script reads half of it, or nothing, and would take that for the whole.
func reportWriteErrors(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		reportWriteErrors(sub)
	}
	if run := cmd.RunE; run != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error { return printing(cmd, args, run) }
	}
}

// printing runs a command, and returns its error and that of writing its output.
func printing(cmd *cobra.Command, args []string, run func(*cobra.Command, []string) error) error {
	out := &output{to: cmd.OutOrStdout()}
	cmd.SetOut(out)
	defer cmd.SetOut(out.to)
	err := run(cmd, args)
	switch {
	case out.err == nil, errors.Is(err, out.err):
		return err
	case err == nil:
		return fmt.Errorf("writing the output: %w", out.err)
	}
	return fmt.Errorf("%w; writing the output: %w", err, out.err)
}

func timeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.RFC3339)
}

// timeOrNever is timeText for a time that may be missing.
func timeOrNever(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return timeText(t)
}
