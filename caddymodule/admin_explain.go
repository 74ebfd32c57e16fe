package caddymodule

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/adminapi"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/doctor"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/policy"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// explainRequest says what is wrong with a signed request that the caller has, and what the policies
// would decide about it. The keys stay here.
func (c *adminCall) explainRequest() (int, any, error) {
	var body adminapi.SignedRequest
	if err := c.decode(&body); err != nil {
		return 0, nil, err
	}
	if body.Consumer == "" {
		return 0, nil, failure(http.StatusBadRequest, "consumer: is missing")
	}
	r, err := imagined(body.Method, body.URL)
	if err != nil {
		return 0, nil, failure(http.StatusBadRequest, "url: %w", err)
	}
	q := &refusedRequest{endpoint: endpointAPI, now: c.app.now(), host: r.Host, signed: new(signed)}
	path, query := oauth1.SplitTarget(body.URL)
	scheme := schemeOf(r)
	q.signed.request = oauth1.Request{Method: body.Method, Scheme: scheme, Host: r.Host, Path: path, Query: query}
	if body.Form != "" {
		q.signed.request.Form = []byte(body.Form)
	}
	if q.signed.params, err = parseAnywhere(&body, query, q.signed.request.Form); err != nil {
		return 0, nil, failure(http.StatusBadRequest, "the server refuses this request: %w", err)
	}
	keys, id, err := c.keysOfNamed(&body, q)
	if err != nil {
		return 0, nil, err
	}
	answer := adminapi.Explanation{Mistakes: []string{}}
	all, err := c.arrivals(r)
	if err != nil {
		answer.Policy = err.Error() + "\n"
	}
	for _, a := range all {
		if a.judge != nil && a.judge.baseURL != nil {
			q.baseURL = a.judge.baseURL.String()
			q.sentPath, _ = oauth1.SplitTarget(a.request.RequestURI)
		}
	}
	if base := onlyBaseURL(all); base != nil {
		q.signed.request.Scheme, q.signed.request.Host = base.Scheme, base.Host
		q.signed.request.Path = strings.TrimSuffix(base.EscapedPath(), "/") + path
	}
	d := diagnoseAt(c, q, keys, all)
	answer.Valid, answer.Diagnosis = d.Valid, d.Text()
	answer.BaseString, answer.ClientBaseString = d.BaseString, d.ClientBaseString
	for _, m := range d.Mistakes {
		answer.Mistakes = append(answer.Mistakes, m.Name)
	}
	answer.Policy += decisions(all, id)
	return http.StatusOK, answer, nil
}

// parseAnywhere reads the OAuth parameters as the API or the token endpoints do.
func parseAnywhere(body *adminapi.SignedRequest, query string, form []byte) (oauth1.Params, error) {
	var authorization []string
	if body.Authorization != "" {
		authorization = []string{body.Authorization}
	}
	params, err := oauth1.Parse(authorization, query, form)
	if err != nil {
		if apart, apartErr := oauth1.ParseTokenRequest(authorization, query, form); apartErr == nil {
			params, err = apart, nil
		}
	}
	if err == nil && params.Source == oauth1.SourceNone {
		err = errors.New("it has no OAuth parameters")
	}
	return params, err
}

// keysOfNamed finds the keys of the consumer and the token that the call names, and whom they act
// for.
func (c *adminCall) keysOfNamed(body *adminapi.SignedRequest, q *refusedRequest) (keys doctor.Keys, id policy.Subject, err error) {
	ctx := c.Context()
	consumer, err := c.app.consumer(ctx, c.store, body.Consumer)
	if err != nil {
		return keys, id, storeFailure(fmt.Sprintf("consumer %q", body.Consumer), err)
	}
	id.Consumer = consumer.Key
	if consumer.TwoLegged != nil {
		id.User, id.Permission = consumer.TwoLegged.User, consumer.TwoLegged.Permission
	}
	secret := ""
	if body.Token != "" {
		token, err := c.app.accessToken(ctx, c.store, body.Token)
		if err == nil {
			secret = token.Secret
			id.User, id.Permission, id.Context = token.User, token.Permission, token.Context
		} else if errors.Is(err, tokenstore.ErrNotFound) {
			var request *tokenstore.RequestToken
			if request, err = c.app.requestToken(ctx, c.store, body.Token); err == nil {
				secret = request.Secret
			}
		}
		if err != nil {
			return keys, id, storeFailure(fmt.Sprintf("token %q", body.Token), err)
		}
	}
	return c.app.keysOf(consumer, secret, c.app.diagnoser.past.whatBecame(body.Token).requestSecret, q.now), id, nil
}

// onlyBaseURL returns the base_url of the sites that the request reaches by their own addresses,
// which its signature must be for; nil if another site has another one, or none.
func onlyBaseURL(all []*arrival) (base *url.URL) {
	for _, a := range all {
		if a.baseURL != nil || a.judge == nil || a.judge.baseURL == nil ||
			base != nil && *base != *a.judge.baseURL {
			return nil
		}
		base = a.judge.baseURL
	}
	return base
}

// arrivals finds the servers of this process that the request reaches.
func (c *adminCall) arrivals(r *http.Request) ([]*arrival, error) {
	app, err := c.app.ctx.AppIfConfigured("http")
	if err != nil {
		return nil, errors.New("no site is served here")
	}
	return arrivals(app.(*caddyhttp.App), r)
}

// diagnoseAt asks the doctor. A site whose base_url has a path accepts the bare path signed with and
// without a slash, which the doctor does not know.
func diagnoseAt(c *adminCall, q *refusedRequest, keys doctor.Keys, all []*arrival) doctor.Diagnosis {
	request := q.signed.request
	d := doctor.Diagnose(c.Context(), q.doctorCase(keys))
	if d.Valid {
		return d
	}
	for _, a := range all {
		if a.judge == nil || a.judge.basePath == "" || strings.TrimSuffix(request.Path, "/") != a.judge.basePath {
			continue
		}
		for _, path := range []string{a.judge.basePath, a.judge.basePath + "/"} {
			q.signed.request.Path = path
			if other := doctor.Diagnose(c.Context(), q.doctorCase(keys)); other.Valid {
				return other
			}
		}
	}
	q.signed.request = request
	return d
}

// decisions says what the policies of the servers decide about the request, and which of the
// servers.
func decisions(all []*arrival, id policy.Subject) string {
	var text bytes.Buffer
	for i, a := range all {
		if i > 0 {
			text.WriteByte('\n')
		}
		if len(all) > 1 || a.baseURL != nil {
			fmt.Fprintf(&text, "server:  %s\n", a.describe())
		}
		_ = a.explain(&text, id) // the text says it too
	}
	return text.String()
}
