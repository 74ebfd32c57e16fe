// Package doctor names the mistake that a client made when its signed request was refused.
//
// Diagnose knows the request and the keys. It makes the signatures of the mistakes that clients
// make, one mistake each and the usual pairs, until one is the signature that came. A name means
// that this mistake, and no other difference, leads to that signature: nothing is guessed. The
// other functions explain refusals that have nothing to do with the signature.
//
// It knows package oauth1 and Go's standard library, and golang.org/x/text for Unicode's forms. It
// knows neither Caddy nor a store: the caller looks up what is needed, and decides who may read the
// result.
//
//	case.go         Case: a refused request, the keys, the limits of the search
//	diagnosis.go    Diagnosis: the mistakes, and the text for people
//	mistake.go      the closed list of mistakes, each with a text and an advice
//	diagnose.go     Diagnose: the search, from the likely to the unlikely
//	uri.go          alternatives of the method, the origin and the path
//	params.go       the parameters of a base string, as a list that can be written in several ways
//	paramwriter.go  the orders and encodings in which they are written
//	paramchanges.go alternatives of the parameters
//	body.go         bodies that are no form, taken for parameters
//	keys.go         alternatives of the secrets
//	hide.go         Hider: hiding secrets where an operator reads what a client sent
//	signature.go    the forms that a signature can have; comparing it with an alternative
//	timestamp.go    Timestamp: why a timestamp is outside the window
//	nonce.go        Nonce: why a nonce was used before
//	unknownkey.go   UnknownKey: what an unknown consumer key or token is
package doctor
