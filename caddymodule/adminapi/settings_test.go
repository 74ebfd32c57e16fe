package adminapi

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// notSettings are the fields of a stored consumer that a configuration does not set by name, or
// that are not settings on all surfaces.
var notSettings = map[string]bool{
	"Key": true, "Secret": true, "PreviousSecret": true, "PreviousSecretExpires": true,
	"Disabled": true, "SelfRegistered": true, "Created": true,
}

// TestSettingsNameTheirFields: each setting has a field of its own in both structs, with the same
// name, and each field of both has a setting.
func TestSettingsNameTheirFields(t *testing.T) {
	t.Parallel()
	var s ConsumerSettings
	var c tokenstore.Consumer
	settings, stored := reflect.ValueOf(&s).Elem(), reflect.ValueOf(&c).Elem()
	seen := make(map[string]bool)
	for _, setting := range Settings {
		ours, theirs := setting.fields(&s, &c)
		name := fieldAt(settings, ours)
		if name == "" || seen[name] || name != fieldAt(stored, theirs) {
			t.Errorf("%s: its fields are %q and %q", setting.Option, name, fieldAt(stored, theirs))
			continue
		}
		seen[name] = true
		field, _ := settings.Type().FieldByName(name)
		if option, _, _ := strings.Cut(field.Tag.Get("json"), ","); option != setting.Option {
			t.Errorf("%s is %s in JSON", setting.Option, option)
		}
		if setting.Value(&s) != ours {
			t.Errorf("%s: its value is another field", setting.Option)
		}
		if SettingByOption(setting.Option).Flag != setting.Flag ||
			SettingByFlag(setting.Flag).Option != setting.Option {
			t.Errorf("%s can't be found", setting.Option)
		}
	}
	for field := range settings.Type().Fields() {
		if !seen[field.Name] {
			t.Errorf("%s is no setting", field.Name)
		}
	}
	for field := range stored.Type().Fields() {
		if !seen[field.Name] && !notSettings[field.Name] {
			t.Errorf("the stored %s is no setting", field.Name)
		}
	}
	if SettingByOption("key") != nil || SettingByFlag("") != nil {
		t.Error("found a field that is not a setting")
	}
}

// fieldAt returns the name of the struct's field that a pointer points to.
func fieldAt(of reflect.Value, pointer any) string {
	for field, value := range of.Fields() {
		if value.Addr().Interface() == pointer {
			return field.Name
		}
	}
	return ""
}

// TestSettingsAreStored: settings that are applied to a consumer are read back unchanged. A missing
// setting clears the consumer's value.
func TestSettingsAreStored(t *testing.T) {
	t.Parallel()
	given := ConsumerSettings{
		RSAPublicKey:         "a key",
		SignatureMethods:     []string{"RSA-SHA256"},
		Callbacks:            []string{"https://a.test/", "https://b.test/*"},
		CallbacksIgnoreQuery: true,
		DefaultCallback:      true,
		Permissions:          []string{"READ_PUBLIC"},
		TwoLegged:            &tokenstore.TwoLegged{User: "u", Permission: "READ_PUBLIC"},
		Expires:              "2027-01-31T00:00:00Z",
	}
	for field, value := range reflect.ValueOf(&given).Elem().Fields() {
		if value.Kind() == reflect.String && value.IsZero() {
			value.SetString("the " + field.Name)
		}
		if value.IsZero() {
			t.Errorf("%s is not tried", field.Name)
		}
	}
	created := time.Unix(1e9, 0)
	c := tokenstore.Consumer{Key: "k", Secret: "s", Disabled: true, Created: created}
	if err := given.Apply(&c); err != nil {
		t.Fatal(err)
	}
	if got := SettingsOf(&c); !reflect.DeepEqual(got, given) {
		t.Errorf("got %+v, want %+v", got, given)
	}
	if err := new(ConsumerSettings).Apply(&c); err != nil {
		t.Fatal(err)
	}
	bare := tokenstore.Consumer{Key: "k", Secret: "s", Disabled: true, Created: created}
	if !reflect.DeepEqual(c, bare) {
		t.Errorf("reset: got %+v", c)
	}
	if err := (&ConsumerSettings{Expires: "soon"}).Apply(&c); err == nil ||
		err.Error() != `expires "soon": must be a time such as 2027-01-31T00:00:00Z, or a date` {
		t.Errorf("no time: %v", err)
	}
}

func TestCheckSettings(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		consumer tokenstore.Consumer
		want     string // empty if it is accepted
	}{
		{"nothing is said", tokenstore.Consumer{}, ""},
		{"a homepage", tokenstore.Consumer{Homepage: "http://a.test"}, ""},
		{"a homepage with a password", tokenstore.Consumer{Homepage: "https://u:p@a.test/"},
			"must be an http or https URL"},
		{"a homepage that is a script", tokenstore.Consumer{Homepage: "javascript:alert(1)"},
			"must be an http or https URL"},
		{"a homepage without a host", tokenstore.Consumer{Homepage: "https:///x"},
			"must be an http or https URL"},
		{"an e-mail address", tokenstore.Consumer{Contact: "ops+api@example.com"}, ""},
		{"an address in another script", tokenstore.Consumer{Contact: "büro@beispiel.example"}, ""},
		{"a URL as contact", tokenstore.Consumer{Contact: "https://a.test/help?x=1"}, ""},
		{"an address with a name", tokenstore.Consumer{Contact: "Ops <ops@example.com>"},
			`contact "Ops <ops@example.com>": must be an e-mail address, or an http or https URL`},
		{"two addresses", tokenstore.Consumer{Contact: "a@a.test, b@b.test"}, "must be an e-mail address"},
		{"an address in quotes", tokenstore.Consumer{Contact: `"a b"@a.test`}, "must be an e-mail address"},
		{"an address with a comment", tokenstore.Consumer{Contact: "a@a.test (x)"},
			"must be an e-mail address"},
		{"a mailto link", tokenstore.Consumer{Contact: "mailto:a@a.test"}, "must be an e-mail address"},
		{"a script as contact", tokenstore.Consumer{Contact: "javascript:alert(1)"},
			"must be an e-mail address"},
		{"a name alone", tokenstore.Consumer{Contact: "ops"}, "must be an e-mail address"},
		{"an address that turns the line around", tokenstore.Consumer{Contact: "a\u202e@a.test"},
			"must be an e-mail address"},
		{"a URL that turns the line around", tokenstore.Consumer{Contact: "https://a.test/\u202e"},
			"must be an e-mail address"},
		{"a contact of any length", tokenstore.Consumer{Contact: "https://a.test/" +
			strings.Repeat("x", maxContact)}, "must be an e-mail address"},
		{"no RSA key", tokenstore.Consumer{RSAPublicKey: "key"}, "rsa_public_key: "},
	} {
		err := CheckSettings(&c.consumer)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v", c.name, err)
		}
	}
}
