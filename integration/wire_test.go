package integration

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
)

// A wire stands between a client and the server and keeps every byte in both directions. So a test
// sees the real requests and answers, and need not trust the client.
type wire struct {
	net.Listener
	server string // host and port

	mu    sync.Mutex
	calls []*call
}

// A call is a connection: the bytes that the client sent on it, and the answers.
type call struct {
	mu       sync.Mutex
	up, down bytes.Buffer
	conns    [2]net.Conn
}

// An exchange is a request and its answer. Wrong is a judge's objection to the request's signature.
type exchange struct {
	*http.Request
	body   []byte
	status int
	answer []byte
	wrong  error
}

func newWire(t testing.TB, srv *server) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{Listener: l, server: "127.0.0.1:" + srv.port}
	t.Cleanup(w.close)
	go w.serve()
	return w
}

func (w *wire) origin() string { return "http://" + w.Addr().String() }

func (w *wire) serve() {
	for {
		client, err := w.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", w.server)
		if err != nil {
			client.Close()
			continue
		}
		c := &call{conns: [2]net.Conn{client, server}}
		w.mu.Lock()
		w.calls = append(w.calls, c)
		w.mu.Unlock()
		go c.carry(server, client, &c.up)
		go c.carry(client, server, &c.down)
	}
}

// carry copies one direction. It keeps bytes before it passes them on, so every answered byte is
// kept.
func (c *call) carry(to, from net.Conn, kept *bytes.Buffer) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		c.mu.Lock()
		kept.Write(buf[:n])
		c.mu.Unlock()
		if _, failed := to.Write(buf[:n]); failed != nil || err != nil {
			break
		}
	}
	if half, ok := to.(*net.TCPConn); ok {
		half.CloseWrite()
	}
}

func (w *wire) close() {
	w.Listener.Close()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.calls {
		c.conns[0].Close()
		c.conns[1].Close()
	}
}

// exchanges reads the bytes on the wire, connection after connection. It keeps a request or an
// answer that broke off, as far as it came. Without an answer the status is 0.
func (w *wire) exchanges() []*exchange {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []*exchange
	for _, c := range w.calls {
		c.mu.Lock()
		up, down := bytes.Clone(c.up.Bytes()), bytes.Clone(c.down.Bytes())
		c.mu.Unlock()
		requests, answers := bufio.NewReader(bytes.NewReader(up)), bufio.NewReader(bytes.NewReader(down))
		for {
			req, err := http.ReadRequest(requests)
			if err != nil {
				break
			}
			x := &exchange{Request: req}
			x.body, _ = readBody(req)
			x.status, x.answer, _ = readAnswer(answers, req)
			all = append(all, x)
		}
	}
	return all
}

// readAnswer reads an answer, after any 1xx answers before it.
func readAnswer(r *bufio.Reader, req *http.Request) (status int, body []byte, err error) {
	for {
		resp, err := http.ReadResponse(r, req)
		if err != nil {
			return 0, nil, err
		}
		if resp.StatusCode/100 == 1 {
			continue
		}
		body, err := io.ReadAll(resp.Body)
		return resp.StatusCode, body, err
	}
}

// The matrix relies on the wire, so the wire is tested with difficult input: several requests on a
// connection, an interim answer, a body without a length, and a path that is not plain.
func TestTheWireKeepsWhatWentOver(t *testing.T) {
	t.Parallel()
	up := newQuickUpstream(t)
	w := newWire(t, &server{port: mustParse(t, up.URL).Port()})
	conn, err := net.Dial("tcp", w.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answers := bufio.NewReader(conn)
	for _, request := range []string{
		"GET /a%2fb//?q=%20+&q HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST /chunked HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
		"POST /interim HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi",
		"GET /last HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		io.WriteString(conn, request)
		status, body, err := readAnswer(answers, nil)
		if status != http.StatusOK || string(body) != "ok" || err != nil {
			t.Fatalf("%s: %d %s, %v", request, status, body, err)
		}
	}
	var got []string
	for _, x := range w.exchanges() {
		got = append(got, fmt.Sprintf("%s %s %s %d %s", x.Method, x.RequestURI, x.body, x.status, x.answer))
	}
	want := []string{
		"GET /a%2fb//?q=%20+&q  200 ok",
		"POST /chunked abcde 200 ok",
		"POST /interim hi 200 ok",
		"GET /last  200 ok",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
