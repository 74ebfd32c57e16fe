package command

import (
	"os"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

func TestModuleVersion(t *testing.T) {
	t.Parallel()
	ours := func(version string) debug.Module { return debug.Module{Path: modulePath, Version: version} }
	replaced := ours("v0.0.0-00010101000000-000000000000")
	replaced.Replace = &debug.Module{Path: "/src/caddy-oauth1", Version: "(devel)"}
	summed := ours("v1.2.3")
	summed.Sum = "h1:abc="
	vcs := []debug.BuildSetting{{Key: "vcs.revision", Value: "abcdef"}, {Key: "vcs.modified", Value: "true"}}
	xcaddy := debug.Module{Path: "caddy", Version: "(devel)"}
	for _, c := range []struct {
		name string
		info *debug.BuildInfo
		want string
	}{
		{"no build information", nil, "unknown"},
		{"our program, of a tag", &debug.BuildInfo{Main: ours("v1.2.3"), Settings: vcs}, "v1.2.3 (abcdef+modified)"},
		{"our program, of a clone", &debug.BuildInfo{Main: ours("v0.0.0-20260102030405-abcdefabcdef+dirty"), Settings: vcs},
			"v" + nextVersion + "-dev (abcdef+modified)"},
		{"our program, of an older Go", &debug.BuildInfo{Main: ours("(devel)"), Settings: vcs},
			"v" + nextVersion + "-dev (abcdef+modified)"},
		{"our program, without a repository", &debug.BuildInfo{Main: ours("(devel)")},
			"v" + nextVersion + "-dev (unknown commit)"},
		{"our program, of a test", &debug.BuildInfo{Main: ours("")}, "v" + nextVersion + "-dev (unknown commit)"},
		{"xcaddy's, of a registry",
			&debug.BuildInfo{Main: xcaddy, Deps: []*debug.Module{{Path: "x"}, &summed}, Settings: vcs},
			"v1.2.3 h1:abc="},
		{"xcaddy's, of a folder", &debug.BuildInfo{Main: xcaddy, Deps: []*debug.Module{&replaced}},
			"v0.0.0-00010101000000-000000000000 => /src/caddy-oauth1@(devel)"},
		{"a program that copied the code", &debug.BuildInfo{Main: xcaddy}, "unknown"},
	} {
		if got := moduleVersion(c.info); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

// TestReleaseVersion: what the linker says counts, and Go's build information where it says nothing.
func TestReleaseVersion(t *testing.T) {
	t.Cleanup(func() { version, commit = "", "" })
	for _, c := range []struct{ version, commit, want string }{
		{"1.2.3", "abcdef", "caddy-oauth1 v1.2.3 (abcdef)\n"},
		{"1.2.3", "", "caddy-oauth1 v1.2.3\n"},
	} {
		version, commit = c.version, c.commit
		if out, err := runCommand("", "version"); err != nil || out != c.want {
			t.Errorf("version %q, commit %q: got %q, want %q (%v)", c.version, c.commit, out, c.want, err)
		}
	}
	version, commit = "", "abcdef"
	out, err := runCommand("", "version")
	if err != nil || !strings.HasPrefix(out, "caddy-oauth1 ") || strings.Contains(out, "abcdef") {
		t.Errorf("without a version: got %q (%v)", out, err)
	}
	if _, err := runCommand("", "version", "extra"); err == nil {
		t.Error("an argument is ignored")
	}
}

// TestVersionIsToldByVersion: only `version` prints the module's version, after Caddy's own line.
func TestVersionIsToldByVersion(t *testing.T) {
	for args, want := range map[string]string{"version": "v2\ncaddy-oauth1 ", "list": ""} {
		root := &cobra.Command{Use: "caddy"}
		var out strings.Builder
		root.SetOut(&out)
		root.AddCommand(
			&cobra.Command{Use: "version", Run: func(cmd *cobra.Command, _ []string) { cmd.Println("v2") }},
			&cobra.Command{Use: "list", Run: func(*cobra.Command, []string) {}},
		)
		root.SetErr(&out)
		oauth1 := &cobra.Command{Use: "oauth1"}
		tellVersion(oauth1)
		root.AddCommand(oauth1)
		root.SetArgs([]string{args})
		if err := root.Execute(); err != nil {
			t.Fatal(err)
		}
		if got := out.String(); !strings.HasPrefix(got, want) || want == "" && got != "" ||
			strings.Count(got, "caddy-oauth1") != strings.Count(want, "caddy-oauth1") {
			t.Errorf("%s: got %q, want %q", args, got, want)
		}
	}
}

func TestProgramName(t *testing.T) {
	before := os.Args
	t.Cleanup(func() { os.Args = before })
	for arg, want := range map[string]string{
		"/usr/bin/caddy-oauth1": "caddy-oauth1",
		"./caddy":               "caddy",
		"caddy.v2":              "caddy.v2",
		"caddy-oauth1.exe":      "caddy-oauth1",
		"/tmp/my caddy":         "caddy",
		"$(id)":                 "caddy",
		"":                      "caddy",
	} {
		os.Args = []string{arg}
		if got := programName(); got != want {
			t.Errorf("%q: got %q, want %q", arg, got, want)
		}
	}
	root := &cobra.Command{Use: "oauth1", Example: "  $ caddy oauth1 health"}
	root.AddCommand(&cobra.Command{Use: "health", Example: "  $ x | caddy oauth1 health"})
	nameProgram(root, "caddy-oauth1")
	if root.Example != "  $ caddy-oauth1 oauth1 health" ||
		root.Commands()[0].Example != "  $ x | caddy-oauth1 oauth1 health" {
		t.Errorf("got %q and %q", root.Example, root.Commands()[0].Example)
	}
}
