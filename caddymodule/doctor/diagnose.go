package doctor

import (
	"bytes"
	"cmp"
	"context"
	"hash"
	"io"
	"slices"
	"strings"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
)

// Diagnose finds the mistake that leads to the signature that came.
//
// The search is bounded by the case's limits, and ends early when ctx is done. The same case has
// always the same result, unless ctx ended it. A mistake is named only if its signature, compared
// as a whole and in constant time, is the one that came. Two mistakes that lead to the same
// signature cannot be told apart; the likelier one is named.
//
// What it returns depends on the secrets in one way only: on which of the alternatives' signatures is
// the one that came. So the sender of the request may see it, and learns no more than by sending one
// request for each alternative.
//
// It reads the case, and keeps nothing of it.
func Diagnose(ctx context.Context, c *Case) Diagnosis {
	var d Diagnosis
	text, err := c.Request.AppendBaseString(nil, &c.Params)
	if err != nil {
		return d
	}
	if c.Params.SignatureMethod != oauth1.Plaintext {
		d.BaseString = string(text)
	}
	if m, wrong := c.notAccepted(); wrong {
		d.Mistakes = []Mistake{m}
		return d
	}
	s := newSearch(ctx, c, text)
	defer s.close()
	if d.Valid = s.valid(); d.Valid {
		return d
	}
	s.run()
	d.Mistakes, d.Cut, d.RightKey = s.mistakes, s.cut && s.mistakes == nil, s.rightKey
	if s.signed != nil && !bytes.Equal(s.signed, text) {
		d.ClientBaseString = string(s.signed)
	}
	return d
}

// mostMistakes is how many mistakes of a client are found together.
const mostMistakes = 2

// search is the search for the mistakes of one case.
type search struct {
	ctx        context.Context
	c          *Case
	signatures int // that may still be tried
	bytes      int // that may still be made and hashed
	listCost   int // of writing all parameters, in bytes that are hashed
	cut        bool
	rsa        bool

	claims  []claim
	keys    []secretKey // none for RSA
	hashers []hash.Hash // of each key and hash, made when needed
	params  *paramList
	bases   []base // the right base string, and those with one mistake or a pair

	mistakes []Mistake // what was found
	signed   []byte    // the base string that was found
	rightKey bool
}

// A base is a signature base string in its three parts.
type base struct {
	method, uri, params []byte
	mistakes, more      []Mistake // two lists: they are joined only for what is found
}

// count is how many mistakes there are, each once.
func (b *base) count() int {
	n := len(b.mistakes)
	for i := range b.more {
		if !slices.ContainsFunc(b.mistakes, b.more[i].same) {
			n++
		}
	}
	return n
}

var ampersand = []byte("&")

func (b *base) write(w io.Writer) {
	for i, text := range [][]byte{b.method, b.uri, b.params} {
		if i > 0 {
			_, _ = w.Write(ampersand)
		}
		_, _ = w.Write(text)
	}
}

func (b *base) len() int { return len(b.method) + len(b.uri) + len(b.params) + 2 }

func (b *base) text() []byte {
	text := bytes.NewBuffer(make([]byte, 0, b.len()))
	b.write(text)
	return text.Bytes()
}

func newSearch(ctx context.Context, c *Case, text []byte) *search {
	s := &search{
		ctx:        ctx,
		c:          c,
		signatures: cmp.Or(c.Limits.Signatures, defaultSignatures),
		bytes:      cmp.Or(c.Limits.Bytes, defaultBytes),
		rsa:        c.Keys.PublicKey != nil,
	}
	if s.rsa {
		s.claims, s.rightKey = c.rsaClaims()
	} else {
		s.claims = hmacClaims(&c.Params)
		s.keys = c.secretKeys()
		s.hashers = make([]hash.Hash, len(s.keys)*len(hashes))
	}
	parts := bytes.SplitN(text, ampersand, 3)
	s.bases = []base{{method: parts[0], uri: parts[1], params: parts[2]}}
	s.listCost = listCost(bytes.Count(parts[2], []byte("%3D")), len(parts[2]))
	return s
}

func (s *search) close() { clearKeys(s.keys) }

// run tries the alternatives: first the form of the signature and the frequent mistakes with the
// key, then one mistake in the base string, then two.
func (s *search) run() {
	if !s.rsa && s.plaintext() {
		return
	}
	if len(s.claims) == 0 {
		if s.rsa {
			s.pss()
		}
		return
	}
	right := &s.bases[0]
	if s.try(right, 0) || s.tryKeys(right, (*secretKey).isFrequent) {
		return
	}
	if !s.spend(uriCost * s.c.uriLen()) {
		return
	}
	methods, uris := s.c.methodParts(), s.c.uriParts()
	var pairsOfURI []part
	single := func(method, uri, params []byte, mistakes []Mistake) bool {
		s.bases = append(s.bases, base{method, uri, params, mistakes, nil})
		return s.try(&s.bases[len(s.bases)-1], 0)
	}
	for _, uri := range uris[1:] {
		if len(uri.mistakes) > 1 {
			pairsOfURI = append(pairsOfURI, uri)
		} else if single(right.method, uri.text, right.params, uri.mistakes) {
			return
		}
	}
	for _, method := range methods[1:] {
		if single(method.text, right.uri, right.params, method.mistakes) {
			return
		}
	}
	urisEnd := len(s.bases)
	rare := func(k *secretKey) bool { return !k.isFrequent() }
	if s.tryKeys(right, rare) || s.swapped() {
		return
	}
	// A large request's parameters cost too much to be written again and again.
	if !s.spend(readCost * s.listCost) {
		return
	}
	s.params = s.c.paramList(right.params, s.claims)
	for i := range s.params.changes {
		change := &s.params.changes[i]
		text := s.write(listing{pairs: s.params.pairs}.after(change))
		if len(text) > 0 && single(right.method, right.uri, text, []Mistake{change.mistake}) {
			return
		}
	}
	for _, b := range s.queryInURL() {
		if single(b.method, b.uri, b.params, b.mistakes) {
			return
		}
	}
	for _, b := range s.lowerCase() {
		if single(b.method, b.uri, b.params, b.mistakes) {
			return
		}
	}
	singles := s.bases[1:]
	for i := range singles {
		if s.tryKeys(&singles[i], (*secretKey).isFrequent) {
			return
		}
	}
	for _, uri := range pairsOfURI {
		if s.try(&base{right.method, uri.text, right.params, uri.mistakes, nil}, 0) {
			return
		}
	}
	urls, params := s.bases[1:urisEnd], s.bases[urisEnd:]
	for i := range urls {
		for j := range params {
			a, b := &urls[i], &params[j]
			if bytes.Equal(b.uri, right.uri) && s.try(&base{a.method, a.uri, b.params, a.mistakes, b.mistakes}, 0) {
				return
			}
		}
	}
	for i := range urls {
		for j := range urls[:i] {
			a, b := &urls[i], &urls[j] // a method and a URL
			if !bytes.Equal(a.method, right.method) && bytes.Equal(b.method, right.method) &&
				s.try(&base{a.method, b.uri, right.params, b.mistakes, a.mistakes}, 0) {
				return
			}
		}
	}
	s.pairsOfParams(right)
}

// pairsOfParams tries two changes of the parameters, one of them a frequent one.
func (s *search) pairsOfParams(right *base) {
	changes := s.params.changes
	mistakes := make([][]Mistake, len(changes))
	for i := range changes {
		mistakes[i] = []Mistake{changes[i].mistake}
	}
	var scratch []byte
	for i := range changes {
		first := listing{pairs: s.params.pairs}.after(&changes[i])
		for j := range changes {
			if i == j || !changes[i].leads || changes[j].leads && j < i {
				continue
			}
			both := first.after(&changes[j])
			if !s.spend(both.cost()) {
				return
			}
			scratch = s.params.write(scratch[:0], both)
			if len(scratch) == 0 {
				continue
			}
			b := base{right.method, right.uri, scratch, mistakes[i], mistakes[j]}
			if s.try(&b, 0) {
				return
			}
		}
	}
}

// write returns the parameters after a change, or nothing if they were there before or cost too
// much.
func (s *search) write(of listing) []byte {
	size := len(s.bases[0].params)
	if !s.spend(of.cost()) {
		return nil
	}
	return s.params.write(make([]byte, 0, size+size/4), of)
}

// queryInURL returns base strings whose URL has the query.
func (s *search) queryInURL() []base {
	query := oauth1.StripQuery(s.c.Request.Query)
	if query == "" {
		return nil
	}
	right := s.bases[0]
	mistakes := []Mistake{{Name: queryInURL}}
	uri := oauth1.AppendEncode(append(slices.Clone(right.uri), "%3F"...), query)
	list := []base{{right.method, uri, right.params, mistakes, nil}}
	var f form
	alone := without(func(p *pair) bool { return p.from == oauth1.SourceQuery && !p.isProtocol() })(s.params.pairs)
	return append(list, base{right.method, uri, s.params.writer.append(nil, alone, &f), mistakes, nil})
}

// lowerCase returns base strings all of whose percent-encoding has lower-case digits.
func (s *search) lowerCase() []base {
	right := s.bases[0]
	lower := func(text []byte) []byte { return []byte(escapes(string(text), strings.ToLower)) }
	mistakes := []Mistake{{Name: escapesLowerCase}}
	inner := form{encode: func(s string) string { return escapes(oauth1.Encode(s), strings.ToLower) }}
	params := s.params.writer.append(nil, s.params.pairs, &inner)
	return []base{
		{right.method, lower(right.uri), lower(right.params), mistakes, nil},
		{right.method, lower(right.uri), lower(params), mistakes, nil},
	}
}

// Costs beside the hashing of a text itself, in bytes that are hashed.
const (
	hmacCost  = 256 // of an HMAC
	writeCost = 2   // of writing a byte of the parameters
	pairCost  = 80  // of sorting and writing a parameter
	uriCost   = 120 // of making all URLs, of each byte of one
	readCost  = 6   // of reading the parameters, in times that they are written
)

// spend takes the cost of one step off the limits. It is false when nothing is left.
func (s *search) spend(cost int) bool {
	if s.signatures <= 0 || s.bytes < cost || s.ctx.Err() != nil {
		s.cut = true
		return false
	}
	s.bytes -= cost
	return true
}

// tryKeys tries a base string with the wrong keys of one kind.
func (s *search) tryKeys(b *base, kind func(*secretKey) bool) bool {
	for key := 1; key < len(s.keys); key++ {
		if kind(&s.keys[key]) && s.try(b, key) {
			return true
		}
	}
	return false
}

// try compares the signature that came with that of a base string and a key.
func (s *search) try(b *base, key int) bool {
	own := b.count()
	for i := range s.claims {
		claim := &s.claims[i]
		n := len(claim.mistakes) + own
		if len(s.keys) > 0 {
			n += len(s.keys[key].mistakes)
		}
		if hasMistake(claim.mistakes, otherMethod) && (hasMistake(b.mistakes, otherMethod) || hasMistake(b.more, otherMethod)) {
			n-- // the same one
		}
		if n == 0 || n > mostMistakes { // without a mistake it would be valid
			continue
		}
		if !s.spend(b.len() + hmacCost) {
			return false
		}
		s.signatures--
		if !s.matches(claim, b, key) {
			continue
		}
		mistakes := join(claim.mistakes, join(b.mistakes, b.more))
		if len(s.keys) > 0 {
			mistakes = join(mistakes, s.keys[key].mistakes)
		}
		if len(mistakes) > 0 && len(mistakes) <= mostMistakes {
			return s.finds(b, mistakes)
		}
	}
	return false
}

func hasMistake(list []Mistake, name string) bool {
	return slices.ContainsFunc(list, func(m Mistake) bool { return m.Name == name })
}

// finds ends the search.
func (s *search) finds(b *base, mistakes []Mistake) bool {
	s.mistakes = mistakes
	if b != nil {
		s.signed = b.text()
	}
	return true
}

// join returns the mistakes of two lists, each once.
func join(a, b []Mistake) []Mistake {
	if len(b) == 0 {
		return a
	}
	all := slices.Clone(a)
	for _, m := range b {
		if !slices.ContainsFunc(all, m.same) {
			all = append(all, m)
		}
	}
	return all
}

// notAccepted reports that the consumer may not use its signature method.
func (c *Case) notAccepted() (Mistake, bool) {
	method := c.Params.SignatureMethod
	kind := oauth1.PublicKeyKind(c.Keys.PublicKey)
	accepted := c.Keys.Methods
	if len(accepted) == 0 {
		accepted = oauth1.SignatureMethods
	}
	var usable []string
	for _, m := range accepted {
		if oauth1.KeyKindOf(m) == kind {
			usable = append(usable, m)
		}
	}
	if slices.Contains(usable, method) {
		return Mistake{}, false
	}
	return Mistake{Name: methodNotAccepted, Signed: method, Expected: either(usable)}, true
}

// either joins words as a choice.
func either(words []string) string {
	switch n := len(words); n {
	case 0:
		return "another consumer"
	case 1:
		return words[0]
	default:
		return strings.Join(words[:n-1], ", ") + " or " + words[n-1]
	}
}

// valid reports whether the signature is right. A form that oauth_body_hash covers may be signed as
// parameters too. The base string of a large request is not made again where it need not be.
func (s *search) valid() bool {
	c := s.c
	key := oauth1.Key{
		ConsumerSecret: c.Keys.ConsumerSecret,
		TokenSecret:    c.Keys.TokenSecret,
		Public:         c.Keys.PublicKey,
	}
	if s.bases[0].len() <= smallText || c.hashedForm() {
		if oauth1.Verify(&c.Request, &c.Params, &key) == nil {
			return true
		}
	}
	s.bytes -= s.bases[0].len()
	for i := range s.claims {
		if len(s.claims[i].mistakes) == 0 && s.matches(&s.claims[i], &s.bases[0], 0) {
			return true
		}
	}
	if !c.hashedForm() {
		return false
	}
	withForm := c.Request
	withForm.Form = c.Body
	return oauth1.Verify(&withForm, &c.Params, &key) == nil
}

// smallText is the length of a base string that costs little.
const smallText = 64 << 10

// hashedForm reports whether the body is a form that oauth_body_hash covers.
func (c *Case) hashedForm() bool {
	return c.Params.HasBodyHash && c.Request.Form == nil && len(c.Body) > 0 && isFormType(c.ContentType)
}
