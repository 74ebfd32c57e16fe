package caddymodule

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// outOfBand is the callback of a consumer that can't receive one (OAuth Core 1.0a section 6.1.1).
const outOfBand = "oob"

// checkCallback refuses a callback that is harmful to a browser, or that the consumer did not
// register. It is compared as a URL, but it is not normalized: the browser gets it unchanged.
func checkCallback(c *tokenstore.Consumer, callback string) error {
	u, err := parseCallback(callback)
	if err != nil {
		return err
	}
	if len(c.Callbacks) == 0 {
		if u.Scheme != "http" && u.Scheme != "https" {
			return reason("the scheme %s must be registered with the consumer", strconv.Quote(u.Scheme))
		}
		return nil
	}
	if !registeredCallback(c, callback) {
		return reason("it is not among those that the consumer registered")
	}
	return nil
}

// registeredCallback reports whether the consumer registered the callback. parseCallback has
// accepted the callback before.
func registeredCallback(c *tokenstore.Consumer, callback string) bool {
	asked := inParts(callback, c.CallbacksIgnoreQuery)
	for _, pattern := range c.Callbacks {
		prefix, open := strings.CutSuffix(pattern, "*")
		// Old stores may hold patterns with * and ?; new ones are refused.
		open = open && !strings.Contains(pattern, "?")
		registered := inParts(prefix, c.CallbacksIgnoreQuery)
		switch {
		case asked.origin != registered.origin:
		case asked.rest == registered.rest && !open:
			return true
		case open && strings.HasPrefix(asked.rest, registered.rest) && !climbs(asked.rest):
			return true
		}
	}
	return false
}

// callbackParts is a callback in two parts for comparison. Callbacks with equal parts lead to the
// same place.
type callbackParts struct{ origin, rest string }

// inParts normalizes scheme, host and port as RFC 3986 sections 6.2.2.1 and 6.2.3 say, and keeps
// the rest unchanged. It ignores the port of an http URL of the user's own computer: applications
// take any free port (RFC 8252 section 7.3).
func inParts(callback string, ignoreQuery bool) callbackParts {
	if ignoreQuery {
		callback, _, _ = strings.Cut(callback, "?")
	}
	scheme, rest, _ := strings.Cut(callback, ":")
	scheme = strings.ToLower(scheme)
	authority, ok := strings.CutPrefix(rest, "//")
	if !ok {
		return callbackParts{scheme + ":", rest}
	}
	rest = ""
	if i := strings.IndexAny(authority, "/?"); i >= 0 {
		authority, rest = authority[:i], authority[i:]
	}
	u := url.URL{Host: strings.ToLower(authority)}
	host, port := u.Hostname(), u.Port()
	defaultPort, isHTTP := defaultPorts[scheme]
	if isHTTP && !strings.HasPrefix(rest, "/") {
		rest = "/" + rest
	}
	if ":"+port == defaultPort || scheme == "http" && isLoopback(host) {
		port = ""
	}
	return callbackParts{scheme + "://" + net.JoinHostPort(host, port), rest}
}

func isLoopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.IsLoopback()
}

// climbs reports whether a server may read a path as leading out of its folder. The server may
// decode the path once or several times, and may remove a path parameter from a segment.
func climbs(callback string) bool {
	path, _, _ := strings.Cut(strings.ToLower(callback), "?")
	for strings.Contains(path, "%25") {
		path = strings.ReplaceAll(path, "%25", "%")
	}
	path = strings.NewReplacer("%2e", ".", "%2f", "/", "%5c", "/", "%3b", ";").Replace(path)
	for segment := range strings.SplitSeq(path, "/") {
		if name, _, _ := strings.Cut(segment, ";"); name == "." || name == ".." {
			return true
		}
	}
	return false
}

// parseCallback refuses URLs that can't be a callback.
func parseCallback(callback string) (*url.URL, error) {
	const most = 2048
	if callback == "" {
		return nil, reason("it is empty")
	}
	if len(callback) > most {
		return nil, reason("it is longer than %d bytes", most)
	}
	for i := range len(callback) {
		switch c := callback[i]; {
		case c <= ' ' || c > '~':
			return nil, reason("it holds a space, a control character or non-ASCII text")
		case strings.IndexByte("\\\"<>^`{|}", c) >= 0:
			return nil, reason("it holds the character %s", strconv.QuoteRune(rune(c)))
		case c == '#':
			return nil, reason("it holds a fragment")
		}
	}
	u, err := url.Parse(callback)
	if err != nil {
		return nil, reason("it is not a URL")
	}
	switch u.Scheme {
	case "":
		return nil, reason("it is not an absolute URL")
	case "http", "https":
		if u.Hostname() == "" || u.Opaque != "" {
			return nil, reason("it names no host")
		}
	case "javascript", "data", "vbscript", "blob", "file", "about", "filesystem", "view-source":
		return nil, reason("the scheme %s is forbidden", strconv.Quote(u.Scheme))
	}
	if u.User != nil {
		return nil, reason("it holds user information")
	}
	// An escaped name would hide the real host on the page. Browsers show xn-- for names that look
	// alike.
	if strings.ContainsFunc(u.Host, func(r rune) bool { return r > '~' || r == '%' }) {
		return nil, reason("its host is escaped: write it as xn--")
	}
	return u, nil
}

// checkCallbackPattern refuses a pattern that is no callback, or whose * could match a part of the
// host.
func checkCallbackPattern(pattern string) error {
	prefix, open := strings.CutSuffix(pattern, "*")
	if strings.Contains(prefix, "?") && open {
		return fmt.Errorf("callbacks %q: a * is allowed only in the path", pattern)
	}
	if strings.Contains(prefix, "*") {
		return fmt.Errorf("callbacks %q: a * is allowed only at the end", pattern)
	}
	if _, err := parseCallback(prefix); err != nil {
		return fmt.Errorf("callbacks %q: %w", pattern, err)
	}
	if !open {
		return nil
	}
	_, rest, _ := strings.Cut(prefix, ":")
	if !strings.Contains(strings.TrimPrefix(rest, "//"), "/") {
		return fmt.Errorf("callbacks %q: a * is allowed only in the path, after a slash", pattern)
	}
	return nil
}

// checkCallbackOptions refuses options that do not fit the consumer's callbacks. The callbacks are
// checked before.
func checkCallbackOptions(c *tokenstore.Consumer) error {
	if c.CallbacksIgnoreQuery && len(c.Callbacks) == 0 {
		return errors.New("callbacks_ignore_query: the consumer has no callbacks")
	}
	if c.DefaultCallback && (len(c.Callbacks) != 1 || strings.HasSuffix(c.Callbacks[0], "*")) {
		return errors.New("default_callback: needs exactly one callback, without a *")
	}
	return nil
}

// callbackOf returns the callback of a request for a request token; empty means none.
func callbackOf(c *tokenstore.Consumer, p *oauth1.Params) string {
	if c.DefaultCallback && (!p.HasCallback || p.Callback == outOfBand) {
		return c.Callbacks[0]
	}
	return p.Callback
}

// answeredCallback returns the URL that the browser goes to when the user has answered, at this
// server's page or at a page of the platform.
func answeredCallback(callback, token string, review tokenstore.Review) string {
	target := callbackWith(callback, token, review.Verifier)
	if review.Permission == tokenstore.Unauthorized {
		target += "&oauth_problem=permission_denied"
	}
	return target
}

// callbackWith appends parameters to a callback's query. The existing query stays unchanged (OAuth
// Core 1.0a section 6.2.3).
func callbackWith(callback, token, verifier string) string {
	query := "oauth_token=" + url.QueryEscape(token)
	if verifier != "" {
		query += "&oauth_verifier=" + url.QueryEscape(verifier)
	}
	switch base, existing, ok := strings.Cut(callback, "?"); {
	case !ok, existing == "":
		return base + "?" + query
	default:
		return callback + "&" + query
	}
}
