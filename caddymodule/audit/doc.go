// Package audit is the audit trail: which events there are, and their fields.
//
//	event.go  the events, their fields, and the version of the schema
//
// It knows neither requests nor a store. Package caddymodule tells it what happened: see event.go
// there.
package audit
