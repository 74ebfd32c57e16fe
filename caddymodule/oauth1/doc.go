// Package oauth1 implements RFC 5849 (OAuth 1.0), with the words of OAuth Core 1.0a: the parameters
// of a signed request, the signature base string, and the signature methods. Servers verify with
// it, clients sign with it.
//
// It imports neither Caddy nor a store, only Go's standard library.
//
// A signed request passes these files in order:
//
//	params.go       Parse: the protocol parameters in the Authorization header, the query or the form
//	ambiguous.go    Ambiguous: whether other servers may find other parameters
//	encoding.go     percent-encoding and -decoding (sections 3.6 and 3.4.1.3.1)
//	target.go       SplitTarget: the path and the query of a request, as they were sent
//	basestring.go   Request.AppendBaseString: the signature base string (section 3.4.1)
//	method.go       the seven signature methods; Verify and its keys (sections 3.4.2 to 3.4.4)
//	hmac.go         prepared HMAC keys
//	bodyhash.go     oauth_body_hash (the OAuth Request Body Hash extension)
//	sign.go         Sign: a request's signature and Authorization header, for clients
package oauth1
