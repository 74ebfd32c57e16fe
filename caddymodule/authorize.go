package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// serveAuthorize answers /+authorize-token: the logged-in user reviews a request token (RFC 5849 section 2.2). GET shows
// the page, POST decides, and nothing else does.
func (h *Handler) serveAuthorize(w http.ResponseWriter, r *http.Request) error {
	user, store, problem := h.openPage(r)
	if problem != nil {
		return h.refuse(w, r, endpointAuthorize, problem)
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return h.refusePage(w, r, endpointAuthorize, user, noticeNoToken)
	}
	switch {
	case r.Method == http.MethodPost:
		return h.takeAnswer(w, r, user, store, query)
	case query.Has("done"):
		return h.showDone(w, r, user, store, query)
	}
	a, n := h.findAuthorization(r.Context(), user, store, query)
	if n != nil {
		return h.refusePage(w, r, endpointAuthorize, user, n)
	}
	h.metrics.answered(endpointAuthorize)
	return h.show(w, r, http.StatusOK, pageAuthorize, user, h.authorizeView(a), formTarget(a.callback))
}

var (
	noticeNoToken = &notice{
		Problem: &Problem{Status: 400, Reason: "token_absent", Text: "The link that led here does not name a request."},
		title:   "There is nothing to decide",
		advice:  "Go back to the application and start again there.",
	}
	noticeUnknownToken = &notice{
		Problem: &Problem{Status: 404, Reason: "token_unknown", Text: "The request is not known here. It may be finished already, or the link is incomplete."},
		title:   "This request does not exist",
		advice:  "If the application does not work yet, go back to it and start again there.",
	}
	noticeExpiredToken = &notice{
		Problem: &Problem{Status: 410, Reason: "token_expired", Text: "Nobody answered the request in time, so it was dropped. The application got no access."},
		title:   "This request has expired",
		advice:  "Go back to the application and start again there.",
	}
	noticeUnfinished = &notice{
		Problem: &Problem{Status: 410, Reason: "token_expired", Text: "You said yes, but the application did not finish in time. It got no access."},
		title:   "This request has expired",
		advice:  "Go back to the application and start again there.",
	}
	noticeReviewed = &notice{
		Problem: &Problem{Status: 409, Reason: "already_reviewed", Text: "Every request is answered once, and this one has its answer."},
		title:   "This request was answered already",
		advice:  "If that was not you, go back to the application and start again there.",
	}
	noticeReviewedByYou = &notice{
		Problem:  &Problem{Status: 409, Reason: "already_reviewed", Text: "Every request is answered once, and you have answered this one. Your answer stands."},
		title:    "You have answered this request already",
		advice:   "To change your mind, revoke the access in your list of applications, or start again in the application.",
		linkText: "See your answer",
	}
	noticeNoApplication = &notice{
		Problem: &Problem{Status: 404, Reason: "consumer_unknown", Text: "The application %s is not registered here any more."},
		title:   "The application is gone",
		advice:  "Nothing was granted. Ask whoever runs this site if you still need the application.",
	}
	noticeApplicationDisabled = &notice{
		Problem: &Problem{Status: 403, Reason: "consumer_disabled", Text: "The operator of this site does not let the application %s in at the moment."},
		title:   "The application is disabled",
		advice:  "Nothing was granted. Ask whoever runs this site if you need the application.",
	}
	noticeNoLevels = &notice{
		Problem: &Problem{Status: 403, Reason: "permission_none", Text: "There is no permission that the application %s could be given here."},
		title:   "Nothing can be granted",
		advice:  "Ask whoever runs this site if you need the application.",
	}
	noticeContext = &notice{
		Problem: &Problem{Status: 400, Reason: "context_invalid", Text: "The link that led here is wrong. %s."},
		title:   "This link does not work",
		advice:  "Nothing was granted. Tell the makers of the application.",
	}
	noticeCallback = &notice{
		Problem: &Problem{Status: 400, Reason: "callback_invalid", Text: "The address that the application wants you to be sent to afterwards is not allowed: %s."},
		title:   "This link is not safe",
		advice:  "Nothing was granted, and you will not be sent there. Tell the makers of the application, or whoever gave you the link.",
	}
	noticeNoCallback = &notice{
		Problem: &Problem{Status: 400, Reason: "callback_absent", Text: "The application did not say where you go afterwards, which this site requires."},
		title:   "This request can not be answered here",
		advice:  "Nothing was granted. Tell the makers of the application.",
	}
	noticeNoChoice = &notice{
		Problem: &Problem{Status: 400, Reason: "choice_absent", Text: "You did not say what the application may do. Nothing was granted."},
		title:   "Please choose first",
		advice:  "Go back and choose, or choose No Access.",
	}
	noticeNotOffered = &notice{
		Problem: &Problem{Status: 400, Reason: "choice_not_offered", Text: "The answer is not one that this request offers. Nothing was granted."},
		title:   "This can not be chosen here",
		advice:  "Go back, reload the page and choose again.",
	}
	noticeDone = &notice{
		Problem: &Problem{Status: 403, Reason: "proof_invalid", Text: "The address of this page is incomplete, or belongs to somebody else."},
		title:   "There is nothing to see here",
		advice:  "Your list of applications shows what you have granted.",
	}
)

// authorization is a request token that waits for its review, and what the answer may be.
type authorization struct {
	user     string
	token    *tokenstore.RequestToken
	consumer *tokenstore.Consumer
	levels   []PermissionLevel
	computer *computer
	context  string
	callback string // where the browser goes then: a URL, outOfBand, or empty
}

// findAuthorization finds what the query of the page asks about. The query is unsigned: anybody may have written it.
func (h *Handler) findAuthorization(ctx context.Context, user string, store tokenstore.Store, query url.Values) (*authorization, *notice) {
	a := &authorization{user: user, context: query.Get("lp.context")}
	if len(query["oauth_token"]) != 1 || query.Get("oauth_token") == "" {
		return nil, noticeNoToken
	}
	if checkText("oauth_token", query.Get("oauth_token")) != nil {
		return nil, noticeUnknownToken
	}
	var err error
	a.token, err = h.app.requestToken(ctx, store, query.Get("oauth_token"))
	if err != nil {
		return nil, h.reviewNotice(err, user, nil)
	}
	if a.token.Review != nil {
		return nil, h.reviewNotice(tokenstore.ErrAlreadyReviewed, user, a.token)
	}
	if !h.app.now().Before(a.token.Expires) {
		return nil, noticeExpiredToken
	}
	if h.RequireCallback && a.token.Callback == "" {
		return nil, noticeNoCallback // another site on the same store made it
	}
	a.consumer, err = h.app.consumer(ctx, store, a.token.Consumer)
	switch {
	case errors.Is(err, tokenstore.ErrNotFound):
		return nil, noticeNoApplication.about(a.token.Consumer)
	case err != nil:
		return nil, storeNotice(err)
	case a.consumer.Disabled, a.consumer.Expired(h.app.now()):
		return nil, noticeApplicationDisabled.about(a.token.Consumer)
	}
	if len(query["lp.context"]) > 1 {
		return nil, noticeContext.about("It names more than one context")
	}
	if a.context != "" {
		if err := checkText("The context", a.context); err != nil {
			return nil, noticeContext.about(err.Error())
		}
	}
	if a.callback, err = pageCallback(a.consumer, a.token, query["oauth_callback"]); err != nil {
		return nil, noticeCallback.about(err.Error())
	}
	if a.levels, a.computer = h.offeredLevels(a.consumer, query["allow_permission"]); len(a.levels) == 0 {
		return nil, noticeNoLevels.about(a.consumer.Key)
	}
	return a, nil
}

// reviewNotice is the notice for an error of the store about a request token, which may be nil.
func (h *Handler) reviewNotice(err error, user string, token *tokenstore.RequestToken) *notice {
	switch {
	case errors.Is(err, tokenstore.ErrNotFound):
		return noticeUnknownToken
	case errors.Is(err, tokenstore.ErrExpired):
		return noticeExpiredToken
	case !errors.Is(err, tokenstore.ErrAlreadyReviewed):
		return storeNotice(err)
	case token != nil && token.Review != nil && token.Review.User == user:
		return noticeReviewedByYou.to(h.doneLink(token))
	}
	return noticeReviewed
}

// pageCallback finds where the browser goes after the review. What the consumer signed with its request token counts, and
// then nothing else: a link can't lead the verifier elsewhere (OAuth session fixation, 2009.1). Without that, a link
// may name a callback that the consumer registered; the verifier then goes there alone.
func pageCallback(c *tokenstore.Consumer, token *tokenstore.RequestToken, linked []string) (string, error) {
	switch token.Callback {
	case "":
	case outOfBand:
		return outOfBand, nil
	default:
		return token.Callback, checkCallback(c, token.Callback)
	}
	if len(linked) > 1 {
		return "", errors.New("there is more than one")
	}
	if len(linked) == 0 || linked[0] == "" || linked[0] == outOfBand {
		return "", nil
	}
	if _, err := parseCallback(linked[0]); err != nil {
		return "", err
	}
	if !registeredCallback(c, linked[0]) {
		return "", nil
	}
	return linked[0], nil
}

// offeredLevels are the levels that the user may choose from. What the application asks for limits them; asking for
// nothing that there is to offer asks for all.
func (h *Handler) offeredLevels(c *tokenstore.Consumer, asked []string) ([]PermissionLevel, *computer) {
	if len(asked) == 1 && asked[0] == desktopIntegration && h.offers(c, desktopIntegration) {
		if found := parseComputer(c.Key); found != nil {
			level, _ := h.app.levels.declared(desktopIntegration)
			return []PermissionLevel{level}, found
		}
	}
	var all, limited []PermissionLevel
	for _, level := range h.app.levels.ordered {
		if level.Name == desktopIntegration || !h.offers(c, level.Name) {
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

// A computer is what a system-wide consumer stands for.
type computer struct{ Type, Host string }

var systemWide = regexp.MustCompile(`^System-wide: (.+) \(([^)]+)\)$`)

// parseComputer reads the key of a system-wide consumer, or returns nil.
func parseComputer(key string) *computer {
	found := systemWide.FindStringSubmatch(key)
	if found == nil {
		return nil
	}
	return &computer{Type: found[1], Host: found[2]}
}

// lifetimes are what a user may choose from, beside the operator's limit.
var lifetimes = []struct {
	value, title string
	length       time.Duration
}{
	{"unlimited", "Until I disable it", 0},
	{"hour", "For one hour", time.Hour},
	{"day", "For one day", 24 * time.Hour},
	{"week", "For one week", 7 * 24 * time.Hour},
}

// offeredLifetimes are the lifetimes that make a difference under the operator's limit (0: none).
func offeredLifetimes(most time.Duration) []choiceView {
	var offered []choiceView
	for _, lifetime := range lifetimes {
		title := lifetime.title
		switch {
		case lifetime.length == 0 && most > 0:
			title += ", at most " + spell(most)
		case most > 0 && lifetime.length >= most:
			continue
		}
		offered = append(offered, choiceView{Value: lifetime.value, Title: title, Checked: lifetime.length == 0})
	}
	return offered
}

// spell writes a duration as people say it.
func spell(d time.Duration) string {
	for _, unit := range []struct {
		length time.Duration
		name   string
	}{{24 * time.Hour, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}, {time.Second, "second"}} {
		if n := d / unit.length; n > 0 && d%unit.length == 0 {
			if n == 1 {
				return "1 " + unit.name
			}
			return fmt.Sprintf("%d %ss", n, unit.name)
		}
	}
	return d.String()
}

// An authorizeView is the page that asks.
type authorizeView struct {
	Application applicationView
	// Computer is set where the whole computer is meant, and not one application.
	Computer  *computer
	Context   string
	Levels    []choiceView // sent as "permission"
	Lifetimes []choiceView // sent as "lifetime"
	// Destination is where the browser is sent then, in words; empty for nowhere.
	Destination string
	// Polling says that the request did not say where it came from.
	Polling bool
	// OutOfBand says that the user will get a code to type in.
	OutOfBand bool
	CSRF      string // sent as "csrf"
}

// A choiceView is one of several answers.
type choiceView struct {
	Value, Title, Description string
	Checked                   bool
}

func (h *Handler) authorizeView(a *authorization) authorizeView {
	v := authorizeView{
		Application: newApplicationView(a.consumer),
		Computer:    a.computer,
		Context:     a.context,
		Lifetimes:   offeredLifetimes(time.Duration(h.app.AccessTokenLifetime)),
		Destination: destination(a.callback),
		Polling:     a.callback == "",
		OutOfBand:   a.callback == outOfBand,
		CSRF:        h.csrfToken(a.binding()...),
	}
	for _, level := range a.levels {
		v.Levels = append(v.Levels, choiceView{
			Value: level.Name, Title: level.Title, Description: level.Description, Checked: len(a.levels) == 1,
		})
	}
	return v
}

// binding is all that a form is about: it may be sent for nothing else.
func (a *authorization) binding() []string {
	parts := []string{endpointAuthorize, a.user, a.token.Key, a.context, a.callback}
	for _, level := range a.levels {
		parts = append(parts, level.Name)
	}
	return parts
}

// takeAnswer records the user's answer, and sends the browser on.
func (h *Handler) takeAnswer(w http.ResponseWriter, r *http.Request, user string, store tokenstore.Store, query url.Values) error {
	form, n := h.readForm(w, r)
	var a *authorization
	if n == nil {
		a, n = h.findAuthorization(r.Context(), user, store, query)
	}
	var review tokenstore.Review
	if n == nil {
		review, n = h.readReview(a, form, "?"+r.URL.RawQuery)
	}
	if n == nil {
		n = h.review(r.Context(), store, a, review)
	}
	if n != nil {
		return h.refusePage(w, r, endpointAuthorize, user, n)
	}
	h.metrics.answered(endpointAuthorize)
	return h.leave(w, h.destinationURL(a, review))
}

// readReview reads the answer from the page's form.
func (h *Handler) readReview(a *authorization, form url.Values, again string) (tokenstore.Review, *notice) {
	now := h.app.now()
	review := tokenstore.Review{User: a.user, Permission: tokenstore.Unauthorized, Time: now}
	if !h.csrfValid(form.Get("csrf"), a.binding()...) {
		return review, noticeStale.to(again)
	}
	switch form.Get("decision") {
	case "refuse":
		return review, nil
	case "allow":
	default:
		return review, noticeNotOffered
	}
	if form.Get("permission") == "" {
		return review, noticeNoChoice
	}
	chosen := func(level PermissionLevel) bool { return level.Name == form.Get("permission") }
	if len(form["permission"]) != 1 || !slices.ContainsFunc(a.levels, chosen) {
		return review, noticeNotOffered
	}
	lifetime, ok := readLifetime(form["lifetime"])
	if !ok {
		return review, noticeNotOffered
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

// review stores the answer.
func (h *Handler) review(ctx context.Context, store tokenstore.Store, a *authorization, review tokenstore.Review) *notice {
	if _, err := store.Review(ctx, a.token.Key, review); err != nil {
		token, _ := store.RequestToken(ctx, a.token.Key) // by whom was it answered?
		return h.reviewNotice(err, a.user, token)
	}
	text, expires := "access granted", zap.Skip()
	if review.Permission == tokenstore.Unauthorized {
		text = "access refused"
	}
	if !review.Expires.IsZero() {
		expires = zap.Time("expires", review.Expires)
	}
	h.logger.Info(text,
		zap.String("consumer", a.consumer.Key),
		zap.String("user", review.User),
		zap.String("permission", review.Permission),
		zap.String("context", review.Context),
		expires,
	)
	return nil
}

// destinationURL is where the browser goes after the answer.
func (h *Handler) destinationURL(a *authorization, review tokenstore.Review) string {
	if a.callback == "" || a.callback == outOfBand {
		return h.doneLink(&tokenstore.RequestToken{Key: a.token.Key, Consumer: a.token.Consumer, Review: &review})
	}
	return answeredCallback(a.callback, a.token.Key, review)
}

// doneLink leads from the page to the one that says how it ended. It holds all that is said there but a verifier: by then
// the consumer may have exchanged the token, and nothing is left of it.
func (h *Handler) doneLink(t *tokenstore.RequestToken) string {
	return h.endpoint(endpointAuthorize).here(url.Values{
		"done":               {t.Review.Permission},
		"oauth_consumer_key": {t.Consumer},
		"oauth_token":        {t.Key},
		"proof":              {h.proof("done", t.Review.User, t.Review.Permission, t.Consumer, t.Key)},
	})
}

// A doneView is the page that says how it ended.
type doneView struct {
	Application applicationView
	Granted     bool
	// Verifier is what the user must type into the application; empty if there is nothing to type.
	Verifier string
}

// showDone shows how it ended.
func (h *Handler) showDone(w http.ResponseWriter, r *http.Request, user string, store tokenstore.Store, query url.Values) error {
	permission, key, token := query.Get("done"), query.Get("oauth_consumer_key"), query.Get("oauth_token")
	if !h.proofValid(query.Get("proof"), "done", user, permission, key, token) {
		return h.refusePage(w, r, endpointAuthorize, user, noticeDone)
	}
	app, err := h.application(r.Context(), store, key)
	if err != nil {
		return h.refuse(w, r, endpointAuthorize, problemStore.because(err))
	}
	view := doneView{Application: app, Granted: permission != tokenstore.Unauthorized}
	request, err := h.app.requestToken(r.Context(), store, token)
	switch {
	case errors.Is(err, tokenstore.ErrNotFound): // exchanged by now
	case err != nil:
		return h.refuse(w, r, endpointAuthorize, problemStore.because(err))
	case view.Granted && !h.app.now().Before(request.Expires):
		return h.refusePage(w, r, endpointAuthorize, user, noticeUnfinished)
	case view.Granted && request.Callback == outOfBand && request.Review != nil && request.Review.User == user:
		view.Verifier = request.Review.Verifier
	}
	h.metrics.answered(endpointAuthorize)
	return h.show(w, r, http.StatusOK, pageDone, user, view, "")
}

// destination is a callback in words: where it leads.
func destination(callback string) string {
	if callback == "" || callback == outOfBand {
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

// formTarget is the source for form-action that lets the redirect after the form through. Chrome holds every step that
// follows to it, and nobody knows where the callback leads on to, so it is the scheme and not the host.
func formTarget(callback string) string {
	if callback == "" || callback == outOfBand {
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
