package caddymodule

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// newRequestToken asks for a request token with PLAINTEXT, as Launchpad's client does.
func (s *testSite) newRequestToken(more ...string) url.Values {
	s.t.Helper()
	w, _ := s.serve(plain("/+request-token", "demo", "demo-secret", "", "", more...))
	if w.Code != 200 {
		s.t.Fatalf("request token: %d %s", w.Code, w.Body)
	}
	values, err := url.ParseQuery(w.Body.String())
	if err != nil {
		s.t.Fatal(err)
	}
	return values
}

func (s *testSite) review(token url.Values, r tokenstore.Review) {
	s.t.Helper()
	if r.User == "" {
		r.User = "alice"
	}
	r.Time = s.clock
	if _, err := s.store().Review(s.t.Context(), token.Get("oauth_token"), r); err != nil {
		s.t.Fatal(err)
	}
}

func (s *testSite) exchange(token url.Values, more ...string) *httptest.ResponseRecorder {
	s.t.Helper()
	w, _ := s.serve(plain("/+access-token", "demo", "demo-secret", token.Get("oauth_token"), token.Get("oauth_token_secret"), more...))
	return w
}

func TestRequestTokenRefusals(t *testing.T) {
	site := newTestSite(t, demoConsumer, "insecure_plaintext_over_http")
	for _, test := range []struct {
		name   string
		r      *http.Request
		status int
		text   string
	}{
		{"no parameters", httptest.NewRequest("GET", "http://api.test/+request-token", nil), 401, "No consumer key specified."},
		{"no consumer key", httptest.NewRequest("GET", "http://api.test/+request-token?oauth_signature_method=PLAINTEXT", nil), 401, "No consumer key specified."},
		{"unknown consumer", plain("/+request-token", "nobody", "", "", ""), 401, "Unknown consumer."},
		{"bad signature", plain("/+request-token", "demo", "guess", "", ""), 401, "Invalid OAuth signature."},
		{"another method", httptest.NewRequest("PUT", "http://api.test/+request-token", nil), 405, "Method not allowed."},
		{"a callback that is a script", plain("/+request-token", "demo", "demo-secret", "", "", "oauth_callback", "javascript:alert(1)"), 400, `oauth_callback: the scheme "javascript" is forbidden.`},
		{"an empty callback", plain("/+request-token", "demo", "demo-secret", "", "", "oauth_callback", ""), 400, "oauth_callback: it is empty."},
	} {
		t.Run(test.name, func(t *testing.T) {
			w, _ := site.serve(test.r)
			if w.Code != test.status || w.Body.String() != test.text {
				t.Errorf("got %d %q; want %d %q", w.Code, w.Body, test.status, test.text)
			}
			if test.status == 405 && w.Header().Get("Allow") != "GET, POST" {
				t.Errorf("Allow: %q", w.Header().Get("Allow"))
			}
		})
	}
}

func TestRequestTokenAnswer(t *testing.T) {
	site := newTestSite(t, demoConsumer, "insecure_plaintext_over_http")

	w, _ := site.serve(plain("/+request-token", "demo", "demo-secret", "", ""))
	values, _ := url.ParseQuery(w.Body.String())
	want := "oauth_token=" + values.Get("oauth_token") + "&oauth_token_secret=" + values.Get("oauth_token_secret")
	if w.Code != 200 || w.Body.String() != want || len(values.Get("oauth_token")) != 20 || len(values.Get("oauth_token_secret")) != 80 {
		t.Errorf("got %d %q", w.Code, w.Body)
	}
	for name, value := range map[string]string{
		"Content-Type":           "application/x-www-form-urlencoded", // RFC 5849 section 2.1
		"Cache-Control":          "no-store",
		"X-Content-Type-Options": "nosniff",
	} {
		if got := w.Header().Get(name); got != value {
			t.Errorf("%s: %q", name, got)
		}
	}

	w, _ = site.serve(plain("/+request-token", "demo", "demo-secret", "", "", "oauth_callback", "https://app.test/back"))
	if !strings.HasSuffix(w.Body.String(), "&oauth_callback_confirmed=true") {
		t.Errorf("with a callback: %q", w.Body)
	}

	r := plain("/+request-token", "demo", "demo-secret", "", "")
	r.Header.Set("Accept", "application/json")
	w, _ = site.serve(r)
	var answer struct {
		Token    string `json:"oauth_token"`
		Secret   string `json:"oauth_token_secret"`
		Consumer string `json:"oauth_token_consumer"`
		Levels   []struct{ Value, Title string }
	}
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(w.Body.Bytes(), &raw); err != nil {
		t.Fatal(err)
	}
	const levels = `[{"value":"UNAUTHORIZED","title":"No Access"},{"value":"READ_PUBLIC","title":"Read Non-Private Data"},{"value":"WRITE_PUBLIC","title":"Change Non-Private Data"},{"value":"READ_PRIVATE","title":"Read Anything"},{"value":"WRITE_PRIVATE","title":"Change Anything"}]`
	if answer.Consumer != "demo" || len(answer.Token) != 20 || len(answer.Secret) != 80 || string(raw["access_levels"]) != levels {
		t.Errorf("JSON: %s", w.Body)
	}
}

// TestTokenAnswersAreForms: Qt's client accepts no other type (RFC 5849 sections 2.1 and 2.3).
func TestTokenAnswersAreForms(t *testing.T) {
	site := newTestSite(t, demoConsumer, "insecure_plaintext_over_http")
	is := func(what string, w *httptest.ResponseRecorder, contentType string) {
		t.Helper()
		if got := w.Header().Get("Content-Type"); got != contentType {
			t.Errorf("%s: Content-Type %q, want %q", what, got, contentType)
		}
	}
	w, _ := site.serve(plain("/+request-token", "demo", "demo-secret", "", ""))
	is("a request token", w, "application/x-www-form-urlencoded")
	w, _ = site.serve(plain("/+request-token", "demo", "demo-secret", "", "", "oauth_callback", "oob"))
	is("a request token with a callback", w, "application/x-www-form-urlencoded")
	token := site.newRequestToken()
	is("a refusal", site.exchange(token), "text/plain; charset=utf-8")
	site.review(token, tokenstore.Review{Permission: "READ_PUBLIC"})
	is("an access token", site.exchange(token), "application/x-www-form-urlencoded")
}

// TestOnlyLaunchpadsRequestGetsJSON: many clients accept JSON but expect a form.
func TestOnlyLaunchpadsRequestGetsJSON(t *testing.T) {
	site := newTestSite(t, demoConsumer, "insecure_plaintext_over_http")
	callback := []string{"oauth_callback", "oob"}
	for _, test := range []struct {
		name   string
		accept []string
		params []string
		json   bool
	}{
		{"JSON alone, no callback", []string{"application/json"}, nil, true},
		{"JSON alone with a parameter", []string{"Application/JSON; q=0.9"}, nil, true},
		{"JSON alone, with a callback", []string{"application/json"}, callback, false},
		{"JSON and others, as axios sends it", []string{"application/json, text/plain, */*"}, nil, false},
		{"JSON and others, in two fields", []string{"application/json", "*/*"}, nil, false},
		{"anything", []string{"*/*"}, nil, false},
		{"another kind of JSON", []string{"application/json-seq"}, nil, false},
		{"nothing", []string{""}, nil, false},
		{"no Accept", nil, nil, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := plain("/+request-token", "demo", "demo-secret", "", "", test.params...)
			r.Header["Accept"] = test.accept
			w, _ := site.serve(r)
			want := "application/x-www-form-urlencoded"
			if test.json {
				want = "application/json"
			}
			if got := w.Header().Get("Content-Type"); w.Code != 200 || got != want {
				t.Errorf("%d %s, want 200 %s", w.Code, got, want)
			}
		})
	}
}

// TestParametersApart: league/oauth1-client and others send these two outside the source of the
// others.
func TestParametersApart(t *testing.T) {
	site := newTestSite(t, demoConsumer, "")
	const back = "https%3A%2F%2Fapp.test%2Fback"
	signer := oauth1.Signer{ConsumerKey: "demo", ConsumerSecret: "demo-secret", SignatureMethod: "HMAC-SHA1"}
	for _, test := range []struct {
		name, target, form string
		header             string // parts added to the header
		status             int
		text               string
	}{
		{"oauth_callback in the form", "/+request-token", "oauth_callback=" + back, "", 200, ""},
		{"oauth_callback in the query", "/+request-token?oauth_callback=" + back, "", "", 200, ""},
		{"escapes in the name", "/+request-token?oauth%5Fcallback=" + back, "", "", 200, ""},
		{"in the header and the form", "/+request-token", "oauth_callback=" + back, `, oauth_callback="oob"`, 400, "oauth_callback: sent twice."},
		{"in the header and the query", "/+request-token?oauth_callback=" + back, "", `, oauth_callback="oob"`, 400, "oauth_callback: sent twice."},
		{"in the query and the form", "/+request-token?oauth_callback=oob", "oauth_callback=oob", "", 400, "oauth_callback: sent twice."},
		{"twice in the form", "/+request-token", "oauth_callback=oob&oauth_callback=oob", "", 400, "oauth_callback: sent twice."},
		{"malformed", "/+request-token?oauth_callback=%zz", "", "", 400, "oauth_callback: malformed percent-encoding."},
		{"any other parameter stays where the rest is", "/+request-token?oauth_token=x", "", "", 400,
			"OAuth parameters in two places, the Authorization header and the query."},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := site.sign(signer, "POST", "http://api.test/+request-token", "")
			if test.status == 200 {
				r = site.sign(signer, "POST", "http://api.test"+test.target, test.form)
			} else { // the package's own signer refuses it, too
				refused := httptest.NewRequest("POST", "http://api.test"+test.target, strings.NewReader(test.form))
				refused.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				refused.Header.Set("Authorization", r.Header.Get("Authorization")+test.header)
				r = refused
			}
			w, _ := site.serve(r)
			if w.Code != test.status || (test.text != "" && w.Body.String() != test.text) {
				t.Fatalf("got %d %q; want %d %q", w.Code, w.Body, test.status, test.text)
			}
			if test.status == 200 && !strings.HasSuffix(w.Body.String(), "&oauth_callback_confirmed=true") {
				t.Errorf("the callback was not found: %s", w.Body)
			}
		})
	}

	for _, where := range []string{"form", "query"} {
		token := site.newRequestTokenSigned(signer, "oob")
		site.review(token, tokenstore.Review{Permission: "READ_PUBLIC", Verifier: "right"})
		signer := signer
		signer.Token, signer.TokenSecret = token.Get("oauth_token"), token.Get("oauth_token_secret")
		for _, verifier := range []string{"wrong", "right"} {
			r := site.sign(signer, "POST", "http://api.test/+access-token", "oauth_verifier="+verifier)
			if where == "query" {
				r = site.sign(signer, "POST", "http://api.test/+access-token?oauth_verifier="+verifier, "")
			}
			w, _ := site.serve(r)
			if (w.Code == 200) != (verifier == "right") {
				t.Errorf("a %s verifier in the %s: %d %q", verifier, where, w.Code, w.Body)
			}
		}
	}

	for form, ok := range map[string]bool{
		"oauth_verifier=right&oauth_token=KEY":                 true, // twitter-api-v2 sends this
		"oauth_verifier=right&oauth_token=other":               false,
		"oauth_verifier=right&oauth_token=KEY&oauth_token=KEY": false,
	} {
		token := site.newRequestTokenSigned(signer, "oob")
		site.review(token, tokenstore.Review{Permission: "READ_PUBLIC", Verifier: "right"})
		signer := signer
		signer.Token, signer.TokenSecret = token.Get("oauth_token"), token.Get("oauth_token_secret")
		r := site.sign(signer, "POST", "http://api.test/+access-token", "oauth_verifier=right")
		again := httptest.NewRequest("POST", r.URL.String(), strings.NewReader(strings.ReplaceAll(form, "KEY", signer.Token)))
		again.Header = r.Header
		if w, _ := site.serve(again); (w.Code == 200) != ok || !ok && w.Code != 400 {
			t.Errorf("%s: %d %q", form, w.Code, w.Body)
		}
	}

	token := site.grant("demo", "alice", "READ_PUBLIC")
	signer.Token, signer.TokenSecret = token.Key, token.Secret
	if w, _ := site.serve(site.sign(signer, "POST", "http://api.test/x", "oauth_token="+token.Key)); w.Code != 400 {
		t.Errorf("an API request with its token twice: %d %q, want 400", w.Code, w.Body)
	}
	w, _ := site.serve(site.sign(signer, "GET", "http://api.test/x?oauth_verifier=v", ""))
	if w.Code != 400 {
		t.Errorf("an API request with a verifier apart: %d %q, want 400", w.Code, w.Body)
	}
}

func (s *testSite) newRequestTokenSigned(signer oauth1.Signer, callback string) url.Values {
	s.t.Helper()
	signer.Callback = callback
	w, _ := s.serve(s.sign(signer, "POST", "http://api.test/+request-token", ""))
	values, err := url.ParseQuery(w.Body.String())
	if err != nil || w.Code != 200 {
		s.t.Fatalf("request token: %d %s", w.Code, w.Body)
	}
	return values
}

func TestRequireCallback(t *testing.T) {
	site := newTestSite(t, demoConsumer, "insecure_plaintext_over_http\nrequire_callback")
	if w, _ := site.serve(plain("/+request-token", "demo", "demo-secret", "", "")); w.Code != 400 || w.Body.String() != "oauth_callback: required." {
		t.Errorf("got %d %q", w.Code, w.Body)
	}
	if w, _ := site.serve(plain("/+request-token", "demo", "demo-secret", "", "", "oauth_callback", "oob")); w.Code != 200 {
		t.Errorf("got %d %q", w.Code, w.Body)
	}
}

// TestDefaultCallback: clients may rely on the callback that they registered (RFC 5849 section
// 2.1).
func TestDefaultCallback(t *testing.T) {
	const registered = "https://app.test/back?a=b"
	for _, required := range []string{"", "\nrequire_callback"} {
		site := newTestSite(t, "consumer demo {\nsecret demo-secret\ncallbacks "+registered+"\ndefault_callback\n}",
			"insecure_plaintext_over_http"+required)
		for _, test := range []struct {
			name   string
			params []string
		}{
			{"none", nil},
			{"oob", []string{"oauth_callback", "oob"}},
			{"the same", []string{"oauth_callback", registered}},
		} {
			token := site.newRequestToken(test.params...)
			if token.Get("oauth_callback_confirmed") != "true" {
				t.Errorf("%s: not confirmed: %v", test.name, token)
			}
			target := "/+authorize-token?oauth_token=" + token.Get("oauth_token")
			w := site.send(target, "alice", url.Values{
				"csrf": {csrfToken(t, site.open(target, "alice"))}, "decision": {"allow"},
				"permission": {"READ_PUBLIC"}, "lifetime": {"unlimited"},
			})
			to, err := url.Parse(w.Header().Get("Location"))
			if err != nil || !strings.HasPrefix(to.String(), registered+"&oauth_token=") {
				t.Fatalf("%s: sent to %v", test.name, to)
			}
			if w := site.exchange(token); w.Code != 401 || w.Body.String() != "Invalid OAuth verifier." {
				t.Errorf("%s: without the verifier: %d %q", test.name, w.Code, w.Body)
			}
			if w := site.exchange(token, "oauth_verifier", to.Query().Get("oauth_verifier")); w.Code != 200 {
				t.Errorf("%s: %d %q", test.name, w.Code, w.Body)
			}
		}
		if w, _ := site.serve(plain("/+request-token", "demo", "demo-secret", "", "", "oauth_callback", "https://app.test/")); w.Code != 400 {
			t.Errorf("a callback that is not registered: %d %q", w.Code, w.Body)
		}
	}
}

func TestOpenRegistration(t *testing.T) {
	site := newTestSite(t, "registration open", "insecure_plaintext_over_http")
	if w, _ := site.serve(plain("/+request-token", "stranger", "guess", "", "")); w.Code != 401 || w.Body.String() != "Invalid OAuth signature." {
		t.Errorf("bad signature: %d %q", w.Code, w.Body)
	}
	if _, err := site.store().Consumer(t.Context(), "stranger"); err == nil {
		t.Error("a bad signature registered a consumer")
	}
	for range 2 {
		if w, _ := site.serve(plain("/+request-token", "stranger", "", "", "")); w.Code != 200 {
			t.Errorf("%d %q", w.Code, w.Body)
		}
	}
	consumer, err := site.store().Consumer(t.Context(), "stranger")
	if err != nil || !consumer.SelfRegistered || consumer.Secret != "" {
		t.Errorf("registered: %+v, %v", consumer, err)
	}
	if w, _ := site.serve(plain("/+request-token", "a\nb", "", "", "")); w.Code != 400 {
		t.Errorf("a key with a control character: %d %q", w.Code, w.Body)
	}
	if w, _ := site.serve(plain("/+access-token", "another", "", "x", "")); w.Code != 401 || w.Body.String() != "Unknown consumer." {
		t.Errorf("the exchange registers a consumer: %d %q", w.Code, w.Body)
	}
	var last *httptest.ResponseRecorder
	for range tokenstore.MaxWaiting {
		last, _ = site.serve(plain("/+request-token", "stranger", "", "", ""))
	}
	if last.Code != 503 || last.Header().Get("Retry-After") == "" {
		t.Errorf("a flood of request tokens: %d %q", last.Code, last.Body)
	}
}

// TestExchangeWalk holds the cases of /+access-token in order, with PLAINTEXT, whose nonce and
// timestamp never change.
func TestExchangeWalk(t *testing.T) {
	site := newTestSite(t, demoConsumer+"consumer other {\n secret other-secret\n}\n", "insecure_plaintext_over_http")
	same := []string{"oauth_nonce", "same", "oauth_timestamp", "1700000000.25"}
	expect := func(what string, w *httptest.ResponseRecorder, status int, text string) {
		t.Helper()
		if w.Code != status || w.Body.String() != text {
			t.Errorf("%s: got %d %q; want %d %q", what, w.Code, w.Body, status, text)
		}
	}

	token := site.newRequestToken(same...)
	w, _ := site.serve(plain("/+access-token", "nobody", "", token.Get("oauth_token"), "", same...))
	expect("unknown consumer", w, 401, "Unknown consumer.")
	w, _ = site.serve(plain("/+access-token", "demo", "demo-secret", "", "", same...))
	expect("no token", w, 401, "No request token specified.")
	w, _ = site.serve(plain("/+access-token", "demo", "demo-secret", "unknown", "", same...))
	expect("unknown token", w, 401, "The request token is unknown, or was used already.")
	w, _ = site.serve(plain("/+access-token", "other", "other-secret", token.Get("oauth_token"), token.Get("oauth_token_secret"), same...))
	expect("foreign token", w, 401, "The request token is unknown, or was used already.")
	w, _ = site.serve(plain("/+access-token", "demo", "guess", token.Get("oauth_token"), token.Get("oauth_token_secret"), same...))
	expect("wrong consumer secret", w, 401, "Invalid OAuth signature.")
	w, _ = site.serve(plain("/+access-token", "demo", "demo-secret", token.Get("oauth_token"), "guess", same...))
	expect("wrong token secret", w, 401, "Invalid OAuth signature.")
	expect("not reviewed", site.exchange(token, same...), 401, "Request token has not yet been reviewed. Try again later.")

	site.review(token, tokenstore.Review{Permission: "WRITE_PUBLIC", Context: "firefox"})
	w = site.exchange(token, same...)
	if w.Code != 200 || !strings.HasPrefix(w.Body.String(), "oauth_token=") || !strings.HasSuffix(w.Body.String(), "&lp.context=firefox") {
		t.Errorf("reviewed: %d %q", w.Code, w.Body)
	}
	expect("used", site.exchange(token, same...), 401, "The request token is unknown, or was used already.")

	refused := site.newRequestToken(same...)
	site.review(refused, tokenstore.Review{Permission: tokenstore.Unauthorized})
	for range 3 {
		expect("refused", site.exchange(refused, same...), 403, "End-user refused to authorize request token.")
	}
	late := &tokenstore.RequestToken{
		Key: "late", Secret: "s", Consumer: "demo", Created: site.clock.Add(-3 * time.Hour), Expires: site.clock.Add(-time.Minute),
		Review: &tokenstore.Review{User: "alice", Permission: "READ_PUBLIC", Time: site.clock.Add(-2 * time.Hour)},
	}
	if err := site.store().CreateRequestToken(t.Context(), late); err != nil {
		t.Fatal(err)
	}
	w = site.exchange(url.Values{"oauth_token": {"late"}, "oauth_token_secret": {"s"}}, same...)
	expect("expired", w, 403, "This request token has expired and can no longer be exchanged for an access token.")
}

func TestVerifier(t *testing.T) {
	site := newTestSite(t, demoConsumer, "insecure_plaintext_over_http")
	token := site.newRequestToken("oauth_callback", "oob")
	site.review(token, tokenstore.Review{Permission: "READ_PUBLIC", Verifier: "right"})
	if w := site.exchange(token); w.Code != 401 || w.Body.String() != "Invalid OAuth verifier." {
		t.Errorf("no verifier: %d %q", w.Code, w.Body)
	}
	if w := site.exchange(token, "oauth_verifier", "wrong"); w.Code != 401 || w.Body.String() != "Invalid OAuth verifier." {
		t.Errorf("wrong verifier: %d %q", w.Code, w.Body)
	}
	if w := site.exchange(token, "oauth_verifier", "right"); w.Code != 200 {
		t.Errorf("right verifier: %d %q", w.Code, w.Body)
	}

	token = site.newRequestToken("oauth_callback", "oob")
	site.review(token, tokenstore.Review{Permission: "READ_PUBLIC", Verifier: "right"})
	for range tokenstore.MaxVerifierFailures {
		site.exchange(token, "oauth_verifier", "wrong")
	}
	if w := site.exchange(token, "oauth_verifier", "right"); w.Code != 401 || w.Body.String() != "The request token is unknown, or was used already." {
		t.Errorf("after five wrong ones: %d %q", w.Code, w.Body)
	}
}

// TestSignedEndpoints: HMAC requests to the endpoints must be as fresh as other requests.
func TestSignedEndpoints(t *testing.T) {
	site := newTestSite(t, demoConsumer, "")
	signer := oauth1.Signer{ConsumerKey: "demo", ConsumerSecret: "demo-secret", SignatureMethod: "HMAC-SHA1", Callback: "https://app.test/back"}
	r := site.sign(signer, "POST", "http://api.test/+request-token", "")
	again := r.Clone(t.Context())
	w, _ := site.serve(r)
	token, _ := url.ParseQuery(w.Body.String())
	if w.Code != 200 || token.Get("oauth_callback_confirmed") != "true" {
		t.Fatalf("%d %q", w.Code, w.Body)
	}
	if w, _ := site.serve(again); w.Code != 401 || w.Body.String() != "This nonce has been used already." {
		t.Errorf("replayed: %d %q", w.Code, w.Body)
	}
	for _, off := range []time.Duration{-time.Hour, time.Hour} {
		late := signer
		late.Timestamp = site.clock.Add(off).Unix()
		w, _ := site.serve(site.sign(late, "POST", "http://api.test/+request-token", ""))
		if w.Code != 401 || w.Body.String() != "Timestamp appears to come from bad system clock." {
			t.Errorf("a timestamp that is off by %v: %d %q", off, w.Code, w.Body)
		}
	}
	for _, parameter := range []string{"oauth_nonce", "oauth_timestamp"} {
		r := site.sign(signer, "POST", "http://api.test/+request-token", "")
		r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), parameter+`="`, parameter+`="", x="`, 1))
		if w, _ := site.serve(r); w.Code != 400 {
			t.Errorf("without %s: %d %q", parameter, w.Code, w.Body)
		}
	}
	site.review(token, tokenstore.Review{Permission: "READ_PUBLIC", Verifier: "v"})
	signer.Callback, signer.Verifier = "", "v"
	signer.Token, signer.TokenSecret = token.Get("oauth_token"), token.Get("oauth_token_secret")
	w, _ = site.serve(site.sign(signer, "POST", "http://api.test/+access-token", ""))
	access, _ := url.ParseQuery(w.Body.String())
	if w.Code != 200 {
		t.Fatalf("exchange: %d %q", w.Code, w.Body)
	}
	signer = oauth1.Signer{ConsumerKey: "demo", ConsumerSecret: "demo-secret", Token: access.Get("oauth_token"), TokenSecret: access.Get("oauth_token_secret"), SignatureMethod: "HMAC-SHA512"}
	w, upstream := site.serve(site.sign(signer, "GET", "http://api.test/x?b=2&a=1", ""))
	if upstream == nil || upstream.Header.Get("X-OAuth-User") != "alice" {
		t.Errorf("API request: %d %q", w.Code, w.Body)
	}
}

func TestEndpointsElsewhere(t *testing.T) {
	site := newTestSite(t, demoConsumer, "insecure_plaintext_over_http\nendpoints {\n request_token /oauth/initiate\n}")
	if w, _ := site.serve(plain("/oauth/initiate", "demo", "demo-secret", "", "")); w.Code != 200 {
		t.Errorf("at its path: %d %q", w.Code, w.Body)
	}
	if w, _ := site.serve(httptest.NewRequest("GET", "http://api.test/+request-token", nil)); w.Body.String() != "OAuth credentials required." {
		t.Errorf("at the standard path: %d %q", w.Code, w.Body)
	}
	off := newTestSite(t, demoConsumer, "endpoints off")
	if w, _ := off.serve(httptest.NewRequest("GET", "http://api.test/+access-token", nil)); w.Body.String() != "OAuth credentials required." {
		t.Errorf("off: %d %q", w.Code, w.Body)
	}
}

// TestEndpointsInAQuery: MediaWiki selects its endpoints by the query.
func TestEndpointsInAQuery(t *testing.T) {
	const at = "/w/index.php?title=Special:OAuth/"
	site := newTestSite(t, demoConsumer, "insecure_plaintext_over_http\nendpoints {\n"+
		"request_token "+at+"initiate\nauthorize "+at+"authorize\naccess_token "+at+"token\ntokens "+at+"manage\n}")
	ask := func(query string) *httptest.ResponseRecorder {
		t.Helper()
		r := plain("/w/index.php", "demo", "demo-secret", "", "", "oauth_callback", "oob")
		r.URL.RawQuery = query + r.URL.RawQuery
		r.RequestURI = r.URL.RequestURI()
		w, _ := site.serve(r)
		return w
	}
	for query, found := range map[string]bool{
		"title=Special:OAuth/initiate&":                   true,
		"title=Special%3AOAuth%2Finitiate&":               true,
		"format=json&title=Special:OAuth/initiate&":       true,
		"title=Special:OAuth/initiate&title=x&":           false,
		"title=x&title=Special:OAuth/initiate&":           false,
		"title=Special:OAuth/initiate/&":                  false,
		"Title=Special:OAuth/initiate&":                   false,
		"title=Special:OAuth/other&":                      false,
		"":                                                false,
		"title=Special:OAuth/initiate;title=Special:Foo&": false,
		"title%3DSpecial:OAuth/initiate&":                 false,
		"%74itle=Special:OAuth/initiate&":                 true,
	} {
		if w := ask(query); (w.Code == 200) != found {
			t.Errorf("%s: %d %q", query, w.Code, w.Body)
		}
	}

	token, err := url.ParseQuery(ask("title=Special:OAuth/initiate&").Body.String())
	if err != nil {
		t.Fatal(err)
	}
	page := at + "authorize&oauth_token=" + token.Get("oauth_token")
	asked := site.open(page, "alice")
	wantPage(t, asked, 200, `href="./index.php?title=Special%3AOAuth%2Fmanage"`)
	done := site.send(page, "alice", url.Values{
		"csrf": {csrfToken(t, asked)}, "decision": {"allow"}, "permission": {"READ_PUBLIC"}, "lifetime": {"unlimited"},
	}).Header().Get("Location")
	if !strings.HasPrefix(done, "?title=Special%3AOAuth%2Fauthorize&done=") {
		t.Fatalf("sent to %q", done)
	}
	wantPage(t, site.open("/w/index.php"+done, "alice"), 200, "Type or paste this code")
}

// TestBasePath: a proxy removes the path of base_url, which clients sign.
func TestBasePath(t *testing.T) {
	site := newTestSite(t, demoConsumer, "base_url https://api.test/api/v1\nendpoints {\n tokens /me/tokens\n}")
	token := site.grant("demo", "alice", "READ_PUBLIC")
	signer := oauth1.Signer{ConsumerKey: "demo", ConsumerSecret: "demo-secret", Token: token.Key, TokenSecret: token.Secret}
	signer.Timestamp = site.clock.Unix()
	for _, test := range []struct {
		name, signed, arrives string
		ok                    bool
	}{
		{"a path", "/api/v1/x", "/x?a=1", true},
		{"an escaped path", "/api/v1/a%2Fb", "/a%2Fb?a=1", true},
		{"the prefix with a slash", "/api/v1/", "/?a=1", true},
		{"the prefix without one", "/api/v1", "/?a=1", true},
		{"a path without the prefix", "/x", "/x?a=1", false},
		{"the prefix twice", "/api/v1/x", "/api/v1/x?a=1", false},
		{"the bare prefix for another path", "/api/v1", "/x?a=1", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			header, err := signer.Sign(&oauth1.Request{Method: "GET", Scheme: "https", Host: "api.test", Path: test.signed, Query: "a=1"})
			if err != nil {
				t.Fatal(err)
			}
			r := httptest.NewRequest("GET", test.arrives, nil)
			r.Header.Set("Authorization", header)
			w, upstream := site.serve(r)
			if (upstream != nil) != test.ok {
				t.Errorf("%d %q", w.Code, w.Body)
			}
		})
	}
	request := signer
	request.Token, request.TokenSecret, request.Callback = "", "", "oob"
	header, err := request.Sign(&oauth1.Request{Method: "POST", Scheme: "https", Host: "api.test", Path: "/api/v1/+request-token"})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("POST", "/+request-token", nil)
	r.Header.Set("Authorization", header)
	if w, _ := site.serve(r); w.Code != 200 {
		t.Errorf("an endpoint: %d %q", w.Code, w.Body)
	}
	wantPage(t, site.open("/+authorize-token?oauth_token="+site.waiting("demo", "oob").Key, "alice"), 200,
		`href="/api/v1/me/tokens"`)
}

// TestStoreOutOfReach: without the store, no request passes, and no answer is a 500.
func TestStoreOutOfReach(t *testing.T) {
	site := newTestSite(t, demoConsumer, "insecure_plaintext_over_http\npolicy {\n permission READ_PUBLIC\n}")
	token := site.grant("demo", "alice", "READ_PUBLIC")
	signer := oauth1.Signer{ConsumerKey: "demo", ConsumerSecret: "demo-secret", Token: token.Key, TokenSecret: token.Secret, SignatureMethod: "HMAC-SHA1"}
	if err := site.store().Close(); err != nil {
		t.Fatal(err)
	}
	for _, r := range []*http.Request{
		site.sign(signer, "GET", "http://api.test/x", ""),
		plain("/+request-token", "demo", "demo-secret", "", ""),
		plain("/+request-token", "stored", "", "", ""),
		plain("/+access-token", "demo", "demo-secret", "x", "y"),
	} {
		w, upstream := site.serve(r)
		if w.Code != 503 || w.Header().Get("Retry-After") == "" || upstream != nil {
			t.Errorf("%s: %d %q", r.URL.Path, w.Code, w.Body)
		}
	}
}
