package command

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// isTerminal reports whether a person can answer a question. /dev/null is a character device, but
// no terminal.
func isTerminal(in io.Reader) bool {
	switch in := in.(type) {
	case *os.File:
		return term.IsTerminal(int(in.Fd()))
	case interface{ IsTerminal() bool }: // of tests
		return in.IsTerminal()
	}
	return false
}

func yesFlag(cmd *cobra.Command) {
	cmd.Flags().BoolP("yes", "y", false, "Don't ask")
}

// confirm tells what the command will do, and asks for consent. It needs a terminal, or --yes.
func (s *session) confirm(what string) error {
	if s.flag("yes") == "true" {
		return nil
	}
	in := s.cmd.InOrStdin()
	if !isTerminal(in) {
		return misused("%s: without a terminal, confirm this with --yes",
			what)
	}
	fmt.Fprintf(s.cmd.ErrOrStderr(), "%s. Go on? [y/N] ", onScreen(what))
	answer, err := bufio.NewReader(in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("reading the answer: %w", err)
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return errors.New("nothing was changed")
}

// readSecrets reads secrets from standard input, one a line, and asks for each at a terminal. Their
// names are in what, in order. The error for a missing or empty secret names it, and ends with the
// hint.
func readSecrets(cmd *cobra.Command, hint string, what ...string) ([]string, error) {
	in := cmd.InOrStdin()
	asks := isTerminal(in)
	lines := bufio.NewReader(in)
	secrets := make([]string, len(what))
	for i, name := range what {
		if asks {
			fmt.Fprintf(cmd.ErrOrStderr(), "Type the %s: ", name)
		}
		line, err := lines.ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("reading the %s from standard input: %w", name, err)
		}
		if secrets[i] = strings.TrimRight(line, "\r\n"); secrets[i] == "" {
			return nil, misused("standard input holds no %s in line %d%s", name, i+1, hint)
		}
	}
	if asks || len(what) == 0 {
		return secrets, nil
	}
	return secrets, nothingMore(lines, what[len(what)-1])
}

// nothingMore refuses what follows the last secret that was read, but for line ends: it may be the
// other half of that, or the list that a script's loop reads as well.
func nothingMore(in *bufio.Reader, last string) error {
	for {
		switch next, err := in.ReadByte(); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("reading standard input: %w", err)
		case next != '\n' && next != '\r':
			return misused("standard input has more lines after the %s: give no other lines", last)
		}
	}
}

// readSecret reads one secret from standard input: its only line.
func readSecret(cmd *cobra.Command) (string, error) {
	secrets, err := readSecrets(cmd, "", "secret")
	if err != nil {
		return "", err
	}
	return secrets[0], nil
}
