package caddymodule

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/adminapi"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

func init() {
	caddy.RegisterModule(adminAPI{})
}

// adminAPI serves the part of Caddy's admin endpoint that is below /oauth1/: consumers, tokens, and what an operator
// needs to know of them. It speaks JSON; every error is a caddy.APIError. A secret is shown once, to whoever made it.
//
// The routes of consumers are in admin_consumers.go, those of tokens in admin_tokens.go; what goes
// over the wire is in adminapi.
type adminAPI struct {
	logger *zap.Logger
	// Until then a call waits for an app that is not there yet.
	patient time.Time
}

// startPatience is how long after its start the admin endpoint waits for an app of ours: it listens
// before Caddy has provisioned any, and does not know whether one will come.
const startPatience = 10 * time.Second

// CaddyModule returns the Caddy module information.
func (adminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.oauth1",
		New: func() caddy.Module { return new(adminAPI) },
	}
}

// Provision gets the logger, and begins to wait for an app. The app is looked for when a call
// comes: Caddy provisions this module before any app, and an app that no configuration names comes
// to life only with the first site that uses it.
func (a *adminAPI) Provision(ctx caddy.Context) error {
	a.logger = ctx.Logger(a) // Caddy gives an admin module no context of its own; its caddypki does the same
	a.patient = time.Now().Add(startPatience)
	return nil
}

// Routes returns the routes. In a path, a key is one percent-encoded segment: it may hold any character, slashes too.
func (a *adminAPI) Routes() []caddy.AdminRoute {
	var routes []caddy.AdminRoute
	for pattern, methods := range adminRoutes {
		if get, ok := methods[http.MethodGet]; ok {
			methods = maps.Clone(methods)
			methods[http.MethodHead] = get // the server keeps the body to itself
		}
		routes = append(routes,
			caddy.AdminRoute{Pattern: pattern, Handler: a.handle(methods, listRoutes[pattern])})
	}
	return append(routes, caddy.AdminRoute{Pattern: "/oauth1/", Handler: caddy.AdminHandlerFunc(noSuchResource)})
}

// adminRoutes are all routes, by the patterns of net/http.ServeMux and by method. HEAD goes with GET.
var adminRoutes = map[string]map[string]adminFunc{
	adminapi.ConsumersPath: {"GET": (*adminCall).listConsumers, "POST": (*adminCall).createConsumer},
	adminapi.ConsumersPath + "/{key}": {
		"GET":    (*adminCall).showConsumer,
		"PATCH":  (*adminCall).changeConsumer,
		"DELETE": (*adminCall).deleteConsumer,
	},
	adminapi.ConsumersPath + "/{key}/" + adminapi.ActionRotate: {"POST": (*adminCall).rotateSecret},
	adminapi.TokensPath:                                            {"GET": (*adminCall).listTokens, "POST": (*adminCall).issueToken},
	adminapi.TokensPath + "/{key}":                                 {"GET": (*adminCall).showToken, "DELETE": (*adminCall).revokeToken},
	adminapi.RequestTokensPath + "/{key}":                          {"GET": (*adminCall).showRequestToken},
	adminapi.RequestTokensPath + "/{key}/" + adminapi.ActionReview: {"POST": (*adminCall).reviewRequestToken},
	adminapi.RevokePath:                                            {"POST": (*adminCall).revoke},
	adminapi.HealthPath:                                            {"GET": (*adminCall).health},
}

// listRoutes are those whose GET takes query parameters: see listQuery.
var listRoutes = map[string]bool{adminapi.ConsumersPath: true, adminapi.TokensPath: true}

// An adminFunc answers a call: with a status and what is encoded as the body, or with an error. A nil answer is an
// empty body.
type adminFunc func(*adminCall) (status int, answer any, err error)

// adminCall is one call to the running app.
type adminCall struct {
	*http.Request
	app    *App
	store  tokenstore.Store
	events *events
}

// maxAdminBody is in bytes.
const maxAdminBody = 256 << 10

func (a *adminAPI) handle(methods map[string]adminFunc, lists bool) caddy.AdminHandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		w.Header().Set("Cache-Control", "no-store")
		do, ok := methods[r.Method]
		if !ok {
			w.Header().Set("Allow", strings.Join(slices.Sorted(maps.Keys(methods)), ", "))
			return failure(http.StatusMethodNotAllowed, "method not allowed: %s", r.Method)
		}
		reads := r.Method == http.MethodGet || r.Method == http.MethodHead
		// whoever sends one means something by it, such as not to do it
		if r.URL.RawQuery != "" && !(lists && reads) {
			return failure(http.StatusBadRequest, "query parameters: there are none here")
		}
		app := appsStarted.await(r.Context(), a.patient)
		if app == nil {
			return failure(http.StatusServiceUnavailable, "no oauth1 app is running")
		}
		store, err := app.open(r.Context())
		if err != nil {
			return storeFailure("", err)
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxAdminBody)
		status, answer, err := do(&adminCall{Request: r, app: app, store: store, events: &events{app.metrics, a.logger}})
		if err != nil {
			return err
		}
		return writeAnswer(w, status, answer)
	}
}

func noSuchResource(_ http.ResponseWriter, r *http.Request) error {
	return failure(http.StatusNotFound, "resource not found: %s", r.URL.EscapedPath())
}

func writeAnswer(w http.ResponseWriter, status int, answer any) error {
	if answer == nil {
		w.WriteHeader(status)
		return nil
	}
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false) // callbacks hold & and are to be copied
	if err := enc.Encode(answer); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body.Bytes())
	return nil
}

// health does a small piece of real work, so that a monitor learns whether requests can be verified.
func (c *adminCall) health() (int, any, error) {
	const patience = 5 * time.Second
	ctx, cancel := context.WithTimeout(c.Context(), patience)
	defer cancel()
	if err := c.store.Check(ctx); err != nil {
		return 0, nil, storeFailure("", err)
	}
	view := adminapi.Health{Status: "ok", Registration: c.app.Registration}
	for _, level := range c.app.levels.ordered {
		view.Permissions = append(view.Permissions, level.Name)
	}
	return http.StatusOK, view, nil
}

// done leaves a line in the log about a change. It must never be given a secret.
func (c *adminCall) done(what string, fields ...zap.Field) {
	c.events.changed(what, c.RemoteAddr, fields...)
}

// decode reads the JSON object in the request's body. No body at all, without a Content-Type, is an
// object without fields.
func (c *adminCall) decode(into any) error {
	body, err := io.ReadAll(c.Body)
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return failure(http.StatusRequestEntityTooLarge, "the request body is larger than %d bytes", maxAdminBody)
	}
	if err != nil {
		return failure(http.StatusBadRequest, "reading the request body: %w", err)
	}
	ct := c.Header.Get("Content-Type")
	if len(body) == 0 && ct == "" {
		return nil
	}
	// A browser asks before it sends JSON to another site, and text/plain with any parameters it just sends.
	if kind, _, err := mime.ParseMediaType(ct); err != nil || (kind != "application/json" && kind != "application/merge-patch+json") {
		return failure(http.StatusUnsupportedMediaType, "content type %q: must be application/json", ct)
	}
	if !utf8.Valid(body) {
		return failure(http.StatusBadRequest, "the request body is not UTF-8")
	}
	if len(bytes.TrimSpace(body)) == 0 { // of a script whose variable is not set
		return failure(http.StatusBadRequest,
			"the request body is empty: send a JSON object, or neither a body nor a Content-Type for the defaults")
	}
	if name := repeatedField(body); name != "" {
		return failure(http.StatusBadRequest, "field %q: sent twice", name)
	}
	if err := refuseEmpty(body); err != nil {
		return err
	}
	return decodeStrictly(body, into)
}

// refuseEmpty refuses a field that is there and empty: a script whose variable is not set would get
// a default that it did not ask for, such as a random key or no limit at all. Left out, or null, a
// field has its default. A secret may be empty where a consumer has none, and a callback where the
// link to a platform's page named none. What is no object is for decodeStrictly to refuse.
func refuseEmpty(body []byte) error {
	var fields map[string]json.RawMessage
	if json.Unmarshal(body, &fields) != nil {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		var value any
		if json.Unmarshal(fields[name], &value) != nil ||
			slices.Contains(mayBeEmptyFields, foldedName(name)) {
			continue
		}
		list, isList := value.([]any)
		if value == "" || isList && len(list) == 0 {
			return failure(http.StatusBadRequest, "field %q: is empty; leave it out for its default",
				foldedName(name))
		}
	}
	return nil
}

var mayBeEmptyFields = []string{"secret", "callback"}

// decodeStrictly refuses fields that are not known: one that is misspelled would silently not be set. Its errors hold no
// values, since one may be a secret.
func decodeStrictly(body []byte, into any) error {
	if string(bytes.TrimSpace(body)) == "null" { // encoding/json takes it for an object without fields
		return failure(http.StatusBadRequest, "the request body must be a JSON object, not a JSON null")
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	err := dec.Decode(into)
	if err == nil {
		if _, err := dec.Token(); err != io.EOF {
			return failure(http.StatusBadRequest, "the request body holds more than one JSON object")
		}
		return nil
	}
	if wrong := (*json.UnmarshalTypeError)(nil); errors.As(err, &wrong) {
		kind, _, _ := strings.Cut(wrong.Value, " ")
		if wrong.Field == "" {
			return failure(http.StatusBadRequest, "the request body must be a JSON object, not a JSON %s", kind)
		}
		// Structs that others embed are in the path as well. Fields in JSON have no capitals.
		names := slices.DeleteFunc(strings.Split(wrong.Field, "."),
			func(name string) bool { return strings.ToLower(name) != name })
		return failure(http.StatusBadRequest, "field %q: a JSON %s can't be taken here",
			strings.Join(names, "."), kind)
	}
	if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return failure(http.StatusBadRequest, "unknown field %s", name)
	}
	return failure(http.StatusBadRequest, "the request body is not a JSON object")
}

// listQuery reads the query of a list: limit, after, and the given filters. Another parameter is an error: a filter that is
// misspelled would silently list everything.
func (c *adminCall) listQuery(filters ...string) (query url.Values, after string, limit int, err error) {
	query, err = url.ParseQuery(c.URL.RawQuery)
	if err != nil {
		return nil, "", 0, failure(http.StatusBadRequest, "the query is malformed")
	}
	limit = adminapi.MaxPage
	for name, values := range query {
		if name != "limit" && name != "after" && !slices.Contains(filters, name) {
			return nil, "", 0, failure(http.StatusBadRequest, "unknown query parameter %q", name)
		}
		if len(values) > 1 {
			return nil, "", 0, failure(http.StatusBadRequest, "query parameter %q: sent twice", name)
		}
		if values[0] == "" { // it would list everything, or from the beginning
			return nil, "", 0, failure(http.StatusBadRequest, "query parameter %q: is empty", name)
		}
	}
	if text := query.Get("limit"); text != "" {
		limit, err = strconv.Atoi(text)
		if err != nil || limit < 1 || limit > adminapi.MaxPage {
			return nil, "", 0, failure(http.StatusBadRequest, "limit %q: must be a number from 1 to %d", text, adminapi.MaxPage)
		}
	}
	return query, query.Get("after"), limit, nil
}

// failure is an error with the status that it is answered with.
func failure(status int, format string, args ...any) error {
	return caddy.APIError{HTTPStatus: status, Err: fmt.Errorf(format, args...)}
}

// refuse is a failure of what the client sent.
func refuse(err error) error {
	return caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: err}
}

// storeFailure is the failure for an error of the store about something, such as `consumer "x"`.
func storeFailure(about string, err error) error {
	if ours := (caddy.APIError{}); errors.As(err, &ours) {
		return ours
	}
	for _, known := range []struct {
		err    error
		status int
	}{
		{tokenstore.ErrNotFound, http.StatusNotFound},
		{tokenstore.ErrExists, http.StatusConflict},
		{tokenstore.ErrAlreadyReviewed, http.StatusConflict},
		{tokenstore.ErrExpired, http.StatusGone},
	} {
		if errors.Is(err, known.err) {
			return failure(known.status, "%s: %w", about, known.err)
		}
	}
	return failure(http.StatusServiceUnavailable, "the token store is out of reach: %w", err)
}

// parseLifetime reads a duration such as 12h or 7d. An empty one is 0.
func parseLifetime(field, text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	d, err := caddy.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, failure(http.StatusBadRequest, "%s %q: must be a duration such as 12h or 7d", field, text)
	}
	return d, nil
}

// startedApps knows the apps that have started and are not cleaned up, the newest last. During a reload there are two;
// when the new configuration fails, the old one goes on.
type startedApps struct {
	mu   sync.Mutex
	apps []*App
	// coming are the apps that are provisioned and not started yet.
	coming []*App
	// changed is closed when an app is expected or has started.
	changed chan struct{}
}

// appsStarted are those of this process. The admin API works on one of them.
var appsStarted startedApps

// expect says that the app will start, or be cleaned up.
func (s *startedApps) expect(a *App) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.coming = append(s.coming, a)
	s.tell()
}

func (s *startedApps) add(a *App) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.coming = without(s.coming, a)
	s.apps = append(s.apps, a)
	s.tell()
}

func (s *startedApps) remove(a *App) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.coming, s.apps = without(s.coming, a), without(s.apps, a)
}

func without(apps []*App, a *App) []*App {
	return slices.DeleteFunc(apps, func(other *App) bool { return other == a })
}

func (s *startedApps) tell() {
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

// newest is the newest app that has started, or the newest that will; nil if there is none. Then
// changed is closed when there is one.
func (s *startedApps) newest() (app *App, changed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, apps := range [][]*App{s.apps, s.coming} {
		if n := len(apps); n > 0 {
			return apps[n-1], nil
		}
	}
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	return nil, s.changed
}

// await waits for an app, but not longer than until a time. An app that it returns may still have
// to start: see App.open.
func (s *startedApps) await(ctx context.Context, until time.Time) *App {
	app, changed := s.newest()
	if app != nil || !time.Now().Before(until) {
		return app
	}
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	for app == nil {
		select {
		case <-changed:
			app, changed = s.newest()
		case <-ctx.Done():
			return nil
		}
	}
	return app
}

// on returns the newest app on the store, or nil.
func (s *startedApps) on(poolKey string) *App {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range slices.Backward(s.apps) {
		if a.poolKey == poolKey {
			return a
		}
	}
	return nil
}

// Interface guards
var (
	_ caddy.AdminRouter = (*adminAPI)(nil)
	_ caddy.Provisioner = (*adminAPI)(nil)
)
