package caddymodule

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/policy"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/refusal"
)

// admit refuses a request whose method or target is not in plain form. It runs before the
// directive's own matcher, the endpoints, the signature and the policies. A request that it accepts
// has the same path and method for all of them and for the upstream.
func (h *Handler) admit(r *http.Request) *refusal.Problem {
	method, target := r.Method, r.RequestURI
	original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
	if ok {
		method, target = original.Method, original.RequestURI
	}
	if !policy.PlainTarget(target) {
		// Error routes may lead to an upstream, which must not get the target either.
		*r.URL = url.URL{Path: "/"}
		if ok {
			*original.URL = url.URL{Path: "/"}
		}
		r.RequestURI = "/"
		return refusal.Target
	}
	if !policy.PlainMethod(method) {
		return refusal.Method.About(method)
	}
	if !policy.PlainMethod(r.Method) {
		return refusal.Method.About(r.Method) // a rewrite set this method
	}
	if r.Method == http.MethodConnect && !(extendedConnect(r) && h.upgrades(websocket)) {
		return refusal.Connect
	}
	if r.URL.Path == "" { // for example, http://host?query
		r.URL.Path, r.URL.RawPath = "/", ""
	}
	if ok && original.URL.Path == "" {
		original.URL.Path, original.URL.RawPath = "/", ""
	}
	return nil
}

// equalASCII compares a text with an ASCII text and ignores case. Other letters that Unicode folds
// to ASCII letters are longer than one byte, so they are never equal.
func equalASCII(s, ascii string) bool {
	return len(s) == len(ascii) && strings.EqualFold(s, ascii)
}

// extendedConnect reports whether a request opens a WebSocket over HTTP/2 or HTTP/3 (RFC 8441, RFC
// 9220). Caddy's reverse_proxy turns it into a GET, and clients sign and policies judge that GET.
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

// originalTarget returns the method and the request target that the client signed, before any
// rewrite. An admitted CONNECT is the GET of a WebSocket.
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

// asForwarded gives a WebSocket's CONNECT the method and headers that the upstream will see, until
// restore is called. It does not change other requests.
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
		delete(r.Header, "Connection") // HTTP/2 and HTTP/3 have neither header
		delete(r.Header, "Upgrade")
		repl.Delete(placeholder)
	}
}
