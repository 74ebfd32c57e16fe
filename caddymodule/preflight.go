package caddymodule

import (
	"net/http"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/policy"
)

// preflight reports whether a request is a browser's question whether a script may send another one
// (Fetch, CORS-preflight request). A browser sends no credentials with it. OAuth parameters in its
// query are those of the request to come, which has another method: they prove nothing, and say nothing
// against it.
//
// It is read as narrowly as browsers write it. All else is judged by its OAuth parameters: a request
// that has an Authorization header, a form, or a header in which upstreams look for another method.
func preflight(r *http.Request) bool {
	if r.Method != http.MethodOptions {
		return false
	}
	if method, _ := originalTarget(r); method != http.MethodOptions {
		return false // a rewrite made it one
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

// single reports whether a header is sent once, and not empty.
func single(r *http.Request, name string) bool {
	values := r.Header[name]
	return len(values) == 1 && values[0] != ""
}
