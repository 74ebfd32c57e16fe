package caddymodule

import (
	"context"
	"errors"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/doctor"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// nearestConsumer says what an unknown consumer key is.
func (a *App) nearestConsumer(ctx context.Context, store tokenstore.Store, key string) (doctor.Found, error) {
	if found := a.diagnoser.past.whatBecame(key).found; found == doctor.FoundRemovedConsumer {
		return found, nil
	}
	if owner, _, err := a.ownerOfToken(ctx, store, key); err != nil || owner != "" {
		return doctor.FoundTokenAsConsumerKey, err
	}
	for _, near := range doctor.NearKeys(key) {
		_, err := a.consumer(ctx, store, near.Key)
		if !errors.Is(err, tokenstore.ErrNotFound) {
			return near.Found, err
		}
	}
	return doctor.FoundNothing, nil
}

// nearestToken says what the unknown or expired token of a request is.
func (a *App) nearestToken(ctx context.Context, store tokenstore.Store, q *refusedRequest) (doctor.Found, error) {
	p := &q.signed.params
	owner, access, err := a.ownerOfToken(ctx, store, p.Token)
	switch {
	case err != nil:
		return doctor.FoundNothing, err
	case owner != "" && owner != p.ConsumerKey:
		return doctor.FoundTokenOfAnother, nil
	case owner != "" && access && q.endpoint == endpointAPI:
		return doctor.FoundExpiredToken, nil
	case owner != "" && !access && q.endpoint == endpointAPI:
		return doctor.FoundRequestToken, nil
	case owner != "":
		return doctor.FoundNothing, nil
	}
	if found := a.diagnoser.past.whatBecame(p.Token).found; found != doctor.FoundNothing {
		return found, nil
	}
	if _, err := a.consumer(ctx, store, p.Token); !errors.Is(err, tokenstore.ErrNotFound) {
		return doctor.FoundConsumerKeyAsToken, err
	}
	for _, near := range doctor.NearKeys(p.Token) {
		owner, _, err := a.ownerOfToken(ctx, store, near.Key)
		if err != nil || owner == p.ConsumerKey {
			return near.Found, err
		}
	}
	return doctor.FoundNothing, nil
}

// ownerOfToken returns the consumer of an access token or a request token; "" if there is no such
// token.
func (a *App) ownerOfToken(ctx context.Context, store tokenstore.Store, key string) (owner string, access bool, err error) {
	token, err := a.accessToken(ctx, store, key)
	if err == nil {
		return token.Consumer, true, nil
	}
	if !errors.Is(err, tokenstore.ErrNotFound) {
		return "", false, err
	}
	request, err := a.requestToken(ctx, store, key)
	switch {
	case err == nil:
		return request.Consumer, false, nil
	case errors.Is(err, tokenstore.ErrNotFound):
		return "", false, nil
	}
	return "", false, err
}
