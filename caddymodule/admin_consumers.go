package caddymodule

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"

	"go.uber.org/zap"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/adminapi"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/audit"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/policy"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

func (c *adminCall) listConsumers() (int, any, error) {
	_, after, limit, err := c.listQuery()
	if err != nil {
		return 0, nil, err
	}
	stored, next, err := c.store.Consumers(c.Context(), after, limit)
	if err != nil {
		return 0, nil, storeFailure("", err)
	}
	consumers := c.mergeDeclared(stored, after, next)
	if len(consumers) > limit {
		consumers = consumers[:limit]
		next = consumers[limit-1].Key
	}
	answer := adminapi.List[adminapi.Consumer]{Items: make([]adminapi.Consumer, len(consumers)), Next: next}
	for i, consumer := range consumers {
		answer.Items[i] = c.viewConsumer(consumer)
	}
	return http.StatusOK, answer, nil
}

// mergeDeclared adds the declared consumers to a page of stored ones. The page begins after the key
// after. If another page follows, this page ends at next.
func (c *adminCall) mergeDeclared(stored []*tokenstore.Consumer, after, next string) []*tokenstore.Consumer {
	var merged []*tokenstore.Consumer
	for _, consumer := range stored {
		if c.app.declared[consumer.Key] == nil {
			merged = append(merged, consumer)
		}
	}
	for key, consumer := range c.app.declared {
		if key > after && (next == "" || key <= next) {
			merged = append(merged, consumer)
		}
	}
	slices.SortFunc(merged, func(a, b *tokenstore.Consumer) int { return strings.Compare(a.Key, b.Key) })
	return merged
}

func (c *adminCall) showConsumer() (int, any, error) {
	consumer, err := c.app.consumer(c.Context(), c.store, c.PathValue("key"))
	if err != nil {
		return 0, nil, c.consumerFailure(err)
	}
	view := c.viewConsumer(consumer)
	view.Observed = observed.of(consumer.Key)
	return http.StatusOK, view, nil
}

func (c *adminCall) createConsumer() (int, any, error) {
	var body adminapi.NewConsumer
	if err := c.decode(&body); err != nil {
		return 0, nil, err
	}
	if body.Key == "" {
		body.Key = tokenstore.NewKey()
	}
	if c.app.declared[body.Key] != nil {
		return 0, nil, declaredFailure(body.Key)
	}
	consumer := &tokenstore.Consumer{Key: body.Key, Created: c.app.now()}
	switch {
	case body.Secret != nil:
		consumer.Secret = *body.Secret
	case body.RSAPublicKey == "":
		consumer.Secret = tokenstore.NewSecret()
	}
	if err := checkSecret(consumer.Secret); err != nil {
		return 0, nil, refuse(err)
	}
	if err := applySettings(&body.StoredSettings, consumer, c.app.levels); err != nil {
		return 0, nil, refuse(err)
	}
	if consumer.Expired(consumer.Created) {
		return 0, nil, pastFailure(body.Expires)
	}
	event := c.event(audit.ConsumerAdded)
	event.Consumer, event.Expires = consumer.Key, consumer.Expires
	event.Changes = consumerChanges(new(tokenstore.Consumer), consumer)
	if err := c.change(event, fmt.Sprintf("consumer %q", body.Key), func() error {
		return c.store.CreateConsumer(c.Context(), consumer)
	}); err != nil {
		return 0, nil, err
	}
	return http.StatusCreated, c.viewNewSecret(consumer), nil
}

// changeConsumer applies a JSON Merge Patch (RFC 7396): absent fields stay, null resets a field to
// its default.
func (c *adminCall) changeConsumer() (int, any, error) {
	key := c.PathValue("key")
	if c.app.declared[key] != nil {
		return 0, nil, declaredFailure(key)
	}
	var patch json.RawMessage
	if err := c.decode(&patch); err != nil {
		return 0, nil, err
	}
	event := c.event(audit.ConsumerChanged)
	if onlyDisables(patch) {
		event.Name = audit.ConsumerDisabled
	}
	changed, err := c.update(event, touchesKey(patch), func(consumer *tokenstore.Consumer) error {
		before := storedSettings(consumer)
		settings, err := patched(before, patch)
		if err != nil {
			return err
		}
		hadKey := consumer.RSAPublicKey != ""
		if hadKey && settings.RSAPublicKey == "" {
			return failure(http.StatusConflict, "rsa_public_key: can't be removed, since the consumer has no secret")
		}
		if !hadKey && settings.RSAPublicKey != "" {
			forgetSecrets(consumer)
		}
		if err := applySettings(&settings, consumer, c.app.levels); err != nil {
			return refuse(err)
		}
		if settings.Expires != before.Expires && consumer.Expired(c.app.now()) {
			return pastFailure(settings.Expires)
		}
		if consumer.Disabled == before.Disabled {
			event.Name = audit.ConsumerChanged
		} else if event.Name = audit.ConsumerEnabled; consumer.Disabled {
			event.Name = audit.ConsumerDisabled
		}
		return nil
	})
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, c.viewConsumer(changed), nil
}

// touchesKey reports whether a patch may change the consumer's public key.
func touchesKey(patch json.RawMessage) bool {
	var fields map[string]json.RawMessage
	_ = json.Unmarshal(patch, &fields) // changeConsumer reports what is wrong with it
	for name := range fields {
		if foldedName(name) == "rsa_public_key" {
			return true
		}
	}
	return false
}

func (c *adminCall) deleteConsumer() (int, any, error) {
	key := c.PathValue("key")
	if c.app.declared[key] != nil {
		return 0, nil, declaredFailure(key)
	}
	event := c.event(audit.ConsumerRemoved)
	event.Consumer = key
	if err := c.change(event, fmt.Sprintf("consumer %q", key), func() error {
		return c.app.deleteConsumer(c.Context(), c.store, key)
	}); err != nil {
		return 0, nil, err
	}
	c.app.metrics.consumers.removed(key)
	return http.StatusNoContent, nil, nil
}

// rotateSecret gives a consumer a new secret. The old secret ends at once, or after the overlap
// that the call asks for.
func (c *adminCall) rotateSecret() (int, any, error) {
	var body adminapi.Rotation
	if err := c.decode(&body); err != nil {
		return 0, nil, err
	}
	key := c.PathValue("key")
	if c.app.declared[key] != nil {
		return 0, nil, declaredFailure(key)
	}
	overlap, err := parseLifetime("overlap", body.Overlap)
	if err != nil {
		return 0, nil, err
	}
	secret := tokenstore.NewSecret()
	if body.Secret != nil {
		secret = *body.Secret
	}
	if secret == "" {
		return 0, nil, failure(http.StatusBadRequest, "secret: is empty")
	}
	if err := checkSecret(secret); err != nil {
		return 0, nil, refuse(err)
	}
	now := c.app.now()
	rotated, err := c.update(c.event(audit.ConsumerRotated), true, func(consumer *tokenstore.Consumer) error {
		if consumer.RSAPublicKey != "" {
			return failure(http.StatusConflict, "consumer %q: has an RSA key and no secret; give it another key with rsa_public_key", key)
		}
		if consumer.Secret == "" && overlap > 0 {
			return failure(http.StatusConflict, "consumer %q: its secret was empty, which can't go on beside a new one; leave out overlap", key)
		}
		old := consumer.Secret
		forgetSecrets(consumer)
		if overlap > 0 {
			consumer.PreviousSecret, consumer.PreviousSecretExpires = old, now.Add(overlap)
		}
		consumer.Secret = secret
		return nil
	})
	if unjournaled(err) {
		// The old secret has ended, and nobody else knows the new one.
		c.events.logger.Error("a consumer was rotated, and the journal of revocations can't be written",
			zap.String("consumer", key), zap.Error(err))
		answer := c.viewNewSecret(rotated)
		answer.Error = err.Error()
		return http.StatusServiceUnavailable, answer, nil
	}
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, c.viewNewSecret(rotated), nil
}

// update changes the stored consumer of the call, and tells it with the settings that changed.
// rotates says that its secret or key may become another one.
func (c *adminCall) update(
	event *audit.Event, rotates bool, change func(*tokenstore.Consumer) error,
) (updated *tokenstore.Consumer, err error) {
	event.Consumer = c.PathValue("key")
	err = c.change(event, fmt.Sprintf("consumer %q", event.Consumer), func() (err error) {
		updated, err = c.app.updateConsumer(c.Context(), c.store, event.Consumer, rotates, func(consumer *tokenstore.Consumer) error {
			before := consumer.Clone()
			if err := change(consumer); err != nil {
				return err
			}
			adopt(consumer)
			event.Changes, event.Expires = consumerChanges(before, consumer), consumer.Expires
			return nil
		})
		return err
	})
	return updated, err
}

// onlyDisables reports whether a patch disables the consumer, and does nothing else.
func onlyDisables(patch json.RawMessage) bool {
	var fields map[string]json.RawMessage
	return json.Unmarshal(patch, &fields) == nil && len(fields) == 1 &&
		string(fields["disabled"]) == "true"
}

func forgetSecrets(consumer *tokenstore.Consumer) {
	consumer.Secret = ""
	consumer.PreviousSecret, consumer.PreviousSecretExpires = "", time.Time{}
}

// adopt keeps a self-registered consumer that an operator has changed. Otherwise a disabled
// consumer would be removed after a day, and could register itself again.
func adopt(consumer *tokenstore.Consumer) { consumer.SelfRegistered = false }

func (c *adminCall) consumerFailure(err error) error {
	return storeFailure(fmt.Sprintf("consumer %q", c.PathValue("key")), err)
}

func declaredFailure(key string) error {
	return failure(http.StatusConflict, "consumer %q: is declared in Caddy's configuration, among the consumers of the oauth1 app; change it there", key)
}

func (c *adminCall) viewConsumer(consumer *tokenstore.Consumer) adminapi.Consumer {
	return adminapi.Consumer{
		Key:                   consumer.Key,
		StoredSettings:        storedSettings(consumer),
		Declared:              c.app.declared[consumer.Key] != nil,
		SelfRegistered:        consumer.SelfRegistered,
		Created:               adminapi.ShownTime(consumer.Created),
		PreviousSecretExpires: adminapi.ShownTime(consumer.PreviousSecretExpires),
	}
}

func (c *adminCall) viewNewSecret(consumer *tokenstore.Consumer) adminapi.ConsumerWithSecret {
	view := adminapi.ConsumerWithSecret{Consumer: c.viewConsumer(consumer)}
	if consumer.RSAPublicKey == "" {
		view.Secret = &consumer.Secret
	}
	return view
}

func storedSettings(c *tokenstore.Consumer) adminapi.StoredSettings {
	return adminapi.StoredSettings{ConsumerSettings: adminapi.SettingsOf(c), Disabled: c.Disabled}
}

// applySettings writes the settings to a consumer, and checks the result.
func applySettings(s *adminapi.StoredSettings, c *tokenstore.Consumer, l *policy.Levels) error {
	c.Disabled = s.Disabled
	return applyConsumerSettings(&s.ConsumerSettings, c, l)
}

// pastFailure refuses an end in the past, which is probably a wrong date: to end a consumer now,
// disable it.
func pastFailure(expires string) error {
	return failure(http.StatusBadRequest, "expires %q: is in the past", expires)
}

// patched returns the settings after a JSON Merge Patch. Its errors are failures.
func patched(s adminapi.StoredSettings, patch json.RawMessage) (adminapi.StoredSettings, error) {
	var next adminapi.StoredSettings
	if len(bytes.TrimSpace(patch)) == 0 {
		return s, nil
	}
	if err := decodeStrictly(patch, &next); err != nil { // also refuses a null for an unknown name
		return next, err
	}
	now, err := json.Marshal(s)
	if err != nil {
		return next, err
	}
	merged, err := mergePatch(now, patch)
	if err != nil {
		return next, err
	}
	next = adminapi.StoredSettings{}
	return next, decodeStrictly(merged, &next)
}

// mergePatch is MergePatch of RFC 7396 section 2. It ignores the case of names, as encoding/json
// does.
func mergePatch(target, patch json.RawMessage) (json.RawMessage, error) {
	if !isObject(patch) {
		return patch, nil
	}
	fields, changes := make(map[string]json.RawMessage), make(map[string]json.RawMessage)
	if isObject(target) {
		if err := json.Unmarshal(target, &fields); err != nil {
			return nil, err
		}
	}
	if err := json.Unmarshal(patch, &changes); err != nil {
		return nil, err
	}
	for name, value := range changes {
		name = foldedName(name)
		if string(value) == "null" {
			delete(fields, name)
			continue
		}
		merged, err := mergePatch(fields[name], value)
		if err != nil {
			return nil, err
		}
		fields[name] = merged
	}
	return json.Marshal(fields)
}

func isObject(value json.RawMessage) bool {
	return bytes.HasPrefix(bytes.TrimSpace(value), []byte("{"))
}

// checkSecret refuses a secret that is probably a mistake, such as one with the line end of a file.
func checkSecret(secret string) error {
	if strings.ContainsFunc(secret, unicode.IsControl) {
		return fmt.Errorf("secret: holds a line end or another control character")
	}
	return nil
}
