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

// docs/clients.md is written from the claims in the tables of the matrix. TestClients checks each
// claim in both directions: a case without a claim must pass. So the page is the same on a machine
// that lacks some of the clients.
var clientsPagePath = filepath.Join("..", "docs", "clients.md")

const clientsPageHead = `<!-- Written by "go test ./integration -run TestClients -update". -->

# Will our clients work?

These are OAuth 1.0a clients that other people wrote. The tests run every one of them against the
real server: it gets a token by its own three legs, then sends requests, in every signature method and
in every place for the OAuth parameters that it has. Every request is read off the wire, and is judged
by a second, independent reader of RFC 5849 too.

- ✓: it works. The API gets, byte for byte, what the client sent.
- A number alone: it does not work, by the client's own fault. The footnote says which, and what to do.
- ✓ and a number: it works, but for what the footnote says.
- –: the client has no way to do it.

A client that is not here works if it signs as RFC 5849 says. Where one is refused and you do not see
why, ` + "`caddy-oauth1 oauth1 explain`" + ` shows the base string that the server computes for its request.

Token:

- *callback*: the browser is sent back to the application
- *oob*: the user types in a code
- *polling*: Launchpad's way, without a code
- *given*: the client takes a token that was made elsewhere, by the admin API for example
- *none*: the client signs without a token, as a consumer with ` + "`two_legged`" + `

Repeated names are ` + "`tag=a&tag=b`" + ` in a query; brackets are ` + "`user[name]`" + ` in a form.
`

// A clientsPage is the page while it is written.
type clientsPage struct {
	strings.Builder
	notes []string
}

// columns are the cases of the table, after the client, its origin, its token, its methods and
// places.
var columns = []struct{ head, name string }{
	{"Query", "query"}, {"Repeated names", "repeated"}, {"Form", "form"}, {"Brackets", "brackets"},
	{"JSON", "json"}, {"Multipart", "multipart"}, {"Upload", "upload"},
}

func renderClientsPage() string {
	p := &clientsPage{}
	p.WriteString(clientsPageHead)
	for _, family := range families {
		p.WriteString("\n## " + family.name + "\n\n| Client | From | For | Token | Methods | Places |")
		for _, c := range columns {
			p.WriteString(" " + c.head + " |")
		}
		p.WriteString("\n| --- | --- | --- | --- | --- | --- |" + strings.Repeat(" :-: |", len(columns)) + "\n")
		for _, c := range family.clients {
			m := &matrix{client: c, used: map[string]bool{}}
			fmt.Fprintf(p, "| %s%s | %s | %s | %s | %s | %s |",
				c.name, p.note(c.setup), c.from, c.what, p.tokens(m), p.methods(m), p.places(m))
			for _, column := range columns {
				p.WriteString(" " + p.cell(m, column.name) + " |")
			}
			p.WriteString("\n")
		}
	}
	p.WriteString("\n")
	for i, text := range p.notes {
		fmt.Fprintf(p, "[^%d]: %s\n", i+1, text)
	}
	return p.String()
}

// note returns the mark of a footnote. The same text always has the same mark.
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

// tokens returns the cell about the ways in which the client gets a token.
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
		all = append(all, way+" "+p.cell(m, way))
	}
	return strings.Join(all, ", ")
}

// methods lists the client's methods. A fault of all requests of a method stands here.
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

// places lists where the client puts the OAuth parameters, with the faults of all requests there.
func (p *clientsPage) places(m *matrix) string {
	var all []string
	faults := m.client.faults
	for _, placement := range m.client.placements {
		text := placement + p.note(faults[placement+" *"].text())
		for _, method := range m.client.methods {
			if f, wrong := faults[method+" "+placement+" *"]; wrong {
				text += p.note(under("With "+method, f.text()))
			}
		}
		all = append(all, text)
	}
	return strings.Join(all, ", ")
}

// A combination is a method and a place.
type combination struct{ method, placement string }

// An outcome is the claim about a case in one method and place.
type outcome struct {
	combination
	able, works bool
	text        string // for a footnote, or empty
}

// outcomes returns the outcomes of a case in all methods and places where it can be sent. It leaves
// out faults that stand in the cells of the methods and places.
func (m *matrix) outcomes(name string) []outcome {
	c := m.client
	var all []outcome
	for _, method := range c.methods {
		for _, placement := range c.placements {
			o := outcome{combination: combination{method, placement}, able: true, works: true}
			if !fitsName(name, placement) || m.everythingIsWrong(o.combination) {
				continue
			}
			run := matrixRun{Method: method, Placement: placement}
			if why, unable := claim(m, c.unable, run, name); unable {
				o.able, o.works, o.text = false, false, why
			} else if f, wrong := claim(m, c.faults, run, name); wrong {
				o.works, o.text = false, f.text()
			} else if why, forgiven := claim(m, c.forgiven, run, name); forgiven {
				o.text = why + " The server forgives it."
			} else {
				o.text, _ = claim(m, c.differs, run, name)
			}
			all = append(all, o)
		}
	}
	return all
}

// cell returns the cell of a case.
func (p *clientsPage) cell(m *matrix, name string) string {
	all := m.outcomes(name)
	if !slices.ContainsFunc(all, func(o outcome) bool { return o.able }) {
		return "–"
	}
	var marks string
	var told []string
	for _, o := range all {
		if o.text != "" && !slices.Contains(told, o.text) {
			told = append(told, o.text)
			marks += p.note(scoped(o.text, all))
		}
	}
	// If only PLAINTEXT works, the case counts as a fault, because PLAINTEXT does not cover a
	// request.
	plain := !slices.ContainsFunc(all, func(o outcome) bool { return o.works && o.method != "PLAINTEXT" })
	wrong := slices.ContainsFunc(all, func(o outcome) bool { return o.able && !o.works })
	if plain && wrong {
		return marks
	}
	return strings.TrimSpace("✓ " + marks)
}

// fitsName is matrixRequest.fits for the request of that name. Ways to get a token fit every place.
func fitsName(name, placement string) bool {
	for _, r := range matrixRequests("", "") {
		if r.Name == name {
			return r.fits(placement)
		}
	}
	return true
}

// everythingIsWrong reports whether the cells of the methods and places tell a fault of the
// combination.
func (m *matrix) everythingIsWrong(at combination) bool {
	for _, key := range []string{at.method + " " + at.placement + " *", at.method + " *", at.placement + " *"} {
		if _, ok := m.client.faults[key]; ok {
			return true
		}
	}
	return false
}

// scoped adds to a text the methods and places in which it is true, unless it is true in all.
func scoped(text string, outcomes []outcome) string {
	var at, all []combination
	for _, o := range outcomes {
		all = append(all, o.combination)
		if o.text == text {
			at = append(at, o.combination)
		}
	}
	if len(at) == len(all) {
		return text
	}
	methods, placements := spread(at)
	allMethods, allPlacements := spread(all)
	signed := "With " + strings.Join(methods, ", ")
	if slices.Equal(append(methods, "PLAINTEXT"), allMethods) {
		signed = "With all but PLAINTEXT"
	}
	var scope string
	switch {
	case len(at) != len(methods)*len(placements): // the combinations form no rectangle
		var each []string
		for _, c := range at {
			each = append(each, c.method+" in the "+c.placement)
		}
		scope = "With " + strings.Join(each, ", ")
	case slices.Equal(placements, allPlacements):
		scope = signed
	case slices.Equal(methods, allMethods):
		scope = "In the " + strings.Join(placements, ", ")
	default:
		scope = signed + ", in the " + strings.Join(placements, ", ")
	}
	return under(scope, text)
}

// under puts the scope before a sentence.
func under(scope, text string) string {
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

// checkClientsPage compares docs/clients.md with the tables. With -update it writes the page
// instead.
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
		t.Errorf("docs/clients.md says\n%s\ninstead of\n%s\n"+
			"Run go test ./integration -run TestClients -update", is, line)
	}
}

// firstDifference returns the first lines in which two texts differ.
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

func TestACellSaysWhatIsClaimed(t *testing.T) {
	t.Parallel()
	wrong := fault{why: "It errs.", remedy: "Do not."}
	for _, c := range []struct {
		rule         string
		client       matrixClient
		name         string
		cell, footer string
	}{
		{"nothing is claimed", matrixClient{}, "query", "✓", ""},
		{"wrong everywhere", matrixClient{faults: map[string]fault{"query": wrong}}, "query",
			"[^1]", "It errs. Do not."},
		{"wrong elsewhere", matrixClient{faults: map[string]fault{"json": wrong}}, "query", "✓", ""},
		{"wrong in a place", matrixClient{faults: map[string]fault{"query form": wrong}}, "form",
			"✓ [^1]", "In the query: it errs. Do not."},
		{"wrong with a method", matrixClient{faults: map[string]fault{"RSA-SHA1 query": wrong}}, "query",
			"✓ [^1]", "With RSA-SHA1: it errs. Do not."},
		{"wrong with all that covers the request", matrixClient{
			faults: map[string]fault{"RSA-SHA1 query": wrong, "HMAC-SHA1 query": wrong},
		}, "query", "[^1]", "With all but PLAINTEXT: it errs. Do not."},
		{"a place's fault is told there", matrixClient{faults: map[string]fault{"query *": wrong}}, "query",
			"✓", ""},
		{"unable", matrixClient{unable: map[string]string{"query": "No."}}, "query", "–", ""},
		{"unable in a place", matrixClient{unable: map[string]string{"query query": "It can't."}}, "query",
			"✓ [^1]", "In the query: it can't."},
		{"forgiven", matrixClient{forgiven: map[string]string{"query": "It errs."}}, "query",
			"✓ [^1]", "It errs. The server forgives it."},
		{"something else", matrixClient{differs: map[string]string{"query": "It adds a name."}}, "query",
			"✓ [^1]", "It adds a name."},
	} {
		t.Run(c.rule, func(t *testing.T) {
			c.client.methods = []string{"HMAC-SHA1", "RSA-SHA1", "PLAINTEXT"}
			c.client.placements = []string{"header", "query", "body"}
			p := &clientsPage{}
			cell := p.cell(&matrix{client: c.client, used: map[string]bool{}}, c.name)
			if footer := strings.Join(p.notes, "|"); cell != c.cell || footer != c.footer {
				t.Errorf("%s, %q; want %s, %q", cell, footer, c.cell, c.footer)
			}
		})
	}
}
