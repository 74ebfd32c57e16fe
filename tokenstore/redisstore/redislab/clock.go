package redislab

import (
	_ "embed"
	"encoding/binary"
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

// clock returns the environment of a server whose clock is not that of the machine.
func (l *Lab) clock(n *Node) []string {
	env := append(os.Environ(), "LD_PRELOAD="+l.clockLibrary, "REDISLAB_OFFSET="+n.clock())
	if l.options.Speed > 0 {
		env = append(env, fmt.Sprintf("REDISLAB_SPEED=%d", l.options.Speed),
			fmt.Sprintf("REDISLAB_FROM=%d", l.options.From.Unix()))
	}
	return env
}

// SetClock sets how far the server's clock is off, in whole seconds, also while it runs. It must stand in
// Options.Clocks.
func (n *Node) SetClock(t testing.TB, off time.Duration) {
	t.Helper()
	file, err := os.OpenFile(n.clock(), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := binary.Write(file, binary.NativeEndian, int64(off/time.Second)); err != nil { // in one piece
		t.Fatal(err)
	}
}
