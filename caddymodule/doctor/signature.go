package doctor

import (
	"bytes"
	"crypto"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"hash"
	"math/big"
	"slices"
	"strings"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
)

// A hashKind is a hash of the signature methods.
type hashKind struct {
	hash       crypto.Hash
	size       int
	make       func() hash.Hash
	hmac, rsa  string // the methods
	digestInfo []byte // stands before the hash in an RSA signature (RFC 8017, section 9.2)
}

// A claim is what the signature that came may stand for: the raw bytes of an HMAC, or the hash that
// an RSA signature holds, and the mistakes in the form of the signature that this takes.
type claim struct {
	hash     crypto.Hash
	raw      []byte
	mistakes []Mistake
	// again says that the hash was hashed again: as raw bytes, or as its hexadecimal digits.
	again hashedAgain
}

type hashedAgain uint8

const (
	hashedOnce hashedAgain = iota
	hashedTwice
	hashedHex
)

// maxSignature is more than the signature of any key that is in use.
const maxSignature = 4096

// decodings returns the raw bytes that a signature may stand for, the right form first, each once.
func decodings(signature string, fits func(n int) bool) (list []claim) {
	if len(signature) > maxSignature {
		return nil
	}
	add := func(raw []byte, err error, names ...string) {
		if err != nil || !fits(len(raw)) ||
			slices.ContainsFunc(list, func(c claim) bool { return bytes.Equal(c.raw, raw) }) {
			return
		}
		c := claim{raw: raw}
		for _, name := range names {
			c.mistakes = append(c.mistakes, Mistake{Name: name})
		}
		list = append(list, c)
	}
	text := func(s string, names ...string) {
		name := func(more ...string) []string { return append(slices.Clone(names), more...) }
		raw, err := base64.StdEncoding.Strict().DecodeString(s)
		if err == nil && base64.StdEncoding.EncodedLen(len(raw)) != len(s) {
			add(raw, nil, name(signatureBlank)...) // Go's decoder skips line ends
		} else {
			add(raw, err, names...)
		}
		if err == nil {
			digits, err := hex.DecodeString(string(bytes.TrimSpace(raw)))
			add(digits, err, name(signatureHexIn64)...)
		}
		raw, err = hex.DecodeString(s)
		add(raw, err, name(signatureHex)...)
		raw, err = base64.RawStdEncoding.DecodeString(s)
		add(raw, err, name(signaturePadding)...)
		raw, err = base64.URLEncoding.DecodeString(s)
		add(raw, err, name(signatureURLSafe)...)
		raw, err = base64.RawURLEncoding.DecodeString(s)
		if strings.ContainsAny(s, "-_") {
			add(raw, err, name(signatureURLSafe, signaturePadding)...)
		}
	}
	text(signature)
	if decoded, err := oauth1.Decode(signature); err == nil && decoded != signature {
		text(decoded, signatureEncoded)
	}
	for _, s := range []string{signature, strings.TrimSpace(signature)} { // it may begin or end with +
		if strings.Contains(s, " ") {
			text(strings.ReplaceAll(s, " ", "+"), signaturePlus)
		}
	}
	if bare := strings.Join(strings.Fields(signature), ""); bare != signature {
		text(bare, signatureBlank)
	}
	return list
}

// hashes are the hashes of the signature methods.
var hashes = []hashKind{
	{crypto.SHA1, sha1.Size, sha1.New, "HMAC-SHA1", "RSA-SHA1",
		[]byte{0x30, 0x21, 0x30, 0x09, 0x06, 0x05, 0x2b, 0x0e, 0x03, 0x02, 0x1a, 0x05, 0x00, 0x04, 0x14}},
	{crypto.SHA256, sha256.Size, sha256.New, "HMAC-SHA256", "RSA-SHA256",
		[]byte{0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20}},
	{crypto.SHA512, sha512.Size, sha512.New, "HMAC-SHA512", "RSA-SHA512",
		[]byte{0x30, 0x51, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03, 0x05, 0x00, 0x04, 0x40}},
}

// appendHash appends the hash of some texts, one after the other.
func appendHash(dst []byte, kind crypto.Hash, texts ...[]byte) []byte {
	h := kind.New()
	for _, text := range texts {
		h.Write(text)
	}
	return h.Sum(dst)
}

// hmacClaims returns what the signature may stand for as an HMAC. Its length tells the hash.
func hmacClaims(p *oauth1.Params) []claim {
	list := decodings(p.Signature, func(n int) bool {
		return n == sha1.Size || n == sha256.Size || n == sha512.Size
	})
	for i := range list {
		for _, h := range hashes {
			if h.size != len(list[i].raw) {
				continue
			}
			list[i].hash = h.hash
			if h.hmac != p.SignatureMethod {
				list[i].mistakes = append(list[i].mistakes,
					Mistake{Name: otherMethod, Signed: h.hmac, Expected: p.SignatureMethod})
			}
		}
	}
	return list
}

// rsaClaims returns what the signature may stand for as one of RSA with PKCS #1 v1.5. Each key is
// applied to it once; that yields the hash that was signed, which is compared with the alternatives.
// A key and a signature are no secrets, so math/big will do.
func (c *Case) rsaClaims() (list []claim, rightKey bool) {
	for i, key := range c.rsaKeys() {
		for _, d := range decodings(c.Params.Signature, func(n int) bool { return n == key.Size() }) {
			if i > 0 {
				d.mistakes = append(slices.Clone(d.mistakes), Mistake{Name: rsaOtherKey})
			}
			claims := c.opened(key, d)
			rightKey = rightKey || i == 0 && len(claims) > 0
			list = append(list, claims...)
		}
	}
	return list, rightKey
}

// rsaKeys returns the consumer's public keys, the right one first.
func (c *Case) rsaKeys() (keys []*rsa.PublicKey) {
	const most = 8
	for _, public := range append([]crypto.PublicKey{c.Keys.PublicKey}, c.Keys.OtherPublicKeys...) {
		key, ok := public.(*rsa.PublicKey)
		if ok && key != nil && key.N != nil && key.N.Sign() > 0 && key.N.BitLen() <= 8*maxSignature &&
			key.E > 1 && len(keys) < most {
			keys = append(keys, key)
		}
	}
	return keys
}

// opened returns the hashes that a signature holds, if it has the padding of PKCS #1 v1.5 under a
// key.
func (c *Case) opened(key *rsa.PublicKey, d claim) (list []claim) {
	signature := new(big.Int).SetBytes(d.raw)
	if signature.Cmp(key.N) >= 0 {
		return nil
	}
	message := signature.Exp(signature, big.NewInt(int64(key.E)), key.N).FillBytes(make([]byte, key.Size()))
	content, ok := bytes.CutPrefix(message, []byte{0, 1})
	if !ok {
		return nil
	}
	padding, content, ok := bytes.Cut(content, []byte{0})
	const leastPadding = 8
	if !ok || len(padding) < leastPadding || len(bytes.Trim(padding, "\xff")) > 0 {
		return nil
	}
	for _, h := range hashes {
		raw, named := bytes.CutPrefix(content, h.digestInfo)
		if len(raw) != h.size {
			continue
		}
		one := claim{hash: h.hash, raw: raw, mistakes: slices.Clone(d.mistakes)}
		if h.rsa != c.Params.SignatureMethod {
			one.mistakes = append(one.mistakes,
				Mistake{Name: otherMethod, Signed: h.rsa, Expected: c.Params.SignatureMethod})
		}
		if !named {
			one.mistakes = append(one.mistakes, Mistake{Name: rsaBareDigest})
		}
		list = append(list, one)
		over := append(slices.Clone(one.mistakes), Mistake{Name: rsaOverDigest})
		list = append(list,
			claim{hash: h.hash, raw: raw, mistakes: over, again: hashedTwice},
			claim{hash: h.hash, raw: raw, mistakes: over, again: hashedHex})
	}
	return list
}

// pss finds a signature of RSA-PSS over the right base string.
func (s *search) pss() bool {
	text := s.bases[0].text()
	for i, key := range s.c.rsaKeys() {
		for _, d := range decodings(s.c.Params.Signature, func(n int) bool { return n == key.Size() }) {
			for _, h := range hashes {
				mistakes := append(slices.Clone(d.mistakes), Mistake{Name: rsaPSS})
				if i > 0 {
					mistakes = append(mistakes, Mistake{Name: rsaOtherKey})
				}
				if h.rsa != s.c.Params.SignatureMethod {
					mistakes = append(mistakes,
						Mistake{Name: otherMethod, Signed: h.rsa, Expected: s.c.Params.SignatureMethod})
				}
				if len(mistakes) > mostMistakes || !s.spend(len(text)+rsaCost) {
					continue
				}
				if rsa.VerifyPSS(key, h.hash, appendHash(nil, h.hash, text), d.raw, nil) == nil {
					s.rightKey = s.rightKey || i == 0
					return s.finds(&s.bases[0], mistakes)
				}
			}
		}
	}
	return false
}

// rsaCost is the cost of one operation with a public key, in bytes that are hashed.
const rsaCost = 32 << 10

// hasher returns the HMAC function of a key, which remembers the key between texts.
func (s *search) hasher(key int, kind crypto.Hash) hash.Hash {
	i := slices.IndexFunc(hashes, func(h hashKind) bool { return h.hash == kind })
	slot := &s.hashers[key*len(hashes)+i]
	if *slot == nil {
		*slot = hmac.New(hashes[i].make, s.keys[key].text)
	}
	return *slot
}

// matches compares a claim with the HMAC of a base string under one key, or with its hash for RSA.
func (s *search) matches(c *claim, b *base, key int) bool {
	var sum [sha512.Size]byte
	var made []byte
	if s.rsa {
		h := c.hash.New()
		b.write(h)
		made = h.Sum(sum[:0])
		switch c.again {
		case hashedTwice:
			made = appendHash(nil, c.hash, made)
		case hashedHex:
			made = appendHash(nil, c.hash, hex.AppendEncode(nil, made))
		}
	} else {
		h := s.hasher(key, c.hash)
		h.Reset()
		b.write(h)
		made = h.Sum(sum[:0])
	}
	return subtle.ConstantTimeCompare(made, c.raw) == 1 && (s.rsa || !s.keys[key].void)
}

// swapped finds an HMAC whose key is the text, and whose text is the key.
func (s *search) swapped() bool {
	var text []byte
	for _, c := range s.claims {
		for k, key := range s.keys {
			mistakes := join(join(c.mistakes, key.mistakes), []Mistake{{Name: hmacSwapped}})
			if len(mistakes) > mostMistakes || !s.spend(2*s.bases[0].len()+hmacCost) {
				continue
			}
			if text == nil {
				text = s.bases[0].text()
			}
			i := slices.IndexFunc(hashes, func(h hashKind) bool { return h.hash == c.hash })
			h := hmac.New(hashes[i].make, text)
			h.Write(s.keys[k].text)
			if hmac.Equal(h.Sum(nil), c.raw) && !key.void {
				return s.finds(&s.bases[0], mistakes)
			}
		}
	}
	return false
}

// plaintext finds the key that a signature is, with its mistakes.
func (s *search) plaintext() bool {
	named := s.c.Params.SignatureMethod == oauth1.Plaintext
	signature := s.c.Params.Signature
	forms := []struct{ text, name string }{{signature, ""}}
	if decoded, err := oauth1.Decode(signature); err == nil && decoded != signature {
		forms = append(forms, struct{ text, name string }{decoded, signatureEncoded})
	}
	for _, form := range forms {
		for _, key := range s.keys {
			var mistakes []Mistake
			if form.name != "" {
				mistakes = []Mistake{{Name: form.name}}
			}
			if !named {
				mistakes = append(mistakes,
					Mistake{Name: otherMethod, Signed: oauth1.Plaintext, Expected: s.c.Params.SignatureMethod})
			}
			mistakes = join(mistakes, key.mistakes)
			if len(mistakes) == 0 || len(mistakes) > mostMistakes {
				continue
			}
			if subtle.ConstantTimeCompare([]byte(form.text), key.text) == 1 && !key.void {
				return s.finds(nil, mistakes)
			}
		}
	}
	return false
}
