package adminapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// The kinds of lines that an export writes and an import reads. A file has one JSON object on each
// line (JSON Lines). A consumer stands before its tokens.
const (
	KindConsumer    = "consumer"
	KindAccessToken = "access_token"
)

const (
	// MaxLine is the longest line, in bytes.
	MaxLine = 128 << 10
	// MaxImportLines is how many lines one call may import, and MaxImport how many bytes they may
	// have together.
	MaxImportLines = 1000
	MaxImport      = 4 << 20
)

// A ConsumerLine is a consumer in a file. Its times are texts in RFC 3339, or dates.
type ConsumerLine struct {
	Kind string `json:"kind"`
	Key  string `json:"key"`
	// Secret is empty for a consumer without one, such as Launchpad's. It is absent if the consumer
	// has an RSA key, and in an export without secrets.
	Secret *string `json:"secret,omitempty"`
	// PreviousSecret is the secret before the last rotation, while it is still accepted.
	PreviousSecret        string `json:"previous_secret,omitempty"`
	PreviousSecretExpires string `json:"previous_secret_expires,omitempty"`
	StoredSettings
	SelfRegistered bool `json:"self_registered,omitempty"`
	// Created is the time of the import if it is absent.
	Created string `json:"created,omitempty"`
}

// A TokenLine is an access token in a file. Its times are texts in RFC 3339, or dates.
type TokenLine struct {
	Kind string `json:"kind"`
	Key  string `json:"key"`
	// Secret is absent in an export without secrets.
	Secret     *string `json:"secret,omitempty"`
	Consumer   string  `json:"consumer"`
	User       string  `json:"user"`
	Permission string  `json:"permission"`
	Context    string  `json:"context,omitempty"`
	// Created is the time of the import if it is absent.
	Created string `json:"created,omitempty"`
	// Expires is the end of the token. If it is absent, the token lives until it is revoked.
	Expires  string `json:"expires,omitempty"`
	LastUsed string `json:"last_used,omitempty"`
}

// NewConsumerLine is the line of a consumer.
func NewConsumerLine(c *tokenstore.Consumer, secrets bool) ConsumerLine {
	line := ConsumerLine{
		Kind:           KindConsumer,
		Key:            c.Key,
		StoredSettings: StoredSettings{ConsumerSettings: SettingsOf(c), Disabled: c.Disabled},
		SelfRegistered: c.SelfRegistered,
		Created:        lineTime(c.Created),
	}
	if !secrets || c.RSAPublicKey != "" {
		return line
	}
	line.Secret = &c.Secret
	if c.PreviousSecret != "" {
		line.PreviousSecret = c.PreviousSecret
		line.PreviousSecretExpires = lineTime(c.PreviousSecretExpires)
	}
	return line
}

// NewTokenLine is the line of an access token.
func NewTokenLine(t *tokenstore.AccessToken, secrets bool) TokenLine {
	line := TokenLine{
		Kind:       KindAccessToken,
		Key:        t.Key,
		Consumer:   t.Consumer,
		User:       t.User,
		Permission: t.Permission,
		Context:    t.Context,
		Created:    lineTime(t.Created),
		Expires:    lineTime(t.Expires),
		LastUsed:   lineTime(t.LastUsed),
	}
	if secrets {
		line.Secret = &t.Secret
	}
	return line
}

// lineTime is a time with all its digits; empty for none.
func lineTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// Consumer is the consumer of the line. It checks no value, but times must be times. The end of the
// previous secret is zero if the line has none.
func (l *ConsumerLine) Consumer() (c *tokenstore.Consumer, err error) {
	c = &tokenstore.Consumer{
		Key:            l.Key,
		PreviousSecret: l.PreviousSecret,
		Disabled:       l.Disabled,
		SelfRegistered: l.SelfRegistered,
	}
	if l.Secret != nil {
		c.Secret = *l.Secret
	}
	if err := l.Apply(c); err != nil {
		return nil, err
	}
	return c, parseTimes(
		lineField{"created", l.Created, &c.Created},
		lineField{"previous_secret_expires", l.PreviousSecretExpires, &c.PreviousSecretExpires},
	)
}

// Token is the access token of the line. It checks no value, but times must be times.
func (l *TokenLine) Token() (t *tokenstore.AccessToken, err error) {
	t = &tokenstore.AccessToken{
		Key:        l.Key,
		Consumer:   l.Consumer,
		User:       l.User,
		Permission: l.Permission,
		Context:    l.Context,
	}
	if l.Secret != nil {
		t.Secret = *l.Secret
	}
	return t, parseTimes(
		lineField{"created", l.Created, &t.Created},
		lineField{"expires", l.Expires, &t.Expires},
		lineField{"last_used", l.LastUsed, &t.LastUsed},
	)
}

type lineField struct {
	name, text string
	into       *time.Time
}

func parseTimes(fields ...lineField) (err error) {
	for _, field := range fields {
		if field.text == "" {
			continue
		}
		if *field.into, err = parseTime(field.name, field.text); err != nil {
			return err
		}
	}
	return nil
}

// IdentifyLine returns the kind and the key of a line. Its errors hold no part of the line, because
// that may be a secret.
func IdentifyLine(line []byte) (kind, key string, err error) {
	if len(line) > MaxLine {
		return "", "", fmt.Errorf("is longer than %d bytes", MaxLine)
	}
	if !utf8.Valid(line) {
		return "", "", errors.New("is not UTF-8")
	}
	var id struct {
		Kind *string `json:"kind"`
		Key  *string `json:"key"`
	}
	if !json.Valid(line) || json.Unmarshal(line, &id) != nil {
		return "", "", errors.New("is not a JSON object with a kind and a key")
	}
	switch {
	case id.Kind == nil:
		return "", "", fmt.Errorf("kind: is missing; it must be %s or %s", KindConsumer, KindAccessToken)
	case *id.Kind != KindConsumer && *id.Kind != KindAccessToken:
		return "", "", fmt.Errorf("kind: must be %s or %s", KindConsumer, KindAccessToken)
	case id.Key == nil || *id.Key == "":
		return "", "", errors.New("key: is missing or empty")
	}
	return *id.Kind, *id.Key, nil
}

// An Import is the body that imports lines. The same line again changes nothing.
type Import struct {
	// DryRun changes nothing, and tells what would happen.
	DryRun bool `json:"dry_run,omitempty"`
	// Update replaces consumers and tokens that differ from their lines. Otherwise they stay as
	// they are, and the result is a conflict.
	Update bool `json:"update,omitempty"`
	// AllowEmptyTokenSecrets accepts access tokens with an empty secret.
	AllowEmptyTokenSecrets bool `json:"allow_empty_token_secrets,omitempty"`
	// Known are the lines of consumers that a dry run takes as imported, because they stand earlier
	// in the same file.
	Known []json.RawMessage `json:"known,omitempty"`
	Lines []json.RawMessage `json:"lines"`
}

// Imported has a result for each line, in their order. The call may end with an error although some
// lines were imported; it can be repeated.
type Imported struct {
	Results []ImportResult `json:"results"`
}

// An ImportResult says what became of a line.
type ImportResult struct {
	Outcome string `json:"outcome"`
	// Problem says why a line was not imported. It holds no value of the line but its key: in a wrong
	// field any value may be a secret.
	Problem string `json:"problem,omitempty"`
}

// The outcomes of a line.
const (
	OutcomeAdded     = "added"
	OutcomeUpdated   = "updated"
	OutcomeUnchanged = "unchanged" // the store has it as it is
	OutcomeExpired   = "expired"   // an access token that has ended, which is left out
	OutcomeConflict  = "conflict"  // the store has something else under the key, which stays
	OutcomeRefused   = "refused"
)

// An Export is the body that asks for a page of an export: for lines of one kind, in the order of
// their keys. Without Secrets, the lines hold none, and can't be imported. Declared consumers are
// in the configuration, and in no export.
type Export struct {
	Kind    string `json:"kind"`
	After   string `json:"after,omitempty"`
	Secrets bool   `json:"secrets,omitempty"`
}

// MaxExportPage is the number of lines on a page of an export.
const MaxExportPage = 1000
