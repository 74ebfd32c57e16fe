package integration

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"slices"
	"strings"
	"testing"
	"time"
)

// The attack_*_test.go files attack the real binary with bytes written by hand, because no
// well-behaved client would send them. The upstream behind it records each request and, like all
// upstreams, believes the identity headers. SECURITY.md lists what these tests cover. This file has
// their common helpers.

// raw writes a request on a connection of its own and reads one answer.
func (srv *server) raw(t testing.TB, request string) reply {
	t.Helper()
	r, err := srv.tryRaw(t, "127.0.0.1:"+srv.port, request)
	if err != nil {
		t.Fatalf("%s: %v", shorten(request), err)
	}
	return r
}

// tryRaw is raw for requests that may stay without an answer.
func (srv *server) tryRaw(t testing.TB, address, request string) (reply, error) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return reply{}, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	go io.WriteString(conn, request) // the answer may come before all of it is sent
	br := bufio.NewReader(conn)
	asked := &http.Request{Method: "GET"}
	if strings.HasPrefix(request, "HEAD ") {
		asked.Method = "HEAD" // its answer has a length and no body
	}
	resp, err := http.ReadResponse(br, asked)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return reply{resp.StatusCode, resp.Header, "", nil}, nil
	}
	body, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Header, string(body), resp.Trailer}, err
}

// message writes an HTTP/1.1 request. The lines are whole header lines; Host is added if it is
// missing.
func (srv *server) message(method, target string, lines []string, body string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\n", method, target)
	has := func(name string) bool {
		return slices.ContainsFunc(lines, func(line string) bool {
			return strings.HasPrefix(strings.ToLower(line), name+":")
		})
	}
	if !has("host") {
		fmt.Fprintf(&b, "Host: 127.0.0.1:%s\r\n", srv.port)
	}
	for _, line := range lines {
		b.WriteString(line + "\r\n")
	}
	if body != "" && !has("content-length") && !has("transfer-encoding") {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	}
	return b.String() + "\r\n" + body
}

// authorizationLine signs a request without a body for raw.
func (srv *server) authorizationLine(t testing.TB, s signer, method, target string) string {
	t.Helper()
	return "Authorization: " + s.sign(t, srv.request(method, target, nil), "").Header.Get("Authorization")
}

// identityLines returns the header lines and trailers that some upstream could read as an identity
// header. Their names have the same letters and digits as one of the identity headers.
func identityLines(got received) []string {
	var found []string
	add := func(name, value string) {
		letters := strings.Map(func(r rune) rune {
			if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
				return r
			}
			return -1
		}, strings.ToLower(name))
		if strings.HasPrefix(letters, "xoauth") {
			found = append(found, name+": "+value)
		}
	}
	for _, header := range []http.Header{got.Header, got.Trailer} {
		for name, values := range header {
			for _, value := range values {
				add(name, value)
			}
		}
	}
	slices.Sort(found)
	return found
}

// want checks the status, and the body if one is given.
func want(t testing.TB, what string, r reply, status int, body string) {
	t.Helper()
	if err := r.is(status, body); err != nil {
		t.Errorf("%s: %v", what, err)
	}
}

// mayLogErrors is for tests that make the server log errors.
func (srv *server) mayLogErrors(t *testing.T) {
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the server's log:\n%s", srv.log.tail(20))
		}
		srv.log = &logBuffer{}
	})
}

// ownSite is a site with a complete block of its own, for directives that have a matcher. Its
// address is the server's port; the harness's own site gets the port Spare.
func ownSite(t testing.TB, block string) site {
	t.Helper()
	return site{
		Global:  "debug\nservers {\n\tprotocols h1 h2c\n}",
		Address: "http://127.0.0.1:{{.Spare}}",
		Handler: "respond spare",
		More:    "http://:{{.Port}} {\n" + block + "\n}",
		Vars:    map[string]string{"Spare": freePort(t)},
	}
}

// wantRefused checks that an answer has the status, that the debug log names the reason (so the
// site needs the global option debug), and that nothing reached the upstream.
func (srv *server) wantRefused(
	t testing.TB, up *upstream, what string, status int, reason string, send func() (reply, error),
) reply {
	t.Helper()
	before := len(srv.log.String())
	got, err := send()
	if err != nil {
		t.Errorf("%s: %v, want %d (%s)", what, err, status, reason)
		return got
	}
	wantUnseen(t, up, what)
	if got.Status != status {
		t.Errorf("%s: %d %q, want %d (%s)", what, got.Status, brief(got.Body), status, reason)
		return got
	}
	// The server wrote the line before the answer, but another goroutine of this process has to
	// read it.
	for end := time.Now().Add(2 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		lines := srv.log.String()[before:]
		if strings.Contains(lines, `"reason":"`+reason+`"`) {
			return got
		}
		if time.Now().After(end) {
			t.Errorf("%s: %d %q, and the log does not give the reason %s", what, got.Status, brief(got.Body), reason)
			return got
		}
	}
}

// wantUnseen checks that nothing reached the upstream.
func wantUnseen(t testing.TB, up *upstream, what string) {
	t.Helper()
	for _, got := range up.take() {
		t.Errorf("%s: reached the upstream as %s %q", what, got.Method, got.URI)
	}
}

// rawly returns a function for wantRefused that sends a request on a connection of its own.
func (srv *server) rawly(t testing.TB, request string) func() (reply, error) {
	return func() (reply, error) { return srv.tryRaw(t, "127.0.0.1:"+srv.port, request) }
}

// hmacLine signs a request for any host and path, as a client with HMAC-SHA1 does.
func hmacLine(t testing.TB, tok token, method, host, uri string, more ...pair) string {
	t.Helper()
	params := append(signer{Consumer: demoKey, Token: tok}.params(), more...)
	_, query, _ := strings.Cut(uri, "?")
	covered, err := formPairs(query)
	if err != nil {
		t.Fatal(err)
	}
	base := baseString(method, "http", host, uri, slices.Concat(covered, params))
	sig, err := signature("HMAC-SHA1", base, secrets{consumer: demoSecret, token: tok.Secret})
	if err != nil {
		t.Fatal(err)
	}
	return "Authorization: " + authorization(append(params, pair{"oauth_signature", sig}))
}

// newLenientUpstream is an upstream that accepts any request line, as WSGI servers do. (Go's server
// answers a strange target with 400, which would look like a refusal of the site.) It answers "ok",
// and reads no body.
func newLenientUpstream(t testing.TB) *upstream {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	up := &upstream{Server: &httptest.Server{URL: "http://" + listener.Addr().String(), Listener: listener}}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(patience))
				r := textproto.NewReader(bufio.NewReader(conn))
				line, err := r.ReadLine()
				if err != nil {
					return
				}
				method, rest, _ := strings.Cut(line, " ")
				got := received{Method: method, URI: strings.TrimSuffix(rest, " HTTP/1.1"), Proto: "HTTP/1.1"}
				header, _ := r.ReadMIMEHeader()
				got.Header = http.Header(header)
				up.record(got)
				io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n")
			}()
		}
	}()
	return up
}

// brief returns the beginning of an answer, for messages.
func brief(s string) string { return s[:min(len(s), 70)] }
