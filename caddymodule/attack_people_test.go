package caddymodule

import (
	"errors"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/command"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// TestAPageLeftOpenPromisesNothing: if the request was removed without an answer, a late answer
// must not be told that the application has access because of an older grant.
func TestAPageLeftOpenPromisesNothing(t *testing.T) {
	site := newTestSite(t, demoConsumer, "")
	site.clock = time.Now().Add(-24 * time.Hour)
	site.grant("demo", "alice", "READ_PUBLIC")
	for _, user := range []string{"alice", "bob"} {
		site.clock = time.Now().Add(-3 * time.Hour)
		token := &tokenstore.RequestToken{
			Key: tokenstore.NewKey(), Secret: "s", Consumer: "demo", Callback: "https://app.example.com/cb",
			Created: site.clock, Expires: time.Now().Add(time.Second - tokenstore.RequestRetention),
		}
		if err := site.store().CreateRequestToken(t.Context(), token); err != nil {
			t.Fatal(err)
		}
		target := "/+authorize-token?oauth_token=" + token.Key
		asked := site.open(target, user)
		form := url.Values{
			"csrf": {csrfToken(t, asked)}, "proof": offered(asked.Body.String(), "proof"), "consumer": {"demo"},
			"decision": {"allow"}, "permission": {"WRITE_PRIVATE"}, "lifetime": {"week"},
		}
		site.clock = time.Now()
		for { // until the store has removed it
			_, err := site.store().RequestToken(t.Context(), token.Key)
			if errors.Is(err, tokenstore.ErrNotFound) {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		w := site.send(target, user, form)
		for _, lie := range []string{"may act for you now", "The application has its access", "It has its answer"} {
			if strings.Contains(w.Body.String(), lie) {
				t.Errorf("%s never answered, and reads %q (%d)", user, lie, w.Code)
			}
		}
	}
}

// TestAChangeOfMindIsPossible: if a page says that an answer can be revoked in the list of
// applications, the list has it.
func TestAChangeOfMindIsPossible(t *testing.T) {
	site := newTestSite(t, demoConsumer, "")
	for _, decision := range []string{"allow", "refuse"} {
		target := "/+authorize-token?oauth_token=" + site.waiting("demo", "https://app.example.com/cb").Key
		csrf := csrfToken(t, site.open(target, "alice"))
		site.answer(t, target, "alice", csrf, "decision", decision)
		other := map[string]string{"allow": "refuse", "refuse": "allow"}[decision]
		again := site.answer(t, target, "alice", csrf, "decision", other)
		list := site.open("/+oauth-tokens", "alice")
		advised := strings.Contains(again.Body.String(), "revoke the access in your list")
		listed := strings.Contains(list.Body.String(), "demo")
		if advised && !listed {
			t.Errorf("%s, then %s: the page says to revoke the access in a list that has none", decision, other)
		}
	}
}

// TestRevokeTwice: a double click on Revoke gets the same answer as a single click.
func TestRevokeTwice(t *testing.T) {
	site := newTestSite(t, demoConsumer, "")
	token := site.grant("demo", "alice", "READ_PUBLIC")
	form := url.Values{"csrf": {csrfToken(t, site.open("/+oauth-tokens", "alice"))}, "token": {token.Key}}
	first, second := site.send("/+oauth-tokens", "alice", form), site.send("/+oauth-tokens", "alice", form)
	if one, two := first.Header().Get("Location"), second.Header().Get("Location"); one != two {
		t.Errorf("the first leads to %q, the second to %q", one, two)
	}
}

// TestSelfRegisteredKeysCanBeSeen: a key that a stranger chose has only visible characters, so it
// can't look like another key, and can be typed in a command.
func TestSelfRegisteredKeysCanBeSeen(t *testing.T) {
	site := newTestSite(t, "registration open\n"+demoConsumer, "insecure_plaintext_over_http")
	for name, key := range map[string]string{
		"zero width space":  "demo\u200b",
		"word joiner":       "de\u2060mo",
		"soft hyphen":       "de\u00admo",
		"right to left":     "\u202eomed",
		"line separator":    "demo\u2028verified by the operator",
		"language tag":      "demo\U000e0041",
		"a blank of a kind": "de\u00a0mo",
	} {
		t.Run(name, func(t *testing.T) {
			r := plain("/+request-token", key, "", "", "", "oauth_callback", "oob")
			if w, _ := site.serve(r); w.Code != 400 {
				t.Errorf("%q is registered: %d", key, w.Code)
			}
		})
	}
}

// TestRevokeOfNobody: a misspelled consumer key is an error.
func TestRevokeOfNobody(t *testing.T) {
	a := newTestAdmin(t, "")
	a.seed()
	out, err := a.commandRunner()("", "revoke", "--consumer", "ap", "--yes")
	if code := command.ExitCode(err); code != 3 {
		t.Errorf("exit code %d: %s", code, out)
	}
}

// TestAdminBodyThatIsEmpty: curl --data "$BODY" with an unset BODY creates no consumer and ends no
// secret. A call with neither a body nor a Content-Type gets the defaults.
func TestAdminBodyThatIsEmpty(t *testing.T) {
	a := newTestAdmin(t, "")
	a.seed()
	for _, target := range []string{"/oauth1/consumers", "/oauth1/consumers/app/rotate"} {
		for name, c := range map[string]struct {
			contentType, body string
			status            int
		}{
			"JSON":                  {"application/json", "", 400},
			"a patch":               {"application/merge-patch+json", "", 400},
			"blanks":                {"application/json", " \n", 400},
			"curl's type":           {"application/x-www-form-urlencoded", "", 415},
			"blanks of no type":     {"", " \n", 415},
			"an object":             {"application/json", "{}", 200},
			"no body and no header": {"", "", 200},
		} {
			t.Run(target+", "+name, func(t *testing.T) {
				r := httptest.NewRequest("POST", target, strings.NewReader(c.body))
				if c.contentType != "" {
					r.Header.Set("Content-Type", c.contentType)
				}
				w := httptest.NewRecorder()
				a.ServeHTTP(w, r)
				if got := w.Code; got != c.status && !(got == 201 && c.status == 200) {
					t.Errorf("%d %s, want %d", got, w.Body, c.status)
				}
			})
		}
	}
}

// TestAdminFieldsSentTwice: a repeated field is refused, because its meaning is unclear.
func TestAdminFieldsSentTwice(t *testing.T) {
	a := newTestAdmin(t, "")
	a.seed()
	for _, body := range []string{
		`{"user":"salgado","user":"somebody"}`, `{"user":"salgado","User":"somebody"}`,
		`{"user":"salgado","u\u017fer":"somebody"}`, `{"u\u0073er":"salgado","user":"somebody"}`,
	} {
		if w := a.call("POST", "/oauth1/revoke", body); w.Code != 400 {
			t.Errorf("%s: %d %s", body, w.Code, w.Body)
		}
	}
}

// TestAnsweredRequestThatExpired: if an allowed request expires, its page says at once that the
// application got no access.
func TestAnsweredRequestThatExpired(t *testing.T) {
	site := newTestSite(t, demoConsumer, "")
	target := "/+authorize-token?oauth_token=" + site.waiting("demo", "https://app.example.com/cb").Key
	site.answer(t, target, "alice", csrfToken(t, site.open(target, "alice")))
	site.clock = site.clock.Add(2*time.Hour + time.Minute)
	w := site.open(target, "alice")
	if strings.Contains(w.Body.String(), "Your answer stands") {
		t.Error("the page says that the answer stands, which nothing can come of")
	}
}

// TestThePageVouchesForNobodysKey: if anybody can use an application's key, because it has no
// secret, the page never says that the operator added the application.
func TestThePageVouchesForNobodysKey(t *testing.T) {
	for name, steps := range map[string][][2]string{
		"registered itself, disabled, enabled again": {{"own", `{"disabled":true}`}, {"own", `{"disabled":false}`}},
		"registered itself, changed by nothing":      {{"own", `{}`}},
		"added without a secret":                     {{"", `{"key":"own","secret":""}`}},
	} {
		t.Run(name, func(t *testing.T) {
			a := newTestAdmin(t, "registration open")
			if steps[0][0] == "" {
				a.must("POST", "/oauth1/consumers", steps[0][1])
			} else {
				own := &tokenstore.Consumer{Key: "own", SelfRegistered: true, Created: a.clock}
				if err := a.store().CreateConsumer(t.Context(), own); err != nil {
					t.Fatal(err)
				}
				for _, step := range steps {
					a.must("PATCH", "/oauth1/consumers/"+step[0], step[1])
				}
			}
			page := a.open("/+authorize-token?oauth_token="+a.waiting("own", "").Key, "alice")
			if strings.Contains(page.Body.String(), "The operator of this site has added this application") {
				t.Error("the page vouches for a key that anybody can sign with")
			}
		})
	}
}
