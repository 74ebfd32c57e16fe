package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/redisstore/redislab"
)

// TestMonitoringFullDisk: the store's disk fills up. A real Prometheus with our rules raises the
// alert, and the probe says why; both end when there is room. No restart is asked for.
func TestMonitoringFullDisk(t *testing.T) {
	t.Parallel() // it waits for Prometheus
	requireProgram(t, "prometheus")
	disk := newSmallDisk(t, smallDisk)
	srv := startServer(t, site{
		Store:  "store badger {\n\tpath {{.Disk}}/store\n}",
		Vars:   map[string]string{"Disk": disk},
		Before: "oauth1_health /ready\noauth1_health /live live",
	}, newUpstream(t).URL)
	p := startPrometheus(t, srv)
	wantHealth(srv, "/ready", 200, "ok")
	if err := p.fires(srv, "OAuth1DiskFull", false); err != nil {
		t.Fatal(err)
	}
	empty := fill(t, disk, 1<<40)
	wantHealth(srv, "/ready", 503, "disk")
	wantHealth(srv, "/live", 200, "ok")
	srv.waitUntil("the alert fires", func() error { return p.fires(srv, "OAuth1DiskFull", true) })
	empty()
	wantHealth(srv, "/ready", 200, "ok")
	srv.waitUntil("the alert has ended", func() error { return p.fires(srv, "OAuth1DiskFull", false) })
}

// TestHealthWhileTheServerStops: the load balancer is told before the server stops answering.
func TestHealthWhileTheServerStops(t *testing.T) {
	srv := startServer(t, site{Global: "shutdown_delay 2s", Before: "oauth1_health /ready\noauth1_health /live live"},
		newUpstream(t).URL)
	wantHealth(srv, "/ready", 200, "ok")
	if err := srv.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	wantHealth(srv, "/ready", 503, "stopping")
	wantHealth(srv, "/live", 200, "ok")
	<-srv.exited
}

// TestHealthAfterARestore: the probe says for one window that requests are refused. The store can be
// changed meanwhile. The window is the default one.
func TestHealthAfterARestore(t *testing.T) {
	lab := redislab.Single(t, redislab.Options{})
	s := backedUp()
	s.App = strings.Replace(s.App, "timestamp_window 4s\n", "", 1)
	s.Before = "oauth1_health /ready\noauth1_health /live live"
	p := newPast(t, s)
	file := p.backup(t)
	for i, store := range []string{
		"store badger {\n\tpath {{.Dir}}/back\n}",
		"store redis {\n\taddress " + strings.Join(lab.Addresses(), " ") + "\n\treplicas 0\n}",
	} {
		p.srv.stop()
		p.srv.site.Store = store
		if code, out := p.restore(t, file, p.srv.site, "--accept-lost-revocations"); code != 0 {
			t.Fatalf("restore: %d\n%s", code, out)
		}
		p.srv.start()
		wantHealth(p.srv, "/ready", 503, "waiting")
		wantHealth(p.srv, "/live", 200, "ok")
		if got := p.srv.mustDo(t, p.sign(t, p.kept)); got.Status != http.StatusServiceUnavailable {
			t.Errorf("a request: %d %s", got.Status, got.Body)
		}
		p.srv.mustAdmin(t, "POST", "/oauth1/consumers", object{"key": fmt.Sprint("after-", i), "secret": "s"})
	}
}

// wantHealth waits until a probe answers so.
func wantHealth(srv *server, path string, status int, word string) {
	srv.t.Helper()
	srv.waitUntil(fmt.Sprint(path, " is ", word), func() error {
		r, err := srv.do(srv.request("GET", path, nil))
		return errors.Join(err, r.is(status, word))
	})
}

// A prometheusServer scrapes a server several times a second.
type prometheusServer struct{ port string }

func startPrometheus(t *testing.T, srv *server) *prometheusServer {
	t.Helper()
	dir, p := t.TempDir(), &prometheusServer{freePort(t)}
	rules, err := filepath.Abs("../deploy/prometheus/caddy-oauth1.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf(`
global: {scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 200ms}
rule_files: [%q]
scrape_configs:
  - job_name: caddy-oauth1
    scrape_interval: 500ms
    scrape_timeout: 500ms
    static_configs: [{targets: ["127.0.0.1:%s"]}]
`, rules, srv.admin)
	path := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	log := new(logBuffer)
	cmd := exec.Command(requireProgram(t, "prometheus"), "--config.file="+path,
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address=127.0.0.1:"+p.port)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("Prometheus:\n%s", log.tail(20))
		}
	})
	srv.waitUntil("Prometheus has scraped the server", func() error {
		var found struct{ Data struct{ Result []any } }
		if err := p.get("/api/v1/query?query=caddy_oauth1_store_free_bytes", &found); err != nil {
			return err
		}
		if len(found.Data.Result) != 1 {
			return fmt.Errorf("found %v", found.Data.Result)
		}
		return nil
	})
	return p
}

// get reads an answer of Prometheus.
func (p *prometheusServer) get(path string, into any) error {
	resp, err := http.Get("http://127.0.0.1:" + p.port + path)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return json.NewDecoder(resp.Body).Decode(into)
}

// fires returns an error unless the alert about the server fires, or not.
func (p *prometheusServer) fires(srv *server, name string, want bool) error {
	type alert struct {
		Labels map[string]string
		State  string
	}
	var answer struct{ Data struct{ Alerts []alert } }
	if err := p.get("/api/v1/alerts", &answer); err != nil {
		return err
	}
	got := slices.ContainsFunc(answer.Data.Alerts, func(a alert) bool {
		return a.Labels["alertname"] == name && a.Labels["instance"] == "127.0.0.1:"+srv.admin && a.State == "firing"
	})
	if got != want {
		return fmt.Errorf("%s fires: %v; the alerts are %v", name, got, answer.Data.Alerts)
	}
	return nil
}
