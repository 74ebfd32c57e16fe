package caddymodule

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/adminapi"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/audit"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

func (c *adminCall) listTokens() (int, any, error) {
	query, after, limit, err := c.listQuery("user", "consumer")
	if err != nil {
		return 0, nil, err
	}
	filter := tokenstore.Filter{User: query.Get("user"), Consumer: query.Get("consumer")}
	tokens, next, err := c.store.AccessTokens(c.Context(), filter, after, limit)
	if err != nil {
		return 0, nil, storeFailure("", err)
	}
	answer := adminapi.List[adminapi.Token]{Items: make([]adminapi.Token, len(tokens)), Next: next}
	for i, token := range tokens {
		answer.Items[i] = viewToken(token)
	}
	return http.StatusOK, answer, nil
}

func (c *adminCall) showToken() (int, any, error) {
	token, err := c.store.AccessToken(c.Context(), c.PathValue("key"))
	if err != nil {
		return 0, nil, c.tokenFailure(err)
	}
	view := viewToken(token)
	lastUsed, err := c.store.LastUsed(c.Context(), token.Key)
	if err != nil {
		return 0, nil, c.tokenFailure(err)
	}
	view.LastUsed = adminapi.ShownTime(lastUsed)
	return http.StatusOK, view, nil
}

func (c *adminCall) issueToken() (int, any, error) {
	var body adminapi.NewToken
	if err := c.decode(&body); err != nil {
		return 0, nil, err
	}
	token := &tokenstore.AccessToken{
		Key:        body.Key,
		Secret:     tokenstore.NewSecret(),
		Consumer:   body.Consumer,
		User:       body.User,
		Permission: body.Permission,
		Context:    body.Context,
		Created:    c.app.now(),
	}
	if token.Key == "" {
		token.Key = tokenstore.NewKey()
	}
	if body.Secret != nil {
		token.Secret = *body.Secret
	}
	if token.Secret == "" {
		return 0, nil, failure(http.StatusBadRequest, "secret: is empty")
	}
	if err := checkKey("key", token.Key); err != nil {
		return 0, nil, refuse(err)
	}
	if err := checkSecret(token.Secret); err != nil {
		return 0, nil, refuse(err)
	}
	most := time.Duration(c.app.AccessTokenLifetime)
	if body.Secret != nil {
		most = 0
	}
	var err error
	if token.Expires, err = grantEnds(body.Lifetime, body.Expires, token.Created, most); err != nil {
		return 0, nil, err
	}
	if err := c.checkGrant(body.Consumer, &body.Grant); err != nil {
		return 0, nil, err
	}
	event := c.event(audit.AccessTokenIssued)
	if body.Secret != nil {
		event.Name = audit.AccessTokenImported
	}
	tellToken(event, token)
	if err := c.change(event, fmt.Sprintf("access token %q", token.Key), func() error {
		return c.store.CreateAccessToken(c.Context(), token)
	}); err != nil {
		return 0, nil, err
	}
	return http.StatusCreated, adminapi.TokenWithSecret{Token: viewToken(token), Secret: token.Secret}, nil
}

func (c *adminCall) revokeToken() (int, any, error) {
	event := c.event(audit.AccessTokenRevoked)
	event.Token = c.PathValue("key")
	if err := c.change(event, fmt.Sprintf("access token %q", event.Token), func() error {
		if token, err := c.store.AccessToken(c.Context(), event.Token); err == nil {
			tellToken(event, token)
		}
		return c.app.revokeToken(c.Context(), c.store, event.Token)
	}); err != nil {
		return 0, nil, err
	}
	return http.StatusNoContent, nil, nil
}

// revoke ends all grants of a user, of a consumer, or of a user to a consumer.
func (c *adminCall) revoke() (int, any, error) {
	var body adminapi.Revocation
	if err := c.decode(&body); err != nil {
		return 0, nil, err
	}
	var filter tokenstore.Filter
	for _, part := range []struct {
		name  string
		given *string
		into  *string
	}{{"user", body.User, &filter.User}, {"consumer", body.Consumer, &filter.Consumer}} {
		if part.given == nil {
			continue
		}
		if *part.given == "" {
			return 0, nil, failure(http.StatusBadRequest, "%s: is empty", part.name)
		}
		if len(*part.given) > maxText { // the store can't keep it, and no token has it
			return 0, nil, failure(http.StatusBadRequest, "%s: is longer than %d bytes", part.name, maxText)
		}
		*part.into = *part.given
	}
	if filter == (tokenstore.Filter{}) {
		return 0, nil, failure(http.StatusBadRequest, "neither a user nor a consumer is given")
	}
	if body.DryRun {
		n, err := c.store.CountAccessTokens(c.Context(), filter)
		if err != nil {
			return 0, nil, storeFailure("", err)
		}
		if err := c.checkRevoked(filter, n); err != nil {
			return 0, nil, err
		}
		return http.StatusOK, adminapi.Revoked{Matching: &n}, nil
	}
	event := c.event(audit.GrantsRevoked)
	event.User, event.Consumer = filter.User, filter.Consumer
	if err := c.change(event, "", func() (err error) {
		if event.Count, err = c.app.revokeGrants(c.Context(), c.store, filter); err != nil {
			return err
		}
		return c.checkRevoked(filter, event.Count)
	}); err != nil {
		return 0, nil, err
	}
	return http.StatusOK, adminapi.Revoked{Revoked: event.Count}, nil
}

// checkRevoked refuses an unknown consumer without an access token. Its key is probably misspelled,
// and the leaked token would stay valid. A removed consumer passes while it still has tokens. Its
// errors are failures.
func (c *adminCall) checkRevoked(filter tokenstore.Filter, n int) error {
	if n > 0 || filter.Consumer == "" {
		return nil
	}
	if _, err := c.app.consumer(c.Context(), c.store, filter.Consumer); err != nil {
		return storeFailure(fmt.Sprintf("consumer %q", filter.Consumer), err)
	}
	return nil
}

func (c *adminCall) showRequestToken() (int, any, error) {
	token, err := c.store.RequestToken(c.Context(), c.PathValue("key"))
	if err != nil {
		return 0, nil, c.requestTokenFailure(err)
	}
	return http.StatusOK, c.viewRequestToken(token), nil
}

// reviewRequestToken records an answer that a user gave at a page of the platform's own. The caller
// must check that the answer is the user's. The same answer again gets the same verifier and
// redirect.
func (c *adminCall) reviewRequestToken() (int, any, error) {
	var body adminapi.Review
	if err := c.decode(&body); err != nil {
		return 0, nil, err
	}
	token, err := c.store.RequestToken(c.Context(), c.PathValue("key"))
	if err != nil {
		return 0, nil, c.requestTokenFailure(err)
	}
	callback, err := c.checkReviewable(token, body.Callback)
	if err != nil {
		return 0, nil, err
	}
	review := tokenstore.Review{
		User:       body.User,
		Permission: body.Permission,
		Context:    body.Context,
		Time:       c.app.now(),
	}
	if review.Permission == tokenstore.Unauthorized {
		err = checkGrantTexts(&body.Grant)
	} else if err = c.checkGrant(token.Consumer, &body.Grant); err == nil {
		review.Expires, err = grantEnds(body.Lifetime, "", review.Time,
			time.Duration(c.app.AccessTokenLifetime))
	}
	if err != nil {
		return 0, nil, err
	}
	if callback != "" && review.Permission != tokenstore.Unauthorized {
		review.Verifier = tokenstore.NewVerifier()
	}
	event := c.event(audit.RequestTokenGranted)
	tellReview(event, token, &review)
	if err := c.change(event, fmt.Sprintf("request token %q", token.Key), func() error {
		reviewed, err := c.store.Review(c.Context(), token.Key, review)
		if err != nil {
			return err
		}
		if token = reviewed; !token.Review.Time.Equal(review.Time) || token.Review.Verifier != review.Verifier {
			event.Outcome = audit.Repeated
		}
		review = *token.Review // the first review, if the same answer was given twice
		return nil
	}); err != nil {
		return 0, nil, err
	}
	answer := adminapi.ReviewedToken{RequestToken: c.viewRequestToken(token), Verifier: review.Verifier}
	if callback != "" && callback != outOfBand {
		answer.Redirect = answeredCallback(callback, token.Key, review)
	}
	return http.StatusOK, answer, nil
}

// checkReviewable refuses a request token that the authorize page would refuse: since it was made,
// its consumer may have been disabled, or may have lost the callback. It returns the callback. Its
// errors are failures.
func (c *adminCall) checkReviewable(token *tokenstore.RequestToken, linked string) (callback string, err error) {
	consumer, err := c.app.consumer(c.Context(), c.store, token.Consumer)
	if err != nil {
		return "", storeFailure(fmt.Sprintf("consumer %q", token.Consumer), err)
	}
	if consumer.Disabled || consumer.Expired(c.app.now()) {
		return "", failure(http.StatusConflict, "consumer %q: is disabled or has expired", token.Consumer)
	}
	callback, err = pageCallback(consumer, token, []string{linked})
	if err == nil && callback == "" && linked != "" && linked != outOfBand {
		err = errors.New("it is not among those that the consumer registered")
	}
	if err != nil {
		return "", failure(http.StatusConflict, "callback %q: is not allowed: %w", cmp.Or(token.Callback, linked), err)
	}
	return callback, nil
}

// checkGrant refuses a grant that the consumer can't get. Its errors are failures.
func (c *adminCall) checkGrant(consumerKey string, grant *adminapi.Grant) error {
	if err := checkGrantTexts(grant); err != nil {
		return err
	}
	if err := checkText("consumer", consumerKey); err != nil {
		return refuse(err)
	}
	if err := c.app.levels.Check(grant.Permission); err != nil {
		return refuse(err)
	}
	consumer, err := c.app.consumer(c.Context(), c.store, consumerKey)
	if err != nil {
		return storeFailure(fmt.Sprintf("consumer %q", consumerKey), err)
	}
	if !c.app.grantable(consumer, grant.Permission) {
		return failure(http.StatusBadRequest, "permission %q: the consumer %q may not be granted it",
			grant.Permission, consumerKey)
	}
	return nil
}

// grantEnds returns the end of a grant that is made now, from the lifetime or the time in the
// request. Zero means never. If most is not 0, an end later than most is an error, and is not
// shortened silently. Its errors are failures.
func grantEnds(lifetime, expires string, now time.Time, most time.Duration) (ends time.Time, err error) {
	switch {
	case lifetime != "" && expires != "":
		return ends, failure(http.StatusBadRequest, "lifetime and expires: give one of them")
	case expires != "":
		if ends, err = adminapi.ParseExpires(expires); err != nil {
			return ends, refuse(err)
		}
		if !ends.After(now) {
			return ends, pastFailure(expires)
		}
	case lifetime == "" && most > 0:
		return now.Add(most), nil
	case lifetime != "" && lifetime != adminapi.Never:
		d, err := parseLifetime("lifetime", lifetime)
		if err != nil {
			return ends, err
		}
		if d == 0 {
			return ends, failure(http.StatusBadRequest,
				"lifetime %q: must be positive; leave it out for as long as the app allows", lifetime)
		}
		ends = now.Add(d)
	}
	if most > 0 && (ends.IsZero() || ends.After(now.Add(most))) {
		return ends, failure(http.StatusBadRequest, "%s: is longer than the app's access_token_lifetime, %v",
			askedFor(lifetime, expires), most)
	}
	return ends, nil
}

// askedFor names the field that set the grant's lifetime.
func askedFor(lifetime, expires string) string {
	if expires != "" {
		return fmt.Sprintf("expires %q", expires)
	}
	return fmt.Sprintf("lifetime %q", lifetime)
}

// checkGrantTexts refuses a user or a context that can't be a header value. Its errors are
// failures.
func checkGrantTexts(g *adminapi.Grant) error {
	if err := checkText("user", g.User); err != nil {
		return refuse(err)
	}
	if g.Context == "" {
		return nil
	}
	if err := checkText("context", g.Context); err != nil {
		return refuse(err)
	}
	return nil
}

func (c *adminCall) tokenFailure(err error) error {
	return storeFailure(fmt.Sprintf("access token %q", c.PathValue("key")), err)
}

func (c *adminCall) requestTokenFailure(err error) error {
	return storeFailure(fmt.Sprintf("request token %q", c.PathValue("key")), err)
}

// tellToken completes the event of an access token.
func tellToken(event *audit.Event, t *tokenstore.AccessToken) {
	event.Token, event.Consumer, event.User = t.Key, t.Consumer, t.User
	event.Permission, event.Context, event.Expires = t.Permission, t.Context, t.Expires
}

func viewToken(t *tokenstore.AccessToken) adminapi.Token {
	return adminapi.Token{
		Key:        t.Key,
		Consumer:   t.Consumer,
		User:       t.User,
		Permission: t.Permission,
		Context:    t.Context,
		Created:    adminapi.ShownTime(t.Created),
		Expires:    adminapi.ShownTime(t.Expires),
		LastUsed:   adminapi.ShownTime(t.LastUsed),
	}
}

func (c *adminCall) viewRequestToken(t *tokenstore.RequestToken) adminapi.RequestToken {
	view := adminapi.RequestToken{
		Key:      t.Key,
		Consumer: t.Consumer,
		State:    requestTokenState(t, c.app.now()),
		Callback: t.Callback,
		Created:  adminapi.ShownTime(t.Created),
		Expires:  adminapi.ShownTime(t.Expires),
	}
	if r := t.Review; r != nil {
		view.User = r.User
		view.Permission = r.Permission
		view.Context = r.Context
		view.Reviewed = adminapi.ShownTime(r.Time)
		view.TokenExpires = adminapi.ShownTime(r.Expires)
	}
	return view
}

// requestTokenState returns the state that an exchange would find now.
func requestTokenState(t *tokenstore.RequestToken, now time.Time) string {
	expired := !now.Before(t.Expires)
	switch {
	case t.Review != nil && t.Review.Permission == tokenstore.Unauthorized:
		return adminapi.StateRefused
	case expired:
		return adminapi.StateExpired
	case t.Review != nil:
		return adminapi.StateReviewed
	}
	return adminapi.StateWaiting
}
