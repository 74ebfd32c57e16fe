package adminapi

import (
	"net/url"
	"strings"
)

// The paths of the API, below the admin endpoint.
const (
	ConsumersPath     = "/oauth1/consumers"
	TokensPath        = "/oauth1/tokens"
	RequestTokensPath = "/oauth1/request-tokens"
	RevokePath        = "/oauth1/revoke"
	DiagnosesPath     = "/oauth1/diagnoses"
	ExplainPath       = "/oauth1/explain"
	PassesPath        = "/oauth1/passes"
	HealthPath        = "/oauth1/health"
	ImportPath        = "/oauth1/import"
	ExportPath        = "/oauth1/export"
	KeysPath          = "/oauth1/keys"
	RewrapPath        = "/oauth1/keys/rewrap"
	AuditPath         = "/oauth1/audit"
	AuditVerifyPath   = "/oauth1/audit/verify"
	BackupPath        = "/oauth1/backup"
)

// BackupType is the media type of a backup.
const BackupType = "application/vnd.caddy-oauth1.backup"

// ActorHeader is the header in which a caller names itself, for the audit trail; percent-encoded.
// Nothing proves the name.
const ActorHeader = "X-Oauth1-Actor"

// The actions on a consumer and on a request token, for ResourcePath.
const (
	ActionRotate = "rotate"
	ActionReview = "review"
)

// ResourcePath is the path of one consumer, token or request token, whose key may hold any
// character, and of an action on it; an empty action is the resource itself.
func ResourcePath(collection, key, action string) string {
	escaped := url.PathEscape(key)
	if key == "." || key == ".." {
		escaped = strings.ReplaceAll(key, ".", "%2E") // the server would clean the path of it
	}
	path := collection + "/" + escaped
	if action != "" {
		path += "/" + action
	}
	return path
}
