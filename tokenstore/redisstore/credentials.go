package redisstore

import (
	"context"
	"errors"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// Credentials returns a consumer and an access token, and nil for each that is not there. What the
// caches have is not read.
func (s *Store) Credentials(
	ctx context.Context, consumer, token string,
) (*tokenstore.Consumer, *tokenstore.AccessToken, error) {
	if s.consumers.get(consumer) == nil && s.tokens.get(token) == nil {
		return s.readCredentials(ctx, consumer, token)
	}
	c, err := s.Consumer(ctx, consumer)
	if err := lookedUp(err); err != nil {
		return nil, nil, err
	}
	t, err := s.AccessToken(ctx, token)
	if err := lookedUp(err); err != nil {
		return nil, nil, err
	}
	return c, t, nil
}

// readCredentials reads both records at the same time. Their slices may be on two servers; on one
// server the client sends both commands before it has an answer.
func (s *Store) readCredentials(
	ctx context.Context, consumer, token string,
) (*tokenstore.Consumer, *tokenstore.AccessToken, error) {
	var c *tokenstore.Consumer
	read := make(chan error, 1)
	go func() {
		var err error
		c, err = s.Consumer(ctx, consumer)
		read <- lookedUp(err)
	}()
	t, err := s.AccessToken(ctx, token)
	failure := lookedUp(err)
	if err := <-read; err != nil {
		failure = err
	}
	if failure != nil {
		return nil, nil, failure
	}
	return c, t, nil
}

// lookedUp returns the error of a look-up that failed. That nothing is there is no failure.
func lookedUp(err error) error {
	if errors.Is(err, tokenstore.ErrNotFound) {
		return nil
	}
	return err
}

var _ tokenstore.CredentialFinder = (*Store)(nil)
