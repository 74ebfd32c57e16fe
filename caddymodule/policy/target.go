package policy

import "strings"

// PlainTarget reports whether a request target (RFC 9112 section 3.2) is a path, or an http or
// https URL with a host and no user. The asterisk form, the authority form and all other URLs mean
// something else to each server.
func PlainTarget(target string) bool {
	if strings.HasPrefix(target, "/") {
		return true
	}
	scheme, rest, ok := strings.Cut(target, "://")
	if !ok || !equalASCII(scheme, "http") && !equalASCII(scheme, "https") {
		return false
	}
	authority := rest
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		authority = rest[:i]
	}
	return authority != "" && authority[0] != ':' && !strings.ContainsAny(authority, `@\`)
}

// equalASCII compares with an ASCII text in any case. Unicode has other letters that fold to some
// of ASCII's; each is longer than one byte.
func equalASCII(s, ascii string) bool {
	return len(s) == len(ascii) && strings.EqualFold(s, ascii)
}

// PlainMethod reports whether a method is written in upper case, in the characters that a policy
// can name: many upstreams take `delete` for DELETE, as the signature base string does (RFC 5849
// section 3.4.1.1), and no policy does.
func PlainMethod(method string) bool {
	return !strings.ContainsFunc(method, func(c rune) bool { return !methodLetter(c) })
}

// methodLetter reports whether a character may be in the name of a method that a rule is about: the
// methods that exist have letters and dashes, in upper case. (RFC 9110 section 5.6.2 allows more,
// but not the comma that some people try.)
func methodLetter(c rune) bool {
	return 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}
