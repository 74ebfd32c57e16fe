package integration

import (
	"go/parser"
	gotoken "go/token"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	ownModule   = "github.com/caddy-oauth1/caddy-oauth1/"
	caddyModule = "github.com/caddyserver/caddy/v2"
)

// An importRule lists what the files of a package may import beside the standard library. Test
// files are free.
type importRule struct {
	// own are packages of this repository. A name that ends with a slash stands for all below it.
	own []string
	// caddy are Caddy's packages: "." is its root, which knows no HTTP, and "..." all of them.
	caddy []string
	// others are packages of other modules, by their whole paths.
	others []string
}

// importRules are the layout: arrows point down only. A package without a rule fails the test. A
// rule may be there before its package.
var importRules = map[string]importRule{
	"cmd/caddy-oauth1": {own: []string{"caddymodule"}, caddy: []string{"cmd", "modules/standard"}},

	// The Caddy module. Only the program imports it. Of the stores it imports the default one: see
	// TestCaddymoduleKnowsNoStore.
	"caddymodule": {
		own: []string{
			"caddymodule/", "tokenstore", "tokenstore/backup", "tokenstore/keyring", "tokenstore/badgerstore",
			"tokenstore/redisstore",
		},
		caddy: []string{"..."},
		others: []string{
			"filippo.io/age",
			"github.com/dustin/go-humanize",
			"github.com/prometheus/client_golang/prometheus",
			"go.opentelemetry.io/otel/attribute",
			"go.opentelemetry.io/otel/trace",
			"go.uber.org/zap",
			"golang.org/x/net/http/httpguts",
		},
	},
	"caddymodule/audit":    {others: []string{"go.uber.org/zap", "go.uber.org/zap/zapcore"}},
	"caddymodule/adminapi": {own: []string{"caddymodule/audit", "caddymodule/oauth1", "tokenstore"}, caddy: []string{"."}},
	"caddymodule/command": {
		own: []string{
			"caddymodule/adminapi", "caddymodule/audit", "caddymodule/doctor", "caddymodule/oauth1", "tokenstore",
		},
		caddy:  []string{".", "cmd"},
		others: []string{"github.com/spf13/cobra", "github.com/spf13/pflag", "golang.org/x/term"},
	},
	// The decisions of the policies depend on no store, no page and no handler.
	"caddymodule/policy": {
		own:   []string{"caddymodule/oauth1", "caddymodule/refusal", "tokenstore"},
		caddy: []string{"..."},
	},
	// NFC and NFD are Unicode's: no package of the standard library has them.
	"caddymodule/doctor": {
		own:    []string{"caddymodule/oauth1"},
		others: []string{"golang.org/x/text/unicode/norm"},
	},
	"caddymodule/doctor/doctortest": {}, // only for tests
	"caddymodule/pages": {
		others: []string{
			"golang.org/x/text/feature/plural",
			"golang.org/x/text/language",
			"golang.org/x/text/message",
			"golang.org/x/text/message/catalog",
		},
	},
	"caddymodule/refusal": {own: []string{"caddymodule/oauth1"}},
	"caddymodule/oauth1":  {},

	"tokenstore":         {},
	"tokenstore/keyring": {},
	"tokenstore/sealing": {own: []string{"tokenstore", "tokenstore/keyring", "tokenstore/record"}},
	"tokenstore/record":  {own: []string{"tokenstore"}},
	// The format of backups knows no store.
	"tokenstore/backup":    {own: []string{"tokenstore", "tokenstore/record"}, others: []string{"filippo.io/age"}},
	"tokenstore/storetest": {own: []string{"tokenstore"}},
	"tokenstore/usednonce": {own: []string{"tokenstore"}},
	// A store imports Caddy only to register its guest module: see TestOnlyModuleFilesKnowCaddy.
	"tokenstore/badgerstore": {
		own: []string{
			"tokenstore", "tokenstore/keyring", "tokenstore/record", "tokenstore/sealing", "tokenstore/usednonce",
			"tokenstore/badgerstore/noncelog",
			"tokenstore/badgerstore/internal/batch", "tokenstore/badgerstore/internal/disk",
		},
		caddy: []string{".", "caddyconfig/caddyfile"},
		others: []string{
			"github.com/dgraph-io/badger/v4",
			"github.com/dgraph-io/badger/v4/fb",
			"github.com/dgraph-io/badger/v4/options",
			"github.com/dgraph-io/badger/v4/table",
			"github.com/dgraph-io/badger/v4/y",
			"github.com/dgraph-io/ristretto/v2",
			"github.com/dgraph-io/ristretto/v2/z",
			"go.uber.org/zap",
			"golang.org/x/sys/unix",
		},
	},
	"tokenstore/badgerstore/noncelog": {
		own: []string{
			"tokenstore", "tokenstore/record", "tokenstore/usednonce",
			"tokenstore/badgerstore/internal/batch", "tokenstore/badgerstore/internal/disk",
		},
		others: []string{"go.uber.org/zap", "golang.org/x/sys/unix"},
	},
	"tokenstore/badgerstore/internal/batch":    {},
	"tokenstore/badgerstore/internal/disk":     {others: []string{"golang.org/x/sys/unix"}},
	"tokenstore/badgerstore/internal/disktest": {others: []string{"golang.org/x/sys/unix"}},
	"tokenstore/redisstore": {
		own: []string{
			"tokenstore", "tokenstore/keyring", "tokenstore/record", "tokenstore/sealing", "tokenstore/usednonce",
		},
		caddy:  []string{".", "caddyconfig/caddyfile"},
		others: []string{"github.com/redis/rueidis", "go.uber.org/zap"},
	},
	"tokenstore/redisstore/redislab": {}, // servers for the tests

	// The tests drive the program from outside. The benchmark fills a store by itself, and has a peer
	// that keeps nonces in Redis.
	"integration":        {},
	"integration/faults": {},
	"integration/bench": {
		own:    []string{"caddymodule/", "tokenstore", "tokenstore/"},
		others: []string{"github.com/redis/rueidis", "golang.org/x/perf/benchmath"},
	},
}

// TestImports: each package imports only what its rule allows, on each system.
func TestImports(t *testing.T) {
	t.Parallel()
	for _, goos := range []string{"linux", "darwin", "windows"} {
		t.Run(goos, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, ownModule+"...")
			cmd.Env = append(os.Environ(), "GOOS="+goos, "CGO_ENABLED=0")
			out, err := cmd.Output()
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
		})
	}
}

// TestOnlyModuleFilesKnowCaddy: in a store, only module.go imports Caddy.
func TestOnlyModuleFilesKnowCaddy(t *testing.T) {
	t.Parallel()
	seen := false
	eachImport(t, "../tokenstore", func(file, path, name string) {
		if strings.HasPrefix(path, caddyModule) {
			seen = true
			if filepath.Base(file) != "module.go" {
				t.Errorf("%s imports %s", file, path)
			}
		}
	})
	if !seen {
		t.Error("no file imports Caddy, so this shows nothing")
	}
}

// TestCaddymoduleKnowsNoStore: caddymodule imports the default store blank, and uses all stores
// through tokenstore's interfaces. Package backup is no store.
func TestCaddymoduleKnowsNoStore(t *testing.T) {
	t.Parallel()
	stores := []string{}
	eachImport(t, "../caddymodule", func(file, path, name string) {
		below, ok := strings.CutPrefix(path, ownModule+"tokenstore/")
		if ok && below != "backup" && below != "keyring" {
			stores = append(stores, name+" "+below)
		}
	})
	if want := []string{"_ badgerstore", "_ redisstore"}; !slices.Equal(stores, want) {
		t.Errorf("caddymodule imports %q, want %q", stores, want)
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

// TestImportRulesPointDown: no chain of allowed imports leads back to its beginning. Go forbids
// cycles between packages, but rules that allow one would not fix a direction.
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
	return slices.Contains(r.others, imported)
}

// eachImport calls f with every import of the files below dir, except tests.
func eachImport(t *testing.T, dir string, f func(file, path, name string)) {
	t.Helper()
	err := filepath.WalkDir(dir, func(file string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return err
		}
		parsed, err := parser.ParseFile(gotoken.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, i := range parsed.Imports {
			path, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			name := ""
			if i.Name != nil {
				name = i.Name.Name
			}
			f(file, path, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
