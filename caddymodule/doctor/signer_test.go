package doctor

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
	"testing"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
)

// A client signs requests by itself: it uses nothing of package oauth1, and nothing that the doctor
// makes its alternatives with. Its fields are what a mistaken client does differently.
type client struct {
	// What is sent.
	method, scheme, host, path, query, form string
	body, contentType                       string
	oauth                                   []kv // without oauth_signature
	realm                                   string
	raw                                     bool // the signature is not encoded in the header

	// What is signed. Default: what is sent.
	signedMethod, signedURL string
	params                  func([]kv) []kv
	encode, outer           func(string) string
	compare                 func(a, b kv) int // of encoded names and values
	unencoded               bool              // sorts before it encodes
	equals, and             string
	finish                  func(base string) string

	// How it is signed. Default: by oauth_signature_method.
	signatureMethod string
	consumer, token string
	key             func(consumer, token string) string
	sign            func(key, base string) []byte
	signature       func(raw []byte) string
	privateKey      int // of testKeys

	// What the server knows.
	server func(*Case)
}

type kv struct{ name, value string }

const (
	testConsumerSecret = "s3cret/of+the consumer&"
	testTokenSecret    = "tOken%secret=="
)

var testKeys = sync.OnceValue(func() (keys []*rsa.PrivateKey) {
	for range 3 {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		keys = append(keys, key)
	}
	return keys
})

// newClient returns a client that makes no mistake. Its request differs in what it signs under
// nearly every mistake.
func newClient(signatureMethod string) *client {
	return &client{
		method:      "POST",
		scheme:      "https",
		host:        "api.example.com",
		path:        "/v1/Caf%C3%A9%2F2/it's%20ready",
		query:       "name=a+b&tags=b&tags=a&e=&flag&x%5By%5D=1%252B2&a-b=1&a=2&Z=caf%C3%A9&A%7E=~&%C3%A4=1&q=it%27s/&b=z",
		form:        "text=x%2By+z&tags=c&u=cafe%CC%81",
		contentType: "application/x-www-form-urlencoded",
		consumer:    testConsumerSecret,
		token:       testTokenSecret,
		oauth: []kv{
			{"oauth_consumer_key", "printer"}, {"oauth_token", "tok%20en"},
			{"oauth_signature_method", signatureMethod}, {"oauth_timestamp", "1700000000"},
			{"oauth_nonce", "n+o/n=ce"}, {"oauth_version", "1.0"}, {"oauth_verifier", "v 1"},
		},
		realm: "The API",
	}
}

func percent(s string) string {
	return strings.ReplaceAll(url.QueryEscape(s), "+", "%20")
}

func (c *client) sentParams() []kv {
	var list []kv
	for _, text := range []string{c.query, c.form} {
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
			list = append(list, kv{name, value})
		}
	}
	return list
}

func (c *client) base() string {
	params := append(slices.Clone(c.oauth), c.sentParams()...)
	if c.params != nil {
		params = c.params(params)
	}
	encode, outer := percent, percent
	if c.encode != nil {
		encode = c.encode
	}
	if c.outer != nil {
		outer = c.outer
	}
	compare := func(a, b kv) int {
		if n := strings.Compare(a.name, b.name); n != 0 {
			return n
		}
		return strings.Compare(a.value, b.value)
	}
	if c.compare != nil {
		compare = c.compare
	}
	if c.unencoded {
		slices.SortStableFunc(params, compare)
	}
	for i, p := range params {
		params[i] = kv{encode(p.name), encode(p.value)}
	}
	if !c.unencoded {
		slices.SortStableFunc(params, compare)
	}
	equals, and := "%3D", "%26"
	if c.equals != "" {
		equals, and = c.equals, c.and
	}
	var pieces []string
	for _, p := range params {
		pieces = append(pieces, outer(p.name)+equals+outer(p.value))
	}
	method, address := c.method, c.scheme+"://"+c.host+c.path
	if c.signedMethod != "" {
		method = c.signedMethod
	}
	if c.signedURL != "" {
		address = c.signedURL
	}
	base := method + "&" + percent(address) + "&" + strings.Join(pieces, and)
	if c.finish != nil {
		base = c.finish(base)
	}
	return base
}

func (c *client) named() string {
	for _, p := range c.oauth {
		if p.name == "oauth_signature_method" {
			return p.value
		}
	}
	return ""
}

func (c *client) signed() string {
	method := c.named()
	if c.signatureMethod != "" {
		method = c.signatureMethod
	}
	key := percent(c.consumer) + "&" + percent(c.token)
	if c.key != nil {
		key = c.key(c.consumer, c.token)
	}
	if method == "PLAINTEXT" {
		return key
	}
	var raw []byte
	base := c.base()
	sum1, sum256 := sha1.Sum([]byte(base)), sha256.Sum256([]byte(base))
	mac := func(h func() hash.Hash) []byte {
		m := hmac.New(h, []byte(key))
		m.Write([]byte(base))
		return m.Sum(nil)
	}
	rsaSign := func(h crypto.Hash, sum []byte) []byte {
		signature, err := rsa.SignPKCS1v15(nil, testKeys()[c.privateKey], h, sum)
		if err != nil {
			panic(err)
		}
		return signature
	}
	switch {
	case c.sign != nil:
		raw = c.sign(key, base)
	case method == "HMAC-SHA1":
		raw = mac(sha1.New)
	case method == "HMAC-SHA256":
		raw = mac(sha256.New)
	case method == "RSA-SHA1":
		raw = rsaSign(crypto.SHA1, sum1[:])
	case method == "RSA-SHA256":
		raw = rsaSign(crypto.SHA256, sum256[:])
	}
	if c.signature != nil {
		return c.signature(raw)
	}
	return base64.StdEncoding.EncodeToString(raw)
}

// seen is the request as the server sees it.
func (c *client) seen(t testing.TB) *Case {
	t.Helper()
	var header strings.Builder
	header.WriteString(`OAuth realm="` + c.realm + `"`)
	for _, p := range c.oauth {
		header.WriteString(", " + p.name + `="` + percent(p.value) + `"`)
	}
	signature := c.signed()
	if !c.raw {
		signature = percent(signature)
	}
	header.WriteString(`, oauth_signature="` + signature + `"`)
	r := oauth1.Request{Method: c.method, Scheme: c.scheme, Host: c.host, Path: c.path, Query: c.query}
	if c.form != "" {
		r.Form = []byte(c.form)
	}
	params, err := oauth1.Parse([]string{header.String()}, r.Query, r.Form)
	if err != nil {
		t.Fatalf("%v: %s", err, header.String())
	}
	seen := &Case{
		Request: r, Params: params, Host: c.host, SentPath: c.path,
		Body: []byte(c.body), ContentType: c.contentType,
		Keys: Keys{ConsumerSecret: testConsumerSecret, TokenSecret: testTokenSecret},
	}
	if strings.HasPrefix(c.named(), "RSA") {
		seen.Keys = Keys{PublicKey: testKeys()[0].Public(), OtherPublicKeys: []crypto.PublicKey{testKeys()[1].Public()}}
	}
	if c.server != nil {
		c.server(seen)
	}
	return seen
}
