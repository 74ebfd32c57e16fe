package pages

import (
	"cmp"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

//go:embed *.html *.css
var builtinFiles embed.FS

const (
	fileLayout    = "layout.html"
	fileAuthorize = "authorize.html"
	fileDone      = "done.html"
	fileMessage   = "message.html"
	fileTokens    = "tokens.html"
	fileStyle     = "style.css"
)

// Options are what a site may choose about its pages.
type Options struct {
	// Logo is a data URL; empty for none.
	Logo template.URL
	// Accent and AccentDark are colours; empty for the defaults.
	Accent, AccentDark string
	// Templates is a folder with files that replace the built-in ones of the same name; empty for none.
	Templates string
	// Language is the only one of the pages; empty for what each browser asks for.
	Language string
}

// A Set is the pages of a site.
type Set struct {
	languages []*Language
	fixed     *Language
	style     template.CSS
	logo      template.URL
	policy    string

	parsed map[string]*template.Template // by file name; never executed, so that they can be cloned
	mu     sync.Mutex
	// translated are those of a language, made when they are first needed: most sites need few.
	translated map[*Language]map[string]*template.Template
}

// New reads the templates, and tries each with everything that it may have to show.
func New(o Options) (*Set, error) {
	languages, err := builtin()
	if err != nil {
		return nil, err
	}
	s := &Set{languages: languages, logo: o.Logo}
	if o.Language != "" {
		if err := CheckLanguage(o.Language); err != nil {
			return nil, err
		}
		s.fixed = languages[slices.Index(Languages, cmp.Or(shortTags[o.Language], o.Language))]
		s.languages = []*Language{s.fixed}
	}
	files, err := templateFiles(o.Templates)
	if err != nil {
		return nil, fmt.Errorf("templates %q: %w", o.Templates, err)
	}
	accents, err := colours(o.Accent, o.AccentDark)
	if err != nil {
		return nil, err
	}
	if strings.Contains(strings.ToLower(files[fileStyle]), "</style") {
		return nil, fmt.Errorf("templates %q: %s: must not hold </style", o.Templates, fileStyle)
	}
	s.style = template.CSS(normalNewlines.Replace(files[fileStyle] + accents))
	s.policy = s.contentSecurityPolicy()
	if err := s.parse(files); err != nil {
		return nil, fmt.Errorf("templates %q: %w", o.Templates, err)
	}
	return s, nil
}

// Language is the one that suits an Accept-Language header best, of which there may be several
// lines.
func (s *Set) Language(acceptLanguage []string) *Language {
	if s.fixed != nil {
		return s.fixed
	}
	return s.languages[match(acceptLanguage)]
}

// Varies reports whether the language depends on the browser.
func (s *Set) Varies() bool { return s.fixed == nil }

// ContentSecurityPolicy is that of every page, but for form-action.
func (s *Set) ContentSecurityPolicy() string { return s.policy }

// Render writes a page in a language of the set.
func (s *Set) Render(w io.Writer, l *Language, v View) error {
	file, err := fileOf(v.Page)
	if err != nil {
		return err
	}
	v.Logo, v.Style, v.Language, v.Direction = s.logo, s.style, l.Tag(), l.Direction()
	templates, err := s.in(l)
	if err != nil {
		return err
	}
	if err := templates[file].Execute(w, v); err != nil {
		return fmt.Errorf("page %s: %w", file, err)
	}
	return nil
}

// in returns the templates with the functions of a language.
func (s *Set) in(l *Language) (map[string]*template.Template, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if templates := s.translated[l]; templates != nil {
		return templates, nil
	}
	templates := make(map[string]*template.Template)
	for name, page := range s.parsed {
		own, err := page.Clone()
		if err != nil {
			return nil, err
		}
		templates[name] = own.Funcs(l.funcs())
	}
	s.translated[l] = templates
	return templates, nil
}

func fileOf(page any) (string, error) {
	switch page.(type) {
	case Authorize:
		return fileAuthorize, nil
	case Done:
		return fileDone, nil
	case Message:
		return fileMessage, nil
	case Tokens:
		return fileTokens, nil
	}
	return "", fmt.Errorf("there is no page for a %T", page)
}

// normalNewlines does what a browser does before it hashes a style sheet.
var normalNewlines = strings.NewReplacer("\r\n", "\n", "\r", "\n")

func (s *Set) contentSecurityPolicy() string {
	sum := sha256.Sum256([]byte(s.style))
	policy := "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; base-uri 'none'; frame-ancestors 'none'"
	if s.logo != "" {
		policy += "; img-src data:"
	}
	return policy
}

// templateFiles returns the texts of all templates and of the style sheet, by name.
func templateFiles(folder string) (map[string]string, error) {
	files := make(map[string]string)
	if err := readFiles(files, builtinFiles); err != nil {
		return nil, err
	}
	if folder == "" {
		return files, nil
	}
	own := make(map[string]string)
	if err := readFiles(own, os.DirFS(folder)); err != nil {
		return nil, err
	}
	for name, text := range own {
		if _, ok := files[name]; !ok {
			return nil, fmt.Errorf("%s: is not the name of a page's file", name)
		}
		files[name] = text
	}
	return files, nil
}

func readFiles(files map[string]string, folder fs.FS) error {
	entries, err := fs.ReadDir(folder, ".")
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.IsDir() || strings.HasPrefix(entry.Name(), ".") {
			continue
		}
		text, err := fs.ReadFile(folder, entry.Name())
		if err != nil {
			return err
		}
		files[entry.Name()] = string(text)
	}
	return nil
}

func (s *Set) parse(files map[string]string) error {
	layout, err := template.New(fileLayout).Funcs(s.languages[0].funcs()).Parse(files[fileLayout])
	if err != nil {
		return err
	}
	s.parsed = make(map[string]*template.Template)
	s.translated = make(map[*Language]map[string]*template.Template)
	for _, name := range []string{fileAuthorize, fileDone, fileMessage, fileTokens} {
		page, err := layout.Clone()
		if err != nil {
			return err
		}
		if _, err = page.New(name).Parse(files[name]); err != nil {
			return err
		}
		s.parsed[name] = page
	}
	for _, sample := range samples() {
		if err := s.Render(io.Discard, s.languages[0], sample); err != nil {
			return err
		}
	}
	return nil
}

// samples are pages with all that templates may meet, to try them with.
func samples() []View {
	app := Application{
		Key: "key", Name: "Name", Homepage: "https://example.com/", Contact: "a@example.com",
		Initial: "N", SelfRegistered: true,
	}
	unknown := Application{Key: "key", Name: "Name", Initial: "N", Anybody: true}
	at := time.Unix(1, 0)
	grant := Grant{
		Key: "key", CSRF: "x", Title: "Title", Context: "context", Created: at, LastUsed: at, Expires: at,
	}
	claimed := Grant{Key: "key", Title: "Title", Declared: true, Context: "context", ContextClaimed: true}
	choice := Choice{Value: "value", Title: "Title", Description: "description", Checked: true}
	declared := Choice{Value: "value", Title: "Title", Description: "description", Declared: true}
	var views []View
	for _, page := range []any{
		Authorize{
			Application: app, Context: "context", Computer: &Computer{Type: "type", Host: "host"},
			CSRF: "x", Proof: "x", Destination: "https://example.com", Polling: true,
			Levels: []Choice{choice}, Lifetimes: []Choice{choice, choice},
		},
		Authorize{
			Application: app, Levels: []Choice{choice, choice}, Lifetimes: []Choice{choice}, OutOfBand: true,
		},
		Authorize{
			Application: unknown, Context: "context", ContextClaimed: true, Levels: []Choice{declared, declared},
		},
		Authorize{Application: unknown, Levels: []Choice{declared}},
		Authorize{
			Application: unknown, Computer: &Computer{Type: "type", Host: "host"}, Levels: []Choice{declared},
		},
		Authorize{},
		Done{Application: app, Granted: true, Verifier: "x"},
		Done{Application: app, Granted: true, Finished: true},
		Done{Application: app, Granted: true},
		Done{},
		Message{Title: "Title", Text: "text", Advice: "advice", Link: "?", LinkText: "link"},
		Message{},
		Tokens{
			Revoked: "x", First: "?", Next: "?",
			Applications: []Grants{{Application: app, CSRF: "x", Grants: []Grant{grant, claimed, {}}}},
		},
		Tokens{},
	} {
		views = append(views, View{Site: "site", Initial: "S", User: "user", Tokens: "/", Page: page})
	}
	return views
}
