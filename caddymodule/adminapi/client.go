package adminapi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2"
)

// A Client calls the admin API of a running Caddy. It may be used by many goroutines at once, and
// must not be copied after its first call.
type Client struct {
	// Address is where Caddy's admin endpoint listens, as Caddy writes it: localhost:2019, or
	// unix//run/caddy-admin.sock.
	Address string
	// Actor is a name for the audit trail. Nothing proves it.
	Actor string

	connect sync.Once
	client  http.Client
	origin  string
	wrong   error // with the address
}

const (
	// maxIdleConns is how many connections are kept for later calls.
	maxIdleConns = 64
	// maxErrorBody is how much is read of the answer to a call that failed, in bytes.
	maxErrorBody = 2 << 20
)

// Do sends a request, with a value as its JSON body unless that is nil, and decodes the JSON answer
// into another unless that is nil. The path may have a query. A refused call is an *Error.
func (c *Client) Do(ctx context.Context, method, path string, body, answer any) error {
	var sent io.Reader
	contentType := ""
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		sent, contentType = bytes.NewReader(text), "application/json"
	}
	return c.exchange(ctx, method, path, contentType, sent, answer)
}

// Post sends a body that is not JSON, and decodes the answer as Do does.
func (c *Client) Post(ctx context.Context, path, contentType string, body io.Reader, answer any) error {
	return c.exchange(ctx, http.MethodPost, path, contentType, body, answer)
}

func (c *Client) exchange(
	ctx context.Context, method, path, contentType string, body io.Reader, answer any,
) error {
	resp, err := c.send(ctx, method, path, contentType, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if answer != nil {
		if err := json.NewDecoder(resp.Body).Decode(answer); err != nil {
			return fmt.Errorf("reading the admin API's answer: %w", err)
		}
	}
	_, _ = io.Copy(io.Discard, resp.Body) // so that the connection can be used again
	return nil
}

// Download sends a GET request, and copies the body of the answer. A body that was cut off is an
// error.
func (c *Client) Download(ctx context.Context, path string, to io.Writer) error {
	resp, err := c.send(ctx, http.MethodGet, path, "", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(to, resp.Body); err != nil {
		return fmt.Errorf("reading the admin API's answer: %w", err)
	}
	return nil
}

// send sends a request. The answer is one of success.
func (c *Client) send(
	ctx context.Context, method, path, contentType string, sent io.Reader,
) (*http.Response, error) {
	c.connect.Do(c.prepare)
	if c.wrong != nil {
		return nil, c.wrong
	}
	req, err := http.NewRequestWithContext(ctx, method, c.origin+path, sent)
	if err != nil {
		return nil, fmt.Errorf("making request: %w", err)
	}
	if c.origin != bogusOrigin {
		req.Header.Set("Origin", c.origin)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	if c.Actor != "" {
		req.Header.Set(ActorHeader, url.QueryEscape(c.Actor))
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("performing request: %w", err)
	}
	if resp.StatusCode >= http.StatusBadRequest {
		defer resp.Body.Close()
		text, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
		if err != nil {
			return nil, fmt.Errorf("HTTP %d: reading error message: %w", resp.StatusCode, err)
		}
		return nil, newError(resp.StatusCode, text)
	}
	return resp, nil
}

// bogusOrigin is the origin of an endpoint whose address is no host. Caddy accepts it at a Unix
// socket.
const bogusOrigin = "http://127.0.0.1"

// prepare reads the address, as Caddy's own commands do.
func (c *Client) prepare() {
	address, err := caddy.ParseNetworkAddress(c.Address)
	if err != nil || address.PortRangeSize() > 1 {
		c.wrong = fmt.Errorf("invalid admin address %s: %v", c.Address, err)
		return
	}
	c.origin = "http://" + address.JoinHostPort(0)
	switch {
	case address.IsUnixNetwork():
		c.origin = bogusOrigin
		address.Host, _, _ = strings.Cut(address.Host, "|") // the permissions of the socket
	case address.IsFdNetwork():
		c.origin = bogusOrigin
	}
	c.client.Transport = &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, address.Network, address.JoinHostPort(0))
		},
		MaxIdleConnsPerHost: maxIdleConns,
	}
}
