package integration

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// An h2Message is a request on stream 1 of a connection that speaks HTTP/2 without TLS.
type h2Message struct {
	fields   []string // name, value, name, value; the pseudo-headers first
	body     string
	trailers []string
}

// h2 sends a request frame by frame, and reads its answer.
func (srv *server) h2(t testing.TB, m h2Message) (reply, error) {
	t.Helper()
	c, err := srv.dialH2(patience)
	if err != nil {
		return reply{}, err
	}
	defer c.Close()
	err = c.writeHeaders(m.fields, m.body == "" && m.trailers == nil)
	if m.body != "" {
		err = errors.Join(err, c.framer.WriteData(1, m.trailers == nil, []byte(m.body)))
	}
	if m.trailers != nil {
		err = errors.Join(err, c.writeHeaders(m.trailers, true))
	}
	if err != nil {
		return reply{}, err
	}
	return c.readAnswer(func(reply) bool { return false })
}

// h2Connect sends a CONNECT whose stream stays open and, if it is accepted, a line. It returns the
// status and the data that came back.
func (srv *server) h2Connect(t testing.TB, fields []string) (reply, error) {
	t.Helper()
	c, err := srv.dialH2(10 * time.Second)
	if err != nil {
		return reply{}, err
	}
	defer c.Close()
	if err := c.writeHeaders(fields, false); err != nil {
		return reply{}, err
	}
	sent := false
	return c.readAnswer(func(answer reply) bool {
		if answer.Status == http.StatusOK && !sent {
			sent = true
			c.framer.WriteData(1, false, []byte("hello\n"))
		}
		return answer.Status == http.StatusOK && strings.HasSuffix(answer.Body, "\n")
	})
}

// An h2Conn is a connection that speaks HTTP/2 without TLS, and has one stream.
type h2Conn struct {
	net.Conn
	framer  *http2.Framer
	block   bytes.Buffer
	encoder *hpack.Encoder
}

// dialH2 opens a connection to the site. Its reads and writes fail after the timeout.
func (srv *server) dialH2(timeout time.Duration) (*h2Conn, error) {
	conn, err := net.Dial("tcp", "127.0.0.1:"+srv.port)
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(timeout))
	c := &h2Conn{Conn: conn, framer: http2.NewFramer(conn, conn)}
	c.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	c.framer.AllowIllegalWrites = true
	c.encoder = hpack.NewEncoder(&c.block)
	io.WriteString(conn, http2.ClientPreface)
	if err := c.framer.WriteSettings(); err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil
}

// writeHeaders writes the names and values. With end, the stream has no further frames.
func (c *h2Conn) writeHeaders(fields []string, end bool) error {
	c.block.Reset()
	for i := 0; i+1 < len(fields); i += 2 {
		c.encoder.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	return c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: c.block.Bytes(),
		EndHeaders: true, EndStream: end})
}

// readAnswer reads frames until the stream ends, or until done returns true for the answer so far.
func (c *h2Conn) readAnswer(done func(answer reply) bool) (answer reply, err error) {
	for {
		frame, err := c.framer.ReadFrame()
		if err != nil {
			return answer, err
		}
		ended := false
		switch f := frame.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				c.framer.WriteSettingsAck()
			}
			continue
		case *http2.MetaHeadersFrame:
			if answer.Status == 0 {
				fmt.Sscan(f.PseudoValue("status"), &answer.Status)
			}
			ended = f.StreamEnded()
		case *http2.DataFrame:
			answer.Body += string(f.Data())
			ended = f.StreamEnded()
		case *http2.RSTStreamFrame:
			return answer, fmt.Errorf("stream reset: %v", f.ErrCode)
		case *http2.GoAwayFrame:
			return answer, fmt.Errorf("go away: %v", f.ErrCode)
		default:
			continue
		}
		if ended || done(answer) {
			return answer, nil
		}
	}
}

// h2Fields returns the pseudo-headers of a request to the site, followed by the fields.
func (srv *server) h2Fields(method, path string, fields ...string) []string {
	return append([]string{":method", method, ":scheme", "http", ":authority", "127.0.0.1:" + srv.port, ":path",
		path}, fields...)
}
