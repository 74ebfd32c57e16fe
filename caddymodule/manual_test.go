package caddymodule

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2"
)

// These tests compare README.md, docs/ and SECURITY.md with the code. manual_options_test.go has
// the Caddyfile reference; integration/manual_test.go runs the commands.

// manualPages returns the text of every documentation page, by its path from the repository's root.
func manualPages(t *testing.T) map[string]string {
	t.Helper()
	paths, err := filepath.Glob("../docs/*.md")
	if err != nil || len(paths) < 10 {
		t.Fatalf("the pages of docs: %v, %v", paths, err)
	}
	pages := make(map[string]string)
	for _, path := range append(paths, "../README.md", "../SECURITY.md", "../CHANGELOG.md") {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		pages[strings.TrimPrefix(path, "../")] = string(text)
	}
	return pages
}

// A snippet is a fenced code block.
type snippet struct {
	language, text string
	line           int
}

// snippets returns the fenced code blocks of a page, and the page without them.
func snippets(t *testing.T, page, text string) (blocks []snippet, prose string) {
	t.Helper()
	var b strings.Builder
	var block *snippet
	n := 0
	for line := range strings.Lines(text) {
		n++
		language, isFence := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "```")
		switch {
		case isFence && block == nil:
			block = &snippet{language: language, line: n}
		case isFence:
			blocks, block = append(blocks, *block), nil
		case block != nil:
			block.text += line
		default:
			b.WriteString(line)
			continue
		}
		b.WriteString("\n") // keeps the line numbers
	}
	if block != nil {
		t.Fatalf("%s:%d: the block has no end", page, block.line)
	}
	return blocks, b.String()
}

// TestManualCaddyfilesLoad: every Caddyfile in the manual is a configuration that loads.
func TestManualCaddyfilesLoad(t *testing.T) {
	folder := t.TempDir()
	t.Setenv("XDG_DATA_HOME", folder)
	key, k1, k2 := filepath.Join(folder, "oauth1.key"), filepath.Join(folder, "oauth1-k1"), filepath.Join(folder, "oauth1-k2")
	for path, digits := range map[string]string{key: "0f", k1: "1f", k2: "2f"} {
		if err := os.WriteFile(path, []byte(strings.Repeat(digits, 32)+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	paths := strings.NewReplacer("/run/secrets/redis", key, "/var/lib/caddy", folder,
		"/run/credentials/caddy-oauth1.service/oauth1_k1", k1, "/run/credentials/caddy-oauth1.service/oauth1_ci-bot", key)
	found := 0
	for page, text := range manualPages(t) {
		blocks, _ := snippets(t, page, text)
		for _, block := range blocks {
			if block.language != "caddyfile" {
				continue
			}
			found++
			if err := loads(paths.Replace(wholeCaddyfile(block.text))); err != nil {
				t.Errorf("%s:%d: %v:\n%s", page, block.line, err, block.text)
			}
		}
	}
	if found < 20 {
		t.Errorf("found %d Caddyfiles only", found)
	}
}

var siteAddress = regexp.MustCompile(`^(https?://\S+|\S+\.example\.com) \{\n`)

// wholeCaddyfile completes a snippet. A snippet that begins with neither global options nor an
// address is a part of a site.
func wholeCaddyfile(snippet string) string {
	if options, ok := strings.CutPrefix(snippet, "{\n"); ok {
		return "{\n\tadmin off\n" + options
	}
	if !siteAddress.MatchString(snippet) {
		snippet = "http://api.test {\n" + snippet + "}\n"
	}
	return "{\n\tadmin off\n}\n" + snippet
}

// loads does the same steps as `caddy validate`.
func loads(caddyfile string) error {
	adapted, err := adapt(caddyfile)
	if err != nil {
		return err
	}
	var config caddy.Config
	if err := json.Unmarshal(adapted, &config); err != nil {
		return err
	}
	return caddy.Validate(&config)
}

// TestManualSnippetsHaveAKnownLanguage: no test would check a block in another language, or one
// that is indented as code.
func TestManualSnippetsHaveAKnownLanguage(t *testing.T) {
	known := []string{"caddyfile", "sh", "text", "js", "py"}
	for page, text := range manualPages(t) {
		blocks, prose := snippets(t, page, text)
		for _, block := range blocks {
			if !slices.Contains(known, block.language) {
				t.Errorf("%s:%d: the language is %q, want one of %q", page, block.line, block.language, known)
			}
		}
		if page == "README.md" {
			prose = strings.Replace(prose, diagram(prose), "", 1)
		}
		for line := range strings.Lines(prose) {
			if strings.HasPrefix(line, "    ") {
				t.Errorf("%s: indented code has no language: %s", page, line)
			}
		}
	}
}

// diagram returns the indented drawing at the top of the README.
func diagram(readme string) string {
	start := strings.Index(readme, "\n    client ")
	if start < 0 {
		return ""
	}
	length := strings.Index(readme[start+2:], "\n\n")
	return readme[start : start+2+length]
}

// TestManualLinks: every link within the repository leads to a file, and to a heading in it.
func TestManualLinks(t *testing.T) {
	pages := manualPages(t)
	anchors := make(map[string][]string)
	for page, text := range pages {
		_, prose := snippets(t, page, text)
		for line := range strings.Lines(prose) {
			if level, heading, ok := strings.Cut(line, " "); ok && strings.Trim(level, "#") == "" {
				anchors[page] = append(anchors[page], anchor(heading))
			}
		}
	}
	for page, text := range pages {
		_, prose := snippets(t, page, text)
		links := regexp.MustCompile(`\]\(([^)\s]+)\)|src="([^"]+)"`)
		for _, link := range links.FindAllStringSubmatch(prose, -1) {
			target, err := url.Parse(link[1] + link[2])
			if err != nil {
				t.Errorf("%s: %v", page, err)
				continue
			}
			if target.Scheme != "" {
				continue
			}
			file := page
			if target.Path != "" {
				file = filepath.Join(filepath.Dir(page), target.Path)
			}
			if _, err := os.Stat(filepath.Join("..", file)); err != nil {
				t.Errorf("%s: the link %s leads nowhere", page, target)
			} else if target.Fragment != "" && !slices.Contains(anchors[file], target.Fragment) {
				t.Errorf("%s: %s has no heading for %s", page, file, target)
			}
		}
	}
	for page := range pages {
		name, isDoc := strings.CutPrefix(page, "docs/")
		if isDoc && name != "README.md" && !strings.Contains(pages["docs/README.md"], "]("+name+")") {
			t.Errorf("the table of contents has no %s", name)
		}
	}
}

// anchor returns GitHub's anchor for a heading.
func anchor(heading string) string {
	dropped := regexp.MustCompile(`[^\p{L}\p{N} _-]`)
	kept := strings.ToLower(dropped.ReplaceAllString(strings.TrimSpace(heading), ""))
	return strings.ReplaceAll(kept, " ", "-")
}

// TestManualLinesAreShort: lines have at most 100 columns, except in tables, images and generated
// text.
func TestManualLinesAreShort(t *testing.T) {
	for page, text := range manualPages(t) {
		if page == "docs/clients.md" {
			continue
		}
		_, prose := snippets(t, page, text)
		n := 0
		for line := range strings.Lines(prose) {
			n++
			columns := utf8.RuneCountInString(strings.TrimSuffix(line, "\n"))
			if columns > 100 && !strings.HasPrefix(line, "|") && !strings.HasPrefix(line, "<img") &&
				!strings.HasPrefix(line, "![") {
				t.Errorf("%s:%d has %d columns", page, n, columns)
			}
		}
	}
}

// TestSecurityNamesRealTests: each test that SECURITY.md names exists in the package that it names.
// -update corrects the packages after tests have moved.
func TestSecurityNamesRealTests(t *testing.T) {
	declared := testFunctions(t)
	named := 0
	var b strings.Builder
	for line := range strings.Lines(manualPages(t)["SECURITY.md"]) {
		names := testNames(line)
		named += len(names)
		for _, name := range names {
			if len(declared[name]) == 0 {
				t.Errorf("SECURITY.md: there is no %s", name)
			}
		}
		if i := strings.LastIndex(line, " | "); len(names) > 0 && strings.HasPrefix(line, "|") && i > 0 {
			cell := strings.TrimSuffix(line[i+3:], " |\n")
			if want := byPackage(cell, declared); want != cell {
				if !*update {
					t.Errorf("SECURITY.md (-update mends it):\n%s\nwant\n%s", cell, want)
				}
				line = line[:i+3] + want + " |\n"
			}
		}
		b.WriteString(line)
	}
	if named < 100 {
		t.Errorf("found %d names only", named)
	}
	if *update && !t.Failed() {
		if err := os.WriteFile("../SECURITY.md", []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func testNames(text string) []string {
	return regexp.MustCompile(`\b(?:Test|Fuzz)[A-Z]\w+`).FindAllString(text, -1)
}

// byPackage writes the tests of a cell in SECURITY.md by package: first those of integration, then
// those of each other package, with its name in parentheses. If several packages have a test of
// that name, it takes one that the cell names.
func byPackage(cell string, declared map[string][]string) string {
	tests := make(map[string][]string)
	packages := []string{"integration"}
	for _, name := range testNames(cell) {
		of := "integration"
		if where := declared[name]; len(where) > 0 && !slices.Contains(where, of) {
			of = where[0]
			for _, other := range where {
				if strings.Contains(cell, "("+other+")") {
					of = other
				}
			}
		}
		if !slices.Contains(packages, of) {
			packages = append(packages, of)
		}
		tests[of] = append(tests[of], "`"+name+"`")
	}
	var groups []string
	for _, of := range packages {
		if group := strings.Join(tests[of], ", "); of == "integration" && group != "" {
			groups = append(groups, group)
		} else if group != "" {
			groups = append(groups, group+" ("+of+")")
		}
	}
	return strings.Join(groups, "; ")
}

// testFunctions returns the packages (folder names) of every test in the repository.
func testFunctions(t *testing.T) map[string][]string {
	t.Helper()
	declaration := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	packages := make(map[string][]string)
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && slices.Contains([]string{"node_modules", "testdata", ".git"}, entry.Name()) {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("read %s: %w", path, err)
		}
		folder, err := filepath.Abs(filepath.Dir(path))
		if err != nil {
			return err
		}
		for _, match := range declaration.FindAllSubmatch(source, -1) {
			packages[string(match[1])] = append(packages[string(match[1])], filepath.Base(folder))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return packages
}

// TestManualAnchors: the anchors of headings like those of the manual.
func TestManualAnchors(t *testing.T) {
	t.Parallel()
	for heading, want := range map[string]string{
		"How it compares": "how-it-compares",
		"The pages behind your application's own login": "the-pages-behind-your-applications-own-login",
		"CORS: Caddy answers the browser":               "cors-caddy-answers-the-browser",
		"identity_headers":                              "identity_headers",
		"Growth, flows, reclaiming":                     "growth-flows-reclaiming",
	} {
		if got := anchor(heading); got != want {
			t.Errorf("%s: %s, want %s", heading, got, want)
		}
	}
}
