package caddymodule

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// TestReadmeCookbook: every recipe of the README is a configuration that loads.
func TestReadmeCookbook(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, cookbook, _ := strings.Cut(string(text), "### Cookbook")
	cookbook, _, _ = strings.Cut(cookbook, "\n## ")
	recipes := 0
	for _, block := range codeBlocks(cookbook) {
		if !strings.Contains(block, "oauth1 {") {
			continue
		}
		recipes++
		options, isWhole := strings.CutPrefix(block, "{\n")
		if !isWhole {
			options = "}\nhttp://api.test {\n" + block + "}\n"
		}
		adapted, err := adapt("{\n\tadmin off\n" + options)
		if err != nil {
			t.Errorf("%v:\n%s", err, block)
			continue
		}
		var config caddy.Config
		if err := json.Unmarshal(adapted, &config); err != nil {
			t.Fatal(err)
		}
		if err := caddy.Validate(&config); err != nil {
			t.Errorf("%v:\n%s", err, block)
		}
	}
	if recipes < 5 {
		t.Errorf("found %d recipes only", recipes)
	}
}

// codeBlocks are the indented blocks of a Markdown text.
func codeBlocks(text string) []string {
	var blocks []string
	var block strings.Builder
	for line := range strings.Lines(text + "\nend\n") {
		if code, ok := strings.CutPrefix(line, "    "); ok {
			block.WriteString(code)
		} else if strings.TrimSpace(line) != "" && block.Len() > 0 {
			blocks = append(blocks, block.String())
			block.Reset()
		}
	}
	return blocks
}
