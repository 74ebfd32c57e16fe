package caddymodule

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// TestConsumerSettingsAreAllNamed: every field of the settings has its option, under the name that
// it has in JSON, and the record keeps it.
func TestConsumerSettingsAreAllNamed(t *testing.T) {
	t.Parallel()
	fields := reflect.TypeFor[ConsumerSettings]()
	var s ConsumerSettings
	for i := range fields.NumField() {
		name, _, _ := strings.Cut(fields.Field(i).Tag.Get("json"), ",")
		j := slices.IndexFunc(consumerSettings, func(c consumerSetting) bool { return c.option == name })
		if j < 0 {
			t.Errorf("%s is no option", name)
			continue
		}
		if got, want := consumerSettings[j].value(&s),
			reflect.ValueOf(&s).Elem().Field(i).Addr().Interface(); got != want {
			t.Errorf("%s is the option of another field", name)
		}
	}
	if len(consumerSettings) != fields.NumField() {
		t.Errorf("there are %d options for %d fields", len(consumerSettings), fields.NumField())
	}
}

// TestConsumerUpdate changes each setting by its flag, and sets it back.
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
		clear  string // empty: it can't be
		also   string // what it can't be without
	}{
		{"name", []string{"--name", "New"}, `"New"`, "name", ""},
		{"homepage", []string{"--homepage", "https://app.example.com/"}, `"https://app.example.com/"`,
			"homepage", ""},
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
				delete(shown, optionOfFlag(c.also))
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
				t.Errorf("set back: %v, want %v", got, bare)
			}
		})
	}
	for _, setting := range consumerSettings {
		if !seen[setting.option] {
			t.Errorf("%s was not tried", setting.option)
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
