package caddymodule

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/policy"
)

// origin is the scheme and host that the client signed.
type origin struct {
	scheme, host string
	// secure says that the client's connection is TLS, as this server's own connection or a trusted
	// proxy says. A base_url alone proves nothing about it.
	secure bool
}

// origin finds the public origin of a request: base_url if it is set, else the headers of a trusted
// proxy, else the connection. Only the last value of a forwarding header counts: the nearest proxy
// added it. X-Forwarded-Port applies to a host without a port, since many proxies remove the port
// from Host. Forwarded (RFC 7239) is not read.
func (h *Handler) origin(r *http.Request) origin {
	o := origin{scheme: "http", host: r.Host}
	if r.TLS != nil {
		o.scheme, o.secure = "https", true
	}
	if fromTrustedProxy(r) {
		if proto := lastValue(r.Header["X-Forwarded-Proto"]); proto != "" {
			o.secure = strings.EqualFold(proto, "https")
			o.scheme = "http"
			if o.secure {
				o.scheme = "https"
			}
		}
		if host := lastValue(r.Header["X-Forwarded-Host"]); host != "" {
			o.host = host
		}
		port := lastValue(r.Header["X-Forwarded-Port"])
		if isPort(port) && !ofOtherScheme(o.scheme, port) && (&url.URL{Host: o.host}).Port() == "" {
			o.host = strings.TrimSuffix(o.host, ":") + ":" + port
		}
	}
	if h.baseURL != nil {
		o.scheme, o.host = h.baseURL.Scheme, h.baseURL.Host
	}
	return o
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0 && s[0] != '0'
}

// ofOtherScheme reports whether a port is the default port of the other scheme. Such a port belongs
// to a connection between two proxies, and not to the client's.
func ofOtherScheme(scheme, port string) bool {
	return scheme == "https" && port == "80" || scheme == "http" && port == "443"
}

// lastValue returns the last element of a header that is a comma-separated list.
func lastValue(fields []string) string {
	if len(fields) == 0 {
		return ""
	}
	last := fields[len(fields)-1]
	if i := strings.LastIndexByte(last, ','); i >= 0 {
		last = last[i+1:]
	}
	return strings.TrimSpace(last)
}

// parseBaseURL checks a base_url: an origin, and an optional path.
func parseBaseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("base_url %q: %w", text, err)
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("base_url %q: must begin with http:// or https://", text)
	}
	if u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return nil, fmt.Errorf("base_url %q: must be an origin such as https://api.example.com", text)
	}
	if u.Path != "" {
		if what := policy.UnplainPath(u.EscapedPath()); what != "" {
			return nil, fmt.Errorf("base_url %q: its path holds %s", text, what)
		}
	}
	return u, nil
}
