package oauth1

import "strings"

// SplitTarget cuts a request target into the Path and the Query of a Request, both as they were
// sent. The target begins with a slash, or is an http or https URL, whose scheme may be in any
// case. An empty path becomes a slash (RFC 9110 section 4.2.3).
func SplitTarget(target string) (path, query string) {
	path, query, _ = strings.Cut(target, "?")
	if strings.HasPrefix(path, "/") {
		return path, query
	}
	scheme, rest, _ := strings.Cut(path, "://")
	switch strings.ToLower(scheme) { // EqualFold would also accept letters other than ASCII's
	case "http", "https":
		if i := strings.IndexByte(rest, '/'); i >= 0 {
			return rest[i:], query
		}
	}
	return "/", query
}
