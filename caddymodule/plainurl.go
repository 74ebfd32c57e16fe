package caddymodule

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/refusal"
)

// The values of the option paths.
const (
	pathsStrict = "strict"
	pathsAsSent = "as_sent"
)

// checkPlain refuses a request whose URL is not in its plain form, so far as s looks at it: such a
// URL is one thing for Caddy's matchers and another for some upstreams. It looks at the URL that the
// upstream gets, and at the one that the client sent, which FastCGI hands on as well.
func (s sight) checkPlain(r *http.Request) *refusal.Problem {
	if !s.path && !s.query {
		return nil
	}
	if problem := s.checkPlainURL(r.URL.EscapedPath(), r.URL.RawQuery); problem != nil {
		return problem
	}
	original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
	if !ok {
		return nil
	}
	if original.RequestURI != r.RequestURI {
		s.path = true // what was rewritten may have the path in its query
	}
	return s.checkPlainURL(oauth1.SplitTarget(original.RequestURI))
}

func (s sight) checkPlainURL(path, query string) *refusal.Problem {
	if s.path {
		what := unplainPath(path)
		if what == "" && s.exact && endsEarly.MatchString(path) {
			what = "an encoded question mark or number sign"
		}
		if what != "" {
			return refusal.Path.About(what)
		}
	}
	if s.query {
		if what := unplainQuery(query); what != "" {
			return refusal.Query.About(what)
		}
	}
	return nil
}

// endsEarly finds what ends a path for those who parse it after decoding.
var endsEarly = regexp.MustCompile(`%(?:3[fF]|23)`)

// unplainPath says what keeps an escaped path from being a plain one; "" where nothing does. A plain
// path is a slash, segments, and slashes between them. A segment is UTF-8 in the characters that RFC
// 3986 section 3.3 has for it and their escapes. It is not empty, unless it is the last, and holds
// nothing that some servers take for the end of a segment, or for an instruction.
func unplainPath(path string) (what string) {
	if path == "" || path[0] != '/' {
		return "no slash at its beginning"
	}
	begin := 1
	for i := 1; i <= len(path); i++ {
		if i < len(path) && path[i] != '/' {
			if what := unplainByte(path, i); what != "" {
				return what
			}
			continue
		}
		switch segment := path[begin:i]; {
		case segment == "" && i < len(path):
			return "an empty segment"
		case dots(segment):
			return "a dot segment"
		case strings.IndexByte(segment, '%') >= 0 && !plainText(segment):
			return "an escape that is no character of UTF-8, or a control character"
		}
		begin = i + 1
	}
	return ""
}

// unplainByte says what is wrong with one byte of a segment, and the escape that may begin with it.
func unplainByte(path string, i int) string {
	c := path[i]
	if c == '%' {
		if i+2 >= len(path) || !isHex(path[i+1]) || !isHex(path[i+2]) {
			return "a percent sign that begins no escape"
		}
		switch strings.ToUpper(path[i+1 : i+3]) {
		case "2F":
			return "an encoded slash"
		case "5C":
			return "an encoded backslash"
		case "25":
			return "an encoded percent sign"
		case "3B":
			return "an encoded semicolon"
		case "00":
			return "an encoded NUL"
		}
		return ""
	}
	switch c {
	case '\\':
		return "a backslash"
	case ';':
		return "a semicolon"
	}
	if !segmentByte[c] {
		return "a character that a URL has as an escape only"
	}
	return ""
}

// dots reports whether a segment is `.` or `..` in one of its spellings.
func dots(segment string) bool {
	n := 0
	for segment != "" && n <= 2 {
		switch {
		case segment[0] == '.':
			segment = segment[1:]
		case len(segment) >= 3 && strings.EqualFold(segment[:3], "%2e"):
			segment = segment[3:]
		default:
			return false
		}
		n++
	}
	return n == 1 || n == 2
}

// plainText reports whether a segment with well-formed escapes is text without control characters.
// Overlong UTF-8, in which some servers find dots and slashes, is none.
func plainText(segment string) bool {
	text, err := url.PathUnescape(segment)
	return err == nil && utf8.ValidString(text) && !strings.ContainsFunc(text, unicode.IsControl)
}

// segmentByte holds the bytes of a segment but for escapes: RFC 3986 section 3.3 less the
// semicolon, and brackets, which clients send and Go keeps.
var segmentByte = func() (set [256]bool) {
	const other = "-._~!$&'()*+,=:@[]"
	for c := range set {
		set[c] = 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
			c < utf8.RuneSelf && strings.IndexByte(other, byte(c)) >= 0
	}
	return set
}()

// unplainQuery says what keeps a query from being a plain one; "" where nothing does: what divides
// parameters, and what a parameter is called, must be the same to every server.
func unplainQuery(query string) (what string) {
	switch {
	case strings.IndexByte(query, ';') >= 0:
		return "a semicolon"
	case strings.IndexByte(query, '#') >= 0:
		return "a number sign"
	case badEscape(query) >= 0:
		return "a percent sign that begins no escape"
	}
	for piece := range strings.SplitSeq(query, "&") {
		name, _, _ := strings.Cut(piece, "=")
		if name, err := url.QueryUnescape(name); err != nil || !plainName(name) {
			return "a parameter whose name holds a blank or a control character"
		}
	}
	return ""
}

// plainName reports whether no server changes a parameter's name: PHP drops blanks or puts an
// underscore in their place.
func plainName(name string) bool {
	return utf8.ValidString(name) && !strings.ContainsFunc(name, func(r rune) bool {
		return unicode.IsControl(r) || unicode.IsSpace(r)
	})
}
