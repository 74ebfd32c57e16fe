package keyring

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// KeySize is the length of a key, in bytes.
const KeySize = 32

const maxID = 32

// A Key is a secret, and the id by which envelopes name it.
type Key struct {
	ID     string
	Secret [KeySize]byte
}

// ParseKey reads a key: its id, and 32 bytes as base64 or hexadecimal, with white space around them.
// Its errors show nothing of the secret.
func ParseKey(id, text string) (Key, error) {
	k := Key{ID: id}
	if err := checkID(id); err != nil {
		return k, err
	}
	text = strings.TrimSpace(text)
	if text == "" {
		return k, fmt.Errorf("key %q is empty", id)
	}
	for _, decode := range []func(string) ([]byte, error){
		hex.DecodeString,
		base64.StdEncoding.DecodeString,
		base64.RawStdEncoding.DecodeString,
		base64.URLEncoding.DecodeString,
		base64.RawURLEncoding.DecodeString,
	} {
		if b, err := decode(text); err == nil && len(b) == KeySize {
			copy(k.Secret[:], b)
			if k.Secret == ([KeySize]byte{}) {
				return k, fmt.Errorf("key %q is zero in all its bytes: make one with `openssl rand -base64 32`", id)
			}
			return k, nil
		}
	}
	return k, fmt.Errorf("key %q has %d characters that are not %d bytes as base64 or hexadecimal: "+
		"make one with `openssl rand -base64 32`", id, len(text), KeySize)
}

var errID = errors.New("an id is 1 to 32 letters, digits, points, hyphens or underscores")

func checkID(id string) error {
	if len(id) < 1 || len(id) > maxID {
		return fmt.Errorf("key of an id with %d characters: %w", len(id), errID)
	}
	for i := range len(id) {
		c := id[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '-', c == '_':
		default:
			return fmt.Errorf("key %q: %w", id, errID)
		}
	}
	return nil
}
