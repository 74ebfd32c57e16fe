package integration

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// upgradeSite has a route of each kind: signed, anonymous, left out by the directive's matcher, and
// error routes that lead to the upstream.
func upgradeSite(t testing.TB, option, servers string) site {
	s := ownSite(t, `
@api not path /out/* /switch/out
oauth1 @api {
	insecure_plaintext_over_http
	`+option+`
	policy @open {
		anonymous
	}
	policy @denied {
		deny
	}
	policy {
		permission READ_PUBLIC
	}
}
@open header X-Open yes
@denied header X-Denied yes
reverse_proxy {{.Upstream}}
handle_errors {
	reverse_proxy {{.Upstream}} {
		header_up X-Route errors
	}
}`)
	s.Global = "debug\nservers {\n\tprotocols h1 h2c\n\t" + servers + "\n}"
	return s
}

// upgradeLines returns the remains of an upgrade in a request: the headers that some upstream could
// read as Upgrade or HTTP2-Settings, and a Connection that names one of them.
func upgradeLines(got received) []string {
	var found []string
	for _, header := range []http.Header{got.Header, got.Trailer} {
		for name, values := range header {
			letters := strings.Map(func(r rune) rune {
				if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
					return r
				}
				return -1
			}, strings.ToLower(name))
			for _, value := range values {
				list := strings.ToLower(value)
				if letters == "upgrade" || letters == "http2settings" ||
					letters == "connection" && (strings.Contains(list, "upgrade") || strings.Contains(list,
						"http2")) {
					found = append(found, strings.ToLower(name)+": "+value)
				}
			}
		}
	}
	slices.Sort(found)
	return found
}

// RFC 7540 section 3.2 and the "h2c smuggling" of 2020 (Bishop Fox): a client that gets a 101 for
// h2c speaks HTTP/2 directly to the upstream, past everything in front. Only a WebSocket is let
// through (RFC 6455), and HTTP2-Settings never is.
func TestAttackUpgrades(t *testing.T) {
	websocket := []string{"connection: Upgrade", "upgrade: websocket"}
	const settings = "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"
	cases := []struct {
		name  string
		lines []string
		want  []string
	}{
		{"h2c", []string{"Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", settings}, nil},
		{"h2c, settings not named", []string{"Connection: Upgrade", "Upgrade: h2c", settings}, nil},
		{"h2c, settings alone", []string{"Connection: close, HTTP2-Settings", settings}, nil},
		{"only settings", []string{settings}, nil},
		{"settings twice", []string{settings, "http2-settings: AAA", "HTTP2-SETTINGS:"}, nil},
		{"h2c in other letters", []string{"CONNECTION: upgrade,http2-settings", "UPGRADE: H2C",
			"hTTP2-sETTINGS: A"}, nil},
		{"h2c in two lines", []string{"Connection: HTTP2-Settings", "Connection:\tUPGRADE\t", "Upgrade: h2c",
			settings}, nil},
		{"h2c among others", []string{"Connection: Upgrade", "Upgrade: TLS/1.0, h2c, HTTP/2.0, h2"}, nil},
		{"h2c in the second line", []string{"Connection: Upgrade", "Upgrade: foo", "Upgrade: h2c"}, nil},
		{"TLS", []string{"Connection: Upgrade", "Upgrade: TLS/1.2"}, nil},
		{"connect-udp", []string{"Connection: Upgrade", "Upgrade: connect-udp"}, nil},
		{"SPDY", []string{"Connection: Upgrade", "Upgrade: SPDY/3.1"}, nil},
		{"tcp", []string{"Connection: Upgrade", "Upgrade: tcp"}, nil},
		{"nothing", []string{"Connection: Upgrade", "Upgrade: "}, nil},
		{"commas", []string{"Connection: Upgrade", "Upgrade: ,,"}, nil},
		{"no Upgrade", []string{"Connection: Upgrade"}, nil},
		{"no Connection", []string{"Upgrade: h2c", settings}, nil},
		{"nearly a WebSocket", []string{"Connection: Upgrade", "Upgrade: websocket2"}, nil},
		{"a WebSocket's version", []string{"Connection: Upgrade", "Upgrade: websocket/13"}, nil},
		{"two in one word", []string{"Connection: Upgrade", "Upgrade: h2c websocket"}, nil},
		{"quoted", []string{"Connection: Upgrade", `Upgrade: "websocket"`}, nil},
		// U+212A folds to k in Unicode.
		{"not ASCII", []string{"Connection: Upgrade", "Upgrade: websoc\u212aet"}, nil},
		{"a WebSocket", []string{"Connection: Upgrade", "Upgrade: websocket"}, websocket},
		{"a WebSocket in other letters", []string{"connection: keep-alive, UPGRADE", "upgrade: WebSocket"},
			websocket},
		{"a WebSocket, then h2c", []string{"Connection: Upgrade", "Upgrade: websocket, h2c", settings},
			websocket},
		{"h2c, then a WebSocket", []string{"Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c, WebSocket",
			settings}, websocket},
		{"a WebSocket and h2c in two lines", []string{"Connection: Upgrade", "Upgrade: websocket",
			"Upgrade: h2c"}, websocket},
		{"h2c and a WebSocket in two lines", []string{"Connection: Upgrade", "Upgrade: h2c",
			"Upgrade: websocket"}, websocket},
		{"a WebSocket twice", []string{"Connection: Upgrade", "Upgrade: websocket,,websocket"}, websocket},
		{"a WebSocket and settings", []string{"Connection: Upgrade, HTTP2-Settings", "Upgrade: websocket",
			settings}, websocket},
	}
	attackUpgrades(t, upgradeSite(t, "", ""), cases)
}

// `upgrades` names other protocols that are let through. They are compared whole, ignoring case.
func TestAttackUpgradesThatTheSiteAllows(t *testing.T) {
	websocket := []string{"connection: Upgrade", "upgrade: websocket"}
	spdy := []string{"connection: Upgrade", "upgrade: spdy/3.1"}
	const settings = "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"
	attackUpgrades(t, upgradeSite(t, "upgrades websocket SPDY/3.1", ""), []struct {
		name  string
		lines []string
		want  []string
	}{
		{"SPDY/3.1", []string{"Connection: Upgrade", "Upgrade: SPDY/3.1"}, spdy},
		{"spdy/3.1", []string{"Connection: upgrade", "Upgrade: spdy/3.1", settings}, spdy},
		{"SPDY/3.1 and h2c", []string{"Connection: Upgrade", "Upgrade: h2c, SPDY/3.1", settings}, spdy},
		{"a WebSocket", []string{"Connection: Upgrade", "Upgrade: websocket"}, websocket},
		{"another version", []string{"Connection: Upgrade", "Upgrade: SPDY/3"}, nil},
		{"no version", []string{"Connection: Upgrade", "Upgrade: SPDY"}, nil},
		{"h2c", []string{"Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", settings}, nil},
		{"tcp", []string{"Connection: Upgrade", "Upgrade: tcp"}, nil},
	})
}

// GHSA-49wc-4hcv-v58q: a site may have Caddy let underscores and dots through, and CGI reads them
// as dashes.
func TestAttackUpgradesInOddSpelling(t *testing.T) {
	servers := "expected_underscore_headers http2_* http2_settings\n\texpected_dot_headers http2.*"
	attackUpgrades(t, upgradeSite(t, "", servers), []struct {
		name  string
		lines []string
		want  []string
	}{
		{"underscores", []string{"HTTP2_SETTINGS: AAMAAABk"}, nil},
		{"dots", []string{"http2.settings: AAMAAABk"}, nil},
	})
}

func attackUpgrades(t *testing.T, s site, cases []struct {
	name  string
	lines []string
	want  []string
}) {
	up := newUpgradeUpstream(t)
	srv := startServer(t, s, up.URL)
	tok := srv.issue(t, demoKey, "salgado", "READ_PUBLIC", nil)
	signed := "Authorization: " + authorization(plaintext(demoKey, demoSecret, tok))
	for _, route := range []struct {
		name, path string
		lines      []string
		errors     bool
	}{
		{"signed", "/x", []string{signed}, false},
		{"anonymous", "/x", []string{"X-Open: yes"}, false},
		{"signed, though no signature was asked for", "/x", []string{"X-Open: yes", signed}, false},
		{"left out by the matcher", "/out/x", nil, false},
		{"left out by the matcher, signed", "/out/x", []string{signed}, false},
		{"refused, error routes", "/x", nil, true},
		{"denied, error routes", "/x", []string{"X-Denied: yes", signed}, true},
		{"an endpoint's refusal, error routes", "/+access-token", nil, true},
	} {
		t.Run(route.name, func(t *testing.T) {
			for _, c := range cases {
				for _, method := range []string{"GET", "POST"} {
					up.take()
					request := srv.message(method, route.path, append(slices.Clone(c.lines), route.lines...),
						"")
					got, err := srv.tryRaw(t, "127.0.0.1:"+srv.port, request)
					seen := up.take()
					if len(seen) == 0 {
						t.Errorf("%s, %s: nothing reached the upstream: %d %q %v", c.name, method, got.Status,
							brief(got.Body), err)
						continue
					}
					last := seen[len(seen)-1]
					if lines := upgradeLines(last); !slices.Equal(lines, c.want) {
						t.Errorf("%s, %s: the upstream got %q, want %q", c.name, method, lines, c.want)
					}
					if from := last.Header.Get("X-Route"); (from == "errors") != route.errors {
						t.Errorf("%s, %s: by way of %q", c.name, method, from)
					}
					if c.want == nil && got.Status == http.StatusSwitchingProtocols {
						t.Errorf("%s, %s: 101", c.name, method)
					}
				}
			}
			// RFC 9113 section 8.2.2 forbids Upgrade, and does not mention HTTP2-Settings.
			var fields []string
			for _, line := range route.lines {
				name, value, _ := strings.Cut(line, ": ")
				fields = append(fields, strings.ToLower(name), value)
			}
			srv.h2(t, h2Message{fields: srv.h2Fields("GET", route.path, append(fields, "http2-settings",
				"AAMAAABk")...)})
			for _, got := range up.take() {
				if lines := upgradeLines(got); len(lines) > 0 {
					t.Errorf("HTTP/2: the upstream got %q", lines)
				}
			}
		})
	}
}

// newUpgradeUpstream accepts every upgrade, like an upstream that speaks all protocols. It records
// the requests.
func newUpgradeUpstream(t testing.TB) *upstream {
	t.Helper()
	up := &upstream{}
	up.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		up.record(received{Method: r.Method, URI: r.RequestURI, Host: r.Host, Header: r.Header.Clone()})
		protocol := r.Header.Get("Upgrade")
		if protocol == "" {
			io.WriteString(w, "ok")
			return
		}
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: %s\r\nConnection: Upgrade\r\n\r\n",
			protocol)
		rw.Flush()
	}))
	up.Config.SetKeepAlivesEnabled(false)
	t.Cleanup(up.Close)
	return up
}

// The whole attack, on an upstream that speaks h2c (as Go, Jetty, Tomcat and uvicorn's relatives
// do): after the 101 its client asks for any path, with any identity.
func TestAttackThroughH2C(t *testing.T) {
	up := &upstream{}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		up.record(received{Method: r.Method, URI: r.RequestURI, Header: r.Header.Clone()})
		io.WriteString(w, "ok")
	})
	up.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.EqualFold(r.Header.Get("Upgrade"), "h2c") {
			handler.ServeHTTP(w, r)
			return
		}
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n")
		serveH2C(conn, handler)
	}))
	t.Cleanup(up.Close)
	srv := startServer(t, upgradeSite(t, "", ""), up.URL)
	tok := srv.issue(t, demoKey, "salgado", "READ_PUBLIC", nil)
	signed := "Authorization: " + authorization(plaintext(demoKey, demoSecret, tok))
	for what, c := range map[string]struct{ path, line string }{
		"signed": {"/x", signed}, "anonymous": {"/x", "X-Open: yes"}, "left out": {"/out/x", "X-Nothing: x"},
	} {
		conn, err := net.Dial("tcp", "127.0.0.1:"+srv.port)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		io.WriteString(conn, srv.message("GET", c.path, []string{
			c.line, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c",
			"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
		}, ""))
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusSwitchingProtocols {
			t.Errorf("%s: the upstream speaks HTTP/2 with the client", what)
			smuggle(conn)
		} else if resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %s, want the answer to a plain request", what, resp.Status)
		}
		for _, got := range up.take() {
			if got.URI != c.path || got.Header.Get("X-Oauth-User") == "root" {
				t.Errorf("%s: reached the upstream: %s for %s", what, got.URI, got.Header.Get("X-Oauth-User"))
			}
		}
	}
}

// serveH2C serves HTTP/2 on a connection without TLS, until it ends.
func serveH2C(conn net.Conn, handler http.Handler) {
	ended := make(chan struct{})
	server := &http.Server{
		Handler:   handler,
		Protocols: new(http.Protocols),
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateClosed {
				close(ended)
			}
		},
	}
	server.Protocols.SetUnencryptedHTTP2(true)
	server.Serve(&oneConn{Conn: conn})
	<-ended
}

// oneConn is a listener that accepts one connection.
type oneConn struct {
	net.Conn
	accepted bool
}

func (l *oneConn) Accept() (net.Conn, error) {
	if l.accepted {
		return nil, net.ErrClosed
	}
	l.accepted = true
	return l.Conn, nil
}

func (l *oneConn) Close() error   { return nil }
func (l *oneConn) Addr() net.Addr { return l.LocalAddr() }

// smuggle asks for forbidden paths on a connection that leads to the upstream.
func smuggle(conn net.Conn) {
	io.WriteString(conn, http2.ClientPreface)
	framer := http2.NewFramer(conn, conn)
	framer.WriteSettings()
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, field := range [][2]string{
		{":method", "GET"}, {":scheme", "http"}, {":authority", "h"}, {":path", "/private"}, {"x-oauth-user",
			"root"},
	} {
		encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]})
	}
	framer.WriteHeaders(http2.HeadersFrameParam{
		StreamID: 3, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: true,
	})
	for {
		frame, err := framer.ReadFrame()
		if err != nil || frame.Header().StreamID == 3 {
			return
		}
	}
}
