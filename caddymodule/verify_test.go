package caddymodule

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/refusal"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/badgerstore"
)

const demoConsumer = "consumer demo {\n secret demo-secret\n}\n"

// TestAPIRefusals is the table of refusals of API requests. Each has its exact status and text, and
// reaches no upstream.
func TestAPIRefusals(t *testing.T) {
	site := newTestSite(t, demoConsumer+"consumer other {\n secret other-secret\n}\nconsumer old {\n secret old-secret\n expires 2001-01-01\n}\n", "")
	ctx := t.Context()
	if err := site.store().CreateConsumer(ctx, &tokenstore.Consumer{Key: "off", Secret: "s", Disabled: true}); err != nil {
		t.Fatal(err)
	}
	token := site.grant("demo", "alice", "WRITE_PRIVATE")
	foreign := site.grant("other", "alice", "WRITE_PRIVATE")
	reader := site.grant("demo", "alice", "READ_PUBLIC")
	expired := &tokenstore.AccessToken{
		Key: "expired", Secret: "s", Consumer: "demo", User: "alice", Permission: "WRITE_PRIVATE",
		Created: site.clock.Add(-2 * time.Hour), Expires: site.clock.Add(-time.Hour),
	}
	if err := site.store().CreateAccessToken(ctx, expired); err != nil {
		t.Fatal(err)
	}
	requestToken := &tokenstore.RequestToken{Key: "request", Secret: "s", Consumer: "demo", Created: site.clock, Expires: site.clock.Add(time.Hour)}
	if err := site.store().CreateRequestToken(ctx, requestToken); err != nil {
		t.Fatal(err)
	}

	good := oauth1.Signer{ConsumerKey: "demo", ConsumerSecret: "demo-secret", Token: token.Key, TokenSecret: token.Secret, SignatureMethod: "HMAC-SHA256"}
	with := func(change func(*oauth1.Signer)) *http.Request {
		signer := good
		change(&signer)
		return site.sign(signer, "GET", "http://api.test/x", "")
	}
	header := func(authorization ...string) *http.Request {
		r := httptest.NewRequest("GET", "http://api.test/x", nil)
		r.Header["Authorization"] = authorization
		return r
	}
	replayed := site.sign(good, "GET", "http://api.test/x", "")
	if w, upstream := site.serve(replayed.Clone(ctx)); upstream == nil {
		t.Fatalf("the good request is refused: %d %s", w.Code, w.Body)
	}
	wrongMethod := site.sign(good, "GET", "http://api.test/x", "")
	wrongMethod.Method = "POST"

	for _, test := range []struct {
		name   string
		r      *http.Request
		status int
		text   string
	}{
		{"no credentials", httptest.NewRequest("GET", "http://api.test/x", nil), 401, "OAuth credentials required."},
		{"another scheme is no credential of ours", header("Basic YTpi"), 401, "OAuth credentials required."},
		{"unknown consumer", with(func(s *oauth1.Signer) { s.ConsumerKey = "nobody" }), 401, "Unknown consumer (nobody)."},
		{"disabled consumer", with(func(s *oauth1.Signer) { s.ConsumerKey, s.ConsumerSecret = "off", "s" }), 401, "Disabled consumer (off)."},
		{"expired consumer", with(func(s *oauth1.Signer) { s.ConsumerKey, s.ConsumerSecret = "old", "old-secret" }), 401, "Expired consumer (old)."},
		{"unknown token", with(func(s *oauth1.Signer) { s.Token = "nothing" }), 401, "Unknown access token (nothing)."},
		{"another consumer's token is unknown", with(func(s *oauth1.Signer) { s.Token, s.TokenSecret = foreign.Key, foreign.Secret }), 401, "Unknown access token (" + foreign.Key + ")."},
		{"a request token is no access token", with(func(s *oauth1.Signer) { s.Token, s.TokenSecret = "request", "s" }), 401, "Unknown access token (request)."},
		{"expired token", with(func(s *oauth1.Signer) { s.Token, s.TokenSecret = "expired", "s" }), 401, "Expired token (expired)."},
		{"wrong consumer secret", with(func(s *oauth1.Signer) { s.ConsumerSecret = "guess" }), 401, "Invalid signature."},
		{"wrong token secret", with(func(s *oauth1.Signer) { s.TokenSecret = "guess" }), 401, "Invalid signature."},
		{"signed for another method", wrongMethod, 401, "Invalid signature."},
		{"used nonce", replayed, 401, "This nonce has been used already."},
		{"timestamp too old", with(func(s *oauth1.Signer) { s.Timestamp = site.clock.Unix() - 301 }), 401, "Timestamp appears to come from bad system clock."},
		{"timestamp too new", with(func(s *oauth1.Signer) { s.Timestamp = site.clock.Unix() + 301 }), 401, "Timestamp appears to come from bad system clock."},
		{"the timestamp comes before the consumer", with(func(s *oauth1.Signer) { s.ConsumerKey, s.Timestamp = "nobody", 1 }), 401, "Timestamp appears to come from bad system clock."},
		{"the consumer comes before the token", with(func(s *oauth1.Signer) { s.ConsumerKey, s.Token = "nobody", "nothing" }), 401, "Unknown consumer (nobody)."},
		{"too low a level", site.sign(oauth1.Signer{ConsumerKey: "demo", ConsumerSecret: "demo-secret", Token: reader.Key, TokenSecret: reader.Secret, SignatureMethod: "HMAC-SHA1"}, "POST", "http://api.test/x", "a=b"), 403, "This request needs the permission WRITE_PUBLIC."},
		{"PLAINTEXT without TLS", with(func(s *oauth1.Signer) { s.SignatureMethod = "PLAINTEXT" }), 400, "oauth_signature_method: PLAINTEXT is accepted over HTTPS only."},
		{"a consumer without a grant signs without a token", with(func(s *oauth1.Signer) { s.Token, s.TokenSecret = "", "" }), 401, "An access token is required: this consumer can not act without one."},
	} {
		t.Run(test.name, func(t *testing.T) {
			w, upstream := site.serve(test.r)
			if w.Code != test.status || w.Body.String() != test.text || upstream != nil {
				t.Errorf("got %d %q, upstream %v; want %d %q", w.Code, w.Body, upstream != nil, test.status, test.text)
			}
			if challenge := w.Header().Get("WWW-Authenticate"); (test.status == 401) != (challenge == `OAuth realm="api.test"`) {
				t.Errorf("WWW-Authenticate: %q", challenge)
			}
			if got := w.Header().Get("Cache-Control"); got != "no-store" {
				t.Errorf("Cache-Control: %q", got)
			}
		})
	}
}

// TestMalformedRequests: malformed requests get a 400 before any look-up.
func TestMalformedRequests(t *testing.T) {
	site := newTestSite(t, demoConsumer, "insecure_plaintext_over_http")
	const good = `OAuth oauth_consumer_key="demo", oauth_signature_method="PLAINTEXT", oauth_signature="demo-secret%26"`
	for _, test := range []struct {
		name          string
		authorization []string
		target        string
	}{
		{"two sources", []string{good}, "/x?oauth_token=a"},
		{"two Authorization headers", []string{good, good}, "/x"},
		{"a basic one beside ours", []string{"Basic YTpi", good}, "/x"},
		{"a duplicate parameter", []string{good + `, oauth_consumer_key="demo"`}, "/x"},
		{"another version", []string{good + `, oauth_version="2.0"`}, "/x"},
		{"an unsupported method", []string{`OAuth oauth_consumer_key="demo", oauth_signature_method="ROT13", oauth_signature="x"`}, "/x"},
		{"no method", []string{`OAuth oauth_consumer_key="demo", oauth_signature="x"`}, "/x"},
		{"no signature", []string{`OAuth oauth_consumer_key="demo", oauth_signature_method="PLAINTEXT"`}, "/x"},
		{"no consumer key", []string{`OAuth oauth_signature_method="PLAINTEXT", oauth_signature="x"`}, "/x"},
		{"HMAC without a timestamp", []string{`OAuth oauth_consumer_key="demo", oauth_signature_method="HMAC-SHA1", oauth_signature="x", oauth_nonce="n"`}, "/x"},
		{"HMAC without a nonce", []string{`OAuth oauth_consumer_key="demo", oauth_signature_method="HMAC-SHA1", oauth_signature="x", oauth_timestamp="1"`}, "/x"},
		{"a fractional timestamp", []string{`OAuth oauth_consumer_key="demo", oauth_signature_method="HMAC-SHA1", oauth_signature="x", oauth_nonce="n", oauth_timestamp="1.5"`}, "/x"},
		{"bad percent-encoding", []string{`OAuth oauth_consumer_key="de%zzmo"`}, "/x"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "http://api.test"+test.target, nil)
			r.Header["Authorization"] = test.authorization
			w, upstream := site.serve(r)
			if w.Code != 400 || upstream != nil || w.Body.Len() == 0 {
				t.Errorf("got %d %q", w.Code, w.Body)
			}
		})
	}
}

func TestRefusalAsJSON(t *testing.T) {
	site := newTestSite(t, "", "")
	r := site.sign(oauth1.Signer{ConsumerKey: "nobody", ConsumerSecret: "s", SignatureMethod: "HMAC-SHA1"}, "GET", "http://api.test/x", "")
	r.Header.Set("Accept", "application/json")
	w, _ := site.serve(r)
	var answer map[string]string
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
		t.Fatal(err)
	}
	if w.Code != 401 || answer["error"] != "Unknown consumer (nobody)." || answer["oauth_problem"] != "consumer_key_unknown" {
		t.Errorf("got %d %v", w.Code, answer)
	}
	if got := w.Header().Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type: %q", got)
	}
}

// TestSignatureKinds: a key of one kind is never used as a secret of another kind.
func TestSignatureKinds(t *testing.T) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&private.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	public := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))

	site := newTestSite(t, demoConsumer, "insecure_plaintext_over_http")
	for _, c := range []*tokenstore.Consumer{
		{Key: "rsa", RSAPublicKey: public, TwoLegged: &tokenstore.TwoLegged{User: "bot", Permission: "READ_PUBLIC"}},
		{Key: "hmac", Secret: "s", TwoLegged: &tokenstore.TwoLegged{User: "bot", Permission: "READ_PUBLIC"}},
		{Key: "both", RSAPublicKey: public, Secret: "s", PreviousSecret: "old", PreviousSecretExpires: site.clock.Add(time.Hour), TwoLegged: &tokenstore.TwoLegged{User: "bot", Permission: "READ_PUBLIC"}},
		{Key: "narrow", Secret: "s", SignatureMethods: []string{"HMAC-SHA512"}, TwoLegged: &tokenstore.TwoLegged{User: "bot", Permission: "READ_PUBLIC"}},
	} {
		if err := site.store().CreateConsumer(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		name   string
		signer oauth1.Signer
		status int
	}{
		{"RSA-SHA1 of an RSA consumer", oauth1.Signer{ConsumerKey: "rsa", PrivateKey: private, SignatureMethod: "RSA-SHA1"}, 200},
		{"RSA-SHA256 of an RSA consumer", oauth1.Signer{ConsumerKey: "rsa", PrivateKey: private, SignatureMethod: "RSA-SHA256"}, 200},
		{"RSA-SHA512 of an RSA consumer", oauth1.Signer{ConsumerKey: "rsa", PrivateKey: private, SignatureMethod: "RSA-SHA512"}, 200},
		{"HMAC with the PEM of an RSA consumer", oauth1.Signer{ConsumerKey: "rsa", ConsumerSecret: public, SignatureMethod: "HMAC-SHA256"}, 401},
		{"HMAC with the DER of an RSA consumer", oauth1.Signer{ConsumerKey: "rsa", ConsumerSecret: string(der), SignatureMethod: "HMAC-SHA256"}, 401},
		{"HMAC with the empty secret of an RSA consumer", oauth1.Signer{ConsumerKey: "rsa", SignatureMethod: "HMAC-SHA256"}, 401},
		{"PLAINTEXT with the empty secret of an RSA consumer", oauth1.Signer{ConsumerKey: "rsa", SignatureMethod: "PLAINTEXT"}, 401},
		{"RSA of a consumer with a secret beside its key", oauth1.Signer{ConsumerKey: "both", PrivateKey: private, SignatureMethod: "RSA-SHA256"}, 200},
		{"HMAC with a secret beside an RSA key", oauth1.Signer{ConsumerKey: "both", ConsumerSecret: "s", SignatureMethod: "HMAC-SHA256"}, 401},
		{"HMAC with an old secret beside an RSA key", oauth1.Signer{ConsumerKey: "both", ConsumerSecret: "old", SignatureMethod: "HMAC-SHA256"}, 401},
		{"RSA of an HMAC consumer", oauth1.Signer{ConsumerKey: "hmac", PrivateKey: private, SignatureMethod: "RSA-SHA256"}, 401},
		{"HMAC-SHA1 of an HMAC consumer", oauth1.Signer{ConsumerKey: "hmac", ConsumerSecret: "s", SignatureMethod: "HMAC-SHA1"}, 200},
		{"HMAC-SHA512 of an HMAC consumer", oauth1.Signer{ConsumerKey: "hmac", ConsumerSecret: "s", SignatureMethod: "HMAC-SHA512"}, 200},
		{"PLAINTEXT of an HMAC consumer", oauth1.Signer{ConsumerKey: "hmac", ConsumerSecret: "s", SignatureMethod: "PLAINTEXT"}, 200},
		{"a method that the consumer has", oauth1.Signer{ConsumerKey: "narrow", ConsumerSecret: "s", SignatureMethod: "HMAC-SHA512"}, 200},
		{"a method that the consumer has not", oauth1.Signer{ConsumerKey: "narrow", ConsumerSecret: "s", SignatureMethod: "HMAC-SHA256"}, 401},
	} {
		t.Run(test.name, func(t *testing.T) {
			w, upstream := site.serve(site.sign(test.signer, "GET", "http://api.test/x?a=b", ""))
			if w.Code != test.status || (upstream != nil) != (test.status == 200) {
				t.Errorf("got %d %q", w.Code, w.Body)
			}
			if upstream != nil && upstream.Header.Get("X-OAuth-User") != "bot" {
				t.Errorf("user %q", upstream.Header.Get("X-OAuth-User"))
			}
		})
	}
}

func TestRotatedSecretOverlaps(t *testing.T) {
	site := newTestSite(t, "", "")
	err := site.store().CreateConsumer(t.Context(), &tokenstore.Consumer{
		Key: "c", Secret: "new", PreviousSecret: "old", PreviousSecretExpires: site.clock.Add(time.Hour),
		TwoLegged: &tokenstore.TwoLegged{User: "bot", Permission: "READ_PUBLIC"},
	})
	if err != nil {
		t.Fatal(err)
	}
	status := func(secret string) int {
		w, _ := site.serve(site.sign(oauth1.Signer{ConsumerKey: "c", ConsumerSecret: secret, SignatureMethod: "HMAC-SHA256"}, "GET", "http://api.test/", ""))
		return w.Code
	}
	if got := [3]int{status("new"), status("old"), status("older")}; got != [3]int{200, 200, 401} {
		t.Errorf("during the overlap: %v", got)
	}
	site.clock = site.clock.Add(time.Hour)
	if got := [2]int{status("new"), status("old")}; got != [2]int{200, 401} {
		t.Errorf("after the overlap: %v", got)
	}
}

// TestNonces: which requests store their nonce.
func TestNonces(t *testing.T) {
	site := newTestSite(t, demoConsumer, "insecure_plaintext_over_http")
	token := site.grant("demo", "alice", "WRITE_PRIVATE")
	signer := oauth1.Signer{ConsumerKey: "demo", ConsumerSecret: "demo-secret", Token: token.Key, TokenSecret: token.Secret, SignatureMethod: "HMAC-SHA256", Nonce: "n"}

	bad := signer
	bad.TokenSecret = "guess"
	if w, _ := site.serve(site.sign(bad, "GET", "http://api.test/", "")); w.Code != 401 {
		t.Fatalf("bad signature: %d", w.Code)
	}
	if w, _ := site.serve(site.sign(signer, "GET", "http://api.test/", "")); w.Code != 200 {
		t.Errorf("a bad signature stored the nonce: %d %s", w.Code, w.Body)
	}
	if w, _ := site.serve(site.sign(signer, "GET", "http://api.test/other", "")); w.Code != 401 {
		t.Errorf("the nonce serves again for another request: %d", w.Code)
	}
	later := signer
	later.Timestamp = site.clock.Unix() + 1
	if w, _ := site.serve(site.sign(later, "GET", "http://api.test/", "")); w.Code != 200 {
		t.Errorf("the nonce is not free at another timestamp: %d %s", w.Code, w.Body)
	}
	for _, edge := range []int64{-300, 300} {
		at := signer
		at.Timestamp, at.Nonce = site.clock.Unix()+edge, fmt.Sprint("edge", edge)
		if w, _ := site.serve(site.sign(at, "GET", "http://api.test/", "")); w.Code != 200 {
			t.Errorf("timestamp at the edge %d is refused: %d %s", edge, w.Code, w.Body)
		}
		if w, _ := site.serve(site.sign(at, "GET", "http://api.test/", "")); w.Code != 401 {
			t.Errorf("timestamp at the edge %d is replayed: %d", edge, w.Code)
		}
	}
	plaintext := signer
	plaintext.SignatureMethod, plaintext.Nonce = "PLAINTEXT", "p"
	if w, _ := site.serve(site.sign(plaintext, "GET", "http://api.test/", "")); w.Code != 200 {
		t.Errorf("PLAINTEXT: %d %s", w.Code, w.Body)
	}
	if w, _ := site.serve(site.sign(plaintext, "GET", "http://api.test/", "")); w.Code != 401 {
		t.Errorf("PLAINTEXT with a nonce is replayed: %d", w.Code)
	}
	for range 2 {
		if w, _ := site.serve(plain("/", "demo", "demo-secret", token.Key, token.Secret)); w.Code != 200 {
			t.Errorf("PLAINTEXT without nonce and timestamp: %d %s", w.Code, w.Body)
		}
	}
}

// TestForms: a form is part of the signature, and reaches the upstream byte for byte.
func TestForms(t *testing.T) {
	site := newTestSite(t, demoConsumer, "max_form_body 1KiB")
	token := site.grant("demo", "alice", "WRITE_PRIVATE")
	signer := oauth1.Signer{ConsumerKey: "demo", ConsumerSecret: "demo-secret", Token: token.Key, TokenSecret: token.Secret, SignatureMethod: "HMAC-SHA1"}
	const form = "a=b+c&d=%7E&&e"

	t.Run("a form is signed and handed on", func(t *testing.T) {
		w, upstream := site.serve(site.sign(signer, "POST", "http://api.test/x", form))
		if upstream == nil {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		if body, _ := io.ReadAll(upstream.Body); string(body) != form {
			t.Errorf("body %q", body)
		}
	})
	t.Run("a changed form is refused", func(t *testing.T) {
		r := site.sign(signer, "POST", "http://api.test/x", form)
		setBody(r, strings.Replace(form, "b", "B", 1))
		if w, _ := site.serve(r); w.Code != 401 {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
	t.Run("a POST without Content-Type is a form where the OAuth parameters are in it", func(t *testing.T) {
		body := "a=b&oauth_consumer_key=demo&oauth_signature_method=PLAINTEXT&oauth_signature=demo-secret%26" + token.Secret + "&oauth_token=" + token.Key
		r := httptest.NewRequest("POST", "http://api.test/x", strings.NewReader(body))
		if w, upstream := site.serve(r); upstream != nil || !strings.Contains(w.Body.String(), "PLAINTEXT is accepted over HTTPS only") {
			t.Errorf("the parameters were not found: %d %s", w.Code, w.Body)
		}
	})
	t.Run("a POST without Content-Type is streamed where they are elsewhere", func(t *testing.T) {
		r := site.sign(signer, "POST", "http://api.test/x", "")
		body := `{"a":"%zz"}` + strings.Repeat(" ", 4096) // max_form_body does not limit it
		setBody(r, body)
		w, upstream := site.serve(r)
		if upstream == nil {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		if got, _ := io.ReadAll(upstream.Body); string(got) != body {
			t.Errorf("body of %d bytes", len(got))
		}
	})
	t.Run("a body that nobody signed reaches those who let it in", func(t *testing.T) {
		open := newTestSite(t, "", "max_form_body 1KiB\npolicy {\n anonymous\n}")
		for _, body := range []string{"a=b", "%", strings.Repeat("x", 4096)} {
			r := httptest.NewRequest("POST", "http://api.test/x", io.NopCloser(strings.NewReader(body)))
			w, upstream := open.serve(r)
			if upstream == nil {
				t.Fatalf("%d bytes: %d %s", len(body), w.Code, w.Body)
			}
			if got, _ := io.ReadAll(upstream.Body); string(got) != body {
				t.Errorf("body of %d bytes instead of %d", len(got), len(body))
			}
		}
	})
	for _, test := range []struct {
		name, sent, rewritten, form, body string
	}{
		{"a POST without Content-Type is no form, even if its method is rewritten", "POST", "PUT", "", form},
		{"a PUT without Content-Type is no form, even if it is rewritten to POST", "PUT", "POST", "", form},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := site.sign(signer, test.sent, "http://api.test/x", test.form)
			r.Header.Del("Content-Type")
			setBody(r, test.body)
			w := httptest.NewRecorder()
			var got []byte
			site.inRequest(r, func(r *http.Request, _ *caddy.Replacer) {
				r.Method = test.rewritten
				err := site.handler.ServeHTTP(w, r, caddyhttp.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) (err error) {
					got, err = io.ReadAll(r.Body)
					return err
				}))
				if err != nil {
					t.Fatal(err)
				}
			})
			if w.Code != 200 || string(got) != test.body {
				t.Errorf("%d %s, body %q", w.Code, w.Body, got)
			}
		})
	}
	for _, test := range []struct {
		name, signed string
		encodings    []string
		status       int
	}{
		{"an encoding that changes nothing leaves a form one", form, []string{"Identity"}, 200},
		{"a compressed form would hide from the signature", "", []string{"gzip"}, 400},
		{"also where that is said in a second line", "", []string{"identity", "gzip"}, 400},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := site.sign(signer, "POST", "http://api.test/x", test.signed)
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.Header["Content-Encoding"] = test.encodings
			setBody(r, form)
			if w, upstream := site.serve(r); w.Code != test.status || (upstream != nil) != (test.status == 200) {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
	}
	for name, test := range map[string]struct {
		header, value string
		status        int
	}{
		"two types in one":         {"Content-Type", "application/x-www-form-urlencoded, x", 400},
		"a word":                   {"Content-Type", "form", 400},
		"no subtype":               {"Content-Type", "text/", 400},
		"a blank":                  {"Content-Type", " ", 200},
		"a type with parameters":   {"Content-Type", `multipart/form-data; boundary="a/b"`, 200},
		"an encoding to be lost":   {"Connection", "Content-Encoding", 400},
		"a type to be lost":        {"Connection", "keep-alive, content-type", 400},
		"a header of the site's":   {"Connection", "X-Tenant", 400},
		"hop-by-hop options":       {"Connection", "TE, close,, Keep-Alive, Upgrade, HTTP2-Settings", 200},
		"an encoded body, no form": {"Content-Encoding", "gzip", 200},
	} {
		t.Run("framing: "+name, func(t *testing.T) {
			r := site.sign(signer, "POST", "http://api.test/x", "")
			r.Header.Set(test.header, test.value)
			setBody(r, "a=b")
			if w, upstream := site.serve(r); w.Code != test.status || (upstream != nil) != (test.status == 200) {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
	}
	t.Run("a charset does not matter", func(t *testing.T) {
		r := site.sign(signer, "POST", "http://api.test/x", form)
		r.Header.Set("Content-Type", "Application/X-WWW-Form-Urlencoded; charset=utf-8")
		if w, upstream := site.serve(r); upstream == nil {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
	t.Run("another body is no part of the signature", func(t *testing.T) {
		r := site.sign(signer, "POST", "http://api.test/x", "")
		setBody(r, `{"a":1}`)
		r.Header.Set("Content-Type", "application/json")
		w, upstream := site.serve(r)
		if upstream == nil {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		if body, _ := io.ReadAll(upstream.Body); string(body) != `{"a":1}` {
			t.Errorf("body %q", body)
		}
	})
	t.Run("parameters in the form", func(t *testing.T) {
		r := httptest.NewRequest("POST", "http://api.test/x", strings.NewReader("a=b&oauth_consumer_key=demo&oauth_token="+token.Key))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if w, _ := site.serve(r); w.Code != 400 { // the parameters are found, and are incomplete
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
	for name, length := range map[string]int64{"with a length": 2048, "without a length": -1} {
		t.Run("too large a form is 413, "+name, func(t *testing.T) {
			r := site.sign(signer, "POST", "http://api.test/x", "a="+strings.Repeat("b", 2046))
			r.ContentLength = length
			if w, _ := site.serve(r); w.Code != 413 {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
	}
}

func TestBodyHash(t *testing.T) {
	site := newTestSite(t, demoConsumer, "require_body_hash")
	token := site.grant("demo", "alice", "WRITE_PRIVATE")
	const body = `{"a":1}`
	send := func(hash string) (*httptest.ResponseRecorder, *upstreamRequest) {
		signer := oauth1.Signer{ConsumerKey: "demo", ConsumerSecret: "demo-secret", Token: token.Key, TokenSecret: token.Secret, SignatureMethod: "HMAC-SHA256", BodyHash: hash}
		r := site.sign(signer, "PUT", "http://api.test/x", "")
		setBody(r, body)
		r.Header.Set("Content-Type", "application/json")
		return site.serve(r)
	}
	w, upstream := send(oauth1.BodyHash("HMAC-SHA256", []byte(body)))
	if upstream == nil {
		t.Fatalf("the right hash: %d %s", w.Code, w.Body)
	}
	if got, _ := io.ReadAll(upstream.Body); string(got) != body {
		t.Errorf("body %q", got)
	}
	t.Run("a request without a body needs none", func(t *testing.T) {
		signer := oauth1.Signer{ConsumerKey: "demo", ConsumerSecret: "demo-secret", Token: token.Key, TokenSecret: token.Secret}
		r := site.sign(signer, "GET", "http://api.test/x", "")
		setBody(r, "") // not http.NoBody, as behind Caddy's server
		r.Header.Set("Content-Type", "application/     json")
		if w, upstream := site.serve(r); upstream == nil {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
	if w, _ := send(oauth1.BodyHash("HMAC-SHA256", []byte("other"))); w.Code != 401 {
		t.Errorf("a wrong hash: %d %s", w.Code, w.Body)
	}
	if w, _ := send(oauth1.BodyHash("HMAC-SHA1", []byte(body))); w.Code != 401 {
		t.Errorf("the hash of another method: %d %s", w.Code, w.Body)
	}
	t.Run("a form with a hash is signed as parameters or not", func(t *testing.T) {
		const form = "a=b&c=d"
		for _, covered := range []string{"", form} {
			signer := oauth1.Signer{ConsumerKey: "demo", ConsumerSecret: "demo-secret", Token: token.Key, TokenSecret: token.Secret, SignatureMethod: "HMAC-SHA256", BodyHash: oauth1.BodyHash("HMAC-SHA256", []byte(form))}
			for _, changed := range []string{"", "&e=f"} {
				r := site.sign(signer, "POST", "http://api.test/x", covered)
				r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				setBody(r, form+changed)
				if w, upstream := site.serve(r); (upstream != nil) != (changed == "") {
					t.Errorf("covered %q, changed %q: %d %s", covered, changed, w.Code, w.Body)
				}
			}
		}
	})
	if w, _ := send(""); w.Code != 400 {
		t.Errorf("no hash where one is required: %d %s", w.Code, w.Body)
	}
}

// TestAnonymous: Launchpad's anonymous request, and the policy that allows it.
func TestAnonymous(t *testing.T) {
	for _, test := range []struct {
		name, directive string
		r               func(*testSite) *http.Request
		status          int
	}{
		{"unsigned, with a policy", "policy {\n anonymous\n}", func(*testSite) *http.Request {
			return httptest.NewRequest("GET", "http://api.test/", nil)
		}, 200},
		{"empty token of an unknown consumer, with a policy", "policy {\n anonymous\n}\ninsecure_plaintext_over_http", func(*testSite) *http.Request {
			r := httptest.NewRequest("GET", "http://api.test/", nil)
			r.Header.Set("Authorization", `OAuth realm="x", oauth_consumer_key="just looking", oauth_token="", oauth_signature_method="PLAINTEXT", oauth_signature="%26", oauth_timestamp="1", oauth_version="1.0"`)
			return r
		}, 200},
		{"empty token of an unknown consumer, without one", "insecure_plaintext_over_http", func(*testSite) *http.Request {
			r := httptest.NewRequest("GET", "http://api.test/", nil)
			r.Header.Set("Authorization", `OAuth oauth_consumer_key="just looking", oauth_token="", oauth_signature_method="PLAINTEXT", oauth_signature="%26"`)
			return r
		}, 401},
		{"empty token with an unknown secret", "policy {\n anonymous\n}\ninsecure_plaintext_over_http", func(*testSite) *http.Request {
			r := httptest.NewRequest("GET", "http://api.test/", nil)
			r.Header.Set("Authorization", `OAuth oauth_consumer_key="just looking", oauth_token="", oauth_signature_method="PLAINTEXT", oauth_signature="s%26"`)
			return r
		}, 401},
		{"empty token of a known consumer without its secret", "policy {\n anonymous\n}\ninsecure_plaintext_over_http", func(*testSite) *http.Request {
			r := httptest.NewRequest("GET", "http://api.test/", nil)
			r.Header.Set("Authorization", `OAuth oauth_consumer_key="demo", oauth_token="", oauth_signature_method="PLAINTEXT", oauth_signature="%26"`)
			return r
		}, 401},
		{"a bad signature is refused even if no signature is needed", "policy {\n anonymous\n}", func(s *testSite) *http.Request {
			return s.sign(oauth1.Signer{ConsumerKey: "demo", ConsumerSecret: "guess", SignatureMethod: "HMAC-SHA1"}, "GET", "http://api.test/", "")
		}, 401},
	} {
		t.Run(test.name, func(t *testing.T) {
			site := newTestSite(t, demoConsumer, test.directive)
			r := test.r(site)
			r.Header.Set("X-OAuth-User", "root")
			r.Header.Set("Test-User", "somebody")
			w, upstream := site.serve(r)
			if w.Code != test.status || (upstream != nil) != (test.status == 200) {
				t.Fatalf("got %d %q", w.Code, w.Body)
			}
			if upstream == nil {
				return
			}
			if got := upstream.Header.Values("X-OAuth-User"); got != nil {
				t.Errorf("X-OAuth-User: %q", got)
			}
			if user, known := upstream.placeholders.Get("http.auth.user.id"); !known || user != "" {
				t.Errorf("placeholder %v, %v; want an empty one", user, known)
			}
		})
	}
}

// unreachable is a store that answers nothing.
type unreachable struct{ tokenstore.Store }

func (unreachable) Consumer(context.Context, string) (*tokenstore.Consumer, error) {
	return nil, tokenstore.ErrClosed
}

// TestAnonymousNeedsTheStore: only the store can tell whether the consumer has a secret.
func TestAnonymousNeedsTheStore(t *testing.T) {
	site := newTestSite(t, "", "policy {\n anonymous\n}\ninsecure_plaintext_over_http")
	site.app.store = unreachable{site.app.store}
	r := httptest.NewRequest("GET", "http://api.test/", nil)
	r.Header.Set("Authorization", `OAuth oauth_consumer_key="just looking", oauth_token="", oauth_signature_method="PLAINTEXT", oauth_signature="%26"`)
	if w, upstream := site.serve(r); w.Code != 503 || upstream != nil {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// TestBodyThatIsNoForm: a POST without a Content-Type may have any body, also one that is not a
// form.
func TestBodyThatIsNoForm(t *testing.T) {
	site := newTestSite(t, demoConsumer, "")
	token := site.grant("demo", "alice", "WRITE_PRIVATE")
	signer := oauth1.Signer{ConsumerKey: "demo", ConsumerSecret: "demo-secret", Token: token.Key, TokenSecret: token.Secret, SignatureMethod: "HMAC-SHA256"}
	const body = "100% \x00\xff %zz"
	r := site.sign(signer, "POST", "http://api.test/x", "")
	r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
	w, upstream := site.serve(r)
	if upstream == nil {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if got, _ := io.ReadAll(upstream.Body); string(got) != body {
		t.Errorf("body %q", got)
	}
	r = site.sign(signer, "POST", "http://api.test/x", "")
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	setBody(r, body)
	if w, _ := site.serve(r); w.Code != 400 {
		t.Errorf("a form that is none: %d %s", w.Code, w.Body)
	}
}

// TestLongKeys: a key that is too long for a store is unknown, and is not an error of the store.
func TestLongKeys(t *testing.T) {
	site := newTestSite(t, demoConsumer, "insecure_plaintext_over_http")
	long := strings.Repeat("k", 1<<17)
	for _, test := range []struct {
		r    *http.Request
		text string
	}{
		{plain("/x", long, "", "", ""), "Unknown consumer (" + long[:255] + "...)."},
		{plain("/x", "demo", "demo-secret", long, ""), "Unknown access token (" + long[:255] + "...)."},
		{plain("/+request-token", long, "", "", ""), "Unknown consumer."},
		{plain("/+access-token", "demo", "demo-secret", long, ""), "The request token is unknown, or was used already."},
	} {
		if w, _ := site.serve(test.r); w.Code != 401 || w.Body.String() != test.text {
			t.Errorf("%s: %d %.300s", test.r.URL.Path, w.Code, w.Body)
		}
	}
}

// TestLaunchpadlibReadsText: launchpadlib asks for JSON, but renews its credentials only if the
// body begins with the plain words.
func TestLaunchpadlibReadsText(t *testing.T) {
	site := newTestSite(t, demoConsumer, "")
	for agent, want := range map[string]string{
		"launchpadlib 1.11.0; lazr.restfulclient 0.14.5; application=\"x\"": "Unknown access token (gone).",
		"curl/8.0": `{"error":"Unknown access token (gone).","oauth_problem":"token_rejected"}`,
	} {
		r := site.sign(oauth1.Signer{ConsumerKey: "demo", ConsumerSecret: "demo-secret", Token: "gone", SignatureMethod: "HMAC-SHA1"}, "GET", "http://api.test/x", "")
		r.Header.Set("Accept", "application/json")
		r.Header.Set("User-Agent", agent)
		if w, _ := site.serve(r); w.Body.String() != want {
			t.Errorf("%s: %s", agent, w.Body)
		}
	}
}

// rememberAtMost limits the number of nonces that the store keeps for a consumer.
func (s *testSite) rememberAtMost(nonces int) {
	s.t.Helper()
	store, err := badgerstore.Open(badgerstore.Options{Path: s.t.TempDir(), MaxNonces: nonces})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if err := store.Close(); err != nil {
			s.t.Error(err)
		}
	})
	before := s.app.store
	s.app.store = store
	s.t.Cleanup(func() { s.app.store = before })
}

// TestFullReplayMemory: a request is refused if its nonce can't be stored. A token is refused as
// soon as it has as many nonces as are free for its consumer. Other consumers are not affected.
func TestFullReplayMemory(t *testing.T) {
	site := newTestSite(t, demoConsumer+"\nconsumer other {\n secret s\n two_legged robot READ_PUBLIC\n}", "")
	site.rememberAtMost(4)
	token := site.grant("demo", "alice", "WRITE_PRIVATE")
	signer := oauth1.Signer{ConsumerKey: "demo", ConsumerSecret: "demo-secret", Token: token.Key, TokenSecret: token.Secret, SignatureMethod: "HMAC-SHA256"}
	first := site.sign(signer, "GET", "http://api.test/x", "")
	if w, _ := site.serve(first.Clone(t.Context())); w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	full := func(signer oauth1.Signer, text string) {
		t.Helper()
		w, upstream := site.serve(site.sign(signer, "GET", "http://api.test/x", ""))
		if w.Code != 503 || upstream != nil || w.Header().Get("Retry-After") == "" || w.Body.String() != text {
			t.Errorf("full: %d %s", w.Code, w.Body)
		}
	}
	pass := func(signer oauth1.Signer) {
		t.Helper()
		if w, _ := site.serve(site.sign(signer, "GET", "http://api.test/x", "")); w.Code != 200 {
			t.Errorf("with room: %d %s", w.Code, w.Body)
		}
	}
	pass(signer)
	for range 3 {
		full(signer, refusal.TokenNonces.Text)
	}
	another := site.grant("demo", "bob", "WRITE_PRIVATE")
	second := signer
	second.Token, second.TokenSecret = another.Key, another.Secret
	pass(second)
	full(second, refusal.TokenNonces.Text)
	if w, upstream := site.serve(first); w.Code != 401 || upstream != nil {
		t.Errorf("full, and a replay: %d %s", w.Code, w.Body)
	}
	other := oauth1.Signer{ConsumerKey: "other", ConsumerSecret: "s", SignatureMethod: "HMAC-SHA256"}
	for range 4 { // another consumer, which may use all of them without a token
		pass(other)
	}
	full(other, refusal.NoncesFull.Text)
}

// TestEndpointsDoNotFillTheReplayMemory: a client with a consumer's secret but no grant can't lock
// out the consumer's users. It may ask for tokens, exchange an unreviewed token, or use unknown
// token keys.
func TestEndpointsDoNotFillTheReplayMemory(t *testing.T) {
	site := newTestSite(t, demoConsumer, "")
	const limit = 50
	site.rememberAtMost(limit)
	signer := oauth1.Signer{ConsumerKey: "demo", ConsumerSecret: "demo-secret", SignatureMethod: "HMAC-SHA256"}
	passed, waiting := 0, signer
	for i := range limit {
		invented := signer
		invented.Token = fmt.Sprint("invented", i)
		w, _ := site.serve(site.sign(invented, "POST", "http://api.test/+request-token", ""))
		switch {
		case w.Code == 200:
			passed++
			token, _ := url.ParseQuery(w.Body.String())
			waiting.Token, waiting.TokenSecret = token.Get("oauth_token"), token.Get("oauth_token_secret")
		case w.Code != 503 || w.Body.String() != refusal.EndpointNonces.Text || w.Header().Get("Retry-After") == "":
			t.Errorf("%d %s", w.Code, w.Body)
		}
	}
	if passed != limit/tokenstore.EndpointShare {
		t.Errorf("%d of %d requests for tokens passed", passed, limit)
	}
	if w, _ := site.serve(site.sign(waiting, "POST", "http://api.test/+access-token", "")); w.Code != 503 {
		t.Errorf("an exchange: %d %s", w.Code, w.Body)
	}
	for user := range limit / 2 {
		token := site.grant("demo", fmt.Sprint("user", user), "READ_PUBLIC")
		granted := signer
		granted.Token, granted.TokenSecret = token.Key, token.Secret
		if w, _ := site.serve(site.sign(granted, "GET", "http://api.test/x", "")); w.Code != 200 {
			t.Errorf("user %d: %d %s", user, w.Code, w.Body)
		}
	}
}

// expiries is a store that records the expiry of each nonce.
type expiries struct {
	tokenstore.Store
	noted []tokenstore.Nonce
}

func (s *expiries) UseNonce(_ context.Context, n tokenstore.Nonce) error {
	s.noted = append(s.noted, n)
	return nil
}

// TestNonceIsRememberedAsLongAsItsTimestampPasses: exactly to the second, for every timestamp.
func TestNonceIsRememberedAsLongAsItsTimestampPasses(t *testing.T) {
	site := newTestSite(t, demoConsumer+"\ntimestamp_window 90s", "")
	token := site.grant("demo", "alice", "WRITE_PRIVATE")
	store := &expiries{Store: site.app.store}
	site.app.store = store
	t.Cleanup(func() { site.app.store = store.Store })
	now := site.clock
	for _, off := range []time.Duration{-90 * time.Second, 0, 90 * time.Second} {
		site.clock = now
		signer := oauth1.Signer{ConsumerKey: "demo", ConsumerSecret: "demo-secret", Token: token.Key, TokenSecret: token.Secret, SignatureMethod: "HMAC-SHA256",
			Timestamp: now.Add(off).Unix(), Nonce: "n"}
		req := site.sign(signer, "GET", "http://api.test/x", "")
		if w, _ := site.serve(req.Clone(t.Context())); w.Code != 200 {
			t.Fatalf("%v: %d %s", off, w.Code, w.Body)
		}
		expires := store.noted[len(store.noted)-1].Expires
		site.clock = expires.Add(-time.Nanosecond)
		if w, _ := site.serve(req.Clone(t.Context())); w.Code != 200 {
			t.Errorf("%v: the nonce is remembered when its timestamp passes no more: %d %s", off, w.Code, w.Body)
		}
		site.clock = expires
		if w, _ := site.serve(req.Clone(t.Context())); w.Code != 401 {
			t.Errorf("%v: the nonce is forgotten when its timestamp still passes: %d %s", off, w.Code, w.Body)
		}
	}
}

// TestClockJumps: no request passes twice when the server's clock jumps. Clients see a refusal of
// their timestamp in the meantime.
func TestClockJumps(t *testing.T) {
	for name, jumps := range map[string][]time.Duration{
		"forth":               {time.Hour},
		"back":                {-time.Hour},
		"forth and back":      {time.Hour, -time.Hour},
		"back and forth":      {-time.Hour, time.Hour},
		"forth, twice back":   {time.Hour, -time.Hour, -time.Hour, time.Hour},
		"a little and back":   {time.Minute, -time.Minute},
		"beyond the window":   {301 * time.Second, -301 * time.Second},
		"to the window's end": {300 * time.Second, -300 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			site := newTestSite(t, demoConsumer, "")
			token := site.grant("demo", "alice", "WRITE_PRIVATE")
			signer := oauth1.Signer{ConsumerKey: "demo", ConsumerSecret: "demo-secret", Token: token.Key, TokenSecret: token.Secret, SignatureMethod: "HMAC-SHA256"}
			var accepted []*http.Request
			for _, jump := range append([]time.Duration{0}, jumps...) {
				site.clock = site.clock.Add(jump)
				for _, old := range accepted {
					if w, _ := site.serve(old.Clone(t.Context())); w.Code != 401 {
						t.Errorf("after a jump of %v a request passes again: %d", jump, w.Code)
					}
				}
				fresh := site.sign(signer, "GET", "http://api.test/x", "")
				switch w, _ := site.serve(fresh.Clone(t.Context())); w.Code {
				case 200:
					accepted = append(accepted, fresh)
				case 401: // forgotten times are refused until the clock has passed them
				default:
					t.Errorf("a fresh request after a jump of %v: %d %s", jump, w.Code, w.Body)
				}
			}
		})
	}
}
