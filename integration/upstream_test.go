package integration

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// A received is a request as the upstream got it.
type received struct {
	Method  string      `json:"method"`
	URI     string      `json:"uri"` // as on the request line
	Proto   string      `json:"proto"`
	Host    string      `json:"host"`
	Header  http.Header `json:"header"`
	Lines   []string    `json:"lines"` // the header's lines in their order, as on the wire; empty for HTTP/2
	Body    []byte      `json:"body"`
	Trailer http.Header `json:"trailer,omitempty"`
}

// An upstream is the API behind the site: a server of Go's net/http, which records the requests. It
// answers with the request as JSON, except at
//
//	/stream/down    three chunks, each but the first after the test has said so through Continue
//	/stream/up      tells the test through Progress how much it has read so far
//	/stream/both    answers with what it reads as soon as it has read it
//	/trailers       declares a trailer and sends it
//	/hints          103 Early Hints before the answer
//	/switch         switches protocols and sends back every line, as a WebSocket would
//	/late           reads nothing of the body before it has answered 413
//	/status/NNN     that status
type upstream struct {
	*httptest.Server
	Continue chan struct{}
	Progress chan int

	mu   sync.Mutex
	seen []received
}

func newUpstream(t testing.TB) *upstream {
	t.Helper()
	up := &upstream{Continue: make(chan struct{}), Progress: make(chan int, 1<<16)}
	up.Server = httptest.NewUnstartedServer(up)
	up.Listener = recordingListener{up.Listener}
	up.Config.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		return context.WithValue(ctx, connKey{}, c)
	}
	up.Config.Protocols = new(http.Protocols)
	up.Config.Protocols.SetHTTP1(true)
	up.Config.Protocols.SetUnencryptedHTTP2(true)
	// One request per connection, so that the bytes of a connection are those of one request.
	up.Config.SetKeepAlivesEnabled(false)
	up.Start()
	t.Cleanup(up.Close)
	return up
}

// last returns the last request, and forgets all.
func (up *upstream) last(t testing.TB) received {
	t.Helper()
	all := up.take()
	if len(all) == 0 {
		t.Fatal("nothing reached the upstream")
	}
	return all[len(all)-1]
}

// take returns the requests since the last take.
func (up *upstream) take() []received {
	up.mu.Lock()
	defer up.mu.Unlock()
	seen := up.seen
	up.seen = nil
	return seen
}

func (up *upstream) record(r received) {
	up.mu.Lock()
	defer up.mu.Unlock()
	up.seen = append(up.seen, r)
}

func (up *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	got := received{
		Method: r.Method, URI: r.RequestURI, Proto: r.Proto, Host: r.Host, Header: r.Header.Clone(),
		Lines: headerLines(r),
	}
	rc := http.NewResponseController(w)
	switch path := r.URL.Path; {
	case path == "/stream/down":
		up.record(got)
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 3 {
			if i > 0 {
				select {
				case <-up.Continue:
				case <-r.Context().Done():
					return
				}
			}
			fmt.Fprintf(w, "data: %d\n\n", i)
			rc.Flush()
		}
		return
	case path == "/stream/up":
		buf := make([]byte, 4096)
		total := 0
		for {
			n, err := r.Body.Read(buf)
			total += n
			up.Progress <- total
			if err != nil {
				break
			}
		}
		up.record(got)
		fmt.Fprintf(w, "%d bytes", total)
		return
	case path == "/stream/both":
		up.record(got)
		rc.EnableFullDuplex()
		w.WriteHeader(http.StatusOK)
		rc.Flush()
		buf := make([]byte, 1024)
		for {
			n, err := r.Body.Read(buf)
			w.Write(buf[:n])
			rc.Flush()
			if err != nil {
				return
			}
		}
	case path == "/switch":
		up.record(got)
		switchProtocols(w, r)
		return
	case path == "/late":
		up.record(got)
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		return
	}

	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	got.Body, got.Trailer = body, r.Trailer.Clone()
	up.record(got)
	switch path := r.URL.Path; {
	case path == "/trailers":
		w.Header().Set("Trailer", "X-Digest")
		io.WriteString(w, "with a trailer")
		w.Header().Set("X-Digest", "abc")
	case path == "/hints":
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Set("Link", "</style.css>; rel=preload")
		io.WriteString(w, "hinted")
	case strings.HasPrefix(path, "/status/"):
		status, _ := strconv.Atoi(strings.TrimPrefix(path, "/status/"))
		w.Header().Set("X-Upstream", "it was me")
		w.WriteHeader(status)
		fmt.Fprintf(w, "status %d", status)
	default:
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(got)
	}
}

// switchProtocols does the handshake of a WebSocket, and then echoes all bytes, without frames.
func switchProtocols(w http.ResponseWriter, r *http.Request) {
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer conn.Close()
	fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
		webSocketAccept(r.Header.Get("Sec-WebSocket-Key")))
	rw.Flush()
	io.Copy(conn, rw)
}

func webSocketAccept(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// parseReceived reads the upstream's answer.
func parseReceived(t testing.TB, r reply) received {
	t.Helper()
	if r.Status != http.StatusOK {
		t.Fatalf("status %d: %s", r.Status, r.Body)
	}
	var got received
	if err := json.Unmarshal([]byte(r.Body), &got); err != nil {
		t.Fatalf("not from the upstream: %v: %s", err, r.Body)
	}
	return got
}

// headerBut returns the lines of the header except those named, to compare with another header.
func (r received) headerBut(names ...string) []string {
	return slices.DeleteFunc(slices.Clone(r.Lines), func(line string) bool {
		name, _, _ := strings.Cut(line, ":")
		return slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) })
	})
}

// A recordingConn keeps the first bytes that it carried. When a handler runs, net/http has parsed
// them.
type recordingConn struct {
	net.Conn
	mu   sync.Mutex
	head []byte
}

const maxHead = 1 << 16

func (c *recordingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	if room := maxHead - len(c.head); room > 0 {
		c.head = append(c.head, p[:min(n, room)]...)
	}
	return n, err
}

type recordingListener struct{ net.Listener }

func (l recordingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &recordingConn{Conn: c}, nil
}

type connKey struct{}

func headerLines(r *http.Request) []string {
	c, ok := r.Context().Value(connKey{}).(*recordingConn)
	if !ok || r.ProtoMajor != 1 {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	head, _, _ := bytes.Cut(c.head, []byte("\r\n\r\n"))
	lines := strings.Split(string(head), "\r\n")
	return lines[1:]
}

// newQuickUpstream answers "ok" to everything and keeps its connections: for load.
func newQuickUpstream(t testing.TB) *httptest.Server {
	t.Helper()
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, "ok")
	}))
	t.Cleanup(up.Close)
	return up
}

// dial opens a connection to the site for HTTP by hand.
func (srv *server) dial(t testing.TB) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", "127.0.0.1:"+srv.port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn, bufio.NewReader(conn)
}

// A sightings is an upstream that remembers the requested paths.
type sightings struct {
	*httptest.Server
	mu    sync.Mutex
	paths map[string]bool
}

func newSightings(t testing.TB) *sightings {
	t.Helper()
	s := &sightings{paths: map[string]bool{}}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.paths[r.URL.Path] = true
		s.mu.Unlock()
		io.WriteString(w, "ok")
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *sightings) saw(path string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.paths[path]
}

func (s *sightings) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.paths)
}
