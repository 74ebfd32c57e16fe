package oauth1

import "testing"

func TestSplitTarget(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, target, path, query string }{
		{"a path", "/a%20b/c", "/a%20b/c", ""},
		{"a path and a query, as they were sent", "/a?b=%2F?c", "/a", "b=%2F?c"},
		{"an empty query", "/a?", "/a", ""},
		{"a URL", "https://h:8443/a//b?c", "/a//b", "c"},
		{"a URL with a scheme in upper case", "HTTP://h/a", "/a", ""},
		{"a URL with an empty path", "http://h?a=b", "/", "a=b"},
		{"a path that holds a URL", "/http://h/a", "/http://h/a", ""},
		{"no http URL", "ftp://h/a?b", "/", "b"},
		{"a scheme with a letter that folds to ASCII", "http\u017f://h/a", "/", ""},
		{"neither path nor URL", "*", "/", ""},
	} {
		if path, query := SplitTarget(c.target); path != c.path || query != c.query {
			t.Errorf("%s: got %q and %q, want %q and %q", c.name, path, query, c.path, c.query)
		}
	}
}
