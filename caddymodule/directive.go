package caddymodule

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/pages"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/policy"
)

// parseDirective sets up the handler. Syntax:
//
//	oauth1 [<matcher>] {
//	    realm             <text>
//	    base_url          <url>
//	    paths             strict|as_sent
//	    upgrades          <protocol...>
//	    signature_methods <method...>
//	    insecure_plaintext_over_http
//	    user              <placeholder>
//	    endpoints         off | {
//	        request_token <path>[?<name>=<value>]
//	        authorize     <path>[?<name>=<value>]
//	        access_token  <path>[?<name>=<value>]
//	        tokens        <path>[?<name>=<value>]
//	    }
//	    require_callback
//	    require_body_hash
//	    explain_refusals  [consumers <pattern...>]
//	    max_form_body     <size>
//	    permissions       <level...>
//	    policy [<matcher>] {
//	        anonymous
//	        deny
//	        consumers  <pattern...>
//	        users      <user...>
//	        permission [<method...>] <level>
//	        context    <text>
//	    }
//	    identity_headers {
//	        user       <header>
//	        consumer   <header>
//	        permission <header>
//	        context    <header>
//	        token      <header>
//	    }
//	    keep_authorization
//	    unknown_tokens    refuse|pass
//	    observe
//	    pages {
//	        name        <text>
//	        logo        <file>
//	        accent      <colour>
//	        accent_dark <colour>
//	        language    en|de|fr|es|pt-BR|ja|zh-Hans|ar
//	        default_permission <level>
//	        default_lifetime   1h|1d|7d|never
//	        templates   <folder>
//	    }
//	}
func parseDirective(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	d := h.Dispenser
	d.Next() // the directive's name
	matcher, err := h.ExtractMatcherSet()
	if err != nil {
		return nil, err
	}
	handler := new(Handler)
	// Not in the route: the handler must also see the requests that it leaves out.
	if matcher != nil {
		handler.MatcherSetsRaw = caddyhttp.RawMatcherSets{matcher}
	}
	d.Next()
	if d.NextArg() {
		return nil, d.ArgErr()
	}
	declared, err := declaredLevels(h)
	if err != nil {
		return nil, err
	}
	seen := make(options)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if d.Val() == "policy" {
			if err := handler.unmarshalPolicy(h, declared); err != nil {
				return nil, err
			}
			continue
		}
		if err := seen.first(d); err != nil {
			return nil, err
		}
		if err := handler.unmarshalOption(d, declared); err != nil {
			return nil, err
		}
	}
	if missing := policy.MissingDefault(declared); missing != "" && len(handler.Policies) == 0 {
		return nil, d.Errf("oauth1: needs a policy, because the default %s is not declared", missing)
	}
	return h.NewRoute(nil, handler), nil
}

// declaredLevels returns the permission levels of the global options. With them, an error about an
// undeclared level names the line.
func declaredLevels(h httpcaddyfile.Helper) (*policy.Levels, error) {
	app := new(App)
	if option, ok := h.Option("oauth1").(httpcaddyfile.App); ok {
		if err := json.Unmarshal(option.Value, app); err != nil {
			return nil, h.WrapErr(err)
		}
	}
	return policy.NewLevels(app.Permissions)
}

func (h *Handler) unmarshalOption(d *caddyfile.Dispenser, declared *policy.Levels) error {
	switch option := d.Val(); option {
	case "realm":
		return textOption(d, &h.Realm)
	case "base_url":
		if err := textOption(d, &h.BaseURL); err != nil || strings.Contains(h.BaseURL, "{") {
			return err
		}
		if _, err := parseBaseURL(h.BaseURL); err != nil {
			return d.WrapErr(err)
		}
		return nil
	case "paths":
		return oneOf(d, &h.Paths, policy.PathsStrict, policy.PathsAsSent)
	case "upgrades":
		if err := textsOption(d, &h.Upgrades); err != nil {
			return err
		}
		for _, protocol := range h.Upgrades {
			if err := checkUpgrade(protocol); err != nil {
				return d.WrapErr(err)
			}
		}
		return nil
	case "signature_methods":
		return signatureMethods(d, &h.SignatureMethods)
	case "insecure_plaintext_over_http":
		return toggle(d, &h.InsecurePlaintextOverHTTP)
	case "user":
		return textOption(d, &h.User)
	case "endpoints":
		return h.unmarshalEndpoints(d)
	case "explain_refusals":
		return h.unmarshalExplainRefusals(d)
	case "require_callback":
		return toggle(d, &h.RequireCallback)
	case "require_body_hash":
		return toggle(d, &h.RequireBodyHash)
	case "max_form_body":
		return sizeOption(d, &h.MaxFormBody)
	case "permissions":
		if err := textsOption(d, &h.Permissions); err != nil {
			return err
		}
		for _, level := range h.Permissions {
			if err := declared.Check(level); err != nil {
				return d.WrapErr(err)
			}
		}
		for _, p := range h.Policies {
			if err := p.Check(declared, h.Permissions); err != nil {
				return d.WrapErr(err)
			}
		}
		return nil
	case "identity_headers":
		h.IdentityHeaders = new(IdentityHeaders)
		return unmarshalBlock(d, ofValue(checkIdentityHeader), map[string]*string{
			"user":       &h.IdentityHeaders.User,
			"consumer":   &h.IdentityHeaders.Consumer,
			"permission": &h.IdentityHeaders.Permission,
			"context":    &h.IdentityHeaders.Context,
			"token":      &h.IdentityHeaders.Token,
		})
	case "keep_authorization":
		return toggle(d, &h.KeepAuthorization)
	case "unknown_tokens":
		return oneOf(d, &h.UnknownTokens, unknownRefused, unknownPassed)
	case "observe":
		return toggle(d, &h.Observe)
	case "pages":
		return h.unmarshalPages(d, declared)
	default:
		return d.Errf("oauth1: unknown option %q", option)
	}
}

func (h *Handler) unmarshalPages(d *caddyfile.Dispenser, declared *policy.Levels) error {
	h.Pages = new(Pages)
	return unmarshalBlock(d, checkPagesOption(declared), map[string]*string{
		"name":               &h.Pages.Name,
		"logo":               &h.Pages.Logo,
		"accent":             &h.Pages.Accent,
		"accent_dark":        &h.Pages.AccentDark,
		"language":           &h.Pages.Language,
		"default_permission": &h.Pages.DefaultPermission,
		"default_lifetime":   &h.Pages.DefaultLifetime,
		"templates":          &h.Pages.Templates,
	})
}

// checkPagesOption checks the options that need no file, unless they hold a placeholder.
func checkPagesOption(declared *policy.Levels) func(option, value string) error {
	return func(option, value string) (err error) {
		if strings.Contains(value, "{") {
			return nil
		}
		switch option {
		case "language":
			err = pages.CheckLanguage(value)
		case "default_permission":
			err = checkDefaultPermission(value, declared)
		case "default_lifetime":
			_, err = parseDefaultLifetime(value)
		}
		if err != nil {
			return fmt.Errorf("pages: %w", err)
		}
		return nil
	}
}

func (h *Handler) unmarshalEndpoints(d *caddyfile.Dispenser) error {
	h.Endpoints = new(Endpoints)
	if d.NextArg() {
		if d.Val() != "off" || d.NextArg() {
			return d.Errf("endpoints %q: must be off, or a block of paths", d.Val())
		}
		h.Endpoints.Off = true
		return nil
	}
	return unmarshalBlock(d, ofValue(checkEndpoint), map[string]*string{
		"request_token": &h.Endpoints.RequestToken,
		"authorize":     &h.Endpoints.Authorize,
		"access_token":  &h.Endpoints.AccessToken,
		"tokens":        &h.Endpoints.Tokens,
	})
}

func (h *Handler) unmarshalPolicy(helper httpcaddyfile.Helper, declared *policy.Levels) error {
	d := helper.Dispenser
	p := new(policy.Policy)
	what := "policy"
	if d.CountRemainingArgs() > 0 {
		matcher, found, err := helper.MatcherToken()
		switch {
		case err != nil:
			return d.WrapErr(err)
		case !found:
			return d.Errf("policy %q: must be a path that begins with a slash, or the name of a matcher that begins with @", d.Val())
		case matcher != nil:
			p.MatcherSetsRaw = caddyhttp.RawMatcherSets{matcher}
			what += " " + d.Val()
		}
	}
	if by := policy.CoveredBy(h.Policies, p); by > 0 {
		return d.Errf("%s: can never be reached, because policy %d decides all its requests; the first match wins", what, by)
	}
	if d.NextArg() {
		return d.Errf("policy %q: only one matcher is allowed", d.Val())
	}
	seen := make(options)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if d.Val() != "permission" {
			if err := seen.first(d); err != nil {
				return err
			}
		}
		if err := unmarshalPolicyOption(d, p); err != nil {
			return err
		}
		if err := p.Check(declared, h.Permissions); err != nil {
			return d.WrapErr(err)
		}
	}
	if err := p.CheckDefaults(declared); err != nil {
		return d.Errf("policy: %w", err)
	}
	h.Policies = append(h.Policies, p)
	return nil
}

func unmarshalPolicyOption(d *caddyfile.Dispenser, p *policy.Policy) error {
	switch option := d.Val(); option {
	case "anonymous":
		return toggle(d, &p.Anonymous)
	case "deny":
		return toggle(d, &p.Deny)
	case "consumers":
		return textsOption(d, &p.Consumers)
	case "users":
		return textsOption(d, &p.Users)
	case "context":
		return textOption(d, &p.Context)
	case "permission":
		args := d.RemainingArgs()
		if len(args) == 0 {
			return d.Err("permission: wants a level; methods that need it may stand before it")
		}
		rule := policy.PermissionRule{Permission: args[len(args)-1]}
		for _, method := range args[:len(args)-1] {
			rule.Methods = append(rule.Methods, strings.ToUpper(method))
		}
		p.Permissions = append(p.Permissions, rule)
		return nil
	default:
		return d.Errf("policy: unknown option %q", option)
	}
}
