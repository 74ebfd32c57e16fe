package caddymodule

import (
	"net/http"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/refusal"
)

// The placeholders of a refusal. handle_errors uses them to answer in the words of another
// provider, and log_append to write them into the access log.
const (
	placeholderReason     = "oauth1.refusal.reason"
	placeholderProblem    = "oauth1.refusal.problem"
	placeholderText       = "oauth1.refusal.text"
	placeholderConsumer   = "oauth1.refusal.consumer"
	placeholderToken      = "oauth1.refusal.token"
	placeholderParameter  = "oauth1.refusal.parameter"
	placeholderTimestamps = "oauth1.refusal.acceptable_timestamps"
	placeholderPasses     = "oauth1.refusal.passes"
)

// noRefusal provides the placeholders of a request that is not refused. The values that publish
// sets take precedence.
func noRefusal(key string) (value any, known bool) {
	switch key {
	case placeholderReason, placeholderProblem, placeholderText, placeholderConsumer,
		placeholderToken, placeholderParameter, placeholderTimestamps, placeholderPasses:
		return "", true
	}
	return nil, false
}

// publish sets the placeholders of a refusal. Clients write a part of them, and sites put them into
// JSON, HTML and headers, so all values are made safe. None of them holds a secret or a signature.
func publish(r *http.Request, endpoint string, p *refusal.Problem) {
	token, word := p.Token, p.Word
	if endpoint == endpointAuthorize {
		token = r.URL.Query().Get("oauth_token")
	}
	if endpoint == endpointAuthorize || endpoint == endpointTokens {
		word = "" // people read pages; clients do not
	}
	repl := replacer(r)
	repl.Set(placeholderReason, p.Reason)
	repl.Set(placeholderProblem, word)
	repl.Set(placeholderText, refusal.Safe(p.Text))
	repl.Set(placeholderConsumer, refusal.Safe(refusal.Printable(p.Consumer)))
	repl.Set(placeholderToken, refusal.Safe(refusal.Printable(token)))
	repl.Set(placeholderParameter, refusal.Safe(p.Parameter))
	repl.Set(placeholderTimestamps, p.AcceptableTimestamps)
}
