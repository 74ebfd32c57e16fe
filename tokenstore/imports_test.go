package tokenstore_test

import (
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	module  = "github.com/caddy-oauth1/caddy-oauth1/"
	badger  = "github.com/dgraph-io/badger/v4"
	caddy   = "github.com/caddyserver/caddy/v2"
	rueidis = "github.com/redis/rueidis"
	zap     = "go.uber.org/zap"
	unix    = "golang.org/x/sys/unix"
)

// mayImport says what each package below tokenstore may import, beside the standard library. Arrows
// point down only: a store knows the model and its bytes; nothing knows a store, and nothing knows
// caddymodule.
var mayImport = map[string][]string{
	"tokenstore":                            nil,
	"tokenstore/record":                     {module + "tokenstore"},
	"tokenstore/storetest":                  {module + "tokenstore"},
	"tokenstore/badgerstore/internal/batch": nil,
	"tokenstore/badgerstore/internal/disk":  {unix},
	"tokenstore/badgerstore/noncelog": {
		module + "tokenstore", module + "tokenstore/record",
		module + "tokenstore/badgerstore/internal/batch", module + "tokenstore/badgerstore/internal/disk",
		zap, unix,
	},
	"tokenstore/badgerstore": {
		module + "tokenstore", module + "tokenstore/record",
		module + "tokenstore/badgerstore/noncelog",
		module + "tokenstore/badgerstore/internal/batch", module + "tokenstore/badgerstore/internal/disk",
		badger, badger + "/fb", badger + "/options", badger + "/table", badger + "/y",
		"github.com/dgraph-io/ristretto/v2", "github.com/dgraph-io/ristretto/v2/z",
		caddy, caddy + "/caddyconfig/caddyfile", zap, unix,
	},
	"tokenstore/redisstore": {
		module + "tokenstore", module + "tokenstore/record",
		rueidis, caddy, caddy + "/caddyconfig/caddyfile", zap,
	},
	"tokenstore/redisstore/redislab": nil,
}

// mustNotDependOn says what must not come in by a detour either.
var mustNotDependOn = map[string][]string{
	"tokenstore":                      {"github.com/", "go.uber.org/", "golang.org/"},
	"tokenstore/record":               {badger, caddy, zap},
	"tokenstore/storetest":            {badger, caddy, zap},
	"tokenstore/badgerstore/noncelog": {badger, "github.com/dgraph-io/", "github.com/caddyserver/"},
	"tokenstore/badgerstore":          {module + "caddymodule", rueidis},
	"tokenstore/redisstore":           {module + "caddymodule", badger},
}

// A listed package is what `go list` says of one.
type listed struct {
	ImportPath string
	Imports    []string
	Deps       []string
}

func list(t *testing.T, goos, pattern string) (packages []listed) {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,Deps", pattern)
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "GOOS="+goos, "CGO_ENABLED=0")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, &stderr)
	}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}

// standard reports whether a package is of the standard library: the first part of its path is no
// name of a host.
func standard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".")
}

func TestImports(t *testing.T) {
	for _, goos := range []string{"linux", "darwin", "windows"} {
		t.Run(goos, func(t *testing.T) {
			t.Parallel()
			found := list(t, goos, "./tokenstore/...")
			for _, p := range found {
				name := strings.TrimPrefix(p.ImportPath, module)
				allowed, known := mayImport[name]
				if !known {
					t.Errorf("%s: nothing here says what it may import", name)
				}
				for _, path := range p.Imports {
					if !standard(path) && !slices.Contains(allowed, path) {
						t.Errorf("%s imports %s", name, path)
					}
				}
				for _, forbidden := range mustNotDependOn[name] {
					i := slices.IndexFunc(p.Deps, func(path string) bool {
						return strings.HasPrefix(path, forbidden) &&
							!strings.HasPrefix(path, module+"tokenstore")
					})
					if i >= 0 { // one is enough: it brings others
						t.Errorf("%s depends on %s", name, p.Deps[i])
					}
				}
			}
			if len(found) < len(mayImport) {
				t.Errorf("there are %d packages, and %d may import something", len(found), len(mayImport))
			}
		})
	}
}

// TestOnlyModuleFilesKnowCaddy: of a store, what is for Caddy alone is in module.go.
func TestOnlyModuleFilesKnowCaddy(t *testing.T) {
	seen := false
	eachImport(t, ".", func(file, path, name string) {
		if strings.HasPrefix(path, "github.com/caddyserver/") {
			seen = true
			if filepath.Base(file) != "module.go" {
				t.Errorf("%s imports %s", file, path)
			}
		}
	})
	if !seen {
		t.Error("no file knows Caddy, so this shows nothing")
	}
}

// TestCaddymoduleKnowsNoStore: it has them, and uses all of them by the interfaces.
func TestCaddymoduleKnowsNoStore(t *testing.T) {
	stores := []string{}
	eachImport(t, "../caddymodule", func(file, path, name string) {
		if below, ok := strings.CutPrefix(path, module+"tokenstore/"); ok {
			stores = append(stores, name+" "+below)
		}
	})
	if want := []string{"_ badgerstore", "_ redisstore"}; !slices.Equal(stores, want) {
		t.Errorf("caddymodule imports %q, want %q", stores, want)
	}
}

// eachImport calls f with every import of the files below dir that are no tests.
func eachImport(t *testing.T, dir string, f func(file, path, name string)) {
	t.Helper()
	err := filepath.WalkDir(dir, func(file string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return err
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
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
