package caddymodule

import (
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// mostReadings is how many readings a request may have before it is refused: only hostile ones have more.
const mostReadings = 32

// methodOverrides are the headers in which some upstreams look for another method.
var methodOverrides = []string{"X-Http-Method-Override", "X-Http-Method", "X-Method-Override"}

// ambiguous reports whether the request could have more than one reading. Nearly none has.
func (h *Handler) ambiguous(r *http.Request) bool {
	for _, name := range methodOverrides {
		if _, ok := r.Header[name]; ok {
			return true
		}
	}
	return !h.Policies[0].unconditional() && ambiguousPath(r.URL)
}

func ambiguousPath(u *url.URL) bool {
	return strings.Contains(u.RawPath, "%2") || // a slash, perhaps, that does not divide
		strings.ContainsAny(u.Path, ";\\%\x00") || strings.Contains(u.Path, "//") || strings.Contains(u.Path, "/.")
}

// otherReadings gives the request as an upstream could take it that reads it in another way than Caddy's matchers: with
// another path, another method, or both. It is false where there are too many to judge.
//
// Caddy forwards a path as it was sent, but its matchers decode it once, resolve its dots and merge its slashes. So
// `/open/..;/admin` is under /open for them and under /admin for a Java server, and `/admin/../open` the other way round for
// an upstream that resolves nothing. Whatever an upstream takes a request for must be allowed.
func (h *Handler) otherReadings(r *http.Request) (iter.Seq[*http.Request], bool) {
	methods, paths := []string{r.Method}, []string{r.URL.Path}
	for _, name := range methodOverrides {
		methods = appendMethods(methods, r.Header[name])
	}
	if !h.Policies[0].unconditional() {
		paths = readPath(r.URL)
	}
	if len(methods)*len(paths) > mostReadings {
		return nil, false
	}
	return func(yield func(*http.Request) bool) {
		for i, method := range methods {
			for j, path := range paths {
				if i == 0 && j == 0 {
					continue // the request itself
				}
				other := *r
				other.Method, other.URL = method, new(url.URL)
				*other.URL = *r.URL
				if j > 0 {
					other.URL.Path, other.URL.RawPath = path, ""
				}
				if !yield(&other) {
					return
				}
			}
		}
	}, true
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

// pathReaders are what upstreams do with a path; Caddy's matchers do the rest.
var pathReaders = []func(string) string{
	withoutParameters,
	func(path string) string { return strings.ReplaceAll(path, `\`, "/") }, // Windows, and URLs as browsers read them
	decodeAgain,
	withoutAuthority,
	withDotsAsNames,
	resolveDots,
	func(path string) string { path, _, _ = strings.Cut(path, "\x00"); return path }, // C
}

// withoutParameters cuts the parameters off all segments (RFC 3986 section 3.3), as Java servers do.
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

// withDotsAsNames leaves `.` and `..` where they are. Caddy's matchers would resolve them, so they get another name.
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

// resolveDots resolves `.` and `..` as RFC 3986 section 5.2.4 has it: an empty segment is one like any other.
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

func mapSegments(path string, change func(string) string) string {
	segments := strings.Split(path, "/")
	for i, segment := range segments {
		segments[i] = change(segment)
	}
	return strings.Join(segments, "/")
}
