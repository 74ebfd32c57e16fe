package caddymodule

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/adminapi"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/doctor"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/refusal"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// guessed are secrets that somebody tries: some of them are the consumer's, the token's and so on.
var guessed = []string{
	"sandbox", "73912345", "qZ3/kP9+xW==", "deadbeef", "c2VjcmV0", "a%41b&c", "tok", "line end\n", "",
}

// secretsOf are all secrets that belong to a request.
type secretsOf struct{ consumer, token, requestToken, previous, former string }

// TestAnswersDoNotDependOnSecrets: a client that signs wrongly gets the same answer, byte for byte, whatever
// the secrets are, and whether they are among what it sent. So does a caller of /oauth1/explain.
func TestAnswersDoNotDependOnSecrets(t *testing.T) {
	all := []secretsOf{
		{"one", "two", "three", "four", "five"},
		{"sandbox", "sandbox", "sandbox", "sandbox", "sandbox"},
	}
	for i := range guessed {
		at := func(n int) string { return guessed[(i+n)%len(guessed)] }
		all = append(all, secretsOf{at(0), at(1), at(2), at(3), at(4)})
	}
	begun := time.Now()
	var first []string
	for _, secrets := range all {
		got := answersWith(t, begun, secrets)
		if first == nil {
			first = got
		}
		for i := range got {
			if got[i] != first[i] {
				t.Fatalf("with %+v:\n%s\nwith %+v:\n%s", secrets, got[i], all[0], first[i])
			}
		}
	}
	for _, guess := range guessed {
		if !strings.Contains(first[0], oauth1.Encode(oauth1.Encode(guess))) {
			t.Errorf("the client does not get %q back: %s", guess, first[0])
		}
	}
}

// answersWith sends wrongly signed requests to a site with a consumer, sandbox-2, that has the secrets.
func answersWith(t *testing.T, now time.Time, secrets secretsOf) (answers []string) {
	t.Helper()
	s := newTestSite(t, "diagnoses 1000 1000", "explain_refusals\ninsecure_plaintext_over_http")
	s.clock = now
	consumer := &tokenstore.Consumer{Key: "sandbox-2", Secret: secrets.consumer, PreviousSecret: secrets.previous,
		PreviousSecretExpires: now.Add(time.Hour)}
	if err := s.store().CreateConsumer(t.Context(), consumer); err != nil {
		t.Fatal(err)
	}
	token := &tokenstore.AccessToken{Key: "tok", Secret: secrets.token, Consumer: "sandbox-2", User: "alice",
		Permission: "READ_PUBLIC", Created: now}
	if err := s.store().CreateAccessToken(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	s.app.diagnoser.past.exchanged("tok", secrets.requestToken)
	if secrets.former != "" {
		s.app.diagnoser.past.replaced.set("sandbox-2", formerKeys{secret: secrets.former})
	}
	form := url.Values{"guesses": guessed, "all": {strings.Join(guessed, "x")}, "sandbox": {"tok"}}.Encode()
	query := "?sandbox=" + strings.Repeat("73912344", 300)
	for _, signer := range []oauth1.Signer{
		{SignatureMethod: "HMAC-SHA1", Token: "tok"}, {SignatureMethod: "HMAC-SHA256"}, {SignatureMethod: "PLAINTEXT"},
		{SignatureMethod: "HMAC-SHA1", Token: "nothing"},
	} {
		signer.ConsumerKey, signer.ConsumerSecret, signer.TokenSecret = "sandbox-2", "wrong", "and wrong"
		signer.Nonce = "once"
		for _, accept := range []string{"", "application/json"} {
			for _, target := range []string{"http://api.test/sandbox/items/73912345" + query, "http://sandbox.api.test/x"} {
				r := s.sign(signer, "POST", target, form)
				r.Header.Set("Accept", accept)
				w, upstream := s.serve(r)
				if upstream != nil || w.Code != 401 {
					t.Fatalf("%d %s", w.Code, w.Body)
				}
				answers = append(answers, fmt.Sprint(w.Code, w.Header(), w.Body))
			}
		}
		body, err := json.Marshal(adminapi.SignedRequest{
			Method: "POST", URL: "http://api.test/sandbox" + query, Form: form, Consumer: "sandbox-2", Token: "tok",
			Authorization: s.sign(signer, "POST", "http://api.test/sandbox"+query, form).Header.Get("Authorization"),
		})
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest("POST", adminapi.ExplainPath, strings.NewReader(string(body)))
		r.Header.Set("Content-Type", "application/json")
		_, answer, err := (&adminCall{Request: r, app: s.app, store: s.store()}).explainRequest()
		answers = append(answers, fmt.Sprintf("%+v %v", answer, err))
	}
	return answers
}

// answerWriter calls seen when the answer is written.
type answerWriter struct {
	*httptest.ResponseRecorder
	seen func()
}

func (w answerWriter) Write(text []byte) (int, error) {
	w.seen()
	return w.ResponseRecorder.Write(text)
}

// TestOperatorsAreToldAfterTheAnswer: looking for secrets takes longer where there is one, so nothing of it
// is done before the client has its answer.
func TestOperatorsAreToldAfterTheAnswer(t *testing.T) {
	s := newTestSite(t, "diagnoses 1000 1000\nconsumer told-later {\n secret s3cr3t\n}", "explain_refusals")
	since, answered := latestRefusal(), false
	w := answerWriter{httptest.NewRecorder(), func() {
		if answered = true; latestRefusal() != since {
			t.Error("the operator's view is made before the answer")
		}
	}}
	signer := oauth1.Signer{ConsumerKey: "told-later", ConsumerSecret: "wrong", SignatureMethod: "HMAC-SHA1"}
	s.inRequest(s.sign(signer, "GET", "http://api.test/x", ""), func(r *http.Request, _ *caddy.Replacer) {
		if err := s.handler.ServeHTTP(w, r, nil); err != nil {
			t.Error(err)
		}
	})
	if refusedOf(t, "told-later", since); !answered || !strings.Contains(w.Body.String(), "base string") {
		t.Errorf("%s", w.Body)
	}
}

// TestSecretsAreHiddenFromOperators: a secret that a client sends in its URL or its form is shown in no
// encoding: not of a refused request, in the diagnoses and in the log, nor of one that passed.
func TestSecretsAreHiddenFromOperators(t *testing.T) {
	const secret = "qZ3/kP9+xW=="
	s, logs := newLoggedTestSite(t, "diagnoses 1000 1000", "paths as_sent")
	consumer := &tokenstore.Consumer{Key: "careless-2", Secret: secret,
		TwoLegged: &tokenstore.TwoLegged{User: "robot", Permission: "READ_PUBLIC"}}
	if err := s.store().CreateConsumer(t.Context(), consumer); err != nil {
		t.Fatal(err)
	}
	passes := func() []adminapi.Pass {
		t.Helper()
		r := httptest.NewRequest("GET", "/oauth1/passes?consumer=careless-2", nil)
		call := &adminCall{Request: r, app: s.app, store: s.store()}
		_, answer, err := call.listPasses()
		if err != nil {
			t.Fatal(err)
		}
		return answer.(adminapi.Passes).Items
	}
	passes() // watches from now on
	thrice := url.QueryEscape(url.QueryEscape(url.QueryEscape(secret)))
	for _, sent := range []string{
		secret, "qZ3/kP9%2BxW%3D%3D", "qZ3%2FkP9%2BxW%3D%3D", "qZ3%2fkP9%2bxW%3d%3d", "qZ3/kP9+xW%3D=", "qZ3/kP9%20xW==",
		"%71Z3/kP9%2bxW==", thrice, strings.ReplaceAll(thrice, "%2525", "%25%32%35"),
	} {
		for _, target := range []string{
			"/x?client_secret=" + sent, "/x?a=1&x%5By%5D=before" + sent + "after&b=2", "/x/" + sent + "/y?a=1",
		} {
			for _, wrong := range []string{"", "wrong"} {
				signer := oauth1.Signer{
					ConsumerKey: "careless-2", ConsumerSecret: secret + wrong, SignatureMethod: "HMAC-SHA1",
				}
				since, before := latestRefusal(), len(passes())
				_, upstream := s.serve(s.sign(signer, "GET", "http://api.test"+target, ""))
				var shown any
				if wrong == "" {
					list := passes()
					if upstream == nil || len(list) != min(before+1, mostPasses) {
						t.Fatalf("%s: does not pass", target)
					}
					shown = list[len(list)-1]
				} else {
					shown = refusedOf(t, "careless-2", since)
				}
				text := fmt.Sprintf("%+v", shown)
				if readable(text, secret) {
					t.Errorf("%s: shows %s", target, text)
				}
				if !strings.Contains(text, "***") || !strings.Contains(text, "http://api.test/") {
					t.Errorf("%s: shows too little: %s", target, text)
				}
			}
		}
	}
	told := 0
	for _, entry := range logs.All() {
		text := fmt.Sprint(entry.ContextMap())
		if readable(text, secret) {
			t.Errorf("in the log: %s", text)
		}
		if strings.Contains(text, "***") {
			told++
		}
	}
	if told == 0 {
		t.Error("nothing is logged, so this shows nothing")
	}
}

// TestHalfASecretIsNotShown: of a long text only a part is looked at and shown. It ends before the secret
// on its border, also where what stood before is hidden and short.
func TestHalfASecretIsNotShown(t *testing.T) {
	t.Parallel()
	const secret = "canary7f3e"
	keys := doctor.Keys{ConsumerSecret: secret}
	s := &signed{request: oauth1.Request{Method: "POST", Scheme: "http", Host: "h"}}
	for at := range 40 {
		padding := secret + strings.Repeat("x", 8*mostShownURL-len("http://h/?a=&b=")-len(secret)-at)
		shown := shownURL(keys.Hider(), "http://h/?a="+padding+"&b="+secret+"&c=d")
		if strings.Contains(shown, secret[:4]) || !strings.Contains(shown, "a=***") {
			t.Errorf("%d: %.200s", at, shown)
		}
		padding = secret + strings.Repeat("x", 4*mostShownBaseString-len("POST&http%3A%2F%2Fh%2F&a%3D%26b%3D")-len(secret)-at)
		s.request.Path, s.request.Query = "/", "a="+padding+"&b="+secret+"&c=d"
		q := &refusedRequest{signed: s, problem: refusal.InvalidSignature}
		shown = q.view(q.doctorCase(keys), nil).BaseString
		if strings.Contains(shown, secret[:4]) || !strings.Contains(shown, "a%3D***") {
			t.Errorf("%d: %.200s", at, shown)
		}
	}
}

// newLoggedTestSite makes a site whose app logs to the observer.
func newLoggedTestSite(t *testing.T, global, directive string) (*testSite, *observer.ObservedLogs) {
	t.Helper()
	s, err := provisionTestSite(t, global, directive)
	if err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zap.DebugLevel)
	s.app.logger = zap.New(core) // before anything reads it
	if err := s.app.Start(); err != nil {
		t.Fatal(err)
	}
	return s, logs
}

// readable reports whether somebody who decodes a text as they like finds a secret in it.
func readable(text, secret string) bool {
	for range 12 {
		for _, plus := range []string{text, strings.ReplaceAll(text, "+", " "), strings.ReplaceAll(text, " ", "+")} {
			if strings.Contains(plus, secret) {
				return true
			}
		}
		var b strings.Builder
		for len(text) > 0 {
			n := min(3, len(text))
			if c, err := url.PathUnescape(text[:n]); err == nil && n == 3 && text[0] == '%' {
				b.WriteString(c)
				text = text[3:]
				continue
			}
			b.WriteByte(text[0])
			text = text[1:]
		}
		text = b.String()
	}
	return false
}

// TestSecretsInOtherPlacesAreHiddenFromOperators: whichever part of a request has one, and whose ever it is.
// The client gets its own text back.
func TestSecretsInOtherPlacesAreHiddenFromOperators(t *testing.T) {
	const secret, tokenSecret, former, requestToken = "canary1111", "canary2222", "canary3333", "canary4444"
	s, logs := newLoggedTestSite(t, "diagnoses 1000 1000\nconsumer careless-3 {\n secret "+secret+"\n}",
		"explain_refusals")
	token := &tokenstore.AccessToken{Key: "tok-" + tokenSecret, Secret: tokenSecret, Consumer: "careless-3",
		User: "alice", Permission: "READ_PUBLIC", Created: s.clock}
	if err := s.store().CreateAccessToken(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	s.app.diagnoser.past.exchanged(token.Key, requestToken)
	s.app.diagnoser.past.replaced.set("careless-3", formerKeys{secret: former})
	secrets := []string{secret, tokenSecret, former, requestToken}
	for _, c := range []struct{ target, token string }{
		{"http://" + secret + ".test/x", token.Key},
		{"http://api.test/" + tokenSecret, token.Key},
		{"http://api.test/x?" + former + "=1", token.Key},
		{"http://api.test/x?a=" + requestToken + "&" + secret, token.Key},
		{"http://api.test/x?a=1", "none-" + secret},
		{"http://api.test/x?a=" + former, "none"},
	} {
		since := latestRefusal()
		signer := oauth1.Signer{ConsumerKey: "careless-3", Token: c.token, ConsumerSecret: "wrong",
			SignatureMethod: "HMAC-SHA1", Nonce: "n-" + secret}
		w, _ := s.serve(s.sign(signer, "GET", c.target, ""))
		if !strings.Contains(w.Body.String(), c.token) {
			t.Errorf("%+v: the client does not get its own text: %s", c, w.Body)
		}
		text := fmt.Sprintf("%+v", refusedOf(t, "careless-3", since))
		if slices.ContainsFunc(secrets, func(secret string) bool { return strings.Contains(text, secret) }) {
			t.Errorf("%+v: shows %s", c, text)
		}
	}
	for _, entry := range logs.All() {
		text := fmt.Sprint(entry.ContextMap())
		if slices.ContainsFunc(secrets, func(secret string) bool { return strings.Contains(text, secret) }) {
			t.Errorf("in the log: %s", text)
		}
	}
}
