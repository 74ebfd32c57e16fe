package main

import (
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

type claims = map[string]any

// token spells a JWT by hand, signed by sign.
func token(t *testing.T, algorithm string, c claims, sign func(input []byte) []byte) string {
	t.Helper()
	body, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	input := encode([]byte(`{"alg":"`+algorithm+`","typ":"JWT"}`)) + "." + encode(body)
	return input + "." + encode(sign([]byte(input)))
}

func hs256(key string) func([]byte) []byte {
	return func(input []byte) []byte {
		mac := hmac.New(sha256.New, []byte(key))
		mac.Write(input)
		return mac.Sum(nil)
	}
}

func rs256(t *testing.T, key *rsa.PrivateKey) func([]byte) []byte {
	return func(input []byte) []byte {
		sum := sha256.Sum256(input)
		signature, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:])
		if err != nil {
			t.Fatal(err)
		}
		return signature
	}
}

func newKey(t *testing.T) (*rsa.PrivateKey, string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return key, string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func TestAuthenticate(t *testing.T) {
	t.Parallel()
	const secret = "0123456789abcdef0123456789abcdef"
	key, public := newKey(t)
	otherKey, _ := newKey(t)
	none := func([]byte) []byte { return nil }
	others := func([]byte) []byte { return hs256(secret)([]byte("another token")) }
	hs := &Provider{Algorithm: "HS256", Key: secret}
	rs := &Provider{Algorithm: "RS256", Key: public}
	for _, p := range []*Provider{hs, rs} {
		if err := p.Provision(caddy.Context{}); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Now()
	valid := claims{"sub": "alice", "exp": now.Add(time.Hour).Unix()}

	for _, c := range []struct {
		name          string
		p             *Provider
		authorization string
		want          string // empty: refused
	}{
		{"HS256", hs, "Bearer " + token(t, "HS256", valid, hs256(secret)), "alice"},
		{"RS256", rs, "Bearer " + token(t, "RS256", valid, rs256(t, key)), "alice"},
		{"the scheme in any case", hs, "bearer " + token(t, "HS256", valid, hs256(secret)), "alice"},
		{"HS256 by another key is refused", hs, "Bearer " + token(t, "HS256", valid, hs256("other")), ""},
		{"RS256 by another key is refused", rs, "Bearer " + token(t, "RS256", valid, rs256(t, otherKey)), ""},
		{"the signature of another token is refused", hs, "Bearer " + token(t, "HS256", valid, others), ""},
		{"no signature is refused by HS256", hs, "Bearer " + token(t, "HS256", valid, none), ""},
		{"no signature is refused by RS256", rs, "Bearer " + token(t, "RS256", valid, none), ""},
		{"alg none is refused by HS256", hs, "Bearer " + token(t, "none", valid, none), ""},
		{"alg none is refused by RS256", rs, "Bearer " + token(t, "none", valid, none), ""},
		{"the public key as the secret of HS256 is refused", rs, "Bearer " + token(t, "HS256", valid, hs256(public)), ""},
		{"expired is refused", hs, "Bearer " + token(t, "HS256", claims{"sub": "alice", "exp": now.Add(-time.Minute).Unix()}, hs256(secret)), ""},
		{"not yet valid is refused", hs, "Bearer " + token(t, "HS256", claims{"sub": "alice", "nbf": now.Add(time.Minute).Unix()}, hs256(secret)), ""},
		{"no subject is refused", hs, "Bearer " + token(t, "HS256", claims{"exp": now.Add(time.Hour).Unix()}, hs256(secret)), ""},
		{"another scheme is refused", hs, "Basic " + token(t, "HS256", valid, hs256(secret)), ""},
		{"no token is refused", hs, "Bearer", ""},
		{"no header is refused", hs, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest("GET", "/", nil)
			r.Header.Set("Authorization", c.authorization)
			user, ok, err := c.p.Authenticate(httptest.NewRecorder(), r)
			if err != nil || user.ID != c.want || ok != (c.want != "") {
				t.Errorf("got %q, %v, %v, want %q", user.ID, ok, err, c.want)
			}
		})
	}
}

func TestProvision(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]*Provider{
		"no key is an error":                     {Algorithm: "HS256"},
		"no algorithm is an error":               {Key: "secret"},
		"alg none is an error":                   {Algorithm: "none", Key: "secret"},
		"a secret as a public key is an error":   {Algorithm: "RS256", Key: "secret"},
		"PEM of something else is an error":      {Algorithm: "RS256", Key: "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"},
		"an algorithm in lower case is an error": {Algorithm: "hs256", Key: "secret"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := p.Provision(caddy.Context{}); err == nil {
				t.Error("no error")
			}
		})
	}
}
