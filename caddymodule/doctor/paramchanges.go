package doctor

import (
	"cmp"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
)

// A paramChange is an alternative of the parameters: other ones, or the same in another form.
type paramChange struct {
	mistake Mistake
	pairs   func([]*pair) []*pair // nil: the same
	form    func(*form)           // nil: the same
	// leads says that the change is often made together with another one.
	leads bool
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
