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
		return misused("%s, and standard input is no terminal where somebody could agree to it: give --yes",
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
	return secrets, nil
}

// readSecret reads one secret from standard input: its first line.
func readSecret(cmd *cobra.Command) (string, error) {
	secrets, err := readSecrets(cmd, "", "secret")
	if err != nil {
		return "", err
	}
	return secrets[0], nil
}
