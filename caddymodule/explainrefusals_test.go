package caddymodule

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/refusal"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// TestExplainedRefusals: who gets an explanation, in which form, and that the refusal's own words
// stay.
func TestExplainedRefusals(t *testing.T) {
	const consumers = "diagnoses 1000 1000\nconsumer sandbox-1 {\n secret s3cr3t\n}\nconsumer real {\n secret s3cr3t\n}"
	some := newTestSite(t, consumers, "explain_refusals consumers sandbox-*\ninsecure_plaintext_over_http")
	all := newTestSite(t, consumers, "explain_refusals")
	none := newTestSite(t, consumers, "")
	token := make(map[*testSite]string)
	for _, s := range []*testSite{some, all, none} {
		token[s] = s.grant("sandbox-1", "alice", "READ_PUBLIC").Key
	}
	for _, c := range []struct {
		name, consumer string
		site           *testSite
		token          bool
		begins         string
		explained      bool
	}{
		{"a consumer that matches", "sandbox-1", some, true, "Invalid signature.", true},
		{"one that does not", "real", some, false, "Invalid signature.", false},
		{"any known one", "real", all, false, "Invalid signature.", true},
		{"an unknown one", "SANDBOX-1", all, false, "Unknown consumer (SANDBOX-1).", false},
		{"an unknown one that matches", "sandbox-2", some, false, "Unknown consumer (sandbox-2).", false},
		{"by default nobody", "sandbox-1", none, true, "Invalid signature.", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			signer := oauth1.Signer{ConsumerKey: c.consumer, ConsumerSecret: "s3cr3t\n", SignatureMethod: "HMAC-SHA256"}
			if c.token {
				signer.Token, signer.ConsumerSecret = token[c.site], "s3cr3t"
			}
			w, _ := c.site.serve(c.site.sign(signer, "GET", "http://api.test/x?q=%20", ""))
			text := w.Body.String()
			if w.Code != http.StatusUnauthorized || !strings.HasPrefix(text, c.begins) {
				t.Fatalf("%d %s", w.Code, text)
			}
			if !c.explained {
				if text != c.begins {
					t.Errorf("says %q", text)
				}
				return
			}
			if !strings.Contains(text, "\n\nThe client signed with") || !strings.Contains(text, "\nGET&http%3A%2F%2Fapi.test%2Fx&oauth_") {
				t.Errorf("says %q", text)
			}
			if strings.Contains(text, "s3cr3t") {
				t.Errorf("says a secret: %s", text)
			}

			r := c.site.sign(signer, "GET", "http://api.test/x?q=%20", "")
			r.Header.Set("Accept", "application/json")
			w, _ = c.site.serve(r)
			var body map[string]any
			if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
				t.Fatal(err)
			}
			advice, _ := body["oauth_problem_advice"].(string)
			if body["error"] != c.begins || body["oauth_problem"] != "signature_invalid" ||
				!strings.HasPrefix(advice, "The client signed with") || body["base_string"] == nil || body["mistakes"] == nil {
				t.Errorf("%s", w.Body)
			}
		})
	}
}

// TestExplainedRefusalsOfOtherKinds: clocks, tokens and bodies are explained too; what has nothing
// to explain stays.
func TestExplainedRefusalsOfOtherKinds(t *testing.T) {
	s := newTestSite(t, "diagnoses 1000 1000\nconsumer app {\n secret s3cr3t\n two_legged robot WRITE_PUBLIC\n}", "explain_refusals\ninsecure_plaintext_over_http")
	sign := func(change func(*oauth1.Signer)) *http.Request {
		signer := oauth1.Signer{ConsumerKey: "app", ConsumerSecret: "s3cr3t", SignatureMethod: "HMAC-SHA1"}
		change(&signer)
		return s.sign(signer, "POST", "http://api.test/x", "")
	}
	late := sign(func(signer *oauth1.Signer) { signer.Timestamp = s.clock.Unix() - 700 })
	unknown := sign(func(signer *oauth1.Signer) { signer.Token = "app" })
	jsonSigned := s.sign(oauth1.Signer{ConsumerKey: "app", ConsumerSecret: "s3cr3t", SignatureMethod: "HMAC-SHA1"}, "POST", "http://api.test/x", "a=1&b=two")
	setBody(jsonSigned, `{"a":"1","b":"two"}`)
	jsonSigned.Header.Set("Content-Type", "application/json")
	for name, c := range map[string]struct {
		r    *http.Request
		want string
	}{
		"a clock":       {late, "Timestamp appears to come from bad system clock.\n\nThe timestamp is 700 seconds (11m40s) behind"},
		"a token":       {unknown, "Unknown access token (app).\n\noauth_token is a consumer key."},
		"a JSON body":   {jsonSigned, "Invalid signature.\n\nThe client signed the fields of its JSON body"},
		"no parameters": {plain("/x", "", "", "", ""), "oauth_consumer_key: required."},
	} {
		if w, _ := s.serve(c.r); !strings.HasPrefix(w.Body.String(), c.want) {
			t.Errorf("%s: %q", name, w.Body)
		}
	}
}

// TestExplainedRefusalsHaveLimits: above the limits a refusal asks to wait, and keeps its words.
func TestExplainedRefusalsHaveLimits(t *testing.T) {
	s := newTestSite(t, "diagnoses 1 1\nconsumer app {\n secret s\n}", "explain_refusals\ninsecure_plaintext_over_http")
	signer := oauth1.Signer{ConsumerKey: "app", ConsumerSecret: "wrong", SignatureMethod: "HMAC-SHA1"}
	waits := 0
	for range 20 {
		w, _ := s.serve(s.sign(signer, "GET", "http://api.test/x", ""))
		if w.Body.String() == "Invalid signature.\n\n"+tooManyRefusals+"\n" {
			waits++
		}
	}
	if waits == 0 {
		t.Error("no refusal asks to wait")
	}
	// A client that polls reads no more than it always did.
	waiting := &tokenstore.RequestToken{Key: "waiting", Secret: "w", Consumer: "app", Created: s.clock, Expires: s.clock.Add(time.Hour)}
	if err := s.store().CreateRequestToken(t.Context(), waiting); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		w, _ := s.serve(plain("/+access-token", "app", "s", "waiting", "w"))
		if want := refusal.NotReviewed.Text; w.Body.String() != want {
			t.Errorf("%q, want %q", w.Body, want)
		}
	}
}
