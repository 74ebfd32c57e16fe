package doctortest

import (
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"hash"
	"net/url"
	"slices"
	"strings"
	"sync"
)

// A Client signs a request by itself: it uses nothing of package oauth1, and nothing that the doctor
// makes its alternatives with. Its fields are what a mistaken client does differently.
type Client struct {
	// What is sent.
	Method, Scheme, Host, Path, Query, Form string
	Body, ContentType                       string  // a body that is no form
	ForwardedHost                           string  // X-Forwarded-Host
	OAuth                                   []Param // without oauth_signature
	Realm                                   string

	// What is signed. Default: what is sent.
	SignedMethod, SignedURL string
	Params                  func([]Param) []Param
	Encode, Outer           func(string) string
	Compare                 func(a, b Param) int // of encoded names and values
	Unencoded               bool                 // sorts before it encodes
	Equals, And             string
	Finish                  func(base string) string

	// How it is signed. Default: by oauth_signature_method.
	SignatureMethod             string
	ConsumerSecret, TokenSecret string
	Key                         func(consumer, token string) string
	Sign                        func(key, base string) []byte
	Signature                   func(raw []byte) string
	PrivateKey                  int // of Keys

	// Server is what the mistake takes for granted of the server.
	Server Server
}

// A Param is a parameter, decoded.
type Param struct{ Name, Value string }

// A Server is what a server knows, and how its site is made. Who sends the requests makes it so.
type Server struct {
	ConsumerKey, ConsumerSecret string
	PreviousSecret              string // of the consumer, no longer accepted
	Token, TokenSecret          string
	RequestTokenSecret          string // of the request token that became the token
	// RSA says that the consumer has the first of Keys, and no secret. It had the second before.
	RSA     bool
	Methods []string // the only ones that the consumer may use

	BaseURL         string // of the site
	RewrittenTarget string // the target that the site rewrites each request to
	// OtherBaseURL is a base_url that the request is not judged by.
	OtherBaseURL string
}

// Usual is a server whose secrets, and whose token, differ when they are encoded.
func Usual() Server {
	return Server{
		ConsumerKey:        "printer",
		ConsumerSecret:     "s3cret/of+the consumer&",
		PreviousSecret:     "last year's secret",
		Token:              "tok%20en",
		TokenSecret:        "tOken%secret==",
		RequestTokenSecret: "a request's secret",
	}
}

// Keys are RSA keys of the tests.
var Keys = sync.OnceValue(func() (keys []*rsa.PrivateKey) {
	for range 3 {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		keys = append(keys, key)
	}
	return keys
})

// NewClient returns a client that makes no mistake. What it signs differs under nearly every
// mistake.
func NewClient(signatureMethod string, s Server) *Client {
	s.RSA = strings.HasPrefix(signatureMethod, "RSA")
	return &Client{
		Method:         "POST",
		Scheme:         "https",
		Host:           "api.example.com",
		Path:           "/v1/Caf%C3%A9%2F2/it's%20ready",
		Query:          "name=a+b&tags=b&tags=a&e=&flag&x%5By%5D=1%252B2&a-b=1&a=2&Z=caf%C3%A9&A%7E=~&%C3%A4=1&q=it%27s/&b=z",
		Form:           "text=x%2By+z&tags=c&u=cafe%CC%81",
		ContentType:    "application/x-www-form-urlencoded",
		ConsumerSecret: s.ConsumerSecret,
		TokenSecret:    s.TokenSecret,
		OAuth: []Param{
			{"oauth_consumer_key", s.ConsumerKey},
			{"oauth_token", s.Token},
			{"oauth_signature_method", signatureMethod},
			{"oauth_timestamp", "1700000000"},
			{"oauth_nonce", "n+o/n=ce"},
			{"oauth_version", "1.0"},
			{"oauth_verifier", "v 1"},
		},
		Realm:  "The API",
		Server: s,
	}
}

// Set gives an OAuth parameter another value.
func (c *Client) Set(name, value string) {
	for i := range c.OAuth {
		if c.OAuth[i].Name == name {
			c.OAuth[i].Value = value
		}
	}
}

// BodyHash is the right oauth_body_hash of the body.
func (c *Client) BodyHash() string {
	sum1, sum256 := sha1.Sum([]byte(c.Body)), sha256.Sum256([]byte(c.Body))
	sum := sum1[:]
	if strings.HasSuffix(c.Named(), "SHA256") {
		sum = sum256[:]
	}
	return base64.StdEncoding.EncodeToString(sum)
}

// Percent encodes as RFC 5849, section 3.6, says.
func Percent(s string) string {
	return strings.ReplaceAll(url.QueryEscape(s), "+", "%20")
}

// SentParams are the parameters of the query and the form.
func (c *Client) SentParams() []Param {
	var list []Param
	for _, text := range []string{c.Query, c.Form} {
		for piece := range strings.SplitSeq(text, "&") {
			if piece == "" {
				continue
			}
			name, value, _ := strings.Cut(piece, "=")
			name, err1 := url.QueryUnescape(name)
			value, err2 := url.QueryUnescape(value)
			if err1 != nil || err2 != nil {
				panic(fmt.Sprint(err1, err2))
			}
			list = append(list, Param{name, value})
		}
	}
	return list
}

// BaseString is what the client signs.
func (c *Client) BaseString() string {
	params := append(slices.Clone(c.OAuth), c.SentParams()...)
	if c.Params != nil {
		params = c.Params(params)
	}
	encode, outer := Percent, Percent
	if c.Encode != nil {
		encode = c.Encode
	}
	if c.Outer != nil {
		outer = c.Outer
	}
	compare := func(a, b Param) int {
		if n := strings.Compare(a.Name, b.Name); n != 0 {
			return n
		}
		return strings.Compare(a.Value, b.Value)
	}
	if c.Compare != nil {
		compare = c.Compare
	}
	if c.Unencoded {
		slices.SortStableFunc(params, compare)
	}
	for i, p := range params {
		params[i] = Param{encode(p.Name), encode(p.Value)}
	}
	if !c.Unencoded {
		slices.SortStableFunc(params, compare)
	}
	equals, and := "%3D", "%26"
	if c.Equals != "" {
		equals, and = c.Equals, c.And
	}
	var pieces []string
	for _, p := range params {
		pieces = append(pieces, outer(p.Name)+equals+outer(p.Value))
	}
	method, address := c.Method, c.Scheme+"://"+c.Host+c.Path
	if c.SignedMethod != "" {
		method = c.SignedMethod
	}
	if c.SignedURL != "" {
		address = c.SignedURL
	}
	base := method + "&" + Percent(address) + "&" + strings.Join(pieces, and)
	if c.Finish != nil {
		base = c.Finish(base)
	}
	return base
}

// Named is the oauth_signature_method that the client sends.
func (c *Client) Named() string { return c.value("oauth_signature_method") }

func (c *Client) value(name string) string {
	for _, p := range c.OAuth {
		if p.Name == name {
			return p.Value
		}
	}
	return ""
}

// SignatureText is the oauth_signature that the client sends.
func (c *Client) SignatureText() string {
	method := c.Named()
	if c.SignatureMethod != "" {
		method = c.SignatureMethod
	}
	key := Percent(c.ConsumerSecret) + "&" + Percent(c.TokenSecret)
	if c.Key != nil {
		key = c.Key(c.ConsumerSecret, c.TokenSecret)
	}
	if method == "PLAINTEXT" {
		return key
	}
	var raw []byte
	base := c.BaseString()
	sum1, sum256 := sha1.Sum([]byte(base)), sha256.Sum256([]byte(base))
	mac := func(h func() hash.Hash) []byte {
		m := hmac.New(h, []byte(key))
		m.Write([]byte(base))
		return m.Sum(nil)
	}
	rsaSign := func(h crypto.Hash, sum []byte) []byte {
		signature, err := rsa.SignPKCS1v15(nil, Keys()[c.PrivateKey], h, sum)
		if err != nil {
			panic(err)
		}
		return signature
	}
	switch {
	case c.Sign != nil:
		raw = c.Sign(key, base)
	case method == "HMAC-SHA1":
		raw = mac(sha1.New)
	case method == "HMAC-SHA256":
		raw = mac(sha256.New)
	case method == "RSA-SHA1":
		raw = rsaSign(crypto.SHA1, sum1[:])
	case method == "RSA-SHA256":
		raw = rsaSign(crypto.SHA256, sum256[:])
	}
	if c.Signature != nil {
		return c.Signature(raw)
	}
	return base64.StdEncoding.EncodeToString(raw)
}

// Authorization is the header that the client sends.
func (c *Client) Authorization() string {
	var header strings.Builder
	header.WriteString(`OAuth realm="` + c.Realm + `"`)
	for _, p := range append(slices.Clone(c.OAuth), Param{"oauth_signature", c.SignatureText()}) {
		header.WriteString(", " + Percent(p.Name) + `="` + Percent(p.Value) + `"`)
	}
	return header.String()
}
