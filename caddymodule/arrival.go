package caddymodule

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// arrival is a server that a request reaches, with the walk of the request through its routes.
type arrival struct {
	routeWalk
	name    string   // the server's name
	baseURL *url.URL // if not nil, the request comes through a proxy with this public URL
}

// arrivals finds every server that a request for a public URL reaches, in the order of their names:
// the servers that listen on its port and have its host, and the servers with a handler whose
// base_url matches. If there is none, the error says what is missing.
func arrivals(app *caddyhttp.App, r *http.Request) ([]*arrival, error) {
	all, missing := directArrivals(app, r)
	for _, s := range sitesOf(app) {
		if s.handler.baseURL == nil {
			continue
		}
		target, ok := behind(s.handler.baseURL, r)
		if !ok {
			continue
		}
		a := &arrival{newRouteWalk(s.server, s.proxied(app, r, target)), s.serverName, s.handler.baseURL}
		if !slices.ContainsFunc(all, a.same) {
			all = append(all, a)
		}
	}
	if len(all) == 0 {
		return nil, missing
	}
	slices.SortStableFunc(all, func(a, b *arrival) int { return cmp.Compare(a.name, b.name) })
	for _, a := range all {
		if _, err := a.follow(a.server.Routes); err != nil {
			return nil, fmt.Errorf("server %s: %w", a.name, err)
		}
	}
	all = slices.DeleteFunc(all, func(a *arrival) bool {
		return a.redirect != "" && !servedAt(app, a.redirect)
	})
	if len(all) == 0 {
		return nil, noSuchHost(r)
	}
	return all, nil
}

// directArrivals finds the servers that the client can connect to directly.
func directArrivals(app *caddyhttp.App, r *http.Request) ([]*arrival, error) {
	port, err := portOf(app, r)
	if err != nil {
		return nil, err
	}
	var all []*arrival
	listens, speaks := false, false
	for _, name := range slices.Sorted(maps.Keys(app.Servers)) {
		server := app.Servers[name]
		if !listensOn(server, port) {
			continue
		}
		listens = true
		if usesTLS(app, server, port) != (r.TLS != nil) {
			continue
		}
		speaks = true
		if a := (&arrival{newRouteWalk(server, r), name, nil}); hasHost(server.Routes, a.request) {
			all = append(all, a)
		}
	}
	switch {
	case len(all) > 0:
		return all, nil
	case !listens:
		return nil, fmt.Errorf("no site of this configuration listens on port %d", port)
	case !speaks:
		return nil, fmt.Errorf("no site of this configuration speaks %s on port %d", schemeOf(r), port)
	}
	return nil, noSuchHost(r)
}

func noSuchHost(r *http.Request) error {
	return fmt.Errorf("no site of this configuration serves the host %q", hostname(r))
}

// servedAt reports whether a site serves the target of an automatic redirect. Caddy also redirects
// hosts that no site serves.
func servedAt(app *caddyhttp.App, location string) bool {
	r, err := imagined(http.MethodGet, location)
	if err != nil {
		return false
	}
	all, _ := directArrivals(app, r)
	return len(all) > 0
}

// same reports whether another arrival is the same request to the same server.
func (a *arrival) same(other *arrival) bool {
	return a.server == other.server && a.request.RequestURI == other.request.RequestURI &&
		strings.EqualFold(hostname(a.request), hostname(other.request))
}

// describe names the server and its addresses.
func (a *arrival) describe() string {
	text := a.name + ", listening on " + strings.Join(a.server.Listen, " ")
	if a.baseURL != nil {
		text += ", behind the base_url " + a.baseURL.String()
	}
	return text
}

// portOf returns the port that a client connects to.
func portOf(app *caddyhttp.App, r *http.Request) (uint, error) {
	text := (&url.URL{Host: r.Host}).Port()
	switch {
	case text != "":
		port, err := strconv.ParseUint(text, 10, 16)
		if err != nil || port == 0 {
			return 0, fmt.Errorf("port %q: must be a number from 1 to 65535", text)
		}
		return uint(port), nil
	case r.TLS != nil:
		return uint(cmp.Or(app.HTTPSPort, caddyhttp.DefaultHTTPSPort)), nil
	}
	return uint(cmp.Or(app.HTTPPort, caddyhttp.DefaultHTTPPort)), nil
}

func listensOn(server *caddyhttp.Server, port uint) bool {
	return slices.ContainsFunc(server.Listen, func(address string) bool {
		parsed, err := caddy.ParseNetworkAddress(address)
		return err == nil && parsed.StartPort <= port && port <= parsed.EndPort
	})
}

// usesTLS applies Caddy's own rule.
func usesTLS(app *caddyhttp.App, server *caddyhttp.Server, port uint) bool {
	return len(server.TLSConnPolicies) > 0 && port != uint(cmp.Or(app.HTTPPort, caddyhttp.DefaultHTTPPort))
}

// behind reports whether a request is for a base_url. It returns the request's URL behind the
// proxy, which removes the path of the base_url.
func behind(base *url.URL, r *http.Request) (*url.URL, bool) {
	publicHost := func(host string) string {
		return strings.TrimSuffix(strings.ToLower(host), defaultPorts[base.Scheme])
	}
	if base.Scheme != schemeOf(r) || publicHost(base.Host) != publicHost(r.Host) {
		return nil, false
	}
	rest, ok := strings.CutPrefix(r.URL.EscapedPath(), strings.TrimSuffix(base.EscapedPath(), "/"))
	if !ok || (rest != "" && rest[0] != '/') {
		return nil, false
	}
	path, err := url.PathUnescape(cmp.Or(rest, "/"))
	if err != nil {
		return nil, false
	}
	target := &url.URL{Path: path, RawQuery: r.URL.RawQuery}
	if target.EscapedPath() != rest {
		target.RawPath = rest
	}
	return target, true
}

// proxied returns a request as a proxy in front of the site would send it: for the site's host, as
// arrivalHost finds it.
func (s *site) proxied(app *caddyhttp.App, public *http.Request, target *url.URL) *http.Request {
	r := public.Clone(public.Context())
	r.URL, r.RequestURI = target, target.RequestURI()
	r.TLS = nil
	if slices.ContainsFunc(s.server.Listen, func(address string) bool {
		parsed, err := caddy.ParseNetworkAddress(address)
		return err == nil && usesTLS(app, s.server, parsed.StartPort)
	}) {
		r.TLS = new(tls.ConnectionState)
	}
	r.Host = s.arrivalHost(r)
	return r
}

func schemeOf(r *http.Request) string {
	if r.TLS != nil {
		return "https"
	}
	return "http"
}

func hostname(r *http.Request) string { return (&url.URL{Host: r.Host}).Hostname() }
