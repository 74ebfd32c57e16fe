package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"text/template"
	"time"
)

// patience is how long a test waits for anything before it fails.
const patience = time.Minute

// built is the directory of the binary, which all tests share. TestMain removes it.
var built string

// parallelTests is how many of the tests that may run at once do so, if -parallel does not say it.
// Some of them wait for half a minute.
const parallelTests = "4"

func TestMain(m *testing.M) {
	flag.Parse()
	if testing.Short() {
		fmt.Println("integration: nothing is run with -short")
		return
	}
	said := slices.ContainsFunc(os.Args[1:], func(arg string) bool {
		return strings.HasPrefix(strings.TrimLeft(arg, "-"), "test.parallel")
	})
	if !said {
		if err := flag.Set("test.parallel", parallelTests); err != nil {
			log.Fatal(err)
		}
	}
	var err error
	if built, err = os.MkdirTemp("", "caddy-oauth1-bin-"); err != nil {
		log.Fatal(err)
	}
	code := m.Run()
	os.RemoveAll(built)
	os.Exit(code)
}

// binary builds cmd/caddy-oauth1, once, and returns its path.
var binary = sync.OnceValues(func() (string, error) {
	if path := os.Getenv(binaryVariable); path != "" {
		return path, nil
	}
	path := filepath.Join(built, "caddy-oauth1")
	args := []string{"build", "-o", path}
	if os.Getenv("INTEGRATION_RACE") == "1" {
		args = append(args, "-race")
	}
	out, err := exec.Command("go", append(args,
		"github.com/caddy-oauth1/caddy-oauth1/cmd/caddy-oauth1")...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build cmd/caddy-oauth1: %w\n%s", err, out)
	}
	return path, nil
})

func requireBinary(t testing.TB) string {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// requireProgram returns the path of an installed program. If it is missing, the test is skipped.
// In CI the test fails, because a skipped test would go unnoticed there.
func requireProgram(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		missing(t, "the program "+name+" is not installed")
	}
	return path
}

func missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// A site is the part of the Caddyfile that a test changes. Empty fields stand for the usual.
type site struct {
	Global  string            // more lines for the global options
	App     string            // lines of the global oauth1 block, after the store
	Store   string            // the store; default: badger in the server's directory, or redis_test.go's
	Sync    string            // sync of the default store: "on", "off", or empty for its own default
	Before  string            // lines of the site before the directive
	OAuth1  string            // lines of the directive's block
	Handler string            // the handlers after the directive; default: reverse_proxy to the upstream
	Address string            // default: http://127.0.0.1:PORT
	More    string            // more sites
	Vars    map[string]string // more names for the templates, beside Admin, Port, Dir and Upstream
}

const caddyfile = `
{
	admin 127.0.0.1:{{.Admin}}
	{{.Global}}
	oauth1 {
		{{.Store}}
		{{.App}}
	}
}
{{.Address}} {
	{{.Before}}
	oauth1 {
		insecure_plaintext_over_http
		user {http.request.header.X-Test-User}
		{{.OAuth1}}
	}
	{{.Handler}}
}
{{.More}}
`

// demo is the consumer that most tests sign as.
const (
	demoKey    = "demo"
	demoSecret = "s3cr3t"
	demoApp    = "consumer demo {\n\tsecret s3cr3t\n}\n"
)

// A server is the real binary in a process of its own.
type server struct {
	t     testing.TB
	dir   string // holds its data, its config and its Caddyfile
	names map[string]string
	site  site

	port, admin string
	client      *http.Client // for the site; it follows no redirect

	cmd    *exec.Cmd
	exited chan struct{} // closed when the process has ended
	log    *logBuffer
}

// startServer starts the binary with the site in front of the upstream, and stops it when the test
// ends. The upstream is a URL without a path, or empty if the site has a handler of its own.
func startServer(t testing.TB, s site, upstream string) *server {
	t.Helper()
	srv := newServer(t, s, upstream)
	srv.start()
	return srv
}

func newServer(t testing.TB, s site, upstream string) *server {
	t.Helper()
	srv := &server{t: t, dir: t.TempDir(), site: s, port: freePort(t), admin: freePort(t), log: &logBuffer{}}
	srv.names = map[string]string{
		"Admin":    srv.admin,
		"Port":     srv.port,
		"Dir":      srv.dir,
		"Upstream": strings.TrimPrefix(upstream, "http://"),
	}
	if onRedis() {
		srv.names["Redis"], srv.names["Prefix"] = os.Getenv(redisVariable), readyPrefix(t)
	}
	maps.Copy(srv.names, s.Vars)
	srv.client = &http.Client{
		Timeout:       patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport:     &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64},
	}
	t.Cleanup(func() {
		srv.client.CloseIdleConnections()
		srv.stop()
		srv.checkLog()
		if t.Failed() {
			t.Logf("the server's log:\n%s", srv.log.tail(80))
		}
	})
	return srv
}

// caddyfile renders the Caddyfile of a site for this server.
func (srv *server) caddyfile(s site) string {
	srv.t.Helper()
	if s.Store == "" {
		s.Store = defaultStore(s.Sync)
	}
	if s.Handler == "" {
		s.Handler = "reverse_proxy {{.Upstream}}"
	}
	if s.Address == "" {
		s.Address = "http://127.0.0.1:{{.Port}}"
	}
	if s.App == "" {
		s.App = demoApp
	}
	names := maps.Clone(srv.names)
	for name, text := range map[string]string{
		"Global": s.Global, "App": s.App, "Store": s.Store, "Before": s.Before, "OAuth1": s.OAuth1,
		"Handler": s.Handler, "Address": s.Address, "More": s.More,
	} {
		names[name] = render(srv.t, text, names)
	}
	return render(srv.t, caddyfile, names)
}

func render(t testing.TB, text string, names map[string]string) string {
	t.Helper()
	tmpl, err := template.New("").Option("missingkey=error").Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := tmpl.Execute(&b, names); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// writeCaddyfile writes the Caddyfile of the site and returns its path.
func (srv *server) writeCaddyfile(name string, s site) string {
	srv.t.Helper()
	path := filepath.Join(srv.dir, name)
	if err := os.WriteFile(path, []byte(srv.caddyfile(s)), 0o600); err != nil {
		srv.t.Fatal(err)
	}
	return path
}

// command returns a command of the binary with the server's directories.
func (srv *server) command(ctx context.Context, args ...string) *exec.Cmd {
	srv.t.Helper()
	cmd := exec.CommandContext(ctx, requireBinary(srv.t), args...)
	cmd.Dir = srv.dir
	cmd.Env = append(os.Environ(), "HOME="+srv.dir, "XDG_DATA_HOME="+srv.dir+"/data",
		"XDG_CONFIG_HOME="+srv.dir+"/config")
	return cmd
}

// spawn starts the process. wrapper, if given, is a command that runs it; its first word is a path.
func (srv *server) spawn(wrapper ...string) {
	srv.t.Helper()
	path := srv.writeCaddyfile("Caddyfile", srv.site)
	cmd := srv.command(context.Background(), "run", "--config", path, "--adapter", "caddyfile")
	if len(wrapper) > 0 {
		cmd.Args = append(wrapper, cmd.Args...)
		cmd.Path = wrapper[0]
	}
	cmd.Stdout, cmd.Stderr = srv.log, srv.log
	if err := cmd.Start(); err != nil {
		srv.t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() {
		cmd.Wait()
		close(exited)
	}()
	srv.cmd, srv.exited = cmd, exited
}

// running reports whether the process has not ended.
func (srv *server) running() bool {
	select {
	case <-srv.exited:
		return false
	default:
		return true
	}
}

// start starts the process and waits until it answers.
func (srv *server) start() {
	srv.t.Helper()
	srv.spawn()
	srv.waitUntil("it answers", func() error {
		if !srv.running() {
			srv.t.Fatalf("the server ended at once: %v\n%s", srv.cmd.ProcessState, srv.log.tail(40))
		}
		resp, err := http.Get("http://127.0.0.1:" + srv.admin + "/config/")
		if err != nil {
			return err
		}
		resp.Body.Close()
		// The admin endpoint listens before the apps do: the site must answer too.
		conn, err := net.DialTimeout("tcp", "127.0.0.1:"+srv.port, time.Second)
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

// stop ends the process like an init system: SIGTERM, and SIGKILL if that does not help.
func (srv *server) stop() {
	if srv.cmd == nil {
		return
	}
	srv.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-srv.exited:
	case <-time.After(patience):
		srv.t.Errorf("the server did not end within %v of SIGTERM", patience)
		srv.kill()
	}
	srv.cmd = nil
}

// checkLog looks for log lines that no request may cause: a panic, a data race, or an error of the
// module's own. (A client's mistake is not an error.)
func (srv *server) checkLog() {
	for line := range strings.Lines(srv.log.String()) {
		own := strings.Contains(line, `"logger":"http.handlers.oauth1`) || strings.Contains(line, `"logger":"oauth1`)
		if strings.Contains(line, "DATA RACE") || strings.Contains(line, "panic") || own &&
			strings.Contains(line, `"level":"error"`) {
			srv.t.Errorf("in the server's log: %s", line)
		}
	}
}

// kill ends the process with kill -9.
func (srv *server) kill() {
	srv.cmd.Process.Kill()
	<-srv.exited
	srv.client.CloseIdleConnections()
	srv.cmd = nil
}

// waitUntil calls attempt repeatedly until it returns no error.
func (srv *server) waitUntil(what string, attempt func() error) {
	srv.t.Helper()
	begun := time.Now()
	for {
		err := attempt()
		if err == nil {
			return
		}
		waited := time.Since(begun)
		if waited > patience {
			srv.t.Fatalf("waited %v until %s: %v\n%s", patience, what, err, srv.log.tail(40))
		}
		// What takes long is asked for rarely, so that asking takes no time from it.
		time.Sleep(20*time.Millisecond + min(waited/20, 500*time.Millisecond))
	}
}

// load gives the running server a new Caddyfile through its admin API.
func (srv *server) load(caddyfile string) error {
	status, body, err := 0, []byte(nil), error(nil)
	for attempt := 0; attempt == 0 || unanswered(err) && attempt <= mostResent; attempt++ {
		if status, body, err = srv.tryLoad(caddyfile); err == nil && status != http.StatusOK {
			return fmt.Errorf("load: %d: %s", status, body)
		}
	}
	srv.client.CloseIdleConnections() // they lead to the previous servers
	http.DefaultClient.CloseIdleConnections()
	return err
}

func (srv *server) tryLoad(caddyfile string) (status int, body []byte, err error) {
	req, err := http.NewRequest("POST", "http://127.0.0.1:"+srv.admin+"/load", strings.NewReader(caddyfile))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", "text/caddyfile")
	req.Header.Set("Cache-Control", "must-revalidate") // loads it even if it is the same
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, _ = io.ReadAll(resp.Body)
	return resp.StatusCode, body, nil
}

// origin is the scheme and authority of the site.
func (srv *server) origin() string { return "http://127.0.0.1:" + srv.port }

// A reply is a response, read to its end.
type reply struct {
	Status  int
	Header  http.Header
	Body    string
	Trailer http.Header
}

// is returns an error that names the difference from the expected reply. An empty body stands for
// any.
func (r reply) is(status int, body string) error {
	if r.Status != status || body != "" && strings.TrimSuffix(r.Body, "\n") != body {
		return fmt.Errorf("%d %q, want %d %q", r.Status, r.Body, status, body)
	}
	return nil
}

// do sends the request to the site and reads the answer.
func (srv *server) do(req *http.Request) (reply, error) {
	resp, err := srv.client.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Header, string(body), resp.Trailer}, err
}

// request makes a request to the site. The path is sent exactly as given.
func (srv *server) request(method, uri string, body io.Reader) *http.Request {
	srv.t.Helper()
	req, err := http.NewRequest(method, srv.origin()+"/", body)
	if err != nil {
		srv.t.Fatal(err)
	}
	path, query, _ := strings.Cut(uri, "?")
	req.URL = &url.URL{Scheme: "http", Host: "127.0.0.1:" + srv.port, Opaque: path, RawQuery: query}
	if strings.HasPrefix(path, "//") { // net/url would read an authority there
		req.URL.Opaque = "//" + req.URL.Host + path
	}
	return req
}

// mostResent is how often a request may be sent again around a reload. A client may hold several
// idle connections that have ended, and notices that one by one.
const mostResent = 10

// unanswered reports whether a request ended with its connection, before a byte of an answer came.
//
// This happens around a reload, with the directive or without, at the site and at the admin
// endpoint. Caddy opens another socket on the same port (SO_REUSEPORT), and then has net/http shut
// down the old server. The kernel resets the connections that the old socket had not accepted
// (net.ipv4.tcp_migrate_req). The old server closes idle connections, and those whose request it
// begins to read, before any handler sees the request. So a request without an answer was not
// handled. If it is sent again it must be served as a new one, and its nonce must be unused.
func unanswered(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		err != nil && strings.Contains(err.Error(), "server closed idle connection")
}

// resend is do for a request around a reload. Without an answer it sends the request again, as all
// HTTP/1.1 clients do. It returns how often.
func (srv *server) resend(req *http.Request) (r reply, resent int, err error) {
	for r, err = srv.do(req); unanswered(err) && r.Status == 0 && resent < mostResent; resent++ {
		again := req.Clone(req.Context())
		if req.GetBody != nil {
			if again.Body, err = req.GetBody(); err != nil {
				return r, resent, err
			}
		}
		r, err = srv.do(again)
	}
	return r, resent, err
}

// mustDo is resend for a request that must get an answer.
func (srv *server) mustDo(t testing.TB, req *http.Request) reply {
	t.Helper()
	r, _, err := srv.resend(req)
	if err != nil {
		t.Fatalf("%s %s: %v", req.Method, req.URL, err)
	}
	return r
}

type object = map[string]any

// adminDo calls the admin API, and returns the status and the decoded answer.
func (srv *server) adminDo(method, path string, body any) (int, object, error) {
	var r io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return 0, nil, err
		}
		r = bytes.NewReader(text)
	}
	req, err := http.NewRequest(method, "http://127.0.0.1:"+srv.admin+path, r)
	if err != nil {
		return 0, nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, nil, err
	}
	var answer object
	if len(bytes.TrimSpace(text)) > 0 {
		if err := json.Unmarshal(text, &answer); err != nil {
			return resp.StatusCode, nil, fmt.Errorf("%s %s: not JSON: %w: %s", method, path, err, text)
		}
	}
	return resp.StatusCode, answer, nil
}

// mustAdmin is adminDo for a call that must succeed. Around a reload it repeats a call without an
// answer.
func (srv *server) mustAdmin(t testing.TB, method, path string, body any) object {
	t.Helper()
	status, answer, err := srv.adminDo(method, path, body)
	for resent := 0; unanswered(err) && status == 0 && resent < mostResent; resent++ {
		status, answer, err = srv.adminDo(method, path, body)
	}
	if err != nil {
		t.Fatalf("admin API: %s %s: %v", method, path, err)
	}
	if status/100 != 2 {
		t.Fatalf("admin API: %s %s: %d: %v", method, path, status, answer)
	}
	return answer
}

// review answers a request token through the admin API, and returns the server's reply.
func (srv *server) review(t testing.TB, requestToken, user, permission string, more object) object {
	t.Helper()
	body := object{"user": user, "permission": permission}
	maps.Copy(body, more)
	return srv.mustAdmin(t, "POST", "/oauth1/request-tokens/"+url.PathEscape(requestToken)+"/review", body)
}

// issue makes an access token through the admin API.
func (srv *server) issue(t testing.TB, consumer, user, permission string, more object) token {
	t.Helper()
	body := object{"consumer": consumer, "user": user, "permission": permission}
	maps.Copy(body, more)
	answer := srv.mustAdmin(t, "POST", "/oauth1/tokens", body)
	key, _ := answer["key"].(string)
	secret, _ := answer["secret"].(string)
	if key == "" || secret == "" {
		t.Fatalf("admin API: an issued token without key or secret: %v", answer)
	}
	return token{key, secret}
}

// A token is a key and its secret, of either kind.
type token struct{ Key, Secret string }

// parseToken reads the answer of an endpoint.
func parseToken(body string) (token, error) {
	v, err := url.ParseQuery(body)
	if err != nil {
		return token{}, err
	}
	tok := token{v.Get("oauth_token"), v.Get("oauth_token_secret")}
	if tok.Key == "" || tok.Secret == "" {
		return token{}, errors.New("no token: " + body)
	}
	return tok, nil
}

// freePort returns a port of 127.0.0.1 on which nothing listens. It is below the ports that systems
// assign by themselves (net.ipv4.ip_local_port_range), so that a killed server finds it free at its
// next start.
func freePort(t testing.TB) string {
	t.Helper()
	for range 1000 {
		port := strconv.Itoa(20_000 + rand.IntN(10_000))
		if _, given := givenPorts.LoadOrStore(port, true); given {
			continue
		}
		if l, err := net.Listen("tcp", "127.0.0.1:"+port); err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return ""
}

var givenPorts sync.Map

// A logBuffer keeps the server's log.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// tail returns the last n lines.
func (b *logBuffer) tail(n int) string {
	lines := slices.Collect(strings.Lines(b.String()))
	return strings.Join(lines[max(0, len(lines)-n):], "")
}
