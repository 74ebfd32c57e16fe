package integration

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha1"
	_ "crypto/sha256"
	_ "crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The code below follows RFC 5849 literally, without regard to speed or attackers, and shares
// nothing with the code under test. The tests sign with it, and judge the signatures of foreign
// clients with it before the server does.

// A pair is a parameter.
type pair struct{ name, value string }

// escape implements section 3.6.
func escape(s string) string {
	const unreserved = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
	var b strings.Builder
	for i := range len(s) {
		if strings.IndexByte(unreserved, s[i]) >= 0 {
			b.WriteByte(s[i])
		} else {
			fmt.Fprintf(&b, "%%%02X", s[i])
		}
	}
	return b.String()
}

// formPairs decodes a query or a form (section 3.4.1.3.1).
func formPairs(s string) ([]pair, error) {
	var pairs []pair
	for part := range strings.SplitSeq(s, "&") {
		if part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		n, err1 := url.QueryUnescape(name)
		v, err2 := url.QueryUnescape(value)
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		pairs = append(pairs, pair{n, v})
	}
	return pairs, nil
}

// headerPairs decodes an Authorization header (section 3.5.1), without its realm.
func headerPairs(header string) ([]pair, error) {
	rest, ok := strings.CutPrefix(header, "OAuth ")
	if !ok {
		return nil, nil
	}
	var pairs []pair
	for part := range strings.SplitSeq(rest, ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(part), "=")
		if !ok || len(value) < 2 || value[0] != '"' || value[len(value)-1] != '"' {
			return nil, fmt.Errorf("malformed parameter %q", part)
		}
		if name == "realm" {
			continue
		}
		v, err := url.PathUnescape(value[1 : len(value)-1])
		if err != nil {
			return nil, err
		}
		pairs = append(pairs, pair{name, v})
	}
	return pairs, nil
}

// baseString implements section 3.4.1. The URI is the one on the request line.
func baseString(method, scheme, host, uri string, pairs []pair) string {
	path, _, _ := strings.Cut(uri, "?")
	host = strings.ToLower(host)
	host = strings.TrimSuffix(host, map[string]string{"http": ":80", "https": ":443"}[scheme])
	var encoded []pair
	for _, p := range pairs {
		if p.name != "oauth_signature" {
			encoded = append(encoded, pair{escape(p.name), escape(p.value)})
		}
	}
	slices.SortFunc(encoded, func(a, b pair) int {
		return cmp.Or(strings.Compare(a.name, b.name), strings.Compare(a.value, b.value))
	})
	var normalized []string
	for _, p := range encoded {
		normalized = append(normalized, p.name+"="+p.value)
	}
	return strings.ToUpper(method) + "&" + escape(scheme+"://"+host+path) + "&" + escape(strings.Join(normalized, "&"))
}

var hashes = map[string]crypto.Hash{"SHA1": crypto.SHA1, "SHA256": crypto.SHA256, "SHA512": crypto.SHA512}

// secrets are the keys of a signature: the shared secrets, or the key pair.
type secrets struct {
	consumer, token string
	key             *rsa.PrivateKey
}

// signature implements sections 3.4.2 to 3.4.4.
func signature(method, base string, s secrets) (string, error) {
	shared := escape(s.consumer) + "&" + escape(s.token)
	kind, name, _ := strings.Cut(method, "-")
	if kind != "PLAINTEXT" && hashes[name] == 0 {
		return "", fmt.Errorf("signature method %q", method)
	}
	switch kind {
	case "PLAINTEXT":
		return shared, nil
	case "HMAC":
		mac := hmac.New(hashes[name].New, []byte(shared))
		mac.Write([]byte(base))
		return base64.StdEncoding.EncodeToString(mac.Sum(nil)), nil
	case "RSA":
		h := hashes[name].New()
		h.Write([]byte(base))
		sig, err := rsa.SignPKCS1v15(rand.Reader, s.key, hashes[name], h.Sum(nil)) // deterministic, and so comparable
		return base64.StdEncoding.EncodeToString(sig), err
	}
	return "", fmt.Errorf("signature method %q", method)
}

// requestPairs returns the parameters that a request's signature covers, from all places.
func requestPairs(req *http.Request, rawQuery string, body []byte) ([]pair, error) {
	pairs, err := headerPairs(req.Header.Get("Authorization"))
	if err != nil {
		return nil, err
	}
	query, err := formPairs(rawQuery)
	if err != nil {
		return nil, err
	}
	pairs = append(pairs, query...)
	if strings.HasPrefix(req.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		form, err := formPairs(string(body))
		if err != nil {
			return nil, err
		}
		pairs = append(pairs, form...)
	}
	return pairs, nil
}

// judge checks whether a request to a server in this process is signed by RFC 5849. It returns nil,
// or an error with the base string.
func judge(r *http.Request, body []byte, s secrets) error {
	_, query, _ := strings.Cut(r.RequestURI, "?")
	pairs, err := requestPairs(r, query, body)
	if err != nil {
		return err
	}
	value := func(name string) string {
		i := slices.IndexFunc(pairs, func(p pair) bool { return p.name == name })
		if i < 0 {
			return ""
		}
		return pairs[i].value
	}
	base := baseString(r.Method, "http", r.Host, r.RequestURI, pairs)
	want, err := signature(value("oauth_signature_method"), base, s)
	if err != nil {
		return err
	}
	if got := value("oauth_signature"); got != want {
		return fmt.Errorf("signature %q, want %q for %s", got, want, base)
	}
	return nil
}

// A signer signs requests for the tests that are not about foreign clients. Its zero fields stand
// for HMAC-SHA1, a fresh nonce and the present time.
type signer struct {
	Consumer, Secret string
	Token            token
	Method           string
	Nonce, Timestamp string
	Extra            []pair // more oauth_ parameters
}

// repeated gives the signer a nonce and the timestamp that belongs to it: the same nonce with another
// timestamp is another one (RFC 5849, section 3.3), and each request would be accepted.
func (s signer) repeated() signer {
	s.Nonce, s.Timestamp = newNonce(), strconv.FormatInt(time.Now().Unix(), 10)
	return s
}

// params returns the protocol parameters, without the signature.
func (s signer) params() []pair {
	pairs := []pair{
		{"oauth_consumer_key", s.Consumer},
		{"oauth_signature_method", cmp.Or(s.Method, "HMAC-SHA1")},
		{"oauth_timestamp", cmp.Or(s.Timestamp, strconv.FormatInt(time.Now().Unix(), 10))},
		{"oauth_nonce", cmp.Or(s.Nonce, newNonce())},
	}
	if s.Token.Key != "" {
		pairs = append(pairs, pair{"oauth_token", s.Token.Key})
	}
	return append(pairs, s.Extra...)
}

// sign sets the Authorization header of a request. form is its body, if that is a form.
func (s signer) sign(t testing.TB, req *http.Request, form string) *http.Request {
	t.Helper()
	req.Header.Del("Authorization")
	own := s.params()
	covered, err := requestPairs(req, req.URL.RawQuery, []byte(form))
	if err != nil {
		t.Fatal(err)
	}
	base := baseString(req.Method, req.URL.Scheme, cmp.Or(req.Host, req.URL.Host), req.URL.RequestURI(),
		append(covered, own...))
	sig, err := signature(cmp.Or(s.Method, "HMAC-SHA1"), base, secrets{consumer: s.Secret, token: s.Token.Secret})
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", authorization(append(own, pair{"oauth_signature", sig})))
	return req
}

// authorization writes an Authorization header.
func authorization(pairs []pair) string {
	var parts []string
	for _, p := range pairs {
		parts = append(parts, escape(p.name)+`="`+escape(p.value)+`"`)
	}
	return "OAuth " + strings.Join(parts, ", ")
}

// plaintext returns the parameters of a PLAINTEXT request, which needs no nonce and no timestamp.
func plaintext(consumer, consumerSecret string, tok token, more ...pair) []pair {
	pairs := []pair{
		{"oauth_consumer_key", consumer},
		{"oauth_signature_method", "PLAINTEXT"},
		{"oauth_signature", escape(consumerSecret) + "&" + escape(tok.Secret)},
	}
	if tok.Key != "" {
		pairs = append(pairs, pair{"oauth_token", tok.Key})
	}
	return append(pairs, more...)
}

// form writes parameters as a query or form.
func form(pairs []pair) string {
	var parts []string
	for _, p := range pairs {
		parts = append(parts, escape(p.name)+"="+escape(p.value))
	}
	return strings.Join(parts, "&")
}

func newNonce() string {
	b := make([]byte, 12)
	rand.Read(b)
	return hex.EncodeToString(b)
}

// readBody reads the body and puts it back.
func readBody(r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	return body, err
}

// The example of RFC 5849 sections 3.4.1.1 and 3.4.1.3.1 (with erratum 2550) tests the judge
// itself.
func TestTheJudgeReadsTheExampleOfRFC5849(t *testing.T) {
	query, err1 := formPairs("b5=%3D%253D&a3=a&c%40=&a2=r%20b")
	body, err2 := formPairs("c2&a3=2+q")
	header, err3 := headerPairs(`OAuth realm="Example", oauth_consumer_key="9djdj82h48djs9d2", oauth_token="kkk9d7dh3k39sjv7", ` +
		`oauth_signature_method="HMAC-SHA1", oauth_timestamp="137131201", oauth_nonce="7d8f3e4a", oauth_signature="bYT5CMsGcbgUdFHObYMEfcx6bsw%3D"`)
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	base := baseString("POST", "http", "EXAMPLE.COM:80", "/request?b5=%3D%253D&a3=a&c%40=&a2=r%20b",
		slices.Concat(query, body, header))
	const want = "POST&http%3A%2F%2Fexample.com%2Frequest&a2%3Dr%2520b%26a3%3D2%2520q%26a3%3Da%26b5%3D%253D%25253D%26c%2540%3D%26c2%3D%26" +
		"oauth_consumer_key%3D9djdj82h48djs9d2%26oauth_nonce%3D7d8f3e4a%26oauth_signature_method%3DHMAC-SHA1%26" +
		"oauth_timestamp%3D137131201%26oauth_token%3Dkkk9d7dh3k39sjv7"
	if base != want {
		t.Errorf("base string\n%s, want\n%s", base, want)
	}
	got, err := signature("HMAC-SHA1", base, secrets{consumer: "j49sk3j29djd", token: "dh893hdasih9"})
	if err != nil || got != "r6/TJjbCOr97/+UU0NsvSne7s5g=" {
		t.Errorf("signature %s, %v", got, err)
	}
}
