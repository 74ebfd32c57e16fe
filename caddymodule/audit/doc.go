// Package audit is the audit trail: which events there are, how they are chained, written, and
// verified.
//
//	event.go   the events, their fields, and the version of the schema
//	line.go    an event as a line of JSON, and its hash
//	trail.go   the chain of lines that a process writes
//	log.go     writes lines to a logger
//	file.go    writes lines to a file, durably
//	verify.go  finds lines that were removed, swapped, changed or added
//
// It knows neither requests nor a store. Package caddymodule tells it what happened: see event.go
// and audittrail.go there.
package audit
