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

// Each character is as likely as every other. Chi squared of 49 degrees of freedom is above 120
// once in ten million runs; with a plain modulo of a byte it was above 20,000.
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

func TestLegible(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]bool{
		"demo": true, "System-wide: Ubuntu (laptop)": true, "r\u00e9sum\u00e9": true, "\u65e5\u672c": true,
		"\u0645\u0631\u062d\u0628\u0627": true, "a\U0001f600": true,
		"de\u200bmo": false, "de\u200dmo": false, "de\u2060mo": false, "\ufeffdemo": false, "de\u00admo": false,
		"\u202eomed": false, "\u2066demo": false, "\u200fdemo": false, "\u061cdemo": false,
		"demo\u2028": false, "demo\u2029x": false, "de\u00a0mo": false, "de\u3000mo": false,
		"demo\U000e0041": false, "demo\ufe0f": false, "demo\U000e0100": false, "de\u034fmo": false,
		"de\u3164mo": false, "de\u115fmo": false, "de\uffa0mo": false, "de\u17b5mo": false, "de\u180bmo": false,
		"de\u2800mo": false, "de\ue000mo": false, "de\x00mo": false, "de\tmo": false,
	} {
		if got := Legible(key); got != want {
			t.Errorf("%+q: got %t", key, got)
		}
	}
}
