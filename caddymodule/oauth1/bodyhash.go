package oauth1

import (
	"crypto"
	"encoding/base64"
)

// BodyHash returns the oauth_body_hash of a body (the OAuth Request Body Hash extension, section
// 3.2): the base64 of the hash that the signature method uses. For PLAINTEXT, which has no hash,
// and for an unknown method, the hash is SHA-1.
//
// A form has no oauth_body_hash: it is signed as parameters. Compare the hash with the one that a
// client sent in constant time, or only after the signature that covers it is verified.
func BodyHash(signatureMethod string, body []byte) string {
	hash := crypto.SHA1
	if m, ok := methodNamed(signatureMethod); ok && m.kind != kindPlaintext {
		hash = m.hash
	}
	var sum [maxSum]byte
	return base64.StdEncoding.EncodeToString(appendSum(sum[:0], hash, body))
}
