// Package caddymodule is an OAuth 1.0a provider for Caddy: all of it that Caddy sees.
//
// The way of an API request is a straight line, and no step calls back into an earlier one:
//
//	handler.go      ServeHTTP: an endpoint, or an API request?
//	target.go       which request targets and methods are let in at all; scope.go: the directive's own matcher, and
//	                what becomes of a request that it leaves out
//	connection.go   the headers that a proxy takes away, since Connection lists them
//	plainurl.go     URLs that are the same to every server; values.go: values that are; sight.go: what matchers and
//	                contexts see of a request
//	preflight.go    which requests are a browser's question whether it may send another
//	verify.go       a signed request -> an Identity, or a Problem; body.go: the form that was signed with it;
//	                origin.go finds the scheme and host that were signed; rsakeys.go, hmackeys.go: keys made ready
//	policy.go       may this identity make this request? permission.go: which level implies which; readings.go: what else
//	                an upstream may take the request for; unreachable.go: which policies leave nothing to another
//	identity.go     identity headers, placeholders and log fields for the upstream; strips forged ones; upgrade.go: and
//	                upgrades that nobody allowed
//	refuse.go       answers a refusal, of which package refusal has the table; errorroutes.go: what handle_errors
//	                makes of it; placeholders.go: what that and the access log can say of it
//
// Beside it:
//
//	app.go          the app: the lifetimes, the permission levels; appstore.go: its store, which it
//	                knows by tokenstore.Module alone
//	consumer.go     declared consumers and what any may be; consumersettings.go: the settings of
//	                one, which adminapi defines, in the Caddyfile and with placeholders
//	endpoints.go    the option of that name; endpoint.go: what the consumers' endpoints share:
//	                requesttoken.go, accesstoken.go
//	authorize.go    the page at which a user grants or refuses; usertokens.go: the page that lists what was granted;
//	                page.go: what both share; pages.go: their options; package pages: templates and texts;
//	                callback.go: where they may send a browser
//	admin.go        the admin API; admin_consumers.go, admin_tokens.go: its routes;
//	                jsonfields.go: the names of fields in what it is sent
//	adminapi/       what goes over the wire of it, and a client
//	command/        the commands: clients of the admin API, and those for people who debug signatures
//	                and policies. policyverdict.go: what a configuration decides about a request,
//	                which the package registers the commands with
//	sites.go        where the handlers stand among a configuration's routes; arrival.go: which servers a URL
//	                reaches; routewalk.go: the way of a request to the handler that judges it; namespace.go:
//	                the sites that share users, though their logins differ
//	caddyfile.go    the Caddyfile's syntax
//	event.go        what happened, told once; metrics and logs hear of it there
//	metrics.go      what was decided, counted; usage.go: when tokens were last used
//
// The package imports all of its own: refusal (why a request is refused), oauth1 (RFC 5849), pages
// (what people see), adminapi, command, and tokenstore (the model and its stores). None of them
// imports it.
package caddymodule
