package caddymodule

import (
	"fmt"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/fileserver"
	maphandler "github.com/caddyserver/caddy/v2/modules/caddyhttp/map"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/rewrite"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/refusal"
)

// routeWalk takes an imagined request through the routes of a server, as Caddy would, to the first
// oauth1 handler that judges it. It sends nothing, and runs only handlers that change what later
// matchers see.
type routeWalk struct {
	server  *caddyhttp.Server
	request *http.Request // the walk rewrites it

	// The results of the walk:
	judge    *Handler         // the oauth1 handler that the request reaches
	problem  *refusal.Problem // why the judge does not judge the request
	answers  string           // without a judge: the handler that answers, or may answer
	redirect string           // the target of Caddy's automatic redirect to HTTPS

	groups map[string]bool // the groups of which a route was taken
}

// newRouteWalk prepares a copy of a request as the server does: its context holds everything that
// matchers read.
func newRouteWalk(server *caddyhttp.Server, r *http.Request) routeWalk {
	r = caddyhttp.PrepareRequest(r.Clone(r.Context()), caddy.NewReplacer(), nil, server)
	return routeWalk{server: server, request: r, groups: make(map[string]bool)}
}

// follow takes the request through a list of routes. ended says that the walk has ended.
func (w *routeWalk) follow(routes caddyhttp.RouteList) (ended bool, err error) {
	for _, route := range routes {
		if route.Group != "" && w.groups[route.Group] {
			continue
		}
		matched, err := route.MatcherSets.AnyMatchWithError(w.request)
		if err != nil {
			return true, fmt.Errorf("matching: %w", err)
		}
		if !matched {
			continue
		}
		w.groups[route.Group] = true
		for _, handler := range route.Handlers {
			if ended, err := w.step(handler); ended || err != nil {
				return true, err
			}
		}
		if route.Terminal {
			return true, nil
		}
	}
	return false, nil
}

// step takes the request through one handler.
func (w *routeWalk) step(handler caddyhttp.MiddlewareHandler) (ended bool, err error) {
	nobody := caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })
	name := caddy.GetModuleName(handler)
	switch handler := handler.(type) {
	case *Handler:
		judges, problem := handler.receive(w.request)
		if problem != nil || judges {
			w.judge, w.problem = handler, problem
		}
		return w.judge != nil, nil
	case *caddyhttp.Subroute:
		return w.follow(handler.Routes)
	case *caddyhttp.Invoke:
		route, ok := w.server.NamedRoutes[handler.Name]
		if !ok {
			return true, fmt.Errorf("invoke: there is no route %q", handler.Name)
		}
		return w.follow(caddyhttp.RouteList{*route})
	case *rewrite.Rewrite, *caddyhttp.VarsMiddleware, *maphandler.Handler:
		err := handler.ServeHTTP(nil, w.request, nobody)
		return err != nil, err
	case *reverseproxy.Handler:
		w.answers = name
		return len(handler.HandleResponse) == 0, nil // forward_auth continues after some answers
	case *fileserver.FileServer:
		w.answers = name
		return !handler.PassThru, nil
	case caddyhttp.StaticResponse: // as a value, it is made by automatic HTTPS only
		w.redirect, w.answers = replacer(w.request).ReplaceAll(handler.Headers.Get("Location"), ""), ""
		return true, nil
	case *caddyhttp.StaticResponse, *caddyhttp.StaticError:
		w.answers = name
		return true, nil
	}
	if !passOn[name] {
		w.answers = name // it may answer: the behaviour of other modules is unknown
	}
	return false, nil
}

// passOn are the handlers of Caddy's standard modules that never answer a request themselves.
var passOn = map[string]bool{
	"authentication": true, "copy_response_headers": true, "encode": true, "headers": true,
	"intercept": true, "log_append": true, "push": true, "request_body": true, "templates": true,
	"timeouts": true, "tracing": true,
}

// hasHost reports whether the routes have a site for the request's host: a site whose host matchers
// all match, or that has no host matcher.
func hasHost(routes caddyhttp.RouteList, r *http.Request) bool {
	for _, route := range routes {
		if len(route.MatcherSets) == 0 {
			return true
		}
		for _, set := range route.MatcherSets {
			if setHasHost(set, r) {
				return true
			}
		}
	}
	return false
}

func setHasHost(set caddyhttp.MatcherSet, r *http.Request) bool {
	for _, matcher := range set {
		if !isHost(matcher) {
			continue
		}
		if matched, err := (caddyhttp.MatcherSet{matcher}).MatchWithError(r); err != nil || !matched {
			return false
		}
	}
	return true
}

func isHost(matcher any) bool {
	switch matcher.(type) {
	case *caddyhttp.MatchHost, caddyhttp.MatchHost: // automatic HTTPS uses the value
		return true
	}
	return false
}
