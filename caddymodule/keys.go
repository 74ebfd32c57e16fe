package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/keyring"
)

// Keys encrypt what the store keeps.
type Keys struct {
	// The key that encrypts. Required.
	Primary *EncryptionKey `json:"primary"`
	// Keys that encrypted before, and only decrypt now. One can be removed when `oauth1 keys status`
	// says so; with a key missing that is in use, the configuration is refused.
	Old []*EncryptionKey `json:"old,omitempty"`
}

// EncryptionKey is a key for AES-256-GCM, and its name.
type EncryptionKey struct {
	// What the key is called in the store and by the commands: 1 to 32 letters, digits, points,
	// hyphens or underscores. It is not secret. Never give another key the same id.
	ID string `json:"id"`
	// 32 random bytes as base64 or hexadecimal, such as `openssl rand -base64 32` prints. Use a
	// placeholder, such as `{file.<path>}` or `{env.X}`: the key itself would be stored with Caddy's
	// configuration. Without it, what it encrypted is lost.
	Key string `json:"key"`
}

// ring returns the keys with their placeholders expanded; nil if there are none. Its errors show no
// key.
func (k *Keys) ring() (tokenstore.Sealer, error) {
	if k == nil {
		return nil, nil
	}
	if k.Primary == nil {
		return nil, errors.New("keys: there is no primary key")
	}
	repl := caddy.NewReplacer()
	var all []keyring.Key
	for _, configured := range append([]*EncryptionKey{k.Primary}, k.Old...) {
		if configured == nil {
			return nil, errors.New("keys: a key is null")
		}
		text, err := repl.ReplaceOrErr(configured.Key, true, true)
		if err != nil {
			return nil, fmt.Errorf("keys: key %q: %w", configured.ID, err)
		}
		key, err := keyring.ParseKey(configured.ID, text)
		if err != nil {
			return nil, fmt.Errorf("keys: %w", err)
		}
		all = append(all, key)
	}
	ring, err := keyring.New(all[0], all[1:]...)
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	return ring, nil
}

// provisionKeys gives the store's module the keys.
func (a *App) provisionKeys() error {
	ring, err := a.Keys.ring()
	if ring == nil || err != nil {
		return err
	}
	user, ok := a.module.(tokenstore.KeyUser)
	if !ok {
		return fmt.Errorf("keys: the store %T can't encrypt what it keeps", a.module)
	}
	user.UseKeys(ring)
	a.ring = ring
	return nil
}

// configureStore applies the options to a store that another configuration has open. A new primary
// key waits until that one has ended: if this one fails to start, nothing was encrypted with a key
// that the other lacks. Meanwhile the store has the other's keys, so this one must have them too.
func (a *App) configureStore(store tokenstore.Store) error {
	other := appsStarted.besides(a)
	if other == nil || !otherPrimary(a.ring, other.ring) {
		return a.module.Configure(store)
	}
	if missing := lacks(a.ring, other.ring); len(missing) > 0 {
		return fmt.Errorf("keys: the primary key changes, and key %q is removed or changed in the same reload: "+
			"keep it as old now, and remove it in a later reload", missing[0])
	}
	user := a.module.(tokenstore.KeyUser)
	user.UseKeys(other.ring)
	defer user.UseKeys(a.ring)
	a.keysWait.Store(true)
	return a.module.Configure(store)
}

// otherPrimary reports whether a ring encrypts with another key than the one before.
func otherPrimary(ring, before tokenstore.Sealer) bool {
	if ring == nil || before == nil {
		return ring != nil
	}
	return ring.IDs()[0] != before.IDs()[0] || keyHashes(ring)[0] != keyHashes(before)[0]
}

// lacks returns the ids of the keys that a ring before had, and this one has not.
func lacks(ring, before tokenstore.Sealer) (missing []string) {
	if before == nil {
		return nil
	}
	hashes, had := keyHashes(ring), keyHashes(before)
	for i, id := range before.IDs() {
		if at := slices.Index(ring.IDs(), id); at < 0 || hashes[at] != had[i] {
			missing = append(missing, id)
		}
	}
	return missing
}

// keyHashes returns a hash of each key of a ring, in the order of its IDs.
func keyHashes(ring tokenstore.Sealer) []string {
	return ring.Names("a key", "is the same if this has the same hash")
}

// takeKeys lets the store encrypt with the app's primary key, if that waits for the end of another
// configuration.
func (a *App) takeKeys() error {
	if !a.keysWait.CompareAndSwap(true, false) {
		return nil
	}
	if err := a.module.Configure(a.store); err != nil {
		a.keysWait.Store(true)
		return fmt.Errorf("the new primary key is not used yet: reload the configuration: %w", err)
	}
	if trail := a.trail.Load(); trail != nil {
		a.tellKept(context.Background(), trail, a.store)
	}
	return nil
}

// unmarshalKeys reads the option keys. Its errors show nothing that may be a part of a key.
func (a *App) unmarshalKeys(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.Err("keys takes a block, and nothing before it")
	}
	a.Keys = new(Keys)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		if option != "primary" && option != "old" {
			return d.Err("keys: unknown option: it has primary and old")
		}
		args := d.RemainingArgs()
		if len(args) != 2 || args[0] == "" || args[1] == "" {
			return d.Errf("keys: %s wants an id, and a key of 32 bytes", option)
		}
		if d.NextBlock(nesting + 1) {
			return d.Errf("keys: %s takes no block", option)
		}
		key := &EncryptionKey{ID: args[0], Key: args[1]}
		switch {
		case option == "old":
			a.Keys.Old = append(a.Keys.Old, key)
		case a.Keys.Primary != nil:
			return d.Err("keys: primary is given twice: the one that encrypted before is old now")
		default:
			a.Keys.Primary = key
		}
	}
	if a.Keys.Primary == nil {
		return d.Err("keys: there is no primary key")
	}
	return nil
}
