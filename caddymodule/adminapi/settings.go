package adminapi

import (
	"fmt"
	"net/mail"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// ConsumerSettings are the settings of a consumer, beside its key and its secret. The
// configuration, the admin API and the flags of the commands have the same ones.
//
// A new setting is a field here with its line in Settings, and a field of tokenstore.Consumer with
// its line in the record.
type ConsumerSettings struct {
	// The name that people read on the authorize page. Default: the key.
	Name string `json:"name,omitempty"`
	// The application's website, an http or https URL, for the authorize page.
	Homepage string `json:"homepage,omitempty"`
	// The people behind the application, for users and operators: an e-mail address, or an http or
	// https URL. The authorize page shows it as a link. Default: none.
	Contact string `json:"contact,omitempty"`
	// The PEM of an RSA public key or certificate. Such a consumer is verified with RSA only.
	RSAPublicKey string `json:"rsa_public_key,omitempty"`
	// The methods that the consumer may sign with. Default: all that the site accepts.
	SignatureMethods []string `json:"signature_methods,omitempty"`
	// The only callbacks that the consumer may name: URLs, each exact or with a * at its end that
	// stands for any rest of the path. They are compared as URLs: scheme and host in any case, a
	// default port or none; and an http URL of this computer (`http://127.0.0.1/done`,
	// `http://[::1]/done`, `http://localhost/done`) stands for every port (RFC 8252 section 7.3).
	// Custom schemes are accepted only here. Default: any http or https URL, at the request token.
	Callbacks []string `json:"callbacks,omitempty"`
	// Accept a registered callback with any query. Default: false; a query must be the registered
	// one.
	CallbacksIgnoreQuery bool `json:"callbacks_ignore_query,omitempty"`
	// Send the browser to the one registered callback, with a verifier, where the consumer names no
	// callback or `oob` (RFC 5849 section 2.1), as MediaWiki's and X's clients expect. Needs
	// exactly one callback, without a *. Default: false; without a callback the consumer follows
	// Launchpad's polling flow, and with `oob` the user gets a code to type in.
	DefaultCallback bool `json:"default_callback,omitempty"`
	// The levels that the consumer may be granted and may use. Default: all.
	Permissions []string `json:"permissions,omitempty"`
	// The user, and the level, that the consumer acts with when it signs without a token. Default:
	// nobody; such requests are anonymous, and refused by a policy that wants more. The consumer's
	// secret or key then is enough to act as that user; no person is asked.
	TwoLegged *tokenstore.TwoLegged `json:"two_legged,omitempty"`
	// The end of the consumer, as RFC 3339 (2027-01-31T00:00:00Z) or as a date, which begins at
	// midnight UTC. Default: never.
	Expires string `json:"expires,omitempty"`
}

// A Setting is one of the ConsumerSettings, for whatever reads them by name: the Caddyfile,
// placeholders, flags, the answers of the commands.
type Setting struct {
	// Option is the name in JSON and in the Caddyfile.
	Option string
	// Flag is the name of the command-line flag. Those of rsa_public_key (a file) and two_legged
	// (two of them) are special.
	Flag string
	// Label is the heading where the setting is shown to people; empty where that is not a row of
	// its own.
	Label string
	// Usage is the help of the flag; Default is the effect of leaving it out, in words.
	Usage, Default string
	// fields are the setting's field of both structs: a *string, a *[]string, a *bool or a
	// **tokenstore.TwoLegged, of the same type in both; but a *string and a *time.Time of expires.
	fields func(*ConsumerSettings, *tokenstore.Consumer) (setting, stored any)
	// check refuses a text that is invalid or harmful by itself, without a look at other settings.
	check func(value string) error
}

// Settings are all of them, in the order in which they are shown. Nobody may change them.
var Settings = []Setting{
	{"name", "name", "Name", "The name on the authorize page", "the key",
		func(s *ConsumerSettings, c *tokenstore.Consumer) (any, any) { return &s.Name, &c.Name }, nil},
	{"homepage", "homepage", "Homepage", "The application's website", "none",
		func(s *ConsumerSettings, c *tokenstore.Consumer) (any, any) { return &s.Homepage, &c.Homepage },
		checkHomepage},
	{"contact", "contact", "Contact", "The contact for the application: an e-mail address, or a URL", "none",
		func(s *ConsumerSettings, c *tokenstore.Consumer) (any, any) { return &s.Contact, &c.Contact },
		checkContact},
	{"signature_methods", "signature-method", "Signs with", "A method that the consumer may sign with",
		"all that the site accepts",
		func(s *ConsumerSettings, c *tokenstore.Consumer) (any, any) {
			return &s.SignatureMethods, &c.SignatureMethods
		}, nil},
	{"rsa_public_key", "rsa-public-key", "RSA key",
		"A PEM file with the consumer's RSA public key or certificate", "it has a secret",
		func(s *ConsumerSettings, c *tokenstore.Consumer) (any, any) {
			return &s.RSAPublicKey, &c.RSAPublicKey
		}, checkRSAPublicKey},
	{"callbacks", "callback", "Callbacks",
		"A callback that the consumer may name: a URL, or one with a * at the end of its path",
		"any http or https URL",
		func(s *ConsumerSettings, c *tokenstore.Consumer) (any, any) { return &s.Callbacks, &c.Callbacks },
		nil},
	{"callbacks_ignore_query", "callbacks-ignore-query", "",
		"Accept a registered callback with any query", "a query must be the registered one",
		func(s *ConsumerSettings, c *tokenstore.Consumer) (any, any) {
			return &s.CallbacksIgnoreQuery, &c.CallbacksIgnoreQuery
		}, nil},
	{"default_callback", "default-callback", "",
		"Send the browser to the registered callback if the consumer names none, or oob",
		"Launchpad's polling, or a code to type in",
		func(s *ConsumerSettings, c *tokenstore.Consumer) (any, any) {
			return &s.DefaultCallback, &c.DefaultCallback
		}, nil},
	{"permissions", "permission", "Permissions", "A level that the consumer may be granted", "all",
		func(s *ConsumerSettings, c *tokenstore.Consumer) (any, any) {
			return &s.Permissions, &c.Permissions
		}, nil},
	{"two_legged", "two-legged", "Two-legged",
		"The user that the consumer acts for when it signs without a token", "nobody",
		func(s *ConsumerSettings, c *tokenstore.Consumer) (any, any) { return &s.TwoLegged, &c.TwoLegged },
		nil},
	{"expires", "expires", "Expires",
		"When the consumer ends: a date, or a time such as 2027-01-31T00:00:00Z", "never",
		func(s *ConsumerSettings, c *tokenstore.Consumer) (any, any) { return &s.Expires, &c.Expires }, nil},
}

// Value is the setting's field: a *string, a *[]string, a *bool or a **tokenstore.TwoLegged.
func (s *Setting) Value(of *ConsumerSettings) any {
	value, _ := s.fields(of, new(tokenstore.Consumer))
	return value
}

// SettingByOption finds a setting; nil if there is none of the name.
func SettingByOption(option string) *Setting {
	return settingWhere(func(s Setting) bool { return s.Option == option })
}

// SettingByFlag finds a setting; nil if there is none of the name.
func SettingByFlag(flag string) *Setting {
	return settingWhere(func(s Setting) bool { return s.Flag == flag })
}

func settingWhere(is func(Setting) bool) *Setting {
	if i := slices.IndexFunc(Settings, is); i >= 0 {
		return &Settings[i]
	}
	return nil
}

// SettingsOf are the settings of a consumer.
func SettingsOf(c *tokenstore.Consumer) ConsumerSettings {
	var s ConsumerSettings
	for _, setting := range Settings {
		switch to, from := setting.fields(&s, c); to := to.(type) {
		case *string:
			if end, ok := from.(*time.Time); ok {
				*to = shownEnd(*end)
				continue
			}
			*to = *from.(*string)
		case *[]string:
			*to = *from.(*[]string)
		case *bool:
			*to = *from.(*bool)
		case **tokenstore.TwoLegged:
			*to = *from.(**tokenstore.TwoLegged)
		}
	}
	return s
}

// Apply writes the settings to a consumer. It checks no value, but expires must be a time.
func (s *ConsumerSettings) Apply(c *tokenstore.Consumer) (err error) {
	for _, setting := range Settings {
		from, to := setting.fields(s, c)
		switch to := to.(type) {
		case *string:
			*to = *from.(*string)
		case *[]string:
			*to = *from.(*[]string)
		case *bool:
			*to = *from.(*bool)
		case **tokenstore.TwoLegged:
			*to = *from.(**tokenstore.TwoLegged)
		case *time.Time:
			*to = time.Time{}
			if text := *from.(*string); text != "" {
				if *to, err = ParseExpires(text); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// CheckSettings refuses a consumer with a setting that is invalid or harmful by itself, without a
// look at other settings.
func CheckSettings(c *tokenstore.Consumer) error {
	for _, setting := range Settings {
		_, stored := setting.fields(new(ConsumerSettings), c)
		if value, ok := stored.(*string); ok && setting.check != nil && *value != "" {
			if err := setting.check(*value); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkHomepage(homepage string) error {
	if !isWebURL(homepage) {
		return fmt.Errorf("homepage %q: must be an http or https URL", homepage)
	}
	return nil
}

func isWebURL(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.User == nil
}

// maxContact is in bytes.
const maxContact = 255

func checkContact(contact string) error {
	address, err := mail.ParseAddress(contact)
	isAddress := err == nil && address.Address == contact // without a name, quotes or comments
	if !isAddress && !isWebURL(contact) || len(contact) > maxContact ||
		strings.ContainsFunc(contact, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return fmt.Errorf("contact %q: must be an e-mail address, or an http or https URL", contact)
	}
	return nil
}

func checkRSAPublicKey(pem string) error {
	if _, err := oauth1.ParsePublicKey(pem); err != nil {
		return fmt.Errorf("rsa_public_key: %w", err)
	}
	return nil
}

// ParseExpires reads the end of a consumer or of a token: an RFC 3339 time, or a date, which begins
// at midnight UTC.
func ParseExpires(text string) (time.Time, error) { return parseTime("expires", text) }

// parseTime reads an RFC 3339 time, or a date, which begins at midnight UTC.
func parseTime(field, text string) (time.Time, error) {
	if t, err := time.Parse(time.DateOnly, text); err == nil {
		return t, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil || t.UTC().Year() > 9999 { // RFC 3339 can't write a year of five digits
		return t, fmt.Errorf("%s %q: must be a time such as 2027-01-31T00:00:00Z, or a date", field, text)
	}
	return t, nil
}

// ShownTime is a time as the API shows it: in UTC, to the second.
func ShownTime(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Second)
}

// shownEnd is a time that ParseExpires reads; empty for none.
func shownEnd(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return ShownTime(t).Format(time.RFC3339)
}
