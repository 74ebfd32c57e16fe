// Package caddymodule is an OAuth 1.0a provider for Caddy. It holds everything that Caddy loads.
//
// An API request passes these files in order. No step calls back into an earlier one:
//
//	handler.go      ServeHTTP: tells endpoints from API requests
//	target.go       refuses requests whose method or target is not plain
//	scope.go        which requests are judged; cleans the others
//	connection.go   removes the headers that Connection lists, as a proxy does
//	preflight.go    recognises a browser's CORS preflight requests
//	verify.go       turns a signed request into an Identity or a Problem
//	body.go         reads a form that is signed
//	origin.go       finds the scheme and host that were signed
//	clientaddress.go
//	                the address of a client; warns if it is not what it seems
//	credentials.go  finds the consumer and the access token that sign
//	publickeys.go,
//	hmackeys.go     cache prepared keys
//	package policy  which requests are judged, in which form, and whether an Identity may make them:
//	                it is asked four times for a request, and changes nothing
//	identity.go     identity headers, placeholders and log fields for the upstream; strips forged
//	                headers
//	upgrade.go      strips upgrades that the site does not allow
//	refuse.go       answers a refusal; package refusal holds the table of refusals
//	errorroutes.go  lets handle_errors answer a refusal
//	unknown.go      leaves requests of unknown consumers whole for another provider
//	placeholders.go the placeholders of a refusal, for handle_errors and the access log
//
// Other files:
//
//	app.go          the app: the lifetimes, the permission levels
//	keys.go         the option keys, which encrypt the store
//	coming.go       a store that is out of reach when the app starts
//	storefailures.go which failures of the store go to the log
//	appstore.go     the app's store, which it knows only as a tokenstore.Module
//	consumer.go     declared consumers, and the checks of all consumers
//	consumersettings.go
//	                the settings of a consumer, which adminapi defines, in the Caddyfile and with
//	                placeholders
//	endpoints.go    the option endpoints
//	endpoint.go     the common part of the consumers' endpoints: requesttoken.go, accesstoken.go
//	observe.go      judges requests that it passes on in any case; observations.go: what it saw of
//	                each consumer
//	authorize.go    the page where a user grants or refuses
//	usertokens.go   the page that lists a user's grants
//	page.go         the common part of both pages
//	pages.go        the pages' options; package pages holds templates and texts
//	callback.go     where the pages may send a browser
//	admin.go        the admin API; admin_consumers.go, admin_tokens.go, admin_import.go,
//	                admin_export.go, admin_keys.go, admin_audit.go, admin_diagnoses.go,
//	                admin_explain.go, admin_passes.go: its routes
//	jsonfields.go   the names of fields in the admin API's JSON
//	adminapi/       the wire types of the admin API, and its client
//	doctor/         names the mistake that a client made when its signature is wrong
//	command/        the commands: clients of the admin API, and tools to debug signatures and
//	                policies
//	policyverdict.go
//	                the decisions of a configuration about a request, for the command policy
//	revocation.go   takes something away in the store, and tells the journal of revocations
//	backup.go       writes a backup; backupschedule.go: by schedule; backupoption.go: the option;
//	                journalbound.go: how far back the journals of other replicas must reach;
//	                admin_backup.go: to a caller of the admin API
//	restore.go      restores a backup, and adopts a store, for the commands
//	storecopy.go    copies the store of a configuration, for the command store
//	sites.go        finds the handlers among a configuration's routes
//	arrival.go      finds the servers that a URL reaches
//	routewalk.go    takes a request through the routes to the handler that judges it
//	namespace.go    finds sites that share users but have different logins
//	globaloption.go the global option oauth1 in the Caddyfile; directive.go: the directive; caddyfile.go:
//	                what both read alike
//	event.go        reports each fact once, to metrics, logs, the audit trail and spans
//	audittrail.go   the audit trail of a store: the option audit, and what the store keeps of it;
//	                auditlater.go: what commands did to the store before it was opened;
//	                configload.go: tells of a configuration when it was loaded
//	consumerchanges.go
//	                the settings of a consumer that a change has changed, for the audit trail
//	audit/          the audit trail: events, chain, verification
//	metrics.go      counts the decisions, and measures the verifications
//	consumermetrics.go
//	                counts the requests of some consumers, if the option metrics asks for it
//	mistakemetrics.go
//	                counts the mistakes of clients
//	diagnoses.go    the option diagnoses: the limits and the queue of the explained requests
//	refusedrequest.go
//	                what is kept of a refused request, and what of it an operator sees
//	diagnose.go     asks the doctor what is wrong with a refused request, and tells it
//	explainrefusals.go
//	                the option explain_refusals: refusals that say what is wrong
//	nearestkey.go   what an unknown key of a consumer or a token is
//	past.go, seennonces.go
//	                what is remembered for explanations: ended and former keys, wrong clocks, used nonces
//	storemeter.go   measures the calls of the store
//	storemetrics.go the figures of the store, which are taken in the background
//	health.go       the handler oauth1_health, for load balancers
//	tracing.go      adds the decisions to the spans of Caddy's tracing
//	usage.go        records when tokens were last used
//
// The package imports all packages below it: policy (which requests are allowed), refusal (the
// reasons of refusals), oauth1 (RFC 5849), doctor (the mistakes of clients), pages (the pages'
// templates and texts), adminapi, command, and tokenstore (the model, its stores and the format of
// backups). None of them imports it.
package caddymodule
