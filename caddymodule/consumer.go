package caddymodule

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/adminapi"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/policy"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// DeclaredConsumer is a consumer in the configuration. Its texts may hold placeholders, such as
// `{env.CI_BOT_SECRET}` and `{file.ci-bot.pem}`. A placeholder that expands to nothing is an error.
type DeclaredConsumer struct {
	// The key that the consumer sends as oauth_consumer_key. Required.
	Key string `json:"key"`
	// The shared secret of HMAC and PLAINTEXT signatures. A consumer has either a secret or an RSA
	// key. A secret that is written here in clear is only as secret as this configuration.
	Secret string `json:"secret,omitempty"`
	adminapi.ConsumerSettings
	// Where the consumer is declared, for error messages. The Caddyfile adapter sets it.
	Source string `json:"source,omitempty"`
}

// consumer expands the placeholders, checks the settings, and returns the consumer.
func (d *DeclaredConsumer) consumer(l *policy.Levels) (*tokenstore.Consumer, error) {
	e := expander{repl: caddy.NewReplacer()}
	c := &tokenstore.Consumer{Key: e.expand("key", d.Key), Secret: e.expand("secret", d.Secret)}
	settings := expandedSettings(d.ConsumerSettings, &e)
	if e.failed != nil {
		return nil, e.failed
	}
	if c.Secret == "" && settings.RSAPublicKey == "" {
		return nil, fmt.Errorf("needs a secret or an rsa_public_key")
	}
	if err := applyConsumerSettings(&settings, c, l); err != nil {
		return nil, err
	}
	return c, nil
}

// expander expands placeholders, and stops at the first that is unknown or empty.
type expander struct {
	repl   *caddy.Replacer
	failed error
}

func (e *expander) expand(option, text string) string {
	if text == "" || e.failed != nil {
		return ""
	}
	value, err := e.repl.ReplaceOrErr(text, true, true)
	switch value = strings.TrimRight(value, "\r\n"); {
	case err == nil && value != "":
		return value
	case err == nil:
		err = errors.New("is empty")
	case option == "secret" && !isPlaceholder(text): // the error would show a part of the secret
		e.failed = errors.New(`secret: holds a placeholder that is unknown or empty (a brace that is part of it needs a \ before it)`)
		return ""
	}
	e.failed = fmt.Errorf("%s %q: %w", option, text, err)
	return ""
}

func (e *expander) expandAll(option string, texts []string) []string {
	var values []string
	for _, text := range texts {
		values = append(values, e.expand(option, text))
	}
	return values
}

// isPlaceholder reports whether a text is exactly one placeholder of a kind that secrets come from.
func isPlaceholder(text string) bool {
	return (strings.HasPrefix(text, "{env.") || strings.HasPrefix(text, "{file.")) && strings.IndexByte(text, '}') == len(text)-1
}

// at says where the consumer is declared, in the form of the Caddyfile's own errors.
func (d *DeclaredConsumer) at() string {
	if d.Source == "" {
		return ""
	}
	return ", at " + d.Source
}

// checkConsumer refuses a consumer that could do harm or could never work. Declared consumers and
// those of the admin API pass the same checks.
func checkConsumer(c *tokenstore.Consumer, l *policy.Levels) error {
	if err := checkKey("key", c.Key); err != nil {
		return err
	}
	if c.Name != "" {
		if err := checkText("name", c.Name); err != nil {
			return err
		}
	}
	if c.Secret != "" && c.RSAPublicKey != "" {
		return errors.New("has a secret and an rsa_public_key: a consumer is verified with only one of them")
	}
	if err := adminapi.CheckSettings(c); err != nil {
		return err
	}
	kind := keyKind(c)
	for _, method := range c.SignatureMethods {
		if err := checkSignatureMethod(method); err != nil {
			return err
		}
		if oauth1.KeyKindOf(method) != kind {
			return fmt.Errorf("signature_methods %q: the consumer has no key for it", method)
		}
	}
	for _, pattern := range c.Callbacks {
		if err := checkCallbackPattern(pattern); err != nil {
			return err
		}
	}
	if err := checkCallbackOptions(c); err != nil {
		return err
	}
	for _, level := range c.Permissions {
		if err := l.Check(level); err != nil {
			return err
		}
	}
	if two := c.TwoLegged; two != nil {
		if err := checkText("two_legged user", two.User); err != nil {
			return err
		}
		if err := l.Check(two.Permission); err != nil {
			return err
		}
		if c.Secret == "" && c.RSAPublicKey == "" {
			return fmt.Errorf("two_legged: needs a secret or an rsa_public_key")
		}
		if len(c.Permissions) > 0 && !slices.Contains(c.Permissions, two.Permission) {
			return fmt.Errorf("two_legged: permission %q is not among the consumer's permissions", two.Permission)
		}
	}
	return nil
}

// keyKind returns the kind of key that a consumer is verified with.
func keyKind(c *tokenstore.Consumer) oauth1.KeyKind {
	if c.RSAPublicKey == "" {
		return oauth1.KeySecrets
	}
	key, err := oauth1.ParsePublicKey(c.RSAPublicKey)
	if err != nil {
		return oauth1.KeyUnknown
	}
	return oauth1.PublicKeyKind(key)
}

func checkSignatureMethod(method string) error {
	if !slices.Contains(oauth1.SignatureMethods, method) {
		return fmt.Errorf("signature_methods %q: must be one of %s", method, strings.Join(oauth1.SignatureMethods, ", "))
	}
	return nil
}

// maxText is the longest key or name, in bytes.
const maxText = 255

// checkText refuses a text that can't be a header value or can't be read on a page. Keys, names,
// users and contexts are checked with it before they are stored.
func checkText(what, s string) error {
	switch err := textFault(s); {
	case err == nil:
		return nil
	case s == "", len(s) > maxText, !utf8.ValidString(s):
		return fmt.Errorf("%s: %w", what, err)
	default:
		return fmt.Errorf("%s %q: %w", what, s, err)
	}
}

// textFault returns the fault of a text, in a form that pages can translate.
func textFault(s string) error {
	switch {
	case s == "":
		return errors.New("is empty")
	case len(s) > maxText:
		return reason("is longer than %d bytes", maxText)
	case !utf8.ValidString(s):
		return reason("is not UTF-8")
	case strings.ContainsFunc(s, unicode.IsControl):
		return reason("holds a control character")
	case s != strings.TrimSpace(s):
		return reason("begins or ends with a space")
	}
	return nil
}

// checkKey refuses a key that can't be stored, shown or reached: in the path of a URL, . and .. are
// not names. what is the name of the field or parameter.
func checkKey(what, key string) error {
	if key == "." || key == ".." {
		return fmt.Errorf("%s %q: can't stand in the path of a URL", what, key)
	}
	return checkText(what, key)
}
