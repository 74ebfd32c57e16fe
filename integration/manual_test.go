package integration

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// The commands of the manual, as a reader types them: each page's blocks of sh run one after another
// in a shell, with the real binary as caddy-oauth1. A block of text that follows is what the command
// must print; … stands for anything.

// A lesson is how the commands of a page are run.
type lesson struct {
	// begin prepares the folder, and starts what the page takes for granted.
	begin func(*reader)
	// instead are blocks, by their first line, that a test can't run as they stand: they need a
	// terminal, a browser or an hour.
	instead map[string]func(r *reader, block string)
	// end looks at what the commands did.
	end func(*reader)
}

var lessons = map[string]lesson{
	"README.md":           {begin: beginWithExample, instead: insteadInReadme, end: endOfReadme},
	"docs/quickstart.md":  {begin: beginQuickStart, instead: insteadInQuickStart, end: endOfQuickStart},
	"docs/policies.md":    {begin: beginPolicies},
	"docs/protocol.md":    {begin: beginProtocol},
	"docs/operating.md":   {begin: beginOperating, end: endOfOperating},
	"docs/migration.md":   {begin: beginMigration, end: endOfMigration},
	"docs/performance.md": {instead: insteadOfMeasuring},
	"SECURITY.md":         {instead: map[string]func(*reader, string){badDays: (*reader).isKnown}},
}

// TestManual runs the commands of every page.
func TestManual(t *testing.T) {
	requireProgram(t, "bash")
	requireProgram(t, "curl")
	paths, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range append(paths, "../README.md", "../SECURITY.md") {
		page := strings.TrimPrefix(path, "../")
		blocks := commandsOf(t, path)
		if len(blocks) == 0 {
			continue
		}
		t.Run(page, func(t *testing.T) {
			l, ok := lessons[page]
			if !ok {
				t.Fatal("nothing runs the commands of this page")
			}
			r := newReader(t)
			if l.begin != nil {
				l.begin(r)
			}
			tried := 0
			for _, b := range blocks {
				first, _, _ := strings.Cut(b.commands, "\n")
				if instead := l.instead[first]; instead != nil {
					tried++
					instead(r, b.commands)
					continue
				}
				r.try(b)
			}
			if tried != len(l.instead) {
				t.Errorf("%d of %d blocks are on the page that a test can't run", tried, len(l.instead))
			}
			if l.end != nil && !t.Failed() {
				l.end(r)
			}
		})
	}
	for page := range lessons {
		if !slices.Contains(paths, "../"+page) && strings.HasPrefix(page, "docs/") {
			t.Errorf("there is no %s", page)
		}
	}
}

// A manualBlock is a block of commands, and what they print; nothing where the page does not say.
type manualBlock struct{ commands, prints string }

func commandsOf(t *testing.T, path string) []manualBlock {
	t.Helper()
	var blocks []manualBlock
	after := ""
	for _, b := range fences(t, path) {
		switch {
		case b.language == "sh":
			blocks = append(blocks, manualBlock{commands: b.text})
		case b.language == "text" && after == "sh" && b.follows:
			blocks[len(blocks)-1].prints = b.text
		}
		after = b.language
	}
	return blocks
}

// A fence is a fenced code block; follows says that nothing stands between it and the one before.
type fence struct {
	language, text string
	follows        bool
}

func fences(t *testing.T, path string) []fence {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?ms)^```(\\w+)\n(.*?)^```$")
	var found []fence
	last := 0
	for _, at := range block.FindAllSubmatchIndex(text, -1) {
		found = append(found, fence{
			language: string(text[at[2]:at[3]]), text: string(text[at[4]:at[5]]),
			follows: len(bytes.TrimSpace(text[last:at[0]])) == 0,
		})
		last = at[1]
	}
	return found
}

// A reader is somebody with a shell, who does what the manual says.
type reader struct {
	*testing.T
	dir   string
	admin string
	ports map[string]string // of the manual's addresses
	// places are the manual's words for what is elsewhere in a test.
	places []string
	up     *upstream
	server *exec.Cmd
	log    *os.File
	stdin  string
}

func newReader(t *testing.T) *reader {
	t.Helper()
	r := &reader{T: t, dir: t.TempDir(), admin: freePort(t), ports: make(map[string]string)}
	for _, address := range []string{"localhost:8080", "127.0.0.1:8081", "api.example.com"} {
		r.ports[address] = freePort(t)
	}
	for _, name := range []string{"bin", "run", "lib", "backups"} {
		if err := os.Mkdir(filepath.Join(r.dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(requireBinary(t), filepath.Join(r.dir, "bin", "caddy-oauth1")); err != nil {
		t.Fatal(err)
	}
	r.write(".curlrc", "silent\nshow-error\n")
	r.places = []string{
		"go run ./cmd/caddy-oauth1", "caddy-oauth1",
		"localhost:8080", "localhost:" + r.ports["localhost:8080"],
		"127.0.0.1:8081", "127.0.0.1:" + r.ports["127.0.0.1:8081"],
		"http://:8081", "http://:" + r.ports["127.0.0.1:8081"],
		"localhost:2019", "localhost:" + r.admin,
		"curl https://api.example.com", "curl http://127.0.0.1:" + r.ports["api.example.com"],
		"/var/lib/caddy", r.dir + "/lib", "/var/backups", r.dir + "/backups", "/run/secrets", r.dir + "/run",
	}
	t.Cleanup(func() {
		r.stop()
		if t.Failed() && r.log != nil {
			text, _ := os.ReadFile(r.log.Name())
			t.Logf("the server's log:\n%s", text)
		}
	})
	return r
}

func (r *reader) write(name, text string) {
	r.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, name), []byte(text), 0o600); err != nil {
		r.Fatal(err)
	}
}

// here puts the test's addresses and folders in the place of the manual's.
func (r *reader) here(text string) string { return strings.NewReplacer(r.places...).Replace(text) }

// shell is bash in the reader's folder, until the context ends.
func (r *reader) shell(ctx context.Context, commands string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "bash", "-c", commands)
	cmd.Dir = r.dir
	cmd.Env = append(os.Environ(), "PATH="+r.dir+"/bin:"+os.Getenv("PATH"), "HOME="+r.dir,
		"XDG_DATA_HOME="+r.dir+"/data", "XDG_CONFIG_HOME="+r.dir+"/config", "CADDY_ADMIN=localhost:"+r.admin)
	cmd.Stdin = strings.NewReader(r.stdin)
	return cmd
}

// try runs a block, and starts a server where it ends with one.
func (r *reader) try(b manualBlock) {
	r.Helper()
	commands := strings.TrimSuffix(r.here(b.commands), "\n")
	i := strings.LastIndex(commands, "\n") + 1
	if words := strings.Fields(commands[i:]); len(words) > 1 && words[0] == "caddy-oauth1" && words[1] == "run" {
		r.run(commands[:i])
		r.start(commands[i:])
		return
	}
	got := r.run(commands)
	if b.prints == "" {
		return
	}
	pattern := strings.ReplaceAll(regexp.QuoteMeta(tidy(r.here(b.prints))), "…", ".*")
	if !regexp.MustCompile(`(?s)^` + pattern + `$`).MatchString(tidy(got)) {
		r.Errorf("%sprinted\n%s\nwant\n%s", b.commands, got, b.prints)
	}
}

// tidy drops blanks at the ends of lines, and the log lines of Caddy's own.
func tidy(text string) string {
	return strings.TrimSpace(regexp.MustCompile(`(?m)^\{"level":.*\n|[ \t\r]+$`).ReplaceAllString(text, ""))
}

// run runs commands that must succeed, and returns what they print. Variables last from block to
// block, as in the reader's terminal.
func (r *reader) run(commands string) string {
	r.Helper()
	if strings.TrimSpace(commands) == "" {
		return ""
	}
	const variables = "set -euo pipefail\ntouch .variables\n. ./.variables\n" +
		"trap 'for v in answer header KEY SECRET VERIFIER; do [[ -v $v ]] && declare -p $v; done > .variables' EXIT\n"
	// A file: a pipe would stay open as long as what `caddy-oauth1 start` leaves behind.
	out, err := os.CreateTemp(r.dir, "out")
	if err != nil {
		r.Fatal(err)
	}
	defer out.Close()
	cmd := r.shell(r.Context(), variables+commands)
	cmd.Stdout, cmd.Stderr = out, out
	failed := cmd.Run()
	text, err := os.ReadFile(out.Name())
	if err != nil {
		r.Fatal(err)
	}
	if failed != nil {
		r.Fatalf("%v:\n%s\n%s", failed, commands, text)
	}
	return string(text)
}

// start runs a server, and waits until it answers.
func (r *reader) start(command string) {
	r.Helper()
	r.stop()
	log, err := os.CreateTemp(r.dir, "log")
	if err != nil {
		r.Fatal(err)
	}
	r.log = log
	cmd := r.shell(context.Background(), "exec "+command) // stop ends it
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		r.Fatal(err)
	}
	r.server = cmd
	r.waitFor(r.admin)
	r.run("caddy-oauth1 oauth1 health")
}

func (r *reader) waitFor(port string) {
	r.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.Dial("tcp", "localhost:"+port)
		if err == nil {
			conn.Close()
			return
		}
		if time.Now().After(deadline) {
			r.Fatalf("nothing answers at port %s: %v", port, err)
		}
	}
}

// stop ends the server, and one that `caddy-oauth1 start` left behind.
func (r *reader) stop() {
	if r.server == nil {
		return
	}
	cmd := exec.Command(filepath.Join(r.dir, "bin", "caddy-oauth1"), "stop", "--address", "localhost:"+r.admin)
	if out, err := cmd.CombinedOutput(); err != nil {
		r.Errorf("%v\n%s", err, out)
		r.server.Process.Kill()
	}
	r.server.Wait()
	r.server = nil
}

// site writes the README's Caddyfile, for an API of the test's own.
func (r *reader) site() {
	r.Helper()
	r.up = newUpstream(r.T)
	hash := strings.TrimSpace(r.shellOutput("echo secret | caddy-oauth1 hash-password"))
	for _, b := range fences(r.T, "../README.md") {
		if b.language == "caddyfile" {
			r.write("Caddyfile", strings.NewReplacer(
				"api.example.com", "http://127.0.0.1:"+r.ports["api.example.com"],
				"localhost:9000", strings.TrimPrefix(r.up.URL, "http://"), "$2a$14$...", hash,
			).Replace(b.text))
			return
		}
	}
	r.Fatal("README.md has no Caddyfile")
}

func (r *reader) shellOutput(commands string) string {
	r.Helper()
	out, err := r.shell(r.Context(), commands).Output()
	if err != nil {
		r.Fatalf("%s: %v", commands, err)
	}
	return string(out)
}

// signed sends a signed request to the reader's site, and returns the user whom the API saw.
func (r *reader) signed(consumer, secret, key, keySecret string) string {
	r.Helper()
	r.up.take()
	url := "http://127.0.0.1:" + r.ports["api.example.com"] + "/photos"
	r.run(fmt.Sprintf(`curl --fail %s -H "$(printf '%%s\n' '%s' '%s' |
		caddy-oauth1 oauth1 sign GET %s --consumer '%s' --token '%s')"`, url, secret, keySecret, url, consumer, key))
	return r.up.last(r.T).Header.Get("X-OAuth-User")
}

// isKnown is for commands that take too long: each file, package, flag and variable that they name
// is there.
func (r *reader) isKnown(block string) {
	r.Helper()
	for _, path := range regexp.MustCompile(`\./[\w/-]+`).FindAllString(block, -1) {
		if _, err := os.Stat(filepath.Join("..", path)); err != nil {
			r.Errorf("%s: %v", block, err)
		}
	}
	for _, name := range regexp.MustCompile(`[A-Z]+_[A-Z]+`).FindAllString(block, -1) {
		if out, err := exec.Command("grep", "-rl", `os.Getenv("`+name+`")`, ".").CombinedOutput(); err != nil {
			r.Errorf("nothing reads %s: %v %s", name, err, out)
		}
	}
}

// isInCI is for commands that build and test all of this: .ci/run has them.
func (r *reader) isInCI(block string) {
	r.Helper()
	script, err := os.ReadFile("../.ci/run")
	if err != nil {
		r.Fatal(err)
	}
	for _, want := range regexp.MustCompile(`go test .*|--with \S+`).FindAllString(block, -1) {
		if !strings.Contains(string(script), want) {
			r.Errorf(".ci/run has no %s", want)
		}
	}
}

const (
	wholeTest = "go test -race -timeout 30m ./..."
	goBuild   = "go build ./cmd/caddy-oauth1"
	badDays   = "BADDAY_ROUNDS=20 BADDAY_LARGE=1 go test -v -timeout 1h -run BadDay ./integration"
)

func beginWithExample(r *reader) {
	example, err := os.ReadFile("../Caddyfile.example")
	if err != nil {
		r.Fatal(err)
	}
	r.write("Caddyfile.example", r.here(string(example)))
}

var insteadInReadme = map[string]func(*reader, string){
	// The harness has built it in the same way. The reader's next step is the site.
	goBuild: func(r *reader, block string) {
		r.stop()
		r.site()
		r.start("caddy-oauth1 run")
	},
	wholeTest: (*reader).isInCI,
}

func endOfReadme(r *reader) {
	secret := field(r.T, r.run("caddy-oauth1 oauth1 consumer rotate printer"), "Secret")
	issued := r.run("caddy-oauth1 oauth1 token issue --consumer printer --user salgado --permission READ_PUBLIC")
	if user := r.signed("printer", secret, field(r.T, issued, "Key"), field(r.T, issued, "Secret")); user != "salgado" {
		r.Errorf("the API saw %q", user)
	}
}

// field reads a line of what a command prints.
func field(t *testing.T, text, name string) string {
	t.Helper()
	match := regexp.MustCompile(`(?m)^` + name + `:\s+(\S+)$`).FindStringSubmatch(text)
	if match == nil {
		t.Fatalf("it has no %s:\n%s", name, text)
	}
	return match[1]
}

func beginQuickStart(r *reader) {
	beginWithExample(r)
	r.start("caddy-oauth1 run --config Caddyfile.example")
}

var insteadInQuickStart = map[string]func(*reader, string){
	"read -r VERIFIER": func(r *reader, block string) {
		r.stdin = r.approve(strings.TrimSpace(r.run(`echo "$KEY"`))) + "\n"
		r.run(block)
		r.stdin = ""
	},
	`GOPROXY="$(go env GOPROXY | cut -d, -f1)|file://$(go env GOMODCACHE)/cache/download" \`: (*reader).isInCI,
	"caddy-oauth1 hash-password": func(r *reader, block string) { // for the README's site
		r.stdin = "secret\n"
		if hash := r.run(block); !strings.HasPrefix(hash, "$2a$") {
			r.Errorf("%s: %q", block, hash)
		}
		r.stdin = ""
		r.run("caddy-oauth1 oauth1 consumer add printer")
		r.stop()
		r.site()
	},
}

// approve is the demo's user, who says yes at the page, and returns the verifier.
func (r *reader) approve(key string) string {
	r.Helper()
	origin := "http://" + r.here("localhost:8080")
	address := origin + "/+authorize-token?oauth_token=" + key
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
	ask := func(method, address, body string) (string, *http.Response) {
		req, err := http.NewRequest(method, address, strings.NewReader(body))
		if err != nil {
			r.Fatal(err)
		}
		req.SetBasicAuth("demo", "demo")
		req.Header.Set("Content-Type", formType)
		req.Header.Set("Origin", origin)
		resp, err := client.Do(req)
		if err != nil {
			r.Fatal(err)
		}
		defer resp.Body.Close()
		var b bytes.Buffer
		if _, err := b.ReadFrom(resp.Body); err != nil {
			r.Fatal(err)
		}
		return b.String(), resp
	}
	page, _ := ask("GET", address, "")
	answer, resp := ask("POST", address, fillIn(page, "READ_PUBLIC").Encode())
	next, err := resp.Location()
	if err != nil {
		r.Fatalf("%v: %s", err, answer)
	}
	last, _ := ask("GET", next.String(), "")
	verifier := regexp.MustCompile(`id="verifier"[^>]*>([^<]+)<`).FindStringSubmatch(last)
	if verifier == nil {
		r.Fatalf("the last page has no verifier: %s", last)
	}
	return verifier[1]
}

func endOfQuickStart(r *reader) {
	if got := r.run("caddy-oauth1 oauth1 token list --user salgado"); !strings.Contains(got, "printer") {
		r.Errorf("the tokens: %s", got)
	}
}

func beginPolicies(r *reader) {
	for _, b := range fences(r.T, "../docs/policies.md") {
		if b.language == "caddyfile" {
			r.write("Caddyfile", "api.example.com {\n"+b.text+"reverse_proxy localhost:9000\n}\n")
			return
		}
	}
	r.Fatal("docs/policies.md has no policies")
}

func beginProtocol(r *reader) {
	r.site()
	r.start("caddy-oauth1 run")
}

func beginOperating(r *reader) {
	requireProgram(r.T, "openssl")
	r.site()
	text, err := os.ReadFile(filepath.Join(r.dir, "Caddyfile"))
	if err != nil {
		r.Fatal(err)
	}
	r.write("Caddyfile", r.here("{\n\toauth1 {\n\t\tstore badger /var/lib/caddy/oauth1\n"+
		"\t\tconsumer demo {\n\t\t\tsecret secret\n\t\t\ttwo_legged demo READ_PUBLIC\n\t\t}\n\t}\n}\n")+string(text))
	r.start("caddy-oauth1 run")
	address := "http://127.0.0.1:" + r.ports["api.example.com"] + "/"
	r.run(`curl --fail ` + address + ` -H "$(echo secret | caddy-oauth1 oauth1 sign GET ` + address + ` --consumer demo)"`)
}

func endOfOperating(r *reader) {
	r.run("caddy-oauth1 oauth1 consumer show printer")
	r.run("test -d backups/oauth1 && test -s run/oauth1.key")
}

func beginMigration(r *reader) {
	r.site()
	r.start("caddy-oauth1 run")
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		r.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		r.Fatal(err)
	}
	r.write("ci-bot.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})))
	r.write("old-app.secret", "oldsecret\n")
	r.write("tokens.tsv", "oldkey\toldtokensecret\told-app\tsalgado\tREAD_PUBLIC\n"+
		"other\tothersecret\told-app\tana\tWRITE_PUBLIC") // without a line end, as editors leave it
}

func endOfMigration(r *reader) {
	for _, c := range []struct{ key, secret, user string }{
		{"oldkey", "oldtokensecret", "salgado"}, {"other", "othersecret", "ana"},
	} {
		if user := r.signed("old-app", "oldsecret", c.key, c.secret); user != c.user {
			r.Errorf("the API saw %q, want %q", user, c.user)
		}
	}
}

var insteadOfMeasuring = map[string]func(*reader, string){
	"go run ./integration/bench":          (*reader).isABenchmark,
	"go run ./integration/bench -growth":  (*reader).isABenchmark,
	"go run ./integration/bench -flows":   (*reader).isABenchmark,
	"go run ./integration/bench -reclaim": (*reader).isABenchmark,
	"go test -run '^$' -bench . ./caddymodule ./caddymodule/oauth1 ./tokenstore/badgerstore": func(
		r *reader, block string,
	) {
		r.isKnown(block)
		for _, folder := range regexp.MustCompile(`\./[\w/]+`).FindAllString(block, -1) {
			files, err := filepath.Glob(filepath.Join("..", folder, "*_test.go"))
			if err != nil {
				r.Fatal(err)
			}
			if !slices.ContainsFunc(files, func(file string) bool {
				text, err := os.ReadFile(file)
				return err == nil && bytes.Contains(text, []byte("\nfunc Benchmark"))
			}) {
				r.Errorf("%s has no benchmark", folder)
			}
		}
	},
}

// benchmarkHelp is what the benchmark says of its flags.
var benchmarkHelp = sync.OnceValue(func() string {
	help, _ := exec.Command("go", "run", "./bench", "-h").CombinedOutput()
	return string(help)
})

// isABenchmark looks for the flag of a benchmark that takes too long.
func (r *reader) isABenchmark(block string) {
	r.Helper()
	_, name, hasFlag := strings.Cut(strings.TrimSpace(block), " -")
	help := benchmarkHelp()
	if !strings.Contains(help, "Usage") || hasFlag && !strings.Contains(help, "  -"+name+"\n") {
		r.Errorf("%s: the benchmark has no such flag:\n%s", block, help)
	}
}

// TestTheManualsLogFilter: the filter that the tests for leaks use is the manual's.
func TestTheManualsLogFilter(t *testing.T) {
	for _, b := range fences(t, "../docs/operating.md") {
		if b.language == "caddyfile" && strings.TrimSpace(b.text) == accessLog {
			return
		}
	}
	t.Errorf("docs/operating.md has no\n%s", accessLog)
}
