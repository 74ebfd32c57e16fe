package doctor

import (
	"cmp"
	"hash/maphash"
	"math"
	"slices"
	"strings"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
)

// A pair is a parameter, decoded. If it was sent in a query or a form, it has its raw form too. Many
// lists share it, so it does not change.
type pair struct {
	name, value       string
	rawName, rawValue string
	from              oauth1.Source
	at                int // its place among those that were sent; added ones have none, and come last

	encodedName, encodedValue string // both encoded once
	// text is the pair as it stands in a base string, and text[:nameEnd] its name.
	text    string
	nameEnd int
}

// lastPlace is the place of a pair that was not sent.
const lastPlace = math.MaxInt

// newPair returns a pair that was not sent so.
func newPair(name, value string) *pair {
	p := &pair{name: name, value: value, at: lastPlace}
	p.encode()
	return p
}

func (p *pair) encode() {
	p.encodedName, p.encodedValue = oauth1.Encode(p.name), oauth1.Encode(p.value)
	text := oauth1.AppendEncode(make([]byte, 0, len(p.encodedName)+len(p.encodedValue)+16), p.encodedName)
	p.nameEnd = len(text)
	p.text = string(oauth1.AppendEncode(append(text, "%3D"...), p.encodedValue))
}

func (p *pair) isProtocol() bool { return strings.HasPrefix(p.name, "oauth_") }

func (p *pair) wasSent() bool { return p.from == oauth1.SourceQuery || p.from == oauth1.SourceForm }

// sentPairs cuts a query or a form as oauth1 does. It is false if an encoding is malformed.
func sentPairs(s string, from oauth1.Source) (list []*pair, ok bool) {
	for piece := range strings.SplitSeq(s, "&") {
		if piece == "" {
			continue
		}
		name, value, _ := strings.Cut(piece, "=")
		p := &pair{rawName: name, rawValue: value, from: from, at: lastPlace}
		var err1, err2 error
		p.name, err1 = formDecode(name)
		p.value, err2 = formDecode(value)
		if err1 != nil || err2 != nil {
			return nil, false
		}
		list = append(list, p)
	}
	return list, true
}

func formDecode(s string) (string, error) {
	return oauth1.Decode(strings.ReplaceAll(s, "+", " "))
}

// pairs returns the parameters that the signature covers, in the right order. Those of the header
// are the ones of the right base string that are neither in the query nor in the form.
func (c *Case) pairs(params string) []*pair {
	left := make(map[[2]string]int)
	var all []*pair
	for piece := range strings.SplitSeq(params, "%26") {
		name, value, _ := strings.Cut(piece, "%3D")
		p := &pair{name: decodedOr(decodedOr(name)), value: decodedOr(decodedOr(value)), from: oauth1.SourceHeader}
		all = append(all, p)
		left[[2]string{p.name, p.value}]++
	}
	query, _ := sentPairs(c.Request.Query, oauth1.SourceQuery)
	form, _ := sentPairs(string(c.Request.Form), oauth1.SourceForm)
	sent := slices.DeleteFunc(append(query, form...), func(p *pair) bool {
		key := [2]string{p.name, p.value}
		if left[key] == 0 {
			return true // oauth_signature, or a repeated token
		}
		left[key]--
		return false
	})
	header := slices.DeleteFunc(all, func(p *pair) bool {
		key := [2]string{p.name, p.value}
		if left[key] == 0 {
			return true
		}
		left[key]--
		return false
	})
	all = append(header, sent...)
	for i, p := range all {
		p.at = i
		p.encode()
	}
	// Nearly sorted lists are sorted soon, and most alternatives begin with this one.
	slices.SortStableFunc(all, func(a, b *pair) int {
		return cmp.Or(strings.Compare(a.encodedName, b.encodedName), strings.Compare(a.encodedValue, b.encodedValue))
	})
	return all
}

// A paramList holds the right parameters of a base string and their alternatives, each once.
type paramList struct {
	pairs   []*pair
	changes []paramChange
	writer  paramWriter
	seed    maphash.Seed
	seen    map[uint64]struct{}
}

func (c *Case) paramList(params []byte, claims []claim) *paramList {
	l := &paramList{
		pairs: c.pairs(string(params)),
		seed:  maphash.MakeSeed(),
		seen:  make(map[uint64]struct{}),
	}
	l.isNew(params)
	l.changes = c.paramChanges(l.pairs, claims)
	return l
}

func (l *paramList) isNew(text []byte) bool {
	sum := maphash.Bytes(l.seed, text)
	_, known := l.seen[sum]
	l.seen[sum] = struct{}{}
	return !known
}

// A listing is a list of parameters, and how they are written.
type listing struct {
	pairs []*pair
	form  form
}

// after returns a listing after a change.
func (l listing) after(c *paramChange) listing {
	if c.pairs != nil {
		l.pairs = c.pairs(l.pairs)
	}
	if c.form != nil {
		c.form(&l.form)
	}
	return l
}

// cost is what it takes to write the parameters, in bytes that are hashed.
func (l listing) cost() int {
	size := 0
	for _, p := range l.pairs {
		size += len(p.text)
	}
	return listCost(len(l.pairs), size)
}

// listCost is what it takes to write a number of parameters with a text of some size. Many of them
// don't fit into the processor's caches.
func listCost(pairs, size int) int {
	const cached = 16 << 10
	cost := pairCost*pairs + writeCost*size
	if cost > cached {
		cost *= 2
	}
	return cost
}

// write returns the parameters of a listing. It is empty if they were there before.
func (l *paramList) write(dst []byte, of listing) []byte {
	dst = l.writer.append(dst, of.pairs, &of.form)
	if !l.isNew(dst) {
		return dst[:0]
	}
	return dst
}
