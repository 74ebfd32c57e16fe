package caddymodule

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
)

// Endpoints are the places at which the handler answers by itself: paths, each with a query if that is what
// tells it from others, such as `/w/index.php?title=Special:OAuth/initiate`. A request has to have the
// parameters of such a query, each once and with this value; it may have others.
type Endpoints struct {
	// Answer nowhere: sign requests here, get tokens elsewhere. Default: false.
	Off bool `json:"off,omitempty"`
	// Default: /+request-token
	RequestToken string `json:"request_token,omitempty"`
	// Default: /+authorize-token
	Authorize string `json:"authorize,omitempty"`
	// Default: /+access-token
	AccessToken string `json:"access_token,omitempty"`
	// Default: /+oauth-tokens
	Tokens string `json:"tokens,omitempty"`
}

// The names of the endpoints, for logs and metrics; endpointAPI is every other request.
const (
	endpointAPI          = "api"
	endpointRequestToken = "request_token"
	endpointAuthorize    = "authorize"
	endpointAccessToken  = "access_token"
	endpointTokens       = "tokens"
)

// endpoint is one of the Endpoints.
type endpoint struct {
	name  string
	place string // as it is configured
	path  string
	query url.Values // what a request must have in its query; mostly nothing
	serve func(http.ResponseWriter, *http.Request) error
}

// provisionEndpoints sets the defaults. What can't be read is for validateEndpoints.
func (h *Handler) provisionEndpoints() {
	if h.Endpoints == nil {
		h.Endpoints = new(Endpoints)
	}
	if h.Endpoints.Off {
		return
	}
	for _, e := range []struct {
		place    *string
		standard string
		endpoint
	}{
		{&h.Endpoints.RequestToken, "/+request-token", endpoint{name: endpointRequestToken, serve: h.serveRequestToken}},
		{&h.Endpoints.Authorize, "/+authorize-token", endpoint{name: endpointAuthorize, serve: h.serveAuthorize}},
		{&h.Endpoints.AccessToken, "/+access-token", endpoint{name: endpointAccessToken, serve: h.serveAccessToken}},
		{&h.Endpoints.Tokens, "/+oauth-tokens", endpoint{name: endpointTokens, serve: h.serveTokens}},
	} {
		if *e.place == "" {
			*e.place = e.standard
		}
		e.endpoint.place = *e.place
		e.path, e.query, _ = parseEndpoint(*e.place)
		h.endpoints = append(h.endpoints, &e.endpoint)
	}
	h.byPath = make(map[string][]*endpoint)
	for _, e := range h.endpoints {
		h.byPath[e.path] = append(h.byPath[e.path], e)
	}
}

// validateEndpoints refuses endpoints that are none, or that one request could mean at once.
func (h *Handler) validateEndpoints() error {
	for i, e := range h.endpoints {
		if err := checkEndpoint(e.place); err != nil {
			return err
		}
		for _, other := range h.endpoints[:i] {
			if e.path == other.path && !e.differs(other) {
				return fmt.Errorf("endpoints: one request could mean both %q and %q", other.place, e.place)
			}
		}
	}
	return nil
}

// pageParameters are those that the pages read from the query, beside the OAuth parameters.
var pageParameters = []string{"after", "allow_permission", "done", "lp.context", "proof", "revoked"}

// parseEndpoint reads the place of an endpoint: a path, not encoded, and a query, if there is one.
func parseEndpoint(place string) (path string, query url.Values, err error) {
	path, raw, _ := strings.Cut(place, "?")
	if !strings.HasPrefix(path, "/") {
		return "", nil, errors.New("must begin with a slash")
	}
	if strings.Contains(place, "#") {
		return "", nil, errors.New("holds a fragment")
	}
	if query, err = url.ParseQuery(raw); err != nil {
		return "", nil, errors.New("its query is malformed")
	}
	for name, values := range query {
		if strings.HasPrefix(name, "oauth_") || slices.Contains(pageParameters, name) {
			return "", nil, fmt.Errorf("its query must not hold %s, which has a meaning there", name)
		}
		if len(values) > 1 {
			return "", nil, fmt.Errorf("its query must hold %s once", name)
		}
	}
	return path, query, nil
}

func checkEndpoint(place string) error {
	if _, _, err := parseEndpoint(place); err != nil {
		return fmt.Errorf("endpoints: path %q: %w", place, err)
	}
	return nil
}

// differs reports whether no request can mean both of two endpoints of one path.
func (e *endpoint) differs(other *endpoint) bool {
	for name, values := range e.query {
		if others, ok := other.query[name]; ok && !slices.Equal(values, others) {
			return true
		}
	}
	return false
}

// endpointOf finds the endpoint that a request is for; nil where it is for none.
func (h *Handler) endpointOf(r *http.Request) *endpoint {
	for _, e := range h.byPath[r.URL.Path] {
		if e.hasQuery(r.URL.RawQuery) {
			return e
		}
	}
	return nil
}

func (e *endpoint) hasQuery(query string) bool {
	if len(e.query) == 0 {
		return true
	}
	sent, _ := url.ParseQuery(query) // what is malformed is for the endpoint to refuse
	for name, values := range e.query {
		if !slices.Equal(sent[name], values) {
			return false
		}
	}
	return true
}

// endpoint is the endpoint of a name, which must be there.
func (h *Handler) endpoint(name string) *endpoint {
	return h.endpoints[slices.IndexFunc(h.endpoints, func(e *endpoint) bool { return e.name == name })]
}

// here is a link from a page of the endpoint to another, by its query.
func (e *endpoint) here(query url.Values) string {
	if len(e.query) == 0 {
		return "?" + query.Encode()
	}
	return strings.TrimSuffix("?"+e.query.Encode()+"&"+query.Encode(), "&")
}

// linkTo is a link from a request's page to another endpoint.
func (h *Handler) linkTo(r *http.Request, e *endpoint) string {
	link := relative(r.URL.Path, e.path)
	if strings.HasPrefix(link, "/") {
		link = h.basePath + link
	}
	if len(e.query) == 0 {
		return link
	}
	return link + e.here(nil)
}

// relative is a link from one path to another that survives a prefix which something in front takes away, as long as
// both are in the same folder.
func relative(from, to string) string {
	if path.Dir(from) != path.Dir(to) || strings.HasSuffix(to, "/") {
		return (&url.URL{Path: to}).String()
	}
	return "./" + (&url.URL{Path: "/" + path.Base(to)}).String()[1:]
}
