package integration

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
)

func requestsOAuthlib(t *testing.T) []string {
	return python(t, "requests_driver.py", "requests_oauthlib")
}

func TestRequestsOAuthlibSignsAwkwardRequests(t *testing.T) {
	program := requestsOAuthlib(t)
	client := foreignClient{} // it signs all of them right
	client.send = func(t *testing.T, origin, method string, s secrets, requests []awkward) []sent {
		args := credentials(method, s)
		args["do"] = "requests"
		if strings.HasPrefix(method, "RSA-") { // oauthlib is slow with a key: 0.1 s for each signature
			requests = slices.DeleteFunc(requests, func(r awkward) bool { return !r.essential })
		}
		args["requests"], args["placements"] = requests, []string{"AUTH_HEADER", "QUERY"}
		var inHeaderAndQuery, inBody []sent
		drive(t, program, args, noQuestions(t), &inHeaderAndQuery)
		// Only a form can have the credentials in the body.
		args["requests"], args["placements"] = slices.DeleteFunc(requests, func(r awkward) bool {
			return r.Form == nil && r.ContentType != formType
		}), []string{"BODY"}
		drive(t, program, args, noQuestions(t), &inBody)
		return append(inHeaderAndQuery, inBody...)
	}
	signsAwkwardRequests(t, client,
		"HMAC-SHA1", "HMAC-SHA256", "HMAC-SHA512", "RSA-SHA1", "RSA-SHA256", "RSA-SHA512", "PLAINTEXT")
}

func TestRequestsOAuthlibSendsABodyHash(t *testing.T) {
	program := requestsOAuthlib(t)
	up := newUpstream(t)
	srv := startServer(t, site{OAuth1: "signature_methods HMAC-SHA1 HMAC-SHA256\nrequire_body_hash"}, up.URL)
	tok := srv.issue(t, demoKey, "salgado", "WRITE_PUBLIC", nil)
	requests := []awkward{
		{Name: "JSON", Method: "POST", URL: srv.origin() + "/items", Body: `{"a":"b"}`, ContentType: "application/json"},
		{Name: "nothing", Method: "GET", URL: srv.origin() + "/items"}, // the request needs no signature
	}
	for _, c := range []struct {
		name, method string
		hash         bool
		status       int
	}{
		{"of SHA-1 with HMAC-SHA1 passes", "HMAC-SHA1", true, http.StatusOK},
		{"of SHA-1 with HMAC-SHA256 is refused: oauthlib hashes with SHA-1 always, the extension says with the signature method's", "HMAC-SHA256", true, http.StatusUnauthorized},
		{"that is missing is refused where it is required", "HMAC-SHA1", false, http.StatusBadRequest},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []sent
			drive(t, program, object{
				"do": "requests", "method": c.method, "consumer": demoKey, "consumer_secret": demoSecret, "token": tok.Key, "secret": tok.Secret,
				"force_include_body": c.hash, "requests": requests, "placements": []string{"AUTH_HEADER"},
			}, noQuestions(t), &got)
			if got[0].Status != c.status {
				t.Errorf("%d %s%s, want %d", got[0].Status, got[0].Body, got[0].Error, c.status)
			}
			if !c.hash && got[1].Status != http.StatusOK {
				t.Errorf("a GET without a body: %d %s%s", got[1].Status, got[1].Body, got[1].Error)
			}
		})
	}
}

// A flow is the result of a client's three-legged flow.
type flow struct {
	Confirmed     string `json:"confirmed"`
	WrongVerifier struct {
		Status int    `json:"status"`
		Body   string `json:"body"`
	} `json:"wrong_verifier"`
	RedirectToken string `json:"redirect_token"`
	AccessToken   string `json:"access_token"`
	Status        int    `json:"status"`
	Body          string `json:"body"`
}

// followsTheFlow runs a driver's three-legged flow, with a user who approves on the authorize page,
// and checks that the client sees the right answers.
func followsTheFlow(t *testing.T, srv *server, up *upstream, program []string, args object) {
	t.Helper()
	callback, _ := args["callback"].(string)
	var requestToken string
	var result flow
	all := object{"do": "flow", "root": srv.origin() + "/", "callback": callback}
	maps.Copy(all, args)
	drive(t, program, all, func(what string, asked object) object {
		requestToken, _ = asked["request_token"].(string)
		approved := srv.approve(t, asked["url"].(string), "salgado", "READ_PUBLIC")
		if callback != "oob" {
			return object{"redirect": approved.Redirect}
		}
		return object{"verifier": approved.Verifier}
	}, &result)

	if result.Confirmed != "true" {
		t.Errorf("oauth_callback_confirmed %q, want true", result.Confirmed)
	}
	if result.WrongVerifier.Status != http.StatusUnauthorized ||
		strings.TrimSpace(result.WrongVerifier.Body) != "Invalid OAuth verifier." {
		t.Errorf("a wrong verifier got %d %q, want 401 Invalid OAuth verifier.", result.WrongVerifier.Status,
			result.WrongVerifier.Body)
	}
	if callback != "oob" && result.RedirectToken != requestToken {
		t.Errorf("the callback got the token %q, want %q", result.RedirectToken, requestToken)
	}
	if result.AccessToken == "" || result.AccessToken == requestToken {
		t.Errorf("access token %q", result.AccessToken)
	}
	got := parseReceived(t, reply{Status: result.Status, Body: result.Body})
	if user, uri := got.Header.Get("X-OAuth-User"), got.URI; user != "salgado" || uri != "/api/me?n=1" {
		t.Errorf("the upstream got %s from %q, want /api/me?n=1 from salgado", uri, user)
	}
}

// oauthlib decodes the oauth_ values in a query or form once more than it encoded them. So it signs
// wrongly if a value contains an escape: here the callback.
func TestRequestsOAuthlibSignsACallbackWithAnEscapeWronglyOutsideTheHeader(t *testing.T) {
	program := requestsOAuthlib(t)
	srv := startServer(t, site{Handler: "respond ok"}, "")
	for placement, want := range map[string]string{"AUTH_HEADER": "", "QUERY": "Invalid OAuth signature.",
		"BODY": "Invalid OAuth signature."} {
		t.Run(placement, func(t *testing.T) {
			var got struct{ Error string }
			drive(t, program, object{
				"do": "request_token", "root": srv.origin() + "/", "method": "HMAC-SHA1", "placement": placement,
				"callback": "https://client.example/ready?a=b%20c", "consumer": demoKey, "consumer_secret": demoSecret,
			}, noQuestions(t), &got)
			if (got.Error == "") != (want == "") || !strings.Contains(got.Error, want) {
				t.Errorf("%q, want %q", got.Error, want)
			}
		})
	}
}

func TestRequestsOAuthlibFollowsTheThreeLeggedFlow(t *testing.T) {
	program := requestsOAuthlib(t)
	up := newUpstream(t)
	srv := startServer(t, site{OAuth1: "signature_methods HMAC-SHA1 HMAC-SHA256 RSA-SHA256 PLAINTEXT"}, up.URL)
	key := testKey()
	srv.mustAdmin(t, "POST", "/oauth1/consumers",
		object{"key": "rsa", "name": "RSA", "rsa_public_key": publicPEM(t, key)})
	shared := object{"consumer": demoKey, "consumer_secret": demoSecret}
	for _, c := range []struct {
		name, method, placement, callback string
		consumer                          object
	}{
		{"with a callback, in the header", "HMAC-SHA1", "AUTH_HEADER", "https://client.example/ready?a=b%20c", shared},
		{"with a callback, in the query", "HMAC-SHA256", "QUERY", "https://client.example/ready?a=b", shared},
		{"with a callback, in the body", "HMAC-SHA1", "BODY", "https://client.example/ready", shared},
		{"with oob", "HMAC-SHA256", "AUTH_HEADER", "oob", shared},
		{"with oob, PLAINTEXT in the body", "PLAINTEXT", "BODY", "oob", shared},
		{"with an RSA key", "RSA-SHA256", "AUTH_HEADER", "https://client.example/ready", object{"consumer": "rsa", "rsa_key": privatePEM(key)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := object{"method": c.method, "placement": c.placement, "callback": c.callback}
			maps.Copy(args, c.consumer)
			followsTheFlow(t, srv, up, program, args)
		})
	}
}
