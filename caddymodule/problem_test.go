package caddymodule

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestProblemWords: the words of OAuth Problem Reporting tell a client what to do next. A key is rejected for good, and
// refused for a while.
func TestProblemWords(t *testing.T) {
	for _, p := range []*Problem{problemDisabledConsumer, problemExpiredConsumer} {
		if p.Word != "consumer_key_rejected" {
			t.Errorf("%s is %s: it does not pass by waiting", p.Reason, p.Word)
		}
	}
	for _, p := range []*Problem{problemStore, problemNoncesFull, problemTokenNonces, problemEndpointNonces, problemTooManyWaiting, problemTooManyInAll, problemTooManyConsumers} {
		if p.Status != 503 || p.Word != "consumer_key_refused" || p.Kind != KindLimit && p.Kind != KindStore {
			t.Errorf("%s is %d %s: it passes by waiting", p.Reason, p.Status, p.Word)
		}
	}
}

// TestReasonsAreDocumented: operators match them in handle_errors and in their logs, so the cookbook
// lists all that there are.
func TestReasonsAreDocumented(t *testing.T) {
	cookbook, err := os.ReadFile("../docs/cookbook.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
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
	if found < 50 {
		t.Errorf("found %d reasons only", found)
	}
}
