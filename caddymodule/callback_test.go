package caddymodule

import (
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
		{"custom scheme of nobody", open, "myapp:/back", false},
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
		{"another case", registered, "https://APP.test/oauth/x", false},
		{"a custom scheme", registered, "myapp:/back/x", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			if err := checkCallback(test.consumer, test.callback); (err == nil) != test.ok {
				t.Errorf("%q: %v", test.callback, err)
			}
		})
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
		if checkCallback(consumer, callback) == nil && !strings.HasPrefix(callback, "https://app.test/oauth/") {
			t.Errorf("%q is accepted, and is not registered", callback)
		}
	})
}
