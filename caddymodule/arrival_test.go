package caddymodule

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/command"
)

// TestPolicyCommandSites: the sites of a configuration that a URL reaches. Cases with several
// servers run often: Caddy keeps servers in a map, and its order differs from run to run.
func TestPolicyCommandSites(t *testing.T) {
	const (
		open   = "oauth1 {\n policy {\n anonymous\n }\n }\n reverse_proxy 127.0.0.1:9\n"
		closed = "oauth1 {\n policy {\n deny\n }\n }\n reverse_proxy 127.0.0.1:9\n"
		behind = "oauth1 {\n base_url https://api.example.com\n policy /open/* {\n anonymous\n }\n }\n"
		passes = "answer:  passes to the upstream\n"
		denied = "answer:  403 This request is denied.\n"

		anonymous = "request: GET /open/x\nwho:     nobody (anonymous)\npolicy:  1 of 1: anonymous\n"
		unchecked = "no oauth1 directive is on the way of this request, so nobody checks it; reverse_proxy answers\n"
	)
	site := func(address, body string) string { return address + " {\n" + body + "}\n" }
	for _, test := range []struct {
		name, sites, url string
		want             string // the error; "" passes
		says             []string
	}{
		{
			"one host at two binds: both are told, and one refusal refuses",
			site("http://api.test", "bind 127.0.0.1\n"+open) + site("http://api.test", "bind 127.0.0.2\n"+closed),
			"http://api.test/x", "the request is refused",
			[]string{
				"server:  srv0, listening on 127.0.0.1:80\nrequest: GET /x\n",
				passes + "\nserver:  srv1, listening on 127.0.0.2:80\nrequest: GET /x\n", denied,
			},
		},
		{
			"one host at two binds that let it pass",
			site("http://api.test", "bind 127.0.0.1\n"+open) + site("http://api.test", "bind 127.0.0.2\n"+open),
			"http://api.test/x", "", []string{"srv0, ", "srv1, "},
		},
		{
			"a bind without the host has no say",
			site("http://api.test", "bind 127.0.0.1\n"+open) + site("http://other.test", "bind 127.0.0.2\n"+closed),
			"http://api.test/x", "", []string{"policy:  1 of 1: anonymous\n" + passes},
		},
		{
			"one host at two binds, one of them without oauth1",
			site("http://api.test", "bind 127.0.0.1\n"+closed) + site("http://api.test", "bind 127.0.0.2\nrespond ok\n"),
			"http://api.test/x", "the request is refused", []string{denied, "passes: no oauth1 directive is on the way"},
		},
		{
			"a host that no site has", site("http://api.test", open),
			"http://api.tset/x", `no site of this configuration serves the host "api.tset"`, nil,
		},
		{
			"a host that no bind has",
			site("http://api.test", "bind 127.0.0.1\n"+open) + site("http://other.test", "bind 127.0.0.2\n"+open),
			"http://third.test/x", `no site of this configuration serves the host "third.test"`, nil,
		},
		{
			"a site without a host has every host",
			site("http://", open),
			"http://any.test/x",
			"",
			[]string{passes},
		},
		{"a host in upper case", site("http://api.test", open), "http://API.test/x", "", []string{passes}},
		{
			"a wildcard has a label",
			site("http://*.api.test", open),
			"http://a.api.test/x",
			"",
			[]string{passes},
		},
		{
			"a wildcard has one label only", site("http://*.api.test", open),
			"http://a.b.api.test/x", `no site of this configuration serves the host "a.b.api.test"`, nil,
		},
		{
			"a host of a wildcard that its site leaves out",
			site("http://*.api.test", "@a host a.api.test\nhandle @a {\n"+open+"}\n"),
			"http://b.api.test/x", "nothing answers the request",
			[]string{"answer:  none: a site serves this host, but nothing in it answers"},
		},
		{
			"a path that its site leaves out", site("http://api.test", "header X y\nencode gzip\nhandle /v1/* {\n"+open+"}\n"),
			"http://api.test/v2/x", "nothing answers the request", []string{"answer:  none: "},
		},
		{
			"a handler that answers in place of oauth1 is named",
			site("http://api.test", "handle /v1/* {\n"+open+"}\nreverse_proxy 127.0.0.1:9\n"),
			"http://api.test/v2/x", "", []string{unchecked},
		},
		{
			"a port where nothing listens", site("http://api.test:8080", open),
			"http://api.test/x", "no site of this configuration listens on port 80", nil,
		},
		{
			"an invalid port", site("http://api.test", open),
			"http://api.test:99999/x", `port "99999": must be a number from 1 to 65535`, nil,
		},
		{
			"https on a port that speaks http", site("http://api.test:8080", open),
			"https://api.test:8080/x", "no site of this configuration speaks https on port 8080", nil,
		},
		{
			"http on a port that speaks https", site("https://api.test:8443", open),
			"http://api.test:8443/x", "no site of this configuration speaks http on port 8443", nil,
		},
		{
			"the redirect of automatic HTTPS", site("https://api.test", open),
			"http://api.test/x?a=1", "the request is redirected",
			[]string{"answer:  308 to https://api.test/x?a=1: ask about that URL\n"},
		},
		{
			"the redirect of automatic HTTPS, for a host that no site has", site("https://api.test", open),
			"http://api.tset/x", `no site of this configuration serves the host "api.tset"`, nil,
		},
		{
			"the redirect beside a site of its own port", site("https://api.test", open) + site("http://other.test", closed),
			"http://api.test/x", "the request is redirected", []string{"answer:  308 to https://api.test/x"},
		},
		{
			"certificates on demand have every host", site("https://", "tls {\n on_demand\n }\n"+open),
			"https://any.test/x", "", []string{passes},
		},
		{
			"certificates on demand, redirected", site("https://", "tls {\n on_demand\n }\n"+open),
			"http://any.test/x", "the request is redirected", []string{"answer:  308 to https://any.test/x"},
		},
		{
			"a matcher of addresses",
			site("http://api.test", "@here client_ip 127.0.0.0/8\nhandle @here {\n"+open+"}\n"),
			"http://api.test/x",
			"",
			[]string{passes},
		},

		{
			"base_url, without a host", site("http://:8080", behind), "https://api.example.com/open/x", "",
			[]string{"server:  srv0, listening on :8080, behind the base_url https://api.example.com\n" + anonymous + passes},
		},
		{
			"base_url, refused", site("http://:8080", behind), "https://api.example.com/x", "the request is refused",
			[]string{"policy:  none of 1 matches\n"},
		},
		{
			"base_url, its port written out",
			site("http://:8080", behind),
			"https://API.example.com:443/open/x",
			"",
			[]string{passes},
		},
		{
			"base_url, at a host of the site's own",
			site("http://internal.test:8080", behind),
			"https://api.example.com/open/x",
			"",
			[]string{passes},
		},
		{
			"base_url, at a wildcard of the site's own",
			site("http://*.internal.test:8080", behind),
			"https://api.example.com/open/x",
			"",
			[]string{passes},
		},
		{
			"base_url, at a socket",
			site("http://", "bind unix//run/caddy-test.sock\n"+behind),
			"https://api.example.com/open/x",
			"",
			[]string{passes},
		},
		{
			"base_url, inside handle and host matchers",
			site("http://*.test:8080", "@a host a.test\nhandle @a {\n respond a\n}\n"+
				"@b host b.test\nhandle @b {\nhandle_path /v1/* {\n"+behind+"}\n}\n"),
			"https://api.example.com/v1/open/x", "", []string{"request: GET /open/x\n", passes},
		},
		{
			"base_url, in a named route", "&(guarded) {\n" + behind + "}\n" + site("http://:8080", "invoke guarded\n"),
			"https://api.example.com/open/x", "", []string{passes},
		},
		{
			"base_url, a way past oauth1", site("http://:8080", "respond /health ok\n"+behind),
			"https://api.example.com/health", "the request is refused", []string{"policy:  none"},
		},
		{
			"base_url, a way past oauth1 in its handle",
			site("http://:8080", "handle /health {\n respond ok\n}\nhandle {\n"+behind+"}\n"),
			"https://api.example.com/health", "", []string{"no oauth1 directive is on the way", "static_response answers"},
		},
		{
			"base_url of another scheme", site("http://:8080", behind),
			"http://api.example.com/open/x", "no site of this configuration listens on port 80", nil,
		},
		{
			"base_url of another host, at a port where a site listens", site("http://internal.test:80", behind),
			"http://other.test/open/x", `no site of this configuration serves the host "other.test"`, nil,
		},
		{
			"base_url behind a site of the same Caddy: both are told",
			site("https://api.example.com", "reverse_proxy localhost:8080\n") + site("http://:8080", behind),
			"https://api.example.com/x", "the request is refused",
			[]string{unchecked, "policy:  none of 1 matches\n"},
		},
		{
			"base_url that is the site's own address: told once", site("https://api.example.com", behind),
			"https://api.example.com/open/x", "", []string{anonymous + passes},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			config, err := adapt("{\n admin off\n}\n" + test.sites)
			if err != nil {
				t.Fatal(err)
			}
			runs := 3
			if strings.Count(test.sites, "bind ")+strings.Count(test.sites, "https://") > 1 {
				runs = 50
			}
			var first string
			for i := range runs {
				r, err := imagined("GET", test.url)
				if err != nil {
					t.Fatal(err)
				}
				var out strings.Builder
				err = explainPolicy(&out, config, r, command.Caller{})
				if got := fmt.Sprint(err); got != test.want && (err != nil || test.want != "") {
					t.Fatalf("run %d: error %v", i, err)
				}
				if i == 0 {
					first = out.String()
				} else if out.String() != first {
					t.Fatalf("run %d says:\n%s\nthe first said:\n%s", i, out.String(), first)
				}
			}
			rest := first
			for _, says := range test.says {
				_, behind, found := strings.Cut(rest, says)
				if !found {
					t.Fatalf("does not say %q, in this order:\n%s", says, first)
				}
				rest = behind
			}
			told := strings.Count(first, "passes: ") + strings.Count(first, "answer: ")
			if len(test.says) == 1 && told != 1 {
				t.Errorf("tells of %d servers:\n%s", told, first)
			}
		})
	}
}

// TestBehind: the URLs that a base_url covers, and their paths behind the proxy.
func TestBehind(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		base, url string
		want      string // "" is not for this base_url
	}{
		{"https://api.test", "https://api.test/x?a=1", "/x?a=1"},
		{"https://api.test", "https://api.test", "/"},
		{"https://api.test/", "https://api.test/x", "/x"},
		{"https://api.test:443", "https://api.test/x", "/x"},
		{"https://API.test", "https://api.test:443/x", "/x"},
		{"https://api.test", "https://api.test/a%2Fb", "/a%2Fb"},
		{"https://api.test", "https://api.test//x", "//x"},
		{"https://api.test/v1", "https://api.test/v1/x%2Fy?a", "/x%2Fy?a"},
		{"https://api.test/v1/", "https://api.test/v1/x", "/x"},
		{"https://api.test/v1", "https://api.test/v1", "/"},
		{"https://api.test/v1", "https://api.test/v1?a", "/?a"},
		{"https://api.test/v1", "https://api.test/v10/x", ""},
		{"https://api.test/v1", "https://api.test/x", ""},
		{"https://api.test/a%20b", "https://api.test/a%20b/x", "/x"},
		{"https://api.test", "http://api.test/x", ""},
		{"https://api.test", "https://api.test:8443/x", ""},
		{"https://api.test", "https://api.tset/x", ""},
		{"http://api.test:80", "http://api.test/x", "/x"},
	} {
		base, err := url.Parse(test.base)
		if err != nil {
			t.Fatal(err)
		}
		r, err := imagined("GET", test.url)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if target, ok := behind(base, r); ok {
			got = target.RequestURI()
		}
		if got != test.want {
			t.Errorf("base_url %s, %s: got %q, want %q", test.base, test.url, got, test.want)
		}
	}
}
