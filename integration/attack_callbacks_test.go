package integration

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// `require_callback` protects a site from session fixation (OAuth Core 1.0a, advisory 2009.1).
// Another site of the same app may not require callbacks. The protected site must refuse its
// request tokens.
func TestAttackCallbacksOfAnotherSite(t *testing.T) {
	s := site{
		Global: "debug", OAuth1: "require_callback", Handler: "respond strict",
		App: demoApp + "consumer bound {\n\tsecret s\n\tcallbacks https://client.example/*\n}\n",
		More: "http://127.0.0.1:{{.Lax}} {\n\toauth1 {\n\t\tinsecure_plaintext_over_http\n" +
			"\t\tuser {http.request.header.X-Test-User}\n\t}\n\trespond lax\n}",
		Vars: map[string]string{"Lax": freePort(t)},
	}
	up := newUpstream(t) // no request reaches it
	srv := startServer(t, s, up.URL)
	w := walker{t, srv, demoKey, demoSecret}
	lax := "http://127.0.0.1:" + srv.names["Lax"]
	// post sends parameters to an endpoint of one of the sites.
	post := func(origin, endpoint string, params []pair) reply {
		t.Helper()
		req, err := http.NewRequest("POST", origin+endpoint, strings.NewReader(form(params)))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", formType)
		return srv.mustDo(t, req)
	}
	requestToken := func(origin string, more ...pair) token {
		t.Helper()
		got := post(origin, "/+request-token", w.params(token{}, more...))
		tok, err := parseToken(got.Body)
		if err != nil {
			t.Fatalf("%d %s: %v", got.Status, got.Body, err)
		}
		return tok
	}
	exchange := func(origin string, tok token, more ...pair) func() (reply, error) {
		return func() (reply, error) { return post(origin, "/+access-token", w.params(tok, more...)), nil }
	}
	// asked requests the authorize page of one of the sites, or sends its form.
	asked := func(method, origin, query string, fields url.Values) func() (reply, error) {
		return func() (reply, error) {
			req, err := http.NewRequest(method, origin+"/+authorize-token?"+query,
				strings.NewReader(fields.Encode()))
			if err != nil {
				return reply{}, err
			}
			req.Header.Set("X-Test-User", "alice")
			if method == "POST" {
				req.Header.Set("Content-Type", formType)
				req.Header.Set("Origin", origin)
				req.Header.Set("Sec-Fetch-Site", "same-origin")
			}
			return srv.do(req)
		}
	}
	isPage := func(what string, got reply) {
		t.Helper()
		if !strings.HasPrefix(got.Header.Get("Content-Type"), "text/html") || strings.Contains(got.Body,
			`name="decision"`) {
			t.Errorf("%s: %v %s, want a page that asks nothing", what, got.Header, brief(got.Body))
		}
	}
	state := func(tok token) any {
		return srv.mustAdmin(t, "GET", "/oauth1/request-tokens/"+tok.Key,
			nil)["state"]
	}
	strict := srv.origin()

	want(t, "a request token without a callback, here", post(strict, "/+request-token", w.params(token{})),
		http.StatusBadRequest, "")

	t.Run("the page", func(t *testing.T) {
		tok := requestToken(lax)
		laxPage, err := asked("GET", lax, "oauth_token="+tok.Key, nil)()
		if err != nil || laxPage.Status != http.StatusOK {
			t.Fatalf("the other site's page: %d %v", laxPage.Status, err)
		}
		for _, more := range []string{"", "&allow_permission=READ_PUBLIC", "&oauth_callback=oob",
			"&oauth_callback=https%3A%2F%2Fclient.example%2Fx"} {
			what := "its page, " + more
			got := srv.wantRefused(t, up, what, http.StatusBadRequest, "callback_absent", asked("GET", strict,
				"oauth_token="+tok.Key+more, nil))
			isPage(what, got)
			// The form is that of the other site's page, because this site shows none.
			fields := fillIn(laxPage.Body, "READ_PUBLIC")
			got = srv.wantRefused(t, up, what, http.StatusBadRequest, "callback_absent", asked("POST", strict,
				"oauth_token="+tok.Key+more, fields))
			isPage(what, got)
		}
		if got := state(tok); got != "waiting" {
			t.Errorf("the token is %v", got)
		}
	})
	t.Run("the exchange", func(t *testing.T) {
		for what, review := range map[string]func(tok token){
			"not reviewed": func(token) {},
			"reviewed by the admin API": func(tok token) {
				srv.review(t, tok.Key, "alice", "WRITE_PRIVATE",
					nil)
			},
			"reviewed at the other site": func(tok token) { reviewAt(t, asked, lax, tok) },
		} {
			tok := requestToken(lax)
			review(tok)
			before := state(tok)
			for _, more := range [][]pair{nil, {{"oauth_verifier", "x"}}, {{"oauth_verifier", ""}}} {
				got := srv.wantRefused(t, up, what, http.StatusUnauthorized, "callback_absent",
					exchange(strict, tok, more...))
				if strings.Contains(got.Body, "oauth_token_secret") {
					t.Errorf("%s: %s", what, got.Body)
				}
			}
			if after := state(tok); after != before {
				t.Errorf("%s: the token was %v, and is %v", what, before, after)
			}
		}
	})
	t.Run("the other site still works", func(t *testing.T) {
		tok := requestToken(lax)
		srv.wantRefused(t, up, "here", http.StatusUnauthorized, "callback_absent", exchange(strict, tok))
		reviewAt(t, asked, lax, tok)
		got, err := exchange(lax, tok)()
		if err != nil || got.Status != http.StatusOK {
			t.Errorf("there: %d %s %v", got.Status, got.Body, err)
		}
	})
	t.Run("a wrong signature is refused as such", func(t *testing.T) {
		tok := requestToken(lax)
		got := post(strict, "/+access-token", walker{t, srv, demoKey, "wrong"}.params(tok))
		if got.Status != http.StatusUnauthorized || strings.Contains(got.Body, "callback") {
			t.Errorf("%d %s", got.Status, got.Body)
		}
	})
	t.Run("a token with a callback is valid at both sites", func(t *testing.T) {
		for _, callback := range []string{"oob", "https://client.example/ready"} {
			for _, made := range []string{lax, strict} {
				tok := requestToken(made, pair{"oauth_callback", callback})
				approved := srv.approve(t, strict+"/+authorize-token?oauth_token="+tok.Key, "alice",
					"READ_PUBLIC")
				verifier := approved.Verifier
				if approved.Redirect != "" {
					verifier = mustParse(t, approved.Redirect).Query().Get("oauth_verifier")
				}
				got, err := exchange(strict, tok, pair{"oauth_verifier", verifier})()
				if err != nil || got.Status != http.StatusOK {
					t.Errorf("%s, made at %s: %d %s %v", callback, made, got.Status, got.Body, err)
				}
			}
		}
	})
}

// reviewAt grants a request token at a site's page.
func reviewAt(
	t *testing.T, asked func(method, origin, query string, fields url.Values) func() (reply, error),
	origin string, tok token,
) {
	t.Helper()
	page, err := asked("GET", origin, "oauth_token="+tok.Key, nil)()
	if err != nil || page.Status != http.StatusOK {
		t.Fatalf("the page: %d %v", page.Status, err)
	}
	done, err := asked("POST", origin, "oauth_token="+tok.Key, fillIn(page.Body, "READ_PUBLIC"))()
	if err != nil || done.Status != http.StatusSeeOther {
		t.Fatalf("the review: %d %s %v", done.Status, brief(done.Body), err)
	}
}
