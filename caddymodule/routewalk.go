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

// routeWalk takes an imagined request through the routes of a server, as Caddy would, up to the
// first oauth1 handler that judges it. Nothing is sent, and no handler runs but those that change
// what the following matchers see.
type routeWalk struct {
	server  *caddyhttp.Server
	request *http.Request // which the walk rewrites

	// What was met, when the walk has ended:
	judge    *Handler         // the oauth1 handler
	problem  *refusal.Problem // why it judges nothing
	answers  string           // where there is none, the name of the handler that answers, or may answer
	redirect string           // where Caddy's own redirect to HTTPS sends the client

	groups map[string]bool // those whose one route has been taken
}

// newRouteWalk prepares a copy of a request as the server would; everything that matchers read is
// in its context.
func newRouteWalk(server *caddyhttp.Server, r *http.Request) routeWalk {
	r = caddyhttp.PrepareRequest(r.Clone(r.Context()), caddy.NewReplacer(), nil, server)
	return routeWalk{server: server, request: r, groups: make(map[string]bool)}
}

// follow takes the request through a list of routes; ended says that it goes no further than where
// it is.
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
		return len(handler.HandleResponse) == 0, nil // forward_auth is one that goes on after some answers
	case *fileserver.FileServer:
		w.answers = name
		return !handler.PassThru, nil
	case caddyhttp.StaticResponse: // a value: no configuration makes it, automatic HTTPS does
		w.redirect, w.answers = replacer(w.request).ReplaceAll(handler.Headers.Get("Location"), ""), ""
		return true, nil
	case *caddyhttp.StaticResponse, *caddyhttp.StaticError:
		w.answers = name
		return true, nil
	}
	if !passOn[name] {
		w.answers = name // it may: what a handler of another module does is not known
	}
	return false, nil
}

// passOn are the handlers of Caddy's standard modules that answer no request by themselves.
var passOn = map[string]bool{
	"authentication": true, "copy_response_headers": true, "encode": true, "headers": true,
	"intercept": true, "log_append": true, "push": true, "request_body": true, "templates": true,
	"timeouts": true, "tracing": true,
}

// hasHost reports whether routes have a site for the request's host: one whose host matchers all
// match, or that has none.
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
	case *caddyhttp.MatchHost, caddyhttp.MatchHost: // automatic HTTPS has the value
		return true
	}
	return false
}
