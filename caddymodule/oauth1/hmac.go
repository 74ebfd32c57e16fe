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

// HMACKey is two secrets as an HMAC method uses them, made ready: what the hash is like once it has read the padded key,
// from where every signature goes on (RFC 2104, section 4). It is for keys that many requests are signed with. Who has it
// can sign: it is as secret as the secrets.
type HMACKey struct {
	hash         crypto.Hash
	inner, outer []byte // states of the hash, as it marshals them
}

// NewHMACKey makes the key of a signature method ready. That the method is no HMAC is an error.
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

// A resumable hash goes on from a state. Those of the standard library document that they do.
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

// appendHMAC appends the HMAC (RFC 2104) of the base string under the key that is ready.
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

// appendHMACOnce appends the HMAC of the base string under the secrets. It is crypto/hmac without its allocations, for a
// key that is not worth being made ready.
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
	return sha256.BlockSize // SHA-1's, too
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
