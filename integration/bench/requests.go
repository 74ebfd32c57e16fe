package main

import (
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	randv2 "math/rand/v2"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// A request is its bytes on the wire, and the body of the right answer.
type request struct {
	wire []byte
	want string
}

// A credential makes the Authorization header of a request to host for user i; an empty one is not
// sent. It also returns the user that the upstream must be told.
type credential func(host string, i int) (authorization, user string, err error)

// The path and query of a usual API request. Its signature base string has some 400 bytes.
const (
	requestPath  = "/1.0/bugs/1234567/tasks"
	requestQuery = "status=New&importance=High&ws.size=75&ws.start=0&order_by=-datecreated"
)

// A picker says which user sends the next request.
type picker func(r *randv2.Rand) int

func uniform(users int) picker { return func(r *randv2.Rand) int { return r.IntN(users) } }

// zipf picks a few users often and most users rarely, as in the real use of an API.
func zipf(users int) picker {
	var z *randv2.Zipf
	return func(r *randv2.Rand) int {
		if z == nil {
			z = randv2.NewZipf(r, 1.1, 10, uint64(users-1))
		}
		return int(z.Uint64())
	}
}

// prepare makes n requests to host, all with a timestamp of now.
func prepare(host string, n int, pick picker, c credential) ([]request, error) {
	r := randv2.New(randv2.NewPCG(randv2.Uint64(), randv2.Uint64()))
	users := make([]int, n)
	for i := range users {
		users[i] = pick(r)
	}
	requests := make([]request, n)
	var next atomic.Int64
	var failed sync.Map
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				authorization, user, err := c(host, users[i])
				if err != nil {
					failed.Store("", err)
					return
				}
				requests[i] = spell(host, authorization, user)
			}
		})
	}
	workers.Wait()
	if err, ok := failed.Load(""); ok {
		return nil, fmt.Errorf("sign a request: %w", err.(error))
	}
	return requests, nil
}

func spell(host, authorization, user string) request {
	b := make([]byte, 0, 256+len(authorization))
	b = append(b, "GET "+requestPath+"?"+requestQuery+" HTTP/1.1\r\nHost: "...)
	b = append(b, host...)
	b = append(b, "\r\nUser-Agent: caddy-oauth1-bench\r\nAccept: application/json\r\n"...)
	if authorization != "" {
		b = append(b, "Authorization: "...)
		b = append(b, authorization...)
		b = append(b, "\r\n"...)
	}
	return request{wire: append(b, "\r\n"...), want: answer(user)}
}

// nobody sends no credentials.
func nobody(string, int) (string, string, error) { return "", "", nil }

// ignored sends another credential's header to a peer that ignores it.
func ignored(c credential) credential {
	return func(host string, i int) (string, string, error) {
		authorization, _, err := c(host, i)
		return authorization, "", err
	}
}

// signed signs with OAuth 1.0a, with the tokens of the consumers that have a secret.
func signed(method string) credential {
	return func(host string, i int) (string, string, error) {
		t := hmacToken(i)
		return sign(host, t, &oauth1.Signer{SignatureMethod: method, ConsumerSecret: hmacConsumer(i % consumers).Secret})
	}
}

func signedRSA(key *rsa.PrivateKey) credential {
	return func(host string, i int) (string, string, error) {
		return sign(host, rsaToken(i), &oauth1.Signer{SignatureMethod: "RSA-SHA256", PrivateKey: key})
	}
}

func sign(host string, t *tokenstore.AccessToken, s *oauth1.Signer) (string, string, error) {
	s.ConsumerKey, s.Token, s.TokenSecret = t.Consumer, t.Key, t.Secret
	s.Nonce = newNonce()
	header, err := s.Sign(&oauth1.Request{Method: "GET", Scheme: "http", Host: host, Path: requestPath, Query: requestQuery})
	return header, t.User, err
}

// twoLegged signs as a consumer without a token. The upstream is told the consumer's key.
func twoLegged(host string, i int) (string, string, error) {
	c := hmacConsumer(i % consumers)
	s := &oauth1.Signer{SignatureMethod: "HMAC-SHA1", ConsumerKey: c.Key, ConsumerSecret: c.Secret, Nonce: newNonce()}
	header, err := s.Sign(&oauth1.Request{Method: "GET", Scheme: "http", Host: host, Path: requestPath, Query: requestQuery})
	return header, c.Key, err
}

var (
	noncePrefix = credentialText('n', int(time.Now().UnixNano()), 8)
	nonceCount  atomic.Int64
)

// newNonce returns 20 characters, the least that oauthlib accepts.
func newNonce() string {
	count := strconv.FormatInt(nonceCount.Add(1), 36)
	return noncePrefix + strings.Repeat("0", 12-len(count)) + count
}

func basic(string, int) (string, string, error) {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(userName(0)+":"+password)), userName(0), nil
}

// bearer sends one JWT for each user again and again, as clients use such tokens.
func bearer(algorithm string, mac func(signingInput []byte) ([]byte, error)) credential {
	var made sync.Map
	return func(_ string, i int) (string, string, error) {
		user := userName(i)
		if token, ok := made.Load(i); ok {
			return token.(string), user, nil
		}
		encode := base64.RawURLEncoding.EncodeToString
		claims, err := json.Marshal(map[string]any{"sub": user, "iat": time.Now().Unix(), "exp": time.Now().Add(12 * time.Hour).Unix()})
		if err != nil {
			return "", "", err
		}
		input := encode([]byte(`{"alg":"`+algorithm+`","typ":"JWT"}`)) + "." + encode(claims)
		signature, err := mac([]byte(input))
		if err != nil {
			return "", "", err
		}
		token := "Bearer " + input + "." + encode(signature)
		made.Store(i, token)
		return token, user, nil
	}
}

func hs256(key []byte) credential {
	return bearer("HS256", func(input []byte) ([]byte, error) {
		mac := hmac.New(sha256.New, key)
		mac.Write(input)
		return mac.Sum(nil), nil
	})
}

func rs256(key *rsa.PrivateKey) credential {
	return bearer("RS256", func(input []byte) ([]byte, error) {
		sum := sha256.Sum256(input)
		return rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	})
}
