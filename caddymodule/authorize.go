package caddymodule

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/audit"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/pages"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/policy"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/refusal"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// serveAuthorize answers /+authorize-token: the logged-in user reviews a request token (RFC 5849
// section 2.2). GET shows the page. Only POST records an answer.
func (h *Handler) serveAuthorize(w http.ResponseWriter, r *http.Request) error {
	if h.belongsElsewhere(r) {
		return h.passPage(w, r)
	}
	user, store, problem := h.openPage(r)
	if problem != nil {
		return h.refuse(w, r, endpointAuthorize, problem)
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return h.refusePage(w, r, endpointAuthorize, user, newNotice(refusal.PageNoToken))
	}
	switch {
	case r.Method == http.MethodPost:
		return h.takeAnswer(w, r, user, store, query)
	case query.Has("done"):
		return h.showDone(w, r, user, store, query)
	}
	a, n := h.findAuthorization(r.Context(), user, store, query)
	if n == nil && a.token.Review != nil {
		n = h.answeredNotice(a)
	}
	if n != nil {
		return h.refusePage(w, r, endpointAuthorize, user, n)
	}
	h.events.shown(r, endpointAuthorize)
	view, err := h.authorizeView(h.language(r), a)
	if err != nil {
		return caddyhttp.Error(http.StatusInternalServerError, err)
	}
	return h.show(w, r, http.StatusOK, user, view, formTarget(a.callback))
}

// linkToAnswer is the key of the text of the link to the page of an answer.
const linkToAnswer = "reviewed_by_you.link"

// authorization is a request token that waits for its review, or that the same user has reviewed,
// with the answers that are possible.
type authorization struct {
	user     string
	token    *tokenstore.RequestToken
	consumer *tokenstore.Consumer
	levels   []policy.PermissionLevel
	computer *pages.Computer
	context  string
	callback string // where the browser goes after the answer: a URL, outOfBand, or empty
}

// findAuthorization finds the request token that the page's query names. The query is unsigned:
// anybody can have written it.
func (h *Handler) findAuthorization(ctx context.Context, user string, store tokenstore.Store, query url.Values) (*authorization, *notice) {
	a := &authorization{user: user, context: query.Get("lp.context")}
	if len(query["oauth_token"]) != 1 || query.Get("oauth_token") == "" {
		return nil, newNotice(refusal.PageNoToken)
	}
	if checkText("oauth_token", query.Get("oauth_token")) != nil {
		return nil, newNotice(refusal.PageUnknownToken)
	}
	var err error
	a.token, err = h.app.requestToken(ctx, store, query.Get("oauth_token"))
	if err != nil {
		return nil, h.reviewNotice(err, nil, nil)
	}
	review := a.token.Review
	if review != nil && review.User != user {
		return nil, newNotice(refusal.PageReviewed)
	}
	n := h.examine(ctx, store, a, query)
	switch {
	case n == nil:
		return a, nil
	case review == nil, n.Notice == "":
		return nil, n
	case n.Problem == refusal.PageExpiredToken && review.Permission != tokenstore.Unauthorized:
		return nil, newNotice(refusal.PageUnfinished)
	}
	// Not a refusal: the token has an answer already.
	return nil, yourAnswer(review).to(h.doneLink(a.token))
}

// yourAnswer returns the notice for the user who gave the review. An allowed request is in no list
// until the exchange, and a refused one is in no list at all.
func yourAnswer(review *tokenstore.Review) *notice {
	n := newNotice(refusal.PageAllowedByYou)
	if review.Permission == tokenstore.Unauthorized {
		n = newNotice(refusal.PageRefusedByYou)
	}
	n.linkKey = linkToAnswer
	return n
}

// examine finds the possible answers to a request token, or the reason why there are none.
func (h *Handler) examine(
	ctx context.Context, store tokenstore.Store, a *authorization, query url.Values,
) *notice {
	if !h.app.now().Before(a.token.Expires) {
		return newNotice(refusal.PageExpiredToken)
	}
	if h.RequireCallback && a.token.Callback == "" {
		// A site with other options, on the same store, made the token.
		return newNotice(refusal.PageNoCallback)
	}
	var err error
	a.consumer, err = h.app.consumer(ctx, store, a.token.Consumer)
	switch {
	case errors.Is(err, tokenstore.ErrNotFound):
		return newNotice(refusal.PageNoApplication).about(a.token.Consumer)
	case err != nil:
		return storeNotice(err)
	case a.consumer.Disabled, a.consumer.Expired(h.app.now()):
		return newNotice(refusal.PageApplicationDisabled).about(a.token.Consumer)
	}
	if len(query["lp.context"]) > 1 {
		return newNotice(refusal.PageContexts)
	}
	if a.context != "" {
		if err := textFault(a.context); err != nil {
			return newNotice(refusal.PageContext).about(err)
		}
	}
	if a.callback, err = pageCallback(a.consumer, a.token, query["oauth_callback"]); err != nil {
		return newNotice(refusal.PageCallback).about(err)
	}
	if a.levels, a.computer = h.offeredLevels(a.consumer, query["allow_permission"]); len(a.levels) == 0 {
		return newNotice(refusal.PageNoLevels).about(a.consumer.Key)
	}
	return nil
}

// reviewNotice returns the notice for an error of the store about a request token. The
// authorization is nil if it was not found. The token is the store's present one, or nil.
func (h *Handler) reviewNotice(err error, a *authorization, token *tokenstore.RequestToken) *notice {
	switch {
	case errors.Is(err, tokenstore.ErrNotFound) && a != nil: // the token was there a moment ago
		return newNotice(refusal.PageOver).about(a.consumer.Key)
	case errors.Is(err, tokenstore.ErrNotFound):
		return newNotice(refusal.PageUnknownToken)
	case errors.Is(err, tokenstore.ErrExpired):
		return newNotice(refusal.PageExpiredToken)
	case !errors.Is(err, tokenstore.ErrAlreadyReviewed):
		return storeNotice(err)
	case a != nil && token != nil && token.Review != nil && token.Review.User == a.user:
		answered := *a
		answered.token = token
		return h.answeredNotice(&answered)
	}
	return newNotice(refusal.PageReviewed)
}

// answeredNotice is for the user who answered. Until the exchange, it links to the answer's
// destination.
func (h *Handler) answeredNotice(a *authorization) *notice {
	n := yourAnswer(a.token.Review).to(h.destinationURL(a, *a.token.Review))
	if hasDestination(a.callback) {
		n.linkKey, n.linkArg = "reviewed_by_you.continue", newApplicationView(a.consumer).Name
	}
	return n
}

// pageCallback finds where the browser goes after the review. If the consumer signed a callback
// with its request token, only that one counts: a link can't send the verifier elsewhere (OAuth
// session fixation, 2009.1). Otherwise a link may name a callback that the consumer registered, so
// the verifier goes only to the consumer.
func pageCallback(c *tokenstore.Consumer, token *tokenstore.RequestToken, linked []string) (string, error) {
	switch token.Callback {
	case "":
	case outOfBand:
		return outOfBand, nil
	default:
		return token.Callback, checkCallback(c, token.Callback)
	}
	if len(linked) > 1 {
		return "", reason("there is more than one")
	}
	if len(linked) == 0 || linked[0] == "" || linked[0] == outOfBand {
		return "", nil
	}
	if _, err := parseCallback(linked[0]); err != nil {
		return "", err
	}
	if !registeredCallback(c, linked[0]) || answersItself(c, linked[0]) {
		return "", nil
	}
	return linked[0], nil
}

// answersItself reports whether a link's callback already has a parameter that is appended to it,
// and the consumer did not register that callback. An application may read the first of two
// oauth_token.
func answersItself(c *tokenstore.Consumer, callback string) bool {
	_, query, _ := strings.Cut(callback, "?")
	return oauth1.HasParams([]byte(query)) && !slices.Contains(c.Callbacks, callback)
}

// offeredLevels returns the levels that the user may choose from. They are limited to the levels
// that the application asks for. If none of those can be offered, all levels are offered.
func (h *Handler) offeredLevels(c *tokenstore.Consumer, asked []string) ([]policy.PermissionLevel, *pages.Computer) {
	if len(asked) == 1 && asked[0] == policy.DesktopIntegration && h.offers(c, policy.DesktopIntegration) {
		if found := parseComputer(c.Key); found != nil {
			level, _ := h.app.levels.Find(policy.DesktopIntegration)
			return []policy.PermissionLevel{level}, found
		}
	}
	var all, limited []policy.PermissionLevel
	for _, level := range h.app.levels.Ordered {
		if level.Name == policy.DesktopIntegration || !h.offers(c, level.Name) {
			continue
		}
		all = append(all, level)
		if slices.Contains(asked, level.Name) {
			limited = append(limited, level)
		}
	}
	if len(limited) == 0 {
		return all, nil
	}
	return limited, nil
}

var systemWide = regexp.MustCompile(`^System-wide: (.+) \(([^)]+)\)$`)

// parseComputer reads the key of a system-wide consumer. It returns nil for other keys.
func parseComputer(key string) *pages.Computer {
	found := systemWide.FindStringSubmatch(key)
	if found == nil {
		return nil
	}
	return &pages.Computer{Type: found[1], Host: found[2]}
}

// A lifetimeChoice is a time for which a user may let an application act.
type lifetimeChoice struct {
	value  string
	length time.Duration // 0: until the user revokes it
}

// lifetimes are the users' choices, besides the operator's limit.
var lifetimes = []lifetimeChoice{
	{"unlimited", 0},
	{"hour", time.Hour},
	{"day", 24 * time.Hour},
	{"week", 7 * 24 * time.Hour},
}

// offeredLifetimes returns the lifetimes below the operator's limit (0: no limit), and the limit
// itself, or "never" without a limit. The proposed one (0: never) is already chosen. If it is not
// offered, the longest shorter one is chosen.
func offeredLifetimes(l *pages.Language, most, proposed time.Duration) ([]pages.Choice, error) {
	var offered []pages.Choice
	chosen, longest := 0, time.Duration(0)
	for _, lifetime := range lifetimes {
		key, args := "lifetime."+lifetime.value, []any(nil)
		switch {
		case lifetime.length == 0 && most > 0:
			spelled, err := l.Duration(most)
			if err != nil {
				return nil, err
			}
			key, args = "lifetime.limited", []any{spelled}
		case most > 0 && lifetime.length >= most:
			continue
		}
		title := l.Plain(key, args...)
		if proposed != most && lifetime.length > longest && lifetime.length <= proposed {
			chosen, longest = len(offered), lifetime.length
		}
		offered = append(offered, pages.Choice{Value: lifetime.value, Title: title})
	}
	offered[chosen].Checked = true
	return offered, nil
}

func (h *Handler) authorizeView(l *pages.Language, a *authorization) (pages.Authorize, error) {
	offered, err := offeredLifetimes(l, time.Duration(h.app.AccessTokenLifetime), h.Pages.lifetime)
	v := pages.Authorize{
		Application:    newApplicationView(a.consumer),
		Computer:       a.computer,
		Context:        a.context,
		ContextClaimed: !h.rules.LookAtContexts(),
		Lifetimes:      offered,
		Destination:    destination(a.callback),
		Polling:        a.callback == "",
		OutOfBand:      a.callback == outOfBand,
		CSRF:           h.csrfToken(a.binding()...),
		Proof:          h.askedProof(a),
	}
	for _, level := range a.levels {
		choice := pages.Choice{Value: level.Name, Declared: !h.app.levels.Builtin}
		choice.Checked = len(a.levels) == 1 || level.Name == h.Pages.DefaultPermission
		choice.Title, choice.Description = levelText(h.app.levels, l, level)
		v.Levels = append(v.Levels, choice)
	}
	return v, err
}

// binding returns everything that a form is about. The form is accepted for nothing else.
func (a *authorization) binding() []string {
	parts := []string{endpointAuthorize, a.user, a.token.Key, a.context, a.callback}
	for _, level := range a.levels {
		parts = append(parts, level.Name)
	}
	return parts
}

// takeAnswer records the user's answer, and redirects the browser.
func (h *Handler) takeAnswer(w http.ResponseWriter, r *http.Request, user string, store tokenstore.Store, query url.Values) error {
	form, n := h.readForm(w, r)
	var a *authorization
	if n == nil {
		a, n = h.findAuthorization(r.Context(), user, store, query)
	}
	if n != nil && n.Problem == refusal.PageUnknownToken {
		if shown, ok := h.asked(user, query, form); ok {
			n = newNotice(refusal.PageOver).about(form.Get("consumer"))
			if form.Get("decision") == "allow" {
				return h.showFinished(w, r, user, store, form.Get("consumer"), shown)
			}
		}
	}
	var review tokenstore.Review
	if n == nil {
		if review, n = h.readReview(a, form, "?"+r.URL.RawQuery); n != nil && a.token.Review != nil {
			n = h.answeredNotice(a)
		}
	}
	if n == nil {
		review, n = h.review(r, store, a, review)
	}
	if n != nil {
		return h.refusePage(w, r, endpointAuthorize, user, n)
	}
	h.events.shown(r, endpointAuthorize)
	return h.leave(w, h.destinationURL(a, review))
}

// askedProof proves that the user is asked about a request token, and since when.
func (h *Handler) askedProof(a *authorization) string {
	shown := strconv.FormatInt(h.app.now().Unix(), 10)
	return shown + "." + h.proof("asked", a.user, a.token.Key, a.consumer.Key, shown)
}

// asked reports whether a page asked the user about the request token and sent this form, and when
// that page was shown. The token may have changed or been removed since.
func (h *Handler) asked(user string, query, form url.Values) (shown time.Time, ok bool) {
	text, proof, _ := strings.Cut(form.Get("proof"), ".")
	if !h.proofValid(proof, "asked", user, query.Get("oauth_token"), form.Get("consumer"), text) {
		return shown, false
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	return time.Unix(seconds, 0), err == nil
}

// readReview reads the answer from the page's form.
func (h *Handler) readReview(a *authorization, form url.Values, again string) (tokenstore.Review, *notice) {
	now := h.app.now()
	review := tokenstore.Review{User: a.user, Permission: tokenstore.Unauthorized, Time: now}
	if !h.csrfValid(form.Get("csrf"), a.binding()...) {
		return review, newNotice(refusal.PageStale).to(again)
	}
	switch form.Get("decision") {
	case "refuse":
		return review, nil
	case "allow":
	default:
		return review, newNotice(refusal.PageNotOffered)
	}
	if form.Get("permission") == "" {
		return review, newNotice(refusal.PageNoChoice).about(phrase("button.refuse"))
	}
	chosen := func(level policy.PermissionLevel) bool { return level.Name == form.Get("permission") }
	if len(form["permission"]) != 1 || !slices.ContainsFunc(a.levels, chosen) {
		return review, newNotice(refusal.PageNotOffered)
	}
	lifetime, ok := readLifetime(form["lifetime"])
	if !ok {
		return review, newNotice(refusal.PageNotOffered)
	}
	review.Permission = form.Get("permission")
	review.Context = a.context
	review.Expires = h.app.tokenExpires(now, lifetime)
	if a.callback != "" {
		review.Verifier = tokenstore.NewVerifier()
	}
	return review, nil
}

func readLifetime(values []string) (time.Duration, bool) {
	for _, lifetime := range lifetimes {
		if len(values) == 1 && values[0] == lifetime.value {
			return lifetime.length, true
		}
	}
	return 0, false
}

// review stores the answer, tells it, and returns the stored one. If the same answer was given
// several times, the first is stored, and was told then.
func (h *Handler) review(
	r *http.Request, store tokenstore.Store, a *authorization, review tokenstore.Review,
) (tokenstore.Review, *notice) {
	event := h.eventOfUser(r, audit.RequestTokenGranted, a.user)
	tellReview(event, a.token, &review)
	var n *notice
	err := h.events.change(event, func() error {
		token, err := store.Review(r.Context(), a.token.Key, review)
		if err != nil {
			token, _ := store.RequestToken(r.Context(), a.token.Key) // finds the user who answered it
			n = h.reviewNotice(err, a, token)
			return err
		}
		stored := *token.Review
		if !stored.Time.Equal(review.Time) || stored.Verifier != review.Verifier {
			event.Outcome = audit.Repeated
		}
		review = stored
		return nil
	})
	if n == nil && err != nil {
		n = unrecordedNotice(err)
	}
	return review, n
}

// tellReview completes the event of a user's answer.
func tellReview(event *audit.Event, t *tokenstore.RequestToken, review *tokenstore.Review) {
	if review.Permission == tokenstore.Unauthorized {
		event.Name = audit.RequestTokenRefused
	}
	event.Consumer, event.RequestToken, event.User = t.Consumer, t.Key, review.User
	event.Permission, event.Context, event.Expires = review.Permission, review.Context, review.Expires
}

// destinationURL returns the URL that the browser goes to after the answer.
func (h *Handler) destinationURL(a *authorization, review tokenstore.Review) string {
	if !hasDestination(a.callback) {
		return h.doneLink(&tokenstore.RequestToken{Key: a.token.Key, Consumer: a.token.Consumer, Review: &review})
	}
	return answeredCallback(a.callback, a.token.Key, review)
}

// doneLink leads to the page that shows the result. The link holds everything that the page shows,
// except the verifier: the consumer may exchange the token first, and then the store no longer has
// the token.
func (h *Handler) doneLink(t *tokenstore.RequestToken) string {
	answered := strconv.FormatInt(t.Review.Time.Unix(), 10)
	return h.endpoint(endpointAuthorize).here(url.Values{
		"done":               {t.Review.Permission},
		"since":              {answered},
		"oauth_consumer_key": {t.Consumer},
		"oauth_token":        {t.Key},
		"proof":              {h.proof("done", t.Review.User, t.Review.Permission, t.Consumer, t.Key, answered)},
	})
}

// showDone shows the result.
func (h *Handler) showDone(w http.ResponseWriter, r *http.Request, user string, store tokenstore.Store, query url.Values) error {
	permission, key, token := query.Get("done"), query.Get("oauth_consumer_key"), query.Get("oauth_token")
	answered := query.Get("since")
	if !h.proofValid(query.Get("proof"), "done", user, permission, key, token, answered) {
		return h.refusePage(w, r, endpointAuthorize, user, newNotice(refusal.PageDone))
	}
	seconds, err := strconv.ParseInt(answered, 10, 64)
	if err != nil {
		return h.refusePage(w, r, endpointAuthorize, user, newNotice(refusal.PageDone))
	}
	app, err := h.application(r.Context(), store, key)
	if err != nil {
		return h.refuse(w, r, endpointAuthorize, refusal.Store.Because(err))
	}
	view := pages.Done{Application: app, Granted: permission != tokenstore.Unauthorized}
	request, err := h.app.requestToken(r.Context(), store, token)
	switch {
	case view.Granted && errors.Is(err, tokenstore.ErrNotFound):
		return h.showFinished(w, r, user, store, key, time.Unix(seconds, 0))
	case errors.Is(err, tokenstore.ErrNotFound): // the token was refused long ago
	case err != nil:
		return h.refuse(w, r, endpointAuthorize, refusal.Store.Because(err))
	case view.Granted && !h.app.now().Before(request.Expires):
		return h.refusePage(w, r, endpointAuthorize, user, newNotice(refusal.PageUnfinished))
	case view.Granted && request.Callback == outOfBand && request.Review != nil && request.Review.User == user:
		view.Verifier = request.Review.Verifier
	}
	h.events.shown(r, endpointAuthorize)
	return h.show(w, r, http.StatusOK, user, view, "")
}

// showFinished is for a request token that the store no longer has. The user was asked about it at
// the time asked. If the user has granted the consumer an access token since then, the page says
// that the request was allowed. An older access token proves nothing: the request token may have
// been removed without an answer.
func (h *Handler) showFinished(
	w http.ResponseWriter, r *http.Request, user string, store tokenstore.Store,
	consumer string, asked time.Time,
) error {
	filter := tokenstore.Filter{User: user, Consumer: consumer}
	granted, err := h.grantedSince(r.Context(), store, filter, asked)
	if err == nil && !granted {
		return h.refusePage(w, r, endpointAuthorize, user, newNotice(refusal.PageOver).about(consumer))
	}
	var app pages.Application
	if err == nil {
		app, err = h.application(r.Context(), store, consumer)
	}
	if err != nil {
		return h.refuse(w, r, endpointAuthorize, refusal.Store.Because(err))
	}
	h.events.shown(r, endpointAuthorize)
	return h.show(w, r, http.StatusOK, user, pages.Done{Application: app, Granted: true, Finished: true}, "")
}

// grantedSince reports whether a live access token that matches was made at the given time or
// later.
func (h *Handler) grantedSince(
	ctx context.Context, store tokenstore.Store, f tokenstore.Filter, since time.Time,
) (bool, error) {
	for after := ""; ; {
		tokens, next, err := h.liveTokens(ctx, store, f, after)
		if err != nil {
			return false, err
		}
		for _, token := range tokens {
			if !token.Created.Before(since) {
				return true, nil
			}
		}
		if next == "" {
			return false, nil
		}
		after = next
	}
}

// hasDestination reports whether the browser can be sent to the callback.
func hasDestination(callback string) bool { return callback != "" && callback != outOfBand }

// destination describes in words where a callback leads.
func destination(callback string) string {
	if !hasDestination(callback) {
		return ""
	}
	u, err := url.Parse(callback)
	if err != nil {
		return ""
	}
	if u.Scheme == "http" || u.Scheme == "https" {
		return u.Scheme + "://" + u.Host
	}
	return u.Scheme + ":"
}

// formTarget returns the source for form-action that permits the redirect after the form. Chrome
// applies form-action to every further redirect, and the callback may redirect to any host, so the
// source is the scheme without the host.
func formTarget(callback string) string {
	if !hasDestination(callback) {
		return ""
	}
	u, err := url.Parse(callback)
	if err != nil || u.Scheme == "" {
		return ""
	}
	if u.Scheme == "http" {
		return "http: https:"
	}
	return u.Scheme + ":"
}
