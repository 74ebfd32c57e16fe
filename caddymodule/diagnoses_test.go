package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/adminapi"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/audit"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/doctor"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// refusedOf waits for the explanation of a consumer's refused request after a time.
func refusedOf(t *testing.T, consumer string, since time.Time) adminapi.Diagnosis {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if list := recentRefusals.list(consumer, since); len(list) > 0 {
			return list[0]
		}
	}
	t.Fatalf("no refused request of %q is explained", consumer)
	return adminapi.Diagnosis{}
}

// latestRefusal is the time of the latest explained request.
func latestRefusal() time.Time {
	recentRefusals.mu.Lock()
	defer recentRefusals.mu.Unlock()
	return recentRefusals.times.last
}

// TestRefusedRequestsAreExplained: what an operator reads of each kind of refused request.
func TestRefusedRequestsAreExplained(t *testing.T) {
	s := newTestSite(t, "diagnoses 1000 1000\nconsumer app {\n secret s3cr3t\n}\nconsumer other {\n secret o\n}", "insecure_plaintext_over_http\npolicy {\n deny\n}")
	token := s.grant("app", "alice", "READ_PUBLIC")
	foreign := s.grant("other", "bob", "READ_PUBLIC")
	revoked := s.grant("app", "carol", "READ_PUBLIC")
	s.app.diagnoser.past.ended.set(revoked.Key, ending{found: 4})
	if err := s.store().RevokeToken(t.Context(), revoked.Key); err != nil {
		t.Fatal(err)
	}
	expired := &tokenstore.AccessToken{Key: "expired", Secret: "e", Consumer: "app", User: "u", Permission: "READ_PUBLIC", Created: s.clock, Expires: s.clock.Add(-time.Minute)}
	if err := s.store().CreateAccessToken(t.Context(), expired); err != nil {
		t.Fatal(err)
	}
	waiting := &tokenstore.RequestToken{Key: "waiting", Secret: "w", Consumer: "app", Created: s.clock, Expires: s.clock.Add(time.Hour)}
	if err := s.store().CreateRequestToken(t.Context(), waiting); err != nil {
		t.Fatal(err)
	}
	good := oauth1.Signer{ConsumerKey: "app", ConsumerSecret: "s3cr3t", Token: token.Key, TokenSecret: token.Secret, SignatureMethod: "HMAC-SHA1"}
	with := func(change func(*oauth1.Signer)) oauth1.Signer {
		signer := good
		change(&signer)
		return signer
	}
	replayed := with(func(s *oauth1.Signer) { s.Nonce = "replayed" })
	begun := latestRefusal()
	s.serve(s.sign(replayed, "GET", "http://api.test/x", ""))
	refusedOf(t, "app", begun) // by the policy, after its nonce was used
	for _, c := range []struct {
		name     string
		signer   oauth1.Signer
		target   string
		form     string
		mistakes string
	}{
		{"a wrong secret", with(func(s *oauth1.Signer) { s.ConsumerSecret = "wrong" }), "/x", "", ""},
		{"no token secret", with(func(s *oauth1.Signer) { s.TokenSecret = "" }), "/x", "", "token-secret-left-out"},
		{"a clock an hour behind", with(func(s *oauth1.Signer) { s.Timestamp = time.Now().Unix() - 4000 }), "/x", "", "timestamp-off"},
		{"a used nonce", replayed, "/x", "", "nonce-sent-again"},
		{"a token of another consumer", with(func(s *oauth1.Signer) { s.Token = foreign.Key }), "/x", "", "key-of-another-consumer"},
		{"a request token", with(func(s *oauth1.Signer) { s.Token = "waiting" }), "/x", "", "key-is-request-token"},
		{"an expired token", with(func(s *oauth1.Signer) { s.Token = "expired" }), "/x", "", "key-is-expired"},
		{"a revoked token", with(func(s *oauth1.Signer) { s.Token = revoked.Key }), "/x", "", "key-is-revoked"},
		{"a consumer key as token", with(func(s *oauth1.Signer) { s.Token = "other" }), "/x", "", "key-is-consumer-key"},
		{"a token with a line end", with(func(s *oauth1.Signer) { s.Token += "\n" }), "/x", "", "key-with-blanks"},
		{"a consumer key in capitals", with(func(s *oauth1.Signer) { s.ConsumerKey = "APP" }), "/x", "", "key-in-other-case"},
		{"a token as consumer key", with(func(s *oauth1.Signer) { s.ConsumerKey = token.Key }), "/x", "", "key-is-token"},
		{"nothing that is known", with(func(s *oauth1.Signer) { s.ConsumerKey = "nobody" }), "/x", "", ""},
		{"a policy's refusal", good, "/x", "", ""},
		{"a form", with(func(s *oauth1.Signer) { s.TokenSecret = "" }), "/x", "password=hunter2&b=2", "token-secret-left-out"},
	} {
		t.Run(c.name, func(t *testing.T) {
			since := latestRefusal()
			method := "GET"
			if c.form != "" {
				method = "POST"
			}
			r := s.sign(c.signer, method, "http://api.test"+c.target, c.form)
			w, upstream := s.serve(r)
			if upstream != nil {
				t.Fatal("passed")
			}
			d := refusedOf(t, c.signer.ConsumerKey, since)
			if got := strings.Join(d.Mistakes, "+"); got != c.mistakes {
				t.Errorf("mistakes %q, want %q: %s", got, c.mistakes, d.Diagnosis)
			}
			if d.Method != method || d.URL != "http://api.test/x" || d.Refusal != w.Body.String() || d.Client == "" {
				t.Errorf("%+v", d)
			}
			text := d.BaseString + d.ClientBaseString + d.Diagnosis
			if strings.Contains(text, "hunter2") || strings.Contains(text, "s3cr3t") || strings.Contains(text, token.Secret) {
				t.Errorf("shows a secret: %s", text)
			}
			if !strings.Contains(d.BaseString, "&http%3A%2F%2Fapi.test%2Fx&") {
				t.Errorf("base string %q", d.BaseString)
			}
		})
	}
}

// TestDiagnosesHaveLimits: the limits hold in each second, and what is above them is counted.
func TestDiagnosesHaveLimits(t *testing.T) {
	t.Parallel()
	turns := turns{all: 3, ofOne: 2}
	start := time.Unix(1_700_000_000, 0)
	for i, c := range []struct {
		consumer string
		after    time.Duration
		want     bool
	}{
		{"a", 0, true},
		{"a", 100, true},
		{"a", 200, false},
		{"b", 300, true},
		{"b", 400, false}, // three in all
		{"c", 999, false},
		{"c", 1000, true}, // the first is a second old
		{"a", 1050, false},
		{"a", 1100, true},
		{"a", 5000, true},
	} {
		if got := turns.take(c.consumer, start.Add(c.after*time.Millisecond)); got != c.want {
			t.Errorf("%d: %v after %dms: %v", i, c.consumer, c.after, got)
		}
	}
	if len(turns.latest) != 1 {
		t.Errorf("%d turns are kept", len(turns.latest))
	}
}

// TestUnknownConsumersShareALimit: also where they are refused before anybody has looked for them. A
// known consumer has its own.
func TestUnknownConsumersShareALimit(t *testing.T) {
	s := newTestSite(t, "diagnoses 20 2\nconsumer known {\n secret s\n}", "explain_refusals")
	send := func(consumer string) {
		signer := oauth1.Signer{ConsumerKey: consumer, ConsumerSecret: "x", SignatureMethod: "HMAC-SHA1", Timestamp: 1}
		if w, _ := s.serve(s.sign(signer, "GET", "http://api.test/x", "")); w.Code != http.StatusUnauthorized {
			t.Fatal(w.Code)
		}
	}
	for i := range 10 {
		send(fmt.Sprint("nobody", i))
	}
	send(strings.Repeat("x", 100_000))
	send("known")
	counts := make(map[string]int)
	for _, turn := range s.app.diagnoser.turns.latest {
		counts[turn.consumer]++
	}
	if len(counts) > 2 || counts[""] > 2 || counts["known"] != 1 {
		t.Errorf("turns were taken by %v", counts)
	}
}

// lostStore is a store that finds no consumer, because it is out of reach.
type lostStore struct {
	tokenstore.Store
	err   error
	asked int
}

func (s *lostStore) Consumer(context.Context, string) (*tokenstore.Consumer, error) {
	s.asked++
	return nil, s.err
}

// TestFailuresOfTheStoreAreNotExplained: no request asks a store again that has just failed, or takes
// the turn of one that can be explained.
func TestFailuresOfTheStoreAreNotExplained(t *testing.T) {
	for name, err := range map[string]error{
		"the store fails":     errors.New("broken"),
		"the store is closed": tokenstore.ErrClosed,
	} {
		t.Run(name, func(t *testing.T) {
			s := newTestSite(t, "diagnoses 20 2", "")
			store := &lostStore{Store: s.store(), err: err}
			s.app.store = store
			t.Cleanup(func() { s.app.store = store.Store })
			signer := oauth1.Signer{ConsumerKey: "stored", ConsumerSecret: "x", SignatureMethod: "HMAC-SHA1"}
			if w, _ := s.serve(s.sign(signer, "GET", "http://api.test/x", "")); w.Code != http.StatusServiceUnavailable {
				t.Fatal(w.Code)
			}
			if turns := len(s.app.diagnoser.turns.latest); store.asked != 1 || turns != 0 {
				t.Errorf("the store was asked %d times, and %d turns were taken", store.asked, turns)
			}
		})
	}
}

// TestLargeRequestsAreNotKept: whichever part of them is large.
func TestLargeRequestsAreNotKept(t *testing.T) {
	s := newTestSite(t, "diagnoses 1000 1000\nconsumer large {\n secret s\n}", "")
	signer := oauth1.Signer{ConsumerKey: "large", ConsumerSecret: "wrong", SignatureMethod: "HMAC-SHA1"}
	for name, target := range map[string]string{
		"query": "/x?a=" + strings.Repeat("b", mostDiagnosed),
		"path":  "/" + strings.Repeat("b", mostDiagnosed),
	} {
		since := latestRefusal()
		s.serve(s.sign(signer, "GET", "http://api.test"+target, ""))
		d := refusedOf(t, "large", since)
		if !strings.Contains(d.Diagnosis, "too large") || d.BaseString != "" || len(d.URL) > mostShownURL+3 ||
			name == "path" && d.URL != "http://api.test/..." {
			t.Errorf("%s: %q, a base string of %d bytes, a URL of %d", name, d.Diagnosis, len(d.BaseString), len(d.URL))
		}
	}
}

// TestCredentialsInWrongPlacesAreNotShown: neither to operators, nor in the log.
func TestCredentialsInWrongPlacesAreNotShown(t *testing.T) {
	const secret, verifier = "canary7f3e", "verifier9a1b"
	s := newTestSite(t, "diagnoses 1000 1000\nconsumer careless {\n secret "+secret+"\n}", "")
	core, logs := observer.New(zap.DebugLevel)
	s.app.logger = zap.New(core)
	good := oauth1.Signer{ConsumerKey: "careless", ConsumerSecret: secret, SignatureMethod: "HMAC-SHA1"}
	for name, send := range map[string]func() *http.Request{
		"a secret as token": func() *http.Request {
			signer := good
			signer.Token = secret
			return s.sign(signer, "GET", "http://api.test/x", "")
		},
		"a secret in the path": func() *http.Request {
			r := s.sign(good, "GET", "http://api.test/x/"+secret, "")
			r.Method = "DELETE" // another one than was signed
			return r
		},
		"a verifier, signed with another URL": func() *http.Request {
			signer := good
			signer.Verifier = verifier
			r := s.sign(signer, "GET", "http://www.api.test/x", "")
			r.Host = "api.test"
			return r
		},
	} {
		since := latestRefusal()
		s.serve(send())
		shown := fmt.Sprintf("%+v", refusedOf(t, "careless", since))
		if strings.Contains(shown, secret) || strings.Contains(shown, verifier) {
			t.Errorf("%s: %s", name, shown)
		}
	}
	for _, entry := range logs.All() {
		if text := fmt.Sprint(entry.ContextMap()); strings.Contains(text, secret) || strings.Contains(text, verifier) {
			t.Errorf("in the log: %s", text)
		}
	}
	if logs.Len() == 0 {
		t.Error("nothing is logged, so this shows nothing")
	}
}

// TestDiagnosesOff: nothing is explained or kept.
func TestDiagnosesOff(t *testing.T) {
	s := newTestSite(t, "diagnoses off\nconsumer offapp {\n secret s\n}", "")
	signer := oauth1.Signer{ConsumerKey: "offapp", ConsumerSecret: "wrong", SignatureMethod: "HMAC-SHA1"}
	if w, _ := s.serve(s.sign(signer, "GET", "http://api.test/x", "")); w.Code != http.StatusUnauthorized {
		t.Fatal(w.Code)
	}
	if len(s.app.diagnoser.queue) > 0 || len(recentRefusals.list("offapp", time.Time{})) > 0 {
		t.Error("something is kept")
	}
}

// TestAPanicOfADiagnosisIsSurvived: the process goes on, and the log says so.
func TestAPanicOfADiagnosisIsSurvived(t *testing.T) {
	s := newTestSite(t, "diagnoses 1000 1000\nconsumer panics {\n secret s\n}", "")
	s.app.explainRefused(t.Context(), nil)
}

// TestRefusalsAreListed: by consumer, after a time, the latest 200.
func TestRefusalsAreListed(t *testing.T) {
	t.Parallel()
	var ring refusalRing
	at := time.Now()
	for i := range 250 {
		ring.add(adminapi.Diagnosis{Consumer: []string{"a", "b"}[i%2], Time: at})
	}
	all := ring.list("", time.Time{})
	if len(all) != mostRefusals || len(ring.list("a", time.Time{})) != mostRefusals/2 {
		t.Fatal(len(all))
	}
	if !slices.IsSortedFunc(all, func(a, b adminapi.Diagnosis) int { return a.Time.Compare(b.Time) }) {
		t.Error("not in order")
	}
	if rest := ring.list("", all[150].Time); len(rest) != 49 || rest[0].Time != all[151].Time {
		t.Errorf("%d are after number 150", len(rest))
	}
}

// TestPastIsBounded: what is remembered to explain requests has a limit, and clocks that became
// right are forgotten.
func TestPastIsBounded(t *testing.T) {
	t.Parallel()
	var p past
	for i := range 3 * mostRemembered {
		p.exchanged(string(rune('a'+i%26))+strings.Repeat("x", i/26), "secret")
		p.refusedClock("consumer"+strings.Repeat("y", i), time.Hour)
	}
	if len(*p.clocked.Load()) != mostRemembered {
		t.Errorf("forwarded requests see %d clocks", len(*p.clocked.Load()))
	}
	if len(p.ended.values) != mostRemembered || len(p.ended.order) != mostRemembered || len(p.clocks.values) != mostRemembered {
		t.Errorf("%d endings, %d in order, %d clocks", len(p.ended.values), len(p.ended.order), len(p.clocks.values))
	}
	var earlier []time.Duration
	for i := range 3 * mostClocks {
		earlier = p.refusedClock("one", time.Duration(i))
	}
	if len(earlier) != mostClocks || earlier[0] != time.Duration(2*mostClocks-1) {
		t.Errorf("%v", earlier)
	}
	p.goodClock("one")
	if earlier = p.refusedClock("one", 1); earlier != nil {
		t.Errorf("remembers %v", earlier)
	}
}

// TestShownURLsAndBaseStringsHoldNoValues: of a form and of a verifier.
func TestShownURLsAndBaseStringsHoldNoValues(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ form, more, want string }{
		{"", "", "q%3D1"},
		{"pass+word=x&b=%26c", "", "b%3D***%26pass%2520word%3D***%26q%3D1"},
		{"=x", "", "%3D***%26q%3D1"},
		{"q=2", "", "q%3D***%26q%3D***"},
		{"", "&oauth_verifier=v", "oauth_verifier%3D***%26q%3D1"},
		{"", "&oauth_token_secret=v&oauth_timestamp=1", "oauth_timestamp%3D1%26oauth_token_secret%3D***%26q%3D1"},
		{"oauth_consumer_secret=v", "", "oauth_consumer_secret%3D***%26q%3D1"},
	} {
		query := "q=1" + c.more
		s := &signed{request: oauth1.Request{Method: "POST", Scheme: "http", Host: "h", Path: "/", Query: query}}
		if c.form != "" {
			s.request.Form = []byte(c.form)
		}
		text, err := s.request.AppendBaseString(nil, &s.params)
		if err != nil {
			t.Fatal(err)
		}
		want := "POST&http%3A%2F%2Fh%2F&" + c.want
		if got := hideValues(string(text), hiddenNames(s)); got != want {
			t.Errorf("%+v: %s, want %s", c, got, want)
		}
		if u, err := url.Parse(urlWithoutCredentials(&s.request)); err != nil || u.RawQuery != "q=1" {
			t.Errorf("%v, %v", u, err)
		}
	}
}

// TestSeenNonces: when a nonce was used, and whether from the same address.
func TestSeenNonces(t *testing.T) {
	t.Parallel()
	n := newSeenNonces()
	p := &oauth1.Params{ConsumerKey: "c", Token: "t", Timestamp: "1", Nonce: "n"}
	now := time.Unix(1_700_000_000, 0)
	for _, c := range []struct {
		first, second string
		same          bool
	}{
		{"10.0.0.1:1234", "10.0.0.1:99", true},
		{"10.0.0.1:1234", "10.0.0.2:1234", false},
		{"10.0.0.1", "10.0.0.1:99", true},
		{"10.0.0.1", "10.0.0.2", false},
		{"2001:db8::1", "[2001:db8::1]:99", true},
		{"2001:db8::1", "2001:db8::2", false},
		{"no address", "another", false},
		{"", "", true},
	} {
		n.note(p, c.first, now)
		if used, same := n.find(p, c.second); !used.Equal(now) || same != c.same {
			t.Errorf("%q and %q: %v, %v", c.first, c.second, used, same)
		}
	}
	other := *p
	other.Nonce = "m"
	if used, _ := n.find(&other, "10.0.0.1:1234"); !used.IsZero() {
		t.Error("finds another nonce")
	}
}

// TestNoncesBehindAProxy: the address of a nonce is the client's, not that of the proxy, and is the
// client's at whichever of the proxies.
func TestNoncesBehindAProxy(t *testing.T) {
	s := newTestSite(t, "diagnoses 1000 1000\nconsumer proxied {\n secret s\n two_legged robot READ_PUBLIC\n}", "")
	for _, c := range []struct {
		name, firstProxy, secondProxy, firstClient, secondClient, mistake string
	}{
		{"two clients", "10.0.0.1:1", "10.0.0.1:2", "192.0.2.1", "192.0.2.2", "nonce-other-address"},
		{"one client, two proxies", "10.0.0.1:1", "10.0.0.2:1", "2001:db8::1", "2001:db8::1", "nonce-sent-again"},
		{"no server that knows clients", "192.0.2.1:1", "192.0.2.1:2", "", "", "nonce-sent-again"},
	} {
		t.Run(c.name, func(t *testing.T) {
			since := latestRefusal()
			signer := oauth1.Signer{ConsumerKey: "proxied", ConsumerSecret: "s", SignatureMethod: "HMAC-SHA256", Nonce: c.name}
			send := func(proxy, client string) int {
				r, w := s.sign(signer, "GET", "http://api.test/x", ""), httptest.NewRecorder()
				r.RemoteAddr = proxy
				s.inRequest(r, func(r *http.Request, _ *caddy.Replacer) {
					if client != "" {
						caddyhttp.SetVar(r.Context(), caddyhttp.ClientIPVarKey, client)
					}
					next := func(http.ResponseWriter, *http.Request) error { return nil }
					if err := s.handler.ServeHTTP(w, r, caddyhttp.HandlerFunc(next)); err != nil {
						t.Fatal(err)
					}
				})
				return w.Code
			}
			first, second := send(c.firstProxy, c.firstClient), send(c.secondProxy, c.secondClient)
			if first != http.StatusOK || second != http.StatusUnauthorized {
				t.Fatal(first, second)
			}
			if got := strings.Join(refusedOf(t, "proxied", since).Mistakes, "+"); got != c.mistake {
				t.Errorf("mistakes %q, want %q", got, c.mistake)
			}
		})
	}
}

// TestAdminDiagnoses: the route's answers, by query.
func TestAdminDiagnoses(t *testing.T) {
	recentRefusals.add(adminapi.Diagnosis{Consumer: "listed", Time: time.Now(), Mistakes: []string{"scheme"}})
	for query, want := range map[string]int{
		"consumer=listed": 1,
		"consumer=listed&since=2000-01-01T00:00:00Z": 1,
		"consumer=listed&since=3000-01-01T00:00:00Z": 0,
		"consumer=nobody-at-all":                     0,
		"since=yesterday":                            -1,
		"limit=3":                                    -1,
		"consumer=":                                  -1,
	} {
		call := &adminCall{Request: httptest.NewRequest("GET", "/oauth1/diagnoses?"+query, nil)}
		_, answer, err := call.listDiagnoses()
		if (err != nil) != (want < 0) {
			t.Errorf("%s: %v", query, err)
		}
		if err == nil && len(answer.(adminapi.Diagnoses).Items) != want {
			t.Errorf("%s: %+v", query, answer)
		}
	}
}

// FuzzShownBaseStrings: whatever a form holds, the value of its password is not shown.
func FuzzShownBaseStrings(f *testing.F) {
	for _, form := range []string{"", "a=1", "a%26=1&b", "password=x&password", "%3D=%26", "+=+", "oauth_x=1", "&&=&", "\x80"} {
		f.Add(form, "q=1")
	}
	f.Fuzz(func(t *testing.T, form, query string) {
		const canary = "canary7f3e"
		if strings.Contains(form+query, canary) {
			t.Skip()
		}
		s := &signed{request: oauth1.Request{Method: "POST", Scheme: "http", Host: "h", Path: "/", Query: query}}
		s.request.Form = []byte(form + "&pass%20word=" + canary + "&=" + canary)
		text, err := s.request.AppendBaseString(nil, &s.params)
		if err != nil {
			t.Skip()
		}
		if got := hideValues(string(text), hiddenNames(s)); strings.Contains(got, canary) {
			t.Errorf("shows %s", got)
		}
	})
}

// TestChangesAreRemembered: an operator learns that a refused key was revoked.
func TestChangesAreRemembered(t *testing.T) {
	s := newTestSite(t, "diagnoses 10 10", "")
	event := &audit.Event{Name: audit.AccessTokenRevoked, Consumer: "app", Token: "revoked"}
	if err := newEvents(s.app, zap.NewNop()).change(event, func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	if s.app.diagnoser.past.whatBecame("revoked").found == doctor.FoundNothing {
		t.Error("a revoked token is not remembered")
	}
}
