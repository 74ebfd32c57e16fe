package oauth1

import (
	"bytes"
	"slices"
	"strings"
	"sync"
)

// Request holds the parts of a request that a signature covers besides the protocol parameters, as
// the client sent them. The base string has the method in upper case, and the host in lower case
// without a default port (http 80, https 443).
type Request struct {
	Method string // in any case
	Scheme string // "http" or "https", in any case
	Host   string // with its port, in any case
	Path   string // encoded, without the query; "" means "/"
	Query  string // raw, without "?"
	Form   []byte // the raw body of a form (application/x-www-form-urlencoded), else nil
}

// AppendBaseString appends the signature base string (RFC 5849, section 3.4.1) to dst. Protocol
// parameters in the Authorization header come from p, and those in the query or form from r. The
// base string does not contain the realm, nor the oauth_signature of the source that p was read
// from.
//
// A *ParamError says that the query or form holds malformed percent-encoding. In that case dst is
// returned unchanged.
func (r *Request) AppendBaseString(dst []byte, p *Params) ([]byte, error) {
	n := newNormalizer()
	defer n.free()
	sent := len(r.Query) + len(r.Form)
	n.text = slices.Grow(n.text, sent+sent/8) // encoding makes it longer, seldom by more
	if err := n.addHeader(p); err != nil {
		return dst, err
	}
	if err := n.addPairs(r.Query, SourceQuery, p); err != nil {
		return dst, err
	}
	if err := n.addPairs(string(r.Form), SourceForm, p); err != nil {
		return dst, err
	}
	dst = AppendEncode(dst, strings.ToUpper(r.Method))
	dst = append(dst, '&')
	dst = r.appendBaseURI(dst)
	dst = append(dst, '&')
	return n.appendTo(dst), nil
}

// appendBaseURI appends the encoded base string URI (section 3.4.1.2).
func (r *Request) appendBaseURI(dst []byte) []byte {
	scheme, host := strings.ToLower(r.Scheme), strings.ToLower(r.Host)
	switch scheme {
	case "http":
		host = strings.TrimSuffix(host, ":80")
	case "https":
		host = strings.TrimSuffix(host, ":443")
	}
	dst = AppendEncode(dst, scheme)
	dst = AppendEncode(dst, "://")
	dst = AppendEncode(dst, host)
	if r.Path == "" {
		return AppendEncode(dst, "/")
	}
	return AppendEncode(dst, r.Path)
}

// normalizer makes the normalized parameters (section 3.4.1.3.2) as the base string has them, which
// encodes them again (section 3.4.1.1). It encodes every name and value twice in one pass. The
// second encoding only puts "25" after each "%", so it does not change the order.
type normalizer struct {
	text   []byte // all parameters, as "name%3Dvalue", one after the other
	params []span
}

// span is a parameter: its name is text[name:equals], its value text[value:end].
type span struct{ name, equals, end int }

// equalsSign is an encoded "=".
const equalsSign = "%3D"

func (s span) value() int { return s.equals + len(equalsSign) }

var normalizers = sync.Pool{New: func() any { return new(normalizer) }}

func newNormalizer() *normalizer {
	n := normalizers.Get().(*normalizer)
	n.text, n.params = n.text[:0], n.params[:0]
	return n
}

// maxPooled is more than API requests need. Larger buffers are left to the garbage collector.
const maxPooled = 64 << 10

func (n *normalizer) free() {
	if cap(n.text) <= maxPooled && cap(n.params) <= maxPooled/16 {
		normalizers.Put(n)
	}
}

// addHeader adds the parameters of the Authorization header. They come from Params, in sorted
// order, or from the header itself if it holds parameters that Params does not have.
func (n *normalizer) addHeader(p *Params) error {
	if p.Source == SourceHeader && p.header == "" {
		n.addKnown(p, sentBodyHash, "oauth_body_hash", p.BodyHash)
		n.addKnown(p, sentCallback, "oauth_callback", p.Callback)
		n.addKnown(p, sentConsumerKey, "oauth_consumer_key", p.ConsumerKey)
		n.addKnown(p, sentNonce, "oauth_nonce", p.Nonce)
		n.addKnown(p, sentSignatureMethod, "oauth_signature_method", p.SignatureMethod)
		n.addKnown(p, sentTimestamp, "oauth_timestamp", p.Timestamp)
		n.addKnown(p, sentToken, "oauth_token", p.Token)
		n.addKnown(p, sentVerifier, "oauth_verifier", p.Verifier)
		n.addKnown(p, sentVersion, "oauth_version", p.Version)
		return nil
	}
	list := p.header
	for {
		name, value, rest, err := cutHeaderParam(list)
		if err != nil {
			return err
		}
		if name == "" {
			return nil
		}
		if name != "realm" && !n.add(name, value, false, true) {
			return errMalformed(SourceHeader)
		}
		list = rest
	}
}

// addKnown adds a decoded parameter, if it was sent. The name needs no encoding.
func (n *normalizer) addKnown(p *Params, bit sent, name, value string) {
	if p.sent&bit == 0 {
		return
	}
	s := span{name: len(n.text)}
	n.text = append(n.text, name...)
	s.equals = len(n.text)
	n.text = append(n.text, equalsSign...)
	n.text = appendTwiceEncoded(n.text, value)
	s.end = len(n.text)
	n.params = append(n.params, s)
}

func (n *normalizer) addPairs(s string, source Source, p *Params) error {
	for name, value := range pairs(s) {
		if p.again && name == "oauth_token" {
			continue // the token in the header is added instead
		}
		if !n.add(name, value, true, p.Source == source) {
			return errMalformed(source)
		}
	}
	return nil
}

// add adds a parameter that is still encoded. It skips oauth_signature in the source that the
// parameters were read from.
func (n *normalizer) add(name, value string, form, isSource bool) bool {
	s := span{name: len(n.text)}
	var nameOK, valueOK bool
	n.text, nameOK = appendReencoded(n.text, name, form)
	s.equals = len(n.text)
	if isSource && string(n.text[s.name:]) == "oauth_signature" {
		n.text = n.text[:s.name]
		return wellEncoded(value)
	}
	n.text = append(n.text, equalsSign...)
	n.text, valueOK = appendReencoded(n.text, value, form)
	s.end = len(n.text)
	n.params = append(n.params, s)
	return nameOK && valueOK
}

// appendTo sorts the parameters by their names, then values, joins them, and appends the result.
func (n *normalizer) appendTo(dst []byte) []byte {
	text := n.text
	slices.SortFunc(n.params, func(a, b span) int {
		if c := bytes.Compare(text[a.name:a.equals], text[b.name:b.equals]); c != 0 {
			return c
		}
		return bytes.Compare(text[a.value():a.end], text[b.value():b.end])
	})
	dst = slices.Grow(dst, len(text)+len("%26")*len(n.params))
	for i, s := range n.params {
		if i > 0 {
			dst = append(dst, "%26"...)
		}
		dst = append(dst, text[s.name:s.end]...)
	}
	return dst
}
