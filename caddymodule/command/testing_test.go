package command

import (
	"bytes"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/spf13/cobra"
)

var update = flag.Bool("update", false, "write the golden files anew")

// runCommand runs `caddy oauth1` with arguments, and returns what it prints.
func runCommand(stdin string, args ...string) (string, error) {
	return runCommandWith(strings.NewReader(stdin), args...)
}

func runCommandWith(stdin io.Reader, args ...string) (string, error) {
	return runCobraWith(stdin, append([]string{"oauth1"}, args...)...)
}

// runCobra runs `caddy` with arguments.
func runCobra(stdin string, args ...string) (string, error) {
	return runCobraWith(strings.NewReader(stdin), args...)
}

// oneCobra keeps tests that are parallel apart: cobra.OnInitialize has one list for the process.
var oneCobra sync.Mutex

func runCobraWith(stdin io.Reader, args ...string) (string, error) {
	oneCobra.Lock()
	defer oneCobra.Unlock()
	root := &cobra.Command{Use: "caddy", SilenceUsage: true, SilenceErrors: true}
	cmd := &cobra.Command{Use: "oauth1 <command>"}
	Build(cmd, Policies{}, Stores{})
	root.AddCommand(cmd)
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetIn(stdin)
	root.SetArgs(args)
	err := root.Execute()
	return out.String(), err
}

// keyboard is a terminal with typed input.
type keyboard struct{ io.Reader }

func (keyboard) IsTerminal() bool { return true }

func writeFile(t testing.TB, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}
