package caddymodule

import (
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/dustin/go-humanize"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/adminapi"
)

func init() {
	httpcaddyfile.RegisterGlobalOption("oauth1", parseGlobalOption)
	httpcaddyfile.RegisterDirective("oauth1", parseDirective)
	httpcaddyfile.RegisterDirectiveOrder("oauth1", httpcaddyfile.After, "request_header")
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
