package caddymodule

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
)

// TestTheSpanHasTheDecision: the attributes of accepted, anonymous and refused requests.
func TestTheSpanHasTheDecision(t *testing.T) {
	s := newTestSite(t, demoConsumer,
		"insecure_plaintext_over_http\npolicy /open {\n anonymous\n}\npolicy /no {\n deny\n}\npolicy")
	token := s.grant("demo", "alice", "READ_PUBLIC")
	signed := func(target, secret string) *http.Request {
		signer := oauth1.Signer{ConsumerKey: "demo", ConsumerSecret: secret, Token: token.Key, TokenSecret: token.Secret}
		return s.sign(signer, "GET", "http://api.test"+target, "")
	}
	for _, c := range []struct {
		name string
		r    *http.Request
		want map[string]string
	}{
		{"accepted", signed("/x", "demo-secret"), map[string]string{"endpoint": "api", "result": "accepted",
			"signature_method": "HMAC-SHA256", "consumer": "demo", "policy": "3"}},
		{"refused by a policy", signed("/no", "demo-secret"), map[string]string{"endpoint": "api", "result": "policy_deny",
			"signature_method": "HMAC-SHA256", "consumer": "demo", "policy": "2"}},
		{"refused before the policies", signed("/x", "wrong"), map[string]string{"endpoint": "api",
			"result": "signature_invalid", "signature_method": "HMAC-SHA256", "consumer": "demo"}},
		{"anonymous", httptest.NewRequest("GET", "http://api.test/open", nil),
			map[string]string{"endpoint": "api", "result": "anonymous", "policy": "1"}},
		{"a consumer's endpoint", plain("/+request-token", "demo", "demo-secret", "", ""),
			map[string]string{"endpoint": "request_token", "result": "accepted", "signature_method": "PLAINTEXT",
				"consumer": "demo"}},
		{"a page", httptest.NewRequest("GET", "http://api.test/+authorize-token", nil),
			map[string]string{"endpoint": "authorize", "result": "login_required"}},
		{"a key that is no text", plain("/x", "d\xff", "secret", "", ""), map[string]string{"endpoint": "api",
			"result": "consumer_unknown", "signature_method": "PLAINTEXT", "consumer": "d\uFFFD"}},
	} {
		recorder := tracetest.NewSpanRecorder()
		provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder))
		ctx, span := provider.Tracer("test").Start(c.r.Context(), "span")
		s.serve(c.r.WithContext(ctx))
		span.End()
		got := make(map[string]string)
		for _, a := range recorder.Ended()[0].Attributes() {
			got[string(a.Key)] = a.Value.AsString()
			if a.Value.Type() == attribute.STRING && a.Value.AsString() == token.Key {
				t.Errorf("%s: %s holds the token", c.name, a.Key)
			}
		}
		want := make(map[string]string)
		for name, value := range c.want {
			want["oauth1."+name] = value
		}
		if !maps.Equal(got, want) {
			t.Errorf("%s:\n%v, want\n%v", c.name, got, want)
		}
	}
}

// TestNoSpanCostsNothing: without Caddy's tracing nothing is allocated.
func TestNoSpanCostsNothing(t *testing.T) {
	r := httptest.NewRequest("GET", "http://api.test/", nil)
	s := new(signed)
	s.params.ConsumerKey, s.policy = "demo", 1234
	if n := testing.AllocsPerRun(100, func() { decided(endpointAPI, resultAccepted, s).trace(r) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
