package caddymodule

import (
	"context"
	"errors"
	"net/http"
	"time"

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
	return a.takeAway(entry, func() error { return store.RevokeToken(ctx, key) })
}

// revokeGrants removes all access tokens that match.
func (a *App) revokeGrants(ctx context.Context, store tokenstore.Store, f tokenstore.Filter) (n int, err error) {
	keys := a.someKeys(ctx, store, f)
	entry := backup.Revocation{Op: backup.GrantsRevoked, User: f.User, Consumer: f.Consumer}
	err = a.takeAway(entry, func() (err error) {
		if n, err = store.Revoke(ctx, f); err == nil {
			a.diagnoser.revoked(keys)
		}
		return err
	})
	return n, err
}

// deleteConsumer removes a consumer with its tokens.
func (a *App) deleteConsumer(ctx context.Context, store tokenstore.Store, key string) error {
	keys := a.someKeys(ctx, store, tokenstore.Filter{Consumer: key})
	return a.takeAway(backup.Revocation{Op: backup.ConsumerDeleted, Consumer: key}, func() error {
		err := store.DeleteConsumer(ctx, key)
		if err == nil {
			a.diagnoser.revoked(keys)
		}
		return err
	})
}

// takeAway tells the journal before something is taken away, and again after it if that took long: a
// backup that was begun meanwhile may still have it, and would take the first entry for one from
// long before.
func (a *App) takeAway(entry backup.Revocation, take func() error) error {
	if a.backups == nil {
		return take()
	}
	begun := a.now()
	untold := a.tell(entry)
	err := take()
	if a.now().Sub(begun) > backup.Margin/2 {
		untold = a.tell(entry)
	}
	if err != nil {
		return err
	}
	return untold
}

const (
	// mostKeysNoted is how many of the tokens that end together are remembered.
	mostKeysNoted = 200
	// notingPatience is how long they may delay the end.
	notingPatience = time.Second
)

// someKeys returns the keys of access tokens that match, if the store gives them soon, to explain
// later why they are refused.
func (a *App) someKeys(ctx context.Context, store tokenstore.Store, f tokenstore.Filter) (keys []string) {
	if a.diagnoser == nil || a.diagnoser.off {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, notingPatience)
	defer cancel()
	tokens, _, err := store.AccessTokens(ctx, f, "", mostKeysNoted)
	if err != nil {
		return nil
	}
	for _, t := range tokens {
		keys = append(keys, t.Key)
	}
	return keys
}

// updateConsumer changes a consumer. rotates says that its secret or key may become another one.
func (a *App) updateConsumer(
	ctx context.Context, store tokenstore.Store, key string, rotates bool, change func(*tokenstore.Consumer) error,
) (*tokenstore.Consumer, error) {
	var before *tokenstore.Consumer
	entry := backup.Revocation{Op: backup.ConsumerChanged, Consumer: key}
	changed, err := store.UpdateConsumer(ctx, key, func(c *tokenstore.Consumer) error {
		before = c.Clone()
		if a.backups != nil { // here, where changes of a consumer follow one another
			entry.Made, entry.Order = a.now().UTC(), a.backups.journal.NextOrder()
		}
		return change(c)
	})
	if err != nil {
		return nil, err
	}
	a.diagnoser.replaced(before, changed)
	// The settings are known now only. Whoever repeats a call without an answer tells them again.
	entry.Disabled = changed.Disabled
	err = a.tell(entry)
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
			Err:        &unjournaledError{err},
		}
	}
	return nil
}

// An unjournaledError is in the failure of a change that is done in the store, and is not in the
// journal.
type unjournaledError struct{ cause error }

func (e *unjournaledError) Error() string {
	return "it is done, but a backup from before would undo it when it is restored: " +
		"make the journal writable, and a backup after that: " + e.cause.Error()
}

func (e *unjournaledError) Unwrap() error { return e.cause }

// unjournaled reports whether a change is done, and only the journal was not told.
func unjournaled(err error) bool {
	var failed caddy.APIError
	var e *unjournaledError
	return errors.As(err, &failed) && errors.As(failed.Err, &e) // a caddy.APIError has no Unwrap
}
