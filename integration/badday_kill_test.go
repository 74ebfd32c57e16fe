package integration

import (
	"math/rand/v2"
	"testing"
	"time"
)

// kill -9 at a random moment of the work, and in every other round once more while the server
// starts again. `sync` alternates: both settings must survive the end of a process.
func TestBadDayKill9(t *testing.T) {
	up := newSightings(t)
	srv := newServer(t, site{}, up.URL)
	l := newLedger()
	n := rounds(t, 8)
	for round := range n {
		srv.site.Sync = []string{"off", "on"}[round%2]
		srv.start()
		l.verify(t, srv, up)
		if t.Failed() {
			return
		}
		w := l.startWorkload(t, srv, up)
		w.until("remove consumer", 1)
		w.until("exchange", 1)
		w.until("revoke by consumer", 1)
		time.Sleep(rand.N(600 * time.Millisecond)) // the random moment
		w.kill()
		if round%2 == 1 {
			killWhileStarting(t, srv, rand.N(500*time.Millisecond))
		}
	}
	srv.start()
	l.verify(t, srv, up)
	l.wantAllKinds(t)
	done, _ := l.counts()
	t.Logf("%d rounds: %v; %d records, %d accepted requests", n, done, len(l.records), len(l.accepted(up)))
}

func killWhileStarting(t *testing.T, srv *server, after time.Duration) {
	t.Helper()
	cmd := srv.command(t.Context(), "run", "--config", srv.writeCaddyfile("Caddyfile", srv.site), "--adapter",
		"caddyfile")
	cmd.Stdout, cmd.Stderr = srv.log, srv.log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(after) // the random moment
	cmd.Process.Kill()
	cmd.Wait()
}
