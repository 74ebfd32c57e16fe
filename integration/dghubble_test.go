package integration

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	dghubble "github.com/dghubble/oauth1"
)

// plaintextSigner implements PLAINTEXT, which dghubble/oauth1 leaves to its users.
type plaintextSigner struct{ consumerSecret string }

func (plaintextSigner) Name() string { return "PLAINTEXT" }

func (s plaintextSigner) Sign(tokenSecret, _ string) (string, error) {
	return dghubble.PercentEncode(s.consumerSecret) + "&" + dghubble.PercentEncode(tokenSecret), nil
}

func dghubbleSigner(method string, s secrets) dghubble.Signer {
	switch method {
	case "HMAC-SHA256":
		return &dghubble.HMAC256Signer{ConsumerSecret: s.consumer}
	case "RSA-SHA1":
		return &dghubble.RSASigner{PrivateKey: s.key}
	case "PLAINTEXT":
		return plaintextSigner{s.consumer}
	}
	return &dghubble.HMACSigner{ConsumerSecret: s.consumer}
}

func TestDghubbleSignsAwkwardRequests(t *testing.T) {
	const once = "it signs only the first of several values of a name"
	client := foreignClient{
		wrong: map[string]string{
			"repeated parameters":                   once,
			"repeated parameters, already in order": once,
			"a form with repeated names":            once,
			"a form and a query":                    once,
			"a form written by hand":                once,
			"a semicolon in the query":              "net/url drops a parameter with a semicolon, so it is sent and not signed",
		},
	}
	client.send = func(t *testing.T, origin, method string, s secrets, requests []awkward) []sent {
		args := credentials(method, s)
		config := &dghubble.Config{ConsumerKey: args["consumer"].(string), Signer: dghubbleSigner(method, s)}
		httpClient := config.Client(context.Background(), dghubble.NewToken(args["token"].(string), s.token))
		var all []sent
		for _, r := range requests {
			one := sent{Name: r.Name}
			body, contentType := r.Body, r.ContentType
			if r.Form != nil {
				var pairs []pair
				for _, p := range r.Form {
					pairs = append(pairs, pair{p[0], p[1]})
				}
				body, contentType = form(pairs), formType
			}
			req, err := http.NewRequest(r.Method, r.URL, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("X-Case", r.Name)
			if contentType != "" {
				req.Header.Set("Content-Type", contentType)
			}
			resp, err := httpClient.Do(req)
			if err != nil {
				one.Error = err.Error()
			} else {
				text, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				one.Status, one.Body = resp.StatusCode, string(text)
			}
			all = append(all, one)
		}
		return all
	}
	signsAwkwardRequests(t, client, "HMAC-SHA1", "HMAC-SHA256", "RSA-SHA1", "PLAINTEXT")
}

func TestDghubbleFollowsTheThreeLeggedFlow(t *testing.T) {
	up := newUpstream(t)
	srv := startServer(t, site{OAuth1: "signature_methods HMAC-SHA1 HMAC-SHA256 RSA-SHA1 PLAINTEXT"}, up.URL)
	key := testKey()
	srv.mustAdmin(t, "POST", "/oauth1/consumers",
		object{"key": "rsa", "name": "RSA", "rsa_public_key": publicPEM(t, key)})
	for _, c := range []struct{ name, method, consumer, callback string }{
		{"with a callback and HMAC-SHA1", "HMAC-SHA1", demoKey, "https://client.example/ready?a=b%20c"},
		{"with oob and HMAC-SHA256", "HMAC-SHA256", demoKey, "oob"},
		{"with a callback and RSA-SHA1", "RSA-SHA1", "rsa", "https://client.example/ready"},
		{"with a callback and PLAINTEXT", "PLAINTEXT", demoKey, "https://client.example/ready"},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := &dghubble.Config{
				ConsumerKey: c.consumer,
				CallbackURL: c.callback,
				Endpoint: dghubble.Endpoint{
					RequestTokenURL: srv.origin() + "/+request-token",
					AuthorizeURL:    srv.origin() + "/+authorize-token",
					AccessTokenURL:  srv.origin() + "/+access-token",
				},
				Signer: dghubbleSigner(c.method, secrets{consumer: demoSecret, key: key}),
			}
			requestToken, requestSecret, err := config.RequestToken()
			if err != nil {
				t.Fatal(err)
			}
			address, err := config.AuthorizationURL(requestToken)
			if err != nil {
				t.Fatal(err)
			}
			approved := srv.approve(t, address.String(), "salgado", "READ_PUBLIC")
			verifier := approved.Verifier
			if c.callback != "oob" {
				if !strings.HasPrefix(approved.Redirect, c.callback) {
					t.Errorf("redirected to %s, want %s", approved.Redirect, c.callback)
				}
				req, err := http.NewRequest("GET", approved.Redirect, nil)
				if err != nil {
					t.Fatal(err)
				}
				redirected, v, err := dghubble.ParseAuthorizationCallback(req)
				if err != nil || redirected != requestToken {
					t.Fatalf("the callback got the token %q, want %q: %v", redirected, requestToken, err)
				}
				verifier = v
			}
			if _, _, err := config.AccessToken(requestToken, requestSecret, "wrong"); err == nil || !strings.Contains(err.Error(), "Invalid OAuth verifier.") {
				t.Errorf("a wrong verifier: %v, want Invalid OAuth verifier.", err)
			}
			key, secret, err := config.AccessToken(requestToken, requestSecret, verifier)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := config.Client(context.Background(),
				dghubble.NewToken(key, secret)).Get(srv.origin() + "/api/me?n=1")
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			text, _ := io.ReadAll(resp.Body)
			got := parseReceived(t, reply{Status: resp.StatusCode, Body: string(text)})
			if user := got.Header.Get("X-OAuth-User"); user != "salgado" || got.URI != "/api/me?n=1" {
				t.Errorf("the upstream got %s from %q, want /api/me?n=1 from salgado", got.URI, user)
			}
		})
	}
}
