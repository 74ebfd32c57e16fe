package main

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
)

func init() {
	httpcaddyfile.RegisterHandlerDirective("jwt_auth", parseDirective)
	httpcaddyfile.RegisterDirectiveOrder("jwt_auth", httpcaddyfile.After, "basic_auth")
}

// parseDirective sets up the handler. Syntax:
//
//	jwt_auth [<matcher>] HS256|RS256 <key>
func parseDirective(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	h.Next() // the directive's name
	var p Provider
	if !h.AllArgs(&p.Algorithm, &p.Key) {
		return nil, h.ArgErr()
	}
	return caddyauth.Authentication{
		ProvidersRaw: caddy.ModuleMap{"jwt": caddyconfig.JSON(p, nil)},
	}, nil
}
