package command

import (
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/adminapi"
)

func healthCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Tells whether the token store works",
		Long: `
Asks the running Caddy whether its token store works. The exit code is 0 if it
does.

With --wait it asks again until the store works, for at most that long. Service
managers call it so after a start: Caddy reports that it is ready before its
store is.`,
		Example: `  $ caddy oauth1 health --wait 30s`,
	}
	cmd.Flags().Duration("wait", 0, "How long to wait until the store works, such as 30s")
	return managing(cmd, cobra.NoArgs, func(s *session, _ []string) error {
		patience, err := cmd.Flags().GetDuration("wait")
		if err != nil {
			return err
		}
		if patience < 0 {
			return misused("flag --wait %s: must not be negative", patience)
		}
		answer, err := s.awaitHealth(patience)
		if err != nil {
			return err
		}
		return s.show(answer, []shownRow{
			{"Status", answer.Status},
			{"Registration", answer.Registration},
			{"Permissions", strings.Join(answer.Permissions, ", ")},
		})
	})
}

// awaitHealth asks for the health until the store works, for at most the given time. The error is
// that of the last answer: the reason rather than the end of the time.
func (s *session) awaitHealth(patience time.Duration) (adminapi.Health, error) {
	const every = 250 * time.Millisecond
	end := time.Now().Add(patience)
	for {
		var answer adminapi.Health
		err := s.call(http.MethodGet, adminapi.HealthPath, nil, &answer)
		if err == nil || time.Until(end) < every {
			return answer, err
		}
		select {
		case <-time.After(every):
		case <-s.cmd.Context().Done():
			return answer, err
		}
	}
}
