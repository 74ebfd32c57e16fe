// Package keyring encrypts the values of a store with AES-256-GCM, and hashes names with a key. A
// ring has a primary key, which encrypts, and old keys, which only decrypt.
//
// It imports the standard library alone: it knows no store, no record, not Caddy.
//
//	keyring.go  Ring: Seal, Open, Names
//	key.go      a key's text and id
//
// # Bytes
//
// What Seal returns is an envelope:
//
//	0  format, one byte: Format
//	1  length of the key's id, one byte; the id
//	.. nonce, 12 random bytes
//	.. ciphertext, and a tag of 16 bytes
//
// Everything before the nonce, the kind and the name of the record are authenticated with it. So an
// envelope opens only in the place that it was made for.
//
// The key itself encrypts nothing: HKDF-SHA256 makes one key for envelopes of it, and one for the
// names. With random nonces, a key is good for 2^32 envelopes: get a new one before that.
package keyring

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

var (
	// ErrUnknownKey: no key of the ring has the id in the envelope.
	ErrUnknownKey = errors.New("encrypted with a key that is not there")
	// ErrDamaged: the envelope was changed, or comes from another place, or the key with its id has
	// other bytes.
	ErrDamaged = errors.New("it was changed or moved, or encrypted with another key of the same id")
)

const (
	// Format is the first byte of an envelope. No record begins with it.
	Format = 0xe1

	nonceSize = 12
	tagSize   = 16
	// NameSize is the length of a hashed name.
	NameSize = 16
)

// A Ring encrypts and decrypts. It does not change, and may be used by any number of goroutines.
type Ring struct {
	keys []*derived // the primary first
}

// derived is what a Key is used as.
type derived struct {
	id    string
	aead  cipher.AEAD
	names []byte
}

// New returns a ring. No two of its keys may have the same id or the same bytes.
func New(primary Key, old ...Key) (*Ring, error) {
	r := new(Ring)
	all := append([]Key{primary}, old...)
	for i, k := range all {
		if err := checkID(k.ID); err != nil {
			return nil, err
		}
		for _, other := range all[:i] {
			if other.ID == k.ID {
				return nil, fmt.Errorf("key %q is given twice", k.ID)
			}
			if other.Secret == k.Secret {
				return nil, fmt.Errorf("keys %q and %q are the same key", other.ID, k.ID)
			}
		}
		d, err := derive(k)
		if err != nil {
			return nil, fmt.Errorf("key %q: %w", k.ID, err)
		}
		r.keys = append(r.keys, d)
	}
	return r, nil
}

func derive(k Key) (*derived, error) {
	values, err := hkdf.Key(sha256.New, k.Secret[:], nil, "caddy-oauth1 values", 32)
	if err != nil {
		return nil, err
	}
	names, err := hkdf.Key(sha256.New, k.Secret[:], nil, "caddy-oauth1 names", 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(values)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	return &derived{id: k.ID, aead: aead, names: names}, nil
}

// IDs returns the ids of the keys, the primary's first.
func (r *Ring) IDs() []string {
	ids := make([]string, len(r.keys))
	for i, k := range r.keys {
		ids[i] = k.id
	}
	return ids
}

func appendPart[T string | []byte](b []byte, part T) []byte {
	b = binary.AppendUvarint(b, uint64(len(part)))
	return append(b, part...)
}

// Seal encrypts a value with the primary key, for a record of a kind and with a name.
func (r *Ring) Seal(kind, name string, value []byte) []byte {
	k := r.keys[0]
	b := make([]byte, 0, 2+len(k.id)+nonceSize+len(value)+tagSize)
	b = append(b, Format, byte(len(k.id)))
	b = append(b, k.id...)
	data := appendPart(appendPart(slices.Clone(b), kind), name)
	b = b[:len(b)+nonceSize]
	nonce := b[len(b)-nonceSize:]
	rand.Read(nonce) // never fails: crypto/rand ends the process instead
	return k.aead.Seal(b, nonce, value, data)
}

// Open returns what Seal got for the same kind and name. ErrUnknownKey, ErrDamaged.
func (r *Ring) Open(kind, name string, sealed []byte) ([]byte, error) {
	id, ok := SealedWith(sealed)
	if !ok {
		return nil, ErrDamaged
	}
	i := slices.IndexFunc(r.keys, func(k *derived) bool { return k.id == id })
	if i < 0 {
		return nil, ErrUnknownKey
	}
	head := sealed[:2+len(id)]
	data := appendPart(appendPart(slices.Clone(head), kind), name)
	nonce, rest := sealed[len(head):len(head)+nonceSize], sealed[len(head)+nonceSize:]
	value, err := r.keys[i].aead.Open(nil, nonce, rest, data)
	if err != nil {
		return nil, ErrDamaged // its own error says no more
	}
	return value, nil
}

// SealedWith returns the id of the key that a value was encrypted with; false if the value is not an
// envelope. It looks at the beginning alone.
func SealedWith[T string | []byte](value T) (id string, ok bool) {
	if len(value) < 3 || value[0] != Format {
		return "", false
	}
	n := int(value[1])
	if n < 1 || n > maxID || len(value) < 2+n+nonceSize+tagSize {
		return "", false
	}
	id = string(value[2 : 2+n])
	return id, checkID(id) == nil
}

// Names returns the hashes that a name of a kind has with each key, the primary's first. Nobody can
// compute or compare them without the key. Equal names have equal hashes.
func (r *Ring) Names(kind, name string) []string {
	all := make([]string, len(r.keys))
	for i, k := range r.keys {
		all[i] = k.hash(kind, name)
	}
	return all
}

func (k *derived) hash(kind, name string) string {
	h := hmac.New(sha256.New, k.names)
	h.Write(appendPart(nil, kind)) // never fails
	h.Write([]byte(name))
	return string(h.Sum(nil)[:NameSize])
}
