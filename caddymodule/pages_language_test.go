package caddymodule

import (
	"encoding/json"
	"errors"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/pages"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/policy"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/refusal"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// openIn opens a page with a browser that prefers a language.
func (s *testSite) openIn(language, target, user string) *httptest.ResponseRecorder {
	s.t.Helper()
	r := httptest.NewRequest("GET", "http://api.test"+target, nil)
	r.Header.Set("Test-User", user)
	r.Header.Set("Accept-Language", language)
	w, _ := s.serve(r)
	return w
}

// pageTexts returns the visible and spoken texts of a page, each once.
func pageTexts(t *testing.T, page string) []string {
	t.Helper()
	var texts []string
	tokens, inStyle := html.NewTokenizer(strings.NewReader(page)), false
	for tokens.Next() != html.ErrorToken {
		token := tokens.Token()
		if token.Data == "style" {
			inStyle = token.Type == html.StartTagToken
			continue
		}
		if text := strings.TrimSpace(token.Data); token.Type == html.TextToken && !inStyle && text != "" {
			texts = append(texts, text)
		}
		for _, attribute := range token.Attr {
			if attribute.Key == "aria-label" || attribute.Key == "title" || attribute.Key == "alt" && attribute.Val != "" {
				texts = append(texts, attribute.Val)
			}
		}
	}
	slices.Sort(texts)
	return slices.Compact(texts)
}

// TestPagesInEveryLanguage: a browser gets every page in the language that it asks for, without any
// English text except names.
func TestPagesInEveryLanguage(t *testing.T) {
	const desktop = "System-wide: Ubuntu (laptop)"
	site := newTestSite(t, "registration open\naccess_token_lifetime 30d\n"+
		"consumer demo {\n name \"Release dashboard\"\n homepage https://dashboard.example.com/\n contact ops@example.com\n secret s\n}\nconsumer old {\n secret s\n expires 2001-01-01\n}\n"+
		"consumer none {\n secret s\n permissions READ_PRIVATE\n}\nconsumer \""+desktop+"\" {\n secret s\n}\n",
		"permissions READ_PUBLIC WRITE_PUBLIC WRITE_PRIVATE DESKTOP_INTEGRATION")
	for _, key := range []string{"own", "System-wide: Own (pc)", "any", "System-wide: Any (tablet)"} {
		own := strings.Contains(strings.ToLower(key), "own")
		c := &tokenstore.Consumer{Key: key, SelfRegistered: own, Created: site.clock}
		if err := site.store().CreateConsumer(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	asked := func(consumer, callback, more string) string {
		return "/+authorize-token?oauth_token=" + url.QueryEscape(site.waiting(consumer, callback).Key) + more
	}
	answered := func(user, callback, decision string) (target, done string) {
		target = asked("demo", callback, "")
		w := site.answer(t, target, user, csrfToken(t, site.open(target, user)), "decision", decision)
		return target, "/+authorize-token" + w.Header().Get("Location")
	}
	expired := *site.waiting("demo", "")
	expired.Key, expired.Expires = tokenstore.NewKey(), site.clock.Add(-time.Second)
	if err := site.store().CreateRequestToken(t.Context(), &expired); err != nil {
		t.Fatal(err)
	}
	byAlice, code := answered("alice", outOfBand, "allow")
	byBob, _ := answered("bob", "", "allow")
	toApp, _ := answered("alice", "https://app.example.com/cb", "allow")
	_, granted := answered("alice", "", "allow")
	no, refused := answered("alice", "", "refuse")
	used := site.grant("demo", "alice", "READ_PUBLIC")
	for _, more := range []*tokenstore.AccessToken{
		{Key: "1", Secret: "s", Consumer: "demo", User: "alice", Permission: "WRITE_PRIVATE", Context: "firefox", Created: site.clock, LastUsed: site.clock, Expires: site.clock.Add(time.Hour)},
		{Key: "2", Secret: "s", Consumer: "own", User: "alice", Permission: "WRITE_PUBLIC", Created: site.clock},
	} {
		if err := site.store().CreateAccessToken(t.Context(), more); err != nil {
			t.Fatal(err)
		}
	}
	for range grantsPerPage + 1 {
		site.grant("demo", "many", "READ_PUBLIC")
	}
	names := []string{
		"api.test", "alice", "many", "demo", "own", "Release dashboard", "https://dashboard.example.com/", "ops@example.com", "https://app.example.com", "firefox", "R", "A", "O",
		desktop, "System-wide: Own (pc)", "Ubuntu", "Own", "laptop", "pc", "System-wide: Any (tablet)", "any", "Any", "tablet", "gone", "old", "none", used.Key,
	}
	verifier := regexp.MustCompile(`^[0-9A-Za-z]{12}$`)
	for name, target := range map[string]string{
		"the page that asks":      asked("demo", "https://app.example.com/cb", "&lp.context=firefox"),
		"one that was polled for": asked("demo", "", ""),
		"with a code":             asked("demo", outOfBand, ""),
		"one level":               asked("demo", outOfBand, "&allow_permission=READ_PUBLIC"),
		"self-registered":         asked("own", "", ""),
		"a computer":              asked(desktop, "", "&allow_permission=DESKTOP_INTEGRATION"),
		"anybody's":               asked("any", "", ""),
		"anybody's computer":      asked("System-wide: Any (tablet)", "", "&allow_permission=DESKTOP_INTEGRATION"),
		"a computer by itself":    asked("System-wide: Own (pc)", "", "&allow_permission=DESKTOP_INTEGRATION"),
		"the code":                code,
		"granted":                 granted,
		"refused":                 refused,
		"the list":                "/+oauth-tokens",
		"an empty list":           "/+oauth-tokens?" + url.Values{"revoked": {"demo"}, "proof": {site.handler.proof("revoked", "alice", "demo")}}.Encode(),
		"no token":                "/+authorize-token",
		"unknown":                 "/+authorize-token?oauth_token=nonesuch",
		"expired":                 "/+authorize-token?oauth_token=" + expired.Key,
		"answered by alice":       byAlice,
		"answered by somebody":    byBob,
		"refused by alice":        no,
		"answered, to the app":    toApp,
		"gone":                    asked("gone", "", ""),
		"disabled":                asked("old", "", ""),
		"no level":                asked("none", "", ""),
		"two contexts":            asked("demo", "", "&lp.context=a&lp.context=b"),
		"a long context":          asked("demo", "", "&lp.context="+strings.Repeat("x", 300)),
		"a context of controls":   asked("demo", "", "&lp.context=a%00"),
		"a script as callback":    asked("demo", "", "&oauth_callback=javascript:x"),
		"a brace in a callback":   asked("demo", "", "&oauth_callback=https://x/%7B"),
		"a long callback":         asked("demo", "", "&oauth_callback=https://x/"+strings.Repeat("x", 3000)),
		"a done page of somebody": "/+authorize-token?done=READ_PUBLIC",
	} {
		t.Run(name, func(t *testing.T) {
			english := pageTexts(t, site.openIn("en", target, "alice").Body.String())
			for _, tag := range pages.Languages {
				w := site.openIn(tag, target, "alice")
				if got := w.Header().Get("Content-Language"); got != tag {
					t.Errorf("%s: Content-Language %q", tag, got)
				}
				if got := w.Header().Values("Vary"); !slices.Contains(got, "Accept-Language") {
					t.Errorf("%s: Vary %q", tag, got)
				}
				if !strings.Contains(w.Body.String(), `<html lang="`+tag+`" dir="`) {
					t.Errorf("%s: the page does not say that it is in it", tag)
				}
				if tag == "en" {
					continue
				}
				for _, text := range pageTexts(t, w.Body.String()) {
					isWord := strings.ContainsAny(strings.ToLower(text), "abcdefghijklmnopqrstuvwxyz")
					shared := slices.Contains(names, text) || verifier.MatchString(text) || tag == "de" && text == "Website"
					if isWord && !shared && slices.Contains(english, text) {
						t.Errorf("%s: %q is English", tag, text)
					}
				}
			}
		})
	}
	t.Run("the list of many", func(t *testing.T) {
		w := site.openIn("ar", "/+oauth-tokens", "many")
		wantPage(t, w, 200, `dir="rtl"`, "الصفحة التالية")
	})
	t.Run("a site that has one language has it for everybody", func(t *testing.T) {
		site := newTestSite(t, demoConsumer, "pages {\n language ja\n}")
		w := site.openIn("de", "/+oauth-tokens", "alice")
		wantPage(t, w, 200, `<html lang="ja" dir="ltr">`)
		if len(w.Header()["Vary"]) != 0 || w.Header().Get("Content-Language") != "ja" {
			t.Errorf("headers %v", w.Header())
		}
	})
	t.Run("what the operator reads of a refusal stays English", func(t *testing.T) {
		r := httptest.NewRequest("GET", "http://api.test"+asked("gone", "", ""), nil)
		r.Header.Set("Test-User", "alice")
		r.Header.Set("Accept-Language", "de")
		values, w, _ := site.published(r)
		if w.Header().Get("Content-Language") != "de" || !strings.Contains(values, "|The application gone is not registered here any more.|") {
			t.Errorf("got %q", values)
		}
	})
	t.Run("what a machine reads stays English", func(t *testing.T) {
		for target, want := range map[string]string{"/+oauth-tokens": "You need to be logged in to see this page.", "/+access-token": "No consumer key specified."} {
			w := site.openIn("de", target, "")
			if w.Code != 401 || w.Body.String() != want {
				t.Errorf("%s: %d %s", target, w.Code, w.Body)
			}
		}
	})
}

// TestOperatorsTextsStay: texts that the operator wrote are the same in every language, and texts
// that the operator omitted have no translation.
func TestOperatorsTextsStay(t *testing.T) {
	site := newTestSite(t, demoConsumer+"permission READ_PUBLIC \"Read Non-Private Data\" {\n description \"Read the docs.\"\n}\npermission WRITE_PUBLIC\n", "")
	site.grant("demo", "alice", "READ_PUBLIC")
	wantPage(t, site.openIn("de", "/+authorize-token?oauth_token="+site.waiting("demo", "").Key, "alice"), 200,
		"<strong>Read Non-Private Data</strong>", "<small>Read the docs.</small>", "<strong>WRITE_PUBLIC</strong>", "Erlauben")
	wantPage(t, site.openIn("de", "/+oauth-tokens", "alice"), 200, `<h3><span lang="">Read Non-Private Data</span></h3>`, "Widerrufen")
}

// TestWireStaysEnglish: the levels in a consumer's JSON are Launchpad's own words, as on the
// English pages.
func TestWireStaysEnglish(t *testing.T) {
	set, err := pages.New(pages.Options{})
	if err != nil {
		t.Fatal(err)
	}
	builtin, err := policy.NewLevels(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, level := range builtin.Ordered {
		if title, description := levelText(builtin, set.Language(nil), level); title != level.Title || description != level.Description {
			t.Errorf("%s: the page says %q, %q; want %q, %q", level.Name, title, description, level.Title, level.Description)
		}
	}
	site := newTestSite(t, demoConsumer, "insecure_plaintext_over_http")
	r := plain("/+request-token", "demo", "demo-secret", "", "")
	r.Header.Set("Accept", "application/json")
	r.Header.Set("Accept-Language", "de")
	w, _ := site.serve(r)
	if w.Code != 200 || !strings.Contains(w.Body.String(), `"title":"Read Non-Private Data"`) || !strings.Contains(w.Body.String(), `"title":"No Access"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// englishTexts returns the texts of the pages by key.
func englishTexts(t *testing.T) map[string]any {
	t.Helper()
	content, err := os.ReadFile("pages/messages/en.json")
	if err != nil {
		t.Fatal(err)
	}
	var texts map[string]any
	if err := json.Unmarshal(content, &texts); err != nil {
		t.Fatal(err)
	}
	return texts
}

// TestNotices: every notice has its texts, and every text its notice.
func TestNotices(t *testing.T) {
	problems := []*refusal.Problem{
		refusal.PageNoToken, refusal.PageUnknownToken, refusal.PageExpiredToken, refusal.PageUnfinished, refusal.PageOver, refusal.PageReviewed, refusal.PageAllowedByYou, refusal.PageRefusedByYou,
		refusal.PageNoApplication,
		refusal.PageApplicationDisabled, refusal.PageNoLevels, refusal.PageContexts, refusal.PageContext, refusal.PageCallback, refusal.PageNoCallback, refusal.PageNoChoice, refusal.PageNotOffered,
		refusal.PageDone, refusal.PageCrossOrigin, refusal.PageForm, refusal.PageFormTooLarge, refusal.PageStale,
		refusal.PageUnjournaled,
	}
	set, err := pages.New(pages.Options{})
	if err != nil {
		t.Fatal(err)
	}
	keys, english := []string{"reviewed_by_you.continue"}, englishTexts(t)
	for _, p := range problems {
		n := newNotice(p)
		if p == refusal.PageAllowedByYou || p == refusal.PageRefusedByYou {
			n.linkKey = linkToAnswer
		}
		if english["notice."+n.linkKey] != nil {
			keys = append(keys, n.linkKey)
			n = n.to("?")
		}
		if n.arg == nil {
			n = n.about("NAME")
		}
		keys = append(keys, n.Notice+".title", n.Notice+".text", n.Notice+".advice")
		for _, tag := range pages.Languages {
			view, err := n.view(set.Language([]string{tag}))
			if err != nil || view.Title == "" || view.Text == "" || view.Advice == "" || n.link != "" && view.LinkText == "" {
				t.Errorf("%s: %s: %+v, %v", n.Notice, tag, view, err)
			}
		}
	}
	for key := range english {
		if name, ok := strings.CutPrefix(key, "notice."); ok && !slices.Contains(keys, name) {
			t.Errorf("no notice has the text %q", key)
		}
	}
	unknown := newNotice(&refusal.Problem{Notice: "no_such"})
	if _, err := unknown.view(set.Language(nil)); err == nil {
		t.Error("a notice without texts has a page")
	}
	if got := inLanguage(set.Language(nil), errors.New("<plain>")); got != "<plain>" {
		t.Errorf("an error without a text is %q", got)
	}
}

// TestReasons: every reason in the code is a text of the catalogues.
func TestReasons(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	texts, found := englishTexts(t), make(map[string]bool)
	literal := regexp.MustCompile(`\breason\("([^"]*)"`)
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		for _, match := range literal.FindAllStringSubmatch(string(source), -1) {
			found[match[1]] = true
			if texts[match[1]] == nil {
				t.Errorf("%s: %q is in no catalogue", file, match[1])
			}
		}
	}
	for key := range texts {
		if strings.Contains(key, " ") && !found[key] {
			t.Errorf("the catalogues have %q, which no page shows", key)
		}
	}
}
