package redislab

import (
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// clockSource lies in a folder of its own, since Go wants cgo for a C file beside Go files.
//
//go:embed preload/clock.c
var clockSource []byte

// buildClock compiles the library that sets a server's clock off.
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

// clock returns the environment in which a server's clock is off, in whole seconds.
func clock(library string, off time.Duration) []string {
	return append(os.Environ(), "LD_PRELOAD="+library, fmt.Sprintf("REDISLAB_CLOCK=%d", int(off.Seconds())))
}
