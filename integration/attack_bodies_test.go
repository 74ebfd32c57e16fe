package integration

import (
	"bytes"
	"compress/gzip"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// bodyLine signs a POST of the path with HMAC-SHA1. The signature covers form, which may be only a
// part of the body that is sent.
func bodyLine(t testing.TB, srv *server, tok token, path, form string, more ...pair) string {
	t.Helper()
	params := append(signer{Consumer: demoKey, Token: tok}.params(), more...)
	covered, err := formPairs(form)
	if err != nil {
		t.Fatal(err)
	}
	base := baseString("POST", "http", "127.0.0.1:"+srv.port, path, append(covered, params...))
	sig, err := signature("HMAC-SHA1", base, secrets{consumer: demoSecret, token: tok.Secret})
	if err != nil {
		t.Fatal(err)
	}
	return "Authorization: " + authorization(append(params, pair{"oauth_signature", sig}))
}

// RFC 5849 section 3.4.1.3.1: the signature covers a form and no other body. An attacker between
// the client and the upstream may change other bodies. So a body must be a form to both or to
// neither.
func TestAttackFormsThatHide(t *testing.T) {
	up := newUpstream(t)
	srv := startServer(t, anyHost("policy /open/* {\n\tanonymous\n}\npolicy {\n\tpermission WRITE_PRIVATE\n}",
		""), up.URL)
	tok := srv.issue(t, demoKey, "salgado", "WRITE_PRIVATE", nil)
	const body = "action=delete&all=1"
	const form = "Content-Type: application/x-www-form-urlencoded"
	for what, lines := range map[string][]string{
		"a list of types":              {"Content-Type: application/x-www-form-urlencoded, x"},
		"a list, the form last":        {"Content-Type: x, application/x-www-form-urlencoded"},
		"a list with an empty element": {"Content-Type: application/x-www-form-urlencoded,"},
		"a list of media types":        {"Content-Type: text/plain, application/x-www-form-urlencoded"},
		"no media type":                {"Content-Type: form"},
		"no subtype":                   {"Content-Type: application/"},
		"no type":                      {"Content-Type: /x-www-form-urlencoded"},
		"only a slash":                 {"Content-Type: /"},
		"two words":                    {"Content-Type: application/x-www-form-urlencoded text/plain"},
		"a blank within":               {"Content-Type: application / x-www-form-urlencoded"},
		"two slashes":                  {"Content-Type: application/x-www-form-urlencoded/x"},
		"quoted":                       {`Content-Type: "application/x-www-form-urlencoded"`},
		"an equals sign":               {"Content-Type: application/x-www-form-urlencoded=x"},
		"a blank of Latin-1":           {"Content-Type: application/x-www-form-urlencoded\xa0"},
		"a blank of Unicode":           {"Content-Type: application/x-www-form-urlencoded\u00a0"},
		"compressed, they say":         {form, "Content-Encoding: gzip"},
		"compressed, in other letters": {form, "content-encoding: GZIP"},
		"brotli":                       {form, "Content-Encoding: br"},
		"an unknown encoding":          {form, "Content-Encoding: x"},
		"identity and another":         {form, "Content-Encoding: identity, gzip"},
		"identity, then another":       {form, "Content-Encoding: identity", "Content-Encoding: deflate"},
		"the encoding taken away":      {form, "Content-Encoding: gzip", "Connection: Content-Encoding"},
		"the type taken away":          {form, "Connection: Content-Type"},
		"the type taken away later": {"Content-Type: text/plain", "Connection: close",
			"Connection: keep-alive,\tcontent-TYPE"},
		"another type taken away":  {"Content-Type: text/plain", "Connection: Content-Type"},
		"a type that is not there": {"Connection: Content-Type"},
	} {
		for how, line := range map[string]string{
			"HMAC without the form": bodyLine(t, srv, tok, "/x", ""),
			"HMAC":                  bodyLine(t, srv, tok, "/x", body),
			"PLAINTEXT":             "Authorization: " + authorization(plaintext(demoKey, demoSecret, tok)),
		} {
			request := srv.message("POST", "/x", append(append([]string{}, lines...), line), body)
			srv.wantRefused(t, up, what+", "+how, http.StatusBadRequest, "malformed", srv.rawly(t, request))
		}
	}
	// A body that begins like a form is signed like one or refused, however odd its parameters are.
	t.Run("odd parameters hide nothing", func(t *testing.T) {
		for _, more := range []string{
			";", ";;", "; charset", "; =x", ";charset=a;charset=b", `;a="b`, "; a=b c", "\t", " ;x", ";\x80",
			`; a="b"c`,
			"; charset=utf-8, text/plain", "; boundary=x; *=y", ";a*=utf-8''%zz",
		} {
			lines := []string{form + more, bodyLine(t, srv, tok, "/x", "")}
			got := srv.raw(t, srv.message("POST", "/x", lines, body))
			if got.Status != http.StatusUnauthorized && got.Status != http.StatusBadRequest {
				t.Errorf("%q: %d", more, got.Status)
			}
			wantUnseen(t, up, more)
		}
	})
	t.Run("bodies that are really compressed", func(t *testing.T) {
		var packed bytes.Buffer
		w := gzip.NewWriter(&packed)
		io.WriteString(w, body)
		w.Close()
		lines := []string{form, "Content-Encoding: gzip", bodyLine(t, srv, tok, "/x", "")}
		srv.wantRefused(t, up, "gzip", http.StatusBadRequest, "malformed", srv.rawly(t, srv.message("POST",
			"/x", lines, packed.String())))
	})
	t.Run("bodies that are accepted", func(t *testing.T) {
		for what, c := range map[string]struct {
			lines []string
			form  bool
		}{
			"a form":             {[]string{form}, true},
			"a form in capitals": {[]string{"Content-Type: Application/X-WWW-Form-URLEncoded"}, true},
			"a charset":          {[]string{form + "; charset=UTF-8"}, true},
			"a charset, quoted":  {[]string{form + `;charset="utf-8"`}, true},
			"identity":           {[]string{form, "Content-Encoding: identity"}, true},
			"JSON":               {[]string{"Content-Type: application/json"}, false},
			"JSON, compressed": {[]string{"Content-Type: application/json", "Content-Encoding: gzip"},
				false},
			"JSON with a profile": {[]string{`Content-Type: application/ld+json; profile="http://x/y z"`},
				false},
			"multipart":              {[]string{"Content-Type: multipart/form-data; boundary=----x"}, false},
			"a vendor's type":        {[]string{"Content-Type: application/vnd.x.y-1+xml"}, false},
			"nothing":                {nil, false},
			"an empty type":          {[]string{"Content-Type: "}, false},
			"other letters of close": {[]string{form, "connection: Close"}, true},
		} {
			covered := ""
			if c.form {
				covered = body
			}
			line := bodyLine(t, srv, tok, "/x", covered)
			want(t, what, srv.raw(t, srv.message("POST", "/x", append(c.lines, line), body)), http.StatusOK,
				"")
			if seen := up.take(); len(seen) != 1 || string(seen[0].Body) != body {
				t.Errorf("%s: the upstream got %v", what, seen)
			}
			if !c.form {
				continue
			}
			line = bodyLine(t, srv, tok, "/x", "")
			got := srv.raw(t, srv.message("POST", "/x", append(c.lines, line), body))
			want(t, what+", unsigned", got, http.StatusUnauthorized, "Invalid signature.")
			wantUnseen(t, up, what)
		}
	})
	t.Run("unsigned bodies are not restricted", func(t *testing.T) {
		for _, lines := range [][]string{
			{"Content-Type: application/x-www-form-urlencoded, x"}, {"Content-Type: form"}, {form,
				"Content-Encoding: gzip"}, {"Connection: X-Anything"},
		} {
			want(t, fmt.Sprint(lines), srv.raw(t, srv.message("POST", "/open/x", lines, body)), http.StatusOK,
				"")
			up.take()
		}
	})
}

// RFC 9110 section 7.6.1: a proxy removes the headers that Connection lists. A client could use
// that to remove headers that the policy has seen. So Connection may list only names that belong to
// the connection.
func TestAttackConnectionLists(t *testing.T) {
	up := newUpstream(t)
	srv := startServer(t, anyHost("policy /open/* {\n\tanonymous\n}\npolicy {\n\tpermission WRITE_PRIVATE\n}",
		""), up.URL)
	tok := srv.issue(t, demoKey, "salgado", "WRITE_PRIVATE", nil)
	credentials := "Authorization: " + authorization(plaintext(demoKey, demoSecret, tok))
	for _, connection := range []string{
		"Content-Encoding", "Content-Type", "Content-Length", "Content-Language", "Authorization", "Cookie",
		"Host", "X-Anything", "X-OAuth-User",
		"X-HTTP-Method-Override", "X-Forwarded-For", "X-Forwarded-Proto", "Expect", "Range", "If-Match",
		"Accept", "Origin", "Referer", "Via", "Sec-WebSocket-Key",
		"Cache-Control", "Date", "Sec-Fetch-Site", "Forwarded", "Set-Cookie", "Upgrade-Insecure-Requests",
		"Keep-Alives", "foo",
	} {
		for _, spelling := range []string{connection, strings.ToLower(connection),
			strings.ToUpper(connection)} {
			for _, lines := range [][]string{
				{"Connection: " + spelling}, {"Connection: close, " + spelling}, {"Connection: " + spelling +
					",keep-alive"}, {"Connection: close,,\t" + spelling + "\t,"},
				{"Connection: close", "Connection: " + spelling}, {"CONNECTION: " + spelling},
			} {
				request := srv.message("GET", "/x", append(lines, credentials), "")
				srv.wantRefused(t, up, strings.Join(lines, "; "), http.StatusBadRequest, "malformed",
					srv.rawly(t, request))
			}
		}
	}
	for _, connection := range []string{
		"close", "keep-alive", "Keep-Alive", "TE", "te, close", "Trailer", "Transfer-Encoding", "Upgrade",
		"HTTP2-Settings", "Proxy-Connection", "Proxy-Authenticate",
		"Proxy-Authorization", "close, keep-alive", ",close,,", "", "Upgrade, HTTP2-Settings", "TE, Trailer",
		"CLOSE",
	} {
		got, err := srv.tryRaw(t, "127.0.0.1:"+srv.port, srv.message("GET", "/x", []string{"Connection: " +
			connection, credentials}, ""))
		if err != nil || got.Status != http.StatusOK {
			t.Errorf("Connection: %s: %d %q %v, want 200", connection, got.Status, brief(got.Body), err)
		}
	}
	up.take()
}

// The OAuth Request Body Hash extension: a signature of the body's hash covers the whole body, also
// a form.
func TestAttackBodyHash(t *testing.T) {
	up := newUpstream(t)
	srv := startServer(t, anyHost("", ""), up.URL)
	tok := srv.issue(t, demoKey, "salgado", "WRITE_PRIVATE", nil)
	sum := func(body string) pair {
		hash := sha1.Sum([]byte(body))
		return pair{"oauth_body_hash", base64.StdEncoding.EncodeToString(hash[:])}
	}
	const body = "a=1&b=x+y&a=%C3%A9"
	hash256 := sha256.Sum256([]byte(body))
	for what, c := range map[string]struct {
		contentType, covered, sent string
		hash                       pair
		status                     int
		text                       string
	}{
		"a form, the hash alone signed":     {formType, "", body, sum(body), 200, ""},
		"a form, both signed":               {formType, body, body, sum(body), 200, ""},
		"a form of no type, the hash alone": {"", "", body, sum(body), 200, ""},
		"JSON":                              {"application/json", "", `{"a":1}`, sum(`{"a":1}`), 200, ""},
		"a form that was changed": {formType, "", body + "&c=1", sum(body), 401,
			"Invalid body hash."},
		"a form that was changed, both": {formType, body, body + "&c=1", sum(body), 401,
			"Invalid body hash."},
		"a form, both, signed for another": {formType, "a=2", body, sum(body), 401, "Invalid signature."},
		"a form that says the same, changed": {formType, body, "b=x+y&a=1&a=%C3%A9", sum(body), 401,
			"Invalid body hash."},
		"JSON that was changed": {"application/json", "", `{"a":2}`, sum(`{"a":1}`), 401,
			"Invalid body hash."},
		"no hash": {formType, "", body, pair{}, 401, "Invalid signature."},
		"an empty hash": {formType, "", body, pair{"oauth_body_hash", ""}, 401,
			"Invalid body hash."},
		"the hash of nothing": {formType, "", body, sum(""), 401, "Invalid body hash."},
		"the hash of another method": {formType, "", body, pair{"oauth_body_hash",
			base64.StdEncoding.EncodeToString(hash256[:])}, 401, "Invalid body hash."},
	} {
		var more []pair
		if c.hash.name != "" {
			more = append(more, c.hash)
		}
		lines := []string{bodyLine(t, srv, tok, "/x", c.covered, more...)}
		if c.contentType != "" {
			lines = append(lines, "Content-Type: "+c.contentType)
		}
		want(t, what, srv.raw(t, srv.message("POST", "/x", lines, c.sent)), c.status, c.text)
		seen := up.take()
		if (len(seen) == 1) != (c.status == http.StatusOK) || len(seen) == 1 &&
			string(seen[0].Body) != c.sent {
			t.Errorf("%s: the upstream got %v", what, seen)
		}
	}
	t.Run("a hash that is not signed", func(t *testing.T) {
		line := bodyLine(t, srv, tok, "/x", "") + ", oauth_body_hash=\"" + escape(sum(body).value) + "\""
		got := srv.raw(t, srv.message("POST", "/x", []string{line, "Content-Type: " + formType}, body))
		want(t, "added later", got, http.StatusUnauthorized, "Invalid signature.")
		wantUnseen(t, up, "a hash that nobody signed")
	})
}

// A POST without a Content-Type is a form only if the OAuth parameters are in it, as in Launchpad's
// own token calls. Otherwise it is passed on unchanged, whatever its size.
func TestAttackBodiesOfNoType(t *testing.T) {
	up := newUpstream(t)
	const policies = "max_form_body 64KiB\n" +
		"policy /open/* {\n\tanonymous\n}\npolicy {\n\tpermission WRITE_PRIVATE\n}"
	srv := startServer(t, anyHost(policies, ""), up.URL)
	tok := srv.issue(t, demoKey, "salgado", "WRITE_PRIVATE", nil)
	post := func(path string, lines []string, body string) reply {
		t.Helper()
		up.take()
		return srv.raw(t, srv.message("POST", path, lines, body))
	}
	arrived := func(what, body string) {
		t.Helper()
		if seen := up.take(); len(seen) != 1 || string(seen[0].Body) != body {
			t.Errorf("%s: the upstream got %d requests, want the body of %d bytes", what, len(seen),
				len(body))
		}
	}
	large := strings.Repeat("a=b&", 800<<10) // 3.1 MiB
	for what, body := range map[string]string{
		"like a form": "a=b&c=d", "no form": "{\"a\": 100%}", "binary": "\x00\xff%zz;&&", "large": large,
		"large, no form": strings.Repeat("%", 1<<20),
	} {
		for _, contentType := range [][]string{nil, {"Content-Type:"}, {"Content-Type: \t"}} {
			want(t, what, post("/x", append(contentType, bodyLine(t, srv, tok, "/x", "")), body),
				http.StatusOK, "")
			arrived(what+", signed in the header", body)
			query := "/x?" + form(plaintext(demoKey, demoSecret, tok))
			want(t, what, post(query, contentType, body), http.StatusOK, "")
			arrived(what+", signed in the query", body)
			want(t, what, post("/open/x", contentType, body), http.StatusOK, "")
			arrived(what+", anonymous", body)
		}
		head := []string{bodyLine(t, srv, tok, "/x", ""), "Transfer-Encoding: chunked"}
		want(t, what, post("/x", head, chunked(body)), http.StatusOK, "")
		arrived(what+", chunked", body)
	}
	t.Run("the body is no part of the signature", func(t *testing.T) {
		got := post("/x", []string{bodyLine(t, srv, tok, "/x", "a=b")}, "a=b")
		want(t, "signed like a form", got, http.StatusUnauthorized, "Invalid signature.")
		wantUnseen(t, up, "signed like a form")
	})
	t.Run("a form with the parameters in it", func(t *testing.T) {
		signedForm := func(more string) string {
			params := signer{Consumer: demoKey, Token: tok}.params()
			covered, err := formPairs(more)
			if err != nil {
				t.Fatal(err)
			}
			base := baseString("POST", "http", "127.0.0.1:"+srv.port, "/x", append(covered, params...))
			sig, err := signature("HMAC-SHA1", base, secrets{consumer: demoSecret, token: tok.Secret})
			if err != nil {
				t.Fatal(err)
			}
			return form(append(params, pair{"oauth_signature", sig}))
		}
		body := signedForm("a=b&c=d+e") + "&a=b&c=d+e"
		want(t, "signed", post("/x", nil, body), http.StatusOK, "")
		arrived("signed", body)
		want(t, "changed", post("/x", nil, signedForm("a=b")+"&a=c"), http.StatusUnauthorized,
			"Invalid signature.")
		wantUnseen(t, up, "changed")
		want(t, "more than was signed", post("/x", nil, signedForm("")+"&a=c"), http.StatusUnauthorized,
			"Invalid signature.")
		wantUnseen(t, up, "more than was signed")
	})
	// A body that is passed on unchanged is streamed.
	t.Run("it is streamed", func(t *testing.T) {
		conn, r := srv.dial(t)
		conn.SetDeadline(time.Now().Add(patience))
		head := srv.message("POST", "/stream/up", []string{bodyLine(t, srv, tok, "/stream/up", ""),
			"Content-Length: 20"}, "")
		io.WriteString(conn, head+"0123456789")
		select {
		case n := <-up.Progress:
			if n > 10 {
				t.Errorf("the upstream has read %d bytes of 10", n)
			}
		case <-time.After(10 * time.Second):
			t.Error("the upstream gets nothing before the body ends")
		}
		io.WriteString(conn, "0123456789")
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		if string(body) != "20 bytes" {
			t.Errorf("%s %q", resp.Status, body)
		}
	})
}

// CWE-407: sorting a million parameters costs more than sending them. RFC 9110 section 15.5.14.
func TestAttackManyParameters(t *testing.T) {
	const most = 10_000
	up := newUpstream(t)
	s := anyHost("max_form_body 4MiB\n"+
		"policy /open/* {\n\tanonymous\n}\npolicy {\n\tpermission WRITE_PRIVATE\n}", "")
	// Caddy's default limit is too small for that many in a header.
	s.Global = "debug\nservers {\n\tmax_header_size 1MiB\n}"
	srv := startServer(t, s, up.URL)
	tok := srv.issue(t, demoKey, "salgado", "WRITE_PRIVATE", nil)
	params := plaintext(demoKey, demoSecret, tok) // four of them
	ours := len(params)
	credentials := "Authorization: " + authorization(params)
	many := func(n int) string { return strings.TrimSuffix(strings.Repeat("a=b&", n), "&") }
	formLine := "Content-Type: " + formType
	build := map[string]func(n int) string{
		"the query": func(n int) string {
			return srv.message("GET", "/x?"+many(n-ours),
				[]string{credentials}, "")
		},
		"the query, with ours": func(n int) string {
			return srv.message("GET",
				"/x?"+many(n-ours)+"&"+form(params), nil, "")
		},
		"the form": func(n int) string {
			return srv.message("POST", "/x", []string{credentials,
				formLine}, many(n-ours))
		},
		"the form, with ours": func(n int) string {
			return srv.message("POST", "/x", []string{formLine}, many(n-ours)+"&"+form(params))
		},
		"the form of no type": func(n int) string {
			return srv.message("POST", "/x", nil,
				form(params)+"&"+many(n-ours))
		},
		"all together": func(n int) string {
			query := (n - ours) / 2
			return srv.message("POST", "/x?"+many(query), []string{credentials, formLine}, many(n-ours-query))
		},
		"names alone": func(n int) string {
			return srv.message("POST", "/x", []string{credentials, formLine}, strings.Repeat("a&",
				n-ours-1)+"a")
		},
		"all different": func(n int) string {
			var b strings.Builder
			for i := range n - ours {
				fmt.Fprintf(&b, "p%d=%d&", i, n)
			}
			return srv.message("POST", "/x", []string{credentials, formLine}, strings.TrimSuffix(b.String(),
				"&"))
		},
	}
	for what, request := range build {
		got := srv.raw(t, request(most))
		want(t, what+", as many as may be", got, http.StatusOK, "")
		up.take()
		for _, n := range []int{most + 1, most + 10, 100_000} {
			send := srv.rawly(t, request(n))
			srv.wantRefused(t, up, fmt.Sprintf("%s, %d", what, n), http.StatusRequestEntityTooLarge,
				"too_many_parameters", send)
		}
	}
	t.Run("the header", func(t *testing.T) {
		line := credentials + strings.Repeat(`, a="b"`, most-ours)
		want(t, "as many as may be", srv.raw(t, srv.message("GET", "/x", []string{line}, "")), http.StatusOK,
			"")
		up.take()
		line += `, a="b"`
		send := srv.rawly(t, srv.message("GET", "/x", []string{line}, ""))
		srv.wantRefused(t, up, "one more", http.StatusRequestEntityTooLarge, "too_many_parameters", send)
	})
	t.Run("at an endpoint", func(t *testing.T) {
		w := walker{t, srv, demoKey, demoSecret}
		for _, endpoint := range []string{"/+request-token", "/+access-token"} {
			body := form(w.params(token{})) + strings.Repeat("&a", most)
			send := srv.rawly(t, srv.message("POST", endpoint, []string{formLine}, body))
			srv.wantRefused(t, up, endpoint, http.StatusRequestEntityTooLarge, "too_many_parameters", send)
		}
	})
	t.Run("unsigned requests have no limit", func(t *testing.T) {
		want(t, "query", srv.raw(t, srv.message("GET", "/open/x?"+many(most+1), nil, "")), http.StatusOK, "")
		want(t, "form", srv.raw(t, srv.message("POST", "/open/x", []string{formLine}, many(most+1))),
			http.StatusOK, "")
		up.take()
	})
	t.Run("little CPU time", func(t *testing.T) {
		const requests = 20
		body := strings.Repeat("a&", 1<<19-1) // a MiB
		for what, consumer := range map[string]string{"a form": demoKey,
			"a form, unknown consumer": "nobody"} {
			// HMAC, because PLAINTEXT sorts nothing. The signature is wrong, which the server
			// notices only at the end.
			params := append(signer{Consumer: consumer, Token: tok}.params(), pair{"oauth_signature", "AAAA"})
			lines := []string{"Authorization: " + authorization(params), formLine}
			request := srv.message("POST", "/x", lines, body)
			before := srv.cpu(t)
			wrong := 0
			for range requests {
				if got := srv.raw(t, request); got.Status != http.StatusRequestEntityTooLarge {
					wrong++
				}
			}
			if wrong > 0 {
				t.Errorf("%s: %d of %d are not 413", what, wrong, requests)
			}
			spent := (srv.cpu(t) - before) / requests
			t.Logf("%s: %v of CPU each", what, spent)
			if spent > 30*time.Millisecond {
				t.Errorf("%s: %v of CPU each", what, spent)
			}
		}
		up.take()
	})
}

// cpu returns the CPU time that the server's process has spent (proc(5)).
func (srv *server) cpu(t testing.TB) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", srv.cmd.Process.Pid))
	if err != nil {
		t.Skip(err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	user, err1 := strconv.Atoi(fields[11])
	system, err2 := strconv.Atoi(fields[12])
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	const ticks = 100 // USER_HZ on all systems that Go runs on
	return time.Duration(user+system) * time.Second / ticks
}
