package oauth1

import "strings"

// Ambiguous reports whether another server may find other protocol parameters than Parse in a
// request that Parse accepts. Some servers search the Authorization header for names instead of
// reading it as a list, and take oauth.token, OAUTH_TOKEN or oauth_token[] in a query or form for
// oauth_token. A request is not ambiguous if each name that resembles an oauth_ parameter is one in
// its plain form, no value of the header can be taken for a parameter, and the header has its usual
// form: the scheme is OAuth in this case, and no blank is beside an equals sign. For a body that is
// no form, form is nil: the caller must judge it.
func Ambiguous(authorization []string, query string, form []byte) bool {
	for _, field := range authorization {
		if ambiguousHeader(field) {
			return true
		}
	}
	return ambiguousPairs(query) || ambiguousPairs(string(form))
}

func ambiguousHeader(field string) bool {
	list, ok := cutScheme(field)
	if !ok {
		return mentionsProtocol(field)
	}
	if !strings.HasPrefix(field, "OAuth ") {
		return true // other servers may overlook the header, and look elsewhere
	}
	for {
		name, value, rest, err := cutHeaderParam(list)
		switch {
		case err != nil:
			return true
		case name == "":
			return false
		case name == "realm":
			if mentionsProtocol(value) && strings.Contains(value, "=") {
				return true
			}
		case !plainProtocolName(name) && mentionsProtocol(name), ambiguousValue(name, value):
			return true
		case !strings.HasPrefix(skip(list, true)[len(name):], `="`):
			return true
		}
		list = rest
	}
}

// ambiguousValue reports whether a value of the header, which should be percent-encoded, may end
// early or hold a parameter, or is a consumer key with a byte that servers decode differently.
func ambiguousValue(name, value string) bool {
	if name == "oauth_consumer_key" {
		return strings.ContainsFunc(value, func(c rune) bool { return c != '%' && (c > '~' || !unreserved[c]) })
	}
	return strings.ContainsAny(value, ",; \t") || strings.Contains(value, "=") && mentionsProtocol(value)
}

// ambiguousPairs looks at a query or a form. Some servers also separate its parameters by ";".
func ambiguousPairs(s string) bool {
	for piece := range strings.SplitSeq(s, "&") {
		first, more, separated := strings.Cut(piece, ";")
		rawName, _, _ := strings.Cut(first, "=")
		name, ok := decode(rawName, true)
		if !ok {
			return true
		}
		protocol := plainProtocolName(name)
		if !protocol && strings.HasPrefix(strings.TrimLeft(folded(name), "_"), protocolPrefix) ||
			protocol && separated || mentionsProtocol(more) {
			return true
		}
	}
	return false
}

const protocolPrefix = "oauth_"

// plainProtocolName reports whether a name is oauth_ and lower-case letters and underscores. All
// servers read such a name alike.
func plainProtocolName(name string) bool {
	rest, ok := strings.CutPrefix(name, protocolPrefix)
	return ok && strings.Trim(rest, "abcdefghijklmnopqrstuvwxyz_") == ""
}

// mentionsProtocol reports whether a text, perhaps encoded, has the beginning of a protocol
// parameter's name anywhere.
func mentionsProtocol(s string) bool {
	if decoded, ok := decode(s, true); ok {
		s = decoded
	}
	return strings.Contains(folded(s), protocolPrefix)
}

// folded returns a text in lower case, with "_" for all but ASCII letters and digits.
func folded(s string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case 'A' <= c && c <= 'Z':
			return c - 'A' + 'a'
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
			return c
		}
		return '_'
	}, s)
}
