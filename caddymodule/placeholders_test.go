package caddymodule

import (
	"context"
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/refusal"
)

// refusalPlaceholders are all placeholders of a refusal, in the order of the manual.
var refusalPlaceholders = []string{
	"reason", "problem", "text", "consumer", "token", "parameter", "acceptable_timestamps",
}

// published sends a request through the handler. It returns the placeholders' values afterwards,
// joined by bars, the answer, and whether the request reached the next handler.
func (s *testSite) published(r *http.Request) (values string, w *httptest.ResponseRecorder, passed bool) {
	s.t.Helper()
	w = httptest.NewRecorder()
	s.inRequest(r, func(r *http.Request, repl *caddy.Replacer) {
		err := s.handler.ServeHTTP(w, r, caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error {
			passed = true
			return nil
		}))
		if err != nil {
			s.t.Fatal(err)
		}
		values = knownPlaceholders(s.t, repl)
	})
	return values, w, passed
}

func knownPlaceholders(t testing.TB, repl *caddy.Replacer) string {
	t.Helper()
	var all []string
	for _, name := range refusalPlaceholders {
		value, known := repl.GetString("oauth1.refusal." + name)
		if !known {
			t.Errorf("%s is not known", name)
		}
		all = append(all, value)
	}
	if _, known := repl.Get("oauth1.refusal.nonesuch"); known {
		t.Error("a placeholder that does not exist is known")
	}
	return strings.Join(all, "|")
}

// TestRefusalPlaceholders: the values that handle_errors and log_append get for each kind of
// refusal.
func TestRefusalPlaceholders(t *testing.T) {
	site := newTestSite(t,
		"consumer demo {\n secret s\n}\nconsumer robot {\n secret s\n two_legged bob READ_PUBLIC\n}",
		"insecure_plaintext_over_http\nrequire_callback\npolicy /open {\n anonymous\n}\npolicy")
	token := site.grant("demo", "alice", "READ_PUBLIC")
	request := site.waiting("demo", "oob")
	good := oauth1.Signer{
		ConsumerKey: "demo", ConsumerSecret: "s", Token: token.Key, TokenSecret: token.Secret,
		SignatureMethod: "HMAC-SHA1",
	}
	client := oauth1.Signer{ConsumerKey: "demo", ConsumerSecret: "s"}
	robot := oauth1.Signer{ConsumerKey: "robot", ConsumerSecret: "s"}
	signed := func(more ...string) *http.Request {
		return plain("/x", "demo", "s", token.Key, token.Secret, more...)
	}
	get := func(target string) *http.Request { return httptest.NewRequest("GET", "http://api.test"+target, nil) }
	with := func(change func(*oauth1.Signer)) *http.Request {
		signer := good
		change(&signer)
		return site.sign(signer, "GET", "http://api.test/x", "")
	}
	once := with(func(s *oauth1.Signer) { s.Nonce = "once" })
	site.serve(once.Clone(t.Context()))
	now := site.clock.Unix()
	window := fmt.Sprintf("%d-%d", now-300, now+300)
	page := func(target string) *http.Request {
		r := get(target)
		r.Header.Set("Test-User", "alice")
		return r
	}
	exchange := plain("/+access-token", "demo", "s", request.Key, request.Secret)
	form := func(target string) *http.Request {
		path, form, _ := strings.Cut(target, "?")
		r := httptest.NewRequest("POST", "http://api.test"+path, strings.NewReader(form))
		r.Header.Set("Content-Type", formType)
		return r
	}
	for _, test := range []struct {
		name    string
		request *http.Request
		want    string
	}{
		{"passed", site.sign(good, "GET", "http://api.test/x", ""), "||||||"},
		{"passed, anonymous", get("/open"), "||||||"},
		{"passed, an endpoint", plain("/+request-token", "demo", "s", "", "", "oauth_callback", "oob"), "||||||"},
		{"passed, a page", page("/+oauth-tokens"), "||||||"},

		{"no credentials", get("/x"),
			"credentials_required|parameter_absent|OAuth credentials required.|||oauth_consumer_key|"},
		{"target", httptest.NewRequest("get", "http://api.test/x", nil),
			"method_invalid|parameter_rejected|The method get must be written in upper case.||||"},
		{"signature", with(func(s *oauth1.Signer) { s.ConsumerSecret = "wrong" }),
			"signature_invalid|signature_invalid|Invalid signature.|demo|" + token.Key + "||"},
		{"nonce used", once,
			"nonce_used|nonce_used|This nonce has been used already.|demo|" + token.Key + "||"},
		{"timestamp", with(func(s *oauth1.Signer) { s.Timestamp = now - 1000 }),
			"timestamp_refused|timestamp_refused|Timestamp appears to come from bad system clock.|demo|" +
				token.Key + "|oauth_timestamp|" + window},
		{"consumer", with(func(s *oauth1.Signer) { s.ConsumerKey = "nobody" }),
			"consumer_unknown|consumer_key_unknown|Unknown consumer (nobody).|nobody|" + token.Key + "||"},
		{"token", with(func(s *oauth1.Signer) { s.Token = "none" }),
			"token_unknown|token_rejected|Unknown access token (none).|demo|none||"},
		{"a parameter is absent", signed("oauth_signature", ""),
			"malformed|parameter_absent|oauth_signature: required.|demo|" + token.Key + "|oauth_signature|"},
		{"a parameter is rejected", signed("oauth_nonce", "\x01", "oauth_timestamp", "1"),
			"malformed|parameter_rejected|oauth_nonce: not printable ASCII.|demo|" + token.Key + "|oauth_nonce|"},
		{"a parameter is sent twice", get("/x?oauth_nonce=1&oauth_nonce=2"),
			"malformed|parameter_rejected|oauth_nonce: sent twice.|||oauth_nonce|"},
		{"policy", site.sign(good, "POST", "http://api.test/x", ""),
			"policy_permission|permission_denied|This request needs the permission WRITE_PUBLIC.|demo|" +
				token.Key + "||"},
		{"policy, two-legged", site.sign(robot, "POST", "http://api.test/x", ""),
			"policy_permission|permission_denied|This request needs the permission WRITE_PUBLIC.|robot|||"},

		{"no token, and not two-legged", site.sign(client, "GET", "http://api.test/x", ""),
			"token_absent|parameter_absent|" + refusal.TokenRequired.Text + "|demo||oauth_token|"},

		{"endpoint: method", httptest.NewRequest("PUT", "http://api.test/+request-token", nil),
			"method_not_allowed|method_not_allowed|Method not allowed.||||"},
		{"endpoint: no consumer", get("/+request-token"),
			"consumer_absent|parameter_absent|No consumer key specified.|||oauth_consumer_key|"},
		{"endpoint: consumer", plain("/+request-token", "nobody", "s", "", ""),
			"consumer_unknown|consumer_key_unknown|Unknown consumer.|nobody|||"},
		{"endpoint: signature", plain("/+request-token", "demo", "wrong", "", "", "oauth_callback", "oob"),
			"signature_invalid|signature_invalid|Invalid OAuth signature.|demo|||"},
		{"endpoint: no callback", plain("/+request-token", "demo", "s", "", ""),
			"malformed|parameter_absent|oauth_callback: required.|demo||oauth_callback|"},
		{"endpoint: callback", plain("/+request-token", "demo", "s", "", "", "oauth_callback", "x"),
			"malformed|parameter_rejected|oauth_callback: it is not an absolute URL.|demo||oauth_callback|"},
		{"endpoint: no token", plain("/+access-token", "demo", "s", "", ""),
			"token_absent|parameter_absent|No request token specified.|demo||oauth_token|"},
		{"endpoint: not reviewed, by form", form(exchange.URL.RequestURI()),
			"not_reviewed|permission_unknown|Request token has not yet been reviewed. Try again later.|demo|" +
				request.Key + "||"},

		{"page: no login", get("/+authorize-token?oauth_token=rt"),
			"login_required||You need to be logged in to see this page.||rt||"},
		{"page: token", page("/+authorize-token?oauth_token=rt"),
			"token_unknown||Every request is answered once and then forgotten. If the application works, all is done. " +
				"Otherwise the link may be incomplete.||rt||"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, w, passed := site.published(test.request)
			if got != test.want {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
			if refused := w.Code != 200; refused != (strings.Trim(got, "|") != "") || refused && passed {
				t.Errorf("answered %d, passed %v", w.Code, passed)
			}
		})
	}
}

// TestRefusalPlaceholdersAreSafe: a client's value can't end a string or add markup. Only a
// harmless value is kept whole. In JSON, it decodes to the same value.
func TestRefusalPlaceholdersAreSafe(t *testing.T) {
	site := newTestSite(t, "consumer demo {\n secret s\n}", "insecure_plaintext_over_http")
	for _, key := range []string{
		`a"b`, `a\`, `a\"b`, "a\nb", "a\x00b", "<b>", "</script>", "&lt;", "{http.vars.x}", "{{.Host}}", "`x`",
		"' onclick='x", "\u2028", "\xff\xfe", "a&oauth_problem=x", "${x}", strings.Repeat("<\"", 4000),
		"System-wide: Ubuntu (laptop)", "schön",
	} {
		for _, r := range []*http.Request{
			plain("/x", key, "s", "", ""), plain("/x", "demo", "s", key, ""),
			plain("/+access-token", key, "s", key, ""),
			httptest.NewRequest("GET", "http://api.test/+authorize-token?oauth_token="+oauth1.Encode(key), nil),
		} {
			values, _, _ := site.published(r)
			var read string
			if err := json.Unmarshal([]byte(`"`+values+`"`), &read); err != nil || read != values {
				t.Errorf("%q: is no text of JSON: %q, %v", key, values, err)
			}
			if html.EscapeString(values) != values || strings.ContainsAny(values, "`{}\\\r\n") {
				t.Errorf("%q: is markup: %q", key, values)
			}
			if len(values) > 3000 {
				t.Errorf("%.9q: %d bytes", key, len(values))
			}
		}
	}
	values, _, _ := site.published(plain("/x", "System-wide: Ubuntu (laptop)", "s", "schön", ""))
	if !strings.HasSuffix(values, "|System-wide: Ubuntu (laptop)|schön||") {
		t.Errorf("a harmless value is changed: %q", values)
	}
}

// TestRefusalPlaceholdersHoldNoSecret: no placeholder holds a secret, in whatever place a client
// sends it.
func TestRefusalPlaceholdersHoldNoSecret(t *testing.T) {
	site := newTestSite(t, "consumer demo {\n secret s\n}", "insecure_plaintext_over_http")
	for _, r := range []*http.Request{
		plain("/x", "demo", "s", "token", "canary"),
		plain("/+access-token", "demo", "canary", "token", "canary"),
		plain("/x", "demo", "s", "token", "canary", "oauth_verifier", "canary", "oauth_version", "canary"),
		plain("/x", "demo", "s", "token", "s", "oauth_nonce", "canary\x01", "oauth_timestamp", "canary"),
		plain("/x", "demo", "s", "token", "s", "oauth_canary", "canary", "canary", "1"),
	} {
		if values, w, _ := site.published(r); w.Code == 200 || strings.Contains(values, "canary") {
			t.Errorf("%s: %d %q", r.URL, w.Code, values)
		}
	}
}

// TestRefusalPlaceholdersInErrorRoutes: error routes use the placeholders for an endpoint and for
// the API, also with another status.
func TestRefusalPlaceholdersInErrorRoutes(t *testing.T) {
	site := newTestSite(t, "consumer demo {\n secret s\n}", "insecure_plaintext_over_http")
	server := serverWithErrors(t, "handle_errors {\n @refused expression `{oauth1.refusal.reason} != \"\"`\n"+
		" map {oauth1.refusal.reason} {code} {\n  consumer_unknown 32\n  default 215\n }\n"+
		" respond @refused \"{code} {oauth1.refusal.problem} {oauth1.refusal.consumer} "+
		"{oauth1.refusal.token}\" 200\n}")
	for _, test := range []struct{ target, want string }{
		{"/x", "32 consumer_key_unknown nobody token"},
		{"/+request-token", "32 consumer_key_unknown nobody token"},
		{"/+access-token", "32 consumer_key_unknown nobody token"},
	} {
		site.inRequest(plain(test.target, "nobody", "s", "token", ""), func(r *http.Request, _ *caddy.Replacer) {
			w := httptest.NewRecorder()
			r = r.WithContext(context.WithValue(r.Context(), caddyhttp.ServerCtxKey, server))
			if err := site.handler.ServeHTTP(w, r, nil); err != nil {
				t.Fatal(err)
			}
			if w.Code != 200 || w.Body.String() != test.want {
				t.Errorf("%s: %d %q", test.target, w.Code, w.Body)
			}
		})
	}
}
