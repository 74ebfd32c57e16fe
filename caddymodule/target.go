package caddymodule

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/refusal"
)

// admit refuses what is no request for a resource in its plain form: before the directive's own
// matcher, the endpoints, the signature or a policy looks at anything. What it lets through has the
// same path and method for all of them and for the upstream.
func (h *Handler) admit(r *http.Request) *refusal.Problem {
	method, target := r.Method, r.RequestURI
	original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
	if ok {
		method, target = original.Method, original.RequestURI
	}
	if !plainTarget(target) {
		// Error routes may lead to an upstream, which must not get it either.
		*r.URL = url.URL{Path: "/"}
		if ok {
			*original.URL = url.URL{Path: "/"}
		}
		r.RequestURI = "/"
		return refusal.Target
	}
	if !upperCase(method) {
		return refusal.Method.About(method)
	}
	if !upperCase(r.Method) {
		return refusal.Method.About(r.Method) // the work of a rewrite
	}
	if r.Method == http.MethodConnect && !(extendedConnect(r) && h.upgrades(websocket)) {
		return refusal.Connect
	}
	if r.URL.Path == "" { // as in http://host?query
		r.URL.Path, r.URL.RawPath = "/", ""
	}
	if ok && original.URL.Path == "" {
		original.URL.Path, original.URL.RawPath = "/", ""
	}
	return nil
}

// plainTarget reports whether a request target (RFC 9112 section 3.2) is a path, or an http or https
// URL with a host and no user. The asterisk form, the authority form and all other URLs mean
// something else to each server.
func plainTarget(target string) bool {
	if strings.HasPrefix(target, "/") {
		return true
	}
	_, rest, ok := cutScheme(target)
	if !ok {
		return false
	}
	authority := rest
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		authority = rest[:i]
	}
	return authority != "" && authority[0] != ':' && !strings.ContainsAny(authority, `@\`)
}

// cutScheme cuts http:// or https:// off, in any case.
func cutScheme(target string) (scheme, rest string, ok bool) {
	scheme, rest, ok = strings.Cut(target, "://")
	if !ok || !equalASCII(scheme, "http") && !equalASCII(scheme, "https") {
		return "", "", false
	}
	return scheme, rest, true
}

// equalASCII compares with an ASCII text in any case. Unicode has other letters that fold to some of
// ASCII's; each is longer than one byte.
func equalASCII(s, ascii string) bool {
	return len(s) == len(ascii) && strings.EqualFold(s, ascii)
}

// upperCase reports whether a method is written as it is meant, in the characters that a policy can
// name: many upstreams take `delete` for DELETE, as the signature base string does (RFC 5849 section
// 3.4.1.1), and no policy does.
func upperCase(method string) bool {
	return !strings.ContainsFunc(method, func(c rune) bool { return !methodLetter(c) })
}

// extendedConnect reports whether a request opens a WebSocket over HTTP/2 or HTTP/3 (RFC 8441, RFC
// 9220). Caddy's reverse_proxy makes a GET of it, which is what clients sign and policies judge.
func extendedConnect(r *http.Request) bool {
	if r.Method != http.MethodConnect {
		return false
	}
	switch r.ProtoMajor {
	case 2:
		return r.Header.Get(":protocol") == "websocket"
	case 3:
		return r.Proto == "websocket"
	}
	return false
}

// originalTarget is the method and the request target as the client signed them, before any rewrite.
// A CONNECT that was admitted is a WebSocket's GET.
func originalTarget(r *http.Request) (method, target string) {
	method, target = r.Method, r.RequestURI
	if original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok {
		method, target = original.Method, original.RequestURI
	}
	if method == http.MethodConnect {
		method = http.MethodGet
	}
	return method, target
}

// asForwarded gives a WebSocket's CONNECT the method and the headers that the upstream will see, until the
// function that it returns is called. Every other request is that already.
func asForwarded(r *http.Request) (restore func()) {
	if r.Method != http.MethodConnect {
		return func() {}
	}
	const placeholder = "http.request.method"
	r.Method = http.MethodGet
	r.Header["Connection"], r.Header["Upgrade"] = []string{"Upgrade"}, []string{websocket}
	repl := replacer(r)
	repl.Set(placeholder, r.Method)
	return func() {
		r.Method = http.MethodConnect
		delete(r.Header, "Connection") // HTTP/2 and HTTP/3 know neither
		delete(r.Header, "Upgrade")
		repl.Delete(placeholder)
	}
}
