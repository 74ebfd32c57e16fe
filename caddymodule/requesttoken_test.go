package caddymodule

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/refusal"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

const (
	tooManyOfConsumer = "Too many request tokens are waiting for this consumer. Try again later."
	tooManyInAll      = "Too many request tokens of all consumers are waiting. Try again later."
)

func wantAnswer(t *testing.T, what string, w *httptest.ResponseRecorder, status int, text string) {
	t.Helper()
	if w.Code != status || (text != "" && w.Body.String() != text) {
		t.Errorf("%s: got %d %q; want %d %q", what, w.Code, w.Body, status, text)
	}
	if w.Code == 503 && w.Header().Get("Retry-After") == "" {
		t.Errorf("%s: no Retry-After", what)
	}
}

func TestMaxRequestTokens(t *testing.T) {
	site := newTestSite(t, demoConsumer+"consumer other {\n secret s\n}\nconsumer third {\n secret s\n}\nmax_request_tokens 2 3", "insecure_plaintext_over_http")
	ask := func(consumer, secret string, more ...string) *httptest.ResponseRecorder {
		w, _ := site.serve(plain("/+request-token", consumer, secret, "", "", more...))
		return w
	}
	wantAnswer(t, "one", ask("demo", "demo-secret"), 200, "")
	wantAnswer(t, "two", ask("demo", "demo-secret"), 200, "")
	wantAnswer(t, "three", ask("demo", "demo-secret"), 503, tooManyOfConsumer)
	wantAnswer(t, "another's large one", ask("other", "s", "oauth_callback", "https://x.test/"+strings.Repeat("x", 900)), 503, tooManyInAll)
	wantAnswer(t, "another's", ask("other", "s"), 200, "")
	wantAnswer(t, "a third's", ask("third", "s"), 503, tooManyInAll)
	wantAnswer(t, "a bad signature", ask("third", "t"), 401, "Invalid OAuth signature.")
}

// TestRefusedRequestsLeaveNothing: if a request is refused for lack of room or for its callback,
// its nonce is not used, and its consumer is not registered. The same request may come again.
func TestRefusedRequestsLeaveNothing(t *testing.T) {
	site := newTestSite(t, demoConsumer+"registration open\nmax_request_tokens 1 1", "")
	signer := oauth1.Signer{ConsumerKey: "demo", ConsumerSecret: "demo-secret", SignatureMethod: "HMAC-SHA1"}
	stranger := oauth1.Signer{ConsumerKey: "stranger", SignatureMethod: "HMAC-SHA1"}
	send := func(s oauth1.Signer) func() *httptest.ResponseRecorder {
		r := site.sign(s, "POST", "http://api.test/+request-token", "")
		return func() *httptest.ResponseRecorder {
			w, _ := site.serve(r.Clone(t.Context()))
			return w
		}
	}
	bad := stranger
	bad.Callback = "javascript:alert(1)"
	withCallback := send(bad)
	for range 2 {
		wantAnswer(t, "a callback that is none", withCallback(), 400, "")
	}
	if _, err := site.store().Consumer(t.Context(), "stranger"); err != tokenstore.ErrNotFound {
		t.Errorf("a refused request registered a consumer: %v", err)
	}

	first := send(signer)
	wantAnswer(t, "the first", first(), 200, "")
	wantAnswer(t, "the first again", first(), 503, tooManyOfConsumer)
	second, unknown := send(signer), send(stranger)
	for range 2 {
		wantAnswer(t, "the second", second(), 503, tooManyOfConsumer)
		wantAnswer(t, "of an unknown consumer", unknown(), 503, tooManyInAll)
	}
	if _, err := site.store().Consumer(t.Context(), "stranger"); err != tokenstore.ErrNotFound {
		t.Errorf("a request without room registered a consumer: %v", err)
	}

	site.store().SetLimits(tokenstore.Limits{})
	wantAnswer(t, "the first, used", first(), 401, "This nonce has been used already.")
	wantAnswer(t, "the second, with room", second(), 200, "")
	wantAnswer(t, "the unknown consumer, with room", unknown(), 200, "")
	wantAnswer(t, "the unknown consumer again", unknown(), 401, "This nonce has been used already.")
	if k, err := site.store().Consumer(t.Context(), "stranger"); err != nil || !k.SelfRegistered {
		t.Errorf("registered: %+v, %v", k, err)
	}
}

// TestRefusedExchanges: a request for a token that can't be exchanged any more always gets the same
// answer, and its nonce is not stored. While the token can still be exchanged, the nonce is stored:
// otherwise somebody else could replay the request after the review.
func TestRefusedExchanges(t *testing.T) {
	site := newTestSite(t, demoConsumer, "")
	for i, test := range []struct {
		what     string
		lifetime time.Duration
		review   *tokenstore.Review
		status   int
		again    string
	}{
		{"not reviewed", time.Hour, nil, 401, "This nonce has been used already."},
		{"refused", time.Hour, &tokenstore.Review{User: "alice", Permission: tokenstore.Unauthorized}, 403, "End-user refused to authorize request token."},
		{"expired", -time.Second, &tokenstore.Review{User: "alice", Permission: "READ_PUBLIC"}, 403, "This request token has expired and can no longer be exchanged for an access token."},
	} {
		token := &tokenstore.RequestToken{Key: fmt.Sprint("r", i), Secret: "s", Consumer: "demo", Expires: site.clock.Add(test.lifetime), Review: test.review}
		if err := site.store().CreateRequestToken(t.Context(), token); err != nil {
			t.Fatal(err)
		}
		signer := oauth1.Signer{ConsumerKey: "demo", ConsumerSecret: "demo-secret", Token: token.Key, TokenSecret: "s", SignatureMethod: "HMAC-SHA1"}
		r := site.sign(signer, "POST", "http://api.test/+access-token", "")
		again := r.Clone(t.Context())
		w, _ := site.serve(r)
		wantAnswer(t, test.what, w, test.status, "")
		w, _ = site.serve(again)
		wantAnswer(t, test.what+", again", w, w.Code, test.again)
	}
}

// TestNobodyRegistersAnAddedConsumer: if an operator adds a consumer while a request registers it,
// the consumer has a secret, and the request gets no token.
func TestNobodyRegistersAnAddedConsumer(t *testing.T) {
	site := newTestSite(t, "registration open", "insecure_plaintext_over_http")
	c := &consumerRequest{store: site.store(), registers: true, consumer: &tokenstore.Consumer{Key: "k", SelfRegistered: true}}
	if err := site.store().CreateConsumer(t.Context(), &tokenstore.Consumer{Key: "k", Secret: "s"}); err != nil {
		t.Fatal(err)
	}
	token := &tokenstore.RequestToken{Key: "r", Consumer: "k", Expires: site.clock.Add(time.Hour)}
	if problem := storeRequestToken(t.Context(), c, token); problem != refusal.EndpointSignature {
		t.Errorf("got %+v", problem)
	}
	if _, err := site.store().RequestToken(t.Context(), "r"); err != tokenstore.ErrNotFound {
		t.Errorf("there is a request token (%v)", err)
	}
}

// TestDefaultCallbackIsConfirmed: the JSON answer is for clients that poll, and they get no
// verifier.
func TestDefaultCallbackIsConfirmed(t *testing.T) {
	site := newTestSite(t, "consumer app {\n secret s\n callbacks https://app.test/back\n default_callback\n}",
		"insecure_plaintext_over_http")
	r := plain("/+request-token", "app", "s", "", "")
	r.Header.Set("Accept", "application/json")
	if w, _ := site.serve(r); !strings.Contains(w.Body.String(), "oauth_callback_confirmed=true") {
		t.Errorf("%d %q", w.Code, w.Body)
	}
}
