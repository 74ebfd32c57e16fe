package caddymodule

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// site is an oauth1 handler and its place among the routes of a server.
type site struct {
	handler    *Handler
	server     *caddyhttp.Server
	serverName string
	way        []*caddyhttp.Route // the routes that lead to the handler, outermost first
	before     []earlier          // the logins and header changes before the handler, in order
}

// earlier is a handler that may log a user in, or that changes headers.
type earlier struct {
	handler caddyhttp.MiddlewareHandler
	way     []*caddyhttp.Route
}

// sitesOf finds every oauth1 handler of a configuration, in the order of the servers' names. It
// runs no matcher and no handler.
func sitesOf(app *caddyhttp.App) []*site {
	var sites []*site
	for _, name := range slices.Sorted(maps.Keys(app.Servers)) {
		s := &siteSearch{server: app.Servers[name], serverName: name}
		s.list(s.server.Routes, nil, nil)
		sites = append(sites, s.found...)
	}
	return sites
}

// siteSearch searches the routes of one server.
type siteSearch struct {
	server     *caddyhttp.Server
	serverName string
	invoked    []string // the named routes that the search is in
	found      []*site
}

// list searches a list of routes. It returns the logins and header changes in it that also run
// before the routes that follow the list.
func (s *siteSearch) list(routes caddyhttp.RouteList, way []*caddyhttp.Route, before []earlier) []earlier {
	type passed struct {
		handlers []earlier
		group    string
	}
	var lists []passed
	for i := range routes {
		route := &routes[i]
		reached := slices.Clone(before)
		for _, p := range lists {
			// A request takes only one route of a group.
			if p.group == "" || p.group != route.Group {
				reached = append(reached, p.handlers...)
			}
		}
		met := s.route(route, append(slices.Clone(way), route), reached)
		if !route.Terminal {
			lists = append(lists, passed{met, route.Group})
		}
	}
	var all []earlier
	for _, p := range lists {
		all = append(all, p.handlers...)
	}
	return all
}

// route searches the handlers of one route, and returns the logins and header changes among them.
func (s *siteSearch) route(route *caddyhttp.Route, way []*caddyhttp.Route, before []earlier) []earlier {
	var met []earlier
	for _, handler := range route.Handlers {
		reached := slices.Concat(before, met)
		switch handler := handler.(type) {
		case *Handler:
			s.found = append(s.found, &site{handler, s.server, s.serverName, way, reached})
		case *caddyhttp.Subroute:
			met = append(met, s.list(handler.Routes, way, reached)...)
		case *caddyhttp.Invoke:
			named := s.server.NamedRoutes[handler.Name]
			if named == nil || slices.Contains(s.invoked, handler.Name) {
				continue
			}
			s.invoked = append(s.invoked, handler.Name)
			met = append(met, s.route(named, append(slices.Clone(way), named), reached)...)
			s.invoked = s.invoked[:len(s.invoked)-1]
		case *caddyauth.Authentication, *headers.Handler:
			met = append(met, earlier{handler, way})
		case *reverseproxy.Handler:
			if len(handler.HandleResponse) > 0 { // forward_auth
				met = append(met, earlier{handler, way})
			}
		}
	}
	return met
}

// checkCopied gives each oauth1 handler's rules the list of handlers that run before it. A
// request_header among them may copy the URL into a header that the rules look at.
func (a *App) checkCopied(app *caddyhttp.App) error {
	before := make(map[*Handler][]caddyhttp.MiddlewareHandler)
	for _, s := range sitesOf(app) {
		if s.handler.app != a {
			continue
		}
		handlers := before[s.handler]
		for _, e := range s.before {
			handlers = append(handlers, e.handler)
		}
		before[s.handler] = handlers
	}
	for h, handlers := range before {
		if err := h.rules.SetEarlier(handlers); err != nil {
			return err
		}
	}
	return nil
}

// name identifies the site for an operator: by its hosts, or else by the server's listen addresses,
// and by the paths that lead to it.
func (s *site) name() string {
	text := strings.Join(s.server.Listen, " ")
	for _, route := range s.way {
		if hosts := alternatives[caddyhttp.MatchHost](route); hosts != nil {
			text = strings.Join(hosts, " ")
		}
	}
	for _, route := range s.way {
		if paths := alternatives[caddyhttp.MatchPath](route); paths != nil {
			text += " " + strings.Join(paths, " ")
		}
	}
	return text
}

// arrivalHost is a host that leads a request to the site: the request's own, or one that the
// matchers on the way require.
func (s *site) arrivalHost(r *http.Request) string {
	candidates := []string{r.Host}
	for _, route := range slices.Backward(s.way) {
		for _, host := range alternatives[caddyhttp.MatchHost](route) {
			host = caddy.NewReplacer().ReplaceAll(host, "")
			candidates = append(candidates, strings.ReplaceAll(host, "*", "any"))
		}
	}
	for _, host := range candidates {
		seen := r.Clone(r.Context())
		seen.Host = host
		seen = newRouteWalk(s.server, seen).request
		if !slices.ContainsFunc(s.way, func(route *caddyhttp.Route) bool {
			return !hasHost(caddyhttp.RouteList{*route}, seen)
		}) {
			return host
		}
	}
	return r.Host
}

// alternatives returns the patterns of one kind of matcher of a route. It returns nil if a request
// that matches none of the patterns can pass the route.
func alternatives[M ~[]string](route *caddyhttp.Route) []string {
	var all []string
	for _, set := range route.MatcherSets {
		found := false
		for _, matcher := range set {
			if m, ok := matcher.(*M); ok {
				all, found = append(all, *m...), true
			}
		}
		if !found {
			return nil
		}
	}
	return all
}
