package oauth1

import (
	"crypto"
	"encoding/base64"
)

// BodyHash is the oauth_body_hash of a body (the OAuth Request Body Hash extension, section 3.2): base64 of the hash that
// the signature method uses. For PLAINTEXT, which has none, and for an unknown method it is SHA-1.
//
// Only a body that is no form has one: a form is signed as parameters. Compare it with what a client sent in constant
// time, or after the signature that covers it.
func BodyHash(signatureMethod string, body []byte) string {
	hash := crypto.SHA1
	if m, ok := methodNamed(signatureMethod); ok && m.kind != kindPlaintext {
		hash = m.hash
	}
	var sum [maxSum]byte
	return base64.StdEncoding.EncodeToString(appendSum(sum[:0], hash, body))
}
