package caddymodule

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/policy"
)

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

// Interface guards
var _ caddyfile.Unmarshaler = (*App)(nil)
