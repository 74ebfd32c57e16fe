package oauth1

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"testing"
)

func TestVerifyAcceptsPLAINTEXTEncodedAndUnencoded(t *testing.T) {
	key := &Key{ConsumerSecret: "s&=é", TokenSecret: "t%41"}
	for signature, want := range map[string]error{
		"s%26%3D%C3%A9&t%2541":     nil,
		"s&=é&t%41":                nil,
		"s%26%3d%c3%a9&t%2541":     ErrSignature,
		"s%26%3D%C3%A9&t%41":       ErrSignature, // only half encoded
		"s&=é&tA":                  ErrSignature,
		"s%26%3D%C3%A9&":           ErrSignature,
		"s%26%3D%C3%A9":            ErrSignature,
		"s%26%3D%C3%A9&t%2541 ":    ErrSignature,
		"t%2541&s%26%3D%C3%A9":     ErrSignature,
		"s%26%3D%C3%A9%26t%2541":   ErrSignature,
		"":                         ErrSignature,
		"&":                        ErrSignature,
		"s%26%3D%C3%A9&t%2541\x00": ErrSignature,
	} {
		p := &Params{SignatureMethod: "PLAINTEXT", Signature: signature}
		if err := Verify(&Request{}, p, key); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", signature, err, want)
		}
	}
	if err := Verify(&Request{}, &Params{SignatureMethod: "PLAINTEXT", Signature: "&"}, &Key{}); err != nil {
		t.Errorf("two empty secrets: %v", err)
	}
}

// A signature has only one valid text. Other texts that base64 decoders read as the same bytes are
// refused.
func TestVerifyRefusesMalleableBase64(t *testing.T) {
	for _, method := range []string{"HMAC-SHA1", "HMAC-SHA256", "HMAC-SHA512", "RSA-SHA1", "RSA-SHA256", "RSA-SHA512"} {
		t.Run(method, func(t *testing.T) {
			s := &Signer{SignatureMethod: method, ConsumerSecret: "s"}
			if strings.HasPrefix(method, "RSA-") {
				s.PrivateKey = rsaKey(t)
			}
			r, header, key := benchRequest(t, s)
			p := mustParse(t, header, r.Query, "")
			good := p.Signature
			unpadded := strings.TrimRight(good, "=")
			bad := map[string]string{
				"empty":              "",
				"a space in front":   " " + good,
				"a line end behind":  good + "\n",
				"a line end inside":  good[:4] + "\r\n" + good[4:],
				"text behind":        good + "A",
				"a group behind":     good + "AAAA",
				"more padding":       good + "=",
				"no base64":          "!" + good[1:],
				"one bit":            flipBit(good),
				"encoded once more":  Encode(good + "="),
				"half of it":         good[:len(good)/2],
				"of a larger length": strings.Repeat("A", 8000),
			}
			if unpadded != good {
				bad["without padding"] = unpadded
				// The unused bits after the last byte are not zero.
				last := strings.IndexByte(base64Alphabet, unpadded[len(unpadded)-1])
				bad["other bits behind the end"] = unpadded[:len(unpadded)-1] + base64Alphabet[last+1:last+2] + good[len(unpadded):]
			}
			if url := strings.NewReplacer("+", "-", "/", "_").Replace(good); url != good {
				bad["the alphabet of URLs"] = url
			}
			if err := Verify(r, p, key); err != nil {
				t.Fatal(err)
			}
			for name, signature := range bad {
				p.Signature = signature
				if err := Verify(r, p, key); !errors.Is(err, ErrSignature) {
					t.Errorf("%s: %v, want ErrSignature", name, err)
				}
			}
		})
	}
}

const base64Alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

func flipBit(signature string) string {
	raw, _ := base64.StdEncoding.DecodeString(signature)
	raw[0] ^= 1
	return base64.StdEncoding.EncodeToString(raw)
}

func TestVerifyKeepsKindsOfKeysApart(t *testing.T) {
	private := rsaKey(t)
	der, err := x509.MarshalPKIXPublicKey(&private.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	publicPEM := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))

	t.Run("the public key is no HMAC secret", func(t *testing.T) {
		for _, method := range []string{"HMAC-SHA1", "HMAC-SHA256", "HMAC-SHA512", "PLAINTEXT"} {
			r, header, _ := benchRequest(t, &Signer{SignatureMethod: method, ConsumerSecret: publicPEM})
			key := &Key{ConsumerSecret: publicPEM, Public: &private.PublicKey}
			if err := Verify(r, mustParse(t, header, r.Query, ""), key); !errors.Is(err, ErrKeyKind) {
				t.Errorf("%s: %v, want ErrKeyKind", method, err)
			}
		}
	})
	t.Run("a secret is no RSA key", func(t *testing.T) {
		for _, method := range []string{"RSA-SHA1", "RSA-SHA256", "RSA-SHA512"} {
			r, header, _ := benchRequest(t, &Signer{SignatureMethod: method, PrivateKey: private})
			if err := Verify(r, mustParse(t, header, r.Query, ""), &Key{ConsumerSecret: publicPEM}); !errors.Is(err, ErrKeyKind) {
				t.Errorf("%s: %v, want ErrKeyKind", method, err)
			}
		}
	})
	t.Run("no method passes for another of its kind", func(t *testing.T) {
		for _, methods := range [][2]string{{"HMAC-SHA1", "HMAC-SHA256"}, {"RSA-SHA256", "RSA-SHA512"}} {
			s := &Signer{SignatureMethod: methods[0], ConsumerSecret: "s"}
			if strings.HasPrefix(methods[0], "RSA-") {
				s.PrivateKey = private
			}
			r, header, key := benchRequest(t, s)
			header = strings.Replace(header, methods[0], methods[1], 1)
			if err := Verify(r, mustParse(t, header, r.Query, ""), key); !errors.Is(err, ErrSignature) {
				t.Errorf("%v: %v, want ErrSignature", methods, err)
			}
		}
	})
}

func TestVerifyNeedsAMethod(t *testing.T) {
	wantParamError(t, Verify(&Request{}, &Params{Signature: "x"}, &Key{}),
		ParamError{"parameter_absent", "oauth_signature_method", "missing"})
	wantParamError(t, Verify(&Request{}, &Params{SignatureMethod: "none", Signature: "x"}, &Key{}),
		ParamError{"signature_method_rejected", "oauth_signature_method", "not supported"})
}

func TestVerifyOfMalformedRequest(t *testing.T) {
	p := &Params{SignatureMethod: "HMAC-SHA1", Signature: "x"}
	wantParamError(t, Verify(&Request{Query: "%"}, p, &Key{}),
		ParamError{"parameter_rejected", "", "Malformed percent-encoding in the query"})
}

// Every change of a part that the signature covers is detected.
func TestVerifyNoticesEveryChange(t *testing.T) {
	signed := Request{
		Method: "POST", Scheme: "https", Host: "api.example.com", Path: "/a%20b", Query: "x=1&y=2&x=3", Form: []byte("f=1&g"),
	}
	for _, method := range SignatureMethods {
		if method == "PLAINTEXT" {
			continue
		}
		s := &Signer{SignatureMethod: method, ConsumerKey: "k", ConsumerSecret: "s", Token: "t", TokenSecret: "u", Realm: "r"}
		key := &Key{ConsumerSecret: "s", TokenSecret: "u"}
		if strings.HasPrefix(method, "RSA-") {
			s.PrivateKey = rsaKey(t)
			key.Public = s.PrivateKey.Public()
		}
		header, err := s.Sign(&signed)
		if err != nil {
			t.Fatal(err)
		}
		check := func(name string, want error, change func(r *Request, header *string)) {
			t.Run(method+": "+name, func(t *testing.T) {
				r, header := signed, header
				change(&r, &header)
				if err := Verify(&r, mustParse(t, header, r.Query, string(r.Form)), key); !errors.Is(err, want) {
					t.Errorf("%v, want %v", err, want)
				}
			})
		}
		check("nothing", nil, func(*Request, *string) {})
		check("order of the query", nil, func(r *Request, _ *string) { r.Query = "x=3&x=1&y=2" })
		check("from query to form", nil, func(r *Request, _ *string) { r.Query, r.Form = "x=1&y=2", []byte("f=1&x=3&g") })
		check("realm", nil, func(_ *Request, h *string) { *h = strings.Replace(*h, `"r"`, `"q"`, 1) })
		check("case of the host, port, method", nil, func(r *Request, _ *string) { r.Host, r.Method = "API.example.com:443", "post" })

		check("method", ErrSignature, func(r *Request, _ *string) { r.Method = "GET" })
		check("scheme", ErrSignature, func(r *Request, _ *string) { r.Scheme = "http" })
		check("host", ErrSignature, func(r *Request, _ *string) { r.Host = "api.example.org" })
		check("port", ErrSignature, func(r *Request, _ *string) { r.Host += ":8443" })
		check("path", ErrSignature, func(r *Request, _ *string) { r.Path = "/a b" })
		check("query value", ErrSignature, func(r *Request, _ *string) { r.Query = "x=1&y=2&x=4" })
		check("one query parameter more", ErrSignature, func(r *Request, _ *string) { r.Query += "&z" })
		check("one query parameter less", ErrSignature, func(r *Request, _ *string) { r.Query = "x=1&y=2" })
		check("one of two equal ones less", ErrSignature, func(r *Request, _ *string) { r.Query = "x=1&y=2&x=1" })
		check("form", ErrSignature, func(r *Request, _ *string) { r.Form = nil })
		check("a separator decoded", ErrSignature, func(r *Request, _ *string) { r.Query = "x=1%26y=2&x=3" })
		check("consumer", ErrSignature, func(_ *Request, h *string) { *h = strings.Replace(*h, `key="k"`, `key="l"`, 1) })
		check("token", ErrSignature, func(_ *Request, h *string) { *h = strings.Replace(*h, `token="t"`, `token="v"`, 1) })
		check("version left out", ErrSignature, func(_ *Request, h *string) { *h = strings.Replace(*h, `oauth_version="1.0", `, ``, 1) })
		check("a parameter more in the header", ErrSignature, func(_ *Request, h *string) { *h += `, oauth_verifier="v"` })
	}
}

func pemText(blockType string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: blockType, Bytes: der}))
}

func TestParsePublicKey(t *testing.T) {
	private := rsaKey(t)
	pkix := pemText("PUBLIC KEY", must(x509.MarshalPKIXPublicKey(&private.PublicKey)))
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	cert := pemText("CERTIFICATE", must(x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)))
	for name, text := range map[string]string{
		"SubjectPublicKeyInfo": pkix,
		"certificate":          cert,
		"PKCS #1":              pemText("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&private.PublicKey)),
		"text in front":        "the key:\n" + pkix + " \n\n",
		"CRLF":                 strings.ReplaceAll(pkix, "\n", "\r\n"),
	} {
		t.Run(name, func(t *testing.T) {
			key, err := ParsePublicKey(text)
			if err != nil {
				t.Fatal(err)
			}
			if !private.PublicKey.Equal(key) {
				t.Error("another key")
			}
		})
	}
	ec := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	for name, test := range map[string]struct{ text, want string }{
		"empty":            {"", "not PEM"},
		"no PEM":           {"ssh-rsa AAAA", "not PEM"},
		"private, PKCS #8": {pemText("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(private))), "this is a private key"},
		"private, PKCS #1": {pemText("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(private)), "this is a private key"},
		"EC key":           {pemText("PUBLIC KEY", must(x509.MarshalPKIXPublicKey(&ec.PublicKey))), "*ecdsa.PublicKey"},
		"request":          {pemText("CERTIFICATE REQUEST", []byte{1}), `no public key or certificate but "CERTIFICATE REQUEST"`},
		"text behind":      {pkix + "x", `more text follows the first PEM block, "PUBLIC KEY"`},
		"two blocks":       {cert + cert, `more text follows the first PEM block, "CERTIFICATE"`},
		"bytes behind":     {pemText("PUBLIC KEY", append(must(x509.MarshalPKIXPublicKey(&private.PublicKey)), 0)), "trailing data"},
		"no ASN.1":         {pemText("PUBLIC KEY", []byte("x")), "asn1"},
		"no certificate":   {pemText("CERTIFICATE", []byte("x")), "x509"},
		"512 bits":         {smallKey(t, 512, 65537), "512 bits are too few, 1024 are the least"},
		"exponent 1":       {smallKey(t, 2048, 1), "invalid exponent 1"},
		"exponent 65536":   {smallKey(t, 2048, 65536), "invalid exponent 65536"},
	} {
		t.Run(name, func(t *testing.T) {
			key, err := ParsePublicKey(test.text)
			if err == nil {
				t.Fatalf("accepted: %v", key)
			}
			if !strings.HasPrefix(err.Error(), "parse RSA public key: ") || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %q, want one with %q", err, test.want)
			}
		})
	}
}

// smallKey is a public key of any size and exponent; no private key belongs to it.
func smallKey(t *testing.T, bits uint, exponent int) string {
	t.Helper()
	n := new(big.Int).Lsh(big.NewInt(1), bits-1)
	der, err := x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: n.SetBit(n, 0, 1), E: exponent})
	if err != nil {
		t.Fatal(err)
	}
	return pemText("PUBLIC KEY", der)
}

func TestParsePrivateKey(t *testing.T) {
	private := rsaKey(t)
	pkcs8 := pemText("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(private)))
	for name, text := range map[string]string{
		"PKCS #8": pkcs8,
		"PKCS #1": pemText("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(private)),
	} {
		t.Run(name, func(t *testing.T) {
			key, err := ParsePrivateKey(text)
			if err != nil {
				t.Fatal(err)
			}
			if !private.Equal(key) {
				t.Error("another key")
			}
		})
	}
	ec := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	encrypted := string(pem.EncodeToMemory(&pem.Block{
		Type: "RSA PRIVATE KEY", Bytes: []byte("x"), Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-128-CBC,00"},
	}))
	for name, test := range map[string]struct{ text, want string }{
		"no PEM":             {"x", "not PEM"},
		"public":             {pemText("PUBLIC KEY", []byte("x")), `no private key but "PUBLIC KEY"`},
		"EC key":             {pemText("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(ec))), "*ecdsa.PrivateKey"},
		"encrypted, PKCS #1": {encrypted, "encrypted"},
		"encrypted, PKCS #8": {pemText("ENCRYPTED PRIVATE KEY", []byte("x")), "encrypted"},
		"text behind":        {pkcs8 + pkcs8, "more text follows"},
		"no ASN.1":           {pemText("PRIVATE KEY", []byte("x")), "asn1"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParsePrivateKey(test.text)
			if err == nil {
				t.Fatal("accepted")
			}
			if !strings.HasPrefix(err.Error(), "parse RSA private key: ") || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %q, want one with %q", err, test.want)
			}
		})
	}
}

func TestSignatureMethodsAreKnown(t *testing.T) {
	for _, name := range SignatureMethods {
		m, ok := methodNamed(name)
		if !ok || (m.kind == kindPlaintext) != (m.hash == crypto.Hash(0)) {
			t.Errorf("%s is %v, %v", name, m, ok)
		}
	}
	if len(SignatureMethods) != 7 {
		t.Errorf("%d methods, want 7", len(SignatureMethods))
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestKeyKindOf: the kind of key that a method is said to work with is the only one that verifies
// it.
func TestKeyKindOf(t *testing.T) {
	keys := map[KeyKind]*Key{KeySecrets: {ConsumerSecret: "s"}, KeyRSA: {Public: new(rsa.PublicKey)}}
	for _, method := range SignatureMethods {
		for kind, key := range keys {
			p := &Params{ConsumerKey: "k", SignatureMethod: method, Signature: "x"}
			r := &Request{Method: "GET", Scheme: "http", Host: "example.com", Path: "/"}
			refused := errors.Is(Verify(r, p, key), ErrKeyKind)
			if fits := KeyKindOf(method) == kind; fits == refused {
				t.Errorf("%s: kind %d, and key of kind %d: ErrKeyKind %t", method, KeyKindOf(method), kind, refused)
			}
		}
	}
	for _, method := range []string{"", "RSA-", "RSA-MD5", "rsa-sha1"} {
		if kind := KeyKindOf(method); kind != KeyUnknown {
			t.Errorf("%q: kind %d", method, kind)
		}
	}
}
