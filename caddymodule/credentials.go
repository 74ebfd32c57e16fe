package caddymodule

import (
	"context"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// credentials finds the consumer and the access token of one signed request. A store that finds
// both in one step is asked once.
type credentials struct {
	app                    *App
	store                  tokenstore.Store
	consumerKey, accessKey string

	// together says that the store was asked for both. token is what it found, or nil.
	together bool
	token    *tokenstore.AccessToken
}

// consumer finds the consumer, as App.consumer does.
func (c *credentials) consumer(ctx context.Context) (*tokenstore.Consumer, error) {
	finder, ok := c.store.(tokenstore.CredentialFinder)
	if !ok || c.accessKey == "" || len(c.accessKey) > maxText ||
		c.app.declared[c.consumerKey] != nil || len(c.consumerKey) > maxText {
		return c.app.consumer(ctx, c.store, c.consumerKey)
	}
	consumer, token, err := finder.Credentials(ctx, c.consumerKey, c.accessKey)
	if err != nil {
		return nil, err
	}
	c.together, c.token = true, token
	if consumer == nil {
		return nil, tokenstore.ErrNotFound
	}
	return consumer, nil
}

// accessToken finds the access token, as App.accessToken does. It is called after consumer.
func (c *credentials) accessToken(ctx context.Context) (*tokenstore.AccessToken, error) {
	switch {
	case !c.together:
		return c.app.accessToken(ctx, c.store, c.accessKey)
	case c.token == nil:
		return nil, tokenstore.ErrNotFound
	}
	return c.token, nil
}
