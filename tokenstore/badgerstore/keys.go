package badgerstore

import (
	"encoding/binary"
)

// The first byte of a key is its kind. The last part has no length before it, so that records are
// in the order of their keys. Each part before it begins with its length, so that no two keys are
// the same.
const (
	prefixConsumer     = 'c' // key -> record
	prefixRequestToken = 'r' // key -> record
	prefixAccessToken  = 't' // key -> record
	prefixLastUsed     = 'l' // access token -> when it was last used: small, since it is often written

	prefixTokenOfUser       = 'u' // user, access token
	prefixTokenOfConsumer   = 'k' // consumer, access token
	prefixRequestOfConsumer = 'q' // consumer, when it expires, request token -> what it counts
	prefixRequestOfUser     = 'v' // reviewing user, request token

	prefixIdle       = 'i' // self-registered consumer without an access token -> since when
	prefixRevocation = 'x' // user, consumer -> since when what they have together is revoked; one of them may be empty
	prefixFiller     = 'f' // nothing: see reclaim

	prefixOrigin     = 'o' // where the store was imported from
	prefixUsedNonces = 'p' // number -> nonces that the store that it was imported from accepted

	prefixKept       = 'a' // name -> what the app keeps by name
	prefixNonceState = 'n'
	prefixSecret     = 's'
	prefixKeys       = 'e' // which keys encrypt the values: see rewrap.go
	prefixCheck      = 'h'
	prefixGeneration = 'g' // see generation.go
	prefixMarker     = 'm' // written with every change: see examine.go
)

func recordKey(prefix byte, key string) []byte {
	b := make([]byte, 0, 1+len(key))
	return append(append(b, prefix), key...)
}

// indexPrefix is the beginning of all keys of the index that belong to name.
func indexPrefix(prefix byte, name string) []byte {
	b := make([]byte, 0, 1+binary.MaxVarintLen32+len(name)+24)
	b = append(b, prefix)
	b = binary.AppendUvarint(b, uint64(len(name)))
	return append(b, name...)
}

func indexKey(prefix byte, name, key string) []byte {
	return append(indexPrefix(prefix, name), key...)
}
