package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// How the pages look, and whether everybody can read them. SCREENSHOTS=folder keeps pictures of all
// of them.

// axeCore is axe-core's script: `npm ci` in clients/axe installs it.
const axeCore = "clients/axe/node_modules/axe-core/axe.min.js"

// TestBrowserAccessibility runs axe-core in every page, in light and in dark colours.
func TestBrowserAccessibility(t *testing.T) {
	b := startBrowser(t, site{
		App:    browserApp + "registration open\n",
		OAuth1: "pages {\n\tname \"Example Forge\"\n}",
	})
	demo := b.walker(t, "demo")
	for _, permission := range []string{"READ_PUBLIC", "WRITE_PRIVATE"} {
		b.srv.issue(t, "demo", "salgado", permission, object{"context": "firefox"})
	}
	b.srv.issue(t, "desk", "salgado", "READ_PUBLIC", object{"lifetime": "24h"})
	waiting := demo.requestToken(pair{"oauth_callback", "https://dashboard.example.com/callback"})

	pages := []look{
		{"authorize", func(tb *tab) { tb.open(b.page(waiting, "lp.context", "firefox")) }},
		{"authorize-chosen", func(tb *tab) {
			tb.open(b.page(waiting))
			tb.choose("permission", "READ_PRIVATE")
		}},
		{"authorize-one-level", func(tb *tab) { tb.open(b.page(demo.requestToken(), "allow_permission", "READ_PUBLIC")) }},
		{"authorize-polling", func(tb *tab) { tb.open(b.page(demo.requestToken())) }},
		{"authorize-oob", func(tb *tab) { tb.open(b.page(demo.requestToken(pair{"oauth_callback", "oob"}))) }},
		{"authorize-self-registered", func(tb *tab) {
			own := walker{t, b.srv, "somebody's script", ""}
			tb.open(b.page(own.requestToken()))
		}},
		{"authorize-computer", func(tb *tab) {
			tok := b.walker(t, "System-wide: Ubuntu (laptop)").requestToken()
			tb.open(b.page(tok, "allow_permission", "DESKTOP_INTEGRATION"))
		}},
		{"done", func(tb *tab) {
			tb.open(b.page(demo.requestToken()))
			tb.choose("permission", "READ_PUBLIC")
			tb.press(allow)
		}},
		{"done-code", func(tb *tab) {
			tb.open(b.page(demo.requestToken(pair{"oauth_callback", "oob"})))
			tb.choose("permission", "READ_PUBLIC")
			tb.press(allow)
		}},
		{"done-refused", func(tb *tab) {
			tb.open(b.page(demo.requestToken()))
			tb.press(refuse)
		}},
		{"unknown", func(tb *tab) { tb.open(b.page(token{Key: "nonesuch"})) }},
		{"reviewed", func(tb *tab) {
			tok := demo.requestToken()
			b.srv.review(t, tok.Key, "salgado", "READ_PUBLIC", nil)
			tb.open(b.page(tok))
		}},
		{"reviewed-by-another", func(tb *tab) {
			tok := demo.requestToken()
			b.srv.review(t, tok.Key, "somebody", "READ_PUBLIC", nil)
			tb.open(b.page(tok))
		}},
		{"stale", func(tb *tab) {
			tb.open(b.page(demo.requestToken()))
			script[string](tb, `document.querySelector("input[name=csrf]").value = "x"`)
			tb.press(refuse)
			tb.wantText("Please look again")
		}},
		{"tokens", func(tb *tab) { tb.open(b.srv.origin() + "/+oauth-tokens") }},
		{"tokens-revoked", func(tb *tab) {
			b.srv.issue(t, "demo", "salgado", "READ_PRIVATE", nil)
			tb.open(b.srv.origin() + "/+oauth-tokens")
			tb.press(".app-head button")
			for _, permission := range []string{"READ_PUBLIC", "WRITE_PRIVATE"} {
				b.srv.issue(t, "demo", "salgado", permission, object{"context": "firefox"})
			}
		}},
		{"tokens-none", func(tb *tab) {
			tb.do(command(network.SetExtraHTTPHeaders,
				network.SetExtraHTTPHeadersParams{Headers: network.Headers{"X-Test-User": "nobody"}}))
			tb.open(b.srv.origin() + "/+oauth-tokens")
			tb.do(command(network.SetExtraHTTPHeaders,
				network.SetExtraHTTPHeadersParams{Headers: network.Headers{"X-Test-User": "salgado"}}))
		}},
	}
	lookAt(t, b.tab(t, "salgado"), pages)
}

// A look is a page, with the way to reach it.
type look struct {
	name string
	open func(tb *tab)
}

func lookAt(t *testing.T, tb *tab, pages []look) {
	t.Helper()
	for _, p := range pages {
		t.Run(p.name, func(t *testing.T) {
			tb.t = t
			p.open(tb)
			tb.look(t, p.name)
		})
	}
}

// TestBrowserBranding looks at a site with a logo, a colour with little contrast, a page of its
// own, many levels, and texts of the maximum length.
func TestBrowserBranding(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	logo := write("logo.svg", `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 120 40"><rect width="120" height="40" rx="8" fill="#ffd500"/><circle cx="20" cy="20" r="12"/></svg>`)
	write("templates/done.html", `{{define "title"}}Own{{end}}{{define "main"}}<div class="card"><h1>Thank you</h1><p>A page of our own for {{.Page.Application.Name}}.</p></div>{{end}}`)
	levels := "permission READ_PUBLIC\npermission WRITE_PUBLIC {\n\timplies READ_PUBLIC\n}\n"
	for i := range 12 {
		levels += fmt.Sprintf("permission LEVEL_%d \"Level %d of many\" {\n\tdescription %q\n}\n", i, i,
			strings.Repeat("What it means in plain words. ", i+1))
	}
	long := strings.Repeat("Unbroken", 255/8)
	b := startBrowser(t, site{
		App: levels + fmt.Sprintf(
			"consumer %s {\n\tname %s\n\thomepage https://%s.example.com/%s\n\tcontact %s@%s.example.com\n\tsecret %s\n}\n",
			long, long, long[:60], long, long[:64], long[:60], demoSecret) +
			"consumer rtl {\n\tname \"لوحة الإصدارات\"\n\tsecret " + demoSecret + "\n}\n",
		OAuth1: fmt.Sprintf("pages {\n\tname \"Example Forge\"\n\tlogo %s\n\taccent ffd500\n\ttemplates %s/templates\n}", logo, dir),
	})
	for i, consumer := range []string{long, "rtl"} {
		b.srv.issue(t, consumer, "salgado", fmt.Sprintf("LEVEL_%d", i), object{"context": long})
	}
	for range 55 {
		b.srv.issue(t, "rtl", "many", "READ_PUBLIC", nil)
	}
	lookAt(t, b.tab(t, long), []look{
		{"branded-authorize-long", func(tb *tab) {
			tb.open(b.page(b.walker(t, long).requestToken(pair{"oauth_callback",
				"https://" + long[:60] + ".example.com/"}), "lp.context", long))
			if n := script[int](tb, `[...document.images].filter(i => i.naturalWidth > 0).length`); n != 2 {
				t.Errorf("the logo is shown %d times, want 2", n)
			}
		}},
		{"branded-authorize-rtl", func(tb *tab) { tb.open(b.page(b.walker(t, "rtl").requestToken(pair{"oauth_callback", "oob"}))) }},
		{"branded-done", func(tb *tab) {
			tb.open(b.page(b.walker(t, "rtl").requestToken()))
			tb.press(refuse)
			tb.wantText("A page of our own for لوحة الإصدارات.")
		}},
	})
	lookAt(t, b.tab(t, "salgado"), []look{
		{"branded-tokens", func(tb *tab) { tb.open(b.srv.origin() + "/+oauth-tokens") }},
	})
	lookAt(t, b.tab(t, "many"), []look{
		{"branded-tokens-first", func(tb *tab) { tb.open(b.srv.origin() + "/+oauth-tokens") }},
		{"branded-tokens-last", func(tb *tab) {
			tb.press(`nav a[href*="after"]`)
			if n := script[int](tb, `document.querySelectorAll(".grants li").length`); n != 5 {
				t.Errorf("%d grants are listed on the last page, want 5", n)
			}
			tb.press(".grants button")
			tb.wantText("lost that access")
			tb.wantText("First page")
		}},
	})
}

// TestBrowserKeyboard answers with nothing but a keyboard, and checks that the focus is visible at
// each step (WCAG 2.2 success criteria 2.1.1 and 2.4.7).
func TestBrowserKeyboard(t *testing.T) {
	b := startBrowser(t, site{})
	tok := b.walker(t, "demo").requestToken(pair{"oauth_callback", "oob"})
	tb := b.tab(t, "salgado").open(b.page(tok))
	const where = `(() => {
		const at = document.activeElement, ring = at.closest(".choice") || at, style = getComputedStyle(ring);
		const seen = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
		return (at.value || at.innerText || at.tagName).trim() + (seen ? "" : " (unseen)");
	})()`
	var way []string
	for range 6 {
		tb.do(chromedp.KeyEvent(kb.Tab))
		way = append(way, script[string](tb, where))
		if way[len(way)-1] == "READ_PUBLIC" {
			tb.do(chromedp.KeyEvent(kb.ArrowDown))
			way = append(way, script[string](tb, where))
		}
	}
	want := []string{"https://dashboard.example.com/", "READ_PUBLIC", "WRITE_PUBLIC", "week", "refuse", "allow",
		"Applications that act for you"}
	if got := strings.Join(way, ", "); got != strings.Join(want, ", ") {
		t.Errorf("Tab leads to %s; want %s", got, strings.Join(want, ", "))
	}
	tb.do(chromedp.KeyEvent(kb.Tab, chromedp.KeyModifiers(chromedp.ModifierShift)))
	tb.do(chromedp.KeyEvent(kb.Enter))
	tb.waitFor(`document.getElementById("verifier") !== null`)
	if got := b.state(t, tok)["permission"]; got != "WRITE_PUBLIC" {
		t.Errorf("permission %v", got)
	}
}

// TestBrowserFold: in a window of 1280 by 1000 both buttons are visible as soon as the page opens,
// with all possible notices, with six levels, and in the languages with the longest texts.
func TestBrowserFold(t *testing.T) {
	levels := ""
	for i, name := range []string{"READ_PUBLIC", "WRITE_PUBLIC", "LEVEL_3", "LEVEL_4", "LEVEL_5", "LEVEL_6"} {
		levels += fmt.Sprintf("permission %s \"Level %d of the project's data\" {\n\tdescription %q\n}\n", name, i,
			"The application may read and change all your data of that kind, private data too.")
	}
	for name, b := range map[string]*browser{
		"default levels": startBrowser(t, site{App: browserApp}),
		"six levels":     startBrowser(t, site{App: browserApp + levels}),
	} {
		for _, language := range []string{"en", "de", "fr", "ja", "ar"} {
			for kind, callback := range map[string]string{"callback": "https://dashboard.example.com/callback",
				"oob": "oob", "polling": ""} {
				t.Run(name+", "+kind+", "+language, func(t *testing.T) {
					var more []pair
					if callback != "" {
						more = append(more, pair{"oauth_callback", callback})
					}
					tok := b.walker(t, "demo").requestToken(more...)
					tb := b.tab(t, "salgado").speak("salgado", language)
					tb.do(chromedp.EmulateViewport(1280, 1000))
					tb.open(b.page(tok, "lp.context", "firefox"))
					for _, button := range []string{allow, refuse} {
						bottom := script[float64](tb, fmt.Sprintf(`document.querySelector(%q).getBoundingClientRect().bottom`, button))
						if bottom > 1000 || bottom < 100 {
							t.Errorf("%s ends at %v", button, bottom)
						}
					}
				})
			}
		}
	}
}

// TestBrowserLanguages looks at the pages in every language, as TestBrowserAccessibility does in
// English.
func TestBrowserLanguages(t *testing.T) {
	b := startBrowser(t, site{App: browserApp + "registration open\n", OAuth1: "pages {\n\tname \"Example Forge\"\n}"})
	demo := b.walker(t, "demo")
	for _, permission := range []string{"READ_PUBLIC", "WRITE_PRIVATE"} {
		b.srv.issue(t, "demo", "salgado", permission, object{"context": "firefox", "lifetime": "48h"})
	}
	for _, language := range []string{"de", "fr", "es", "pt", "ja", "zh-CN", "ar"} {
		tb := b.tab(t, "salgado").speak("salgado", language)
		lookAt(t, tb, []look{
			{language + "-authorize", func(tb *tab) {
				tb.open(b.page(demo.requestToken(pair{"oauth_callback", "https://dashboard.example.com/callback"}),
					"lp.context", "firefox"))
			}},
			{language + "-polling-self-registered", func(tb *tab) {
				tb.open(b.page(walker{t, b.srv, "somebody's script", ""}.requestToken()))
			}},
			{language + "-computer", func(tb *tab) {
				tok := b.walker(t, "System-wide: Ubuntu (laptop)").requestToken()
				tb.open(b.page(tok, "allow_permission", "DESKTOP_INTEGRATION"))
			}},
			{language + "-code", func(tb *tab) {
				tb.open(b.page(demo.requestToken(pair{"oauth_callback", "oob"})))
				tb.choose("permission", "READ_PUBLIC")
				tb.press(allow)
			}},
			{language + "-answered", func(tb *tab) {
				tok := demo.requestToken(pair{"oauth_callback", "https://dashboard.example.com/callback"})
				b.srv.review(t, tok.Key, "salgado", "READ_PUBLIC", nil)
				tb.open(b.page(tok))
			}},
			{language + "-tokens", func(tb *tab) { tb.open(b.srv.origin() + "/+oauth-tokens") }},
		})
	}
	t.Run("Arabic runs from right to left, and a code from left to right", func(t *testing.T) {
		tb := b.tab(t, "salgado").speak("salgado", "ar")
		tb.open(b.page(demo.requestToken(pair{"oauth_callback", "oob"})))
		if !script[bool](tb, `document.querySelector(".about").getBoundingClientRect().left > document.querySelector(".answer").getBoundingClientRect().right - 1`) {
			t.Error("the application stands on the left of its permissions")
		}
		tb.choose("permission", "READ_PUBLIC")
		tb.press(allow)
		if got := script[string](tb, `getComputedStyle(document.documentElement).direction + getComputedStyle(document.getElementById("verifier")).direction`); got != "rtlltr" {
			t.Errorf("the directions of the page and of the code are %s", got)
		}
	})
}

// speak sets the logged-in user and the language that the browser asks for.
func (tb *tab) speak(user, language string) *tab {
	tb.t.Helper()
	headers := network.Headers{"X-Test-User": user, "Accept-Language": language}
	tb.do(command(network.SetExtraHTTPHeaders, network.SetExtraHTTPHeadersParams{Headers: headers}))
	return tb
}

func (tb *tab) screenshot(path string, width int64) {
	tb.t.Helper()
	height := map[int64]int64{390: 844, 1280: 900}[width]
	tb.do(chromedp.EmulateViewport(width, height))
	// The window is as high as the page. Chromium's own pictures of whole pages shift those that
	// run from right to left.
	height = max(height, script[int64](tb, "document.documentElement.scrollHeight"))
	tb.do(chromedp.EmulateViewport(width, height))
	picture, err := chromedp.Run(tb.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		tb.t.Fatal(err)
	}
	if err := os.WriteFile(path, picture, 0o644); err != nil {
		tb.t.Fatal(err)
	}
}

func emulateScheme(scheme string) chromedp.Action[chromedp.Void] {
	return command(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
}

// look checks the page that the tab shows, in light and dark: axe-core finds nothing, and the page
// fits a narrow window, which is the same as 400% zoom in a wide one.
func (tb *tab) look(t *testing.T, name string) {
	t.Helper()
	axe, err := os.ReadFile(axeCore)
	if err != nil {
		missing(t, "axe-core is not installed (npm ci in integration/clients/axe): "+err.Error())
	}
	tb.t = t
	for _, scheme := range []string{"light", "dark"} {
		tb.do(emulateScheme(scheme))
		for _, width := range []int64{390, 1280} {
			if folder := os.Getenv("SCREENSHOTS"); folder != "" {
				tb.screenshot(filepath.Join(folder, fmt.Sprintf("%s-%s-%d.png", name, scheme, width)), width)
			}
		}
		tb.do(chromedp.EmulateViewport(map[string]int64{"light": 1280, "dark": 320}[scheme], 900))
		if wide := script[int](tb, "document.documentElement.scrollWidth - innerWidth"); wide > 0 {
			t.Errorf("%s: %d pixels wider than the window", scheme, wide)
		}
		for _, violation := range script[[]string](tb, string(axe)+`
			;axe.run({resultTypes: ["violations"]}).then(r => r.violations.map(v => v.id + ": " + v.help + ": " + v.nodes.map(n => n.html + " " + n.failureSummary).join("; ")))`) {
			t.Errorf("%s: axe-core: %s", scheme, violation)
		}
	}
	tb.do(emulateScheme("light"))
}
