package caddymodule

import (
	"crypto/sha256"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"
)

// warnOfSharedUsers warns if sites of this app have different logins. Users, tokens and consumers
// are one namespace for all sites of an app, so a grant by the "admin" of one site is a grant by
// the "admin" of the other.
func (a *App) warnOfSharedUsers(app *caddyhttp.App) {
	type kind struct{ user, logins string }
	// By the literal text of `user`: the name of a site of each kind.
	spaces := make(map[string]map[kind]string)
	for _, s := range sitesOf(app) {
		if s.handler.app != a || !s.logsIn() {
			continue
		}
		text := placeholderPattern.ReplaceAllString(s.handler.User, "{}")
		if spaces[text] == nil {
			spaces[text] = make(map[kind]string)
		}
		k := kind{s.handler.User, s.fingerprint()}
		if name := s.name(); spaces[text][k] == "" || name < spaces[text][k] {
			spaces[text][k] = name
		}
	}
	for _, text := range slices.Sorted(maps.Keys(spaces)) {
		if len(spaces[text]) < 2 {
			continue
		}
		a.logger.Warn("sites with different logins share their users: what a user of one site grants, "+
			"the user of the same name has granted at all of them; to tell their users apart, "+
			"give each site a text of its own, such as `user shop:{http.auth.user.id}`",
			zap.Strings("sites", slices.Sorted(maps.Values(spaces[text]))),
		)
	}
}

// placeholderPattern matches the placeholders that Caddy replaces in a text.
var placeholderPattern = regexp.MustCompile(`\{[^{}]*\}`)

// logsIn reports whether a user can be logged in at the site's pages. If only a login can set the
// user, the site needs a login among its routes.
func (s *site) logsIn() bool {
	if s.handler.Endpoints.Off {
		return false
	}
	return len(s.relevantLogins()) > 0 || !strings.Contains(s.handler.User, "{http.auth.user.")
}

// relevantLogins returns the logins that a request for one of the pages can reach. It looks at host
// and path matchers, and assumes that other matchers match.
func (s *site) relevantLogins() []earlier {
	var paths []string
	for _, name := range []string{endpointAuthorize, endpointTokens} {
		page := s.handler.endpoint(name).path
		paths = append(paths, page)
		for _, route := range s.way { // a route may strip the prefix that it matches
			for _, pattern := range alternatives[caddyhttp.MatchPath](route) {
				if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
					paths = append(paths, strings.TrimSuffix(prefix, "/")+page)
				}
			}
		}
	}
	r := &http.Request{Method: http.MethodGet, URL: new(url.URL), Header: make(http.Header)}
	r.Host = s.arrivalHost(r)
	return slices.DeleteFunc(slices.Clone(s.before), func(l earlier) bool {
		if _, ok := l.handler.(*headers.Handler); ok {
			return true
		}
		return !slices.ContainsFunc(paths, func(path string) bool {
			seen := r.Clone(r.Context())
			seen.URL.Path = path
			seen = newRouteWalk(s.server, seen).request
			return !slices.ContainsFunc(l.way, func(route *caddyhttp.Route) bool {
				return !slices.Contains(s.way, route) && !mayMatch(route, seen)
			})
		})
	})
}

// mayMatch reports whether a route may match. Only its host and path matchers are asked; other
// matchers count as matching.
func mayMatch(route *caddyhttp.Route, r *http.Request) bool {
	if len(route.MatcherSets) == 0 {
		return true
	}
	return slices.ContainsFunc(route.MatcherSets, func(set caddyhttp.MatcherSet) bool {
		return !slices.ContainsFunc(set, func(matcher any) bool {
			if _, isPath := matcher.(*caddyhttp.MatchPath); !isPath && !isHost(matcher) {
				return false
			}
			matched, err := (caddyhttp.MatcherSet{matcher}).MatchWithError(r)
			return err == nil && !matched
		})
	})
}

// fingerprint is equal for sites with the same logins. It is a hash that must not be shown: it is
// made from password hashes, among others.
func (s *site) fingerprint() string {
	hash := sha256.New()
	encoder := json.NewEncoder(hash)
	for _, l := range s.relevantLogins() {
		switch handler := l.handler.(type) {
		case *caddyauth.Authentication:
			for _, name := range slices.Sorted(maps.Keys(handler.Providers)) {
				_ = encoder.Encode(name)
				// If settings can't be encoded, they count as equal to all others of the same name.
				_ = encoder.Encode(settings(handler.Providers[name]))
			}
		case *reverseproxy.Handler:
			_ = encoder.Encode(caddy.GetModuleName(handler))
			for _, upstream := range handler.Upstreams {
				_ = encoder.Encode(upstream.Dial)
			}
			_ = encoder.Encode(handler.Rewrite)
		}
	}
	return string(hash.Sum(nil))
}

// settings returns the values that make two login providers equal. Basic authentication drops its
// list of accounts when it has made a map of it.
func settings(provider caddyauth.Authenticator) any {
	if basic, ok := provider.(*caddyauth.HTTPBasicAuth); ok {
		return basic.Accounts
	}
	return provider
}
