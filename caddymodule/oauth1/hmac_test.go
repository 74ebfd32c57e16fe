package oauth1

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"hash"
	"strings"
	"sync"
	"testing"
)

// Section 3.4.2, and RFC 2104: a key shorter than, as long as, and longer than a block.
func TestHMACIsThatOfCryptoHMAC(t *testing.T) {
	for method, newHash := range map[string]func() hash.Hash{
		"HMAC-SHA1": sha1.New, "HMAC-SHA256": sha256.New, "HMAC-SHA512": sha512.New,
	} {
		for n := range 300 {
			secret, text := strings.Repeat("k", n), strings.Repeat("t", 3*n)
			mac := hmac.New(newHash, []byte(secret+"&"))
			mac.Write([]byte(text))
			want := base64.StdEncoding.EncodeToString(mac.Sum(nil))
			if got := hmacText(method, secret, "", text); got != want {
				t.Fatalf("%s, key of %d bytes: %s, want %s", method, n+1, got, want)
			}
			key, err := NewHMACKey(method, secret, "")
			if err != nil {
				t.Fatal(err)
			}
			for range 2 { // a key can be used again
				if got := readyText(t, key, text); got != want {
					t.Fatalf("%s, ready key of %d bytes: %s, want %s", method, n+1, got, want)
				}
			}
		}
	}
}

func TestOnlyHMACMethodsHaveAnHMACKey(t *testing.T) {
	for _, method := range []string{"PLAINTEXT", "RSA-SHA256", "hmac-sha1", ""} {
		if key, err := NewHMACKey(method, "s", "t"); err == nil || key != nil {
			t.Errorf("%q: %v, %v", method, key, err)
		}
	}
}

func TestVerifyTakesTheHMACKeyForItsOwnMethod(t *testing.T) {
	for _, method := range []string{"HMAC-SHA1", "HMAC-SHA256", "HMAC-SHA512"} {
		r, header, _ := benchRequest(t, &Signer{SignatureMethod: method, ConsumerSecret: "s", TokenSecret: "t"})
		p := mustParse(t, header, r.Query, "")
		for _, of := range []string{"HMAC-SHA1", "HMAC-SHA256", "HMAC-SHA512"} {
			right, err1 := NewHMACKey(of, "s", "t")
			wrong, err2 := NewHMACKey(of, "s", "u")
			if err := errors.Join(err1, err2); err != nil {
				t.Fatal(err)
			}
			byKey, bySecrets := error(nil), ErrSignature
			if of != method {
				byKey, bySecrets = bySecrets, byKey
			}
			if err := Verify(r, p, &Key{HMAC: right}); !errors.Is(err, byKey) {
				t.Errorf("%s, with the right key of %s and wrong secrets: %v", method, of, err)
			}
			if err := Verify(r, p, &Key{ConsumerSecret: "s", TokenSecret: "t", HMAC: wrong}); !errors.Is(err, bySecrets) {
				t.Errorf("%s, with a wrong key of %s and the right secrets: %v", method, of, err)
			}
		}
	}
}

func TestManyVerifyWithOneHMACKey(t *testing.T) {
	r, header, _ := benchRequest(t, &Signer{SignatureMethod: "HMAC-SHA256", ConsumerSecret: "s", TokenSecret: "t"})
	p := mustParse(t, header, r.Query, "")
	ready, err := NewHMACKey("HMAC-SHA256", "s", "t")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 200 {
				if err := Verify(r, p, &Key{HMAC: ready}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}
