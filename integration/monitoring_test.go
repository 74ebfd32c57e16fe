package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/redisstore/redislab"
)

// A metricFamily is a metric in a scrape, or in the manual.
type metricFamily struct {
	kind   string
	labels string // their names, sorted
}

// metrics returns all metrics of the program, as Prometheus gets them.
func (srv *server) metrics() (string, error) {
	resp, err := http.Get("http://127.0.0.1:" + srv.admin + "/metrics")
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("/metrics: %d %w", resp.StatusCode, err)
	}
	return string(text), nil
}

// scrape returns the metrics of the program, with their types and labels, without Caddy's own.
func (srv *server) scrape() (map[string]metricFamily, error) {
	text, err := srv.metrics()
	if err != nil {
		return nil, err
	}
	families := make(map[string]metricFamily)
	sample := regexp.MustCompile(`^(caddy_oauth1_\w+)(?:\{(.*)\})? `)
	label := regexp.MustCompile(`(\w+)="(?:[^"\\]|\\.)*"`)
	for line := range strings.Lines(text) {
		if fields := strings.Fields(line); strings.HasPrefix(line, "# TYPE caddy_oauth1_") {
			families[fields[2]] = metricFamily{kind: fields[3]}
			continue
		}
		match := sample.FindStringSubmatch(line)
		if match == nil {
			continue
		}
		name := familyName(match[1], families)
		var labels []string
		for _, l := range label.FindAllStringSubmatch(match[2], -1) {
			if l[1] != "le" {
				labels = append(labels, l[1])
			}
		}
		slices.Sort(labels)
		families[name] = metricFamily{families[name].kind, strings.Join(labels, " ")}
	}
	return families, nil
}

// familyName returns the metric that a sample belongs to.
func familyName(sample string, families map[string]metricFamily) string {
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		if name, ok := strings.CutSuffix(sample, suffix); ok && families[name].kind == "histogram" {
			return name
		}
	}
	return sample
}

// monitored starts a server that has every metric, and returns them.
func monitored(t *testing.T, s site) map[string]metricFamily {
	t.Helper()
	s.App = demoApp + "metrics {\n\tconsumers demo\n}\nkeys {\n\tprimary k1 " + strings.Repeat("ab", 32) + "\n}\n"
	srv := startServer(t, s, newUpstream(t).URL)
	srv.waitUntil("the store is there", func() error {
		status, answer, err := srv.adminDo("GET", "/oauth1/health", nil)
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("%d %v", status, answer)
		}
		return err
	})
	tok := srv.issue(t, demoKey, "salgado", "READ_PUBLIC", nil)
	halfSigned := tok
	halfSigned.Secret = "" // a mistake that has a name
	for _, s := range []signer{
		{Consumer: demoKey, Secret: demoSecret, Token: tok}, {Consumer: demoKey, Secret: demoSecret, Token: halfSigned},
	} {
		srv.mustDo(t, s.sign(t, srv.request("GET", "/x", nil), ""))
	}
	var families map[string]metricFamily
	srv.waitUntil("the store is counted", func() (err error) {
		if families, err = srv.scrape(); err != nil {
			return err
		}
		for _, later := range []string{"access_tokens", "encryption_records", "mistakes_total"} {
			if family := families["caddy_oauth1_"+later]; family == (metricFamily{}) || later == "mistakes_total" && family.labels == "" {
				return fmt.Errorf("no %s yet: %q", later, slices.Sorted(maps.Keys(families)))
			}
		}
		return nil
	})
	return families
}

// documented returns the metrics of docs/monitoring.md, and those of them that only the default
// store has.
func documented(t *testing.T) (families map[string]metricFamily, badger []string) {
	t.Helper()
	text, err := os.ReadFile("../docs/monitoring.md")
	if err != nil {
		t.Fatal(err)
	}
	families = make(map[string]metricFamily)
	row := regexp.MustCompile("(?m)^\\| `(caddy_oauth1_\\w+)` \\| (\\w+) \\|(.*?)\\| (.*) \\|$")
	for _, match := range row.FindAllStringSubmatch(string(text), -1) {
		labels := regexp.MustCompile(`\w+`).FindAllString(match[3], -1)
		slices.Sort(labels)
		families[match[1]] = metricFamily{match[2], strings.Join(labels, " ")}
		if strings.HasPrefix(match[4], "Badger:") {
			badger = append(badger, match[1])
		}
	}
	return families, badger
}

// TestMonitoringMetrics: docs/monitoring.md has exactly the metrics of the program, with their types
// and labels, and says which of them Redis lacks.
func TestMonitoringMetrics(t *testing.T) {
	t.Parallel() // it waits for the store to be counted
	want, badger := documented(t)
	compare := func(t *testing.T, got, want map[string]metricFamily) {
		t.Helper()
		for name := range got {
			if _, ok := want[name]; !ok {
				t.Errorf("the program has %s, the manual does not", name)
			}
		}
		for name, family := range want {
			if got[name] != family {
				t.Errorf("%s: the program has %+v, the manual %+v", name, got[name], family)
			}
		}
	}
	t.Run("badger", func(t *testing.T) {
		t.Parallel()
		compare(t, monitored(t, site{Store: "store badger {\n\tpath {{.Dir}}/store\n}"}), want)
	})
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		lab := redislab.Single(t, redislab.Options{})
		redis := maps.Clone(want)
		for _, name := range badger {
			delete(redis, name)
		}
		compare(t, monitored(t, site{Store: "store redis {\n\taddress {{.Lab}}\n\treplicas 0\n\ttimeout 1s\n}",
			Vars: map[string]string{"Lab": lab.Addresses()[0]}}), redis)
	})
}

// TestMonitoringAlerts: each alert fires in a test and stays silent in another one, every metric in
// the rules exists, and the manual says what to do.
func TestMonitoringAlerts(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../deploy/prometheus/*.tests.yml")
	if err != nil {
		t.Fatal(err)
	}
	promtool(t, append([]string{"test", "rules"}, files...)...)
	read := func(path string) string {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	rules, tests := read("../deploy/prometheus/caddy-oauth1.rules.yml"), ""
	for _, file := range files {
		tests += read(file)
	}
	manual := read("../docs/monitoring.md")
	alerts := regexp.MustCompile(`- alert: (\w+)`).FindAllStringSubmatch(rules, -1)
	if len(alerts) < 10 {
		t.Errorf("found %d alerts only", len(alerts))
	}
	for _, alert := range alerts {
		for _, name := range []string{alert[1] + " fires\n", alert[1] + " does not fire\n"} {
			if !strings.Contains(tests, "- name: "+name) {
				t.Errorf("no test is named %q", name)
			}
		}
		if !strings.Contains(manual, "\n| `"+alert[1]+"` | ") {
			t.Errorf("docs/monitoring.md does not say what to do for %s", alert[1])
		}
	}
	wantKnownMetrics(t, rules)
}

// wantKnownMetrics checks that the metrics that a text names are in the manual, and so in the
// program.
func wantKnownMetrics(t *testing.T, text string) {
	t.Helper()
	families, _ := documented(t)
	names := regexp.MustCompile(`caddy_oauth1_\w+`).FindAllString(text, -1)
	if len(names) < 10 {
		t.Errorf("found %d metrics only", len(names))
	}
	for _, name := range names {
		if _, ok := families[familyName(name, families)]; !ok {
			t.Errorf("there is no metric %s", name)
		}
	}
}

func promtool(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.Command(requireProgram(t, "promtool"), args...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// TestMonitoringDashboard: Prometheus can read each expression of the dashboard, every metric in it
// exists, and it shows all of them.
func TestMonitoringDashboard(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../deploy/grafana/caddy-oauth1.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	wantKnownMetrics(t, string(text))
	families, _ := documented(t)
	for name := range families {
		if !bytes.Contains(text, []byte(name)) {
			t.Errorf("the dashboard does not show %s", name)
		}
	}
	variables := strings.NewReplacer("$__rate_interval", "5m", "$instance", ".*")
	type rule struct {
		Record string `json:"record"`
		Expr   string `json:"expr"`
	}
	var rules []rule
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			expr := variables.Replace(target.Expr)
			if strings.Contains(expr, "$") {
				t.Errorf("%s: unknown variable: %s", panel.Title, expr)
			}
			rules = append(rules, rule{fmt.Sprintf("panel:%d", len(rules)), expr})
		}
	}
	if len(rules) < 15 {
		t.Errorf("found %d expressions only", len(rules))
	}
	// JSON is YAML.
	file, err := json.Marshal(map[string]any{"groups": []any{map[string]any{"name": "dashboard", "rules": rules}}})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "dashboard.rules.yml")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "rules", path)
}

// TestTracingSpans: what the real program exports, with the console exporter.
func TestTracingSpans(t *testing.T) {
	t.Setenv("OTEL_TRACES_EXPORTER", "console")
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
	srv := startServer(t, site{Before: "tracing {\n\tspan api\n}"}, newUpstream(t).URL)
	tok := srv.issue(t, demoKey, "salgado", "READ_PUBLIC", nil)
	for secret, status := range map[string]int{demoSecret: 200, "wrong": 401} {
		r := srv.mustDo(t, signer{Consumer: demoKey, Secret: secret, Token: tok}.sign(t, srv.request("GET", "/x", nil), ""))
		if r.Status != status {
			t.Fatalf("%d %s, want %d", r.Status, r.Body, status)
		}
	}
	for _, result := range []string{"accepted", "signature_invalid"} {
		srv.waitUntil("the span of the request that is "+result, func() error {
			for line := range strings.Lines(srv.log.String()) {
				if !strings.Contains(line, `"oauth1.result"`) || !strings.Contains(line, `"`+result+`"`) {
					continue
				}
				if strings.Contains(line, tok.Key) {
					t.Errorf("the span has the token's key: %s", line)
				}
				for _, word := range []string{`"oauth1.endpoint"`, `"oauth1.signature_method"`,
					`"oauth1.consumer"`, `"demo"`} {
					if !strings.Contains(line, word) {
						return fmt.Errorf("no %s in %s", word, line)
					}
				}
				return nil
			}
			return fmt.Errorf("no span")
		})
	}
}
