package caddymodule

import (
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/refusal"
)

// maxCookies is how many cookies a request may have where one of them matters: Go finds none among 3,000 and
// more.
const maxCookies = 2000

// checkValues refuses a request of which the matchers see another value than some servers: whatever
// the option paths says, since no other reading of these can be judged.
func (s sight) checkValues(r *http.Request) *refusal.Problem {
	if s.host && !plainHost(r.Host) {
		return refusal.Host
	}
	if s.query { // Go's parser, and so Caddy, gives up on more, empty ones counted
		if strings.Count(r.URL.RawQuery, "&") >= oauth1.MaxParams {
			return refusal.TooManyParameters
		}
		if name := repeated(s.parameters, r.URL.RawQuery); name != "" {
			return refusal.Repeated.About("parameter " + name)
		}
	}
	if len(s.cookies) == 0 {
		return nil
	}
	count := 0
	for _, field := range r.Header["Cookie"] {
		count += strings.Count(field, ";") + 1
	}
	if count > maxCookies {
		return refusal.Cookies
	}
	for _, name := range s.cookies {
		cookies := r.CookiesNamed(name)
		if slices.ContainsFunc(cookies, func(c *http.Cookie) bool { return c.Value != cookies[0].Value }) {
			return refusal.Repeated.About("cookie " + name)
		}
	}
	return nil
}

// repeated returns one of the names that a query gives two values.
func repeated(names []string, query string) string {
	if len(names) == 0 {
		return ""
	}
	first := make(map[string]string, len(names))
	for piece := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(piece, "=")
		name, err := url.QueryUnescape(name)
		if err != nil || !slices.Contains(names, name) {
			continue
		}
		if earlier, ok := first[name]; ok && earlier != value {
			return name
		}
		first[name] = value
	}
	return ""
}

// plainHost reports whether a host is a name or an address, with a port or without: the final dot that a
// name may have, and a second port, are dropped by some servers.
func plainHost(host string) bool {
	name, port := host, ""
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		name, port = host[:i], host[i+1:]
		if port == "" || len(port) > 5 || strings.Trim(port, "0123456789") != "" {
			return false
		}
	}
	if address, ok := strings.CutPrefix(name, "["); ok {
		address, ok = strings.CutSuffix(address, "]")
		return ok && address != "" && strings.Trim(address, "0123456789abcdefABCDEF:.") == ""
	}
	return name != "" && name == textproto.TrimString(name) && !strings.HasSuffix(name, ".") &&
		!strings.ContainsFunc(name, func(c rune) bool { return !hostLetter(c) })
}

// hostLetter: underscores are in the names of many internal hosts.
func hostLetter(c rune) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.'
}
