package faults

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/adminapi"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/redisstore/redislab"
)

const (
	sitePort  = 8080
	adminPort = 2019
	// clientPatience is how long a client waits for an answer. Every sidecar must give one sooner.
	clientPatience = 8 * time.Second
	// usedText is what a refused replay says.
	usedText = "This nonce has been used already."
)

// A sidecar is one replica: the real binary, or the toy, on a host of its own.
type sidecar struct {
	t       testing.TB
	host    string
	place   redislab.Place
	command []string // what runs in the namespace
	env     []string
	log     string
	admin   adminapi.Client
	client  http.Client

	mu      sync.Mutex
	process *os.Process
	ended   chan struct{}
}

// consumers are declared, so that they are there whatever Redis forgets. Their number is enough for
// all shards.
const (
	consumerCount  = 12
	consumerSecret = "consumer-secret"
)

func consumerKey(i int) string { return fmt.Sprintf("consumer-%02d", i) }

const userPassword = "user-password"

// siteConfig is the Caddyfile of a sidecar.
func siteConfig(place redislab.Place, lab *redislab.Lab, o options) string {
	var b strings.Builder
	fmt.Fprintf(&b, "{\n\tadmin %s:%d\n\toauth1 {\n\t\tstore redis {\n", place.IP, adminPort)
	if len(lab.Sentinels) > 0 {
		fmt.Fprintf(&b, "\t\t\tsentinel %s %s\n", redislab.MasterName, strings.Join(lab.Addresses(), " "))
	} else {
		fmt.Fprintf(&b, "\t\t\taddress %s\n", strings.Join(lab.Addresses(), " "))
	}
	if o.asUser {
		fmt.Fprintf(&b, "\t\t\tusername oauth1\n\t\t\tpassword %s\n", userPassword)
	}
	if lab.Authority != nil {
		fmt.Fprintf(&b, "\t\t\ttls %s\n", lab.Authority.CA)
	}
	fmt.Fprintf(&b, "\t\t\treplicas %d\n\t\t\tlead %s\n\t\t}\n", o.replicas, o.lead)
	for i := range consumerCount {
		fmt.Fprintf(&b, "\t\tconsumer %s {\n\t\t\tsecret %s\n\t\t\ttwo_legged machine READ_PUBLIC\n\t\t}\n",
			consumerKey(i), consumerSecret)
	}
	fmt.Fprintf(&b, "\t}\n}\nhttp://:%d {\n\toauth1 {\n\t\tinsecure_plaintext_over_http\n\t}\n\trespond 200\n}\n", sitePort)
	return b.String()
}

func newSidecar(t testing.TB, host string, place redislab.Place, lab *redislab.Lab, o options, binary string) *sidecar {
	t.Helper()
	dir := t.TempDir()
	s := &sidecar{
		t: t, host: host, place: place, log: filepath.Join(dir, "log"),
		admin: adminapi.Client{Address: fmt.Sprintf("%s:%d", place.IP, adminPort)},
		client: http.Client{
			Timeout: clientPatience, Transport: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true},
		},
	}
	if o.toy {
		y := toy{Listen: fmt.Sprintf("%s:%d", place.IP, sitePort), Addresses: lab.Addresses()}
		if len(lab.Sentinels) > 0 {
			y.SentinelMaster = redislab.MasterName
		}
		config, err := json.Marshal(y)
		if err != nil {
			t.Fatal(err)
		}
		s.command, s.env = []string{os.Args[0]}, append(os.Environ(), toyConfig+"="+string(config))
	} else {
		file := filepath.Join(dir, "Caddyfile")
		if err := os.WriteFile(file, []byte(siteConfig(place, lab, o)), 0o600); err != nil {
			t.Fatal(err)
		}
		s.command = []string{binary, "run", "--config", file, "--adapter", "caddyfile"}
		s.env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	}
	t.Cleanup(func() {
		s.client.CloseIdleConnections()
		s.kill()
		if t.Failed() {
			text, _ := os.ReadFile(s.log)
			lines := slices.DeleteFunc(strings.Split(string(text), "\n"), func(line string) bool {
				return strings.Contains(line, "request refused") // by the thousand
			})
			t.Logf("the end of the log of %s:\n%s", host, strings.Join(lines[max(0, len(lines)-25):], "\n"))
		}
	})
	s.start()
	return s
}

// start starts the process. It does not wait until that answers.
func (s *sidecar) start() {
	s.t.Helper()
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command("ip", append([]string{"netns", "exec", s.place.Namespace}, s.command...)...)
	cmd.Env, cmd.Stdout, cmd.Stderr = s.env, log, log
	if err := redislab.StartBound(cmd); err != nil {
		s.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		cmd.Wait()
		close(ended)
	}()
	s.mu.Lock()
	s.process, s.ended = cmd.Process, ended
	s.mu.Unlock()
}

// kill ends the process as kill -9 does.
func (s *sidecar) kill() {
	s.mu.Lock()
	process, ended := s.process, s.ended
	s.process = nil
	s.mu.Unlock()
	if process != nil {
		process.Kill()
		<-ended
	}
}

// reload gives the sidecar its configuration anew.
func (s *sidecar) reload() error {
	config, err := os.ReadFile(s.command[3])
	if err != nil {
		return err
	}
	// Any difference makes Caddy load it.
	config = fmt.Appendf(config, "# %d\n", time.Now().UnixNano())
	url := fmt.Sprintf("http://%s:%d/load", s.place.IP, adminPort)
	req, err := http.NewRequest(http.MethodPost, url, strings.NewReader(string(config)))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "text/caddyfile")
	req.Header.Set("Cache-Control", "must-revalidate")
	resp, err := (&http.Client{Timeout: 30 * time.Second}).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(resp.Body)
		return fmt.Errorf("reload %s: %s %s", s.host, resp.Status, text)
	}
	return nil
}

// An outcome is what became of a request, as far as its client knows.
type outcome int

const (
	accepted outcome = iota
	used             // the nonce was used already
	gone             // there is no such access token or consumer, or it may do nothing (any more)
	later            // 503: it may have been done or not
	lost             // no answer: it may have been done or not
	other            // anything else, which a client with a right clock must not get
)

func (o outcome) String() string {
	return [...]string{"accepted", "used", "gone", "later", "lost", "other"}[o]
}

// An answer is what a client got.
type answer struct {
	outcome
	status int
	text   string // the body, or the error
	after  bool   // it said when to try again
}

// do sends a request to the site.
func (s *sidecar) do(method, path, authorization string) (a answer) {
	ctx, cancel := context.WithTimeout(context.Background(), clientPatience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, s.url(path), nil)
	if err != nil {
		return answer{outcome: other, text: err.Error()}
	}
	req.Host = siteHost // the same for all sidecars, as behind a load balancer
	req.Header.Set("Authorization", authorization)
	resp, err := s.client.Do(req)
	if err != nil {
		return answer{outcome: lost, text: err.Error()}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{outcome: lost, text: err.Error()}
	}
	a = answer{status: resp.StatusCode, text: strings.TrimSpace(string(body)), after: resp.Header.Get("Retry-After") != ""}
	switch {
	case a.status == http.StatusOK:
		a.outcome = accepted
	case a.status == http.StatusServiceUnavailable:
		a.outcome = later
	case strings.Contains(a.text, usedText):
		a.outcome = used
	case slices.ContainsFunc(goneTexts, func(text string) bool { return strings.HasPrefix(a.text, text) }):
		a.outcome = gone
	default:
		a.outcome = other
	}
	return a
}

// goneTexts begin the refusals of a token or consumer that was revoked, deleted, disabled or
// rotated.
var goneTexts = []string{
	"Unknown access token", "Unknown consumer", "Disabled consumer", "Invalid signature",
}

func (s *sidecar) url(path string) string {
	return fmt.Sprintf("http://%s:%d%s", s.place.IP, sitePort, path)
}

// siteHost is the host that clients sign for.
const siteHost = "api.example.com"

func sign(t testing.TB, signer *oauth1.Signer, method, path string) string {
	t.Helper()
	header, err := signer.Sign(&oauth1.Request{Method: method, Scheme: "http", Host: siteHost, Path: path})
	if err != nil {
		t.Fatal(err)
	}
	return header
}

// call calls the admin API.
func (s *sidecar) call(method, path string, body, answer any) error {
	ctx, cancel := context.WithTimeout(context.Background(), clientPatience)
	defer cancel()
	return s.admin.Do(ctx, method, path, body, answer)
}

// status is the status of a refused call, or 0 if there was no answer.
func status(err error) int {
	var refused *adminapi.Error
	if errors.As(err, &refused) {
		return refused.Status
	}
	return 0
}
