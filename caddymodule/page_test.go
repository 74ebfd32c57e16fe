package caddymodule

import (
	"crypto/sha256"
	"encoding/base64"
	"html"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// waiting stores a request token that waits for its review.
func (s *testSite) waiting(consumer, callback string) *tokenstore.RequestToken {
	s.t.Helper()
	token := &tokenstore.RequestToken{
		Key: tokenstore.NewKey(), Secret: tokenstore.NewSecret(), Consumer: consumer, Callback: callback,
		Created: s.clock, Expires: s.clock.Add(2 * time.Hour),
	}
	if err := s.store().CreateRequestToken(s.t.Context(), token); err != nil {
		s.t.Fatal(err)
	}
	return token
}

// open opens a page as a logged-in user.
func (s *testSite) open(target, user string) *httptest.ResponseRecorder {
	s.t.Helper()
	r := httptest.NewRequest("GET", "http://api.test"+target, nil)
	r.Header.Set("Test-User", user)
	w, _ := s.serve(r)
	return w
}

// send sends a page's form, as a browser does. The headers come in pairs, and replace the
// browser's.
func (s *testSite) send(target, user string, form url.Values, headers ...string) *httptest.ResponseRecorder {
	s.t.Helper()
	r := httptest.NewRequest("POST", "http://api.test"+target, strings.NewReader(form.Encode()))
	r.Header.Set("Test-User", user)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", "http://api.test")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w, _ := s.serve(r)
	return w
}

// csrfToken returns the token in the first form of a page.
func csrfToken(t *testing.T, w *httptest.ResponseRecorder) string {
	t.Helper()
	found := regexp.MustCompile(`name="csrf" value="([^"]+)"`).FindStringSubmatch(w.Body.String())
	if found == nil {
		t.Fatalf("no form in %d %s", w.Code, w.Body)
	}
	return html.UnescapeString(found[1])
}

// wantPage checks an answer that is a page.
func wantPage(t *testing.T, w *httptest.ResponseRecorder, status int, texts ...string) {
	t.Helper()
	if w.Code != status {
		t.Errorf("status %d; want %d", w.Code, status)
	}
	body := html.UnescapeString(w.Body.String())
	for _, text := range texts {
		if !strings.Contains(body, text) {
			t.Errorf("the page does not say %q:\n%s", text, body)
		}
	}
}

func TestPageHeaders(t *testing.T) {
	site := newTestSite(t, demoConsumer, "")
	token := site.waiting("demo", "https://app.example.com:8443/done")
	for _, test := range []struct {
		name, target, formAction string
	}{
		{"the page that asks", "/+authorize-token?oauth_token=" + token.Key, "'self' https:"},
		{"a refusal", "/+authorize-token?oauth_token=nonesuch", "'self'"},
		{"the list", "/+oauth-tokens", "'self'"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := site.open(test.target, "alice")
			for name, want := range map[string]string{
				"Content-Type":               "text/html; charset=utf-8",
				"Cache-Control":              "no-store",
				"Referrer-Policy":            "same-origin",
				"X-Content-Type-Options":     "nosniff",
				"X-Frame-Options":            "DENY",
				"Cross-Origin-Opener-Policy": "same-origin",
			} {
				if got := w.Header().Get(name); got != want {
					t.Errorf("%s: %q; want %q", name, got, want)
				}
			}
			style := regexp.MustCompile(`(?s)<style>(.*)</style>`).FindStringSubmatch(w.Body.String())
			if style == nil {
				t.Fatal("no style")
			}
			sum := sha256.Sum256([]byte(style[1]))
			want := "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
				"'; base-uri 'none'; frame-ancestors 'none'; form-action " + test.formAction
			if got := w.Header().Get("Content-Security-Policy"); got != want {
				t.Errorf("Content-Security-Policy: %q; want %q", got, want)
			}
			for _, forbidden := range []string{"<script", "style=", " on", "ZgotmplZ"} {
				if tags := strings.Join(regexp.MustCompile(`<[^>]*>`).FindAllString(w.Body.String(), -1), ""); strings.Contains(tags, forbidden) {
					t.Errorf("the page holds %q", forbidden)
				}
			}
		})
	}
}

// TestPagesEscape: stored and sent values are plain text on every page.
func TestPagesEscape(t *testing.T) {
	const evil = `<script>alert(1)</script>"'><img src=x onerror=alert(1)>`
	site := newTestSite(t, "permission LEVEL \"<script>alert(1)</script>\" {\n description \"<script>alert(2)</script>\"\n}", "policy {\n permission LEVEL\n}")
	err := site.store().CreateConsumer(t.Context(), &tokenstore.Consumer{
		Key: evil, Name: evil, Homepage: "https://example.com/" + evil, Contact: "javascript://" + evil, Secret: "s",
	})
	if err != nil {
		t.Fatal(err)
	}
	grant := site.grant(evil, evil, "LEVEL")
	granted := *grant
	granted.Key, granted.Context = tokenstore.NewKey(), evil
	if err := site.store().CreateAccessToken(t.Context(), &granted); err != nil {
		t.Fatal(err)
	}
	target := "/+authorize-token?" + url.Values{"oauth_token": {site.waiting(evil, "").Key}, "lp.context": {evil}}.Encode()
	asked := site.open(target, evil)
	answer := site.send(target, evil, url.Values{"csrf": {csrfToken(t, asked)}, "decision": {"allow"}, "permission": {"LEVEL"}, "lifetime": {"unlimited"}})
	pages := map[string]*httptest.ResponseRecorder{
		"the page that asks": asked,
		"the done page":      site.open("/+authorize-token"+answer.Header().Get("Location"), evil),
		"the list":           site.open("/+oauth-tokens", evil),
		"a revoked notice":   site.open("/+oauth-tokens?"+url.Values{"revoked": {evil}, "proof": {site.handler.proof("revoked", evil, evil)}}.Encode(), evil),
		"a refusal":          site.open("/+authorize-token?oauth_token="+site.waiting("<script>gone</script>", "").Key, evil),
		"a refused context":  site.open("/+authorize-token?oauth_token="+site.waiting(evil, "").Key+"&lp.context=+<script>", evil),
		"a refused callback": site.open("/+authorize-token?oauth_token="+site.waiting(evil, "").Key+"&oauth_callback=<script>://", evil),
	}
	for name, w := range pages {
		if strings.Contains(w.Body.String(), "<script") || strings.Contains(w.Body.String(), "<img") ||
			strings.Contains(w.Body.String(), `"javascript:`) || w.Code == 500 {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
}

func TestPagesNeedALogin(t *testing.T) {
	site := newTestSite(t, demoConsumer, "")
	token := site.waiting("demo", "")
	for _, target := range []string{"/+authorize-token?oauth_token=" + token.Key, "/+oauth-tokens"} {
		for name, user := range map[string]string{"nobody": "", "a user with a control character": "a\x01b", "a user that begins with a space": " a"} {
			t.Run(name+" "+target[:8], func(t *testing.T) {
				for _, w := range []*httptest.ResponseRecorder{site.open(target, user), site.send(target, user, url.Values{"decision": {"allow"}})} {
					if w.Code != 401 || w.Header().Get("WWW-Authenticate") == "" {
						t.Errorf("%d %s", w.Code, w.Body)
					}
				}
			})
		}
		for _, method := range []string{"PUT", "DELETE", "OPTIONS", "PATCH"} {
			r := httptest.NewRequest(method, "http://api.test"+target, nil)
			r.Header.Set("Test-User", "alice")
			if w, _ := site.serve(r); w.Code != 405 || w.Header().Get("Allow") == "" {
				t.Errorf("%s: %d", method, w.Code)
			}
		}
	}
}

// TestPagesNeedALoginWhole: text around an empty placeholder does not log anybody in.
func TestPagesNeedALoginWhole(t *testing.T) {
	site := newTestSite(t, demoConsumer, `user "staff:{http.auth.user.id}@{http.request.header.Org}"`)
	site.grant("demo", "staff:alice@forge", "READ_PUBLIC")
	ask := func(user, org string) *httptest.ResponseRecorder {
		t.Helper()
		r := httptest.NewRequest("GET", "http://api.test/+oauth-tokens", nil)
		r.Header.Set("Test-User", user)
		r.Header.Set("Org", org)
		w, _ := site.serve(r)
		return w
	}
	wantPage(t, ask("alice", "forge"), 200, "<bdi lang=\"\">staff:alice@forge</bdi>", "Read Non-Private Data")
	for _, half := range [][2]string{{"", ""}, {"", "forge"}, {"alice", ""}} {
		if w := ask(half[0], half[1]); w.Code != 401 || w.Header().Get("WWW-Authenticate") == "" {
			t.Errorf("%q: %d %s", half, w.Code, w.Body)
		}
	}
}

func TestPagesWithoutTheStore(t *testing.T) {
	site := newTestSite(t, demoConsumer, "")
	token := site.waiting("demo", "")
	target := "/+authorize-token?oauth_token=" + token.Key
	csrf := csrfToken(t, site.open(target, "alice"))
	if err := site.store().Close(); err != nil {
		t.Fatal(err)
	}
	for name, w := range map[string]*httptest.ResponseRecorder{
		"authorize": site.open(target, "alice"),
		"review":    site.send(target, "alice", url.Values{"csrf": {csrf}, "decision": {"refuse"}}),
		"list":      site.open("/+oauth-tokens", "alice"),
	} {
		if w.Code != 503 || w.Header().Get("Retry-After") == "" {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
}

// TestFormsComeFromThePage: the cross-origin check, the CSRF token, and the checks of the form.
func TestFormsComeFromThePage(t *testing.T) {
	site := newTestSite(t, demoConsumer, "")
	token := site.waiting("demo", "")
	target := "/+authorize-token?oauth_token=" + token.Key
	other := "/+authorize-token?oauth_token=" + site.waiting("demo", "").Key
	good := func() url.Values {
		return url.Values{
			"csrf": {csrfToken(t, site.open(target, "alice"))}, "decision": {"allow"}, "permission": {"READ_PUBLIC"}, "lifetime": {"unlimited"},
		}
	}
	with := func(name, value string) url.Values {
		form := good()
		form.Set(name, value)
		return form
	}
	for _, test := range []struct {
		name   string
		w      *httptest.ResponseRecorder
		status int
		text   string
	}{
		{"from another origin", site.send(target, "alice", good(), "Origin", "https://evil.test"), 403, "This did not come from our page"},
		{"from another port", site.send(target, "alice", good(), "Origin", "http://api.test:81"), 403, "This did not come from our page"},
		{"from a sandbox", site.send(target, "alice", good(), "Origin", "null"), 403, "This did not come from our page"},
		{"cross-site, says the browser", site.send(target, "alice", good(), "Sec-Fetch-Site", "cross-site"), 403, "This did not come from our page"},
		{"same-site is not same-origin", site.send(target, "alice", good(), "Sec-Fetch-Site", "same-site"), 403, "This did not come from our page"},
		{"without a CSRF token", site.send(target, "alice", with("csrf", "")), 403, "Please look again"},
		{"with a guessed one", site.send(target, "alice", with("csrf", "9999999999.AAAA")), 403, "Please look again"},
		{"with a later expiry", site.send(target, "alice", with("csrf", "9"+good().Get("csrf"))), 403, "Please look again"},
		{"another user's", site.send(target, "bob", good()), 403, "Please look again"},
		{"another request token's", site.send(other, "alice", good()), 403, "Please look again"},
		{"another context", site.send(target+"&lp.context=firefox", "alice", good()), 403, "Please look again"},
		{"other levels", site.send(target+"&allow_permission=READ_PUBLIC", "alice", good()), 403, "Please look again"},
		{"no form", site.send(target, "alice", good(), "Content-Type", "text/plain"), 400, "Something is missing"},
		{"too large", site.send(target, "alice", with("more", strings.Repeat("x", 2<<20))), 413, "Too much"},
	} {
		t.Run(test.name, func(t *testing.T) {
			wantPage(t, test.w, test.status, test.text)
		})
	}
	t.Run("after an hour", func(t *testing.T) {
		form := good()
		site.clock = site.clock.Add(time.Hour)
		wantPage(t, site.send(target, "alice", form), 403, "Please look again")
	})
	for _, path := range []string{target, other} {
		stored, err := site.store().RequestToken(t.Context(), path[len("/+authorize-token?oauth_token="):])
		if err != nil || stored.Review != nil {
			t.Errorf("the request token was changed: %v, %v", stored, err)
		}
	}
	t.Run("the page's own form is taken", func(t *testing.T) {
		if w := site.send(target, "alice", good(), "Sec-Fetch-Site", "same-origin"); w.Code != 303 {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}

// TestPublicOriginOfForms: behind a proxy, the browser's Origin is the public origin.
func TestPublicOriginOfForms(t *testing.T) {
	site := newTestSite(t, demoConsumer, "base_url https://Public.test:443")
	target := "/+authorize-token?oauth_token=" + site.waiting("demo", "").Key
	form := url.Values{"csrf": {csrfToken(t, site.open(target, "alice"))}, "decision": {"refuse"}}
	if w := site.send(target, "alice", form, "Origin", "http://api.test"); w.Code != 403 {
		t.Errorf("the upstream's own origin: %d", w.Code)
	}
	if w := site.send(target, "alice", form, "Origin", "https://public.test"); w.Code != 303 {
		t.Errorf("the public origin: %d %s", w.Code, w.Body)
	}
}

func TestPagesOptions(t *testing.T) {
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
	write("own/done.html", `{{define "title"}}Own{{end}}{{define "main"}}<p>Own page of {{.Page.Application.Name}}</p>{{end}}`)
	write("own/.hidden", "not read")
	write("syntax/done.html", `{{define "title"}}{{end}}{{define "main"}}{{if}}{{end}}`)
	write("field/done.html", `{{define "title"}}Own{{end}}{{define "main"}}{{.Page.NoSuchField}}{{end}}`)
	write("unknown/doen.html", "")
	write("style/style.css", "</style><script>")
	for _, test := range []struct {
		name  string
		pages Pages
		err   string // empty: none
	}{
		{"the defaults", Pages{}, ""},
		{"all of it", Pages{Name: "Forge", Accent: "#fc0", AccentDark: "#ffcc00", Templates: filepath.Join(dir, "own"), Logo: write("logo.svg", "<svg/>")}, ""},
		{"a colour's name", Pages{Accent: "red"}, `pages: accent "red": must be a colour such as 2f56c5`},
		{"a colour of five digits", Pages{AccentDark: "#12345"}, `pages: accent_dark "#12345": must be a colour`},
		{"a style in a colour", Pages{Accent: "#fff}*{x:y"}, `must be a colour`},
		{"a logo that is not there", Pages{Logo: filepath.Join(dir, "none.png")}, "none.png"},
		{"a logo that is no image", Pages{Logo: write("logo.txt", "x")}, "must be a PNG, SVG, JPEG, WebP or GIF file"},
		{"a logo of another type", Pages{Logo: write("logo.png", "<svg/>")}, "is text/plain; charset=utf-8 and not image/png as its name says"},
		{"a logo that is too large", Pages{Logo: write("large.svg", strings.Repeat("x", maxLogo+1))}, "is larger than 65536 bytes"},
		{"a name with a line break", Pages{Name: "a\nb"}, "holds a control character"},
		{"templates that are not there", Pages{Templates: filepath.Join(dir, "none")}, "none"},
		{"a template with a wrong syntax", Pages{Templates: filepath.Join(dir, "syntax")}, "done.html:1: missing value for if"},
		{"a template with an unknown field", Pages{Templates: filepath.Join(dir, "field")}, "NoSuchField"},
		{"a file that is no template", Pages{Templates: filepath.Join(dir, "unknown")}, "doen.html: is not the name of a page's file"},
		{"a style that ends itself", Pages{Templates: filepath.Join(dir, "style")}, "must not hold </style"},
		{"a placeholder that is empty", Pages{Name: "{env.NO_SUCH_VARIABLE}"}, `pages: name "{env.NO_SUCH_VARIABLE}"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := test.pages.provision()
			if (err == nil) != (test.err == "") || (err != nil && !strings.Contains(err.Error(), test.err)) {
				t.Errorf("error %v; want %q", err, test.err)
			}
		})
	}
}

func TestBranding(t *testing.T) {
	logo := filepath.Join(t.TempDir(), "logo.svg")
	if err := os.WriteFile(logo, []byte("<svg/>"), 0o600); err != nil {
		t.Fatal(err)
	}
	site := newTestSite(t, demoConsumer, "pages {\n name \"Forge & Co\"\n logo "+logo+"\n accent ffd500\n accent_dark \"#fd0\"\n}")
	w := site.open("/+oauth-tokens", "alice")
	wantPage(t, w, 200, "<title>Applications that act for you · Forge & Co</title>", `src="data:image/svg+xml;base64,PHN2Zy8+"`,
		"--accent:#ffd500;--on-accent:#000000;--control:var(--ink)", "--accent:#ffdd00;--on-accent:#000000;--control:#ffdd00")
	if policy := w.Header().Get("Content-Security-Policy"); !strings.Contains(policy, "; img-src data:") {
		t.Errorf("Content-Security-Policy: %q", policy)
	}
}

func TestRelative(t *testing.T) {
	for _, test := range []struct{ from, to, want string }{
		{"/+authorize-token", "/+oauth-tokens", "./+oauth-tokens"},
		{"/oauth/authorize", "/oauth/tokens", "./tokens"},
		{"/authorize", "/me/tokens", "/me/tokens"},
		{"/a", "/b:c", "./b:c"},
		{"/a", "/b c", "./b%20c"},
	} {
		if got := relative(test.from, test.to); got != test.want {
			t.Errorf("relative(%q, %q) = %q; want %q", test.from, test.to, got, test.want)
		}
	}
}
