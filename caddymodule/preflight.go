package caddymodule

import (
	"net/http"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/policy"
)

// preflight reports whether a request is a CORS preflight request (Fetch): a browser asks whether a
// script may send another request. A browser sends no credentials with it. OAuth parameters in its
// query belong to the request that follows, which has another method. They prove nothing about the
// preflight request, and are no reason to refuse it.
//
// Only the exact form that browsers send counts. A request with an Authorization header, a form, or
// a header in which upstreams look for another method is judged by its OAuth parameters.
func preflight(r *http.Request) bool {
	if r.Method != http.MethodOptions {
		return false
	}
	if method, _ := originalTarget(r); method != http.MethodOptions {
		return false // a rewrite made it OPTIONS
	}
	if !single(r, "Origin") || !single(r, "Access-Control-Request-Method") {
		return false
	}
	for name := range r.Header {
		if name == "Authorization" || name == "Content-Type" || policy.OverridesMethod(name) {
			return false
		}
	}
	return true
}

// single reports whether a header is sent exactly once, and is not empty.
func single(r *http.Request, name string) bool {
	values := r.Header[name]
	return len(values) == 1 && values[0] != ""
}
