package caddymodule

import (
	"fmt"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// listed lists the keys of the grants on a page.
func listed(w *httptest.ResponseRecorder) []string { return offered(w.Body.String(), "token") }

// revocation returns the form with the revoke button whose field has the value.
func revocation(t *testing.T, w *httptest.ResponseRecorder, field, value string) url.Values {
	t.Helper()
	found := regexp.MustCompile(`name="csrf" value="([^"]*)">\s*<input type="hidden" name="` + field + `" value="` + regexp.QuoteMeta(value) + `"`).FindStringSubmatch(w.Body.String())
	if found == nil {
		t.Fatalf("no form that revokes %s %q in %s", field, value, w.Body)
	}
	return url.Values{"csrf": {found[1]}, field: {value}}
}

func TestTokensList(t *testing.T) {
	site := newTestSite(t, "consumer demo {\n name \"Release dashboard\"\n secret s\n}\n", "")
	t.Run("nothing granted", func(t *testing.T) {
		wantPage(t, site.open("/+oauth-tokens", "nobody"), 200, "Nobody acts for you")
	})
	token := site.grant("demo", "alice", "READ_PRIVATE")
	site.grant("gone", "alice", "WITHDRAWN_LEVEL")
	bobs := site.grant("demo", "bob", "READ_PUBLIC")
	expired := &tokenstore.AccessToken{
		Key: tokenstore.NewKey(), Secret: "s", Consumer: "demo", User: "alice", Permission: "WRITE_PRIVATE",
		Created: site.clock.Add(-2 * time.Hour), Expires: site.clock.Add(-time.Hour),
	}
	limited := &tokenstore.AccessToken{
		Key: tokenstore.NewKey(), Secret: "s", Consumer: "demo", User: "alice", Permission: "WRITE_PUBLIC", Context: "firefox",
		Created: site.clock, Expires: time.Date(2099, 12, 31, 23, 59, 0, 0, time.UTC),
		LastUsed: time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("", 3600)),
	}
	for _, stored := range []*tokenstore.AccessToken{expired, limited} {
		if err := site.store().CreateAccessToken(t.Context(), stored); err != nil {
			t.Fatal(err)
		}
	}
	w := site.open("/+oauth-tokens", "alice")
	wantPage(t, w, 200,
		"Release dashboard", "Read Anything", "Never yet", "When you revoke it",
		"Change Non-Private Data", "<bdi lang=\"\">firefox</bdi>", "31 Dec 2099, 23:59 UTC", "2 Jan 2026, 02:04 UTC",
		"<bdi lang=\"\">gone</bdi>", "WITHDRAWN_LEVEL",
	)
	if n := len(listed(w)); n != 3 {
		t.Errorf("%d grants; want 3", n)
	}
	for name, secret := range map[string]string{"an expired grant": expired.Key, "another user's grant": bobs.Key, "a secret": token.Secret} {
		if strings.Contains(w.Body.String(), secret) {
			t.Errorf("the page shows %s", name)
		}
	}
}

func TestTokensPages(t *testing.T) {
	site := newTestSite(t, demoConsumer, "")
	const many = 2*grantsPerPage + 7
	for range many {
		site.grant("demo", "alice", "READ_PUBLIC")
	}
	seen := make(map[string]bool)
	target, pages := "/+oauth-tokens", 0
	for target != "" {
		w := site.open(target, "alice")
		keys := listed(w)
		if len(keys) > grantsPerPage {
			t.Errorf("%d on a page", len(keys))
		}
		for _, key := range keys {
			seen[key] = true
		}
		pages++
		next := regexp.MustCompile(`href="(\?[^"]*)">Next page`).FindStringSubmatch(w.Body.String())
		if target = ""; next != nil {
			target = "/+oauth-tokens" + next[1]
		}
		if first := strings.Contains(w.Body.String(), ">First page"); first != (pages > 1) {
			t.Errorf("page %d leads to the first: %v", pages, first)
		}
	}
	if len(seen) != many || pages != 3 {
		t.Errorf("%d grants on %d pages", len(seen), pages)
	}
	for _, after := range []string{"%00", strings.Repeat("x", 70_000), "+x"} {
		if n := len(listed(site.open("/+oauth-tokens?after="+after, "alice"))); n != grantsPerPage {
			t.Errorf("after=%.10s: %d grants", after, n)
		}
	}
}

// TestTokensBehindExpiredOnes: a page is empty only if no more grants follow.
func TestTokensBehindExpiredOnes(t *testing.T) {
	site := newTestSite(t, demoConsumer, "")
	for i := range grantsPerPage + 5 {
		token := &tokenstore.AccessToken{Key: fmt.Sprintf("a%03d", i), Secret: "s", Consumer: "demo", User: "alice", Permission: "READ_PUBLIC", Created: site.clock, Expires: site.clock.Add(-time.Second)}
		if err := site.store().CreateAccessToken(t.Context(), token); err != nil {
			t.Fatal(err)
		}
	}
	live := &tokenstore.AccessToken{Key: "z", Secret: "s", Consumer: "demo", User: "alice", Permission: "READ_PUBLIC", Created: site.clock}
	if err := site.store().CreateAccessToken(t.Context(), live); err != nil {
		t.Fatal(err)
	}
	if keys := listed(site.open("/+oauth-tokens", "alice")); len(keys) != 1 || keys[0] != "z" {
		t.Errorf("listed %q", keys)
	}
}

// TestTokensBehindTheLastPage: after all grants of the last page are revoked, the page shows the
// grants that are left.
func TestTokensBehindTheLastPage(t *testing.T) {
	site := newTestSite(t, demoConsumer, "")
	for range grantsPerPage + 1 {
		site.grant("demo", "alice", "READ_PUBLIC")
	}
	next := regexp.MustCompile(`href="(\?[^"]*)">Next page`).FindStringSubmatch(site.open("/+oauth-tokens", "alice").Body.String())
	if next == nil {
		t.Fatal("no second page")
	}
	target := "/+oauth-tokens" + next[1]
	last := site.open(target, "alice")
	w := site.send(target, "alice", revocation(t, last, "token", listed(last)[0]))
	back := site.open("/+oauth-tokens"+w.Header().Get("Location"), "alice")
	wantPage(t, back, 200, "Revoked.")
	if n := len(listed(back)); n != grantsPerPage || strings.Contains(back.Body.String(), "Nobody acts for you") {
		t.Errorf("%d grants are listed; want %d", n, grantsPerPage)
	}
	for _, link := range []string{"First page", "Next page"} {
		if strings.Contains(back.Body.String(), link) {
			t.Errorf("the only page leads to the %s", strings.ToLower(link))
		}
	}
}

func TestRevoke(t *testing.T) {
	site := newTestSite(t, "consumer demo {\n name \"Release dashboard\"\n secret s\n}\nconsumer other {\n secret s\n}\n", "")
	exists := func(token *tokenstore.AccessToken) bool {
		_, err := site.store().AccessToken(t.Context(), token.Key)
		return err == nil
	}
	first, second, kept := site.grant("demo", "alice", "READ_PUBLIC"), site.grant("demo", "alice", "READ_PRIVATE"), site.grant("other", "alice", "READ_PUBLIC")
	third, bobs := site.grant("demo", "alice", "WRITE_PUBLIC"), site.grant("demo", "bob", "READ_PUBLIC")
	page := site.open("/+oauth-tokens", "alice")

	t.Run("refused", func(t *testing.T) {
		one := revocation(t, page, "token", first.Key)
		for name, w := range map[string]*httptest.ResponseRecorder{
			"without a CSRF token":          site.send("/+oauth-tokens", "alice", url.Values{"token": {first.Key}}),
			"another grant's CSRF token":    site.send("/+oauth-tokens", "alice", url.Values{"token": {second.Key}, "csrf": one["csrf"]}),
			"a grant's token for all":       site.send("/+oauth-tokens", "alice", url.Values{"consumer": {first.Key}, "csrf": one["csrf"]}),
			"another user":                  site.send("/+oauth-tokens", "bob", one),
			"another user's grant":          site.send("/+oauth-tokens", "alice", url.Values{"token": {bobs.Key}, "csrf": one["csrf"]}),
			"from another origin":           site.send("/+oauth-tokens", "alice", one, "Origin", "https://evil.test"),
			"the page of another purpose":   site.send("/+oauth-tokens", "alice", url.Values{"token": {first.Key}, "csrf": {site.handler.csrfToken(endpointAuthorize, "alice", "token", first.Key)}}),
			"an empty consumer with a CSRF": site.send("/+oauth-tokens", "alice", url.Values{"consumer": {""}, "csrf": one["csrf"]}),
			"both, with the CSRF of a one":  site.send("/+oauth-tokens", "alice", url.Values{"consumer": {"demo"}, "token": {first.Key}, "csrf": one["csrf"]}),
		} {
			if w.Code != 403 {
				t.Errorf("%s: %d", name, w.Code)
			}
		}
		for _, token := range []*tokenstore.AccessToken{first, second, kept, bobs} {
			if !exists(token) {
				t.Error("a token is gone")
			}
		}
	})
	t.Run("somebody else's is not revoked even with a CSRF token for it", func(t *testing.T) {
		site.send("/+oauth-tokens", "alice", url.Values{"token": {bobs.Key}, "csrf": {site.handler.csrfToken(endpointTokens, "alice", "token", bobs.Key)}})
		if !exists(bobs) {
			t.Error("it is gone")
		}
	})
	t.Run("one", func(t *testing.T) {
		w := site.send("/+oauth-tokens?after=0", "alice", revocation(t, page, "token", first.Key))
		location := w.Header().Get("Location")
		if w.Code != 303 || !strings.HasPrefix(location, "?after=0&") {
			t.Fatalf("%d to %q", w.Code, location)
		}
		if exists(first) || !exists(second) || !exists(third) || !exists(kept) || !exists(bobs) {
			t.Error("not that one, or not it alone")
		}
		wantPage(t, site.open("/+oauth-tokens"+location, "alice"), 200, `role="status"`, "Release dashboard")
		if strings.Contains(site.open("/+oauth-tokens"+location, "bob").Body.String(), `role="status"`) {
			t.Error("another user reads of it")
		}
	})
	t.Run("one that is gone is no error, and was revoked", func(t *testing.T) {
		w := site.send("/+oauth-tokens", "alice", revocation(t, page, "token", first.Key))
		if w.Code != 303 {
			t.Errorf("%d", w.Code)
		}
		wantPage(t, site.open("/+oauth-tokens"+w.Header().Get("Location"), "alice"), 200, `role="status"`, "Release dashboard")
	})
	t.Run("all of an application", func(t *testing.T) {
		w := site.send("/+oauth-tokens", "alice", revocation(t, page, "consumer", "demo"))
		if w.Code != 303 || exists(second) || exists(third) || !exists(kept) || !exists(bobs) {
			t.Errorf("%d: not those, or not them alone", w.Code)
		}
	})
	t.Run("a notice without its proof is not shown", func(t *testing.T) {
		if w := site.open("/+oauth-tokens?revoked=demo&proof=x", "alice"); strings.Contains(w.Body.String(), `role="status"`) {
			t.Error("it is")
		}
	})
}
