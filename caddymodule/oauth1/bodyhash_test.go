package oauth1

import (
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"testing"
)

func TestBodyHash(t *testing.T) {
	const body = `{"a":1}`
	sum1, sum256, sum512 := sha1.Sum([]byte(body)), sha256.Sum256([]byte(body)), sha512.Sum512([]byte(body))
	for method, sum := range map[string][]byte{
		"HMAC-SHA1": sum1[:], "RSA-SHA1": sum1[:], "PLAINTEXT": sum1[:], "": sum1[:], "HMAC-MD5": sum1[:],
		"HMAC-SHA256": sum256[:], "RSA-SHA256": sum256[:], "HMAC-SHA512": sum512[:], "RSA-SHA512": sum512[:],
	} {
		if got, want := BodyHash(method, []byte(body)), base64.StdEncoding.EncodeToString(sum); got != want {
			t.Errorf("%s: %s, want %s", method, got, want)
		}
	}
}

// The examples of the OAuth Request Body Hash extension, appendix A.
func TestBodyHashPublishedExamples(t *testing.T) {
	for body, want := range map[string]string{
		"":             "2jmj7l5rSw0yVb/vlWAYkK/YBwk=",
		"Hello World!": "Lve95gjOVATpfV8EL5X4nxwjKHE=",
	} {
		if got := BodyHash("HMAC-SHA1", []byte(body)); got != want {
			t.Errorf("%q: %s, want %s", body, got, want)
		}
	}
}
