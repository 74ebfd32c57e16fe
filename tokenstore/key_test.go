package tokenstore

import (
	"strings"
	"testing"
)

func TestKeys(t *testing.T) {
	for name, c := range map[string]struct {
		make   func() string
		length int
	}{
		"keys have 20 characters":      {NewKey, 20},
		"secrets have 80 characters":   {NewSecret, 80},
		"verifiers have 12 characters": {NewVerifier, 12},
	} {
		t.Run(name, func(t *testing.T) {
			seen := make(map[string]bool)
			for range 1000 {
				s := c.make()
				if len(s) != c.length {
					t.Fatalf("%q has %d characters, want %d", s, len(s), c.length)
				}
				if i := strings.IndexFunc(s, func(r rune) bool { return !strings.ContainsRune(alphabet, r) }); i >= 0 {
					t.Fatalf("%q holds %q, which is not of the alphabet", s, s[i])
				}
				if seen[s] {
					t.Fatalf("%q came twice", s)
				}
				seen[s] = true
			}
		})
	}
}

// Each character is as likely as every other: chi squared of 49 degrees of freedom is above 120
// once in ten million runs, and was above 20,000 with a plain modulo of a byte.
func TestKeysAreFair(t *testing.T) {
	const n = 1_000_000
	var count [256]int
	s := randomString(n)
	for i := range len(s) {
		count[s[i]]++
	}
	want := float64(n) / float64(len(alphabet))
	chi := 0.0
	for i := range len(alphabet) {
		d := float64(count[alphabet[i]]) - want
		chi += d * d / want
	}
	if chi > 120 {
		t.Errorf("chi squared is %.0f", chi)
	}
}
