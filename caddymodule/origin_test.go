package caddymodule

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
)

// TestOrigin checks the origin that a signature must cover behind different proxies. Each signature
// is made for one origin.
func TestOrigin(t *testing.T) {
	for _, test := range []struct {
		name      string
		directive string
		signedFor string // scheme://host
		host      string
		tls       bool
		trusted   bool
		forwarded http.Header
		ok        bool
	}{
		{name: "plain", signedFor: "http://api.test", host: "api.test", ok: true},
		{name: "host in capitals", signedFor: "http://api.test", host: "API.test", ok: true},
		{name: "default port", signedFor: "http://api.test", host: "api.test:80", ok: true},
		{name: "another port", signedFor: "http://api.test:8080", host: "api.test:8080", ok: true},
		{name: "another host", signedFor: "http://other.test", host: "api.test", ok: false},
		{name: "TLS", signedFor: "https://api.test", host: "api.test", tls: true, ok: true},
		{name: "TLS, default port", signedFor: "https://api.test", host: "api.test:443", tls: true, ok: true},
		{name: "TLS, signed without", signedFor: "http://api.test", host: "api.test", tls: true, ok: false},
		{name: "base_url", directive: "base_url https://public.test", signedFor: "https://public.test", host: "api.test", ok: true},
		{name: "base_url wins over a trusted proxy", directive: "base_url https://public.test", signedFor: "https://public.test", host: "api.test", trusted: true, forwarded: http.Header{"X-Forwarded-Host": {"evil.test"}}, ok: true},
		{name: "untrusted forwarding headers", signedFor: "https://public.test", host: "api.test", forwarded: http.Header{"X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"public.test"}}, ok: false},
		{name: "untrusted forwarding headers do not harm", signedFor: "http://api.test", host: "api.test", forwarded: http.Header{"X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"public.test"}}, ok: true},
		{name: "trusted forwarding headers", signedFor: "https://public.test", host: "api.test", trusted: true, forwarded: http.Header{"X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"public.test"}}, ok: true},
		{name: "the last of a list", signedFor: "https://near.test", host: "api.test", trusted: true, forwarded: http.Header{"X-Forwarded-Proto": {"http, https"}, "X-Forwarded-Host": {"far.test", "far.test, near.test"}}, ok: true},
		{name: "X-Forwarded-Port where X-Forwarded-Host has none", signedFor: "https://public.test:8443", host: "api.test", trusted: true, forwarded: http.Header{"X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"public.test"}, "X-Forwarded-Port": {"8443"}}, ok: true},
		{name: "X-Forwarded-Port where Host has none", signedFor: "http://api.test:8080", host: "api.test", trusted: true, forwarded: http.Header{"X-Forwarded-Port": {"8080"}}, ok: true},
		{name: "X-Forwarded-Port that is the default", signedFor: "https://api.test", host: "api.test", trusted: true, forwarded: http.Header{"X-Forwarded-Proto": {"https"}, "X-Forwarded-Port": {"443"}}, ok: true},
		{name: "X-Forwarded-Port, the last of a list", signedFor: "http://api.test:8081", host: "api.test", trusted: true, forwarded: http.Header{"X-Forwarded-Port": {"8080, 8081"}}, ok: true},
		{name: "X-Forwarded-Port beside a host with one", signedFor: "http://public.test:8080", host: "api.test", trusted: true, forwarded: http.Header{"X-Forwarded-Host": {"public.test:8080"}, "X-Forwarded-Port": {"9090"}}, ok: true},
		{name: "X-Forwarded-Port that is none", signedFor: "http://api.test", host: "api.test", trusted: true, forwarded: http.Header{"X-Forwarded-Port": {"80@evil.test"}}, ok: true},
		{name: "untrusted X-Forwarded-Port", signedFor: "http://api.test", host: "api.test", forwarded: http.Header{"X-Forwarded-Port": {"8080"}}, ok: true},
		{name: "X-Forwarded-Port of IPv6", signedFor: "http://[::1]:8080", host: "[::1]", trusted: true, forwarded: http.Header{"X-Forwarded-Port": {"8080"}}, ok: true},
		{name: "Forwarded is not read", signedFor: "http://api.test", host: "api.test", trusted: true, forwarded: http.Header{"Forwarded": {"host=public.test;proto=https"}}, ok: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			site := newTestSite(t, demoConsumer, test.directive)
			token := site.grant("demo", "alice", "READ_PUBLIC")
			scheme, host, _ := strings.Cut(test.signedFor, "://")
			signer := oauth1.Signer{ConsumerKey: "demo", ConsumerSecret: "demo-secret", Token: token.Key, TokenSecret: token.Secret, SignatureMethod: "HMAC-SHA256", Timestamp: site.clock.Unix()}
			header, err := signer.Sign(&oauth1.Request{Method: "GET", Scheme: scheme, Host: host, Path: "/x"})
			if err != nil {
				t.Fatal(err)
			}
			r := httptest.NewRequest("GET", "/x", nil)
			r.Host = test.host
			if test.tls {
				r.TLS = new(tls.ConnectionState)
			}
			for name, values := range test.forwarded {
				r.Header[name] = values
			}
			r.Header.Set("Authorization", header)
			w, upstream := site.serveWith(r, test.trusted)
			if (upstream != nil) != test.ok {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
	}
}

// TestPlaintextNeedsTLS: neither a base_url nor an untrusted header makes plain HTTP safe.
func TestPlaintextNeedsTLS(t *testing.T) {
	for _, test := range []struct {
		name      string
		directive string
		tls       bool
		trusted   bool
		proto     string
		ok        bool
	}{
		{name: "plain HTTP"},
		{name: "plain HTTP, allowed", directive: "insecure_plaintext_over_http", ok: true},
		{name: "TLS", tls: true, ok: true},
		{name: "base_url alone", directive: "base_url https://api.test"},
		{name: "untrusted header", proto: "https"},
		{name: "trusted header", trusted: true, proto: "https", ok: true},
		{name: "trusted header that says http", trusted: true, tls: true, proto: "http"},
	} {
		t.Run(test.name, func(t *testing.T) {
			site := newTestSite(t, demoConsumer, test.directive)
			r := plain("/+request-token", "demo", "demo-secret", "", "")
			if test.tls {
				r.TLS = new(tls.ConnectionState)
			}
			if test.proto != "" {
				r.Header.Set("X-Forwarded-Proto", test.proto)
			}
			w, _ := site.serveWith(r, test.trusted)
			if (w.Code == 200) != test.ok {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
	}
}
