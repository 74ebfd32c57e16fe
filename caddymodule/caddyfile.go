package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/dustin/go-humanize"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/adminapi"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/pages"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/policy"
)

func init() {
	httpcaddyfile.RegisterGlobalOption("oauth1", parseGlobalOption)
	httpcaddyfile.RegisterDirective("oauth1", parseDirective)
	httpcaddyfile.RegisterDirectiveOrder("oauth1", httpcaddyfile.After, "request_header")
}

// parseGlobalOption sets up the app. Syntax:
//
//	oauth1 {
//	    store                  <module> { ... }
//	    keys {
//	        primary <id> <key>
//	        old     <id> <key>
//	    }
//	    request_token_lifetime <duration>
//	    access_token_lifetime  never|<duration>
//	    timestamp_window       <duration>
//	    registration           closed|open
//	    max_request_tokens     <of one consumer> [<in all>]
//	    audit                  counted | strict {
//	        file <path>
//	    }
//	    backup [<path>] {
//	        path       <path>
//	        every      <duration>
//	        keep       <number>
//	        recipients <age recipient...>
//	        journal_only
//	    }
//	    diagnoses              off|<a second> [<a second of one consumer>]
//	    consumer <key> {
//	        name               <text>
//	        homepage           <url>
//	        contact            <address>
//	        secret             <text>
//	        rsa_public_key     <pem>
//	        signature_methods  <method...>
//	        callbacks          <url...>
//	        callbacks_ignore_query
//	        default_callback
//	        permissions        <level...>
//	        two_legged         <user> <level>
//	        expires            <time>
//	    }
//	    permission <name> [<title>] {
//	        description <text>
//	        implies     <level...>
//	    }
//	    metrics {
//	        consumers <pattern...>
//	        limit     <number>
//	    }
//	}
func parseGlobalOption(d *caddyfile.Dispenser, existing any) (any, error) {
	if existing != nil {
		return nil, d.Err("oauth1: given twice in the global options")
	}
	app := new(App)
	if err := app.UnmarshalCaddyfile(d); err != nil {
		return nil, err
	}
	return httpcaddyfile.App{Name: "oauth1", Value: caddyconfig.JSON(app, nil)}, nil
}

// UnmarshalCaddyfile reads the global option; see parseGlobalOption for the syntax.
func (a *App) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the option's name
	if d.NextArg() {
		return d.ArgErr()
	}
	seen, declaredAt := make(options), make(map[string]string)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		if option != "consumer" && option != "permission" {
			if err := seen.first(d); err != nil {
				return err
			}
		}
		var err error
		switch option {
		case "store":
			err = a.unmarshalStore(d)
		case "keys":
			err = a.unmarshalKeys(d)
		case "request_token_lifetime":
			err = duration(d, &a.RequestTokenLifetime)
		case "access_token_lifetime":
			err = lifetime(d, &a.AccessTokenLifetime)
		case "timestamp_window":
			err = duration(d, &a.TimestampWindow)
		case "registration":
			err = oneOf(d, &a.Registration, registrationClosed, registrationOpen)
		case "max_request_tokens":
			err = a.unmarshalMaxRequestTokens(d)
		case "audit":
			err = a.unmarshalAudit(d)
		case "backup":
			err = a.unmarshalBackup(d)
		case "metrics":
			err = a.unmarshalMetrics(d)
		case "diagnoses":
			err = a.unmarshalDiagnoses(d)
		case "consumer":
			err = a.unmarshalConsumer(d)
		case "permission":
			at := fmt.Sprintf("%s:%d", d.File(), d.Line())
			if err = a.unmarshalPermission(d); err == nil {
				declaredAt[a.Permissions[len(a.Permissions)-1].Name] = at
			}
		default:
			return d.Errf("oauth1: unknown option %q", option)
		}
		if err != nil {
			return err
		}
	}
	if len(a.Permissions) > 0 {
		var wrong *policy.LevelError
		if _, err := policy.NewLevels(a.Permissions); errors.As(err, &wrong) {
			return fmt.Errorf("%w, at %s", err, declaredAt[wrong.Level])
		}
	}
	return nil
}

func (a *App) unmarshalMaxRequestTokens(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) < 1 || len(args) > 2 {
		return d.Err("max_request_tokens: wants a limit for each consumer, and optionally a limit for all together")
	}
	for i, value := range []*int{&a.MaxRequestTokensOfConsumer, &a.MaxRequestTokens}[:len(args)] {
		n, err := strconv.Atoi(args[i])
		if err != nil || n < 1 || n > math.MaxInt32 {
			return d.Errf("max_request_tokens %q: must be a number from 1 to %d", args[i], math.MaxInt32)
		}
		*value = n
	}
	if len(args) == 2 && a.MaxRequestTokens < a.MaxRequestTokensOfConsumer {
		return d.Errf("max_request_tokens %q: must be at least the %d of one consumer",
			args[1], a.MaxRequestTokensOfConsumer)
	}
	return nil
}

func (a *App) unmarshalStore(d *caddyfile.Dispenser) error {
	var name string
	if !d.Args(&name) {
		return d.ArgErr()
	}
	id := storeID(name)
	if _, err := caddy.GetModule(id); err != nil {
		return d.Errf("store %q: there is no such store", name)
	}
	module, err := caddyfile.UnmarshalModule(d, id)
	if err != nil {
		return err
	}
	a.StoreRaw = caddyconfig.JSONModuleObject(module, "module", name, nil)
	return nil
}

func (a *App) unmarshalConsumer(d *caddyfile.Dispenser) error {
	c := &DeclaredConsumer{Source: fmt.Sprintf("%s:%d", d.File(), d.Line())}
	if err := textOption(d, &c.Key); err != nil {
		return err
	}
	if slices.ContainsFunc(a.Consumers, func(other *DeclaredConsumer) bool { return other.Key == c.Key }) {
		return d.Errf("consumer %q: declared twice", c.Key)
	}
	seen := make(options)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := seen.first(d); err != nil {
			return err
		}
		if d.Val() == "secret" {
			if err := textOption(d, &c.Secret); err != nil {
				return err
			}
			continue
		}
		option := d.Val()
		known, err := unmarshalSetting(&c.ConsumerSettings, d)
		if !known {
			return d.Errf("consumer %q: unknown option %q", c.Key, option)
		}
		if err != nil {
			return err
		}
	}
	a.Consumers = append(a.Consumers, c)
	return nil
}

func (a *App) unmarshalPermission(d *caddyfile.Dispenser) error {
	var level policy.PermissionLevel
	switch args := d.RemainingArgs(); len(args) {
	case 1:
		level.Name = args[0]
	case 2:
		level.Name, level.Title = args[0], args[1]
	default:
		return d.Err("permission: wants a name, and optionally a title")
	}
	seen := make(options)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := seen.first(d); err != nil {
			return err
		}
		var err error
		switch d.Val() {
		case "description":
			err = textOption(d, &level.Description)
		case "implies":
			err = textsOption(d, &level.Implies)
		default:
			return d.Errf("permission %q: unknown option %q", level.Name, d.Val())
		}
		if err != nil {
			return err
		}
	}
	a.Permissions = append(a.Permissions, level)
	return nil
}

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

// options remembers which options a block has.
type options map[string]bool

// first refuses a repeated option, and a block after an option that has none.
func (o options) first(d *caddyfile.Dispenser) error {
	if d.Val() == "{" {
		return d.Err("a block is not allowed here")
	}
	if o[d.Val()] {
		return d.Errf("%s: given twice", d.Val())
	}
	o[d.Val()] = true
	return nil
}

// unmarshalBlock reads a block of options that each have one argument. check validates the
// argument.
func unmarshalBlock(
	d *caddyfile.Dispenser, check func(option, value string) error, fields map[string]*string,
) error {
	block := d.Val()
	if d.NextArg() {
		return d.Errf("%s: takes a block, and not %q", block, d.Val())
	}
	seen := make(options)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := seen.first(d); err != nil {
			return err
		}
		option := d.Val()
		field, ok := fields[option]
		if !ok {
			return d.Errf("%s: unknown option %q", block, option)
		}
		if err := textOption(d, field); err != nil {
			return err
		}
		if err := check(option, *field); err != nil {
			return d.WrapErr(err)
		}
	}
	if len(seen) == 0 {
		return d.Errf("%s: is empty", block)
	}
	return nil
}

// ofValue returns the same check for all options of a block.
func ofValue(check func(string) error) func(option, value string) error {
	return func(_, value string) error { return check(value) }
}

// textOption reads an option with exactly one argument.
func textOption(d *caddyfile.Dispenser, value *string) error {
	option := d.Val()
	if !d.AllArgs(value) {
		return d.Errf("%s: wants one argument", option)
	}
	if *value == "" {
		return d.Errf("%s: is empty", option)
	}
	return nil
}

// textsOption reads an option with one or more arguments.
func textsOption(d *caddyfile.Dispenser, values *[]string) error {
	option := d.Val()
	if *values = d.RemainingArgs(); len(*values) == 0 {
		return d.Errf("%s: wants at least one argument", option)
	}
	if slices.Contains(*values, "") {
		return d.Errf("%s: an argument is empty", option)
	}
	return nil
}

// toggle reads an option without arguments.
func toggle(d *caddyfile.Dispenser, value *bool) error {
	option := d.Val()
	if d.NextArg() {
		return d.Errf("%s: takes no argument, got %q", option, d.Val())
	}
	*value = true
	return nil
}

func oneOf(d *caddyfile.Dispenser, value *string, allowed ...string) error {
	option := d.Val()
	if err := textOption(d, value); err != nil {
		return err
	}
	if !slices.Contains(allowed, *value) {
		return d.Errf("%s %q: must be %s", option, *value, strings.Join(allowed, " or "))
	}
	return nil
}

func duration(d *caddyfile.Dispenser, value *caddy.Duration) error {
	option, argument := d.Val(), ""
	if err := textOption(d, &argument); err != nil {
		return err
	}
	parsed, err := caddy.ParseDuration(argument)
	if err != nil {
		return d.Errf("%s %q: must be a duration such as 90s, 5m, 2h or 7d", option, argument)
	}
	if parsed <= 0 {
		return d.Errf("%s %q: must be positive", option, argument)
	}
	*value = caddy.Duration(parsed)
	return nil
}

// lifetime reads a duration, or "never".
func lifetime(d *caddyfile.Dispenser, value *caddy.Duration) error {
	if d.CountRemainingArgs() == 1 {
		d.NextArg()
		if d.Val() == adminapi.Never {
			*value = 0
			return nil
		}
		d.Prev()
	}
	return duration(d, value)
}

func sizeOption(d *caddyfile.Dispenser, value *int64) error {
	option, argument := d.Val(), ""
	if err := textOption(d, &argument); err != nil {
		return err
	}
	parsed, err := humanize.ParseBytes(argument)
	if err != nil || parsed == 0 || parsed > 1<<40 {
		return d.Errf("%s %q: must be a size such as 512KiB or 4MiB", option, argument)
	}
	*value = int64(parsed)
	return nil
}

func signatureMethods(d *caddyfile.Dispenser, methods *[]string) error {
	if err := textsOption(d, methods); err != nil {
		return err
	}
	for i, method := range *methods {
		if err := checkSignatureMethod(method); err != nil {
			return d.WrapErr(err)
		}
		if slices.Contains((*methods)[:i], method) {
			return d.Errf("signature_methods %q: given twice", method)
		}
	}
	return nil
}

// Interface guards
var _ caddyfile.Unmarshaler = (*App)(nil)
