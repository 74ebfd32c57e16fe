package caddymodule

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/adminapi"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
)

// TestAdminExplain: what the route says of a request, by the keys that it names. No answer holds a
// secret.
func TestAdminExplain(t *testing.T) {
	s := newTestSite(t, "consumer app {\n secret s3cr3t\n}", "")
	token := s.grant("app", "alice", "READ_PUBLIC")
	header := func(change func(*oauth1.Signer)) string {
		signer := oauth1.Signer{ConsumerKey: "app", ConsumerSecret: "s3cr3t", Token: token.Key, TokenSecret: token.Secret, SignatureMethod: "HMAC-SHA1"}
		change(&signer)
		return s.sign(signer, "GET", "http://api.test/x?a=1", "").Header.Get("Authorization")
	}
	right := header(func(*oauth1.Signer) {})
	wrong := header(func(signer *oauth1.Signer) { signer.TokenSecret = "" })
	for _, c := range []struct {
		name   string
		body   adminapi.SignedRequest
		status int
		want   string // the mistakes, or the error
	}{
		{"a right one", adminapi.SignedRequest{Method: "GET", URL: "http://api.test/x?a=1", Authorization: right, Consumer: "app", Token: token.Key}, 200, ""},
		{"a wrong one", adminapi.SignedRequest{Method: "GET", URL: "http://api.test/x?a=1", Authorization: wrong, Consumer: "app", Token: token.Key}, 200, "token-secret-left-out"},
		{"another method", adminapi.SignedRequest{Method: "POST", URL: "http://api.test/x?a=1", Authorization: right, Consumer: "app", Token: token.Key}, 200, "http-method"},
		{"another scheme", adminapi.SignedRequest{Method: "GET", URL: "https://api.test/x?a=1", Authorization: right, Consumer: "app", Token: token.Key}, 200, "scheme"},
		{"no consumer", adminapi.SignedRequest{Method: "GET", URL: "http://api.test/x"}, 400, `field "consumer": is empty`},
		{"an unknown consumer", adminapi.SignedRequest{Method: "GET", URL: "http://api.test/x", Authorization: right, Consumer: "nobody"}, 404, `consumer "nobody": not found`},
		{"an unknown token", adminapi.SignedRequest{Method: "GET", URL: "http://api.test/x", Authorization: right, Consumer: "app", Token: "none"}, 404, `token "none": not found`},
		{"no parameters", adminapi.SignedRequest{Method: "GET", URL: "http://api.test/x", Consumer: "app"}, 400, "the server refuses this request: it has no OAuth parameters"},
		{"no URL", adminapi.SignedRequest{Method: "GET", URL: "/x", Authorization: right, Consumer: "app"}, 400, `url: "/x": must be an http or https URL with a host`},
	} {
		t.Run(c.name, func(t *testing.T) {
			text, err := json.Marshal(c.body)
			if err != nil {
				t.Fatal(err)
			}
			r := httptest.NewRequest("POST", adminapi.ExplainPath, strings.NewReader(string(text)))
			r.Header.Set("Content-Type", "application/json")
			call := &adminCall{Request: r, app: s.app, store: s.store()}
			status, answer, err := call.explainRequest()
			if c.status != http.StatusOK {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Fatalf("%v", err)
				}
				return
			}
			if err != nil || status != c.status {
				t.Fatal(status, err)
			}
			e := answer.(adminapi.Explanation)
			if got := strings.Join(e.Mistakes, "+"); got != c.want || e.Valid != (c.want == "") || e.BaseString == "" {
				t.Errorf("%+v", e)
			}
			said, _ := json.Marshal(e)
			if strings.Contains(string(said), "s3cr3t") || strings.Contains(string(said), token.Secret) {
				t.Errorf("shows a secret: %s", said)
			}
		})
	}
}
