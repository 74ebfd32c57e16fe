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

// Endpoints are the URLs that the handler answers itself. Each is a path, with a query if the query
// is needed to recognise it, such as `/w/index.php?title=Special:OAuth/initiate`. A request must
// have the parameters of such a query, each once and with this value; it may have others.
type Endpoints struct {
	// Serve no endpoint: requests are verified here, and another server gives out the tokens.
	// Default: false.
	Off bool `json:"off,omitempty"`
	// The endpoint for request tokens. Default: /+request-token
	RequestToken string `json:"request_token,omitempty"`
	// The page where users grant access. Default: /+authorize-token
	Authorize string `json:"authorize,omitempty"`
	// The endpoint for access tokens. Default: /+access-token
	AccessToken string `json:"access_token,omitempty"`
	// The page where users revoke access. Default: /+oauth-tokens
	Tokens string `json:"tokens,omitempty"`
}

// The names of the endpoints, for logs and metrics. All other requests have the name endpointAPI.
const (
	endpointAPI          = "api"
	endpointRequestToken = "request_token"
	endpointAuthorize    = "authorize"
	endpointAccessToken  = "access_token"
	endpointTokens       = "tokens"
	endpointObserved     = "observed" // a request that observe passed on, whatever it was for
)

// endpoint is one of the Endpoints.
type endpoint struct {
	name  string
	place string // as configured
	path  string
	query url.Values // the parameters that a request must have in its query; usually none
	serve func(http.ResponseWriter, *http.Request) error
}

// provisionEndpoints sets the defaults. It ignores invalid places, which validateEndpoints refuses.
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

// validateEndpoints refuses invalid endpoints, and two endpoints that one request could match.
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

// pageParameters are the query parameters that the pages read, besides the OAuth parameters.
var pageParameters = []string{"after", "allow_permission", "done", "lp.context", "proof", "revoked"}

// parseEndpoint reads the place of an endpoint: a path, not encoded, and an optional query.
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

// differs reports whether no request can match both of two endpoints with the same path.
func (e *endpoint) differs(other *endpoint) bool {
	for name, values := range e.query {
		if others, ok := other.query[name]; ok && !slices.Equal(values, others) {
			return true
		}
	}
	return false
}

// endpointOf finds the endpoint that a request is for, or nil.
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
	sent, _ := url.ParseQuery(query) // the endpoint refuses a malformed query
	for name, values := range e.query {
		if !slices.Equal(sent[name], values) {
			return false
		}
	}
	return true
}

// endpoint returns the endpoint with a name, which must exist.
func (h *Handler) endpoint(name string) *endpoint {
	return h.endpoints[slices.IndexFunc(h.endpoints, func(e *endpoint) bool { return e.name == name })]
}

// here returns a link from a page of the endpoint to another page of it, which the query selects.
func (e *endpoint) here(query url.Values) string {
	if len(e.query) == 0 {
		return "?" + query.Encode()
	}
	return strings.TrimSuffix("?"+e.query.Encode()+"&"+query.Encode(), "&")
}

// linkTo returns a link from a request's page to another endpoint.
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

// relative returns a link from one path to another. If both are in the same folder, the link also
// works behind a proxy that removes a prefix of the path.
func relative(from, to string) string {
	if path.Dir(from) != path.Dir(to) || strings.HasSuffix(to, "/") {
		return (&url.URL{Path: to}).String()
	}
	return "./" + (&url.URL{Path: "/" + path.Base(to)}).String()[1:]
}
