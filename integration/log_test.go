package integration

import (
	"net/http"
	"strings"
	"testing"
)

// The log never has enough to sign with, even at DEBUG. Caddy's own access log hides the
// Authorization header, but not the query. Sites whose clients put credentials there need this
// filter.
const accessLog = `log {
	format filter {
		request>uri query {
			replace oauth_signature REDACTED
			replace oauth_verifier REDACTED
		}
		resp_headers>Location query {
			replace oauth_verifier REDACTED
		}
	}
}`

func TestTheLogHoldsNoSecret(t *testing.T) {
	srv := startServer(t, site{Global: "debug", Before: accessLog, Handler: "respond ok", App: `consumer demo {
	secret ` + logSecret + `
}`}, "")
	w := walker{t, srv, demoKey, logSecret}
	tok := w.requestToken(pair{"oauth_callback", "oob"})
	approved := srv.approve(t, srv.origin()+"/+authorize-token?oauth_token="+tok.Key, "salgado", "READ_PUBLIC")
	w.want(w.exchange(tok, pair{"oauth_verifier", "wrongverifier"}), http.StatusUnauthorized, "")
	access, err := parseToken(w.want(w.exchange(tok, pair{"oauth_verifier", approved.Verifier}), http.StatusOK, ""))
	if err != nil {
		t.Fatal(err)
	}
	const callback = "https://client.example/ready"
	redirected := w.requestToken(pair{"oauth_callback", callback})
	redirect := srv.approve(t, srv.origin()+"/+authorize-token?oauth_token="+redirected.Key, "salgado",
		"READ_PUBLIC").Redirect
	verifier := mustParse(t, redirect).Query().Get("oauth_verifier")
	if verifier == "" {
		t.Fatalf("redirected to %s, without a verifier", redirect)
	}
	params := plaintext(demoKey, logSecret, access)
	wrong := plaintext(demoKey, logSecret+"wrong", access)
	for _, p := range [][]pair{params, wrong} {
		header := srv.request("GET", "/header", nil)
		header.Header.Set("Authorization", authorization(p))
		srv.mustDo(t, header)
		inForm := srv.request("POST", "/form", strings.NewReader(form(p)))
		inForm.Header.Set("Content-Type", formType)
		srv.mustDo(t, inForm)
		srv.mustDo(t, srv.request("GET", "/query?a=b&"+form(p), nil))
	}
	srv.issue(t, demoKey, "salgado", "READ_PUBLIC", object{"key": "broughtalong", "secret": "broughtsecret"})
	srv.stop()
	log := srv.log.String()
	if !strings.Contains(log, "/header") || !strings.Contains(log, "/query") {
		t.Fatalf("there is no access log:\n%s", log)
	}
	for name, secret := range map[string]string{
		"the consumer's secret": logSecret, "the request token's secret": tok.Secret, "the access token's secret": access.Secret,
		"the verifier": approved.Verifier, "the redirect's verifier": verifier, "the wrong verifier": "wrongverifier", "a secret that was brought along": "broughtsecret",
	} {
		for line := range strings.Lines(log) {
			if strings.Contains(line, secret) {
				t.Errorf("%s is in the log: %s", name, line)
			}
		}
	}
}

const logSecret = "thesecretofdemo"
