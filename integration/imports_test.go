package integration

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	ownModule   = "github.com/caddy-oauth1/caddy-oauth1/"
	caddyModule = "github.com/caddyserver/caddy/v2"
)

// An importRule says what the files of a package, tests aside, may import.
type importRule struct {
	// own are the packages of this repository. One that ends with a slash stands for all below it.
	own []string
	// caddy are Caddy's packages: "." is its root, which knows no HTTP, and "..." all of them.
	caddy []string
	// onlyStandard forbids all other modules.
	onlyStandard bool
}

// importRules draw the layout: arrows point down only. The rule of a package that is not there yet
// waits for it; a package without a rule fails the test.
var importRules = map[string]importRule{
	"cmd/caddy-oauth1": {own: []string{"caddymodule"}, caddy: []string{"cmd", "modules/standard"}},

	// all that Caddy sees; nothing but the program imports it
	"caddymodule":          {own: []string{"caddymodule/", "tokenstore", "tokenstore/"}, caddy: []string{"..."}},
	"caddymodule/adminapi": {own: []string{"caddymodule/oauth1", "tokenstore"}, caddy: []string{"."}},
	"caddymodule/command": {
		own:   []string{"caddymodule/adminapi", "caddymodule/oauth1", "tokenstore"},
		caddy: []string{".", "cmd"},
	},
	"caddymodule/policy": {
		own:   []string{"caddymodule/oauth1", "caddymodule/refusal", "tokenstore"},
		caddy: []string{"..."},
	},
	"caddymodule/pages":   {},
	"caddymodule/refusal": {own: []string{"caddymodule/oauth1"}, onlyStandard: true},
	"caddymodule/oauth1":  {onlyStandard: true},

	"tokenstore":           {onlyStandard: true},
	"tokenstore/record":    {own: []string{"tokenstore"}, onlyStandard: true},
	"tokenstore/storetest": {own: []string{"tokenstore"}, onlyStandard: true},
	// a store knows Caddy for its registration as a guest module only
	"tokenstore/badgerstore": {
		own:   []string{"tokenstore", "tokenstore/record", "tokenstore/badgerstore/"},
		caddy: []string{".", "caddyconfig/caddyfile"},
	},
	"tokenstore/badgerstore/noncelog": {
		own: []string{"tokenstore", "tokenstore/record", "tokenstore/badgerstore/internal/"},
	},
	"tokenstore/badgerstore/internal/batch": {onlyStandard: true},
	"tokenstore/badgerstore/internal/disk":  {},
	"tokenstore/redisstore": {
		own:   []string{"tokenstore", "tokenstore/record"},
		caddy: []string{".", "caddyconfig/caddyfile"},
	},
	// servers for the tests
	"tokenstore/redisstore/redislab": {onlyStandard: true},

	// the tests drive the program from outside; the benchmark fills a store by itself
	"integration":        {},
	"integration/faults": {},
	"integration/bench":  {own: []string{"caddymodule/", "tokenstore", "tokenstore/"}},
}

// TestImports: each package imports what its rule allows.
func TestImports(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, ownModule+"...").Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		name := strings.TrimPrefix(fields[0], ownModule)
		rule, ok := importRules[name]
		if !ok {
			t.Errorf("%s has no rule", name)
			continue
		}
		seen++
		for _, imported := range fields[1:] {
			if !rule.allows(imported) {
				t.Errorf("%s imports %s", name, imported)
			}
		}
	}
	if seen < 10 {
		t.Errorf("saw %d packages only:\n%s", seen, out)
	}
}

// TestPackagesHaveMaps: the doc.go of each package below caddymodule names each of its files.
func TestPackagesHaveMaps(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "list", "-f", `{{.Dir}} {{join .GoFiles " "}}`,
		ownModule+"caddymodule/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		text, err := os.ReadFile(filepath.Join(fields[0], "doc.go"))
		if err != nil {
			t.Error(err)
			continue
		}
		for _, file := range fields[1:] {
			named := regexp.MustCompile(`(?m)^//(.*\W)?` + regexp.QuoteMeta(file) + `\b`)
			if file != "doc.go" && !named.Match(text) {
				t.Errorf("%s/doc.go does not name %s", filepath.Base(fields[0]), file)
			}
		}
	}
}

// TestImportRulesPointDown: no chain of allowed imports leads back to where it began, so that the
// rules can't be met by packages that depend on each other. (Go forbids cycles; a rule that would
// allow one says nothing about the direction.)
func TestImportRulesPointDown(t *testing.T) {
	t.Parallel()
	var visit func(name string, way []string)
	visit = func(name string, way []string) {
		if slices.Contains(way, name) {
			t.Errorf("%q leads back to %s", way, name)
			return
		}
		for other := range importRules {
			if other != name && importRules[name].allows(ownModule+other) {
				visit(other, append(slices.Clone(way), name))
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(importRules)) {
		visit(name, nil)
	}
}

func (r importRule) allows(imported string) bool {
	if own, ok := strings.CutPrefix(imported, ownModule); ok {
		return slices.ContainsFunc(r.own, func(allowed string) bool {
			return own == allowed || strings.HasSuffix(allowed, "/") && strings.HasPrefix(own, allowed)
		})
	}
	first, _, _ := strings.Cut(imported, "/")
	if !strings.Contains(first, ".") {
		return true // the standard library
	}
	if rest, ok := strings.CutPrefix(imported, caddyModule); ok {
		if rest = strings.TrimPrefix(rest, "/"); rest == "" {
			rest = "."
		}
		return slices.Contains(r.caddy, "...") || slices.Contains(r.caddy, rest)
	}
	return !r.onlyStandard
}
