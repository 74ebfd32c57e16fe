package faults

import (
	"os"
	"strings"
	"testing"
)

// manual is the page that says how to run the servers.
func manual(t testing.TB) string {
	t.Helper()
	page, err := os.ReadFile(moduleRoot + "/docs/replicas.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

// rights returns the lines of redis.conf for a user with the rights that the manual demands.
func rights(t testing.TB) []string {
	t.Helper()
	for line := range strings.Lines(manual(t)) {
		if strings.HasPrefix(line, "user oauth1 on ") {
			line = strings.Replace(strings.TrimSpace(line), ">CHANGE-THIS", ">"+userPassword, 1)
			return []string{"user default off", line}
		}
	}
	t.Fatal("the manual has no line for the user")
	return nil
}

// recommended returns the lines of redis.conf that the manual has for a master with replicas.
func recommended(t testing.TB) (lines []string) {
	t.Helper()
	blocks := 0
	for block := range strings.SplitSeq(manual(t), "```") {
		rest, ok := strings.CutPrefix(block, "text\n# redis.conf")
		if !ok || strings.HasPrefix(rest, ", more, of a Cluster") {
			continue
		}
		blocks++
		_, rest, _ = strings.Cut(rest, "\n")
		for line := range strings.Lines(rest) {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	if blocks != 2 {
		t.Fatalf("the manual has %d parts of redis.conf for a master with replicas", blocks)
	}
	return lines
}
