package integration

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// A request that the directive does not refuse reaches the next handler as in plain Caddy. Each
// rule here is checked twice: at a site with the directive, and at one without, in front of the
// same upstream.

// A front is one of the two sites.
type front struct {
	srv           *server
	up            *upstream
	plain         bool
	port, tlsPort string
	token         token
	roots         *x509.CertPool
}

// identityHeaders are the headers that the directive adds.
var identityHeaders = []string{"X-OAuth-User", "X-OAuth-Consumer", "X-OAuth-Permission", "X-OAuth-Context",
	"X-OAuth-Token"}

// fronts starts both sites.
func fronts(t *testing.T) []*front {
	t.Helper()
	up := newUpstream(t)
	srv := startServer(t, site{
		Global: "skip_install_trust\nauto_https disable_redirects\nservers {\n\tprotocols h1 h2 h2c\n}",
		More: `
https://localhost:{{.TLS}} {
	tls internal
	oauth1
	reverse_proxy {{.Upstream}}
}
http://127.0.0.1:{{.Plain}} {
	reverse_proxy {{.Upstream}}
}
https://localhost:{{.PlainTLS}} {
	tls internal
	reverse_proxy {{.Upstream}}
}`,
		Vars: map[string]string{"TLS": freePort(t), "Plain": freePort(t), "PlainTLS": freePort(t)},
	}, up.URL)
	roots := x509.NewCertPool()
	srv.waitUntil("its certificate authority is there", func() error {
		root, err := os.ReadFile(filepath.Join(srv.dir, "data", "caddy", "pki", "authorities", "local", "root.crt"))
		if err == nil && !roots.AppendCertsFromPEM(root) {
			err = fmt.Errorf("no certificate in root.crt")
		}
		return err
	})
	both := []*front{
		{srv: srv, up: up, plain: true, port: srv.names["Plain"], tlsPort: srv.names["PlainTLS"], roots: roots},
		{srv: srv, up: up, port: srv.port, tlsPort: srv.names["TLS"], roots: roots, token: srv.issue(t, demoKey, "salgado", "WRITE_PRIVATE", object{"context": "firefox"})},
	}
	for _, f := range both {
		srv.waitUntil("its TLS sites have certificates", func() error {
			conn, err := tls.Dial("tcp", "127.0.0.1:"+f.tlsPort, &tls.Config{ServerName: "localhost", RootCAs: roots})
			if err == nil {
				conn.Close()
			}
			return err
		})
	}
	return both
}

// authorization returns the header line of the credentials, or "" at the plain site.
func (f *front) authorization() string {
	if f.plain {
		return ""
	}
	return "Authorization: " + authorization(plaintext(demoKey, demoSecret, f.token)) + "\r\n"
}

// authorize sets the credentials of a request.
func (f *front) authorize(req *http.Request) *http.Request {
	if !f.plain {
		req.Header.Set("Authorization", authorization(plaintext(demoKey, demoSecret, f.token)))
	}
	return req
}

func (f *front) request(t *testing.T, method, address string, body io.Reader) *http.Request {
	t.Helper()
	req, err := http.NewRequest(method, address, body)
	if err != nil {
		t.Fatal(err)
	}
	return f.authorize(req)
}

// dial opens a connection on which a test writes requests by hand.
func (f *front) dial(t *testing.T) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", "127.0.0.1:"+f.port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	return conn, bufio.NewReader(conn)
}

// client speaks HTTP/1.1, or HTTP/2 over TLS.
func (f *front) client(t *testing.T, http2 bool) *http.Client {
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: f.roots}, Protocols: new(http.Protocols), DisableCompression: true,
		ExpectContinueTimeout: patience,
	}
	transport.Protocols.SetHTTP1(!http2)
	transport.Protocols.SetHTTP2(http2)
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: patience}
}

// each runs a test on both sites, in both protocols.
func each(t *testing.T, both []*front, name string, test func(t *testing.T, f *front, client *http.Client, origin string)) {
	t.Run(name, func(t *testing.T) {
		for _, f := range both {
			where := map[bool]string{true: "plain Caddy", false: "behind the directive"}[f.plain]
			t.Run(where+", HTTP/1.1", func(t *testing.T) {
				test(t, f, f.client(t, false), "http://127.0.0.1:"+f.port)
			})
			t.Run(where+", HTTP/2", func(t *testing.T) {
				test(t, f, f.client(t, true), "https://localhost:"+f.tlsPort)
			})
		}
	})
}

func TestUpstreamSeesWhatItWouldSeeBehindPlainCaddy(t *testing.T) {
	both := fronts(t)
	const host = "Host: 127.0.0.1:PORT\r\n"
	for _, c := range []struct{ name, request string }{
		{"GET", "GET /a/b?c=d HTTP/1.1\r\n" + host + "\r\n"},
		{"an encoded path and query", "GET /a%2Fb/%c3%bc/%7E;v=1?q=a+b%20c&&=x&r=!*'(),/?:@$ HTTP/1.1\r\n" + host + "\r\n"},
		{"a question mark and no query", "GET /a? HTTP/1.1\r\n" + host + "\r\n"},
		{"slashes and dots", "GET //a/./b//../c/ HTTP/1.1\r\n" + host + "\r\n"},
		{"repeated and empty headers", "GET / HTTP/1.1\r\n" + host + "X-A: 1\r\nX-A: 2\r\nX-B:\r\nCookie: a=b\r\nCookie: c=d\r\n\r\n"},
		{"headers in UTF-8", "GET / HTTP/1.1\r\n" + host + "X-A: Größe ☃\r\n\r\n"},
		{"HEAD", "HEAD / HTTP/1.1\r\n" + host + "\r\n"},
		{"OPTIONS", "OPTIONS /a HTTP/1.1\r\n" + host + "\r\n"},
		{"a method of its own", "BREW /pot HTTP/1.1\r\n" + host + "Content-Length: 2\r\n\r\nhi"},
		{"a body with a length", "POST / HTTP/1.1\r\n" + host + "Content-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"},
		{"a body in chunks", "PUT / HTTP/1.1\r\n" + host + "Content-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n"},
		{"a body of no length", "POST / HTTP/1.1\r\n" + host + "Content-Type: text/plain\r\nContent-Length: 0\r\n\r\n"},
		{"a form", "POST /?a=1 HTTP/1.1\r\n" + host + "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 20\r\n\r\na=%7e&&b+c=%20;&=&d="},
		{"a form in chunks", "POST / HTTP/1.1\r\n" + host + "Content-Type: application/x-www-form-urlencoded; charset=UTF-8\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na=1\r\n4\r\n&b=2\r\n0\r\n\r\n"},
		{"a POST without a content type", "POST / HTTP/1.1\r\n" + host + "Content-Length: 8\r\n\r\n\x00\xff\xfe=&&;\n"},
		{"a multipart form", "POST / HTTP/1.1\r\n" + host + "Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 59\r\n\r\n--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--x--\r\n"},
		{"trailers", "POST / HTTP/1.1\r\n" + host + "Content-Type: text/plain\r\nTrailer: X-Digest\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Digest: abc\r\n\r\n"},
		{"trailers after a form", "POST / HTTP/1.1\r\n" + host + "Content-Type: application/x-www-form-urlencoded\r\nTrailer: X-Digest\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na=b\r\n0\r\nX-Digest: abc\r\n\r\n"},
		{"TE: trailers", "GET / HTTP/1.1\r\n" + host + "TE: trailers\r\nConnection: TE\r\n\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var seen [2]received
			var answers [2]string
			for i, f := range both {
				f.up.take()
				// The plain site gets the other site's Host, so that the two requests differ only
				// in the credentials.
				line, rest, _ := strings.Cut(strings.Replace(c.request, "PORT", f.srv.port, 1), "\r\n")
				conn, r := f.dial(t)
				fmt.Fprintf(conn, "%s\r\n%s%s", line, f.authorization(), rest)
				resp, err := http.ReadResponse(r, &http.Request{Method: strings.Fields(line)[0]})
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(resp.Body)
				if err != nil || resp.StatusCode != http.StatusOK {
					t.Fatalf("%s: %s: %s: %v", f.port, resp.Status, body, err)
				}
				seen[i] = f.up.last(t)
				resp.Header.Del("Date")
				resp.Header.Del("Content-Length") // the answer repeats the request, whose length differs
				answers[i] = fmt.Sprint(resp.StatusCode, resp.Header)
			}
			plain, ours := seen[0], seen[1]
			if plain.Method != ours.Method || plain.URI != ours.URI || plain.Host != ours.Host ||
				!bytes.Equal(plain.Body, ours.Body) {
				t.Errorf("the upstream got\n%s %s %s %q behind the directive,\n%s %s %s %q behind plain Caddy",
					ours.Method, ours.URI, ours.Host, ours.Body, plain.Method, plain.URI, plain.Host, plain.Body)
			}
			if a, b := ours.headerBut(identityHeaders...), plain.headerBut(); !slices.Equal(a, b) {
				t.Errorf("the upstream got the header\n%q behind the directive,\n%q behind plain Caddy", a, b)
			}
			if a, b := fmt.Sprint(ours.Trailer), fmt.Sprint(plain.Trailer); a != b {
				t.Errorf("the upstream got the trailer %s behind the directive, %s behind plain Caddy", a, b)
			}
			if answers[0] != answers[1] {
				t.Errorf("the client got\n%s behind the directive,\n%s behind plain Caddy", answers[1], answers[0])
			}
		})
	}
}

func TestPassThrough(t *testing.T) {
	both := fronts(t)

	each(t, both, "chunks of a response arrive before its end",
		func(t *testing.T, f *front, client *http.Client, origin string) {
			resp, err := client.Do(f.request(t, "GET", origin+"/stream/down", nil))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			r := bufio.NewReader(resp.Body)
			for i := range 3 {
				if i > 0 {
					f.up.Continue <- struct{}{}
				}
				line, err := r.ReadString('\n')
				if want := fmt.Sprintf("data: %d\n", i); line != want || err != nil {
					t.Fatalf("%q, %v, want %q", line, err, want)
				}
				r.ReadString('\n')
			}
		})

	each(t, both, "an upload reaches the upstream before its end, whatever its size",
		func(t *testing.T, f *front, client *http.Client, origin string) {
			body, w := io.Pipe()
			req := f.request(t, "PUT", origin+"/stream/up", body)
			req.Header.Set("Content-Type", "application/octet-stream")
			drain(f.up.Progress)
			type answer struct {
				text string
				err  error
			}
			answered := make(chan answer, 1)
			go func() {
				resp, err := client.Do(req)
				if err != nil {
					answered <- answer{err: err}
					return
				}
				defer resp.Body.Close()
				text, err := io.ReadAll(resp.Body)
				answered <- answer{string(text), err}
			}()
			total := 0
			for _, size := range []int{1, 1000, 100_000, 3_000_000} {
				chunk := make([]byte, size)
				rand.Read(chunk)
				w.Write(chunk)
				total += size
				timeout := time.After(patience)
				for got := 0; got < total; {
					select {
					case got = <-f.up.Progress:
					case <-timeout:
						t.Fatalf("the upstream has %d bytes of the first %d", got, total)
					}
				}
			}
			w.Close()
			got := <-answered
			if want := fmt.Sprintf("%d bytes", total); got.text != want || got.err != nil {
				t.Errorf("%q, %v, want %q", got.text, got.err, want)
			}
		})

	each(t, both, "a body is the same, byte for byte",
		func(t *testing.T, f *front, client *http.Client, origin string) {
			for _, contentType := range []string{"", "application/octet-stream", formType,
				"multipart/form-data; boundary=x"} {
				body := make([]byte, 200_000)
				rand.Read(body)
				if contentType == formType || contentType == "" {
					body = []byte("a=%7e&&b+c=%20&=&" + strings.Repeat("d="+strings.Repeat("%C3%BC", 100)+"&", 200) +
						"a=")
				}
				req := f.request(t, "POST", origin+"/", bytes.NewReader(body))
				if contentType != "" {
					req.Header.Set("Content-Type", contentType)
				}
				f.up.take()
				resp, err := client.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if got := f.up.last(t); resp.StatusCode != http.StatusOK || !bytes.Equal(got.Body, body) {
					t.Errorf("%q: %s, and the upstream got %d bytes of %d, or others", contentType, resp.Status,
						len(got.Body), len(body))
				}
			}
		})

	each(t, both, "trailers go both ways", func(t *testing.T, f *front, client *http.Client, origin string) {
		req := f.request(t, "POST", origin+"/trailers", io.MultiReader(strings.NewReader("hello"))) // of unknown length
		req.Header.Set("Content-Type", "text/plain")
		req.Trailer = http.Header{"X-Sum": {"1"}}
		f.up.take()
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil || string(body) != "with a trailer" || resp.Trailer.Get("X-Digest") != "abc" {
			t.Errorf("%q with the trailer %v, %v", body, resp.Trailer, err)
		}
		if got := f.up.last(t); got.Trailer.Get("X-Sum") != "1" {
			t.Errorf("the upstream got the trailer %v", got.Trailer)
		}
	})

	each(t, both, "103 Early Hints reach the client", func(t *testing.T, f *front, client *http.Client, origin string) {
		var hints []string
		trace := &httptrace.ClientTrace{Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
			hints = append(hints, fmt.Sprint(code, " ", header.Get("Link")))
			return nil
		}}
		req := f.request(t, "GET", origin+"/hints", nil)
		resp, err := client.Do(req.WithContext(httptrace.WithClientTrace(req.Context(), trace)))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		if !slices.Equal(hints, []string{"103 </style.css>; rel=preload"}) || string(body) != "hinted" {
			t.Errorf("%q, then %q", hints, body)
		}
	})

	each(t, both, "Expect: 100-continue waits for the upstream",
		func(t *testing.T, f *front, client *http.Client, origin string) {
			continued := false
			trace := &httptrace.ClientTrace{Got100Continue: func() { continued = true }}
			req := f.request(t, "POST", origin+"/", strings.NewReader("hello"))
			req.Header.Set("Content-Type", "text/plain")
			req.Header.Set("Expect", "100-continue")
			f.up.take()
			resp, err := client.Do(req.WithContext(httptrace.WithClientTrace(req.Context(), trace)))
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if got := f.up.last(t); !continued || string(got.Body) != "hello" {
				t.Errorf("continued: %v, body %q", continued, got.Body)
			}
		})

	each(t, both, "the upstream's own status reaches the client",
		func(t *testing.T, f *front, client *http.Client, origin string) {
			for _, status := range []int{204, 301, 401, 404, 418, 500, 503} {
				client := &http.Client{Transport: client.Transport,
					CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
				resp, err := client.Do(f.request(t, "GET", fmt.Sprintf("%s/status/%d", origin, status), nil))
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				if resp.StatusCode != status || resp.Header.Get("X-Upstream") != "it was me" ||
					resp.Header.Get("WWW-Authenticate") != "" {
					t.Errorf("%s %v, want the upstream's %d", resp.Status, resp.Header, status)
				}
			}
		})

	t.Run("a WebSocket", func(t *testing.T) {
		for _, f := range both {
			t.Run(map[bool]string{true: "plain Caddy", false: "behind the directive"}[f.plain], func(t *testing.T) {
				conn, r := f.dial(t)
				fmt.Fprintf(conn, "GET /switch HTTP/1.1\r\nHost: 127.0.0.1:%s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
					"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n%s\r\n", f.port,
					f.authorization())
				resp, err := http.ReadResponse(r, nil)
				if err != nil {
					t.Fatal(err)
				}
				if resp.StatusCode != http.StatusSwitchingProtocols ||
					resp.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
					t.Fatalf("%s %v", resp.Status, resp.Header)
				}
				for range 3 {
					fmt.Fprintf(conn, "hello\n")
					if line, err := r.ReadString('\n'); line != "hello\n" || err != nil {
						t.Fatalf("%q, %v", line, err)
					}
				}
			})
		}
	})

	t.Run("a stream in both directions at once, over HTTP/2", func(t *testing.T) {
		for _, f := range both {
			t.Run(map[bool]string{true: "plain Caddy", false: "behind the directive"}[f.plain], func(t *testing.T) {
				body, w := io.Pipe()
				defer w.Close()
				req := f.request(t, "POST", "https://localhost:"+f.tlsPort+"/stream/both", body)
				req.Header.Set("Content-Type", "application/grpc")
				resp, err := f.client(t, true).Do(req)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				r := bufio.NewReader(resp.Body)
				for i := range 3 {
					fmt.Fprintf(w, "%d\n", i)
					if line, err := r.ReadString('\n'); line != fmt.Sprintf("%d\n", i) || err != nil {
						t.Fatalf("%q, %v", line, err)
					}
				}
			})
		}
	})

	t.Run("a refused request with Expect: 100-continue never reaches the upstream", func(t *testing.T) {
		// Caddy, with the directive or without, answers such a request only after the body, which
		// clients send after a while even without a 100.
		f := both[1]
		client := f.client(t, false)
		client.Transport.(*http.Transport).ExpectContinueTimeout = 100 * time.Millisecond
		req, err := http.NewRequest("POST", "http://127.0.0.1:"+f.port+"/refused", strings.NewReader("hello"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "text/plain")
		req.Header.Set("Expect", "100-continue")
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s, want 401", resp.Status)
		}
		for _, got := range f.up.take() {
			if got.URI == "/refused" {
				t.Errorf("it reached the upstream: %+v", got)
			}
		}
	})
}

func drain(c chan int) {
	for {
		select {
		case <-c:
		default:
			return
		}
	}
}
