package command

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestHealthWaits: with --wait, a store that comes late is waited for, and one that does not come
// is named when the time is over, or when the server's process has ended.
func TestHealthWaits(t *testing.T) {
	ended := exec.Command(os.Args[0], "-test.run=^$")
	if err := ended.Run(); err != nil {
		t.Fatal(err)
	}
	gone, alive := strconv.Itoa(ended.Process.Pid), strconv.Itoa(os.Getpid())
	for _, c := range []struct {
		name  string
		fails int32 // answers before the store works
		args  []string
		want  string
		calls int32 // at least
	}{
		{"the store works", 0, []string{"--wait", "1m"}, "", 1},
		{"it works at the third call", 2, []string{"--wait", "1m"}, "", 3},
		{"it never works", 1000, []string{"--wait", "600ms"}, "no such disk", 2},
		{"without --wait one call counts", 1, nil, "no such disk", 1},
		{"its server lives", 2, []string{"--wait", "1m", "--pid", alive}, "", 3},
		{"its server has ended", 1000, []string{"--wait", "1m", "--pid", gone}, "process " + gone + " has ended", 1},
		{"a process without a wait", 0, []string{"--pid", alive}, "needs --wait", 0},
		{"no process", 0, []string{"--wait", "1m", "--pid", "0"}, "must be a process", 0},
		{"no time to wait is negative", 0, []string{"--wait", "-1s"}, "must not be negative", 0},
		{"the time has a unit", 0, []string{"--wait", "5"}, "invalid argument", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var calls atomic.Int32
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				if calls.Add(1) <= c.fails {
					w.WriteHeader(http.StatusServiceUnavailable)
					_, _ = w.Write([]byte(`{"error":"no such disk"}`))
					return
				}
				_, _ = w.Write([]byte(`{"status":"ok"}`))
			}))
			defer server.Close()
			address := strings.TrimPrefix(server.URL, "http://")
			begun := time.Now()
			out, err := runCommand("", append([]string{"health", "--address", address}, c.args...)...)
			if c.want == "" && (err != nil || !strings.Contains(out, "ok")) ||
				c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %q, %v; want %q", out, err, c.want)
			}
			if calls.Load() < c.calls || c.calls <= 1 && calls.Load() != c.calls {
				t.Errorf("%d calls, want %d", calls.Load(), c.calls)
			}
			if took := time.Since(begun); took > 20*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}
