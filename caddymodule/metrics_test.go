package caddymodule

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/refusal"
)

// counted returns the values of the counter in a configuration's registry, by "endpoint result".
func counted(t *testing.T, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	counts := make(map[string]float64)
	for _, family := range families {
		if family.GetName() != "caddy_oauth1_requests_total" {
			continue
		}
		for _, metric := range family.GetMetric() {
			labels := make(map[string]string)
			for _, pair := range metric.GetLabel() {
				labels[pair.GetName()] = pair.GetValue()
			}
			counts[labels["endpoint"]+" "+labels["result"]] = metric.GetCounter().GetValue()
		}
	}
	return counts
}

func newCounted(t *testing.T) *prometheus.Registry {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	if _, err := newMetrics(registry); err != nil {
		t.Fatal(err)
	}
	return registry
}

// TestMetricsCountEveryAnswerOnce: each answer is counted once, and no label comes from the client.
func TestMetricsCountEveryAnswerOnce(t *testing.T) {
	s := newTestSite(t, "consumer app {\n secret s\n}", "insecure_plaintext_over_http\npolicy /open {\n anonymous\n}\npolicy /no {\n deny\n}\npolicy")
	token := s.grant("app", "alice", "READ_PUBLIC")
	as := func(user string, r *http.Request) *http.Request {
		r.Header.Set("Test-User", user)
		return r
	}
	get := func(target string) *http.Request { return httptest.NewRequest("GET", "http://api.test"+target, nil) }
	post := func(target, form string) *http.Request {
		r := httptest.NewRequest("POST", "http://api.test"+target, strings.NewReader(form))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		return r
	}
	good := oauth1.Signer{ConsumerKey: "app", ConsumerSecret: "s", Token: token.Key, TokenSecret: token.Secret, Nonce: "once"}
	bad := oauth1.Signer{ConsumerKey: "app", ConsumerSecret: "wrong", Token: token.Key, TokenSecret: token.Secret}
	const odd = "q\"}\n<odd>"
	registry := newCounted(t)
	for _, step := range []struct {
		r    *http.Request
		want string
	}{
		{s.sign(good, "GET", "http://api.test/x", ""), "api accepted"},
		{s.sign(good, "GET", "http://api.test/x", ""), "api nonce_used"},
		{s.sign(bad, "GET", "http://api.test/x", ""), "api signature_invalid"},
		{s.sign(oauth1.Signer{ConsumerKey: odd, ConsumerSecret: "s"}, "GET", "http://api.test/x", ""), "api consumer_unknown"},
		{s.sign(oauth1.Signer{ConsumerKey: "app", ConsumerSecret: "s", Token: odd}, "GET", "http://api.test/x", ""), "api token_unknown"},
		{plain("/x", "app", "s", token.Key, token.Secret, "oauth_signature_method", odd), "api malformed"},
		{plain("/x", "app", "s", token.Key, token.Secret, "oauth_version", odd), "api malformed"},
		{plain("/no", "app", "s", token.Key, token.Secret), "api policy_deny"},
		{get("/x"), "api credentials_required"},
		{get("/open"), "api anonymous"},
		{plain("/+request-token", "app", "s", "", ""), "request_token accepted"},
		{plain("/+request-token", "app", "wrong", "", ""), "request_token signature_invalid"},
		{plain("/+request-token", odd, "s", "", ""), "request_token consumer_unknown"},
		{httptest.NewRequest("BREW", "http://api.test/+request-token", nil), "request_token method_not_allowed"},
		{plain("/+access-token", "app", "s", "", ""), "access_token token_absent"},
		{plain("/+access-token", "app", "s", "t", ""), "access_token token_unknown"},
		{get("/+authorize-token"), "authorize login_required"},
		{as("alice", get("/+authorize-token")), "authorize token_absent"},
		{as("alice", get("/+authorize-token?oauth_token="+odd[:1])), "authorize token_unknown"},
		{as("alice", post("/+authorize-token?oauth_token=x", "")), "authorize token_unknown"},
		{get("/+oauth-tokens"), "tokens login_required"},
		{as("alice", get("/+oauth-tokens")), "tokens accepted"},
		{as("alice", post("/+oauth-tokens", "token=x&csrf=x")), "tokens csrf_invalid"},
	} {
		before := counted(t, registry)
		s.serve(step.r)
		for name, count := range counted(t, registry) {
			more := count - before[name]
			if want := map[bool]float64{true: 1}[name == step.want]; more != want {
				t.Errorf("%s %s: %s counted %v more, want %v (%s)", step.r.Method, step.r.URL, name, more, want, step.want)
			}
		}
		if _, ok := counted(t, registry)[step.want]; !ok {
			t.Errorf("%s %s: no %s", step.r.Method, step.r.URL, step.want)
		}
	}
	for name := range counted(t, registry) {
		if strings.Trim(name, "abcdefghijklmnopqrstuvwxyz_ ") != "" {
			t.Errorf("label %q", name)
		}
	}
}

// TestMetricsSurviveReloads: the registry belongs to the configuration, the counters to the
// process.
func TestMetricsSurviveReloads(t *testing.T) {
	first := newCounted(t)
	m, err := newMetrics(first) // a second registration must not fail
	if err != nil {
		t.Fatal(err)
	}
	m.refused(endpointAPI, refusal.Denied.Reason)
	before := counted(t, first)["api policy_deny"]
	second := newCounted(t)
	if got := counted(t, second)["api policy_deny"]; got != before || got < 1 {
		t.Errorf("after a reload %v, before %v", got, before)
	}
	m.refused(endpointAPI, refusal.Denied.Reason) // a request that began before the reload
	if got := counted(t, second)["api policy_deny"]; got != before+1 {
		t.Errorf("a request that began before the reload: %v, want %v", got, before+1)
	}
}
