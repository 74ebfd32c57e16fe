package caddymodule

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestReasonsAreDocumented: operators match the reasons in handle_errors and in logs, so the
// cookbook lists all of them.
func TestReasonsAreDocumented(t *testing.T) {
	cookbook, err := os.ReadFile("../docs/cookbook.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	files = append(files, "refusal/refusal.go")
	reason := regexp.MustCompile(`Reason: *"(\w+)"`)
	found := 0
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range reason.FindAllStringSubmatch(string(text), -1) {
			found++
			if !strings.Contains(string(cookbook), "`"+match[1]+"`") {
				t.Errorf("docs/cookbook.md lacks the reason %s of %s", match[1], file)
			}
		}
	}
	if found < 70 {
		t.Errorf("found %d reasons only", found)
	}
}
