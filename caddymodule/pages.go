package caddymodule

import (
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"mime"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/pages"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/policy"
)

// Pages sets the look of the pages where users grant and revoke access, and the choices that they
// propose.
type Pages struct {
	// The name of this site on the pages. Default: the host of the request.
	Name string `json:"name,omitempty"`
	// A file with the site's logo: PNG, SVG, JPEG, WebP or GIF, at most 64 KiB, because every page
	// contains it. It is shown 40 pixels high. Default: none.
	Logo string `json:"logo,omitempty"`
	// The colour of buttons, as rgb or rrggbb, with or without a # before it. In a Caddyfile, quote
	// a value with #, or it is read as a comment. The text on the buttons is black or white,
	// whichever is more readable. Default: 2f56c5
	Accent string `json:"accent,omitempty"`
	// The colour of buttons for people whose system asks for dark colours. Default: Accent, or
	// 9db6ff
	AccentDark string `json:"accent_dark,omitempty"`
	// The only language of the pages: en, de, fr, es, pt-BR (or pt), ja, zh-Hans or ar. Titles and
	// descriptions of declared permissions are not translated. Default: the one of these that fits
	// the browser's Accept-Language best, or English.
	Language string `json:"language,omitempty"`
	// The permission level that is already chosen when the page opens, if it is offered. Default:
	// none; the user must choose. Danger: people who don't read the page grant this level.
	DefaultPermission string `json:"default_permission,omitempty"`
	// The lifetime that is already chosen: 1h, 1d, 7d, or never. With never, access lasts until the
	// user revokes it, or as long as access_token_lifetime allows. The lifetime can't be longer
	// than access_token_lifetime. Default: 7d, or the longest offered lifetime that is shorter.
	// Danger of never: access that is no longer needed stays.
	DefaultLifetime string `json:"default_lifetime,omitempty"`
	// A folder with files that replace the built-in ones of the same name: layout.html,
	// authorize.html, done.html, message.html, tokens.html, style.css. They are Go templates
	// (html/template), and are tested when the configuration is loaded. {{text "button.allow"}} is
	// a text of the catalogues in the language of the page; {{.Language}} and {{.Direction}} are
	// for the html element. The pages' Content-Security-Policy allows no script, and no style
	// except style.css. Default: none.
	Templates string `json:"templates,omitempty"`

	set      *pages.Set
	lifetime time.Duration // DefaultLifetime; 0 for never
}

// maxLogo is in bytes.
const maxLogo = 64 << 10

// provision expands placeholders, reads the files, and runs every template once.
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
		{"language", &p.Language},
		{"default_permission", &p.DefaultPermission},
		{"default_lifetime", &p.DefaultLifetime},
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
	logo, err := p.readLogo()
	if err != nil {
		return fmt.Errorf("pages: logo %q: %w", p.Logo, err)
	}
	if p.lifetime, err = parseDefaultLifetime(p.DefaultLifetime); err != nil {
		return fmt.Errorf("pages: %w", err)
	}
	p.set, err = pages.New(pages.Options{
		Logo: logo, Accent: p.Accent, AccentDark: p.AccentDark, Templates: p.Templates, Language: p.Language,
	})
	if err != nil {
		return fmt.Errorf("pages: %w", err)
	}
	return nil
}

// defaultLifetime is already chosen if the operator configured nothing else.
const defaultLifetime = 7 * 24 * time.Hour

// parseDefaultLifetime reads one of the lifetimes that users may choose; 0 means never.
func parseDefaultLifetime(text string) (time.Duration, error) {
	switch text {
	case "":
		return defaultLifetime, nil
	case "never":
		return 0, nil
	}
	length, err := caddy.ParseDuration(text)
	offered := func(l lifetimeChoice) bool { return l.length == length }
	if err != nil || length == 0 || !slices.ContainsFunc(lifetimes, offered) {
		return 0, fmt.Errorf("default_lifetime %q: is not offered; must be one of 1h, 1d, 7d or never", text)
	}
	return length, nil
}

// validate refuses defaults that no page can offer: a level that is not among the site's, or a
// lifetime beyond the app's limit (0: no limit).
func (p *Pages) validate(declared *policy.Levels, permissions []string, most time.Duration) error {
	if level := p.DefaultPermission; level != "" {
		if err := checkDefaultPermission(level, declared); err != nil {
			return fmt.Errorf("pages: %w", err)
		}
		if !slices.Contains(permissions, level) {
			return fmt.Errorf("pages: default_permission %q: is not among the permissions of the site", level)
		}
	}
	if p.DefaultLifetime != "" && most > 0 && p.lifetime > most {
		return fmt.Errorf("pages: default_lifetime %q: is longer than access_token_lifetime %v allows",
			p.DefaultLifetime, most)
	}
	return nil
}

// checkDefaultPermission refuses a level that users can't choose from a list.
func checkDefaultPermission(level string, declared *policy.Levels) error {
	if _, ok := declared.Find(level); !ok {
		return fmt.Errorf("default_permission %q: is not declared", level)
	}
	if level == policy.DesktopIntegration {
		return fmt.Errorf("default_permission %q: is never offered beside others", level)
	}
	return nil
}

// readLogo returns the logo as a data URL, or an empty one if there is none.
func (p *Pages) readLogo() (template.URL, error) {
	if p.Logo == "" {
		return "", nil
	}
	content, err := os.ReadFile(p.Logo)
	if err != nil {
		return "", err
	}
	if len(content) > maxLogo {
		return "", fmt.Errorf("is larger than %d bytes", maxLogo)
	}
	kind := mime.TypeByExtension(strings.ToLower(filepath.Ext(p.Logo)))
	switch kind, _, _ = mime.ParseMediaType(kind); kind {
	case "image/svg+xml":
	case "image/png", "image/jpeg", "image/webp", "image/gif":
		if found := http.DetectContentType(content); found != kind {
			return "", fmt.Errorf("is %s and not %s as its name says", found, kind)
		}
	default:
		return "", errors.New("must be a PNG, SVG, JPEG, WebP or GIF file")
	}
	return template.URL("data:" + kind + ";base64," + base64.StdEncoding.EncodeToString(content)), nil
}
