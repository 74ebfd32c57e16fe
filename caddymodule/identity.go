package caddymodule

import (
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"golang.org/x/net/http/httpguts"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/policy"
)

// Identity is what a signature proved: the user and the consumer of a request, and its permission.
type Identity struct {
	policy.Subject        // the part that policies look at
	Token          string // the access token's key
	// source is where the request carried its OAuth parameters.
	source oauth1.Source
}

// IdentityHeaders are the names of the headers that tell the upstream the identity of a request. An
// anonymous request has none of them.
type IdentityHeaders struct {
	// The header with the user. Default: X-OAuth-User
	User string `json:"user,omitempty"`
	// The header with the consumer's key. Default: X-OAuth-Consumer
	Consumer string `json:"consumer,omitempty"`
	// The header with the permission level. Default: X-OAuth-Permission
	Permission string `json:"permission,omitempty"`
	// The header with the context; absent if there is no context. Default: X-OAuth-Context
	Context string `json:"context,omitempty"`
	// The header with the access token's key, never its secret; absent for two-legged requests.
	// Default: X-OAuth-Token
	Token string `json:"token,omitempty"`
}

func (h *Handler) provisionIdentityHeaders() {
	if h.IdentityHeaders == nil {
		h.IdentityHeaders = new(IdentityHeaders)
	}
	names := h.IdentityHeaders
	for _, header := range []struct {
		name     *string
		standard string
	}{
		{&names.User, "X-OAuth-User"},
		{&names.Consumer, "X-OAuth-Consumer"},
		{&names.Permission, "X-OAuth-Permission"},
		{&names.Context, "X-OAuth-Context"},
		{&names.Token, "X-OAuth-Token"},
	} {
		if *header.name == "" {
			*header.name = header.standard
		}
		*header.name = textproto.CanonicalMIMEHeaderKey(*header.name)
	}
	// HTTP2-Settings is a part of an upgrade to h2c.
	h.stripper = newStripper(append(names.all(), "HTTP2-Settings"))
}

func (n *IdentityHeaders) all() []string {
	return []string{n.User, n.Consumer, n.Permission, n.Context, n.Token}
}

func (n *IdentityHeaders) validate() error {
	var seen []string
	for _, name := range n.all() {
		if err := checkIdentityHeader(name); err != nil {
			return err
		}
		if slices.Contains(seen, policy.FoldHeaderName(name)) {
			return fmt.Errorf("identity_headers %q: used twice", name)
		}
		seen = append(seen, policy.FoldHeaderName(name))
	}
	return nil
}

func checkIdentityHeader(name string) error {
	switch {
	case !httpguts.ValidHeaderFieldName(name):
		return fmt.Errorf("identity_headers %q: is not a header name", name)
	case slices.Contains(reservedHeaders, policy.FoldHeaderName(name)):
		return fmt.Errorf("identity_headers %q: has a meaning of its own in HTTP", name)
	}
	return nil
}

// reservedHeaders are headers that a request needs, so they can't be identity headers.
var reservedHeaders = []string{
	"authorization", "connection", "content-encoding", "content-length", "content-type", "cookie", "expect", "host",
	"keep-alive", "proxy-authorization", "proxy-connection", "http2-settings", "te", "trailer", "transfer-encoding", "upgrade",
}

// strip removes every claim to an identity from the request, and its credentials.
func (h *Handler) strip(r *http.Request, id *Identity) {
	dropListed(r)
	h.stripper.strip(r)
	h.limitUpgrades(r)
	if !h.KeepAuthorization {
		stripCredentials(r, id.source)
	}
}

// identify adds the proved identity to the request, which strip has cleaned before.
func (h *Handler) identify(r *http.Request, id *Identity) {
	names := h.IdentityHeaders
	values := make([]string, 0, 5) // one allocation for all headers
	for _, header := range [...]struct{ name, value string }{
		{names.User, id.User},
		{names.Consumer, id.Consumer},
		{names.Permission, id.Permission},
		{names.Context, id.Context},
		{names.Token, id.Token},
	} {
		if header.value != "" {
			values = append(values, header.value)
			r.Header[header.name] = values[len(values)-1 : len(values) : len(values)]
		}
	}

	// Set replaces the identity of an earlier handler. A provider, which Map adds, would not: values
	// that were Set, and earlier providers, take precedence over it.
	repl := replacer(r)
	repl.Set("http.auth.user.id", id.User)
	repl.Set("http.auth.user.consumer", id.Consumer)
	repl.Set("http.auth.user.permission", id.Permission)
	repl.Set("http.auth.user.context", id.Context)
	if h.app.partial.Load() {
		caddyhttp.SetVar(r.Context(), judgedVar, h)
	}
	if id.Anonymous() || !logged(r) {
		return
	}
	if extra, ok := r.Context().Value(caddyhttp.ExtraLogFieldsCtxKey).(*caddyhttp.ExtraLogFields); ok {
		extra.Add(zap.String("oauth_consumer", id.Consumer))
	}
}

// logged reports whether the server has an access log. Without one, adding a log field is wasted
// work.
func logged(r *http.Request) bool {
	server, _ := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	return server == nil || server.Logs != nil
}

// stripCredentials removes the OAuth parameters from the Authorization header and the query. A form
// body is not changed.
func stripCredentials(r *http.Request, source oauth1.Source) {
	if source == oauth1.SourceHeader {
		delete(r.Header, "Authorization")
	}
	if source == oauth1.SourceQuery {
		stripQuery(r)
	}
}

// stripQuery removes the OAuth parameters from every copy of the query: from the URL, from the
// original request, and from the request line. Error routes get the original request back, FastCGI
// sends it as REQUEST_URI, and a placeholder holds it. Proxies log the request line.
func stripQuery(r *http.Request) {
	r.URL.RawQuery = oauth1.StripQuery(r.URL.RawQuery)
	if original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok {
		original.URL.RawQuery = oauth1.StripQuery(original.URL.RawQuery)
		if target := stripTarget(original.RequestURI); target != original.RequestURI {
			// Caddy prefers a value that is set to the one that it looks up.
			replacer(r).Set("http.request.orig_uri", target)
		}
	}
	r.RequestURI = stripTarget(r.RequestURI)
}

func stripTarget(target string) string {
	path, query, ok := strings.Cut(target, "?")
	if !ok {
		return target
	}
	kept := oauth1.StripQuery(query)
	switch {
	case len(kept) == len(query):
		return target
	case kept == "":
		return path
	}
	return path + "?" + kept
}

// disown removes all claims to an identity from a refused request, because a site's error routes
// may send it to an upstream.
func (h *Handler) disown(r *http.Request) {
	h.stripper.strip(r)
	h.limitUpgrades(r)
	if h.KeepAuthorization {
		return
	}
	isOAuth := func(field string) bool {
		params, err := oauth1.Parse([]string{field}, "", nil)
		return err != nil || params.Source == oauth1.SourceHeader
	}
	if slices.ContainsFunc(r.Header["Authorization"], isOAuth) {
		delete(r.Header, "Authorization")
	}
	stripQuery(r)
}

// A stripper removes headers with certain names that a client sent. It finds each spelling of a
// name, in each place, that an upstream might read as that name.
type stripper struct{ names *policy.HeaderNames }

func newStripper(names []string) *stripper {
	return &stripper{policy.NewHeaderNames(names)}
}

// strip removes the names from the headers, the trailers and the list in Connection. A proxy behind
// this one deletes the headers that Connection lists. Trailers may also arrive at the end of the
// body.
func (s *stripper) strip(r *http.Request) {
	s.stripHeader(r.Header)
	if connection, ok := r.Header["Connection"]; ok {
		s.stripList(r.Header, "Connection", connection)
	}
	if r.Trailer == nil {
		return
	}
	s.stripHeader(r.Trailer)
	if announced, ok := r.Header["Trailer"]; ok {
		s.stripList(r.Header, "Trailer", announced)
	}
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = &trailerGuard{ReadCloser: r.Body, stripper: s, trailer: r.Trailer}
	}
}

func (s *stripper) stripHeader(header http.Header) {
	for name := range header {
		if s.names.Has(name) {
			delete(header, name)
		}
	}
}

// stripList removes the names from a header whose value is a list of names.
func (s *stripper) stripList(header http.Header, name string, fields []string) {
	listed := func(element string) bool { return s.names.Has(textproto.TrimString(element)) }
	var kept []string
	for _, field := range fields {
		elements := strings.Split(field, ",")
		if !slices.ContainsFunc(elements, listed) {
			kept = append(kept, field)
			continue
		}
		if elements = slices.DeleteFunc(elements, listed); len(elements) > 0 {
			kept = append(kept, strings.Join(elements, ","))
		}
	}
	if len(kept) == 0 {
		delete(header, name)
		return
	}
	header[name] = kept
}

// trailerGuard strips the trailers at the end of the body: the server knows them only then.
type trailerGuard struct {
	io.ReadCloser
	stripper *stripper
	trailer  http.Header
}

// Read reads the body.
func (g *trailerGuard) Read(p []byte) (int, error) {
	n, err := g.ReadCloser.Read(p)
	if err != nil {
		g.stripper.stripHeader(g.trailer)
	}
	return n, err
}
