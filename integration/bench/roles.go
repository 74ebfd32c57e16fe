package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
)

// roleVariable, if it is set, makes this program one of the processes that the benchmark starts.
// Its first word is the role, and the others are the role's arguments.
const roleVariable = "CADDY_OAUTH1_BENCH_ROLE"

// playRole plays the role of roleVariable, and reports whether there is one. The process ends with
// its parent, which holds the other end of its standard input.
func playRole() (played bool, err error) {
	words := strings.Fields(os.Getenv(roleVariable))
	if len(words) == 0 {
		return false, nil
	}
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	role, arguments := words[0], words[1:]
	switch {
	case role == "upstream" && len(arguments) == 1:
		err = http.ListenAndServe(arguments[0], http.HandlerFunc(echo))
	case role == "allow" && len(arguments) == 1:
		err = http.ListenAndServe(arguments[0], http.HandlerFunc(allow))
	case role == "verify" && len(arguments) == 2:
		err = serveVerifier(arguments[0], arguments[1], newNonceMap())
	case role == "verify-redis" && len(arguments) == 3:
		var nonces *redisNonces
		if nonces, err = newRedisNonces(arguments[2]); err == nil {
			err = serveVerifier(arguments[0], arguments[1], nonces)
		}
	case role == "fill":
		err = fill(arguments)
	default:
		err = fmt.Errorf("role %q: there is none", words)
	}
	return true, err
}

// The headers with the user: that of most peers, and that of oauth_reverse_proxy.
const (
	userHeader          = "X-Oauth-User"
	nodeConsumerHeader  = "X-Oauth-Reverse-Proxy-Consumer-Key"
	alwaysAllowedAsUser = "somebody"
)

// answer is the upstream's body for a user.
func answer(user string) string { return "user=" + user + "\n" }

// echo is the upstream.
func echo(w http.ResponseWriter, r *http.Request) {
	user := r.Header.Get(userHeader)
	if user == "" {
		user = r.Header.Get(nodeConsumerHeader)
	}
	w.Header().Set("Content-Type", "text/plain")
	io.WriteString(w, answer(user))
}

// allow is an auth server that allows everything.
func allow(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set(userHeader, alwaysAllowedAsUser)
}

// A verifier is an auth server as small as can be: it uses package oauth1, and keeps the tokens in a
// map.
type verifier struct {
	secrets map[string][3]string // by token: consumer secret, token secret, user
	nonces  nonceMemory
}

// A nonceMemory accepts a nonce once. It may forget it when its timestamp is out of the window.
type nonceMemory interface {
	use(nonce string, timestamp, now int64) error
}

var errNonceUsed = errors.New("this nonce has been used already")

func newVerifier(nonces nonceMemory) *verifier {
	return &verifier{secrets: make(map[string][3]string), nonces: nonces}
}

func serveVerifier(addr, tokens string, nonces nonceMemory) error {
	v := newVerifier(nonces)
	if err := v.know(tokens); err != nil {
		return err
	}
	return http.ListenAndServe(addr, v)
}

func (v *verifier) know(tokens string) error {
	var n int
	if _, err := fmt.Sscan(tokens, &n); err != nil {
		return err
	}
	for i := range n {
		t := hmacToken(i)
		v.secrets[t.Consumer+" "+t.Key] = [3]string{hmacConsumer(i % consumers).Secret, t.Secret, t.User}
	}
	return nil
}

func (v *verifier) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	user, err := v.verify(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnauthorized)
		return
	}
	w.Header().Set(userHeader, user)
}

// verify judges the request that a proxy describes in X-Forwarded-Method, -Host and -Uri.
func (v *verifier) verify(r *http.Request) (user string, err error) {
	path, query, _ := strings.Cut(r.Header.Get("X-Forwarded-Uri"), "?")
	p, err := oauth1.Parse(r.Header["Authorization"], query, nil)
	if err != nil {
		return "", err
	}
	timestamp, err := p.Unix()
	if err != nil {
		return "", err
	}
	if err := p.CheckNonce(); err != nil {
		return "", err
	}
	now := time.Now().Unix()
	if timestamp < now-window || timestamp > now+window {
		return "", errors.New("timestamp appears to come from bad system clock")
	}
	known, ok := v.secrets[p.ConsumerKey+" "+p.Token]
	if !ok {
		return "", errors.New("unknown consumer or access token")
	}
	request := &oauth1.Request{
		Method: r.Header.Get("X-Forwarded-Method"),
		Scheme: "http",
		Host:   r.Header.Get("X-Forwarded-Host"),
		Path:   path,
		Query:  query,
	}
	if err := oauth1.Verify(request, &p, &oauth1.Key{ConsumerSecret: known[0], TokenSecret: known[1]}); err != nil {
		return "", err
	}
	return known[2], v.nonces.use(p.ConsumerKey+" "+p.Token+" "+p.Timestamp+" "+p.Nonce, timestamp, now)
}

// window is how far a timestamp may be off, in seconds.
const window = 300

// A nonceMap is a nonceMemory that a restart empties.
type nonceMap struct {
	mu     sync.Mutex
	nonces map[string]int64 // -> timestamp
	swept  int64
}

func newNonceMap() *nonceMap { return &nonceMap{nonces: make(map[string]int64)} }

func (m *nonceMap) use(nonce string, timestamp, now int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.nonces[nonce]; ok {
		return errNonceUsed
	}
	m.nonces[nonce] = timestamp
	if now > m.swept+60 {
		m.swept = now
		for old, t := range m.nonces {
			if t < now-window {
				delete(m.nonces, old)
			}
		}
	}
	return nil
}

// freePort returns a port of 127.0.0.1 on which nothing listens.
func freePort() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer listener.Close()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	return port, err
}
