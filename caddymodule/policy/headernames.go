package policy

import "slices"

// HeaderNames are names of headers, and all that some server takes for one of them. Names are the
// same if their letters and digits are, in any case: CGI and WSGI make no difference between dashes
// and underscores either, PHP none to dots, and lighttpd none to any other character of a name.
type HeaderNames struct {
	names   []string // folded
	lengths uint64   // bit n: a name of n bytes (modulo 64) is among them
}

// NewHeaderNames makes the set of some names.
func NewHeaderNames(names []string) *HeaderNames {
	n := new(HeaderNames)
	for _, name := range names {
		n.names = append(n.names, FoldHeaderName(name))
		n.lengths |= 1 << (len(name) % 64)
	}
	return n
}

// Has reports whether a name is one of them. It looks at every header of every request, so it makes
// no garbage.
func (n *HeaderNames) Has(name string) bool {
	if n.lengths&(1<<(len(name)%64)) == 0 {
		return false
	}
	return slices.ContainsFunc(n.names, func(folded string) bool {
		if len(folded) != len(name) {
			return false
		}
		for i := range len(name) {
			if foldByte(name[i]) != folded[i] {
				return false
			}
		}
		return true
	})
}

// FoldHeaderName maps a header name to what all its spellings have in common.
func FoldHeaderName(name string) string {
	folded := []byte(name)
	for i, c := range folded {
		folded[i] = foldByte(c)
	}
	return string(folded)
}

func foldByte(c byte) byte {
	switch {
	case 'A' <= c && c <= 'Z':
		return c + 'a' - 'A'
	case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		return c
	}
	return '-'
}
