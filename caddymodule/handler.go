package caddymodule

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

func init() {
	caddy.RegisterModule(new(Handler))
}

// Handler is an OAuth 1.0a provider in front of an API (RFC 5849, OAuth Core 1.0a, Launchpad's dialect).
//
// It answers the endpoints at which consumers get their tokens and people grant them, verifies the signature of every
// other request, and hands on those that a policy allows, with identity headers that no client can forge. Whatever it
// does not refuse reaches the next handler as the client sent it, less the OAuth credentials.
//
// These placeholders are set for the handlers that follow; for anonymous requests they are empty:
//
// Placeholder | Description
// ------------|-------------
// `{http.auth.user.id}` | The user whom the request acts for
// `{http.auth.user.consumer}` | The key of the consumer that signed
// `{http.auth.user.permission}` | The permission level of the access token
// `{http.auth.user.context}` | The context that the access token is limited to, if any
//
// And these for `handle_errors` and `log_append`, for every refusal of an API request, an endpoint or a
// page; where nothing was refused they are empty:
//
// Placeholder | Description
// ------------|-------------
// `{oauth1.refusal.reason}` | One of a fixed few words: the log field `oauth_refusal`, and the metric's label
// `{oauth1.refusal.problem}` | The word of OAuth Problem Reporting (`oauth_problem`); empty for pages
// `{oauth1.refusal.text}` | Our text, as `{err.message}` has it
// `{oauth1.refusal.consumer}` | The consumer key that the request named, if it did
// `{oauth1.refusal.token}` | The key of the access or request token that the request named, if it did
// `{oauth1.refusal.parameter}` | The OAuth parameter that is absent or rejected, if it is one
// `{oauth1.refusal.acceptable_timestamps}` | `lowest-highest`, if the timestamp is outside of them
//
// Clients write a part of the text, and the keys. All values are safe inside a quoted string of JSON, in
// HTML, in a header and in Caddy's templates: of the characters that mean something there, quotes become an
// apostrophe, and the others a question mark. Nothing is encoded for a URL or a form. No value holds a
// secret or a signature.
type Handler struct {
	// Which requests are judged, beside those to the endpoints. The others reach the next handler as they
	// came, less identity headers and upgrades. A Caddyfile puts the directive's matcher here. Default:
	// all. Danger: with a matcher of paths, an upstream that reads a path in its own way gets requests
	// unjudged that it takes for others; better let everything be judged, and open paths by a policy
	// that says `anonymous`.
	MatcherSetsRaw caddyhttp.RawMatcherSets `json:"match,omitempty" caddy:"namespace=http.matchers"`

	// The realm of the WWW-Authenticate challenge. Default: the host of the request.
	Realm string `json:"realm,omitempty"`

	// The public origin that clients sign, such as `https://api.example.com`. With a path, as in
	// `https://api.example.com/v1`: what something in front takes away from the beginning of every path that
	// clients sign. Default: what the connection says; behind a proxy that Caddy's `trusted_proxies` names, the
	// last X-Forwarded-Proto and X-Forwarded-Host, and X-Forwarded-Port where the host has no port.
	BaseURL string `json:"base_url,omitempty"`

	// Which URLs are judged at all. `strict`: a path that servers read differently is refused with 400
	// (dot segments, empty segments, backslashes, semicolons, control characters, encoded slashes,
	// backslashes and percent signs, and what is no URL's character), and so is, where a policy looks at
	// the query, a query with semicolons, stray percent signs, or names with blanks. `as_sent`: a request
	// must be allowed in each reading that upstreams are known to have of its URL; for APIs whose URLs
	// need that. Danger of `as_sent`: the list of readings is not complete; one that it lacks is an encoded
	// dot segment beside a plain one. Default: `strict`, where a policy or the matcher looks at the URL;
	// elsewhere no URL is refused.
	Paths string `json:"paths,omitempty"`

	// The protocols that a connection may be upgraded to; others are taken from the Upgrade header.
	// Default: `websocket`. Danger: after an upgrade the client talks to the upstream directly. With a
	// protocol that carries requests, such as h2c, it sends any path and any identity header.
	Upgrades []string `json:"upgrades,omitempty"`

	// The signature methods that are accepted. Default: all seven (HMAC-SHA1, HMAC-SHA256, HMAC-SHA512, RSA-SHA1,
	// RSA-SHA256, RSA-SHA512, PLAINTEXT).
	SignatureMethods []string `json:"signature_methods,omitempty"`

	// Accept PLAINTEXT signatures without TLS. Default: false. Danger: everybody on the way can read the secrets.
	InsecurePlaintextOverHTTP bool `json:"insecure_plaintext_over_http,omitempty"`

	// Who is logged in at the pages: any placeholders, set by the handlers before this one. Where one of them is empty,
	// nobody is: the answer is 401. Default: `{http.auth.user.id}`. Danger: with a request header here, something in
	// front must delete the client's own.
	User string `json:"user,omitempty"`

	// Where the endpoints are.
	Endpoints *Endpoints `json:"endpoints,omitempty"`

	// Refuse request tokens without oauth_callback, as OAuth 1.0a demands. Default: false; such requests follow
	// Launchpad's polling flow.
	RequireCallback bool `json:"require_callback,omitempty"`

	// Refuse signed requests that have a body which is no form, and no oauth_body_hash. Default: false; the body of such
	// requests is protected by TLS alone.
	RequireBodyHash bool `json:"require_body_hash,omitempty"`

	// How large a form may be, in bytes, and a body with oauth_body_hash: both are held in memory until they are
	// verified. Default: 1 MiB. Larger ones are answered 413.
	MaxFormBody int64 `json:"max_form_body,omitempty"`

	// The permission levels that this site offers and accepts. Default: all that are declared.
	Permissions []string `json:"permissions,omitempty"`

	// The policies, in order: the first whose matcher matches decides, and where none does the answer is 403. Default:
	// one that asks for READ_PUBLIC with GET, HEAD and OPTIONS, and for WRITE_PUBLIC with every other method.
	Policies []*Policy `json:"policies,omitempty"`

	// The names of the identity headers. Headers of these names that a client sends never reach the upstream.
	IdentityHeaders *IdentityHeaders `json:"identity_headers,omitempty"`

	// Hand the OAuth credentials on to the upstream. Default: false; they are removed from the Authorization header and
	// from the query. Danger: an upstream that logs them can be impersonated with PLAINTEXT.
	KeepAuthorization bool `json:"keep_authorization,omitempty"`

	// How the pages look, in which language they are, and what they propose.
	Pages *Pages `json:"pages,omitempty"`

	app      *App
	logger   *zap.Logger
	events   *events
	baseURL  *url.URL
	basePath string // of baseURL, escaped: what is in front of every path that a client signs
	stripper *stripper
	csrf     *http.CrossOriginProtection
	matchers caddyhttp.MatcherSets
	selects  caddyhttp.RawMatcherSets // MatcherSetsRaw, which Caddy takes away when it loads them
	// What the directive's own matcher and the policies see of a request, and how much of its URL must be plain.
	ownSight, policySight, sight sight
	plain                        atomic.Pointer[plainness]
	endpoints                    []*endpoint
	byPath                       map[string][]*endpoint
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

// Provision sets the defaults and gets the app.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.logger = ctx.Logger()
	app, err := ctx.App("oauth1")
	if err != nil {
		return fmt.Errorf("getting the oauth1 app: %w", err)
	}
	h.app = app.(*App)
	h.events = &events{h.app.metrics, h.logger}
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
		for _, level := range h.app.levels.ordered {
			h.Permissions = append(h.Permissions, level.Name)
		}
	}
	if len(h.Policies) == 0 {
		h.Policies = []*Policy{new(Policy)}
	}
	for i, p := range h.Policies {
		if err := p.provision(ctx, h.app.levels); err != nil {
			return fmt.Errorf("policy %d: %w", i+1, err)
		}
	}
	if len(h.Upgrades) == 0 {
		h.Upgrades = []string{websocket}
	}
	if err := h.provisionScope(ctx); err != nil {
		return err
	}
	h.policySight = policiesSight(h.Policies)
	h.sight = h.ownSight.or(h.policySight)
	h.setPlainness(unknownSight("a header"))
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

// Validate looks at the values.
func (h *Handler) Validate() error {
	for _, method := range h.SignatureMethods {
		if err := checkSignatureMethod(method); err != nil {
			return err
		}
	}
	for _, level := range h.Permissions {
		if err := h.app.levels.check(level); err != nil {
			return err
		}
	}
	if h.MaxFormBody < 0 {
		return fmt.Errorf("max_form_body %d: must be positive", h.MaxFormBody)
	}
	if err := h.validateEndpoints(); err != nil {
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
	if err := h.checkPaths(); err != nil {
		return err
	}
	most := time.Duration(h.app.AccessTokenLifetime)
	if err := h.Pages.validate(h.app.levels, h.Permissions, most); err != nil {
		return err
	}
	return validatePolicies(h.Policies, h.Permissions)
}

// ServeHTTP answers an endpoint, or judges an API request: refuses it, or hands it to the next handler with the
// identity that it proved.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	replacer(r).Map(noRefusal)
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
	if problem = h.plain.Load().policies.checkPlain(r); problem == nil {
		id, problem = h.authenticate(r)
	}
	if problem == nil {
		h.strip(r, &id) // before the policies, which look at what the upstream will see
		if problem = h.allow(r, &id); problem != nil {
			problem = problem.Of(cmp.Or(id.Consumer, id.tokenless), id.Token)
		}
	}
	if problem != nil {
		return h.refuse(w, r, endpointAPI, problem)
	}
	h.identify(r, &id)
	h.events.forwarded(&id)
	return next.ServeHTTP(w, r)
}

// offers reports whether a level may be granted and used at this site by the consumer.
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
