package command

import (
	"fmt"
	"net/url"
	"os/user"
	"strconv"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/adminapi"
)

// A session is a run of a command that works on a running Caddy.
type session struct {
	cmd *cobra.Command
	api *adminapi.Client
}

// managing makes a command one that calls the admin API.
func managing(
	cmd *cobra.Command, args cobra.PositionalArgs, run func(*session, []string) error,
) *cobra.Command {
	cmd.Flags().StringP("address", "", "",
		"Address of the administration API listener (if --config is not used)")
	cmd.Flags().StringP("config", "c", "", "Configuration file (if --address is not used)")
	cmd.Flags().StringP("adapter", "a", "", "Name of config adapter to apply (if --config is used)")
	cmd.Flags().String("actor", "", "The name that the audit trail tells (default: the user of the system)")
	cmd.Flags().BoolP("json", "", false, "Print JSON")
	cmd.Args = args
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := newSession(cmd)
		if err != nil {
			return err
		}
		return run(s, args)
	}
	return cmd
}

// newSession finds the admin API by the flags that managing adds. A command without them, such as
// sign, gets a session for its completions alone, with the default address.
func newSession(cmd *cobra.Command) (*session, error) {
	address := caddy.DefaultAdminListen
	if cmd.Flag("address") != nil {
		var err error
		address, err = caddycmd.DetermineAdminAPIAddress(
			flagText(cmd, "address"), nil, flagText(cmd, "config"), flagText(cmd, "adapter"))
		if err != nil {
			return nil, fmt.Errorf("couldn't determine admin API address: %w", err)
		}
	}
	return &session{cmd, &adminapi.Client{Address: address, Actor: actorName(cmd)}}, nil
}

// actorName returns the name that the audit trail tells. The server marks it as claimed.
func actorName(cmd *cobra.Command) string {
	if flag := cmd.Flag("actor"); flag != nil && flag.Value.String() != "" {
		return flag.Value.String()
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return ""
}

// call is the client's Do, with an error that has its exit code.
func (s *session) call(method, path string, body, answer any) error {
	return apiError(s.api.Do(s.cmd.Context(), method, path, body, answer))
}

// listAll reads a list to its end. The filters are the names of flags, and of query parameters.
func listAll[T any](s *session, path string, filters ...string) (adminapi.List[T], error) {
	all := adminapi.List[T]{Items: []T{}}
	query := url.Values{"limit": {strconv.Itoa(adminapi.MaxPage)}}
	for _, name := range filters {
		if value := s.givenFlag(name); value != nil {
			query.Set(name, *value)
		}
	}
	for item, err := range adminapi.Items[T](s.cmd.Context(), s.api, path, query) {
		if err != nil {
			return all, apiError(err)
		}
		all.Items = append(all.Items, item)
	}
	return all, nil
}

func (s *session) flag(name string) string { return flagText(s.cmd, name) }

// givenFlag returns the value of a flag, and nil if the flag is not given.
func (s *session) givenFlag(name string) *string {
	if !s.cmd.Flags().Changed(name) {
		return nil
	}
	value := s.flag(name)
	return &value
}

func flagText(cmd *cobra.Command, name string) string { return cmd.Flag(name).Value.String() }

// givenSecret reads the secret from standard input; without --secret-stdin it returns nil.
func (s *session) givenSecret() (*string, error) {
	if s.flag("secret-stdin") != "true" {
		return nil, nil
	}
	secret, err := readSecret(s.cmd)
	return &secret, err
}
