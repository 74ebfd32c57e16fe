package integration

import (
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// launchpadlib is the client that this provider's dialect comes from: only PLAINTEXT, no callbacks,
// and polling. Here it talks to a small Launchpad behind the site. The service root is below the
// site's root; the web root (with the endpoints) is the site's root itself.

type refusal struct {
	Status          int    `json:"status"`
	Body            string `json:"body"`
	WWWAuthenticate string `json:"www_authenticate"`
}

// A lpTest is a site with a small Launchpad, used by launchpadlib.
type lpTest struct {
	lp      *launchpad
	srv     *server
	program []string
}

func newLaunchpadTest(t *testing.T, s site) *lpTest {
	t.Helper()
	program := python(t, "launchpadlib_driver.py", "launchpadlib")
	lp := newLaunchpad(t)
	return &lpTest{lp, startServer(t, s, lp.URL), program}
}

// run has the driver do something. If the driver asks for an authorization, answer reviews its
// request token.
func (l *lpTest) run(t *testing.T, do string, args object, answer func(what string, asked object) object, result any) {
	t.Helper()
	all := object{"do": do, "service_root": l.srv.origin() + "/", "dir": t.TempDir()}
	maps.Copy(all, args)
	drive(t, l.program, all, answer, result)
}

// says returns a function that reviews the driver's request token through the admin API, as
// salgado.
func (l *lpTest) says(t *testing.T, permission string, more object) func(string, object) object {
	return func(_ string, asked object) object {
		l.srv.review(t, asked["request_token"].(string), "salgado", permission, more)
		return object{}
	}
}

// Launchpad's consumers register themselves, with an empty secret.
const open = "registration open"

func TestLaunchpadlibLogsIn(t *testing.T) {
	l := newLaunchpadTest(t, site{App: open})
	type outcome struct {
		Me, Before, After, Consumer, Token, Secret string
		LookedUp                                   string `json:"looked_up"`
		EngineAsked                                int    `json:"engine_asked"`
	}
	t.Run("a system-wide integration is granted everything, reads itself, and changes itself by lp_save",
		func(t *testing.T) {
			var got outcome
			var url string
			answer := l.says(t, "DESKTOP_INTEGRATION", nil)
			l.run(t, "flow", object{"application": "hello", "display_name": "Salgado ☃"},
				func(what string, asked object) object {
					url = asked["url"].(string)
					return answer(what, asked)
				}, &got)
			if !strings.HasPrefix(got.Consumer, "System-wide: ") {
				t.Errorf("consumer %q, want a system-wide one", got.Consumer)
			}
			if !strings.HasPrefix(url, l.srv.origin()+"/+authorize-token?oauth_token=") ||
				!strings.HasSuffix(url, "&allow_permission=DESKTOP_INTEGRATION") {
				t.Errorf("the user is sent to %s", url)
			}
			if got.Me != "salgado" || got.Before != "Guilherme Salgado" || got.After != "Salgado ☃" ||
				got.LookedUp != "Salgado ☃" {
				t.Errorf("%+v", got)
			}
			if len(got.Token) != 20 || len(got.Secret) != 80 {
				t.Errorf("token %q and secret %q, want 20 and 80 characters", got.Token, got.Secret)
			}
			if name := l.lp.displayName("salgado"); name != "Salgado ☃" {
				t.Errorf("Launchpad has the display name %q", name)
			}
			if !l.lp.saw("salgado DESKTOP_INTEGRATION  PATCH /1.0/~salgado") {
				t.Errorf("Launchpad did not see salgado with DESKTOP_INTEGRATION in %q", l.lp.identity)
			}
		})
	t.Run("a consumer of its own logs in", func(t *testing.T) {
		var got outcome
		l.run(t, "flow", object{"consumer": "just testing ☃?", "levels": []string{"WRITE_PUBLIC"},
			"display_name": "Again"}, l.says(t, "WRITE_PUBLIC", nil), &got)
		if got.Consumer != "just testing ☃?" || got.Me != "salgado" || got.After != "Again" || got.EngineAsked != 1 {
			t.Errorf("%+v", got)
		}
	})
	t.Run("a refusal by the user is EndUserDeclinedAuthorization", func(t *testing.T) {
		var got struct{ Declined string }
		l.run(t, "declined", object{"consumer": "declined"}, l.says(t, "UNAUTHORIZED", nil), &got)
		if strings.TrimSpace(got.Declined) != "End-user refused to authorize request token." {
			t.Errorf("%q", got.Declined)
		}
	})
	t.Run("a request token as JSON names the levels, DESKTOP_INTEGRATION left out", func(t *testing.T) {
		var got struct {
			Token    string `json:"oauth_token"`
			Secret   string `json:"oauth_token_secret"`
			Consumer string `json:"oauth_token_consumer"`
			Levels   []struct{ Value, Title string }
			Access   []struct{ Value, Title string } `json:"access_levels"`
		}
		l.run(t, "levels", object{"consumer": "levels"}, noQuestions(t), &got)
		var levels []string
		for _, level := range got.Access {
			levels = append(levels, level.Value+": "+level.Title)
		}
		const want = "UNAUTHORIZED: No Access, READ_PUBLIC: Read Non-Private Data, WRITE_PUBLIC: Change Non-Private Data, " +
			"READ_PRIVATE: Read Anything, WRITE_PRIVATE: Change Anything"
		if s := strings.Join(levels, ", "); s != want || got.Consumer != "levels" || got.Token == "" || got.Secret == "" {
			t.Errorf("%+v", got)
		}
	})
}

func TestLaunchpadlibWalksWithAContext(t *testing.T) {
	l := newLaunchpadTest(t, site{App: open})
	var got struct {
		Early, Second             refusal
		Key, Secret, Context, URL string
	}
	l.run(t, "credentials", object{"consumer": "contextual", "context": "firefox"},
		l.says(t, "READ_PRIVATE", object{"context": "firefox"}), &got)
	if !strings.HasSuffix(got.URL, "&lp.context=firefox") {
		t.Errorf("the user is sent to %s", got.URL)
	}
	if got.Early.Status != http.StatusUnauthorized ||
		got.Early.Body != "Request token has not yet been reviewed. Try again later." {
		t.Errorf("before the review: %+v", got.Early)
	}
	if got.Context != "firefox" {
		t.Errorf("context %q, want firefox", got.Context)
	}
	if got.Second.Status != http.StatusUnauthorized ||
		got.Second.Body != "The request token is unknown, or was used already." {
		t.Errorf("a second exchange: %+v", got.Second)
	}
}

func TestLaunchpadlibUsesATokenThatIsBroughtAlong(t *testing.T) {
	l := newLaunchpadTest(t, site{App: open})
	const consumer = "brought along"
	l.srv.mustAdmin(t, "POST", "/oauth1/consumers", object{"key": consumer, "name": consumer, "secret": ""})
	tok := l.srv.issue(t, consumer, "salgado", "WRITE_PUBLIC", nil)
	args := func(tok token, more object) object {
		o := object{"consumer": consumer, "token": tok.Key, "secret": tok.Secret}
		maps.Copy(o, more)
		return o
	}
	t.Run("named operations, with a query and with a form", func(t *testing.T) {
		var got struct {
			Made  string
			Found []string
		}
		l.run(t, "operations", args(tok, object{"display_name": "a+b & c=d/☃ 100%"}), noQuestions(t), &got)
		if got.Made != "a+b & c=d/☃ 100%" || len(got.Found) != 1 || got.Found[0] != "team" {
			t.Errorf("%+v", got)
		}
	})
	t.Run("a level that only reads is refused lp_save with 403", func(t *testing.T) {
		reader := l.srv.issue(t, consumer, "salgado", "READ_PUBLIC", nil)
		var got refusal
		l.run(t, "save", args(reader, object{"display_name": "No"}), noQuestions(t), &got)
		if got.Status != http.StatusForbidden || !strings.Contains(got.Body, "WRITE_PUBLIC") {
			t.Errorf("%+v", got)
		}
	})
	t.Run("a wrong secret is 401", func(t *testing.T) {
		var got refusal
		l.run(t, "use", args(token{tok.Key, "wrong"}, nil), noQuestions(t), &got)
		if got.Status != http.StatusUnauthorized || !strings.HasPrefix(got.Body, "Invalid signature.") {
			t.Errorf("%+v", got)
		}
	})
	t.Run("an expired token is 401 with a body that begins Expired token", func(t *testing.T) {
		expired := l.expiredToken(t, consumer)
		var got refusal
		l.run(t, "use", args(expired, nil), noQuestions(t), &got)
		if got.Status != http.StatusUnauthorized || !strings.HasPrefix(got.Body, "Expired token") ||
			!strings.HasPrefix(got.WWWAuthenticate, "OAuth realm=") {
			t.Errorf("%+v", got)
		}
	})
	type renewed struct {
		First, Me, Token string
		EngineAsked      int `json:"engine_asked"`
	}
	t.Run("an expired token makes launchpadlib get a new one and try again", func(t *testing.T) {
		expired := l.expiredToken(t, consumer)
		var got renewed
		l.run(t, "renew", args(expired, nil), l.says(t, "READ_PUBLIC", nil), &got)
		if got.Me != "salgado" || got.EngineAsked != 1 || got.Token == expired.Key {
			t.Errorf("%+v", got)
		}
	})
	t.Run("an unknown token makes launchpadlib get a new one and try again", func(t *testing.T) {
		var got renewed
		l.run(t, "renew", args(token{"nobodyknowsme", "s"}, nil), l.says(t, "READ_PUBLIC", nil), &got)
		if got.Me != "salgado" || got.EngineAsked != 1 {
			t.Errorf("%+v", got)
		}
	})
	t.Run("a token that is revoked while it is in use is 401 with a body that begins Unknown access token",
		func(t *testing.T) {
			ended := l.srv.issue(t, consumer, "salgado", "WRITE_PUBLIC", nil)
			says := l.says(t, "READ_PUBLIC", nil)
			var got renewed
			l.run(t, "end", args(ended, nil), func(what string, asked object) object {
				if what != "end" {
					return says(what, asked)
				}
				l.srv.mustAdmin(t, "DELETE", "/oauth1/tokens/"+ended.Key, nil)
				var refused refusal
				l.run(t, "use", args(ended, nil), noQuestions(t), &refused)
				if refused.Status != http.StatusUnauthorized ||
					!strings.HasPrefix(refused.Body, "Unknown access token") {
					t.Errorf("%+v", refused)
				}
				return object{}
			}, &got)
			if got.First != "salgado" || got.Me != "mark" || got.EngineAsked != 1 || got.Token == ended.Key {
				t.Errorf("%+v", got)
			}
		})
}

// launchpadlib signs with PLAINTEXT alone, which consists of the secrets and does not cover the
// request. With secrets that need escapes, every awkward request must pass, and reach the upstream
// as it was sent.
func TestLaunchpadlibSendsAwkwardRequests(t *testing.T) {
	l := newLaunchpadTest(t, site{App: open})
	l.srv.mustAdmin(t, "POST", "/oauth1/consumers",
		object{"key": awkwardKey, "name": "Awkward", "secret": awkwardSecret})
	l.srv.mustAdmin(t, "POST", "/oauth1/tokens", object{
		"consumer": awkwardKey, "user": "salgado", "permission": "WRITE_PRIVATE", "key": awkwardToken, "secret": awkwardTokenSecret,
	})
	var got []sent
	requests := withOrigin(l.srv.origin())
	l.run(t, "requests", object{
		"consumer": awkwardKey, "consumer_secret": awkwardSecret, "token": awkwardToken, "secret": awkwardTokenSecret, "requests": requests,
	}, noQuestions(t), &got)
	if len(got) != len(requests) {
		t.Fatalf("%d answers to %d requests", len(got), len(requests))
	}
	for i, r := range requests {
		t.Run(r.Name, func(t *testing.T) {
			if got[i].Status != http.StatusOK {
				t.Fatalf("%d %s%s, want 200", got[i].Status, got[i].Body, got[i].Error)
			}
			seen := l.lp.heard(r.Name)
			want := strings.TrimSuffix(r.URI, "?") // httplib2 drops a question mark without a query
			if seen.Method != r.Method || seen.URI != want || seen.Header.Get("X-OAuth-User") != "salgado" ||
				seen.Header.Get("Authorization") != "" {
				t.Errorf("the upstream got %s %s %v, want %s %s from salgado", seen.Method, seen.URI, seen.Header,
					r.Method, want)
			}
			body := r.Body
			if r.Form != nil {
				v := make([]string, len(r.Form))
				for i, p := range r.Form {
					v[i] = url.QueryEscape(p[0]) + "=" + url.QueryEscape(p[1])
				}
				body = strings.Join(v, "&")
			}
			if string(seen.Body) != body {
				t.Errorf("the upstream got %q, want %q", seen.Body, body)
			}
		})
	}
}

// expiredToken issues a token and waits until it has expired.
func (l *lpTest) expiredToken(t *testing.T, consumer string) token {
	t.Helper()
	tok := l.srv.issue(t, consumer, "salgado", "WRITE_PUBLIC", object{"lifetime": "1s"})
	l.srv.waitUntil("the token has expired", func() error {
		req := l.srv.request("GET", "/1.0/", nil)
		req.Header.Set("Authorization", authorization(plaintext(consumer, "", tok)))
		return expect(l.srv, req, http.StatusUnauthorized, "")
	})
	return tok
}

func TestLaunchpadlibLogsInAnonymously(t *testing.T) {
	type outcome struct {
		Mark string
		Me   refusal
	}
	t.Run("with an anonymous policy it reads without a user", func(t *testing.T) {
		l := newLaunchpadTest(t, site{App: open, OAuth1: "policy {\n\tanonymous\n}"})
		var got outcome
		l.run(t, "anonymous", object{"consumer": "just testing"}, noQuestions(t), &got)
		if got.Mark != "Mark" || got.Me.Status != http.StatusUnauthorized ||
			!strings.HasPrefix(got.Me.Body, "You need to be logged in") {
			t.Errorf("%+v", got)
		}
		if !l.lp.saw("   GET /1.0/~mark") {
			t.Errorf("Launchpad saw %q", l.lp.identity)
		}
	})
	t.Run("without one it is refused", func(t *testing.T) {
		l := newLaunchpadTest(t, site{App: open})
		req := l.srv.request("GET", "/1.0/", nil)
		req.Header.Set("Authorization", authorization(append(plaintext("just testing", "", token{}),
			pair{"oauth_token", ""})))
		if err := expect(l.srv, req, http.StatusUnauthorized, ""); err != nil {
			t.Error(err)
		}
	})
}

// expect sends the request, and returns an error if the answer is not the expected one.
func expect(srv *server, req *http.Request, status int, body string) error {
	got, err := srv.do(req)
	if err != nil {
		return err
	}
	return got.is(status, body)
}
