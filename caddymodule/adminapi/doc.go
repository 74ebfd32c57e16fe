// Package adminapi is the admin API of the oauth1 app as it goes over the wire: the types of its
// bodies and answers, and a client. The server is in caddymodule; the commands, benchmarks and
// programs of others are clients.
//
//	paths.go             where the resources are
//	settings.go          the settings of a consumer: one definition, from which the configuration,
//	                     the Caddyfile, the API and the flags follow
//	consumer.go          consumers; token.go: access tokens, and their revocation; requesttoken.go:
//	                     request tokens and what users say to them; health.go: how the app is;
//	                     keys.go: with which keys the store is encrypted
//	audit.go             the audit trail, and what is sent to verify it
//	lines.go             the lines of a file that is imported or exported
//	audit.go             the state of the audit trail
//	pass.go              passed requests of a consumer that is watched
//	diagnosis.go         refused requests, and what their clients did wrong; explanation.go: what is
//	                     wrong with a request that the caller has
//	list.go              lists, which come in pages
//	client.go            a call, from an address to the decoded answer; errors.go: the refused ones
//
// It knows the model of tokenstore, since a setting of a consumer names the field that keeps it,
// and of Caddy only how an admin address is written. It never imports Caddy's HTTP server, its
// command line, a store, or caddymodule.
package adminapi
