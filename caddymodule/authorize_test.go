package caddymodule

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/pages"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/policy"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// offered lists the levels or lifetimes on the page, by their names in the form.
func offered(page, field string) []string {
	var values []string
	for _, found := range regexp.MustCompile(`name="`+field+`" value="([^"]*)"`).FindAllStringSubmatch(page, -1) {
		values = append(values, found[1])
	}
	return values
}

func TestAuthorizeOffers(t *testing.T) {
	site := newTestSite(t, demoConsumer+`
consumer reader {
	secret s
	permissions READ_PUBLIC READ_PRIVATE
}
consumer "System-wide: Ubuntu (laptop)" {
	secret s
}
consumer "System-wide: Ubuntu" {
	secret s
}
`, "")
	all := "READ_PUBLIC WRITE_PUBLIC READ_PRIVATE WRITE_PRIVATE"
	const desktop = "System-wide: Ubuntu (laptop)"
	for _, test := range []struct {
		name, consumer, asked, want string
	}{
		{"nothing asked for is all but the computer", "demo", "", all},
		{"the requested levels, in the order of declaration", "demo", "WRITE_PUBLIC READ_PUBLIC", "READ_PUBLIC WRITE_PUBLIC"},
		{"one level", "demo", "READ_PUBLIC", "READ_PUBLIC"},
		{"an unknown level asks for nothing", "demo", "EVERYTHING", all},
		{"an unknown level beside a known one is left out", "demo", "EVERYTHING READ_PUBLIC", "READ_PUBLIC"},
		{"a refusal is no level", "demo", "UNAUTHORIZED", all},
		{"the computer for an application asks for nothing", "demo", "DESKTOP_INTEGRATION", all},
		{"the computer alone, for a computer", desktop, "DESKTOP_INTEGRATION", "DESKTOP_INTEGRATION"},
		{"the computer beside another level is left out", desktop, "DESKTOP_INTEGRATION READ_PUBLIC", "READ_PUBLIC"},
		{"the computer twice is not alone", desktop, "DESKTOP_INTEGRATION DESKTOP_INTEGRATION", all},
		{"a computer that does not ask for it", desktop, "", all},
		{"a key that only looks like a computer's", "System-wide: Ubuntu", "DESKTOP_INTEGRATION", all},
		{"levels that the consumer may not have are not offered", "reader", "", "READ_PUBLIC READ_PRIVATE"},
		{"nor when it is asked for", "reader", "WRITE_PRIVATE", "READ_PUBLIC READ_PRIVATE"},
	} {
		t.Run(test.name, func(t *testing.T) {
			query := url.Values{"oauth_token": {site.waiting(test.consumer, "").Key}, "allow_permission": strings.Fields(test.asked)}
			w := site.open("/+authorize-token?"+query.Encode(), "alice")
			wantPage(t, w, 200, "No Access")
			if got := strings.Join(offered(w.Body.String(), "permission"), " "); got != test.want {
				t.Errorf("offers %q; want %q", got, test.want)
			}
			if computer := strings.Contains(w.Body.String(), "Confirm computer access"); computer != (test.want == policy.DesktopIntegration) {
				t.Errorf("computer page: %v", computer)
			}
		})
	}
	t.Run("a site offers its own levels only", func(t *testing.T) {
		site := newTestSite(t, demoConsumer, "permissions READ_PUBLIC WRITE_PUBLIC")
		w := site.open("/+authorize-token?allow_permission=READ_PRIVATE&oauth_token="+site.waiting("demo", "").Key, "alice")
		if got := strings.Join(offered(w.Body.String(), "permission"), " "); got != "READ_PUBLIC WRITE_PUBLIC" {
			t.Errorf("offers %q", got)
		}
	})
	t.Run("nothing to offer is a page that says so", func(t *testing.T) {
		site := newTestSite(t, "consumer demo {\n secret s\n permissions READ_PRIVATE\n}", "permissions READ_PUBLIC WRITE_PUBLIC")
		wantPage(t, site.open("/+authorize-token?oauth_token="+site.waiting("demo", "").Key, "alice"), 403, "Nothing can be granted")
	})
}

// TestAuthorizeSays: the page names the application, the user, the access, and its dangers.
func TestAuthorizeSays(t *testing.T) {
	site := newTestSite(t, `consumer demo {
	name "Release dashboard"
	homepage https://dashboard.example.com/
	contact a?cc=b@example.com
	secret s
	callbacks https://dashboard.example.com/* myapp:/done
}
consumer bare {
	secret s
	contact https://help.example.com/?app=bare
}`, "")
	for _, c := range []*tokenstore.Consumer{
		{Key: "own", SelfRegistered: true, Created: site.clock}, {Key: "added", Secret: "s"},
	} {
		if err := site.store().CreateConsumer(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	const polling = "did not say where it came from"
	for _, test := range []struct {
		name, consumer, callback, more string
		says                           []string
		not                            string
	}{
		{
			"a declared consumer", "demo", "https://dashboard.example.com/done", "&lp.context=firefox",
			[]string{"Release dashboard", "<code><bdi lang=\"\">demo</bdi></code>", `href="https://dashboard.example.com/" rel="noopener noreferrer"`,
				`<a href="mailto:a%3Fcc=b@example.com" rel="noopener noreferrer" target="_blank"><bdi lang="">a?cc=b@example.com</bdi></a>`, "The operator of this site has added this application.",
				"Logged in as <strong><bdi lang=\"\">alice</bdi></strong>", "<bdi lang=\"\">firefox</bdi>", "<dd><bdi lang=\"\">https://dashboard.example.com</bdi></dd>",
				"Read Anything", "private data too, and change nothing."},
			polling,
		},
		{"a custom scheme", "demo", "myapp:/done", "", []string{"<dd><bdi lang=\"\">myapp:</bdi></dd>"}, polling},
		{"a code to type in", "demo", outOfBand, "", []string{"You will get a code to type into the application"}, "You will be sent to"},
		{"a request that does not say where it came from", "demo", "", "", []string{polling}, "You will be sent to"},
		{"one with a registered callback in the link", "demo", "", "&oauth_callback=https://dashboard.example.com/x", []string{"<dd><bdi lang=\"\">https://dashboard.example.com</bdi></dd>"}, polling},
		{"a consumer without a name has its key", "bare", "", "", []string{"Allow <bdi lang=\"\">bare</bdi>"}, "Website"},
		{"one that the operator declared claims nothing", "bare", "", "", []string{"The operator of this site has added this application."}, "claim."},
		{"a contact that is a URL", "bare", "", "",
			[]string{"<dt>Contact</dt>", `<a href="https://help.example.com/?app=bare" rel="noopener noreferrer"`}, "mailto:"},
		{"no contact", "added", "", "", nil, "Contact"},
		{"an unchecked one", "own", "", "", []string{"Nobody has checked who is behind this", "its name is its own claim"}, "The operator"},
		{"one that the operator added", "added", "", "", []string{"The operator of this site has added this application."}, "claim."},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := site.open("/+authorize-token?oauth_token="+site.waiting(test.consumer, test.callback).Key+test.more, "alice")
			wantPage(t, w, 200, test.says...)
			if test.not != "" && strings.Contains(w.Body.String(), test.not) {
				t.Errorf("the page says %q", test.not)
			}
		})
	}
}

func TestAuthorizeRefusals(t *testing.T) {
	site := newTestSite(t, demoConsumer+"consumer old {\n secret s\n expires 2001-01-01\n}", "")
	if err := site.store().CreateConsumer(t.Context(), &tokenstore.Consumer{Key: "off", Secret: "s", Disabled: true}); err != nil {
		t.Fatal(err)
	}
	reviewed := func(user string) string {
		token := site.waiting("demo", "")
		if _, err := site.store().Review(t.Context(), token.Key, tokenstore.Review{User: user, Permission: "READ_PUBLIC", Time: site.clock}); err != nil {
			t.Fatal(err)
		}
		return token.Key
	}
	expired := *site.waiting("demo", "")
	expired.Key, expired.Expires = tokenstore.NewKey(), site.clock.Add(-time.Second)
	if err := site.store().CreateRequestToken(t.Context(), &expired); err != nil {
		t.Fatal(err)
	}
	key := site.waiting("demo", "").Key
	for _, test := range []struct {
		name, query string
		status      int
		text        string
	}{
		{"no token", "", 400, "There is nothing to decide"},
		{"an empty token", "oauth_token=", 400, "There is nothing to decide"},
		{"two tokens", "oauth_token=" + key + "&oauth_token=" + key, 400, "There is nothing to decide"},
		{"a malformed query", "oauth_token=%zz", 400, "There is nothing to decide"},
		{"an unknown token", "oauth_token=nonesuch", 404, "This request is over, or was never here"},
		{"a token of control characters", "oauth_token=%00", 404, "This request is over, or was never here"},
		{"a huge token", "oauth_token=" + strings.Repeat("x", 70_000), 404, "This request is over, or was never here"},
		{"an expired token", "oauth_token=" + expired.Key, 410, "This request has expired"},
		{"one that somebody answered", "oauth_token=" + reviewed("bob"), 409, "This request was answered already"},
		{"one that the user answered", "oauth_token=" + reviewed("alice"), 409, "You have answered this request already"},
		{"a consumer that is gone", "oauth_token=" + site.waiting("gone", "").Key, 404, "The application <bdi lang=\"\">gone</bdi> is not registered here any more"},
		{"a disabled consumer", "oauth_token=" + site.waiting("off", "").Key, 403, "The application is disabled"},
		{"an expired consumer", "oauth_token=" + site.waiting("old", "").Key, 403, "The application is disabled"},
		{"two contexts", "oauth_token=" + key + "&lp.context=a&lp.context=b", 400, "it names more than one context"},
		{"a context with a line break", "oauth_token=" + key + "&lp.context=a%0Ab", 400, "holds a control character"},
		{"a context that is too long", "oauth_token=" + key + "&lp.context=" + strings.Repeat("x", 300), 400, "is longer than 255 bytes"},
		{"a done page without its proof", "oauth_token=" + key + "&done=READ_PUBLIC&oauth_consumer_key=demo", 403, "There is nothing to see here"},
	} {
		t.Run(test.name, func(t *testing.T) {
			wantPage(t, site.open("/+authorize-token?"+test.query, "alice"), test.status, test.text)
			if !strings.Contains(test.query, "done=") {
				w := site.send("/+authorize-token?"+test.query, "alice", url.Values{"decision": {"refuse"}})
				wantPage(t, w, test.status, test.text)
			}
		})
	}
	for _, query := range []string{"", "oauth_token=nonesuch"} { // HEAD shows nothing
		r := httptest.NewRequest(http.MethodHead, "http://api.test/+authorize-token?"+query, nil)
		r.Header.Set("Test-User", "alice")
		if w, _ := site.serve(r); w.Code == 405 {
			t.Error("HEAD is refused")
		}
	}
}

// TestAuthorizeCallbacks: where the browser may go, and where it never goes.
func TestAuthorizeCallbacks(t *testing.T) {
	site := newTestSite(t, demoConsumer+`
consumer registered {
	secret s
	callbacks https://app.example.com/oauth/* myapp:/done
}`, "")
	for _, test := range []struct {
		name, consumer, callback, linked string
		status                           int
		target                           string // the target after an approval; ? is the done page
	}{
		{"the token's callback", "demo", "https://app.example.com/cb", "", 303, "https://app.example.com/cb?oauth_token=KEY&oauth_verifier=VERIFIER"},
		{"its query stays", "demo", "https://app.example.com/cb?a=b%20c", "", 303, "https://app.example.com/cb?a=b%20c&oauth_token=KEY&oauth_verifier=VERIFIER"},
		{"a link can't replace it", "demo", "https://app.example.com/cb", "https://evil.test/", 303, "https://app.example.com/cb?oauth_token=KEY&oauth_verifier=VERIFIER"},
		{"nor with a forbidden one", "demo", "https://app.example.com/cb", "javascript:alert(1)", 303, "https://app.example.com/cb?oauth_token=KEY&oauth_verifier=VERIFIER"},
		{"nor a registered one", "registered", "myapp:/done", "https://app.example.com/oauth/x", 303, "myapp:/done?oauth_token=KEY&oauth_verifier=VERIFIER"},
		{"a stored callback that is no longer registered", "registered", "https://app.example.com/other", "", 400, "not among those"},
		{"out of band", "demo", outOfBand, "https://evil.test/", 303, "?"},
		{"none", "demo", "", "", 303, "?"},
		{"none, and an empty one in the link", "demo", "", "oob", 303, "?"},
		{"none, and an unregistered one in the link", "demo", "", "https://app.example.com/", 303, "?"},
		{"none, and a registered one in the link", "registered", "", "https://app.example.com/oauth/done?x=y", 303, "https://app.example.com/oauth/done?x=y&oauth_token=KEY&oauth_verifier=VERIFIER"},
		{"none, and one beside the registered folder", "registered", "", "https://app.example.com/oauth/../x", 303, "?"},
		{"a script in the link", "registered", "", "javascript:alert(1)", 400, `the scheme "javascript" is forbidden`},
		{"data in the link", "registered", "", "data:text/html,x", 400, `the scheme "data" is forbidden`},
		{"user information in the link", "registered", "", "https://app.example.com@evil.test/", 400, "it holds user information"},
		{"a backslash in the link", "registered", "", `https://evil.test\@app.example.com/oauth/`, 400, "it holds the character"},
		{"a line break in the link", "registered", "", "https://app.example.com/oauth/\r\nSet-Cookie: a=b", 400, "control character"},
		{"a path in the link", "registered", "", "//evil.test/", 400, "it is not an absolute URL"},
	} {
		t.Run(test.name, func(t *testing.T) {
			token := site.waiting(test.consumer, test.callback)
			query := url.Values{"oauth_token": {token.Key}}
			if test.linked != "" {
				query.Set("oauth_callback", test.linked)
			}
			target := "/+authorize-token?" + query.Encode()
			asked := site.open(target, "alice")
			if test.status != 303 {
				wantPage(t, asked, test.status, test.target)
				wantPage(t, site.send(target, "alice", url.Values{"decision": {"allow"}}), test.status, test.target)
				return
			}
			w := site.send(target, "alice", url.Values{
				"csrf": {csrfToken(t, asked)}, "decision": {"allow"}, "permission": {"READ_PUBLIC"}, "lifetime": {"unlimited"},
			})
			stored, err := site.store().RequestToken(t.Context(), token.Key)
			if err != nil || stored.Review == nil {
				t.Fatalf("not reviewed: %d %s %v", w.Code, w.Body, err)
			}
			if brought := test.callback != "" || test.target != "?"; (stored.Review.Verifier != "") != brought {
				t.Errorf("verifier %q", stored.Review.Verifier)
			}
			want := strings.NewReplacer("KEY", token.Key, "VERIFIER", stored.Review.Verifier).Replace(test.target)
			got := w.Header().Get("Location")
			if test.target == "?" && strings.HasPrefix(got, "?done=READ_PUBLIC&") {
				got = "?"
			}
			if w.Code != 303 || got != want {
				t.Errorf("%d to %q; want 303 to %q", w.Code, got, want)
			}
			if test.target == "?" && stored.Review.Verifier != "" && strings.Contains(w.Header().Get("Location"), stored.Review.Verifier) {
				t.Error("the verifier is in the address")
			}
			for name, want := range map[string]string{"Cache-Control": "no-store", "Referrer-Policy": "same-origin"} {
				if got := w.Header().Get(name); got != want {
					t.Errorf("%s: %q", name, got)
				}
			}
		})
	}
	t.Run("a refusal goes there too", func(t *testing.T) {
		token := site.waiting("demo", "https://app.example.com/cb")
		target := "/+authorize-token?oauth_token=" + token.Key
		w := site.send(target, "alice", url.Values{"csrf": {csrfToken(t, site.open(target, "alice"))}, "decision": {"refuse"}})
		if got, want := w.Header().Get("Location"), "https://app.example.com/cb?oauth_token="+token.Key+"&oauth_problem=permission_denied"; w.Code != 303 || got != want {
			t.Errorf("%d to %q; want %q", w.Code, got, want)
		}
	})
}

// TestReview: the review that the store has after an answer.
func TestReview(t *testing.T) {
	site := newTestSite(t, demoConsumer+"access_token_lifetime 48h\n", "")
	never := time.Duration(0)
	for _, test := range []struct {
		name   string
		query  string
		form   string
		status int
		want   *tokenstore.Review // nil: no review
		length time.Duration
	}{
		{"a level", "", "decision=allow&permission=READ_PUBLIC&lifetime=hour", 303, &tokenstore.Review{Permission: "READ_PUBLIC"}, time.Hour},
		{"a day", "", "decision=allow&permission=WRITE_PRIVATE&lifetime=day", 303, &tokenstore.Review{Permission: "WRITE_PRIVATE"}, 24 * time.Hour},
		{"the operator's limit", "", "decision=allow&permission=READ_PUBLIC&lifetime=unlimited", 303, &tokenstore.Review{Permission: "READ_PUBLIC"}, 48 * time.Hour},
		{"the operator's limit is kept against a form", "", "decision=allow&permission=READ_PUBLIC&lifetime=week", 303, &tokenstore.Review{Permission: "READ_PUBLIC"}, 48 * time.Hour},
		{"a context", "&lp.context=firefox", "decision=allow&permission=READ_PUBLIC&lifetime=hour", 303, &tokenstore.Review{Permission: "READ_PUBLIC", Context: "firefox"}, time.Hour},
		{"a refusal has no context", "&lp.context=firefox", "decision=refuse&permission=READ_PUBLIC&lifetime=hour", 303, &tokenstore.Review{Permission: "UNAUTHORIZED"}, never},
		{"a refusal needs no level", "", "decision=refuse", 303, &tokenstore.Review{Permission: "UNAUTHORIZED"}, never},
		{"no level", "", "decision=allow&lifetime=hour", 400, nil, 0},
		{"no lifetime", "", "decision=allow&permission=READ_PUBLIC", 400, nil, 0},
		{"no decision", "", "permission=READ_PUBLIC&lifetime=hour", 400, nil, 0},
		{"another decision", "", "decision=maybe&permission=READ_PUBLIC&lifetime=hour", 400, nil, 0},
		{"a level that was not offered", "&allow_permission=READ_PUBLIC", "decision=allow&permission=WRITE_PRIVATE&lifetime=hour", 400, nil, 0},
		{"a computer that was not offered", "", "decision=allow&permission=DESKTOP_INTEGRATION&lifetime=hour", 400, nil, 0},
		{"an unknown level", "", "decision=allow&permission=ROOT&lifetime=hour", 400, nil, 0},
		{"a refusal as a level", "", "decision=allow&permission=UNAUTHORIZED&lifetime=hour", 400, nil, 0},
		{"two levels", "", "decision=allow&permission=READ_PUBLIC&permission=WRITE_PRIVATE&lifetime=hour", 400, nil, 0},
		{"an unknown lifetime", "", "decision=allow&permission=READ_PUBLIC&lifetime=year", 400, nil, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			token := site.waiting("demo", "")
			target := "/+authorize-token?oauth_token=" + token.Key + test.query
			form, err := url.ParseQuery(test.form)
			if err != nil {
				t.Fatal(err)
			}
			form.Set("csrf", csrfToken(t, site.open(target, "alice")))
			w := site.send(target, "alice", form)
			stored, err := site.store().RequestToken(t.Context(), token.Key)
			if err != nil {
				t.Fatal(err)
			}
			if w.Code != test.status || (stored.Review == nil) != (test.want == nil) {
				t.Fatalf("%d %+v; want %d %+v", w.Code, stored.Review, test.status, test.want)
			}
			if test.want == nil {
				return
			}
			want := *test.want
			want.User, want.Time = "alice", site.clock
			if test.length > 0 {
				want.Expires = site.clock.Add(test.length)
			}
			got := *stored.Review
			if !got.Time.Equal(want.Time) || !got.Expires.Equal(want.Expires) {
				t.Errorf("at %v until %v; want at %v until %v", got.Time, got.Expires, want.Time, want.Expires)
			}
			got.Time, got.Expires = want.Time, want.Expires
			if got != want {
				t.Errorf("review %+v; want %+v", got, want)
			}
		})
	}
}

// answer sends an answer from the page, and returns the redirect.
func (s *testSite) answer(t *testing.T, target, user, csrf string, more ...string) *httptest.ResponseRecorder {
	t.Helper()
	form := url.Values{
		"csrf": {csrf}, "decision": {"allow"}, "permission": {"READ_PUBLIC"}, "lifetime": {"hour"},
	}
	for i := 0; i < len(more); i += 2 {
		form.Set(more[i], more[i+1])
	}
	return s.send(target, user, form)
}

// TestReviewAgain: the same answer by the same user leads to the same place until the exchange.
// Another answer, or one by another user, is refused: the request was answered.
func TestReviewAgain(t *testing.T) {
	const registered = "consumer registered {\n secret s\n callbacks https://app.example.com/oauth/*\n}\n"
	site := newTestSite(t, demoConsumer+registered, "")
	for _, test := range []struct {
		name, consumer, callback, more string
		link                           string // on the answered request's page, for its user
	}{
		{"a callback", "demo", "https://app.example.com/cb?a=b", "", "Continue to <bdi lang=\"\">demo</bdi>"},
		{"a callback in the link", "registered", "", "&oauth_callback=https%3A%2F%2Fapp.example.com%2Foauth%2Fx",
			"Continue to <bdi lang=\"\">registered</bdi>"},
		{"a code", "demo", outOfBand, "", "See your answer"},
		{"neither", "demo", "", "", "See your answer"},
	} {
		t.Run(test.name, func(t *testing.T) {
			token := site.waiting(test.consumer, test.callback)
			target := "/+authorize-token?oauth_token=" + token.Key + test.more
			csrf, bobs := csrfToken(t, site.open(target, "alice")), csrfToken(t, site.open(target, "bob"))
			first := site.answer(t, target, "alice", csrf)
			site.clock = site.clock.Add(20 * time.Millisecond)
			second := site.answer(t, target, "alice", csrf)
			place := first.Header().Get("Location")
			if first.Code != 303 || second.Code != 303 || second.Header().Get("Location") != place {
				t.Fatalf("%d to %q, and then %d to %q", first.Code, place, second.Code, second.Header().Get("Location"))
			}
			link := fmt.Sprintf(`<a class="button" href="%s">%s</a>`, place, test.link)
			wantPage(t, site.open(target, "alice"), 409, "You have answered this request already", link)
			for name, more := range map[string][]string{
				"another level":    {"permission", "WRITE_PUBLIC"},
				"another lifetime": {"lifetime", "day"},
				"a refusal":        {"decision", "refuse"},
			} {
				t.Run(name, func(t *testing.T) {
					wantPage(t, site.answer(t, target, "alice", csrf, more...), 409, "You have answered this request already", link)
				})
			}
			stored, err := site.store().RequestToken(t.Context(), token.Key)
			if err != nil {
				t.Fatal(err)
			}
			verifier := stored.Review.Verifier
			for name, w := range map[string]*httptest.ResponseRecorder{
				"opens it":        site.open(target, "bob"),
				"says the same":   site.answer(t, target, "bob", bobs),
				"has the form":    site.answer(t, target, "bob", csrf),
				"has the address": site.open("/+authorize-token"+place[strings.Index(place, "?"):], "bob"),
			} {
				page := w.Body.String()
				leads := strings.Contains(page, `class="onward"`) || verifier != "" && strings.Contains(page, verifier)
				if w.Code < 400 || leads {
					t.Errorf("another user %s: %d %s", name, w.Code, page)
				}
			}
			site.redeem(token.Key, verifier)
			wantPage(t, site.open(target, "alice"), 404, "This request is over, or was never here")
			wantPage(t, site.answer(t, target, "alice", csrf), 404, "This request is over, or was never here")
		})
	}
	t.Run("a refusal", func(t *testing.T) {
		target := "/+authorize-token?oauth_token=" + site.waiting("demo", "https://app.example.com/cb").Key
		csrf := csrfToken(t, site.open(target, "alice"))
		first := site.answer(t, target, "alice", csrf, "decision", "refuse").Header().Get("Location")
		second := site.answer(t, target, "alice", csrf, "decision", "refuse", "permission", "WRITE_PUBLIC")
		got := second.Header().Get("Location")
		if second.Code != 303 || got != first || !strings.HasSuffix(got, "&oauth_problem=permission_denied") {
			t.Errorf("%d to %q, and the first to %q", second.Code, got, first)
		}
		wantPage(t, site.answer(t, target, "alice", csrf), 409, "You have answered this request already")
	})
	t.Run("an answered request of a disabled consumer leads to no application", func(t *testing.T) {
		late := &tokenstore.Consumer{Key: "late", Secret: "s"}
		if err := site.store().CreateConsumer(t.Context(), late); err != nil {
			t.Fatal(err)
		}
		target := "/+authorize-token?oauth_token=" + site.waiting("late", "https://app.example.com/cb").Key
		csrf := csrfToken(t, site.open(target, "alice"))
		site.answer(t, target, "alice", csrf)
		_, err := site.store().UpdateConsumer(t.Context(), "late", func(c *tokenstore.Consumer) error {
			c.Disabled = true
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range []*httptest.ResponseRecorder{
			site.open(target, "alice"), site.answer(t, target, "alice", csrf),
		} {
			wantPage(t, w, 409, "You have answered this request already", `href="?done=READ_PUBLIC&`)
			if strings.Contains(w.Body.String(), "app.example.com") {
				t.Error("the page leads to the application")
			}
		}
	})
}

// redeem exchanges a reviewed request token for its access token.
func (s *testSite) redeem(key, verifier string) *tokenstore.AccessToken {
	s.t.Helper()
	access, err := s.store().Exchange(s.t.Context(), key, verifier)
	if err != nil {
		s.t.Fatal(err)
	}
	return access
}

// TestReviewedThenExchanged: the page of an answer says when the application has its access, and
// when that access was revoked.
func TestReviewedThenExchanged(t *testing.T) {
	site := newTestSite(t, demoConsumer, "")
	token := site.waiting("demo", outOfBand)
	target := "/+authorize-token?oauth_token=" + token.Key
	asked := site.open(target, "alice")
	proof := offered(asked.Body.String(), "proof")
	form := url.Values{
		"csrf": {csrfToken(t, asked)}, "proof": proof, "consumer": {"demo"},
		"decision": {"allow"}, "permission": {"READ_PUBLIC"}, "lifetime": {"hour"},
	}
	done := "/+authorize-token" + site.send(target, "alice", form).Header().Get("Location")
	stored, err := site.store().RequestToken(t.Context(), token.Key)
	if err != nil {
		t.Fatal(err)
	}
	wantPage(t, site.open(done, "alice"), 200, `id="verifier" dir="ltr">`+stored.Review.Verifier+"<")
	if w := site.open(done, "bob"); w.Code != 403 || strings.Contains(w.Body.String(), stored.Review.Verifier) {
		t.Errorf("another user sees the code: %d", w.Code)
	}
	access := site.redeem(token.Key, stored.Review.Verifier)
	wantPage(t, site.open(done, "alice"), 200, "<h1>Finished</h1>", "may act for you now")
	wantPage(t, site.send(target, "alice", form), 200, "<h1>Finished</h1>", "may act for you now")
	refusal := url.Values{"proof": proof, "consumer": {"demo"}, "decision": {"refuse"}}
	const over = "whether <bdi lang=\"\">demo</bdi> may act for you"
	wantPage(t, site.send(target, "alice", refusal), 410, "This request is over", over)
	for name, w := range map[string]*httptest.ResponseRecorder{
		"another user":         site.send(target, "bob", form),
		"another consumer":     site.send(target, "alice", url.Values{"proof": proof, "consumer": {"other"}}),
		"another request":      site.send(target+"x", "alice", form),
		"a form without proof": site.send(target, "alice", url.Values{"consumer": {"demo"}}),
	} {
		t.Run(name, func(t *testing.T) { wantPage(t, w, 404, "was never here") })
	}
	if err := site.store().RevokeToken(t.Context(), access.Key); err != nil {
		t.Fatal(err)
	}
	for _, w := range []*httptest.ResponseRecorder{site.open(done, "alice"), site.send(target, "alice", form)} {
		wantPage(t, w, 410, "This request is over", over)
	}
	if err := site.store().Close(); err != nil {
		t.Fatal(err)
	}
}

// TestDoneTooLate: an expired code is not shown, and the page promises no access.
func TestDoneTooLate(t *testing.T) {
	site := newTestSite(t, demoConsumer, "")
	for _, callback := range []string{"", outOfBand} {
		for decision, status := range map[string]int{"allow": 410, "refuse": 200} {
			target := "/+authorize-token?oauth_token=" + site.waiting("demo", callback).Key
			answer := site.send(target, "alice", url.Values{
				"csrf": {csrfToken(t, site.open(target, "alice"))}, "decision": {decision}, "permission": {"READ_PUBLIC"}, "lifetime": {"unlimited"},
			})
			done := "/+authorize-token" + answer.Header().Get("Location")
			wantPage(t, site.open(done, "alice"), 200)
			site.clock = site.clock.Add(2 * time.Hour)
			late := site.open(done, "alice")
			site.clock = site.clock.Add(-2 * time.Hour)
			wantPage(t, late, status, map[string]string{"allow": "did not finish in time", "refuse": "may not act for you"}[decision])
			if strings.Contains(late.Body.String(), `id="verifier"`) {
				t.Errorf("%s: the code is shown", decision)
			}
		}
	}
}

// TestReviewAtOnce: of several answers at the same time, the first is stored. Equal answers
// succeed, all others are refused.
func TestReviewAtOnce(t *testing.T) {
	site := newTestSite(t, demoConsumer, "")
	target := "/+authorize-token?oauth_token=" + site.waiting("demo", "https://app.example.com/cb").Key
	csrf := csrfToken(t, site.open(target, "alice"))
	type outcome struct {
		code  int
		place string
	}
	outcomes := make(chan outcome)
	const many = 8
	for i := range many {
		go func() {
			w := site.answer(t, target, "alice", csrf, "decision", []string{"allow", "refuse"}[i%2])
			outcomes <- outcome{w.Code, w.Header().Get("Location")}
		}()
	}
	count := make(map[outcome]int)
	for range many {
		count[<-outcomes]++
	}
	if len(count) != 2 || count[outcome{409, ""}] != many/2 {
		t.Errorf("got %v; want one place as often as its answer was given, and 409 for the other", count)
	}
}

// TestOfferedLifetimes: the lifetimes under the operator's limit, and the one that is already
// chosen.
func TestOfferedLifetimes(t *testing.T) {
	set, err := pages.New(pages.Options{})
	if err != nil {
		t.Fatal(err)
	}
	const never, week = 0, 7 * 24 * time.Hour
	for _, test := range []struct {
		most, proposed time.Duration
		values, chosen string
		first          string
	}{
		{0, week, "unlimited hour day week", "week", "Until I disable it"},
		{0, never, "unlimited hour day week", "unlimited", "Until I disable it"},
		{0, time.Hour, "unlimited hour day week", "hour", "Until I disable it"},
		{30 * 24 * time.Hour, week, "unlimited hour day week", "week", "Until I disable it, at most 30 days"},
		{30 * 24 * time.Hour, never, "unlimited hour day week", "unlimited", "Until I disable it, at most 30 days"},
		{week, week, "unlimited hour day", "unlimited", "Until I disable it, at most 7 days"},
		{48 * time.Hour, week, "unlimited hour day", "day", "Until I disable it, at most 2 days"},
		{12 * time.Hour, week, "unlimited hour", "hour", "Until I disable it, at most 12 hours"},
		{time.Hour, week, "unlimited", "unlimited", "Until I disable it, at most 1 hour"},
		{90 * time.Second, week, "unlimited", "unlimited", "Until I disable it, at most 90 seconds"},
		{1500 * time.Millisecond, week, "unlimited", "unlimited", "Until I disable it, at most 2 seconds"},
	} {
		offered, err := offeredLifetimes(set.Language(nil), test.most, test.proposed)
		if err != nil {
			t.Fatal(err)
		}
		var values, chosen []string
		for _, choice := range offered {
			values = append(values, choice.Value)
			if choice.Checked {
				chosen = append(chosen, choice.Value)
			}
		}
		got := fmt.Sprintf("%s; %s; %s", strings.Join(values, " "), strings.Join(chosen, " "), offered[0].Title)
		if want := fmt.Sprintf("%s; %s; %s", test.values, test.chosen, test.first); got != want {
			t.Errorf("at most %v, %v proposed: got %q, want %q", test.most, test.proposed, got, want)
		}
	}
}

// checked lists the values of a page's field that are already chosen.
func checked(page, field string) string {
	var values []string
	radio := regexp.MustCompile(`name="` + field + `" value="([^"]*)" required checked`)
	for _, found := range radio.FindAllStringSubmatch(page, -1) {
		values = append(values, found[1])
	}
	return strings.Join(values, " ")
}

// TestAuthorizeProposes: when the page opens, no level and no lifetime longer than a week is
// chosen, unless the operator configured it.
func TestAuthorizeProposes(t *testing.T) {
	for _, test := range []struct {
		name, global, pages, asked string
		level, lifetime            string
	}{
		{"nothing configured", "", "", "", "", "week"},
		{"a limit below a week", "access_token_lifetime 48h", "", "", "", "day"},
		{"a limit of a week", "access_token_lifetime 7d", "", "", "", "unlimited"},
		{"a level", "", "default_permission READ_PRIVATE", "", "READ_PRIVATE", "week"},
		{"a level that is not asked for", "", "default_permission READ_PRIVATE", "READ_PUBLIC WRITE_PUBLIC", "", "week"},
		{"an hour", "", "default_lifetime 1h", "", "", "hour"},
		{"a day", "", "default_lifetime 1d", "", "", "day"},
		{"never", "", "default_lifetime never", "", "", "unlimited"},
		{"never, under a limit", "access_token_lifetime 30d", "default_lifetime never", "", "", "unlimited"},
		{"the limit", "access_token_lifetime 7d", "default_lifetime 7d", "", "", "unlimited"},
	} {
		t.Run(test.name, func(t *testing.T) {
			directive := ""
			if test.pages != "" {
				directive = "pages {\n" + test.pages + "\n}"
			}
			site := newTestSite(t, demoConsumer+test.global+"\n", directive)
			query := url.Values{"oauth_token": {site.waiting("demo", "").Key}, "allow_permission": strings.Fields(test.asked)}
			page := site.open("/+authorize-token?"+query.Encode(), "alice").Body.String()
			level, lifetime := checked(page, "permission"), checked(page, "lifetime")
			if level != test.level || lifetime != test.lifetime {
				t.Errorf("chosen are %q and %q; want %q and %q", level, lifetime, test.level, test.lifetime)
			}
		})
	}
}

func TestParseComputer(t *testing.T) {
	for key, want := range map[string]*pages.Computer{
		"System-wide: Ubuntu (laptop)":       {Type: "Ubuntu", Host: "laptop"},
		"System-wide: Debian 13 (x) (my pc)": {Type: "Debian 13 (x)", Host: "my pc"},
		"System-wide: Ubuntu":                nil,
		"System-wide:  ()":                   nil,
		"not System-wide: Ubuntu (laptop)":   nil,
		"System-wide: Ubuntu (laptop) more":  nil,
	} {
		got := parseComputer(key)
		if (got == nil) != (want == nil) || (got != nil && *got != *want) {
			t.Errorf("%q: %v; want %v", key, got, want)
		}
	}
}

// TestFormTarget: no callback can add a directive to the Content-Security-Policy.
func TestFormTarget(t *testing.T) {
	for callback, want := range map[string]string{
		"":                                       "",
		outOfBand:                                "",
		"https://App.example.com/cb?x=y":         "https:",
		"http://127.0.0.1:8080/cb":               "http: https:",
		"myapp:/done":                            "myapp:",
		"https://a;script-src'unsafe-inline'/":   "https:",
		"MyApp:/done;script-src 'unsafe-inline'": "myapp:",
	} {
		if got := formTarget(callback); got != want {
			t.Errorf("%q: %q; want %q", callback, got, want)
		}
	}
}

// FuzzFormTarget: the form target of every accepted callback is a list of schemes.
func FuzzFormTarget(f *testing.F) {
	for _, callback := range []string{"https://app.example.com/cb", "http://[::1]:80/", "myapp:/x", "https://a;b'c'/", "https://%C3%A4/"} {
		f.Add(callback)
	}
	source := regexp.MustCompile(`^(http: )?[a-z][a-z0-9+.-]*:$`)
	f.Fuzz(func(t *testing.T, callback string) {
		if _, err := parseCallback(callback); err != nil || callback == outOfBand {
			return
		}
		if got := formTarget(callback); !source.MatchString(got) {
			t.Errorf("%q: %q", callback, got)
		}
	})
}
