package doctor

import (
	"cmp"
	"hash/maphash"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

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

// A paramChange is an alternative of the parameters: other ones, or the same in another form.
type paramChange struct {
	mistake Mistake
	pairs   func([]*pair) []*pair // nil: the same
	form    func(*form)           // nil: the same
	// leads says that the change is often made together with another one.
	leads bool
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

// paramChanges returns the alternatives, the likelier ones first.
func (c *Case) paramChanges(pairs []*pair, claims []claim) []paramChange {
	b := changeBuilder{pairs: pairs}
	b.places(c)
	b.protocol(c, claims)
	b.encodings()
	b.orders()
	b.values()
	b.repeats()
	for _, body := range c.bodyPairs() {
		b.change(body.name, func(p []*pair) []*pair { return append(slices.Clip(p), body.pairs...) })
	}
	return b.list
}

type changeBuilder struct {
	pairs []*pair
	list  []paramChange
}

func (b *changeBuilder) add(c paramChange) { b.list = append(b.list, c) }

func (b *changeBuilder) change(name string, pairs func([]*pair) []*pair) {
	b.add(paramChange{mistake: Mistake{Name: name}, pairs: pairs})
}

func (b *changeBuilder) write(name string, f func(*form)) {
	b.add(paramChange{mistake: Mistake{Name: name}, form: f})
}

// without returns a change that removes parameters.
func without(drop func(*pair) bool) func([]*pair) []*pair {
	return func(pairs []*pair) []*pair {
		kept := make([]*pair, 0, len(pairs)+1)
		for _, p := range pairs {
			if !drop(p) {
				kept = append(kept, p)
			}
		}
		return kept
	}
}

// each returns a change of each parameter that was sent in a query or a form.
func each(f func(*pair)) func([]*pair) []*pair {
	return func(pairs []*pair) []*pair {
		changed := slices.Clone(pairs)
		for i, p := range pairs {
			if !p.wasSent() {
				continue
			}
			other := *p
			if f(&other); other.name != p.name || other.value != p.value {
				other.encode()
				changed[i] = &other
			}
		}
		return changed
	}
}

const (
	// maxUsual is more than a realm or a Content-Type has, in bytes.
	maxUsual = 1 << 10
	// maxProtocol is how many oauth_ parameters are looked at one by one. The standard has ten.
	maxProtocol = 20
)

// places leaves out what is in a query, a form, or both.
func (b *changeBuilder) places(c *Case) {
	b.add(paramChange{mistake: Mistake{Name: queryLeftOut}, leads: true, pairs: without(func(p *pair) bool {
		return p.from == oauth1.SourceQuery && !p.isProtocol()
	})})
	b.add(paramChange{mistake: Mistake{Name: formLeftOut}, leads: true, pairs: without(func(p *pair) bool {
		return p.from == oauth1.SourceForm && !p.isProtocol()
	})})
	b.add(paramChange{mistake: Mistake{Name: onlyOAuthSigned}, leads: true, pairs: without(func(p *pair) bool {
		return !p.isProtocol()
	})})
	for _, realm := range []string{c.Params.Realm, ""} {
		if c.Params.Source == oauth1.SourceHeader && len(realm) <= maxUsual {
			b.add(paramChange{mistake: Mistake{Name: realmSigned}, leads: true, pairs: with("realm", realm)})
		}
	}
	b.change(signatureSigned, with("oauth_signature", ""))
}

func with(name, value string) func([]*pair) []*pair {
	added := newPair(name, value)
	return func(pairs []*pair) []*pair { return append(slices.Clip(pairs), added) }
}

// protocol changes the parameters of the protocol.
func (b *changeBuilder) protocol(c *Case, claims []claim) {
	sent := make(map[string]bool)
	for _, p := range b.pairs {
		if !p.isProtocol() || sent[p.name] || len(sent) == maxProtocol {
			continue
		}
		sent[p.name] = true
		name := p.name
		is := func(p *pair) bool { return p.name == name }
		set := func(value string) func([]*pair) []*pair {
			add, remove := with(name, value), without(is)
			return func(pairs []*pair) []*pair { return add(remove(pairs)) }
		}
		often := name == "oauth_version" || name == "oauth_body_hash" || name == "oauth_token"
		b.add(paramChange{mistake: Mistake{Name: oauthLeftOut, Parameter: shown(name)}, leads: often, pairs: without(is)})
		if decoded := decodedOr(p.value); decoded != p.value {
			b.add(paramChange{mistake: Mistake{Name: oauthEncodedLess, Parameter: shown(name)}, pairs: set(decoded)})
		}
		if encoded := oauth1.Encode(p.value); encoded != p.value {
			b.add(paramChange{mistake: Mistake{Name: oauthEncodedMore, Parameter: shown(name)}, pairs: set(encoded)})
		}
		switch name {
		case "oauth_token", "oauth_callback", "oauth_verifier", "oauth_body_hash", "oauth_version":
			b.add(paramChange{mistake: Mistake{Name: oauthEmpty, Parameter: name}, pairs: set("")})
		}
	}
	for _, name := range []string{"oauth_token", "oauth_callback", "oauth_verifier", "oauth_body_hash", "oauth_version"} {
		if !sent[name] {
			b.add(paramChange{mistake: Mistake{Name: oauthEmpty, Parameter: name}, leads: name == "oauth_token",
				pairs: with(name, "")})
		}
	}
	notSent := func(name, value string) {
		if !sent[name] {
			b.add(paramChange{mistake: Mistake{Name: oauthNotSent, Parameter: name}, leads: true, pairs: with(name, value)})
		}
	}
	notSent("oauth_version", "1.0")
	notSent("oauth_callback", "oob")
	body := c.Request.Form
	if body == nil {
		body = c.Body
	}
	notSent("oauth_body_hash", oauth1.BodyHash(c.Params.SignatureMethod, body))
	for _, claim := range claims {
		for _, m := range claim.mistakes {
			if m.Name == otherMethod {
				method := func(p *pair) bool { return p.name == "oauth_signature_method" }
				add, remove := with("oauth_signature_method", m.Signed), without(method)
				b.add(paramChange{mistake: m, pairs: func(pairs []*pair) []*pair { return add(remove(pairs)) }})
			}
		}
	}
}

// encodings are wrong ways to encode names and values.
func (b *changeBuilder) encodings() {
	encode := func(name string, encode func(string) string) {
		b.write(name, func(f *form) { f.encode = encode })
		b.write(name, func(f *form) { f.encode, f.sentOnly = encode, true })
	}
	same := func(s string) string { return s }
	encode(spaceAsPlus, func(s string) string { return strings.ReplaceAll(oauth1.Encode(s), "%20", "+") })
	encode(uriComponent, uriComponentOf)
	encode(paramsEncodedOnce, same)
	b.write(paramsEncodedOnce, func(f *form) { f.outer = same })
	b.write(paramsEncodedOnce, func(f *form) { f.outer, f.sentOnly = same, true })
	encode(slashUnencoded, func(s string) string { return strings.ReplaceAll(oauth1.Encode(s), "%2F", "/") })
	encode(tildeEncoded, func(s string) string { return strings.ReplaceAll(oauth1.Encode(s), "~", "%7E") })
	encode(bracketsUnencoded, bracketsBack.Replace)
	encode(escapesLowerCase, func(s string) string { return escapes(oauth1.Encode(s), strings.ToLower) })
	encode(paramsEncodedMore, func(s string) string { return oauth1.Encode(oauth1.Encode(s)) })
	// All parameters once more, with what joins them.
	b.write(paramsEncodedMore, func(f *form) {
		f.outer = func(s string) string { return oauth1.Encode(oauth1.Encode(s)) }
		f.equals, f.and = "%253D", "%2526"
	})
	b.write(partsNotEncoded, func(f *form) { f.outer, f.equals, f.and = same, "=", "&" })
	b.write(equalsDropped, func(f *form) { f.noEquals = true })
}

var bracketsBack = encodeThen(strings.NewReplacer("%5B", "[", "%5D", "]"))

// encodeThen is the standard's encoding, of which a part is undone.
type encodeReplacer struct{ undo *strings.Replacer }

func encodeThen(undo *strings.Replacer) encodeReplacer { return encodeReplacer{undo} }

func (e encodeReplacer) Replace(s string) string { return e.undo.Replace(oauth1.Encode(s)) }

var uriComponentBack = encodeThen(strings.NewReplacer("%21", "!", "%27", "'", "%28", "(", "%29", ")", "%2A", "*"))

// uriComponentOf encodes as JavaScript's encodeURIComponent does.
func uriComponentOf(s string) string { return uriComponentBack.Replace(s) }

func (b *changeBuilder) orders() {
	for _, o := range []struct {
		name  string
		order order
	}{
		{sortedUnencoded, byDecoded},
		{sortedAsPairs, byPair},
		{sortedByNameOnly, byNameOnly},
		{sortedIgnoringCase, byFolded},
		{notSorted, asSent},
		{notSorted, asSentHeaderLast},
	} {
		b.write(o.name, func(f *form) { f.order = o.order })
	}
}

// values are other readings of the names and values that were sent.
func (b *changeBuilder) values() {
	both := func(f func(string) string) func(*pair) {
		return func(p *pair) { p.name, p.value = f(p.name), f(p.value) }
	}
	b.change(plusLiteral, each(func(p *pair) { p.name, p.value = decodedOr(p.rawName), decodedOr(p.rawValue) }))
	b.change(valuesNotDecoded, each(func(p *pair) { p.name, p.value = p.rawName, p.rawValue }))
	b.change(valuesDecodedTwice, each(both(decodedOr)))
	b.change(valuesDecodedTwice, each(both(func(s string) string {
		if decoded, err := formDecode(s); err == nil {
			return decoded
		}
		return s
	})))
	b.change(unicodeForm, each(both(norm.NFC.String)))
	b.change(unicodeForm, each(both(norm.NFD.String)))
	b.change(charsetLatin1, each(both(toLatin1)))
	b.change(charsetLatin1, each(both(fromLatin1)))
}

// toLatin1 turns UTF-8 into ISO-8859-1, if it can be.
func toLatin1(s string) string {
	latin := make([]byte, 0, len(s))
	for _, r := range s {
		if r > 0xff || r == utf8.RuneError {
			return s
		}
		latin = append(latin, byte(r))
	}
	return string(latin)
}

func fromLatin1(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for i := range len(s) {
		b.WriteRune(rune(s[i]))
	}
	return b.String()
}

// repeats are wrong ways with repeated and empty parameters.
func (b *changeBuilder) repeats() {
	count := make(map[string]int)
	for _, p := range b.pairs {
		if !p.isProtocol() {
			count[p.name]++
		}
	}
	keep := func(first bool) func([]*pair) []*pair {
		return func(pairs []*pair) []*pair {
			pairs = slices.Clone(pairs)
			slices.SortStableFunc(pairs, func(a, b *pair) int { return cmp.Compare(a.at, b.at) })
			left := make(map[string]int, len(count))
			for _, p := range pairs {
				left[p.name]++
			}
			total := make(map[string]int, len(left))
			for name, n := range left {
				total[name] = n
			}
			return without(func(p *pair) bool {
				if p.isProtocol() {
					return false
				}
				n := left[p.name]
				left[p.name]--
				return first && n != total[p.name] || !first && n != 1
			})(pairs)
		}
	}
	b.change(repeatsDropped, keep(false))
	b.change(repeatsDropped, keep(true))
	b.change(emptyDropped, without(func(p *pair) bool { return p.value == "" && !p.isProtocol() }))
	b.change(bracketsDropped, each(func(p *pair) {
		if i := strings.IndexByte(p.name, '['); i > 0 && strings.HasSuffix(p.name, "]") {
			p.name = p.name[:i]
		}
	}))
	b.change(bracketsAdded, each(func(p *pair) {
		if count[p.name] > 1 {
			p.name += "[]"
		}
	}))
}
