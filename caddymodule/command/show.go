package command

import (
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
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
	s.say("\nKeep the secret well: it is not shown again.")
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
