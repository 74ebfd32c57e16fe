package command

import (
	"errors"
	"fmt"
	"net/http"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/adminapi"
)

// The exit codes of the commands, which scripts may rely on. 0 is success. 1 is every failure
// without a code of its own: no answer at the admin address, a store that is out of reach, a
// question that was answered with no.
const (
	exitUsage    = 2 // the command line or standard input is wrong, and nothing was asked of a server
	exitNotFound = 3 // there is no such consumer, token or request token
	exitRefused  = 4 // the server refused
)

// exitCodesHelp is a part of the help of the command oauth1.
const exitCodesHelp = `Exit codes: 0 done, 1 failed, 2 the command line is wrong, 3 there is no such
consumer or token, 4 the server refused.`

// An exitError is an error with the exit code that the program ends with.
type exitError struct {
	error
	code int
}

// Unwrap returns the error, and one of the type by which Caddy's main finds the exit code. Only
// WrapCommandFuncForCobra makes that type.
func (e *exitError) Unwrap() []error {
	caddys := caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) { return e.code, nil })
	return []error{e.error, caddys(new(cobra.Command), nil)}
}

// misuse gives an error the exit code for a wrong command line, unless it has a code already.
func misuse(err error) error {
	if err == nil || errors.As(err, new(*exitError)) {
		return err
	}
	return &exitError{err, exitUsage}
}

func misused(format string, args ...any) error { return misuse(fmt.Errorf(format, args...)) }

// checkUsage lets a command and all its subcommands end with exitUsage when the command line is
// wrong.
func checkUsage(cmd *cobra.Command) {
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return misuse(err) })
	cmd.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		if err := emptyFlag(cmd.Flags()); err != nil {
			return misuse(err)
		}
		if err := cmd.ValidateRequiredFlags(); err != nil { // before cobra does, whose error has no exit code
			return misuse(err)
		}
		return misuse(cmd.ValidateFlagGroups())
	}
	checkArguments(cmd)
}

func checkArguments(cmd *cobra.Command) {
	check := cmd.Args
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if check != nil {
			if err := check(cmd, args); err != nil {
				return misuse(err)
			}
		}
		for i, arg := range args {
			if arg == "" {
				return misused("argument %d of %q is empty", i+1, cmd.CommandPath())
			}
		}
		return nil
	}
	for _, sub := range cmd.Commands() {
		checkArguments(sub)
	}
}

// mayBeEmpty marks a flag that may have an empty value, as in curl.
const mayBeEmpty = "oauth1_may_be_empty"

// emptyFlag returns an error for a flag whose value is empty. A script with an unset variable would
// otherwise get the default, which it did not ask for.
func emptyFlag(flags *pflag.FlagSet) (err error) {
	flags.Visit(func(f *pflag.Flag) {
		values := []string{"set"}
		switch value := f.Value.(type) {
		case pflag.SliceValue:
			values = value.GetSlice()
		default:
			values[0] = f.Value.String()
		}
		for _, value := range values {
			if value == "" && f.Annotations[mayBeEmpty] == nil && err == nil {
				err = fmt.Errorf("flag --%s: is empty", f.Name)
			}
		}
	})
	return err
}

// ExitCode is the code that the program ends with after an error of a command: 0 for none, and 1
// for one that has no code of its own.
func ExitCode(err error) int {
	var ends *exitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &ends):
		return ends.code
	}
	return 1
}

// apiError gives an error of the admin API's client its exit code.
func apiError(err error) error {
	var said *adminapi.Error
	switch {
	case !errors.As(err, &said):
		return err
	case said.NotFound():
		return &exitError{err, exitNotFound}
	case said.Status == http.StatusNotFound: // a Caddy without the oauth1 app does not know the path
		return err
	case said.Refused():
		return &exitError{err, exitRefused}
	}
	return err
}
