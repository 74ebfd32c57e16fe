package caddymodule

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// testSite is one site without a server: its handler, and the app with its own store.
type testSite struct {
	t       testing.TB
	app     *App
	handler *Handler
	clock   time.Time
}

// newTestSite makes a site from the global option's block and the directive's block of a Caddyfile.
func newTestSite(t testing.TB, global, directive string) *testSite {
	t.Helper()
	return startTestSite(t, global, "", directive)
}

// newTestSiteWith makes a site with a consumer. Its policies may use named matchers.
func newTestSiteWith(t testing.TB, matchers, directive string) *testSite {
	t.Helper()
	return startTestSite(t, "consumer demo {\n secret secret\n}", matchers, directive)
}

func startTestSite(t testing.TB, global, matchers, directive string) *testSite {
	t.Helper()
	site, err := provisionTestSiteWith(t, global, matchers, directive)
	if err != nil {
		t.Fatal(err)
	}
	if err := site.app.Start(); err != nil {
		t.Fatal(err)
	}
	return site
}

func provisionTestSite(t testing.TB, global, directive string) (*testSite, error) {
	t.Helper()
	return provisionTestSiteWith(t, global, "", directive)
}

func provisionTestSiteWith(t testing.TB, global, matchers, directive string) (*testSite, error) {
	t.Helper()
	text := "{\n\tadmin off\n\toauth1 {\n\t\tstore badger " + t.TempDir() + "\n" + global + "\n\t}\n}\nhttp://api.test {\n\toauth1 {\n" + directive + "\n\t}\n" + matchers + "\n}\n"
	adapted, _, err := caddyfile.Adapter{ServerType: httpcaddyfile.ServerType{}}.Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		return nil, err
	}
	var config caddy.Config
	if err := json.Unmarshal(adapted, &config); err != nil {
		return nil, err
	}
	handlerJSON := findHandler(adapted)
	if handlerJSON == nil {
		t.Fatalf("no oauth1 handler in %s", adapted)
	}
	config.AppsRaw = caddy.ModuleMap{"oauth1": config.AppsRaw["oauth1"]}
	ctx, err := caddy.ProvisionContext(&config)
	if err != nil {
		return nil, err
	}
	ctx, cancel := caddy.NewContext(ctx)
	t.Cleanup(cancel)
	app, err := ctx.App("oauth1")
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() {
		if err := app.(*App).Cleanup(); err != nil {
			t.Error(err)
		}
	})
	handler, err := ctx.LoadModuleByID("http.handlers.oauth1", handlerJSON)
	if err != nil {
		return nil, err
	}
	site := &testSite{t: t, app: app.(*App), handler: handler.(*Handler), clock: time.Now()}
	site.app.now = func() time.Time { return site.clock }
	if !strings.Contains(global, "diagnoses ") { // the worker uses the store, which tests change
		site.app.diagnoser.off = true
	}
	return site, nil
}

// findHandler finds the oauth1 handler in an adapted configuration.
func findHandler(config []byte) json.RawMessage {
	var walk func(v any) json.RawMessage
	walk = func(v any) json.RawMessage {
		switch v := v.(type) {
		case map[string]any:
			if v["handler"] == "oauth1" {
				delete(v, "handler")
				raw, _ := json.Marshal(v)
				return raw
			}
			for _, element := range v {
				if found := walk(element); found != nil {
					return found
				}
			}
		case []any:
			for _, element := range v {
				if found := walk(element); found != nil {
					return found
				}
			}
		}
		return nil
	}
	var v any
	if err := json.Unmarshal(config, &v); err != nil {
		return nil
	}
	return walk(v)
}

// upstreamRequest is the request that the next handler got.
type upstreamRequest struct {
	*http.Request
	placeholders *caddy.Replacer
}

// serve sends a request through the handler. The upstream's request is nil if the handler refused
// it.
func (s *testSite) serve(r *http.Request) (*httptest.ResponseRecorder, *upstreamRequest) {
	s.t.Helper()
	return s.serveWith(r, false)
}

func (s *testSite) serveWith(r *http.Request, trustedProxy bool) (*httptest.ResponseRecorder, *upstreamRequest) {
	s.t.Helper()
	w := httptest.NewRecorder()
	var upstream *upstreamRequest
	s.inRequestOf(r, trustedProxy, func(r *http.Request, repl *caddy.Replacer) {
		err := s.handler.ServeHTTP(w, r, caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
			upstream = &upstreamRequest{r, repl}
			return nil
		}))
		if err != nil {
			s.t.Fatalf("%s %s: %v", r.Method, r.URL, err)
		}
	})
	return w, upstream
}

// inRequest calls do with a request that is set up as by Caddy's server.
func (s *testSite) inRequest(r *http.Request, do func(*http.Request, *caddy.Replacer)) {
	s.inRequestOf(r, false, do)
}

func (s *testSite) inRequestOf(r *http.Request, trustedProxy bool, do func(*http.Request, *caddy.Replacer)) {
	u := *r.URL
	ctx := context.WithValue(r.Context(), caddyhttp.VarsCtxKey, map[string]any{caddyhttp.TrustedProxyVarKey: trustedProxy})
	ctx = context.WithValue(ctx, caddyhttp.OriginalRequestCtxKey, http.Request{Method: r.Method, RequestURI: r.RequestURI, URL: &u})
	ctx = context.WithValue(ctx, caddyhttp.ExtraLogFieldsCtxKey, new(caddyhttp.ExtraLogFields))
	r = r.WithContext(ctx)
	repl := caddyhttp.NewTestReplacer(r)
	if user := r.Header.Get("Test-User"); user != "" {
		repl.Set("http.auth.user.id", user)
	}
	do(r, repl)
}

// store returns the site's open store.
func (s *testSite) store() tokenstore.Store {
	s.t.Helper()
	store, err := s.app.open(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return store
}

// grant stores an access token, and the consumer if it is missing.
func (s *testSite) grant(consumer, user, permission string) *tokenstore.AccessToken {
	s.t.Helper()
	token := &tokenstore.AccessToken{
		Key:        tokenstore.NewKey(),
		Secret:     tokenstore.NewSecret(),
		Consumer:   consumer,
		User:       user,
		Permission: permission,
		Created:    s.clock,
	}
	if err := s.store().CreateAccessToken(s.t.Context(), token); err != nil {
		s.t.Fatal(err)
	}
	return token
}

// sign makes a request with a signature in its Authorization header.
func (s *testSite) sign(signer oauth1.Signer, method, target, form string) *http.Request {
	s.t.Helper()
	r := httptest.NewRequest(method, target, nil)
	if form != "" {
		r = httptest.NewRequest(method, target, strings.NewReader(form))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	path, query := oauth1.SplitTarget(r.RequestURI)
	if signer.Timestamp == 0 {
		signer.Timestamp = s.clock.Unix()
	}
	covered := &oauth1.Request{Method: method, Scheme: "http", Host: r.Host, Path: path, Query: query}
	if form != "" {
		covered.Form = []byte(form)
	}
	header, err := signer.Sign(covered)
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Authorization", header)
	return r
}

// setBody gives a request a body as a server does: with its length, and with a type that net/http
// does not know.
func setBody(r *http.Request, body string) {
	r.Body = io.NopCloser(strings.NewReader(body))
	r.ContentLength = int64(len(body))
}

// plain makes a request to an endpoint with a PLAINTEXT signature in its query.
func plain(path, consumer, consumerSecret, token, tokenSecret string, more ...string) *http.Request {
	query := url.Values{
		"oauth_consumer_key":     {consumer},
		"oauth_signature_method": {"PLAINTEXT"},
		"oauth_signature":        {oauth1.Encode(consumerSecret) + "&" + oauth1.Encode(tokenSecret)},
	}
	if token != "" {
		query.Set("oauth_token", token)
	}
	for i := 0; i < len(more); i += 2 {
		query.Set(more[i], more[i+1])
	}
	return httptest.NewRequest(http.MethodGet, "http://api.test"+path+"?"+query.Encode(), nil)
}
