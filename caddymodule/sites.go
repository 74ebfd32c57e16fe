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

// site is an oauth1 handler and the place where it stands among the routes of a server.
type site struct {
	handler    *Handler
	server     *caddyhttp.Server
	serverName string
	way        []*caddyhttp.Route // the routes that lead to it, outermost first
	before     []earlier          // the logins and changes of headers before it, in their order
}

// earlier is a handler that may say who is logged in, or that changes headers.
type earlier struct {
	handler caddyhttp.MiddlewareHandler
	way     []*caddyhttp.Route
}

// sitesOf finds every oauth1 handler of a configuration, in the order of the servers' names. It
// only looks: no matcher and no handler runs.
func sitesOf(app *caddyhttp.App) []*site {
	var sites []*site
	for _, name := range slices.Sorted(maps.Keys(app.Servers)) {
		s := &siteSearch{server: app.Servers[name], serverName: name}
		s.list(s.server.Routes, nil, nil)
		sites = append(sites, s.found...)
	}
	return sites
}

// siteSearch looks through the routes of one server.
type siteSearch struct {
	server     *caddyhttp.Server
	serverName string
	invoked    []string // the named routes that we are in
	found      []*site
}

// list looks through a list of routes, and returns the logins and changes of headers in it that also stand before what
// follows the list.
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
			if p.group == "" || p.group != route.Group { // of a group, a request takes one route
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

// route looks through the handlers of one route, and returns the logins and changes of headers among them.
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

// checkCopied tells each oauth1 handler's rules, when all handlers are there, which handlers stand
// before it: one of request_header may copy the URL into a header that they look at.
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

// name is what an operator knows the site by: its hosts, or where the server listens, and the paths
// that lead to it.
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

// arrivalHost is the host by which a request gets to the site: its own, or one that the matchers on
// the way ask for.
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

// alternatives are the patterns of one kind of matcher of a route; nil where something passes that
// none of them matches.
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
