package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestLevels(t *testing.T) {
	l, err := NewLevels(nil)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"READ_PUBLIC", "WRITE_PUBLIC", "READ_PRIVATE", "WRITE_PRIVATE", "DESKTOP_INTEGRATION"}
	for have, allowed := range map[string]string{
		"READ_PUBLIC":         "yes no no no no",
		"WRITE_PUBLIC":        "yes yes no no no",
		"READ_PRIVATE":        "yes no yes no no",
		"WRITE_PRIVATE":       "yes yes yes yes no",
		"DESKTOP_INTEGRATION": "yes yes yes yes yes",
		"UNAUTHORIZED":        "no no no no no",
		"":                    "no no no no no",
	} {
		for i, want := range strings.Fields(allowed) {
			if got := l.Holds(have, names[i]); got != (want == "yes") {
				t.Errorf("%s holds %s: %v", have, names[i], got)
			}
		}
	}
}

// TestManyLevels: levels that each imply all below them take no exponential time.
func TestManyLevels(t *testing.T) {
	var declared []PermissionLevel
	var below []string
	for i := range 40 {
		name := fmt.Sprintf("LEVEL%d", i)
		declared = append(declared, PermissionLevel{Name: name, Implies: slices.Clone(below)})
		below = append(below, name)
	}
	slices.Reverse(declared)
	l, err := NewLevels(declared)
	if err != nil {
		t.Fatal(err)
	}
	if !l.Holds("LEVEL39", "LEVEL0") || l.Holds("LEVEL0", "LEVEL1") || len(l.held["LEVEL39"]) != 40 {
		t.Errorf("%v", l.held)
	}
}
