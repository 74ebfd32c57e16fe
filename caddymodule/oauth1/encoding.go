package oauth1

import (
	"errors"
	"iter"
	"strings"
)

var errEncoding = errors.New("malformed percent-encoding")

// Encode percent-encodes s by RFC 5849, section 3.6: every byte except letters, digits, "-", ".",
// "_" and "~" becomes %XX, in upper case. A space becomes %20, never "+".
func Encode(s string) string {
	for i := range len(s) {
		if !unreserved[s[i]] {
			return string(AppendEncode(make([]byte, 0, len(s)+16), s))
		}
	}
	return s
}

// AppendEncode appends Encode(s) to dst.
func AppendEncode(dst []byte, s string) []byte {
	for {
		n := unreservedPrefix(s)
		dst = append(dst, s[:n]...)
		if n == len(s) {
			return dst
		}
		dst = appendEscaped(dst, s[n])
		s = s[n+1:]
	}
}

// Decode undoes Encode, once. It accepts hexadecimal digits of either case. "+" and all other
// unencoded bytes stay unchanged. A "%" without two hexadecimal digits after it is an error.
func Decode(s string) (string, error) {
	d, ok := decode(s, false)
	if !ok {
		return "", errEncoding
	}
	return d, nil
}

// decode does what Decode does. If form is true, a "+" is a space, as in queries and forms. It
// allocates only if a byte is encoded.
func decode(s string, form bool) (string, bool) {
	if strings.IndexByte(s, '%') < 0 && !(form && strings.IndexByte(s, '+') >= 0) {
		return s, true
	}
	var d strings.Builder
	d.Grow(len(s))
	for {
		n := 0
		for n < len(s) && s[n] != '%' && !(form && s[n] == '+') {
			n++
		}
		d.WriteString(s[:n])
		if s = s[n:]; s == "" {
			return d.String(), true
		}
		if s[0] == '+' {
			d.WriteByte(' ')
			s = s[1:]
			continue
		}
		b, ok := unescape(s)
		if !ok {
			return "", false
		}
		d.WriteByte(b)
		s = s[3:]
	}
}

// appendTwiceEncoded appends Encode(Encode(s)) to dst.
func appendTwiceEncoded(dst []byte, s string) []byte {
	for {
		n := unreservedPrefix(s)
		dst = append(dst, s[:n]...)
		if n == len(s) {
			return dst
		}
		dst = appendTwiceEscaped(dst, s[n])
		s = s[n+1:]
	}
}

// appendReencoded decodes s as decode does, and appends it twice encoded: %7e and ~ become ~, %2b
// becomes %252B.
func appendReencoded(dst []byte, s string, form bool) ([]byte, bool) {
	for {
		n := unreservedPrefix(s)
		dst = append(dst, s[:n]...)
		if s = s[n:]; s == "" {
			return dst, true
		}
		c, size := s[0], 1
		switch {
		case c == '%':
			b, ok := unescape(s)
			if !ok {
				return dst, false
			}
			c, size = b, 3
		case c == '+' && form:
			c = ' '
		}
		if unreserved[c] {
			dst = append(dst, c)
		} else {
			dst = appendTwiceEscaped(dst, c)
		}
		s = s[size:]
	}
}

// wellEncoded reports whether every "%" in s is followed by two hexadecimal digits.
func wellEncoded(s string) bool {
	for {
		i := strings.IndexByte(s, '%')
		if i < 0 {
			return true
		}
		if _, ok := unescape(s[i:]); !ok {
			return false
		}
		s = s[i+3:]
	}
}

// isProtocolName reports whether the decoded name of a parameter begins with "oauth_". Malformed
// encoding stays as it is, so that it can't hide the name in front of it.
func isProtocolName(name string) bool {
	const prefix = "oauth_"
	for i := range len(prefix) {
		if name == "" {
			return false
		}
		c, size := name[0], 1
		if c == '%' {
			if b, ok := unescape(name); ok {
				c, size = b, 3
			}
		}
		if c != prefix[i] {
			return false
		}
		name = name[size:]
	}
	return true
}

// pairs yields the names and values of a query or form, still encoded (section 3.4.1.3.1). Only "&"
// separates pairs, and the first "=" ends the name. A piece without "=" has an empty value. Empty
// pieces are skipped.
func pairs(s string) iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		for s := s; s != ""; {
			var piece string
			piece, s, _ = strings.Cut(s, "&")
			if piece == "" {
				continue
			}
			name, value, _ := strings.Cut(piece, "=")
			if !yield(name, value) {
				return
			}
		}
	}
}

// unescape reads the %XX at the beginning of s.
func unescape(s string) (byte, bool) {
	if len(s) < 3 || s[0] != '%' {
		return 0, false
	}
	hi, lo := hexDigit(s[1]), hexDigit(s[2])
	if hi > 15 || lo > 15 {
		return 0, false
	}
	return hi<<4 | lo, true
}

func hexDigit(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}

const digits = "0123456789ABCDEF"

func appendEscaped(dst []byte, c byte) []byte {
	return append(dst, '%', digits[c>>4], digits[c&15])
}

func appendTwiceEscaped(dst []byte, c byte) []byte {
	return append(dst, '%', '2', '5', digits[c>>4], digits[c&15])
}

// unreservedPrefix returns how many bytes at the beginning of s need no encoding.
func unreservedPrefix(s string) int {
	for i := range len(s) {
		if !unreserved[s[i]] {
			return i
		}
	}
	return len(s)
}

// unreserved holds the bytes that section 3.6 leaves unencoded.
var unreserved = func() (set [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~") {
		set[c] = true
	}
	return set
}()
