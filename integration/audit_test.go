package integration

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// strictTrail writes the trail to a file of its own, and countedTrail to a log of Caddy's.
const (
	strictTrail  = "audit strict {\n\tfile {{.Dir}}/audit.log\n}"
	countedTrail = "log audit {\n\tinclude oauth1.audit\n\toutput file {{.Dir}}/audit.log\n}\nlog default {\n\texclude oauth1.audit\n}"
)

// verifyTrail runs `oauth1 audit verify` with files that hold the lines, and returns its exit code.
func (srv *server) verifyTrail(t *testing.T, files [][]byte, args ...string) (int, string) {
	t.Helper()
	dir := t.TempDir()
	args = append([]string{"audit", "verify"}, args...)
	for i, text := range files {
		name := filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, name)
	}
	return srv.oauth1(t, "", args...)
}

// online are the arguments of a command that asks the running server.
func (srv *server) online() []string { return []string{"--address", "127.0.0.1:" + srv.admin} }

// readAll reads files of the server.
func (srv *server) readAll(t *testing.T, names ...string) (files [][]byte) {
	t.Helper()
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(srv.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, text)
	}
	return files
}

// awaitHead waits until the store knows the last line of a trail: it is told within a second.
func (srv *server) awaitHead(t *testing.T, trail []byte) {
	t.Helper()
	lines := bytes.Split(bytes.TrimSpace(trail), []byte("\n"))
	var last struct {
		Chain string
		Seq   float64
	}
	if err := json.Unmarshal(lines[len(lines)-1], &last); err != nil || last.Seq == 0 {
		t.Fatalf("the last line %q: %v", lines[len(lines)-1], err)
	}
	srv.waitUntil("the store knows the end of the trail", func() error {
		heads, _ := srv.mustAdmin(t, "GET", "/oauth1/audit", nil)["heads"].([]any)
		for _, head := range heads {
			if head, _ := head.(map[string]any); head["chain"] == last.Chain && head["seq"] == last.Seq {
				return nil
			}
		}
		return fmt.Errorf("seq %v of %s is not among %v", last.Seq, last.Chain, heads)
	})
}

// changeSomething makes four changes, each of which is a line of a counted trail.
func (srv *server) changeSomething(t *testing.T, round int) {
	t.Helper()
	key := fmt.Sprint("app-", round)
	srv.mustAdmin(t, "POST", "/oauth1/consumers", object{"key": key, "secret": "canary"})
	tok := srv.issue(t, key, "salgado", "READ_PUBLIC", nil)
	srv.mustAdmin(t, "PATCH", "/oauth1/consumers/"+key, object{"name": fmt.Sprint("Round ", round)})
	srv.mustAdmin(t, "DELETE", "/oauth1/tokens/"+tok.Key, nil)
}

// TestAuditTrail: over a rotation, reloads, a kill -9 and a clean restart the trail is whole, and
// whatever is done to its lines is found.
func TestAuditTrail(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]site{
		"strict":  {App: demoApp + strictTrail},
		"counted": {App: demoApp, Global: countedTrail},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s.Store = "store badger {\n\tpath {{.Dir}}/store\n}"
			srv := startServer(t, s, "http://127.0.0.1:1")
			names := []string{"audit.log"}
			srv.changeSomething(t, 0)
			if name == "strict" {
				if err := os.Rename(filepath.Join(srv.dir, "audit.log"), filepath.Join(srv.dir, "audit.log.1")); err != nil {
					t.Fatal(err)
				}
				names = []string{"audit.log.1", "audit.log"}
			}
			srv.changeSomething(t, 1)
			for i := range 3 {
				other := s
				other.App += fmt.Sprintf("\naccess_token_lifetime %dh", 100+i)
				if err := srv.load(srv.caddyfile(other)); err != nil {
					t.Fatal(err)
				}
				srv.changeSomething(t, 2+i)
			}
			srv.awaitHead(t, slices.Concat(srv.readAll(t, names...)...))
			srv.kill()
			srv.start()
			srv.changeSomething(t, 5)
			srv.stop()
			srv.start()
			srv.changeSomething(t, 6)
			files := srv.readAll(t, names...)
			srv.awaitHead(t, slices.Concat(files...))
			files = srv.readAll(t, names...)

			if code, out := srv.verifyTrail(t, files, srv.online()...); code != 0 || !strings.Contains(out, "Chains:  3") {
				t.Errorf("a whole trail: %d\n%s", code, out)
			}
			if text := slices.Concat(files...); bytes.Contains(text, []byte("canary")) {
				t.Errorf("a secret in the trail: %s", text)
			}
			if len(files) > 1 {
				if code, out := srv.verifyTrail(t, files[1:], srv.online()...); code != 1 || !strings.Contains(out, "missing") {
					t.Errorf("without the first file: %d\n%s", code, out)
				}
				if code, out := srv.verifyTrail(t, files[1:], append(srv.online(), "--part")...); code != 0 {
					t.Errorf("a part: %d\n%s", code, out)
				}
			}
			tampered := tamperings(slices.Collect(bytes.Lines(slices.Concat(files...))))
			for _, what := range slices.Sorted(maps.Keys(tampered)) {
				lines := tampered[what]
				if code, out := srv.verifyTrail(t, [][]byte{bytes.Join(lines, nil)}, srv.online()...); code != 1 || !strings.Contains(out, "the audit trail is not whole") {
					t.Errorf("%s: %d\n%s", what, code, out)
				}
			}
			srv.stop()
			files = srv.readAll(t, names...)
			config := srv.writeCaddyfile("offline.caddyfile", s)
			if code, out := srv.verifyTrail(t, files, "--offline", "--config", config); code != 0 {
				t.Errorf("offline: %d\n%s", code, out)
			}
			files[len(files)-1] = cutLastLine(files[len(files)-1])
			if code, out := srv.verifyTrail(t, files, "--offline", "--config", config); code != 1 || !strings.Contains(out, "missing at its end") {
				t.Errorf("offline, without the last line: %d\n%s", code, out)
			}
		})
	}
}

// TestAuditTrailThatMoves: reloads let the trail go to another file, and back to the first one.
func TestAuditTrailThatMoves(t *testing.T) {
	t.Parallel()
	to := func(file string) site {
		return site{App: demoApp + "audit strict {\n\tfile {{.Dir}}/" + file + "\n}", Store: "store badger {\n\tpath {{.Dir}}/store\n}"}
	}
	srv := startServer(t, to("a.log"), "http://127.0.0.1:1")
	srv.changeSomething(t, 0)
	for i, file := range []string{"b.log", "a.log", "b.log"} {
		if err := srv.load(srv.caddyfile(to(file))); err != nil {
			t.Fatal(err)
		}
		srv.changeSomething(t, 1+i)
	}
	files := srv.readAll(t, "a.log", "b.log")
	srv.awaitHead(t, files[1])
	config := srv.writeCaddyfile("offline.caddyfile", to("a.log"))
	both := func(args ...string) {
		t.Helper()
		for range 2 {
			if code, out := srv.verifyTrail(t, files, args...); code != 0 || !strings.Contains(out, "Chains:  1") {
				t.Errorf("both files: %d\n%s", code, out)
			}
			slices.Reverse(files)
		}
	}
	both(srv.online()...)
	if code, out := srv.verifyTrail(t, files[:1], srv.online()...); code != 1 || !strings.Contains(out, "missing") {
		t.Errorf("one file: %d\n%s", code, out)
	}
	long := slices.Concat(files[0], bytes.Repeat([]byte("x"), 5<<20), []byte("\n"))
	if code, out := srv.verifyTrail(t, [][]byte{long, files[1]}, srv.online()...); code != 1 ||
		!strings.Contains(out, fmt.Sprintf("0:%d: the line is longer", 1+bytes.Count(files[0], []byte("\n")))) {
		t.Errorf("with a line of 5 MiB: %d\n%s", code, out)
	}
	srv.stop()
	both("--offline", "--config", config)
}

// tamperings are what somebody may do to the lines of a trail.
func tamperings(lines [][]byte) map[string][][]byte {
	middle, last := len(lines)/2, len(lines)-1
	swapped, changed := slices.Clone(lines), slices.Clone(lines)
	swapped[middle], swapped[middle+1] = lines[middle+1], lines[middle]
	changed[middle] = bytes.Replace(lines[middle], []byte(`"outcome":"`), []byte(`"outcome":"x`), 1)
	return map[string][][]byte{
		"a line is removed":          slices.Delete(slices.Clone(lines), middle, middle+1),
		"the last line is removed":   lines[:last],
		"the last line is cut short": append(slices.Clone(lines[:last]), lines[last][:len(lines[last])/2]),
		"two lines are swapped":      swapped,
		"a line is changed":          changed,
		"a line is there twice":      slices.Insert(slices.Clone(lines), middle, lines[middle]),
	}
}

func cutLastLine(text []byte) []byte {
	return text[:1+bytes.LastIndexByte(bytes.TrimSuffix(text, []byte("\n")), '\n')]
}

// TestAuditTrailsOfSidecars: two processes on one Redis have a chain each. Both are verified
// together, in any order of the files.
func TestAuditTrailsOfSidecars(t *testing.T) {
	f := startFleet(t, 2, demoApp+strictTrail)
	first, second := f.sidecars[0], f.sidecars[1]
	for i, srv := range f.sidecars {
		srv.changeSomething(t, i)
		srv.awaitHead(t, srv.readAll(t, "audit.log")[0])
	}
	one, other := first.readAll(t, "audit.log")[0], second.readAll(t, "audit.log")[0]
	for name, c := range map[string]struct {
		files [][]byte
		args  []string
		code  int
	}{
		"both":                            {[][]byte{one, other}, nil, 0},
		"both, the other way round":       {[][]byte{other, one}, nil, 0},
		"the first alone":                 {[][]byte{one}, nil, 1},
		"the second alone, as a part":     {[][]byte{other}, []string{"--part"}, 0},
		"the first without its last line": {[][]byte{cutLastLine(one), other}, nil, 1},
	} {
		for _, srv := range f.sidecars {
			if code, out := srv.verifyTrail(t, c.files, append(srv.online(), c.args...)...); code != c.code {
				t.Errorf("%s: %d\n%s", name, code, out)
			}
		}
	}
}

// wantTold checks that the server's log has an event of the audit trail, in a line with the texts.
func (srv *server) wantTold(t *testing.T, event string, with ...string) {
	t.Helper()
	srv.waitUntil("the trail tells "+event, func() error {
		for line := range strings.Lines(srv.log.String()) {
			if strings.Contains(line, `"event":"`+event+`"`) &&
				!slices.ContainsFunc(with, func(text string) bool { return !strings.Contains(line, text) }) {
				return nil
			}
		}
		return errors.New("it does not")
	})
}

// TestALoadThatFailsIsNotTold: a configuration whose apps did not all start is not in the trail, in
// whatever order they were started, and what the next one tells differs from the one that is served.
func TestALoadThatFailsIsNotTold(t *testing.T) {
	t.Parallel()
	with := func(name string) site {
		return site{App: demoApp + strictTrail + "\nconsumer other {\n\tsecret s\n\tname " + name + "\n}",
			Store: "store badger {\n\tpath {{.Dir}}/store\n}"}
	}
	srv := startServer(t, with("first"), "http://127.0.0.1:1")
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for i := range 6 { // Caddy starts the apps in no fixed order
		config := srv.caddyfile(with(fmt.Sprint("failed-", i))) + "\nhttp://" + taken.Addr().String() + " {\n\tbind 127.0.0.1\n}\n"
		if err := srv.load(config); err == nil {
			t.Fatal("the configuration was loaded")
		}
	}
	srv.changeSomething(t, 0)
	if err := srv.load(srv.caddyfile(with("second"))); err != nil {
		t.Fatal(err)
	}
	srv.changeSomething(t, 1)
	text := srv.readAll(t, "audit.log")[0]
	if n := bytes.Count(text, []byte(`"event":"configuration.loaded"`)); n != 2 {
		t.Errorf("configuration.loaded is told %d times, want 2:\n%s", n, text)
	}
	if !bytes.Contains(text, []byte(`"from":"first","to":"second"`)) || bytes.Contains(text, []byte("failed-")) {
		t.Errorf("the changes of the second configuration:\n%s", text)
	}
	srv.awaitHead(t, text)
	if code, out := srv.verifyTrail(t, [][]byte{text}, srv.online()...); code != 0 {
		t.Errorf("verify: %d\n%s", code, out)
	}
}
