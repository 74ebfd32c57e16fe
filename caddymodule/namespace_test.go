package caddymodule

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// TestSharedUsersAreWarnedOf: the sites of one app share their users, and a warning says so if
// their logins differ.
func TestSharedUsersAreWarnedOf(t *testing.T) {
	const (
		salt   = "$2a$14$Zkx19XLiW6VYouLHR5NmfO"
		hashA  = salt + "FU0z2GTNmpkT/5qqR7hx4IjWJPDhjvG"
		hashB  = salt + "FU0z2GTNmpkT/5qqR7hx4IjWJPDhjvH"
		header = "oauth1 {\n user {http.request.header.Remote-User}\n}\n"
	)
	basic := func(matcher, accounts string) string { return "basic_auth " + matcher + " {\n" + accounts + "\n}\n" }
	people := "@people path /+authorize-token /+oauth-tokens\n"
	adminA, adminB := "admin "+hashA, "admin "+hashB
	forward := func(to, uri string) string {
		return "forward_auth " + to + " {\n uri " + uri + "\n copy_headers Remote-User\n}\n"
	}
	site := func(address, body string) string { return address + " {\n" + body + "respond ok\n}\n" }
	for _, test := range []struct {
		name, sites string
		want        []string // the sites that the warning names; no warning if empty
	}{
		{"one site", site("http://a.test", basic("", adminA)+"oauth1\n"), nil},
		{
			"the same login",
			site("http://a.test", basic("", adminA)+"oauth1\n") +
				site("http://b.test", basic("", adminA)+"oauth1\n"),
			nil,
		},
		{
			"other accounts",
			site("http://a.test", basic("", adminA)+"oauth1\n") +
				site("http://b.test", basic("", adminB)+"oauth1\n"),
			[]string{"a.test", "b.test"},
		},
		{
			"other accounts on another port",
			site("http://a.test", basic("", adminA)+"oauth1\n") +
				site("http://:8080", basic("", adminB)+"oauth1\n"),
			[]string{":8080", "a.test"},
		},
		{
			"more accounts",
			site("http://a.test", basic("", adminA)+"oauth1\n") +
				site("http://b.test", basic("", adminA+"\nbob "+hashB)+"oauth1\n"),
			[]string{"a.test", "b.test"},
		},
		{
			"the same accounts in another order",
			site("http://a.test", basic("", adminA+"\nbob "+hashB)+"oauth1\n") +
				site("http://b.test", basic("", "bob "+hashB+"\n"+adminA)+"oauth1\n"),
			nil,
		},
		{
			"other matchers of the same login",
			site("http://a.test", people+basic("@people", adminA)+"oauth1\n") +
				site("http://b.test", basic("/*", adminA)+"oauth1\n"),
			nil,
		},
		{
			"a login of other paths has no say",
			site("http://a.test", basic("/internal/*", adminB)+basic("/+*", adminA)+"oauth1\n") +
				site("http://b.test", basic("", adminA)+"oauth1\n"),
			nil,
		},
		{
			"three sites with two logins",
			site("http://a.test", basic("", adminA)+"oauth1\n") +
				site("http://b.test", basic("", adminA)+"oauth1\n") +
				site("http://c.test", basic("", adminB)+"oauth1\n"),
			[]string{"a.test", "c.test"},
		},
		{
			"one site on http and https",
			site("http://a.test, https://a.test", basic("", adminA)+"oauth1\n"),
			nil,
		},
		{
			"endpoints off",
			site("http://a.test", basic("", adminA)+"oauth1\n") +
				site("http://b.test", basic("", adminB)+"oauth1 {\n endpoints off\n}\n"),
			nil,
		},
		{
			"a site without a login",
			site("http://a.test", basic("", adminA)+"oauth1\n") + site("http://b.test", "oauth1\n"),
			nil,
		},
		{
			"a login behind oauth1 has no say",
			site("http://a.test", basic("", adminA)+"oauth1\n") +
				site("http://b.test", "route {\noauth1\n"+basic("", adminB)+"}\n"),
			nil,
		},

		{
			"another placeholder",
			site("http://a.test", basic("", adminA)+"oauth1\n") + site("http://b.test", header),
			[]string{"a.test", "b.test"},
		},
		{
			"the same header and no login of ours",
			site("http://a.test", header) + site("http://b.test", header),
			nil,
		},
		{
			"another header",
			site("http://a.test", header) +
				site("http://b.test", strings.ReplaceAll(header, "Remote-User", "X-User")),
			[]string{"a.test", "b.test"},
		},
		{
			"a text of the site's own",
			site("http://a.test", basic("", adminA)+"oauth1\n") +
				site("http://b.test", basic("", adminB)+"oauth1 {\n user b:{http.auth.user.id}\n}\n"),
			nil,
		},
		{
			"the same text",
			site("http://a.test", basic("", adminA)+"oauth1 {\n user b:{http.auth.user.id}\n}\n") +
				site("http://b.test", basic("", adminB)+"oauth1 {\n user b:{http.auth.user.id}\n}\n"),
			[]string{"a.test", "b.test"},
		},

		{
			"the same forward_auth",
			site("http://a.test", forward("127.0.0.1:9", "/verify")+header) +
				site("http://b.test", forward("127.0.0.1:9", "/verify")+header),
			nil,
		},
		{
			"forward_auth to another server",
			site("http://a.test", forward("127.0.0.1:9", "/verify")+header) +
				site("http://b.test", forward("127.0.0.1:10", "/verify")+header),
			[]string{"a.test", "b.test"},
		},
		{
			"forward_auth to another URL",
			site("http://a.test", forward("127.0.0.1:9", "/verify")+header) +
				site("http://b.test", forward("127.0.0.1:9", "/b/verify")+header),
			[]string{"a.test", "b.test"},
		},
		{
			"forward_auth and basic_auth",
			site("http://a.test", forward("127.0.0.1:9", "/verify")+header) +
				site("http://b.test", basic("", adminA)+header),
			[]string{"a.test", "b.test"},
		},

		{
			"in a handle, beside the login of another",
			site("http://a.test", "handle /x/* {\n"+basic("", adminB)+"}\nhandle {\n"+basic("", adminA)+"oauth1\n}\n") +
				site("http://b.test", basic("", adminA)+"oauth1\n"),
			nil,
		},
		{
			"in the last of several handles",
			site("http://a.test", "@x header X y\nhandle @x {\n"+basic("", adminB)+"}\n"+
				"handle {\n"+basic("", adminA)+"oauth1\n}\n") +
				site("http://b.test", basic("", adminA)+"oauth1\n"),
			nil,
		},
		{
			"behind a rewrite",
			site("http://a.test", "handle /pages {\nrewrite * /+authorize-token\n"+basic("", adminB)+"oauth1\n}\n") +
				site("http://b.test", basic("", adminA)+"oauth1\n"),
			[]string{"a.test /pages", "b.test"},
		},
		{
			"an upstream beside it is no login",
			site("http://a.test", "@x header X y\nroute {\n"+basic("", adminA)+
				"reverse_proxy @x 127.0.0.1:9\noauth1\n}\n") +
				site("http://b.test", basic("", adminA)+"oauth1\n"),
			nil,
		},
		{
			"in two handles of one host",
			site("http://a.test", "handle_path /x/* {\n"+basic("", adminA)+"oauth1\n}\n"+
				"handle_path /y/* {\n"+basic("", adminB)+"oauth1\n}\n"),
			[]string{"a.test /x/*", "a.test /y/*"},
		},
		{
			"a login outside of handle_path",
			site("http://a.test", "route {\n"+basic("/x/+authorize-token", adminB)+"handle_path /x/* {\noauth1\n}\n}\n") +
				site("http://b.test", basic("", adminA)+"oauth1\n"),
			[]string{"a.test /x/*", "b.test"},
		},
		{
			"hosts inside a wildcard",
			site("http://*.a.test", "@one host one.a.test\n@two host two.a.test\nroute {\n"+
				basic("@one", adminB)+basic("@two", adminA)+"handle @two {\noauth1\n}\n}\n") +
				site("http://b.test", basic("", adminA)+"oauth1\n"),
			nil,
		},
		{
			"a named route",
			"&(guarded) {\n" + basic("", adminA) + "oauth1\n}\n" +
				site("http://a.test", "invoke guarded\n") + site("http://b.test", "invoke guarded\n"),
			nil,
		},
		{
			"a named route with a login before it",
			"&(guarded) {\noauth1\n}\n" + site("http://a.test", basic("", adminA)+"invoke guarded\n") +
				site("http://b.test", basic("", adminB)+"invoke guarded\n"),
			[]string{"a.test", "b.test"},
		},
		{
			"a named route that invokes itself",
			"&(again) {\noauth1\ninvoke again\n}\n" +
				site("http://a.test", basic("", adminA)+"invoke again\n"),
			nil,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			adapted, err := adapt("{\n admin off\n oauth1 {\n store badger " + t.TempDir() + "\n }\n}\n" + test.sites)
			if err != nil {
				t.Fatal(err)
			}
			checkWarning(t, adapted, test.want, "$2a$")
		})
	}
}

// TestSharedUsersInJSON: the warning for a configuration that no Caddyfile produces: one server's
// list of routes, without subroutes, where the routes of a host are not terminal.
func TestSharedUsersInJSON(t *testing.T) {
	login := func(host, name, password string) string {
		return fmt.Sprintf(`{"match":[{"host":[%q]}],"handle":[{"handler":"authentication",
			"providers":{"http_basic":{"accounts":[{"username":%q,"password":%q}]}}}]}`,
			host, name, password)
	}
	const provider = `{"match":[{"host":["a.test"]}],"handle":[{"handler":"oauth1"}]},
		{"match":[{"host":["b.test"]}],"handle":[{"handler":"oauth1"}]}`
	for _, test := range []struct {
		name, routes string
		want         []string
	}{
		{
			"the same login",
			login("a.test", "admin", "$2a$1") + "," + login("b.test", "admin", "$2a$1") + "," + provider,
			nil,
		},
		{
			"a login whose route ends the way",
			strings.Replace(login("a.test", "root", "$2a$3"), `"handle"`, `"terminal":true,"handle"`, 1) + "," +
				login("a.test", "admin", "$2a$1") + "," + login("b.test", "admin", "$2a$1") + "," + provider,
			nil,
		},
		{
			"other accounts",
			login("a.test", "admin", "$2a$1") + "," + login("b.test", "admin", "$2a$2") + "," + provider,
			[]string{"a.test", "b.test"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			config := fmt.Sprintf(`{"admin":{"disabled":true},"apps":{
				"oauth1":{"store":{"module":"badger","path":%q}},
				"http":{"servers":{"s":{"listen":["127.0.0.1:0"],"routes":[%s]}}}}}`, t.TempDir(), test.routes)
			checkWarning(t, []byte(config), test.want, "$2a$")
		})
	}
}

// checkWarning starts the app of a configuration, and compares the sites in its warning. The
// warning must not hold the secret.
func checkWarning(t *testing.T, raw []byte, want []string, secret string) {
	t.Helper()
	config := new(caddy.Config)
	if err := json.Unmarshal(raw, config); err != nil {
		t.Fatal(err)
	}
	ctx, err := caddy.ProvisionContext(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := caddy.NewContext(ctx)
	t.Cleanup(cancel)
	loaded, err := ctx.App("oauth1")
	if err != nil {
		t.Fatal(err)
	}
	app := loaded.(*App)
	core, logs := observer.New(zapcore.WarnLevel)
	app.logger = zap.New(core)
	if err := app.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := app.Cleanup(); err != nil {
			t.Error(err)
		}
	})
	var got []string
	for _, entry := range logs.FilterMessageSnippet("share their users").All() {
		if got != nil {
			t.Error("is said twice")
		}
		for _, name := range entry.ContextMap()["sites"].([]any) {
			got = append(got, name.(string))
		}
		if text := fmt.Sprint(entry.Message, entry.ContextMap()); strings.Contains(text, secret) {
			t.Errorf("says a secret: %s", text)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("warns of %q, want %q", got, want)
	}
}
