package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/refusal"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// The exit codes of the commands, which scripts may rely on. 0 is success; 1 is every failure that
// has no code of its own: nobody answers at the admin address, the store is out of reach, somebody
// said no to a question.
const (
	exitUsage    = 2 // the command line or standard input is wrong, and nothing was asked of a server
	exitNotFound = 3 // there is no such consumer, token or request token
	exitRefused  = 4 // the server said no
)

// exitCodesHelp is part of the help of the command that all others are below.
const exitCodesHelp = `Exit codes: 0 done, 1 failed, 2 the command line is wrong, 3 there is no such
consumer or token, 4 the server refused.`

// An exitError is an error that the program ends with in a certain way.
type exitError struct {
	error
	code int
}

// Unwrap has the error of Caddy's own type too, which Caddy's main looks for, and which nothing but
// this function makes.
func (e *exitError) Unwrap() []error {
	caddys := caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) { return e.code, nil })
	return []error{e.error, caddys(new(cobra.Command), nil)}
}

// misuse makes an error one of the command line's, unless it is one with a code already.
func misuse(err error) error {
	if err == nil || errors.As(err, new(*exitError)) {
		return err
	}
	return &exitError{err, exitUsage}
}

func misused(format string, args ...any) error { return misuse(fmt.Errorf(format, args...)) }

// checkUsage makes what is wrong with the command line an error with exitUsage, for a command and
// all below it.
func checkUsage(cmd *cobra.Command) {
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return misuse(err) })
	cmd.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		if err := emptyFlag(cmd.Flags()); err != nil {
			return misuse(err)
		}
		if err := cmd.ValidateRequiredFlags(); err != nil { // cobra does it again, without a code
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

// mayBeEmpty marks a flag of which an empty value means the same as to everybody else, such as
// curl.
const mayBeEmpty = "oauth1_may_be_empty"

// emptyFlag is an error where a flag was given with nothing: a script whose variable is not set
// means something else than the default.
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

// apiError finds the API's own message, and the exit code for its status, in an error of
// caddycmd.AdminAPIRequest, which holds the body of the answer.
func apiError(err error) error {
	_, answer, ok := strings.Cut(err.Error(), "caddy responded with error: HTTP ")
	if !ok {
		return err
	}
	status, body, _ := strings.Cut(answer, ": ")
	var said struct {
		Error string `json:"error"`
	}
	if json.Unmarshal([]byte(body), &said) != nil || said.Error == "" {
		err = fmt.Errorf("the admin API answered %s %s", status, refusal.Printable(body))
	} else {
		err = errors.New(said.Error)
	}
	switch {
	case status == fmt.Sprint(http.StatusNotFound):
		// A Caddy without the oauth1 app does not know the whole path.
		if !strings.HasSuffix(said.Error, ": "+tokenstore.ErrNotFound.Error()) {
			return err
		}
		return &exitError{err, exitNotFound}
	case strings.HasPrefix(status, "4"):
		return &exitError{err, exitRefused}
	}
	return err
}
