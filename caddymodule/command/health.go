package command

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"syscall"
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
store is. It does so before it ends, too, when the store can't be opened: with
--pid the wait is over as soon as that process has ended.`,
		Example: `  $ caddy oauth1 health --wait 30s
  $ caddy oauth1 health --wait 60s --pid 4711`,
	}
	cmd.Flags().Duration("wait", 0, "How long to wait until the store works, such as 30s")
	cmd.Flags().Int("pid", 0, "With --wait: the process of the server; don't wait when it has ended")
	return managing(cmd, cobra.NoArgs, func(s *session, _ []string) error {
		patience, err := cmd.Flags().GetDuration("wait")
		if err != nil {
			return err
		}
		if patience < 0 {
			return misused("flag --wait %s: must not be negative", patience)
		}
		pid, err := cmd.Flags().GetInt("pid")
		if err != nil {
			return err
		}
		if cmd.Flags().Changed("pid") && (pid <= 0 || patience == 0) {
			return misused("flag --pid %d: must be a process, and needs --wait", pid)
		}
		answer, err := s.awaitHealth(patience, pid)
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

// awaitHealth asks for the health until the store works, for at most the given time, and while a
// process lives if one is given. The error is that of the last answer: the reason rather than the
// end of the time.
func (s *session) awaitHealth(patience time.Duration, pid int) (adminapi.Health, error) {
	const every = 250 * time.Millisecond
	end := time.Now().Add(patience)
	for {
		var answer adminapi.Health
		err := s.call(http.MethodGet, adminapi.HealthPath, nil, &answer)
		if err == nil || time.Until(end) < every {
			return answer, err
		}
		if pid != 0 && hasEnded(pid) {
			return answer, fmt.Errorf("process %d has ended: %w", pid, err)
		}
		select {
		case <-time.After(every):
		case <-s.cmd.Context().Done():
			return answer, err
		}
	}
}

// hasEnded tells whether there is no such process. On Windows a signal can't tell whether a process
// lives, so one that ends during the wait is waited for.
func hasEnded(pid int) bool {
	process, err := os.FindProcess(pid)
	if err != nil {
		return true
	}
	defer func() { _ = process.Release() }()
	return errors.Is(process.Signal(syscall.Signal(0)), os.ErrProcessDone)
}
