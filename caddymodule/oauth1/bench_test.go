package oauth1

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"testing"
)

// benchRequest returns a typical signed API request.
func benchRequest(tb testing.TB, s *Signer) (r *Request, header string, key *Key) {
	tb.Helper()
	s.ConsumerKey, s.Token = "dpf43f3p2l4k3l03bcdf", "nnch734d00sl2jdkbcdf"
	s.Timestamp, s.Nonce = 1700000000, "kllo9940pd9333jhqwzx"
	r = &Request{
		Method: "GET", Scheme: "https", Host: "api.example.com",
		Path: "/1.0/~salgado/+bugs", Query: "status=New&importance=High&ws.size=75&ws.start=0&order_by=-datecreated",
	}
	header, err := s.Sign(r)
	if err != nil {
		tb.Fatal(err)
	}
	key = &Key{ConsumerSecret: s.ConsumerSecret, TokenSecret: s.TokenSecret}
	if s.PrivateKey != nil {
		key.Public = s.PrivateKey.Public()
	}
	return r, header, key
}

var benchSecret = strings.Repeat("bcdfghjkl0", 8)

// BenchmarkVerifyHMACSHA256 measures the whole work of this package for a request: parameters, base
// string, HMAC and comparison.
func BenchmarkVerifyHMACSHA256(b *testing.B) { benchmarkVerify(b, "HMAC-SHA256") }

func BenchmarkVerifyHMACSHA1(b *testing.B)   { benchmarkVerify(b, "HMAC-SHA1") }
func BenchmarkVerifyHMACSHA512(b *testing.B) { benchmarkVerify(b, "HMAC-SHA512") }
func BenchmarkVerifyPLAINTEXT(b *testing.B)  { benchmarkVerify(b, "PLAINTEXT") }
func BenchmarkVerifyRSASHA1(b *testing.B)    { benchmarkVerify(b, "RSA-SHA1") }
func BenchmarkVerifyRSASHA256(b *testing.B)  { benchmarkVerify(b, "RSA-SHA256") }
func BenchmarkVerifyRSASHA512(b *testing.B)  { benchmarkVerify(b, "RSA-SHA512") }

func benchmarkVerify(b *testing.B, method string) {
	s := &Signer{SignatureMethod: method, ConsumerSecret: benchSecret, TokenSecret: benchSecret}
	if strings.HasPrefix(method, "RSA-") {
		s.PrivateKey = rsaKey(b)
	}
	r, header, key := benchRequest(b, s)
	authorization := []string{header}
	b.ReportAllocs()
	for b.Loop() {
		p, err := Parse(authorization, r.Query, nil)
		if err != nil {
			b.Fatal(err)
		}
		if err := Verify(r, &p, key); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	r, header, _ := benchRequest(b, &Signer{ConsumerSecret: benchSecret, TokenSecret: benchSecret})
	authorization := []string{header}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(authorization, r.Query, nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendBaseString(b *testing.B) {
	r, header, _ := benchRequest(b, &Signer{ConsumerSecret: benchSecret, TokenSecret: benchSecret})
	p, err := Parse([]string{header}, r.Query, nil)
	if err != nil {
		b.Fatal(err)
	}
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		if dst, err = r.AppendBaseString(dst[:0], &p); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkAppendBaseStringOf10000Parameters shows that sorting takes n log n time.
func BenchmarkAppendBaseStringOf10000Parameters(b *testing.B) {
	r := &Request{Method: "POST", Scheme: "https", Host: "api.example.com", Form: []byte(manyParameters("p", 10000))}
	var dst []byte
	var err error
	b.ReportAllocs()
	for b.Loop() {
		if dst, err = r.AppendBaseString(dst[:0], &Params{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkStripQuery(b *testing.B) {
	const query = "status=New&importance=High&ws.size=75&ws.start=0&order_by=-datecreated"
	b.ReportAllocs()
	for b.Loop() {
		StripQuery(query)
	}
}

func BenchmarkSignHMACSHA256(b *testing.B) {
	s := &Signer{ConsumerSecret: benchSecret, TokenSecret: benchSecret}
	r, _, _ := benchRequest(b, s)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Sign(r); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReferenceHMACSHA256of400Bytes measures Go's own HMAC over a text as long as a typical
// base string.
func BenchmarkReferenceHMACSHA256of400Bytes(b *testing.B) {
	key, text := []byte(benchSecret+"&"+benchSecret), make([]byte, 400)
	want := base64.StdEncoding.EncodeToString(make([]byte, sha256.Size))
	b.ReportAllocs()
	for b.Loop() {
		mac := hmac.New(sha256.New, key)
		mac.Write(text)
		if hmac.Equal([]byte(base64.StdEncoding.EncodeToString(mac.Sum(nil))), []byte(want)) {
			b.Fatal("the zero HMAC")
		}
	}
}

// TestAllocations: verifying a request allocates its decoded signature and little else.
func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates, and empties pools")
	}
	for method, limit := range map[string]float64{
		"HMAC-SHA1": 4, "HMAC-SHA256": 4, "HMAC-SHA512": 4, "PLAINTEXT": 6,
	} {
		t.Run(method, func(t *testing.T) {
			s := &Signer{SignatureMethod: method, ConsumerSecret: benchSecret, TokenSecret: benchSecret}
			r, header, key := benchRequest(t, s)
			authorization := []string{header}
			got := testing.AllocsPerRun(200, func() {
				p, err := Parse(authorization, r.Query, nil)
				if err != nil {
					t.Fatal(err)
				}
				if err := Verify(r, &p, key); err != nil {
					t.Fatal(err)
				}
			})
			if got > limit {
				t.Errorf("%v allocations, want at most %v", got, limit)
			}
		})
	}
	t.Run("StripQuery without oauth_ parameters", func(t *testing.T) {
		if got := testing.AllocsPerRun(200, func() { StripQuery("a=1&b=2&c%20d=%zz") }); got != 0 {
			t.Errorf("%v allocations, want none", got)
		}
	})
}
