package redislab

import (
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// clockSource lies in a folder of its own, since Go wants cgo for a C file beside Go files.
//
//go:embed preload/clock.c
var clockSource []byte

// buildClock compiles the library that changes a server's clock.
func buildClock(t testing.TB, dir string) string {
	t.Helper()
	requireProgram(t, "gcc")
	source, library := filepath.Join(dir, "clock.c"), filepath.Join(dir, "clock.so")
	if err := os.WriteFile(source, clockSource, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("gcc", "-shared", "-fPIC", "-O1", "-o", library, source).CombinedOutput()
	if err != nil {
		t.Fatalf("compile %s: %v\n%s", source, err, out)
	}
	return library
}

// clock returns the environment of the i-th server, whose clock is not that of the machine.
func (l *Lab) clock(i int) []string {
	env := append(os.Environ(), "LD_PRELOAD="+l.clockLibrary)
	if i < len(l.options.Clocks) {
		env = append(env, fmt.Sprintf("REDISLAB_OFFSET=%d", int(l.options.Clocks[i].Seconds())))
	}
	if l.options.Speed > 0 {
		env = append(env, fmt.Sprintf("REDISLAB_SPEED=%d", l.options.Speed),
			fmt.Sprintf("REDISLAB_FROM=%d", l.options.From.Unix()))
	}
	return env
}
