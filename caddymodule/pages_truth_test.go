package caddymodule

import (
	"strings"
	"testing"
	"time"
)

// TestContextOfTheLink: a context is a limit only if a policy of the site looks at it. Otherwise
// only the link claims it, and the pages say so.
func TestContextOfTheLink(t *testing.T) {
	const limited, claimed = "Limited to", "Limit that the link names"
	for name, c := range map[string]struct {
		policy, want, not string
	}{
		"no policy":              {"", claimed, limited},
		"one without a context":  {"policy {\n permission READ_PUBLIC\n}", claimed, limited},
		"one that has a context": {"policy {\n permission READ_PUBLIC\n context firefox\n}", limited, claimed},
	} {
		t.Run(name, func(t *testing.T) {
			site := newTestSite(t, demoConsumer, c.policy)
			asks := "/+authorize-token?lp.context=firefox&oauth_token="
			target := asks + site.waiting("demo", "https://app.example.com/cb").Key
			asked := site.open(target, "alice")
			wantPage(t, asked, 200, c.want, "firefox")
			token := site.grant("demo", "alice", "READ_PUBLIC")
			if err := site.store().RevokeToken(t.Context(), token.Key); err != nil {
				t.Fatal(err)
			}
			token.Context = "firefox"
			if err := site.store().CreateAccessToken(t.Context(), token); err != nil {
				t.Fatal(err)
			}
			list := site.open("/+oauth-tokens", "alice")
			wantPage(t, list, 200, c.want, "firefox")
			for _, page := range []string{asked.Body.String(), list.Body.String()} {
				if strings.Contains(page, c.not) {
					t.Errorf("the page says %q", c.not)
				}
			}
		})
	}
}

// TestFinishedIsOfThisAnswer: if the access of an answer was revoked, an older grant does not make
// the page say that the application has access.
func TestFinishedIsOfThisAnswer(t *testing.T) {
	site := newTestSite(t, demoConsumer, "")
	site.clock = site.clock.Add(-time.Hour)
	site.grant("demo", "alice", "READ_PUBLIC")
	site.clock = site.clock.Add(time.Hour)
	token := site.waiting("demo", "")
	target := "/+authorize-token?oauth_token=" + token.Key
	w := site.answer(t, target, "alice", csrfToken(t, site.open(target, "alice")))
	done := "/+authorize-token" + w.Header().Get("Location")
	access := site.redeem(token.Key, "")
	wantPage(t, site.open(done, "alice"), 200, "Finished")
	if err := site.store().RevokeToken(t.Context(), access.Key); err != nil {
		t.Fatal(err)
	}
	wantPage(t, site.open(done, "alice"), 410, "This request is over")
	forged := strings.Replace(done, "since=", "since=1", 1)
	wantPage(t, site.open(forged, "alice"), 403, "There is nothing to see here")
}

// TestWordsOfTheOperator: texts of the operator or an application have an unknown language (HTML's
// lang="").
func TestWordsOfTheOperator(t *testing.T) {
	declared := "permission ONE \"Alles\"\npermission TWO \"Nichts\"\n"
	policy := "policy {\n permission ONE\n}"
	for name, c := range map[string]struct {
		global, directive, more, want string
	}{
		"declared levels": {declared, policy, "", `<span lang=""><strong>Alles</strong>`},
		"a declared level alone": {declared, policy, "&allow_permission=ONE",
			`<p class="only" lang=""><strong>Alles</strong>`},
		"Launchpad's levels": {"", "", "", `<span><strong>Read Anything</strong>`},
		"a name":             {"", "", "", `<bdi lang="">alice</bdi>`},
		"a context":          {"", "", "&lp.context=firefox", `<bdi lang="">firefox</bdi>`},
		"the site":           {"", "", "", `<span lang="">api.test</span>`},
	} {
		t.Run(name, func(t *testing.T) {
			site := newTestSite(t, demoConsumer+c.global, c.directive)
			target := "/+authorize-token?oauth_token=" + site.waiting("demo", "").Key + c.more
			wantPage(t, site.open(target, "alice"), 200, c.want)
		})
	}
	site := newTestSite(t, demoConsumer+declared, policy)
	site.grant("demo", "alice", "ONE")
	wantPage(t, site.open("/+oauth-tokens", "alice"), 200, `<h3><span lang="">Alles</span></h3>`)
}
