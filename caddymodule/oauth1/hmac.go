package oauth1

import (
	"crypto"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
)

// HMACKey is the prepared key of an HMAC method: the states of the hash after it has read the
// padded key, from which every signature continues (RFC 2104, section 4). It saves time with keys
// that sign many requests. It is as secret as the two secrets in it: anybody who has it can sign.
type HMACKey struct {
	hash         crypto.Hash
	inner, outer []byte // marshalled states of the hash
}

// NewHMACKey prepares the key of an HMAC method. Any other method is an error.
func NewHMACKey(signatureMethod, consumerSecret, tokenSecret string) (*HMACKey, error) {
	m, ok := methodNamed(signatureMethod)
	if !ok || m.kind != kindHMAC {
		return nil, fmt.Errorf("%q is no HMAC method", signatureMethod)
	}
	b := newBuffers()
	defer b.free()
	b.setSecrets(consumerSecret, tokenSecret)
	inner, outer := make([]byte, blockSize(m.hash)), make([]byte, blockSize(m.hash))
	b.pads(m.hash, inner, outer)
	k := &HMACKey{hash: m.hash}
	var err1, err2 error
	k.inner, err1 = stateAfter(m.hash, inner)
	k.outer, err2 = stateAfter(m.hash, outer)
	return k, errors.Join(err1, err2)
}

func stateAfter(kind crypto.Hash, block []byte) ([]byte, error) {
	h := kind.New()
	h.Write(block)
	return h.(resumable).MarshalBinary()
}

// A resumable hash can continue from a saved state. The standard library documents this for its
// hashes.
type resumable interface {
	hash.Hash
	encoding.BinaryMarshaler
	encoding.BinaryUnmarshaler
}

func (b *buffers) verifyHMAC(signature string, hash crypto.Hash, k *Key) error {
	if k.HMAC != nil && k.HMAC.hash == hash {
		var err error
		if b.mac, err = b.appendHMAC(b.mac[:0], k.HMAC); err != nil {
			return err
		}
	} else {
		b.setSecrets(k.ConsumerSecret, k.TokenSecret)
		b.mac = b.appendHMACOnce(b.mac[:0], hash)
	}
	var text [maxSum * 2]byte
	want := base64.StdEncoding.AppendEncode(text[:0], b.mac)
	if subtle.ConstantTimeCompare([]byte(signature), want) != 1 {
		return ErrSignature
	}
	return nil
}

// appendHMAC appends the HMAC (RFC 2104) of the base string under a prepared key.
func (b *buffers) appendHMAC(dst []byte, k *HMACKey) ([]byte, error) {
	h := b.hashes[k.hash]
	if h == nil {
		h = k.hash.New().(resumable)
		b.hashes[k.hash] = h
	}
	defer h.Reset()
	if err := h.UnmarshalBinary(k.inner); err != nil {
		return dst, err
	}
	h.Write(b.baseString())
	b.sum = h.Sum(b.sum[:0])
	if err := h.UnmarshalBinary(k.outer); err != nil {
		return dst, err
	}
	h.Write(b.sum)
	return h.Sum(dst), nil
}

// appendHMACOnce appends the HMAC of the base string under the secrets. It does the same as
// crypto/hmac, without its allocations, for a key that is used too rarely to be prepared.
func (b *buffers) appendHMACOnce(dst []byte, hash crypto.Hash) []byte {
	size := blockSize(hash)
	var outerBlock [maxBlock + maxSum]byte
	inner, outer := b.padded[maxBlock-size:], outerBlock[:size]
	b.pads(hash, inner[:size], outer)
	return appendSum(dst, hash, appendSum(outer, hash, inner))
}

// pads writes HMAC's two pads for the secrets.
func (b *buffers) pads(hash crypto.Hash, inner, outer []byte) {
	var keyBlock [maxBlock]byte
	key := keyBlock[:len(inner)]
	if len(b.secrets) > len(key) {
		appendSum(key[:0], hash, b.secrets)
	} else {
		copy(key, b.secrets)
	}
	for i, k := range key {
		inner[i] = k ^ 0x36
		outer[i] = k ^ 0x5c
	}
}

func blockSize(hash crypto.Hash) int {
	if hash == crypto.SHA512 {
		return sha512.BlockSize
	}
	return sha256.BlockSize // also SHA-1's block size
}

func appendSum(dst []byte, hash crypto.Hash, data []byte) []byte {
	switch hash {
	case crypto.SHA512:
		sum := sha512.Sum512(data)
		return append(dst, sum[:]...)
	case crypto.SHA256:
		sum := sha256.Sum256(data)
		return append(dst, sum[:]...)
	default:
		sum := sha1.Sum(data)
		return append(dst, sum[:]...)
	}
}
