package integration

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// The exchange walk by hand: the answers that a client of Launchpad gets on its way from a consumer
// key to an access token, in Launchpad's words. It is the walk of Launchpad's own page tests. Like
// them it sends one nonce and one fractional timestamp with every request: with PLAINTEXT, the
// endpoints ignore both.

// A walker is a client that walks, with net/http and PLAINTEXT.
type walker struct {
	t        *testing.T
	srv      *server
	consumer string
	secret   string
}

// sameForAll are the parameters that the walker sends with every request.
var sameForAll = []pair{{"oauth_version", "1.0"}, {"oauth_timestamp", "1217548916.5"},
	{"oauth_nonce", "4572616e48616d6d65724c61686176"}}

func (w walker) params(tok token, more ...pair) []pair {
	return slices.Concat(plaintext(w.consumer, w.secret, tok), sameForAll, more)
}

// post sends parameters to an endpoint in a form, as Launchpad's clients do.
func (w walker) post(endpoint string, params []pair) reply {
	w.t.Helper()
	req := w.srv.request("POST", endpoint, strings.NewReader(form(params)))
	req.Header.Set("Content-Type", formType)
	return w.srv.mustDo(w.t, req)
}

// requestToken gets a request token.
func (w walker) requestToken(more ...pair) token {
	w.t.Helper()
	tok, err := parseToken(w.want(w.post("/+request-token", w.params(token{}, more...)), http.StatusOK, ""))
	if err != nil {
		w.t.Fatal(err)
	}
	return tok
}

// exchange tries to exchange a request token.
func (w walker) exchange(tok token, more ...pair) reply {
	w.t.Helper()
	return w.post("/+access-token", w.params(tok, more...))
}

// want checks an answer of an endpoint, and the rules for all of them, and returns the body.
func (w walker) want(r reply, status int, body string) string {
	w.t.Helper()
	if err := r.is(status, body); err != nil {
		w.t.Error(err)
	}
	checkEndpointHeaders(w.t, r)
	return r.Body
}

// A challenge is `OAuth realm="..."`, with a quoted string as RFC 9110 has it.
var challenge = regexp.MustCompile(`^OAuth realm="(?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[\t\x20-\x7e])*"(?:, ?[a-z_]+="[^"\\]*")*$`)

func checkEndpointHeaders(t *testing.T, r reply) {
	t.Helper()
	contentType := "text/plain; charset=utf-8"
	if r.Status == http.StatusOK {
		contentType = formType // RFC 5849 section 2.1
	}
	for name, want := range map[string]string{
		"Cache-Control": "no-store", "Content-Type": contentType, "X-Content-Type-Options": "nosniff",
	} {
		if got := r.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q (the answer is %d %s)", name, got, want, r.Status, r.Body)
		}
	}
	challenges := r.Header.Values("WWW-Authenticate")
	if r.Status == http.StatusUnauthorized && (len(challenges) != 1 || !challenge.MatchString(challenges[0])) {
		t.Errorf("WWW-Authenticate: %q, want one well-formed OAuth challenge", challenges)
	}
	if r.Status != http.StatusUnauthorized && len(challenges) > 0 {
		t.Errorf("WWW-Authenticate %q on a %d", challenges, r.Status)
	}
}

func TestExchangeWalk(t *testing.T) {
	srv := startServer(t, site{Handler: `respond "from the upstream"`}, "")
	subtest := func(name string, f func(t *testing.T, w walker)) {
		t.Run(name, func(t *testing.T) { f(t, walker{t, srv, demoKey, demoSecret}) })
	}

	subtest("a reviewed token is exchanged for an access token, once", func(t *testing.T, w walker) {
		tok := w.requestToken()
		srv.review(t, tok.Key, "salgado", "READ_PUBLIC", nil)
		body := w.want(w.exchange(tok), http.StatusOK, "")
		if !regexp.MustCompile(`^oauth_token=[0-9A-Za-z]{20}&oauth_token_secret=[0-9A-Za-z]{80}$`).MatchString(body) {
			t.Errorf("body %q", body)
		}
		access, err := parseToken(body)
		if err != nil || access.Key == tok.Key {
			t.Errorf("access token %v, %v", access, err)
		}
		w.want(w.exchange(tok), http.StatusUnauthorized, "The request token is unknown, or was used already.")
		req := srv.request("GET", "/", nil)
		req.Header.Set("Authorization", authorization(plaintext(demoKey, demoSecret, access)))
		if err := expect(srv, req, http.StatusOK, "from the upstream"); err != nil {
			t.Error(err)
		}
	})
	subtest("a token that was reviewed for a context is answered with the context last", func(t *testing.T, w walker) {
		tok := w.requestToken()
		srv.review(t, tok.Key, "salgado", "WRITE_PRIVATE", object{"context": "firefox"})
		body := w.want(w.exchange(tok), http.StatusOK, "")
		if !regexp.MustCompile(`^oauth_token=\w{20}&oauth_token_secret=\w{80}&lp\.context=firefox$`).MatchString(body) {
			t.Errorf("body %q", body)
		}
	})
	subtest("a token that waits for its review is 401, and can be exchanged after it", func(t *testing.T, w walker) {
		tok := w.requestToken()
		for range 3 {
			w.want(w.exchange(tok), http.StatusUnauthorized,
				"Request token has not yet been reviewed. Try again later.")
		}
		srv.review(t, tok.Key, "salgado", "READ_PUBLIC", nil)
		w.want(w.exchange(tok), http.StatusOK, "")
	})
	subtest("a token that the user refused is 403, again and again", func(t *testing.T, w walker) {
		tok := w.requestToken()
		srv.review(t, tok.Key, "salgado", "UNAUTHORIZED", nil)
		for range 3 {
			w.want(w.exchange(tok), http.StatusForbidden, "End-user refused to authorize request token.")
		}
	})
	subtest("a wrong consumer secret is 401, and the token can be exchanged after it", func(t *testing.T, w walker) {
		tok := w.requestToken()
		srv.review(t, tok.Key, "salgado", "READ_PUBLIC", nil)
		stranger := walker{t, srv, demoKey, "not the secret"}
		w.want(stranger.post("/+request-token", stranger.params(token{})), http.StatusUnauthorized,
			"Invalid OAuth signature.")
		w.want(stranger.exchange(tok), http.StatusUnauthorized, "Invalid OAuth signature.")
		w.want(w.exchange(tok), http.StatusOK, "")
	})
	subtest("a wrong token secret is 401", func(t *testing.T, w walker) {
		tok := w.requestToken()
		srv.review(t, tok.Key, "salgado", "READ_PUBLIC", nil)
		w.want(w.exchange(token{tok.Key, "wrong"}), http.StatusUnauthorized, "Invalid OAuth signature.")
	})
	subtest("a request without oauth_token is 401", func(t *testing.T, w walker) {
		w.want(w.exchange(token{}), http.StatusUnauthorized, "No request token specified.")
	})
	subtest("an unknown token is 401", func(t *testing.T, w walker) {
		w.want(w.exchange(token{"nobodyknowsme", "s"}), http.StatusUnauthorized,
			"The request token is unknown, or was used already.")
	})
	subtest("a token of another consumer is 401, and stays good for its own", func(t *testing.T, w walker) {
		srv.mustAdmin(t, "POST", "/oauth1/consumers", object{"key": "other", "name": "Other", "secret": "other's"})
		tok := w.requestToken()
		srv.review(t, tok.Key, "salgado", "READ_PUBLIC", nil)
		w.want(walker{t, srv, "other", "other's"}.exchange(tok), http.StatusUnauthorized,
			"The request token is unknown, or was used already.")
		w.want(w.exchange(tok), http.StatusOK, "")
	})
	subtest("an unknown consumer is 401 at both endpoints", func(t *testing.T, w walker) {
		unknown := walker{t, srv, "nobody", ""}
		w.want(unknown.post("/+request-token", unknown.params(token{})), http.StatusUnauthorized, "Unknown consumer.")
		w.want(unknown.exchange(token{}), http.StatusUnauthorized, "Unknown consumer.")
	})
	subtest("a request without a consumer key is 401", func(t *testing.T, w walker) {
		w.want(w.post("/+request-token", []pair{{"oauth_signature_method", "PLAINTEXT"}, {"oauth_signature", "&"}}),
			http.StatusUnauthorized, "")
		w.want(w.post("/+request-token", nil), http.StatusUnauthorized, "")
	})
	subtest("an access token is not a request token", func(t *testing.T, w walker) {
		w.want(w.exchange(srv.issue(t, demoKey, "salgado", "READ_PUBLIC", nil)), http.StatusUnauthorized,
			"The request token is unknown, or was used already.")
	})
	subtest("a request token is not an access token", func(t *testing.T, w walker) {
		tok := w.requestToken()
		srv.review(t, tok.Key, "salgado", "WRITE_PRIVATE", nil)
		req := srv.request("GET", "/", nil)
		req.Header.Set("Authorization", authorization(plaintext(demoKey, demoSecret, tok)))
		if err := expect(srv, req, http.StatusUnauthorized, "Unknown access token ("+tok.Key+")."); err != nil {
			t.Error(err)
		}
	})
	subtest("of many exchanges at the same time one succeeds", func(t *testing.T, w walker) {
		tok := w.requestToken()
		srv.review(t, tok.Key, "salgado", "READ_PUBLIC", nil)
		replies := make(chan reply, 16)
		for range cap(replies) {
			go func() {
				req := srv.request("POST", "/+access-token", strings.NewReader(form(w.params(tok))))
				req.Header.Set("Content-Type", formType)
				r, err := srv.do(req)
				if err != nil {
					r.Body = err.Error()
				}
				replies <- r
			}()
		}
		ok := 0
		for range cap(replies) {
			r := <-replies
			if r.Status == http.StatusOK {
				ok++
			} else if err := r.is(http.StatusUnauthorized, "The request token is unknown, or was used already."); err != nil {
				t.Error(err)
			}
		}
		if ok != 1 {
			t.Errorf("%d exchanges succeeded, want 1", ok)
		}
	})
}

func TestExchangeWalkWithAVerifier(t *testing.T) {
	srv := startServer(t, site{Handler: `respond "from the upstream"`}, "")
	const callback = "https://client.example/ready?a=b"
	// reviewed makes a 1.0a token, has the user approve it, and returns the verifier.
	reviewed := func(w walker, callback string) (token, string) {
		w.t.Helper()
		tok := w.requestToken(pair{"oauth_callback", callback})
		approved := srv.approve(w.t, srv.origin()+"/+authorize-token?oauth_token="+tok.Key, "salgado", "READ_PUBLIC")
		if callback == "oob" {
			return tok, approved.Verifier
		}
		redirect := mustParse(w.t, approved.Redirect)
		query := redirect.Query()
		if !strings.HasPrefix(approved.Redirect, callback+"&") || query.Get("oauth_token") != tok.Key ||
			query.Get("a") != "b" {
			w.t.Errorf("redirected to %s, want %s with oauth_token=%s", approved.Redirect, callback, tok.Key)
		}
		return tok, query.Get("oauth_verifier")
	}
	subtest := func(name string, f func(t *testing.T, w walker)) {
		t.Run(name, func(t *testing.T) { f(t, walker{t, srv, demoKey, demoSecret}) })
	}

	subtest("a request with oauth_callback is confirmed", func(t *testing.T, w walker) {
		body := w.want(w.post("/+request-token", w.params(token{}, pair{"oauth_callback", callback})), http.StatusOK,
			"")
		if !regexp.MustCompile(`^oauth_token=\w{20}&oauth_token_secret=\w{80}&oauth_callback_confirmed=true$`).MatchString(body) {
			t.Errorf("body %q", body)
		}
	})
	subtest("a request without oauth_callback is not", func(t *testing.T, w walker) {
		body := w.want(w.post("/+request-token", w.params(token{})), http.StatusOK, "")
		if !regexp.MustCompile(`^oauth_token=\w{20}&oauth_token_secret=\w{80}$`).MatchString(body) {
			t.Errorf("body %q", body)
		}
	})
	for _, c := range []struct{ name, callback string }{{"the callback's", callback}, {"the oob page's", "oob"}} {
		subtest(c.name+" verifier exchanges the token, once", func(t *testing.T, w walker) {
			tok, verifier := reviewed(w, c.callback)
			w.want(w.exchange(tok, pair{"oauth_verifier", verifier}), http.StatusOK, "")
			w.want(w.exchange(tok, pair{"oauth_verifier", verifier}), http.StatusUnauthorized,
				"The request token is unknown, or was used already.")
		})
	}
	subtest("a missing or wrong verifier is 401, and the right one works after it", func(t *testing.T, w walker) {
		tok, verifier := reviewed(w, callback)
		w.want(w.exchange(tok), http.StatusUnauthorized, "Invalid OAuth verifier.")
		w.want(w.exchange(tok, pair{"oauth_verifier", "wrong"}), http.StatusUnauthorized, "Invalid OAuth verifier.")
		w.want(w.exchange(tok, pair{"oauth_verifier", ""}), http.StatusUnauthorized, "Invalid OAuth verifier.")
		w.want(w.exchange(tok, pair{"oauth_verifier", verifier}), http.StatusOK, "")
	})
	subtest("five wrong verifiers end the token", func(t *testing.T, w walker) {
		tok, verifier := reviewed(w, callback)
		for range 5 {
			w.want(w.exchange(tok, pair{"oauth_verifier", "wrong"}), http.StatusUnauthorized, "Invalid OAuth verifier.")
		}
		w.want(w.exchange(tok, pair{"oauth_verifier", verifier}), http.StatusUnauthorized,
			"The request token is unknown, or was used already.")
	})
	subtest("a token without a callback needs no verifier", func(t *testing.T, w walker) {
		tok := w.requestToken()
		srv.review(t, tok.Key, "salgado", "READ_PUBLIC", nil)
		w.want(w.exchange(tok, pair{"oauth_verifier", "whatever"}), http.StatusOK, "")
	})
}

func TestExchangeWalkAfterExpiry(t *testing.T) {
	srv := startServer(t, site{App: demoApp + "request_token_lifetime 5s", Handler: `respond "from the upstream"`}, "")
	w := walker{t, srv, demoKey, demoSecret}
	waiting, refused, granted := w.requestToken(), w.requestToken(), w.requestToken()
	srv.review(t, refused.Key, "salgado", "UNAUTHORIZED", nil)
	srv.review(t, granted.Key, "salgado", "READ_PUBLIC", nil)
	for _, tok := range []token{waiting, granted} {
		srv.waitUntil("the request tokens have expired", func() error {
			if state := srv.mustAdmin(t, "GET", "/oauth1/request-tokens/"+tok.Key, nil)["state"]; state != "expired" {
				return fmt.Errorf("its state is %v", state)
			}
			return nil
		})
	}
	const expired = "This request token has expired and can no longer be exchanged for an access token."
	t.Run("a token that was granted is 403", func(t *testing.T) {
		w := walker{t, srv, demoKey, demoSecret}
		w.want(w.exchange(granted), http.StatusForbidden, expired)
		w.want(w.exchange(granted), http.StatusForbidden, expired)
	})
	t.Run("a refused token is reported as refused, not as expired", func(t *testing.T) {
		w := walker{t, srv, demoKey, demoSecret}
		w.want(w.exchange(refused), http.StatusForbidden, "End-user refused to authorize request token.")
	})
	t.Run("an unreviewed token is reported as unreviewed, not as expired", func(t *testing.T) {
		w := walker{t, srv, demoKey, demoSecret}
		w.want(w.exchange(waiting), http.StatusUnauthorized,
			"Request token has not yet been reviewed. Try again later.")
	})
	t.Run("a token that was never reviewed can't be reviewed any more", func(t *testing.T) {
		status, answer, err := srv.adminDo("POST", "/oauth1/request-tokens/"+waiting.Key+"/review",
			object{"user": "salgado", "permission": "READ_PUBLIC"})
		if err != nil || status/100 != 4 {
			t.Errorf("%d %v %v, want 4xx", status, answer, err)
		}
	})
}

func TestEndpointsAcceptParametersInAnyPlace(t *testing.T) {
	srv := startServer(t, site{Handler: `respond "from the upstream"`}, "")
	places := map[string]func(method, endpoint string, params []pair) *http.Request{
		"the header": func(method, endpoint string, params []pair) *http.Request {
			req := srv.request(method, endpoint, nil)
			req.Header.Set("Authorization", authorization(params))
			return req
		},
		"the query": func(method, endpoint string, params []pair) *http.Request {
			return srv.request(method, endpoint+"?"+form(params), nil)
		},
		"the form": func(method, endpoint string, params []pair) *http.Request {
			req := srv.request(method, endpoint, strings.NewReader(form(params)))
			req.Header.Set("Content-Type", formType)
			return req
		},
		"a form without a content type": func(method, endpoint string, params []pair) *http.Request {
			return srv.request(method, endpoint, strings.NewReader(form(params)))
		},
		"the header, by unencoded secrets": func(method, endpoint string, params []pair) *http.Request {
			req := srv.request(method, endpoint, nil)
			var parts []string
			for _, p := range params {
				parts = append(parts, p.name+`="`+p.value+`"`)
			}
			req.Header.Set("Authorization", "OAuth "+strings.Join(parts, ", "))
			return req
		},
	}
	for _, place := range slices.Sorted(maps.Keys(places)) {
		for _, method := range []string{"GET", "POST"} {
			if method == "GET" && strings.Contains(place, "form") {
				continue // a GET has no form
			}
			t.Run(method+" with "+place, func(t *testing.T) {
				w := walker{t, srv, demoKey, demoSecret}
				send := func(endpoint string, params []pair) reply {
					return srv.mustDo(t, places[place](method, endpoint, params))
				}
				tok, err := parseToken(w.want(send("/+request-token", w.params(token{})), http.StatusOK, ""))
				if err != nil {
					t.Fatal(err)
				}
				w.want(send("/+access-token", w.params(tok)), http.StatusUnauthorized,
					"Request token has not yet been reviewed. Try again later.")
				srv.review(t, tok.Key, "salgado", "READ_PUBLIC", nil)
				w.want(send("/+access-token", w.params(tok)), http.StatusOK, "")
			})
		}
	}
	t.Run("HMAC-SHA1 signs the endpoints too", func(t *testing.T) {
		w := walker{t, srv, demoKey, demoSecret}
		req := srv.request("POST", "/+request-token?extra=a%20b", nil)
		s := signer{Consumer: demoKey, Secret: demoSecret}
		tok, err := parseToken(w.want(srv.mustDo(t, s.sign(t, req, "")), http.StatusOK, ""))
		if err != nil {
			t.Fatal(err)
		}
		srv.review(t, tok.Key, "salgado", "READ_PUBLIC", nil)
		s.Token = tok
		w.want(srv.mustDo(t, s.sign(t, srv.request("POST", "/+access-token", nil), "")), http.StatusOK, "")
	})
	t.Run("a replayed HMAC-SHA1 request is refused", func(t *testing.T) {
		w := walker{t, srv, demoKey, demoSecret}
		s := signer{Consumer: demoKey, Secret: demoSecret}.repeated()
		w.want(srv.mustDo(t, s.sign(t, srv.request("POST", "/+request-token", nil), "")), http.StatusOK, "")
		w.want(srv.mustDo(t, s.sign(t, srv.request("POST", "/+request-token", nil), "")), http.StatusUnauthorized,
			"This nonce has been used already.")
	})
	t.Run("parameters in two places are 400", func(t *testing.T) {
		w := walker{t, srv, demoKey, demoSecret}
		req := srv.request("POST", "/+request-token?oauth_version=1.0", nil)
		req.Header.Set("Authorization", authorization(w.params(token{})))
		w.want(srv.mustDo(t, req), http.StatusBadRequest, "")
	})
	t.Run("a repeated parameter is 400", func(t *testing.T) {
		w := walker{t, srv, demoKey, demoSecret}
		w.want(w.post("/+request-token", w.params(token{}, pair{"oauth_nonce", "another"})), http.StatusBadRequest, "")
	})
	t.Run("an unknown signature method is 400", func(t *testing.T) {
		w := walker{t, srv, demoKey, demoSecret}
		w.want(w.post("/+request-token", []pair{{"oauth_consumer_key", demoKey}, {"oauth_signature_method", "MD5"},
			{"oauth_signature", "x"}}), http.StatusBadRequest, "")
	})
}

func TestEndpointsAnswerOtherMethodsWith405(t *testing.T) {
	srv := startServer(t, site{Handler: `respond "from the upstream"`}, "")
	for _, endpoint := range []string{"/+request-token", "/+access-token", "/+authorize-token"} {
		for _, method := range []string{"PUT", "DELETE", "PATCH", "OPTIONS", "BREW"} {
			t.Run(method+" "+endpoint, func(t *testing.T) {
				got := srv.mustDo(t, srv.request(method, endpoint, nil))
				allowed := strings.Split(strings.ReplaceAll(got.Header.Get("Allow"), " ", ""), ",")
				if got.Status != http.StatusMethodNotAllowed || !slices.Contains(allowed, "GET") ||
					!slices.Contains(allowed, "POST") {
					t.Errorf("%d with Allow %q, want 405 with GET and POST", got.Status, allowed)
				}
			})
		}
	}
}

func TestTheRealmIsAlwaysWellFormed(t *testing.T) {
	for realm, want := range map[string]string{
		"":                 `OAuth realm="127.0.0.1`,
		"My API":           `OAuth realm="My API"`,
		`say \"hi\" \\o/ `: ``, // the challenge must be well formed, however the Caddyfile reads this
		"Größe":            ``,
	} {
		t.Run(fmt.Sprintf("%q", realm), func(t *testing.T) {
			s := site{Handler: `respond "from the upstream"`}
			if realm != "" {
				s.OAuth1 = `realm "` + realm + `"`
			}
			srv := startServer(t, s, "")
			for _, uri := range []string{"/+request-token", "/api"} {
				got := srv.mustDo(t, srv.request("GET", uri, nil))
				header := got.Header.Get("WWW-Authenticate")
				if got.Status != http.StatusUnauthorized || !challenge.MatchString(header) ||
					!strings.HasPrefix(header, want) {
					t.Errorf("%s: %d with WWW-Authenticate: %s, want 401 with %s", uri, got.Status, header, want)
				}
			}
		})
	}
	t.Run("a forged Host", func(t *testing.T) {
		srv := startServer(t, site{Handler: `respond "from the upstream"`, Address: "http://:{{.Port}}"}, "")
		conn, r := srv.dial(t)
		fmt.Fprintf(conn, "GET /api HTTP/1.1\r\nHost: a\"b\r\nConnection: close\r\n\r\n")
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		header := resp.Header.Get("WWW-Authenticate")
		if resp.StatusCode != http.StatusBadRequest && !challenge.MatchString(header) {
			t.Errorf("%d with WWW-Authenticate: %s, want a well-formed challenge, or 400", resp.StatusCode, header)
		}
	})
}

// The refusals of API requests, in Launchpad's words: its clients look for these words.
func TestRefusalsOfAPIRequests(t *testing.T) {
	up := newUpstream(t)
	srv := startServer(t, site{}, up.URL)
	srv.mustAdmin(t, "POST", "/oauth1/consumers", object{"key": "disabled", "name": "Disabled", "secret": "d"})
	tok := srv.issue(t, demoKey, "salgado", "READ_PUBLIC", nil)
	disabled := srv.issue(t, "disabled", "salgado", "READ_PUBLIC", nil)
	srv.mustAdmin(t, "PATCH", "/oauth1/consumers/disabled", object{"disabled": true})
	expired := srv.issue(t, demoKey, "salgado", "READ_PUBLIC", object{"lifetime": "1s"})
	revoked := srv.issue(t, demoKey, "salgado", "READ_PUBLIC", nil)
	srv.mustAdmin(t, "DELETE", "/oauth1/tokens/"+revoked.Key, nil)
	good := signer{Consumer: demoKey, Secret: demoSecret, Token: tok}
	with := func(change func(*signer)) signer {
		s := good
		change(&s)
		return s
	}
	replayed := with(func(s *signer) { s.Nonce, s.Timestamp = newNonce(), fmt.Sprint(time.Now().Unix()) })
	if err := expect(srv, replayed.sign(t, srv.request("GET", "/", nil), ""), http.StatusOK, ""); err != nil {
		t.Error(err)
	}
	srv.waitUntil("the token has expired", func() error {
		s := with(func(s *signer) { s.Token = expired })
		return expect(srv, s.sign(t, srv.request("GET", "/", nil), ""), http.StatusUnauthorized, "")
	})
	up.take()
	for _, c := range []struct {
		name   string
		signer signer
		method string
		status int
		body   string
	}{
		{"an unknown consumer", with(func(s *signer) { s.Consumer = "nobody" }), "GET", 401, "Unknown consumer (nobody)."},
		{"a disabled consumer", with(func(s *signer) { s.Consumer, s.Secret, s.Token = "disabled", "d", disabled }), "GET", 401, "Disabled consumer (disabled)."},
		{"an unknown token", with(func(s *signer) { s.Token.Key = "nobodyknowsme" }), "GET", 401, "Unknown access token (nobodyknowsme)."},
		{"a revoked token", with(func(s *signer) { s.Token = revoked }), "GET", 401, "Unknown access token (" + revoked.Key + ")."},
		{"an expired token", with(func(s *signer) { s.Token = expired }), "GET", 401, "Expired token (" + expired.Key + ")."},
		{"a wrong consumer secret", with(func(s *signer) { s.Secret = "wrong" }), "GET", 401, "Invalid signature."},
		{"a wrong token secret", with(func(s *signer) { s.Token.Secret = "wrong" }), "GET", 401, "Invalid signature."},
		{"a nonce that was used", replayed, "GET", 401, "This nonce has been used already."},
		{"a timestamp of an hour ago", with(func(s *signer) { s.Timestamp = fmt.Sprint(time.Now().Add(-time.Hour).Unix()) }), "GET", 401, "Timestamp appears to come from bad system clock."},
		{"a timestamp in an hour", with(func(s *signer) { s.Timestamp = fmt.Sprint(time.Now().Add(time.Hour).Unix()) }), "GET", 401, "Timestamp appears to come from bad system clock."},
		{"an invalid timestamp", with(func(s *signer) { s.Timestamp = "1217548916.5" }), "GET", 400, ""},
		{"an oauth_version that is unknown", with(func(s *signer) { s.Extra = []pair{{"oauth_version", "2.0"}} }), "GET", 400, ""},
		{"a level that only reads, on POST", good, "POST", 403, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := srv.mustDo(t, c.signer.sign(t, srv.request(c.method, "/api", nil), ""))
			if err := got.is(c.status, c.body); err != nil {
				t.Error(err)
			}
			if header := got.Header.Get("WWW-Authenticate"); c.status == 401 && !challenge.MatchString(header) {
				t.Errorf("WWW-Authenticate: %s", header)
			}
			if seen := up.take(); len(seen) > 0 {
				t.Errorf("it reached the upstream: %+v", seen)
			}
		})
	}
	t.Run("no credentials", func(t *testing.T) {
		if err := expect(srv, srv.request("GET", "/api", nil), http.StatusUnauthorized, "OAuth credentials required."); err != nil {
			t.Error(err)
		}
	})
	t.Run("as JSON, with the words of the problem reporting extension", func(t *testing.T) {
		req := with(func(s *signer) { s.Secret = "wrong" }).sign(t, srv.request("GET", "/api", nil), "")
		req.Header.Set("Accept", "application/json")
		got := srv.mustDo(t, req)
		if got.Status != http.StatusUnauthorized || got.Header.Get("Content-Type") != "application/json" ||
			!strings.Contains(got.Body, `"oauth_problem":"signature_invalid"`) {
			t.Errorf("%d %v %s", got.Status, got.Header, got.Body)
		}
	})
}

func TestWithoutInsecurePlaintextOverHTTP(t *testing.T) {
	srv := startServer(t, site{
		Handler: `respond "from the upstream"`,
		More:    "http://127.0.0.1:{{.Other}} {\n\toauth1\n\trespond \"from the upstream\"\n}",
		Vars:    map[string]string{"Other": freePort(t)},
	}, "")
	other, err := url.Parse("http://127.0.0.1:" + srv.names["Other"] + "/+request-token")
	if err != nil {
		t.Fatal(err)
	}
	t.Run("PLAINTEXT is refused without TLS", func(t *testing.T) {
		resp, err := http.PostForm(other.String(), url.Values{
			"oauth_consumer_key": {demoKey}, "oauth_signature_method": {"PLAINTEXT"}, "oauth_signature": {demoSecret + "&"},
		})
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode/100 != 4 {
			t.Errorf("%s, want 4xx", resp.Status)
		}
	})
	t.Run("HMAC-SHA1 is accepted without TLS", func(t *testing.T) {
		req, err := http.NewRequest("POST", other.String(), nil)
		if err != nil {
			t.Fatal(err)
		}
		signer{Consumer: demoKey, Secret: demoSecret}.sign(t, req, "")
		if err := expect(srv, req, http.StatusOK, ""); err != nil {
			t.Error(err)
		}
	})
}
