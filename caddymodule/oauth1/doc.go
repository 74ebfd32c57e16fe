// Package oauth1 is RFC 5849 (OAuth 1.0, with OAuth Core 1.0a's words) itself: what a signed request carries, what its
// signature covers, and the signature methods. A server verifies with it, a client signs with it.
//
// It imports neither Caddy nor a store: only Go's standard library.
//
// The way of a signed request:
//
//	params.go       Parse: the protocol parameters of a request, from the Authorization header, the query or the form
//	encoding.go     percent-encoding and -decoding (sections 3.6 and 3.4.1.3.1)
//	target.go       SplitTarget: the path and the query of a request, as they were sent
//	basestring.go   Request.AppendBaseString: the signature base string (section 3.4.1)
//	method.go       the seven signature methods; Verify and its keys (sections 3.4.2 to 3.4.4);
//	                hmac.go: HMAC keys made ready
//	bodyhash.go     oauth_body_hash (the OAuth Request Body Hash extension)
//	sign.go         Sign: a request's signature and Authorization header, for clients
package oauth1
