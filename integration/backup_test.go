package integration

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/backup"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/redisstore/redislab"
)

// backedUp is a site with backups, and a narrow window, so that requests pass soon after a restore.
func backedUp() site {
	return site{
		Store: "store badger {\n\tpath {{.Dir}}/store\n}",
		App:   "timestamp_window 4s\nbackup {\n\tpath {{.Dir}}/backups\n\tevery 1h\n}",
	}
}

// A past is what a server did before it was lost.
type past struct {
	srv           *server
	kept, revoked token
	used          *http.Request
}

const pastSecret = "s3cr3t-of-app"

func (p *past) sign(t *testing.T, tok token) *http.Request {
	return signer{Consumer: "app", Secret: pastSecret, Token: tok}.sign(t, p.srv.request("GET", "/a", nil), "")
}

func newPast(t *testing.T, s site) *past {
	t.Helper()
	srv := startServer(t, s, newQuickUpstream(t).URL)
	srv.mayLogErrors(t)
	srv.mustAdmin(t, "POST", "/oauth1/consumers", object{"key": "app", "secret": pastSecret})
	return &past{
		srv:     srv,
		kept:    srv.issue(t, "app", "salgado", "READ_PUBLIC", nil),
		revoked: srv.issue(t, "app", "mark", "READ_PUBLIC", nil),
	}
}

// goOn revokes a token, and sends a request.
func (p *past) goOn(t *testing.T) {
	t.Helper()
	p.srv.mustAdmin(t, "DELETE", "/oauth1/tokens/"+p.revoked.Key, nil)
	p.used = p.sign(t, p.kept)
	want(t, "a request", p.srv.mustDo(t, p.used), http.StatusOK, "ok")
}

// comesBack shows that nothing that was used or revoked is accepted, and that clients go on.
func (p *past) comesBack(t *testing.T, revoked bool) {
	t.Helper()
	if p.srv.mustDo(t, p.used).Status == http.StatusOK {
		t.Error("a used nonce passes")
	}
	p.srv.waitUntil("requests pass", func() error { return p.srv.mustDo(t, p.sign(t, p.kept)).is(http.StatusOK, "ok") })
	if p.srv.mustDo(t, p.used).Status == http.StatusOK {
		t.Error("a used nonce passes later")
	}
	if got := p.srv.mustDo(t, p.sign(t, p.revoked)); revoked && got.Status != http.StatusUnauthorized {
		t.Errorf("a revoked token: %d %s", got.Status, got.Body)
	}
}

func (p *past) backup(t *testing.T, args ...string) string {
	t.Helper()
	file := filepath.Join(p.srv.dir, fmt.Sprintf("%d.backup", time.Now().UnixNano()))
	if code, out := p.srv.oauth1(t, "", append([]string{"backup", file, "--address", "127.0.0.1:" + p.srv.admin}, args...)...); code != 0 {
		t.Fatalf("backup: %d\n%s", code, out)
	}
	return file
}

func (p *past) restore(t *testing.T, file string, s site, args ...string) (int, string) {
	t.Helper()
	config := p.srv.writeCaddyfile("restore.caddyfile", s)
	return p.srv.oauth1(t, "", append([]string{"restore", file, "--config", config}, args...)...)
}

// TestBackupAndRestore: the store is lost. What comes back is what was there, without what was
// revoked since.
func TestBackupAndRestore(t *testing.T) {
	t.Parallel()
	p := newPast(t, backedUp())
	file := p.backup(t)
	p.goOn(t)
	p.srv.mustAdmin(t, "POST", "/oauth1/consumers", object{"key": "later", "secret": "s"})
	journals := filepath.Join(p.srv.dir, "backups")
	p.srv.stop()
	store := filepath.Join(p.srv.dir, "store")
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"a store that is not empty", []string{"--journal", journals}, "is not empty"},
		{"without a journal", nil, "--accept-lost-revocations"},
		{"with an empty directory", []string{"--journal", store}, "there is no journal"},
	} {
		if code, out := p.restore(t, file, p.srv.site, c.args...); code != 1 || !strings.Contains(out, c.want) {
			t.Errorf("%s: %d\n%s", c.name, code, out)
		}
	}
	if err := os.RemoveAll(store); err != nil {
		t.Fatal(err)
	}
	damaged, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	damaged[len(damaged)-100] ^= 1
	if err := os.WriteFile(file+".damaged", damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out := p.restore(t, file+".damaged", p.srv.site, "--journal", journals); code != 1 || !strings.Contains(out, "damaged") {
		t.Errorf("a damaged backup: %d\n%s", code, out)
	}
	if _, err := os.Stat(store); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a damaged backup touched the store: %v", err)
	}
	code, out := p.restore(t, file, p.srv.site, "--journal", journals)
	for _, want := range []string{"Restored:  1 consumer, 1 access token, 0 request tokens", "Left out:  1, by 1 revocation"} {
		if code != 0 || !strings.Contains(out, want) {
			t.Errorf("restore: %d\n%s", code, out)
		}
	}
	p.srv.start()
	p.srv.wantTold(t, "store.restored")
	p.comesBack(t, true)
}

// TestScheduledBackup: there is one as soon as the server runs, and no second one after a reload.
// The recipients count, and the metrics tell.
func TestScheduledBackup(t *testing.T) {
	t.Parallel()
	const recipient = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
	s := backedUp()
	s.App = strings.Replace(s.App, "every 1h", "every 1h\n\trecipients "+recipient, 1)
	p := newPast(t, s)
	dir := filepath.Join(p.srv.dir, "backups")
	var made []string
	p.srv.waitUntil("a backup is made", func() error {
		if made, _ = filepath.Glob(filepath.Join(dir, "*.backup")); len(made) != 1 {
			return fmt.Errorf("%d backups", len(made))
		}
		return nil
	})
	if b, err := os.ReadFile(made[0]); err != nil || !bytes.HasPrefix(b, []byte("age-encryption.org/")) {
		t.Errorf("it is not encrypted: %v", err)
	}
	if code, out := p.srv.oauth1(t, "", "backup", "verify", made[0]); code != 1 || !strings.Contains(out, "is encrypted") {
		t.Errorf("verify: %d\n%s", code, out)
	}
	config := p.srv.writeCaddyfile("again.caddyfile", p.srv.site)
	if out, err := p.srv.command(t.Context(), "reload", "--force", "--config", config, "--adapter", "caddyfile",
		"--address", "127.0.0.1:"+p.srv.admin).CombinedOutput(); err != nil {
		t.Fatalf("reload: %v\n%s", err, out)
	}
	p.goOn(t)
	if again, _ := filepath.Glob(filepath.Join(dir, "*.backup")); len(again) != 1 {
		t.Errorf("after a reload: %q", again)
	}
	journal, err := filepath.Glob(filepath.Join(dir, "*.journal"))
	if err != nil || len(journal) != 1 {
		t.Fatalf("journals: %q, %v", journal, err)
	}
	read, err := backup.ReadJournal(journal[0])
	if err != nil || len(read.Revocations) != 2 || read.Revocations[1].Token != p.revoked.Key {
		t.Errorf("the journal: %+v, %v", read, err)
	}
	metrics, err := p.srv.metrics()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(metrics, "caddy_oauth1_backup_last_success_timestamp_seconds 1.") ||
		!strings.Contains(metrics, "caddy_oauth1_backup_failures_total 0") {
		t.Errorf("the metrics:\n%s", metrics)
	}
}

// TestCopiedFolder: the store's directory that was copied back does not start, with its nonces or
// without. Once it is adopted, nothing that was used passes.
func TestCopiedFolder(t *testing.T) {
	t.Parallel()
	for _, nonces := range []bool{true, false} {
		t.Run(fmt.Sprintf("with nonces %v", nonces), func(t *testing.T) {
			t.Parallel()
			s := backedUp()
			s.App = "timestamp_window 4s"
			p := newPast(t, s)
			p.srv.stop()
			store := filepath.Join(p.srv.dir, "store")
			if err := os.CopyFS(store+".copy", os.DirFS(store)); err != nil {
				t.Fatal(err)
			}
			p.srv.start()
			p.goOn(t)
			p.srv.stop()
			if err := errors.Join(os.RemoveAll(store), os.CopyFS(store, os.DirFS(store+".copy"))); err != nil {
				t.Fatal(err)
			}
			if !nonces {
				if err := os.RemoveAll(filepath.Join(store, "nonces")); err != nil {
					t.Fatal(err)
				}
			}
			p.srv.spawn()
			<-p.srv.exited
			p.srv.cmd = nil
			for _, want := range []string{"copied back", "tokens that were revoked since are valid again", "oauth1 store adopt --config"} {
				if !strings.Contains(p.srv.log.tail(3), want) {
					t.Errorf("the start does not say %q:\n%s", want, p.srv.log.tail(3))
				}
			}
			config := p.srv.writeCaddyfile("adopt.caddyfile", p.srv.site)
			if code, out := p.srv.oauth1(t, "", "store", "adopt", "--config", config); code != 0 {
				t.Fatalf("adopt: %d\n%s", code, out)
			}
			p.srv.start()
			p.srv.wantTold(t, "store.adopted")
			p.comesBack(t, false) // adopt knows no revocations, and says so
		})
	}
}

// TestBackupUnderLoad: whatever was acknowledged before the backup was begun is in it, and it is
// whole. A caller that does not read holds up nobody.
func TestBackupUnderLoad(t *testing.T) {
	t.Parallel()
	p := newPast(t, backedUp())
	var issued, stop atomic.Int64
	var workers sync.WaitGroup
	for i := range 4 {
		workers.Go(func() {
			for n := 0; stop.Load() == 0; n++ {
				p.srv.issue(t, "app", fmt.Sprintf("user-%d-%d", i, n), "READ_PUBLIC", nil)
				issued.Add(1)
			}
		})
	}
	idle, err := http.Get("http://127.0.0.1:" + p.srv.admin + "/oauth1/backup")
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Body.Close()
	for range 3 {
		time.Sleep(200 * time.Millisecond)
		before := issued.Load()
		file := p.backup(t)
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		_, n, err := backup.Verify(f)
		f.Close()
		if err != nil || int64(n.AccessTokens) < before+2 {
			t.Errorf("%+v, %v; %d tokens were issued before", n, err, before+2)
		}
	}
	stop.Store(1)
	workers.Wait()
}

// TestBackupMovesAStore: the same file moves a store from Badger to Redis, and another one back.
func TestBackupMovesAStore(t *testing.T) {
	lab := redislab.Single(t, redislab.Options{})
	p := newPast(t, backedUp())
	file := p.backup(t)
	p.goOn(t)
	journals := filepath.Join(p.srv.dir, "backups")
	p.srv.stop()
	p.srv.site.Store = "store redis {\n\taddress " + strings.Join(lab.Addresses(), " ") + "\n\treplicas 0\n}"
	if code, out := p.restore(t, file, p.srv.site, "--journal", journals); code != 0 {
		t.Fatalf("to Redis: %d\n%s", code, out)
	}
	p.srv.start()
	p.comesBack(t, true)
	file = p.backup(t)
	p.used = p.sign(t, p.kept)
	want(t, "a request", p.srv.mustDo(t, p.used), http.StatusOK, "ok")
	p.srv.stop()
	p.srv.site.Store = "store badger {\n\tpath {{.Dir}}/back\n}"
	if code, out := p.restore(t, file, p.srv.site, "--journal", journals); code != 0 {
		t.Fatalf("to Badger: %d\n%s", code, out)
	}
	p.srv.start()
	p.comesBack(t, true)
}

// TestRestoreAfterKill9: no server starts with a part of a restore, and the same command mends it.
func TestRestoreAfterKill9(t *testing.T) {
	t.Parallel()
	const tokens = 60_000
	p := &past{srv: newServer(t, backedUp(), "")}
	p.srv.mayLogErrors(t)
	file := filepath.Join(p.srv.dir, "large.backup")
	if err := backup.WriteFile(file, false, func(out io.Writer) error {
		w, err := backup.NewWriter(out, backup.Header{ID: "x", Time: time.Now(), Store: backup.StoreID([32]byte{1})})
		if err != nil {
			return err
		}
		err = w.Add(&tokenstore.StoreState{Secret: [32]byte{1}})
		for i := 0; i < tokens && err == nil; i++ {
			err = w.Add(&tokenstore.AccessToken{Key: fmt.Sprint("t", i), Secret: strings.Repeat("s", 80),
				Consumer: "c", User: fmt.Sprint("u", i), Permission: "READ_PUBLIC", Created: time.Now()})
		}
		return errors.Join(err, w.Close())
	}, nil); err != nil {
		t.Fatal(err)
	}
	config := p.srv.writeCaddyfile("restore.caddyfile", p.srv.site)
	cmd := p.srv.command(t.Context(), "oauth1", "restore", file, "--config", config, "--accept-lost-revocations")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// Some tables, or some of Badger's log, are written when the import is under way.
	p.srv.waitUntil("the restore is under way", func() error {
		if len(globbed(p.srv.dir, "store/tokens/*.sst")) == 0 {
			return errors.New("no table yet")
		}
		return nil
	})
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if cmd.ProcessState.Exited() {
		t.Fatal("the restore ended before it was killed: it needs more tokens")
	}
	p.srv.spawn()
	<-p.srv.exited
	p.srv.cmd = nil
	if got := p.srv.log.tail(3); !strings.Contains(got, tokenstore.ErrIncomplete.Error()) {
		t.Errorf("the start:\n%s", got)
	}
	code, out := p.restore(t, file, p.srv.site, "--accept-lost-revocations")
	if code != 0 || !strings.Contains(out, fmt.Sprintf("%d access tokens", tokens)) {
		t.Errorf("again: %d\n%s", code, out)
	}
}

func globbed(dir, pattern string) []string {
	found, _ := filepath.Glob(filepath.Join(dir, pattern))
	return found
}
