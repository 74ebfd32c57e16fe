package command

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

// The version and the commit of a release. deploy/build has the linker set them, so that they do
// not depend on where the source lies; without them Go's own build information counts.
var version, commit string

// nextVersion is the newest version of CHANGELOG.md. A program that was built from a checkout
// without deploy/build is a development version of it.
const nextVersion = "0.1.0"

func init() {
	// The name in help texts and in a shell's completion script. Caddy's default is "caddy",
	// whatever the program is called.
	if caddy.CustomBinaryName == "" {
		caddy.CustomBinaryName = programName()
	}
}

var programWord = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

// programName is the name that the program was started with, or caddy if that is no plain word.
func programName() string {
	if len(os.Args) > 0 {
		name := strings.TrimSuffix(filepath.Base(os.Args[0]), ".exe")
		if programWord.MatchString(name) {
			return name
		}
	}
	return "caddy"
}

// nameProgram puts the program's name into the examples of a command and its subcommands, so that
// they can be copied.
func nameProgram(cmd *cobra.Command, name string) {
	cmd.Example = strings.ReplaceAll(cmd.Example, "caddy oauth1 ", name+" oauth1 ")
	for _, sub := range cmd.Commands() {
		nameProgram(sub, name)
	}
}

// tellVersion adds a line to the output of Caddy's `version`, behind Caddy's own, which scripts
// read. Caddy has no place for a module's version, and the other commands are not there yet when
// ours are made, so the command is changed just before it runs.
func tellVersion(oauth1 *cobra.Command) {
	told := false
	cobra.OnInitialize(func() {
		for _, cmd := range oauth1.Root().Commands() {
			if cmd.Name() == "version" && cmd.CalledAs() != "" && !told {
				told = true
				addVersion(cmd)
			}
		}
	})
}

// addVersion makes a command print the line after all that it does itself.
func addVersion(version *cobra.Command) {
	run, plain := version.RunE, version.Run
	version.RunE = func(cmd *cobra.Command, args []string) error {
		if run != nil {
			if err := run(cmd, args); err != nil {
				return err
			}
		} else if plain != nil {
			plain(cmd, args)
		}
		return printVersion(cmd)
	}
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Prints the version of caddy-oauth1, and its commit",
		Long: `
Prints the version of caddy-oauth1, and the commit that it was built from if
that is known. 'caddy version' prints Caddy's own version first.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return printVersion(cmd) },
	}
}

func printVersion(cmd *cobra.Command) error {
	_, err := fmt.Fprintln(cmd.OutOrStdout(), Version())
	return err
}

// Version names this module and its version.
func Version() string {
	if told := releaseVersion(); told != "" {
		return "caddy-oauth1 " + told
	}
	info, _ := debug.ReadBuildInfo()
	return "caddy-oauth1 " + moduleVersion(info)
}

// releaseVersion is what the linker was told; empty if that is nothing.
func releaseVersion() string {
	if version == "" {
		return ""
	}
	if commit == "" {
		return "v" + version
	}
	return fmt.Sprintf("v%s (%s)", version, commit)
}

// moduleVersion is the version of this module in a program. The module is the main one in a program
// built from our repository, and a dependency in one built by xcaddy. A module from a folder has no
// version but the commit of its repository.
func moduleVersion(info *debug.BuildInfo) string {
	if info == nil {
		return "unknown"
	}
	for _, dep := range info.Deps {
		if dep.Path == modulePath {
			return dependencyVersion(dep)
		}
	}
	if info.Main.Path != modulePath {
		return "unknown"
	}
	version := info.Main.Version
	// Go's own version of a commit without an earlier tag says nothing of the version to come.
	if version == "" || version == "(devel)" || strings.HasPrefix(version, "v0.0.0-") {
		version = "v" + nextVersion + "-dev"
	}
	return fmt.Sprintf("%s (%s)", version, revision(info.Settings))
}

// dependencyVersion is the version of this module in a program that is not our own, with the hash
// of its source or the place that it was taken from.
func dependencyVersion(module *debug.Module) string {
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
	return strings.TrimSpace(version)
}

// revision names the commit that the program was built from. It is not known where Go was told not
// to look (-buildvcs=false), or where the source is no Git repository.
func revision(settings []debug.BuildSetting) string {
	about := make(map[string]string)
	for _, s := range settings {
		about[s.Key] = s.Value
	}
	commit := about["vcs.revision"]
	if commit == "" {
		return "unknown commit"
	}
	if about["vcs.modified"] == "true" {
		commit += "+modified"
	}
	return commit
}
