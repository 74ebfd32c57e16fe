package integration

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// hostileTexts break out of HTML that is not escaped.
var hostileTexts = []string{
	`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `' onmouseover='alert(1)`, `{{.User}}`,
	`</style><script>alert(1)</script>`, `&lt;script&gt;`,
	"javascript:alert(1)//", `<!--`, "\u202egnp.exe", `</title><svg onload=alert(1)>`,
}

// unescapedTag matches the result of a hostile text that was not escaped.
var unescapedTag = regexp.MustCompile(`(?i)<script|<img src=x|<svg onload|["'] onmouseover|<!--|</style>.*</style>|</title>.*</title>|href="javascript`)

// OWASP's XSS, clickjacking and CSRF prevention sheets; RFC 9110 section 10.1.3 (Referer), RFC 5849
// section 4.12 and 4.13.
func TestAttackPages(t *testing.T) {
	srv := startServer(t, site{
		Handler: "respond ok",
		App: demoApp + "registration open\nconsumer hostile {\n\tname `<script>alert(1)</script>`\n\tsecret s\n}\n" +
			"permission READ_PUBLIC `<script>alert(1)</script>` {\n\tdescription `<img src=x onerror=alert(1)>`\n}\npermission WRITE_PUBLIC",
		OAuth1: "pages {\n\tname `<script>alert(1)</script>`\n}",
	}, "")
	authorize := srv.origin() + "/+authorize-token"
	headers := func(t *testing.T, what string, r reply) {
		t.Helper()
		for name, want := range map[string]string{
			"X-Frame-Options": "DENY", "Referrer-Policy": "same-origin", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Cross-Origin-Opener-Policy": "same-origin",
		} {
			if got := r.Header.Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", what, name, got, want)
			}
		}
		policy := r.Header.Get("Content-Security-Policy")
		if r.Body != "" && (!strings.Contains(policy, "default-src 'none'") ||
			!strings.Contains(policy, "frame-ancestors 'none'") || !strings.Contains(policy, "form-action 'self'") ||
			!strings.Contains(policy, "base-uri 'none'") || strings.Contains(policy, "unsafe-") ||
			strings.Contains(policy, "script-src")) {
			t.Errorf("%s: Content-Security-Policy %q", what, policy)
		}
		if at := unescapedTag.FindStringIndex(r.Body); at != nil {
			t.Errorf("%s: %q", what, r.Body[max(0, at[0]-60):min(len(r.Body), at[1]+60)])
		}
	}

	t.Run("scripts in stored or sent values are text", func(t *testing.T) {
		for i, text := range hostileTexts {
			key := fmt.Sprintf("hostile-%d", i)
			for field, object := range map[string]object{
				"name": {"key": key, "name": text}, "homepage": {"key": key + "h", "homepage": text}, "key": {"key": text, "name": "n"}, "homepage's path": {"key": key + "p", "homepage": "https://x.example/" + text},
			} {
				status, _, err := srv.adminDo("POST", "/oauth1/consumers", merged(object, "secret", "s"))
				if err != nil {
					t.Fatal(err)
				}
				if status/100 != 2 {
					continue // a refusal is as good
				}
				w := walker{t, srv, object["key"].(string), "s"}
				srv.issue(t, w.consumer, "alice", "READ_PUBLIC", nil)
				tok := w.requestToken(pair{"oauth_callback", "https://client.example/?" + url.QueryEscape(text)})
				headers(t, field+" "+text, srv.asUser(t, "GET",
					authorize+"?oauth_token="+tok.Key+"&lp.context="+url.QueryEscape(text), "alice", nil))
			}
			for _, query := range []string{"oauth_token", "lp.context", "oauth_callback", "allow_permission", "done",
				"proof", "oauth_consumer_key"} {
				headers(t, "the query's "+query, srv.asUser(t, "GET", authorize+"?"+query+"="+url.QueryEscape(text),
					"alice", nil))
			}
			headers(t, "the list's query", srv.asUser(t, "GET",
				srv.origin()+"/+oauth-tokens?after="+url.QueryEscape(text)+"&revoked="+url.QueryEscape(text)+
					"&proof=x", "alice", nil))
			if page := srv.raw(t, srv.message("GET", "/+oauth-tokens", []string{"X-Test-User: " + text}, "")); page.Status == http.StatusOK {
				headers(t, "the user "+text, page)
			}
		}
		headers(t, "the list", srv.asUser(t, "GET", srv.origin()+"/+oauth-tokens", "alice", nil))
	})
	// CWE-601: for any form of callback, the browser goes where the consumer said, or nowhere.
	t.Run("callbacks", func(t *testing.T) {
		srv.mustAdmin(t, "POST", "/oauth1/consumers",
			object{"key": "registered", "secret": "s",
				"callbacks": []string{"https://client.example/oauth/*", "https://exact.example/cb", "myapp://done/*"}})
		refused := []string{
			"javascript:alert(1)", "JavaScript:alert(1)", " javascript:alert(1)", "java\tscript:alert(1)",
			"data:text/html,x", "vbscript:x", "file:///etc/passwd", "blob:https://x/y", "about:blank", "view-source:x",
			"//evil.example/", "/relative", "evil.example", "", "https:", "https://", "https:///evil.example",
			"https:evil.example", `https:\\evil.example`, `https://client.example\@evil.example/`,
			"https://user@evil.example/",
			"https://client.example@evil.example/", "https://client.example:pw@evil.example/",
			"https://evil.example/#frag", "https://evil.example/\r\nSet-Cookie: a", "https://evil.example/%zz",
			"https://evil.example/ x",
			"https://[::1", "https://evil.example:port/", "myapp://other", "intent://x#Intent;end",
			"https://exämple.example/", "https://evil.example/\x00", "https://evil.example/\"",
			"https://evil.example/<x>", "ftp//x", "otherapp://x",
		}
		for _, callback := range refused {
			for _, consumer := range []string{demoKey, "registered"} {
				secret := map[string]string{demoKey: demoSecret, "registered": "s"}[consumer]
				w := walker{t, srv, consumer, secret}
				if got := w.post("/+request-token", w.params(token{}, pair{"oauth_callback", callback})); got.Status != http.StatusBadRequest {
					t.Errorf("%s may have the callback %q: %d %s", consumer, callback, got.Status, got.Body)
				}
			}
		}
		w := walker{t, srv, "registered", "s"}
		for _, callback := range []string{
			"https://client.example/", "https://client.example/oauth/../evil",
			"https://client.example/oauth/%2e%2e/evil", "https://client.example/oauth/..%2fevil",
			"https://client.example/oauth/%2E./x", "https://client.example/oauth/..%5cevil",
			"https://client.example.evil.example/oauth/", "http://client.example/oauth/x",
			"https://client.example:8443/oauth/x", "https://client.example/OAUTH/x", "https://exact.example/cb/",
			"https://exact.example/cb?x", "https://exact.example/cbx",
			"https://client.example/oauth", "https://evil.example/https://client.example/oauth/",
			"https://client.example/oauth/./x",
		} {
			if got := w.post("/+request-token", w.params(token{}, pair{"oauth_callback", callback})); got.Status != http.StatusBadRequest {
				t.Errorf("the callback %q is not registered: %d %s", callback, got.Status, got.Body)
			}
		}
		for _, callback := range []string{"https://client.example/oauth/a", "https://CLIENT.example/oauth/x",
			"https://exact.example/cb", "myapp://done/x"} {
			tok := w.requestToken(pair{"oauth_callback", callback})
			got := srv.approve(t, authorize+"?oauth_token="+tok.Key, "alice", "READ_PUBLIC").Redirect
			if !strings.HasPrefix(got, callback+"?oauth_token=") || strings.Count(got, "oauth_verifier=") != 1 {
				t.Errorf("%s: redirected to %s", callback, got)
			}
		}
		// A request without a callback of its own can be led to registered places only.
		for _, link := range append(refused, "https://evil.example/", "https://client.example/other", "https://client.example/oauth/../x") {
			tok := w.requestToken()
			address := authorize + "?oauth_token=" + tok.Key + "&oauth_callback=" + url.QueryEscape(link)
			page := srv.asUser(t, "GET", address, "alice", nil)
			if page.Status != http.StatusOK {
				continue
			}
			done := srv.asUser(t, "POST", address, "alice", fillIn(page.Body, "READ_PUBLIC"))
			if to := done.Header.Get("Location"); !strings.HasPrefix(to, "?done=") {
				t.Errorf("a link with the callback %q leads to %s", link, to)
			}
		}
	})
	// CWE-352. The page requires the browser's headers (Sec-Fetch-Site, Origin), and a token that
	// is bound to user, request and form.
	t.Run("a form of another origin changes nothing", func(t *testing.T) {
		w := walker{t, srv, demoKey, demoSecret}
		tok, other := w.requestToken(pair{"oauth_callback", "oob"}), w.requestToken(pair{"oauth_callback", "oob"})
		address := authorize + "?oauth_token=" + tok.Key
		fields := fillIn(srv.asUser(t, "GET", address, "alice", nil).Body, "WRITE_PUBLIC")
		eves := fillIn(srv.asUser(t, "GET", address, "eve", nil).Body, "WRITE_PUBLIC")
		others := fillIn(srv.asUser(t, "GET", authorize+"?oauth_token="+other.Key, "alice", nil).Body, "WRITE_PUBLIC")
		without := fillIn("", "WRITE_PUBLIC")
		without.Set("lifetime", "unlimited")
		same := []string{"Origin: " + srv.origin(), "Sec-Fetch-Site: same-origin", "Content-Type: " + formType}
		for what, c := range map[string]struct {
			lines  []string
			fields url.Values
		}{
			"another origin":                 {[]string{"Origin: https://evil.example", "Content-Type: " + formType}, fields},
			"another origin, says the fetch": {[]string{"Sec-Fetch-Site: cross-site", "Content-Type: " + formType}, fields},
			"the same site":                  {[]string{"Sec-Fetch-Site: same-site", "Content-Type: " + formType}, fields},
			"an opaque origin":               {[]string{"Origin: null", "Content-Type: " + formType}, fields},
			"another port":                   {[]string{"Origin: http://127.0.0.1:1", "Content-Type: " + formType}, fields},
			"no CSRF token":                  {same, without},
			"another user's":                 {same, eves},
			"another request's":              {same, others},
			"text/plain":                     {[]string{"Origin: " + srv.origin(), "Sec-Fetch-Site: same-origin", "Content-Type: text/plain"}, fields},
			"multipart":                      {[]string{"Origin: " + srv.origin(), "Sec-Fetch-Site: same-origin", "Content-Type: multipart/form-data; boundary=x"}, fields},
		} {
			got := srv.raw(t, srv.message("POST", "/+authorize-token?oauth_token="+tok.Key,
				append(c.lines, "X-Test-User: alice"), c.fields.Encode()))
			if got.Status != http.StatusForbidden && got.Status != http.StatusBadRequest {
				t.Errorf("%s: %d %s", what, got.Status, got.Body)
			}
			headers(t, what, got)
		}
		// A choice in the query has no effect: neither a GET nor the parameters of a link decide.
		srv.raw(t, srv.message("GET", "/+authorize-token?oauth_token="+tok.Key+"&"+fields.Encode(),
			[]string{"X-Test-User: alice"}, ""))
		srv.raw(t, srv.message("POST", "/+authorize-token?oauth_token="+tok.Key+"&"+fields.Encode(),
			append(same, "X-Test-User: alice"), "x=y"))
		// A level or context that the page did not offer is refused.
		for _, tamper := range []string{"&lp.context=all", "&allow_permission=WRITE_PUBLIC",
			"&oauth_callback=https%3A%2F%2Fevil.example"} {
			if got := srv.asUser(t, "POST", address+tamper, "alice", fields); tamper != "&oauth_callback=https%3A%2F%2Fevil.example" && got.Status != http.StatusForbidden {
				t.Errorf("%s: %d", tamper, got.Status)
			} else if got.Status == http.StatusSeeOther {
				if to := got.Header.Get("Location"); !strings.HasPrefix(to, "?done=") {
					t.Errorf("%s: redirected to %s", tamper, to)
				}
			}
		}
		if state := srv.mustAdmin(t, "GET", "/oauth1/request-tokens/"+other.Key, nil)["state"]; state != "waiting" {
			t.Errorf("the other request is %v", state)
		}
	})
	t.Run("only its user revokes a grant", func(t *testing.T) {
		tok := srv.issue(t, demoKey, "bob", "READ_PUBLIC", nil)
		page := srv.asUser(t, "GET", srv.origin()+"/+oauth-tokens", "bob", nil)
		found := regexp.MustCompile(`name="csrf" value="([^"]+)"`).FindAllStringSubmatch(page.Body, -1)
		if len(found) == 0 {
			t.Fatalf("no form in %s", page.Body)
		}
		for _, csrf := range found {
			for user, fields := range map[string]url.Values{
				"eve": {"csrf": {csrf[1]}, "token": {tok.Key}}, "alice": {"csrf": {csrf[1]}, "consumer": {demoKey}},
			} {
				if got := srv.asUser(t, "POST", srv.origin()+"/+oauth-tokens", user, fields); got.Status != http.StatusForbidden {
					t.Errorf("%s: %d %s", user, got.Status, got.Body)
				}
			}
		}
		srv.mustAdmin(t, "GET", "/oauth1/tokens/"+tok.Key, nil)
	})
}

func merged(o object, name string, value any) object {
	o[name] = value
	return o
}

// TestDoublePost sends a form of the authorize page twice, one after the other and at the same
// time, like a double click. All answers lead to the same place, which works. A different answer is
// refused.
func TestDoublePost(t *testing.T) {
	srv := startServer(t, site{Handler: "respond ok"}, "")
	w := walker{t, srv, demoKey, demoSecret}
	for _, callback := range []string{"https://client.example/cb", "oob"} {
		for _, many := range []int{2, 16} {
			t.Run(fmt.Sprintf("%s, %d times", callback, many), func(t *testing.T) {
				tok := w.requestToken(pair{"oauth_callback", callback})
				address := srv.origin() + "/+authorize-token?oauth_token=" + tok.Key
				fields := fillIn(srv.asUser(t, "GET", address, "alice", nil).Body, "READ_PUBLIC")
				places := make([]string, many)
				var all sync.WaitGroup
				for i := range places {
					all.Go(func() {
						r := srv.asUser(t, "POST", address, "alice", fields)
						places[i] = fmt.Sprint(r.Status, " ", r.Header.Get("Location"))
					})
				}
				all.Wait()
				slices.Sort(places)
				if found := slices.Compact(slices.Clone(places)); len(found) != 1 || !strings.HasPrefix(found[0], "303 ") {
					t.Fatalf("led to %q", found)
				}
				other := maps.Clone(fields)
				other.Set("permission", "WRITE_PUBLIC")
				if r := srv.asUser(t, "POST", address, "alice", other); r.Status != http.StatusConflict {
					t.Errorf("another answer: %d %s", r.Status, r.Body)
				}
				target, err := mustParse(t, address).Parse(strings.TrimPrefix(places[0], "303 "))
				if err != nil {
					t.Fatal(err)
				}
				verifier := target.Query().Get("oauth_verifier")
				if callback == "oob" {
					code := regexp.MustCompile(`id="verifier"[^>]*>([^<]+)<`).FindStringSubmatch(srv.asUser(t, "GET",
						target.String(), "alice", nil).Body)
					if code == nil {
						t.Fatalf("no code at %s", target)
					}
					verifier = code[1]
				}
				w.want(w.exchange(tok, pair{"oauth_verifier", verifier}), http.StatusOK, "")
				if r := srv.asUser(t, "POST", address, "alice", fields); r.Status != http.StatusOK || !strings.Contains(r.Body, "<h1>Finished</h1>") {
					t.Errorf("the same answer after the exchange: %d %s", r.Status, r.Body)
				}
			})
		}
	}
}
