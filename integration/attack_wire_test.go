package integration

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// A link to the authorize page is unsigned. If it names a callback of the consumer's, that callback
// must not contain the parameters that the server appends. An application that reads the first of
// two oauth_token would otherwise finish the flow of the link's author.
func TestAttackCallbacksThatAnswerThemselves(t *testing.T) {
	srv := startServer(t, site{
		App: demoApp + "consumer app {\n\tsecret s3cr3t\n\tcallbacks https://app.test/back\n" +
			"\tcallbacks_ignore_query\n}\n",
		Handler: "respond x",
	}, "")
	w := walker{t, srv, "app", demoSecret}
	for _, own := range []string{"oauth_token=mallory&oauth_verifier=mallory", "%6fauth_token=mallory"} {
		tok := w.requestToken()
		address := srv.origin() + "/+authorize-token?oauth_token=" + tok.Key +
			"&oauth_callback=" + escape("https://app.test/back?"+own)
		page := srv.asUser(t, "GET", address, "alice", nil)
		if page.Status != http.StatusOK {
			continue // refused at once
		}
		got := srv.approve(t, address, "alice", "READ_PUBLIC").Redirect
		if strings.Contains(got, "mallory") {
			t.Errorf("%s: alice is sent to %s", own, got)
		}
	}
}

// Parameters in the header and in the form are both signed (RFC 5849 section 3.4.1.3.1), also the
// token at the token endpoint.
func TestAttackTokenSignedTwice(t *testing.T) {
	srv := startServer(t, site{Handler: "respond x"}, "")
	w := walker{t, srv, demoKey, demoSecret}
	tok := w.requestToken()
	srv.review(t, tok.Key, "alice", "READ_PUBLIC", nil)
	text := form([]pair{{"oauth_token", tok.Key}, {"oauth_verifier", "x"}})
	req := srv.request("POST", "/+access-token", strings.NewReader(text))
	req.Header.Set("Content-Type", formType)
	s := signer{Consumer: demoKey, Secret: demoSecret, Token: tok}
	want(t, "signed as often as it is sent", srv.mustDo(t, s.sign(t, req, text)), http.StatusOK, "")
}

// A chunked body without content is not a body that a hash could protect.
func TestAttackEmptyChunks(t *testing.T) {
	up := newUpstream(t)
	srv := startServer(t, site{OAuth1: "require_body_hash"}, up.URL)
	tok := srv.issue(t, demoKey, "alice", "WRITE_PUBLIC", nil)
	for _, method := range []string{"GET", "DELETE"} {
		header := "Authorization: " + authorization(plaintext(demoKey, demoSecret, tok))
		got := srv.raw(t, srv.message(method, "/x", []string{header, "Transfer-Encoding: chunked"}, "0\r\n\r\n"))
		want(t, method, got, http.StatusOK, "")
	}
}

// PLAINTEXT in a form contains the secrets, and a polling client sends them again and again. The
// upstream of an error route gets no credentials.
func TestAttackFormsInErrorRoutes(t *testing.T) {
	up := newUpstream(t)
	srv := startServer(t, site{
		Handler: "respond x\nhandle_errors {\n\treverse_proxy {{.Upstream}}\n}",
	}, up.URL)
	w := walker{t, srv, demoKey, demoSecret}
	waiting := w.requestToken()
	up.take()
	for path, tok := range map[string]token{"/x": {Key: "none", Secret: "t0k3n"}, "/+access-token": waiting} {
		req := srv.request("POST", path, strings.NewReader(form(plaintext(demoKey, demoSecret, tok))))
		req.Header.Set("Content-Type", formType)
		srv.mustDo(t, req)
		for _, seen := range up.take() {
			if strings.Contains(string(seen.Body), demoSecret) || strings.Contains(string(seen.Body), tok.Secret) {
				t.Errorf("%s: the upstream of the error route gets %s", path, seen.Body)
			}
		}
	}
}

// A person who is not logged in is not an API client. No recipe may answer a page in the format of
// an API, or with 200, because the site's own login would not notice it.
func TestAttackRecipesAtThePages(t *testing.T) {
	for heading, recipe := range fencedBlocks(t, "caddyfile") {
		if !strings.HasPrefix(heading, "Refusals in the words") {
			continue
		}
		srv := startRecipe(t, recipe, newUpstream(t).URL)
		page := "/+authorize-token?oauth_token=x"
		if strings.Contains(recipe, "Special:OAuth/authenticate") {
			page = "/w/index.php?title=Special:OAuth/authenticate&oauth_token=x"
		}
		got := srv.mustDo(t, srv.request("GET", page, nil))
		if got.Status != http.StatusUnauthorized || !strings.Contains(got.Body, "logged in") {
			t.Errorf("%s: %d %s", heading, got.Status, got.Body)
		}
	}
}

// If a proxy that ends TLS stands in front of another proxy, X-Forwarded-Port has the port of the
// inner connection, and many proxies forward the value that a client wrote. A port that can't
// belong to the scheme is ignored.
func TestAttackForwardedPortOfAnotherScheme(t *testing.T) {
	srv := startServer(t, site{
		Global: "servers {\n\ttrusted_proxies static 127.0.0.1\n}", Handler: "respond x",
	}, "")
	tok := srv.issue(t, demoKey, "alice", "WRITE_PUBLIC", nil)
	for scheme, port := range map[string]string{"https": "80", "http": "443"} {
		req, err := http.NewRequest("GET", scheme+"://api.test/x", nil)
		if err != nil {
			t.Fatal(err)
		}
		signer{Consumer: demoKey, Secret: demoSecret, Token: tok}.sign(t, req, "")
		got := srv.raw(t, srv.message("GET", "/x", []string{
			"X-Forwarded-Proto: " + scheme, "X-Forwarded-Host: api.test", "X-Forwarded-Port: " + port,
			"Authorization: " + req.Header.Get("Authorization"),
		}, ""))
		want(t, scheme+" with port "+port, got, http.StatusOK, "x")
	}
}

// A client that disconnects is not a failing store. Without credentials, clients that reset their
// streams could otherwise fill the log with errors, or set off an alarm.
func TestAttackStreamsThatAreReset(t *testing.T) {
	srv := startServer(t, ownSite(t, "oauth1\nrespond x"), "")
	conn, err := net.Dial("tcp", "127.0.0.1:"+srv.port)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	go io.Copy(io.Discard, conn)
	_, err = io.WriteString(conn, http2.ClientPreface)
	framer := http2.NewFramer(conn, conn)
	err = errors.Join(err, framer.WriteSettings())
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	fields := srv.h2Fields("GET", "/x", "authorization", authorization([]pair{
		{"oauth_consumer_key", "nobody"}, {"oauth_signature_method", "HMAC-SHA1"}, {"oauth_signature", "x"},
		{"oauth_nonce", "x"}, {"oauth_timestamp", signer{}.params()[2].value},
	}))
	for stream := uint32(1); stream < 400; stream += 2 {
		block.Reset()
		for i := 0; i+1 < len(fields); i += 2 {
			encoder.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
		}
		err = errors.Join(err, framer.WriteHeaders(http2.HeadersFrameParam{
			StreamID: stream, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: true,
		}), framer.WriteRSTStream(stream, http2.ErrCodeCancel))
	}
	if err != nil {
		t.Fatal(err)
	}
	want(t, "another client", srv.mustDo(t, srv.request("GET", "/x", nil)), http.StatusUnauthorized, "")
	if n := strings.Count(srv.log.String(), `"reason":"store_unavailable"`); n > 0 {
		t.Errorf("%d of 200 streams that were reset are errors of the store", n)
	}
}
