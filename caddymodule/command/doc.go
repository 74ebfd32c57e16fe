// Package command is `caddy oauth1 ...`: the commands for operators, and those for people who debug
// signatures and policies.
//
//	command.go      Register, and the tree of the commands
//	session.go      a command that works on a running Caddy: its flags, and the calls that it makes
//	show.go         answers, as text for people or as JSON, and whether they could be written
//	consumer.go     the commands about consumers; consumersettings.go: the settings of one as flags,
//	                and as text; token.go and requesttoken.go: about tokens; revoke.go: about all
//	                tokens of somebody; health.go; audit.go: verifies the audit trail
//	import.go       brings consumers and tokens along from a file; export.go: writes one; progress.go:
//	                how far a long command is
//	diagnose.go     shows refused requests, and what their clients did wrong; clientcheck.go: what a
//	                new client signs right, and what wrong
//	sign.go         signs a request; explain.go: shows what is signed, and where a client's base
//	                string differs; explainkeys.go: what the client did wrong, by the keys;
//	                mistakes.go: what clients do wrong with base strings
//	policy.go       asks what a configuration decides about a request
//	keys.go         the keys that encrypt the store
//	backup.go       makes and verifies backups; restore.go: restores one;
//	                newfile.go: a file that a command makes
//	store.go        copies the store of one configuration to that of another, and adopts one
//	input.go        questions at a terminal, and reads from standard input; exit.go: how a command
//	                ends; complete.go: what a shell completes; version.go: the program's name and
//	                version
//
// A command that manages is a client of adminapi, as any other program could be; sign.go,
// explain.go and mistakes.go need oauth1 alone, and explainkeys.go the doctor too. The package never
// imports caddymodule, a store or Caddy's HTTP server: only caddymodule can decide about a request
// by a configuration, or open its store, so it hands that in when it registers the commands.
package command
