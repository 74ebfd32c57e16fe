// Package policy decides which requests a site judges, in which form, and who may make them.
//
// The way of a request through it, as package caddymodule asks:
//
//	target.go       PlainTarget, PlainMethod: is this a request for a resource at all?
//	rules.go        Rules: what a site's configuration says; it is asked in this order:
//	                CheckArrival   are the values the same to every server that may read them? And
//	                               the URL, where the directive's own matcher looks at it?
//	                InScope        is the request one for these rules?
//	                CheckURL       is the URL the same to every server, where a policy looks at it?
//	                Decide         may the subject make the request, and which policy said so?
//	values.go       values that are the same to every server: the host, parameters, cookies
//	plainurl.go     URLs that are
//	readings.go     what else an upstream may take a request for: other methods, paths and queries
//	headernames.go  names of headers that are the same to some servers
//	policy.go       Policy: who may make the requests that its matcher selects
//	subject.go      Subject: what a request proved, as far as a policy looks at it
//	level.go        Levels: which permission level implies which
//
// When a configuration is loaded:
//
//	sight.go        what matchers, placeholders and expressions see of a request, and so what must be
//	                plain
//	unreachable.go  which policies leave nothing for another to decide
//
// The package knows Caddy's matchers and placeholders, package refusal, the model of tokenstore,
// and of package oauth1 how a request target is cut. It never imports package caddymodule: it sees
// no signature, no store and no answer, and of a request it changes what matchers capture, no more.
package policy
