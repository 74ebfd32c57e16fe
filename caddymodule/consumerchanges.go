package caddymodule

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"strconv"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/audit"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// consumerChanges returns the settings that differ between two versions of a consumer, for the audit
// trail. Of the secrets it tells only that they changed, and of an RSA key its fingerprint.
func consumerChanges(before, after *tokenstore.Consumer) []audit.Change {
	changes := settingChanges("", settingTexts(before), settingTexts(after))
	if before.Secret != after.Secret {
		changes = append(changes, audit.Change{Field: "secret", From: hidden(before.Secret), To: hidden(after.Secret)})
	}
	if !before.PreviousSecretExpires.Equal(after.PreviousSecretExpires) {
		changes = append(changes, audit.Change{
			Field: "previous_secret_expires",
			From:  audit.Time(before.PreviousSecretExpires), To: audit.Time(after.PreviousSecretExpires),
		})
	}
	if before.SelfRegistered != after.SelfRegistered {
		changes = append(changes, audit.Change{
			Field: "self_registered",
			From:  strconv.FormatBool(before.SelfRegistered), To: strconv.FormatBool(after.SelfRegistered),
		})
	}
	return changes
}

// hidden stands for a secret.
func hidden(secret string) string {
	if secret == "" {
		return ""
	}
	return "(hidden)"
}

// settingTexts returns the settings that are not the default, by their names in JSON.
func settingTexts(c *tokenstore.Consumer) map[string]string {
	encoded, err := json.Marshal(storedSettings(c))
	if err != nil {
		return nil // the settings are plain values
	}
	var values map[string]json.RawMessage
	if err := json.Unmarshal(encoded, &values); err != nil {
		return nil
	}
	texts := make(map[string]string, len(values))
	for name, value := range values {
		texts[name] = string(value)
		var text string
		if json.Unmarshal(value, &text) == nil {
			texts[name] = text
		}
		if name == "rsa_public_key" && text != "" {
			sum := sha256.Sum256([]byte(text))
			texts[name] = "sha256:" + hex.EncodeToString(sum[:])
		}
	}
	return texts
}

// settingChanges returns the settings that differ, in the order of their names.
func settingChanges(prefix string, before, after map[string]string) (changes []audit.Change) {
	names := maps.Clone(before)
	if names == nil {
		names = make(map[string]string)
	}
	maps.Copy(names, after)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if before[name] != after[name] {
			changes = append(changes, audit.Change{Field: prefix + name, From: before[name], To: after[name]})
		}
	}
	return changes
}
