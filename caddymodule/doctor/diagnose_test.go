package doctor

import (
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// only says in which signature methods a mistake makes sense.
type only uint8

const (
	anyMethod only = iota
	hmacOnly
	rsaOnly
)

// A signerMistake is what a client does differently, and the mistakes that are named for it.
type signerMistake struct {
	name, want string // the mistakes are joined by "+", and have their parameter behind them
	only       only
	wrong      func(*client)
}

var signerMistakes = []signerMistake{
	{"nothing", "", 0, func(c *client) {}},

	// The origin.
	{"http for https", "scheme", 0, func(c *client) { c.signedURL = "http://" + c.host + c.path }},
	{"https for http", "scheme", 0, func(c *client) { c.scheme, c.signedURL = "http", "https://"+c.host+c.path }},
	{"wss", "scheme-websocket", 0, func(c *client) { c.signedURL = "wss://" + c.host + c.path }},
	{"ws", "scheme-websocket", 0, func(c *client) { c.scheme, c.signedURL = "http", "ws://"+c.host+c.path }},
	{"the Host header where base_url is set", "host-header", 0, func(c *client) {
		c.signedURL = "https://internal:8443" + c.path
		c.server = func(s *Case) { s.Host = "internal:8443" }
	}},
	{"X-Forwarded-Host of a proxy that is not trusted", "host-forwarded", 0, func(c *client) {
		c.signedURL = "https://public.example.com" + c.path
		c.server = func(s *Case) { s.ForwardedHost = "Public.example.com" }
	}},
	{"the host of base_url", "host-base-url", 0, func(c *client) {
		c.signedURL = "https://base.example.com" + c.path
		c.server = func(s *Case) { s.BaseURL = "https://base.example.com" }
	}},
	{"the default port", "port-added", 0, func(c *client) { c.signedURL = "https://" + c.host + ":443" + c.path }},
	{"no port", "port-left-out", 0, func(c *client) {
		c.host = "api.example.com:8443"
		c.signedURL = "https://api.example.com" + c.path
	}},
	{"no port of an address", "port-left-out", 0, func(c *client) {
		c.host = "[::1]:8443"
		c.signedURL = "https://[::1]" + c.path
	}},
	{"the host in upper case", "host-upper-case", 0, func(c *client) { c.signedURL = "https://API.EXAMPLE.COM" + c.path }},
	{"the host as it was sent", "host-upper-case", 0, func(c *client) {
		c.host = "Api.Example.com"
	}},
	{"www. more", "host-www", 0, func(c *client) { c.signedURL = "https://www." + c.host + c.path }},
	{"www. less", "host-www", 0, func(c *client) {
		c.signedURL = "https://" + c.host + c.path
		c.host = "www." + c.host
	}},

	// The path.
	{"the rewritten path", "path-rewritten", 0, func(c *client) {
		c.signedURL = "https://" + c.host + "/internal/items"
		c.server = func(s *Case) { s.RewrittenTarget = "/internal/items?x=1" }
	}},
	{"the path without base_url's", "path-prefix", 0, func(c *client) {
		c.signedURL = "https://" + c.host + c.path
		c.server = func(s *Case) {
			s.Request.Path = "/public" + s.Request.Path
			s.BaseURL = "https://api.example.com/public"
		}
	}},
	{"base_url's path twice", "path-prefix", 0, func(c *client) {
		c.signedURL = "https://" + c.host + "/v1" + c.path
		c.server = func(s *Case) { s.BaseURL = "https://api.example.com/v1" }
	}},
	{"a path whose prefix a proxy adds", "path-prefix", 0, func(c *client) {
		c.signedURL = "https://" + c.host + strings.TrimPrefix(c.path, "/v1")
	}},
	{"a slash more", "path-trailing-slash", 0, func(c *client) { c.signedURL = "https://" + c.host + c.path + "/" }},
	{"a slash less", "path-trailing-slash", 0, func(c *client) {
		c.signedURL = "https://" + c.host + c.path
		c.path += "/"
	}},
	{"the decoded path", "path-decoded", 0, func(c *client) {
		c.signedURL = "https://" + c.host + "/v1/Café/2/it's ready"
	}},
	{"the path encoded twice", "path-encoded-twice", 0, func(c *client) {
		c.path = "/a%20b/%2F"
		c.signedURL = "https://" + c.host + "/a%2520b/%252F"
	}},
	{"the path encoded otherwise", "path-reencoded", 0, func(c *client) {
		c.signedURL = "https://" + c.host + strings.ReplaceAll(c.path, "'", "%27")
	}},
	{"%2f for %2F", "path-escape-case", 0, func(c *client) {
		c.signedURL = "https://" + c.host + "/v1/Caf%c3%a9%2f2/it's%20ready"
	}},
	{"%2F for %2f", "path-escape-case", 0, func(c *client) {
		c.signedURL = "https://" + c.host + "/a%2Fb"
		c.path = "/a%2fb"
	}},
	{"the path in lower case", "path-lower-case", 0, func(c *client) {
		c.path = "/V1/Items"
		c.signedURL = "https://" + c.host + "/v1/items"
	}},
	{"no path", "path-left-out", 0, func(c *client) { c.path, c.signedURL = "/", "https://"+c.host }},

	// The query.
	{"without the query", "query-left-out", 0, func(c *client) {
		c.params = func(p []kv) []kv { return append(p[:7:7], p[len(p)-3:]...) }
	}},
	{"without query and form", "only-oauth-signed", 0, func(c *client) { c.params = func(p []kv) []kv { return p[:7] } }},
	{"the query in the URL too", "query-in-url", 0, func(c *client) {
		c.signedURL = "https://" + c.host + c.path + "?" + c.query
	}},
	{"the query in the URL only", "query-in-url", 0, func(c *client) {
		c.signedURL = "https://" + c.host + c.path + "?" + c.query
		c.params = func(p []kv) []kv { return append(p[:7:7], p[len(p)-3:]...) }
	}},
	{"decoded once more", "values-decoded-twice", 0, func(c *client) {
		c.params = valuesOf("x[y]", "1+2")
	}},
	{"decoded once less", "values-not-decoded", 0, func(c *client) {
		c.params = func(p []kv) []kv {
			p = p[:7]
			for piece := range strings.SplitSeq(c.query+"&"+c.form, "&") {
				name, value, _ := strings.Cut(piece, "=")
				p = append(p, kv{name, value})
			}
			return p
		}
	}},
	{"+ taken literally", "plus-literal", 0, func(c *client) {
		c.params = func(p []kv) []kv { return valuesOf("text", "x+y+z")(valuesOf("name", "a+b")(p)) }
	}},
	{"sorted before encoding", "sorted-before-encoding", 0, func(c *client) { c.unencoded = true }},
	{"sorted as pairs", "sorted-as-pairs", 0, func(c *client) {
		c.compare = func(a, b kv) int { return strings.Compare(a.name+"="+a.value, b.name+"="+b.value) }
	}},
	{"sorted by name only", "sorted-by-name-only", 0, func(c *client) {
		c.compare = func(a, b kv) int { return strings.Compare(a.name, b.name) }
	}},
	{"sorted without regard to case", "sorted-ignoring-case", 0, func(c *client) {
		c.compare = func(a, b kv) int {
			if n := strings.Compare(strings.ToLower(a.name), strings.ToLower(b.name)); n != 0 {
				return n
			}
			return strings.Compare(a.value, b.value)
		}
	}},
	{"not sorted", "not-sorted", 0, func(c *client) {
		slices.SortFunc(c.oauth, func(a, b kv) int { return strings.Compare(a.name, b.name) })
		c.compare = func(a, b kv) int { return 0 }
	}},
	{"the last of repeated values", "repeats-dropped", 0, func(c *client) {
		c.params = func(p []kv) []kv {
			return slices.DeleteFunc(p, func(p kv) bool { return p.name == "tags" && p.value != "c" })
		}
	}},
	{"the first of repeated values", "repeats-dropped", 0, func(c *client) {
		c.params = func(p []kv) []kv {
			return slices.DeleteFunc(p, func(p kv) bool { return p.name == "tags" && p.value != "b" })
		}
	}},
	{"without empty values", "empty-values-dropped", 0, func(c *client) {
		c.params = func(p []kv) []kv { return slices.DeleteFunc(p, func(p kv) bool { return p.value == "" }) }
	}},
	{"names without =", "equals-sign-dropped", 0, func(c *client) {
		c.finish = func(base string) string {
			return strings.NewReplacer("e%3D%26", "e%26", "flag%3D%26", "flag%26").Replace(base)
		}
	}},
	{"brackets not encoded", "brackets-not-encoded", 0, func(c *client) {
		c.encode = func(s string) string { return strings.NewReplacer("%5B", "[", "%5D", "]").Replace(percent(s)) }
	}},
	{"names without brackets", "brackets-dropped", 0, func(c *client) {
		c.query = "ids%5B%5D=1&ids%5B%5D=2"
		c.params = func(p []kv) []kv {
			for i := range p {
				p[i].name = strings.TrimSuffix(p[i].name, "[]")
			}
			return p
		}
	}},
	{"brackets that were not sent", "brackets-added", 0, func(c *client) {
		c.params = func(p []kv) []kv {
			for i := range p {
				if p[i].name == "tags" {
					p[i].name = "tags[]"
				}
			}
			return p
		}
	}},
	{"a space as +", "space-as-plus", 0, func(c *client) { c.encode = url.QueryEscape }},
	{"encodeURIComponent", "encoded-as-uri-component", 0, func(c *client) {
		c.encode = func(s string) string { return strings.ReplaceAll(percent(s), "%27", "'") }
	}},
	{"the slash not encoded", "slash-not-encoded", 0, func(c *client) {
		c.encode = func(s string) string { return strings.ReplaceAll(percent(s), "%2F", "/") }
	}},
	{"the tilde encoded", "tilde-encoded", 0, func(c *client) {
		c.encode = func(s string) string { return strings.ReplaceAll(percent(s), "~", "%7E") }
	}},
	{"lower-case digits", "escapes-in-lower-case", 0, func(c *client) { c.encode = lowerPercent }},
	{"lower-case digits everywhere", "escapes-in-lower-case", 0, func(c *client) {
		c.path = "/items"
		c.encode, c.outer, c.equals, c.and = lowerPercent, lowerPercent, "%3d", "%26"
		c.finish = func(base string) string {
			return strings.Replace(base, "%3A%2F%2Fapi.example.com%2Fitems", "%3a%2f%2fapi.example.com%2fitems", 1)
		}
	}},
	{"parameters encoded once", "parameters-encoded-once", 0, func(c *client) { c.outer = func(s string) string { return s } }},
	{"parameters encoded three times", "parameters-encoded-thrice", 0, func(c *client) {
		c.outer = func(s string) string { return percent(percent(s)) }
	}},
	{"all parameters encoded once more", "parameters-encoded-thrice", 0, func(c *client) {
		c.outer, c.equals, c.and = func(s string) string { return percent(percent(s)) }, "%253D", "%2526"
	}},
	{"the joined parameters not encoded", "parts-not-encoded", 0, func(c *client) {
		c.outer, c.equals, c.and = func(s string) string { return s }, "=", "&"
	}},
	{"the URL not encoded", "url-not-encoded", 0, func(c *client) {
		c.finish = func(base string) string {
			address := c.scheme + "://" + c.host + c.path
			return strings.Replace(base, percent(address), address, 1)
		}
	}},

	// The body.
	{"without the form", "form-left-out", 0, func(c *client) { c.params = func(p []kv) []kv { return p[:len(p)-3] } }},
	{"a text body as a form", "body-signed", 0, func(c *client) {
		c.form, c.body, c.contentType = "", "a=1&b=2", "text/plain"
		c.params = func(p []kv) []kv { return append(p, kv{"a", "1"}, kv{"b", "2"}) }
	}},
	{"a JSON body as a form", "body-signed", 0, func(c *client) {
		c.form, c.body, c.contentType = "", `{"a":1}`, "application/json"
		c.params = func(p []kv) []kv { return append(p, kv{`{"a":1}`, ""}) }
	}},
	{"a JSON body's fields", "json-signed", 0, func(c *client) {
		c.form, c.body, c.contentType = "", `{"a":1,"b":"x y","c":[1]}`, "application/json"
		c.params = func(p []kv) []kv { return append(p, kv{"a", "1"}, kv{"b", "x y"}) }
	}},
	{"a multipart body's fields", "multipart-signed", 0, func(c *client) {
		c.form = ""
		c.body = "--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n" +
			"--B\r\nContent-Disposition: form-data; name=\"f\"; filename=\"f\"\r\n\r\n2\r\n--B--\r\n"
		c.contentType = "multipart/form-data; boundary=B"
		c.params = func(p []kv) []kv { return append(p, kv{"a", "1"}) }
	}},
	{"signed in latin-1, sent in UTF-8", "charset-latin1", 0, func(c *client) {
		c.form, c.query = "", "Z=caf%C3%A9"
		c.params = valuesOf("Z", "caf\xe9")
	}},
	{"signed in UTF-8, sent in latin-1", "charset-latin1", 0, func(c *client) {
		c.form = "Z2=caf%E9"
		c.params = valuesOf("Z2", "café")
	}},
	{"NFC for NFD", "unicode-form", 0, func(c *client) { c.params = valuesOf("u", "café") }},
	{"NFD for NFC", "unicode-form", 0, func(c *client) {
		c.query = "Z=caf%C3%A9"
		c.params = valuesOf("Z", "cafe\u0301")
	}},

	// The protocol's parameters.
	{"the realm", "realm-signed", 0, func(c *client) { c.params = func(p []kv) []kv { return append(p, kv{"realm", c.realm}) } }},
	{"an empty signature", "signature-signed", 0, func(c *client) {
		c.params = func(p []kv) []kv { return append(p, kv{"oauth_signature", ""}) }
	}},
	{"without oauth_version", "oauth-left-out oauth_version", 0, func(c *client) { c.params = dropped("oauth_version") }},
	{"without oauth_token", "oauth-left-out oauth_token", 0, func(c *client) { c.params = dropped("oauth_token") }},
	{"without oauth_verifier", "oauth-left-out oauth_verifier", 0, func(c *client) { c.params = dropped("oauth_verifier") }},
	{"without oauth_nonce", "oauth-left-out oauth_nonce", 0, func(c *client) { c.params = dropped("oauth_nonce") }},
	{"without oauth_callback", "oauth-left-out oauth_callback", 0, func(c *client) {
		c.oauth = append(c.oauth, kv{"oauth_callback", "https://c.example/?a=b"})
		c.params = dropped("oauth_callback")
	}},
	{"without oauth_body_hash", "oauth-left-out oauth_body_hash", 0, func(c *client) {
		c.oauth = append(c.oauth, kv{"oauth_body_hash", "2jmj7l5rSw0yVb/vlWAYkK/YBwk="})
		c.params = dropped("oauth_body_hash")
	}},
	{"an empty oauth_callback", "oauth-added-empty oauth_callback", 0, func(c *client) {
		c.params = func(p []kv) []kv { return append(p, kv{"oauth_callback", ""}) }
	}},
	{"an empty oauth_body_hash", "oauth-added-empty oauth_body_hash", 0, func(c *client) {
		c.params = func(p []kv) []kv { return append(p, kv{"oauth_body_hash", ""}) }
	}},
	{"an empty oauth_token", "oauth-added-empty oauth_token", hmacOnly, func(c *client) {
		c.oauth = slices.DeleteFunc(c.oauth, func(p kv) bool { return p.name == "oauth_token" })
		c.token = ""
		c.params = func(p []kv) []kv { return append(p, kv{"oauth_token", ""}) }
		c.server = func(s *Case) { s.Keys.TokenSecret = "" }
	}},
	{"an empty oauth_verifier", "oauth-added-empty oauth_verifier", 0, func(c *client) {
		c.oauth = slices.DeleteFunc(c.oauth, func(p kv) bool { return p.name == "oauth_verifier" })
		c.params = func(p []kv) []kv { return append(p, kv{"oauth_verifier", ""}) }
	}},
	{"oauth_version that is not sent", "oauth-not-sent oauth_version", 0, func(c *client) {
		c.oauth = slices.DeleteFunc(c.oauth, func(p kv) bool { return p.name == "oauth_version" })
		c.params = func(p []kv) []kv { return append(p, kv{"oauth_version", "1.0"}) }
	}},
	{"oauth_callback that is not sent", "oauth-not-sent oauth_callback", 0, func(c *client) {
		c.params = func(p []kv) []kv { return append(p, kv{"oauth_callback", "oob"}) }
	}},
	{"oauth_callback encoded twice to sign it", "oauth-encoded-again oauth_callback", 0, func(c *client) {
		c.oauth = append(c.oauth, kv{"oauth_callback", "https://c.example/?a=b"})
		c.params = valuesOf("oauth_callback", percent("https://c.example/?a=b"))
	}},
	{"oauth_callback encoded twice to send it", "oauth-encoded-less oauth_callback", 0, func(c *client) {
		c.oauth = append(c.oauth, kv{"oauth_callback", percent("https://c.example/?a=b")})
		c.params = valuesOf("oauth_callback", "https://c.example/?a=b")
	}},
	{"oauth_token encoded twice to send it", "oauth-encoded-less oauth_token", 0, func(c *client) {
		c.params = valuesOf("oauth_token", "tok en")
	}},

	// The key.
	{"without the token's secret", "token-secret-left-out", hmacOnly, func(c *client) { c.token = "" }},
	{"without the consumer's secret", "consumer-secret-left-out", hmacOnly, func(c *client) { c.consumer = "" }},
	{"without &", "key-without-ampersand", hmacOnly, func(c *client) { c.key = func(a, b string) string { return a + b } }},
	{"without & and token", "key-without-ampersand", hmacOnly, func(c *client) {
		c.oauth = slices.DeleteFunc(c.oauth, func(p kv) bool { return p.name == "oauth_token" })
		c.server = func(s *Case) { s.Keys.TokenSecret = "" }
		c.key = func(a, _ string) string { return percent(a) }
	}},
	{"secrets not encoded", "secrets-not-encoded", hmacOnly, func(c *client) { c.key = func(a, b string) string { return a + "&" + b } }},
	{"secrets encoded twice", "secrets-encoded-twice", hmacOnly, func(c *client) { c.consumer, c.token = percent(c.consumer), percent(c.token) }},
	{"secrets swapped", "secrets-swapped", hmacOnly, func(c *client) { c.consumer, c.token = c.token, c.consumer }},
	{"the request token's secret", "request-token-secret", hmacOnly, func(c *client) {
		c.token = "request-secret"
		c.server = func(s *Case) { s.Keys.RequestTokenSecret = "request-secret" }
	}},
	{"the previous secret", "previous-secret", hmacOnly, func(c *client) {
		c.consumer = "previous-secret"
		c.server = func(s *Case) { s.Keys.PreviousSecret = "previous-secret" }
	}},
	{"a line end behind the secret", "secret-with-blank", hmacOnly, func(c *client) { c.consumer += "\n" }},
	{"a blank behind the token's secret", "secret-with-blank", hmacOnly, func(c *client) { c.token += " " }},
	{"without the secret's blank", "secret-with-blank", hmacOnly, func(c *client) {
		c.server = func(s *Case) { s.Keys.ConsumerSecret += "\n" }
	}},
	{"null for the token's secret", "token-secret-null", hmacOnly, func(c *client) { c.token = "null" }},
	{"the decoded secret", "secret-decoded", hmacOnly, func(c *client) {
		c.consumer = "\x01\x02\xff"
		c.server = func(s *Case) { s.Keys.ConsumerSecret = "0102ff" }
	}},
	{"the token in place of its secret", "key-as-secret", hmacOnly, func(c *client) { c.token = "tok%20en" }},
	{"the consumer's secret twice", "secret-used-twice", hmacOnly, func(c *client) { c.token = c.consumer }},

	// Method and form.
	{"another hash than the one named", "other-signature-method", hmacOnly, func(c *client) {
		c.signatureMethod = map[string]string{"HMAC-SHA1": "HMAC-SHA256", "HMAC-SHA256": "HMAC-SHA1"}[c.named()]
	}},
	{"another RSA hash than the one named", "other-signature-method", rsaOnly, func(c *client) { c.signatureMethod = "RSA-SHA1" }},
	{"another hash, and its name in the base string", "other-signature-method", hmacOnly, func(c *client) {
		c.signatureMethod = map[string]string{"HMAC-SHA1": "HMAC-SHA256", "HMAC-SHA256": "HMAC-SHA1"}[c.named()]
		c.params = valuesOf("oauth_signature_method", c.signatureMethod)
	}},
	{"PLAINTEXT under another name", "other-signature-method", hmacOnly, func(c *client) { c.signatureMethod = "PLAINTEXT" }},
	{"a method of the other kind of key", "signature-method-not-accepted", hmacOnly, func(c *client) {
		c.server = func(s *Case) { s.Keys = Keys{PublicKey: testKeys()[0].Public()} }
	}},
	{"a method that the consumer may not use", "signature-method-not-accepted", 0, func(c *client) {
		c.server = func(s *Case) { s.Keys.Methods = []string{"HMAC-SHA512", "RSA-SHA512"} }
	}},
	{"GET for POST", "http-method", 0, func(c *client) { c.signedMethod = "GET" }},
	{"the method in lower case", "http-method-lower-case", 0, func(c *client) { c.signedMethod = "post" }},
	{"hex", "signature-hex", 0, func(c *client) { c.signature = hex.EncodeToString }},
	{"base64 of hex", "signature-hex-in-base64", 0, func(c *client) {
		c.signature = func(raw []byte) string { return base64.StdEncoding.EncodeToString([]byte(hex.EncodeToString(raw))) }
	}},
	{"URL-safe base64", "signature-url-safe", 0, func(c *client) {
		untilIn(c, "+/")
		c.signature = base64.URLEncoding.EncodeToString
	}},
	{"URL-safe base64 without padding", "signature-url-safe+signature-padding-lost", 0, func(c *client) {
		untilIn(c, "+/")
		c.signature = base64.RawURLEncoding.EncodeToString
	}},
	{"no padding", "signature-padding-lost", 0, func(c *client) { c.signature = base64.RawStdEncoding.EncodeToString }},
	{"encoded twice", "signature-encoded-twice", 0, func(c *client) {
		c.signature = func(raw []byte) string { return percent(base64.StdEncoding.EncodeToString(raw)) }
	}},
	{"+ arrived as a space", "signature-plus-lost", 0, func(c *client) {
		untilIn(c, "+")
		c.signature = func(raw []byte) string {
			return strings.ReplaceAll(base64.StdEncoding.EncodeToString(raw), "+", " ")
		}
	}},
	{"a line end behind it", "signature-with-line-end", 0, func(c *client) {
		c.signature = func(raw []byte) string { return base64.StdEncoding.EncodeToString(raw) + "\n" }
	}},
	{"lines of 64", "signature-with-line-end", rsaOnly, func(c *client) {
		c.signature = func(raw []byte) string {
			s := base64.StdEncoding.EncodeToString(raw)
			return s[:64] + "\r\n" + s[64:]
		}
	}},
	{"HMAC's arguments swapped", "hmac-arguments-swapped", hmacOnly, func(c *client) {
		h := sha1.New
		if c.named() == "HMAC-SHA256" {
			h = sha256.New
		}
		c.sign = func(key, base string) []byte {
			m := hmac.New(h, []byte(base))
			m.Write([]byte(key))
			return m.Sum(nil)
		}
	}},
	{"RSA-PSS", "rsa-pss", rsaOnly, func(c *client) {
		c.sign = func(_, base string) []byte {
			sum := sha256.Sum256([]byte(base))
			signature, err := rsa.SignPSS(rand.Reader, testKeys()[0], crypto.SHA256, sum[:], nil)
			if err != nil {
				panic(err)
			}
			return signature
		}
	}},
	{"another RSA key of the consumer", "rsa-other-key", rsaOnly, func(c *client) { c.privateKey = 1 }},
	{"RSA over the digest", "rsa-over-digest", rsaOnly, func(c *client) {
		c.sign = func(_, base string) []byte {
			sum := sha256.Sum256([]byte(base))
			return signed256(string(sum[:]))
		}
	}},
	{"RSA over the hex digest", "rsa-over-digest", rsaOnly, func(c *client) {
		c.sign = func(_, base string) []byte {
			sum := sha256.Sum256([]byte(base))
			return signed256(hex.EncodeToString(sum[:]))
		}
	}},
	{"RSA of the bare digest", "rsa-bare-digest", rsaOnly, func(c *client) {
		c.sign = func(_, base string) []byte {
			sum := sha256.Sum256([]byte(base))
			signature, err := rsa.SignPKCS1v15(nil, testKeys()[0], 0, sum[:])
			if err != nil {
				panic(err)
			}
			return signature
		}
	}},

	// Pairs.
	{"TLS ended, and another port", "scheme+port-left-out", 0, func(c *client) {
		c.scheme, c.host, c.signedURL = "http", "api.example.com:8080", "https://api.example.com"+c.path
	}},
	{"TLS ended, and a stripped prefix", "scheme+path-prefix", 0, func(c *client) {
		c.signedURL = "https://" + c.host + "/public" + c.path
		c.scheme = "http"
		c.server = func(s *Case) { s.BaseURL = "/public" }
	}},
	{"TLS ended, and no query", "scheme+query-left-out", 0, func(c *client) {
		c.scheme, c.signedURL = "http", "https://"+c.host+c.path
		c.params = func(p []kv) []kv { return append(p[:7:7], p[len(p)-3:]...) }
	}},
	{"TLS ended, and no token secret", "scheme+token-secret-left-out", hmacOnly, func(c *client) {
		c.scheme, c.signedURL = "http", "https://"+c.host+c.path
		c.token = ""
	}},
	{"no query, and no token secret", "query-left-out+token-secret-left-out", hmacOnly, func(c *client) {
		c.params = func(p []kv) []kv { return append(p[:7:7], p[len(p)-3:]...) }
		c.token = ""
	}},
	{"GET for POST, and no form", "http-method+form-left-out", 0, func(c *client) {
		c.signedMethod = "GET"
		c.params = func(p []kv) []kv { return p[:len(p)-3] }
	}},
	{"hex, and http", "signature-hex+scheme", 0, func(c *client) {
		c.signature = hex.EncodeToString
		c.signedURL = "http://" + c.host + c.path
	}},
	{"no version, and sorted before encoding", "oauth-left-out oauth_version+sorted-before-encoding", 0, func(c *client) {
		c.params, c.unencoded = dropped("oauth_version"), true
	}},
	{"GET for POST, and http", "scheme+http-method", 0, func(c *client) {
		c.signedMethod, c.signedURL = "GET", "http://"+c.host+c.path
	}},
}

func signed256(text string) []byte {
	sum := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(nil, testKeys()[0], crypto.SHA256, sum[:])
	if err != nil {
		panic(err)
	}
	return signature
}

func lowerPercent(s string) string {
	var b strings.Builder
	text := percent(s)
	for i := 0; i < len(text); i++ {
		if text[i] == '%' {
			b.WriteString(strings.ToLower(text[i : i+3]))
			i += 2
			continue
		}
		b.WriteByte(text[i])
	}
	return b.String()
}

// valuesOf gives a parameter another value.
func valuesOf(name, value string) func([]kv) []kv {
	return func(p []kv) []kv {
		for i := range p {
			if p[i].name == name {
				p[i].value = value
			}
		}
		return p
	}
}

func dropped(name string) func([]kv) []kv {
	return func(p []kv) []kv { return slices.DeleteFunc(p, func(p kv) bool { return p.name == name }) }
}

// untilIn chooses a nonce with which the signature has all these characters.
func untilIn(c *client, characters string) {
	for nonce := 'a'; ; nonce++ {
		for i := range c.oauth {
			if c.oauth[i].name == "oauth_nonce" {
				c.oauth[i].value = string(nonce) + c.oauth[i].value
			}
		}
		signature := c.signed()
		if !strings.ContainsFunc(characters, func(r rune) bool { return !strings.ContainsRune(signature, r) }) {
			return
		}
	}
}

// described joins the names of the mistakes with their parameters.
func described(mistakes []Mistake) string {
	var list []string
	for _, m := range mistakes {
		list = append(list, strings.TrimSpace(m.Name+" "+m.Parameter))
	}
	return strings.Join(list, "+")
}

// TestEachMistakeIsNamed: a client with one of the mistakes, or a usual pair, is told exactly that.
func TestEachMistakeIsNamed(t *testing.T) {
	t.Parallel()
	for _, c := range signerMistakes {
		for _, method := range []string{"HMAC-SHA1", "HMAC-SHA256", "RSA-SHA256"} {
			isRSA := strings.HasPrefix(method, "RSA")
			if c.only == hmacOnly && isRSA || c.only == rsaOnly && !isRSA {
				continue
			}
			t.Run(c.name+"/"+method, func(t *testing.T) {
				t.Parallel()
				client := newClient(method)
				c.wrong(client)
				d := Diagnose(t.Context(), client.seen(t))
				if got := described(d.Mistakes); got != c.want || d.Valid != (c.want == "") || d.Cut {
					t.Errorf("says %q, want %q; valid %t, cut %t\nserver %s\nclient %s\nfound  %s",
						got, c.want, d.Valid, d.Cut, d.BaseString, client.base(), d.ClientBaseString)
				}
				checkText(t, &d)
			})
		}
	}
}

func checkText(t *testing.T, d *Diagnosis) {
	t.Helper()
	text := d.Text()
	for _, bad := range []string{"{", "  ", testConsumerSecret, testTokenSecret, percent(testConsumerSecret)} {
		if strings.Contains(text, bad) {
			t.Errorf("the text holds %q: %s", bad, text)
		}
	}
}
