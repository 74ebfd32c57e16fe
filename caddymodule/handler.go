package caddymodule

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/policy"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/refusal"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

func init() {
	caddy.RegisterModule(new(Handler))
}

// Handler is an OAuth 1.0a provider in front of an API (RFC 5849, OAuth Core 1.0a, Launchpad's
// dialect).
//
// It answers the endpoints where consumers get their tokens and users grant them. It verifies the
// signature of every other request, and asks the policies whether the request is allowed. An
// allowed request reaches the next handler as the client sent it, without the OAuth credentials and
// with identity headers that no client can forge.
//
// The handler sets these placeholders for the handlers that follow. They are empty for anonymous
// requests:
//
// Placeholder | Description
// ------------|-------------
// `{http.auth.user.id}` | The user that the request acts for
// `{http.auth.user.consumer}` | The key of the consumer that signed
// `{http.auth.user.permission}` | The permission level of the access token
// `{http.auth.user.context}` | The context that the access token is limited to, if any
//
// It sets these for `handle_errors` and `log_append` when it refuses an API request, or a request
// to an endpoint or a page. They are empty for requests that are not refused:
//
// Placeholder | Description
// ------------|-------------
// `{oauth1.refusal.reason}` | One of a fixed list; also in the log (`oauth_refusal`) and the metric
// `{oauth1.refusal.problem}` | `oauth_problem` of OAuth Problem Reporting; empty for pages
// `{oauth1.refusal.text}` | The text of the refusal, the same as `{err.message}`
// `{oauth1.refusal.consumer}` | The consumer key that the request named, if any
// `{oauth1.refusal.token}` | The key of the access or request token that the request named, if any
// `{oauth1.refusal.parameter}` | The OAuth parameter that is absent or rejected, if any
// `{oauth1.refusal.acceptable_timestamps}` | `lowest-highest`, if the timestamp is outside of them
// `{oauth1.refusal.passes}` | `true` if `unknown_tokens pass` left the request as it came
//
// The keys and a part of the text come from the client. All values are safe inside a quoted string
// of JSON, in HTML, in a header and in Caddy's templates: quotes are replaced with an apostrophe,
// and the other characters with a meaning there with a question mark. The values are not encoded
// for a URL or a form. No value holds a secret or a signature.
type Handler struct {
	// The matchers of the requests that are judged. Requests to the endpoints are always judged.
	// Requests that do not match reach the next handler unchanged, except that identity headers and
	// forbidden upgrades are removed. A Caddyfile puts the directive's matcher here. Default: all
	// requests are judged. Danger: with a path matcher, an upstream that reads a path differently
	// gets unjudged requests for paths that were meant to be protected. It is safer to judge all
	// requests, and to open paths with a policy that says `anonymous`.
	MatcherSetsRaw caddyhttp.RawMatcherSets `json:"match,omitempty" caddy:"namespace=http.matchers"`

	// The realm of the WWW-Authenticate challenge. Default: the host of the request.
	Realm string `json:"realm,omitempty"`

	// The public origin that clients sign, such as `https://api.example.com`. It may have a path,
	// as in `https://api.example.com/v1`: the prefix that a proxy in front removes from every path
	// that clients sign. Default: the scheme and host of the connection; behind a proxy that
	// Caddy's `trusted_proxies` names, the last X-Forwarded-Proto and X-Forwarded-Host, and
	// X-Forwarded-Port if the host has no port.
	BaseURL string `json:"base_url,omitempty"`

	// Which URLs are accepted. `strict` refuses, with 400, a path that servers read differently:
	// dot segments, empty segments, backslashes, semicolons, control characters, encoded slashes,
	// encoded backslashes, encoded percent signs, and characters that a URL must not have. If a
	// policy looks at the query, it also refuses a query with semicolons, stray percent signs, or
	// names with blanks. `as_sent` accepts such URLs, and a request must be allowed in each reading
	// that upstreams are known to have of its URL; it is for APIs that need such URLs. Danger of
	// `as_sent`: the list of readings is not complete; for example, it lacks an encoded dot segment
	// beside a plain one. Default: `strict` if a policy or the matcher looks at the URL; otherwise
	// no URL is refused.
	Paths string `json:"paths,omitempty"`

	// The protocols that a connection may be upgraded to. Other protocols are removed from the
	// Upgrade header. Default: `websocket`. Danger: after an upgrade the client talks to the
	// upstream directly. With a protocol that carries requests, such as h2c, the client can send
	// any path and any identity header.
	Upgrades []string `json:"upgrades,omitempty"`

	// The signature methods that are accepted. Default: all seven (HMAC-SHA1, HMAC-SHA256,
	// HMAC-SHA512, RSA-SHA1, RSA-SHA256, RSA-SHA512, PLAINTEXT).
	SignatureMethods []string `json:"signature_methods,omitempty"`

	// Accept PLAINTEXT signatures without TLS. Default: false. Danger: anybody on the network path
	// can read the secrets.
	InsecurePlaintextOverHTTP bool `json:"insecure_plaintext_over_http,omitempty"`

	// The user that is logged in at the pages: a text with placeholders that earlier handlers set.
	// If one of the placeholders is empty, nobody is logged in, and the answer is 401. Default:
	// `{http.auth.user.id}`. Danger: if a placeholder is a request header, a proxy or handler in
	// front must delete the header that the client sent.
	User string `json:"user,omitempty"`

	// Where the endpoints are.
	Endpoints *Endpoints `json:"endpoints,omitempty"`

	// Refuse requests for request tokens without oauth_callback, as OAuth 1.0a demands. Default:
	// false; such requests follow Launchpad's polling flow.
	RequireCallback bool `json:"require_callback,omitempty"`

	// Refuse signed requests that have no oauth_body_hash, and a body that is not a form. Default:
	// false; only TLS protects the body of such requests.
	RequireBodyHash bool `json:"require_body_hash,omitempty"`

	// Explain refusals to clients: a 401 then says what the client did wrong, and holds the
	// signature base string as the server computes it. JSON has the text as `oauth_problem_advice`.
	// Only known consumers get explanations, within the app's limits (`diagnoses`), and none where
	// error routes answer. Default: none. Danger: it is for a sandbox. The explanation repeats what
	// the client sent, and adds no secret and no right signature, but it tells whoever names such a
	// consumer which mistake leads to a signature, and what an unknown token is. It is made before
	// the answer, so a flood costs more than without it.
	ExplainRefusals *ExplainRefusals `json:"explain_refusals,omitempty"`

	// The largest form, and the largest body with oauth_body_hash, in bytes. Both are held in
	// memory until they are verified. Default: 1 MiB. Larger bodies are answered with 413.
	MaxFormBody int64 `json:"max_form_body,omitempty"`

	// The permission levels that this site offers and accepts. Default: all declared levels.
	Permissions []string `json:"permissions,omitempty"`

	// The policies, in order. The first policy whose matcher matches decides; if none matches, the
	// answer is 403. Default: one policy that requires READ_PUBLIC for GET, HEAD and OPTIONS, and
	// WRITE_PUBLIC for every other method.
	Policies []*policy.Policy `json:"policies,omitempty"`

	// The names of the identity headers. If a client sends headers with these names, they are
	// removed.
	IdentityHeaders *IdentityHeaders `json:"identity_headers,omitempty"`

	// Pass the OAuth credentials on to the upstream. Default: false; they are removed from the
	// Authorization header and from the query. Danger: with PLAINTEXT the credentials are the
	// secrets, so anybody who reads the upstream's log can use them.
	KeepAuthorization bool `json:"keep_authorization,omitempty"`

	// What happens to requests whose consumer is unknown here, and to people whose request token is
	// unknown at the authorize page. `refuse`, the default, refuses them as all others. With `pass`
	// the site's error routes (`handle_errors`) get such a request with its credentials and its
	// form, so that they can send it to another provider, which verifies it by itself; without a
	// route that answers, it is refused. `{oauth1.refusal.passes}` is `true` for these requests and
	// for no others. A consumer that exists here, whatever its token, is judged here alone. Needs
	// `registration closed`. Danger: a removed consumer is unknown, and passes; disable it instead.
	UnknownTokens string `json:"unknown_tokens,omitempty"`

	// Protect nothing: judge each request, count and log the decision, and pass the request on
	// whatever it is. The endpoints are not served, and identity headers are not set; those that a
	// client sent are removed, and so are upgrades that the site does not allow. It is for the weeks
	// before this server replaces another provider, which still verifies the requests. Default: false. Danger: everything reaches the next
	// handler.
	Observe bool `json:"observe,omitempty"`

	// The look and the language of the pages, and the choices that they propose.
	Pages *Pages `json:"pages,omitempty"`

	app      *App
	logger   *zap.Logger
	events   *events
	baseURL  *url.URL
	basePath string // the escaped path of baseURL, which begins every path that clients sign
	stripper *stripper
	csrf     *http.CrossOriginProtection
	rules    *policy.Rules // which requests are judged, and which of them are allowed

	endpoints []*endpoint
	byPath    map[string][]*endpoint
}

// defaultMaxFormBody is in bytes.
const defaultMaxFormBody = 1 << 20

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.oauth1",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Provision sets the defaults and loads the app.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.logger = ctx.Logger()
	app, err := ctx.App("oauth1")
	if err != nil {
		return fmt.Errorf("getting the oauth1 app: %w", err)
	}
	h.app = app.(*App)
	h.events = newEvents(h.app, h.logger)
	h.csrf = http.NewCrossOriginProtection()

	repl := caddy.NewReplacer()
	if h.BaseURL != "" {
		text, err := repl.ReplaceOrErr(h.BaseURL, true, true)
		if err != nil {
			return fmt.Errorf("base_url %q: %w", h.BaseURL, err)
		}
		if h.baseURL, err = parseBaseURL(text); err != nil {
			return err
		}
		h.basePath = strings.TrimSuffix(h.baseURL.EscapedPath(), "/")
	}
	if h.Realm, err = repl.ReplaceOrErr(h.Realm, true, false); err != nil {
		return fmt.Errorf("realm: %w", err)
	}
	if len(h.SignatureMethods) == 0 {
		h.SignatureMethods = oauth1.SignatureMethods
	}
	if h.User == "" {
		h.User = "{http.auth.user.id}"
	}
	if h.MaxFormBody == 0 {
		h.MaxFormBody = defaultMaxFormBody
	}
	if len(h.Permissions) == 0 {
		for _, level := range h.app.levels.Ordered {
			h.Permissions = append(h.Permissions, level.Name)
		}
	}
	if len(h.Policies) == 0 {
		h.Policies = []*policy.Policy{new(policy.Policy)}
	}
	if len(h.Upgrades) == 0 {
		h.Upgrades = []string{websocket}
	}
	if h.UnknownTokens == "" {
		h.UnknownTokens = unknownRefused
	}
	if h.Observe {
		h.provisionObserving()
	}
	if err := h.provisionRules(ctx); err != nil {
		return err
	}
	if h.Pages == nil {
		h.Pages = new(Pages)
	}
	if err := h.Pages.provision(); err != nil {
		return err
	}
	h.provisionIdentityHeaders()
	h.provisionEndpoints()
	return nil
}

// Validate checks the values.
func (h *Handler) Validate() error {
	for _, method := range h.SignatureMethods {
		if err := checkSignatureMethod(method); err != nil {
			return err
		}
	}
	for _, level := range h.Permissions {
		if err := h.app.levels.Check(level); err != nil {
			return err
		}
	}
	if err := h.ExplainRefusals.validate(); err != nil {
		return err
	}
	if h.MaxFormBody < 0 {
		return fmt.Errorf("max_form_body %d: must be positive", h.MaxFormBody)
	}
	if err := h.validateEndpoints(); err != nil {
		return err
	}
	if err := h.validateUnknownTokens(); err != nil {
		return err
	}
	if err := h.IdentityHeaders.validate(); err != nil {
		return err
	}
	for _, protocol := range h.Upgrades {
		if err := checkUpgrade(protocol); err != nil {
			return err
		}
	}
	most := time.Duration(h.app.AccessTokenLifetime)
	if err := h.Pages.validate(h.app.levels, h.Permissions, most); err != nil {
		return err
	}
	return h.rules.Check(h.Permissions)
}

// provisionRules loads the matchers, and warns if requests can pass unjudged.
func (h *Handler) provisionRules(ctx caddy.Context) (err error) {
	if h.rules, err = policy.New(ctx, policy.Config{
		Match:    h.MatcherSetsRaw,
		Policies: h.Policies,
		Paths:    h.Paths,
		Levels:   h.app.levels,
	}); err != nil {
		return err
	}
	if h.rules.Scoped() {
		h.app.partial.Store(true)
	}
	if h.rules.ScopeSeesPath() {
		h.logger.Warn("the matcher of oauth1 looks at the path: requests that it leaves out reach the upstream unjudged; "+
			"better let the directive see all requests, and open paths by a policy with: anonymous",
			zap.Any("match", h.MatcherSetsRaw))
	}
	return nil
}

// ServeHTTP answers a request to an endpoint. It judges an API request: it refuses the request, or
// passes it to the next handler with the identity that the signature proved.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	replacer(r).Map(noRefusal)
	h.warnOfAddresses(r)
	if h.Observe {
		h.observe(r)
		return next.ServeHTTP(w, r)
	}
	judges, problem := h.receive(r)
	if problem != nil {
		return h.refuse(w, r, endpointAPI, problem)
	}
	if e := h.endpointOf(r); e != nil {
		return e.serve(w, r)
	}
	if !judges {
		h.leaveOut(r)
		return next.ServeHTTP(w, r)
	}
	var id Identity
	var s signed // stays on the stack: nobody keeps it
	problem = h.judge(r, &s, &id)
	if problem != nil {
		return h.refuseSigned(w, r, endpointAPI, &s, problem)
	}
	h.identify(r, &id)
	h.events.forwarded(r, &s, &id)
	return next.ServeHTTP(w, r)
}

// judge decides about an API request, and cleans it for the upstream. It sets the identity, and reads
// the request as it was signed into s.
func (h *Handler) judge(r *http.Request, s *signed, id *Identity) (problem *refusal.Problem) {
	if problem = h.rules.CheckURL(r); problem != nil {
		return problem
	}
	if *id, problem = h.authenticate(r, s); problem != nil {
		return problem
	}
	h.strip(r, id) // before the policies, which judge the request that the upstream gets
	if s.policy, problem = h.decide(r, id); problem != nil {
		problem = problem.Of(cmp.Or(id.Consumer, id.Tokenless), id.Token)
	}
	return problem
}

// decide asks the policies about the request that the upstream gets. It also returns the number of
// the policy that decided.
func (h *Handler) decide(r *http.Request, id *Identity) (int, *refusal.Problem) {
	defer asForwarded(r)()
	d := h.rules.Decide(r, &id.Subject)
	return d.Number, d.Problem
}

// offers reports whether a level may be granted to the consumer and used by it at this site.
func (h *Handler) offers(c *tokenstore.Consumer, level string) bool {
	return h.app.grantable(c, level) && slices.Contains(h.Permissions, level)
}

// replacer returns the request's placeholders.
func replacer(r *http.Request) *caddy.Replacer {
	return r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.Validator             = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
