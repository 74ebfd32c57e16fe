//go:build linux

package integration

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestAuditTrailOnAFullDisk: a strict trail refuses changes, and lets access be taken away; a
// counted one counts. Afterwards the strict one is whole, and the counted one shows its gap.
func TestAuditTrailOnAFullDisk(t *testing.T) {
	t.Parallel()
	failures := regexp.MustCompile(`(?m)^caddy_oauth1_audit_write_failures_total ([0-9]+)$`)
	counted := func(t *testing.T, srv *server) string {
		t.Helper()
		text, err := srv.metrics()
		if err != nil {
			t.Fatal(err)
		}
		found := failures.FindStringSubmatch(text)
		if found == nil {
			t.Fatalf("no such metric in %s", text)
		}
		return found[1]
	}
	start := func(t *testing.T, app, global string) (*server, string) {
		disk := newSmallDisk(t, 1)
		srv := startServer(t, site{
			Store:  "store badger {\n\tpath {{.Dir}}/store\n}",
			App:    demoApp + strings.ReplaceAll(app, "{{.Dir}}", disk),
			Global: strings.ReplaceAll(global, "{{.Dir}}", disk),
		}, "http://127.0.0.1:1")
		srv.mayLogErrors(t)
		if n := counted(t, srv); n != "0" {
			t.Errorf("%s failures at the start", n)
		}
		return srv, disk
	}
	read := func(t *testing.T, disk string) []byte {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(disk, "audit.log"))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}

	t.Run("strict", func(t *testing.T) {
		srv, disk := start(t, strictTrail, "")
		tok := srv.issue(t, demoKey, "salgado", "READ_PUBLIC", nil)
		empty := fill(t, disk, 1<<20)
		// What is left of the last block takes some lines.
		var refused string
		srv.waitUntil("a change is refused", func() error {
			key := fmt.Sprint("app-", len(read(t, disk)))
			status, answer, err := srv.adminDo("POST", "/oauth1/consumers", object{"key": key, "secret": "s"})
			if err != nil || status != http.StatusServiceUnavailable {
				return fmt.Errorf("%d %v %w", status, answer, err)
			}
			if text := fmt.Sprint(answer["error"]); !strings.Contains(text, "the change was not made") {
				if strings.Contains(text, "the change was made") { // there was room for its announcement alone
					return fmt.Errorf("%d %s", status, text)
				}
				t.Fatalf("%d %s", status, text)
			}
			refused = key
			return nil
		})
		if status, answer, err := srv.adminDo("GET", "/oauth1/consumers/"+refused, nil); err != nil || status != http.StatusNotFound {
			t.Errorf("the change that was refused: %d %v %v", status, answer, err)
		}
		srv.mustAdmin(t, "DELETE", "/oauth1/tokens/"+tok.Key, nil)
		if counted(t, srv) == "0" {
			t.Error("no failure is counted")
		}
		empty()
		srv.mustAdmin(t, "POST", "/oauth1/consumers", object{"key": "later", "secret": "s"})
		text := read(t, disk)
		if !bytes.Contains(text, []byte(`"event":"access_token.revoked","outcome":"done"`)) {
			t.Errorf("the revocation is not in the trail: %s", text)
		}
		srv.awaitHead(t, text)
		if code, out := srv.verifyTrail(t, [][]byte{text}, srv.online()...); code != 0 {
			t.Errorf("verify: %d\n%s", code, out)
		}
	})

	t.Run("counted", func(t *testing.T) {
		srv, disk := start(t, "", countedTrail)
		empty := fill(t, disk, 1<<20)
		added := 0
		srv.waitUntil("a failure is counted", func() error {
			srv.mustAdmin(t, "POST", "/oauth1/consumers", object{"key": fmt.Sprint("app-", added), "secret": "s"})
			added++
			if counted(t, srv) == "0" {
				return fmt.Errorf("not after %d changes", added)
			}
			return nil
		})
		empty()
		srv.mustAdmin(t, "POST", "/oauth1/consumers", object{"key": "later", "secret": "s"})
		srv.mustAdmin(t, "POST", "/oauth1/consumers", object{"key": "last", "secret": "s"})
		text := read(t, disk)
		srv.awaitHead(t, text)
		if code, out := srv.verifyTrail(t, [][]byte{text}, srv.online()...); code != 1 || !strings.Contains(out, "missing") {
			t.Errorf("verify: %d\n%s", code, out)
		}
	})
}

// TestAuditTrailOnADiskThatHangs: nobody waits for it for long. A strict trail refuses changes and
// lets access be taken away; a counted one counts. When the disk goes on, both are whole: what was
// announced too late is told as not done.
func TestAuditTrailOnADiskThatHangs(t *testing.T) {
	t.Parallel()
	requireProgram(t, "fsfreeze")
	for name, s := range map[string]site{
		"strict":  {App: demoApp + strictTrail},
		"counted": {App: demoApp, Global: countedTrail},
	} {
		t.Run(name, func(t *testing.T) {
			disk := newSmallExt4(t, 16)
			s.Store = "store badger {\n\tpath {{.Dir}}/store\n}"
			s.App, s.Global = strings.ReplaceAll(s.App, "{{.Dir}}", disk), strings.ReplaceAll(s.Global, "{{.Dir}}", disk)
			srv := startServer(t, s, "http://127.0.0.1:1")
			srv.mayLogErrors(t)
			var tokens []token
			for range 3 {
				tokens = append(tokens, srv.issue(t, demoKey, "salgado", "READ_PUBLIC", nil))
			}
			freeze := func(how string) error { return exec.Command("fsfreeze", how, disk).Run() }
			if err := freeze("--freeze"); err != nil {
				missing(t, fmt.Sprintf("this machine does not let us freeze a file system: %v", err))
			}
			frozen := true
			goOn := func() {
				if err := freeze("--unfreeze"); frozen && err != nil {
					t.Error(err)
				}
				frozen = false
			}
			t.Cleanup(goOn) // or the server can't be killed
			status, answer, err := srv.adminDo("POST", "/oauth1/consumers", object{"key": "meanwhile", "secret": "s"})
			switch {
			case err != nil:
				t.Fatal(err)
			case name == "counted" && status != http.StatusCreated:
				t.Errorf("a change: %d %v", status, answer)
			case name == "strict" && (status != http.StatusServiceUnavailable || !strings.Contains(fmt.Sprint(answer["error"]), "was not made")):
				t.Errorf("a change: %d %v", status, answer)
			}
			for _, tok := range tokens {
				srv.mustAdmin(t, "DELETE", "/oauth1/tokens/"+tok.Key, nil)
			}
			goOn()
			srv.waitUntil("changes are made again", func() error {
				status, answer, err := srv.adminDo("POST", "/oauth1/consumers", object{"key": "later", "secret": "s"})
				if err != nil || status != http.StatusCreated {
					return fmt.Errorf("%d %v %w", status, answer, err)
				}
				return nil
			})
			text, err := os.ReadFile(filepath.Join(disk, "audit.log"))
			if err != nil {
				t.Fatal(err)
			}
			if n := bytes.Count(text, []byte(`"event":"access_token.revoked","outcome":"done"`)); n != len(tokens) {
				t.Errorf("%d revocations are in the trail, want %d: %s", n, len(tokens), text)
			}
			const begun, failed = `"event":"consumer.added","outcome":"begun"`, `"event":"consumer.added","outcome":"failed"`
			if want := bytes.Count(text, []byte(begun)) - 1; name == "strict" && bytes.Count(text, []byte(failed)) != want {
				t.Errorf("%d changes are told as not done, want %d: %s", bytes.Count(text, []byte(failed)), want, text)
			}
			srv.awaitHead(t, text)
			if code, out := srv.verifyTrail(t, [][]byte{text}, srv.online()...); code != 0 {
				t.Errorf("verify: %d\n%s", code, out)
			}
		})
	}
}
