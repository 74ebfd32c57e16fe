package redisstore

import (
	"strconv"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// sliceCount is how many slices the data has. It can't change: the slice of a key is computed. So a
// cluster has no use for more masters.
const sliceCount = 64

// slots is how many hash slots a Redis Cluster has.
const slots = 16384

// A slice is a part of the data that lies in one hash slot, so that a script can read and write all
// of it at once.
type slice int

// sliceTags are the hash tags of the slices. The slot of tag i lies in the i-th part of all slots,
// so that masters with equal ranges of slots have equally many slices.
var sliceTags = func() (tags [sliceCount]string) {
	for n, left := 0, sliceCount; left > 0; n++ {
		tag := strconv.Itoa(n)
		if i := int(crc16(tag)) % slots * sliceCount / slots; tags[i] == "" {
			tags[i] = tag
			left--
		}
	}
	return tags
}()

// crc16 is the checksum of which a Redis Cluster computes hash slots (CRC-16/XMODEM).
func crc16(s string) (crc uint16) {
	for i := range len(s) {
		crc ^= uint16(s[i]) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return crc
}

// sliceOf returns the slice of a token, or of a consumer (FNV-1a, folded).
func sliceOf(key string) slice {
	h := uint64(14695981039346656037)
	for i := range len(key) {
		h = (h ^ uint64(key[i])) * 1099511628211
	}
	return slice((h ^ h>>32) % sliceCount)
}

// newKeyIn returns a new key whose slice is the given one: what belongs together is written at once.
func newKeyIn(sl slice) string {
	for {
		if key := tokenstore.NewKey(); sliceOf(key) == sl {
			return key
		}
	}
}

// The kinds of keys. A kind stands between the prefix and the hash tag.
const (
	kindState    = "s" // the fence, and the revision: see fence.go
	kindNonces   = "n" // the nonces of a second
	kindBarrier  = "b" // written so that a WAIT has something to wait for
	kindToken    = "t" // an access token
	kindRequest  = "r" // a request token
	kindConsumer = "c" // a consumer
	kindMarks    = "m" // the bulk revocations that are not finished
	kindWork     = "w" // what is left of them
	kindDead     = "d" // the tokens that one of them removes
	kindSecret   = "x" // the secret of the store
	kindKeys     = "k" // which keys encrypt the records
	kindKept     = "a" // what the app keeps by name
	// kindElsewhere is the kind of the nonces that another store accepted: see import.go.
	kindElsewhere = "o"
	kindPast      = "p" // up to which timestamp it may have accepted others

	kindTokens             = "ia" // the keys of all access tokens
	kindTokensOfConsumer   = "ic"
	kindLeaves             = "l" // the parts of large indexes of access tokens: see scripts/index.lua
	kindTokensOfUser       = "iu"
	kindTokensByEnd        = "ie" // with the time when they are removed
	kindConsumers          = "ik" // the keys of all consumers
	kindDeletedByEnd       = "ix" // those whose deletion is not finished, with the time when sweep goes on with it
	kindRequestsOfConsumer = "jc"
	kindRequestsOfUser     = "ju" // those that the user has reviewed
	kindRequestsByEnd      = "je"
)

// key returns the name of a key in a slice.
func (s *Store) key(kind string, sl slice, rest string) string {
	return s.prefix + ":" + kind + "{" + sliceTags[sl] + "}:" + rest
}
