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
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/audit"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

func init() {
	caddy.RegisterModule(adminAPI{})
}

// adminAPI serves the paths of Caddy's admin endpoint below /oauth1/: consumers, tokens, and the
// health of the store. It speaks JSON; every error is a caddy.APIError. A secret is shown once, in
// the answer to the call that created it, and in an export that asks for secrets.
//
// The routes of consumers are in admin_consumers.go, those of tokens in admin_tokens.go, those that
// import and export both in admin_import.go and admin_export.go, and those of keys in
// admin_keys.go. The wire types are in adminapi.
type adminAPI struct {
	logger *zap.Logger
	// Until this time, a call waits for an app.
	patient time.Time
}

// startPatience is how long after its start the admin endpoint waits for an oauth1 app. The
// endpoint listens before Caddy has provisioned any app, and does not know whether there will be
// one.
const startPatience = 10 * time.Second

// CaddyModule returns the Caddy module information.
func (adminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.oauth1",
		New: func() caddy.Module { return new(adminAPI) },
	}
}

// Provision gets the logger, and begins to wait for an app. Each call looks for the app, because
// Caddy provisions this module before any app. If no configuration names the app, the first site
// that uses it creates it.
func (a *adminAPI) Provision(ctx caddy.Context) error {
	// Caddy gives an admin module no context of its own; caddypki does the same.
	a.logger = ctx.Logger(a)
	a.patient = time.Now().Add(startPatience)
	return nil
}

// Routes returns the routes. In a path, a key is one percent-encoded segment. It may hold any
// character, including slashes.
func (a *adminAPI) Routes() []caddy.AdminRoute {
	var routes []caddy.AdminRoute
	for pattern, methods := range adminRoutes {
		if get, ok := methods[http.MethodGet]; ok {
			methods = maps.Clone(methods)
			methods[http.MethodHead] = get // the server drops the body
		}
		routes = append(routes,
			caddy.AdminRoute{Pattern: pattern, Handler: a.handle(pattern, methods)})
	}
	return append(routes, caddy.AdminRoute{Pattern: "/oauth1/", Handler: caddy.AdminHandlerFunc(noSuchResource)})
}

// adminRoutes are all routes, by pattern of net/http.ServeMux and by method. GET includes HEAD.
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
	adminapi.PassesPath:                                            {"GET": (*adminCall).listPasses},
	adminapi.ExplainPath:                                           {"POST": (*adminCall).explainRequest},
	adminapi.DiagnosesPath:                                         {"GET": (*adminCall).listDiagnoses},
	adminapi.HealthPath:                                            {"GET": (*adminCall).health},
	adminapi.ImportPath:                                            {"POST": (*adminCall).importLines},
	adminapi.ExportPath:                                            {"POST": (*adminCall).exportLines},
	adminapi.KeysPath:                                              {"GET": (*adminCall).keysStatus},
	adminapi.RewrapPath:                                            {"POST": (*adminCall).rewrapKeys},
	adminapi.AuditPath:                                             {"GET": (*adminCall).showAudit},
	adminapi.AuditVerifyPath:                                       {"POST": (*adminCall).verifyAudit},
	adminapi.BackupPath:                                            {"GET": (*adminCall).sendBackup},
}

// listRoutes are the routes whose GET takes query parameters.
var listRoutes = map[string]bool{
	adminapi.ConsumersPath: true, adminapi.TokensPath: true, adminapi.BackupPath: true,
	adminapi.DiagnosesPath: true, adminapi.PassesPath: true,
}

// An adminFunc answers a call with a status and a value to encode as the body, or with an error. A
// nil answer is an empty body. The status answered means that it has written its answer itself.
type adminFunc func(*adminCall) (status int, answer any, err error)

// adminCall is one call to the running app.
type adminCall struct {
	*http.Request
	// stream is the body without a limit.
	stream io.Reader
	app    *App
	store  tokenstore.Store
	events *events
	writer http.ResponseWriter
}

// maxAdminBody is in bytes.
const maxAdminBody = 256 << 10

func (a *adminAPI) handle(pattern string, methods map[string]adminFunc) caddy.AdminHandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		w.Header().Set("Cache-Control", "no-store")
		do, ok := methods[r.Method]
		if !ok {
			w.Header().Set("Allow", strings.Join(slices.Sorted(maps.Keys(methods)), ", "))
			return failure(http.StatusMethodNotAllowed, "method not allowed: %s", r.Method)
		}
		reads := r.Method == http.MethodGet || r.Method == http.MethodHead
		// The caller expects an ignored parameter to have an effect, such as a dry run.
		if r.URL.RawQuery != "" && !(listRoutes[pattern] && reads) {
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
		call := &adminCall{Request: r, stream: r.Body, app: app, store: store, events: newEvents(app, a.logger), writer: w}
		r.Body = http.MaxBytesReader(w, r.Body, maxImportBody) // an import's; the others read less
		status, answer, err := do(call)
		if err != nil {
			if !reads && !unjournaled(err) { // that was done, and told
				call.tellRefused(pattern, err)
			}
			return err
		}
		if status == answered {
			return nil
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
	enc.SetEscapeHTML(false) // callbacks hold &, and must be readable for copying
	if err := enc.Encode(answer); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body.Bytes())
	return nil
}

// health does a small real task in the store, so that a monitor learns whether requests can be
// verified.
func (c *adminCall) health() (int, any, error) {
	const patience = 5 * time.Second
	ctx, cancel := context.WithTimeout(c.Context(), patience)
	defer cancel()
	if err := c.store.Check(ctx); err != nil {
		return 0, nil, storeFailure("", err)
	}
	view := adminapi.Health{Status: "ok", Registration: c.app.Registration}
	for _, level := range c.app.levels.Ordered {
		view.Permissions = append(view.Permissions, level.Name)
	}
	return http.StatusOK, view, nil
}

// change makes a change that the call asks for, and tells it. Its errors are failures; about names
// the object, as for storeFailure.
func (c *adminCall) change(event *audit.Event, about string, do func() error) error {
	var failed error
	err := c.events.change(event, func() error {
		failed = do()
		return failed
	})
	switch {
	case failed != nil:
		return storeFailure(about, failed)
	case err != nil:
		return unrecordedFailure(err)
	}
	return nil
}

// unrecordedFailure is the failure of a change that the audit trail could not take.
func unrecordedFailure(err error) error {
	return failure(http.StatusServiceUnavailable, "%w", err)
}

// decode reads the JSON object in the request's body. If there is no body and no Content-Type, the
// object has no fields.
func (c *adminCall) decode(into any) error {
	body, err := c.readJSON(maxAdminBody)
	if err != nil || body == nil {
		return err
	}
	if name := repeatedField(body); name != "" {
		return failure(http.StatusBadRequest, "field %q: sent twice", name)
	}
	if err := refuseEmpty(body); err != nil {
		return err
	}
	return decodeStrictly(body, into)
}

// readJSON reads the request's body of at most so many bytes, which says that it is JSON. It is nil
// if there is no body and no Content-Type.
func (c *adminCall) readJSON(most int64) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(nil, c.Body, most))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return nil, failure(http.StatusRequestEntityTooLarge, "the request body is larger than %d bytes", most)
	}
	if err != nil {
		return nil, failure(http.StatusBadRequest, "reading the request body: %w", err)
	}
	ct := c.Header.Get("Content-Type")
	if len(body) == 0 && ct == "" {
		return nil, nil
	}
	// Browsers send a preflight request before JSON to another site, but none before text/plain.
	if kind, _, err := mime.ParseMediaType(ct); err != nil || (kind != "application/json" && kind != "application/merge-patch+json") {
		return nil, failure(http.StatusUnsupportedMediaType, "content type %q: must be application/json", ct)
	}
	if !utf8.Valid(body) {
		return nil, failure(http.StatusBadRequest, "the request body is not UTF-8")
	}
	if len(bytes.TrimSpace(body)) == 0 { // for example, of a script with an unset variable
		return nil, failure(http.StatusBadRequest,
			"the request body is empty: send a JSON object, or neither a body nor a Content-Type for the defaults")
	}
	return body, nil
}

// refuseEmpty refuses fields with an empty value. A script with an unset variable would otherwise
// get a default by mistake, such as a random key or no limit. To get the default, omit the field or
// set it to null. Two fields may be empty: the secret of a consumer without one, and the callback
// if the link to a platform's page named none. A body that is not an object is left to
// decodeStrictly.
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

// decodeStrictly refuses unknown fields: a misspelled one would otherwise be ignored silently. Its
// errors hold no values, because a value may be a secret.
func decodeStrictly(body []byte, into any) error {
	// encoding/json reads null as an object without fields.
	if string(bytes.TrimSpace(body)) == "null" {
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
		// The path also names embedded structs. JSON fields have no capitals.
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

// listQuery reads the query of a list: limit, after, and the given filters. Any other parameter is
// an error: with a misspelled filter, the list would hold everything.
func (c *adminCall) listQuery(filters ...string) (query url.Values, after string, limit int, err error) {
	query, err = c.query(append(filters, "limit", "after")...)
	if err != nil {
		return nil, "", 0, err
	}
	limit = adminapi.MaxPage
	if text := query.Get("limit"); text != "" {
		limit, err = strconv.Atoi(text)
		if err != nil || limit < 1 || limit > adminapi.MaxPage {
			return nil, "", 0, failure(http.StatusBadRequest, "limit %q: must be a number from 1 to %d", text, adminapi.MaxPage)
		}
	}
	return query, query.Get("after"), limit, nil
}

// query reads a query with the given parameters. Any other is an error.
func (c *adminCall) query(known ...string) (url.Values, error) {
	query, err := url.ParseQuery(c.URL.RawQuery)
	if err != nil {
		return nil, failure(http.StatusBadRequest, "the query is malformed")
	}
	for name, values := range query {
		if !slices.Contains(known, name) {
			return nil, failure(http.StatusBadRequest, "unknown query parameter %q", name)
		}
		if len(values) > 1 {
			return nil, failure(http.StatusBadRequest, "query parameter %q: sent twice", name)
		}
		if values[0] == "" { // an empty one would list everything, or start at the beginning
			return nil, failure(http.StatusBadRequest, "query parameter %q: is empty", name)
		}
	}
	return query, nil
}

// failure returns an error with the status of its answer.
func failure(status int, format string, args ...any) error {
	return caddy.APIError{HTTPStatus: status, Err: fmt.Errorf(format, args...)}
}

// refuse returns the failure for a mistake of the client.
func refuse(err error) error {
	return caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: err}
}

// storeFailure returns the failure for an error of the store. about names the object, such as
// `consumer "x"`.
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

// startedApps holds the apps that have started and are not cleaned up, the newest last. During a
// reload there are two. If the new configuration fails, the old app continues.
type startedApps struct {
	mu   sync.Mutex
	apps []*App
	// coming holds the apps that are provisioned but not started.
	coming []*App
	// changed is closed when an app is expected or has started.
	changed chan struct{}
}

// appsStarted holds the apps of this process. The admin API uses one of them.
var appsStarted startedApps

// expect adds an app that will start or be cleaned up.
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

// newest returns the newest app that has started, or else the newest that is expected. If there is
// none, it returns a channel that is closed when an app arrives.
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

// await waits for an app until the given time at the latest. The app may not have started yet: see
// App.open.
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

// started returns the newest app that has started, or nil.
func (s *startedApps) started() *App {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.apps); n > 0 {
		return s.apps[n-1]
	}
	return nil
}

// besides returns the newest other app that uses the app's store, or nil.
func (s *startedApps) besides(a *App) *App {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, other := range slices.Backward(s.apps) {
		if other != a && other.poolKey == a.poolKey {
			return other
		}
	}
	return nil
}

// Interface guards
var (
	_ caddy.AdminRouter = (*adminAPI)(nil)
	_ caddy.Provisioner = (*adminAPI)(nil)
)
