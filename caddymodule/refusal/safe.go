package refusal

import (
	"strings"
	"unicode"
)

// Printable makes client-sent text fit for one line of an answer.
func Printable(s string) string {
	const most = 255
	if len(s) > most {
		s = s[:most] + "..."
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}

// Safe makes text fit for every page that a site's error routes may put it into: nothing of it is
// markup, or ends a quoted text.
func Safe(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case strings.ContainsRune("\"'`", r):
			return '\u2019'
		case strings.ContainsRune("<>&{}[]\\$=", r) || !unicode.IsPrint(r):
			return '?'
		}
		return r
	}, s)
}
