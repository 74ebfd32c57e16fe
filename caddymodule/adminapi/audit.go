package adminapi

import "github.com/caddy-oauth1/caddy-oauth1/caddymodule/audit"

// Audit tells about the audit trail.
type Audit struct {
	// Mode is counted or strict.
	Mode string `json:"mode"`
	// File is where a strict trail is written.
	File string `json:"file,omitempty"`
	// Heads are the ends of the chains that the store knows, one of each Caddy with the store.
	Heads []audit.Head `json:"heads"`
}

// AuditKnown is the first line of a call that verifies lines. The lines follow it as they are, and
// the answer is an audit.Report.
type AuditKnown struct {
	// Heads are what Audit told before the lines were read.
	Heads []audit.Head `json:"heads"`
	// Part: the lines are a part of the trail, so what is before and after them is not missing.
	Part bool `json:"part,omitempty"`
	// Separator is a line that stands between the lines of one file and those of the next one, and
	// that is in none of them. Empty: the lines are of one file.
	Separator string `json:"separator,omitempty"`
}
