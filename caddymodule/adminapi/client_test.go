package adminapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

// newTestClient is a client of a server that answers with a function.
func newTestClient(t *testing.T, answer http.HandlerFunc) *Client {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	return &Client{Address: strings.TrimPrefix(server.URL, "http://")}
}

func TestClientSendsAndReadsJSON(t *testing.T) {
	t.Parallel()
	var c *Client
	c = newTestClient(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Method != "POST" || r.RequestURI != "/oauth1/tokens?x=1" || string(body) != `{"overlap":"1d"}` ||
			r.Header.Get("Content-Type") != "application/json" ||
			r.Header.Get("Origin") != "http://"+c.Address {
			t.Errorf("%s %s %s: %v", r.Method, r.RequestURI, body, r.Header)
		}
		fmt.Fprintln(w, `{"status":"ok","permissions":["A"],"of a later version":1}`)
	})
	var health Health
	if err := c.Do(t.Context(), "POST", "/oauth1/tokens?x=1", Rotation{Overlap: "1d"}, &health); err != nil {
		t.Fatal(err)
	}
	if health.Status != "ok" || !slices.Equal(health.Permissions, []string{"A"}) {
		t.Errorf("got %+v", health)
	}
}

// TestClientWithoutBodies: a nil body sends no Content-Type, and a nil answer reads nothing.
func TestClientWithoutBodies(t *testing.T) {
	t.Parallel()
	c := newTestClient(t, func(w http.ResponseWriter, r *http.Request) {
		if _, sent := r.Header["Content-Type"]; sent || r.ContentLength != 0 {
			t.Errorf("sends a body: %v", r.Header)
		}
		fmt.Fprint(w, "no JSON")
	})
	if err := c.Do(t.Context(), "DELETE", "/", nil, nil); err != nil {
		t.Error(err)
	}
	var answer Health
	err := c.Do(t.Context(), "GET", "/", nil, &answer)
	if err == nil || !strings.Contains(err.Error(), "reading the admin API's answer") {
		t.Errorf("an answer that is no JSON: %v", err)
	}
}

// TestClientAddresses: an address is written as in Caddy's own configuration.
func TestClientAddresses(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "admin.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	var origin atomic.Value
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: http.HandlerFunc(
		func(w http.ResponseWriter, r *http.Request) {
			origin.Store(r.Host + " " + r.Header.Get("Origin"))
			fmt.Fprint(w, "{}")
		})}}
	server.Start()
	t.Cleanup(server.Close)
	for _, address := range []string{"unix/" + socket, "unix/" + socket + "|0220"} {
		if err := (&Client{Address: address}).Do(t.Context(), "GET", "/", nil, nil); err != nil {
			t.Errorf("%s: %v", address, err)
		}
		if got := origin.Load(); got != "127.0.0.1 " { // Caddy accepts this at a socket
			t.Errorf("%s: host and origin %q", address, got)
		}
	}
	for address, want := range map[string]string{
		"127.0.0.1:1-3": "invalid admin address 127.0.0.1:1-3: ",
		"h:port":        "invalid admin address h:port: ",
		"127.0.0.1:1":   "performing request: ",
		"unix//nowhere": "performing request: ",
	} {
		c := &Client{Address: address}
		for range 2 { // the second call uses the known address
			if err := c.Do(t.Context(), "GET", "/", nil, nil); err == nil ||
				!strings.HasPrefix(err.Error(), want) {
				t.Errorf("%s: got %v, want %q", address, err, want)
			}
		}
	}
}

func TestClientErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, body        string
		status            int
		want              string
		notFound, refused bool
	}{
		{"no such consumer", `{"error":"consumer \"x\": not found"}`, 404, `consumer "x": not found`, true, true},
		{"no such path", `{"error":"resource not found: /oauth1/x"}`, 404, "resource not found: /oauth1/x",
			false, true},
		{"another status", `{"error":"callback: not found"}`, 409, "callback: not found", false, true},
		{"the store", `{"error":"the token store is out of reach"}`, 503, "the token store is out of reach",
			false, false},
		{"another server", "<html>\x1b[2J", 502, "the admin API answered 502 <html>?[2J", false, false},
		{"a long answer", strings.Repeat("x", 300), 400,
			"the admin API answered 400 " + strings.Repeat("x", 255) + "...", false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			client := newTestClient(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(c.status)
				fmt.Fprint(w, c.body)
			})
			var said *Error
			err := client.Do(t.Context(), "GET", "/", nil, nil)
			if !errors.As(err, &said) {
				t.Fatalf("got %v", err)
			}
			if said.Error() != c.want || said.Status != c.status || said.Body != c.body ||
				said.NotFound() != c.notFound || said.Refused() != c.refused {
				t.Errorf("got %q, %+v", said.Error(), said)
			}
		})
	}
}

// TestClientKeepsItsConnection: thousands of calls, as an import makes them, must not use up the
// ports.
func TestClientKeepsItsConnection(t *testing.T) {
	t.Parallel()
	var opened atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "DELETE" {
			w.WriteHeader(http.StatusNotFound)
		}
		fmt.Fprintln(w, `{"error":"x"}`)
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	c := &Client{Address: strings.TrimPrefix(server.URL, "http://")}
	var answer map[string]string
	for range 20 {
		_ = c.Do(t.Context(), "GET", "/", nil, &answer)
		_ = c.Do(t.Context(), "POST", "/", answer, nil)
		_ = c.Do(t.Context(), "DELETE", "/", nil, nil)
	}
	if n := opened.Load(); n != 1 {
		t.Errorf("opened %d connections", n)
	}
}

func TestItemsFollowThePages(t *testing.T) {
	t.Parallel()
	var asked []string
	c := newTestClient(t, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.RawQuery)
		switch r.URL.Query().Get("after") {
		case "":
			fmt.Fprint(w, `{"items":[{"key":"a"},{"key":"b"}],"next":"b&"}`)
		case "b&":
			fmt.Fprint(w, `{"items":[],"next":"c"}`)
		case "c":
			fmt.Fprint(w, `{"items":[{"key":"d"}]}`)
		}
	})
	query := map[string][]string{"user": {"u"}}
	read := func(most int) (keys []string) {
		for item, err := range Items[Token](t.Context(), c, TokensPath, query) {
			if err != nil {
				t.Fatal(err)
			}
			if keys = append(keys, item.Key); len(keys) == most {
				break
			}
		}
		return keys
	}
	if got := read(10); !slices.Equal(got, []string{"a", "b", "d"}) {
		t.Errorf("got %q", got)
	}
	if want := []string{"user=u", "after=b%26&user=u", "after=c&user=u"}; !slices.Equal(asked, want) {
		t.Errorf("asked %q, want %q", asked, want)
	}
	if len(query) != 1 {
		t.Errorf("changed the query: %v", query)
	}
	asked = nil
	if got := read(1); !slices.Equal(got, []string{"a"}) || len(asked) != 1 {
		t.Errorf("got %q, asked %q", got, asked)
	}
}

func TestItemsEndWithAnError(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := newTestClient(t, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"items":[{"key":"a"}],"next":"a"}`)
	})
	var keys []string
	var failed error
	for item, err := range Items[Token](ctx, c, TokensPath, nil) {
		if err != nil {
			failed = err
			continue
		}
		keys = append(keys, item.Key)
		cancel()
	}
	if !slices.Equal(keys, []string{"a"}) || !errors.Is(failed, context.Canceled) {
		t.Errorf("got %q, %v", keys, failed)
	}
}

func TestResourcePath(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]string{
		"app":     "/oauth1/consumers/app/rotate",
		"a/b?#%&": "/oauth1/consumers/a%2Fb%3F%23%25&/rotate",
		".":       "/oauth1/consumers/%2E/rotate",
		"..":      "/oauth1/consumers/%2E%2E/rotate",
		"...":     "/oauth1/consumers/.../rotate",
	} {
		if got := ResourcePath(ConsumersPath, key, ActionRotate); got != want {
			t.Errorf("%q: got %s, want %s", key, got, want)
		}
	}
	if got := ResourcePath(TokensPath, "t", ""); got != "/oauth1/tokens/t" {
		t.Errorf("without an action: %s", got)
	}
}
