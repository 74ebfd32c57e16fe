package doctortest

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
	"strconv"
	"strings"
)

// Only says in which signature methods a mistake makes sense.
type Only uint8

const (
	anyMethod Only = iota
	hmacOnly
	rsaOnly
)

// A Mistake is what a client does differently.
type Mistake struct {
	Name string
	// Want are the names of the mistakes that the doctor finds, joined by "+", each with its
	// parameter behind it. It is empty for a client that makes none.
	Want  string
	Only  Only
	Wrong func(*Client)
}

// Makes reports whether a client with a signature method can make the mistake.
func (m *Mistake) Makes(method string) bool {
	isRSA := strings.HasPrefix(method, "RSA")
	return m.Only == anyMethod || isRSA == (m.Only == rsaOnly)
}

// Mistakes are those that end in a wrong signature, and the usual pairs of them.
var Mistakes = []Mistake{
	{"nothing", "", 0, func(c *Client) {}},

	// The origin.
	{"http for https", "scheme", 0, func(c *Client) { c.SignedURL = "http://" + c.Host + c.Path }},
	{"https for http", "scheme", 0, func(c *Client) { c.Scheme, c.SignedURL = "http", "https://"+c.Host+c.Path }},
	{"wss", "scheme-websocket", 0, func(c *Client) { c.SignedURL = "wss://" + c.Host + c.Path }},
	{"ws", "scheme-websocket", 0, func(c *Client) { c.Scheme, c.SignedURL = "http", "ws://"+c.Host+c.Path }},
	{"the Host header where base_url is set", "host-header", 0, func(c *Client) {
		c.Host, c.Server.BaseURL = "internal:8443", "https://api.example.com"
	}},
	{"X-Forwarded-Host of a proxy that is not trusted", "host-forwarded", 0, func(c *Client) {
		c.SignedURL = "https://public.example.com" + c.Path
		c.ForwardedHost = "Public.example.com"
	}},
	{"the host of base_url", "host-base-url", 0, func(c *Client) {
		c.SignedURL = "https://base.example.com" + c.Path
		c.Server.OtherBaseURL = "https://base.example.com"
	}},
	{"the default port", "port-added", 0, func(c *Client) { c.SignedURL = "https://" + c.Host + ":443" + c.Path }},
	{"no port", "port-left-out", 0, func(c *Client) {
		c.Host = "api.example.com:8443"
		c.SignedURL = "https://api.example.com" + c.Path
	}},
	{"no port of an address", "port-left-out", 0, func(c *Client) {
		c.Host = "[::1]:8443"
		c.SignedURL = "https://[::1]" + c.Path
	}},
	{"the host in upper case", "host-upper-case", 0, func(c *Client) { c.SignedURL = "https://API.EXAMPLE.COM" + c.Path }},
	{"the host as it was sent", "host-upper-case", 0, func(c *Client) {
		c.Host = "Api.Example.com"
	}},
	{"www. more", "host-www", 0, func(c *Client) { c.SignedURL = "https://www." + c.Host + c.Path }},
	{"www. less", "host-www", 0, func(c *Client) {
		c.SignedURL = "https://" + c.Host + c.Path
		c.Host = "www." + c.Host
	}},

	// The path.
	{"the rewritten path", "path-rewritten", 0, func(c *Client) {
		c.SignedURL = "https://" + c.Host + "/internal/items"
		c.Server.RewrittenTarget = "/internal/items?x=1"
	}},
	{"the path without base_url's", "path-prefix", 0, func(c *Client) {
		c.Server.BaseURL = "https://api.example.com/public"
	}},
	{"base_url's path twice", "path-prefix", 0, func(c *Client) {
		c.SignedURL = "https://" + c.Host + "/public/public" + c.Path
		c.Server.BaseURL = "https://api.example.com/public"
	}},
	{"a path whose prefix a proxy adds", "path-prefix", 0, func(c *Client) {
		c.SignedURL = "https://" + c.Host + strings.TrimPrefix(c.Path, "/v1")
	}},
	{"a slash more", "path-trailing-slash", 0, func(c *Client) { c.SignedURL = "https://" + c.Host + c.Path + "/" }},
	{"a slash less", "path-trailing-slash", 0, func(c *Client) {
		c.SignedURL = "https://" + c.Host + c.Path
		c.Path += "/"
	}},
	{"the decoded path", "path-decoded", 0, func(c *Client) {
		c.SignedURL = "https://" + c.Host + "/v1/Café/2/it's ready"
	}},
	{"the path encoded twice", "path-encoded-twice", 0, func(c *Client) {
		c.Path = "/a%20b/%2F"
		c.SignedURL = "https://" + c.Host + "/a%2520b/%252F"
	}},
	{"the path encoded otherwise", "path-reencoded", 0, func(c *Client) {
		c.SignedURL = "https://" + c.Host + strings.ReplaceAll(c.Path, "'", "%27")
	}},
	{"%2f for %2F", "path-escape-case", 0, func(c *Client) {
		c.SignedURL = "https://" + c.Host + "/v1/Caf%c3%a9%2f2/it's%20ready"
	}},
	{"%2F for %2f", "path-escape-case", 0, func(c *Client) {
		c.SignedURL = "https://" + c.Host + "/a%2Fb"
		c.Path = "/a%2fb"
	}},
	{"the path in lower case", "path-lower-case", 0, func(c *Client) {
		c.Path = "/V1/Items"
		c.SignedURL = "https://" + c.Host + "/v1/items"
	}},
	{"no path", "path-left-out", 0, func(c *Client) { c.Path, c.SignedURL = "/", "https://"+c.Host }},

	// The query.
	{"without the query", "query-left-out", 0, func(c *Client) {
		c.Params = func(p []Param) []Param { return append(p[:7:7], p[len(p)-3:]...) }
	}},
	{"without query and form", "only-oauth-signed", 0, func(c *Client) { c.Params = func(p []Param) []Param { return p[:7] } }},
	{"the query in the URL too", "query-in-url", 0, func(c *Client) {
		c.SignedURL = "https://" + c.Host + c.Path + "?" + c.Query
	}},
	{"the query in the URL only", "query-in-url", 0, func(c *Client) {
		c.SignedURL = "https://" + c.Host + c.Path + "?" + c.Query
		c.Params = func(p []Param) []Param { return append(p[:7:7], p[len(p)-3:]...) }
	}},
	{"decoded once more", "values-decoded-twice", 0, func(c *Client) {
		c.Params = valuesOf("x[y]", "1+2")
	}},
	{"decoded once less", "values-not-decoded", 0, func(c *Client) {
		c.Params = func(p []Param) []Param {
			p = p[:7]
			for piece := range strings.SplitSeq(c.Query+"&"+c.Form, "&") {
				name, value, _ := strings.Cut(piece, "=")
				p = append(p, Param{name, value})
			}
			return p
		}
	}},
	{"+ taken literally", "plus-literal", 0, func(c *Client) {
		c.Params = func(p []Param) []Param { return valuesOf("text", "x+y+z")(valuesOf("name", "a+b")(p)) }
	}},
	{"sorted before encoding", "sorted-before-encoding", 0, func(c *Client) { c.Unencoded = true }},
	{"sorted as pairs", "sorted-as-pairs", 0, func(c *Client) {
		c.Compare = func(a, b Param) int { return strings.Compare(a.Name+"="+a.Value, b.Name+"="+b.Value) }
	}},
	{"sorted by name only", "sorted-by-name-only", 0, func(c *Client) {
		c.Compare = func(a, b Param) int { return strings.Compare(a.Name, b.Name) }
	}},
	{"sorted without regard to case", "sorted-ignoring-case", 0, func(c *Client) {
		c.Compare = func(a, b Param) int {
			if n := strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name)); n != 0 {
				return n
			}
			return strings.Compare(a.Value, b.Value)
		}
	}},
	{"not sorted", "not-sorted", 0, func(c *Client) {
		slices.SortFunc(c.OAuth, func(a, b Param) int { return strings.Compare(a.Name, b.Name) })
		c.Compare = func(a, b Param) int { return 0 }
	}},
	{"the last of repeated values", "repeats-dropped", 0, func(c *Client) {
		c.Params = func(p []Param) []Param {
			return slices.DeleteFunc(p, func(p Param) bool { return p.Name == "tags" && p.Value != "c" })
		}
	}},
	{"the first of repeated values", "repeats-dropped", 0, func(c *Client) {
		c.Params = func(p []Param) []Param {
			return slices.DeleteFunc(p, func(p Param) bool { return p.Name == "tags" && p.Value != "b" })
		}
	}},
	{"without empty values", "empty-values-dropped", 0, func(c *Client) {
		c.Params = func(p []Param) []Param { return slices.DeleteFunc(p, func(p Param) bool { return p.Value == "" }) }
	}},
	{"names without =", "equals-sign-dropped", 0, func(c *Client) {
		c.Finish = func(base string) string {
			return strings.NewReplacer("e%3D%26", "e%26", "flag%3D%26", "flag%26").Replace(base)
		}
	}},
	{"brackets not encoded", "brackets-not-encoded", 0, func(c *Client) {
		c.Encode = func(s string) string { return strings.NewReplacer("%5B", "[", "%5D", "]").Replace(Percent(s)) }
	}},
	{"names without brackets", "brackets-dropped", 0, func(c *Client) {
		c.Query = "ids%5B%5D=1&ids%5B%5D=2"
		c.Params = func(p []Param) []Param {
			for i := range p {
				p[i].Name = strings.TrimSuffix(p[i].Name, "[]")
			}
			return p
		}
	}},
	{"brackets that were not sent", "brackets-added", 0, func(c *Client) {
		c.Params = func(p []Param) []Param {
			for i := range p {
				if p[i].Name == "tags" {
					p[i].Name = "tags[]"
				}
			}
			return p
		}
	}},
	{"a space as +", "space-as-plus", 0, func(c *Client) { c.Encode = url.QueryEscape }},
	{"encodeURIComponent", "encoded-as-uri-component", 0, func(c *Client) {
		c.Encode = func(s string) string { return strings.ReplaceAll(Percent(s), "%27", "'") }
	}},
	{"the slash not encoded", "slash-not-encoded", 0, func(c *Client) {
		c.Encode = func(s string) string { return strings.ReplaceAll(Percent(s), "%2F", "/") }
	}},
	{"the tilde encoded", "tilde-encoded", 0, func(c *Client) {
		c.Encode = func(s string) string { return strings.ReplaceAll(Percent(s), "~", "%7E") }
	}},
	{"lower-case digits", "escapes-in-lower-case", 0, func(c *Client) { c.Encode = lowerPercent }},
	{"lower-case digits everywhere", "escapes-in-lower-case", 0, func(c *Client) {
		c.Path = "/items"
		c.Encode, c.Outer, c.Equals, c.And = lowerPercent, lowerPercent, "%3d", "%26"
		c.Finish = func(base string) string {
			return strings.Replace(base, "%3A%2F%2Fapi.example.com%2Fitems", "%3a%2f%2fapi.example.com%2fitems", 1)
		}
	}},
	{"parameters encoded once", "parameters-encoded-once", 0, func(c *Client) { c.Outer = func(s string) string { return s } }},
	{"parameters encoded three times", "parameters-encoded-thrice", 0, func(c *Client) {
		c.Outer = func(s string) string { return Percent(Percent(s)) }
	}},
	{"all parameters encoded once more", "parameters-encoded-thrice", 0, func(c *Client) {
		c.Outer, c.Equals, c.And = func(s string) string { return Percent(Percent(s)) }, "%253D", "%2526"
	}},
	{"the joined parameters not encoded", "parts-not-encoded", 0, func(c *Client) {
		c.Outer, c.Equals, c.And = func(s string) string { return s }, "=", "&"
	}},
	{"the URL not encoded", "url-not-encoded", 0, func(c *Client) {
		c.Finish = func(base string) string {
			address := c.Scheme + "://" + c.Host + c.Path
			return strings.Replace(base, Percent(address), address, 1)
		}
	}},

	// The body.
	{"without the form", "form-left-out", 0, func(c *Client) { c.Params = func(p []Param) []Param { return p[:len(p)-3] } }},
	{"a text body as a form", "body-signed", 0, func(c *Client) {
		c.Form, c.Body, c.ContentType = "", "a=1&b=2", "text/plain"
		c.Params = func(p []Param) []Param { return append(p, Param{"a", "1"}, Param{"b", "2"}) }
	}},
	{"a JSON body as a form", "body-signed", 0, func(c *Client) {
		c.Form, c.Body, c.ContentType = "", `{"a":1}`, "application/json"
		c.Params = func(p []Param) []Param { return append(p, Param{`{"a":1}`, ""}) }
	}},
	{"a JSON body's fields", "json-signed", 0, func(c *Client) {
		c.Form, c.Body, c.ContentType = "", `{"a":1,"b":"x y","c":[1]}`, "application/json"
		c.Params = func(p []Param) []Param { return append(p, Param{"a", "1"}, Param{"b", "x y"}) }
	}},
	{"a multipart body's fields", "multipart-signed", 0, func(c *Client) {
		c.Form = ""
		c.Body = "--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n" +
			"--B\r\nContent-Disposition: form-data; name=\"f\"; filename=\"f\"\r\n\r\n2\r\n--B--\r\n"
		c.ContentType = "multipart/form-data; boundary=B"
		c.Params = func(p []Param) []Param { return append(p, Param{"a", "1"}) }
	}},
	{"signed in latin-1, sent in UTF-8", "charset-latin1", 0, func(c *Client) {
		c.Form, c.Query = "", "Z=caf%C3%A9"
		c.Params = valuesOf("Z", "caf\xe9")
	}},
	{"signed in UTF-8, sent in latin-1", "charset-latin1", 0, func(c *Client) {
		c.Form = "Z2=caf%E9"
		c.Params = valuesOf("Z2", "café")
	}},
	{"NFC for NFD", "unicode-form", 0, func(c *Client) { c.Params = valuesOf("u", "café") }},
	{"NFD for NFC", "unicode-form", 0, func(c *Client) {
		c.Query = "Z=caf%C3%A9"
		c.Params = valuesOf("Z", "cafe\u0301")
	}},

	// The protocol's parameters.
	{"the realm", "realm-signed", 0, func(c *Client) { c.Params = func(p []Param) []Param { return append(p, Param{"realm", c.Realm}) } }},
	{"an empty signature", "signature-signed", 0, func(c *Client) {
		c.Params = func(p []Param) []Param { return append(p, Param{"oauth_signature", ""}) }
	}},
	{"without oauth_version", "oauth-left-out oauth_version", 0, func(c *Client) { c.Params = dropped("oauth_version") }},
	{"without oauth_token", "oauth-left-out oauth_token", 0, func(c *Client) { c.Params = dropped("oauth_token") }},
	{"without oauth_verifier", "oauth-left-out oauth_verifier", 0, func(c *Client) { c.Params = dropped("oauth_verifier") }},
	{"without oauth_nonce", "oauth-left-out oauth_nonce", 0, func(c *Client) { c.Params = dropped("oauth_nonce") }},
	{"without oauth_callback", "oauth-left-out oauth_callback", 0, func(c *Client) {
		c.OAuth = append(c.OAuth, Param{"oauth_callback", "https://c.example/?a=b"})
		c.Params = dropped("oauth_callback")
	}},
	{"without oauth_body_hash", "oauth-left-out oauth_body_hash", 0, func(c *Client) {
		c.Form, c.Body, c.ContentType = "", `{"a":1}`, "application/json"
		c.OAuth = append(c.OAuth, Param{"oauth_body_hash", c.BodyHash()})
		c.Params = dropped("oauth_body_hash")
	}},
	{"an empty oauth_callback", "oauth-added-empty oauth_callback", 0, func(c *Client) {
		c.Params = func(p []Param) []Param { return append(p, Param{"oauth_callback", ""}) }
	}},
	{"an empty oauth_body_hash", "oauth-added-empty oauth_body_hash", 0, func(c *Client) {
		c.Params = func(p []Param) []Param { return append(p, Param{"oauth_body_hash", ""}) }
	}},
	{"an empty oauth_token", "oauth-added-empty oauth_token", hmacOnly, func(c *Client) {
		c.OAuth = slices.DeleteFunc(c.OAuth, func(p Param) bool { return p.Name == "oauth_token" })
		c.TokenSecret = ""
		c.Params = func(p []Param) []Param { return append(p, Param{"oauth_token", ""}) }
	}},
	{"an empty oauth_verifier", "oauth-added-empty oauth_verifier", 0, func(c *Client) {
		c.OAuth = slices.DeleteFunc(c.OAuth, func(p Param) bool { return p.Name == "oauth_verifier" })
		c.Params = func(p []Param) []Param { return append(p, Param{"oauth_verifier", ""}) }
	}},
	{"oauth_version that is not sent", "oauth-not-sent oauth_version", 0, func(c *Client) {
		c.OAuth = slices.DeleteFunc(c.OAuth, func(p Param) bool { return p.Name == "oauth_version" })
		c.Params = func(p []Param) []Param { return append(p, Param{"oauth_version", "1.0"}) }
	}},
	{"oauth_callback that is not sent", "oauth-not-sent oauth_callback", 0, func(c *Client) {
		c.Params = func(p []Param) []Param { return append(p, Param{"oauth_callback", "oob"}) }
	}},
	{"oauth_callback encoded twice to sign it", "oauth-encoded-again oauth_callback", 0, func(c *Client) {
		c.OAuth = append(c.OAuth, Param{"oauth_callback", "https://c.example/?a=b"})
		c.Params = valuesOf("oauth_callback", Percent("https://c.example/?a=b"))
	}},
	{"oauth_callback encoded twice to send it", "oauth-encoded-less oauth_callback", 0, func(c *Client) {
		c.OAuth = append(c.OAuth, Param{"oauth_callback", Percent("https://c.example/?a=b")})
		c.Params = valuesOf("oauth_callback", "https://c.example/?a=b")
	}},
	{"oauth_token encoded twice to send it", "oauth-encoded-less oauth_token", 0, func(c *Client) {
		c.Params = valuesOf("oauth_token", decoded(c.Server.Token))
	}},

	// The key.
	{"without the token's secret", "token-secret-left-out", hmacOnly, func(c *Client) { c.TokenSecret = "" }},
	{"without the consumer's secret", "consumer-secret-left-out", hmacOnly, func(c *Client) { c.ConsumerSecret = "" }},
	{"without &", "key-without-ampersand", hmacOnly, func(c *Client) { c.Key = func(a, b string) string { return a + b } }},
	{"without & and token", "key-without-ampersand", hmacOnly, func(c *Client) {
		c.OAuth = slices.DeleteFunc(c.OAuth, func(p Param) bool { return p.Name == "oauth_token" })
		c.Key = func(a, _ string) string { return Percent(a) }
	}},
	{"secrets not encoded", "secrets-not-encoded", hmacOnly, func(c *Client) { c.Key = func(a, b string) string { return a + "&" + b } }},
	{"secrets encoded twice", "secrets-encoded-twice", hmacOnly, func(c *Client) { c.ConsumerSecret, c.TokenSecret = Percent(c.ConsumerSecret), Percent(c.TokenSecret) }},
	{"secrets swapped", "secrets-swapped", hmacOnly, func(c *Client) { c.ConsumerSecret, c.TokenSecret = c.TokenSecret, c.ConsumerSecret }},
	{"the request token's secret", "request-token-secret", hmacOnly, func(c *Client) {
		c.TokenSecret = c.Server.RequestTokenSecret
	}},
	{"the previous secret", "previous-secret", hmacOnly, func(c *Client) {
		c.ConsumerSecret = c.Server.PreviousSecret
	}},
	{"a line end behind the secret", "secret-with-blank", hmacOnly, func(c *Client) { c.ConsumerSecret += "\n" }},
	{"a blank behind the token's secret", "secret-with-blank", hmacOnly, func(c *Client) { c.TokenSecret += " " }},
	{"without the secret's blank", "secret-with-blank", hmacOnly, func(c *Client) {
		c.Server.ConsumerSecret += " "
	}},
	{"null for the token's secret", "token-secret-null", hmacOnly, func(c *Client) { c.TokenSecret = "null" }},
	{"the decoded secret", "secret-decoded", hmacOnly, func(c *Client) {
		c.ConsumerSecret = "\x01\x02\xff"
		c.Server.ConsumerSecret = "0102ff"
	}},
	{"the token in place of its secret", "key-as-secret", hmacOnly, func(c *Client) { c.TokenSecret = c.Server.Token }},
	{"the consumer's secret twice", "secret-used-twice", hmacOnly, func(c *Client) { c.TokenSecret = c.ConsumerSecret }},

	// Method and form.
	{"another hash than the one named", "other-signature-method", hmacOnly, func(c *Client) {
		c.SignatureMethod = map[string]string{"HMAC-SHA1": "HMAC-SHA256", "HMAC-SHA256": "HMAC-SHA1"}[c.Named()]
	}},
	{"another RSA hash than the one named", "other-signature-method", rsaOnly, func(c *Client) { c.SignatureMethod = "RSA-SHA1" }},
	{"another hash, and its name in the base string", "other-signature-method", hmacOnly, func(c *Client) {
		c.SignatureMethod = map[string]string{"HMAC-SHA1": "HMAC-SHA256", "HMAC-SHA256": "HMAC-SHA1"}[c.Named()]
		c.Params = valuesOf("oauth_signature_method", c.SignatureMethod)
	}},
	{"PLAINTEXT under another name", "other-signature-method", hmacOnly, func(c *Client) { c.SignatureMethod = "PLAINTEXT" }},
	{"a method of the other kind of key", "signature-method-not-accepted", hmacOnly, func(c *Client) {
		c.Server.RSA = true
	}},
	{"a method that the consumer may not use", "signature-method-not-accepted", 0, func(c *Client) {
		c.Server.Methods = []string{"HMAC-SHA512"}
		if c.Server.RSA {
			c.Server.Methods = []string{"RSA-SHA512"}
		}
	}},
	{"GET for POST", "http-method", 0, func(c *Client) { c.SignedMethod = "GET" }},
	{"the method in lower case", "http-method-lower-case", 0, func(c *Client) { c.SignedMethod = "post" }},
	{"hex", "signature-hex", 0, func(c *Client) { c.Signature = hex.EncodeToString }},
	{"base64 of hex", "signature-hex-in-base64", 0, func(c *Client) {
		c.Signature = func(raw []byte) string { return base64.StdEncoding.EncodeToString([]byte(hex.EncodeToString(raw))) }
	}},
	{"URL-safe base64", "signature-url-safe", 0, func(c *Client) {
		untilIn(c, "+/")
		c.Signature = base64.URLEncoding.EncodeToString
	}},
	{"URL-safe base64 without padding", "signature-url-safe+signature-padding-lost", 0, func(c *Client) {
		untilIn(c, "+/")
		c.Signature = base64.RawURLEncoding.EncodeToString
	}},
	{"no padding", "signature-padding-lost", 0, func(c *Client) { c.Signature = base64.RawStdEncoding.EncodeToString }},
	{"encoded twice", "signature-encoded-twice", 0, func(c *Client) {
		c.Signature = func(raw []byte) string { return Percent(base64.StdEncoding.EncodeToString(raw)) }
	}},
	{"+ arrived as a space", "signature-plus-lost", 0, func(c *Client) {
		untilIn(c, "+")
		c.Signature = func(raw []byte) string {
			return strings.ReplaceAll(base64.StdEncoding.EncodeToString(raw), "+", " ")
		}
	}},
	{"+ at its beginning arrived as a space", "signature-plus-lost", hmacOnly, func(c *Client) {
		until(c, func(signature string) bool { return signature[0] == '+' })
		c.Signature = func(raw []byte) string {
			return strings.ReplaceAll(base64.StdEncoding.EncodeToString(raw), "+", " ")
		}
	}},
	{"a line end behind it", "signature-with-line-end", 0, func(c *Client) {
		c.Signature = func(raw []byte) string { return base64.StdEncoding.EncodeToString(raw) + "\n" }
	}},
	{"lines of 64", "signature-with-line-end", rsaOnly, func(c *Client) {
		c.Signature = func(raw []byte) string {
			s := base64.StdEncoding.EncodeToString(raw)
			return s[:64] + "\r\n" + s[64:]
		}
	}},
	{"HMAC's arguments swapped", "hmac-arguments-swapped", hmacOnly, func(c *Client) {
		h := sha1.New
		if c.Named() == "HMAC-SHA256" {
			h = sha256.New
		}
		c.Sign = func(key, base string) []byte {
			m := hmac.New(h, []byte(base))
			m.Write([]byte(key))
			return m.Sum(nil)
		}
	}},
	{"RSA-PSS", "rsa-pss", rsaOnly, func(c *Client) {
		c.Sign = func(_, base string) []byte {
			sum := sha256.Sum256([]byte(base))
			signature, err := rsa.SignPSS(rand.Reader, Keys()[0], crypto.SHA256, sum[:], nil)
			if err != nil {
				panic(err)
			}
			return signature
		}
	}},
	{"another RSA key of the consumer", "rsa-other-key", rsaOnly, func(c *Client) { c.PrivateKey = 1 }},
	{"RSA over the digest", "rsa-over-digest", rsaOnly, func(c *Client) {
		c.Sign = func(_, base string) []byte {
			sum := sha256.Sum256([]byte(base))
			return signed256(string(sum[:]))
		}
	}},
	{"RSA over the hex digest", "rsa-over-digest", rsaOnly, func(c *Client) {
		c.Sign = func(_, base string) []byte {
			sum := sha256.Sum256([]byte(base))
			return signed256(hex.EncodeToString(sum[:]))
		}
	}},
	{"RSA of the bare digest", "rsa-bare-digest", rsaOnly, func(c *Client) {
		c.Sign = func(_, base string) []byte {
			sum := sha256.Sum256([]byte(base))
			signature, err := rsa.SignPKCS1v15(nil, Keys()[0], 0, sum[:])
			if err != nil {
				panic(err)
			}
			return signature
		}
	}},

	// Pairs.
	{"TLS ended, and another port", "scheme+port-left-out", 0, func(c *Client) {
		c.Scheme, c.Host, c.SignedURL = "http", "api.example.com:8080", "https://api.example.com"+c.Path
	}},
	{"TLS ended, and a stripped prefix", "scheme+path-prefix", 0, func(c *Client) {
		c.Server.BaseURL = "http://api.example.com/public"
	}},
	{"TLS ended, and no query", "scheme+query-left-out", 0, func(c *Client) {
		c.Scheme, c.SignedURL = "http", "https://"+c.Host+c.Path
		c.Params = func(p []Param) []Param { return append(p[:7:7], p[len(p)-3:]...) }
	}},
	{"TLS ended, and no token secret", "scheme+token-secret-left-out", hmacOnly, func(c *Client) {
		c.Scheme, c.SignedURL = "http", "https://"+c.Host+c.Path
		c.TokenSecret = ""
	}},
	{"no query, and no token secret", "query-left-out+token-secret-left-out", hmacOnly, func(c *Client) {
		c.Params = func(p []Param) []Param { return append(p[:7:7], p[len(p)-3:]...) }
		c.TokenSecret = ""
	}},
	{"GET for POST, and no form", "http-method+form-left-out", 0, func(c *Client) {
		c.SignedMethod = "GET"
		c.Params = func(p []Param) []Param { return p[:len(p)-3] }
	}},
	{"hex, and http", "signature-hex+scheme", 0, func(c *Client) {
		c.Signature = hex.EncodeToString
		c.SignedURL = "http://" + c.Host + c.Path
	}},
	{"no version, and sorted before encoding", "oauth-left-out oauth_version+sorted-before-encoding", 0, func(c *Client) {
		c.Params, c.Unencoded = dropped("oauth_version"), true
	}},
	{"GET for POST, and http", "scheme+http-method", 0, func(c *Client) {
		c.SignedMethod, c.SignedURL = "GET", "http://"+c.Host+c.Path
	}},
}

func signed256(text string) []byte {
	sum := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(nil, Keys()[0], crypto.SHA256, sum[:])
	if err != nil {
		panic(err)
	}
	return signature
}

func lowerPercent(s string) string {
	var b strings.Builder
	text := Percent(s)
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
func valuesOf(name, value string) func([]Param) []Param {
	return func(p []Param) []Param {
		for i := range p {
			if p[i].Name == name {
				p[i].Value = value
			}
		}
		return p
	}
}

func dropped(name string) func([]Param) []Param {
	return func(p []Param) []Param { return slices.DeleteFunc(p, func(p Param) bool { return p.Name == name }) }
}

// untilIn chooses a nonce with which the signature has all these characters.
func untilIn(c *Client, characters string) {
	until(c, func(signature string) bool {
		return !strings.ContainsFunc(characters, func(r rune) bool { return !strings.ContainsRune(signature, r) })
	})
}

// until chooses a nonce with which the signature is as it should be.
func until(c *Client, done func(signature string) bool) {
	nonce := c.value("oauth_nonce")
	for i := 0; !done(c.SignatureText()); i++ {
		c.Set("oauth_nonce", nonce+strconv.Itoa(i))
	}
}

func decoded(s string) string {
	text, err := url.PathUnescape(s)
	if err != nil {
		panic(err)
	}
	return text
}
