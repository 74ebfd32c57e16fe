package caddymodule

import (
	"fmt"
	"go/ast"
	goparser "go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/dustin/go-humanize"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/pages"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/policy"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/badgerstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/redisstore"
)

// These tests compare docs/caddyfile.md with the code. A new option needs a field, a word in its
// parser's comment, and a line in the reference.

// manualBlocks are the blocks of options in the reference, by their headings.
var manualBlocks = map[string]struct {
	config any
	// syntax is the block in the parser's comment. renamed maps fields to the names of their
	// options; a field without an option has the name "".
	syntax  string
	renamed map[string]string
}{
	"Global options": {App{}, "global", map[string]string{"consumers": "consumer",
		"permissions": "permission", "max_request_tokens_of_consumer": "max_request_tokens"}},
	"store badger": {badgerstore.Module{}, "store badger", nil},
	"backup":       {Backup{}, "global backup", nil},
	"store redis":  {redisstore.Module{}, "store redis", nil},
	"keys":         {Keys{}, "global keys", nil},
	"consumer": {DeclaredConsumer{}, "global consumer",
		map[string]string{"key": "", "source": ""}},
	"permission": {policy.PermissionLevel{}, "global permission",
		map[string]string{"name": "", "title": ""}},
	"metrics":              {MetricsOptions{}, "global metrics", nil},
	"The oauth1 directive": {Handler{}, "site", map[string]string{"policies": "policy", "match": ""}},
	"endpoints":            {Endpoints{}, "site endpoints", map[string]string{"off": ""}},
	"policy": {policy.Policy{}, "site policy",
		map[string]string{"permissions": "permission", "match": ""}},
	"identity_headers": {IdentityHeaders{}, "site identity_headers", nil},
	"pages":            {Pages{}, "site pages", nil},
}

// TestManualSyntax: the syntax blocks in the reference equal those in the parsers' comments.
func TestManualSyntax(t *testing.T) {
	blocks, _ := snippets(t, "docs/caddyfile.md", manualPages(t)["docs/caddyfile.md"])
	var got []string
	for _, block := range blocks {
		if block.language == "text" {
			got = append(got, block.text)
		}
	}
	syntax := parserSyntax(t)
	if len(got) != len(syntax) {
		t.Errorf("the reference has %d blocks of syntax, want %d", len(got), len(syntax))
	}
	for name, want := range syntax {
		if !slices.Contains(got, want) {
			t.Errorf("the reference lacks the syntax of %s as its parser has it:\n%s", name, want)
		}
	}
}

// parserSyntax returns the syntax in the comments of the parsers.
func parserSyntax(t *testing.T) map[string]string {
	t.Helper()
	syntax := make(map[string]string)
	for _, parser := range []struct{ name, folder, function string }{
		{"global", ".", "parseGlobalOption"},
		{"site", ".", "parseDirective"},
		{"health", ".", "parseHealth"},
		{"store badger", "../tokenstore/badgerstore", "UnmarshalCaddyfile"},
		{"store redis", "../tokenstore/redisstore", "UnmarshalCaddyfile"},
	} {
		comment := commentOf(t, parser.folder, parser.function)
		_, code, ok := strings.Cut(comment, "Syntax:\n\n")
		if !ok {
			t.Fatalf("the comment of %s has no syntax", parser.function)
		}
		var b strings.Builder
		for line := range strings.Lines(code) {
			line, ok := strings.CutPrefix(line, "\t")
			if !ok {
				break
			}
			b.WriteString(line)
		}
		syntax[parser.name] = b.String()
	}
	return syntax
}

func commentOf(t *testing.T, folder, function string) string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		file, err := goparser.ParseFile(token.NewFileSet(), path, nil, goparser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, declaration := range file.Decls {
			if f, ok := declaration.(*ast.FuncDecl); ok && f.Name.Name == function {
				return f.Doc.Text()
			}
		}
	}
	t.Fatalf("there is no %s in %s", function, folder)
	return ""
}

// syntaxOptions returns the options of each block of syntax, such as "site policy".
func syntaxOptions(t *testing.T) map[string][]string {
	t.Helper()
	options := make(map[string][]string)
	word := regexp.MustCompile(`^( +)([a-z_0-9]+)`)
	for name, syntax := range parserSyntax(t) {
		block := name
		for line := range strings.Lines(syntax) {
			match := word.FindStringSubmatch(line)
			if match == nil {
				continue
			}
			if len(match[1]) == 4 {
				block = name
			}
			options[block] = append(options[block], match[2])
			if len(match[1]) == 4 {
				block = name + " " + match[2]
			}
		}
	}
	return options
}

// TestManualOptions: the reference has exactly the options of the code.
func TestManualOptions(t *testing.T) {
	t.Parallel()
	manual, syntax := manualOptions(t), syntaxOptions(t)
	if len(manual) != len(manualBlocks) {
		t.Errorf("the reference has the blocks %q", slices.Sorted(maps.Keys(manual)))
	}
	for heading, block := range manualBlocks {
		want := fieldOptions(reflect.TypeOf(block.config), block.renamed)
		slices.Sort(want)
		if got := slices.Sorted(maps.Keys(manual[heading])); !slices.Equal(got, want) {
			t.Errorf("%s: the reference has\n%q\nwant\n%q", heading, got, want)
		}
		if got := slices.Sorted(slices.Values(syntax[block.syntax])); !slices.Equal(got, want) {
			t.Errorf("%s: the syntax has\n%q\nwant\n%q", heading, got, want)
		}
	}
}

// fieldOptions returns the options that set the fields of a configuration.
func fieldOptions(config reflect.Type, renamed map[string]string) []string {
	var options []string
	for i := range config.NumField() {
		field := config.Field(i)
		if field.Anonymous {
			options = append(options, fieldOptions(field.Type, renamed)...)
			continue
		}
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if other, ok := renamed[name]; ok {
			name = other
		}
		if name != "" && !slices.Contains(options, name) {
			options = append(options, name)
		}
	}
	return options
}

// manualOptions returns the defaults of the options in the reference, by heading and option.
func manualOptions(t *testing.T) map[string]map[string]string {
	t.Helper()
	_, prose := snippets(t, "docs/caddyfile.md", manualPages(t)["docs/caddyfile.md"])
	option := regexp.MustCompile("^- `([a-z_]+)` \\(default: (.+?)\\): [A-Z]")
	options := make(map[string]map[string]string)
	heading, item := "", ""
	finish := func() {
		if match := option.FindStringSubmatch(item); match != nil {
			if options[heading] == nil {
				options[heading] = make(map[string]string)
			}
			options[heading][match[1]] = match[2]
		} else if strings.HasPrefix(item, "- `") {
			t.Errorf("docs/caddyfile.md: no option with its default: %s", item)
		}
		item = ""
	}
	for line := range strings.Lines(prose + "\n# end\n") {
		text := strings.TrimSpace(line)
		level, name, _ := strings.Cut(text, " ")
		switch {
		case strings.HasPrefix(line, "- "):
			finish()
			item = text
		case strings.HasPrefix(line, "  ") && item != "":
			item += " " + text
		case strings.HasPrefix(line, "#") && strings.Trim(level, "#") == "":
			finish()
			heading = name
		default:
			finish()
		}
	}
	return options
}

// TestManualDefaults: if a default is a value in the code, the reference names the same value.
func TestManualDefaults(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	site := newTestSite(t, "", "")
	app, handler := site.app, site.handler
	duration := func(d caddy.Duration) string {
		if d == 0 {
			return "never"
		}
		text := strings.TrimSuffix(time.Duration(d).String(), "0s")
		return strings.TrimSuffix(text, "0m")
	}
	code := func(text string) string { return "`" + text + "`" }
	set, page := handler.Pages.set, new(strings.Builder)
	if err := set.Render(page, set.Language(nil), pages.View{Page: pages.Tokens{}}); err != nil {
		t.Fatal(err)
	}
	colours := regexp.MustCompile(`--accent:#(\w{6})`).FindAllStringSubmatch(page.String(), -1)
	if len(colours) != 2 {
		t.Fatalf("the page has the colours %q", colours)
	}
	redis := new(redisstore.Module)
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	defer cancel()
	redis.Address = []string{"localhost"}
	if err := redis.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	onOff := map[bool]string{false: "off", true: "on"}
	manual := manualOptions(t)
	for _, c := range []struct{ heading, option, want string }{
		{"Global options", "store", code("badger")},
		{"Global options", "request_token_lifetime", code(duration(app.RequestTokenLifetime))},
		{"Global options", "access_token_lifetime", code(duration(app.AccessTokenLifetime))},
		{"Global options", "timestamp_window", code(duration(app.TimestampWindow))},
		{"Global options", "registration", code(app.Registration)},
		{"Global options", "max_request_tokens",
			code(fmt.Sprint(app.MaxRequestTokensOfConsumer, app.MaxRequestTokens))},
		{"metrics", "limit", code(fmt.Sprint(defaultConsumerLimit))},
		{"store badger", "sync", code(onOff[badgerstore.Module{}.Sync])},
		{"store redis", "db", code(fmt.Sprint(redis.DB))},
		{"store redis", "prefix", code(redis.Prefix)},
		{"store redis", "replicas", code(fmt.Sprint(*redis.Replicas))},
		{"store redis", "timeout", code(duration(redis.Timeout))},
		{"store redis", "lead", code(duration(redis.Lead))},
		{"store redis", "max_stale", code(duration(redis.MaxStale))},
		{"The oauth1 directive", "upgrades", code(strings.Join(handler.Upgrades, " "))},
		{"The oauth1 directive", "insecure_plaintext_over_http", onOff[handler.InsecurePlaintextOverHTTP]},
		{"The oauth1 directive", "user", code(handler.User)},
		{"Global options", "diagnoses",
			code(fmt.Sprint(app.Diagnoses.PerSecond, app.Diagnoses.PerSecondOfConsumer))},
		{"The oauth1 directive", "require_callback", onOff[handler.RequireCallback]},
		{"The oauth1 directive", "require_body_hash", onOff[handler.RequireBodyHash]},
		{"The oauth1 directive", "max_form_body",
			code(strings.ReplaceAll(humanize.IBytes(uint64(handler.MaxFormBody)), ".0 ", ""))},
		{"The oauth1 directive", "keep_authorization", onOff[handler.KeepAuthorization]},
		{"endpoints", "request_token", code(handler.Endpoints.RequestToken)},
		{"endpoints", "authorize", code(handler.Endpoints.Authorize)},
		{"endpoints", "access_token", code(handler.Endpoints.AccessToken)},
		{"endpoints", "tokens", code(handler.Endpoints.Tokens)},
		{"identity_headers", "user", code(handler.IdentityHeaders.User)},
		{"identity_headers", "consumer", code(handler.IdentityHeaders.Consumer)},
		{"identity_headers", "permission", code(handler.IdentityHeaders.Permission)},
		{"identity_headers", "context", code(handler.IdentityHeaders.Context)},
		{"identity_headers", "token", code(handler.IdentityHeaders.Token)},
		{"pages", "accent", code(colours[0][1])},
		{"pages", "accent_dark", "the accent, or " + code(colours[1][1])},
		{"pages", "default_lifetime",
			code(fmt.Sprintf("%dd", defaultLifetime/(24*time.Hour))) +
				", or the longest offered that is shorter"},
	} {
		if got := manual[c.heading][c.option]; !strings.EqualFold(got, c.want) {
			t.Errorf("%s, %s: the reference says %q, want %q", c.heading, c.option, got, c.want)
		}
	}
}
