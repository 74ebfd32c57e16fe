package caddymodule

import (
	"fmt"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// ConsumerSettings is what can be said about a consumer beside its key and its secret. The
// configuration, the admin API and the flags of the commands have the same ones.
type ConsumerSettings struct {
	// What people read at the authorize page. Default: the key.
	Name string `json:"name,omitempty"`
	// The application's website, an http or https URL, for the authorize page.
	Homepage string `json:"homepage,omitempty"`
	// The PEM of an RSA public key or certificate. Such a consumer is verified with RSA only.
	RSAPublicKey string `json:"rsa_public_key,omitempty"`
	// What the consumer may sign with. Default: all that the site accepts.
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
	// Whom the consumer acts for when it signs without a token. Default: nobody, such requests are
	// anonymous, and refused where a policy wants more. Whoever has the consumer's secret or key
	// then is that user, with no person asked.
	TwoLegged *tokenstore.TwoLegged `json:"two_legged,omitempty"`
	// When the consumer ends, as RFC 3339 (2027-01-31T00:00:00Z) or as a date, whose beginning in
	// UTC is meant. Default: never.
	Expires string `json:"expires,omitempty"`
}

// A consumerSetting is one of the ConsumerSettings, for whatever reads them by name: the Caddyfile,
// placeholders, flags. A new setting is a field above, a line in consumerSettings, and a line each
// in settingsOf and apply, which know the record.
type consumerSetting struct {
	// option is the name in JSON and in the Caddyfile.
	option string
	// flag is the name of the command-line flag.
	flag string
	// usage is the help of the flag; optional says what holds without it.
	usage, optional string
	// value is a *string, a *[]string, a *bool or a **tokenstore.TwoLegged.
	value func(*ConsumerSettings) any
}

// consumerSettings are all of them. The flags of rsa_public_key (a file) and two_legged (two of
// them) are special.
var consumerSettings = []consumerSetting{
	{"name", "name", "What people read on the authorize page", "the key",
		func(s *ConsumerSettings) any { return &s.Name }},
	{"homepage", "homepage", "The application's website", "none",
		func(s *ConsumerSettings) any { return &s.Homepage }},
	{"rsa_public_key", "rsa-public-key", "A PEM file with the consumer's RSA public key or certificate",
		"it has a secret",
		func(s *ConsumerSettings) any { return &s.RSAPublicKey }},
	{"signature_methods", "signature-method", "A method that the consumer may sign with",
		"all that the site accepts",
		func(s *ConsumerSettings) any { return &s.SignatureMethods }},
	{"callbacks", "callback",
		"A callback that the consumer may name: a URL, or one with a * at the end of its path",
		"any http or https URL",
		func(s *ConsumerSettings) any { return &s.Callbacks }},
	{"callbacks_ignore_query", "callbacks-ignore-query", "Accept a registered callback with any query",
		"a query must be the registered one",
		func(s *ConsumerSettings) any { return &s.CallbacksIgnoreQuery }},
	{"default_callback", "default-callback",
		"Send the browser to the one registered callback where the consumer names none, or oob",
		"Launchpad's polling, or a code to type in",
		func(s *ConsumerSettings) any { return &s.DefaultCallback }},
	{"permissions", "permission", "A level that the consumer may be granted", "all",
		func(s *ConsumerSettings) any { return &s.Permissions }},
	{"two_legged", "two-legged", "The user whom the consumer acts for when it signs without a token",
		"nobody",
		func(s *ConsumerSettings) any { return &s.TwoLegged }},
	{"expires", "expires", "When the consumer ends: a date, or a time such as 2027-01-31T00:00:00Z", "never",
		func(s *ConsumerSettings) any { return &s.Expires }},
}

// unmarshal reads the setting from a Caddyfile. ok is false where no setting has the option's name.
func (s *ConsumerSettings) unmarshal(d *caddyfile.Dispenser) (ok bool, err error) {
	option := d.Val()
	i := slices.IndexFunc(consumerSettings, func(c consumerSetting) bool { return c.option == option })
	if i < 0 {
		return false, nil
	}
	switch value := consumerSettings[i].value(s).(type) {
	case *string:
		err = text(d, value)
	case *[]string:
		if option == "signature_methods" {
			return true, signatureMethods(d, value)
		}
		err = texts(d, value)
	case *bool:
		err = toggle(d, value)
	case **tokenstore.TwoLegged:
		*value = new(tokenstore.TwoLegged)
		if !d.AllArgs(&(*value).User, &(*value).Permission) {
			err = d.Errf("%s: wants a user and a permission", option)
		}
	}
	return true, err
}

// expanded returns the settings with their placeholders expanded.
func (s ConsumerSettings) expanded(e *expander) ConsumerSettings {
	for _, setting := range consumerSettings {
		switch value := setting.value(&s).(type) {
		case *string:
			*value = e.text(setting.option, *value)
		case *[]string:
			*value = e.texts(setting.option, *value)
		case **tokenstore.TwoLegged:
			if two := *value; two != nil {
				*value = &tokenstore.TwoLegged{
					User:       e.text(setting.option, two.User),
					Permission: e.text(setting.option, two.Permission),
				}
			}
		}
	}
	return s
}

// settingsOf are the settings of a consumer.
func settingsOf(c *tokenstore.Consumer) ConsumerSettings {
	s := ConsumerSettings{
		Name:                 c.Name,
		Homepage:             c.Homepage,
		RSAPublicKey:         c.RSAPublicKey,
		SignatureMethods:     c.SignatureMethods,
		Callbacks:            c.Callbacks,
		CallbacksIgnoreQuery: c.CallbacksIgnoreQuery,
		DefaultCallback:      c.DefaultCallback,
		Permissions:          c.Permissions,
		TwoLegged:            c.TwoLegged,
	}
	if !c.Expires.IsZero() {
		s.Expires = shownTime(c.Expires).Format(time.RFC3339)
	}
	return s
}

// apply writes the settings to a consumer, and checks what it becomes.
func (s *ConsumerSettings) apply(c *tokenstore.Consumer, l *levels) error {
	c.Name = s.Name
	c.Homepage = s.Homepage
	c.RSAPublicKey = s.RSAPublicKey
	c.SignatureMethods = s.SignatureMethods
	c.Callbacks = s.Callbacks
	c.CallbacksIgnoreQuery = s.CallbacksIgnoreQuery
	c.DefaultCallback = s.DefaultCallback
	c.Permissions = s.Permissions
	c.TwoLegged = s.TwoLegged
	c.Expires = time.Time{}
	if s.Expires != "" {
		var err error
		if c.Expires, err = parseExpires(s.Expires); err != nil {
			return err
		}
	}
	return checkConsumer(c, l)
}

// parseExpires is parseTime, with an error that names the field.
func parseExpires(text string) (time.Time, error) {
	t, err := parseTime(text)
	if err != nil {
		return t, fmt.Errorf("expires %q: must be a time such as 2027-01-31T00:00:00Z, or a date", text)
	}
	return t, nil
}
