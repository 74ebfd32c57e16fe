package integration

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"
)

// RFC 5849 sections 3.1, 3.2 and 3.5; RFC 9112 sections 3.2 and 6; RFC 9113 section 8.3.1. Each
// request here is signed with the right secrets, with PLAINTEXT if the signature would depend on
// the attacked part. Only the form of the request is wrong.
func TestAttackParameters(t *testing.T) {
	up := newUpstream(t)
	srv := startServer(t, site{}, up.URL)
	tok := srv.issue(t, demoKey, "salgado", "WRITE_PRIVATE", nil)
	params := plaintext(demoKey, demoSecret, tok)
	query, header := form(params), "Authorization: "+authorization(params)
	const formHeader = "Content-Type: application/x-www-form-urlencoded"
	other := form(plaintext(demoKey, demoSecret, token{"another", "x"}))

	t.Run("refused with 400, and nothing reaches the upstream", func(t *testing.T) {
		for what, request := range map[string]string{
			"a parameter twice in the query":            srv.message("GET", "/?"+query+"&oauth_token=other", nil, ""),
			"the same parameter and value twice":        srv.message("GET", "/?"+query+"&oauth_token="+tok.Key, nil, ""),
			"twice, once spelt otherwise":               srv.message("GET", "/?"+query+"&%6fauth%5Ftoken=other", nil, ""),
			"twice in the header":                       srv.message("GET", "/", []string{header + `, oauth_token="other"`}, ""),
			"twice in the header, spelt otherwise":      srv.message("GET", "/", []string{header + `, oauth%5ftoken="other"`}, ""),
			"twice in the form":                         srv.message("POST", "/", []string{formHeader}, query+"&oauth_token=other"),
			"an unknown oauth_ parameter twice":         srv.message("GET", "/?"+query+"&oauth_x=1&oauth_x=1", nil, ""),
			"header and query":                          srv.message("GET", "/?"+other, []string{header}, ""),
			"header and one parameter in the query":     srv.message("GET", "/?oauth_verifier=x", []string{header}, ""),
			"header and an encoded one in the query":    srv.message("GET", "/?%6f%61uth_token=x", []string{header}, ""),
			"header and form":                           srv.message("POST", "/", []string{header, formHeader}, other),
			"query and form":                            srv.message("POST", "/?"+query, []string{formHeader}, "oauth_token=other"),
			"header and a form that is chunked":         srv.message("POST", "/", []string{header, formHeader, "Transfer-Encoding: chunked"}, chunked(other)),
			"header and the form of a GET":              srv.message("GET", "/", []string{header, formHeader}, other),
			"two Authorization headers":                 srv.message("GET", "/", []string{header, header}, ""),
			"two, the other of another scheme":          srv.message("GET", "/", []string{"Authorization: Basic YTpi", header}, ""),
			"a version other than 1.0":                  srv.message("GET", "/?"+query+"&oauth_version=2.0", nil, ""),
			"an empty version":                          srv.message("GET", "/?"+query+"&oauth_version=", nil, ""),
			"malformed encoding of ours":                srv.message("GET", "/?"+query+"&oauth_nonce=%zz", nil, ""),
			"malformed encoding elsewhere in the query": srv.message("GET", "/?a=%zz&"+query, nil, ""),
			"malformed encoding in the form":            srv.message("POST", "/", []string{formHeader, header}, "a=%z"),
			"NUL in the header":                         srv.message("GET", "/", []string{header + ", oauth_x=\"a\x00b\""}, ""),
			"a header without quotes":                   srv.message("GET", "/", []string{strings.ReplaceAll(header, `"`, "")}, ""),
			"a header that does not end":                srv.message("GET", "/", []string{header + `, x="`}, ""),
			"an empty header":                           srv.message("GET", "/", []string{"Authorization: OAuth"}, ""),
			"an unknown method":                         srv.message("GET", "/?"+strings.Replace(query, "PLAINTEXT", "NONE", 1), nil, ""),
			"a method in lower case":                    srv.message("GET", "/?"+strings.Replace(query, "PLAINTEXT", "plaintext", 1), nil, ""),
			"two Content-Types":                         srv.message("POST", "/", []string{"Content-Type: text/plain", formHeader, header}, "a=b"),
			"two Hosts":                                 srv.message("GET", "/", []string{"Host: a", "Host: b", header}, ""),
			"two Content-Lengths":                       srv.message("POST", "/", []string{"Content-Length: 1", "Content-Length: 2", header}, "ab"),
			"a negative Content-Length":                 srv.message("POST", "/", []string{"Content-Length: -1", header}, "ab"),
			"a chunk size with a sign":                  srv.message("POST", "/", []string{"Transfer-Encoding: chunked", header, formHeader}, "+2\r\nab\r\n0\r\n\r\n"),
			"a space before the colon":                  srv.message("GET", "/", []string{"X-OAuth-User : mark", header}, ""),
		} {
			got := srv.raw(t, request)
			if n := len(up.take()); got.Status != http.StatusBadRequest || n > 0 {
				t.Errorf("%s: %d %s; %d requests reached the upstream", what, got.Status, got.Body, n)
			}
		}
	})
	t.Run("accepted unchanged, once", func(t *testing.T) {
		double := strings.NewReplacer("%", "%25").Replace(query)
		got := srv.raw(t, srv.message("GET", "/?"+double, nil, ""))
		want(t, "a query that was encoded twice", got, http.StatusUnauthorized, "")
		got = srv.raw(t, srv.message("GET", "/?a=1;"+strings.ReplaceAll(query, "&", ";"), nil, ""))
		want(t, "semicolons (CVE-2021-23336): one parameter a, unsigned", got, http.StatusUnauthorized,
			"OAuth credentials required.")
		got = srv.raw(t, srv.message("GET", "/?"+query+"&a=1;oauth_token=x", nil, ""))
		want(t, "a semicolon in a value", got, http.StatusOK, "")
		got = srv.raw(t, srv.message("GET", "/?"+query+"&a=%00&%ff%fe=%c0%80", nil, ""))
		want(t, "NUL and invalid UTF-8 elsewhere", got, http.StatusOK, "")
		got = srv.raw(t, srv.message("GET", "/?"+strings.Replace(query, tok.Key, tok.Key+"%00", 1), nil, ""))
		want(t, "NUL behind the token's key", got, http.StatusUnauthorized, "Unknown access token ("+tok.Key+"?).")
		got = srv.raw(t, srv.message("GET", "/?"+strings.Replace(query, "="+demoKey, "=%ff%0d%0aSet-Cookie:%20a", 1),
			nil, ""))
		if got.Status != http.StatusUnauthorized || got.Header.Get("Set-Cookie") != "" ||
			strings.ContainsAny(got.Body, "\r\n") || !utf8.ValidString(got.Body) {
			t.Errorf("a line end in the key: %d %v %q", got.Status, got.Header, got.Body)
		}
		up.take()
		// RFC 9112 section 6.3: Transfer-Encoding wins, and only one of the two may be passed on.
		got = srv.raw(t, srv.message("POST", "/",
			[]string{header, "Content-Type: text/plain", "Content-Length: 2", "Transfer-Encoding: chunked"},
			chunked("hello")))
		if got.Status == http.StatusOK {
			if last := up.last(t); string(last.Body) != "hello" || last.Header.Get("Content-Length") == "2" {
				t.Errorf("Content-Length with Transfer-Encoding: the upstream got %q %v", last.Body, last.Lines)
			}
		}
		for _, te := range []string{"Transfer-Encoding: chunked, identity", "Transfer-Encoding: xchunked",
			"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "Transfer-Encoding:\x0bchunked"} {
			got, err := srv.tryRaw(t, "127.0.0.1:"+srv.port,
				srv.message("POST", "/", []string{header, te}, chunked("a=b")))
			if err == nil && got.Status/100 == 2 {
				t.Errorf("%s: %d", te, got.Status)
			}
		}
		up.take()
	})
	t.Run("a second request in the same bytes is not smuggled past", func(t *testing.T) {
		smuggled := srv.message("GET", "/smuggled", []string{"X-OAuth-User: mark"}, "")
		for _, lines := range [][]string{
			{"Content-Length: 5", "Transfer-Encoding: chunked"}, {"Transfer-Encoding: chunked", fmt.Sprintf("Content-Length: %d", len(smuggled)+5)},
			{"Content-Length: 0", "Transfer-Encoding: identity"}, {"Transfer-Encoding : chunked"},
		} {
			srv.tryRaw(t, "127.0.0.1:"+srv.port,
				srv.message("POST", "/", append(lines, header, "Content-Type: text/plain"), "0\r\n\r\n"+smuggled))
			for _, got := range up.take() {
				if len(identityLines(got)) != 0 && got.Header.Get("X-Oauth-User") != "salgado" ||
					got.URI == "/smuggled" {
					t.Errorf("%v: the upstream got %s %q", lines, got.URI, got.Lines)
				}
			}
		}
	})
	// RFC 9113 section 8.3.1: a Host beside :authority. The signature and all else use the host
	// that Caddy uses.
	t.Run("HTTP/2 with a Host beside :authority", func(t *testing.T) {
		s := signer{Consumer: demoKey, Secret: demoSecret, Token: tok}
		own := srv.request("GET", "/h2", nil)
		evil := srv.request("GET", "/h2", nil)
		evil.Host = "evil.example"
		for name, c := range map[string]struct {
			signed *http.Request
			ok     bool
		}{"signed for :authority": {own, true}, "signed for Host": {evil, false}} {
			got, err := srv.h2(t, h2Message{fields: srv.h2Fields("GET", "/h2", "host", "evil.example",
				"authorization", s.sign(t, c.signed, "").Header.Get("Authorization"))})
			seen := up.take()
			if err != nil && len(seen) == 0 {
				continue // refusing such a request altogether is right, too
			}
			if (got.Status == http.StatusOK) != c.ok {
				t.Errorf("%s: %d %s", name, got.Status, got.Body)
			}
			for _, r := range seen {
				if !c.ok || r.Host == "evil.example" || r.Header.Get("Host") == "evil.example" ||
					r.Header.Get("X-Forwarded-Host") == "evil.example" {
					t.Errorf("%s: the upstream got Host %s %v", name, r.Host, r.Header)
				}
			}
		}
		for _, fields := range [][]string{
			{":method", "GET", ":scheme", "http", ":path", "/h2", "host", "evil.example"},
			append(srv.h2Fields("GET", "/h2"), ":path", "/other"),
			append(srv.h2Fields("GET", "/h2"), ":authority", "evil.example"),
			append(srv.h2Fields("GET", "/h2", "connection", "x-oauth-user"), "transfer-encoding", "chunked"),
		} {
			srv.h2(t, h2Message{fields: append(fields, "authorization",
				s.sign(t, srv.request("GET", "/h2", nil), "").Header.Get("Authorization"))})
			for _, r := range up.take() {
				t.Errorf("%q reached the upstream as %s %s", fields, r.Host, r.URI)
			}
		}
	})
	// RFC 9112 section 3.2.2: the host of an absolute target counts, and the Host header does not.
	t.Run("the absolute form", func(t *testing.T) {
		s := signer{Consumer: demoKey, Secret: demoSecret, Token: tok}
		req := srv.request("GET", "/abs", nil)
		req.Host = "api.example"
		line := "Authorization: " + s.sign(t, req, "").Header.Get("Authorization")
		srv.tryRaw(t, "127.0.0.1:"+srv.port,
			srv.message("GET", "http://evil.example/abs", []string{"Host: api.example", line}, ""))
		for _, r := range up.take() {
			t.Errorf("a request for evil.example that was signed for api.example reached the upstream as %s %s",
				r.Host, r.URI)
		}
	})
}

func chunked(body string) string { return fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body) }

// CWE-400 and CWE-407: large, slow or many inputs cost their sender more than the server.
// CVE-2007-6750 (slow requests), CVE-2011-4885 (many parameters), RFC 9110 section 15.5.14 (413).
func TestAttackSizes(t *testing.T) {
	up := newQuickUpstream(t)
	srv := startServer(t, site{OAuth1: "max_form_body 128KiB"}, up.URL)
	tok := srv.issue(t, demoKey, "salgado", "WRITE_PRIVATE", nil)
	s := signer{Consumer: demoKey, Secret: demoSecret, Token: tok}

	t.Run("60 kB headers", func(t *testing.T) {
		for _, line := range []string{
			"Authorization: OAuth " + strings.Repeat(`a="b",`, 10<<10),
			"Authorization: OAuth " + strings.Repeat(",", 60<<10),
			"Authorization: OAuth realm=\"" + strings.Repeat(`\`, 60<<10),
			"Authorization: OAuth oauth_consumer_key=\"" + strings.Repeat("%41", 20<<10) + "\"",
			"Authorization: " + strings.Repeat(" ", 60<<10) + "OAuth",
			"Authorization: OAuth oauth_token=\"" + strings.Repeat("k", 60<<10) +
				"\", oauth_signature_method=\"PLAINTEXT\", oauth_signature=\"x\", oauth_consumer_key=\"demo\"",
			"Connection: " + strings.Repeat("X-OAuth-User,", 4<<10),
		} {
			if got := srv.raw(t, srv.message("GET", "/", []string{line}, "")); got.Status/100 != 4 || len(got.Body) > 1000 {
				t.Errorf("%s...: %d and %d bytes", line[:40], got.Status, len(got.Body))
			}
		}
	})
	// CVE-2011-4885 and similar: ten times as many parameters may take ten times as long, and not a
	// hundred.
	t.Run("9,980 parameters take no quadratic time", func(t *testing.T) {
		took := func(n int, ours bool, name func(int) string) time.Duration {
			var b strings.Builder
			if ours { // if oauth_ parameters are there, all must be
				b.WriteString(form(plaintext(demoKey, demoSecret, tok)))
			}
			for i := range n {
				b.WriteString(name(i))
			}
			req := srv.request("POST", "/", strings.NewReader(b.String()))
			req.Header.Set("Content-Type", formType)
			if !ours {
				s.sign(t, req, b.String())
			}
			start := time.Now()
			got := srv.mustDo(t, req)
			spent := time.Since(start)
			want(t, fmt.Sprintf("%d parameters", n), got, http.StatusOK, "")
			return spent
		}
		for name, f := range map[string]func(int) string{
			"all different":   func(i int) string { return fmt.Sprintf("p%04d&", 9999-i) },
			"all the same":    func(int) string { return "a=b&" },
			"all empty":       func(i int) string { return fmt.Sprintf("&x%d", i) },
			"all ours":        func(i int) string { return fmt.Sprintf("&oauth_%d", 9999-i) },
			"nothing between": func(int) string { return "&" },
		} {
			// The best of several tries; more if the machine is busy. Quadratic time never comes
			// near the bound.
			few, many := time.Hour, time.Hour
			for try := 0; try < 5 || try < 100 && many > 40*few+20*time.Millisecond; try++ {
				// With those of OAuth, 9,980 is the limit.
				few = min(few, took(1000, name == "all ours", f))
				many = min(many, took(9980, name == "all ours", f))
			}
			t.Logf("%s: %v for 1,000, %v for 9,980", name, few, many)
			if many > 40*few+20*time.Millisecond {
				t.Errorf("%s: %v for 1,000 parameters, %v for 9,980", name, few, many)
			}
		}
	})
	t.Run("forms that are too large are 413, with a length and without", func(t *testing.T) {
		// net/http reads another 256 KiB before it answers.
		large := "a=" + strings.Repeat("b", 512<<10)
		for _, lines := range [][]string{
			{"Content-Type: " + formType}, {"Content-Type: " + formType, "Transfer-Encoding: chunked"},
			{"Content-Type: " + formType, "Content-Length: 9223372036854775807"}, {"Content-Type: " + formType + "; charset=x", "Expect: 100-continue"},
		} {
			body := large
			if strings.Contains(fmt.Sprint(lines), "chunked") {
				body = chunked(large)
			}
			got := srv.raw(t, srv.message("POST", "/",
				append(lines, "Authorization: "+authorization(plaintext(demoKey, demoSecret, tok))), body))
			want(t, fmt.Sprint(lines), got, http.StatusRequestEntityTooLarge,
				"The request body is too large to be verified.")
		}
	})
	t.Run("slow bodies hold up no other request, and aborted ones leave nothing behind", func(t *testing.T) {
		var conns []net.Conn
		for range 200 {
			conn, err := net.Dial("tcp", "127.0.0.1:"+srv.port)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			io.WriteString(conn, srv.message("POST", "/slow",
				[]string{"Content-Type: " + formType, "Content-Length: 1000"}, "a=b"))
			conns = append(conns, conn)
		}
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 20 {
					got, err := srv.do(s.sign(t, srv.request("GET", "/", nil), ""))
					if err != nil || got.Status != http.StatusOK {
						t.Errorf("%v %v", got, err)
					}
				}
			})
		}
		wg.Wait()
		io.WriteString(conns[0], strings.Repeat("c", 997))
		resp, err := http.ReadResponse(bufio.NewReader(conns[0]), nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("the slow one gets %s", resp.Status)
		}
		for _, conn := range conns {
			conn.Close()
		}
	})
}
