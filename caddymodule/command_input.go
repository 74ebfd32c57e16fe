package caddymodule

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

// isTerminal reports whether a person can be asked. /dev/null is a character device and no
// terminal.
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

// confirm says what is about to happen, and asks whether it may. It needs a terminal, or --yes.
func (c *adminClient) confirm(what string) error {
	if c.flag("yes") == "true" {
		return nil
	}
	in := c.cmd.InOrStdin()
	if !isTerminal(in) {
		return misused("%s, and standard input is no terminal where somebody could agree to it: give --yes",
			what)
	}
	fmt.Fprintf(c.cmd.ErrOrStderr(), "%s. Go on? [y/N] ", onScreen(what))
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

// readSecrets reads secrets from standard input, one a line, and asks for them at a terminal. what
// names them, in order; one that is missing or empty is an error that names it, and ends with the
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
