package main

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// The measured parts of a three-legged flow. The page is one of them: the form needs the CSRF token
// in it.
const (
	wholeFlow = iota
	requestTokenStep
	pageStep
	reviewStep
	accessTokenStep
	flowParts
)

// A step is named after its request line.
var partNames = [flowParts]string{
	"a whole flow", "POST /+request-token", "GET /+authorize-token", "POST /+authorize-token", "POST /+access-token",
}

const (
	// flowCallback is the callback. The walk reads the verifier from it, and does not call it.
	flowCallback = "https://consumer.example/ready"
	flowLevel    = "WRITE_PRIVATE"
)

var (
	status303 = []byte("HTTP/1.1 303 ")
	location  = []byte("\r\nLocation: ")
)

// A walk is one flow. The client is the consumer, and the user's browser.
type walk struct {
	client   *client
	host     string
	consumer *tokenstore.Consumer
	user     string
	took     [flowParts]time.Duration
}

// through takes all steps, checks their answers, and returns the access token.
func (w *walk) through() (*tokenstore.AccessToken, error) {
	began := time.Now()
	s := oauth1.Signer{
		SignatureMethod: "HMAC-SHA256", ConsumerKey: w.consumer.Key, ConsumerSecret: w.consumer.Secret, Callback: flowCallback,
	}
	request, err := w.credentials(requestTokenStep, &s)
	if err != nil {
		return nil, err
	}
	if request.Get("oauth_callback_confirmed") != "true" {
		return nil, w.wrong(requestTokenStep, request.Encode())
	}
	s.Callback, s.Token, s.TokenSecret = "", request.Get("oauth_token"), request.Get("oauth_token_secret")
	if s.Verifier, err = w.review(s.Token); err != nil {
		return nil, err
	}
	access, err := w.credentials(accessTokenStep, &s)
	if err != nil {
		return nil, err
	}
	w.took[wholeFlow] = time.Since(began)
	return &tokenstore.AccessToken{
		Key: access.Get("oauth_token"), Secret: access.Get("oauth_token_secret"), Consumer: w.consumer.Key, User: w.user,
	}, nil
}

// credentials takes a step that the consumer signs. The answer is a key and a secret.
func (w *walk) credentials(step int, s *oauth1.Signer) (url.Values, error) {
	method, path, _ := strings.Cut(partNames[step], " ")
	s.Nonce = newNonce()
	authorization, err := s.Sign(&oauth1.Request{Method: method, Scheme: "http", Host: w.host, Path: path})
	if err != nil {
		return nil, err
	}
	_, body, err := w.ask(step, status200, "", "Authorization: "+authorization+"\r\n", "")
	if err != nil {
		return nil, err
	}
	answer, err := url.ParseQuery(body)
	if err != nil || answer.Get("oauth_token") == "" || answer.Get("oauth_token_secret") == "" {
		return nil, w.wrong(step, body)
	}
	return answer, nil
}

// review opens the page, sends its form, and returns the verifier.
func (w *walk) review(token string) (string, error) {
	query := "?oauth_token=" + token + "&allow_permission=" + flowLevel
	user := "Remote-User: " + w.user + "\r\n"
	_, page, err := w.ask(pageStep, status200, query, user, "")
	if err != nil {
		return "", err
	}
	_, rest, _ := strings.Cut(page, `name="csrf" value="`)
	csrf, _, ok := strings.Cut(rest, `"`)
	if !ok {
		return "", w.wrong(pageStep, page)
	}
	form := url.Values{"csrf": {csrf}, "permission": {flowLevel}, "lifetime": {"unlimited"}, "decision": {"allow"}}
	head, _, err := w.ask(reviewStep, status303, query, user+"Origin: http://"+w.host+"\r\nSec-Fetch-Site: same-origin\r\n"+
		"Content-Type: application/x-www-form-urlencoded\r\n", form.Encode())
	if err != nil {
		return "", err
	}
	target, _ := field([]byte(head), location)
	callback, answer, _ := strings.Cut(target, "?")
	values, err := url.ParseQuery(answer)
	if err != nil || callback != flowCallback || values.Get("oauth_token") != token || values.Get("oauth_verifier") == "" {
		return "", w.wrong(reviewStep, head)
	}
	return values.Get("oauth_verifier"), nil
}

// ask sends the request of a step, and notes how long its answer took.
func (w *walk) ask(step int, status []byte, query, fields, form string) (head, body string, err error) {
	wire := fmt.Appendf(nil, "%s%s HTTP/1.1\r\nHost: %s\r\nUser-Agent: caddy-oauth1-bench\r\n%sContent-Length: %d\r\n\r\n%s",
		partNames[step], query, w.host, fields, len(form), form)
	began := time.Now()
	h, b, err := w.client.ask(wire, status, began)
	w.took[step] = time.Since(began)
	if err != nil {
		return "", "", fmt.Errorf("%s: %w", partNames[step], err)
	}
	return string(h), string(b), nil
}

func (w *walk) wrong(step int, got string) error {
	return fmt.Errorf("%s: wrong answer: %q", partNames[step], got)
}
