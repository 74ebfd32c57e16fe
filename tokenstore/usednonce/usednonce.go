// Package usednonce tells whether a nonce was used before the tokens were moved from another store.
// Each store keeps digests of nonces in a form of its own, so after a move the form of the other
// store is needed until its nonces have expired.
//
// It imports package tokenstore alone. Stores, and the log of nonces, take their digests from it.
package usednonce

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// Size is the length of a digest.
const Size = 12

// KeySize is the length of a key.
const KeySize = 16

// A Digest stands for a nonce.
type Digest [Size]byte

// Keyed returns the digest with a key. Every part begins with its length, so that no two nonces
// give the same input. SHA-256 of a secret key and the input is as good as an HMAC here, since half
// of the hash is dropped.
func Keyed(key [KeySize]byte, n *tokenstore.Nonce) (d Digest) {
	var buf [512]byte
	b := append(buf[:0], key[:]...)
	b = append(b, 'n')
	b = binary.AppendVarint(b, n.Timestamp)
	sum := sha256.Sum256(appendParts(b, n))
	copy(d[:], sum[:])
	return d
}

// PlainSize is the length of the part of a plain digest that differs among the nonces of a second.
const PlainSize = 8

// Plain returns a digest without a key: the timestamp and PlainSize bytes; and one byte more, which
// can spread the nonces of a second.
func Plain(n *tokenstore.Nonce) (d Digest, spread byte) {
	var buf [512]byte
	sum := sha256.Sum256(appendParts(buf[:0], n))
	return PlainOf(n.Timestamp, string(sum[:PlainSize])), sum[PlainSize]
}

// PlainOf puts a plain digest together.
func PlainOf(timestamp int64, rest string) (d Digest) {
	binary.BigEndian.PutUint32(d[:], uint32(timestamp))
	copy(d[Size-PlainSize:], rest)
	return d
}

func appendParts(b []byte, n *tokenstore.Nonce) []byte {
	for _, part := range [...]string{n.Consumer, n.Token, n.Value} {
		b = binary.AppendUvarint(b, uint64(len(part)))
		b = append(b, part...)
	}
	return b
}

// A Set holds used nonces. It does not change, and a nil Set is empty.
type Set struct {
	forms   []form
	expires int64
}

type form struct {
	key     string
	digests map[Digest]struct{}
}

// NewSet returns the set of what has not expired at now; nil if that is nothing.
func NewSet(all []*tokenstore.UsedNonces, now int64) *Set {
	s := new(Set)
	for _, used := range all {
		if used.Expires <= now {
			continue
		}
		i := slices.IndexFunc(s.forms, func(f form) bool { return f.key == used.Key })
		if i < 0 {
			i = len(s.forms)
			s.forms = append(s.forms, form{used.Key, make(map[Digest]struct{})})
		}
		for d := range slices.Chunk([]byte(used.Digests), Size) {
			if len(d) == Size {
				s.forms[i].digests[Digest(d)] = struct{}{}
			}
		}
		s.expires = max(s.expires, used.Expires)
	}
	if len(s.forms) == 0 {
		return nil
	}
	return s
}

// Has reports whether the nonce was used.
func (s *Set) Has(n *tokenstore.Nonce) bool {
	if s == nil {
		return false
	}
	for _, f := range s.forms {
		var d Digest
		if len(f.key) == KeySize {
			d = Keyed([KeySize]byte([]byte(f.key)), n)
		} else {
			d, _ = Plain(n)
		}
		if _, used := f.digests[d]; used {
			return true
		}
	}
	return false
}

// Over reports whether everything in it has expired at now.
func (s *Set) Over(now int64) bool { return s == nil || s.expires <= now }
