package caddymodule

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/adminapi"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/policy"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// unmarshalSetting reads a setting of a consumer from a Caddyfile. ok is false if no setting has
// the option's name.
func unmarshalSetting(s *adminapi.ConsumerSettings, d *caddyfile.Dispenser) (ok bool, err error) {
	setting := adminapi.SettingByOption(d.Val())
	if setting == nil {
		return false, nil
	}
	switch value := setting.Value(s).(type) {
	case *string:
		err = textOption(d, value)
	case *[]string:
		if setting.Option == "signature_methods" {
			return true, signatureMethods(d, value)
		}
		err = textsOption(d, value)
	case *bool:
		err = toggle(d, value)
	case **tokenstore.TwoLegged:
		*value = new(tokenstore.TwoLegged)
		if !d.AllArgs(&(*value).User, &(*value).Permission) {
			err = d.Errf("%s: wants a user and a permission", setting.Option)
		}
	}
	return true, err
}

// expandedSettings returns the settings with their placeholders expanded.
func expandedSettings(s adminapi.ConsumerSettings, e *expander) adminapi.ConsumerSettings {
	for _, setting := range adminapi.Settings {
		switch value := setting.Value(&s).(type) {
		case *string:
			*value = e.expand(setting.Option, *value)
		case *[]string:
			*value = e.expandAll(setting.Option, *value)
		case **tokenstore.TwoLegged:
			if two := *value; two != nil {
				*value = &tokenstore.TwoLegged{
					User:       e.expand(setting.Option, two.User),
					Permission: e.expand(setting.Option, two.Permission),
				}
			}
		}
	}
	return s
}

// applyConsumerSettings writes the settings to a consumer, and checks the result.
func applyConsumerSettings(s *adminapi.ConsumerSettings, c *tokenstore.Consumer, l *policy.Levels) error {
	if err := s.Apply(c); err != nil {
		return err
	}
	return checkConsumer(c, l)
}
