package main

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	randv2 "math/rand/v2"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

const (
	// consumers share the tokens evenly. There are several, because a store limits the live nonces
	// of each.
	consumers = 16
	// password is the password of user 0, for basic_auth.
	password = "correct-horse-battery-staple"
)

// credentialText makes a key or a secret from a number, so that ten million of them need no memory.
// They look like those that the product makes.
func credentialText(kind byte, number, length int) string {
	const alphabet = "0123456789bcdfghjklmnpqrstvwxzBCDFGHJKLMNPQRSTVWXZ"
	seed := sha256.Sum256(binary.BigEndian.AppendUint64([]byte{kind}, uint64(number)))
	random := randv2.NewChaCha8(seed)
	b := make([]byte, length)
	for i := range b {
		b[i] = alphabet[random.Uint64()%uint64(len(alphabet))]
	}
	return string(b)
}

func userName(i int) string { return fmt.Sprintf("user-%d", i) }

func hmacConsumer(i int) *tokenstore.Consumer {
	return &tokenstore.Consumer{
		Key: credentialText('c', i, 20), Secret: credentialText('C', i, 80), Name: fmt.Sprintf("Consumer %d", i),
	}
}

// hmacToken is the token of user i with a consumer that has a secret.
func hmacToken(i int) *tokenstore.AccessToken {
	return &tokenstore.AccessToken{
		Key: credentialText('t', i, 20), Secret: credentialText('T', i, 80),
		Consumer: credentialText('c', i%consumers, 20), User: userName(i), Permission: "WRITE_PRIVATE",
	}
}

// rsaToken is the token of user i with the consumer that has an RSA key.
func rsaToken(i int) *tokenstore.AccessToken {
	return &tokenstore.AccessToken{
		Key: credentialText('r', i, 20), Secret: credentialText('R', i, 80),
		Consumer: rsaConsumerKey, User: userName(i), Permission: "WRITE_PRIVATE",
	}
}

const rsaConsumerKey = "bench0with0rsa0key00"

// An rsaPair is a key, and its public half as PEM.
type rsaPair struct {
	key    *rsa.PrivateKey
	public string
}

func newRSAPair() (rsaPair, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return rsaPair{}, err
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return rsaPair{}, err
	}
	var b bytes.Buffer
	if err := pem.Encode(&b, &pem.Block{Type: "PUBLIC KEY", Bytes: der}); err != nil {
		return rsaPair{}, err
	}
	return rsaPair{key, b.String()}, nil
}
