package integration

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/clients.md anew")

// docs/clients.md is written from what the tables of the matrix claim, which TestClients checks claim by claim, in both
// directions: what is not claimed has to pass. So the page is the same on a machine that lacks some of the clients.
var clientsPagePath = filepath.Join("..", "docs", "clients.md")

const clientsPageHead = `<!-- Written by "go test ./integration -run TestClients -update". -->

# Will our clients work?

These are OAuth 1.0a clients that other people wrote, as the tests run them against the real server, before every
change: each gets a token by its own three legs, and sends requests, in every signature method and every place for
the OAuth parameters that it has. Each request is read off the wire and judged by a second, independent reader of RFC 5849.

- ✓: it works. What the API gets is byte for byte what the client sent.
- A number alone: it does not work, by a fault of the client, which the footnote tells with a way around it. With a ✓: read the footnote.
- –: the client has no way to do that.

A client that is not here works if it signs as RFC 5849 says. Where one is refused and you don't see why,
` + "`caddy-oauth1 oauth1 explain`" + ` shows the base string that the server computes from the client's own request.

`

const clientsPageFoot = `
Token: *callback* is the browser that is sent back to the application, *oob* the code that the user types in, *polling*
Launchpad's way without a code; where it says *given*, the client takes a token that was made elsewhere, by the admin API
for example; *none* is a client that signs without one, as a consumer with ` + "`two_legged`" + `.
Repeated names: ` + "`tag=a&tag=b`" + ` in a query. Brackets: ` + "`user[name]`" + ` in a form.

`

// A clientsPage is the page as it is written.
type clientsPage struct {
	strings.Builder
	notes []string
}

// columns are the cases of the table, after the client, its origin, its token, its methods and places.
var columns = []struct{ head, name string }{
	{"Query", "query"}, {"Repeated names", "repeated"}, {"Form", "form"}, {"Brackets", "brackets"},
	{"JSON", "json"}, {"Multipart", "multipart"}, {"Upload", "upload"},
}

func renderClientsPage() string {
	p := &clientsPage{}
	p.WriteString(clientsPageHead)
	p.WriteString("| Client | From | For | Token | Methods | Places |")
	for _, c := range columns {
		p.WriteString(" " + c.head + " |")
	}
	p.WriteString("\n| --- | --- | --- | --- | --- | --- |" + strings.Repeat(" :-: |", len(columns)) + "\n")
	for _, family := range families {
		for _, c := range family {
			m := &matrix{client: c, used: map[string]bool{}}
			fmt.Fprintf(p, "| %s%s | %s | %s | %s | %s | %s |",
				c.name, p.note(c.setup), c.from, c.what, p.tokens(m), p.methods(m), p.places(m))
			for _, column := range columns {
				p.WriteString(" " + p.cell(m, column.name) + " |")
			}
			p.WriteString("\n")
		}
	}
	p.WriteString(clientsPageFoot)
	for i, text := range p.notes {
		fmt.Fprintf(p, "[^%d]: %s\n", i+1, text)
	}
	return p.String()
}

// note returns the mark of a footnote: the same for the same text.
func (p *clientsPage) note(text string) string {
	if text == "" {
		return ""
	}
	i := slices.Index(p.notes, text)
	if i < 0 {
		i = len(p.notes)
		p.notes = append(p.notes, text)
	}
	return fmt.Sprintf("[^%d]", i+1)
}

func (f fault) text() string { return strings.TrimSpace(f.why + " " + f.remedy) }

// tokens is the cell that says how the client gets a token.
func (p *clientsPage) tokens(m *matrix) string {
	c := m.client
	if len(c.legs) == 0 && c.twoLegged {
		return "none"
	}
	if len(c.legs) == 0 {
		return "given"
	}
	var all []string
	for _, way := range c.legs {
		text := way
		if cell := p.cell(m, way); cell != "✓" {
			text += " " + strings.TrimPrefix(cell, "✓ ")
		}
		all = append(all, text)
	}
	return strings.Join(all, ", ")
}

// methods lists the client's methods. A fault that all requests of a method have stands here.
func (p *clientsPage) methods(m *matrix) string {
	var all []string
	before := ""
	for _, method := range m.client.methods {
		kind, hash, _ := strings.Cut(method, "-")
		text := method
		if kind == before {
			text = "-" + hash
		}
		before = kind
		all = append(all, text+p.note(m.client.faults[method+" *"].text()))
	}
	return strings.Join(all, ", ")
}

// places lists where the client puts the OAuth parameters, with the faults that all requests have there.
func (p *clientsPage) places(m *matrix) string {
	var all []string
	for _, placement := range m.client.placements {
		all = append(all, placement+p.note(m.client.faults[placement+" *"].text()))
	}
	return strings.Join(all, ", ")
}

// A combination is a method and a place.
type combination struct{ method, placement string }

// cell is what is known of a case: in every method and place of the client.
func (p *clientsPage) cell(m *matrix, name string) string {
	c := m.client
	var all []combination // those in which the case is worth a look
	able := false
	works := false
	notes := map[string][]combination{}
	var texts []string
	add := func(text string, at combination) {
		if notes[text] == nil {
			texts = append(texts, text)
		}
		notes[text] = append(notes[text], at)
	}
	for _, method := range c.methods {
		for _, placement := range c.placements {
			at := combination{method, placement}
			if placement == "body" && !fitsBody(name) || m.everythingIsWrong(at) {
				continue
			}
			all = append(all, at)
			run := matrixRun{Method: method, Placement: placement}
			if _, unable := claim(m, c.unable, run, name); unable {
				continue
			}
			able = true
			if f, wrong := claim(m, c.faults, run, name); wrong {
				add(f.text(), at)
				continue
			}
			works = true
			if what, differs := claim(m, c.differs, run, name); differs {
				add(what, at)
			}
		}
	}
	if !able {
		return "–"
	}
	var marks string
	for _, text := range texts {
		marks += p.note(scoped(text, notes[text], all))
	}
	if !works {
		return marks
	}
	return strings.TrimSpace("✓ " + marks)
}

// fitsBody reports whether a request of that name can have the OAuth parameters in its body.
func fitsBody(name string) bool {
	return !slices.ContainsFunc(columns, func(c struct{ head, name string }) bool { return c.name == name }) ||
		name == "form" || name == "brackets"
}

// everythingIsWrong reports whether a fault of the method or the place is told in the cells of those.
func (m *matrix) everythingIsWrong(at combination) bool {
	for _, key := range []string{at.method + " *", at.placement + " *"} {
		if _, ok := m.client.faults[key]; ok {
			return true
		}
	}
	return false
}

// scoped says in which combinations a text is true, where it is not all of them.
func scoped(text string, at, all []combination) string {
	if len(at) == len(all) {
		return text
	}
	methods, placements := spread(at)
	allMethods, allPlacements := spread(all)
	var scope string
	switch plaintext := slices.Equal(append(slices.Clone(methods), "PLAINTEXT"), allMethods); {
	case len(at) != len(methods)*len(placements): // no rectangle
		var each []string
		for _, c := range at {
			each = append(each, c.method+" in the "+c.placement)
		}
		scope = "With " + strings.Join(each, ", ")
	case slices.Equal(placements, allPlacements) && plaintext:
		scope = "With all but PLAINTEXT"
	case slices.Equal(placements, allPlacements):
		scope = "With " + strings.Join(methods, ", ")
	case slices.Equal(methods, allMethods):
		scope = "In the " + strings.Join(placements, ", ")
	case plaintext:
		scope = "With all but PLAINTEXT, in the " + strings.Join(placements, ", ")
	default:
		scope = "With " + strings.Join(methods, ", ") + ", in the " + strings.Join(placements, ", ")
	}
	for _, word := range []string{"It", "Its", "The", "A"} {
		if rest, ok := strings.CutPrefix(text, word+" "); ok {
			text = strings.ToLower(word) + " " + rest
			break
		}
	}
	return scope + ": " + text
}

// spread returns the methods and the places of combinations, each once.
func spread(all []combination) (methods, placements []string) {
	for _, c := range all {
		if !slices.Contains(methods, c.method) {
			methods = append(methods, c.method)
		}
		if !slices.Contains(placements, c.placement) {
			placements = append(placements, c.placement)
		}
	}
	return methods, placements
}

// checkClientsPage compares docs/clients.md with what the tables say, or writes it once they are true.
func checkClientsPage(t *testing.T) {
	want := renderClientsPage()
	if *update {
		if t.Failed() {
			t.Log("docs/clients.md is not written: not every row is true")
		} else if err := os.WriteFile(clientsPagePath, []byte(want), 0o644); err != nil {
			t.Error(err)
		}
		return
	}
	got, err := os.ReadFile(clientsPagePath)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		line, is := firstDifference(string(got), want)
		t.Errorf("docs/clients.md differs, run go test ./integration -run TestClients -update; it says\n%s\ninstead of\n%s", is, line)
	}
}

// firstDifference returns the first line in which two texts differ.
func firstDifference(got, want string) (wanted, is string) {
	a, b := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range max(len(a), len(b)) {
		is, wanted := "", ""
		if i < len(a) {
			is = a[i]
		}
		if i < len(b) {
			wanted = b[i]
		}
		if is != wanted {
			return wanted, is
		}
	}
	return "", ""
}
