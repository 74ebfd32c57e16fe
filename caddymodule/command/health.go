package command

import (
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/adminapi"
)

func healthCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Tells whether the token store works",
		Long: `
Asks the running Caddy whether its token store works. The exit code is 0 if it
does.`,
	}
	return managing(cmd, cobra.NoArgs, func(s *session, _ []string) error {
		var answer adminapi.Health
		if err := s.call(http.MethodGet, adminapi.HealthPath, nil, &answer); err != nil {
			return err
		}
		return s.show(answer, []shownRow{
			{"Status", answer.Status},
			{"Registration", answer.Registration},
			{"Permissions", strings.Join(answer.Permissions, ", ")},
		})
	})
}
