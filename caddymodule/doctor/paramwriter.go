package doctor

import (
	"cmp"
	"slices"
	"strings"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
)

// An order is how parameters are sorted.
type order uint8

const (
	byEncoded order = iota
	byDecoded
	byPair
	byFolded
	byNameOnly
	asSent
	asSentHeaderLast
)

// A form is how parameters are written: in which order, and in which encoding.
type form struct {
	order order
	// encode encodes a name or a value for the normalized parameters. nil: as the standard says.
	encode func(string) string
	// sentOnly applies encode to the parameters other than oauth_ ones.
	sentOnly bool
	// outer encodes an encoded text for the base string. nil: once more, as the standard says.
	outer func(string) string
	// equals and and join names, values and parameters. Default: encoded ones.
	equals, and string
	noEquals    bool // no equals sign after names without a value
}

// paramWriter writes parameters as they stand in a base string. It keeps its memory.
type paramWriter struct {
	inner []innerPair
	order []int32 // the sorted positions in inner
}

// innerPair is a parameter whose name and value are encoded once.
type innerPair struct {
	name, value string
	standard    bool // nothing differs from the standard's encoding
}

func (w *paramWriter) append(dst []byte, pairs []*pair, f *form) []byte {
	w.inner, w.order = w.inner[:0], w.order[:0]
	encode, outer := oauth1.Encode, oauth1.Encode
	if f.encode != nil {
		encode = f.encode
	}
	if f.outer != nil {
		outer = f.outer
	}
	for i, p := range pairs {
		inner := innerPair{standard: f.encode == nil && f.outer == nil || f.sentOnly && p.isProtocol()}
		if inner.standard || f.encode == nil {
			inner.name, inner.value = p.encodedName, p.encodedValue
		} else {
			inner.name, inner.value = encode(p.name), encode(p.value)
		}
		w.inner, w.order = append(w.inner, inner), append(w.order, int32(i))
	}
	w.sort(f.order, pairs)
	for i, at := range w.order {
		p := &w.inner[at]
		if i > 0 {
			dst = append(dst, cmp.Or(f.and, "%26")...)
		}
		whole := pairs[at]
		switch {
		case p.standard && f.noEquals && p.value == "":
			dst = append(dst, whole.text[:whole.nameEnd]...)
		case p.standard && f.equals == "":
			dst = append(dst, whole.text...)
		case p.standard:
			dst = append(dst, whole.text[:whole.nameEnd]...)
			dst = append(dst, f.equals...)
			dst = oauth1.AppendEncode(dst, p.value)
		default:
			dst = append(dst, outer(p.name)...)
			if f.noEquals && p.value == "" {
				continue
			}
			dst = append(dst, cmp.Or(f.equals, "%3D")...)
			dst = append(dst, outer(p.value)...)
		}
	}
	return dst
}

func (w *paramWriter) sort(o order, pairs []*pair) {
	var compare func(a, b int32) int
	byPlace := func(a, b int32) int { return cmp.Compare(pairs[a].at, pairs[b].at) }
	byName := func(a, b int32) int { return strings.Compare(w.inner[a].name, w.inner[b].name) }
	byValue := func(a, b int32) int { return strings.Compare(w.inner[a].value, w.inner[b].value) }
	switch o {
	case byEncoded:
		compare = func(a, b int32) int {
			if n := byName(a, b); n != 0 {
				return n
			}
			return byValue(a, b)
		}
	case byDecoded:
		compare = func(a, b int32) int {
			return cmp.Or(strings.Compare(pairs[a].name, pairs[b].name),
				strings.Compare(pairs[a].value, pairs[b].value))
		}
	case byPair:
		compare = func(a, b int32) int {
			return strings.Compare(w.inner[a].name+"="+w.inner[a].value, w.inner[b].name+"="+w.inner[b].value)
		}
	case byFolded:
		compare = func(a, b int32) int {
			return cmp.Or(strings.Compare(strings.ToLower(w.inner[a].name), strings.ToLower(w.inner[b].name)),
				byValue(a, b), byPlace(a, b))
		}
	case byNameOnly:
		compare = func(a, b int32) int { return cmp.Or(byName(a, b), byPlace(a, b)) }
	case asSentHeaderLast:
		compare = func(a, b int32) int {
			return cmp.Or(cmp.Compare(headerLast(pairs[a]), headerLast(pairs[b])), byPlace(a, b))
		}
	default:
		compare = byPlace
	}
	slices.SortStableFunc(w.order, compare)
}

func headerLast(p *pair) int {
	if p.wasSent() {
		return 0
	}
	return 1
}
