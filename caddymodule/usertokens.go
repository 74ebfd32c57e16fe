package caddymodule

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/audit"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/pages"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/refusal"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// grantsPerPage is the number of grants on a page.
const grantsPerPage = 50

// serveTokens answers /+oauth-tokens: the list of the logged-in user's grants, each with a button
// to revoke it.
func (h *Handler) serveTokens(w http.ResponseWriter, r *http.Request) error {
	user, store, problem := h.openPage(r)
	if problem != nil {
		return h.refuse(w, r, endpointTokens, problem)
	}
	query := r.URL.Query()
	if checkText("after", query.Get("after")) != nil {
		query.Del("after")
	}
	if r.Method == http.MethodPost {
		return h.revoke(w, r, user, store, query)
	}
	view, err := h.tokensView(r.Context(), h.language(r), user, store, query)
	if err != nil {
		return h.refuse(w, r, endpointTokens, refusal.Store.Because(err))
	}
	h.events.shown(r, endpointTokens)
	return h.show(w, r, http.StatusOK, user, view, "")
}

func (h *Handler) tokensView(
	ctx context.Context, l *pages.Language, user string, store tokenstore.Store, query url.Values,
) (pages.Tokens, error) {
	var view pages.Tokens
	if key := query.Get("revoked"); h.proofValid(query.Get("proof"), "revoked", user, key) {
		app, err := h.application(ctx, store, key)
		if err != nil {
			return view, err
		}
		view.Revoked = app.Name
	}
	after := query.Get("after")
	tokens, next, err := h.liveTokens(ctx, store, tokenstore.Filter{User: user}, after)
	// The only grant on the last page was revoked.
	if err == nil && len(tokens) == 0 && after != "" {
		after = ""
		tokens, next, err = h.liveTokens(ctx, store, tokenstore.Filter{User: user}, after)
	}
	if err != nil {
		return view, err
	}
	here := h.endpoint(endpointTokens).here
	if after != "" {
		view.First = here(nil)
	}
	if next != "" {
		view.Next = here(url.Values{"after": {next}})
	}
	for _, token := range tokens {
		i := slices.IndexFunc(view.Applications, func(g pages.Grants) bool { return g.Application.Key == token.Consumer })
		if i < 0 {
			app, err := h.application(ctx, store, token.Consumer)
			if err != nil {
				return view, err
			}
			i = len(view.Applications)
			view.Applications = append(view.Applications, pages.Grants{
				Application: app, CSRF: h.csrfToken(endpointTokens, user, "consumer", token.Consumer),
			})
		}
		app := &view.Applications[i]
		app.Grants = append(app.Grants, h.grantView(l, user, token))
	}
	slices.SortStableFunc(view.Applications, func(a, b pages.Grants) int {
		return cmp.Compare(strings.ToLower(a.Application.Name), strings.ToLower(b.Application.Name))
	})
	return view, nil
}

// liveTokens returns a page of the access tokens that match, without the expired ones. The page is
// empty only if no more tokens follow after.
func (h *Handler) liveTokens(
	ctx context.Context, store tokenstore.Store, f tokenstore.Filter, after string,
) ([]*tokenstore.AccessToken, string, error) {
	for {
		page, next, err := store.AccessTokens(ctx, f, after, grantsPerPage)
		if err != nil {
			return nil, "", err
		}
		now := h.app.now()
		var live []*tokenstore.AccessToken
		for _, token := range page {
			if !token.Expired(now) {
				live = append(live, token)
			}
		}
		if len(live) > 0 || next == "" {
			return live, next, nil
		}
		after = next
	}
}

// application returns the consumer with the key. The consumer may have been removed.
func (h *Handler) application(
	ctx context.Context, store tokenstore.Store, key string,
) (pages.Application, error) {
	consumer, err := h.app.consumer(ctx, store, key)
	if errors.Is(err, tokenstore.ErrNotFound) {
		gone := newApplicationView(&tokenstore.Consumer{Key: key})
		gone.Anybody = false // nobody can use a removed consumer
		return gone, nil
	}
	if err != nil {
		return pages.Application{}, err
	}
	return newApplicationView(consumer), nil
}

// nameOf returns the name of an application, or its key if it can't be read.
func (h *Handler) nameOf(ctx context.Context, store tokenstore.Store, key string) string {
	app, err := h.application(ctx, store, key)
	if err != nil {
		return key
	}
	return app.Name
}

func (h *Handler) grantView(l *pages.Language, user string, token *tokenstore.AccessToken) pages.Grant {
	view := pages.Grant{
		Key:      token.Key,
		Title:    token.Permission,
		Context:  token.Context,
		Created:  token.Created,
		LastUsed: token.LastUsed,
		Expires:  token.Expires,
		CSRF:     h.grantCSRF(user, token),

		ContextClaimed: !h.rules.LookAtContexts(),
		Declared:       true,
	}
	// Otherwise the title is the name of the level.
	if level, ok := h.app.levels.Find(token.Permission); ok {
		view.Title, _ = levelText(h.app.levels, l, level)
		view.Declared = !h.app.levels.Builtin
	}
	return view
}

// grantCSRF returns a csrfToken for one grant. It holds the consumer's key, so that a form that is
// sent twice gets the same answer after the grant is removed.
func (h *Handler) grantCSRF(user string, token *tokenstore.AccessToken) string {
	return h.csrfToken(endpointTokens, user, "token", token.Key, token.Consumer) + "." +
		base64.RawURLEncoding.EncodeToString([]byte(token.Consumer))
}

// grantCSRFValid reports whether grantCSRF made the text for the grant, and returns its consumer.
func (h *Handler) grantCSRFValid(text, user, key string) (consumer string, ok bool) {
	i := strings.LastIndexByte(text, '.')
	if i < 0 {
		return "", false
	}
	named, err := base64.RawURLEncoding.DecodeString(text[i+1:])
	return string(named), err == nil && h.csrfValid(text[:i], endpointTokens, user, "token", key, string(named))
}

// revoke ends one grant, or all grants of the user to a consumer.
func (h *Handler) revoke(w http.ResponseWriter, r *http.Request, user string, store tokenstore.Store, query url.Values) error {
	form, n := h.readForm(w, r)
	var consumer string
	if n == nil {
		consumer, n = h.revokeGrant(r, user, store, form)
	}
	if n != nil {
		return h.refusePage(w, r, endpointTokens, user, n)
	}
	h.events.shown(r, endpointTokens)
	back := url.Values{}
	if after := query.Get("after"); after != "" {
		back.Set("after", after)
	}
	back.Set("revoked", consumer)
	back.Set("proof", h.proof("revoked", user, consumer))
	return h.leave(w, h.endpoint(endpointTokens).here(back))
}

// revokeGrant does what the form asks. It returns the consumer whose grant ended, also if the same
// form was sent before.
func (h *Handler) revokeGrant(r *http.Request, user string, store tokenstore.Store, form url.Values) (string, *notice) {
	consumer, valid := form.Get("consumer"), false
	if form.Has("consumer") {
		valid = h.csrfValid(form.Get("csrf"), endpointTokens, user, "consumer", consumer)
	} else {
		consumer, valid = h.grantCSRFValid(form.Get("csrf"), user, form.Get("token"))
	}
	if !valid {
		return "", newNotice(refusal.PageStale).to(h.endpoint(endpointTokens).here(nil))
	}
	event := h.eventOfUser(r, audit.GrantsRevoked, user)
	event.Consumer = consumer
	if !form.Has("consumer") {
		event.Name, event.Token = audit.AccessTokenRevoked, form.Get("token")
	}
	var failed error
	err := h.events.change(event, func() error {
		if form.Has("consumer") {
			event.Count, failed = h.app.revokeGrants(r.Context(), store, tokenstore.Filter{User: user, Consumer: consumer})
		} else {
			failed = h.revokeToken(r.Context(), user, store, event.Token)
		}
		return failed
	})
	switch {
	case errors.Is(failed, tokenstore.ErrNotFound):
		return consumer, nil
	case unjournaled(failed):
		list := h.endpoint(endpointTokens).here(nil)
		return "", newNotice(refusal.PageUnjournaled.Because(failed)).about(h.nameOf(r.Context(), store, consumer)).to(list)
	case failed != nil:
		return "", storeNotice(failed)
	case err != nil:
		return "", unrecordedNotice(err)
	}
	return consumer, nil
}

// revokeToken removes an access token if it belongs to the user.
func (h *Handler) revokeToken(ctx context.Context, user string, store tokenstore.Store, key string) error {
	token, err := store.AccessToken(ctx, key)
	if err != nil {
		return err
	}
	if token.User != user {
		return tokenstore.ErrNotFound
	}
	return h.app.revokeToken(ctx, store, key)
}
