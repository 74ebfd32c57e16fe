package oauth1

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// awkward are requests that implementations disagree about. The server must read them as the client
// meant them.
var awkward = map[string]Request{
	"plain":              {Method: "GET", Scheme: "https", Host: "api.example.com", Path: "/1.0/bugs", Query: "status=New"},
	"no path, no query":  {Method: "DELETE", Scheme: "http", Host: "localhost:9000"},
	"equal names":        {Method: "GET", Scheme: "https", Host: "h", Path: "/", Query: "a=2&a=1&a=10&a&a="},
	"everything encoded": {Method: "GET", Scheme: "https", Host: "h", Path: "/%7e/%2F", Query: "%61=%2B+%20&é=%C3%A9&;=;&=&&=x"},
	"bytes":              {Method: "PATCH", Scheme: "https", Host: "h", Path: "/\xff", Query: "a=%00%ff\xfe", Form: []byte("\x01=\x02")},
	"form and query":     {Method: "POST", Scheme: "https", Host: "h:443", Path: "/", Query: "a=1", Form: []byte("a=1&c%40=&a3=2+q&c2")},
	"IPv6":               {Method: "GET", Scheme: "https", Host: "[::1]:8443", Path: "/"},
	"lower case":         {Method: "get", Scheme: "HTTP", Host: "EXAMPLE.com:80", Path: "/X"},
	"names like ours":    {Method: "GET", Scheme: "https", Host: "h", Path: "/", Query: "oauth=1&%256Fauth_token=x&OAUTH_TOKEN=y&realm=z"},
}

func TestSignedRequestsVerify(t *testing.T) {
	for _, method := range SignatureMethods {
		s := &Signer{
			ConsumerKey: `k "&,=\%+é`, ConsumerSecret: "s&%é", Token: "t+ /", TokenSecret: "u=\x00", SignatureMethod: method,
			Realm: `a "b", \c`, Callback: "https://c.example.com/?a=b&c=%20", Verifier: "v v", BodyHash: BodyHash(method, nil),
			Nonce: `n "&`,
		}
		key := &Key{ConsumerSecret: s.ConsumerSecret, TokenSecret: s.TokenSecret}
		if strings.HasPrefix(method, "RSA-") {
			s.PrivateKey = rsaKey(t)
			key.Public = s.PrivateKey.Public()
		}
		for name, r := range awkward {
			t.Run(method+": "+name+", header", func(t *testing.T) {
				header, err := s.Sign(&r)
				if err != nil {
					t.Fatal(err)
				}
				p := mustParse(t, header, r.Query, string(r.Form))
				if p.Source != SourceHeader || p.Realm != s.Realm {
					t.Errorf("source %v, realm %q", p.Source, p.Realm)
				}
				verifyAsSigned(t, &r, p, s, key)
			})
			t.Run(method+": "+name+", query", func(t *testing.T) {
				params, err := s.SignParams(&r)
				if err != nil {
					t.Fatal(err)
				}
				r := r
				r.Query += "&" + EncodeForm(params)
				p := mustParse(t, "", r.Query, string(r.Form))
				if p.Source != SourceQuery {
					t.Errorf("source %v", p.Source)
				}
				verifyAsSigned(t, &r, p, s, key)
			})
			t.Run(method+": "+name+", form", func(t *testing.T) {
				params, err := s.SignParams(&r)
				if err != nil {
					t.Fatal(err)
				}
				r := r
				r.Form = []byte(string(r.Form) + "&" + EncodeForm(params))
				p := mustParse(t, "", r.Query, string(r.Form))
				if p.Source != SourceForm {
					t.Errorf("source %v", p.Source)
				}
				verifyAsSigned(t, &r, p, s, key)
			})
		}
	}
}

func verifyAsSigned(t *testing.T, r *Request, p *Params, s *Signer, key *Key) {
	t.Helper()
	if err := Verify(r, p, key); err != nil {
		t.Error(err)
	}
	got := [...]string{p.ConsumerKey, p.Token, p.SignatureMethod, p.Nonce, p.Version, p.Callback, p.Verifier, p.BodyHash}
	want := [...]string{s.ConsumerKey, s.Token, s.SignatureMethod, s.Nonce, "1.0", s.Callback, s.Verifier, s.BodyHash}
	if got != want {
		t.Errorf("parameters\n %q, want\n %q", got, want)
	}
}

func TestSignDefaults(t *testing.T) {
	r := &Request{Method: "GET", Scheme: "https", Host: "h", Path: "/"}
	before := time.Now().Unix()
	header, err := (&Signer{ConsumerKey: "k"}).Sign(r)
	if err != nil {
		t.Fatal(err)
	}
	p := mustParse(t, header, "", "")
	if p.SignatureMethod != "HMAC-SHA256" || p.HasToken || p.HasCallback || p.HasBodyHash || p.Realm != "" {
		t.Errorf("parameters are %+v", p)
	}
	if seconds, err := p.Unix(); err != nil || seconds < before || seconds > time.Now().Unix() {
		t.Errorf("timestamp is %v, %v", seconds, err)
	}
	if err := p.CheckNonce(); err != nil || len(p.Nonce) < 20 {
		t.Errorf("nonce is %q, %v", p.Nonce, err)
	}
	header, err = (&Signer{ConsumerKey: "k", PrivateKey: rsaKey(t)}).Sign(r)
	if err != nil {
		t.Fatal(err)
	}
	if p := mustParse(t, header, "", ""); p.SignatureMethod != "RSA-SHA256" {
		t.Errorf("with a private key the method is %s", p.SignatureMethod)
	}
}

func TestSignRefuses(t *testing.T) {
	r := &Request{Method: "GET", Scheme: "https", Host: "h", Path: "/"}
	for _, s := range []*Signer{
		{SignatureMethod: "HMAC-SHA256", PrivateKey: rsaKey(t)}, {SignatureMethod: "PLAINTEXT", PrivateKey: rsaKey(t)},
		{SignatureMethod: "RSA-SHA256"},
	} {
		if _, err := s.Sign(r); !errors.Is(err, ErrKeyKind) {
			t.Errorf("%s: %v, want ErrKeyKind", s.SignatureMethod, err)
		}
	}
	_, err := (&Signer{SignatureMethod: "HMAC-MD5"}).Sign(r)
	wantParamError(t, err, *errMethod())
	_, err = (&Signer{}).Sign(&Request{Query: "oauth_token=x"})
	wantParamError(t, err, ParamError{"parameter_rejected", "", "OAuth parameters in two places, the Authorization header and the query"})
	_, err = (&Signer{}).Sign(&Request{Query: "a=%"})
	wantParamError(t, err, ParamError{"parameter_rejected", "", "Malformed percent-encoding in the query"})
	if _, err = (&Signer{Realm: "a\r\nb"}).Sign(r); err == nil {
		t.Error("a realm with line ends was accepted")
	}
}
