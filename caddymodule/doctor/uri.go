package doctor

import (
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
)

// A part is a part of a base string as it stands there, encoded, with the mistakes that lead to it.
// The first of a list is the right one, and has no mistakes.
type part struct {
	text     []byte
	mistakes []Mistake
}

// methodParts returns the method and its alternatives.
func (c *Case) methodParts() []part {
	method := strings.ToUpper(c.Request.Method)
	list := []part{{text: oauth1.AppendEncode(nil, method)}}
	add := func(name, signed string) {
		text := oauth1.AppendEncode(nil, signed)
		if !slices.ContainsFunc(list, func(p part) bool { return string(p.text) == string(text) }) {
			list = append(list, part{text, []Mistake{{Name: name, Signed: signed, Expected: method}}})
		}
	}
	add(httpMethodCase, strings.ToLower(method))
	for _, other := range []string{"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"} {
		add(httpMethod, other)
	}
	return list
}

// A place is a value of the URL with the mistake that leads to it.
type place struct {
	value   string
	mistake *Mistake // nil: the right one
}

type places []place

func (p *places) add(name, value string) {
	right := (*p)[0].value
	if slices.ContainsFunc(*p, func(other place) bool { return other.value == value }) {
		return
	}
	*p = append(*p, place{value, &Mistake{Name: name, Signed: withoutUser(value), Expected: withoutUser(right)}})
}

// withoutUser removes what stands before the last @ of a host.
func withoutUser(s string) string {
	if strings.HasPrefix(s, "/") {
		return s
	}
	return s[strings.LastIndexByte(s, '@')+1:]
}

// uriLen is the length of what the URLs are made of.
func (c *Case) uriLen() int {
	return len(c.Request.Host) + len(c.Request.Path) + len(c.Host) + len(c.ForwardedHost) + len(c.BaseURL) +
		len(c.SentPath) + len(c.RewrittenTarget)
}

// uriParts returns the base string URI and its alternatives: each scheme, host and path with one
// mistake, then the pairs of a scheme and a host, and of an origin and a path.
func (c *Case) uriParts() []part {
	schemes, hosts, paths := c.schemes(), c.hosts(), c.paths()
	var list []part
	add := func(s, h, p *place) {
		part := part{text: make([]byte, 0, 64+len(h.value)+len(p.value))}
		part.text = oauth1.AppendEncode(part.text, s.value+"://"+bareHost(s.value, h))
		part.text = oauth1.AppendEncode(part.text, p.value)
		for _, place := range []*place{s, h, p} {
			if place.mistake != nil {
				part.mistakes = append(part.mistakes, *place.mistake)
			}
		}
		list = append(list, part)
	}
	scheme, host, path := &schemes[0], &hosts[0], &paths[0]
	add(scheme, host, path)
	for i := range schemes[1:] {
		add(&schemes[1+i], host, path)
	}
	for i := range hosts[1:] {
		add(scheme, &hosts[1+i], path)
	}
	for i := range paths[1:] {
		add(scheme, host, &paths[1+i])
	}
	list = append(list, part{
		text:     []byte(scheme.value + "://" + host.value + path.value),
		mistakes: []Mistake{{Name: urlNotEncoded}},
	})
	for i := range schemes[1:] {
		for j := range hosts[1:] {
			add(&schemes[1+i], &hosts[1+j], path)
		}
		for j := range paths[1:] {
			add(&schemes[1+i], host, &paths[1+j])
		}
	}
	for i := range hosts[1:] {
		for j := range paths[1:] {
			add(scheme, &hosts[1+i], &paths[1+j])
		}
	}
	return list
}

// bareHost returns a host without the default port of the scheme, unless the mistake is the port.
func bareHost(scheme string, h *place) string {
	if h.mistake != nil && h.mistake.Name == portAdded {
		return h.value
	}
	return dropPort(scheme, h.value)
}

func dropPort(scheme, host string) string {
	switch scheme {
	case "http", "ws":
		return strings.TrimSuffix(host, ":80")
	case "https", "wss":
		return strings.TrimSuffix(host, ":443")
	}
	return host
}

func (c *Case) schemes() places {
	right := strings.ToLower(c.Request.Scheme)
	list := places{{value: right}}
	sockets := []string{"wss", "ws"}
	if right == "http" {
		list.add(scheme, "https")
		slices.Reverse(sockets)
	} else {
		list.add(scheme, "http")
	}
	for _, socket := range sockets {
		list.add(schemeWebSocket, socket)
	}
	return list
}

func (c *Case) hosts() places {
	scheme := strings.ToLower(c.Request.Scheme)
	right := dropPort(scheme, strings.ToLower(c.Request.Host))
	list := places{{value: right}}
	name := func(host string) string { return dropPort(scheme, strings.ToLower(host)) }
	if c.Host != "" {
		list.add(hostHeader, name(c.Host))
	}
	if c.ForwardedHost != "" {
		list.add(hostForwarded, name(c.ForwardedHost))
	}
	if base, err := url.Parse(c.BaseURL); err == nil && base.Host != "" {
		list.add(hostBaseURL, name(base.Host))
	}
	if host, _, err := net.SplitHostPort(right); err == nil {
		if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		list.add(portLeftOut, host)
	} else {
		ports := []string{":443", ":80"}
		if scheme == "http" {
			slices.Reverse(ports)
		}
		for _, port := range ports {
			list.add(portAdded, right+port)
		}
	}
	if c.Host != "" && strings.EqualFold(dropPort(scheme, c.Host), right) {
		list.add(hostUpperCase, dropPort(scheme, c.Host))
	}
	list.add(hostUpperCase, strings.ToUpper(right))
	if bare, ok := strings.CutPrefix(right, "www."); ok {
		list.add(hostWWW, bare)
	} else {
		list.add(hostWWW, "www."+right)
	}
	return list
}

func (c *Case) paths() places {
	right := c.Request.Path
	if right == "" {
		right = "/"
	}
	list := places{{value: right}}
	if right == "/" {
		list.add(pathLeftOut, "")
	} else if bare, ok := strings.CutSuffix(right, "/"); ok {
		list.add(pathSlash, bare)
	} else {
		list.add(pathSlash, right+"/")
	}
	if c.RewrittenTarget != "" {
		path, _ := oauth1.SplitTarget(c.RewrittenTarget)
		list.add(pathRewritten, path)
	}
	if c.SentPath != "" {
		list.add(pathPrefix, c.SentPath)
	}
	if base, err := url.Parse(c.BaseURL); err == nil && base.Path != "" {
		list.add(pathPrefix, strings.TrimSuffix(base.EscapedPath(), "/")+right)
	}
	for i, rest := 0, right; i < 2; i++ { // a prefix that a proxy adds
		slash := strings.IndexByte(rest[min(1, len(rest)):], '/')
		if slash < 0 {
			break
		}
		rest = rest[1+slash:]
		list.add(pathPrefix, rest)
	}
	for _, digits := range []func(string) string{strings.ToLower, strings.ToUpper} {
		list.add(pathEscapeCase, escapes(right, digits))
	}
	if decoded, err := oauth1.Decode(right); err == nil {
		list.add(pathDecoded, decoded)
	}
	list.add(pathEncodedTwice, eachSegment(right, oauth1.Encode))
	list.add(pathReencoded, eachSegment(right, func(s string) string { return oauth1.Encode(decodedOr(s)) }))
	list.add(pathReencoded, eachSegment(right, func(s string) string { return url.PathEscape(decodedOr(s)) }))
	list.add(pathReencoded, eachSegment(right, func(s string) string { return uriComponentOf(decodedOr(s)) }))
	list.add(pathReencoded, strings.ReplaceAll(right, "%20", "+"))
	list.add(pathLowerCase, strings.ToLower(right))
	return list
}

func eachSegment(path string, f func(string) string) string {
	segments := strings.Split(path, "/")
	for i := range segments {
		segments[i] = f(segments[i])
	}
	return strings.Join(segments, "/")
}

// decodedOr decodes a text once, and returns a malformed one as it is.
func decodedOr(s string) string {
	if decoded, err := oauth1.Decode(s); err == nil {
		return decoded
	}
	return s
}

// escapes applies f to the percent-encoded bytes of a text.
func escapes(s string, f func(string) string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			b.WriteString(f(s[i : i+3]))
			i += 2
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
