package caddymodule

import (
	"net/http"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
)

// clientOf returns the address of the client. Caddy takes it from a header only if the connection
// comes from a trusted proxy.
func clientOf(r *http.Request) string {
	if ip, ok := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string); ok {
		return ip
	}
	return r.RemoteAddr
}

// fromTrustedProxy reports whether the connection comes from a proxy in Caddy's trusted_proxies.
func fromTrustedProxy(r *http.Request) bool {
	trusted, ok := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool)
	return ok && trusted
}

// addressWarnings are the warnings about the addresses of clients that an app has given.
type addressWarnings struct{ chosen, proxy atomic.Bool }

// warnOfAddresses warns, once each, if a request shows that the address of a client is not what it
// seems: that clients can choose it, or that matchers see the address of a proxy in its place. A
// configuration does not show that: it depends on what the proxies send.
func (h *Handler) warnOfAddresses(r *http.Request) {
	forwarded := r.Header["X-Forwarded-For"]
	if len(forwarded) == 0 || !fromTrustedProxy(r) {
		return
	}
	warned := &h.app.addressWarnings
	if h.rules.SeePeer() && warned.proxy.CompareAndSwap(false, true) {
		h.logger.Warn("a matcher of oauth1 looks at remote_ip, which behind a proxy in trusted_proxies is the "+
			"address of that proxy, whoever the client is; client_ip is the client's",
			zap.String("proxy", r.RemoteAddr))
	}
	server, ok := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok || server.TrustedProxiesStrict > 0 || !readsForwardedFor(server) {
		return
	}
	// A proxy that replaces the header sends one address.
	several := len(forwarded) > 1 || strings.Contains(forwarded[0], ",")
	if several && warned.chosen.CompareAndSwap(false, true) {
		h.logger.Warn("a proxy in trusted_proxies adds to X-Forwarded-For, so clients can choose the address that "+
			"matchers of client_ip, logs and the audit trail see; set trusted_proxies_strict in the options of the server",
			zap.String("proxy", r.RemoteAddr))
	}
}

// readsForwardedFor reports whether Caddy reads X-Forwarded-For, as it does by default.
func readsForwardedFor(server *caddyhttp.Server) bool {
	return slices.ContainsFunc(server.ClientIPHeaders, func(name string) bool {
		return strings.EqualFold(name, "X-Forwarded-For")
	})
}
