package caddymodule

import (
	"net/http"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
)

// A decision is what became of a request, for its span.
type decision struct {
	endpoint string
	result   string // accepted, anonymous, or the reason of the refusal
	method   string // of the signature; empty if there is none
	consumer string // that the request named; if it was refused, nothing proves it
	policy   int    // the number of the policy that decided, from 1; 0: none did
}

// decided returns what became of a request. s is nil if it was not read.
func decided(endpoint, result string, s *signed) decision {
	d := decision{endpoint: endpoint, result: result}
	if s != nil {
		d.method, d.consumer, d.policy = s.params.SignatureMethod, s.params.ConsumerKey, s.policy
	}
	return d
}

// trace adds the decision to the span that Caddy's tracing handler began for the request. Without
// one it allocates nothing.
func (d decision) trace(r *http.Request) {
	span := trace.SpanFromContext(r.Context())
	if !span.IsRecording() {
		return
	}
	span.SetAttributes(
		attribute.String("oauth1.endpoint", d.endpoint),
		attribute.String("oauth1.result", d.result),
	)
	for _, optional := range []struct{ name, value string }{
		{"oauth1.signature_method", traceText(d.method)},
		{"oauth1.consumer", traceText(d.consumer)},
		{"oauth1.policy", d.policyText()},
	} {
		if optional.value != "" {
			span.SetAttributes(attribute.String(optional.name, optional.value))
		}
	}
}

func (d decision) policyText() string {
	if d.policy == 0 {
		return ""
	}
	return strconv.Itoa(d.policy)
}

// traceText makes a client's text one that every exporter accepts.
func traceText(text string) string {
	const most = 255
	return strings.ToValidUTF8(text[:min(len(text), most)], "\uFFFD")
}
