package caddymodule

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/adminapi"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/audit"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// errNoKeys is the answer of a store without keys.
var errNoKeys = errors.New("the store keeps everything clear: the configuration has no `keys`")

// keyUse returns nil for a store without keys.
func keyUse(ctx context.Context, store tokenstore.Store) (*tokenstore.KeyUse, error) {
	r, ok := store.(tokenstore.Rewrapper)
	if !ok {
		return nil, nil
	}
	use, err := r.KeyUse(ctx)
	if err != nil || use.Primary == "" {
		return nil, err
	}
	return use, nil
}

// keysStatus says which keys are in use.
func (c *adminCall) keysStatus() (int, any, error) {
	use, err := keyUse(c.Context(), c.store)
	if err != nil {
		return 0, nil, storeFailure("", err)
	}
	if use == nil {
		return 0, nil, failure(http.StatusConflict, "%w", errNoKeys)
	}
	status := adminapi.KeysStatus{Clear: use.Records[""], AllEncrypted: use.AllSealed, Keys: []adminapi.KeyStatus{}}
	for _, id := range slices.Sorted(maps.Keys(use.Records)) {
		if id == "" {
			continue
		}
		n := use.Records[id]
		status.Keys = append(status.Keys, adminapi.KeyStatus{
			ID: id, Primary: id == use.Primary, Records: n, Removable: id != use.Primary && n == 0,
		})
	}
	return http.StatusOK, status, nil
}

// rewrapKeys encrypts some records with the primary key.
func (c *adminCall) rewrapKeys() (int, any, error) {
	var asked adminapi.Rewrap
	if err := c.decode(&asked); err != nil {
		return 0, nil, err
	}
	r, ok := c.store.(tokenstore.Rewrapper)
	if !ok || c.app.Keys == nil {
		return 0, nil, failure(http.StatusConflict, "%w", errNoKeys)
	}
	done, err := r.Rewrap(c.Context(), asked.After)
	if err != nil {
		return 0, nil, storeFailure("", err)
	}
	if done.Complete {
		event := c.event(audit.KeyRewrapped)
		event.Changes = []audit.Change{{Field: "key", To: c.app.Keys.Primary.ID}}
		if err := c.events.tell(event); err != nil {
			return 0, nil, storeFailure("", err)
		}
	}
	return http.StatusOK, adminapi.Rewrapped{
		Looked: done.Looked, Changed: done.Changed, Waiting: done.Waiting, Unreadable: done.Unreadable,
		Next: done.Next, Stage: done.Stage, Complete: done.Complete,
	}, nil
}
