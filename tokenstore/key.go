package tokenstore

import (
	"crypto/rand"
	"strings"
	"unicode"
)

// alphabet is Launchpad's: digits, and letters without vowels or look-alikes. No character needs
// encoding.
const alphabet = "0123456789bcdfghjklmnpqrstvwxzBCDFGHJKLMNPQRSTVWXZ"

// NewKey returns a new random key of a token or consumer: 20 characters, 112 bits.
func NewKey() string { return randomString(20) }

// NewSecret returns a new random secret: 80 characters, 451 bits.
func NewSecret() string { return randomString(80) }

// NewVerifier returns a new oauth_verifier that a person can type: 12 characters, 67 bits.
func NewVerifier() string { return randomString(12) }

// Legible reports whether every character of a key can be seen, ASCII's space aside: so that a
// person can tell it from another key.
func Legible(key string) bool {
	return !strings.ContainsFunc(key, func(r rune) bool {
		return !unicode.IsPrint(r) || r == brailleBlank ||
			unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
	})
}

// brailleBlank is the one symbol without a mark. IsPrint takes it, as it takes what is ignored in
// writing: the fillers of Hangul, the selectors of variants and the joiner of graphemes.
const brailleBlank = '\u2800'

func randomString(n int) string {
	// The largest multiple of the alphabet's length that a byte holds. Bytes above it would make
	// the first letters more frequent.
	const fair = 256 / len(alphabet) * len(alphabet)
	out := make([]byte, 0, n)
	var buf [128]byte
	for {
		rand.Read(buf[:]) // never fails: crypto/rand ends the process instead
		for _, b := range buf {
			if int(b) >= fair {
				continue
			}
			out = append(out, alphabet[int(b)%len(alphabet)])
			if len(out) == n {
				return string(out)
			}
		}
	}
}
