package caddymodule

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/adminapi"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/audit"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// testAdmin is Caddy's admin endpoint with only the oauth1 routes, on the app of a test site.
type testAdmin struct {
	*testSite
	http.Handler
	logs *observer.ObservedLogs
}

const declaredConsumers = `
	consumer ci-bot {
		name "CI bot"
		secret canary-declared
	}
	consumer limited {
		secret canary-limited
		permissions READ_PUBLIC
	}`

func newTestAdmin(t testing.TB, global string) *testAdmin {
	t.Helper()
	core, logs := observer.New(zap.DebugLevel)
	site := newTestSite(t, global, "")
	site.app.trail.Load().Use(audit.Log{Logger: zap.New(core)})
	return &testAdmin{
		testSite: site,
		Handler:  adminHandler(&adminAPI{logger: zap.New(core)}),
		logs:     logs,
	}
}

// adminHandler serves the routes as Caddy's admin endpoint does.
func adminHandler(api *adminAPI) http.Handler {
	mux := http.NewServeMux()
	for _, route := range api.Routes() {
		mux.HandleFunc(route.Pattern, func(w http.ResponseWriter, r *http.Request) {
			err := route.Handler.ServeHTTP(w, r)
			if err == nil {
				return
			}
			var failed caddy.APIError
			if !errors.As(err, &failed) {
				failed = caddy.APIError{HTTPStatus: http.StatusInternalServerError, Err: err}
			}
			failed.Message = failed.Err.Error()
			w.WriteHeader(failed.HTTPStatus)
			_ = json.NewEncoder(w).Encode(failed)
		})
	}
	return mux
}

// call sends a request, with a JSON body if body is not empty.
func (a *testAdmin) call(method, target, body string) *httptest.ResponseRecorder {
	a.t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	w := httptest.NewRecorder()
	a.ServeHTTP(w, r)
	return w
}

// must is call for a request that must succeed. It returns the decoded answer.
func (a *testAdmin) must(method, target, body string) map[string]any {
	a.t.Helper()
	w := a.call(method, target, body)
	if w.Code/100 != 2 {
		a.t.Fatalf("%s %s: %d %s", method, target, w.Code, w.Body)
	}
	var answer map[string]any
	if w.Body.Len() > 0 {
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
			a.t.Fatalf("%s %s: %v: %s", method, target, err, w.Body)
		}
	}
	return answer
}

// requestToken stores a request token that waits for its review.
func (a *testAdmin) requestToken(key, consumer, callback string) {
	a.t.Helper()
	err := a.store().CreateRequestToken(a.t.Context(), &tokenstore.RequestToken{
		Key:      key,
		Secret:   "canary-request-secret",
		Consumer: consumer,
		Callback: callback,
		Created:  a.clock,
		Expires:  a.clock.Add(2 * time.Hour),
	})
	if err != nil {
		a.t.Fatal(err)
	}
}

// seed stores the objects that the table tests refer to.
func (a *testAdmin) seed() {
	a.t.Helper()
	a.must("POST", "/oauth1/consumers", `{"key":"app","name":"App","secret":"canary-app"}`)
	a.must("POST", "/oauth1/consumers", `{"key":"rsa","rsa_public_key":`+jsonText(a.t, testPublicKey(a.t))+`}`)
	a.must("POST", "/oauth1/consumers", `{"key":"nosecret","secret":""}`)
	a.must("POST", "/oauth1/tokens", `{"key":"tok","secret":"canary-token","consumer":"app","user":"salgado","permission":"READ_PUBLIC"}`)
	a.requestToken("waiting", "app", "")
	a.requestToken("back", "app", "https://app.example.com/ready?x=1")
	a.requestToken("oob", "app", "oob")
	a.requestToken("of-limited", "limited", "")
	a.requestToken("refused", "app", "")
	a.must("POST", "/oauth1/request-tokens/refused/review", `{"user":"salgado","permission":"UNAUTHORIZED"}`)
}

func jsonText(t testing.TB, s string) string {
	t.Helper()
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// testKey is an RSA key, and testPublicKey the PEM of its public half.
var testKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

func testPublicKey(t testing.TB) string {
	t.Helper()
	key, err := testKey()
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func TestAdminRoutes(t *testing.T) {
	expectations := []struct {
		name, method, target, body string
		status                     int
		want                       string // a part of the answer
	}{
		{"consumers are listed with the declared ones", "GET", "/oauth1/consumers", "", 200, `{"key":"ci-bot","name":"CI bot","declared":true}`},
		{"a list has a limit", "GET", "/oauth1/consumers?limit=1", "", 200, `"next":"app"`},
		{"an invalid limit is refused", "GET", "/oauth1/consumers?limit=0", "", 400, `limit \"0\"`},
		{"a page that is too large is refused", "GET", "/oauth1/tokens?limit=101", "", 400,
			`limit \"101\": must be a number from 1 to 100`},
		{"the largest page", "GET", "/oauth1/tokens?limit=100", "", 200, `"items":`},
		{"an empty limit is refused", "GET", "/oauth1/consumers?limit=", "", 400, `\"limit\": is empty`},
		{"an empty beginning is refused", "GET", "/oauth1/consumers?after=", "", 400, `\"after\": is empty`},
		{"an unknown query parameter is refused", "GET", "/oauth1/tokens?usr=x", "", 400, `unknown query parameter \"usr\"`},
		{"a query parameter sent twice is refused", "GET", "/oauth1/tokens?user=x&user=y", "", 400, "sent twice"},
		{"a malformed query is refused", "GET", "/oauth1/tokens?user=%zz", "", 400, "malformed"},
		{"a declared consumer is shown", "GET", "/oauth1/consumers/ci-bot", "", 200, `"declared":true`},
		{"a stored consumer is shown", "GET", "/oauth1/consumers/app", "", 200, `{"key":"app","name":"App","created":"`},
		{"an RSA consumer is shown with its key", "GET", "/oauth1/consumers/rsa", "", 200, "BEGIN PUBLIC KEY"},
		{"an unknown consumer", "GET", "/oauth1/consumers/nobody", "", 404, `consumer \"nobody\": not found`},

		{"a new consumer's secret is shown", "POST", "/oauth1/consumers", `{"key":"new"}`, 201, `"secret":"`},
		{"a key that is there", "POST", "/oauth1/consumers", `{"key":"app"}`, 409, "exists already"},
		{"a key that is declared", "POST", "/oauth1/consumers", `{"key":"ci-bot"}`, 409, "declared in Caddy's configuration"},
		{"an RSA consumer with a secret", "POST", "/oauth1/consumers", `{"secret":"s","rsa_public_key":` + jsonText(t, testPublicKey(t)) + `}`, 400, "a secret and an rsa_public_key"},
		{"an invalid RSA key", "POST", "/oauth1/consumers", `{"rsa_public_key":"x"}`, 400, "rsa_public_key"},
		{"a secret with a line end", "POST", "/oauth1/consumers", `{"secret":"canary\n"}`, 400, "line end"},
		{"a key with a control character", "POST", "/oauth1/consumers", `{"key":"a\u0007"}`, 400, "control character"},
		{"an undeclared permission", "POST", "/oauth1/consumers", `{"permissions":["X"]}`, 400, `permission \"X\"`},
		{"a callback that could do harm", "POST", "/oauth1/consumers", `{"callbacks":["javascript:1"]}`, 400, "javascript"},
		{"an invalid time", "POST", "/oauth1/consumers", `{"expires":"soon"}`, 400, `expires \"soon\"`},
		{"an unknown field is named", "POST", "/oauth1/consumers", `{"nmae":"x"}`, 400, `unknown field \"nmae\"`},
		{"a field of a wrong type is named", "POST", "/oauth1/consumers", `{"name":1}`, 400, `field \"name\": a JSON number`},
		{"a secret of a wrong type is not shown", "POST", "/oauth1/consumers", `{"secret":12345}`, 400, `field \"secret\": a JSON number`},
		{"no object", "POST", "/oauth1/consumers", `[]`, 400, "must be a JSON object, not a JSON array"},
		{"no JSON", "POST", "/oauth1/consumers", `{canary`, 400, "not a JSON object"},
		{"two objects", "POST", "/oauth1/consumers", `{}{}`, 400, "more than one"},
		{"no UTF-8", "POST", "/oauth1/consumers", "{\"name\":\"\xff\"}", 400, "not UTF-8"},
		{"a body that is too large", "POST", "/oauth1/consumers", `{"name":"` + strings.Repeat("x", maxAdminBody) + `"}`, 413, "larger than"},

		{"a consumer is changed", "PATCH", "/oauth1/consumers/app", `{"homepage":"https://app.example.com/"}`, 200, `"homepage":"https://app.example.com/"`},
		{"a patch of nothing", "PATCH", "/oauth1/consumers/app", "", 200, `"name":"App"`},
		{"a patch that is no object", "PATCH", "/oauth1/consumers/app", "[]", 400, "must be a JSON object"},
		{"a part of a wrong type is named", "PATCH", "/oauth1/consumers/app", `{"two_legged":{"user":1}}`, 400, `field \"two_legged.user\"`},
		{"a secret after an RSA key is refused", "POST", "/oauth1/consumers/rsa/rotate", `{"secret":"canary"}`, 409, "RSA key"},
		{"a change keeps the fields that it does not name", "PATCH", "/oauth1/consumers/app", `{"disabled":true}`, 200, `"name":"App"`},
		{"a key can't be changed", "PATCH", "/oauth1/consumers/app", `{"key":"x"}`, 400, `unknown field \"key\"`},
		{"a secret can't be changed", "PATCH", "/oauth1/consumers/app", `{"secret":"canary"}`, 400, `unknown field \"secret\"`},
		{"an unknown field is refused when it is null", "PATCH", "/oauth1/consumers/app", `{"x":null}`, 400, `unknown field \"x\"`},
		{"a change is checked", "PATCH", "/oauth1/consumers/app", `{"signature_methods":["RSA-SHA1"]}`, 400, "no key for it"},
		{"two_legged needs a secret", "PATCH", "/oauth1/consumers/nosecret", `{"two_legged":{"user":"u","permission":"READ_PUBLIC"}}`, 400, "needs a secret"},
		{"an RSA key can't be removed", "PATCH", "/oauth1/consumers/rsa", `{"rsa_public_key":null}`, 409, "can't be removed"},
		{"a declared consumer can't be changed", "PATCH", "/oauth1/consumers/ci-bot", `{"disabled":true}`, 409, "declared"},
		{"an unknown consumer can't be changed", "PATCH", "/oauth1/consumers/nobody", `{}`, 404, "not found"},

		{"a secret is rotated", "POST", "/oauth1/consumers/app/rotate", "", 200, `"secret":"`},
		{"a secret is rotated with an overlap", "POST", "/oauth1/consumers/app/rotate", `{"overlap":"1d"}`, 200, `"previous_secret_expires":"`},
		{"an invalid overlap", "POST", "/oauth1/consumers/app/rotate", `{"overlap":"-1h"}`, 400, "overlap"},
		{"a new secret that is empty", "POST", "/oauth1/consumers/app/rotate", `{"secret":""}`, 400, "secret: is empty"},
		{"an empty secret can't overlap", "POST", "/oauth1/consumers/nosecret/rotate", `{"overlap":"1h"}`, 409, "was empty"},
		{"an RSA consumer has no secret to rotate", "POST", "/oauth1/consumers/rsa/rotate", "", 409, "RSA key"},
		{"a declared secret can't be rotated", "POST", "/oauth1/consumers/ci-bot/rotate", "", 409, "declared"},
		{"an unknown consumer's secret", "POST", "/oauth1/consumers/nobody/rotate", "", 404, "not found"},

		{"a consumer is removed", "DELETE", "/oauth1/consumers/app", "", 204, ""},
		{"a declared consumer can't be removed", "DELETE", "/oauth1/consumers/ci-bot", "", 409, "declared"},
		{"an unknown consumer can't be removed", "DELETE", "/oauth1/consumers/nobody", "", 404, "not found"},

		{"tokens are listed", "GET", "/oauth1/tokens", "", 200, `"key":"tok"`},
		{"tokens of a user", "GET", "/oauth1/tokens?user=salgado", "", 200, `"key":"tok"`},
		{"tokens of another user", "GET", "/oauth1/tokens?user=alice", "", 200, `{"items":[]}`},
		{"tokens of a consumer", "GET", "/oauth1/tokens?consumer=app", "", 200, `"key":"tok"`},
		{"tokens of both", "GET", "/oauth1/tokens?consumer=rsa&user=salgado", "", 200, `{"items":[]}`},
		{"a token is shown", "GET", "/oauth1/tokens/tok", "", 200, `"user":"salgado"`},
		{"an unknown token", "GET", "/oauth1/tokens/nothing", "", 404, "not found"},
		{"an unexpected query", "DELETE", "/oauth1/tokens/tok?dry_run=true", "", 400,
			"query parameters"},
		{"a query of a list where one is added", "POST", "/oauth1/consumers?key=x", "{}", 400,
			"query parameters"},
		{"a token is revoked", "DELETE", "/oauth1/tokens/tok", "", 204, ""},
		{"an unknown token can't be revoked", "DELETE", "/oauth1/tokens/nothing", "", 404, "not found"},

		{"a token is issued", "POST", "/oauth1/tokens", `{"consumer":"app","user":"u","permission":"READ_PUBLIC"}`, 201, `"secret":"`},
		{"a token is issued for a declared consumer", "POST", "/oauth1/tokens", `{"consumer":"ci-bot","user":"u","permission":"READ_PUBLIC"}`, 201, `"consumer":"ci-bot"`},
		{"a token for a time", "POST", "/oauth1/tokens", `{"consumer":"app","user":"u","permission":"READ_PUBLIC","lifetime":"7d"}`, 201, `"expires":"`},
		{"an invalid lifetime", "POST", "/oauth1/tokens", `{"consumer":"app","user":"u","permission":"READ_PUBLIC","lifetime":"week"}`, 400, `lifetime \"week\"`},
		{"a token's key that is there", "POST", "/oauth1/tokens", `{"key":"tok","consumer":"app","user":"u","permission":"READ_PUBLIC"}`, 409, `access token \"tok\": exists already`},
		{"a token's secret that is empty", "POST", "/oauth1/tokens", `{"secret":"","consumer":"app","user":"u","permission":"READ_PUBLIC"}`, 400, "secret: is empty"},
		{"a token without a user", "POST", "/oauth1/tokens", `{"consumer":"app","permission":"READ_PUBLIC"}`, 400, "user: is empty"},
		{"a token for a user that can't stand in a header", "POST", "/oauth1/tokens", `{"consumer":"app","user":"a\r\nb","permission":"READ_PUBLIC"}`, 400, "control character"},
		{"a context that can't be a header", "POST", "/oauth1/tokens", `{"consumer":"app","user":"u","permission":"READ_PUBLIC","context":"a\nb"}`, 400, "context"},
		{"a token for no consumer", "POST", "/oauth1/tokens", `{"user":"u","permission":"READ_PUBLIC"}`, 400, "consumer: is empty"},
		{"a token for an unknown consumer", "POST", "/oauth1/tokens", `{"consumer":"nobody","user":"u","permission":"READ_PUBLIC"}`, 404, `consumer \"nobody\": not found`},
		{"a token with an unknown permission", "POST", "/oauth1/tokens", `{"consumer":"app","user":"u","permission":"X"}`, 400, `permission \"X\"`},
		{"a token that grants nothing", "POST", "/oauth1/tokens", `{"consumer":"app","user":"u","permission":"UNAUTHORIZED"}`, 400, "not declared"},
		{"a token beyond the consumer's permissions", "POST", "/oauth1/tokens", `{"consumer":"limited","user":"u","permission":"WRITE_PUBLIC"}`, 400, "may not be granted"},

		{"a request token waits", "GET", "/oauth1/request-tokens/waiting", "", 200, `"state":"waiting"`},
		{"a refused request token", "GET", "/oauth1/request-tokens/refused", "", 200, `"state":"refused"`},
		{"an unknown request token", "GET", "/oauth1/request-tokens/nothing", "", 404, "not found"},
		{"a review without a callback has no verifier", "POST", "/oauth1/request-tokens/waiting/review", `{"user":"u","permission":"READ_PUBLIC"}`, 200, `"state":"reviewed"`},
		{"a review with a callback leads there", "POST", "/oauth1/request-tokens/back/review", `{"user":"u","permission":"READ_PUBLIC"}`, 200, `"redirect":"https://app.example.com/ready?x=1&oauth_token=back&oauth_verifier=`},
		{"a refusal leads there without a verifier", "POST", "/oauth1/request-tokens/back/review", `{"user":"u","permission":"UNAUTHORIZED"}`, 200, `"redirect":"https://app.example.com/ready?x=1&oauth_token=back&oauth_problem=permission_denied"}`},
		{"a review out of band has a verifier", "POST", "/oauth1/request-tokens/oob/review", `{"user":"u","permission":"READ_PUBLIC"}`, 200, `"verifier":"`},
		{"a second review", "POST", "/oauth1/request-tokens/refused/review", `{"user":"u","permission":"READ_PUBLIC"}`, 409, "reviewed already"},
		{"a review of nothing", "POST", "/oauth1/request-tokens/nothing/review", `{"user":"u","permission":"READ_PUBLIC"}`, 404, "not found"},
		{"a user of a wrong type", "POST", "/oauth1/request-tokens/waiting/review", `{"user":1}`, 400,
			`field \"user\": a JSON number`},
		{"a review without a user", "POST", "/oauth1/request-tokens/waiting/review", `{"permission":"UNAUTHORIZED"}`, 400, "user: is empty"},
		{"a review with an unknown permission", "POST", "/oauth1/request-tokens/waiting/review", `{"user":"u","permission":"X"}`, 400, `permission \"X\"`},
		{"a review beyond the consumer's permissions", "POST", "/oauth1/request-tokens/of-limited/review", `{"user":"u","permission":"WRITE_PUBLIC"}`, 400, "may not be granted"},

		{"grants of a user are revoked", "POST", "/oauth1/revoke", `{"user":"salgado"}`, 200, `{"revoked":1}`},
		{"grants to a consumer are revoked", "POST", "/oauth1/revoke", `{"consumer":"app"}`, 200, `{"revoked":1}`},
		{"grants of a user to another consumer stay", "POST", "/oauth1/revoke", `{"user":"salgado","consumer":"rsa"}`, 200, `{"revoked":0}`},
		{"a revocation must name somebody", "POST", "/oauth1/revoke", "", 400, "neither a user nor a consumer"},

		{"health", "GET", "/oauth1/health", "", 200, `{"status":"ok","registration":"closed","permissions":["READ_PUBLIC"`},
		{"another method", "PUT", "/oauth1/consumers", "", 405, "method not allowed: PUT"},
		{"an unknown resource", "GET", "/oauth1/nothing", "", 404, "resource not found: /oauth1/nothing"},
		{"a slash too many", "GET", "/oauth1/consumers/", "", 404, "resource not found"},
	}
	var a *testAdmin // a new one after every change
	for _, want := range expectations {
		if a == nil {
			a = newTestAdmin(t, declaredConsumers)
			a.seed()
		}
		t.Run(want.name, func(t *testing.T) {
			w := a.call(want.method, want.target, want.body)
			if w.Code != want.status || !strings.Contains(w.Body.String(), want.want) {
				t.Errorf("got %d %s, want %d and %s", w.Code, w.Body, want.status, want.want)
			}
			if w.Header().Get("Cache-Control") != "no-store" && w.Code != http.StatusNotFound {
				t.Error("the answer may be cached")
			}
			if strings.Contains(w.Body.String(), "canary") {
				t.Errorf("the answer holds a secret: %s", w.Body)
			}
			if want.method != "GET" && w.Code/100 == 2 {
				a = nil
			}
		})
	}
}

func TestAdminBodiesOfAnotherContentTypeAre415(t *testing.T) {
	a := newTestAdmin(t, "")
	r := httptest.NewRequest("POST", "/oauth1/consumers", strings.NewReader(`{"key":"x"}`))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	a.ServeHTTP(w, r)
	if w.Code != 415 {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

func TestAdminNamesTheAllowedMethods(t *testing.T) {
	a := newTestAdmin(t, "")
	w := a.call("PUT", "/oauth1/consumers/x", "")
	if got := w.Header().Get("Allow"); got != "DELETE, GET, HEAD, PATCH" {
		t.Errorf("Allow: %q", got)
	}
	w = a.call("HEAD", "/oauth1/revoke", "")
	if got := w.Header().Get("Allow"); w.Code != 405 || got != "POST" {
		t.Errorf("%d, Allow: %q", w.Code, got)
	}
}

func TestAdminAnswersHEADAsGET(t *testing.T) {
	a := newTestAdmin(t, "")
	for path, want := range map[string]int{"/oauth1/health": 200, "/oauth1/consumers": 200, "/oauth1/consumers/gone": 404} {
		if w := a.call("HEAD", path, ""); w.Code != want {
			t.Errorf("%s: got %d, want %d", path, w.Code, want)
		}
	}
}

func TestAdminKeysMayHoldAnything(t *testing.T) {
	a := newTestAdmin(t, "")
	for _, key := range []string{"System-wide: Ubuntu (host/a)", "a//b", "...", "%2F", "ä?#&", "app/rotate"} {
		created := a.must("POST", "/oauth1/consumers", `{"key":`+jsonText(t, key)+`}`)
		if created["key"] != key {
			t.Errorf("key %q was created as %q", key, created["key"])
		}
		if shown := a.must("GET", adminapi.ResourcePath(adminapi.ConsumersPath, key, ""), ""); shown["key"] != key {
			t.Errorf("key %q is shown as %q", key, shown["key"])
		}
		a.must("POST", adminapi.ResourcePath(adminapi.ConsumersPath, key, "rotate"), "")
		a.must("DELETE", adminapi.ResourcePath(adminapi.ConsumersPath, key, ""), "")
		if w := a.call("GET", adminapi.ResourcePath(adminapi.ConsumersPath, key, ""), ""); w.Code != 404 {
			t.Errorf("key %q after its removal: %d", key, w.Code)
		}
	}
}

func TestAdminListsInPages(t *testing.T) {
	for _, declared := range []int{0, 1, 3} {
		for _, stored := range []int{0, 1, 5} {
			for limit := 1; limit <= 4; limit++ {
				t.Run(fmt.Sprintf("%d declared and %d stored, %d a page", declared, stored, limit), func(t *testing.T) {
					var config strings.Builder
					var want []string
					for i := range declared {
						key := fmt.Sprintf("key-%d-declared", 2*i)
						fmt.Fprintf(&config, "consumer %s {\n secret s\n}\n", key)
						want = append(want, key)
					}
					a := newTestAdmin(t, config.String())
					for i := range stored {
						key := fmt.Sprintf("key-%d-stored", i)
						a.must("POST", "/oauth1/consumers", `{"key":"`+key+`"}`)
						want = append(want, key)
					}
					slices.Sort(want)
					var got []string
					query := url.Values{"limit": {fmt.Sprint(limit)}}
					for {
						answer := a.must("GET", "/oauth1/consumers?"+query.Encode(), "")
						items := answer["items"].([]any)
						for _, item := range items {
							got = append(got, item.(map[string]any)["key"].(string))
						}
						next, _ := answer["next"].(string)
						if next == "" {
							break
						}
						if len(items) != limit {
							t.Fatalf("a page of %d with another behind it", len(items))
						}
						query.Set("after", next)
					}
					if !slices.Equal(got, want) {
						t.Errorf("got %q, want %q", got, want)
					}
				})
			}
		}
	}
}

func TestAdminConsumerPatch(t *testing.T) {
	a := newTestAdmin(t, "")
	full := `{"key":"app","name":"App","homepage":"https://a.example/","contact":"a@a.example","signature_methods":["HMAC-SHA1"],"callbacks":["https://a.example/*"],` +
		`"permissions":["READ_PUBLIC"],"two_legged":{"user":"u","permission":"READ_PUBLIC"},"disabled":true,"expires":"2027-01-31"}`
	a.must("POST", "/oauth1/consumers", full)
	before := a.must("GET", "/oauth1/consumers/app", "")
	if before["expires"] != "2027-01-31T00:00:00Z" {
		t.Errorf("expires %v", before["expires"])
	}
	if after := a.must("PATCH", "/oauth1/consumers/app", `{}`); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("an empty patch changed %v to %v", before, after)
	}
	for name, was := range before {
		if name == "key" || name == "created" {
			continue
		}
		// encoding/json ignores the case of names, and so does a patch.
		for _, spelled := range []string{name, strings.ToUpper(name)} {
			a.must("PATCH", "/oauth1/consumers/app", `{"`+spelled+`":null}`)
			if is, ok := a.must("GET", "/oauth1/consumers/app", "")[name]; ok {
				t.Errorf("%s is %v after null", name, is)
			}
			text, err := json.Marshal(map[string]any{spelled: was})
			if err != nil {
				t.Fatal(err)
			}
			a.must("PATCH", "/oauth1/consumers/app", string(text))
			if after := a.must("GET", "/oauth1/consumers/app", ""); fmt.Sprint(after) != fmt.Sprint(before) {
				t.Errorf("%s: %v is not %v again", name, after, before)
			}
		}
	}
}

func TestAdminConsumerThatGetsAnRSAKeyLosesItsSecrets(t *testing.T) {
	a := newTestAdmin(t, "")
	a.must("POST", "/oauth1/consumers", `{"key":"app"}`)
	a.must("POST", "/oauth1/consumers/app/rotate", `{"overlap":"1h"}`)
	a.must("PATCH", "/oauth1/consumers/app", `{"rsa_public_key":`+jsonText(t, testPublicKey(t))+`}`)
	stored, err := a.store().Consumer(t.Context(), "app")
	if err != nil {
		t.Fatal(err)
	}
	if stored.Secret != "" || stored.PreviousSecret != "" || !stored.PreviousSecretExpires.IsZero() {
		t.Errorf("it has %+v", stored)
	}
}

func TestAdminRotation(t *testing.T) {
	a := newTestAdmin(t, "")
	a.must("POST", "/oauth1/consumers", `{"key":"app","secret":"first"}`)
	for _, want := range []struct {
		body, secret, previous string
		overlap                time.Duration
	}{
		{`{"secret":"second","overlap":"24h"}`, "second", "first", 24 * time.Hour},
		{`{"secret":"third","overlap":"1h"}`, "third", "second", time.Hour},
		{`{"secret":"fourth"}`, "fourth", "", 0},
	} {
		if answer := a.must("POST", "/oauth1/consumers/app/rotate", want.body); answer["secret"] != want.secret {
			t.Errorf("%s: the answer holds %v", want.body, answer["secret"])
		}
		got, err := a.store().Consumer(t.Context(), "app")
		if err != nil {
			t.Fatal(err)
		}
		if got.Secret != want.secret || got.PreviousSecret != want.previous {
			t.Errorf("%s: got %q beside %q", want.body, got.Secret, got.PreviousSecret)
		}
		ends := a.clock.Add(want.overlap)
		if want.overlap > 0 && got.PreviousSecretExpires.Sub(ends).Abs() > time.Second {
			t.Errorf("%s: the old one ends at %v, want %v", want.body, got.PreviousSecretExpires, ends)
		}
	}
}

func TestAdminAdoptsSelfRegisteredConsumers(t *testing.T) {
	for _, call := range [][3]string{
		{"PATCH", "/oauth1/consumers/self", `{"disabled":true}`},
		{"POST", "/oauth1/consumers/self/rotate", ""},
	} {
		a := newTestAdmin(t, "registration open")
		err := a.store().CreateConsumer(t.Context(), &tokenstore.Consumer{Key: "self", SelfRegistered: true, Created: a.clock})
		if err != nil {
			t.Fatal(err)
		}
		if shown := a.must("GET", "/oauth1/consumers/self", ""); shown["self_registered"] != true {
			t.Errorf("before: %v", shown)
		}
		if after := a.must(call[0], call[1], call[2]); after["self_registered"] != nil {
			t.Errorf("%s: %v", call[0], after)
		}
	}
}

// TestAdminLifetimes: a lifetime over the app's limit is refused, and is not shortened silently. A
// token that is imported from another provider keeps its lifetime.
func TestAdminLifetimes(t *testing.T) {
	const never = time.Duration(-1)
	soon := func(a *testAdmin) string { return a.clock.Add(time.Hour).UTC().Format(time.RFC3339) }
	late := func(a *testAdmin) string { return a.clock.Add(4 * time.Hour).UTC().Format(time.RFC3339) }
	none := func(*testAdmin) string { return "" }
	for _, c := range []struct {
		name, app string
		imported  bool
		lifetime  string
		expires   func(*testAdmin) string
		want      time.Duration // 0: refused
		refusal   string
	}{
		{"as long as the app allows", "2h", false, "", none, 2 * time.Hour, ""},
		{"less than the app allows", "2h", false, "1h", none, time.Hour, ""},
		{"all that the app allows", "2h", false, "120m", none, 2 * time.Hour, ""},
		{"more than the app allows", "2h", false, "7d", none, 0,
			`lifetime \"7d\": is longer than the app's access_token_lifetime, 2h0m0s`},
		{"for ever where the app does not allow it", "2h", false, "never", none, 0, "is longer than"},
		{"until a time", "2h", false, "", soon, time.Hour, ""},
		{"until a time that is too late", "2h", false, "", late, 0, "expires"},
		{"until a time that is over", "2h", false, "", func(*testAdmin) string { return "2020-01-31" }, 0,
			`expires \"2020-01-31\": is in the past`},
		{"until no time", "2h", false, "", func(*testAdmin) string { return "soon" }, 0, "must be a time"},
		{"both", "2h", false, "1h", soon, 0, "give one of them"},
		{"the app has no limit", "never", false, "", none, never, ""},
		{"for ever where the app allows it", "never", false, "never", none, never, ""},
		{"an import that says nothing", "2h", true, "", none, never, ""},
		{"an import that says never", "2h", true, "never", none, never, ""},
		{"an import with a lifetime", "2h", true, "7d", none, 7 * 24 * time.Hour, ""},
		{"an import with an end", "2h", true, "", late, 4 * time.Hour, ""},
		{"an import with an end that is over", "2h", true, "",
			func(*testAdmin) string { return "2020-01-31" }, 0, "is in the past"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newTestAdmin(t, "access_token_lifetime "+c.app)
			a.must("POST", "/oauth1/consumers", `{"key":"app"}`)
			fields := map[string]string{"consumer": "app", "user": "u", "permission": "READ_PUBLIC"}
			for name, value := range map[string]string{"lifetime": c.lifetime, "expires": c.expires(a)} {
				if value != "" {
					fields[name] = value
				}
			}
			if c.imported {
				fields["secret"] = "old"
			}
			body, err := json.Marshal(fields)
			if err != nil {
				t.Fatal(err)
			}
			w := a.call("POST", "/oauth1/tokens", string(body))
			if c.want == 0 {
				if w.Code != 400 || !strings.Contains(w.Body.String(), c.refusal) {
					t.Errorf("got %d %s, want %q", w.Code, w.Body, c.refusal)
				}
				return
			}
			want := `"expires":"` + a.clock.Add(c.want).UTC().Format(time.RFC3339)
			if w.Code != 201 || strings.Contains(w.Body.String(), `"expires"`) != (c.want != never) ||
				c.want != never && !strings.Contains(w.Body.String(), want) {
				t.Errorf("got %d %s, want it to end in %v", w.Code, w.Body, c.want)
			}
		})
	}
}

// TestAdminReviewLifetimes: the app's limit also applies to a review.
func TestAdminReviewLifetimes(t *testing.T) {
	a := newTestAdmin(t, "access_token_lifetime 2h")
	a.must("POST", "/oauth1/consumers", `{"key":"app"}`)
	a.requestToken("req", "app", "")
	const review = "/oauth1/request-tokens/req/review"
	if w := a.call("POST", review, `{"user":"u","permission":"READ_PUBLIC","lifetime":"3h"}`); w.Code != 400 {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	answer := a.must("POST", review, `{"user":"u","permission":"READ_PUBLIC"}`)
	if want := a.clock.Add(2 * time.Hour).UTC().Format(time.RFC3339); answer["token_expires"] != want {
		t.Errorf("got %v, want %v", answer, want)
	}
}

func TestAdminReviewLeadsToTheAccessToken(t *testing.T) {
	a := newTestAdmin(t, "")
	a.must("POST", "/oauth1/consumers", `{"key":"app"}`)
	a.requestToken("req", "app", "oob")
	answer := a.must("POST", "/oauth1/request-tokens/req/review", `{"user":"salgado","permission":"WRITE_PUBLIC","context":"firefox","lifetime":"1h"}`)
	if answer["redirect"] != nil || answer["callback"] != "oob" {
		t.Errorf("out of band: %v", answer)
	}
	if shown := a.must("GET", "/oauth1/request-tokens/req", ""); shown["verifier"] != nil || shown["state"] != adminapi.StateReviewed {
		t.Errorf("shown later: %v", shown)
	}
	verifier, _ := answer["verifier"].(string)
	token, err := a.store().Exchange(t.Context(), "req", verifier)
	if err != nil {
		t.Fatal(err)
	}
	if token.User != "salgado" || token.Permission != "WRITE_PUBLIC" || token.Context != "firefox" || token.Expires.Sub(a.clock) > time.Hour {
		t.Errorf("got %+v", token)
	}
}

func TestAdminRequestTokenStates(t *testing.T) {
	now := time.Now()
	granted := &tokenstore.Review{Permission: "READ_PUBLIC"}
	refused := &tokenstore.Review{Permission: tokenstore.Unauthorized}
	for _, c := range []struct {
		name    string
		review  *tokenstore.Review
		expires time.Time
		want    string
	}{
		{"new", nil, now.Add(time.Hour), adminapi.StateWaiting},
		{"no answer in time", nil, now, adminapi.StateExpired},
		{"granted", granted, now.Add(time.Hour), adminapi.StateReviewed},
		{"granted and not exchanged in time", granted, now, adminapi.StateExpired},
		{"refused", refused, now.Add(time.Hour), adminapi.StateRefused},
		{"refused and expired", refused, now, adminapi.StateRefused},
	} {
		if got := requestTokenState(&tokenstore.RequestToken{Review: c.review, Expires: c.expires}, now); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func TestAdminExpiredReviewIs410(t *testing.T) {
	a := newTestAdmin(t, "")
	a.must("POST", "/oauth1/consumers", `{"key":"app"}`)
	err := a.store().CreateRequestToken(t.Context(), &tokenstore.RequestToken{
		Key: "old", Secret: "s", Consumer: "app", Created: a.clock.Add(-2 * time.Hour), Expires: a.clock.Add(-time.Minute),
	})
	if err != nil {
		t.Fatal(err)
	}
	if w := a.call("POST", "/oauth1/request-tokens/old/review", `{"user":"u","permission":"READ_PUBLIC"}`); w.Code != 410 {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

func TestAdminShowsWhenATokenWasUsed(t *testing.T) {
	a := newTestAdmin(t, declaredConsumers)
	a.seed()
	used := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	if err := a.store().Touch(t.Context(), map[string]time.Time{"tok": used}); err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{"/oauth1/tokens/tok", "/oauth1/tokens"} {
		if w := a.call("GET", target, ""); !strings.Contains(w.Body.String(), `"last_used":"2026-11-25T12:00:00Z"`) {
			t.Errorf("%s: %s", target, w.Body)
		}
	}
}

// TestAdminShowsNoSecrets reads all answers of the admin API, and the log of all changes.
func TestAdminShowsNoSecrets(t *testing.T) {
	a := newTestAdmin(t, declaredConsumers)
	a.seed()
	a.must("POST", "/oauth1/consumers/app/rotate", `{"overlap":"1h","secret":"canary-rotated"}`)
	answer := a.must("POST", "/oauth1/request-tokens/oob/review", `{"user":"u","permission":"READ_PUBLIC"}`)
	a.must("PATCH", "/oauth1/consumers/app", `{"name":"App 2"}`)
	a.must("POST", "/oauth1/consumers", `{"key":"brief","secret":"canary-brief"}`)
	a.must("DELETE", "/oauth1/consumers/brief", "")
	a.must("DELETE", "/oauth1/tokens/tok", "")
	a.must("POST", "/oauth1/revoke", `{"user":"u"}`)
	verifier := answer["verifier"].(string)

	for _, target := range []string{
		"/oauth1/consumers", "/oauth1/consumers/app", "/oauth1/consumers/ci-bot", "/oauth1/tokens",
		"/oauth1/request-tokens/waiting", "/oauth1/request-tokens/back", "/oauth1/request-tokens/refused", "/oauth1/health",
	} {
		if body := a.call("GET", target, "").Body.String(); strings.Contains(body, "canary") || strings.Contains(body, verifier) || strings.Contains(body, `secret":`) {
			t.Errorf("%s: %s", target, body)
		}
	}
	var changes []string
	for _, entry := range a.logs.All() {
		line := fmt.Sprint(entry.Message, entry.ContextMap())
		if strings.Contains(line, "canary") || strings.Contains(line, verifier) {
			t.Errorf("a secret in the log: %s", line)
		}
		if entry.Level != zap.InfoLevel {
			t.Errorf("level %v: %s", entry.Level, line)
		}
		changes = append(changes, entry.Message)
	}
	want := []string{
		"consumer.added", "consumer.added", "consumer.added", "access_token.imported", "request_token.refused", // seed
		"consumer.secret_rotated", "request_token.granted", "consumer.changed", "consumer.added",
		"consumer.removed", "access_token.revoked", "grants.revoked",
	}
	if !slices.Equal(changes, want) {
		t.Errorf("the log has %q, want %q", changes, want)
	}
}

func TestAdminWithoutAnApp(t *testing.T) {
	apps, coming := appsStarted.apps, appsStarted.coming
	appsStarted.apps, appsStarted.coming = nil, nil
	t.Cleanup(func() { appsStarted.apps, appsStarted.coming = apps, coming })
	w := httptest.NewRecorder()
	adminHandler(&adminAPI{logger: zap.NewNop()}).ServeHTTP(w, httptest.NewRequest("GET", "/oauth1/health", nil))
	if w.Code != 503 || !strings.Contains(w.Body.String(), "no oauth1 app is running") {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

func TestAdminWithAClosedStoreIs503(t *testing.T) {
	a := newTestAdmin(t, "")
	if err := a.store().Close(); err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{"/oauth1/health", "/oauth1/consumers", "/oauth1/consumers/x", "/oauth1/tokens", "/oauth1/request-tokens/x"} {
		if w := a.call("GET", target, ""); w.Code != 503 {
			t.Errorf("%s: %d %s", target, w.Code, w.Body)
		}
	}
}

// TestAdminFollowsReloads: the new app starts before the old one is cleaned up. If the new
// configuration fails, the new app is cleaned up.
func TestAdminFollowsReloads(t *testing.T) {
	var apps startedApps
	old, failed, next := new(App), new(App), new(App)
	for _, step := range []struct {
		name string
		do   func()
		want *App
	}{
		{"nothing runs", func() {}, nil},
		{"the first start", func() { apps.add(old) }, old},
		{"a new configuration starts", func() { apps.add(failed) }, failed},
		{"and fails", func() { apps.remove(failed) }, old},
		{"another starts", func() { apps.add(next) }, next},
		{"and takes over", func() { apps.remove(old) }, next},
		{"the end", func() { apps.remove(next) }, nil},
		{"an app that never started is cleaned up", func() { apps.remove(old) }, nil},
		{"one is provisioned", func() { apps.expect(old) }, old},
		{"it starts", func() { apps.add(old) }, old},
		{"another is provisioned, and has not started", func() { apps.expect(next) }, old},
		{"and will not", func() { apps.remove(next) }, old},
		{"the end again", func() { apps.remove(old) }, nil},
	} {
		step.do()
		if got, _ := apps.newest(); got != step.want {
			t.Errorf("%s: got %p, want %p", step.name, got, step.want)
		}
	}
}

// TestAdminWaitsWhileCaddyStarts: the admin endpoint listens before there is an app, and the store
// may open slowly.
func TestAdminWaitsWhileCaddyStarts(t *testing.T) {
	for _, c := range []struct {
		name      string
		comes     time.Duration // -1: no app comes
		starts    time.Duration // after that; -1: its start fails
		gone      time.Duration // when the client disconnects, if not 0
		status    int
		answersIn time.Duration
	}{
		{"the app is there", 0, 0, 0, 200, 0},
		{"the app is provisioned", 0, time.Minute, 0, 200, time.Minute},
		{"the app comes later", 5 * time.Second, time.Minute, 0, 200, 65 * time.Second},
		{"the app comes, and its store does not open", time.Second, -1, 0, 503, time.Second},
		{"no app comes", -1, 0, 0, 503, startPatience},
		{"no app comes, and the client does not wait for it", -1, 0, time.Second, 503, time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newTestAdmin(t, "") // has a store, whose goroutines must not be in a bubble
			store := a.store()
			apps, coming := appsStarted.apps, appsStarted.coming
			t.Cleanup(func() { appsStarted = startedApps{apps: apps, coming: coming} })
			synctest.Test(t, func(t *testing.T) {
				appsStarted = startedApps{}
				app := &App{Registration: registrationClosed, ready: make(chan struct{}),
					levels: a.app.levels, diagnoser: &diagnoser{off: true}}
				go func() {
					if c.comes < 0 {
						return
					}
					time.Sleep(c.comes)
					appsStarted.expect(app)
					if time.Sleep(c.starts); c.starts >= 0 {
						app.store = wellStore{store}
						appsStarted.add(app)
					}
					close(app.ready)
				}()
				if c.comes == 0 && c.starts == 0 {
					synctest.Wait()
				}
				ctx := t.Context()
				if c.gone > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, c.gone)
					defer cancel()
				}
				begun := time.Now()
				api := &adminAPI{logger: zap.NewNop(), patient: begun.Add(startPatience)}
				w := httptest.NewRecorder()
				adminHandler(api).ServeHTTP(w,
					httptest.NewRequestWithContext(ctx, "GET", "/oauth1/health", nil))
				if took := time.Since(begun); w.Code != c.status || took != c.answersIn {
					t.Errorf("got %d after %v, want %d after %v: %s", w.Code, took, c.status, c.answersIn,
						w.Body)
				}
			})
		})
	}
}

// wellStore is a store that only has to be healthy.
type wellStore struct{ tokenstore.Store }

func (wellStore) Check(context.Context) error { return nil }
