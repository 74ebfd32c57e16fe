package caddymodule

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"math"
	"mime"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// Pages is how the pages look at which people grant and revoke.
type Pages struct {
	// What the pages call this site. Default: the host of the request.
	Name string `json:"name,omitempty"`
	// A file with the site's logo: PNG, SVG, JPEG, WebP or GIF, at most 64 KiB, since it stands in every page. It is
	// shown 40 pixels high. Default: none.
	Logo string `json:"logo,omitempty"`
	// The colour of buttons, as rgb or rrggbb, with or without a # before it (which a Caddyfile takes for a comment unless
	// it is quoted). The text on it is black or white, whichever reads better. Default: 2f56c5
	Accent string `json:"accent,omitempty"`
	// The same for people whose system asks for dark colours. Default: Accent, or 9db6ff
	AccentDark string `json:"accent_dark,omitempty"`
	// A folder with files that replace the built-in ones of the same name: layout.html, authorize.html, done.html,
	// message.html, tokens.html, style.css. They are Go templates (html/template), tried out when the configuration is
	// loaded. The pages' policy admits no script and no other style than style.css. Default: none.
	Templates string `json:"templates,omitempty"`

	templates map[string]*template.Template // by file name
	style     template.CSS
	logo      template.URL
	policy    string // Content-Security-Policy, but for form-action
}

//go:embed pages
var builtinPages embed.FS

const (
	pageLayout    = "layout.html"
	pageAuthorize = "authorize.html"
	pageDone      = "done.html"
	pageMessage   = "message.html"
	pageTokens    = "tokens.html"
	pageStyle     = "style.css"
)

// maxLogo is in bytes.
const maxLogo = 64 << 10

// provision expands placeholders, reads the files, and tries every template.
func (p *Pages) provision() error {
	repl := caddy.NewReplacer()
	for _, option := range []struct {
		name  string
		value *string
	}{
		{"name", &p.Name},
		{"logo", &p.Logo},
		{"accent", &p.Accent},
		{"accent_dark", &p.AccentDark},
		{"templates", &p.Templates},
	} {
		if *option.value == "" {
			continue
		}
		value, err := repl.ReplaceOrErr(*option.value, true, true)
		if err != nil {
			return fmt.Errorf("pages: %s %q: %w", option.name, *option.value, err)
		}
		*option.value = value
	}
	if p.Name != "" {
		if err := checkText("name", p.Name); err != nil {
			return fmt.Errorf("pages: %w", err)
		}
	}
	if err := p.readLogo(); err != nil {
		return fmt.Errorf("pages: logo %q: %w", p.Logo, err)
	}
	files, err := p.files()
	if err != nil {
		return fmt.Errorf("pages: templates %q: %w", p.Templates, err)
	}
	colours, err := p.colours()
	if err != nil {
		return fmt.Errorf("pages: %w", err)
	}
	if strings.Contains(strings.ToLower(files[pageStyle]), "</style") {
		return fmt.Errorf("pages: templates %q: %s: must not hold </style", p.Templates, pageStyle)
	}
	p.style = template.CSS(normalNewlines.Replace(files[pageStyle] + colours))
	p.policy = p.contentSecurityPolicy()
	if err := p.parse(files); err != nil {
		return fmt.Errorf("pages: templates %q: %w", p.Templates, err)
	}
	return nil
}

// normalNewlines does what a browser does before it hashes a style sheet.
var normalNewlines = strings.NewReplacer("\r\n", "\n", "\r", "\n")

func (p *Pages) contentSecurityPolicy() string {
	sum := sha256.Sum256([]byte(p.style))
	policy := "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; base-uri 'none'; frame-ancestors 'none'"
	if p.logo != "" {
		policy += "; img-src data:"
	}
	return policy
}

func (p *Pages) readLogo() error {
	if p.Logo == "" {
		return nil
	}
	content, err := os.ReadFile(p.Logo)
	if err != nil {
		return err
	}
	if len(content) > maxLogo {
		return fmt.Errorf("is larger than %d bytes", maxLogo)
	}
	kind := mime.TypeByExtension(strings.ToLower(filepath.Ext(p.Logo)))
	switch kind, _, _ = mime.ParseMediaType(kind); kind {
	case "image/svg+xml":
	case "image/png", "image/jpeg", "image/webp", "image/gif":
		if found := http.DetectContentType(content); found != kind {
			return fmt.Errorf("is %s and not %s as its name says", found, kind)
		}
	default:
		return errors.New("must be a PNG, SVG, JPEG, WebP or GIF file")
	}
	p.logo = template.URL("data:" + kind + ";base64," + base64.StdEncoding.EncodeToString(content))
	return nil
}

// files returns the texts of all templates and of the style sheet, by name.
func (p *Pages) files() (map[string]string, error) {
	files := make(map[string]string)
	builtin, err := fs.Sub(builtinPages, "pages")
	if err != nil {
		return nil, err
	}
	if err := readFiles(files, builtin); err != nil {
		return nil, err
	}
	if p.Templates == "" {
		return files, nil
	}
	own := make(map[string]string)
	if err := readFiles(own, os.DirFS(p.Templates)); err != nil {
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

// parse parses the templates and tries each with everything that it may have to show.
func (p *Pages) parse(files map[string]string) error {
	layout, err := template.New(pageLayout).Funcs(pageFuncs).Parse(files[pageLayout])
	if err != nil {
		return err
	}
	p.templates = make(map[string]*template.Template)
	for _, name := range []string{pageAuthorize, pageDone, pageMessage, pageTokens} {
		page, err := layout.Clone()
		if err != nil {
			return err
		}
		if page, err = page.New(name).Parse(files[name]); err != nil {
			return err
		}
		p.templates[name] = page.Lookup(pageLayout)
	}
	for _, sample := range samplePages() {
		sample.Style, sample.Logo = p.style, p.logo
		if err := p.templates[sample.file].Execute(new(bytes.Buffer), sample); err != nil {
			return err
		}
	}
	return nil
}

// samplePages are pages with all that templates may meet, to try them with.
func samplePages() []*pageView {
	app := applicationView{Key: "key", Name: "Name", Homepage: "https://example.com/", Initial: "N", SelfRegistered: true}
	grant := grantView{Key: "key", CSRF: "x", Title: "Title", Context: "context", Created: time.Unix(1, 0), LastUsed: time.Unix(1, 0), Expires: time.Unix(1, 0)}
	choice := choiceView{Value: "value", Title: "Title", Description: "description", Checked: true}
	var views []*pageView
	for file, pages := range map[string][]any{
		pageAuthorize: {
			authorizeView{
				Application: app, Context: "context", Computer: &computer{Type: "type", Host: "host"}, CSRF: "x",
				Levels: []choiceView{choice, choice}, Lifetimes: []choiceView{choice, choice}, Destination: "example.com", Polling: true, OutOfBand: true,
			},
			authorizeView{},
		},
		pageDone: {
			doneView{Application: app, Granted: true, Verifier: "x"},
			doneView{},
		},
		pageMessage: {
			messageView{Title: "Title", Text: "text", Advice: "advice", Link: "?", LinkText: "link"},
			messageView{},
		},
		pageTokens: {
			tokensView{Revoked: "x", First: "?", Next: "?", Applications: []grantsView{{Application: app, CSRF: "x", Grants: []grantView{grant, grant}}}},
			tokensView{},
		},
	} {
		for _, page := range pages {
			views = append(views, &pageView{file: file, Site: "site", Initial: "S", User: "user", Tokens: "/", Page: page})
		}
	}
	return views
}

// A colour is red, green and blue.
type colour [3]byte

var (
	black = colour{}
	white = colour{0xff, 0xff, 0xff}
	// What style.css has as --surface.
	lightSurface = white
	darkSurface  = colour{0x1c, 0x20, 0x2a}

	defaultAccent     = colour{0x2f, 0x56, 0xc5}
	defaultAccentDark = colour{0x9d, 0xb6, 0xff}
)

func parseColour(option, text string) (colour, error) {
	digits := strings.TrimPrefix(text, "#")
	if len(digits) == 3 {
		digits = string([]byte{digits[0], digits[0], digits[1], digits[1], digits[2], digits[2]})
	}
	n, err := strconv.ParseUint(digits, 16, 24)
	if len(digits) != 6 || err != nil {
		return colour{}, fmt.Errorf("%s %q: must be a colour such as 2f56c5", option, text)
	}
	return colour{byte(n >> 16), byte(n >> 8), byte(n)}, nil
}

func (c colour) String() string { return fmt.Sprintf("#%02x%02x%02x", c[0], c[1], c[2]) }

// colours is the part of the style sheet that depends on the accent.
func (p *Pages) colours() (string, error) {
	light, dark := defaultAccent, defaultAccentDark
	var err error
	if p.Accent != "" {
		if light, err = parseColour("accent", p.Accent); err != nil {
			return "", err
		}
		dark = light
	}
	if p.AccentDark != "" {
		if dark, err = parseColour("accent_dark", p.AccentDark); err != nil {
			return "", err
		}
	}
	return ":root{" + accentOn(light, lightSurface) + "}\n" +
		"@media (prefers-color-scheme:dark){:root{" + accentOn(dark, darkSurface) + "}}\n", nil
}

// accentOn are the properties of an accent: itself, the text on it, and what is drawn with it on the surface, which
// is the text's colour where the accent would be too faint (WCAG 2.2 success criterion 1.4.11).
func accentOn(accent, surface colour) string {
	text := white
	if contrast(black, accent) > contrast(white, accent) {
		text = black
	}
	control := accent.String()
	if contrast(accent, surface) < 4.5 {
		control = "var(--ink)"
	}
	return fmt.Sprintf("--accent:%v;--on-accent:%v;--control:%s", accent, text, control)
}

// contrast is the contrast ratio of WCAG 2.2, 1 to 21.
func contrast(a, b colour) float64 {
	l := []float64{a.luminance(), b.luminance()}
	slices.Sort(l)
	return (l[1] + 0.05) / (l[0] + 0.05)
}

// luminance is the relative luminance of WCAG 2.2, 0 to 1.
func (c colour) luminance() float64 {
	var linear [3]float64
	for i, v := range c {
		s := float64(v) / 255
		if s <= 0.04045 {
			linear[i] = s / 12.92
			continue
		}
		linear[i] = math.Pow((s+0.055)/1.055, 2.4)
	}
	return 0.2126*linear[0] + 0.7152*linear[1] + 0.0722*linear[2]
}
