package caddymodule

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/spf13/cobra"
)

// modulePath is the Go module that this package is a part of.
const modulePath = "github.com/caddy-oauth1/caddy-oauth1"

func init() {
	// The names in help texts, and the one that a shell's completion is for. Caddy's own default is
	// "caddy", whatever the program is called.
	if caddy.CustomBinaryName == "" {
		caddy.CustomBinaryName = programName()
	}
}

var programWord = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

// programName is what the program is called by, or caddy where that is no plain name.
func programName() string {
	if len(os.Args) > 0 {
		name := strings.TrimSuffix(filepath.Base(os.Args[0]), ".exe")
		if programWord.MatchString(name) {
			return name
		}
	}
	return "caddy"
}

// nameProgram makes the examples of a command, and of those below it, such that they can be copied.
func nameProgram(cmd *cobra.Command, name string) {
	cmd.Example = strings.ReplaceAll(cmd.Example, "caddy oauth1 ", name+" oauth1 ")
	for _, sub := range cmd.Commands() {
		nameProgram(sub, name)
	}
}

// tellVersion adds a line to what Caddy's `version` prints. Caddy's own line stays the first, as
// scripts know it. Caddy has no place for a module's version, so this is done when a command has
// ended, and only if it was that one.
func tellVersion(oauth1 *cobra.Command) {
	cobra.OnFinalize(func() {
		for _, cmd := range oauth1.Root().Commands() {
			if cmd.Name() == "version" && cmd.CalledAs() != "" {
				info, _ := debug.ReadBuildInfo()
				fmt.Fprintln(cmd.OutOrStdout(), "caddy-oauth1", moduleVersion(info))
			}
		}
	})
}

// moduleVersion is the version of this module in a program: the main module where that is built
// from our repository, one of many where xcaddy has built it. A module of a folder has no version
// but what the repository there says.
func moduleVersion(info *debug.BuildInfo) string {
	if info == nil {
		return "unknown"
	}
	module := &info.Main
	for _, dep := range info.Deps {
		if dep.Path == modulePath {
			module = dep
		}
	}
	if module.Path != modulePath {
		return "unknown"
	}
	version := module.Version
	if module.Sum != "" {
		version += " " + module.Sum
	}
	if replaced := module.Replace; replaced != nil {
		version += " => " + replaced.Path
		if replaced.Version != "" {
			version += "@" + replaced.Version
		}
	}
	if module == &info.Main && version == "(devel)" {
		version += revision(info.Settings)
	}
	return strings.TrimSpace(version)
}

// revision tells what the program was built from, where its version does not.
func revision(settings []debug.BuildSetting) string {
	about := make(map[string]string)
	for _, s := range settings {
		about[s.Key] = s.Value
	}
	commit := about["vcs.revision"]
	if commit == "" {
		return ""
	}
	if about["vcs.modified"] == "true" {
		commit += "+modified"
	}
	return fmt.Sprintf(" (%s)", commit)
}
