package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/backup"
)

// These are the only calls by which the server takes something away in the store. Each of them is
// in the journal of revocations, on disk, before it returns: a backup from before must not bring
// back what was taken away. What the journal can't be told is done nevertheless, and the error says
// so. The journal is told first, so that a call that is repeated after a crash can find nothing to
// do.

// revokeToken removes an access token.
func (a *App) revokeToken(ctx context.Context, store tokenstore.Store, key string) error {
	entry := backup.Revocation{Op: backup.TokenRevoked, Token: key}
	if a.backups != nil {
		t, err := store.AccessToken(ctx, key)
		if err != nil && !errors.Is(err, tokenstore.ErrNotFound) {
			return err
		}
		if err == nil {
			entry.User, entry.Consumer = t.User, t.Consumer
		}
	}
	untold := a.tell(entry)
	if err := store.RevokeToken(ctx, key); err != nil {
		return err
	}
	return untold
}

// revokeGrants removes all access tokens that match.
func (a *App) revokeGrants(ctx context.Context, store tokenstore.Store, f tokenstore.Filter) (int, error) {
	untold := a.tell(backup.Revocation{Op: backup.GrantsRevoked, User: f.User, Consumer: f.Consumer})
	n, err := store.Revoke(ctx, f)
	if err != nil {
		return n, err
	}
	return n, untold
}

// deleteConsumer removes a consumer with its tokens.
func (a *App) deleteConsumer(ctx context.Context, store tokenstore.Store, key string) error {
	untold := a.tell(backup.Revocation{Op: backup.ConsumerDeleted, Consumer: key})
	if err := store.DeleteConsumer(ctx, key); err != nil {
		return err
	}
	return untold
}

// updateConsumer changes a consumer. rotates says that its secret or key may become another one.
func (a *App) updateConsumer(
	ctx context.Context, store tokenstore.Store, key string, rotates bool, change func(*tokenstore.Consumer) error,
) (*tokenstore.Consumer, error) {
	changed, err := store.UpdateConsumer(ctx, key, change)
	if err != nil {
		return nil, err
	}
	// The settings are known now only. Whoever repeats a call without an answer tells them again.
	err = a.tell(backup.Revocation{Op: backup.ConsumerChanged, Consumer: key, Disabled: changed.Disabled})
	if rotates {
		err = errors.Join(err, a.tell(backup.Revocation{Op: backup.ConsumerRotated, Consumer: key}))
	}
	return changed, err
}

// tell writes to the journal, if there is one.
func (a *App) tell(entry backup.Revocation) error {
	if a.backups == nil {
		return nil
	}
	entry.Time = a.now().UTC()
	if err := a.backups.journal.Append(entry); err != nil {
		return caddy.APIError{
			HTTPStatus: http.StatusServiceUnavailable,
			Err: fmt.Errorf("it is done, but a backup from before would undo it when it is restored: "+
				"make the journal writable, and a backup after that: %w", err),
		}
	}
	return nil
}
