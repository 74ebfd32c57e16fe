package caddymodule

import (
	"encoding/json"
	"maps"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/adminapi"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// TestConsumerSyntaxHasEverySetting: the comment of parseGlobalOption, which the manual repeats,
// has a line for each setting of a consumer, with the arguments of its kind.
func TestConsumerSyntaxHasEverySetting(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("globaloption.go")
	if err != nil {
		t.Fatal(err)
	}
	_, block, found := strings.Cut(string(source), "//\t    consumer <key> {\n")
	block, _, ended := strings.Cut(block, "//\t    }\n")
	if !found || !ended {
		t.Fatal("the comment has no block of a consumer")
	}
	syntax := make(map[string]string)
	for line := range strings.Lines(block) {
		option, arguments, _ := strings.Cut(strings.TrimSpace(strings.TrimPrefix(line, "//")), " ")
		syntax[option] = strings.TrimSpace(arguments)
	}
	delete(syntax, "secret") // not a setting: nothing shows it
	for _, setting := range adminapi.Settings {
		form := `^<[a-z]+>$`
		switch setting.Value(new(adminapi.ConsumerSettings)).(type) {
		case *[]string:
			form = `^<[a-z]+\.\.\.>$`
		case *bool:
			form = `^$`
		case **tokenstore.TwoLegged:
			form = `^<user> <level>$`
		}
		arguments, found := syntax[setting.Option]
		if !found || !regexp.MustCompile(form).MatchString(arguments) {
			t.Errorf("%s: found %v, arguments %q, want %s", setting.Option, found, arguments, form)
		}
		delete(syntax, setting.Option)
	}
	if len(syntax) > 0 {
		t.Errorf("these are no settings: %v", syntax)
	}
}

// TestConsumerUpdate changes each setting with its flag, and resets it.
func TestConsumerUpdate(t *testing.T) {
	a := newTestAdmin(t, "")
	run := a.commandRunner()
	rsa := writeFile(t, testPublicKey(t))
	a.must("POST", "/oauth1/consumers", `{"key":"app","secret":"canary"}`)
	bare := a.must("GET", "/oauth1/consumers/app", "")
	seen := make(map[string]bool)
	for _, c := range []struct {
		option string
		args   []string
		want   string
		clear  string // empty: it can't be reset
		also   string // another flag that it needs
	}{
		{"name", []string{"--name", "New"}, `"New"`, "name", ""},
		{"homepage", []string{"--homepage", "https://app.example.com/"}, `"https://app.example.com/"`,
			"homepage", ""},
		{"contact", []string{"--contact", "ops@example.com"}, `"ops@example.com"`, "contact", ""},
		{"signature_methods", []string{"--signature-method", "HMAC-SHA1", "--signature-method",
			"PLAINTEXT"}, `["HMAC-SHA1","PLAINTEXT"]`, "signature-method", ""},
		{"callbacks", []string{"--callback", "https://a.test/x,y", "--callback", "https://b.test/*"},
			`["https://a.test/x,y","https://b.test/*"]`, "callback", ""},
		{"callbacks_ignore_query", []string{"--callback", "https://a.test/x", "--callbacks-ignore-query"},
			`true`, "callbacks-ignore-query", "callback"},
		{"default_callback", []string{"--callback", "https://a.test/x", "--default-callback"}, `true`,
			"default-callback", "callback"},
		{"permissions", []string{"--permission", "READ_PUBLIC"}, `["READ_PUBLIC"]`, "permission", ""},
		{"two_legged", []string{"--two-legged-user", "bot", "--two-legged-permission", "READ_PUBLIC"},
			`{"permission":"READ_PUBLIC","user":"bot"}`, "two-legged", ""},
		{"expires", []string{"--expires", "2099-01-31"}, `"2099-01-31T00:00:00Z"`, "expires", ""},
		{"disabled", []string{"--disabled"}, `true`, "", ""},
		{"rsa_public_key", []string{"--rsa-public-key", rsa}, jsonText(t, testPublicKey(t)), "", ""},
	} {
		t.Run(c.option, func(t *testing.T) {
			seen[c.option] = true
			if _, err := run("", append([]string{"consumer", "update", "app"}, c.args...)...); err != nil {
				t.Fatal(err)
			}
			shown := a.must("GET", "/oauth1/consumers/app", "")
			if got, _ := json.Marshal(shown[c.option]); string(got) != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
			delete(shown, c.option)
			if c.also != "" {
				delete(shown, adminapi.SettingByFlag(c.also).Option)
			}
			if !maps.EqualFunc(shown, bare, reflect.DeepEqual) {
				t.Errorf("the others: %v, want %v", shown, bare)
			}
			switch {
			case c.clear != "":
				args := []string{"consumer", "update", "app", "--clear", c.clear}
				if c.also != "" {
					args = append(args, "--clear", c.also)
				}
				if _, err := run("", args...); err != nil {
					t.Fatal(err)
				}
			case c.option == "disabled":
				if _, err := run("", "consumer", "update", "app", "--disabled=false"); err != nil {
					t.Fatal(err)
				}
			default:
				return
			}
			if got := a.must("GET", "/oauth1/consumers/app", ""); !maps.EqualFunc(got, bare,
				reflect.DeepEqual) {
				t.Errorf("reset: %v, want %v", got, bare)
			}
		})
	}
	for _, setting := range adminapi.Settings {
		if !seen[setting.Option] {
			t.Errorf("%s was not tried", setting.Option)
		}
	}
}

func TestConsumerUpdateOfAPart(t *testing.T) {
	a := newTestAdmin(t, "")
	run := a.commandRunner()
	a.must("POST", "/oauth1/consumers",
		`{"key":"app","name":"App","two_legged":{"user":"bot","permission":"READ_PUBLIC"}}`)
	out, err := run("", "consumer", "update", "app", "--two-legged-user", "robot", "--clear", "name")
	if err != nil || !strings.Contains(squeezed(out), "Two-legged: robot, READ_PUBLIC") ||
		strings.Contains(out, "Name:") {
		t.Errorf("got %v\n%s", err, out)
	}
}
