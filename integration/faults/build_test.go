package faults

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// A mutation is a change of the sources that a binary is built with, by the compiler's -overlay. So
// no production code knows of it.
type mutation struct {
	file     string // below the module's root
	old, new string // a text that must be there once, and what stands there instead
}

// now matches a call of the clock, and the clock as a value.
var now = regexp.MustCompile(`time\.Now(\(\))?`)

// clock puts another clock in place of time.Now, in the handler and in the store. The expression
// tells its time.
func clock(t testing.TB, expression string) (mutations []mutation) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(moduleRoot, "tokenstore/redisstore/*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(files, filepath.Join(moduleRoot, "caddymodule/app.go")) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		changed := now.ReplaceAllStringFunc(string(text), func(found string) string {
			if strings.HasSuffix(found, "()") {
				return expression
			}
			return "func() time.Time { return " + expression + " }"
		})
		if changed != string(text) && !strings.HasSuffix(file, "_test.go") {
			name, err := filepath.Rel(moduleRoot, file)
			if err != nil {
				t.Fatal(err)
			}
			mutations = append(mutations, mutation{file: name, old: string(text), new: changed})
		}
	}
	if len(mutations) < 2 {
		t.Fatal("the clocks are not where they were")
	}
	return mutations
}

// wrongClock is off by some seconds.
func wrongClock(t testing.TB, seconds int) []mutation {
	return clock(t, fmt.Sprintf("time.Now().Add(%d * time.Second)", seconds))
}

// fastClock runs faster, from a time on.
func fastClock(t testing.TB, from time.Time, speed int) []mutation {
	begin := fmt.Sprintf("time.Unix(%d, 0)", from.Unix())
	return clock(t, fmt.Sprintf("%s.Add(%d * time.Since(%s))", begin, speed, begin))
}

const moduleRoot = "../.."

// builds holds each variant of the binary once for all tests.
var builds struct {
	sync.Mutex
	paths map[string]string
	dir   string
}

// build returns the path of the binary, built from the sources with some changes.
func build(t testing.TB, mutations ...mutation) string {
	t.Helper()
	builds.Lock()
	defer builds.Unlock()
	name := fmt.Sprint(mutations)
	if path := builds.paths[name]; path != "" {
		return path
	}
	root, err := filepath.Abs(moduleRoot)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(builds.dir, fmt.Sprint(len(builds.paths)))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{}
	for _, m := range mutations {
		file := filepath.Join(root, m.file)
		text, seen := texts[file]
		if !seen {
			read, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			text = string(read)
		}
		if count := strings.Count(text, m.old); count != 1 {
			t.Fatalf("%s holds %d times %q: the mutation does not fit any more", m.file, count, m.old)
		}
		texts[file] = strings.Replace(text, m.old, m.new, 1)
	}
	replace := map[string]string{}
	for file, text := range texts {
		changed := filepath.Join(dir, fmt.Sprintf("%d-%s", len(replace), filepath.Base(file)))
		if err := os.WriteFile(changed, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		replace[file] = changed
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "caddy-oauth1")
	cmd := exec.Command("go", "build", "-overlay", filepath.Join(dir, "overlay.json"), "-o", path, "./cmd/caddy-oauth1")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%q: %v\n%s", cmd.Args, err, out)
	}
	if builds.paths == nil {
		builds.paths = map[string]string{}
	}
	builds.paths[name] = path
	return path
}
