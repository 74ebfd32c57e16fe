package caddymodule

import (
	"net/url"
	"strings"
	"testing"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

func TestCheckCallback(t *testing.T) {
	open := &tokenstore.Consumer{Key: "open"}
	registered := &tokenstore.Consumer{Key: "registered", Callbacks: []string{
		"https://app.test/back", "https://app.test/oauth/*", "myapp:/back*",
	}}
	for _, test := range []struct {
		name     string
		consumer *tokenstore.Consumer
		callback string
		ok       bool
	}{
		{"https", open, "https://app.test/back?x=1", true},
		{"http", open, "http://127.0.0.1:8000/", true},
		{"IPv6", open, "http://[::1]:8000/", true},
		{"no host", open, "https:///back", false},
		{"opaque", open, "https:app.test", false},
		{"port without host", open, "https://:443/", false},
		{"relative", open, "/back", false},
		{"without a scheme", open, "//app.test/", false},
		{"empty", open, "", false},
		{"userinfo", open, "https://bank.test@evil.test/", false},
		{"javascript", open, "javascript:alert(1)", false},
		{"javascript in capitals", open, "JAVASCRIPT:alert(1)", false},
		{"javascript behind a space", open, " javascript:alert(1)", false},
		{"javascript with a tab", open, "java\tscript:alert(1)", false},
		{"data", open, "data:text/html,x", false},
		{"vbscript", open, "vbscript:x", false},
		{"file", open, "file:///etc/passwd", false},
		{"backslash", open, `https://app.test\@evil.test/`, false},
		{"newline", open, "https://app.test/\r\nSet-Cookie: a=b", false},
		{"NUL", open, "https://app.test/\x00", false},
		{"non-ASCII", open, "https://äpp.test/", false},
		{"an international name", open, "https://xn--pp-fka.test/", true},
		{"an escaped name, which looks like another", open, "https://%D0%B0pp.test/", false},
		{"an escaped mark that turns the line round", open, "https://%E2%80%AEtest.ppa/", false},
		{"a zone", open, "http://[fe80::1%25lo]/", false},
		{"fragment", open, "https://app.test/#token", false},
		{"quote", open, `https://app.test/"><script>`, false},
		{"unregistered custom scheme", open, "myapp:/back", false},
		{"too long", open, "https://app.test/" + strings.Repeat("a", 2048), false},

		{"registered exactly", registered, "https://app.test/back", true},
		{"registered exactly, and a query more", registered, "https://app.test/back?x=1", false},
		{"registered prefix", registered, "https://app.test/oauth/done?x=1", true},
		{"out of the prefix by ..", registered, "https://app.test/oauth/../evil", false},
		{"out of the prefix by %2e", registered, "https://app.test/oauth/%2E%2e/evil", false},
		{"out of the prefix by %2f", registered, "https://app.test/oauth/x/..%2Fevil", false},
		{"dots in the query are data", registered, "https://app.test/oauth/x?y=/../", true},
		{"another host", registered, "https://app.test.evil.test/oauth/x", false},
		{"another scheme", registered, "http://app.test/oauth/x", false},
		{"the host in another case", registered, "HTTPS://APP.test/oauth/x", true},
		{"the path in another case", registered, "https://app.test/OAuth/x", false},
		{"the default port", registered, "https://app.test:443/back", true},
		{"an empty port", registered, "https://app.test:/back", true},
		{"another port", registered, "https://app.test:8443/back", false},
		{"the default port of another scheme", registered, "https://app.test:80/back", false},
		{"a custom scheme", registered, "myapp:/back/x", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			if err := checkCallback(test.consumer, test.callback); (err == nil) != test.ok {
				t.Errorf("%q: %v", test.callback, err)
			}
		})
	}
}

// TestLoopbackCallbacks: RFC 8252 section 7.3.
func TestLoopbackCallbacks(t *testing.T) {
	for _, test := range []struct {
		name, registered, callback string
		ok                         bool
	}{
		{"IPv4", "http://127.0.0.1/done", "http://127.0.0.1:53412/done", true},
		{"IPv4 without a port", "http://127.0.0.1/done", "http://127.0.0.1/done", true},
		{"registered with a port", "http://127.0.0.1:8080/done", "http://127.0.0.1:53412/done", true},
		{"IPv6", "http://[::1]/done", "http://[::1]:53412/done", true},
		{"by name", "http://localhost/done", "http://LOCALHOST:53412/done", true},
		{"a folder", "http://localhost/app/*", "http://localhost:53412/app/x?y", true},
		{"another path", "http://127.0.0.1/done", "http://127.0.0.1:53412/other", false},
		{"another of its names", "http://localhost/done", "http://127.0.0.1:53412/done", false},
		{"a name that begins so", "http://localhost/done", "http://localhost.evil.test:53412/done", false},
		{"an address that begins so", "http://127.0.0.1/done", "http://127.0.0.1.evil.test:53412/done", false},
		{"user information", "http://127.0.0.1/done", "http://127.0.0.1:53412@evil.test/done", false},
		{"https", "https://localhost/done", "https://localhost:53412/done", false},
		{"another computer", "http://192.168.0.1/done", "http://192.168.0.1:53412/done", false},
		{"one that is not registered", "https://app.test/done", "http://127.0.0.1:53412/done", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := &tokenstore.Consumer{Callbacks: []string{test.registered}}
			if err := checkCallback(c, test.callback); (err == nil) != test.ok {
				t.Errorf("%q for %q: %v", test.callback, test.registered, err)
			}
		})
	}
}

func TestCallbacksAreComparedAsURLs(t *testing.T) {
	for _, test := range []struct {
		name, registered, callback string
		ignoreQuery, ok            bool
	}{
		{"no path is the root", "https://app.test", "https://app.test/", false, true},
		{"no path, and a query", "https://app.test/?a=b", "https://app.test?a=b", false, true},
		{"registered with the default port", "http://app.test:80/x", "http://app.test/x", false, true},
		{"registered in capitals", "https://App.Test/x", "https://app.test/x", false, true},
		{"escapes are not read", "https://app.test/~me", "https://app.test/%7Eme", false, false},
		{"a custom scheme with a host", "myapp://Done/x", "MyApp://done/x", false, true},
		{"a custom scheme's path", "myapp:/Done", "myapp:/done", false, false},
		{"a query that is not free", "https://app.test/x", "https://app.test/x?a=b", false, false},
		{"a free query", "https://app.test/x", "https://app.test/x?a=b", true, true},
		{"a free query, and none", "https://app.test/x?a=b", "https://app.test/x", true, true},
		{"a free query of the root", "https://app.test", "https://app.test?a=b", true, true},
		{"a free query, another path", "https://app.test/x", "https://app.test/xy?a=b", true, false},
		{"a free query of a custom scheme", "myapp:done", "myapp:done?a=b", true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := &tokenstore.Consumer{Callbacks: []string{test.registered}, CallbacksIgnoreQuery: test.ignoreQuery}
			if err := checkCallback(c, test.callback); (err == nil) != test.ok {
				t.Errorf("%q for %q: %v", test.callback, test.registered, err)
			}
		})
	}
}

func TestCallbackOptions(t *testing.T) {
	one, two := []string{"https://app.test/x"}, []string{"https://app.test/x", "https://app.test/y"}
	for _, test := range []struct {
		name string
		c    tokenstore.Consumer
		want string
	}{
		{"a default of one", tokenstore.Consumer{Callbacks: one, DefaultCallback: true}, ""},
		{"a default of two", tokenstore.Consumer{Callbacks: two, DefaultCallback: true}, "default_callback: needs exactly one"},
		{"a default without callbacks", tokenstore.Consumer{DefaultCallback: true}, "default_callback: needs exactly one"},
		{"a folder as default", tokenstore.Consumer{Callbacks: []string{"https://app.test/*"}, DefaultCallback: true}, "without a *"},
		{"free queries of one", tokenstore.Consumer{Callbacks: one, CallbacksIgnoreQuery: true}, ""},
		{"free queries without callbacks", tokenstore.Consumer{CallbacksIgnoreQuery: true}, "has no callbacks"},
	} {
		err := checkCallbackOptions(&test.c)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
}

func TestCheckCallbackPattern(t *testing.T) {
	for pattern, ok := range map[string]bool{
		"https://app.test/back":     true,
		"https://app.test/*":        true,
		"myapp:/back*":              true,
		"https://app.test*":         false,
		"https://*":                 false,
		"https://app.test/*/x":      false,
		"*":                         false,
		"javascript:alert(1)":       false,
		"https://u:p@app.test/back": false,
	} {
		if err := checkCallbackPattern(pattern); (err == nil) != ok {
			t.Errorf("%q: %v", pattern, err)
		}
	}
}

func TestCallbackWith(t *testing.T) {
	for _, test := range [][4]string{
		{"https://app.test/back", "k", "v", "https://app.test/back?oauth_token=k&oauth_verifier=v"},
		{"https://app.test/back?", "k", "v", "https://app.test/back?oauth_token=k&oauth_verifier=v"},
		{"https://app.test/back?a=b%20c", "k", "v", "https://app.test/back?a=b%20c&oauth_token=k&oauth_verifier=v"},
		{"https://app.test/back", "k", "", "https://app.test/back?oauth_token=k"},
		{"myapp:/back", "k", "v", "myapp:/back?oauth_token=k&oauth_verifier=v"},
	} {
		if got := callbackWith(test[0], test[1], test[2]); got != test[3] {
			t.Errorf("%q: got %q, want %q", test[0], got, test[3])
		}
	}
}

func FuzzCheckCallback(f *testing.F) {
	for _, seed := range []string{"https://app.test/back", "javascript:alert(1)", `https://a\@b/`, "https://u@h/", "myapp:x", "https://h/%2e%2e/"} {
		f.Add(seed)
	}
	consumer := &tokenstore.Consumer{Callbacks: []string{"https://app.test/oauth/*"}}
	f.Fuzz(func(t *testing.T, callback string) {
		if checkCallback(new(tokenstore.Consumer), callback) == nil {
			if !strings.HasPrefix(strings.ToLower(callback), "http://") && !strings.HasPrefix(strings.ToLower(callback), "https://") {
				t.Errorf("%q is accepted of anybody", callback)
			}
			if strings.ContainsAny(callback, "\\\r\n\t \"<>#") {
				t.Errorf("%q is accepted", callback)
			}
		}
		if checkCallback(consumer, callback) != nil {
			return
		}
		u, err := url.Parse(callback)
		if err != nil || u.Scheme != "https" || strings.ToLower(u.Hostname()) != "app.test" ||
			u.Port() != "" && u.Port() != "443" || !strings.HasPrefix(u.Path, "/oauth/") {
			t.Errorf("%q is accepted, and is not registered", callback)
		}
	})
}
