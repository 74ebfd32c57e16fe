package command

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/adminapi"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// settingFlags adds a flag for each setting of a consumer. For a new consumer the help of a flag
// names the default.
func settingFlags(cmd *cobra.Command, isNew bool) {
	flags := cmd.Flags()
	for _, setting := range adminapi.Settings {
		var notes []string
		value := setting.Value(new(adminapi.ConsumerSettings))
		if _, ok := value.(*[]string); ok {
			notes = append(notes, "repeatable")
		}
		if isNew {
			notes = append(notes, "default: "+setting.Default)
		}
		usage := setting.Usage
		if len(notes) > 0 {
			usage += " (" + strings.Join(notes, "; ") + ")"
		}
		switch value.(type) {
		case *string:
			flags.String(setting.Flag, "", usage)
		case *[]string:
			flags.StringArray(setting.Flag, nil, usage)
		case *bool:
			flags.Bool(setting.Flag, false, usage)
		case **tokenstore.TwoLegged:
			flags.String(setting.Flag+"-user", "", usage)
			flags.String(setting.Flag+"-permission", "", "The level of its requests without a token")
		}
	}
	flags.Bool("disabled", false, "Refuse its requests for now")
	completeFlag(cmd, "signature-method", signatureMethodNames)
	completeFlag(cmd, "permission", permissionNames)
	completeFlag(cmd, "two-legged-permission", permissionNames)
}

// givenSettings returns the settings whose flags are given, by their names in the admin API.
func givenSettings(cmd *cobra.Command) (map[string]any, error) {
	given := make(map[string]any)
	flags := cmd.Flags()
	for _, setting := range adminapi.Settings {
		switch setting.Value(new(adminapi.ConsumerSettings)).(type) {
		case *string:
			if flags.Changed(setting.Flag) {
				given[setting.Option] = flagText(cmd, setting.Flag)
			}
		case *[]string:
			if flags.Changed(setting.Flag) {
				values, err := flags.GetStringArray(setting.Flag)
				if err != nil {
					return nil, err
				}
				given[setting.Option] = values
			}
		case *bool:
			if flags.Changed(setting.Flag) {
				given[setting.Option] = flagText(cmd, setting.Flag) == "true"
			}
		case **tokenstore.TwoLegged:
			fields := make(map[string]string)
			for _, field := range []string{"user", "permission"} {
				if name := setting.Flag + "-" + field; flags.Changed(name) {
					fields[field] = flagText(cmd, name)
				}
			}
			if len(fields) > 0 {
				given[setting.Option] = fields
			}
		}
	}
	if flags.Changed("disabled") {
		given["disabled"] = flagText(cmd, "disabled") == "true"
	}
	if file, ok := given["rsa_public_key"].(string); ok {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, misused("reading the RSA public key: %w", err)
		}
		given["rsa_public_key"] = string(pem)
	}
	return given, nil
}

// consumerRows returns the rows that show a consumer: its settings in their order, and among them
// the facts that are no settings.
func consumerRows(v *adminapi.Consumer) []shownRow {
	rows := []shownRow{{"Key", keyOnScreen(v.Key)}}
	for _, setting := range adminapi.Settings {
		switch setting.Option {
		case "signature_methods":
			rows = append(rows,
				shownRow{"State", stateOf(v, time.Now())},
				shownRow{"Origin", provenance(v)})
		case "expires":
			rows = append(rows, shownRow{"Created", timeText(v.Created)})
		}
		if setting.Label != "" {
			rows = append(rows, shownRow{setting.Label, settingText(&setting, v)})
		}
	}
	rows = append(rows, shownRow{"Old secret works until", timeText(v.PreviousSecretExpires)})
	if seen := v.Observed; seen != nil {
		rows = append(rows,
			shownRow{"Observed", fmt.Sprintf("%s, the last at %s", plural(int(seen.Requests), "request"), timeText(seen.LastSeen))},
			shownRow{"Signed with", countsText(seen.SignatureMethods)},
			shownRow{"Parameters in", countsText(seen.Places)},
			shownRow{"Would be refused", countsText(seen.Refusals)})
	}
	return rows
}

// countsText lists names with their counts, the most frequent first.
func countsText(counts map[string]int64) string {
	names := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
	})
	for i, name := range names {
		names[i] = fmt.Sprintf("%s (%d)", name, counts[name])
	}
	return strings.Join(names, ", ")
}

// settingText is a setting as people read it; empty where the consumer has none.
func settingText(setting *adminapi.Setting, v *adminapi.Consumer) string {
	switch setting.Option {
	case "rsa_public_key":
		return rsaKeyText(v.RSAPublicKey)
	case "callbacks":
		return callbacksText(v)
	}
	switch value := setting.Value(&v.ConsumerSettings).(type) {
	case *string:
		return *value
	case *[]string:
		return strings.Join(*value, ", ")
	case *bool:
		if *value {
			return "yes"
		}
	case **tokenstore.TwoLegged:
		if two := *value; two != nil {
			return two.User + ", " + two.Permission
		}
	}
	return ""
}

func callbacksText(v *adminapi.Consumer) string {
	shown := strings.Join(v.Callbacks, " ")
	if v.CallbacksIgnoreQuery {
		shown += ", with any query"
	}
	if v.DefaultCallback {
		shown += ", by default"
	}
	return shown
}

func rsaKeyText(pem string) string {
	if pem == "" {
		return ""
	}
	key, err := oauth1.ParsePublicKey(pem)
	if err != nil {
		return "unreadable"
	}
	return oauth1.DescribePublicKey(key)
}

func stateOf(v *adminapi.Consumer, now time.Time) string {
	expires, err := adminapi.ParseExpires(v.Expires)
	switch {
	case v.Disabled:
		return "disabled"
	case err == nil && !now.Before(expires):
		return "expired"
	}
	return "active"
}

// provenance is how the consumer came to be.
func provenance(v *adminapi.Consumer) string {
	switch {
	case v.Declared:
		return "declared in the configuration"
	case v.SelfRegistered:
		return "registered itself"
	}
	return "added"
}
