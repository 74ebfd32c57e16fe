package caddymodule

import (
	"strings"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/adminapi"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// TestAdminReviewRefusesWhatThePageDoes: the review by the admin API, for a platform's own page,
// refuses every request token that this module's page refuses.
func TestAdminReviewRefusesWhatThePageDoes(t *testing.T) {
	for _, c := range []struct {
		name, callback string
		since          func(*testAdmin) // the event after the request token was made
		status         int
		want           string
	}{
		{"nothing happened", "https://app.example.com/ready", func(*testAdmin) {}, 200, `"redirect":"https://app.example.com/ready?oauth_token=req`},
		{"the consumer is disabled", "", func(a *testAdmin) { a.must("PATCH", "/oauth1/consumers/app", `{"disabled":true}`) }, 409, "disabled"},
		{"the consumer has expired", "oob", func(a *testAdmin) {
			a.must("PATCH", "/oauth1/consumers/app",
				`{"expires":"`+a.clock.Add(time.Minute).Format(time.RFC3339)+`"}`)
			a.clock = a.clock.Add(time.Minute)
		}, 409, "expired"},
		{"the callback is registered no more", "https://app.example.com/ready", func(a *testAdmin) {
			a.must("PATCH", "/oauth1/consumers/app", `{"callbacks":["https://app.example.com/new/*"]}`)
		}, 409, "not among those"},
		{"other callbacks don't matter out of band", "oob", func(a *testAdmin) {
			a.must("PATCH", "/oauth1/consumers/app", `{"callbacks":["https://app.example.com/new/*"]}`)
		}, 200, `"verifier":"`},
		{"a registered callback that the link named", "?https://app.example.com/new/x", func(a *testAdmin) {
			a.must("PATCH", "/oauth1/consumers/app", `{"callbacks":["https://app.example.com/new/*"]}`)
		}, 200, `"redirect":"https://app.example.com/new/x?oauth_token=req`},
		{"one that is not registered", "?https://app.example.com/new/x", func(*testAdmin) {}, 409, "not among those"},
		{"a forbidden one", "?javascript:alert(1)", func(*testAdmin) {}, 409, "forbidden"},
	} {
		for _, permission := range []string{"READ_PUBLIC", tokenstore.Unauthorized} {
			t.Run(c.name+", "+permission, func(t *testing.T) {
				a := newTestAdmin(t, "")
				a.must("POST", "/oauth1/consumers", `{"key":"app"}`)
				callback, linked, _ := strings.Cut(c.callback, "?")
				a.requestToken("req", "app", callback)
				c.since(a)
				w := a.call("POST", "/oauth1/request-tokens/req/review",
					`{"user":"u","permission":"`+permission+`","callback":"`+linked+`"}`)
				want := c.want
				if permission == tokenstore.Unauthorized && strings.Contains(want, "verifier") {
					want = `"state":"refused"`
				}
				if w.Code != c.status || !strings.Contains(w.Body.String(), want) {
					t.Errorf("got %d %s, want %d and %s", w.Code, w.Body, c.status, want)
				}
				state := a.must("GET", "/oauth1/request-tokens/req", "")["state"]
				if (state == adminapi.StateWaiting) != (c.status != 200) {
					t.Errorf("then it is %v", state)
				}
			})
		}
	}
}

// TestAdminReviewAgain: if a page sends the same answer twice, after a double click, both redirect
// to the same place with the same verifier.
func TestAdminReviewAgain(t *testing.T) {
	a := newTestAdmin(t, "")
	a.must("POST", "/oauth1/consumers", `{"key":"app"}`)
	a.requestToken("req", "app", "https://app.example.com/ready")
	answer := func(permission string) map[string]any {
		t.Helper()
		body := `{"user":"u","permission":"` + permission + `","lifetime":"1h"}`
		return a.must("POST", "/oauth1/request-tokens/req/review", body)
	}
	first, second := answer("READ_PUBLIC"), answer("READ_PUBLIC")
	same := first["verifier"] == second["verifier"] && first["redirect"] == second["redirect"]
	if first["verifier"] == nil || !same {
		t.Errorf("got %v and then %v", first, second)
	}
	for name, body := range map[string]string{
		"another level":    `{"user":"u","permission":"WRITE_PUBLIC","lifetime":"1h"}`,
		"another lifetime": `{"user":"u","permission":"READ_PUBLIC","lifetime":"2h"}`,
		"another user":     `{"user":"v","permission":"READ_PUBLIC","lifetime":"1h"}`,
		"a refusal":        `{"user":"u","permission":"UNAUTHORIZED"}`,
	} {
		if w := a.call("POST", "/oauth1/request-tokens/req/review", body); w.Code != 409 {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
}
