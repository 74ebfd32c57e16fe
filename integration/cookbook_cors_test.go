package integration

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// The CORS recipes in a real browser: scripts of https://app.example.com call
// https://api.example.com, the site of the recipe. One server serves both. The browser maps port
// 443 of all names to its port, and accepts certificates of Caddy's own authority.

// A crossOrigin is a browser and its server.
type crossOrigin struct {
	*browser
}

// startCrossOrigin starts the recipe's site in front of an API, and a browser.
func startCrossOrigin(t *testing.T, recipe, api string) crossOrigin {
	t.Helper()
	requireProgram(t, "chromium")
	srv := startServer(t, site{
		Global: "http_port {{.Spare}}\nhttps_port {{.Port}}\nlocal_certs\nskip_install_trust\n" +
			"auto_https disable_redirects\nservers {\n\tprotocols h1 h2\n}",
		Address: "http://127.0.0.1:{{.Spare}}",
		Handler: "respond spare",
		More: "https://api.example.com {\n" + recipe + "\nreverse_proxy {{.Upstream}}\n}\n" +
			"https://app.example.com, https://evil.example.com {\n" +
			"\theader Content-Type \"text/html; charset=utf-8\"\n" +
			"\trespond \"<!doctype html><title>App</title>\"\n}",
		Vars: map[string]string{"Spare": freePort(t)},
	}, api)
	return crossOrigin{&browser{t, srv, startChromium(t,
		chromedp.Flag("host-resolver-rules", "MAP * 127.0.0.1:"+srv.port),
		chromedp.Flag("ignore-certificate-errors", true),
	)}}
}

// page opens a page of an origin, whose scripts have the functions of the cookbook.
func (c crossOrigin) page(t *testing.T, origin string) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(c.ctx)
	t.Cleanup(cancel)
	tb := &tab{t, ctx}
	if err := chromedp.Do(ctx); err != nil { // binds the tab to a context without a timeout
		t.Fatal(err)
	}
	tb.open(origin)
	functions := fencedBlocks(t, "js")["CORS: Caddy answers the browser"]
	script[any](tb, functions+`
		globalThis.attempt = async (fetching) => {
			try {
				const answer = await fetching;
				return { status: answer.status, body: await answer.text() };
			} catch (refused) {
				return { status: 0, body: String(refused) };
			}
		};
		globalThis.queryFetch = async (address, options, key) => {
			const url = new URL(address);
			const oauth = await sign(options.method, address, undefined, key);
			Object.entries(oauth).forEach(([name, value]) => url.searchParams.append(name, value));
			return fetch(url, options);
		};
		Object.assign(globalThis, { sign, signedFetch });
		null`)
	return tb
}

// A key has the credentials of a script, in the form of the cookbook's functions.
type key struct {
	Consumer       string            `json:"consumer"`
	ConsumerSecret string            `json:"consumerSecret"`
	Token          string            `json:"token,omitempty"`
	TokenSecret    string            `json:"tokenSecret,omitempty"`
	More           map[string]string `json:"more,omitempty"`
}

// fetched is the result of a script's request; the status is 0 if the browser hides the answer.
type fetched struct {
	Status int    `json:"status"`
	Body   string `json:"body"`
}

// fetch calls one of the page's functions.
func (tb *tab) fetch(function, address, options string, k key) fetched {
	tb.t.Helper()
	text, err := json.Marshal(k)
	if err != nil {
		tb.t.Fatal(err)
	}
	return script[fetched](tb, fmt.Sprintf("attempt(%s(%q, %s, %s))", function, address, options, text))
}

const (
	appOrigin  = "https://app.example.com"
	evilOrigin = "https://evil.example.com"
	apiOrigin  = "https://api.example.com"
)

// trySignedFetches makes the requests that a script of the app makes. Those with credentials in the
// query are PUTs, so that they have a preflight, too.
func (c crossOrigin) trySignedFetches(t *testing.T) {
	tok := c.srv.issue(t, demoKey, "salgado", "WRITE_PUBLIC", nil)
	good := key{Consumer: demoKey, ConsumerSecret: demoSecret, Token: tok.Key, TokenSecret: tok.Secret}
	wrong := good
	wrong.TokenSecret = "wrong"
	const put = `{method: "PUT", body: '{"a":1}', headers: {"Content-Type": "application/json"}}`
	const patch = `{method: "patch", body: "null", headers: {"Content-Type": "application/json"}}`
	const post = `{method: "post", body: new URLSearchParams([["a", "1 2"], ["a", "ü&="], ["z*", "!'()~"]])}`
	app, evil := c.page(t, appOrigin), c.page(t, evilOrigin)
	for _, test := range []struct {
		name, function, address, options string
		method, uri, body                string // as the API gets them
	}{
		{"in the header", "signedFetch", "/photos?size=a%20b&size=%2B&%C3%BC=1&a[]=!'()*&empty", `{}`,
			"GET", "/photos?size=a%20b&size=%2B&%C3%BC=1&a[]=!%27()*&empty", ""},
		{"a form", "signedFetch", "/photos", post, "POST", "/photos", "a=1+2&a=%C3%BC%26%3D&z*=%21%27%28%29%7E"},
		{"JSON", "signedFetch", "/photos", put, "PUT", "/photos", `{"a":1}`},
		{"a method in lower case", "signedFetch", "/photos", patch, "PATCH", "/photos", "null"},
		{"in the query", "queryFetch", "/photos?size=a", put, "PUT", "/photos?size=a", `{"a":1}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			answer := app.fetch(test.function, apiOrigin+test.address, test.options, good)
			got := parseReceived(t, reply{Status: answer.Status, Body: answer.Body})
			if got.Method != test.method || got.URI != test.uri || string(got.Body) != test.body {
				t.Errorf("the API got %s %s %q", got.Method, got.URI, got.Body)
			}
			if user := got.Header.Get("X-Oauth-User"); user != "salgado" {
				t.Errorf("it acts for %q", user)
			}
			answer = app.fetch(test.function, apiOrigin+test.address, test.options, wrong)
			if answer.Status != http.StatusUnauthorized || answer.Body != "Invalid signature." {
				t.Errorf("with a wrong secret the script reads %d %q", answer.Status, answer.Body)
			}
			answer = evil.fetch(test.function, apiOrigin+test.address, test.options, good)
			if answer.Status != 0 || !strings.HasPrefix(answer.Body, "TypeError") {
				t.Errorf("a script of another origin reads %d %q", answer.Status, answer.Body)
			}
		})
	}
}

func tryCORSOfCaddy(t *testing.T, recipe string) {
	up := newUpstream(t)
	c := startCrossOrigin(t, recipe, up.URL)
	c.trySignedFetches(t)
	seen := up.take()
	if len(seen) != 5 {
		t.Errorf("%d requests reached the API, want 5", len(seen))
	}
	if slices.ContainsFunc(seen, func(got received) bool { return got.Method == "OPTIONS" }) {
		t.Error("a preflight reached the API")
	}
}

// newCORSAPI is an API that answers preflights itself: only scripts of the app may use it.
func newCORSAPI(t *testing.T) *upstream {
	up := new(upstream)
	up.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Vary", "Origin")
		if r.Header.Get("Origin") == appOrigin {
			header.Set("Access-Control-Allow-Origin", appOrigin)
			header.Set("Access-Control-Allow-Methods", "PUT, PATCH")
			header.Set("Access-Control-Allow-Headers", "Authorization, Content-Type")
		}
		if r.Method != http.MethodOptions {
			up.ServeHTTP(w, r)
			return
		}
		up.record(received{Method: r.Method, URI: r.RequestURI, Header: r.Header.Clone()})
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(up.Close)
	return up
}

func tryCORSOfTheAPI(t *testing.T, recipe string) {
	up := newCORSAPI(t)
	c := startCrossOrigin(t, recipe, up.URL)
	c.trySignedFetches(t)
	preflights := 0
	for _, got := range up.take() {
		if got.Method != http.MethodOptions {
			continue
		}
		preflights++
		if identity := identityLines(got); len(identity) > 0 || strings.Contains(got.URI, "oauth_") {
			t.Errorf("a preflight reached the API as %s with %v", got.URI, identity)
		}
	}
	if preflights < 5 {
		t.Errorf("%d preflights reached the API", preflights)
	}
}

func tryCORSOfTheEndpoints(t *testing.T, recipe string) {
	up := newUpstream(t)
	c := startCrossOrigin(t, recipe, up.URL)
	c.trySignedFetches(t)

	app := c.page(t, appOrigin)
	const post = `{method: "POST"}`
	k := key{Consumer: demoKey, ConsumerSecret: demoSecret, More: map[string]string{"oauth_callback": "oob"}}
	use := func(answer fetched) {
		t.Helper()
		tok, err := parseToken(answer.Body)
		if err != nil || answer.Status != http.StatusOK {
			t.Fatalf("%d %v", answer.Status, err)
		}
		k.Token, k.TokenSecret, k.More = tok.Key, tok.Secret, nil
	}
	use(app.fetch("signedFetch", apiOrigin+"/+request-token", post, k))
	verifier, _ := c.srv.review(t, k.Token, "salgado", "READ_PUBLIC", nil)["verifier"].(string)
	k.More = map[string]string{"oauth_verifier": verifier}
	use(app.fetch("signedFetch", apiOrigin+"/+access-token", post, k))
	answer := app.fetch("signedFetch", apiOrigin+"/x", `{}`, k)
	if got := parseReceived(t, reply{Status: answer.Status, Body: answer.Body}); got.URI != "/x" {
		t.Errorf("the API got %s", got.URI)
	}
	k.More = map[string]string{"oauth_verifier": "x"}
	answer = app.fetch("signedFetch", apiOrigin+"/+access-token", post, k)
	if answer.Status != http.StatusUnauthorized || answer.Body == "" {
		t.Errorf("of a refusal the script reads %d %q", answer.Status, answer.Body)
	}
}
