package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// withKeys is the Badger site of the tests of keys: the first id is the primary key.
func (srv *server) withKeys(folder string, ids ...string) site {
	srv.t.Helper()
	s := srv.site
	s.Store, s.App = "store badger {\n\tpath {{.Dir}}/"+folder+"\n}", demoApp
	for i, id := range ids {
		path := filepath.Join(srv.dir, "key-"+id)
		secret := fmt.Sprintf("%x\n", bytes.Repeat([]byte(id), 32)[:32])
		if err := os.WriteFile(path, []byte(secret), 0o600); err != nil {
			srv.t.Fatal(err)
		}
		option := "old"
		if i == 0 {
			option, s.App = "primary", s.App+"keys {\n"
		}
		s.App += fmt.Sprintf("\t%s %s {file.%s}\n", option, id, path)
		if i == len(ids)-1 {
			s.App += "}\n"
		}
	}
	return s
}

// filesWith returns the files of a folder that hold a text.
func filesWith(t testing.TB, dir, text string) (found []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if bytes.Contains(b, []byte(text)) {
			found = append(found, path)
		}
		if errors.Is(err, fs.ErrNotExist) {
			err = nil // Badger has just removed it
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestKeys: a store in clear is encrypted while it serves, over a kill -9; the key is changed, and
// the old one removed; the store is copied to a clear one and to one with another key.
func TestKeys(t *testing.T) {
	const marker = "MARKER"
	up := newQuickUpstream(t)
	srv := newServer(t, site{}, up.URL)
	srv.mayLogErrors(t) // about configurations that are refused
	srv.site = srv.withKeys("store")
	srv.start()
	srv.mustAdmin(t, "POST", "/oauth1/consumers",
		object{"key": "app", "name": marker + " name", "secret": marker + "-secret"})
	var tok token
	for i := range 150 {
		tok = srv.issue(t, "app", fmt.Sprint(marker, "-user-", i%9), "READ_PUBLIC", nil)
	}
	use := func() error {
		req := signer{Consumer: "app", Secret: marker + "-secret", Token: tok}.sign(t, srv.request("GET", "/a", nil), "")
		r, _, err := srv.resend(req)
		if err != nil {
			return err
		}
		return r.is(http.StatusOK, "ok")
	}
	srv.waitUntil("requests pass", use)
	address := "127.0.0.1:" + srv.admin
	keys := func(command string) (int, string) {
		return srv.oauth1(t, "", "keys", command, "--address", address)
	}
	if code, out := keys("status"); code != 4 || !strings.Contains(out, "the configuration has no `keys`") {
		t.Errorf("without keys: %d\n%s", code, out)
	}

	load := func(ids ...string) error {
		s := srv.withKeys("store", ids...)
		err := srv.load(srv.caddyfile(s))
		if err == nil {
			srv.site = s
		}
		return err
	}
	if err := load("k1"); err != nil {
		t.Fatal(err)
	}
	if filesWith(t, filepath.Join(srv.dir, "store"), marker) == nil {
		t.Fatal("the files of a clear store show no marker, so this shows nothing")
	}
	if code, out := keys("status"); code != 0 || !strings.Contains(out, "(clear)") || !strings.Contains(out, "k1") {
		t.Errorf("status: %d\n%s", code, out)
	}

	// The server is killed while it rewraps.
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	rewrap := srv.command(ctx, "oauth1", "keys", "rewrap", "--address", address)
	if err := rewrap.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond)
	srv.kill()
	if err := rewrap.Wait(); err == nil {
		t.Log("the rewrap was over before the server was killed")
	}
	srv.start()
	srv.waitUntil("requests pass", use)

	// Requests pass while it goes on.
	stop, serving := make(chan struct{}), sync.WaitGroup{}
	serving.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
			if err := use(); err != nil {
				t.Errorf("while keys are changed: %v", err)
				return
			}
		}
	})
	if code, out := keys("rewrap"); code != 0 || !strings.Contains(out, "everything is encrypted with the primary key") {
		t.Fatalf("rewrap: %d\n%s", code, out)
	}
	srv.waitUntil("no file has a marker", func() error {
		if found := filesWith(t, filepath.Join(srv.dir, "store"), marker); found != nil {
			return fmt.Errorf("it is in %q", found)
		}
		return nil
	})
	if err := load("k2", "k1"); err != nil {
		t.Fatal(err)
	}
	srv.wantTold(t, "key.rotated", `"from":"k1","to":"k2"`)
	for _, wrong := range []struct {
		ids  []string
		want string
	}{
		{[]string{"k2"}, `lacks a key that is in use: key \"k1\" with `},
		{[]string{"k3"}, "keep it as old now"},
		{nil, "and the configuration has no `keys`"},
	} {
		if err := load(wrong.ids...); err == nil || !strings.Contains(err.Error(), wrong.want) {
			t.Errorf("keys %q: got %v, want %q", wrong.ids, err, wrong.want)
		}
	}
	if code, out := keys("rewrap"); code != 0 {
		t.Fatalf("rewrap: %d\n%s", code, out)
	}
	if code, out := keys("status"); code != 0 || !strings.Contains(out, "old: can be removed") || !strings.Contains(out, "refused") {
		t.Errorf("status: %d\n%s", code, out)
	}
	if err := load("k2"); err != nil {
		t.Fatal(err)
	}
	close(stop)
	serving.Wait()
	srv.stop()

	// A start without the key says in one line what is missing.
	without := srv.command(ctx, "run", "--config", srv.writeCaddyfile("without.caddyfile", srv.withKeys("store")), "--adapter", "caddyfile")
	out, err := without.CombinedOutput()
	if ended := (*exec.ExitError)(nil); !errors.As(err, &ended) || !strings.Contains(string(out), "is encrypted with key") {
		t.Errorf("without the key it starts: %v\n%s", err, out)
	}

	for _, c := range []struct {
		name, folder string
		ids          []string
		clear        bool
	}{
		{"to a clear store", "clear", nil, true},
		{"to a store with another key", "other", []string{"k9"}, false},
	} {
		to := srv.withKeys(c.folder, c.ids...)
		code, text := srv.oauth1(t, "", "store", "copy", "--from", srv.writeCaddyfile("from.caddyfile", srv.site),
			"--to", srv.writeCaddyfile("to.caddyfile", to))
		if code != 0 || !strings.Contains(text, "1 consumer, 150 access tokens") {
			t.Errorf("%s: %d\n%s", c.name, code, text)
		}
		if found := filesWith(t, filepath.Join(srv.dir, c.folder), marker); (found != nil) != c.clear {
			t.Errorf("%s: the marker is in %q", c.name, found)
		}
	}
	srv.site = srv.withKeys("other", "k9")
	srv.start()
	srv.waitUntil("requests pass", use)
	for _, id := range []string{"k1", "k2", "k9"} {
		if secret := fmt.Sprintf("%x", bytes.Repeat([]byte(id), 32)[:32]); strings.Contains(srv.log.String(), secret) {
			t.Errorf("the log shows key %s", id)
		}
	}
}
