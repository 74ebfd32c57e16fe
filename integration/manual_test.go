package integration

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// The commands of the manual, as a reader types them. The sh blocks of each page run one after
// another in a shell, with the real binary as caddy-oauth1. A text block that follows is the
// expected output; … stands for any text.

// A lesson is how the commands of a page are run.
type lesson struct {
	// begin prepares the folder, and starts the programs that the page expects.
	begin func(*reader)
	// instead has, by their first line, the blocks that a test can't run unchanged: they need a
	// terminal, a browser or an hour.
	instead map[string]func(r *reader, block string)
	// end checks the results of the commands.
	end func(*reader)
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

// A manualBlock is a block of commands, and their output; prints is empty if the page has no
// output.
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

// A fence is a fenced code block. follows says that it comes directly after the previous one.
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

// A reader has a shell, and follows the manual.
type reader struct {
	*testing.T
	dir   string
	admin string
	ports map[string]string // of the manual's addresses
	// places pairs words of the manual with those of the test.
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

// here replaces the manual's addresses and folders with the test's.
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

// try runs a block, and starts a server if the block ends with one.
func (r *reader) try(b manualBlock) {
	r.Helper()
	commands := strings.TrimSuffix(r.here(b.commands), "\n")
	i := strings.LastIndex(commands, "\n") + 1
	if strings.HasPrefix(commands[i:]+" ", "caddy-oauth1 run ") {
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

// tidy drops blanks at the ends of lines, and Caddy's own log lines.
func tidy(text string) string {
	return strings.TrimSpace(regexp.MustCompile(`(?m)^\{"level":.*\n|[ \t\r]+$`).ReplaceAllString(text, ""))
}

// run runs commands that must succeed, and returns their output. Variables keep their values from
// block to block, as in the reader's terminal.
func (r *reader) run(commands string) string {
	r.Helper()
	if strings.TrimSpace(commands) == "" {
		return ""
	}
	const variables = `set -euo pipefail
touch .variables
. ./.variables
keep() {
	for v in answer header KEY SECRET VERIFIER; do
		if [[ -v $v ]]; then declare -p "$v"; fi
	done > .variables
}
trap keep EXIT
`
	// The output goes to a file: a pipe would stay open as long as the process that `caddy-oauth1
	// start` leaves behind.
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

// stop ends the server, and a server that `caddy-oauth1 start` left behind.
func (r *reader) stop() {
	if r.server == nil {
		return
	}
	program := filepath.Join(r.dir, "bin", "caddy-oauth1")
	cmd := exec.Command(program, "stop", "--address", "localhost:"+r.admin)
	if out, err := cmd.CombinedOutput(); err != nil {
		r.Errorf("%v\n%s", err, out)
		r.server.Process.Kill()
	}
	r.server.Wait()
	r.server = nil
}

func (r *reader) shellOutput(commands string) string {
	r.Helper()
	out, err := r.shell(r.Context(), commands).Output()
	if err != nil {
		r.Fatalf("%s: %v", commands, err)
	}
	return string(out)
}

// TestTheManualsLogFilter: the tests for leaks use the same filter as the manual.
func TestTheManualsLogFilter(t *testing.T) {
	for _, b := range fences(t, "../docs/operating.md") {
		if b.language == "caddyfile" && strings.TrimSpace(b.text) == accessLog {
			return
		}
	}
	t.Errorf("docs/operating.md has no\n%s", accessLog)
}
