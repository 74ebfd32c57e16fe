package integration

import (
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// hostileMarkup breaks out of HTML and of Caddy's templates if an error page is made of it.
var hostileMarkup = []string{
	`<b>bold</b>`, `<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `' onmouseover='alert(1)`,
	`{{.Host}}`, `{{env "PATH"}}`,
	`{{placeholder "http.request.header.X-Secret"}}`, "{{`x`}}", `&lt;b&gt;`, `a&b=c`,
	`{http.request.header.X-Secret}`, `{{"{{"}}`, `</p></body>`, `{`, `{{`,
	`{{/*`, `<!--`, `{{end}}`, `{{template "x"}}`, `x{{`, "&#60;b&#62;", `\u003cb\u003e<`,
}

// refusedWith returns requests that contain the text, and whose refusal repeats parts of the
// request.
func refusedWith(srv *server, tok token, text string) map[string]string {
	header := func(pairs ...pair) string { return "Authorization: " + authorization(pairs) }
	method, plain := pair{"oauth_signature_method", "PLAINTEXT"}, pair{"oauth_signature", "x"}
	good := plaintext(demoKey, demoSecret, tok)
	w := walker{nil, srv, demoKey, demoSecret}
	formLine := "Content-Type: " + formType
	escaped := strings.NewReplacer("%2F", "/").Replace(escape(text))
	return map[string]string{
		"a consumer's key": srv.message("GET", "/x", []string{header(pair{"oauth_consumer_key", text},
			method, plain)}, ""),
		"the same, query": srv.message("GET", "/x?"+form([]pair{{"oauth_consumer_key", text}, method,
			plain}), nil, ""),
		"a token's key": srv.message("GET", "/x", []string{header(plaintext(demoKey, demoSecret,
			token{text, "x"})...)}, ""),
		"a signature method": srv.message("GET", "/x", []string{header(pair{"oauth_consumer_key", demoKey},
			pair{"oauth_signature_method", text}, plain)}, ""),
		"a parameter, twice": srv.message("GET", "/x", []string{header(append(good, pair{"oauth_" + text,
			"1"}, pair{"oauth_" + text, "1"})...)}, ""),
		"a version": srv.message("GET", "/x", []string{header(append(good, pair{"oauth_version",
			text})...)}, ""),
		"a timestamp": srv.message("GET", "/x", []string{header(append(good, pair{"oauth_nonce", "x"},
			pair{"oauth_timestamp", text})...)}, ""),
		"a nonce": srv.message("GET", "/x", []string{header(append(good, pair{"oauth_nonce",
			text}, pair{"oauth_timestamp", "1"})...)}, ""),
		"a path":         srv.message("GET", "/"+escaped, nil, ""),
		"a raw path":     srv.message("GET", "/"+strings.ReplaceAll(text, " ", ""), nil, ""),
		"a path, strict": srv.message("GET", "/a//"+escaped, nil, ""),
		"a query":        srv.message("GET", "/x?"+escaped, nil, ""),
		"a target":       srv.message("GET", "mail:"+escaped, nil, ""),
		"a raw target":   srv.message("GET", "mail:"+strings.ReplaceAll(text, " ", ""), nil, ""),
		"a content type": srv.message("POST", "/x", []string{header(good...), "Content-Type: " + text},
			"a=b"),
		"a connection": srv.message("GET", "/x", []string{header(good...), "Connection: close, " +
			text}, ""),
		"an authorization": srv.message("GET", "/x", []string{"Authorization: OAuth " + text}, ""),
		"a malformed one":  srv.message("GET", "/x", []string{header(good...) + `, a="` + text + `"`}, ""),
		"an endpoint's key": srv.message("POST", "/+request-token", []string{formLine},
			form([]pair{{"oauth_consumer_key", text}, method, plain})),
		"an endpoint's token": srv.message("POST", "/+access-token", []string{formLine},
			form(w.params(token{text, "x"}))),
		"a callback": srv.message("POST", "/+request-token", []string{formLine},
			form(w.params(token{}, pair{"oauth_callback", "https://x.example/" + text}))),
		"a callback's scheme": srv.message("POST", "/+request-token", []string{formLine},
			form(w.params(token{}, pair{"oauth_callback", text + "://x"}))),
		"a Host": strings.Replace(srv.message("GET", "/x", nil, ""), "Host: 127.0.0.1",
			"Host: "+strings.ReplaceAll(text, " ", ""), 1),
		"a page": srv.message("GET",
			"/+authorize-token?oauth_token="+escape(text)+"&oauth_callback="+escape(text), nil, ""),
		"a page's method": srv.message("X&'Y", "/+authorize-token", nil, ""),
		"a method":        srv.message("a&'b`", "/x", nil, ""),
		"an override": srv.message("GET", "/x", []string{header(good...), "X-HTTP-Method-Override: " +
			text}, ""),
	}
}

// refusalPlaceholders contain text that clients write.
const refusalPlaceholders = "{oauth1.refusal.text} {oauth1.refusal.consumer} {oauth1.refusal.token} " +
	"{oauth1.refusal.parameter}"

// ownQuotes matches the quotes that stand in the server's own texts.
var ownQuotes = regexp.MustCompile(`"(1\.0)"|(name)="value"|the character '(.)'`)

// CWE-79 and CWE-1336: the values that handle_errors gets are safe in HTML and in Caddy's
// templates, even if they repeat the client's text. (Unchanged text would be safe only in
// text/plain, and Caddy can't know the type of the page.)
func TestAttackErrorPages(t *testing.T) {
	const secret = "X-Secret: what-nobody-may-see"
	for name, routes := range map[string]string{
		"respond":         `respond "[{err.message}]"`,
		"the whole error": `respond "[{http.error}]"`,
		"respond with HTML": "header Content-Type \"text/html; charset=utf-8\"\n" +
			"\trespond \"[{err.message}]\"",
		"templates": "header Content-Type \"text/html; charset=utf-8\"\n" +
			"\ttemplates\n\trespond `[{{.Placeholder}}]`",
		"templates of the message": "header Content-Type \"text/html; charset=utf-8\"\n\ttemplates\n" +
			"\trespond `[{err.message}]`",
		"the placeholders of the refusal": `respond "[` + refusalPlaceholders + `]"`,
		"the placeholders in HTML, by templates": "header Content-Type \"text/html; charset=utf-8\"\n\ttemplates\n" +
			"\trespond `[" + refusalPlaceholders + "]`",
		"the placeholders in a header": "header X-Why \"[" + refusalPlaceholders + "]\"\n\trespond \"[]\"",
		"a header":                     "header X-Why \"[{err.message}]\"\n\trespond \"[]\"",
	} {
		t.Run(name, func(t *testing.T) {
			s := anyHost("policy /never/* {\n\tanonymous\n}\npolicy {\n\tpermission READ_PUBLIC\n}", "")
			s.Handler = "respond \"from the upstream\"\nhandle_errors {\n\t" + routes + "\n}"
			s.Vars = map[string]string{"Placeholder": `{{placeholder "http.error.message"}}`}
			srv := startServer(t, s, "")
			srv.mayLogErrors(t) // a template may fail to parse
			tok := srv.issue(t, demoKey, "salgado", "READ_PUBLIC", nil)
			shown, hosts := 0, 0
			for _, text := range hostileMarkup {
				for what, request := range refusedWith(srv, tok, text) {
					request = strings.Replace(request, "\r\n", "\r\n"+secret+"\r\n", 1)
					got, err := srv.tryRaw(t, "127.0.0.1:"+srv.port, request)
					if err != nil {
						t.Errorf("%s, %s: %v", what, text, err)
						continue
					}
					why := got.Body + got.Header.Get("X-Why")
					if got.Status == http.StatusOK || !strings.HasPrefix(why, "[") {
						continue // the request passed, or was answered by Go's server, or by a page of the directive
					}
					shown++
					if strings.ContainsAny(ownQuotes.ReplaceAllString(why, "$1$2$3"), "<>\"'&") ||
						strings.Contains(why, "{{") || strings.Contains(why, "}}") {
						t.Errorf("%s, %s: the error route gets %q", what, text, why)
					}
					if strings.Contains(why, "what-nobody-may-see") || strings.Contains(why, "/bin") {
						t.Errorf("%s, %s: a template was run: %q", what, text, why)
					}
					if strings.Contains(why, "127.0.0.1") {
						hosts++
					}
				}
			}
			if hosts > 0 {
				t.Errorf("%d times a template told the host", hosts)
			}
			if shown < 5*len(hostileMarkup) {
				t.Errorf("%d refusals came by the error routes: there is nothing to see here", shown)
			}
			got := srv.raw(t, srv.message("GET", "/x", []string{"Authorization: " +
				authorization(plaintext("nobody-1.x_y~z", "x", token{}))}, ""))
			if why := got.Body + got.Header.Get("X-Why"); !strings.Contains(why,
				"Unknown consumer (nobody-1.x_y~z).") {
				t.Errorf("a harmless value is changed: %q", why)
			}
		})
	}
}

// Without an error route, the client reads the plain text, which repeats its key exactly as it was
// sent, so that programs can compare it.
func TestAttackPlainRefusals(t *testing.T) {
	for name, handler := range map[string]string{
		"no routes":             "respond ok",
		"routes for others":     "respond ok\nhandle_errors 5xx {\n\trespond \"{err.message}\"\n}",
		"routes without a body": "respond ok\nhandle_errors {\n\theader X-Seen yes\n}",
		"routes that fail":      "respond ok\nhandle_errors {\n\terror 502\n}",
	} {
		t.Run(name, func(t *testing.T) {
			srv := startServer(t, site{Handler: handler}, "")
			if name == "routes that fail" {
				srv.mayLogErrors(t)
			}
			tok := srv.issue(t, demoKey, "salgado", "READ_PUBLIC", nil)
			for _, text := range hostileMarkup {
				for what, c := range map[string]struct {
					params []pair
					body   string
				}{
					"a consumer": {plaintext(text, "x", tok), "Unknown consumer (" + text + ")."},
					"a token": {plaintext(demoKey, demoSecret, token{text, "x"}),
						"Unknown access token (" + text + ")."},
				} {
					got := srv.raw(t, srv.message("GET", "/x", []string{"Authorization: " +
						authorization(c.params)}, ""))
					want(t, what+" "+text, got, http.StatusUnauthorized, c.body)
					if got.Header.Get("Content-Type") != "text/plain; charset=utf-8" ||
						got.Header.Get("X-Content-Type-Options") != "nosniff" {
						t.Errorf("%s %s: %v", what, text, got.Header)
					}
				}
			}
		})
	}
}

// RFC 9110 section 15.5.6: a 405 lists the methods that the resource supports. A page that answers
// GET answers HEAD, too.
func TestAttackMethodsOfTheEndpoints(t *testing.T) {
	srv := startServer(t, site{Handler: "respond ok"}, "")
	tok := walker{t, srv, demoKey, demoSecret}.requestToken(pair{"oauth_callback", "oob"})
	for path, allow := range map[string]string{
		"/+authorize-token?oauth_token=" + tok.Key: "GET, HEAD, POST", "/+authorize-token": "GET, HEAD, POST",
		"/+oauth-tokens":  "GET, HEAD, POST",
		"/+request-token": "GET, POST", "/+access-token": "GET, POST",
	} {
		methods := []string{"PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW", "PROPFIND"}
		if !strings.Contains(allow, "HEAD") {
			methods = append(methods, "HEAD")
		}
		for _, method := range methods {
			for _, lines := range [][]string{nil, {"X-Test-User: alice"}, {"Accept: application/json"}} {
				got := srv.raw(t, srv.message(method, path, lines, ""))
				if got.Status != http.StatusMethodNotAllowed || got.Header.Get("Allow") != allow {
					t.Errorf("%s %s %v: %d with Allow: %s, want 405 with %s", method, path, lines, got.Status,
						got.Header.Get("Allow"), allow)
				}
			}
		}
		if !strings.Contains(allow, "HEAD") {
			continue
		}
		head := srv.raw(t, srv.message("HEAD", path, []string{"X-Test-User: alice"}, ""))
		page := srv.raw(t, srv.message("GET", path, []string{"X-Test-User: alice"}, ""))
		for _, header := range []http.Header{head.Header, page.Header} {
			header.Del("Date")
		}
		if head.Status != page.Status || !maps.EqualFunc(head.Header, page.Header, func(a,
			b []string) bool {
			return fmt.Sprint(a) == fmt.Sprint(b)
		}) {
			t.Errorf("HEAD %s: %d %v, GET: %d %v", path, head.Status, head.Header, page.Status, page.Header)
		}
	}
}
