package policy

import (
	"context"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// mostReadings is how many readings a request may have before it is refused. Only hostile ones have
// more.
const mostReadings = 32

// methodOverrides finds the headers in which some upstreams look for another method.
var methodOverrides = NewHeaderNames([]string{
	"X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override",
})

// OverridesMethod reports whether some upstreams look for another method in a header of this name.
func OverridesMethod(name string) bool { return methodOverrides.Has(name) }

// ambiguous reports whether the request could have more than one reading. Hardly any request has.
func (rules *Rules) ambiguous(r *http.Request) bool {
	for name := range r.Header {
		if OverridesMethod(name) {
			return true
		}
	}
	return rules.policySight.path && ambiguousPath(r.URL) ||
		rules.policySight.query && ambiguousQuery(r.URL.RawQuery)
}

func ambiguousPath(u *url.URL) bool {
	return strings.Contains(u.RawPath, "%2") || // a slash, perhaps, that does not divide
		strings.ContainsAny(u.Path, ";\\%?#\x00") ||
		strings.Contains(u.Path, "//") || strings.Contains(u.Path, "/.")
}

// ambiguousQuery reports whether Go's parser, and so Caddy's matcher, rejects the query. Parsers of
// other servers do not.
func ambiguousQuery(query string) bool {
	return strings.Contains(query, ";") || badEscape(query) >= 0
}

// otherReadings yields the request as upstreams could take it that read it in another way than
// Caddy's matchers: with another path, query or method, or all of them. It returns false where
// there are too many.
//
// Caddy forwards a path as it was sent, but its matchers decode it once, resolve its dots and merge
// its slashes. So `/open/..;/admin` is under /open for them and under /admin for a Java server.
// `/admin/../open` is under /open for them and under /admin for an upstream that resolves nothing.
// Placeholders are not resolved at all: `{http.request.uri.path.0}` is "open" in the first, and
// "admin" in the second. The request must be allowed in every reading.
func (rules *Rules) otherReadings(r *http.Request) (iter.Seq[*http.Request], bool) {
	methods, paths, queries := methodsOf(r), []string{r.URL.Path}, []string{r.URL.RawQuery}
	if rules.policySight.path {
		paths = readPath(r.URL)
	}
	if rules.policySight.query {
		queries = readQuery(r.URL.RawQuery)
	}
	if len(methods)*len(paths)*len(queries) > mostReadings {
		return nil, false
	}
	return func(yield func(*http.Request) bool) {
		for i, method := range methods {
			for j, path := range paths {
				for k, query := range queries {
					if i == 0 && j == 0 && k == 0 {
						continue // the request itself
					}
					u := *r.URL
					u.RawQuery = query
					if j > 0 {
						u.Path, u.RawPath = path, ""
					}
					if !yield(reading(r, method, &u)) {
						return
					}
				}
			}
		}
	}, true
}

// reading is the request with another method and URL, and placeholders that say the same.
func reading(r *http.Request, method string, u *url.URL) *http.Request {
	ctx := r.Context()
	if original, ok := ctx.Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok {
		// The original URL gets the reading too, unless a rewrite other than handle_path changed
		// it.
		if prefix, ok := strings.CutSuffix(original.URL.Path, r.URL.Path); ok {
			originalURL := *original.URL
			originalURL.Path, originalURL.RawPath = prefix+u.Path, ""
			original.URL = &originalURL
			ctx = context.WithValue(ctx, caddyhttp.OriginalRequestCtxKey, original)
		}
	}
	// PrepareRequest binds the placeholders to the request that it returns. Of the context that it
	// makes only they are wanted: the rest is a new request's.
	repl := caddy.NewReplacer()
	other := caddyhttp.PrepareRequest(r, repl, nil, nil)
	*other = *r.WithContext(context.WithValue(ctx, caddy.ReplacerCtxKey, repl))
	other.Method, other.URL = method, u
	repl.Map(replacer(r).Get) // what it does not know, earlier handlers may have set
	return other
}

// methodsOf lists the methods that an upstream may take the request's for, its own first.
func methodsOf(r *http.Request) []string {
	methods := []string{r.Method}
	for name, fields := range r.Header {
		if OverridesMethod(name) {
			methods = appendMethods(methods, fields)
		}
	}
	return methods
}

func appendMethods(methods, fields []string) []string {
	for _, field := range fields {
		for method := range strings.SplitSeq(field, ",") {
			method = strings.ToUpper(strings.TrimSpace(method))
			if method != "" && !slices.Contains(methods, method) && len(methods) <= mostReadings {
				methods = append(methods, method)
			}
		}
	}
	return methods
}

// readPath lists what an upstream may take a path for, the path itself first.
func readPath(u *url.URL) []string {
	readings := []string{u.Path}
	if strings.Contains(u.RawPath, "%2") {
		masked := strings.NewReplacer("%2f", "%252f", "%2F", "%252f").Replace(u.RawPath)
		if path, err := url.PathUnescape(masked); err == nil && path != u.Path {
			readings = append(readings, path)
		}
	}
	for i := 0; i < len(readings) && len(readings) <= mostReadings; i++ {
		for _, read := range pathReaders {
			if path := read(readings[i]); !slices.Contains(readings, path) {
				readings = append(readings, path)
			}
		}
	}
	return readings
}

// readQuery lists what an upstream may take a query for, the query itself first. A semicolon
// divides parameters or is a part of a value; a percent sign that begins no escape stands for
// itself.
func readQuery(query string) []string {
	readings := []string{query}
	if !ambiguousQuery(query) {
		return readings
	}
	escaped := escapePercents(query)
	for _, semicolon := range []string{"&", "%3B"} {
		if read := strings.ReplaceAll(escaped, ";", semicolon); !slices.Contains(readings, read) {
			readings = append(readings, read)
		}
	}
	return readings
}

// escapePercents escapes the percent signs that begin no escape.
func escapePercents(query string) string {
	var escaped strings.Builder
	for bad := badEscape(query); bad >= 0; bad = badEscape(query) {
		escaped.WriteString(query[:bad])
		escaped.WriteString("%25")
		query = query[bad+1:]
	}
	escaped.WriteString(query)
	return escaped.String()
}

// badEscape finds the first percent sign that begins no escape; -1 where there is none.
func badEscape(query string) int {
	for i := range len(query) {
		if query[i] == '%' && (i+2 >= len(query) || !isHex(query[i+1]) || !isHex(query[i+2])) {
			return i
		}
	}
	return -1
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// pathReaders are what upstreams do with a path.
var pathReaders = []func(string) string{
	withoutParameters,
	func(path string) string { return strings.ReplaceAll(path, `\`, "/") }, // Windows and browsers
	decodeAgain,
	withoutAuthority,
	withDotsAsNames,
	resolveDots,
	mergeSlashes,
	func(path string) string { path, _, _ = strings.Cut(path, "\x00"); return path }, // C
	withoutQuery,
}

// withoutParameters cuts the parameters off all segments (RFC 3986 section 3.3), as Java servers
// do.
func withoutParameters(path string) string {
	if !strings.Contains(path, ";") {
		return path
	}
	return mapSegments(path, func(segment string) string {
		segment, _, _ = strings.Cut(segment, ";")
		return segment
	})
}

func decodeAgain(path string) string {
	if decoded, err := url.PathUnescape(path); err == nil {
		return decoded
	}
	return path
}

// withoutAuthority takes `//host/path` for a reference without a scheme (RFC 3986 section 4.2).
func withoutAuthority(path string) string {
	rest, ok := strings.CutPrefix(path, "//")
	if !ok {
		return path
	}
	_, path, _ = strings.Cut(rest, "/")
	return "/" + path
}

// withDotsAsNames leaves `.` and `..` where they are, under another name: Caddy's matchers would
// resolve them.
func withDotsAsNames(path string) string {
	if !strings.Contains(path, "/.") {
		return path
	}
	return mapSegments(path, func(segment string) string {
		if segment == "." || segment == ".." {
			return ":" + segment
		}
		return segment
	})
}

// resolveDots resolves `.` and `..` as RFC 3986 section 5.2.4 has it, where an empty segment counts
// like any other.
func resolveDots(path string) string {
	if !strings.Contains(path, "/.") {
		return path
	}
	var kept []string
	segments := strings.Split(strings.TrimPrefix(path, "/"), "/")
	for i, segment := range segments {
		switch segment {
		case ".", "..":
			if segment == ".." && len(kept) > 0 {
				kept = kept[:len(kept)-1]
			}
			if i == len(segments)-1 {
				kept = append(kept, "")
			}
		default:
			kept = append(kept, segment)
		}
	}
	return "/" + strings.Join(kept, "/")
}

// mergeSlashes merges slashes for all other matchers, as Caddy's matcher of paths does by itself.
func mergeSlashes(path string) string {
	for strings.Contains(path, "//") {
		path = strings.ReplaceAll(path, "//", "/")
	}
	return path
}

// withoutQuery cuts off what looks like a query or a fragment after decoding, as PHP's
// parse_url(urldecode($uri)) does.
func withoutQuery(path string) string {
	if i := strings.IndexAny(path, "?#"); i >= 0 {
		return path[:i]
	}
	return path
}

func mapSegments(path string, change func(string) string) string {
	segments := strings.Split(path, "/")
	for i, segment := range segments {
		segments[i] = change(segment)
	}
	return strings.Join(segments, "/")
}
