package integration

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// The pages in a real browser: Debian's chromium, headless. browser_look_test.go tests how they
// look.

// browserApp declares the consumers that the browser meets.
const browserApp = `
consumer demo {
	name     "Release dashboard"
	homepage https://dashboard.example.com/
	secret   s3cr3t
}
consumer desk {
	name   "Backup desk"
	secret s3cr3t
	permissions READ_PUBLIC
}
consumer "<script>alert(1)</script>" {
	name   "<script>alert(1)</script>"
	secret s3cr3t
}
consumer "System-wide: Ubuntu (laptop)" {
	secret s3cr3t
}
`

// A browser is one process of chromium, and the site that it looks at.
type browser struct {
	t   *testing.T
	srv *server
	ctx context.Context
}

func startBrowser(t *testing.T, s site) *browser {
	t.Helper()
	requireProgram(t, "chromium")
	if s.App == "" {
		s.App = browserApp
	}
	s.Handler = `respond "from the upstream"`
	srv := startServer(t, s, "")
	return &browser{t, srv, startChromium(t)}
}

// startChromium starts the browser, with options beside the usual ones.
func startChromium(t *testing.T, more ...chromedp.ExecAllocatorOption) context.Context {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(requireProgram(t, "chromium")),
		chromedp.NoSandbox, // the tests may run as root
		chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
	)
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), append(options, more...)...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start chromium: %v", err)
	}
	return ctx
}

// walker returns a walker that gets request tokens for a consumer.
func (b *browser) walker(t *testing.T, consumer string) walker {
	return walker{t, b.srv, consumer, demoSecret}
}

// page returns the address of the page on which a token is reviewed.
func (b *browser) page(tok token, more ...string) string {
	query := url.Values{"oauth_token": {tok.Key}}
	for i := 0; i < len(more); i += 2 {
		query.Add(more[i], more[i+1])
	}
	return b.srv.origin() + "/+authorize-token?" + query.Encode()
}

// The buttons of the page that asks.
const (
	allow  = `button[value="allow"]`
	refuse = `button[value="refuse"]`
)

// state returns the state of a request token, from the admin API.
func (b *browser) state(t *testing.T, tok token) object {
	t.Helper()
	return b.srv.mustAdmin(t, "GET", "/oauth1/request-tokens/"+tok.Key, nil)
}

// A receiver is an application's website that records its requests.
type receiver struct {
	*httptest.Server
	mu   sync.Mutex
	seen []url.Values
}

func newReceiver(t *testing.T) *receiver {
	rec := new(receiver)
	rec.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/callback" {
			rec.mu.Lock()
			rec.seen = append(rec.seen, r.URL.Query())
			rec.mu.Unlock()
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprint(w, "<!doctype html><title>App</title><p>This is the application.")
	}))
	t.Cleanup(rec.Close)
	return rec
}

func (rec *receiver) last(t *testing.T) url.Values {
	t.Helper()
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if len(rec.seen) == 0 {
		t.Fatal("the browser was not sent to the callback")
	}
	return rec.seen[len(rec.seen)-1]
}

func TestBrowserReview(t *testing.T) {
	b := startBrowser(t, site{})
	app := newReceiver(t)

	t.Run("approve without a callback: almost finished, and the token can be exchanged", func(t *testing.T) {
		tok := b.walker(t, "demo").requestToken()
		tb := b.tab(t, "salgado").open(b.page(tok, "lp.context", "firefox"))
		tb.wantText("did not say where it came from")
		tb.wantText("firefox")
		tb.choose("permission", "WRITE_PRIVATE")
		tb.press(allow)
		tb.wantText("Almost finished")
		b.walker(t, "demo").want(b.walker(t, "demo").exchange(tok), http.StatusOK, "")
		tb.do(chromedp.Reload())
		tb.wantText("Finished") // the token is used up
		tb.wantText("The application has its access.")
	})
	t.Run("nothing is sent before a level is chosen", func(t *testing.T) {
		tok := b.walker(t, "demo").requestToken()
		tb := b.tab(t, "salgado").open(b.page(tok))
		tb.do(chromedp.Click(chromedp.CSS(allow)), chromedp.Sleep(200*time.Millisecond))
		if !script[bool](tb, `document.querySelector("form:invalid") !== null`) {
			t.Error("the form is valid without a level")
		}
		tb.press(refuse) // a refusal needs none
		tb.wantText("may not act for you")
	})
	t.Run("refuse: the consumer is told", func(t *testing.T) {
		tok := b.walker(t, "demo").requestToken()
		tb := b.tab(t, "salgado").open(b.page(tok))
		tb.press(refuse)
		tb.wantText("No access")
		b.walker(t, "demo").want(b.walker(t, "demo").exchange(tok), http.StatusForbidden,
			"End-user refused to authorize request token.")
	})
	for value, length := range map[string]time.Duration{"unlimited": 0, "hour": time.Hour, "day": 24 * time.Hour,
		"week": 7 * 24 * time.Hour} {
		t.Run("the access token lives as long as was chosen: "+value, func(t *testing.T) {
			user := "lifetime-" + value
			tok := b.walker(t, "demo").requestToken()
			tb := b.tab(t, user).open(b.page(tok))
			tb.choose("permission", "READ_PUBLIC")
			tb.choose("lifetime", value)
			tb.press(allow)
			b.walker(t, "demo").want(b.walker(t, "demo").exchange(tok), http.StatusOK, "")
			items, _ := b.srv.mustAdmin(t, "GET", "/oauth1/tokens?user="+user, nil)["items"].([]any)
			if len(items) != 1 {
				t.Fatalf("access tokens: %v", items)
			}
			expires, _ := items[0].(object)["expires"].(string)
			if length == 0 {
				if expires != "" {
					t.Errorf("expires %s, want never", expires)
				}
				return
			}
			at, err := time.Parse(time.RFC3339, expires)
			if off := time.Until(at) - length; err != nil || off > time.Second || off < -time.Minute {
				t.Errorf("expires %s, want %v from now", expires, length)
			}
		})
	}
	t.Run("the redirect to the callback passes the page's own form-action", func(t *testing.T) {
		tok := b.walker(t, "demo").requestToken(pair{"oauth_callback", app.URL + "/callback?state=1"})
		tb := b.tab(t, "salgado").open(b.page(tok))
		tb.wantText(app.URL)
		tb.choose("permission", "READ_PUBLIC")
		tb.press(allow)
		tb.wantText("This is the application.")
		got := app.last(t)
		if got.Get("state") != "1" || got.Get("oauth_token") != tok.Key || got.Get("oauth_verifier") == "" {
			t.Errorf("callback got %v", got)
		}
		b.walker(t, "demo").want(b.walker(t, "demo").exchange(tok, pair{"oauth_verifier", got.Get("oauth_verifier")}),
			http.StatusOK, "")
	})
	t.Run("the redirect may lead on to another origin", func(t *testing.T) {
		elsewhere := strings.Replace(app.URL, "127.0.0.1", "localhost", 1)
		first := httptest.NewServer(http.RedirectHandler(elsewhere+"/welcome", http.StatusSeeOther))
		defer first.Close()
		b.srv.mustAdmin(t, "POST", "/oauth1/consumers", object{
			"key": "two-origins", "secret": demoSecret, "callbacks": []string{first.URL + "/callback"},
		})
		tok := b.walker(t, "two-origins").requestToken(pair{"oauth_callback", first.URL + "/callback"})
		tb := b.tab(t, "salgado").open(b.page(tok))
		tb.choose("permission", "READ_PUBLIC")
		tb.press(allow)
		tb.wantText("This is the application.")
	})
	t.Run("so does the redirect to an app's own scheme", func(t *testing.T) {
		b.srv.mustAdmin(t, "POST", "/oauth1/consumers", object{
			"key": "phone-app", "secret": demoSecret, "callbacks": []string{"myapp://done/*"},
		})
		tok := b.walker(t, "phone-app").requestToken(pair{"oauth_callback", "myapp://done/now"})
		tb := b.tab(t, "salgado").open(b.page(tok))
		// No program here handles the scheme, so the page stays. The policy tells the page which
		// address it refuses.
		script[any](tb, `document.addEventListener("securitypolicyviolation", e => { window.refused = e.violatedDirective }), true`)
		tb.choose("permission", "READ_PUBLIC")
		tb.do(chromedp.Click(chromedp.CSS(allow)))
		b.srv.waitUntil("the token is reviewed", func() error {
			if got := b.state(t, tok)["state"]; got != "reviewed" {
				return fmt.Errorf("it is %v", got)
			}
			return nil
		})
		tb.do(chromedp.Sleep(500 * time.Millisecond))
		if refused := script[string](tb, `window.refused || ""`); refused != "" {
			t.Errorf("the page's own policy refused it: %s", refused)
		}
	})
	t.Run("a refusal reaches the callback too, without a verifier", func(t *testing.T) {
		tok := b.walker(t, "demo").requestToken(pair{"oauth_callback", app.URL + "/callback"})
		tb := b.tab(t, "salgado").open(b.page(tok))
		tb.press(refuse)
		tb.wantText("This is the application.")
		if got := app.last(t); got.Get("oauth_problem") != "permission_denied" || got.Has("oauth_verifier") {
			t.Errorf("callback got %v", got)
		}
	})
	t.Run("oob: the code is shown, can be copied at once, and works", func(t *testing.T) {
		tok := b.walker(t, "demo").requestToken(pair{"oauth_callback", "oob"})
		tb := b.tab(t, "salgado").open(b.page(tok))
		tb.choose("permission", "READ_PUBLIC")
		tb.press(allow)
		tb.do(chromedp.Click(chromedp.CSS("#verifier")))
		code := script[string](tb, "getSelection().toString()")
		if code == "" || code != script[string](tb, `document.getElementById("verifier").textContent`) {
			t.Errorf("one click selects %q", code)
		}
		b.walker(t, "demo").want(b.walker(t, "demo").exchange(tok, pair{"oauth_verifier", code}), http.StatusOK, "")
	})
	t.Run("an unknown token gets a page that says so", func(t *testing.T) {
		tb := b.tab(t, "salgado").open(b.page(token{Key: "nonesuch"}))
		tb.wantText("This request is over, or was never here")
	})
	t.Run("a used token gets a page that says so", func(t *testing.T) {
		tok := b.walker(t, "demo").requestToken()
		b.srv.review(t, tok.Key, "salgado", "READ_PUBLIC", nil)
		tb := b.tab(t, "salgado").open(b.page(tok))
		tb.wantText("You have answered this request already")
		b.tab(t, "somebody").open(b.page(tok)).wantText("This request was answered already")
		b.walker(t, "demo").want(b.walker(t, "demo").exchange(tok), http.StatusOK, "")
		tb.open(b.page(tok)).wantText("This request is over, or was never here")
	})
	t.Run("two tabs at once: the first answer stands", func(t *testing.T) {
		tok := b.walker(t, "demo").requestToken()
		first, second := b.tab(t, "salgado").open(b.page(tok)), b.tab(t, "salgado").open(b.page(tok))
		first.press(refuse)
		second.choose("permission", "WRITE_PRIVATE")
		second.press(allow)
		second.wantText("You have answered this request already")
		b.walker(t, "demo").want(b.walker(t, "demo").exchange(tok), http.StatusForbidden,
			"End-user refused to authorize request token.")
	})
	t.Run("the back button, and the same answer again, lead to the same code", func(t *testing.T) {
		tok := b.walker(t, "demo").requestToken(pair{"oauth_callback", "oob"})
		tb := b.tab(t, "salgado").open(b.page(tok))
		tb.choose("permission", "READ_PUBLIC")
		tb.press(allow)
		tb.wantText("Your code")
		code := script[string](tb, `document.getElementById("verifier").textContent`)
		tb.do(chromedp.Reload())
		tb.wantText(code)
		// Chromium may restore the old page from its cache. Then the form's answer counts.
		tb.do(chromedp.Evaluate[chromedp.Void]("history.back()"))
		tb.waitFor(`document.querySelector("form, .onward") !== null`)
		tb.do(chromedp.Evaluate[chromedp.Void](`document.querySelector('button[value="allow"], .onward a').click()`))
		tb.waitFor(`document.getElementById("verifier") !== null`)
		tb.wantText(code) // the code is not lost
		b.walker(t, "demo").want(b.walker(t, "demo").exchange(tok, pair{"oauth_verifier", code}), http.StatusOK, "")
		tb.do(chromedp.Reload())
		tb.wantText("Finished")
		tb.open(b.page(tok)).wantText("If the application works, all is done.")
	})
	t.Run("the page of an answered request leads on to the application", func(t *testing.T) {
		tok := b.walker(t, "demo").requestToken(pair{"oauth_callback", app.URL + "/callback?state=2"})
		tb := b.tab(t, "salgado").open(b.page(tok))
		tb.choose("permission", "READ_PUBLIC")
		tb.press(allow)
		tb.wantText("This is the application.")
		first := app.last(t)
		tb.open(b.page(tok)).wantText("You have answered this request already")
		tb.press(".onward a")
		tb.wantText("This is the application.")
		if got := app.last(t); got.Encode() != first.Encode() || got.Get("oauth_verifier") == "" {
			t.Errorf("callback got %v and then %v", first, got)
		}
		other := b.tab(t, "somebody").open(b.page(tok))
		other.wantText("This request was answered already")
		if strings.Contains(script[string](other, "document.documentElement.outerHTML"), first.Get("oauth_verifier")) {
			t.Error("another user gets the verifier")
		}
	})
	for _, apart := range []time.Duration{0, 5, 20, 50, 200} {
		apart *= time.Millisecond
		t.Run(fmt.Sprintf("a double click on Allow, %v apart, reaches the callback", apart), func(t *testing.T) {
			for _, button := range []string{allow, refuse} {
				tok := b.walker(t, "demo").requestToken(pair{"oauth_callback", app.URL + "/callback"})
				tb := b.tab(t, "salgado").open(b.page(tok))
				tb.choose("permission", "READ_PUBLIC")
				tb.doubleClick(button, apart)
				tb.waitFor(`document.body !== null && document.body.innerText.includes("This is the application.")`)
				got := app.last(t)
				if got.Get("oauth_token") != tok.Key {
					t.Fatalf("callback got %v", got)
				}
				if button == refuse {
					b.walker(t, "demo").want(b.walker(t, "demo").exchange(tok), http.StatusForbidden,
						"End-user refused to authorize request token.")
					continue
				}
				b.walker(t, "demo").want(b.walker(t, "demo").exchange(tok,
					pair{"oauth_verifier", got.Get("oauth_verifier")}), http.StatusOK, "")
			}
		})
	}
	t.Run("a double click shows a code that works", func(t *testing.T) {
		tok := b.walker(t, "demo").requestToken(pair{"oauth_callback", "oob"})
		tb := b.tab(t, "salgado").open(b.page(tok))
		tb.choose("permission", "READ_PUBLIC")
		tb.doubleClick(allow, 20*time.Millisecond)
		tb.waitFor(`document.getElementById("verifier") !== null`)
		code := script[string](tb, `document.getElementById("verifier").textContent`)
		b.walker(t, "demo").want(b.walker(t, "demo").exchange(tok, pair{"oauth_verifier", code}), http.StatusOK, "")
	})
	t.Run("an integration of the whole computer has a page of its own", func(t *testing.T) {
		tok := b.walker(t, "System-wide: Ubuntu (laptop)").requestToken()
		tb := b.tab(t, "salgado").open(b.page(tok, "allow_permission", "DESKTOP_INTEGRATION"))
		tb.wantText("Confirm computer access")
		tb.wantText("A computer that calls itself “laptop” (Ubuntu) wants to act for you")
		tb.press(allow)
		tb.wantText("Almost finished")
		if got := b.state(t, tok)["permission"]; got != "DESKTOP_INTEGRATION" {
			t.Errorf("permission %v", got)
		}
	})
	t.Run("the list of grants: revoke one, revoke all of an application", func(t *testing.T) {
		for range 3 {
			b.srv.issue(t, "demo", "lister", "READ_PUBLIC", nil)
		}
		tb := b.tab(t, "lister").open(b.srv.origin() + "/+oauth-tokens")
		count := func() int { return script[int](tb, `document.querySelectorAll(".grants li").length`) }
		if n := count(); n != 3 {
			t.Errorf("%d grants are listed, want 3", n)
		}
		tb.press(".grants button")
		if n := count(); n != 2 {
			t.Errorf("%d grants are listed after one was revoked, want 2", n)
		}
		tb.press(".app-head button")
		tb.wantText("Revoked. Release dashboard")
		tb.wantText("Nobody acts for you")
	})
}

func TestBrowserExpiredToken(t *testing.T) {
	b := startBrowser(t, site{App: browserApp + "request_token_lifetime 2s\n"})
	tok := b.walker(t, "demo").requestToken()
	tb := b.tab(t, "salgado").open(b.page(tok))
	time.Sleep(2100 * time.Millisecond)
	tb.choose("permission", "READ_PUBLIC")
	tb.press(allow)
	tb.wantText("This request has expired")
	tb.open(b.page(tok)).wantText("This request has expired")
	t.Run("axe-core finds nothing", func(t *testing.T) { tb.look(t, "expired") })
}

func TestBrowserAttacks(t *testing.T) {
	b := startBrowser(t, site{})
	var body string // the attacker's page
	attacker := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprint(w, "<!doctype html><title>Evil</title>", body)
	}))
	t.Cleanup(attacker.Close)

	for _, from := range []string{attacker.URL, strings.Replace(attacker.URL, "127.0.0.1", "localhost", 1)} {
		t.Run("a form that another origin posts changes nothing: "+from, func(t *testing.T) {
			tok := b.walker(t, "demo").requestToken()
			// The attacker even knows the user's CSRF token.
			csrf := script[string](b.tab(t, "salgado").open(b.page(tok)),
				`document.querySelector("input[name=csrf]").value`)
			body = fmt.Sprintf(`<form method="post" action=%q><input name="csrf" value=%q><input name="permission" value="WRITE_PRIVATE">`+
				`<input name="lifetime" value="unlimited"><button name="decision" value="allow">Win a prize</button></form>`, b.page(tok), csrf)
			tb := b.tab(t, "salgado").open(from)
			tb.press("button")
			tb.wantText("This did not come from our page")
			if got := b.state(t, tok)["state"]; got != "waiting" {
				t.Errorf("the token is %v", got)
			}
		})
	}
	t.Run("another origin can't frame the pages", func(t *testing.T) {
		tok := b.walker(t, "demo").requestToken()
		body = fmt.Sprintf(`<iframe src=%q width="600" height="600"></iframe>`, b.page(tok))
		tb := b.tab(t, "salgado")
		blocked := make(chan string, 1)
		err := chromedp.Listen(tb.ctx, func(ev any) {
			if ev, ok := ev.(*network.EventLoadingFailed); ok && ev.Type == network.ResourceTypeDocument {
				blocked <- ev.ErrorText
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		tb.open(attacker.URL)
		select {
		case reason := <-blocked:
			if reason != "net::ERR_BLOCKED_BY_RESPONSE" {
				t.Errorf("the frame failed with %s", reason)
			}
		case <-time.After(patience):
			t.Error("nothing was blocked")
		}
	})
	t.Run("a consumer named <script>alert(1)</script> is text", func(t *testing.T) {
		const name = "<script>alert(1)</script>"
		tb := b.tab(t, name)
		err := chromedp.Listen(tb.ctx, func(ev any) {
			if _, ok := ev.(*page.EventJavascriptDialogOpening); ok {
				t.Error("a script ran")
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		tb.open(b.page(b.walker(t, name).requestToken(), "lp.context", name))
		tb.wantText("Allow " + name)
		if n := script[int](tb, "document.scripts.length"); n != 0 {
			t.Errorf("%d scripts in the page", n)
		}
		tb.choose("permission", "READ_PUBLIC")
		tb.press(allow)
		tb.wantText(name)
		b.srv.issue(t, name, name, "READ_PUBLIC", object{"context": name})
		tb.open(b.srv.origin() + "/+oauth-tokens").wantText(name)
		if n := script[int](tb, "document.scripts.length"); n != 0 {
			t.Errorf("%d scripts in the page", n)
		}
	})
}
