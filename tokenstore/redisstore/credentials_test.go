package redisstore

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/redisstore/redislab"
)

// TestCredentialsTakeOneRoundTrip: on a line with a delay, both records are there after one round
// trip, and cached ones at once.
func TestCredentialsTakeOneRoundTrip(t *testing.T) {
	t.Parallel()
	const delay = 400 * time.Millisecond
	lab := redislab.Single(t, redislab.Options{})
	o := testOptions(lab, 0)
	near := openTest(t, o)
	awaitReady(t, near)
	if err := near.CreateConsumer(t.Context(), &tokenstore.Consumer{Key: "k", Secret: "s"}); err != nil {
		t.Fatal(err)
	}
	token := &tokenstore.AccessToken{Key: "a", Consumer: "k", User: "u", Created: time.Now()}
	if err := near.CreateAccessToken(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	o.Addresses = []string{farAway(t, lab.Addresses()[0], delay)}
	o.MaxStale = time.Minute
	far := openTest(t, o)
	if _, err := far.Secret(t.Context()); err != nil { // connects
		t.Fatal(err)
	}

	look := func(consumer, token string, most time.Duration) {
		t.Helper()
		awaitReady(t, near) // raises the ceilings, which takes more round trips
		start := time.Now()
		c, a, err := far.Credentials(t.Context(), consumer, token)
		if err != nil || (c == nil) != (consumer != "k") || (a == nil) != (token != "a") {
			t.Fatalf("%q and %q: %+v, %+v, %v", consumer, token, c, a, err)
		}
		if took := time.Since(start); took > most {
			t.Errorf("%q and %q took %v, with a round trip of %v", consumer, token, took, delay)
		}
	}
	look("nobody", "nothing", 2*delay-delay/4)
	look("k", "a", 2*delay-delay/4)
	look("k", "a", delay/2)
	look("k", "nothing", 2*delay-delay/4)
}

// farAway returns an address whose answers come from the server with a delay.
func farAway(t *testing.T, address string, delay time.Duration) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", address)
			if err != nil {
				client.Close()
				continue
			}
			go func() {
				io.Copy(server, client)
				server.Close()
			}()
			go sendLater(client, server, delay)
		}
	}()
	return listener.Addr().String()
}

// sendLater copies, and each part arrives after a delay. Parts may be under way at the same time.
func sendLater(to io.WriteCloser, from io.Reader, delay time.Duration) {
	type part struct {
		data string
		due  time.Time
	}
	parts := make(chan part, 1000)
	go func() {
		defer to.Close()
		for p := range parts {
			time.Sleep(time.Until(p.due))
			io.Copy(to, strings.NewReader(p.data))
		}
	}()
	defer close(parts)
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		parts <- part{string(buffer[:n]), time.Now().Add(delay)}
	}
}
