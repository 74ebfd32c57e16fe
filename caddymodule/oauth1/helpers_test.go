package oauth1

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"
)

var generateRSAKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

func rsaKey(tb testing.TB) *rsa.PrivateKey {
	tb.Helper()
	key, err := generateRSAKey()
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

// manyParameters returns n parameters with different names, in an unsorted order.
func manyParameters(prefix string, n int) string {
	var s strings.Builder
	for i := range n {
		if i > 0 {
			s.WriteByte('&')
		}
		s.WriteString(prefix)
		s.WriteString(strconv.Itoa(i * 7919 % n))
		s.WriteString("=v")
	}
	return s.String()
}

func mustParse(tb testing.TB, header, query, form string) *Params {
	tb.Helper()
	var authorization []string
	if header != "" {
		authorization = []string{header}
	}
	p, err := Parse(authorization, query, []byte(form))
	if err != nil {
		tb.Fatal(err)
	}
	return &p
}

// wantParamError checks the three parts of a *ParamError.
func wantParamError(tb testing.TB, err error, want ParamError) {
	tb.Helper()
	var got *ParamError
	if !errors.As(err, &got) {
		tb.Fatalf("error is %v, want the *ParamError %q", err, want.Error())
	}
	if *got != want {
		tb.Errorf("error is %+v, want %+v", *got, want)
	}
}

// unfold joins the lines of a header field that the standards print folded.
func unfold(field string) string {
	lines := strings.Split(field, "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return strings.Join(lines, " ")
}

// hmacText returns the signature of a base string.
func hmacText(signatureMethod, consumerSecret, tokenSecret, baseString string) string {
	m, _ := methodNamed(signatureMethod)
	b := newBuffers()
	defer b.free()
	b.setSecrets(consumerSecret, tokenSecret)
	b.padded = append(make([]byte, maxBlock), baseString...)
	return base64.StdEncoding.EncodeToString(b.appendHMACOnce(nil, m.hash))
}

// readyText returns the signature of a base string with a prepared key.
func readyText(tb testing.TB, key *HMACKey, baseString string) string {
	tb.Helper()
	b := newBuffers()
	defer b.free()
	b.padded = append(make([]byte, maxBlock), baseString...)
	mac, err := b.appendHMAC(nil, key)
	if err != nil {
		tb.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(mac)
}
